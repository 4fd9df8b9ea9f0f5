/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An SMTP server that takes everything and is never the bottleneck of a measure: one process,
 * epoll, PIPELINING, 8BITMIME, SIZE.  With --save each message is appended to a file as one record
 *
 *   "@sink " ENVELOPE-OCTETS " " CONTENT-OCTETS "\n" ENVELOPE CONTENT "\n"
 *
 * (envelope: "MAIL FROM:..." and "RCPT TO:..." lines; content: as sent, dots unstuffed) with
 * write(2) before its 250, so that a message with a 250 survives the sink's SIGKILL.  A record that
 * was cut by the kill never got its 250 and is cut off at the next start.  It does not judge
 * commands: this is the tool of the bench and of the kill test, not of the protocol tests.
 */
#include "bench_io.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { READ_SIZE = 65536, EVENTS = 256, COUNT_EVERY_US = 50000 };

struct session {
    int fd;
    bool in_data, line_start, wants_out, ends;
    struct bytes in, out, envelope, content;
    size_t content_len; /* also when the content is not kept */
};

static struct {
    int epoll_fd, listen_fd, save_fd, count_fd;
    uint64_t messages, octets, connections, open, counted;
    int delay_ms;
} sink = {.save_fd = -1, .count_fd = -1};

static volatile sig_atomic_t stop_wanted;

static void
on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void
session_close(struct session *s)
{
    close(s->fd);
    free(s->in.data);
    free(s->out.data);
    free(s->envelope.data);
    free(s->content.data);
    free(s);
    sink.open--;
}

/* --- Saving. */

static void
write_all(int fd, struct iovec *iov, int n)
{
    while (n > 0) {
        ssize_t done = writev(fd, iov, n);
        if (done < 0)
            bench_die("sink: cannot write the messages: %s", strerror(errno));
        while (n > 0 && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
}

static void
save_message(const struct session *s)
{
    char head[64];
    int len = snprintf(head, sizeof(head), "@sink %zu %zu\n", s->envelope.len, s->content.len);
    struct iovec iov[4] = {{head, (size_t)len},
                           {s->envelope.data, s->envelope.len},
                           {s->content.data, s->content.len},
                           {(char *)"\n", 1}};
    write_all(sink.save_fd, iov, 4);
}

/* The end of the last whole record; what follows was cut by a kill. */
static off_t
whole_records(int fd)
{
    off_t at = 0;
    char head[64];
    struct stat st;
    if (fstat(fd, &st) < 0)
        bench_die("sink: fstat: %s", strerror(errno));
    for (;;) {
        ssize_t n = pread(fd, head, sizeof(head) - 1, at);
        if (n <= 0)
            return at;
        head[n] = '\0';
        size_t envelope, content;
        const char *end = strchr(head, '\n');
        if (!end || sscanf(head, "@sink %zu %zu", &envelope, &content) != 2)
            return at;
        off_t next = at + (end + 1 - head) + (off_t)(envelope + content) + 1;
        if (next > st.st_size)
            return at;
        at = next;
    }
}

static void
open_save(const char *path)
{
    sink.save_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (sink.save_fd < 0)
        bench_die("sink: %s: %s", path, strerror(errno));
    if (ftruncate(sink.save_fd, whole_records(sink.save_fd)) < 0)
        bench_die("sink: %s: %s", path, strerror(errno));
}

static void
write_count(void)
{
    char text[96];
    if (sink.count_fd < 0)
        return;
    int len = snprintf(text, sizeof(text), "%-20llu %-24llu\n", (unsigned long long)sink.messages,
                       (unsigned long long)sink.octets);
    if (pwrite(sink.count_fd, text, (size_t)len, 0) < 0)
        bench_die("sink: cannot write the count: %s", strerror(errno));
    sink.counted = sink.messages;
}

/* --- The protocol. */

static void
message_end(struct session *s)
{
    char reply[80];
    if (sink.delay_ms)
        usleep((useconds_t)sink.delay_ms * 1000);
    if (sink.save_fd >= 0)
        save_message(s);
    sink.messages++;
    sink.octets += s->content_len;
    int len = snprintf(reply, sizeof(reply), "250 2.0.0 Ok: taken as %llu\r\n",
                       (unsigned long long)sink.messages);
    bytes_add(&s->out, reply, (size_t)len);
    s->in_data = false;
    s->envelope.len = s->content.len = s->content_len = 0;
}

static void
content_add(struct session *s, const char *data, size_t n)
{
    s->content_len += n;
    if (sink.save_fd >= 0)
        bytes_add(&s->content, data, n);
}

/* Takes content from the input; what is left over is a beginning that the next octets decide. */
static size_t
take_content(struct session *s, const char *data, size_t n)
{
    size_t at = 0;
    while (at < n) {
        if (s->line_start && data[at] == '.') {
            if (n - at >= 3 && data[at + 1] == '\r' && data[at + 2] == '\n') {
                message_end(s);
                return at + 3;
            }
            if (n - at < 2 || (data[at + 1] == '\r' && n - at < 3))
                return at;
            at++; /* stuffed */
        }
        s->line_start = false;
        const char *dot = memmem(data + at, n - at, "\r\n.", 3);
        size_t to = dot ? (size_t)(dot - data) + 2 : n;
        if (!dot && to - at >= 1 && data[to - 1] == '\r')
            to -= 1;
        else if (!dot && to - at >= 2 && data[to - 2] == '\r' && data[to - 1] == '\n')
            to -= 2;
        content_add(s, data + at, to - at);
        at = to;
        if (!dot)
            return at;
        s->line_start = true;
    }
    return at;
}

static void
on_ehlo(struct session *s)
{
    bytes_text(&s->out, "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n"
                        "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
}

static void
on_helo(struct session *s)
{
    bytes_text(&s->out, "250 sink.example\r\n");
}

static void
on_envelope(struct session *s)
{
    bytes_text(&s->out, "250 2.1.0 Ok\r\n");
}

static void
on_data(struct session *s)
{
    bytes_text(&s->out, "354 Go on\r\n");
    s->in_data = s->line_start = true;
}

static void
on_other(struct session *s)
{
    s->envelope.len = 0;
    bytes_text(&s->out, "250 2.0.0 Ok\r\n");
}

static void
on_quit(struct session *s)
{
    bytes_text(&s->out, "221 2.0.0 Bye\r\n");
    s->ends = true;
}

static const struct {
    char verb[5];
    bool is_envelope;
    void (*run)(struct session *);
} commands[] = {
    {"EHLO", false, on_ehlo},    {"HELO", false, on_helo}, {"MAIL", true, on_envelope},
    {"RCPT", true, on_envelope}, {"DATA", false, on_data}, {"RSET", false, on_other},
    {"NOOP", false, on_other},   {"QUIT", false, on_quit},
};

static void
run_command(struct session *s, const char *line, size_t n)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (n < 4 || strncasecmp(line, commands[i].verb, 4) != 0)
            continue;
        if (commands[i].is_envelope) {
            bytes_add(&s->envelope, line, n);
            bytes_text(&s->envelope, "\n");
        }
        commands[i].run(s);
        return;
    }
    bytes_text(&s->out, "502 5.5.1 Unknown\r\n");
}

static void
take_input(struct session *s)
{
    size_t at = 0;
    while (at < s->in.len && !s->ends) {
        const char *data = s->in.data + at;
        size_t n = s->in.len - at;
        if (s->in_data) {
            size_t used = take_content(s, data, n);
            at += used;
            if (s->in_data)
                break;
            continue;
        }
        const char *end = memchr(data, '\n', n);
        if (!end)
            break;
        size_t len = (size_t)(end - data);
        run_command(s, data, len && data[len - 1] == '\r' ? len - 1 : len);
        at += (size_t)(end - data) + 1;
    }
    bytes_drop(&s->in, at);
}

/* --- The loop. */

static bool
flush_out(struct session *s)
{
    while (s->out.len) {
        ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        bytes_drop(&s->out, (size_t)n);
    }
    return !s->ends;
}

static void
watch_out(struct session *s)
{
    bool wants = s->out.len > 0;
    if (wants == s->wants_out)
        return;
    s->wants_out = wants;
    struct epoll_event ev = {.events = wants ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = s};
    epoll_ctl(sink.epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
}

/* Once a wake-up: what has come is read in one piece, level-triggered epoll brings the rest. */
static void
on_session(struct session *s, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t n = recv(s->fd, bytes_room(&s->in, READ_SIZE), READ_SIZE, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            session_close(s);
            return;
        }
        if (n > 0) {
            s->in.len += (size_t)n;
            take_input(s);
        }
    }
    if (!flush_out(s)) {
        session_close(s);
        return;
    }
    watch_out(s);
}

static void
on_accept(void)
{
    for (;;) {
        int fd = accept4(sink.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct session *s = calloc(1, sizeof(*s));
        if (!s)
            bench_die("out of memory");
        s->fd = fd;
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
        epoll_ctl(sink.epoll_fd, EPOLL_CTL_ADD, fd, &ev);
        sink.connections++;
        sink.open++;
        bytes_text(&s->out, "220 sink.example ESMTP\r\n");
        if (!flush_out(s))
            session_close(s);
    }
}

static void
open_listener(const char *text)
{
    struct sockaddr_in sa = parse_address(text);
    socklen_t len = sizeof(sa);
    int one = 1;
    sink.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(sink.listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(sink.listen_fd, (struct sockaddr *)&sa, len) < 0 || listen(sink.listen_fd, 1024) < 0)
        bench_die("sink: %s: %s", text, strerror(errno));
    getsockname(sink.listen_fd, (struct sockaddr *)&sa, &len);
    printf("listening %u\n", ntohs(sa.sin_port));
    fflush(stdout);
}

static void
loop(void)
{
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN, .data.ptr = NULL};
    int64_t counted_at = 0;
    sink.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(sink.epoll_fd, EPOLL_CTL_ADD, sink.listen_fd, &ev);
    while (!stop_wanted) {
        int n = epoll_wait(sink.epoll_fd, events, EVENTS, 100);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                on_session(events[i].data.ptr, events[i].events);
            else
                on_accept();
        }
        if (sink.counted != sink.messages && now_us() - counted_at > COUNT_EVERY_US) {
            write_count();
            counted_at = now_us();
        }
    }
}

static const char usage[] =
    "sink --listen 127.0.0.1:PORT [--save FILE] [--count FILE] [--delay MS]\n"
    "  --listen  where to listen; port 0 takes a free one; the first line printed is \"listening "
    "PORT\"\n"
    "  --save    append every message to FILE before its 250 (format: head of sink.c)\n"
    "  --count   keep \"MESSAGES OCTETS\" in FILE\n"
    "  --delay   wait before each final reply (all sessions wait)\n";

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                            {"save", required_argument, NULL, 's'},
                                            {"count", required_argument, NULL, 'c'},
                                            {"delay", required_argument, NULL, 'd'},
                                            {NULL, 0, NULL, 0}};
    const char *address = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'l')
            address = optarg;
        else if (c == 's')
            open_save(optarg);
        else if (c == 'c')
            sink.count_fd = open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        else if (c == 'd')
            sink.delay_ms = (int)parse_number("delay", optarg);
        else
            bench_die("%s", usage);
    }
    if (!address)
        bench_die("%s", usage);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    open_listener(address);
    loop();
    write_count();
    printf("messages %llu octets %llu connections %llu cpu %.2f\n",
           (unsigned long long)sink.messages, (unsigned long long)sink.octets,
           (unsigned long long)sink.connections, cpu_seconds());
    return 0;
}
