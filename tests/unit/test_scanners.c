/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: which messages ask a scanner, and which pass it, while it is well, fails, and comes back.
 */
#include "shared_fixture.h"

#include "relayd/scanners.h"

static struct loop *loop;
static struct scanners *scanners;
static unsigned turns;

static void
open_scanners(void)
{
    static char first[] = "inet:127.0.0.1:1 name=a",
                second[] = "inet:127.0.0.1:2 name=b on-failure=defer";
    static char *items[] = {first, second};
    static struct config config = {.milters = {items, 2}};

    open_table();
    loop = loop_new();
    scanners = scanners_new(loop, &config, table, 3);
}

static void
close_scanners(void)
{
    scanners_free(&scanners);
    loop_free(&loop);
    close_table();
}

static void
on_turn(void *ctx)
{
    (void)ctx;
    turns++;
}

static struct scanners_wait who = {.on_turn = on_turn}; /* took the turn last */

static enum scanners_turn
take(unsigned i)
{
    return scanners_take(scanners, i, &who);
}

Test(scanners, P8_one_that_cannot_be_reached_is_left_alone_at_once)
{
    open_scanners();
    cr_assert_eq(scanners_count(scanners), 2);
    cr_expect_eq(shared_scanner_get(table, 3, 0), SHARED_SCANNER_UNKNOWN);
    cr_expect_eq(take(0), SCANNERS_ASK);
    scanners_heard(scanners, 0, &who, "gone", true);
    cr_expect_eq(take(0), SCANNERS_AWAY);
    cr_expect_str_eq(scanners_trouble(scanners, 0), "gone");
    cr_expect_gt(shared_scanner_get(table, 3, 0), SHARED_SCANNER_UP);
    cr_expect_eq(take(1), SCANNERS_ASK, "the other has nothing to do with it");
    scanners_heard(scanners, 1, &who, NULL, false);
    cr_expect_eq(shared_scanner_get(table, 3, 1), SHARED_SCANNER_UP);
    cr_expect_str_eq(scanners_trouble(scanners, 1), "");
    close_scanners();
}

Test(scanners, P8_one_that_fails_three_in_a_row_is_left_alone)
{
    open_scanners();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2; i++) {
            cr_expect_eq(take(0), SCANNERS_ASK);
            scanners_heard(scanners, 0, &who, "odd", false);
        }
        cr_expect_eq(take(0), SCANNERS_ASK);
        scanners_heard(scanners, 0, &who, round ? "odd" : NULL, false);
    }
    cr_expect_eq(take(0), SCANNERS_AWAY);
    close_scanners();
}

Test(scanners, P8_of_a_crowd_so_many_at_once, .timeout = 20)
{
    struct scanners_wait waits[2] = {{.on_turn = on_turn}, {.on_turn = on_turn}};

    open_scanners();
    for (int i = 0; i < SCANNERS_AT_ONCE; i++)
        cr_assert_eq(take(0), SCANNERS_ASK);
    cr_expect_eq(scanners_take(scanners, 0, &waits[0]), SCANNERS_WAIT);
    cr_expect_eq(scanners_take(scanners, 0, &waits[1]), SCANNERS_WAIT);
    scanners_leave(&waits[0]);
    scanners_leave(&waits[0]);
    scanners_dropped(scanners, 0, &who);
    cr_expect_eq(turns, 1, "the first has gone");
    scanners_heard(scanners, 0, &who, NULL, false);
    cr_expect_eq(turns, 1);
    cr_expect_eq(take(0), SCANNERS_ASK);
    close_scanners();
}

static void
stop(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

Test(scanners, P8_one_message_at_a_time_looks_whether_it_is_back, .timeout = 30)
{
    struct scanners_wait old = {.on_turn = on_turn};
    struct loop_timer timer;

    open_scanners();
    cr_expect_eq(scanners_take(scanners, 0, &old), SCANNERS_ASK);
    cr_expect_eq(take(0), SCANNERS_ASK);
    cr_expect_eq(take(0), SCANNERS_ASK);
    scanners_heard(scanners, 0, &who, "gone", true);
    scanners_heard(scanners, 0, &who, "gone", true);
    loop_timer_init(&timer, loop, stop, NULL);
    loop_timer_start(&timer, 5100); /* the second had been asked before */
    loop_run(loop);
    cr_expect_eq(take(0), SCANNERS_ASK);
    cr_expect_eq(take(0), SCANNERS_AWAY);
    scanners_heard(scanners, 0, &old, "gone", true);
    cr_expect_eq(take(0), SCANNERS_AWAY, "who asked before it failed ends no probe");
    scanners_dropped(scanners, 0, &who);
    cr_expect_eq(take(0), SCANNERS_ASK, "the one that asked has gone");
    scanners_heard(scanners, 0, &who, NULL, false);
    cr_expect_eq(take(0), SCANNERS_ASK);
    cr_expect_eq(take(0), SCANNERS_ASK);
    cr_expect_eq(shared_scanner_get(table, 3, 0), SHARED_SCANNER_UP);
    loop_timer_cancel(&timer);
    close_scanners();
}

static void
on_turn_of_many(void *ctx)
{
    (void)ctx;
    if (++turns == 3 * SCANNERS_AT_ONCE)
        loop_stop(loop);
}

Test(scanners, P8_a_crowd_is_woken_in_portions, .timeout = 20)
{
    static struct scanners_wait crowd[3 * SCANNERS_AT_ONCE];

    open_scanners();
    turns = 0;
    for (int i = 0; i < SCANNERS_AT_ONCE; i++)
        cr_assert_eq(take(0), SCANNERS_ASK);
    for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
        crowd[i].on_turn = on_turn_of_many;
        cr_assert_eq(scanners_take(scanners, 0, &crowd[i]), SCANNERS_WAIT);
    }
    scanners_heard(scanners, 0, &who, "gone", true);
    cr_expect_eq(turns, SCANNERS_AT_ONCE, "%d", turns);
    loop_run(loop);
    cr_expect_eq(turns, 3 * SCANNERS_AT_ONCE, "%d", turns);
    close_scanners();
}
