/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Health of backends, looked at: for people, for the snapshot, and back from it.  A copy is of one
 * moment for each word, not for all of them together.
 */
#include "state/shared_health_words.h"

static const char *const state_words[] = {"unknown", "up", "down", "recovering", "refusing"};
static const char *const reason_texts[] = {
    [SHARED_REASON_NONE] = "no failure",
    [SHARED_REASON_CONNECT] = "no connection",
    [SHARED_REASON_TIMEOUT] = "no answer in time",
    [SHARED_REASON_BANNER] = "greeting refuses service",
    [SHARED_REASON_EHLO] = "EHLO and HELO refused",
    [SHARED_REASON_LOST] = "connection lost",
    [SHARED_REASON_CLOSING] = "service closing its connections (421)",
    [SHARED_REASON_TLS] = "TLS needed, and not offered or failed",
    [SHARED_REASON_BROKEN] = "transactions of three messages in a row broke off",
    [SHARED_REASON_REFUSES] = "refuses recipients that are known to be valid",
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

/* What the words beside the state say. */
static void
copy_recovery(uint64_t key, struct shared_health_entry *entry, struct shared_health *health)
{
    struct shared_tally tally = shared_tally_of(shared_value_of(key, atomic_load(&entry->tally)));
    uint64_t good = shared_value_of(key, atomic_load(&entry->good));

    health->verdicts = tally.verdicts;
    health->accepted = tally.accepted;
    health->refused = tally.refused;
    if (health->state == SHARED_HEALTH_REFUSING) {
        health->good_probes = shared_good_count(good);
        health->good_at_ms = shared_good_at_ms(good);
    }
    for (size_t i = 0; i < ARRAY_SIZE(health->refused_hashes); i++)
        health->refused_hashes[i] = shared_value_of(key, atomic_load(&entry->refused[i]));
}

static bool
copy_entry(const struct shared_table *table, uint64_t key, struct shared_health_entry *entry,
           struct shared_health *health)
{
    struct shared_status s = shared_status_of(key, atomic_load(&entry->status));
    uint64_t family_port = atomic_load(&entry->family_port);
    uint64_t addr[2] = {atomic_load(&entry->addr[0]), atomic_load(&entry->addr[1])};

    *health = (struct shared_health){
        .endpoint = {.family = (uint8_t)(family_port >> 16), .port = (uint16_t)family_port},
        .state = s.state,
        .reason = (enum shared_health_reason)s.reason,
        .since_ms = (int64_t)shared_value_of(key, atomic_load(&entry->since)),
        .failures = s.failures,
        .name_hash = family_port >> 24,
    };
    memcpy(health->endpoint.addr, addr, sizeof addr);
    if (shared_health_stops(s.state))
        health->next_probe_at_ms =
            shared_probe_of(key, atomic_load(&entry->probe), &health->is_probing);
    if (s.state == SHARED_HEALTH_RECOVERING || s.state == SHARED_HEALTH_REFUSING)
        copy_recovery(key, entry, health);
    return s.state != SHARED_HEALTH_UNKNOWN && s.reason < ARRAY_SIZE(reason_texts) &&
           shared_endpoint_key(table, &health->endpoint) == key;
}

const char *
shared_health_shown(const struct shared_health *health, int64_t wall_ms)
{
    if (health->state == SHARED_HEALTH_DOWN && health->is_probing &&
        wall_ms < health->next_probe_at_ms)
        return "probing";
    if (health->state == SHARED_HEALTH_RECOVERING && health->since_ms > 0 &&
        wall_ms - health->since_ms >= SHARED_RECOVERING_MS)
        return shared_health_word(SHARED_HEALTH_UP);
    return shared_health_word(health->state);
}

int
shared_health_get(const struct shared_table *table, const struct inet_endpoint *endpoint,
                  struct shared_health *health)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);

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

static bool
is_value(int64_t value)
{
    return value >= 0 && (uint64_t)value <= SHARED_VALUE_MASK;
}

bool
shared_health_is_sane(const struct shared_health *health)
{
    for (size_t i = 0; i < ARRAY_SIZE(health->refused_hashes); i++)
        if (health->refused_hashes[i] > SHARED_VALUE_MASK)
            return false;
    return health->state > SHARED_HEALTH_UNKNOWN && health->state <= SHARED_HEALTH_REFUSING &&
           (unsigned)health->reason < ARRAY_SIZE(reason_texts) &&
           health->failures <= SHARED_FAILURES_MAX && is_value(health->since_ms) &&
           is_value(health->next_probe_at_ms) && health->good_probes <= SHARED_GOOD_PROBES &&
           is_value(health->good_at_ms) && health->verdicts <= 255 && health->accepted <= 255 &&
           health->refused <= 255;
}

static void
restore_recovery(struct shared_health_entry *entry, uint64_t key,
                 const struct shared_health *health)
{
    struct shared_tally tally = {health->verdicts, health->accepted, health->refused};
    uint64_t good =
        health->good_probes ? shared_good_value(health->good_probes, health->good_at_ms) : 0;

    atomic_store(&entry->tally, shared_value_word(key, shared_tally_value(tally)));
    atomic_store(&entry->good, shared_value_word(key, good));
    for (size_t i = 0; i < ARRAY_SIZE(health->refused_hashes); i++)
        atomic_store(&entry->refused[i], shared_value_word(key, health->refused_hashes[i]));
}

/* The state comes last, as in shared_health_failed. */
void
shared_health_restore(struct shared_table *table, const struct shared_health *health,
                      int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, &health->endpoint);
    struct shared_health_entry *entry = shared_health_claim(table, key, wall_ms);
    uint64_t word = atomic_load(&entry->status);

    if (shared_status_of(key, word).state != SHARED_HEALTH_UNKNOWN)
        return;
    atomic_store(&entry->since, shared_value_word(key, (uint64_t)health->since_ms));
    atomic_store(&entry->probe, shared_probe_word(key, health->next_probe_at_ms, false));
    restore_recovery(entry, key, health);
    shared_health_describe(entry, &health->endpoint);
    (void)atomic_compare_exchange_strong(
        &entry->status, &word,
        shared_status_word(
            key, (struct shared_status){health->state, health->reason, health->failures}));
}

uint64_t
shared_health_evictions(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.evictions);
}
