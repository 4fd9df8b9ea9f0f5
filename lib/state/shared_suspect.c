/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Suspects: a message that was being worked on when a worker died by fault, twice within an hour,
 * is answered 451 in advance for an hour, so that one message cannot stop all mail by being sent
 * again and again.  A message is known by what its sender repeats: network, reverse-path, first
 * recipient, announced size.
 *
 * The relay's parent alone writes here (it alone sees deaths); workers read.
 */
#include "state/shared_layout.h"

#define MEMORY_MS (3600 * 1000)

void
shared_worker_set_message(struct shared_table *table, unsigned slot, uint64_t fingerprint)
{
    atomic_store_explicit(&shared_column_of(table, slot)->message, fingerprint,
                          memory_order_relaxed);
}

uint64_t
shared_worker_message(const struct shared_table *table, unsigned slot)
{
    return atomic_load(&shared_column_of(table, slot)->message);
}

uint64_t
shared_fingerprint(const struct shared_table *table, const struct inet_endpoint *client,
                   const char *reverse_path, const char *first_rcpt, uint64_t size_bytes)
{
    const uint8_t *key = table->memory->header.limits_key;
    uint8_t network[16] = {0};
    uint64_t parts[4] = {
        [1] = siphash(reverse_path, strlen(reverse_path), key),
        [2] = first_rcpt ? siphash(first_rcpt, strlen(first_rcpt), key) : 0,
        [3] = size_bytes,
    };
    uint64_t fingerprint;

    memcpy(network, client->addr, client->family == 4 ? 3 : 8);
    parts[0] = siphash(network, sizeof network, key);
    fingerprint = siphash(parts, sizeof parts, key);
    return fingerprint ? fingerprint : 1;
}

static struct shared_suspect *
find(const struct shared_table *table, uint64_t fingerprint)
{
    for (unsigned i = 0; i < SHARED_SUSPECTS_MAX; i++)
        if (atomic_load(&table->memory->suspects[i].fingerprint) == fingerprint)
            return &table->memory->suspects[i];
    return NULL;
}

static struct shared_suspect *
claim(struct shared_table *table, uint64_t fingerprint)
{
    struct shared_suspect *oldest = &table->memory->suspects[0];

    for (unsigned i = 1; i < SHARED_SUSPECTS_MAX; i++)
        if (atomic_load(&table->memory->suspects[i].died_at_ms) < atomic_load(&oldest->died_at_ms))
            oldest = &table->memory->suspects[i];
    /* In this order, or a reader might find the new one with the old one's time. */
    atomic_store(&oldest->until_ms, 0);
    atomic_store(&oldest->died_at_ms, 0);
    atomic_store(&oldest->fingerprint, fingerprint);
    return oldest;
}

bool
shared_suspect_note(struct shared_table *table, uint64_t fingerprint, int64_t wall_ms)
{
    struct shared_suspect *suspect;
    int64_t since_ms;
    bool is_second;

    if (fingerprint == 0)
        return false;
    suspect = find(table, fingerprint);
    if (suspect == NULL)
        suspect = claim(table, fingerprint);
    since_ms = wall_ms - atomic_load(&suspect->died_at_ms);
    is_second = since_ms >= -MEMORY_MS && since_ms <= MEMORY_MS;
    if (is_second)
        atomic_store(&suspect->until_ms, wall_ms + MEMORY_MS);
    atomic_store(&suspect->died_at_ms, wall_ms);
    return is_second;
}

bool
shared_suspect_is(const struct shared_table *table, uint64_t fingerprint, int64_t wall_ms)
{
    const struct shared_suspect *suspect = fingerprint ? find(table, fingerprint) : NULL;
    int64_t until_ms = suspect ? atomic_load(&suspect->until_ms) : 0;

    /* The second half: a clock set back does not make an hour a year. */
    return wall_ms < until_ms && until_ms - wall_ms <= MEMORY_MS;
}

/* --- For the snapshot. */

bool
shared_suspect_is_remembered(const struct shared_suspect_copy *copy, int64_t wall_ms)
{
    int64_t since_ms = wall_ms - copy->died_at_ms, left_ms = copy->until_ms - wall_ms;

    return copy->fingerprint != 0 && ((since_ms >= -MEMORY_MS && since_ms <= MEMORY_MS) ||
                                      (left_ms > 0 && left_ms <= MEMORY_MS));
}

bool
shared_suspect_read(const struct shared_table *table, unsigned place, int64_t wall_ms,
                    struct shared_suspect_copy *copy)
{
    const struct shared_suspect *suspect = &table->memory->suspects[place];

    *copy = (struct shared_suspect_copy){atomic_load(&suspect->fingerprint),
                                         atomic_load(&suspect->died_at_ms),
                                         atomic_load(&suspect->until_ms)};
    return shared_suspect_is_remembered(copy, wall_ms);
}

void
shared_suspect_restore(struct shared_table *table, const struct shared_suspect_copy *copy)
{
    struct shared_suspect *suspect = find(table, copy->fingerprint);

    if (suspect == NULL)
        suspect = claim(table, copy->fingerprint);
    atomic_store(&suspect->died_at_ms, copy->died_at_ms);
    atomic_store(&suspect->until_ms, copy->until_ms);
}
