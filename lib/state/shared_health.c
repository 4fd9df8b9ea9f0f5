/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Health of backends by endpoint, in the shared table.  The state is one word, changed by
 * compare-and-swap: who changes it learns so and logs it.  Three more words (since when, next
 * probe, last touch) may lag behind it when a process stops between two of them; the worst that
 * follows is one probe too many.
 *
 *      unknown --succeeded--> up --failed--> down --failed--> down (longer pause)
 *         \-------------------failed------->/  \--succeeded--> up
 *
 * While down, a probe is claimed by moving its moment on; only the failure of the one who claimed
 * it lengthens the pause, not those of the many who were already on their way when it went down.
 */
#include "state/shared_layout.h"

#define PROBE_LEASE_MS 30000 /* so long nobody else probes; then the prober counts as dead */
#define TOUCH_EVERY_MS 10000
#define PAUSE_SANE_MS (3600 * 1000) /* unless a longer one has been asked for */
#define FAILURES_MAX 0xffff

static const char *const state_words[] = {"unknown", "up", "down"};
static const char *const reason_texts[] = {
    [SHARED_REASON_NONE] = "no failure",
    [SHARED_REASON_CONNECT] = "connection refused or impossible",
    [SHARED_REASON_TIMEOUT] = "no answer in time",
    [SHARED_REASON_BANNER] = "greeting refuses service",
    [SHARED_REASON_EHLO] = "EHLO and HELO refused",
    [SHARED_REASON_LOST] = "connection lost",
    [SHARED_REASON_CLOSING] = "service closing its connections (421)",
    [SHARED_REASON_TLS] = "TLS needed, and not offered or failed",
};

const char *
shared_health_word(enum shared_health_state state)
{
    CHECK((unsigned)state < ARRAY_SIZE(state_words));
    return state_words[state];
}

const char *
shared_reason_text(enum shared_health_reason reason)
{
    CHECK((unsigned)reason < ARRAY_SIZE(reason_texts));
    return reason_texts[reason];
}

/* --- Words. */

struct status {
    unsigned state, reason, failures;
};

#define TIME_MASK ((UINT64_C(1) << 44) - 1)
#define PROBING (UINT64_C(1) << 44)

static uint64_t
status_word(uint64_t key, struct status s)
{
    return (uint64_t)s.state | (uint64_t)s.reason << 2 | (uint64_t)s.failures << 8 |
           (key >> 24) << 24;
}

static struct status
status_of(uint64_t key, uint64_t word)
{
    if (word >> 24 != key >> 24)
        return (struct status){.state = SHARED_HEALTH_UNKNOWN};
    return (struct status){word & 3, word >> 2 & 0x3f, word >> 8 & 0xffff};
}

static uint64_t
since_word(uint64_t key, int64_t wall_ms)
{
    return ((uint64_t)wall_ms & TIME_MASK) | (key >> 44) << 44;
}

static int64_t
since_of(uint64_t key, uint64_t word)
{
    return word >> 44 == key >> 44 ? (int64_t)(word & TIME_MASK) : 0;
}

static uint64_t
probe_word(uint64_t key, int64_t wall_ms, bool is_probing)
{
    return ((uint64_t)wall_ms & TIME_MASK) | (is_probing ? PROBING : 0) | (key >> 45) << 45;
}

/* 0: nothing known, overdue. */
static int64_t
probe_of(uint64_t key, uint64_t word, bool *is_probing)
{
    bool ours = word >> 45 == key >> 45;

    *is_probing = ours && (word & PROBING) != 0;
    return ours ? (int64_t)(word & TIME_MASK) : 0;
}

/* --- Entries. */

static struct shared_health_entry *
find_entry(const struct shared_table *table, uint64_t key)
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

static struct shared_health_entry *
find_or_claim(struct shared_table *table, uint64_t key, int64_t wall_ms)
{
    struct shared_memory *m = table->memory;
    struct shared_health_entry *entry;

    while ((entry = find_entry(table, key)) == NULL) {
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

/* Whoever comes first, and whoever finds what another has left half written. All write the same. */
static void
describe(struct shared_health_entry *entry, const struct inet_endpoint *e)
{
    uint64_t addr[2];

    memcpy(addr, e->addr, sizeof addr);
    atomic_store(&entry->addr[0], addr[0]);
    atomic_store(&entry->addr[1], addr[1]);
    atomic_store(&entry->family_port, (uint64_t)e->family << 16 | e->port);
}

static void
touch(struct shared_health_entry *entry, int64_t wall_ms)
{
    uint64_t was = atomic_load_explicit(&entry->touched_at, memory_order_relaxed);

    if (was + TOUCH_EVERY_MS < (uint64_t)wall_ms || was > (uint64_t)wall_ms)
        atomic_store_explicit(&entry->touched_at, (uint64_t)wall_ms, memory_order_relaxed);
}

/* --- What callers do. */

/* A moment written by a clock that has been set back since would silence a backend until the clock
 * has caught up: it went down then, or its probe is further away than any pause. */
static bool
is_of_another_clock(const struct shared_table *table, int64_t probe_at_ms, int64_t since_ms,
                    int64_t wall_ms)
{
    int64_t longest_ms = table->probe_max_ms > PAUSE_SANE_MS ? table->probe_max_ms : PAUSE_SANE_MS;

    return wall_ms < since_ms || probe_at_ms - wall_ms > longest_ms;
}

bool
shared_health_may_ask(struct shared_table *table, const struct inet_endpoint *endpoint,
                      int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint), word;
    struct shared_health_entry *entry = find_entry(table, key);
    bool is_probing;
    int64_t probe_at_ms;

    if (entry == NULL || status_of(key, atomic_load(&entry->status)).state != SHARED_HEALTH_DOWN)
        return true;
    word = atomic_load(&entry->probe);
    probe_at_ms = probe_of(key, word, &is_probing);
    if (wall_ms < probe_at_ms &&
        !is_of_another_clock(table, probe_at_ms, since_of(key, atomic_load(&entry->since)),
                             wall_ms))
        return false;
    return atomic_compare_exchange_strong(&entry->probe, &word,
                                          probe_word(key, wall_ms + PROBE_LEASE_MS, true));
}

bool
shared_health_succeeded(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = find_or_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status);
    struct status was;

    touch(entry, wall_ms);
    do {
        was = status_of(key, word);
        if (was.state == SHARED_HEALTH_UP)
            return false;
    } while (!atomic_compare_exchange_weak(
        &entry->status, &word, status_word(key, (struct status){.state = SHARED_HEALTH_UP})));
    atomic_store(&entry->since, since_word(key, wall_ms));
    describe(entry, endpoint);
    return was.state == SHARED_HEALTH_DOWN;
}

/* min, 2 min, 4 min ... max, each up to a quarter shorter, so that many backends do not fall in
 * step. */
static int64_t
pause_ms(unsigned failures, int64_t min_ms, int64_t max_ms)
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

/* Already down: the one who had claimed the probe reports its failure. */
static void
probe_failed(struct shared_health_entry *entry, uint64_t key, enum shared_health_reason reason,
             int64_t wall_ms, int64_t min_ms, int64_t max_ms)
{
    uint64_t word = atomic_load(&entry->status), probe = atomic_load(&entry->probe);
    struct status s = status_of(key, word);
    unsigned failures = s.failures < FAILURES_MAX ? s.failures + 1 : FAILURES_MAX;
    bool is_probing;

    (void)probe_of(key, probe, &is_probing);
    if (!is_probing || s.state != SHARED_HEALTH_DOWN ||
        !atomic_compare_exchange_strong(
            &entry->probe, &probe,
            probe_word(key, wall_ms + pause_ms(failures, min_ms, max_ms), false)))
        return;
    s = (struct status){SHARED_HEALTH_DOWN, reason, failures};
    (void)atomic_compare_exchange_strong(&entry->status, &word, status_word(key, s));
}

bool
shared_health_failed(struct shared_table *table, const struct inet_endpoint *endpoint,
                     enum shared_health_reason reason, int64_t wall_ms, int64_t probe_min_ms,
                     int64_t probe_max_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = find_or_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status), down;

    if (probe_max_ms > table->probe_max_ms)
        table->probe_max_ms = probe_max_ms;
    touch(entry, wall_ms);
    down = status_word(key, (struct status){SHARED_HEALTH_DOWN, reason, 1});
    while (status_of(key, word).state != SHARED_HEALTH_DOWN) {
        /* Written first: between the two, `down` without a moment for its probe would be probed at
         * once by all. */
        atomic_store(&entry->since, since_word(key, wall_ms));
        atomic_store(&entry->probe,
                     probe_word(key, wall_ms + pause_ms(1, probe_min_ms, probe_max_ms), false));
        describe(entry, endpoint);
        if (atomic_compare_exchange_weak(&entry->status, &word, down))
            return true;
    }
    probe_failed(entry, key, reason, wall_ms, probe_min_ms, probe_max_ms);
    return false;
}

void
shared_health_probe_now(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = find_entry(table, key);
    uint64_t word;

    if (entry == NULL || status_of(key, atomic_load(&entry->status)).state != SHARED_HEALTH_DOWN)
        return;
    /* A probe that runs now was begun before this was known: its failure means nothing any more. */
    word = atomic_load(&entry->probe);
    (void)atomic_compare_exchange_strong(&entry->probe, &word, probe_word(key, wall_ms, false));
}

/* --- Looking. */

static bool
copy_entry(const struct shared_table *table, uint64_t key, struct shared_health_entry *entry,
           struct shared_health *health)
{
    struct status s = status_of(key, atomic_load(&entry->status));
    uint64_t family_port = atomic_load(&entry->family_port);
    uint64_t addr[2] = {atomic_load(&entry->addr[0]), atomic_load(&entry->addr[1])};
    bool is_probing;

    *health = (struct shared_health){
        .endpoint = {.family = (uint8_t)(family_port >> 16), .port = (uint16_t)family_port},
        .state = (enum shared_health_state)s.state,
        .reason = (enum shared_health_reason)s.reason,
        .since_ms = since_of(key, atomic_load(&entry->since)),
        .failures = s.failures,
    };
    memcpy(health->endpoint.addr, addr, sizeof addr);
    if (s.state == SHARED_HEALTH_DOWN)
        health->next_probe_at_ms = probe_of(key, atomic_load(&entry->probe), &is_probing);
    return s.state != SHARED_HEALTH_UNKNOWN && s.state < ARRAY_SIZE(state_words) &&
           s.reason < ARRAY_SIZE(reason_texts) &&
           shared_endpoint_key(table, &health->endpoint) == key;
}

int
shared_health_get(const struct shared_table *table, const struct inet_endpoint *endpoint,
                  struct shared_health *health)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = find_entry(table, key);

    return entry != NULL && copy_entry(table, key, entry, health) ? ERR_OK : ERR_NOT_FOUND;
}

void
shared_health_each(const struct shared_table *table,
                   void (*each)(void *ctx, const struct shared_health *health), void *ctx)
{
    struct shared_memory *m = table->memory;

    for (unsigned i = 0; i < SHARED_HEALTH_MAX; i++) {
        uint64_t key = atomic_load(&m->health_keys[i]);
        struct shared_health health;

        if (key != 0 && copy_entry(table, key, &m->health[i], &health))
            each(ctx, &health);
    }
}

bool
shared_health_is_sane(const struct shared_health *health)
{
    return (health->state == SHARED_HEALTH_UP || health->state == SHARED_HEALTH_DOWN) &&
           (unsigned)health->reason < ARRAY_SIZE(reason_texts) &&
           health->failures <= FAILURES_MAX && health->since_ms >= 0 &&
           (uint64_t)health->since_ms <= TIME_MASK && health->next_probe_at_ms >= 0 &&
           (uint64_t)health->next_probe_at_ms <= TIME_MASK;
}

/* `down` comes last, as in shared_health_failed. */
void
shared_health_restore(struct shared_table *table, const struct shared_health *health,
                      int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, &health->endpoint);
    struct shared_health_entry *entry = find_or_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status);

    if (status_of(key, word).state != SHARED_HEALTH_UNKNOWN)
        return;
    atomic_store(&entry->since, since_word(key, health->since_ms));
    atomic_store(&entry->probe, probe_word(key, health->next_probe_at_ms, false));
    describe(entry, &health->endpoint);
    (void)atomic_compare_exchange_strong(
        &entry->status, &word,
        status_word(key, (struct status){health->state, health->reason, health->failures}));
}

uint64_t
shared_health_evictions(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.evictions);
}
