/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A sending server of many connections: one process, epoll.  N slots take messages from one list;
 * each slot connects, sends up to K messages, quits, and begins again.  Every message carries a
 * line "X-Test-Id: N" on top of its header, so that a test can follow it to its end.
 *
 * With --retry it behaves as a real sender does: a 4xx, a refused or a lost connection sends the
 * message again after a pause, until a 2xx, a 5xx or the count is used up.  A connection that a
 * full listen queue has swallowed shows by no greeting: --greeting-timeout.  The journal has one
 * line a message, "ID CODE REFERENCE ATTEMPTS" (CODE 0: lost for good; REFERENCE "-": none in the
 * reply).
 */
#include "bench_io.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { EVENTS = 256, LINE_OCTETS = 76, REFERENCE_SIZE = 19 };

enum phase { IDLE, CONNECTING, BANNER, EHLO, MAIL, RCPT, DATA, CONTENT, QUIT };

struct body { /* dot-stuffed, CR LF, with the final dot */
    char *data;
    size_t len;
};

struct message {
    unsigned attempts;
    int64_t not_before_us;
    struct message *next;
};

struct slot {
    int fd;
    enum phase phase;
    struct message *message;
    unsigned sent;    /* messages on this connection */
    bool envelope_ok; /* no refusal since MAIL */
    unsigned refusal; /* the first code that was not 2xx or 3xx since MAIL */
    struct bytes in, out;
    const struct body *body;
    size_t body_at;
    int64_t begun_us, deadline_us;
};

static struct {
    struct sockaddr_in to;
    unsigned long connections, messages, per_connection, size, retry, pause_ms, timeout_s, first_id;
    unsigned long recipients, rate, greeting_ms;
    const char *from, *rcpt, *helo;
    bool pipelining;
    FILE *journal;
} opt = {.connections = 50,
         .messages = 1000,
         .per_connection = 1,
         .size = 10240,
         .pause_ms = 300,
         .timeout_s = 300,
         .first_id = 1,
         .recipients = 1,
         .from = "sender@origin.example",
         .rcpt = "user@acme.example",
         .helo = "loadgen.example"};

static struct {
    int epoll_fd;
    struct body *bodies;
    size_t body_count;
    struct message *messages;
    size_t fresh; /* the first message that was never tried */
    struct message *again_first, *again_last;
    size_t done;
    uint64_t accepted, refused, failed, retries, lost;
    int64_t *latency_us;
    size_t latency_count;
    int64_t begun_us;
} run;

static unsigned long
message_id(const struct message *m)
{
    return opt.first_id + (unsigned long)(m - run.messages);
}

/* --- Content. */

static void
stuff(struct bytes *out, const char *data, size_t n)
{
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        if (at_start && data[i] == '.')
            bytes_add(out, ".", 1);
        if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
            bytes_add(out, "\r", 1);
        bytes_add(out, data + i, 1);
        at_start = data[i] == '\n';
    }
    bytes_text(out, at_start ? ".\r\n" : "\r\n.\r\n");
}

static void
add_body(const struct bytes *text)
{
    run.bodies = realloc(run.bodies, (run.body_count + 1) * sizeof(*run.bodies));
    if (!run.bodies)
        bench_die("out of memory");
    run.bodies[run.body_count++] = (struct body){.data = text->data, .len = text->len};
}

static void
add_generated_body(size_t size)
{
    struct bytes text = {0}, wire = {0};
    bytes_text(&text, "From: sender@origin.example\r\nTo: user@acme.example\r\n"
                      "Subject: a message of the load generator\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: text/plain\r\n\r\n");
    for (unsigned n = 0; text.len < size; n++) {
        char line[LINE_OCTETS + 1];
        size_t want = size - text.len < LINE_OCTETS ? size - text.len : LINE_OCTETS;
        for (size_t i = 0; i < want; i++)
            line[i] = (char)('a' + (n * 7 + i) % 26);
        if (want >= 2)
            memcpy(line + want - 2, "\r\n", 2);
        bytes_add(&text, line, want);
    }
    stuff(&wire, text.data, text.len);
    free(text.data);
    add_body(&wire);
}

static void
add_file_body(const char *path)
{
    struct bytes text = {0}, wire = {0};
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bench_die("loadgen: %s: %s", path, strerror(errno));
    while ((n = read(fd, bytes_room(&text, 65536), 65536)) > 0)
        text.len += (size_t)n;
    close(fd);
    stuff(&wire, text.data, text.len);
    free(text.data);
    add_body(&wire);
}

/* --- The list of messages. */

/* How many messages may have been begun by now. */
static size_t
due(int64_t now)
{
    if (!opt.rate)
        return SIZE_MAX;
    return 1 + (size_t)(now - run.begun_us) * opt.rate / 1000000;
}

static struct message *
next_message(int64_t now)
{
    struct message *m = run.again_first;
    if (m && m->not_before_us <= now) {
        run.again_first = m->next;
        return m;
    }
    if (run.fresh == opt.messages || run.fresh >= due(now))
        return NULL;
    return &run.messages[run.fresh++];
}

static void
send_again(struct message *m)
{
    m->not_before_us = now_us() + (int64_t)opt.pause_ms * 1000;
    m->next = NULL;
    if (run.again_first)
        run.again_last->next = m;
    else
        run.again_first = m;
    run.again_last = m;
    run.retries++;
}

/* "[P001-4KX3T-0B7Q2CF]" anywhere in the reply, or "-" */
static void
reply_reference(const char *text, char dst[REFERENCE_SIZE])
{
    const char *at = text;
    while ((at = strchr(at, '[')) != NULL) {
        at++;
        if (strcspn(at, "]") != REFERENCE_SIZE - 1 || at[4] != '-' || at[10] != '-')
            continue;
        memcpy(dst, at, REFERENCE_SIZE - 1);
        dst[REFERENCE_SIZE - 1] = '\0';
        return;
    }
    memcpy(dst, "-", 2);
}

static void
message_done(struct message *m, unsigned code, const char *text)
{
    char ref[REFERENCE_SIZE];
    reply_reference(text, ref);
    if (opt.journal)
        fprintf(opt.journal, "%lu %u %s %u\n", message_id(m), code, ref, m->attempts);
    run.done++;
    if (code / 100 == 2)
        run.accepted++;
    else if (code / 100 == 5)
        run.refused++;
    else
        run.failed++;
}

/* The outcome of one attempt; code 0: the connection is gone. */
static void
message_outcome(struct slot *s, unsigned code, const char *text)
{
    struct message *m = s->message;
    s->message = NULL;
    m->attempts++;
    if (code / 100 == 2)
        run.latency_us[run.latency_count++] = now_us() - s->begun_us;
    if (code / 100 == 2 || code / 100 == 5 || m->attempts > opt.retry)
        message_done(m, code, text);
    else
        send_again(m);
}

/* --- A slot's connection. */

static void
slot_close(struct slot *s)
{
    if (s->phase == IDLE)
        return;
    close(s->fd);
    s->fd = -1;
    s->phase = IDLE;
    s->in.len = s->out.len = 0;
    s->body = NULL;
    if (s->message) {
        run.lost++;
        message_outcome(s, 0, "");
    }
}

static void
slot_enter(struct slot *s, enum phase phase)
{
    bool is_greeted = phase > BANNER || !opt.greeting_ms;
    int64_t limit_us = (int64_t)(is_greeted ? opt.timeout_s * 1000000 : opt.greeting_ms * 1000);
    s->phase = phase;
    s->deadline_us = now_us() + limit_us;
}

static void
put(struct slot *s, const char *fmt, ...)
{
    char line[600];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    bytes_add(&s->out, line, (size_t)n);
}

static void
put_rcpt(struct slot *s)
{
    const char *at = strchr(opt.rcpt, '@');
    if (opt.recipients > 1 && at)
        put(s, "RCPT TO:<%.*s%lu%s>\r\n", (int)(at - opt.rcpt), opt.rcpt,
            message_id(s->message) % opt.recipients, at);
    else
        put(s, "RCPT TO:<%s>\r\n", opt.rcpt);
}

static void
begin_message(struct slot *s)
{
    s->envelope_ok = true;
    s->refusal = 0;
    put(s, "MAIL FROM:<%s> BODY=8BITMIME\r\n", opt.from);
    if (opt.pipelining) {
        put_rcpt(s);
        put(s, "DATA\r\n");
    }
    slot_enter(s, MAIL);
}

static void
begin_quit(struct slot *s)
{
    put(s, "QUIT\r\n");
    slot_enter(s, QUIT);
}

static void
slot_connect(struct slot *s, struct message *m)
{
    int one = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        bench_die("loadgen: socket: %s", strerror(errno));
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    s->message = m;
    s->sent = 0;
    s->begun_us = now_us();
    slot_enter(s, CONNECTING);
    if (connect(s->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) < 0 && errno != EINPROGRESS) {
        slot_close(s);
        return;
    }
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
    epoll_ctl(run.epoll_fd, EPOLL_CTL_ADD, s->fd, &ev);
}

/* After a message: the next one on this connection, or the end of it. */
static void
after_message(struct slot *s)
{
    s->sent++;
    struct message *m = s->sent < opt.per_connection ? next_message(now_us()) : NULL;
    if (!m) {
        begin_quit(s);
        return;
    }
    s->message = m;
    s->begun_us = now_us();
    begin_message(s);
}

static void
refuse_message(struct slot *s, unsigned code, const char *text)
{
    bool closes = code == 421;
    message_outcome(s, code, text);
    if (closes) {
        slot_close(s);
        return;
    }
    begin_quit(s);
}

static void
on_banner(struct slot *s, unsigned code, const char *text)
{
    if (code != 220) {
        refuse_message(s, code / 100 == 5 ? 421 : code, text);
        return;
    }
    put(s, "EHLO %s\r\n", opt.helo);
    slot_enter(s, EHLO);
}

static void
on_ehlo(struct slot *s, unsigned code, const char *text)
{
    if (code != 250)
        refuse_message(s, code, text);
    else
        begin_message(s);
}

static void
on_mail(struct slot *s, unsigned code, const char *text)
{
    if (code / 100 != 2 && !opt.pipelining) {
        refuse_message(s, code, text);
        return;
    }
    if (code / 100 != 2)
        s->refusal = code;
    if (!opt.pipelining)
        put_rcpt(s);
    slot_enter(s, RCPT);
}

static void
on_rcpt(struct slot *s, unsigned code, const char *text)
{
    if (code / 100 != 2 && !opt.pipelining) {
        refuse_message(s, code, text);
        return;
    }
    if (code / 100 != 2 && !s->refusal)
        s->refusal = code;
    if (!opt.pipelining)
        put(s, "DATA\r\n");
    slot_enter(s, DATA);
}

static void
on_data(struct slot *s, unsigned code, const char *text)
{
    if (code != 354) {
        refuse_message(s, s->refusal ? s->refusal : code, text);
        return;
    }
    if (s->refusal) { /* a server that takes DATA without a recipient gets no message */
        message_outcome(s, s->refusal, text);
        slot_close(s);
        return;
    }
    put(s, "X-Test-Id: %lu\r\n", message_id(s->message));
    s->body = &run.bodies[message_id(s->message) % run.body_count];
    s->body_at = 0;
    slot_enter(s, CONTENT);
}

static void
on_final(struct slot *s, unsigned code, const char *text)
{
    if (code == 421) {
        refuse_message(s, code, text);
        return;
    }
    message_outcome(s, code, text);
    after_message(s);
}

static void
on_quit(struct slot *s, unsigned code, const char *text)
{
    (void)code;
    (void)text;
    slot_close(s);
}

static void (*const on_reply[])(struct slot *, unsigned, const char *) = {
    [BANNER] = on_banner, [EHLO] = on_ehlo, [MAIL] = on_mail,     [RCPT] = on_rcpt,
    [DATA] = on_data,     [QUIT] = on_quit, [CONTENT] = on_final,
};

/* One line "250-text" or "250 text"; only the last line of a reply counts. */
static void
take_line(struct slot *s, char *line, size_t len)
{
    line[len] = '\0';
    if (len < 3 || (len > 3 && line[3] == '-'))
        return;
    unsigned code = (unsigned)strtoul(line, NULL, 10);
    if (s->phase > CONNECTING)
        on_reply[s->phase](s, code, line);
}

static void
take_input(struct slot *s)
{
    size_t at = 0;
    char *end;
    while (s->phase != IDLE && at < s->in.len &&
           (end = memchr(s->in.data + at, '\n', s->in.len - at))) {
        size_t len = (size_t)(end - s->in.data) - at;
        char *line = s->in.data + at;
        at += len + 1;
        take_line(s, line, len && line[len - 1] == '\r' ? len - 1 : len);
    }
    if (s->phase != IDLE)
        bytes_drop(&s->in, at);
}

static bool
send_all(struct slot *s)
{
    while (s->out.len || s->body) {
        struct iovec iov[2] = {{s->out.data, s->out.len}, {NULL, 0}};
        if (s->body)
            iov[1] = (struct iovec){s->body->data + s->body_at, s->body->len - s->body_at};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        size_t from_out = (size_t)n < s->out.len ? (size_t)n : s->out.len;
        bytes_drop(&s->out, from_out);
        s->body_at += (size_t)n - from_out;
        if (s->body && s->body_at == s->body->len)
            s->body = NULL;
    }
    return true;
}

/* Edge-triggered: reads until nothing is left. */
static bool
receive_all(struct slot *s)
{
    while (s->phase != IDLE) {
        ssize_t n = recv(s->fd, bytes_room(&s->in, 4096), 4096, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        s->in.len += (size_t)n;
        take_input(s);
        if (s->phase != IDLE && !send_all(s))
            return false;
        if (n < 4096)
            return true;
    }
    return true;
}

static void
on_slot(struct slot *s, uint32_t events)
{
    bool ok = true;
    if (s->phase == IDLE)
        return;
    if (s->phase == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        ok = error == 0;
        if (ok)
            slot_enter(s, BANNER);
    }
    if (ok && (events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
        ok = receive_all(s);
    if (ok && s->phase > CONNECTING)
        ok = send_all(s);
    if (!ok)
        slot_close(s);
}

/* --- The run. */

static bool
start_slots(struct slot *slots)
{
    int64_t now = now_us();
    for (unsigned long i = 0; i < opt.connections; i++) {
        if (slots[i].phase != IDLE && slots[i].deadline_us < now)
            slot_close(&slots[i]);
        if (slots[i].phase != IDLE)
            continue;
        struct message *m = next_message(now);
        if (m)
            slot_connect(&slots[i], m);
    }
    for (unsigned long i = 0; i < opt.connections; i++) {
        if (slots[i].phase != IDLE)
            return true;
    }
    return run.done < opt.messages;
}

static void
loop(void)
{
    struct epoll_event events[EVENTS];
    struct slot *slots = calloc(opt.connections, sizeof(*slots));
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    while (slots && start_slots(slots)) {
        bool soon = run.again_first || opt.rate || opt.greeting_ms;
        int n = epoll_wait(run.epoll_fd, events, EVENTS, soon ? 20 : 100);
        for (int i = 0; i < n; i++)
            on_slot(events[i].data.ptr, events[i].events);
    }
    for (unsigned long i = 0; slots && i < opt.connections; i++) {
        free(slots[i].in.data);
        free(slots[i].out.data);
    }
    free(slots);
}

static void
print_results(double seconds)
{
    sort_times(run.latency_us, run.latency_count);
    printf("{\"messages\": %lu, \"accepted\": %lu, \"refused\": %lu, \"failed\": %lu, "
           "\"retries\": %lu, \"lost\": %lu, \"seconds\": %.3f, \"rate\": %.1f, "
           "\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"cpu_s\": %.2f}\n",
           opt.messages, (unsigned long)run.accepted, (unsigned long)run.refused,
           (unsigned long)run.failed, (unsigned long)run.retries, (unsigned long)run.lost, seconds,
           (double)run.accepted / seconds, percentile_ms(run.latency_us, run.latency_count, 50),
           percentile_ms(run.latency_us, run.latency_count, 99), cpu_seconds());
}

static const char usage[] =
    "loadgen --to 127.0.0.1:PORT [OPTION ...] [FILE ...]\n"
    "  --messages N        how many (1000)         --connections N     at a time (50)\n"
    "  --per-connection K  messages a connection (1) --size OCTETS     of a generated message\n"
    "  --from A --rcpt A   the envelope            --recipients N      user0@ .. userN-1@ in turn\n"
    "  --pipelining        MAIL, RCPT, DATA in one --helo NAME\n"
    "  --retry N           further attempts        --retry-pause MS    between them (300)\n"
    "  --timeout S         for any reply (300)     --first-id N        of X-Test-Id (1)\n"
    "  --greeting-timeout MS  for the first one    --rate N            at most N a second begun\n"
    "  --journal FILE      one line a message: ID CODE REFERENCE ATTEMPTS\n"
    "The results are one JSON object. FILE: messages to send in turn, instead of a generated "
    "one.\n";

static void
set_text(const char *name, const char *value)
{
    if (strcmp(name, "to") == 0)
        opt.to = parse_address(value);
    else if (strcmp(name, "from") == 0)
        opt.from = value;
    else if (strcmp(name, "rcpt") == 0)
        opt.rcpt = value;
    else if (strcmp(name, "helo") == 0)
        opt.helo = value;
    else if (!(opt.journal = fopen(value, "w")))
        bench_die("loadgen: %s: %s", value, strerror(errno));
}

static void
parse_options(int argc, char **argv)
{
    static const struct {
        const char *name;
        unsigned long *number;
    } numbers[] = {
        {"messages", &opt.messages},
        {"connections", &opt.connections},
        {"size", &opt.size},
        {"per-connection", &opt.per_connection},
        {"retry", &opt.retry},
        {"retry-pause", &opt.pause_ms},
        {"timeout", &opt.timeout_s},
        {"first-id", &opt.first_id},
        {"recipients", &opt.recipients},
        {"rate", &opt.rate},
        {"greeting-timeout", &opt.greeting_ms},
    };
    enum { COUNT = sizeof(numbers) / sizeof(numbers[0]), TEXTS = 5 };
    struct option options[TEXTS + 1 + COUNT + 1] = {
        {"to", 1, NULL, 't'},   {"from", 1, NULL, 't'},    {"rcpt", 1, NULL, 't'},
        {"helo", 1, NULL, 't'}, {"journal", 1, NULL, 't'}, {"pipelining", 0, NULL, 'p'},
    };
    for (size_t i = 0; i < COUNT; i++)
        options[TEXTS + 1 + i] = (struct option){numbers[i].name, 1, NULL, 'n'};
    int c, at = 0;
    while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (c == 'n')
            *numbers[at - TEXTS - 1].number = parse_number(options[at].name, optarg);
        else if (c == 't')
            set_text(options[at].name, optarg);
        else if (c == 'p')
            opt.pipelining = true;
        else
            bench_die("%s", usage);
    }
    for (int i = optind; i < argc; i++)
        add_file_body(argv[i]);
}

int
main(int argc, char **argv)
{
    parse_options(argc, argv);
    if (!opt.to.sin_port || !opt.messages || !opt.connections || !opt.recipients)
        bench_die("%s", usage);
    if (run.body_count == 0)
        add_generated_body(opt.size);
    run.messages = calloc(opt.messages, sizeof(*run.messages));
    run.latency_us = calloc(opt.messages, sizeof(*run.latency_us));
    if (!run.messages || !run.latency_us)
        bench_die("out of memory");
    run.begun_us = now_us();
    loop();
    print_results((double)(now_us() - run.begun_us) / 1e6);
    if (opt.journal && fclose(opt.journal) != 0)
        bench_die("loadgen: cannot write the journal: %s", strerror(errno));
    return run.accepted == opt.messages ? 0 : 1;
}
