/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Chained hash table under a random key: its keys come from peers.
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

static struct state_change *
find(const struct state_changes *changes, struct slice key)
{
    struct state_change *c = *bucket_of(changes, key);

    while (c != NULL && !slice_equal((struct slice){c->key, c->key_size}, key))
        c = c->next;
    return c;
}

const struct state_change *
state_changes_find(const struct state_changes *changes, struct slice key)
{
    return changes->count > 0 ? find(changes, key) : NULL;
}

void
state_changes_put(struct state_changes *changes, struct slice key, enum state_change_kind kind,
                  int64_t seen_at_ms)
{
    struct state_change *c = find(changes, key), **bucket;

    if (c == NULL) {
        if (changes->count >= STATE_CHANGES_MAX)
            return;
        bucket = bucket_of(changes, key);
        c = mem_alloc(sizeof *c + key.n);
        c->next = *bucket;
        c->key_size = key.n;
        memcpy(c->key, key.p, key.n);
        *bucket = c;
        changes->count++;
    }
    c->kind = kind;
    c->seen_at_ms = seen_at_ms;
}
