/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spf process as its parent runs it, in its sandbox: it evaluates, ends when it should, and
 * killed under load it costs the checks in flight a temperror and no other (P8).
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/channel.h"
#include "net/process.h"
#include "net/sandbox.h"
#include "relayd/relayd.h"
#include "spf/spf_client.h"
#include "spf_zone_server.h"

#define LOAD 700

static struct loop *loop;
static struct channel *parent;
static json_t *zone;
static struct spf_zone_server *names;
static struct dns *dns;
static struct spf_client *client;
static pid_t pid;

static unsigned answered, wanted, verdicts[SPF_PERMERROR + 1];

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    (void)ctx;
    (void)type;
    (void)payload;
    (void)fds;
    (void)fd_count;
}

static void
on_close(void *ctx)
{
    (void)ctx;
    channel_close(&parent);
}

static void
on_result(void *ctx, const struct spf_result *result)
{
    (void)ctx;
    verdicts[result->verdict]++;
    if (++answered == wanted)
        loop_stop(loop);
}

static void
on_time(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

/* Until so many have ended in all, or for limit_ms. */
static void
run_until(unsigned count, int64_t limit_ms)
{
    struct loop_timer timer;

    wanted = count;
    if (answered >= wanted)
        return;
    loop_timer_init(&timer, loop, on_time, NULL);
    loop_timer_start(&timer, limit_ms);
    loop_run(loop);
    loop_timer_cancel(&timer);
}

static void
become_process(int fd)
{
    struct sandbox sandbox = {.kind = SANDBOX_NOTHING, .user = ""};
    struct sandbox_layers active;

    if (sandbox_enter(&sandbox, &active) < 0)
        _exit(77);
    _exit(spf_process_run(fd));
}

static void
start_process(void)
{
    int fd, fds[2];

    cr_assert_eq(process_fork("spf", NULL, 0, &pid, &fd), ERR_OK);
    if (pid == 0)
        become_process(fd);
    parent = channel_open(loop, fd, on_message, on_close, NULL);
    cr_assert_eq(channel_pair(fds), ERR_OK);
    cr_assert_eq(channel_send(parent, RELAYD_ADD_WORKER, SLICE(""), fds, 1), ERR_OK);
    close(fds[0]);
    spf_client_attach(client, fds[1]);
}

static void
setup(void)
{
    struct inet_endpoint resolver;

    zone = json_loads("{\"a.test\": [{\"TXT\": \"v=spf1 include:b.test -all\"}],"
                      " \"b.test\": [{\"TXT\": \"v=spf1 a -all\"}, {\"A\": \"192.0.2.1\"}]}",
                      0, NULL);
    loop = loop_new();
    names = spf_zone_server_open(loop, zone);
    resolver = spf_zone_server_endpoint(names);
    dns = dns_new(loop, &resolver);
    client = spf_client_open(loop, dns, -1);
    start_process();
}

static void
teardown(void)
{
    spf_client_close(&client);
    channel_close(&parent);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    dns_free(&dns);
    spf_zone_server_close(&names);
    loop_free(&loop);
    json_decref(zone);
}

TestSuite(spf_process, .init = setup, .fini = teardown, .timeout = 60);

static void
ask(void)
{
    struct spf_question question = {.client = {4, {192, 0, 2, 1}, 0},
                                    .identity = SPF_MAIL_FROM,
                                    .helo = "helo.test",
                                    .mail_from = "x@a.test"};

    (void)spf_check_start(client, &question, on_result, NULL);
}

static void
end_process(int signo)
{
    int status;

    if (signo == 0)
        channel_close(&parent);
    else
        cr_assert_eq(kill(pid, signo), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (signo != SIGKILL)
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    channel_close(&parent);
    pid = 0;
}

Test(spf_process, it_evaluates_in_its_sandbox_and_ends_when_it_is_told)
{
    static const int ends[] = {0, SIGTERM, SIGKILL};

    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        ask();
        run_until(i + 1, 10000);
        cr_expect_eq(verdicts[SPF_PASS], i + 1);
        end_process(ends[i]);
        start_process();
    }
    ask();
    run_until(ARRAY_SIZE(ends) + 1, 10000);
    cr_expect_eq(verdicts[SPF_PASS], ARRAY_SIZE(ends) + 1);
}

static void
ask_many(unsigned count)
{
    while (count-- > 0)
        ask();
}

/* It stands still before it is killed, so that a known number is with it. */
Test(spf_process, P8_killed_under_load_it_costs_the_checks_in_flight_a_temperror)
{
    ask();
    run_until(1, 10000); /* the names are known from here on */
    ask_many(LOAD);
    run_until(1 + LOAD, 10000);
    cr_expect_eq(verdicts[SPF_PASS], 1 + LOAD);
    cr_assert_eq(kill(pid, SIGSTOP), 0);
    ask_many(LOAD);
    run_until(UINT_MAX, 100); /* they have left */
    end_process(SIGKILL);
    run_until(1 + 2 * LOAD, 5000); /* nobody waits for the next one */
    cr_expect_eq(verdicts[SPF_TEMPERROR], LOAD);
    cr_expect_eq(spf_client_counts(client).lost, LOAD);
    ask_many(LOAD); /* these wait for it */
    run_until(UINT_MAX, 100);
    start_process();
    run_until(1 + 3 * LOAD, 10000);
    cr_expect_eq(verdicts[SPF_PASS], 1 + 2 * LOAD);
    cr_expect_eq(verdicts[SPF_TEMPERROR], LOAD);
}
