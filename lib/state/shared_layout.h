/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What lies in the shared memory; private to the shared_*.c files.  Everything is a lock-free
 * atomic word.  A process may stop or die between any two of them, so no word may mean "being
 * changed, wait": each is valid by itself or recognisably not ours.
 *
 * Backend health: `keys` is an open-addressing table; a key is the endpoint's hash, so that a slot
 * is claimed by one compare-and-swap.  The words of an entry carry a piece of the key as their tag;
 * a word with another tag was left by an evicted endpoint and reads as "nothing known".
 */
#ifndef SHARED_LAYOUT_H
#define SHARED_LAYOUT_H

#include <stdatomic.h>

#include "base/siphash.h"
#include "state/shared_table.h"
#include "state/shared_use.h"

#define SHARED_MAGIC "PSTNSHRD"
#define SHARED_LAYOUT 2
#define SHARED_HEALTH_MAX 1024 /* endpoints; a power of two */
#define SHARED_USE_MAX 8192    /* customers with mail on one day */
#define SHARED_SLOTS_MAX 1024  /* endpoints to which one worker holds connections */

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock could be stopped");

struct shared_header {
    char magic[8];
    uint32_t layout, counter_count;
    uint64_t size_bytes;
    char boot_id[40];
    uint8_t hash_key[SIPHASH_KEY_SIZE];
    _Atomic uint32_t epoch;
    _Atomic uint64_t next_number;
    _Atomic uint64_t evictions;
    _Atomic uint64_t use_lost;
};

struct shared_use_entry {
    _Atomic uint64_t key;                     /* the customer's id + 1; 0: empty */
    _Atomic uint64_t words[SHARED_USE_COUNT]; /* day 16, count 48 */
};

struct shared_health_entry {
    _Atomic uint64_t status;     /* state 2, reason 6, failures 16, tag 40 */
    _Atomic uint64_t since;      /* wall clock ms 44, tag 20 */
    _Atomic uint64_t probe;      /* wall clock ms 44, somebody is probing 1, tag 19 */
    _Atomic uint64_t touched_at; /* wall clock ms: the oldest is evicted */
    _Atomic uint64_t addr[2], family_port;
};

enum shared_inflight_state { SHARED_INFLIGHT_FREE, SHARED_INFLIGHT_CLAIMED, SHARED_INFLIGHT_FULL };

struct shared_inflight {
    _Atomic uint64_t node_number; /* node 16, number 48 */
    _Atomic uint32_t minute, state;
};

struct shared_column {
    _Alignas(64) _Atomic int32_t pid; /* 0: nobody's; its connection slots do not count */
    _Atomic int64_t stamped_at_ms;
    _Atomic uint32_t inflight_next; /* where to look for a free entry first */
    _Atomic uint64_t counters[SHARED_COUNTER_COUNT];
    struct shared_inflight inflight[SHARED_INFLIGHT_MAX];
    /* Written by the column's owner alone, read by all. */
    _Alignas(64) _Atomic uint64_t slot_keys[SHARED_SLOTS_MAX];
    _Atomic uint32_t slot_counts[SHARED_SLOTS_MAX];
};

struct shared_memory {
    struct shared_header header;
    _Alignas(64) _Atomic uint64_t health_keys[SHARED_HEALTH_MAX]; /* 0: empty */
    struct shared_health_entry health[SHARED_HEALTH_MAX];
    _Alignas(64) struct shared_use_entry use[SHARED_USE_MAX];
    struct shared_column columns[SHARED_WORKERS_MAX];
};

struct shared_table {
    struct shared_memory *memory;
    int64_t probe_max_ms; /* this process's own: the longest pause it has been asked for */
    uint64_t day;         /* of shared_use, between these two moments */
    int64_t day_seen_ms, day_ends_ms;
};

/* Never 0. */
uint64_t shared_endpoint_key(const struct shared_table *table,
                             const struct inet_endpoint *endpoint);

static inline struct shared_column *
shared_column_of(const struct shared_table *table, unsigned slot)
{
    CHECK(slot < SHARED_WORKERS_MAX);
    return &table->memory->columns[slot];
}

#endif
