/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections to backends over several workers: who may have how many, and when a backend has shown
 * that it bears no more.  That the limit is exact over processes is in test_shared_table.c.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/shared_fixture.h"

static const struct inet_endpoint there = {.family = 4, .addr = {192, 0, 2, 1}, .port = 25};

static void
begin(unsigned workers)
{
    open_table();
    for (unsigned slot = 0; slot < workers; slot++)
        shared_worker_begin(table, slot, (int)slot + 1);
}

static void
take(unsigned slot, unsigned count, uint32_t limit)
{
    while (count-- > 0)
        cr_assert(shared_slot_take(table, slot, &there, limit));
}

Test(shared_slot, P9_one_worker_may_have_all_while_nobody_else_asks, .fini = close_table)
{
    struct shared_slot_share share;

    begin(4);
    take(0, 5, 5);
    cr_expect_not(shared_slot_take(table, 1, &there, 5));
    share = shared_slot_share(table, 0, &there, 5);
    cr_expect(share.wanted == 0 && share.is_full && share.slots == 5);
    shared_slot_want(table, 1, &there, 3);
    share = shared_slot_share(table, 0, &there, 5);
    cr_expect(share.wanted == 3 && share.is_full && share.slots == 2 && !share.is_too_few);
    cr_expect_eq(shared_slot_share(table, 1, &there, 5).wanted, 0, "its own wish is no other's");
    shared_slot_want(table, 1, &there, 0);
    cr_expect_eq(shared_slot_share(table, 0, &there, 5).slots, 5);
}

Test(shared_slot, with_fewer_than_workers_it_goes_by_turns, .fini = close_table)
{
    struct shared_slot_share share;

    begin(3);
    take(0, 1, 1);
    shared_slot_want(table, 1, &there, 1);
    shared_slot_want(table, 2, &there, 1);
    share = shared_slot_share(table, 0, &there, 1);
    cr_expect(share.wanted == 2 && share.is_full && share.is_too_few && share.slots == 1);
}

Test(shared_slot, a_crowded_backend_gets_no_more_than_stand, .fini = close_table)
{
    begin(2);
    take(0, 3, 10);
    shared_slot_stands(table, 0, &there, true);
    shared_slot_stands(table, 0, &there, true);
    cr_expect_eq(shared_slot_standing(table, &there), 2);
    shared_slot_give(table, 0, &there);
    shared_slot_crowded(table, 0, &there, 60000);
    cr_expect_not(shared_slot_take(table, 1, &there, 10), "for all workers");
    shared_slot_stands(table, 0, &there, false);
    shared_slot_give(table, 0, &there);
    cr_expect(shared_slot_take(table, 1, &there, 10));
    shared_slot_crowded(table, 0, &there, 0);
    cr_expect(shared_slot_take(table, 1, &there, 10), "it is over");
}

Test(shared_slot, what_a_dead_worker_had_or_wanted_is_nothing, .fini = close_table)
{
    begin(2);
    take(0, 2, 2);
    shared_slot_stands(table, 0, &there, true);
    shared_slot_want(table, 0, &there, 5);
    shared_slot_crowded(table, 0, &there, 60000);
    shared_worker_clear(table, 0, NULL, NULL);
    cr_expect_eq(shared_slot_count(table, &there), 0);
    cr_expect_eq(shared_slot_standing(table, &there), 0);
    cr_expect_eq(shared_slot_share(table, 1, &there, 2).wanted, 0);
    take(1, 2, 2);
}
