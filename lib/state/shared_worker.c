/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's column: heartbeat, counters, messages in flight, connection slots, content scanners,
 * DNS lists.
 * Its owner writes it; others only read it, until the owner is dead and the parent clears it.
 *
 * Connection slots are exact without a common counter: a worker adds its own first and then sums
 * all columns; of two that race for the last slot each sees the other, and at most one stays.  A
 * common counter would be wrong for ever after a death between two steps.
 */
#include "state/shared_layout.h"

static const char *const counter_words[SHARED_COUNTER_COUNT] = {
#define COUNTER(id, word, help) word,
#include "state/shared_counter.def"
#undef COUNTER
};

void
shared_worker_begin(struct shared_table *table, unsigned slot, int pid)
{
    struct shared_column *column = shared_column_of(table, slot);

    /* The stamp stays: who started this process has set it, and zero would look like silence. */
    atomic_store(&column->pid, pid);
}

void
shared_worker_stamp(struct shared_table *table, unsigned slot, int64_t monotonic_ms)
{
    atomic_store_explicit(&shared_column_of(table, slot)->stamped_at_ms, monotonic_ms,
                          memory_order_relaxed);
}

int64_t
shared_worker_stamped_at_ms(const struct shared_table *table, unsigned slot)
{
    return atomic_load(&shared_column_of(table, slot)->stamped_at_ms);
}

int
shared_worker_pid(const struct shared_table *table, unsigned slot)
{
    return atomic_load(&shared_column_of(table, slot)->pid);
}

/* --- Messages in flight. */

int
shared_inflight_enter(struct shared_table *table, unsigned slot, struct ref ref, unsigned *index)
{
    struct shared_column *column = shared_column_of(table, slot);
    unsigned first = atomic_load_explicit(&column->inflight_next, memory_order_relaxed);

    for (unsigned i = 0; i < SHARED_INFLIGHT_MAX; i++) {
        unsigned at = (first + i) % SHARED_INFLIGHT_MAX;
        struct shared_inflight *entry = &column->inflight[at];
        uint32_t free_state = SHARED_INFLIGHT_FREE;

        if (!atomic_compare_exchange_strong(&entry->state, &free_state, SHARED_INFLIGHT_CLAIMED))
            continue;
        atomic_store(&entry->node_number, (uint64_t)ref.node << 48 | ref.number);
        atomic_store(&entry->minute, ref.minute);
        atomic_store(&entry->state, SHARED_INFLIGHT_FULL);
        atomic_store_explicit(&column->inflight_next, at + 1, memory_order_relaxed);
        *index = at;
        return ERR_OK;
    }
    return ERR_FULL;
}

void
shared_inflight_leave(struct shared_table *table, unsigned slot, unsigned index)
{
    struct shared_column *column = shared_column_of(table, slot);

    CHECK(index < SHARED_INFLIGHT_MAX);
    CHECK(atomic_exchange(&column->inflight[index].state, SHARED_INFLIGHT_FREE) ==
          SHARED_INFLIGHT_FULL);
}

/* An entry that is only claimed belongs to a message that had not gone anywhere yet.  It is told
 * first and freed then: whoever dies in between tells it twice, never not at all. */
static void
clear_inflight(struct shared_inflight *entry, void (*each)(void *ctx, struct ref ref), void *ctx)
{
    uint64_t word = atomic_load(&entry->node_number);
    struct ref ref = {.node = (uint16_t)(word >> 48),
                      .minute = atomic_load(&entry->minute),
                      .number = word & 0xffffffffffff};

    if (atomic_load(&entry->state) == SHARED_INFLIGHT_FULL && each != NULL)
        each(ctx, ref);
    atomic_store(&entry->state, SHARED_INFLIGHT_FREE);
}

void
shared_worker_clear(struct shared_table *table, unsigned slot,
                    void (*each)(void *ctx, struct ref ref), void *ctx)
{
    struct shared_column *column = shared_column_of(table, slot);

    for (unsigned i = 0; i < SHARED_INFLIGHT_MAX; i++)
        clear_inflight(&column->inflight[i], each, ctx);
    for (unsigned i = 0; i < SHARED_SLOTS_MAX; i++) {
        struct shared_slots *slots = &column->slots[i];

        atomic_store(&slots->taken, 0);
        atomic_store(&slots->standing, 0);
        atomic_store(&slots->wanted, 0);
        atomic_store(&slots->crowd, 0);
        atomic_store(&slots->key, 0);
    }
    shared_clients_clear(table, slot);
    for (unsigned i = 0; i < SHARED_SCANNERS_MAX; i++)
        atomic_store(&column->scanners[i], SHARED_SCANNER_UNKNOWN);
    for (unsigned i = 0; i < SHARED_LISTS_MAX; i++)
        atomic_store(&column->lists[i], 0);
    atomic_store(&column->message, 0);
    atomic_store(&column->stamped_at_ms, 0);
    atomic_store(&column->pid, 0);
}

/* --- Content scanners. */

void
shared_scanner_set(struct shared_table *table, unsigned slot, unsigned scanner, int64_t state)
{
    CHECK(scanner < SHARED_SCANNERS_MAX);
    atomic_store(&shared_column_of(table, slot)->scanners[scanner], state);
}

int64_t
shared_scanner_get(const struct shared_table *table, unsigned slot, unsigned scanner)
{
    CHECK(scanner < SHARED_SCANNERS_MAX);
    return atomic_load(&shared_column_of(table, slot)->scanners[scanner]);
}

/* --- DNS lists. */

static uint64_t
name_bits(const struct shared_table *table, const char *name)
{
    return (shared_name_hash(table, name) & 0xfff) << 8;
}

void
shared_list_set(struct shared_table *table, unsigned slot, unsigned list, const char *name,
                struct shared_list state)
{
    if (list < SHARED_LISTS_MAX)
        atomic_store(&shared_column_of(table, slot)->lists[list],
                     (uint64_t)state.since_ms << 20 | name_bits(table, name) | state.state);
}

struct shared_list
shared_list_get(const struct shared_table *table, unsigned slot, unsigned list, const char *name)
{
    uint64_t word =
        list < SHARED_LISTS_MAX ? atomic_load(&shared_column_of(table, slot)->lists[list]) : 0;

    if ((word & 0xfff00) != name_bits(table, name))
        return (struct shared_list){0};
    return (struct shared_list){.state = word & 0xff, .since_ms = (int64_t)(word >> 20)};
}

/* --- Counters. They outlive their worker: sums must not fall. */

void
shared_count(struct shared_table *table, unsigned slot, enum shared_counter counter)
{
    CHECK((unsigned)counter < SHARED_COUNTER_COUNT);
    atomic_fetch_add_explicit(&shared_column_of(table, slot)->counters[counter], 1,
                              memory_order_relaxed);
}

uint64_t
shared_counter_sum(const struct shared_table *table, enum shared_counter counter)
{
    uint64_t sum = 0;

    CHECK((unsigned)counter < SHARED_COUNTER_COUNT);
    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX; slot++)
        sum += atomic_load_explicit(&shared_column_of(table, slot)->counters[counter],
                                    memory_order_relaxed);
    return sum;
}

const char *
shared_counter_word(enum shared_counter counter)
{
    CHECK((unsigned)counter < SHARED_COUNTER_COUNT);
    return counter_words[counter];
}
