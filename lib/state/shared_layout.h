/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What lies in the shared memory; private to the shared_*.c files.  Everything is a lock-free
 * atomic word.  A process may stop or die between any two of them, so no word may mean "being
 * changed, wait": each is valid by itself or recognisably not ours.
 *
 * Backend health: `keys` is an open-addressing table; a key is the endpoint's hash, so that a slot
 * is claimed by one compare-and-swap.  The words of an entry carry a piece of the key as their tag;
 * a word with another tag was left by an evicted endpoint and reads as "nothing known".  Hourly
 * windows do the same (shared_window.c).
 *
 * The last part, addresses of clients, is a hole in the file until a worker claims its share
 * (shared_client_prepare): 256 KB a worker instead of 16 MB a node.
 */
#ifndef SHARED_LAYOUT_H
#define SHARED_LAYOUT_H

#include <stdatomic.h>

#include "base/siphash.h"
#include "state/shared_table.h"
#include "state/shared_use.h"

#define SHARED_MAGIC "PSTNSHRD"
#define SHARED_LAYOUT 8
#define SHARED_HEALTH_MAX 1024 /* endpoints; a power of two */
#define SHARED_USE_MAX 8192    /* customers with mail on one day */
#define SHARED_SLOTS_MAX 1024  /* endpoints to which one worker holds connections */
#define SHARED_PLACES 16       /* of a row in which a key may lie: two cache lines */
#define SHARED_WINDOW_ROWS 1024
#define SHARED_WINDOWS_MAX (SHARED_WINDOW_ROWS * SHARED_PLACES)
#define SHARED_WINDOW_RING 64 /* minutes; more than an hour, a power of two */
#define SHARED_CLIENT_ROWS 2048
#define SHARED_SUSPECTS_MAX 128
#define SHARED_KEPT_ROWS 4096   /* of customers for whom mail waits */
#define SHARED_DRAINS_MAX 65536 /* one a customer, by the lower half of its id */

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock could be stopped");

struct shared_header {
    char magic[8];
    uint32_t layout, counter_count;
    uint64_t size_bytes;
    char boot_id[40];
    uint8_t hash_key[SIPHASH_KEY_SIZE];
    _Atomic uint32_t epoch;
    _Atomic uint64_t next_number;
    _Atomic uint64_t evictions, window_evictions, use_lost;
    _Atomic uint64_t drains; /* counted up behind each new request */
    /* Set by the relay's parent before it has workers: from the snapshot, or that there is none. */
    _Atomic uint32_t is_restored;
    _Atomic uint64_t kept_bound;          /* the complement; see shared_kept.c */
    uint8_t limits_key[SIPHASH_KEY_SIZE]; /* of windows and fingerprints; goes into the snapshot */
    _Atomic int64_t left_service_at_ms;   /* 0: not; in what was padding of zeros */
};

struct shared_use_entry {
    _Atomic uint64_t key;                     /* the customer's id + 1; 0: empty */
    _Atomic uint64_t words[SHARED_USE_COUNT]; /* day 16, count 48 */
};

struct shared_kept_entry {
    _Atomic int64_t messages, bytes;                     /* read by the keeper, and open */
    _Atomic int64_t committed_messages, committed_bytes; /* by a worker, and not read yet */
};

struct shared_health_entry {
    _Atomic uint64_t status;     /* state 3, reason 5, failures 16, tag 40 */
    _Atomic uint64_t since;      /* wall clock ms 44, tag 20; so all that follow */
    _Atomic uint64_t probe;      /* wall clock ms 44, somebody is probing 1, tag 19 */
    _Atomic uint64_t touched_at; /* wall clock ms: the oldest is evicted */
    _Atomic uint64_t addr[2];
    _Atomic uint64_t family_port; /* hash of the name 40 (shared_name_hash), family 8, port 16 */
    _Atomic uint64_t tally;       /* of verdicts: all 8, accepted 8, refused and known valid 8 */
    _Atomic uint64_t refused[3];  /* hashes of recipients known valid */
    _Atomic uint64_t good;      /* probes of one that refuses: in a row 3, the last one's second */
    _Atomic uint64_t broken[3]; /* fingerprints of messages whose transactions broke, in a row */
};

enum shared_inflight_state { SHARED_INFLIGHT_FREE, SHARED_INFLIGHT_CLAIMED, SHARED_INFLIGHT_FULL };

struct shared_inflight {
    _Atomic uint64_t node_number; /* node 16, number 48 */
    _Atomic uint32_t minute, state;
};

struct shared_window {
    _Atomic uint64_t now;                         /* the minute in which was counted last */
    _Atomic uint64_t told;                        /* the minute in which 80 % was told */
    _Atomic uint64_t minutes[SHARED_WINDOW_RING]; /* those before, by minute */
};

struct shared_suspect { /* written by the relay's parent alone */
    _Atomic uint64_t fingerprint;
    _Atomic int64_t died_at_ms, until_ms; /* wall clock */
};

/* Clients of one worker: tag 48, connections 16.  An entry never moves, so that a reader cannot
 * miss it. */
struct shared_clients {
    _Alignas(4096) _Atomic uint64_t rows[SHARED_CLIENT_ROWS][SHARED_PLACES];
};

/* Of one endpoint: connections of this worker. */
struct shared_slots {
    _Atomic uint64_t key; /* 0: empty */
    _Atomic uint32_t taken, standing, wanted;
    _Atomic uint64_t crowd; /* until when (seconds 40) no more than so many (24) */
};

struct shared_column {
    _Alignas(64) _Atomic int32_t pid; /* 0: nobody's; its connection slots do not count */
    _Atomic int64_t stamped_at_ms;
    _Atomic uint32_t inflight_next; /* where to look for a free entry first */
    _Atomic uint32_t has_clients;   /* its part of `clients` is no hole any more */
    _Atomic uint32_t connections;   /* of clients */
    _Atomic uint64_t message;       /* the fingerprint of what the worker is working on; 0: none */
    _Atomic int64_t scanners[SHARED_SCANNERS_MAX]; /* see shared_scanner_set */
    _Atomic uint64_t lists[SHARED_LISTS_MAX]; /* since when, wall clock ms 44, name 12, state 8 */
    _Atomic uint64_t counters[SHARED_COUNTER_COUNT];
    struct shared_inflight inflight[SHARED_INFLIGHT_MAX];
    /* Written by the column's owner alone, read by all. */
    _Alignas(64) struct shared_slots slots[SHARED_SLOTS_MAX];
};

struct shared_memory {
    struct shared_header header;
    _Alignas(64) _Atomic uint64_t health_keys[SHARED_HEALTH_MAX]; /* 0: empty */
    struct shared_health_entry health[SHARED_HEALTH_MAX];
    _Alignas(64) struct shared_use_entry use[SHARED_USE_MAX];
    _Alignas(64) _Atomic uint64_t window_keys[SHARED_WINDOWS_MAX]; /* 0: empty */
    struct shared_window windows[SHARED_WINDOWS_MAX];
    _Alignas(64) _Atomic uint64_t kept_keys[SHARED_KEPT_ROWS][SHARED_PLACES]; /* 0: empty */
    struct shared_kept_entry kept[SHARED_KEPT_ROWS * SHARED_PLACES];
    struct shared_suspect suspects[SHARED_SUSPECTS_MAX];
    _Alignas(64) _Atomic uint64_t drains[SHARED_DRAINS_MAX]; /* see shared_drain.c */
    struct shared_column columns[SHARED_WORKERS_MAX];
    struct shared_clients clients[SHARED_WORKERS_MAX];
};

struct shared_table {
    struct shared_memory *memory;
    int64_t probe_max_ms;  /* this process's own: the longest pause it has been asked for */
    int64_t good_apart_ms; /* this process's own, for tests; 0: as designed */
    uint64_t day;          /* of shared_use, between these two moments */
    int64_t day_seen_ms, day_ends_ms;
    uint64_t drains_seen; /* of the header's, when this process looked last */
};

/* Zeroes what a dead worker held (shared_client.c). */
void shared_clients_clear(struct shared_table *table, unsigned slot);

/* --- For the snapshot (shared_snapshot.c): what is there, and bringing it back before there are
 * workers. */
struct shared_window_minute {
    int64_t wall_ms; /* its start */
    uint32_t count;
};
#define SHARED_WINDOW_MINUTES 61
/* What still counts of the window at this place, oldest first; 0: nothing. */
unsigned shared_window_read(const struct shared_table *table, unsigned place, int64_t wall_ms,
                            uint64_t *key,
                            struct shared_window_minute minutes[SHARED_WINDOW_MINUTES]);
/* Adds to what is there.  Oldest first. */
void shared_window_restore(struct shared_table *table, uint64_t key,
                           const struct shared_window_minute *minutes, unsigned count);
/* False: nothing has been used on this day. Comes back by shared_use_add. */
bool shared_use_read(struct shared_table *table, unsigned place, int64_t wall_ms,
                     uint32_t *customer_id, uint64_t used[SHARED_USE_COUNT]);
struct shared_suspect_copy {
    uint64_t fingerprint;
    int64_t died_at_ms, until_ms;
};
bool shared_suspect_is_remembered(const struct shared_suspect_copy *copy, int64_t wall_ms);
/* False: there is none, or it is forgotten by now. */
bool shared_suspect_read(const struct shared_table *table, unsigned place, int64_t wall_ms,
                         struct shared_suspect_copy *copy);
void shared_suspect_restore(struct shared_table *table, const struct shared_suspect_copy *copy);
/* All fields but the endpoint are such as can be. */
bool shared_health_is_sane(const struct shared_health *health);
/* Unless something is known of the endpoint. */
void shared_health_restore(struct shared_table *table, const struct shared_health *health,
                           int64_t wall_ms);

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
