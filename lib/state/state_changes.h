/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Changes of the store that are not on disk yet: a hash table of records, the last change of each
 * wins.  Bounded: while the disk does not take anything, learning stops and memory does not
 * grow.
 */
#ifndef STATE_CHANGES_H
#define STATE_CHANGES_H

#include <stdint.h>

#include "base/siphash.h"
#include "state/state_record.h"

#define STATE_CHANGES_MAX 20000
#define STATE_CHANGES_BUCKETS 1024

struct state_change {
    struct state_change *next;
    bool is_removed;
    uint8_t kind; /* and so on: of the record */
    int64_t at_ms;
    size_t key_size, more_size;
    char bytes[]; /* the key, then what more the record has */
};

struct state_changes {
    struct state_change *buckets[STATE_CHANGES_BUCKETS];
    uint8_t hash_key[SIPHASH_KEY_SIZE];
    unsigned count;
};

void state_changes_init(struct state_changes *changes);
void state_changes_clear(struct state_changes *changes);
/* record NULL: removed.  false: dropped, since there are STATE_CHANGES_MAX already. */
bool state_changes_put(struct state_changes *changes, struct slice key,
                       const struct state_record *record);
/* NULL: none of this key. */
const struct state_change *state_changes_find(const struct state_changes *changes,
                                              struct slice key);
struct slice state_change_key(const struct state_change *change);
/* Not of one that was removed. */
void state_change_record(const struct state_change *change, struct state_record *record);

#endif
