/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer has its place for as long as the table lives, in a row of 16 that its id leads to.  A
 * row that is full counts nothing for further customers: no quota is held for them, which is better
 * than to refuse their mail.
 *
 * What a worker has counted leaves its count when the keeper has read it: so the sum is right, but
 * for what a worker that dies amid a commit had counted, which the keeper's next start mends.
 */
#include "state/shared_kept.h"

#include "state/shared_layout.h"

static _Atomic uint64_t *
row_of(const struct shared_table *table, uint32_t customer_id)
{
    struct shared_memory *m = table->memory;
    uint64_t row = siphash(&customer_id, sizeof customer_id, m->header.hash_key);

    return m->kept_keys[row % SHARED_KEPT_ROWS];
}

static struct shared_kept_entry *
entry_of(const struct shared_table *table, const _Atomic uint64_t *key)
{
    struct shared_memory *m = table->memory;

    return &m->kept[key - &m->kept_keys[0][0]];
}

static struct shared_kept_entry *
find(const struct shared_table *table, uint32_t customer_id)
{
    _Atomic uint64_t *row = row_of(table, customer_id);

    for (unsigned i = 0; i < SHARED_PLACES; i++)
        if (atomic_load(&row[i]) == (uint64_t)customer_id + 1)
            return entry_of(table, &row[i]);
    return NULL;
}

static struct shared_kept_entry *
find_or_make(struct shared_table *table, uint32_t customer_id)
{
    _Atomic uint64_t *row = row_of(table, customer_id);

    for (unsigned i = 0; i < SHARED_PLACES; i++) {
        uint64_t key = 0;

        if (atomic_compare_exchange_strong(&row[i], &key, (uint64_t)customer_id + 1) ||
            key == (uint64_t)customer_id + 1)
            return entry_of(table, &row[i]);
    }
    return NULL;
}

static uint64_t
sum_of(const _Atomic int64_t *kept, const _Atomic int64_t *committed)
{
    int64_t sum = atomic_load(kept) + atomic_load(committed);

    return sum > 0 ? (uint64_t)sum : 0;
}

static struct shared_kept
kept_of(const struct shared_kept_entry *e)
{
    if (e == NULL)
        return (struct shared_kept){0};
    return (struct shared_kept){.messages = sum_of(&e->messages, &e->committed_messages),
                                .bytes = sum_of(&e->bytes, &e->committed_bytes)};
}

struct shared_kept
shared_kept_get(const struct shared_table *table, uint32_t customer_id)
{
    return kept_of(find(table, customer_id));
}

/* kept: without the one in question. */
static bool
has_room(const struct shared_table *table, struct shared_kept kept, uint64_t bytes,
         const struct shared_kept *most)
{
    if (kept.messages == 0)
        return true;
    return kept.bytes < shared_kept_bound(table) && kept.messages < most->messages &&
           kept.bytes < most->bytes && bytes <= most->bytes - kept.bytes;
}

bool
shared_kept_has_room(const struct shared_table *table, uint32_t customer_id, uint64_t bytes,
                     const struct shared_kept *most)
{
    return has_room(table, shared_kept_get(table, customer_id), bytes, most);
}

/* Counted first and looked at then: of two that come for the last place both may be sent away, but
 * both never get it. */
bool
shared_kept_take(struct shared_table *table, uint32_t customer_id, uint64_t bytes,
                 const struct shared_kept *most)
{
    struct shared_kept_entry *e = find_or_make(table, customer_id);
    struct shared_kept kept;

    if (e == NULL)
        return true;
    atomic_fetch_add(&e->committed_messages, 1);
    atomic_fetch_add(&e->committed_bytes, (int64_t)bytes);
    kept = kept_of(e);
    kept.messages -= kept.messages > 0;
    kept.bytes -= kept.bytes > bytes ? bytes : kept.bytes;
    if (most == NULL || has_room(table, kept, bytes, most))
        return true;
    shared_kept_give(table, customer_id, bytes);
    return false;
}

void
shared_kept_give(struct shared_table *table, uint32_t customer_id, uint64_t bytes)
{
    struct shared_kept_entry *e = find(table, customer_id);

    if (e == NULL)
        return;
    atomic_fetch_sub(&e->committed_messages, 1);
    atomic_fetch_sub(&e->committed_bytes, (int64_t)bytes);
}

void
shared_kept_clear(struct shared_table *table)
{
    struct shared_memory *m = table->memory;

    for (size_t i = 0; i < ARRAY_SIZE(m->kept); i++) {
        if (atomic_load(&m->kept_keys[i / SHARED_PLACES][i % SHARED_PLACES]) == 0)
            continue; /* do not touch memory that nobody uses */
        atomic_store(&m->kept[i].messages, 0);
        atomic_store(&m->kept[i].bytes, 0);
        atomic_store(&m->kept[i].committed_messages, 0);
        atomic_store(&m->kept[i].committed_bytes, 0);
    }
    shared_kept_set_bound(table, SHARED_KEPT_NO_BOUND);
}

void
shared_kept_add(struct shared_table *table, uint32_t customer_id, uint64_t bytes, bool is_new)
{
    struct shared_kept_entry *e = find_or_make(table, customer_id);

    if (e == NULL)
        return;
    atomic_fetch_add(&e->messages, 1);
    atomic_fetch_add(&e->bytes, (int64_t)bytes);
    if (is_new)
        shared_kept_give(table, customer_id, bytes);
}

void
shared_kept_remove(struct shared_table *table, uint32_t customer_id, uint64_t bytes)
{
    struct shared_kept_entry *e = find(table, customer_id);

    if (e == NULL)
        return;
    atomic_fetch_sub(&e->messages, 1);
    atomic_fetch_sub(&e->bytes, (int64_t)bytes);
}

uint64_t
shared_kept_most_bytes(const struct shared_table *table)
{
    const struct shared_memory *m = table->memory;
    uint64_t most = 0;

    for (size_t i = 0; i < ARRAY_SIZE(m->kept); i++) {
        uint64_t bytes;

        if (atomic_load(&m->kept_keys[i / SHARED_PLACES][i % SHARED_PLACES]) == 0)
            continue;
        bytes = sum_of(&m->kept[i].bytes, &m->kept[i].committed_bytes);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Stored as its complement, so that a fresh table has no bound. */
void
shared_kept_set_bound(struct shared_table *table, uint64_t bytes)
{
    atomic_store(&table->memory->header.kept_bound, ~bytes);
}

uint64_t
shared_kept_bound(const struct shared_table *table)
{
    return ~atomic_load(&table->memory->header.kept_bound);
}
