/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two machines.  A list: new, awake, or asleep for one of three reasons (the table of states says
 * how long each lasts and which log line begins it); its only way from one to another is set_state,
 * by its own test or by what checks see of it.  A check: one question a list that is awake, an
 * answer each, and a decision as soon as the order of the lists allows one.
 */
#include "sender/sender_dnsbl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/dnsbl_zone.h"
#include "base/log.h"
#include "dns/dns_reverse.h"

#define TEST_EVERY_MS (10 * 60 * 1000)
#define DEAD_TEST_MS (60 * 1000) /* it may be our resolver that was away */
#define FAILURES_MAX 3           /* in a row: then it is tested at once */
#define REASON_MS 1000
#define NAME_SIZE (DNS_REVERSE_SIZE + INET_DOMAIN_SIZE)

enum said { SAID_WAIT, SAID_CLEAN, SAID_LISTED, SAID_NOTHING, SAID_REFUSED };

static const struct state_row {
    const char *word, *why, *event; /* event: NULL none */
} states[] = {
    [SENDER_DNSBL_NEW] = {"not tested yet", "", NULL},
    [SENDER_DNSBL_AWAKE] = {"awake", "", "dnsbl-awake"},
    [SENDER_DNSBL_DEAD] = {"asleep", "it does not answer", "dnsbl-asleep"},
    [SENDER_DNSBL_LYING] = {"asleep",
                            "it fails its test (127.0.0.2 listed, 127.0.0.1 not; RFC 5782)",
                            "dnsbl-asleep"},
    [SENDER_DNSBL_REFUSING] = {"asleep",
                               "it refuses our questions (127.255.255.x): is the resolver a "
                               "public one, or is there a key to register for?",
                               "dnsbl-refuses-us"},
};
_Static_assert(ARRAY_SIZE(states) == SENDER_DNSBL_STATE_COUNT, "each has its row");

/* What a list is tested with, in the order of `tests`. */
enum { TEST_LISTED, TEST_CLEAN, TEST_LISTED6, TEST_CLEAN6, TEST_COUNT };

static const struct inet_endpoint test_addresses[] = {
    [TEST_LISTED] = {.family = 4, .addr = {127, 0, 0, 2}},
    [TEST_CLEAN] = {.family = 4, .addr = {127, 0, 0, 1}},
    [TEST_LISTED6] = {.family = 6, .addr = {[10] = 0xff, 0xff, 127, 0, 0, 2}},
    [TEST_CLEAN6] = {.family = 6, .addr = {[10] = 0xff, 0xff, 127, 0, 0, 1}},
};

struct test {
    struct list *list;
    struct dns_lookup *lookup;
    enum said said;
};

struct list {
    struct sender_dnsbl *lists;
    struct dnsbl_zone zone;
    bool is_white;
    enum sender_dnsbl_state state;
    bool has_ipv6;
    unsigned failures; /* in a row */
    struct test tests[TEST_COUNT];
    struct loop_timer timer; /* to the next test, or the end of the sleep */
};

struct sender_dnsbl {
    struct dns *dns;
    int64_t sleep_ms;
    bool speaks;
    sender_dnsbl_on_state on_state;
    void *ctx;
    unsigned count;
    struct list items[];
};

struct asked {
    struct sender_dnsbl_check *check;
    struct dns_lookup *lookup;
    enum said said;
    struct inet_endpoint code;
};

struct sender_dnsbl_check {
    struct sender_dnsbl *lists;
    struct inet_endpoint address;
    struct sender_dnsbl_found found;
    struct dns_lookup *reason;
    struct loop_timer timer;
    void (*on_done)(void *ctx, const struct sender_dnsbl_found *found);
    void *ctx;
    struct asked asked[]; /* one a list */
};

/* --- Answers. */

/* A code that is none of the setting's is no listing; for its test any of 127.0.0.0/8 is one. */
static enum said
said_by(const struct dnsbl_zone *zone, const struct dns_records *found, bool is_test,
        struct inet_endpoint *code)
{
    enum said said = SAID_CLEAN;

    if (found->answer.result == DNS_TEMPORARY || found->answer.is_stale)
        return SAID_NOTHING;
    for (unsigned i = 0; i < found->count; i++) {
        const struct inet_endpoint *answer = &found->items[i].address;

        if (dnsbl_zone_is_refusal(answer))
            return SAID_REFUSED;
        if (said == SAID_LISTED ||
            !(is_test ? answer->addr[0] == 127 : dnsbl_zone_has_code(zone, answer)))
            continue;
        said = SAID_LISTED;
        *code = *answer;
    }
    return said;
}

/* --- A list. */

static void test_start(struct list *list);

static void
say_state(const struct list *list)
{
    const struct state_row *row = &states[list->state];
    enum log_level level = list->state == SENDER_DNSBL_AWAKE ? LOG_LEVEL_WARN : LOG_LEVEL_ALARM;

    log_line(list->lists->speaks ? level : LOG_LEVEL_DEBUG, NULL, row->event,
             "list=%s state=\"%s%s%s\"", list->zone.name, row->word, row->why[0] ? ": " : "",
             row->why);
}

static int64_t
time_in_state_ms(const struct list *list)
{
    int64_t sleep_ms = list->lists->sleep_ms;

    if (list->state == SENDER_DNSBL_AWAKE)
        return TEST_EVERY_MS;
    if (list->state == SENDER_DNSBL_DEAD && list->zone.is_tested && sleep_ms > DEAD_TEST_MS)
        return DEAD_TEST_MS;
    return sleep_ms;
}

/* That it works from the start needs no line. */
static void
set_state(struct list *list, enum sender_dnsbl_state state)
{
    enum sender_dnsbl_state before = list->state;

    list->state = state;
    list->failures = 0;
    if (state != before && !(before == SENDER_DNSBL_NEW && state == SENDER_DNSBL_AWAKE))
        say_state(list);
    if (state != before && list->lists->on_state)
        list->lists->on_state(list->lists->ctx, (unsigned)(list - list->lists->items),
                              list->zone.name, state);
    loop_timer_start(&list->timer, time_in_state_ms(list));
}

static enum sender_dnsbl_state
judge(const struct list *list)
{
    const struct test *listed = &list->tests[TEST_LISTED], *clean = &list->tests[TEST_CLEAN];

    if (listed->said == SAID_REFUSED || clean->said == SAID_REFUSED)
        return SENDER_DNSBL_REFUSING;
    if (listed->said == SAID_NOTHING || clean->said == SAID_NOTHING)
        return SENDER_DNSBL_DEAD;
    return listed->said == SAID_LISTED && clean->said == SAID_CLEAN ? SENDER_DNSBL_AWAKE
                                                                    : SENDER_DNSBL_LYING;
}

static bool
is_under_test(const struct list *list)
{
    for (unsigned i = 0; i < TEST_COUNT; i++)
        if (list->tests[i].said == SAID_WAIT)
            return true;
    return false;
}

static void
on_tested(void *ctx, const struct dns_records *found)
{
    struct test *test = ctx;
    struct list *list = test->list;
    struct inet_endpoint code;

    test->lookup = NULL;
    test->said = said_by(&list->zone, found, true, &code);
    if (is_under_test(list))
        return;
    list->has_ipv6 = list->tests[TEST_LISTED6].said == SAID_LISTED &&
                     list->tests[TEST_CLEAN6].said == SAID_CLEAN;
    set_state(list, judge(list));
}

static void
test_start(struct list *list)
{
    char name[NAME_SIZE];

    for (unsigned i = 0; i < TEST_COUNT; i++) {
        struct test *test = &list->tests[i];

        dns_zone_name(&test_addresses[i], list->zone.zone, name);
        dns_lookup_cancel(&test->lookup);
        test->list = list;
        test->said = SAID_WAIT;
        test->lookup = dns_lookup_records(list->lists->dns, name, DNS_TYPE_A, on_tested, test);
    }
}

static void
on_timer(void *ctx)
{
    struct list *list = ctx;

    if (list->zone.is_tested)
        test_start(list);
    else
        set_state(list, SENDER_DNSBL_AWAKE);
}

/* What a check has heard of it. */
static void
list_said(struct list *list, enum said said)
{
    if (list->state != SENDER_DNSBL_AWAKE)
        return;
    if (said == SAID_REFUSED) {
        set_state(list, SENDER_DNSBL_REFUSING);
    } else if (said != SAID_NOTHING) {
        list->failures = 0;
    } else if (++list->failures >= FAILURES_MAX) {
        if (!list->zone.is_tested)
            set_state(list, SENDER_DNSBL_DEAD);
        else if (!is_under_test(list))
            test_start(list);
    }
}

static bool
is_to_be_asked(const struct list *list, const struct inet_endpoint *address)
{
    return list->state == SENDER_DNSBL_AWAKE && (address->family == 4 || list->has_ipv6);
}

/* --- A check. */

static void
check_end(struct sender_dnsbl_check *check)
{
    for (unsigned i = 0; i < check->lists->count; i++)
        dns_lookup_cancel(&check->asked[i].lookup);
    dns_lookup_cancel(&check->reason);
    loop_timer_cancel(&check->timer);
    loop_defer(dns_loop(check->lists->dns), free, check);
}

static void
done(struct sender_dnsbl_check *check)
{
    check_end(check);
    check->on_done(check->ctx, &check->found);
}

/* Whoever wrote it, it is one line, and cannot look like more. */
static void
clean_reason(struct slice text, char dst[SENDER_DNSBL_REASON_SIZE])
{
    size_t n = 0;

    for (size_t i = 0; i < text.n && n < SENDER_DNSBL_REASON_SIZE - 1; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c > ' ' && c < 0x7f)
            dst[n++] = (char)c;
        else if (c >= 0x7f)
            dst[n++] = '?';
        else if (n > 0 && dst[n - 1] != ' ')
            dst[n++] = ' ';
    }
    while (n > 0 && dst[n - 1] == ' ')
        n--;
    dst[n] = '\0';
}

static void
on_reason(void *ctx, const struct dns_records *found)
{
    struct sender_dnsbl_check *check = ctx;

    check->reason = NULL;
    if (found->count > 0)
        clean_reason(found->items[0].data, check->found.reason);
    done(check);
}

static void
on_deadline(void *ctx)
{
    done(ctx);
}

static void
fetch_reason(struct sender_dnsbl_check *check, const struct list *list)
{
    char name[NAME_SIZE];

    dns_zone_name(&check->address, list->zone.zone, name);
    check->reason = dns_lookup_records(check->lists->dns, name, DNS_TYPE_TXT, on_reason, check);
    loop_timer_start(&check->timer, REASON_MS);
}

/* The first list of its colour that has the address, or NULL; *is_open: one before it, or of all,
 * has yet to answer. */
static const struct asked *
first_listed(const struct sender_dnsbl_check *check, bool is_white, bool *is_open, bool *is_partial)
{
    *is_open = *is_partial = false;
    for (unsigned i = 0; i < check->lists->count; i++) {
        if (check->lists->items[i].is_white != is_white)
            continue;
        if (check->asked[i].said == SAID_LISTED)
            return &check->asked[i];
        *is_open = *is_open || check->asked[i].said == SAID_WAIT;
        *is_partial = *is_partial || check->asked[i].said == SAID_NOTHING;
    }
    return NULL;
}

static void
decide(struct sender_dnsbl_check *check)
{
    bool is_open, white_is_open, is_partial, ignored;
    const struct asked *listed = first_listed(check, false, &is_open, &is_partial);
    const struct asked *white = first_listed(check, true, &white_is_open, &ignored);
    const struct list *items = check->lists->items;
    struct sender_dnsbl_found *found = &check->found;

    if (is_open || white_is_open || check->reason != NULL)
        return;
    if (white != NULL)
        found->white_list = items[white - check->asked].zone.name;
    if (listed == NULL) {
        found->result = is_partial ? SENDER_DNSBL_TEMPORARY : SENDER_DNSBL_CLEAN;
        done(check);
        return;
    }
    found->result = SENDER_DNSBL_LISTED;
    found->list = items[listed - check->asked].zone.name;
    found->code = listed->code;
    if (white == NULL)
        fetch_reason(check, &items[listed - check->asked]);
    else
        done(check);
}

static void
on_answer(void *ctx, const struct dns_records *found)
{
    struct asked *asked = ctx;
    struct sender_dnsbl_check *check = asked->check;
    struct list *list = &check->lists->items[asked - check->asked];

    asked->lookup = NULL;
    asked->said = said_by(&list->zone, found, false, &asked->code);
    list_said(list, asked->said);
    decide(check);
}

static void
on_nothing_to_ask(void *ctx)
{
    decide(ctx);
}

struct sender_dnsbl_check *
sender_dnsbl_start(struct sender_dnsbl *lists, const struct inet_endpoint *address,
                   void (*on_done)(void *ctx, const struct sender_dnsbl_found *found), void *ctx)
{
    struct sender_dnsbl_check *check =
        mem_alloc(sizeof *check + lists->count * sizeof check->asked[0]);
    bool is_asking = false;
    char name[NAME_SIZE];

    check->lists = lists;
    check->address = *address;
    check->on_done = on_done;
    check->ctx = ctx;
    for (unsigned i = 0; i < lists->count; i++) {
        struct asked *asked = &check->asked[i];

        asked->check = check;
        asked->said = SAID_CLEAN;
        if (!is_to_be_asked(&lists->items[i], address))
            continue;
        asked->said = SAID_WAIT;
        dns_zone_name(address, lists->items[i].zone.zone, name);
        asked->lookup = dns_lookup_records(lists->dns, name, DNS_TYPE_A, on_answer, asked);
        is_asking = true;
    }
    loop_timer_init(&check->timer, dns_loop(lists->dns),
                    is_asking ? on_deadline : on_nothing_to_ask, check);
    if (!is_asking)
        loop_timer_start(&check->timer, 0);
    return check;
}

void
sender_dnsbl_cancel(struct sender_dnsbl_check **check)
{
    if (*check != NULL)
        check_end(*check);
    *check = NULL;
}

/* --- All of them. */

static void
add_list(struct sender_dnsbl *lists, const char *text, bool is_white)
{
    struct list *list = &lists->items[lists->count++];
    const char *wrong = dnsbl_zone_parse(text, &list->zone);

    CHECK(wrong == NULL); /* the configuration was checked when it was read */
    list->lists = lists;
    list->is_white = is_white;
    for (unsigned i = 0; i < TEST_COUNT; i++)
        list->tests[i].said = SAID_CLEAN;
    loop_timer_init(&list->timer, dns_loop(lists->dns), on_timer, list);
    if (list->zone.is_tested) {
        test_start(list);
        return;
    }
    list->has_ipv6 = true;
    set_state(list, SENDER_DNSBL_AWAKE);
}

struct sender_dnsbl *
sender_dnsbl_new(struct dns *dns, const struct config *config, bool speaks)
{
    size_t count = config->dnsbl.count + config->dnswl.count;
    struct sender_dnsbl *lists = mem_alloc(sizeof *lists + count * sizeof lists->items[0]);

    lists->dns = dns;
    lists->sleep_ms = config->dnsbl_sleep_ms;
    lists->speaks = speaks;
    for (size_t i = 0; i < config->dnsbl.count; i++)
        add_list(lists, config->dnsbl.items[i], false);
    for (size_t i = 0; i < config->dnswl.count; i++)
        add_list(lists, config->dnswl.items[i], true);
    return lists;
}

void
sender_dnsbl_free(struct sender_dnsbl **held)
{
    struct sender_dnsbl *lists = *held;

    *held = NULL;
    if (lists == NULL)
        return;
    for (unsigned i = 0; i < lists->count; i++) {
        for (unsigned k = 0; k < TEST_COUNT; k++)
            dns_lookup_cancel(&lists->items[i].tests[k].lookup);
        loop_timer_cancel(&lists->items[i].timer);
    }
    loop_defer(dns_loop(lists->dns), free, lists);
}

const char *
sender_dnsbl_word(enum sender_dnsbl_state state)
{
    CHECK((unsigned)state < ARRAY_SIZE(states));
    return states[state].word;
}

const char *
sender_dnsbl_why(enum sender_dnsbl_state state)
{
    CHECK((unsigned)state < ARRAY_SIZE(states));
    return states[state].why;
}

void
sender_dnsbl_listen(struct sender_dnsbl *lists, sender_dnsbl_on_state on_state, void *ctx)
{
    lists->on_state = on_state;
    lists->ctx = ctx;
    for (unsigned i = 0; i < lists->count; i++)
        on_state(ctx, i, lists->items[i].zone.name, lists->items[i].state);
}
