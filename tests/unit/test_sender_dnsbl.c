/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P5, P8: lists that have an address or not; and lists that are dead, lie, or refuse to be asked,
 * which must never harm anybody's mail.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "dns_server.h"
#include "sender/sender_dnsbl.h"

#define ZEROS "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
#define LISTED6 "2.0.0.0.0.0.f.7.f.f.f.f." ZEROS "."
#define CLEAN6 "1.0.0.0.0.0.f.7.f.f.f.f." ZEROS "."

#define A(of, address)                                                                \
    {                                                                                 \
        .name = of, .type = SERVER_A, .records = { {"*", SERVER_A, address, 300, 0} } \
    }
#define TXT(of, text)                                                                  \
    {                                                                                  \
        .name = of, .type = SERVER_TXT, .records = { {"*", SERVER_TXT, text, 300, 0} } \
    }
#define FAILED(of, which, code)                  \
    {                                            \
        .name = of, .type = which, .rcode = code \
    }
#define TEST_ENTRIES(zone) A("2.0.0.127." zone, "127.0.0.2"), A(LISTED6 zone, "127.0.0.2")
#define NOBODY_ELSE FAILED("*.test", SERVER_A, 3), FAILED("*.test", SERVER_TXT, 3)

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct dns *dns;
    struct config config;
    struct sender_dnsbl *lists;
    char state[160]; /* the first list's, "asleep: why" */
    struct sender_dnsbl_check *check;
    struct sender_dnsbl_found found;
    unsigned calls;
    int log;
    struct loop_timer timer;
    const char *wanted; /* the first list's state that is waited for */
    int64_t until_ms;
};

static void
on_state(void *ctx, unsigned list, const char *name, enum sender_dnsbl_state state)
{
    struct bench *b = ctx;
    const char *why = sender_dnsbl_why(state);

    (void)name;
    if (list == 0)
        snprintf(b->state, sizeof b->state, "%s%s%s", sender_dnsbl_word(state), why[0] ? ": " : "",
                 why);
}

/* Lists end with NULL; behind it come the white ones. */
static struct bench *
bench_open(struct dns_server_script *scripts, const char *const *black, const char *const *white)
{
    static struct bench bench;
    struct bench *b = &bench;
    struct inet_endpoint resolver;
    union {
        const char *const *in;
        char **out;
    } words;

    memset(b, 0, sizeof *b);
    b->log = memfd_create("log", MFD_CLOEXEC);
    log_init("test", b->log, LOG_LEVEL_INFO);
    b->loop = loop_new();
    b->server = dns_server_open(b->loop, scripts);
    resolver = dns_server_endpoint(b->server);
    b->dns = dns_new(b->loop, &resolver);
    words.in = black;
    for (b->config.dnsbl.items = words.out; black[b->config.dnsbl.count] != NULL;)
        b->config.dnsbl.count++;
    words.in = white;
    b->config.dnswl.items = words.out;
    while (white != NULL && white[b->config.dnswl.count] != NULL)
        b->config.dnswl.count++;
    b->config.dnsbl_sleep_ms = 100;
    b->lists = sender_dnsbl_new(b->dns, &b->config, true);
    sender_dnsbl_listen(b->lists, on_state, b);
    return b;
}

static void
bench_close(struct bench *b)
{
    sender_dnsbl_free(&b->lists);
    dns_free(&b->dns);
    dns_server_close(&b->server);
    loop_free(&b->loop);
    log_init("test", STDERR_FILENO, LOG_LEVEL_INFO);
    close(b->log);
}

static void
on_look(void *ctx)
{
    struct bench *b = ctx;

    if (strncmp(b->state, b->wanted, strlen(b->wanted)) == 0 || loop_now_ms(b->loop) > b->until_ms)
        loop_stop(b->loop);
    else
        loop_timer_start(&b->timer, 5);
}

static void
wait_state(struct bench *b, const char *wanted)
{
    b->wanted = wanted;
    b->until_ms = loop_now_ms(b->loop) + 8000;
    loop_timer_init(&b->timer, b->loop, on_look, b);
    loop_timer_start(&b->timer, 1);
    loop_run(b->loop);
    loop_timer_cancel(&b->timer);
    cr_assert_eq(strncmp(b->state, wanted, strlen(wanted)), 0, "%s, not %s", b->state, wanted);
}

static unsigned
log_count(struct bench *b, const char *event)
{
    static char text[65536];
    ssize_t n = pread(b->log, text, sizeof text - 1, 0);
    unsigned count = 0;

    text[n > 0 ? n : 0] = '\0';
    for (const char *at = text; (at = strstr(at, event)) != NULL; at++)
        count++;
    return count;
}

static void
on_done(void *ctx, const struct sender_dnsbl_found *found)
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

    cr_assert_eq(inet_endpoint_parse(slice_of(text), 25, &e), ERR_OK, "%s", text);
    return e;
}

static enum sender_dnsbl_result
check(struct bench *b, const char *text)
{
    struct inet_endpoint e = address(text);

    b->calls = 0;
    b->check = sender_dnsbl_start(b->lists, &e, on_done, b);
    cr_assert_eq(b->calls, 0, "called from inside");
    loop_run(b->loop);
    cr_assert_eq(b->calls, 1);
    return b->found.result;
}

Test(sender_dnsbl, addresses_and_lists)
{
    static const char *const black[] = {"bl.test codes=127.0.0.2-127.0.0.4", "second.test", NULL};
    static const char *const white[] = {"wl.test", NULL};
    struct dns_server_script scripts[] = {
        TEST_ENTRIES("bl.test"),
        TEST_ENTRIES("second.test"),
        TEST_ENTRIES("wl.test"),
        A("1.2.0.192.bl.test", "127.0.0.4"),
        TXT("1.2.0.192.bl.test", "Listed:\r\n 250 see\thttps://bl.test/?192.0.2.1 \303\244 "),
        A("2.2.0.192.bl.test", "127.0.0.10"),
        A("3.2.0.192.bl.test", "203.0.113.3"),
        A("3.2.0.192.second.test", "203.0.113.3"),
        A("4.2.0.192.second.test", "127.0.0.2"),
        A("5.2.0.192.bl.test", "127.0.0.3"),
        A("5.2.0.192.second.test", "127.0.0.2"),
        FAILED("6.2.0.192.bl.test", SERVER_A, 2),
        A("6.2.0.192.second.test", "127.0.0.2"),
        FAILED("7.2.0.192.second.test", SERVER_A, 2),
        A("8.2.0.192.bl.test", "127.0.0.2"),
        A("8.2.0.192.wl.test", "127.0.5.1"),
        FAILED("9.2.0.192.wl.test", SERVER_A, 2),
        A("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test", "127.0.0.2"),
        {.name = "10.2.0.192.bl.test",
         .type = SERVER_A,
         .records = {{"*", SERVER_A, "127.0.0.200", 300, 0}, {"*", SERVER_A, "127.0.0.3", 300, 0}}},
        NOBODY_ELSE,
        {.name = NULL}};
    static const struct {
        const char *name, *address;
        enum sender_dnsbl_result result;
        const char *list, *code, *white, *reason;
    } cases[] = {
        {"listed", "192.0.2.1", SENDER_DNSBL_LISTED, "bl.test", "127.0.0.4", NULL,
         "Listed: 250 see https://bl.test/?192.0.2.1 ??"},
        {"a code that is not meant", "192.0.2.2", SENDER_DNSBL_CLEAN, NULL, NULL, NULL, ""},
        {"answers outside 127/8", "192.0.2.3", SENDER_DNSBL_CLEAN, NULL, NULL, NULL, ""},
        {"the second list", "192.0.2.4", SENDER_DNSBL_LISTED, "second.test", "127.0.0.2", NULL, ""},
        {"both: the first is named", "192.0.2.5", SENDER_DNSBL_LISTED, "bl.test", "127.0.0.3", NULL,
         ""},
        {"one fails, one has it", "192.0.2.6", SENDER_DNSBL_LISTED, "second.test", "127.0.0.2",
         NULL, ""},
        {"one fails, none has it", "192.0.2.7", SENDER_DNSBL_TEMPORARY, NULL, NULL, NULL, ""},
        {"listed, and known as good", "192.0.2.8", SENDER_DNSBL_LISTED, "bl.test", "127.0.0.2",
         "wl.test", ""},
        {"a white list fails", "192.0.2.9", SENDER_DNSBL_CLEAN, NULL, NULL, NULL, ""},
        {"one of its codes", "192.0.2.10", SENDER_DNSBL_LISTED, "bl.test", "127.0.0.3", NULL, ""},
        {"on none", "192.0.2.11", SENDER_DNSBL_CLEAN, NULL, NULL, NULL, ""},
        {"IPv6", "[2001:db8::1]", SENDER_DNSBL_LISTED, "bl.test", "127.0.0.2", NULL, ""},
        {"IPv6 on none", "[2001:db8::2]", SENDER_DNSBL_CLEAN, NULL, NULL, NULL, ""},
    };
    struct bench *b = bench_open(scripts, black, white);
    char code[INET_ENDPOINT_SIZE];

    wait_state(b, "awake");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct sender_dnsbl_found *found = &b->found;

        cr_expect_eq(check(b, cases[i].address), cases[i].result, "%s: %d", cases[i].name,
                     found->result);
        cr_expect((cases[i].white == NULL) == (found->white_list == NULL), "%s", cases[i].name);
        cr_expect((cases[i].list == NULL) == (found->list == NULL), "%s", cases[i].name);
        cr_expect_str_eq(found->reason, cases[i].reason, "%s: %s", cases[i].name, found->reason);
        if (cases[i].list == NULL || found->list == NULL)
            continue;
        cr_expect_str_eq(found->list, cases[i].list, "%s", cases[i].name);
        cr_expect_str_eq(inet_address_text(&found->code, code), cases[i].code, "%s", cases[i].name);
    }
    cr_expect_eq(log_count(b, "dnsbl"), 0, "all is well");
    bench_close(b);
}

/* What it says of 127.0.0.2 and 127.0.0.1 decides whether it is asked at all. */
Test(sender_dnsbl, lists_that_are_not_to_be_believed)
{
    static const char *const black[] = {"bl.test", NULL};
    static const struct {
        const char *name;
        struct dns_server_script listed, clean;
        const char *state, *event;
    } cases[] = {
        {"lists everybody", A("2.0.0.127.bl.test", "127.0.0.2"),
         A("1.0.0.127.bl.test", "127.0.0.2"), "asleep: it fails its test", "dnsbl-asleep"},
        {"lists nobody", FAILED("2.0.0.127.bl.test", SERVER_A, 3),
         FAILED("1.0.0.127.bl.test", SERVER_A, 3), "asleep: it fails its test", "dnsbl-asleep"},
        {"parked", A("2.0.0.127.bl.test", "203.0.113.9"), A("1.0.0.127.bl.test", "203.0.113.9"),
         "asleep: it fails its test", "dnsbl-asleep"},
        {"dead", FAILED("2.0.0.127.bl.test", SERVER_A, 2), FAILED("1.0.0.127.bl.test", SERVER_A, 2),
         "asleep: it does not answer", "dnsbl-asleep"},
        {"refuses", A("2.0.0.127.bl.test", "127.255.255.254"),
         A("1.0.0.127.bl.test", "127.255.255.254"), "asleep: it refuses", "dnsbl-refuses-us"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct dns_server_script scripts[] = {
            cases[i].listed, cases[i].clean, A("*.test", "127.0.0.2"), {.name = NULL}};
        struct bench *b = bench_open(scripts, black, NULL);

        cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_CLEAN, "%s: before its first test",
                     cases[i].name);
        wait_state(b, cases[i].state);
        cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_CLEAN, "%s", cases[i].name);
        cr_expect_eq(log_count(b, cases[i].event), 1, "%s", cases[i].name);
        bench_close(b);
    }
}

Test(sender_dnsbl, a_list_that_dies_sleeps_and_wakes_when_it_is_back)
{
    static const char *const black[] = {"bl.test", NULL};
    struct dns_server_script scripts[] = {
        TEST_ENTRIES("bl.test"), A("1.2.0.192.bl.test", "127.0.0.2"), NOBODY_ELSE, {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);

    wait_state(b, "awake");
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_LISTED);
    for (struct dns_server_script *script = scripts; script->name != NULL; script++)
        script->rcode = 2;
    dns_age(b->dns, 301000);
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_TEMPORARY, "what is stale is nothing");
    cr_expect_eq(check(b, "192.0.2.2"), SENDER_DNSBL_TEMPORARY);
    cr_expect_eq(check(b, "192.0.2.3"), SENDER_DNSBL_TEMPORARY);
    wait_state(b, "asleep: it does not answer");
    cr_expect_eq(check(b, "192.0.2.4"), SENDER_DNSBL_CLEAN, "it is not asked");
    for (struct dns_server_script *script = scripts; script->name != NULL; script++)
        script->rcode = strchr(script->name, '*') ? 3 : 0;
    dns_age(b->dns, 31000);
    wait_state(b, "awake");
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_LISTED);
    cr_expect_eq(log_count(b, "dnsbl-asleep"), 1, "however often it was tested");
    cr_expect_eq(log_count(b, "dnsbl-awake"), 1);
    bench_close(b);
}

Test(sender_dnsbl, a_list_that_begins_to_refuse_is_asleep_at_once)
{
    static const char *const black[] = {"bl.test", NULL};
    struct dns_server_script scripts[] = {TEST_ENTRIES("bl.test"),
                                          A("1.2.0.192.bl.test", "127.255.255.255"),
                                          A("2.2.0.192.bl.test", "127.0.0.2"),
                                          NOBODY_ELSE,
                                          {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);

    wait_state(b, "awake");
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_CLEAN);
    cr_expect_eq(log_count(b, "dnsbl-refuses-us"), 1);
    cr_expect_eq(check(b, "192.0.2.2"), SENDER_DNSBL_CLEAN);
    bench_close(b);
}

Test(sender_dnsbl, a_list_without_a_test)
{
    static const char *const black[] = {"bl.test test=no name=shown.test", NULL};
    struct dns_server_script scripts[] = {
        A("1.2.0.192.bl.test", "127.0.0.2"), FAILED("*.bl.test", SERVER_A, 2), {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);

    cr_expect_str_eq(b->state, "awake");
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_LISTED);
    cr_expect_str_eq(b->found.list, "shown.test");
    cr_expect_eq(check(b, "192.0.2.2"), SENDER_DNSBL_TEMPORARY);
    cr_expect_eq(check(b, "192.0.2.3"), SENDER_DNSBL_TEMPORARY);
    cr_expect_eq(check(b, "192.0.2.4"), SENDER_DNSBL_TEMPORARY);
    cr_expect_eq(check(b, "192.0.2.5"), SENDER_DNSBL_CLEAN, "asleep");
    cr_expect_eq(log_count(b, "dnsbl-asleep"), 1);
    wait_state(b, "awake");
    bench_close(b);
}

Test(sender_dnsbl, a_list_without_ipv6_is_not_asked_about_it)
{
    static const char *const black[] = {"bl.test", NULL};
    struct dns_server_script scripts[] = {A("2.0.0.127.bl.test", "127.0.0.2"),
                                          FAILED("1.0.0.127.bl.test", SERVER_A, 3),
                                          FAILED(LISTED6 "bl.test", SERVER_A, 3),
                                          FAILED(CLEAN6 "bl.test", SERVER_A, 3),
                                          A("*.2.bl.test", "127.0.0.2"),
                                          NOBODY_ELSE,
                                          {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);

    wait_state(b, "awake");
    cr_expect_eq(check(b, "[2001:db8::1]"), SENDER_DNSBL_CLEAN);
    cr_expect_eq(scripts[4].asked, 0);
    bench_close(b);
}

Test(sender_dnsbl, a_reason_is_not_waited_for_long)
{
    static const char *const black[] = {"bl.test", NULL};
    struct dns_server_script scripts[] = {
        TEST_ENTRIES("bl.test"),
        A("1.2.0.192.bl.test", "127.0.0.2"),
        {.name = "1.2.0.192.bl.test", .type = SERVER_TXT, .is_silent = true},
        NOBODY_ELSE,
        {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);
    int64_t began_ms;

    wait_state(b, "awake");
    began_ms = clock_monotonic_ms();
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_LISTED);
    cr_expect(clock_monotonic_ms() - began_ms < 1400);
    cr_expect_str_eq(b->found.reason, "");
    bench_close(b);
}

Test(sender_dnsbl, no_lists_at_all_and_cancelling)
{
    static const char *const black[] = {NULL};
    struct dns_server_script scripts[] = {{.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);
    struct inet_endpoint e = address("192.0.2.1");
    struct sender_dnsbl_check *cancelled = sender_dnsbl_start(b->lists, &e, on_done, b);

    sender_dnsbl_cancel(&cancelled);
    cr_expect_null(cancelled);
    cr_expect_eq(check(b, "192.0.2.1"), SENDER_DNSBL_CLEAN);
    cr_expect_str_eq(b->state, "", "there is no list");
    bench_close(b);
}

Test(sender_dnsbl, cancelled_with_questions_under_way)
{
    static const char *const black[] = {"bl.test", NULL};
    struct dns_server_script scripts[] = {
        TEST_ENTRIES("bl.test"),
        {.name = "1.2.0.192.bl.test", .type = SERVER_A, .is_silent = true},
        NOBODY_ELSE,
        {.name = NULL}};
    struct bench *b = bench_open(scripts, black, NULL);
    struct inet_endpoint e = address("192.0.2.1");
    struct sender_dnsbl_check *cancelled;

    wait_state(b, "awake");
    cancelled = sender_dnsbl_start(b->lists, &e, on_done, b);
    cr_expect_eq(check(b, "192.0.2.2"), SENDER_DNSBL_CLEAN);
    sender_dnsbl_cancel(&cancelled);
    cr_expect_eq(b->calls, 1);
    bench_close(b);
}
