/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: names against a scripted server: what is answered, in which order, how long it takes, and
 * what is left when the server is gone.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "dns/dns.h"
#include "dns_server.h"

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct dns *dns;
    struct dns_addresses addresses;
    struct dns_hosts hosts;
    struct dns_lookup *lookup;
    unsigned calls, wanted;
    int64_t took_ms;
};

static struct bench
bench_open(struct dns_server_script *scripts)
{
    struct bench b = {.loop = loop_new(), .wanted = 1};
    struct inet_endpoint resolver;

    b.server = dns_server_open(b.loop, scripts);
    resolver = dns_server_endpoint(b.server);
    b.dns = dns_new(b.loop, &resolver);
    return b;
}

static void
bench_close(struct bench *b)
{
    dns_free(&b->dns);
    if (b->server)
        dns_server_close(&b->server);
    loop_free(&b->loop);
}

static void
called(struct bench *b)
{
    b->lookup = NULL;
    if (++b->calls == b->wanted)
        loop_stop(b->loop);
}

static void
on_addresses(void *ctx, const struct dns_addresses *found)
{
    struct bench *b = ctx;

    b->addresses = *found;
    called(b);
}

static void
on_hosts(void *ctx, const struct dns_hosts *found)
{
    struct bench *b = ctx;

    b->hosts = *found;
    called(b);
}

static void
run(struct bench *b)
{
    int64_t began_ms = clock_monotonic_ms();

    loop_run(b->loop);
    b->took_ms = clock_monotonic_ms() - began_ms;
    b->calls = 0;
}

static enum dns_result
addresses_of(struct bench *b, const char *name)
{
    b->lookup = dns_lookup_addresses(b->dns, name, on_addresses, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    run(b);
    return b->addresses.answer.result;
}

static enum dns_result
hosts_of(struct bench *b, const char *name)
{
    b->lookup = dns_lookup_hosts(b->dns, name, on_hosts, b);
    run(b);
    return b->hosts.answer.result;
}

static bool
has_address(const struct dns_addresses *found, const char *address)
{
    char text[INET_ENDPOINT_SIZE];

    for (unsigned i = 0; i < found->count; i++)
        if (strcmp(inet_address_text(&found->items[i], text), address) == 0)
            return true;
    return false;
}

#define A(owner, data)                \
    {                                 \
        owner, SERVER_A, data, 300, 0 \
    }
#define AAAA(owner, data)                \
    {                                    \
        owner, SERVER_AAAA, data, 300, 0 \
    }
#define CNAME(owner, data)                \
    {                                     \
        owner, SERVER_CNAME, data, 300, 0 \
    }
#define MX(owner, preference, data)             \
    {                                           \
        owner, SERVER_MX, data, 300, preference \
    }
#define NOTHING(of, which)        \
    {                             \
        .name = of, .type = which \
    }

Test(dns, answers_of_all_kinds)
{
    struct dns_server_script scripts[] = {
        {.name = "both.test", .type = SERVER_A, .records = {A("both.test", "192.0.2.1")}},
        {.name = "both.test", .type = SERVER_AAAA, .records = {AAAA("both.test", "2001:db8::1")}},
        {.name = "four.test",
         .type = SERVER_A,
         .records = {A("four.test", "192.0.2.4"), A("other.test", "192.0.2.99")}},
        NOTHING("four.test", SERVER_AAAA),
        NOTHING("six.test", SERVER_A),
        {.name = "six.test", .type = SERVER_AAAA, .records = {AAAA("six.test", "2001:db8::6")}},
        {.name = "none.test", .type = SERVER_A, .rcode = 3},
        {.name = "none.test", .type = SERVER_AAAA, .rcode = 3},
        NOTHING("empty.test", SERVER_A),
        NOTHING("empty.test", SERVER_AAAA),
        {.name = "servfail.test", .type = SERVER_A, .rcode = 2},
        {.name = "servfail.test", .type = SERVER_AAAA, .rcode = 2},
        {.name = "half.test", .type = SERVER_A, .records = {A("half.test", "192.0.2.5")}},
        {.name = "half.test", .type = SERVER_AAAA, .rcode = 2},
        {.name = "alias.test",
         .type = SERVER_A,
         .records = {CNAME("alias.test", "mid.test"), CNAME("mid.test", "end.test"),
                     A("end.test", "192.0.2.7")}},
        {.name = "alias.test", .type = SERVER_AAAA, .records = {CNAME("alias.test", "end.test")}},
        {.name = "loop.test",
         .type = SERVER_A,
         .records = {CNAME("loop.test", "pool.test"), CNAME("pool.test", "loop.test")}},
        {.name = "loop.test", .type = SERVER_AAAA, .records = {CNAME("loop.test", "loop.test")}},
        {.name = NULL}};
    static const struct {
        const char *name;
        enum dns_result result;
        unsigned count;
        const char *address;
    } cases[] = {
        {"both.test", DNS_OK, 2, "2001:db8::1"}, {"four.test", DNS_OK, 1, "192.0.2.4"},
        {"six.test", DNS_OK, 1, "2001:db8::6"},  {"none.test", DNS_NO_NAME, 0, NULL},
        {"empty.test", DNS_NO_DATA, 0, NULL},    {"servfail.test", DNS_TEMPORARY, 0, NULL},
        {"half.test", DNS_OK, 1, "192.0.2.5"},   {"alias.test", DNS_OK, 1, "192.0.2.7"},
        {"loop.test", DNS_TEMPORARY, 0, NULL},   {"refused.test", DNS_TEMPORARY, 0, NULL},
        {"not..a.name", DNS_TEMPORARY, 0, NULL},
    };
    struct bench b = bench_open(scripts);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cr_expect_eq(addresses_of(&b, cases[i].name), cases[i].result, "%s: result %d",
                     cases[i].name, b.addresses.answer.result);
        cr_expect_eq(b.addresses.count, cases[i].count, "%s: %u addresses", cases[i].name,
                     b.addresses.count);
        cr_expect(cases[i].address == NULL || has_address(&b.addresses, cases[i].address), "%s",
                  cases[i].name);
        cr_expect_lt(b.took_ms, 1000, "%s took %lld ms", cases[i].name, (long long)b.took_ms);
    }
    bench_close(&b);
}

Test(dns, an_answer_is_kept_for_its_time)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_A, .records = {{"a.test", SERVER_A, "192.0.2.1", 20, 0}}},
        NOTHING("a.test", SERVER_AAAA),
        {.name = "brief.test",
         .type = SERVER_A,
         .records = {{"brief.test", SERVER_A, "192.0.2.1", 0, 0}}},
        NOTHING("brief.test", SERVER_AAAA),
        {.name = "gone.test", .type = SERVER_A, .rcode = 3},
        {.name = "gone.test", .type = SERVER_AAAA, .rcode = 3},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_addresses found;

    cr_expect_not(dns_find_addresses(b.dns, "a.test", &found), "asked for, not waited for");
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_eq(scripts[0].asked, 1, "a query in flight is shared");
    cr_expect(dns_find_addresses(b.dns, "a.test", &found));
    cr_expect_eq(found.answer.ttl_s, 20, "%u", found.answer.ttl_s);
    dns_age(b.dns, 19000);
    cr_expect(dns_find_addresses(b.dns, "a.test", &found));
    dns_age(b.dns, 2000);
    cr_expect_not(dns_find_addresses(b.dns, "a.test", &found));
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_eq(scripts[0].asked, 2);
    cr_expect_eq(scripts[1].asked, 1, "that it has no other is kept for a minute");

    cr_expect_eq(addresses_of(&b, "brief.test"), DNS_OK);
    dns_age(b.dns, 4000);
    cr_expect(dns_find_addresses(b.dns, "brief.test", &found), "5 s at least");

    cr_expect_eq(addresses_of(&b, "gone.test"), DNS_NO_NAME);
    dns_age(b.dns, 59000);
    cr_expect(dns_find_addresses(b.dns, "gone.test", &found));
    dns_age(b.dns, 2000);
    cr_expect_not(dns_find_addresses(b.dns, "gone.test", &found));
    bench_close(&b);
}

Test(dns, equal_lookups_share_their_queries)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_A, .records = {A("a.test", "192.0.2.1")}},
        NOTHING("a.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_lookup *cancelled;

    b.wanted = 50;
    cancelled = dns_lookup_addresses(b.dns, "a.test", on_addresses, &b);
    for (unsigned i = 0; i < 50; i++)
        dns_lookup_addresses(b.dns, "a.test", on_addresses, &b);
    dns_lookup_cancel(&cancelled);
    run(&b);
    cr_expect_eq(scripts[0].asked, 1);
    cr_expect_eq(scripts[1].asked, 1);
    bench_close(&b);
}

Test(dns, a_truncated_answer_is_asked_for_by_tcp)
{
    struct dns_server_script scripts[] = {
        {.name = "big.test",
         .type = SERVER_A,
         .is_truncated = true,
         .records = {A("big.test", "192.0.2.1"), A("big.test", "192.0.2.2")}},
        NOTHING("big.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_expect_eq(addresses_of(&b, "big.test"), DNS_OK);
    cr_expect_eq(b.addresses.count, 2);
    cr_expect_eq(scripts[0].asked_by_tcp, 1);
    bench_close(&b);
}

Test(dns, a_forged_answer_is_not_taken)
{
    struct dns_server_script scripts[] = {{.name = "target.test",
                                           .type = SERVER_A,
                                           .is_forged = true,
                                           .records = {A("target.test", "192.0.2.1")}},
                                          NOTHING("target.test", SERVER_AAAA),
                                          {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_expect_eq(addresses_of(&b, "target.test"), DNS_OK);
    cr_expect_eq(b.addresses.count, 1);
    cr_expect(has_address(&b.addresses, "192.0.2.1"));
    bench_close(&b);
}

Test(dns, hosts_come_by_preference_and_random_within_one)
{
    struct dns_server_script scripts[] = {
        {.name = "acme.test",
         .type = SERVER_MX,
         .records = {MX("acme.test", 20, "c.acme.test"), MX("acme.test", 10, "A.acme.test"),
                     MX("acme.test", 10, "b.acme.test"), MX("acme.test", 30, "d.acme.test"),
                     MX("acme.test", 5, "not/a.host")}},
        NOTHING("plain.test", SERVER_MX),
        {.name = "null.test", .type = SERVER_MX, .records = {MX("null.test", 0, "")}},
        {.name = "none.test", .type = SERVER_MX, .rcode = 3},
        {.name = "fail.test", .type = SERVER_MX, .rcode = 2},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    unsigned a_first = 0;

    for (unsigned i = 0; i < 200; i++) {
        cr_assert_eq(hosts_of(&b, "acme.test"), DNS_OK);
        cr_assert_eq(b.hosts.count, 4);
        cr_assert_str_eq(b.hosts.items[2].name, "c.acme.test");
        cr_assert_str_eq(b.hosts.items[3].name, "d.acme.test");
        a_first += strcmp(b.hosts.items[0].name, "a.acme.test") == 0;
    }
    cr_expect(a_first > 60 && a_first < 140, "%u of 200", a_first); /* 5.6 sigma */
    cr_expect_eq(scripts[0].asked, 1);
    cr_expect_eq(hosts_of(&b, "plain.test"), DNS_OK);
    cr_expect_str_eq(b.hosts.items[0].name, "plain.test", "RFC 5321 5.1: the implicit MX");
    cr_expect_eq(hosts_of(&b, "null.test"), DNS_NO_NAME, "RFC 7505");
    cr_expect_eq(hosts_of(&b, "none.test"), DNS_NO_NAME);
    cr_expect_eq(hosts_of(&b, "fail.test"), DNS_TEMPORARY);
    bench_close(&b);
}

Test(dns, ad_is_told_of_a_resolver_on_this_host)
{
    struct dns_server_script scripts[] = {
        {.name = "signed.test",
         .type = SERVER_A,
         .is_authentic = true,
         .records = {A("signed.test", "192.0.2.1")}},
        {.name = "signed.test", .type = SERVER_AAAA, .is_authentic = true},
        {.name = "plain.test", .type = SERVER_A, .records = {A("plain.test", "192.0.2.1")}},
        NOTHING("plain.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);

    addresses_of(&b, "signed.test");
    cr_expect(b.addresses.answer.is_authentic);
    addresses_of(&b, "plain.test");
    cr_expect_not(b.addresses.answer.is_authentic);
    bench_close(&b);
}

Test(dns, a_silent_resolver_costs_five_seconds_at_most_and_then_nothing)
{
    struct dns_server_script scripts[] = {
        {.name = "mute.test", .type = SERVER_A, .is_silent = true},
        {.name = "mute.test", .type = SERVER_AAAA, .is_silent = true},
        {.name = "slow.test", .type = SERVER_A, .records = {A("slow.test", "192.0.2.1")}},
        {.name = "slow.test", .type = SERVER_AAAA, .is_silent = true},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_addresses found;

    cr_expect_eq(addresses_of(&b, "mute.test"), DNS_TEMPORARY);
    cr_expect(b.took_ms > 3000 && b.took_ms < 5500, "%lld ms", (long long)b.took_ms);
    cr_expect(dns_find_addresses(b.dns, "mute.test", &found), "the failure is known now");
    cr_expect_eq(found.answer.result, DNS_TEMPORARY);

    cr_expect_eq(addresses_of(&b, "slow.test"), DNS_OK);
    cr_expect(b.took_ms < 1500, "AAAA is not waited for: %lld ms", (long long)b.took_ms);
    bench_close(&b);
}

Test(dns, a_stale_answer_is_used_while_the_resolver_fails)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_A, .records = {A("a.test", "192.0.2.1")}},
        NOTHING("a.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_not(b.addresses.answer.is_stale);
    dns_server_mute(b.server, true);
    dns_age(b.dns, 301000);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect(b.addresses.answer.is_stale);
    cr_expect(has_address(&b.addresses, "192.0.2.1"));
    cr_expect(b.took_ms < 2500, "waited for 1.8 s: %lld ms", (long long)b.took_ms);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect(b.took_ms < 500, "then not at all: %lld ms", (long long)b.took_ms);

    cr_expect_eq(addresses_of(&b, "b.test"), DNS_TEMPORARY); /* until all queries are given up */
    dns_server_mute(b.server, false);
    dns_age(b.dns, 60000); /* the hold is over */
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_not(b.addresses.answer.is_stale);

    dns_server_mute(b.server, true);
    dns_age(b.dns, 25 * 3600 * 1000);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_TEMPORARY, "a day is over");
    bench_close(&b);
}

Test(dns, a_dead_resolver_is_seen_at_once_and_a_stale_answer_survives_it)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_A, .records = {A("a.test", "192.0.2.1")}},
        NOTHING("a.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    dns_server_close(&b.server);
    dns_age(b.dns, 301000);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect(b.addresses.answer.is_stale);
    cr_expect(b.took_ms < 2500, "%lld ms", (long long)b.took_ms);
    dns_age(b.dns, 6000);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK, "asked anew behind its back");
    cr_expect(b.took_ms < 500, "%lld ms", (long long)b.took_ms);
    cr_expect_eq(addresses_of(&b, "b.test"), DNS_TEMPORARY);
    cr_expect(b.took_ms < 5500, "%lld ms", (long long)b.took_ms);
    bench_close(&b);
}

Test(dns, what_was_not_there_is_no_fact_while_the_resolver_fails)
{
    struct dns_server_script scripts[] = {{.name = "a.test", .type = SERVER_A, .rcode = 3},
                                          {.name = "a.test", .type = SERVER_AAAA, .rcode = 3},
                                          {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_expect_eq(addresses_of(&b, "a.test"), DNS_NO_NAME);
    dns_server_close(&b.server);
    dns_age(b.dns, 61000);
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_TEMPORARY);
    bench_close(&b);
}

Test(dns, more_names_than_there_is_room_for)
{
    struct dns_server_script scripts[] = {{.name = NULL}};
    struct bench b = bench_open(scripts);
    char name[32];

    b.wanted = 3000;
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        dns_lookup_addresses(b.dns, name, on_addresses, &b);
    }
    run(&b);
    cr_expect_eq(b.addresses.answer.result, DNS_TEMPORARY);
    bench_close(&b);
}
