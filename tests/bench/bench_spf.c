/* SPDX-License-Identifier: BSD-2-Clause
 *
 * CPU of an SPF check beside DNS: worker and spf process together, names in the worker's cache, as
 * in relayd (client, channel, server, libspf2) but for the sandbox.  Two kinds of record, alone
 * (each check waits for the one before) and with many in flight, and for comparison the evaluation
 * alone.
 *
 * usage: bench_spf [CHECKS]
 */
#include "config.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/parse.h"
#include "net/channel.h"
#include "net/process.h"
#include "spf/spf_client.h"
#include "spf/spf_eval.h"
#include "spf/spf_server.h"
#include "tests/unit/spf_zone.h"
#include "tests/unit/spf_zone_server.h"

#define GOAL_US 30

/* A small company, and one whose mail is with a large provider: four records. */
static const char zone_text[] =
    "{\"small.test\": [{\"TXT\": \"v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all\"}],"
    " \"large.test\": [{\"TXT\": \"v=spf1 include:_spf.provider.test ~all\"}],"
    " \"_spf.provider.test\": [{\"TXT\": \"v=spf1 include:_netblocks.provider.test "
    "include:_netblocks2.provider.test ~all\"}],"
    " \"_netblocks.provider.test\": [{\"TXT\": \"v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 "
    "ip4:66.102.0.0/20 ip4:66.249.80.0/20 ip4:72.14.192.0/18 ip4:74.125.0.0/16 "
    "ip4:108.177.8.0/21 ip4:173.194.0.0/16 ip4:209.85.128.0/17 ip4:216.58.192.0/19 ~all\"}],"
    " \"_netblocks2.provider.test\": [{\"TXT\": \"v=spf1 ip6:2001:4860:4000::/36 "
    "ip6:2404:6800:4000::/36 ip4:192.0.2.0/24 ~all\"}]}";

static struct {
    struct loop *loop;
    struct spf_client *client;
    pid_t server;
    const char *sender;
    uint64_t wanted, started, done, passed;
} bench;

static double
cpu_us(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static const struct spf_question *
question(void)
{
    static struct spf_question q = {
        .client = {4, {192, 0, 2, 1}, 0}, .identity = SPF_MAIL_FROM, .helo = "mail.test"};

    q.mail_from = bench.sender;
    return &q;
}

static void
on_result(void *ctx, const struct spf_result *result)
{
    (void)ctx;
    bench.done++;
    bench.passed += result->verdict == SPF_PASS;
    if (bench.started < bench.wanted) {
        bench.started++;
        (void)spf_check_start(bench.client, question(), on_result, NULL);
    } else if (bench.done == bench.wanted)
        loop_stop(bench.loop);
}

static void
run(const char *sender, uint64_t checks, unsigned in_flight)
{
    bench.sender = sender;
    bench.wanted = checks;
    bench.started = bench.done = bench.passed = 0;
    while (bench.started < in_flight && bench.started < checks) {
        bench.started++;
        (void)spf_check_start(bench.client, question(), on_result, NULL);
    }
    loop_run(bench.loop);
    CHECK(bench.passed == checks);
}

static void
measure(const char *sender, uint64_t checks, unsigned in_flight)
{
    clockid_t server_clock;
    double worker_us, server_us;
    int rc = clock_getcpuclockid(bench.server, &server_clock);

    CHECK(rc == 0);
    run(sender, checks / 10 + 1, in_flight); /* the names are known from here on */
    worker_us = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    server_us = cpu_us(server_clock);
    run(sender, checks, in_flight);
    worker_us = (cpu_us(CLOCK_PROCESS_CPUTIME_ID) - worker_us) / (double)checks;
    server_us = (cpu_us(server_clock) - server_us) / (double)checks;
    printf("%-14s %4u in flight: worker %5.1f + process %5.1f = %5.1f us a check, %.2f of the goal "
           "of %d\n",
           sender, in_flight, worker_us, server_us, worker_us + server_us,
           (worker_us + server_us) / GOAL_US, GOAL_US);
}

/* --- The evaluation alone. */

static struct spf_zone_found found;

static void
evaluate(const json_t *zone)
{
    struct spf_eval *eval = spf_eval_start(question());
    struct slice items[SPF_ZONE_ITEMS];
    const char *name;
    enum spf_type type;

    while (spf_eval_run(eval) == SPF_EVAL_NEEDS)
        while (spf_eval_needed(eval, 0, &name, &type)) {
            struct spf_answer answer;

            spf_zone_find(zone, name, type, &found);
            answer = spf_zone_answer(&found, items);
            spf_eval_give(eval, name, type, &answer);
        }
    CHECK(spf_eval_result(eval)->verdict == SPF_PASS);
    spf_eval_free(&eval);
}

static void
measure_evaluation(const json_t *zone, const char *sender, uint64_t checks)
{
    double us = cpu_us(CLOCK_PROCESS_CPUTIME_ID);

    bench.sender = sender;
    for (uint64_t i = 0; i < checks; i++)
        evaluate(zone);
    printf("%-14s evaluated in place, with a table for DNS: %5.1f us\n", sender,
           (cpu_us(CLOCK_PROCESS_CPUTIME_ID) - us) / (double)checks);
}

/* --- Set-up. */

static void
serve(int fd)
{
    struct loop *loop = loop_new();
    struct spf_server *server = spf_server_new(loop);

    spf_server_add(server, fd);
    loop_run(loop); /* until it is killed */
    _exit(0);
}

int
main(int argc, char **argv)
{
    static const char *const senders[] = {"x@small.test", "x@large.test"};
    json_t *zone = json_loads(zone_text, 0, NULL);
    struct spf_zone_server *names;
    struct inet_endpoint resolver;
    struct dns *dns;
    uint64_t checks = 20000;
    int fd;

    if (argc > 1 && parse_u64(slice_of(argv[1]), &checks) < 0)
        return 2;
    CHECK(zone != NULL && process_fork("spf", NULL, 0, &bench.server, &fd) == ERR_OK);
    if (bench.server == 0)
        serve(fd);
    bench.loop = loop_new();
    names = spf_zone_server_open(bench.loop, zone);
    resolver = spf_zone_server_endpoint(names);
    dns = dns_new(bench.loop, &resolver);
    bench.client = spf_client_open(bench.loop, dns, fd);
    for (size_t i = 0; i < ARRAY_SIZE(senders); i++) {
        measure(senders[i], checks, 1);
        measure(senders[i], checks, 64);
        measure_evaluation(zone, senders[i], checks);
    }
    spf_client_close(&bench.client);
    (void)kill(bench.server, SIGKILL);
    waitpid(bench.server, NULL, 0);
    dns_free(&dns);
    spf_zone_server_close(&names);
    loop_free(&bench.loop);
    json_decref(zone);
    return 0;
}
