/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P5, P8: addresses whose names lead back, lead elsewhere, are not there, or cannot be looked up.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "dns_server.h"
#include "sender/sender_ptr.h"

#define PTR(data)                     \
    {                                 \
        "*", SERVER_PTR, data, 300, 0 \
    }
#define A(data)                     \
    {                               \
        "*", SERVER_A, data, 300, 0 \
    }
#define AAAA(data)                     \
    {                                  \
        "*", SERVER_AAAA, data, 300, 0 \
    }
#define ROW(of, which, ...)                                   \
    {                                                         \
        .name = of, .type = which, .records = { __VA_ARGS__ } \
    }
#define FAILED(of, which, code)                  \
    {                                            \
        .name = of, .type = which, .rcode = code \
    }
#define IN4 ".2.0.192.in-addr.arpa"

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct dns *dns;
    struct sender_ptr found;
    struct sender_ptr_check *check;
    unsigned calls;
};

static struct bench
bench_open(struct dns_server_script *scripts)
{
    struct bench b = {.loop = loop_new()};
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
    dns_server_close(&b->server);
    loop_free(&b->loop);
}

static void
on_done(void *ctx, const struct sender_ptr *found)
{
    struct bench *b = ctx;

    b->check = NULL;
    b->found = *found;
    b->calls++;
    loop_stop(b->loop);
}

static struct inet_endpoint
address(const char *text)
{
    struct inet_endpoint e;
    char bracketed[80];

    snprintf(bracketed, sizeof bracketed, strchr(text, ':') ? "[%s]" : "%s", text);
    cr_assert_eq(inet_endpoint_parse(slice_of(bracketed), 25, &e), ERR_OK, "%s", text);
    return e;
}

static enum sender_ptr_result
check(struct bench *b, const char *text)
{
    struct inet_endpoint e = address(text);

    b->calls = 0;
    b->check = sender_ptr_start(b->dns, &e, on_done, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    loop_run(b->loop);
    cr_assert_eq(b->calls, 1);
    return b->found.result;
}

Test(sender_ptr, addresses_and_their_names)
{
    struct dns_server_script scripts[] = {
        ROW("1" IN4, SERVER_PTR, PTR("Mail.acme.test")),
        ROW("mail.acme.test", SERVER_A, A("192.0.2.99"), A("192.0.2.1")),
        FAILED("2" IN4, SERVER_PTR, 3),
        ROW("3" IN4, SERVER_PTR),
        FAILED("4" IN4, SERVER_PTR, 2),
        ROW("5" IN4, SERVER_PTR, PTR("elsewhere.test")),
        ROW("elsewhere.test", SERVER_A, A("192.0.2.99")),
        ROW("6" IN4, SERVER_PTR, PTR("gone.test")),
        FAILED("gone.test", SERVER_A, 3),
        ROW("7" IN4, SERVER_PTR, PTR("fail.test")),
        FAILED("fail.test", SERVER_A, 2),
        ROW("8" IN4, SERVER_PTR, PTR("elsewhere.test"), PTR("fail.test"), PTR("mail8.test")),
        ROW("mail8.test", SERVER_A, A("192.0.2.8")),
        ROW("9" IN4, SERVER_PTR, PTR("elsewhere.test"), PTR("fail.test")),
        ROW("10" IN4, SERVER_PTR, PTR("a\r\nRCPT.test"), PTR("")),
        ROW("11" IN4, SERVER_PTR, PTR("a b.test"), PTR("mail11.test")),
        ROW("mail11.test", SERVER_A, A("192.0.2.11")),
        ROW("12" IN4, SERVER_PTR, {"*", SERVER_CNAME, "12.net.test", 300, 0},
            {"12.net.test", SERVER_PTR, "mail12.test", 300, 0}), /* RFC 2317 */
        ROW("mail12.test", SERVER_A, {"*", SERVER_CNAME, "real12.test", 300, 0},
            {"real12.test", SERVER_A, "192.0.2.12", 300, 0}),
        ROW("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", SERVER_PTR,
            PTR("six.test")),
        ROW("six.test", SERVER_AAAA, AAAA("2001:db8::1")),
        ROW("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", SERVER_PTR,
            PTR("mail.acme.test")),
        ROW("mail.acme.test", SERVER_AAAA),
        {.name = NULL}};
    static const struct {
        const char *name, *address;
        enum sender_ptr_result result;
        const char *host;
    } cases[] = {
        {"leads back", "192.0.2.1", SENDER_PTR_OK, "mail.acme.test"},
        {"no such name", "192.0.2.2", SENDER_PTR_NONE, ""},
        {"no data", "192.0.2.3", SENDER_PTR_NONE, ""},
        {"reverse zone fails", "192.0.2.4", SENDER_PTR_TEMPORARY, ""},
        {"leads elsewhere", "192.0.2.5", SENDER_PTR_MISMATCH, "elsewhere.test"},
        {"leads nowhere", "192.0.2.6", SENDER_PTR_MISMATCH, "gone.test"},
        {"its name fails", "192.0.2.7", SENDER_PTR_TEMPORARY, "fail.test"},
        {"one of three", "192.0.2.8", SENDER_PTR_OK, "mail8.test"},
        {"one fails, none confirms", "192.0.2.9", SENDER_PTR_TEMPORARY, "elsewhere.test"},
        {"no name of a host", "192.0.2.10", SENDER_PTR_MISMATCH, ""},
        {"one is a host's", "192.0.2.11", SENDER_PTR_OK, "mail11.test"},
        {"aliases on the way", "192.0.2.12", SENDER_PTR_OK, "mail12.test"},
        {"IPv6", "2001:db8::1", SENDER_PTR_OK, "six.test"},
        {"IPv6 with an A alone", "2001:db8::2", SENDER_PTR_MISMATCH, "mail.acme.test"},
    };
    struct bench b = bench_open(scripts);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        cr_expect_eq(check(&b, cases[i].address), cases[i].result, "%s: %d", cases[i].name,
                     b.found.result);
        cr_expect_str_eq(b.found.name, cases[i].host, "%s: %s", cases[i].name, b.found.name);
    }
    bench_close(&b);
}

Test(sender_ptr, ten_names_are_tried)
{
    struct dns_server_script scripts[] = {
        {.name = "1" IN4, .type = SERVER_PTR, .is_truncated = true},
        {.name = "2" IN4, .type = SERVER_PTR, .is_truncated = true},
        ROW("h9.test", SERVER_A, A("192.0.2.1")),
        ROW("h10.test", SERVER_A, A("192.0.2.2")),
        {.name = "*.test", .type = SERVER_A, .rcode = 3},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    char names[30][16];

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(names[i], sizeof names[i], "h%u.test", i);
        scripts[0].records[i] = (struct dns_server_record)PTR(names[i]);
        scripts[1].records[i] = (struct dns_server_record)PTR(names[i]);
    }
    cr_expect_eq(check(&b, "192.0.2.1"), SENDER_PTR_OK);
    cr_expect_str_eq(b.found.name, "h9.test");
    cr_expect_eq(check(&b, "192.0.2.2"), SENDER_PTR_MISMATCH, "the eleventh is not asked for");
    cr_expect_eq(scripts[3].asked, 0);
    bench_close(&b);
}

Test(sender_ptr, a_name_of_many_addresses)
{
    struct dns_server_script scripts[] = {
        ROW("1" IN4, SERVER_PTR, PTR("pool.test")),
        {.name = "pool.test", .type = SERVER_A, .is_truncated = true},
        {.name = NULL}};
    struct bench b = bench_open(scripts);
    char addresses[40][16];

    for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
        snprintf(addresses[i], sizeof addresses[i], "192.0.2.%u", 40 - i);
        scripts[1].records[i] = (struct dns_server_record)A(addresses[i]);
    }
    cr_expect_eq(check(&b, "192.0.2.1"), SENDER_PTR_OK);
    bench_close(&b);
}

Test(sender_ptr, cancelled_at_any_time_it_never_calls)
{
    struct dns_server_script scripts[] = {ROW("1" IN4, SERVER_PTR, PTR("a.test"), PTR("b.test")),
                                          {.name = "a.test", .type = SERVER_A, .is_silent = true},
                                          {.name = "b.test", .type = SERVER_A, .rcode = 3},
                                          ROW("2" IN4, SERVER_PTR, PTR("c.test")),
                                          ROW("c.test", SERVER_A, A("192.0.2.2")),
                                          {.name = NULL}};
    struct bench b = bench_open(scripts), other = {.loop = b.loop};
    struct inet_endpoint e = address("192.0.2.1");

    b.check = sender_ptr_start(b.dns, &e, on_done, &b); /* before the first answer */
    sender_ptr_cancel(&b.check);
    cr_expect_null(b.check);
    sender_ptr_cancel(&b.check);
    b.check = sender_ptr_start(b.dns, &e, on_done, &b); /* with names under way */
    e = address("192.0.2.2");
    other.check = sender_ptr_start(b.dns, &e, on_done, &other);
    loop_run(b.loop);
    cr_expect_eq(other.found.result, SENDER_PTR_OK);
    cr_assert_not_null(b.check);
    sender_ptr_cancel(&b.check);
    cr_expect_eq(b.calls, 0);
    bench_close(&b);
}

/* P5, P8: it takes two look-ups' deadlines at most, and is no refusal. */
Test(sender_ptr, a_dead_resolver)
{
    struct dns_server_script scripts[] = {{.name = NULL}};
    struct bench b = bench_open(scripts);
    int64_t began_ms = clock_monotonic_ms();

    dns_server_mute(b.server, true);
    cr_expect_eq(check(&b, "192.0.2.1"), SENDER_PTR_TEMPORARY);
    cr_expect(clock_monotonic_ms() - began_ms < 5500);
    bench_close(&b);
}
