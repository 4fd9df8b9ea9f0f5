/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A word is the day (16 bits) and the count (48 bits) of that day, so that midnight needs no sweep:
 * a word of another day reads as zero and is begun anew by who adds.  An entry whose words are all
 * of other days may be taken by another customer; who had found it just before adds to the wrong
 * one, once, which a number for people can bear.
 */
#include "state/shared_use.h"

#include <time.h>

#include "base/clock.h"
#include "state/shared_layout.h"

#define COUNT_BITS 48
#define COUNT_MAX ((UINT64_C(1) << COUNT_BITS) - 1)
#define PROBES_MAX 64

/* A number for the local day; the process remembers when it ends. */
static uint64_t
day_of(struct shared_table *table, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (wall_ms >= table->day_seen_ms && wall_ms < table->day_ends_ms)
        return table->day;
    if (localtime_r(&seconds, &tm) == NULL)
        return 0;
    table->day = ((uint64_t)(tm.tm_year - 70) * 366 + (uint64_t)tm.tm_yday) & 0xffff;
    table->day_seen_ms = wall_ms;
    table->day_ends_ms = clock_retention_end_ms(wall_ms, 0);
    return table->day;
}

static uint64_t
count_of(const _Atomic uint64_t *word, uint64_t day)
{
    uint64_t w = atomic_load_explicit(word, memory_order_relaxed);

    return w >> COUNT_BITS == day ? w & COUNT_MAX : 0;
}

static bool
is_of_another_day(const struct shared_use_entry *entry, uint64_t day)
{
    for (unsigned i = 0; i < SHARED_USE_COUNT; i++)
        if (count_of(&entry->words[i], day) != 0)
            return false;
    return true;
}

static uint32_t
home_of(const struct shared_table *table, uint32_t customer_id)
{
    return (uint32_t)siphash(&customer_id, sizeof customer_id, table->memory->header.hash_key);
}

static struct shared_use_entry *
entry_at(const struct shared_table *table, uint32_t at)
{
    return &table->memory->use[at % SHARED_USE_MAX];
}

/* NULL: it has none. */
static struct shared_use_entry *
find(const struct shared_table *table, uint32_t customer_id)
{
    uint32_t home = home_of(table, customer_id);

    for (uint32_t i = 0; i < PROBES_MAX; i++) {
        struct shared_use_entry *entry = entry_at(table, home + i);
        uint64_t key = atomic_load(&entry->key);

        if (key == (uint64_t)customer_id + 1)
            return entry;
        if (key == 0)
            return NULL;
    }
    return NULL;
}

/* NULL: somebody else was quicker, or it is in use. */
static struct shared_use_entry *
take(struct shared_use_entry *entry, uint64_t mine, bool is_stale_good, uint64_t day)
{
    uint64_t key = atomic_load(&entry->key);

    if (key == mine)
        return entry;
    if (key != 0 && !(is_stale_good && is_of_another_day(entry, day)))
        return NULL;
    if (atomic_compare_exchange_strong(&entry->key, &key, mine) || key == mine)
        return entry;
    return NULL;
}

/* An empty one, where `find` would stop; if there is none, one of another day. */
static struct shared_use_entry *
claim(const struct shared_table *table, uint32_t customer_id, uint64_t day)
{
    uint32_t home = home_of(table, customer_id);

    for (uint32_t i = 0; i < 2 * PROBES_MAX; i++) {
        struct shared_use_entry *entry = take(entry_at(table, home + i % PROBES_MAX),
                                              (uint64_t)customer_id + 1, i >= PROBES_MAX, day);

        if (entry)
            return entry;
    }
    return NULL;
}

void
shared_use_add(struct shared_table *table, uint32_t customer_id, enum shared_use use,
               uint64_t amount, int64_t wall_ms)
{
    uint64_t day = day_of(table, wall_ms), before, count;
    struct shared_use_entry *entry = find(table, customer_id);

    if (entry == NULL)
        entry = claim(table, customer_id, day);
    if (entry == NULL) {
        atomic_fetch_add_explicit(&table->memory->header.use_lost, 1, memory_order_relaxed);
        return;
    }
    before = atomic_load_explicit(&entry->words[use], memory_order_relaxed);
    do {
        count = before >> COUNT_BITS == day ? before & COUNT_MAX : 0;
        count = amount > COUNT_MAX - count ? COUNT_MAX : count + amount;
    } while (!atomic_compare_exchange_weak_explicit(&entry->words[use], &before,
                                                    day << COUNT_BITS | count, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void
shared_use_get(struct shared_table *table, uint32_t customer_id, int64_t wall_ms,
               uint64_t used[SHARED_USE_COUNT])
{
    uint64_t day = day_of(table, wall_ms);
    const struct shared_use_entry *entry = find(table, customer_id);

    for (unsigned i = 0; i < SHARED_USE_COUNT; i++)
        used[i] = entry ? count_of(&entry->words[i], day) : 0;
}

bool
shared_use_read(struct shared_table *table, unsigned place, int64_t wall_ms, uint32_t *customer_id,
                uint64_t used[SHARED_USE_COUNT])
{
    const struct shared_use_entry *entry = &table->memory->use[place];
    uint64_t key = atomic_load(&entry->key), day = day_of(table, wall_ms);
    bool is_used = false;

    if (key == 0)
        return false;
    *customer_id = (uint32_t)(key - 1);
    for (unsigned i = 0; i < SHARED_USE_COUNT; i++) {
        used[i] = count_of(&entry->words[i], day);
        is_used = is_used || used[i] > 0;
    }
    return is_used;
}

uint64_t
shared_use_lost(const struct shared_table *table)
{
    return atomic_load_explicit(&table->memory->header.use_lost, memory_order_relaxed);
}
