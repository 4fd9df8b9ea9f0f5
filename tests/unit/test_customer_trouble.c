/* SPDX-License-Identifier: BSD-2-Clause
 *
 * When a customer is due to be told something: days of an outage as a list of looks.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "notice/customer_trouble.h"

#define MINUTE (60 * INT64_C(1000))
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define T0 INT64_C(1796040000000) /* 2026-11-30 12:00 UTC */

static const struct customer_rules rules = {15 * MINUTE};

enum { D = CUSTOMER_SERVER_DOWN, U = CUSTOMER_SERVER_UP, X = CUSTOMER_SERVER_UNKNOWN };

struct look {
    int64_t at_ms; /* behind T0 */
    int server;
    uint64_t messages;
    bool is_moving;
    uint64_t delivered; /* before it */
    enum customer_notice_kind due;
};

#define NONE CUSTOMER_NOTICE_NONE
#define DOWN CUSTOMER_NOTICE_DOWN
#define BACK CUSTOMER_NOTICE_BACK
#define W48 CUSTOMER_NOTICE_WARN_48
#define W12 CUSTOMER_NOTICE_WARN_12
#define DIGEST CUSTOMER_NOTICE_DIGEST

static const struct {
    const char *name;
    int64_t first_expires_at_ms; /* behind T0; of what arrived at T0 */
    struct look looks[12];       /* ends with one at 0 */
} stories[] = {
    {"told once, and once that it is back",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {16 * MINUTE, D, 3, true, 0, DOWN},
      {17 * MINUTE, D, 3, true, 0, NONE},
      {DAY, D, 9, true, 0, NONE},
      {DAY + MINUTE, U, 5, true, 4, NONE},
      {DAY + 2 * MINUTE, U, 0, false, 5, BACK},
      {DAY + 3 * MINUTE, U, 0, false, 0, NONE}}},
    {"too short to be told",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {14 * MINUTE, D, 1, true, 0, NONE},
      {15 * MINUTE, U, 1, true, 0, NONE},
      {16 * MINUTE, U, 0, false, 1, NONE},
      {20 * MINUTE, D, 1, true, 0, NONE},
      {34 * MINUTE, D, 1, true, 0, NONE},
      {36 * MINUTE, D, 1, true, 0, DOWN}}},
    {"nothing waits: nothing is known of a server that nobody asks",
     6 * DAY,
     {{MINUTE, D, 0, false, 0, NONE}, {DAY, D, 0, false, 0, NONE}}},
    {"comes and goes, and takes nothing: one outage",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {10 * MINUTE, U, 1, true, 0, NONE},
      {12 * MINUTE, D, 1, true, 0, NONE},
      {16 * MINUTE, D, 1, true, 0, DOWN},
      {20 * MINUTE, U, 1, true, 0, NONE},
      {30 * MINUTE, D, 1, true, 0, NONE},
      {40 * MINUTE, U, 0, false, 1, BACK}}},
    {"answers for long, and puts off: no outage",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {10 * MINUTE, U, 1, false, 0, NONE},
      {26 * MINUTE, U, 1, false, 0, NONE},
      {27 * MINUTE, D, 1, true, 0, NONE},
      {41 * MINUTE, D, 1, true, 0, NONE}}},
    {"what is left is paused: back after an hour of patience",
     6 * DAY,
     {{16 * MINUTE, D, 3, true, 0, NONE},
      {31 * MINUTE, D, 3, true, 0, DOWN},
      {32 * MINUTE, U, 2, false, 1, NONE},
      {90 * MINUTE, U, 1, true, 1, NONE},
      {91 * MINUTE, U, 1, true, 0, NONE},
      {93 * MINUTE, U, 1, false, 0, BACK}}},
    {"behind a restart nothing is known: nothing follows",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {10 * MINUTE, X, 1, true, 0, NONE},
      {20 * MINUTE, D, 1, true, 0, DOWN},
      {30 * MINUTE, X, 1, true, 0, NONE},
      {31 * MINUTE, D, 1, true, 0, NONE}}},
    {"nobody can say how it ended",
     6 * DAY,
     {{MINUTE, D, 1, true, 0, NONE},
      {17 * MINUTE, D, 1, true, 0, DOWN},
      {20 * MINUTE, X, 0, false, 0, NONE},
      {81 * MINUTE, X, 0, false, 0, NONE},
      {2 * HOUR, U, 0, false, 0, NONE}}},
    {"two warnings, once each",
     6 * DAY,
     {{MINUTE, D, 5, true, 0, NONE},
      {HOUR, D, 5, true, 0, DOWN},
      {4 * DAY - MINUTE, D, 5, true, 0, NONE},
      {4 * DAY, D, 5, true, 0, W48},
      {4 * DAY + MINUTE, D, 5, true, 0, NONE},
      {5 * DAY + 12 * HOUR - MINUTE, D, 5, true, 0, NONE},
      {5 * DAY + 12 * HOUR, D, 5, true, 0, W12},
      {5 * DAY + 13 * HOUR, D, 5, true, 0, NONE}}},
    {"found late: the later warning alone",
     6 * DAY,
     {{5 * DAY + 13 * HOUR, U, 5, false, 0, W12}, {5 * DAY + 14 * HOUR, U, 5, false, 0, NONE}}},
    {"behind the deadline there is nothing to warn of",
     6 * DAY,
     {{6 * DAY + MINUTE, U, 5, false, 0, NONE}}},
    {"kept for a day: no warning when half of it is to come",
     36 * HOUR,
     {{HOUR, U, 5, false, 0, NONE},
      {18 * HOUR - MINUTE, U, 5, false, 0, NONE},
      {18 * HOUR, U, 5, false, 0, W48},
      {24 * HOUR, U, 5, false, 0, W12}}},
};

static struct customer_facts
facts_of(const struct look *look, int64_t first_expires_at_ms)
{
    return (struct customer_facts){
        .now_ms = T0 + look->at_ms,
        .day = clock_local_day(T0 + look->at_ms),
        .server = (enum customer_server)look->server,
        .since_ms = T0 + look->at_ms,
        .why = CUSTOMER_NOTICE_WHY_TIMEOUT,
        .servers = "192.0.2.10:25",
        .backend = "acme/1",
        .messages = look->messages,
        .is_moving = look->is_moving,
        .first_expires_at_ms = look->messages > 0 ? T0 + first_expires_at_ms : 0,
        .first_arrived_at_ms = T0,
    };
}

static void
tell(struct customer_trouble *t, enum customer_notice_kind kind, const struct customer_facts *facts)
{
    customer_trouble_told(t, &(struct customer_told){.kind = kind,
                                                     .day = facts->day,
                                                     .now_ms = facts->now_ms,
                                                     .failure_count = t->failure_count,
                                                     .more = t->more,
                                                     .is_counted = true});
}

/* As a keeper does that ends between each two looks. */
static void
restart(struct customer_trouble *t)
{
    struct buf text;
    struct slice rest;
    int64_t quiet_at_ms = t->quiet_at_ms;

    buf_init(&text, 0);
    customer_trouble_text(t, &text);
    customer_trouble_fini(t);
    rest = buf_slice(&text);
    while (rest.n > 0)
        cr_assert_eq(customer_trouble_parse(t, slice_split(&rest, '\n')), ERR_OK, "%s",
                     buf_text(&text));
    t->quiet_at_ms = quiet_at_ms;
    buf_fini(&text);
}

static void
play(size_t story, bool restarts)
{
    struct customer_trouble t = {.since_ms = 0};

    for (const struct look *look = stories[story].looks; look->at_ms != 0; look++) {
        struct customer_facts facts = facts_of(look, stories[story].first_expires_at_ms);
        struct customer_due due;

        customer_trouble_delivered(&t, look->delivered);
        due = customer_trouble_look(&t, &facts, &rules);
        cr_expect_eq(due.kind, look->due, "%s: at %lld min: %s, not %s", stories[story].name,
                     (long long)(look->at_ms / MINUTE), customer_notice_word(due.kind),
                     customer_notice_word(look->due));
        cr_expect_eq(due.withheld, NONE);
        if (due.kind != NONE)
            tell(&t, due.kind, &facts);
        if (restarts)
            restart(&t);
    }
    customer_trouble_fini(&t);
}

Test(customer_trouble, stories)
{
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        play(i, false);
        play(i, true);
    }
}

Test(customer_trouble, the_outage_has_its_first_moment_and_its_counts)
{
    struct customer_trouble t = {.since_ms = 0};
    struct customer_facts facts =
        facts_of(&(struct look){.at_ms = HOUR, .server = D, .messages = 1}, 6 * DAY);

    facts.since_ms = T0 + 50 * MINUTE;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, NONE);
    cr_expect_eq(t.since_ms, T0 + 50 * MINUTE, "when it went down, not when mail came");
    facts.since_ms = T0 + 55 * MINUTE;
    facts.now_ms += 10 * MINUTE;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, DOWN);
    cr_expect_eq(t.since_ms, T0 + 50 * MINUTE, "another probe is no other outage");
    customer_trouble_delivered(&t, 7);
    cr_expect_eq(t.delivered, 7);
    cr_expect_str_eq(t.servers, "192.0.2.10:25");
    cr_expect_eq(t.why, CUSTOMER_NOTICE_WHY_TIMEOUT);
    facts.server = CUSTOMER_SERVER_UP;
    facts.messages = 0;
    tell(&t, DOWN, &facts);
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, BACK);
    cr_expect_str_eq(t.servers, "192.0.2.10:25", "the notice names it");
    tell(&t, BACK, &facts);
    cr_expect(t.why == CUSTOMER_NOTICE_WHY_UNKNOWN && t.servers[0] == '\0' && t.backend[0] == '\0');
    customer_trouble_fini(&t);
}

/* With nothing known for an hour: of an outage that was told, and of one that was not. */
Test(customer_trouble, a_told_outage_that_ends_unseen_is_named)
{
    for (int told = 0; told < 2; told++) {
        struct customer_trouble t = {.since_ms = T0, .told_down = told != 0};
        struct customer_facts facts = facts_of(&(struct look){.at_ms = HOUR, .server = X}, 6 * DAY);

        cr_expect(!customer_trouble_look(&t, &facts, &rules).is_lost);
        facts.now_ms += HOUR;
        cr_expect_eq(customer_trouble_look(&t, &facts, &rules).is_lost, told != 0);
        cr_expect_eq(t.since_ms, 0);
        cr_expect(!customer_trouble_look(&t, &facts, &rules).is_lost, "once");
        customer_trouble_fini(&t);
    }
}

Test(customer_trouble, P2_an_odd_clock_warns_of_nothing)
{
    struct customer_trouble t = {.since_ms = 0};
    struct customer_facts facts =
        facts_of(&(struct look){.at_ms = 5 * DAY, .server = U, .messages = 1}, 6 * DAY);

    facts.is_clock_odd = true;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, NONE);
    facts.is_clock_odd = false;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, W48);
}

Test(customer_trouble, P2_a_clock_that_was_ahead_is_forgotten)
{
    struct customer_trouble t = {.since_ms = T0 + 900 * DAY, .first_failure_at_ms = T0 + 900 * DAY};
    struct customer_facts facts =
        facts_of(&(struct look){.at_ms = HOUR, .server = D, .messages = 1}, 60 * DAY);

    t.more = 1;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, NONE);
    facts.now_ms += 15 * MINUTE;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, DOWN);
    tell(&t, DOWN, &facts);
    facts.now_ms += DAY;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, DIGEST);
}

/* --- Four a day. */

static void
outage(struct customer_trouble *t, int64_t at_ms, const enum customer_notice_kind want[2],
       enum customer_notice_kind withheld)
{
    const struct look looks[] = {{at_ms, D, 1, true, 0, NONE},
                                 {at_ms + 20 * MINUTE, D, 1, true, 0, want[0]},
                                 {at_ms + 30 * MINUTE, U, 0, false, 1, want[1]}};

    for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
        struct customer_facts facts = facts_of(&looks[i], 9 * DAY);
        struct customer_due due;

        customer_trouble_delivered(t, looks[i].delivered);
        due = customer_trouble_look(t, &facts, &rules);
        cr_expect_eq(due.kind, looks[i].due, "%lld: %s", (long long)(looks[i].at_ms / MINUTE),
                     customer_notice_word(due.kind));
        cr_expect_eq(due.withheld, i == 1 ? withheld : NONE);
        if (due.kind != NONE)
            tell(t, due.kind, &facts);
    }
}

Test(customer_trouble, at_most_four_a_day)
{
    static const enum customer_notice_kind both[] = {DOWN, BACK}, none[] = {NONE, NONE};
    struct customer_trouble t = {.since_ms = 0};

    outage(&t, HOUR, both, NONE);
    outage(&t, 2 * HOUR, both, NONE);
    outage(&t, 3 * HOUR, none, DOWN);
    cr_expect_eq(t.sent, 4);
    restart(&t);
    outage(&t, 4 * HOUR, none, DOWN);
    outage(&t, DAY, both, NONE);
    cr_expect_eq(t.sent, 2, "another day");
    customer_trouble_fini(&t);
}

Test(customer_trouble, what_was_withheld_is_told_the_next_day)
{
    struct customer_trouble t = {.day = clock_local_day(T0), .sent = 3};
    struct customer_facts facts =
        facts_of(&(struct look){.at_ms = MINUTE, .server = D, .messages = 1}, 9 * DAY);

    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, NONE);
    facts.now_ms += HOUR;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).withheld, DOWN);
    facts.now_ms += DAY;
    facts.day = clock_local_day(facts.now_ms);
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, DOWN);
    customer_trouble_fini(&t);
}

Test(customer_trouble, the_last_of_a_day_is_left_for_what_cannot_wait)
{
    struct customer_trouble t = {.day = clock_local_day(T0 + 5 * DAY + 12 * HOUR), .sent = 3};
    struct customer_facts facts =
        facts_of(&(struct look){.at_ms = 5 * DAY + 13 * HOUR, .server = D, .messages = 1}, 6 * DAY);

    t.day = facts.day;
    facts.since_ms = T0;
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, W12);
    tell(&t, W12, &facts);
    cr_expect_eq(customer_trouble_look(&t, &facts, &rules).kind, NONE);
    cr_expect_eq(t.sent, 4);
    customer_trouble_fini(&t);
}

Test(customer_trouble, back_is_dropped_when_the_day_is_full)
{
    struct customer_trouble t = {.since_ms = T0, .told_down = true, .sent = 4};
    struct customer_facts facts = facts_of(&(struct look){.at_ms = HOUR, .server = U}, 6 * DAY);
    struct customer_due due;

    t.day = facts.day;
    due = customer_trouble_look(&t, &facts, &rules);
    cr_expect(due.kind == NONE && due.withheld == BACK && due.is_forgotten);
    cr_expect_eq(t.since_ms, 0);
}

/* --- The digest. */

static void
fail(struct customer_trouble *t, int64_t at_ms, unsigned number, bool has_room)
{
    char ref[16];

    snprintf(ref, sizeof ref, "P1-%u", number);
    customer_trouble_failed(t,
                            &(struct customer_failure){at_ms, SPOOL_END_EXPIRED, number % 2 != 0,
                                                       ref, "s@x.example", "r@acme.example",
                                                       "451 \t\n4.2.1"},
                            has_room);
}

static enum customer_notice_kind
due_at(struct customer_trouble *t, int64_t at_ms)
{
    struct customer_facts facts = facts_of(&(struct look){.at_ms = at_ms - T0, .server = U}, DAY);

    return customer_trouble_look(t, &facts, &rules).kind;
}

Test(customer_trouble, a_digest_in_the_morning_if_there_is_something_to_say)
{
    struct customer_trouble t = {.since_ms = 0};
    struct customer_facts facts = facts_of(&(struct look){.at_ms = DAY, .server = U}, DAY);
    int64_t seven_ms;

    cr_assert_eq(clock_set_timezone("Europe/Amsterdam"), ERR_OK);
    seven_ms = T0 - 13 * HOUR + DAY + 7 * HOUR; /* 06:00 UTC */
    cr_expect_eq(due_at(&t, seven_ms + HOUR), NONE, "nothing to say");
    for (unsigned i = 0; i < 130; i++)
        fail(&t, T0 + i, i, i != 7);
    fail(&t, T0, 3, true);
    cr_expect_eq(t.failure_count, CUSTOMER_TROUBLE_LINES);
    cr_expect_eq(t.more, 30, "not twice");
    cr_expect_str_eq(t.failures[0].reason, "451 ??4.2.1");
    restart(&t);
    cr_expect_eq(t.failure_count, CUSTOMER_TROUBLE_LINES);
    cr_expect(t.failures[1].is_sender_told && !t.failures[2].is_sender_told);
    cr_expect_eq(due_at(&t, seven_ms - 1), NONE);
    cr_expect_eq(due_at(&t, seven_ms), DIGEST);
    facts.now_ms = seven_ms;
    fail(&t, seven_ms, 999, true);
    customer_trouble_told(&t, &(struct customer_told){.kind = DIGEST,
                                                      .day = facts.day,
                                                      .now_ms = seven_ms,
                                                      .failure_count = CUSTOMER_TROUBLE_LINES,
                                                      .more = 30});
    cr_expect_eq(t.failure_count, 0);
    cr_expect_eq(t.more, 1, "what came while it was written");
    cr_expect_eq(due_at(&t, seven_ms + HOUR), NONE);
    cr_expect_eq(due_at(&t, seven_ms + DAY), DIGEST);
    cr_expect(!customer_trouble_is_empty(&t, facts.day));
    customer_trouble_fini(&t);
    cr_expect(customer_trouble_is_empty(&t, facts.day));
}

/* --- The file. */

static const struct {
    const char *name, *line;
} wrong[] = {
    {"empty", ""},
    {"unknown", "hello\t1"},
    {"too few", "warned\t1"},
    {"too many", "warned\t1\t1\t1"},
    {"no number", "warned\tx\t1"},
    {"no bool", "warned\t2\t1"},
    {"no reason", "outage\t1\t0\t99\t0\t0\t0\tx\ty"},
    {"no end", "failed\t1\t99\t0\tP1\ts\tr\tx"},
    {"cut", "failed\t1\t3\t0\tP1\ts"},
};

Test(customer_trouble, lines_that_are_none)
{
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct customer_trouble t = {.since_ms = 0};

        cr_expect_eq(customer_trouble_parse(&t, slice_of(wrong[i].line)), ERR_SYNTAX, "%s",
                     wrong[i].name);
        customer_trouble_fini(&t);
    }
}
