/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: names against a scripted server: what is answered, in which order, how long it takes, and
 * what is left when the server is gone.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "dns/dns.h"
#include "dns/dns_reverse.h"
#include "dns_server.h"

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct dns *dns;
    struct dns_addresses addresses;
    struct dns_hosts hosts;
    struct dns_records records;
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
on_records(void *ctx, const struct dns_records *found)
{
    struct bench *b = ctx;

    b->records = *found;
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
    b->lookup = dns_lookup_addresses(b->dns, DNS_FOR_BACKEND, name, on_addresses, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    run(b);
    return b->addresses.answer.result;
}

static enum dns_result
hosts_of(struct bench *b, const char *name)
{
    b->lookup = dns_lookup_hosts(b->dns, DNS_FOR_BACKEND, name, on_hosts, b);
    run(b);
    return b->hosts.answer.result;
}

static enum dns_result
records_of(struct bench *b, const char *name, enum dns_type type)
{
    b->lookup = dns_lookup_records(b->dns, name, type, on_records, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    run(b);
    return b->records.answer.result;
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

    cr_expect_not(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "a.test", &found),
                  "asked for, not waited for");
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_eq(scripts[0].asked, 1, "a query in flight is shared");
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "a.test", &found));
    cr_expect_eq(found.answer.ttl_s, 20, "%u", found.answer.ttl_s);
    dns_age(b.dns, 19000);
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "a.test", &found));
    dns_age(b.dns, 2000);
    cr_expect_not(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "a.test", &found));
    cr_expect_eq(addresses_of(&b, "a.test"), DNS_OK);
    cr_expect_eq(scripts[0].asked, 2);
    cr_expect_eq(scripts[1].asked, 1, "that it has no other is kept for a minute");

    cr_expect_eq(addresses_of(&b, "brief.test"), DNS_OK);
    dns_age(b.dns, 4000);
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "brief.test", &found), "5 s at least");

    cr_expect_eq(addresses_of(&b, "gone.test"), DNS_NO_NAME);
    dns_age(b.dns, 59000);
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "gone.test", &found));
    dns_age(b.dns, 2000);
    cr_expect_not(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "gone.test", &found));
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
    cancelled = dns_lookup_addresses(b.dns, DNS_FOR_BACKEND, "a.test", on_addresses, &b);
    for (unsigned i = 0; i < 50; i++)
        dns_lookup_addresses(b.dns, DNS_FOR_BACKEND, "a.test", on_addresses, &b);
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
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "mute.test", &found),
              "the failure is known now");
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

Test(dns, records_of_a_type)
{
    struct dns_server_script scripts[] = {
        {.name = "text.test",
         .type = SERVER_TXT,
         .is_authentic = true,
         .records = {{"text.test", SERVER_TXT, "v=spf1 -all", 300, 0},
                     {"text.test", SERVER_TXT, "a\0b", 200, 3}}},
        {.name = "9.2.0.192.in-addr.arpa",
         .type = SERVER_PTR,
         .records = {{"*", SERVER_PTR, "Mail.acme.test", 300, 0},
                     {"*", SERVER_PTR, "bad\nname.test", 300, 0}}},
        {.name = "_25._tcp.mail.test",
         .type = SERVER_TLSA,
         .records = {{"*", SERVER_TLSA, "\3\1\1\0hash", 300, 8}}},
        {.name = "alias.test",
         .type = SERVER_A,
         .records = {CNAME("alias.test", "end.test"), A("end.test", "192.0.2.7")}},
        {.name = "mx.test",
         .type = SERVER_MX,
         .records = {MX("mx.test", 10, "192.0.2.1"), MX("mx.test", 5, "")}},
        NOTHING("empty.test", SERVER_TXT),
        {.name = "none.test", .type = SERVER_TXT, .rcode = 3},
        {.name = "fail.test", .type = SERVER_TXT, .rcode = 2},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_records found;

    cr_expect_not(dns_find_records(b.dns, "Text.test.", DNS_TYPE_TXT, &found));
    cr_assert_eq(records_of(&b, "text.TEST", DNS_TYPE_TXT), DNS_OK);
    cr_assert(dns_find_records(b.dns, "text.test", DNS_TYPE_TXT, &found));
    cr_assert_eq(found.count, 2);
    cr_expect(slice_equal(found.items[0].data, slice_of("v=spf1 -all")));
    cr_expect(slice_equal(found.items[1].data, (struct slice){"a\0b", 3}));
    cr_expect_eq(found.answer.ttl_s, 200);
    cr_expect(found.answer.is_authentic);
    cr_expect_not(found.is_alias);
    cr_expect_eq(scripts[0].asked, 1, "one question, however it is spelled");

    records_of(&b, "9.2.0.192.in-addr.arpa", DNS_TYPE_PTR);
    cr_assert(dns_find_records(b.dns, "9.2.0.192.in-addr.arpa", DNS_TYPE_PTR, &found));
    cr_assert_eq(found.count, 2);
    cr_expect_str_eq(found.items[0].name, "mail.acme.test");
    cr_expect_str_eq(found.items[1].name, "", "no name of a host");

    records_of(&b, "_25._tcp.mail.test", DNS_TYPE_TLSA);
    cr_assert(dns_find_records(b.dns, "_25._tcp.mail.test", DNS_TYPE_TLSA, &found));
    cr_expect(slice_equal(found.items[0].data, (struct slice){"\3\1\1\0hash", 8}));

    cr_expect_eq(records_of(&b, "alias.test", DNS_TYPE_A), DNS_OK);
    cr_expect(b.records.is_alias);
    records_of(&b, "mx.test", DNS_TYPE_MX);
    cr_assert(dns_find_records(b.dns, "mx.test", DNS_TYPE_MX, &found));
    cr_expect_str_eq(found.items[0].name, "192.0.2.1");
    cr_expect(found.items[1].is_root);

    cr_expect_eq(records_of(&b, "empty.test", DNS_TYPE_TXT), DNS_NO_DATA);
    cr_expect_eq(b.records.count, 0);
    cr_expect_eq(records_of(&b, "none.test", DNS_TYPE_TXT), DNS_NO_NAME);
    cr_expect_eq(records_of(&b, "fail.test", DNS_TYPE_TXT), DNS_TEMPORARY);
    bench_close(&b);
}

Test(dns, sixty_four_texts_come_by_tcp)
{
    struct dns_server_script scripts[] = {
        {.name = "many.test", .type = SERVER_TXT, .is_truncated = true}, {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_records found;
    char text[200];

    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < DNS_RECORDS_MAX; i++)
        scripts[0].records[i] = (struct dns_server_record){"*", SERVER_TXT, text, 300, sizeof text};
    scripts[0].records[DNS_RECORDS_MAX - 1].data = "v=spf1 -all";
    scripts[0].records[DNS_RECORDS_MAX - 1].preference = 0;
    cr_assert_eq(records_of(&b, "many.test", DNS_TYPE_TXT), DNS_OK);
    cr_expect_eq(scripts[0].asked_by_tcp, 1);
    cr_assert(dns_find_records(b.dns, "many.test", DNS_TYPE_TXT, &found));
    cr_assert_eq(found.count, DNS_RECORDS_MAX);
    cr_expect(slice_equal(found.items[DNS_RECORDS_MAX - 1].data, slice_of("v=spf1 -all")));
    bench_close(&b);
}

Test(dns, what_is_borrowed_lives_until_the_end_of_the_turn)
{
    struct dns_server_script scripts[] = {
        {.name = "*.test", .type = SERVER_TXT, .records = {{"*", SERVER_TXT, "text", 300, 0}}},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_records found, other;
    char name[32];

    cr_assert_eq(records_of(&b, "a.test", DNS_TYPE_TXT), DNS_OK);
    cr_assert(dns_find_records(b.dns, "a.test", DNS_TYPE_TXT, &found));
    for (unsigned i = 0; i < 20000; i++) { /* so many that it is evicted */
        snprintf(name, sizeof name, "n%u.other", i);
        dns_find_records(b.dns, name, DNS_TYPE_TXT, &other);
    }
    cr_assert(dns_find_records(b.dns, "a.test", DNS_TYPE_TXT, &other));
    cr_expect_eq(other.answer.result, DNS_TEMPORARY);
    cr_expect(slice_equal(found.items[0].data, slice_of("text")));
    bench_close(&b);
}

Test(dns, a_stale_text_is_told_of_and_a_stale_absence_is_no_fact)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_TXT, .records = {{"*", SERVER_TXT, "text", 300, 0}}},
        {.name = "none.test", .type = SERVER_TXT, .rcode = 3},
        {.name = NULL}};
    struct bench b = bench_open(scripts);

    cr_assert_eq(records_of(&b, "a.test", DNS_TYPE_TXT), DNS_OK);
    cr_assert_eq(records_of(&b, "none.test", DNS_TYPE_TXT), DNS_NO_NAME);
    dns_server_close(&b.server);
    dns_age(b.dns, 301000);
    cr_expect_eq(records_of(&b, "a.test", DNS_TYPE_TXT), DNS_OK);
    cr_expect(b.records.answer.is_stale);
    cr_expect_eq(b.records.answer.ttl_s, 0);
    cr_expect_eq(records_of(&b, "none.test", DNS_TYPE_TXT), DNS_TEMPORARY);
    bench_close(&b);
}

Test(dns, how_long_an_absence_is_remembered)
{
    static const struct {
        const char *name;
        bool is_backend;
        uint32_t soa_s;
        int64_t kept_s;
    } cases[] = {
        {"policy-short.test", false, 20, 20},
        {"policy-long.test", false, 86400, 300},
        {"backend-long.test", true, 86400, 60},
        {"backend-short.test", true, 20, 20},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct dns_server_script scripts[] = {
            {.name = "*.test",
             .type = SERVER_MX,
             .rcode = 3,
             .records = {{"test", SERVER_SOA, "", cases[i].soa_s, 0}}},
            {.name = NULL}};
        struct bench b = bench_open(scripts);
        struct dns_hosts found;
        enum dns_cause cause = cases[i].is_backend ? DNS_FOR_BACKEND : DNS_FOR_POLICY;

        b.lookup = dns_lookup_hosts(b.dns, cause, cases[i].name, on_hosts, &b);
        run(&b);
        cr_expect_eq(b.hosts.answer.result, DNS_NO_NAME);
        dns_age(b.dns, (cases[i].kept_s - 2) * 1000);
        cr_expect(dns_find_hosts(b.dns, cause, cases[i].name, &found), "%s", cases[i].name);
        dns_age(b.dns, 3000);
        cr_expect_not(dns_find_hosts(b.dns, cause, cases[i].name, &found), "%s", cases[i].name);
        bench_close(&b);
    }
}

Test(dns, what_strangers_asked_for_is_a_backends_by_its_rules)
{
    struct dns_server_script scripts[] = {{.name = "a.test", .type = SERVER_MX, .rcode = 3},
                                          {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_hosts found;

    cr_expect_eq(records_of(&b, "a.test", DNS_TYPE_MX), DNS_NO_NAME);
    cr_expect(dns_find_hosts(b.dns, DNS_FOR_BACKEND, "a.test", &found));
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).questions, 0);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).bytes, 0);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_BACKEND).questions, 1);
    dns_age(b.dns, 61000);
    cr_expect_not(dns_find_hosts(b.dns, DNS_FOR_BACKEND, "a.test", &found), "not for 5 minutes");
    bench_close(&b);
}

static void
on_stop(void *ctx)
{
    loop_stop(ctx);
}

static void
on_failed(void *ctx, const struct dns_records *found)
{
    unsigned *failed = ctx;

    *failed += found->answer.result == DNS_TEMPORARY;
}

/* P8, P5: the resolver is dead for what strangers ask, thousands of times, and not for a backend.
 */
Test(dns, strangers_questions_do_not_starve_a_backends)
{
    struct dns_server_script scripts[] = {
        {.name = "backend.test", .type = SERVER_A, .records = {A("backend.test", "192.0.2.1")}},
        NOTHING("backend.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct loop_timer timer;
    unsigned failed = 0;
    char name[32];

    dns_server_mute_others(b.server);
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        dns_lookup_records(b.dns, name, DNS_TYPE_PTR, on_failed, &failed);
    }
    loop_timer_init(&timer, b.loop, on_stop, b.loop);
    loop_timer_start(&timer, 200);
    loop_run(b.loop);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).queries, 2048);
    cr_expect_eq(failed, 5000 - 2048, "%u: for the others there is no room", failed);
    cr_expect_eq(addresses_of(&b, "backend.test"), DNS_OK);
    cr_expect(b.took_ms < 1000, "%lld ms", (long long)b.took_ms);

    loop_timer_start(&timer, 5500);
    loop_run(b.loop);
    cr_expect_eq(failed, 5000, "%u", failed);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).queries, 0);
    loop_timer_cancel(&timer);
    bench_close(&b);
}

/* P5: and a name that is answered is, while the rest of the room is full of those that are not. */
Test(dns, dead_names_give_way_to_those_that_are_answered)
{
    struct dns_server_script scripts[] = {
        {.name = "good.test", .type = SERVER_A, .records = {A("good.test", "192.0.2.1")}},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct loop_timer timer;
    unsigned failed = 0;
    char name[32];

    dns_server_mute_others(b.server);
    for (unsigned i = 0; i < 2048; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        dns_lookup_records(b.dns, name, DNS_TYPE_PTR, on_failed, &failed);
    }
    cr_expect_eq(records_of(&b, "good.test", DNS_TYPE_A), DNS_TEMPORARY, "all may be answered yet");
    loop_timer_init(&timer, b.loop, on_stop, b.loop);
    loop_timer_start(&timer, 1100);
    loop_run(b.loop);
    cr_expect_eq(failed, 0);
    dns_age(b.dns, 5000); /* its failure is forgotten */
    cr_expect_eq(records_of(&b, "good.test", DNS_TYPE_A), DNS_OK);
    cr_expect_eq(failed, 1, "%u: the oldest has gone", failed);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).queries, 2047);
    loop_timer_start(&timer, 5500);
    loop_run(b.loop);
    cr_expect_eq(failed, 2048, "%u", failed);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).queries, 0);
    loop_timer_cancel(&timer);
    bench_close(&b);
}

Test(dns, the_cache_is_bounded_in_questions_and_strangers_do_not_evict_a_backends)
{
    struct dns_server_script scripts[] = {
        {.name = "backend.test", .type = SERVER_A, .records = {A("backend.test", "192.0.2.1")}},
        NOTHING("backend.test", SERVER_AAAA),
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_addresses found;
    char name[32];

    cr_expect_eq(addresses_of(&b, "backend.test"), DNS_OK);
    b.wanted = 20000;
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        dns_lookup_records(b.dns, name, DNS_TYPE_PTR, on_records, &b);
    }
    run(&b);
    b.wanted = 1;
    records_of(&b, "one-more.test", DNS_TYPE_PTR);
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).questions, 14336, "%u",
                 dns_usage(b.dns, DNS_FOR_POLICY).questions);
    cr_expect(dns_find_addresses(b.dns, DNS_FOR_BACKEND, "backend.test", &found));
    bench_close(&b);
}

Test(dns, the_cache_is_bounded_in_octets)
{
    struct dns_server_script scripts[] = {
        {.name = "*.test", .type = SERVER_TXT, .is_truncated = true}, {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_usage usage;
    struct dns_records found;
    char name[32], text[15000];

    memset(text, 'x', sizeof text);
    scripts[0].records[0] = (struct dns_server_record){"*", SERVER_TXT, text, 300, sizeof text};
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        cr_assert_eq(records_of(&b, name, DNS_TYPE_TXT), DNS_OK);
        usage = dns_usage(b.dns, DNS_FOR_POLICY);
        cr_assert(usage.bytes <= 12 << 20, "%zu", usage.bytes);
    }
    cr_expect(usage.questions > 700 && usage.questions < 1000, "%u", usage.questions);
    cr_expect(dns_find_records(b.dns, "n999.test", DNS_TYPE_TXT, &found));
    cr_expect_not(dns_find_records(b.dns, "n0.test", DNS_TYPE_TXT, &found));
    bench_close(&b);
}

Test(dns, a_callback_may_cancel_the_others)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_TXT, .records = {{"*", SERVER_TXT, "text", 300, 0}}},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_lookup *others[3];

    for (unsigned i = 0; i < ARRAY_SIZE(others); i++)
        others[i] = dns_lookup_records(b.dns, "a.test", DNS_TYPE_TXT, on_failed, NULL);
    dns_lookup_cancel(&others[1]);
    dns_lookup_cancel(&others[0]);
    dns_lookup_cancel(&others[2]);
    cr_expect_eq(records_of(&b, "a.test", DNS_TYPE_TXT), DNS_OK);
    bench_close(&b);
}

Test(dns, a_peek_asks_nothing)
{
    struct dns_server_script scripts[] = {
        {.name = "a.test", .type = SERVER_A, .records = {A("a.test", "192.0.2.1")}},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    struct dns_records found;

    cr_expect_not(dns_peek_records(b.dns, "a.test", DNS_TYPE_A, &found));
    cr_expect_eq(dns_usage(b.dns, DNS_FOR_POLICY).questions, 0);
    cr_assert_eq(records_of(&b, "a.test", DNS_TYPE_A), DNS_OK);
    cr_assert(dns_peek_records(b.dns, "A.test", DNS_TYPE_A, &found));
    cr_expect_eq(found.answer.result, DNS_OK);
    cr_expect_eq(found.count, 1);
    dns_age(b.dns, 301000);
    cr_expect_not(dns_peek_records(b.dns, "a.test", DNS_TYPE_A, &found), "it is stale");
    cr_expect_eq(scripts[0].asked, 1);
    bench_close(&b);
}

Test(dns, names_of_addresses)
{
    static const struct {
        const char *address, *name;
    } cases[] = {
        {"192.0.2.9", "9.2.0.192.in-addr.arpa"},
        {"2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
                               "ip6.arpa"}, /* RFC 3596 2.5 spells one so */
    };
    char name[DNS_REVERSE_SIZE], zone_name[DNS_REVERSE_SIZE + INET_DOMAIN_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct inet_endpoint e;
        size_t n;

        if (cases[i].address[4] == ':') {
            char text[INET_ENDPOINT_SIZE];

            snprintf(text, sizeof text, "[%s]", cases[i].address);
            cr_assert_eq(inet_endpoint_parse(slice_of(text), 1, &e), ERR_OK);
        } else
            cr_assert_eq(inet_endpoint_parse(slice_of(cases[i].address), 1, &e), ERR_OK);
        cr_expect_str_eq(dns_reverse_name(&e, name), cases[i].name);
        n = strlen(name) - strlen(e.family == 4 ? "in-addr.arpa" : "ip6.arpa");
        dns_zone_name(&e, "list.test", zone_name);
        cr_expect(strncmp(zone_name, name, n) == 0 && strcmp(zone_name + n, "list.test") == 0, "%s",
                  zone_name);
    }
}

Test(dns, more_names_than_there_is_room_for)
{
    struct dns_server_script scripts[] = {{.name = NULL}};
    struct bench b = bench_open(scripts);
    char name[32];

    b.wanted = 3000;
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "n%u.test", i);
        dns_lookup_addresses(b.dns, DNS_FOR_BACKEND, name, on_addresses, &b);
    }
    run(&b);
    cr_expect_eq(b.addresses.answer.result, DNS_TEMPORARY);
    bench_close(&b);
}
