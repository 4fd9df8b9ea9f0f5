/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Use of the day: exact over processes, gone at midnight of the service's zone, harmless when full.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/shared_fixture.h"

#define NOON 1795003200000 /* 2026-11-18 12:00 UTC */
#define HOUR 3600000
#define PROCESSES 6

static void
setup(void)
{
    open_table();
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
}

TestSuite(shared_use, .init = setup, .fini = close_table);

static uint64_t
used(uint32_t customer_id, enum shared_use use, int64_t wall_ms)
{
    uint64_t all[SHARED_USE_COUNT];

    shared_use_get(table, customer_id, wall_ms, all);
    return all[use];
}

Test(shared_use, each_customer_and_each_number_by_itself)
{
    shared_use_add(table, 0, SHARED_USE_MESSAGES, 1, NOON);
    shared_use_add(table, 1, SHARED_USE_MESSAGES, 2, NOON);
    shared_use_add(table, 1, SHARED_USE_BYTES, 12345678901, NOON);
    shared_use_add(table, UINT32_MAX, SHARED_USE_REFUSALS, 4, NOON);
    cr_expect_eq(used(0, SHARED_USE_MESSAGES, NOON), 1);
    cr_expect_eq(used(1, SHARED_USE_MESSAGES, NOON), 2);
    cr_expect_eq(used(1, SHARED_USE_BYTES, NOON), 12345678901);
    cr_expect_eq(used(1, SHARED_USE_REFUSALS, NOON), 0);
    cr_expect_eq(used(UINT32_MAX, SHARED_USE_REFUSALS, NOON), 4);
    cr_expect_eq(used(2, SHARED_USE_MESSAGES, NOON), 0, "never seen");
}

static const struct {
    const char *name;
    int64_t at_ms;
    uint64_t want;
} moments[] = {
    {"the same moment", NOON, 3},
    {"22:59 UTC is 23:59 there", NOON + 11 * HOUR - 60000, 3},
    {"23:00 UTC is midnight there", NOON + 11 * HOUR, 0},
    {"the next noon", NOON + 24 * HOUR, 0},
    {"the clock was set back to the morning", NOON - 5 * HOUR, 3},
    {"the day before", NOON - 14 * HOUR, 0},
};

Test(shared_use, a_day_is_one_of_the_services_zone)
{
    shared_use_add(table, 1, SHARED_USE_MESSAGES, 3, NOON);
    for (size_t i = 0; i < ARRAY_SIZE(moments); i++)
        cr_expect_eq(used(1, SHARED_USE_MESSAGES, moments[i].at_ms), moments[i].want, "%s",
                     moments[i].name);
    shared_use_add(table, 1, SHARED_USE_MESSAGES, 5, NOON + 24 * HOUR);
    cr_expect_eq(used(1, SHARED_USE_MESSAGES, NOON + 24 * HOUR), 5, "begun anew");
}

Test(shared_use, a_full_word_stays_full)
{
    shared_use_add(table, 1, SHARED_USE_BYTES, UINT64_MAX, NOON);
    shared_use_add(table, 1, SHARED_USE_BYTES, 1, NOON);
    cr_expect_eq(used(1, SHARED_USE_BYTES, NOON), (UINT64_C(1) << 48) - 1);
}

Test(shared_use, exact_over_processes)
{
    for (int p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            for (uint32_t i = 0; i < 60000; i++)
                shared_use_add(table, i % 300, SHARED_USE_MESSAGES, 1, NOON);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    for (uint32_t customer = 0; customer < 300; customer++)
        cr_expect_eq(used(customer, SHARED_USE_MESSAGES, NOON), PROCESSES * 200, "%u", customer);
    cr_expect_eq(shared_use_lost(table), 0);
}

Test(shared_use, a_full_table_says_so_and_the_next_day_has_room)
{
    uint64_t lost;

    for (uint32_t customer = 0; customer < 3 * SHARED_USE_MAX; customer++)
        shared_use_add(table, customer, SHARED_USE_MESSAGES, 1, NOON);
    lost = shared_use_lost(table);
    cr_expect_geq(lost, 2 * SHARED_USE_MAX);
    shared_use_add(table, 1000000, SHARED_USE_MESSAGES, 7, NOON + 24 * HOUR);
    cr_expect_eq(used(1000000, SHARED_USE_MESSAGES, NOON + 24 * HOUR), 7);
    cr_expect_eq(shared_use_lost(table), lost);
}
