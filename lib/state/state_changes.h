/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Changes of the store that are not on disk yet: a hash table of recipients, the last change of
 * each wins.  Bounded: while the disk does not take anything, learning stops and memory does not
 * grow.
 */
#ifndef STATE_CHANGES_H
#define STATE_CHANGES_H

#include <stdint.h>

#include "base/siphash.h"
#include "base/slice.h"

#define STATE_CHANGES_MAX 20000
#define STATE_CHANGES_BUCKETS 1024

enum state_change_kind { STATE_CHANGE_VALID, STATE_CHANGE_INVALID, STATE_CHANGE_REMOVED };

struct state_change {
    struct state_change *next;
    enum state_change_kind kind;
    int64_t seen_at_ms;
    size_t key_size;
    char key[];
};

struct state_changes {
    struct state_change *buckets[STATE_CHANGES_BUCKETS];
    uint8_t hash_key[SIPHASH_KEY_SIZE];
    unsigned count;
};

void state_changes_init(struct state_changes *changes);
void state_changes_clear(struct state_changes *changes);
/* Dropped if there are STATE_CHANGES_MAX already. */
void state_changes_put(struct state_changes *changes, struct slice key, enum state_change_kind kind,
                       int64_t seen_at_ms);
/* NULL: none of this key. */
const struct state_change *state_changes_find(const struct state_changes *changes,
                                              struct slice key);

#endif
