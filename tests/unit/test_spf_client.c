/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: client and server joined by a channel, with a name server: verdicts, cancels, and what a
 * check costs when DNS is silent, or the spf process dead, silent or mad: temperror for it, and for
 * no other.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "spf/spf_client.h"
#include "spf/spf_protocol.h"
#include "spf/spf_server.h"
#include "spf_zone_server.h"

#define MANY 300

static struct loop *loop;
static json_t *zone;
static struct spf_zone_server *names;
static struct dns *dns;
static struct spf_server *server;
static struct spf_client *client;
static int far_end = -1; /* of a channel without a process */

struct asked {
    struct spf_check *check;
    struct spf_result result;
    unsigned calls;
};

static unsigned answered, wanted;

static void
on_result(void *ctx, const struct spf_result *result)
{
    struct asked *a = ctx;

    a->check = NULL;
    a->result = *result;
    a->calls++;
    if (++answered == wanted)
        loop_stop(loop);
}

static void
on_too_long(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

/* Until `count` more results have come, or for limit_ms. */
static void
run(unsigned count, int64_t limit_ms)
{
    struct loop_timer timer;

    answered = 0;
    wanted = count;
    loop_timer_init(&timer, loop, on_too_long, NULL);
    loop_timer_start(&timer, limit_ms);
    loop_run(loop);
    loop_timer_cancel(&timer);
}

/* Until what was sent has been read. */
static void
settle(void)
{
    run(1, 30);
}

static void
join(bool with_process)
{
    int fds[2], rc = channel_pair(fds);

    cr_assert_eq(rc, ERR_OK);
    if (far_end >= 0)
        close(far_end);
    far_end = -1;
    if (with_process)
        spf_server_add(server, fds[0]);
    else
        far_end = fds[0];
    spf_client_attach(client, fds[1]);
}

/* The process dies and another is there, without its knowledge. */
static void
kill_process(void)
{
    spf_server_free(&server);
    server = spf_server_new(loop);
}

static void
setup(void)
{
    struct inet_endpoint resolver;

    zone = json_loads("{\"a.test\": [{\"TXT\": \"v=spf1 include:b.test -all\"}],"
                      " \"b.test\": [{\"TXT\": \"v=spf1 a mx -all\"}, {\"A\": \"192.0.2.1\"},"
                      "              {\"MX\": [1, \"m.test\"]}],"
                      " \"m.test\": [{\"A\": \"192.0.2.2\"}],"
                      " \"s.test\": [{\"TXT\": \"v=spf1 ip4:192.0.2.1 -all\"}],"
                      " \"slow.test\": [\"TIMEOUT\"],"
                      " \"late.test\": [{\"TXT\": \"v=spf1 include:slow.test -all\"}]}",
                      0, NULL);
    cr_assert_not_null(zone);
    loop = loop_new();
    names = spf_zone_server_open(loop, zone);
    resolver = spf_zone_server_endpoint(names);
    dns = dns_new(loop, &resolver);
    server = spf_server_new(loop);
    client = spf_client_open(loop, dns, -1);
    join(true);
}

static void
teardown(void)
{
    spf_client_close(&client);
    spf_server_free(&server);
    dns_free(&dns);
    spf_zone_server_close(&names);
    run(1, 1); /* what was deferred */
    loop_free(&loop);
    json_decref(zone);
    if (far_end >= 0)
        close(far_end);
}

TestSuite(spf_client, .init = setup, .fini = teardown, .timeout = 60);

static void
ask(struct asked *a, const char *sender, const char *client_address)
{
    struct spf_question question = {
        .identity = SPF_MAIL_FROM, .helo = "helo.test", .mail_from = sender};
    struct inet_network network;
    int rc = inet_network_parse(slice_of(client_address), &network);

    cr_assert_eq(rc, ERR_OK);
    question.client.family = network.family;
    memcpy(question.client.addr, network.addr, sizeof network.addr);
    *a = (struct asked){.calls = 0};
    a->check = spf_check_start(client, &question, on_result, a);
    cr_expect_eq(a->calls, 0, "called from inside");
}

static enum spf_verdict
verdict_of(const char *sender, const char *client_address)
{
    struct asked a;

    ask(&a, sender, client_address);
    run(1, 10000);
    cr_assert_eq(a.calls, 1, "%s: no result", sender);
    return a.result.verdict;
}

Test(spf_client, verdicts)
{
    cr_expect_eq(verdict_of("x@a.test", "192.0.2.1"), SPF_PASS);
    cr_expect_eq(verdict_of("x@a.test", "192.0.2.2"), SPF_PASS);
    cr_expect_eq(verdict_of("x@a.test", "192.0.2.3"), SPF_FAIL);
    cr_expect_eq(verdict_of("x@s.test", "127.0.0.1"), SPF_FAIL, "this host is judged like any");
    cr_expect_eq(verdict_of("x@m.test", "192.0.2.2"), SPF_NONE);
    cr_expect_eq(verdict_of("x@no.test", "192.0.2.2"), SPF_NONE);
    cr_expect_eq(verdict_of("x@[192.0.2.1]", "192.0.2.2"), SPF_NONE);
    cr_expect_eq(spf_client_counts(client).checks, 7);
    cr_expect_eq(spf_server_checks(server), 0);
}

Test(spf_client, the_whole_result_comes_over)
{
    struct asked a;

    ask(&a, "x@a.test", "192.0.2.2");
    run(1, 5000);
    cr_expect_eq(a.result.verdict, SPF_PASS);
    cr_expect(a.result.is_sound);
    cr_expect_eq(a.result.identity, SPF_MAIL_FROM);
    cr_expect_eq(a.result.lookups, 5);
    cr_expect_str_eq(a.result.domain, "a.test");
    cr_expect_str_eq(a.result.mechanism, "mx");
    cr_expect_str_eq(a.result.reason, "mx in the record of b.test matches");
}

Test(spf_client, many_at_once_are_looked_up_once)
{
    static struct asked asked[MANY];

    for (unsigned i = 0; i < MANY; i++)
        ask(&asked[i], i % 2 ? "x@a.test" : "x@s.test", i % 3 ? "192.0.2.1" : "192.0.2.9");
    run(MANY, 10000);
    for (unsigned i = 0; i < MANY; i++) {
        cr_expect_eq(asked[i].calls, 1, "%u", i);
        cr_expect_eq(asked[i].result.verdict, i % 3 ? SPF_PASS : SPF_FAIL, "%u", i);
    }
    cr_expect_leq(spf_zone_server_asked(names), 6);
}

/* What is in the cache goes along: nothing is left to be asked back. */
Test(spf_client, known_records_go_with_the_question)
{
    struct asked a;
    char packet[2048];
    struct slice b_name = SLICE("b.test"), m_name = SLICE("m.test");
    ssize_t got;

    cr_expect_eq(verdict_of("x@a.test", "192.0.2.1"), SPF_PASS);
    join(false);
    ask(&a, "x@a.test", "192.0.2.1");
    settle();
    got = recv(far_end, packet, sizeof packet, MSG_DONTWAIT);
    cr_assert_gt(got, 0);
    cr_expect_not_null(memmem(packet, (size_t)got, b_name.p, b_name.n));
    cr_expect_not_null(memmem(packet, (size_t)got, "v=spf1 a mx -all", 16));
    cr_expect_null(memmem(packet, (size_t)got, m_name.p, m_name.n), "no more than records");
    spf_check_cancel(&a.check);
}

Test(spf_client, a_cancelled_check_never_calls)
{
    struct asked looking, asked, waiting, other;

    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS); /* known from now on */
    ask(&looking, "x@slow.test", "192.0.2.1");
    ask(&asked, "x@s.test", "192.0.2.1");
    ask(&other, "x@s.test", "192.0.2.1");
    spf_check_cancel(&looking.check);
    spf_check_cancel(&asked.check);
    cr_expect_null(asked.check);
    run(1, 5000);
    cr_expect_eq(other.calls, 1);
    ask(&waiting, "x@late.test", "192.0.2.1");
    settle();
    cr_expect_eq(spf_server_checks(server), 1);
    spf_check_cancel(&waiting.check);
    settle();
    cr_expect_eq(looking.calls + asked.calls + waiting.calls, 0);
    cr_expect_eq(spf_server_checks(server), 0, "the process forgets it too");
}

Test(spf_client, a_dead_process_costs_what_it_knew_and_nothing_else)
{
    struct asked known, new, later;

    ask(&known, "x@late.test", "192.0.2.1");
    settle();
    ask(&new, "x@s.test", "192.0.2.1"); /* DNS has it still */
    kill_process();
    run(1, 5000);
    cr_expect_eq(known.calls, 1);
    cr_expect_eq(known.result.verdict, SPF_TEMPERROR);
    cr_expect_eq(new.calls, 0);
    ask(&later, "x@a.test", "192.0.2.1");
    settle(); /* what is to be asked waits for a process */
    join(true);
    run(2, 5000);
    cr_expect_eq(new.result.verdict, SPF_PASS, "%s", new.result.reason);
    cr_expect_eq(later.result.verdict, SPF_PASS, "%s", later.result.reason);
    cr_expect_eq(spf_client_counts(client).lost, 1);
}

Test(spf_client, nobody_waits_long_for_a_process_that_is_not_there)
{
    int64_t began_ms = clock_monotonic_ms();

    kill_process();
    settle();
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_TEMPERROR);
    cr_expect_geq(clock_monotonic_ms() - began_ms, SPF_PROCESS_MS);
    cr_expect_lt(clock_monotonic_ms() - began_ms, SPF_PROCESS_MS + 3000);
    join(true);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS);
}

Test(spf_client, nor_for_one_that_is_silent)
{
    spf_client_hurry(client, SPF_CHECK_MS, 100);
    join(false);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_TEMPERROR);
    cr_expect_eq(spf_client_counts(client).lost, 1);
    join(true);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS);
}

Test(spf_client, nor_for_dns)
{
    struct asked slow, quick;

    spf_client_hurry(client, 300, SPF_PROCESS_MS);
    ask(&slow, "x@late.test", "192.0.2.1");
    ask(&quick, "x@s.test", "192.0.2.1");
    run(2, 5000);
    cr_expect_eq(quick.result.verdict, SPF_PASS);
    cr_expect_eq(slow.result.verdict, SPF_TEMPERROR);
    cr_expect_eq(spf_client_counts(client).late, 1);
    settle();
    cr_expect_eq(spf_server_checks(server), 0);
}

Test(spf_client, more_than_there_is_room_for_are_temperror)
{
    static struct asked asked[SPF_CHECKS_MAX + 10];
    unsigned passed = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(asked); i++)
        ask(&asked[i], "x@s.test", "192.0.2.1");
    spf_check_cancel(&asked[SPF_CHECKS_MAX + 9].check);
    run(ARRAY_SIZE(asked) - 1, 20000);
    for (unsigned i = 0; i < ARRAY_SIZE(asked); i++)
        passed += asked[i].calls == 1 && asked[i].result.verdict == SPF_PASS;
    cr_expect_eq(passed, SPF_CHECKS_MAX);
    cr_expect_eq(asked[SPF_CHECKS_MAX].result.verdict, SPF_TEMPERROR);
    cr_expect_eq(asked[SPF_CHECKS_MAX + 9].calls, 0);
    cr_expect_eq(spf_client_counts(client).refused, 10);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS);
}

/* Names as far as a tree of includes has any: FACTS' case, counted where they are asked. */
Test(spf_client, P8_a_hostile_tree_ends_after_ten_mechanisms)
{
    for (unsigned level = 0; level < 4; level++) {
        char name[32], text[400] = "v=spf1";
        size_t n = 6;

        for (unsigned i = 1; i < 10; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, " include:l%u-%u.%s", level + 1, i,
                                  "tree.test");
        for (unsigned i = 1; i < (level ? 10 : 2); i++) {
            snprintf(name, sizeof name, "l%u-%u.tree.test", level, i);
            json_object_set_new(zone, name, json_pack("[{s:s}]", "TXT", text));
        }
    }
    cr_expect_eq(verdict_of("x@l0-1.tree.test", "192.0.2.1"), SPF_PERMERROR);
    cr_expect_leq(spf_zone_server_asked(names), 11);
}

/* --- A peer that has been taken over. */

static const uint8_t *
noise(unsigned seed, size_t size)
{
    static uint8_t octets[512];

    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        octets[i] = (uint8_t)((seed >> 16) % (seed >> 24 & 1 ? 4 : 255));
    }
    return octets;
}

Test(spf_client, what_a_process_says_is_not_believed)
{
    struct asked a;

    spf_client_hurry(client, SPF_CHECK_MS, 300);
    join(false);
    ask(&a, "x@s.test", "192.0.2.1");
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t packet[200] = {SPF_MESSAGE_TELL, 0};
        size_t size = i % 150;

        memcpy(packet + 2, noise(i, size), size);
        (void)!send(far_end, packet, 2 + size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (i % 50 == 0)
            run(1, 1);
    }
    run(1, 3000);
    join(true);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS);
}

Test(spf_client, nor_what_a_worker_says)
{
    int fds[2], rc = channel_pair(fds);

    cr_assert_eq(rc, ERR_OK);
    spf_server_add(server, fds[0]);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t packet[200] = {SPF_MESSAGE_ASK, 0};
        size_t size = i % 150;

        memcpy(packet + 2, noise(i, size), size);
        (void)!send(fds[1], packet, 2 + size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (i % 20 == 0)
            run(1, 1);
    }
    close(fds[1]);
    settle();
    cr_expect_eq(spf_server_checks(server), 0);
    cr_expect_eq(verdict_of("x@s.test", "192.0.2.1"), SPF_PASS);
}
