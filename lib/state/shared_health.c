/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Health of backends by endpoint, in the shared table: up, down, and whose turn it is to probe.
 * The state is one word, changed by compare-and-swap: who changes it learns so and logs it.  The
 * other words (since when, next probe, last touch, tallies) may lag behind it when a process stops
 * between two of them; the worst that follows is one probe too many, or one verdict not counted.
 *
 *      unknown --succeeded--> up <--twenty verdicts-- recovering --three known refused--> refusing
 *         \                   |                        ^   |  ^                              |
 *          \----failed-------> down ----succeeded------/   |  \---three good probes, release-/
 *                               ^----------failed---------/
 *
 * While down or refusing, a probe is claimed by moving its moment on; only the failure of the one
 * who claimed it lengthens the pause, not those of the many who were already on their way when it
 * went down.  What leads to and from refusing is in shared_recovery.c.
 */
#include "state/shared_health_words.h"

#define TOUCH_EVERY_MS 10000
#define PAUSE_SANE_MS (3600 * 1000) /* unless a longer one has been asked for */

/* --- Entries. */

struct shared_health_entry *
shared_health_find(const struct shared_table *table, uint64_t key)
{
    struct shared_memory *m = table->memory;

    for (unsigned i = 0; i < SHARED_HEALTH_MAX; i++) {
        unsigned at = (unsigned)(key + i) % SHARED_HEALTH_MAX;
        uint64_t there = atomic_load_explicit(&m->health_keys[at], memory_order_acquire);

        if (there == key)
            return &m->health[at];
        if (there == 0)
            break;
    }
    return NULL;
}

/* The first empty place on the way of `key`, or else the one touched longest ago. */
static unsigned
choose_place(struct shared_memory *m, uint64_t key, uint64_t *there)
{
    unsigned oldest = 0;
    uint64_t oldest_at = UINT64_MAX;

    for (unsigned i = 0; i < SHARED_HEALTH_MAX; i++) {
        unsigned at = (unsigned)(key + i) % SHARED_HEALTH_MAX;
        uint64_t touched_at = atomic_load(&m->health[at].touched_at);

        *there = atomic_load(&m->health_keys[at]);
        if (*there == 0 || *there == key)
            return at;
        if (touched_at < oldest_at) {
            oldest_at = touched_at;
            oldest = at;
        }
    }
    *there = atomic_load(&m->health_keys[oldest]);
    return oldest;
}

struct shared_health_entry *
shared_health_claim(struct shared_table *table, uint64_t key, int64_t wall_ms)
{
    struct shared_memory *m = table->memory;
    struct shared_health_entry *entry;

    while ((entry = shared_health_find(table, key)) == NULL) {
        uint64_t there;
        unsigned at = choose_place(m, key, &there);

        if (there == key)
            continue;
        /* Touched before it is claimed, or the next newcomer would take it for the oldest. */
        atomic_store(&m->health[at].touched_at, (uint64_t)wall_ms);
        if (atomic_compare_exchange_strong(&m->health_keys[at], &there, key) && there != 0)
            atomic_fetch_add(&m->header.evictions, 1);
    }
    return entry;
}

/* The hash that stands there, if it is this endpoint's. */
static uint64_t
name_of(struct shared_health_entry *entry, const uint64_t addr[2], uint64_t family_port)
{
    uint64_t there = atomic_load(&entry->family_port);

    return atomic_load(&entry->addr[0]) == addr[0] && atomic_load(&entry->addr[1]) == addr[1] &&
                   (there & SHARED_FAMILY_PORT_MASK) == family_port
               ? there & ~SHARED_FAMILY_PORT_MASK
               : 0;
}

void
shared_health_describe(struct shared_health_entry *entry, const struct inet_endpoint *e)
{
    uint64_t addr[2], family_port = (uint64_t)e->family << 16 | e->port, name;

    memcpy(addr, e->addr, sizeof addr);
    name = name_of(entry, addr, family_port);
    atomic_store(&entry->addr[0], addr[0]);
    atomic_store(&entry->addr[1], addr[1]);
    atomic_store(&entry->family_port, name | family_port);
}

uint64_t
shared_name_hash(const struct shared_table *table, const char *name)
{
    uint64_t hash = siphash(name, strlen(name), table->memory->header.hash_key) >> 24;

    return hash ? hash : 1;
}

/* An address that is registered is found by itself; so a name that has led to it stays. */
void
shared_health_found_as(struct shared_table *table, const struct inet_endpoint *endpoint,
                       const char *name, int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint), hash = shared_name_hash(table, name);
    struct shared_health_entry *entry = shared_health_claim(table, key, wall_ms);
    uint64_t there;

    shared_health_describe(entry, endpoint);
    there = atomic_load(&entry->family_port);
    if (there >> 24 != hash && (name[0] != '\0' || there >> 24 == 0))
        (void)atomic_compare_exchange_strong(&entry->family_port, &there,
                                             hash << 24 | (there & SHARED_FAMILY_PORT_MASK));
}

void
shared_health_touch(struct shared_health_entry *entry, int64_t wall_ms)
{
    uint64_t was = atomic_load_explicit(&entry->touched_at, memory_order_relaxed);

    if (was + TOUCH_EVERY_MS < (uint64_t)wall_ms || was > (uint64_t)wall_ms)
        atomic_store_explicit(&entry->touched_at, (uint64_t)wall_ms, memory_order_relaxed);
}

/* --- What callers do. */

/* A moment written by a clock that has been set back since would silence a backend until the clock
 * has caught up: it went down then, or its probe is further away than any pause. Who claims the
 * probe writes both anew, so that one asks and not all. */
static bool
is_of_another_clock(const struct shared_table *table, int64_t probe_at_ms, int64_t since_ms,
                    int64_t wall_ms)
{
    int64_t longest_ms = table->probe_max_ms > PAUSE_SANE_MS ? table->probe_max_ms : PAUSE_SANE_MS;

    return wall_ms < since_ms || probe_at_ms - wall_ms > longest_ms;
}

/* The one who finds it overdue moves the moment on. */
static bool
claim_probe(struct shared_table *table, struct shared_health_entry *entry, uint64_t key,
            int64_t wall_ms)
{
    uint64_t word = atomic_load(&entry->probe);
    int64_t since_ms = (int64_t)shared_value_of(key, atomic_load(&entry->since)), probe_at_ms;
    bool is_probing;

    probe_at_ms = shared_probe_of(key, word, &is_probing);
    if (wall_ms < probe_at_ms && !is_of_another_clock(table, probe_at_ms, since_ms, wall_ms))
        return false;
    shared_health_touch(entry, wall_ms);
    if (!atomic_compare_exchange_strong(
            &entry->probe, &word, shared_probe_word(key, wall_ms + SHARED_PROBE_LEASE_MS, true)))
        return false;
    if (wall_ms < since_ms)
        atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
    return true;
}

enum shared_health_leave
shared_health_ask(struct shared_table *table, const struct inet_endpoint *endpoint, int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);

    if (entry == NULL)
        return SHARED_HEALTH_ASK;
    switch (shared_status_of(key, atomic_load(&entry->status)).state) {
    case SHARED_HEALTH_UNKNOWN:
    case SHARED_HEALTH_UP:
    case SHARED_HEALTH_RECOVERING:
        return SHARED_HEALTH_ASK;
    case SHARED_HEALTH_DOWN:
        return claim_probe(table, entry, key, wall_ms) ? SHARED_HEALTH_PROBE : SHARED_HEALTH_LEAVE;
    case SHARED_HEALTH_REFUSING:
        break;
    }
    return SHARED_HEALTH_LEAVE;
}

bool
shared_health_may_ask(struct shared_table *table, const struct inet_endpoint *endpoint,
                      int64_t wall_ms)
{
    return shared_health_ask(table, endpoint, wall_ms) != SHARED_HEALTH_LEAVE;
}

bool
shared_health_may_probe(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);

    return entry != NULL &&
           shared_health_stops(shared_status_of(key, atomic_load(&entry->status)).state) &&
           claim_probe(table, entry, key, wall_ms);
}

bool
shared_health_succeeded(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status);
    uint64_t up = shared_status_word(key, (struct shared_status){.state = SHARED_HEALTH_UP});

    shared_health_touch(entry, wall_ms);
    for (;;) {
        enum shared_health_state state = shared_status_of(key, word).state;

        if (state == SHARED_HEALTH_DOWN) {
            if (shared_health_begin_recovery(entry, key, &word, wall_ms))
                return true;
        } else if (state != SHARED_HEALTH_UNKNOWN)
            return false;
        else if (atomic_compare_exchange_weak(&entry->status, &word, up)) {
            atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
            shared_health_describe(entry, endpoint);
            return false;
        }
    }
}

int64_t
shared_health_pause_ms(unsigned failures, int64_t min_ms, int64_t max_ms)
{
    int64_t pause = min_ms;
    uint32_t random;

    for (unsigned i = 1; i < failures && pause < max_ms; i++)
        pause *= 2;
    if (pause > max_ms)
        pause = max_ms;
    random_bytes(&random, sizeof random);
    return pause - (int64_t)(random % (uint64_t)(pause / 4 + 1));
}

bool
shared_health_probe_ended(struct shared_health_entry *entry, uint64_t key, int64_t next_ms)
{
    uint64_t probe = atomic_load(&entry->probe);
    bool is_probing;

    (void)shared_probe_of(key, probe, &is_probing);
    return is_probing && atomic_compare_exchange_strong(&entry->probe, &probe,
                                                        shared_probe_word(key, next_ms, false));
}

/* Already down: the one who had claimed the probe reports its failure. */
static void
probe_failed(struct shared_health_entry *entry, uint64_t key, enum shared_health_reason reason,
             int64_t wall_ms, int64_t min_ms, int64_t max_ms)
{
    uint64_t word = atomic_load(&entry->status);
    struct shared_status s = shared_status_of(key, word);

    if (s.failures < SHARED_FAILURES_MAX)
        s.failures++;
    if (s.state != SHARED_HEALTH_DOWN ||
        !shared_health_probe_ended(entry, key,
                                   wall_ms + shared_health_pause_ms(s.failures, min_ms, max_ms)))
        return;
    s.reason = reason;
    (void)atomic_compare_exchange_strong(&entry->status, &word, shared_status_word(key, s));
}

bool
shared_health_failed(struct shared_table *table, const struct inet_endpoint *endpoint,
                     enum shared_health_reason reason, int64_t wall_ms, int64_t probe_min_ms,
                     int64_t probe_max_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status), down;

    if (probe_max_ms > table->probe_max_ms)
        table->probe_max_ms = probe_max_ms;
    shared_health_touch(entry, wall_ms);
    down = shared_status_word(key, (struct shared_status){SHARED_HEALTH_DOWN, reason, 1});
    while (!shared_health_stops(shared_status_of(key, word).state)) {
        int64_t pause_ms = shared_health_pause_ms(1, probe_min_ms, probe_max_ms);

        /* Written first: between the two, `down` without a moment for its probe would be probed at
         * once by all. */
        atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
        atomic_store(&entry->probe, shared_probe_word(key, wall_ms + pause_ms, false));
        shared_health_describe(entry, endpoint);
        if (atomic_compare_exchange_weak(&entry->status, &word, down)) {
            shared_health_completed(table, endpoint);
            return true;
        }
    }
    if (shared_status_of(key, word).state == SHARED_HEALTH_DOWN)
        probe_failed(entry, key, reason, wall_ms, probe_min_ms, probe_max_ms);
    else
        shared_health_refusing_failed(table, entry, key, wall_ms, probe_min_ms, probe_max_ms);
    return false;
}

void
shared_health_probe_now(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);
    uint64_t word;

    if (entry == NULL ||
        !shared_health_stops(shared_status_of(key, atomic_load(&entry->status)).state))
        return;
    /* A probe that runs now was begun before this was known: its failure means nothing any more. */
    word = atomic_load(&entry->probe);
    (void)atomic_compare_exchange_strong(&entry->probe, &word,
                                         shared_probe_word(key, wall_ms, false));
}

/* --- Transactions that break off. */

/* Is this the third different one in a row? */
static bool
is_third(struct shared_health_entry *entry, uint64_t key, uint64_t fingerprint)
{
    uint64_t value = fingerprint & SHARED_VALUE_MASK, mine;

    if (value == 0)
        value = 1;
    mine = shared_value_word(key, value);
    for (size_t i = 0; i < ARRAY_SIZE(entry->broken); i++) {
        uint64_t word = atomic_load(&entry->broken[i]);

        while (shared_value_of(key, word) == 0)
            if (atomic_compare_exchange_weak(&entry->broken[i], &word, mine))
                return i + 1 == ARRAY_SIZE(entry->broken);
        if (word == mine)
            return i + 1 == ARRAY_SIZE(entry->broken);
    }
    return true; /* whoever wrote the third has not come to its end */
}

bool
shared_health_broke(struct shared_table *table, const struct inet_endpoint *endpoint,
                    uint64_t fingerprint, int64_t wall_ms, int64_t probe_min_ms,
                    int64_t probe_max_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_claim(table, key, wall_ms);

    shared_health_describe(entry, endpoint);
    return is_third(entry, key, fingerprint) &&
           shared_health_failed(table, endpoint, SHARED_REASON_BROKEN, wall_ms, probe_min_ms,
                                probe_max_ms);
}

void
shared_health_completed(struct shared_table *table, const struct inet_endpoint *endpoint)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);

    if (entry == NULL || shared_value_of(key, atomic_load(&entry->broken[0])) == 0)
        return;
    for (size_t i = ARRAY_SIZE(entry->broken); i-- > 0;)
        atomic_store(&entry->broken[i], 0);
}
