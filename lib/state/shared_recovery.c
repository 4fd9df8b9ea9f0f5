/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A backend that is back from an outage may be back without its mailboxes.  Until it has earned
 * trust, what it says of recipients is counted: twenty verdicts, one of them good, make it plainly
 * up; three different recipients known valid that it refuses, while it accepts fewer than it
 * refuses, make it `refusing`, which only good probes or an operator end.
 *
 * Without a single acceptance it stays under observation for a day: a server that takes nothing at
 * all must not earn the right to bounce by refusing often.
 *
 * Invariant: whoever changes the state's word says so to its caller, and nobody else.  Tallies are
 * cleared before the state is entered in which they count; one that is late costs a verdict.
 */
#include "state/shared_health_words.h"

#define VERDICTS_ENOUGH 20
#define TALLY_MAX 255

bool
shared_health_begin_recovery(struct shared_health_entry *entry, uint64_t key, uint64_t *word,
                             int64_t wall_ms)
{
    uint64_t recovering =
        shared_status_word(key, (struct shared_status){.state = SHARED_HEALTH_RECOVERING});

    /* Written first: with the moment of its fall its recovery could be over at once. */
    atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
    atomic_store(&entry->tally, 0);
    for (size_t i = 0; i < ARRAY_SIZE(entry->refused); i++)
        atomic_store(&entry->refused[i], 0);
    for (size_t i = 0; i < ARRAY_SIZE(entry->broken); i++)
        atomic_store(&entry->broken[i], 0);
    return atomic_compare_exchange_strong(&entry->status, word, recovering);
}

uint64_t
shared_recipient_hash(const struct shared_table *table, uint32_t customer_id, const char *key)
{
    const uint8_t *secret = table->memory->header.limits_key;
    uint64_t parts[2] = {customer_id, siphash(key, strlen(key), secret)};
    uint64_t hash = siphash(parts, sizeof parts, secret) & SHARED_VALUE_MASK;

    return hash ? hash : 1;
}

/* --- Verdicts. */

static unsigned
one_more(unsigned count)
{
    return count < TALLY_MAX ? count + 1 : count;
}

static struct shared_tally
add_verdict(struct shared_health_entry *entry, uint64_t key, enum shared_verdict verdict)
{
    uint64_t word = atomic_load(&entry->tally);
    struct shared_tally t;

    do {
        t = shared_tally_of(shared_value_of(key, word));
        t.verdicts = one_more(t.verdicts);
        if (verdict == SHARED_VERDICT_ACCEPTED)
            t.accepted = one_more(t.accepted);
        else if (verdict == SHARED_VERDICT_REFUSED_KNOWN)
            t.refused = one_more(t.refused);
    } while (!atomic_compare_exchange_weak(&entry->tally, &word,
                                           shared_value_word(key, shared_tally_value(t))));
    return t;
}

/* True: three different ones are remembered now. */
static bool
remember_refused(struct shared_health_entry *entry, uint64_t key, uint64_t hash)
{
    uint64_t mine = shared_value_word(key, hash);
    const size_t count = ARRAY_SIZE(entry->refused);

    for (size_t i = 0; i < count; i++) {
        uint64_t word = atomic_load(&entry->refused[i]);

        while (shared_value_of(key, word) == 0)
            if (atomic_compare_exchange_weak(&entry->refused[i], &word, mine))
                return i + 1 == count;
        if (word == mine)
            break;
    }
    return shared_value_of(key, atomic_load(&entry->refused[count - 1])) != 0;
}

static bool
begin_refusing(struct shared_health_entry *entry, uint64_t key, uint64_t word, int64_t wall_ms,
               int64_t pause_ms)
{
    struct shared_status refusing = {SHARED_HEALTH_REFUSING, SHARED_REASON_REFUSES, 1};

    atomic_store(&entry->good, 0);
    atomic_store(&entry->probe, shared_probe_word(key, wall_ms + pause_ms, false));
    if (!atomic_compare_exchange_strong(&entry->status, &word, shared_status_word(key, refusing)))
        return false;
    atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
    return true;
}

static bool
end_recovery(struct shared_health_entry *entry, uint64_t key, uint64_t word, int64_t wall_ms)
{
    struct shared_status up = {.state = SHARED_HEALTH_UP};

    if (!atomic_compare_exchange_strong(&entry->status, &word, shared_status_word(key, up)))
        return false;
    atomic_store(&entry->since, shared_value_word(key, (uint64_t)wall_ms));
    return true;
}

static bool
is_over(struct shared_health_entry *entry, uint64_t key, int64_t wall_ms)
{
    int64_t since_ms = (int64_t)shared_value_of(key, atomic_load(&entry->since));

    return since_ms > 0 && wall_ms - since_ms >= SHARED_RECOVERING_MS;
}

enum shared_health_news
shared_health_verdict(struct shared_table *table, const struct inet_endpoint *endpoint,
                      enum shared_verdict verdict, uint64_t recipient_hash, int64_t wall_ms,
                      int64_t probe_min_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint), word;
    struct shared_health_entry *entry = shared_health_find(table, key);
    struct shared_tally t;
    bool three = false;

    if (entry == NULL)
        return SHARED_HEALTH_NO_NEWS;
    word = atomic_load(&entry->status);
    if (shared_status_of(key, word).state != SHARED_HEALTH_RECOVERING)
        return SHARED_HEALTH_NO_NEWS;
    t = add_verdict(entry, key, verdict);
    if (verdict == SHARED_VERDICT_REFUSED_KNOWN)
        three = remember_refused(entry, key, recipient_hash);
    if (three && t.accepted < t.refused && !is_over(entry, key, wall_ms))
        return begin_refusing(entry, key, word, wall_ms,
                              shared_health_pause_ms(1, probe_min_ms, probe_min_ms))
                   ? SHARED_HEALTH_NOW_REFUSING
                   : SHARED_HEALTH_NO_NEWS;
    if ((t.verdicts >= VERDICTS_ENOUGH && t.accepted > 0) || is_over(entry, key, wall_ms))
        return end_recovery(entry, key, word, wall_ms) ? SHARED_HEALTH_NOW_UP
                                                       : SHARED_HEALTH_NO_NEWS;
    return SHARED_HEALTH_NO_NEWS;
}

enum shared_health_state
shared_health_state_of(const struct shared_table *table, const struct inet_endpoint *endpoint,
                       int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_health_entry *entry = shared_health_find(table, key);
    enum shared_health_state state;

    if (entry == NULL)
        return SHARED_HEALTH_UNKNOWN;
    state = shared_status_of(key, atomic_load(&entry->status)).state;
    return state == SHARED_HEALTH_RECOVERING && is_over(entry, key, wall_ms) ? SHARED_HEALTH_UP
                                                                             : state;
}

/* --- The end of refusing. */

void
shared_health_refusing_failed(struct shared_table *table, struct shared_health_entry *entry,
                              uint64_t key, int64_t wall_ms, int64_t min_ms, int64_t max_ms)
{
    uint64_t word = atomic_load(&entry->status);
    struct shared_status s = shared_status_of(key, word);

    (void)table;
    if (s.failures < SHARED_FAILURES_MAX)
        s.failures++;
    if (s.state != SHARED_HEALTH_REFUSING ||
        !shared_health_probe_ended(entry, key,
                                   wall_ms + shared_health_pause_ms(s.failures, min_ms, max_ms)))
        return;
    atomic_store(&entry->good, 0);
    (void)atomic_compare_exchange_strong(&entry->status, &word, shared_status_word(key, s));
}

/* How many good ones in a row there are now; one that comes too soon behind another, or from a
 * clock that has been set back, begins or adds nothing. */
static unsigned
add_good(struct shared_table *table, struct shared_health_entry *entry, uint64_t key,
         int64_t wall_ms)
{
    uint64_t word = atomic_load(&entry->good), value;
    int64_t apart_ms = table->good_apart_ms ? table->good_apart_ms : SHARED_GOOD_PROBES_APART_MS;
    unsigned count;

    do {
        value = shared_value_of(key, word);
        count = shared_good_count(value);
        if (count > 0 && wall_ms - shared_good_at_ms(value) < apart_ms &&
            wall_ms + 1000 >= shared_good_at_ms(value))
            return count;
        count = count < SHARED_GOOD_PROBES ? count + 1 : count;
    } while (!atomic_compare_exchange_weak(
        &entry->good, &word, shared_value_word(key, shared_good_value(count, wall_ms))));
    return count;
}

bool
shared_health_probed(struct shared_table *table, const struct inet_endpoint *endpoint, bool good,
                     int64_t wall_ms, int64_t probe_min_ms, int64_t probe_max_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint), word;
    struct shared_health_entry *entry = shared_health_find(table, key);
    int64_t apart_ms = table->good_apart_ms ? table->good_apart_ms : SHARED_GOOD_PROBES_APART_MS;

    if (entry == NULL)
        return false;
    word = atomic_load(&entry->status);
    if (shared_status_of(key, word).state != SHARED_HEALTH_REFUSING)
        return false;
    if (!good) {
        shared_health_refusing_failed(table, entry, key, wall_ms, probe_min_ms, probe_max_ms);
        return false;
    }
    if (!shared_health_probe_ended(entry, key, wall_ms + apart_ms))
        return false;
    return add_good(table, entry, key, wall_ms) >= SHARED_GOOD_PROBES &&
           shared_health_begin_recovery(entry, key, &word, wall_ms);
}

bool
shared_health_release(struct shared_table *table, const struct inet_endpoint *endpoint,
                      int64_t wall_ms)
{
    uint64_t key = shared_endpoint_key(table, endpoint), word;
    struct shared_health_entry *entry = shared_health_find(table, key);

    if (entry == NULL)
        return false;
    word = atomic_load(&entry->status);
    while (shared_status_of(key, word).state == SHARED_HEALTH_REFUSING)
        if (shared_health_begin_recovery(entry, key, &word, wall_ms))
            return true;
    return false;
}

void
shared_health_set_good_apart(struct shared_table *table, int64_t apart_ms)
{
    table->good_apart_ms = apart_ms;
}
