/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One client of the crowd: its dialogue is a table of what it says, what it then wants to hear, and
 * what follows.
 */
#include "crowd.h"

#include <openssl/err.h>
#include <sys/epoll.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    SEND_BUFFER = 16 * 1024, /* so that what stalls lies with the server, and not in our kernel */
    STUCK_US = 2000000,      /* content that nobody takes for so long stands */
};

/* --- Its end. */

void
crowd_client_end(struct client *c)
{
    if (c->phase == PHASE_FREE)
        return;
    SSL_free(c->ssl);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    crowd_run.standing -= c->stands;
    crowd_run.ended++;
    *c = (struct client){.fd = -1, .next_free = crowd_run.free};
    crowd_run.free = c;
}

static void
client_lost(struct client *c, enum loss how)
{
    crowd_run.losses[c->stands ? PHASE_STANDING : c->phase][how]++;
    crowd_client_end(c);
}

static void
client_failed(struct client *c, int error)
{
    if (error == ECONNREFUSED)
        client_lost(c, LOSS_REFUSED);
    else if (error == ECONNRESET || error == EPIPE)
        client_lost(c, LOSS_RESET);
    else
        client_lost(c, error == ETIMEDOUT ? LOSS_TIMEOUT : LOSS_OTHER);
}

/* --- Its socket. Both return octets, 0 for "not now", -1 when the client has ended. */

static ssize_t
after_ssl(struct client *c, int rc)
{
    int why = SSL_get_error(c->ssl, rc);
    if (rc > 0)
        return rc;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    if (why == SSL_ERROR_ZERO_RETURN)
        client_lost(c, LOSS_EOF);
    else if (why == SSL_ERROR_SYSCALL && errno)
        client_failed(c, errno);
    else
        client_lost(c, LOSS_TLS);
    return -1;
}

static ssize_t
client_send(struct client *c, const char *data, size_t n)
{
    ssize_t put;
    errno = 0;
    if (c->ssl) {
        ERR_clear_error();
        put = after_ssl(c, SSL_write(c->ssl, data, (int)n));
    } else {
        put = send(c->fd, data, n, MSG_NOSIGNAL);
        if (put < 0 && (errno == EAGAIN || errno == EINTR))
            put = 0;
        else if (put < 0)
            client_failed(c, errno);
    }
    if (put > 0)
        c->progress_us = now_us();
    return put;
}

static ssize_t
client_receive(struct client *c, char *room, size_t n)
{
    ssize_t got;
    errno = 0;
    if (c->ssl) {
        ERR_clear_error();
        return after_ssl(c, SSL_read(c->ssl, room, (int)n));
    }
    got = recv(c->fd, room, n, 0);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got == 0)
        client_lost(c, LOSS_EOF);
    else
        client_failed(c, errno);
    return -1;
}

/* --- What it says. */

static void
put(struct client *c, const char *fmt, ...)
{
    char line[1000];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    bytes_add(&c->out, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void
say_ehlo(struct client *c)
{
    put(c, "EHLO %s\r\n", crowd_opt.helo);
}

static void
say_starttls(struct client *c)
{
    put(c, "STARTTLS\r\n");
}

static void
begin_handshake(struct client *c)
{
    c->ssl = SSL_new(crowd_run.tls);
    if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
        bench_die("crowd: no TLS session can be made");
    SSL_set_connect_state(c->ssl);
}

static void
say_mail(struct client *c)
{
    put(c, "MAIL FROM:<%s>", crowd_opt.from);
    if (crowd_opt.declared)
        put(c, " SIZE=%lu", crowd_opt.declared);
    put(c, "\r\n");
}

static void
say_rcpt(struct client *c)
{
    put(c, "RCPT TO:<%s>\r\n", crowd_opt.rcpt);
}

static void
say_data(struct client *c)
{
    put(c, "DATA\r\n");
}

static void
begin_content(struct client *c)
{
    put(c, "X-Test-Id: %lu\r\nSubject: one of a crowd\r\n\r\n", crowd_opt.first_id + c->number);
    c->in_content = true;
}

static void
say_quit(struct client *c)
{
    put(c, "QUIT\r\n");
}

static const struct step {
    void (*say)(struct client *c); /* NULL: nothing */
    unsigned good;                 /* the reply's first digit */
    enum phase next;
} steps[PHASE_COUNT] = {
    [PHASE_BANNER] = {NULL, 2, PHASE_EHLO},
    [PHASE_EHLO] = {say_ehlo, 2, PHASE_MAIL}, /* or STARTTLS */
    [PHASE_STARTTLS] = {say_starttls, 2, PHASE_HANDSHAKE},
    [PHASE_HANDSHAKE] = {begin_handshake, 0, PHASE_EHLO_AGAIN},
    [PHASE_EHLO_AGAIN] = {say_ehlo, 2, PHASE_MAIL},
    [PHASE_MAIL] = {say_mail, 2, PHASE_RCPT},
    [PHASE_RCPT] = {say_rcpt, 2, PHASE_DATA},
    [PHASE_DATA] = {say_data, 3, PHASE_DOT},
    [PHASE_DOT] = {begin_content, 2, PHASE_QUIT},
    [PHASE_QUIT] = {say_quit, 2, PHASE_FREE},
};

static void
enter(struct client *c, enum phase phase)
{
    c->phase = phase;
    c->progress_us = now_us();
    c->deadline_us = c->progress_us + (int64_t)crowd_opt.timeout_s * 1000000;
    if (steps[phase].say)
        steps[phase].say(c);
}

static void
go_on(struct client *c)
{
    enum phase next = steps[c->phase].next;
    if (c->phase == PHASE_EHLO && crowd_opt.tls)
        next = PHASE_STARTTLS;
    if (next == PHASE_FREE)
        crowd_client_end(c);
    else
        enter(c, next);
}

static void
stand(struct client *c)
{
    if (!c->stands)
        crowd_run.standing++;
    c->stands = true;
}

/* --- What it hears. */

static void
message_done(struct client *c, unsigned code)
{
    if (crowd_opt.journal)
        fprintf(crowd_opt.journal, "%lu %u\n", crowd_opt.first_id + c->number, code);
    if (code / 100 == 2)
        crowd_run.latency_us[crowd_run.accepted++] = now_us() - c->begun_us;
}

static void
on_reply(struct client *c, unsigned code)
{
    bool good = code / 100 == steps[c->phase].good;
    crowd_run.replies[c->stands ? PHASE_STANDING : c->phase][code < CROWD_CODES ? code : 0]++;
    if (c->phase == PHASE_DOT)
        message_done(c, code);
    if (code == 421 || (c->stands && c->phase != crowd_run.stand))
        crowd_client_end(c);
    else if (c->phase == PHASE_DOT && c->in_content) /* it has not heard all */
        crowd_client_end(c);
    else if (!good)
        enter(c, PHASE_QUIT);
    else if (c->phase == crowd_run.stand)
        stand(c);
    else
        go_on(c);
}

static void
take_lines(struct client *c)
{
    size_t at = 0;
    char *end;
    while (c->phase != PHASE_FREE && at < c->in.len &&
           (end = memchr(c->in.data + at, '\n', c->in.len - at))) {
        char *line = c->in.data + at;
        size_t len = (size_t)(end - line);
        at += len + 1;
        *end = '\0';
        if (len >= 3 && line[3] != '-')
            on_reply(c, (unsigned)strtoul(line, NULL, 10));
    }
    if (c->phase != PHASE_FREE)
        bytes_drop(&c->in, at);
}

/* --- Moving octets. Edge-triggered: until nothing moves. They end the client if they must. */

static void
content_sent(struct client *c)
{
    if (crowd_run.stand == PHASE_DOT) {
        stand(c);
        return;
    }
    c->in_content = false;
    put(c, "\r\n.\r\n");
}

static bool
send_content(struct client *c)
{
    size_t left = crowd_opt.content > c->content_at ? crowd_opt.content - c->content_at : 0;
    size_t want = left < CROWD_PIECE ? left : CROWD_PIECE;
    ssize_t n = want ? client_send(c, crowd_run.pattern + c->content_at % CROWD_LINE, want) : 0;
    if (n < 0)
        return false;
    c->content_at += (uint64_t)n;
    crowd_run.octets += (uint64_t)n;
    if (c->content_at >= crowd_opt.content && !c->stands)
        content_sent(c);
    return n > 0;
}

static void
send_all(struct client *c)
{
    while (c->phase > PHASE_CONNECT && (c->out.len || c->in_content)) {
        if (c->out.len) {
            ssize_t n = client_send(c, c->out.data, c->out.len);
            if (n <= 0)
                return;
            bytes_drop(&c->out, (size_t)n);
        } else if (!send_content(c) && !c->out.len)
            return;
    }
}

static void
receive_all(struct client *c)
{
    while (c->phase > PHASE_CONNECT && c->phase != PHASE_HANDSHAKE) {
        ssize_t n = client_receive(c, bytes_room(&c->in, 2048), 2048);
        if (n <= 0)
            return;
        c->in.len += (size_t)n;
        take_lines(c);
        if (c->phase != PHASE_FREE && c->phase != PHASE_HANDSHAKE)
            send_all(c);
    }
}

static void
step_handshake(struct client *c)
{
    errno = 0;
    ERR_clear_error();
    if (after_ssl(c, SSL_do_handshake(c->ssl)) <= 0)
        return;
    go_on(c);
    send_all(c);
}

static void
finish_connect(struct client *c)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        client_failed(c, error);
    else
        enter(c, PHASE_BANNER);
}

void
crowd_client_event(struct client *c, uint32_t events)
{
    if (c->phase == PHASE_CONNECT && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        finish_connect(c);
    if (c->phase == PHASE_HANDSHAKE)
        step_handshake(c);
    if (c->phase > PHASE_CONNECT && c->phase != PHASE_HANDSHAKE)
        send_all(c);
    receive_all(c);
    if (c->phase == PHASE_HANDSHAKE) /* it began in this turn */
        step_handshake(c);
}

/* --- Beginning. */

/* The address of client `n`: they take --sources in turn.  IPv6 counts up the last octets, or the
 * last of the /64 with --each-network. */
static int
source_of(unsigned long n, unsigned char address[16])
{
    int family = strchr(crowd_opt.source, ':') ? AF_INET6 : AF_INET;
    int low = family == AF_INET ? 4 : crowd_opt.each_network ? 8 : 16;
    if (inet_pton(family, crowd_opt.source, address) != 1)
        bench_die("--source %s: an address is wanted", crowd_opt.source);
    for (unsigned long add = n % crowd_opt.sources, i = 0; i < 3; i++) {
        add += address[low - 1 - (int)i];
        address[low - 1 - (int)i] = (unsigned char)add;
        add >>= 8;
    }
    return family;
}

static void
bind_source(struct client *c)
{
    struct sockaddr_in sa = crowd_opt.bind;
    int one = 1;
    if (crowd_opt.source && !crowd_opt.proxy) {
        unsigned char address[16];
        if (source_of(c->number, address) != AF_INET)
            bench_die("--source: an IPv6 address goes with --proxy");
        sa.sin_family = AF_INET;
        memcpy(&sa.sin_addr, address, sizeof(sa.sin_addr));
    }
    if (sa.sin_family == 0)
        return;
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(c->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        bench_die("crowd: bind: %s", strerror(errno));
}

static void
put_proxy_header(struct client *c)
{
    unsigned char address[16];
    char text[INET6_ADDRSTRLEN];
    int family = source_of(c->number, address);
    inet_ntop(family, address, text, sizeof(text));
    put(c, "PROXY TCP%c %s %s %lu 25\r\n", family == AF_INET ? '4' : '6', text,
        family == AF_INET ? "192.0.2.25" : "2001:db8::25", 1024 + c->number % 60000);
}

void
crowd_client_begin(void)
{
    struct client *c = crowd_run.free;
    int one = 1, room = SEND_BUFFER;
    crowd_run.free = c->next_free;
    *c = (struct client){.phase = PHASE_CONNECT, .number = crowd_run.begun++, .begun_us = now_us()};
    c->deadline_us = c->begun_us + (int64_t)crowd_opt.timeout_s * 1000000;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        bench_die("crowd: socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    bind_source(c);
    if (crowd_opt.proxy)
        put_proxy_header(c);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    epoll_ctl(crowd_run.epoll_fd, EPOLL_CTL_ADD, c->fd, &ev);
    if (connect(c->fd, (struct sockaddr *)&crowd_opt.to, sizeof(crowd_opt.to)) < 0 &&
        errno != EINPROGRESS)
        client_failed(c, errno);
}

/* --- Its time. */

static void
drip(struct client *c, int64_t now)
{
    size_t n = c->content_at;
    if (now - c->progress_us < (int64_t)crowd_opt.drip_ms * 1000 || c->out.len)
        return;
    if (client_send(c, crowd_run.pattern + n % CROWD_LINE, 1) > 0) {
        c->content_at++;
        crowd_run.octets++;
    }
}

void
crowd_client_look(struct client *c, int64_t now)
{
    if (c->phase == PHASE_FREE)
        return;
    if (c->in_content && crowd_run.stand == PHASE_DOT && now - c->progress_us > STUCK_US)
        stand(c);
    if (!c->stands && !(c->in_content && crowd_run.stand == PHASE_DOT) && c->deadline_us < now)
        client_lost(c, LOSS_TIMEOUT);
    else if (c->stands && c->in_content && crowd_opt.drip_ms && c->content_at >= crowd_opt.content)
        drip(c, now);
}

void
crowd_client_finish(struct client *c)
{
    c->stands = false;
    crowd_run.standing--;
    if (c->in_content) {
        c->deadline_us = now_us() + (int64_t)crowd_opt.timeout_s * 1000000;
        if (c->content_at >= crowd_opt.content)
            content_sent(c);
    } else
        go_on(c);
    if (c->phase != PHASE_FREE)
        send_all(c);
}
