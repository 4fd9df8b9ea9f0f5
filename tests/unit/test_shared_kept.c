/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits for each customer: exact over processes, a quota that is never exceeded, nobody
 * refused where nothing is known.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/shared_kept.h"
#include "tests/unit/shared_fixture.h"

#define PROCESSES 6

TestSuite(shared_kept, .init = open_table, .fini = close_table);

static const struct shared_kept no_quota = {UINT64_MAX, UINT64_MAX};

static void
expect(uint32_t customer_id, uint64_t messages, uint64_t bytes)
{
    struct shared_kept kept = shared_kept_get(table, customer_id);

    cr_expect(kept.messages == messages && kept.bytes == bytes, "customer %u: %llu of %llu octets",
              customer_id, (unsigned long long)kept.messages, (unsigned long long)kept.bytes);
}

Test(shared_kept, from_the_worker_to_the_keeper_and_away)
{
    cr_expect(shared_kept_take(table, 7, 100, &no_quota));
    cr_expect(shared_kept_take(table, 7, 50, &no_quota));
    expect(7, 2, 150);
    shared_kept_add(table, 7, 100, true);
    expect(7, 2, 150);
    shared_kept_give(table, 7, 50); /* its commit failed */
    expect(7, 1, 100);
    shared_kept_remove(table, 7, 100);
    expect(7, 0, 0);
    expect(8, 0, 0);
    shared_kept_remove(table, 8, 1); /* never seen */
    expect(8, 0, 0);
}

Test(shared_kept, a_keeper_that_starts_counts_anew)
{
    cr_expect(shared_kept_take(table, 1, 10, &no_quota));
    shared_kept_add(table, 2, 20, false);
    shared_kept_set_bound(table, 5);
    shared_kept_clear(table);
    expect(1, 0, 0);
    expect(2, 0, 0);
    cr_expect_eq(shared_kept_bound(table), SHARED_KEPT_NO_BOUND);
    shared_kept_add(table, 1, 10, false);
    expect(1, 1, 10);
}

static const struct {
    const char *name;
    struct shared_kept there, most;
    uint64_t bytes, bound;
    bool has_room;
} cases[] = {
    {"no quota", {1000, 1000}, {UINT64_MAX, UINT64_MAX}, 1 << 20, SHARED_KEPT_NO_BOUND, true},
    {"the last one", {4, 10}, {5, UINT64_MAX}, 10, SHARED_KEPT_NO_BOUND, true},
    {"one too many", {5, 10}, {5, UINT64_MAX}, 10, SHARED_KEPT_NO_BOUND, false},
    {"to the octet", {1, 60}, {UINT64_MAX, 100}, 40, SHARED_KEPT_NO_BOUND, true},
    {"an octet more", {1, 60}, {UINT64_MAX, 100}, 41, SHARED_KEPT_NO_BOUND, false},
    {"larger than its quota, alone", {0, 0}, {5, 100}, 1000, SHARED_KEPT_NO_BOUND, true},
    {"the largest, disk short", {1, 60}, {UINT64_MAX, UINT64_MAX}, 1, 60, false},
    {"a smaller one, disk short", {1, 59}, {UINT64_MAX, UINT64_MAX}, 1, 60, true},
    {"nothing waits, disk full", {0, 0}, {UINT64_MAX, UINT64_MAX}, 1, 0, true},
};

Test(shared_kept, quotas)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint32_t id = (uint32_t)i;

        for (uint64_t n = 0; n < cases[i].there.messages; n++)
            shared_kept_add(table, id, n == 0 ? cases[i].there.bytes : 0, false);
        shared_kept_set_bound(table, cases[i].bound);
        cr_expect_eq(shared_kept_has_room(table, id, cases[i].bytes, &cases[i].most),
                     cases[i].has_room, "%s", cases[i].name);
        cr_expect_eq(shared_kept_take(table, id, cases[i].bytes, &cases[i].most), cases[i].has_room,
                     "%s: taken", cases[i].name);
        expect(id, cases[i].there.messages + cases[i].has_room,
               cases[i].there.bytes + (cases[i].has_room ? cases[i].bytes : 0));
    }
    cr_expect(shared_kept_take(table, 2, 10, NULL), "kept whatever there is");
    expect(2, 6, 20);
}

Test(shared_kept, P9_never_more_than_the_quota_over_all_processes)
{
    const struct shared_kept most = {1000, UINT64_MAX};

    for (int p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            for (int i = 0; i < 1000; i++)
                if (shared_kept_take(table, 3, 1, &most))
                    shared_kept_add(table, 3, 1, true);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    cr_expect_leq(shared_kept_get(table, 3).messages, 1000);
    for (int i = 0; i < 1000; i++) /* two that met at the last place */
        (void)shared_kept_take(table, 3, 1, &most);
    expect(3, 1000, 1000);
    cr_expect_eq(shared_kept_most_bytes(table), 1000);
}

/* Rows are full then; nobody is refused for it. */
Test(shared_kept, more_customers_than_fit)
{
    const struct shared_kept one = {1, UINT64_MAX};

    for (uint32_t id = 0; id < 100000; id++)
        cr_assert(shared_kept_take(table, id, 1, &one));
    cr_expect_eq(shared_kept_get(table, 0).messages, 1);
}
