/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Requests to drain: once a minute a customer over all processes, taken once by the keeper.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/shared_fixture.h"

#define NOW 1795003200000 /* 2026-11-18 12:00 UTC */
#define PROCESSES 8
#define CUSTOMERS 2000

TestSuite(shared_drain, .init = open_table, .fini = close_table);

static unsigned taken_count;
static uint64_t taken_sum;
static uint32_t taken_last;

static void
on_taken(void *ctx, uint32_t customer_id)
{
    (void)ctx;
    taken_count++;
    taken_sum += customer_id;
    taken_last = customer_id;
}

static const struct {
    const char *name;
    int64_t after_ms;
    enum shared_drain_answer want;
} moments[] = {
    {"at the same moment", 0, SHARED_DRAIN_TOO_SOON},
    {"59.999 s later", 59999, SHARED_DRAIN_TOO_SOON},
    {"a minute later", 60000, SHARED_DRAIN_STARTED},
    {"a year later", 31536000000, SHARED_DRAIN_STARTED},
    {"by a clock that is read a little earlier", -5, SHARED_DRAIN_TOO_SOON},
    {"by a clock that was set back an hour", -3600000, SHARED_DRAIN_STARTED},
};

Test(shared_drain, P9_once_a_minute)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(moments); i++) {
        cr_expect_eq(shared_drain_request(table, i, NOW), SHARED_DRAIN_STARTED, "%s",
                     moments[i].name);
        cr_expect_eq(shared_drain_request(table, i, NOW + moments[i].after_ms), moments[i].want,
                     "%s", moments[i].name);
    }
}

Test(shared_drain, the_keeper_gets_each_request_once)
{
    static const uint32_t ids[] = {0, 1, 65534, 65536 + 7, UINT32_MAX};

    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(taken_count, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        cr_expect_eq(shared_drain_request(table, ids[i], NOW), SHARED_DRAIN_STARTED);
        (void)shared_drain_request(table, ids[i], NOW); /* too soon: no second one */
        shared_drain_take(table, on_taken, NULL);
        cr_expect_eq(taken_count, i + 1);
        cr_expect_eq(taken_last, ids[i]);
        shared_drain_take(table, on_taken, NULL);
        cr_expect_eq(taken_count, i + 1);
    }
    cr_expect_eq(shared_drain_request(table, 1, NOW + 60000), SHARED_DRAIN_STARTED);
    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(taken_last, 1, "and the next one again");
}

Test(shared_drain, a_keeper_that_starts_later_gets_what_waits_and_not_what_was_taken)
{
    struct shared_table *keeper;

    cr_expect_eq(shared_drain_request(table, 1, NOW), SHARED_DRAIN_STARTED);
    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(shared_drain_request(table, 2, NOW), SHARED_DRAIN_STARTED);
    cr_assert_eq(shared_table_attach(path, &keeper), ERR_OK);
    taken_count = 0;
    shared_drain_take(keeper, on_taken, NULL);
    cr_expect_eq(taken_count, 1);
    cr_expect_eq(taken_last, 2);
    shared_table_detach(&keeper);
}

static void
on_taken_die(void *ctx, uint32_t customer_id)
{
    (void)ctx;
    (void)customer_id;
    _exit(0);
}

Test(shared_drain, P2_a_keeper_that_dies_over_a_request_has_it_again)
{
    cr_expect_eq(shared_drain_request(table, 3, NOW), SHARED_DRAIN_STARTED);
    if (fork() == 0) {
        shared_drain_take(table, on_taken_die, NULL);
        _exit(1);
    }
    (void)wait(NULL);
    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(taken_last, 3);
}

Test(shared_drain, two_that_share_a_place_do_not_take_each_others_mail)
{
    cr_expect_eq(shared_drain_request(table, 5, NOW), SHARED_DRAIN_STARTED);
    cr_expect_eq(shared_drain_request(table, 5 + 65536, NOW), SHARED_DRAIN_TOO_SOON);
    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(taken_last, 5);
    cr_expect_eq(shared_drain_request(table, 5 + 65536, NOW + 60000), SHARED_DRAIN_STARTED);
    shared_drain_take(table, on_taken, NULL);
    cr_expect_eq(taken_last, 5 + 65536);
}

/* Each process asks for all; of each customer one is heard, while the keeper takes them. */
Test(shared_drain, P9_exact_over_processes, .timeout = 60)
{
    uint64_t used[SHARED_USE_COUNT];
    int status;

    for (unsigned p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            unsigned mine = 0;

            for (uint32_t i = 0; i < CUSTOMERS; i++)
                mine += shared_drain_request(table, i, NOW + p) == SHARED_DRAIN_STARTED;
            shared_use_add(table, 1, SHARED_USE_MESSAGES, mine, NOW); /* a sum over processes */
            _exit(0);
        }
    while (waitpid(-1, &status, WNOHANG) >= 0)
        shared_drain_take(table, on_taken, NULL);
    shared_drain_take(table, on_taken, NULL);
    shared_use_get(table, 1, NOW, used);
    cr_expect_eq(used[SHARED_USE_MESSAGES], CUSTOMERS, "%u", (unsigned)used[SHARED_USE_MESSAGES]);
    cr_expect_eq(taken_count, CUSTOMERS, "%u", taken_count);
    cr_expect_eq(taken_sum, (uint64_t)CUSTOMERS * (CUSTOMERS - 1) / 2);
}
