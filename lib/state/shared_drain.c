/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Requests to drain: one word a customer, that says when it asked last and whether the keeper still
 * has to take it.  The place is the lower half of the customer's id and the word carries the upper
 * half, so that nobody has to look for a place, and one compare-and-swap both judges and asks.
 *
 *      word:  upper half of the id 16 | waits for the keeper 1 | wall clock ms 47
 *
 * Two customers whose ids are a multiple of 65,536 apart share a place: who asks within a minute of
 * the other is told to come again.
 */
#include "base/test_value.h"
#include "state/shared_layout.h"

#define PAUSE_MS 60000
#define TIME_BITS 47
#define TIME_MASK ((UINT64_C(1) << TIME_BITS) - 1)
#define WAITS (UINT64_C(1) << TIME_BITS)

/* Also if it was asked in a time to come, by a process that reads its clock a little later; a
 * moment further away is of a clock that has been set since. */
static bool
is_too_soon(uint64_t word, int64_t wall_ms)
{
    int64_t since_ms = wall_ms - (int64_t)(word & TIME_MASK);
    int64_t pause_ms = test_value("POSTERN_TEST_DRAIN_PAUSE_MS", PAUSE_MS);

    return since_ms < pause_ms && since_ms > -pause_ms;
}

enum shared_drain_answer
shared_drain_request(struct shared_table *table, uint32_t customer_id, int64_t wall_ms)
{
    struct shared_memory *m = table->memory;
    _Atomic uint64_t *place = &m->drains[customer_id % SHARED_DRAINS_MAX];
    uint64_t word = atomic_load(place);
    uint64_t mine = (uint64_t)(customer_id / SHARED_DRAINS_MAX) << (TIME_BITS + 1) | WAITS |
                    ((uint64_t)wall_ms & TIME_MASK);

    do {
        if (is_too_soon(word, wall_ms))
            return SHARED_DRAIN_TOO_SOON;
    } while (!atomic_compare_exchange_weak(place, &word, mine));
    atomic_fetch_add(&m->header.drains, 1);
    return SHARED_DRAIN_STARTED;
}

void
shared_drain_take(struct shared_table *table, void (*each)(void *ctx, uint32_t customer_id),
                  void *ctx)
{
    struct shared_memory *m = table->memory;
    uint64_t asked = atomic_load(&m->header.drains);

    if (asked == table->drains_seen)
        return;
    table->drains_seen = asked;
    for (uint32_t i = 0; i < SHARED_DRAINS_MAX; i++) {
        uint64_t word = atomic_load(&m->drains[i]);

        if (!(word & WAITS))
            continue;
        each(ctx, (uint32_t)(word >> (TIME_BITS + 1)) * SHARED_DRAINS_MAX + i);
        (void)atomic_compare_exchange_strong(&m->drains[i], &word, word & ~WAITS);
    }
}
