/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Chained hash table under a random key: its keys come from peers.  A change takes the place of an
 * earlier one of its key.
 */
#include "state/state_changes.h"

#include <stdlib.h>

#include "base/err.h"

void
state_changes_init(struct state_changes *changes)
{
    *changes = (struct state_changes){0};
    random_bytes(changes->hash_key, sizeof changes->hash_key);
}

void
state_changes_clear(struct state_changes *changes)
{
    for (unsigned i = 0; i < STATE_CHANGES_BUCKETS && changes->count > 0; i++) {
        struct state_change *next;

        for (struct state_change *c = changes->buckets[i]; c != NULL; c = next) {
            next = c->next;
            free(c);
            changes->count--;
        }
        changes->buckets[i] = NULL;
    }
}

static struct state_change **
bucket_of(const struct state_changes *changes, struct slice key)
{
    uint64_t hash = siphash(key.p, key.n, changes->hash_key);

    return (struct state_change **)&changes->buckets[hash % STATE_CHANGES_BUCKETS];
}

/* Where the change is, or where the next one of its bucket goes. */
static struct state_change **
find(const struct state_changes *changes, struct slice key)
{
    struct state_change **at = bucket_of(changes, key);

    while (*at != NULL && !slice_equal(state_change_key(*at), key))
        at = &(*at)->next;
    return at;
}

const struct state_change *
state_changes_find(const struct state_changes *changes, struct slice key)
{
    return changes->count > 0 ? *find(changes, key) : NULL;
}

static struct state_change *
make(struct slice key, const struct state_record *record)
{
    size_t more_size = record ? record->more_size : 0;
    struct state_change *c = mem_alloc(sizeof *c + key.n + more_size);

    c->is_removed = record == NULL;
    c->key_size = key.n;
    memcpy(c->bytes, key.p, key.n);
    if (record == NULL)
        return c;
    c->kind = record->kind;
    c->at_ms = record->at_ms;
    c->more_size = more_size;
    memcpy(c->bytes + key.n, record->more, more_size);
    return c;
}

bool
state_changes_put(struct state_changes *changes, struct slice key,
                  const struct state_record *record)
{
    struct state_change **at = find(changes, key), *before = *at, *c;

    if (before == NULL && changes->count >= STATE_CHANGES_MAX)
        return false;
    c = make(key, record);
    if (before != NULL)
        c->next = before->next;
    else
        changes->count++;
    *at = c;
    free(before);
    return true;
}

struct slice
state_change_key(const struct state_change *change)
{
    return (struct slice){change->bytes, change->key_size};
}

void
state_change_record(const struct state_change *change, struct state_record *record)
{
    record->kind = change->kind;
    record->at_ms = change->at_ms;
    record->more_size = change->more_size;
    memcpy(record->more, change->bytes + change->key_size, change->more_size);
}
