/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: the machine of surveys: a judge is run until nothing is missing, what does not come in time
 * is temporary, and a survey that is freed is never heard of again.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "dns_server.h"
#include "survey/survey.h"

#define A(data)                     \
    {                               \
        "*", SERVER_A, data, 300, 0 \
    }

struct bench {
    struct loop *loop;
    struct dns_server *server;
    struct survey_world world;
    struct config config;
    char *names[1];
    unsigned runs, calls;
    unsigned chain; /* names that follow on each other */
};

static void
bench_open(struct bench *b, struct dns_server_script *scripts)
{
    static char ours[] = "mx1.isp.test";
    struct inet_endpoint resolver;

    *b = (struct bench){.loop = loop_new()};
    b->names[0] = ours;
    b->config.mx_names.items = b->names;
    b->config.mx_names.count = 1;
    b->config.hostname = ours;
    b->server = dns_server_open(b->loop, scripts);
    resolver = dns_server_endpoint(b->server);
    b->world = (struct survey_world){.dns = dns_new(b->loop, &resolver), .config = &b->config};
}

static void
bench_close(struct bench *b)
{
    dns_free(&b->world.dns);
    dns_server_close(&b->server);
    loop_free(&b->loop);
}

static void
on_done(void *ctx)
{
    struct bench *b = ctx;

    b->calls++;
    loop_stop(b->loop);
}

/* Each name's existence is a finding, and the next is asked only when it is known. */
static void
judge_chain(struct survey *survey, const void *question)
{
    struct bench *b = *(struct bench *const *)question;
    char name[32];

    b->runs++;
    for (unsigned i = 0; i < b->chain; i++) {
        const struct survey_answer *answer;

        snprintf(name, sizeof name, "h%u.acme.test", i);
        answer = survey_ask(survey, name, DNS_TYPE_A);
        if (answer->result == DNS_TEMPORARY) {
            survey_find(survey, SURVEY_TARGET_UNKNOWN, name, "%s", "");
            return;
        }
        survey_find(survey, answer->result == DNS_OK ? SURVEY_TARGET_OK : SURVEY_TARGET_MISSING,
                    name, "%u", answer->count);
    }
}

static struct survey *
run(struct bench *b)
{
    struct survey *survey = survey_start(&b->world, "acme.test", judge_chain, &b, on_done, b);

    cr_assert_eq(b->runs, 0, "run from inside");
    loop_run(b->loop);
    cr_assert_eq(b->calls, 1);
    return survey;
}

Test(survey, a_judge_is_run_until_nothing_is_missing)
{
    struct dns_server_script scripts[] = {
        {.name = "h0.acme.test", .type = SERVER_A, .records = {A("192.0.2.1"), A("192.0.2.2")}},
        {.name = "h1.acme.test", .type = SERVER_A, .rcode = 3},
        {.name = "h2.acme.test", .type = SERVER_A, .records = {A("192.0.2.3")}},
        {.name = NULL},
    };
    struct bench b;
    struct survey *survey;

    bench_open(&b, scripts);
    b.chain = 3;
    survey = run(&b);
    cr_expect_eq(b.runs, 4);
    cr_assert_eq(survey_count(survey), 3, "findings of earlier runs are gone");
    cr_expect_eq(survey_item(survey, 0)->id, SURVEY_TARGET_OK);
    cr_expect_str_eq(survey_item(survey, 0)->text, "h0.acme.test has 2.");
    cr_expect_eq(survey_item(survey, 1)->id, SURVEY_TARGET_MISSING);
    cr_expect_eq(survey_count_of(survey, FINDING_PASS), 2);
    cr_expect_eq(survey_count_of(survey, FINDING_FAIL), 1);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(scripts[i].asked, 1, "each is asked once");
    survey_free(&survey);
    bench_close(&b);
}

Test(survey, what_does_not_come_in_time_is_temporary)
{
    struct dns_server_script scripts[] = {
        {.name = "h0.acme.test", .type = SERVER_A, .records = {A("192.0.2.1")}},
        {.name = "h1.acme.test", .type = SERVER_A, .is_silent = true},
        {.name = NULL},
    };
    int64_t began_ms = clock_monotonic_ms();
    struct bench b;
    struct survey *survey;

    bench_open(&b, scripts);
    b.chain = 5;
    survey = run(&b);
    cr_expect_geq(clock_monotonic_ms() - began_ms, SURVEY_ANSWER_MS - 100);
    cr_expect_leq(clock_monotonic_ms() - began_ms, SURVEY_ANSWER_MS + 2000);
    cr_assert_eq(survey_count(survey), 2);
    cr_expect_eq(survey_item(survey, 1)->id, SURVEY_TARGET_UNKNOWN);
    survey_free(&survey);
    bench_close(&b);
}

static void
stop(void *ctx)
{
    loop_stop(ctx);
}

Test(survey, one_that_is_freed_is_not_heard_of_again)
{
    struct dns_server_script scripts[] = {
        {.name = "h0.acme.test", .type = SERVER_A, .records = {A("192.0.2.1")}},
        {.name = NULL},
    };
    struct loop_timer timer;
    struct bench b, *held = &b;
    struct survey *survey;

    bench_open(&b, scripts);
    b.chain = 1;
    survey = survey_start(&b.world, "acme.test", judge_chain, &held, on_done, &b);
    survey_free(&survey);
    cr_expect_null(survey);
    survey = survey_start(&b.world, "acme.test", judge_chain, &held, on_done, &b);
    loop_timer_init(&timer, b.loop, stop, b.loop);
    loop_timer_start(&timer, 0);
    loop_run(b.loop);
    survey_free(&survey);
    loop_timer_start(&timer, 200);
    loop_run(b.loop);
    loop_timer_cancel(&timer);
    cr_expect_eq(b.calls, 0);
    bench_close(&b);
}

/* A hostile domain gets no more of our time. */
Test(survey, facts_are_bounded)
{
    struct dns_server_script scripts[] = {
        {.name = "*.acme.test", .type = SERVER_A, .records = {A("192.0.2.1")}},
        {.name = NULL},
    };
    struct bench b;
    struct survey *survey;

    bench_open(&b, scripts);
    b.chain = 600;
    survey = run(&b);
    cr_expect_leq(scripts[0].asked, 512);
    cr_expect_geq(scripts[0].asked, 200);
    survey_free(&survey);
    bench_close(&b);
}

Test(survey, addresses_that_the_world_cannot_reach)
{
    static const struct {
        const char *text;
        bool is_public;
    } cases[] = {
        {"192.0.2.1", true},     {"10.1.2.3", false},     {"172.15.0.1", true},
        {"172.16.0.1", false},   {"172.31.255.1", false}, {"172.32.0.1", true},
        {"192.168.3.4", false},  {"100.64.0.1", false},   {"100.128.0.1", true},
        {"169.254.1.1", false},  {"0.0.0.0", false},      {"127.0.0.1", false},
        {"[2001:db8::1]", true}, {"[fd00::1]", false},    {"[fe80::1]", false},
        {"[::1]", false},        {"[::]", false},         {"127.0.0.77", true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct inet_endpoint e;

        cr_assert_eq(inet_endpoint_parse(slice_of(cases[i].text), 25, &e), ERR_OK);
        cr_expect_eq(survey_is_public(&e), cases[i].is_public, "%s", cases[i].text);
    }
}
