/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The words of an endpoint's health and how they are found; private to shared_health.c (up, down
 * and probes), shared_recovery.c (what a backend that is back says of recipients) and
 * shared_health_view.c (looking, snapshot).
 *
 * Each word carries a piece of the endpoint's key: one that an evicted endpoint has left reads as
 * 0, "nothing known".
 */
#ifndef SHARED_HEALTH_WORDS_H
#define SHARED_HEALTH_WORDS_H

#include "state/shared_layout.h"

#define SHARED_FAILURES_MAX 0xffff
#define SHARED_VALUE_MASK ((UINT64_C(1) << 44) - 1) /* of a word with a tag of 20 bits */
#define SHARED_PROBING (UINT64_C(1) << 44)
#define SHARED_PROBE_LEASE_MS                                           \
    30000 /* so long nobody else probes; then the prober counts as dead \
           */
#define SHARED_RECOVERING_MS (24 * 3600 * 1000LL) /* no longer is a backend's return looked at */

struct shared_status {
    enum shared_health_state state;
    unsigned reason, failures;
};

static inline uint64_t
shared_status_word(uint64_t key, struct shared_status s)
{
    return (uint64_t)s.state | (uint64_t)s.reason << 3 | (uint64_t)s.failures << 8 |
           (key >> 24) << 24;
}

static inline struct shared_status
shared_status_of(uint64_t key, uint64_t word)
{
    if (word >> 24 != key >> 24 || (word & 7) > SHARED_HEALTH_REFUSING)
        return (struct shared_status){.state = SHARED_HEALTH_UNKNOWN};
    return (struct shared_status){(enum shared_health_state)(word & 7), word >> 3 & 0x1f,
                                  word >> 8 & 0xffff};
}

/* A moment, a count, a hash: 44 bits. */
static inline uint64_t
shared_value_word(uint64_t key, uint64_t value)
{
    return (value & SHARED_VALUE_MASK) | (key >> 44) << 44;
}

static inline uint64_t
shared_value_of(uint64_t key, uint64_t word)
{
    return word >> 44 == key >> 44 ? word & SHARED_VALUE_MASK : 0;
}

static inline uint64_t
shared_probe_word(uint64_t key, int64_t wall_ms, bool is_probing)
{
    return ((uint64_t)wall_ms & SHARED_VALUE_MASK) | (is_probing ? SHARED_PROBING : 0) |
           (key >> 45) << 45;
}

/* 0: nothing known, overdue. */
static inline int64_t
shared_probe_of(uint64_t key, uint64_t word, bool *is_probing)
{
    bool ours = word >> 45 == key >> 45;

    *is_probing = ours && (word & SHARED_PROBING) != 0;
    return ours ? (int64_t)(word & SHARED_VALUE_MASK) : 0;
}

/* What has been said of recipients since the backend is back; each stops at 255. */
struct shared_tally {
    unsigned verdicts, accepted, refused; /* refused: of those known valid */
};

static inline uint64_t
shared_tally_value(struct shared_tally t)
{
    return (uint64_t)t.verdicts | (uint64_t)t.accepted << 8 | (uint64_t)t.refused << 16;
}

static inline struct shared_tally
shared_tally_of(uint64_t value)
{
    return (struct shared_tally){value & 0xff, value >> 8 & 0xff, value >> 16 & 0xff};
}

/* Good probes in a row, and the second of the last one. */
static inline uint64_t
shared_good_value(unsigned count, int64_t wall_ms)
{
    return (uint64_t)count | (uint64_t)(wall_ms / 1000) << 3;
}

static inline unsigned
shared_good_count(uint64_t value)
{
    return value & 7;
}

static inline int64_t
shared_good_at_ms(uint64_t value)
{
    return (int64_t)(value >> 3) * 1000;
}

#define SHARED_FAMILY_PORT_MASK ((UINT64_C(1) << 24) - 1) /* above it is the name's hash */

/* NULL: nothing has ever been said of it. */
struct shared_health_entry *shared_health_find(const struct shared_table *table, uint64_t key);
struct shared_health_entry *shared_health_claim(struct shared_table *table, uint64_t key,
                                                int64_t wall_ms);
/* Whoever comes first, and whoever finds what another has left half written. All write the same,
 * and leave the name alone. */
void shared_health_describe(struct shared_health_entry *entry, const struct inet_endpoint *e);
void shared_health_touch(struct shared_health_entry *entry, int64_t wall_ms);
/* min, 2 min, 4 min ... max, each up to a quarter shorter, so that many backends do not fall in
 * step. */
int64_t shared_health_pause_ms(unsigned failures, int64_t min_ms, int64_t max_ms);
/* Whose failure counts, and only its: it has claimed the probe that runs. */
bool shared_health_probe_ended(struct shared_health_entry *entry, uint64_t key, int64_t next_ms);
/* Into the state in which its verdicts are counted, from nothing on. */
bool shared_health_begin_recovery(struct shared_health_entry *entry, uint64_t key, uint64_t *word,
                                  int64_t wall_ms);
/* The claimed probe of a backend that refuses has failed before it could say anything. */
void shared_health_refusing_failed(struct shared_table *table, struct shared_health_entry *entry,
                                   uint64_t key, int64_t wall_ms, int64_t min_ms, int64_t max_ms);

#endif
