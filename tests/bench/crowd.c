/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A crowd of clients: one process, epoll, many thousand connections from many addresses.  Every
 * client walks the same dialogue (banner, EHLO, STARTTLS, MAIL, RCPT, DATA, content, QUIT) to its
 * end, or to the phase that --stand names, and stands there: idle, or dripping octets.  How many
 * begin is --total, how many are there at once --clients, how fast they come --rate.
 *
 * Nothing is tried again and nothing is forgotten: each reply is counted by phase and code, each
 * connection that ended otherwise by phase and how.  With --steer, lines on standard input ask for
 * the counts ("count"), let those who stand go on to the end ("finish"), let nobody new begin
 * ("stop"), or end the run ("end"). Each line of output is one JSON object; its "event" is ready
 * (everybody stands or has ended), count or end.  The run ends by itself after --limit seconds,
 * whatever happens.
 */
#include "crowd.h"

#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>

enum { EVENTS = 512, TICK_MS = 10, LOOK_US = 200000 };

struct crowd_options crowd_opt = {.clients = 50,
                                  .limit_s = 300,
                                  .timeout_s = 60,
                                  .content = 1000,
                                  .sources = 1,
                                  .first_id = 1,
                                  .from = "sender@origin.example",
                                  .rcpt = "user@acme.example",
                                  .helo = "crowd.example"};
struct crowd_run crowd_run;

static volatile sig_atomic_t got_signal;

/* --- Its pace. */

static bool
may_begin(int64_t now)
{
    uint64_t elapsed_us = (uint64_t)(now - crowd_run.begun_us);
    if (crowd_run.begun >= crowd_opt.total || crowd_run.is_stopped || !crowd_run.free)
        return false;
    if (crowd_opt.seconds && elapsed_us >= crowd_opt.seconds * 1000000)
        return false;
    return !crowd_opt.rate || crowd_run.begun < 1 + elapsed_us * crowd_opt.rate / 1000000;
}

static bool
all_have_begun(int64_t now)
{
    return crowd_run.begun >= crowd_opt.total || crowd_run.is_stopped ||
           (crowd_opt.seconds &&
            (uint64_t)(now - crowd_run.begun_us) >= crowd_opt.seconds * 1000000);
}

/* --- The run. */

static void
look(int64_t now)
{
    if (now - crowd_run.looked_us < (crowd_opt.drip_ms ? TICK_MS * 1000 : LOOK_US))
        return;
    crowd_run.looked_us = now;
    for (size_t i = 0; i < crowd_opt.clients; i++)
        crowd_client_look(&crowd_run.all[i], now);
}

static void
finish(void)
{
    crowd_run.stand = PHASE_FREE;
    for (size_t i = 0; i < crowd_opt.clients; i++) {
        if (crowd_run.all[i].stands)
            crowd_client_finish(&crowd_run.all[i]);
    }
}

static void
obey(const char *order)
{
    if (strcmp(order, "count") == 0)
        crowd_print_counts("count");
    else if (strcmp(order, "finish") == 0)
        finish();
    else if (strcmp(order, "stop") == 0)
        crowd_run.is_stopped = true;
    else if (strcmp(order, "end") == 0)
        crowd_run.is_over = true;
    else
        bench_die("crowd: \"%s\" is no order: count, finish, stop or end", order);
}

static void
take_orders(void)
{
    ssize_t n = read(STDIN_FILENO, bytes_room(&crowd_run.orders, 256), 256);
    char *end;
    if (n <= 0) {
        crowd_run.is_over = true;
        return;
    }
    crowd_run.orders.len += (size_t)n;
    while (crowd_run.orders.len &&
           (end = memchr(crowd_run.orders.data, '\n', crowd_run.orders.len))) {
        *end = '\0';
        obey(crowd_run.orders.data);
        bytes_drop(&crowd_run.orders, (size_t)(end - crowd_run.orders.data) + 1);
    }
}

static void
see_whether_ready(int64_t now)
{
    if (crowd_run.is_ready || crowd_run.stand == PHASE_FREE || !all_have_begun(now) ||
        crowd_run.standing + crowd_run.ended < crowd_run.begun)
        return;
    crowd_run.is_ready = true;
    crowd_print_counts("ready");
}

static bool
goes_on(int64_t now)
{
    if (crowd_run.is_over || got_signal ||
        now - crowd_run.begun_us > (int64_t)crowd_opt.limit_s * 1000000)
        return false;
    return !all_have_begun(now) || crowd_run.ended < crowd_run.begun;
}

static void
loop(void)
{
    struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};
    if (crowd_opt.steer)
        epoll_ctl(crowd_run.epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &ev);
    for (int64_t now = crowd_run.begun_us; goes_on(now); now = now_us()) {
        for (int i = 0; i < EVENTS && may_begin(now); i++)
            crowd_client_begin();
        int n = epoll_wait(crowd_run.epoll_fd, events, EVENTS, may_begin(now_us()) ? 0 : TICK_MS);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                crowd_client_event(events[i].data.ptr, events[i].events);
            else
                take_orders();
        }
        look(now);
        see_whether_ready(now);
    }
}

static void
end_all(void)
{
    crowd_print_counts("end");
    for (size_t i = 0; i < crowd_opt.clients; i++)
        crowd_client_end(&crowd_run.all[i]);
    if (crowd_opt.journal && fclose(crowd_opt.journal) != 0)
        bench_die("crowd: cannot write the journal: %s", strerror(errno));
    free(crowd_run.all);
    free(crowd_run.latency_us);
    free(crowd_run.orders.data);
    SSL_CTX_free(crowd_run.tls);
    close(crowd_run.epoll_fd);
}

/* --- The start. */

static const char usage[] =
    "crowd --to 127.0.0.1:PORT [OPTION ...]\n"
    "  --total N           connections in all (as --clients)  --clients N   at a time (50)\n"
    "  --rate N            begun a second, at most            --seconds S   none begins later\n"
    "  --limit S           the run's end (300)                --timeout S   for any reply (60)\n"
    "  --stand PHASE       banner, ehlo, mail, rcpt, content: where they stand still\n"
    "  --content N         octets of each message (1000), or before they stand in it\n"
    "  --drip MS           those who stand in content send an octet so often\n"
    "  --size N            declared at MAIL                   --tls         by STARTTLS\n"
    "  --source A          the first of --sources N addresses that they have in turn (1)\n"
    "  --proxy             tells it in a PROXY header instead --bind A      comes from there\n"
    "  --each-network      IPv6 sources count up the /64, not the address in it\n"
    "  --from A --rcpt A --helo NAME --first-id N (of X-Test-Id: 1)\n"
    "  --journal FILE      one line a message: ID CODE\n"
    "  --steer             orders on standard input: count, finish, stop, end\n";

static enum phase
parse_stand(const char *text)
{
    static const struct {
        const char *name;
        enum phase phase;
    } rows[] = {{"banner", PHASE_BANNER},
                {"ehlo", PHASE_EHLO},
                {"mail", PHASE_MAIL},
                {"rcpt", PHASE_RCPT},
                {"content", PHASE_DOT}};
    for (size_t i = 0; text && i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(text, rows[i].name) == 0)
            return rows[i].phase == PHASE_EHLO && crowd_opt.tls ? PHASE_EHLO_AGAIN : rows[i].phase;
    }
    if (text)
        bench_die("--stand %s: there is no such phase\n%s", text, usage);
    return PHASE_FREE;
}

static void
set_bind(const char *value)
{
    crowd_opt.bind.sin_family = AF_INET;
    if (inet_pton(AF_INET, value, &crowd_opt.bind.sin_addr) != 1)
        bench_die("--bind %s: an IPv4 address is wanted", value);
}

static void
set_text(const char *name, const char *value)
{
    static const struct {
        const char *name;
        const char **text;
    } texts[] = {{"from", &crowd_opt.from},
                 {"rcpt", &crowd_opt.rcpt},
                 {"helo", &crowd_opt.helo},
                 {"source", &crowd_opt.source},
                 {"stand", &crowd_opt.stand}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(name, texts[i].name) == 0)
            *texts[i].text = value;
    }
    if (strcmp(name, "to") == 0)
        crowd_opt.to = parse_address(value);
    if (strcmp(name, "bind") == 0)
        set_bind(value);
    if (strcmp(name, "journal") == 0 && !(crowd_opt.journal = fopen(value, "w")))
        bench_die("crowd: %s: %s", value, strerror(errno));
}

static void
set_flag(const char *name)
{
    crowd_opt.tls |= strcmp(name, "tls") == 0;
    crowd_opt.proxy |= strcmp(name, "proxy") == 0;
    crowd_opt.steer |= strcmp(name, "steer") == 0;
    crowd_opt.each_network |= strcmp(name, "each-network") == 0;
}

static void
set_number(const char *name, const char *value)
{
    static const struct {
        const char *name;
        unsigned long *number;
    } numbers[] = {{"total", &crowd_opt.total},      {"clients", &crowd_opt.clients},
                   {"rate", &crowd_opt.rate},        {"seconds", &crowd_opt.seconds},
                   {"limit", &crowd_opt.limit_s},    {"timeout", &crowd_opt.timeout_s},
                   {"content", &crowd_opt.content},  {"size", &crowd_opt.declared},
                   {"drip", &crowd_opt.drip_ms},     {"sources", &crowd_opt.sources},
                   {"first-id", &crowd_opt.first_id}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) == 0)
            *numbers[i].number = parse_number(name, value);
    }
}

static void
parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"to", 1, NULL, 't'},       {"from", 1, NULL, 't'},         {"rcpt", 1, NULL, 't'},
        {"helo", 1, NULL, 't'},     {"source", 1, NULL, 't'},       {"stand", 1, NULL, 't'},
        {"bind", 1, NULL, 't'},     {"journal", 1, NULL, 't'},      {"total", 1, NULL, 'n'},
        {"clients", 1, NULL, 'n'},  {"rate", 1, NULL, 'n'},         {"seconds", 1, NULL, 'n'},
        {"limit", 1, NULL, 'n'},    {"timeout", 1, NULL, 'n'},      {"content", 1, NULL, 'n'},
        {"size", 1, NULL, 'n'},     {"drip", 1, NULL, 'n'},         {"sources", 1, NULL, 'n'},
        {"first-id", 1, NULL, 'n'}, {"tls", 0, NULL, 'f'},          {"proxy", 0, NULL, 'f'},
        {"steer", 0, NULL, 'f'},    {"each-network", 0, NULL, 'f'}, {0}};
    int c, at = 0;
    while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (c == 't')
            set_text(options[at].name, optarg);
        else if (c == 'n')
            set_number(options[at].name, optarg);
        else if (c == 'f')
            set_flag(options[at].name);
        else
            bench_die("%s", usage);
    }
    if (optind != argc || !crowd_opt.to.sin_port || !crowd_opt.clients || !crowd_opt.sources ||
        (crowd_opt.proxy && !crowd_opt.source))
        bench_die("%s", usage);
    if (!crowd_opt.total)
        crowd_opt.total = crowd_opt.rate && crowd_opt.seconds
                              ? crowd_opt.rate * crowd_opt.seconds + 1
                              : crowd_opt.clients;
}

static void
raise_descriptors(void)
{
    rlim_t need = crowd_opt.clients + 64;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        bench_die("crowd: %lu clients need %lu descriptors: %s", crowd_opt.clients,
                  (unsigned long)need, strerror(errno));
}

static void
make_tls(void)
{
    crowd_run.tls = SSL_CTX_new(TLS_client_method());
    if (!crowd_run.tls)
        bench_die("crowd: no TLS");
    SSL_CTX_set_mode(crowd_run.tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static void
set_up(void)
{
    crowd_run.stand = parse_stand(crowd_opt.stand);
    crowd_run.all = calloc(crowd_opt.clients, sizeof(*crowd_run.all));
    crowd_run.latency_us = calloc(crowd_opt.total, sizeof(*crowd_run.latency_us));
    if (!crowd_run.all || !crowd_run.latency_us)
        bench_die("out of memory");
    for (size_t i = crowd_opt.clients; i-- > 0; crowd_run.free = &crowd_run.all[i])
        crowd_run.all[i] = (struct client){.fd = -1, .next_free = crowd_run.free};
    for (size_t i = 0; i < sizeof(crowd_run.pattern); i++) {
        size_t at = i % CROWD_LINE;
        crowd_run.pattern[i] = (char)(at == CROWD_LINE - 2   ? '\r'
                                      : at == CROWD_LINE - 1 ? '\n'
                                                             : 'a' + at % 26);
    }
    raise_descriptors();
    make_tls();
    crowd_run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    crowd_run.begun_us = now_us();
}

static void
on_signal(int signo)
{
    got_signal = signo;
}

int
main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, SIG_IGN);
    set_up();
    loop();
    end_all();
    return 0;
}
