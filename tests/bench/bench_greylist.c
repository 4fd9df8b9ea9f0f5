/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a greylist of N first contacts costs: the size of its file, and how long a question takes a
 * worker, before and behind them.  A worker and a state process as they are, with a channel between
 * them; half of the contacts are of domains that SPF has authorised.
 *
 * usage: bench_greylist DIRECTORY [CONTACTS]   (the directory must be empty)
 */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "net/process.h"
#include "state/state.h"

#define DELAY_MS (300 * 1000)
#define FILL_AT_ONCE 100 /* every ten milliseconds: 10,000 a second, so that each is written */
#define FILL_EVERY_MS 10
#define ASKS(contacts) ((contacts) / 100 + 100)

static struct {
    struct loop *loop;
    struct state_client *client;
    uint64_t started, done, wanted;
    bool is_filling;
    struct loop_timer timer;
    uint64_t seed; /* of this run's contacts */
    uint64_t untold, passed;
    int64_t began_us, *latencies_us;
} bench;

/* --- The state process. */

static void
on_error(void *ctx, int err)
{
    (void)ctx;
    fprintf(stderr, "bench_greylist: a batch was not written: %s\n", err_text(err));
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    loop_stop(ctx);
}

static int
serve(const char *dir, int channel_fd)
{
    struct state_store_settings settings = {.dir = dir,
                                            .positive_ttl_ms = 1,
                                            .negative_ttl_ms = 1,
                                            .map_size_bytes = UINT64_C(1) << 30};
    struct loop *loop = loop_new();
    struct state_server *server;
    struct state_store *store;
    bool set_aside;

    if (state_store_open(&settings, &store, &set_aside) != ERR_OK)
        return 1;
    loop_on_signal(loop, SIGTERM, on_term, loop);
    server = state_server_new(loop, store, on_error, NULL);
    state_server_add(server, channel_fd);
    loop_run(loop);
    state_server_free(&server);
    state_store_close(&store);
    loop_free(&loop);
    return 0;
}

/* --- The worker: each question is about a contact of its own. */

static uint64_t
mix(uint64_t n)
{
    n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
    return n ^ (n >> 31);
}

static void ask_next(void);

static void
on_answer(void *ctx, const struct state_answer *answer)
{
    (void)ctx;
    bench.untold += !answer->is_told;
    bench.passed += answer->greylist.wait_ms == 0;
    if (!bench.is_filling)
        bench.latencies_us[bench.done] = clock_monotonic_us() - bench.began_us;
    if (++bench.done == bench.wanted)
        loop_stop(bench.loop);
    else if (!bench.is_filling)
        ask_next();
}

static void
ask_next(void)
{
    uint64_t n = mix(bench.seed + bench.started++);
    char sender[80], recipient[80], domain[40];
    struct state_greylist_key key = {
        .customer_id = (uint32_t)(n % 100),
        .client = {4, {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), 1}, 25},
        .sender = sender,
        .recipient = recipient,
        .authorised_domain = n & (1 << 30) ? domain : NULL,
    };

    snprintf(domain, sizeof domain, "mail.sender%llu.example", (unsigned long long)(n % 1000000));
    snprintf(sender, sizeof sender, "somebody.%llu@%s", (unsigned long long)n, domain);
    snprintf(recipient, sizeof recipient, "recipient.%llu@customer%u.example",
             (unsigned long long)(n % 5000), key.customer_id);
    bench.began_us = clock_monotonic_us();
    state_greylist_ask(bench.client, &key, DELAY_MS, on_answer, NULL);
}

static void
on_time(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < FILL_AT_ONCE && bench.started < bench.wanted; i++)
        ask_next();
    if (bench.started < bench.wanted)
        loop_timer_start(&bench.timer, FILL_EVERY_MS);
}

/* Filling: at a rate. Else one behind the other. */
static double
run(uint64_t seed, uint64_t count, bool is_filling)
{
    int64_t began_us = clock_monotonic_us();

    bench.seed = seed;
    bench.started = bench.done = 0;
    bench.wanted = count;
    bench.is_filling = is_filling;
    if (is_filling)
        loop_timer_start(&bench.timer, 0);
    else
        ask_next();
    loop_run(bench.loop);
    return (double)(clock_monotonic_us() - began_us) / 1e6;
}

static int
by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* One question at a time: first contacts, and then the same ones again. */
static void
measure(const char *when, uint64_t seed, uint64_t asks)
{
    static const char *const what[] = {"first", "again"};

    for (unsigned i = 0; i < 2; i++) {
        (void)run(seed, asks, false);
        qsort(bench.latencies_us, asks, sizeof *bench.latencies_us, by_value);
        printf("%s_%s_p50_us=%lld %s_%s_p99_us=%lld ", when, what[i],
               (long long)bench.latencies_us[asks / 2], when, what[i],
               (long long)bench.latencies_us[asks * 99 / 100]);
    }
}

static void
measure_all(const char *dir, uint64_t contacts)
{
    char path[1024];
    struct stat st;
    double seconds;

    (void)run(UINT64_C(1) << 60, ASKS(contacts), false); /* until all is warm */
    bench.untold = bench.passed = 0;
    measure("empty", UINT64_C(1) << 61, ASKS(contacts));
    seconds = run(0, contacts, true);
    measure("full", UINT64_C(1) << 62, ASKS(contacts));
    snprintf(path, sizeof path, "%s/state.mdb", dir);
    if (stat(path, &st) == 0)
        printf("contacts=%llu fill_per_s=%.0f file_bytes=%lld untold=%llu passed=%llu\n",
               (unsigned long long)contacts, (double)contacts / seconds, (long long)st.st_size,
               (unsigned long long)bench.untold, (unsigned long long)bench.passed);
}

int
main(int argc, char **argv)
{
    uint64_t contacts = 1000000;
    pid_t pid;
    int fd;

    if (argc < 2 || argc > 3 || (argc == 3 && parse_u64(slice_of(argv[2]), &contacts) < 0)) {
        fprintf(stderr, "usage: bench_greylist DIRECTORY [CONTACTS]\n");
        return 2;
    }
    if (process_fork("state", NULL, 0, &pid, &fd) != ERR_OK)
        return 1;
    if (pid == 0)
        _exit(serve(argv[1], fd));
    bench.latencies_us = mem_alloc(ASKS(contacts) * sizeof *bench.latencies_us);
    bench.loop = loop_new();
    bench.client = state_client_open(bench.loop, fd);
    loop_timer_init(&bench.timer, bench.loop, on_time, NULL);
    measure_all(argv[1], contacts);
    state_client_close(&bench.client);
    loop_free(&bench.loop);
    free(bench.latencies_us);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    return bench.untold + bench.passed > contacts / 100;
}
