/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Recipients and their domains.  A recipient has one record, the last verdict on it: a positive one
 * purges a negative one by taking its place.  What it is worth, its domain's record says: nothing
 * until a random recipient has been refused there (picky), nothing while every recipient is
 * accepted (accept-all), and nothing of before the moment at which the domain became picky again.
 *
 * A domain's record is also the lease of its probe: whoever learns is told once that the domain
 * should be probed, and nobody else for ten minutes.
 */
#include "base/codec.h"
#include "state/state_store_private.h"

#define PROBE_AGAIN_MS (10 * 60 * 1000LL)
#define PROBE_DAILY_MS (24 * 60 * 60 * 1000LL)
#define KEY_HEAD 5

struct domain {
    enum state_domain word;
    int64_t answered_at_ms;
    int64_t asked_at_ms;   /* 0: never */
    int64_t valid_from_ms; /* what was learned before counts no more */
};

/* First octet, customer (big endian: a customer's records lie together), text. */
static bool
make_key(char dst[STATE_RECORD_KEY_MAX], enum state_store_kind kind, uint32_t customer_id,
         const char *text, struct slice *made)
{
    size_t n = strnlen(text, STATE_KEY_MAX + 1);

    _Static_assert(STATE_KEY_MAX + KEY_HEAD <= STATE_RECORD_KEY_MAX, "room for the longest key");
    if (n > STATE_KEY_MAX || (n == 0 && kind == STATE_STORE_RECIPIENT))
        return false;
    dst[0] = (char)kind;
    for (unsigned i = 0; i < 4; i++)
        dst[1 + i] = (char)(customer_id >> (24 - 8 * i));
    memcpy(dst + KEY_HEAD, text, n);
    *made = (struct slice){dst, KEY_HEAD + n};
    return true;
}

static uint32_t
customer_of(struct slice key)
{
    uint32_t id = 0;

    for (unsigned i = 0; i < 4; i++)
        id = id << 8 | (uint8_t)key.p[1 + i];
    return id;
}

static const char *
domain_of(const char *recipient)
{
    const char *at = strrchr(recipient, '@');

    return at ? at + 1 : "";
}

/* --- Domains. */

static struct domain
find_domain(struct state_store *store, uint32_t customer_id, const char *name)
{
    struct domain d = {.word = STATE_DOMAIN_UNKNOWN};
    char bytes[STATE_RECORD_KEY_MAX];
    struct state_record record;
    struct slice key;

    if (!make_key(bytes, STATE_STORE_DOMAIN, customer_id, name, &key) ||
        !state_store_find(store, key, &record) || record.more_size != 16 ||
        record.kind > STATE_DOMAIN_ACCEPT_ALL)
        return d;
    d.word = record.kind;
    d.answered_at_ms = record.at_ms;
    d.asked_at_ms = (int64_t)load_u64(record.more);
    d.valid_from_ms = (int64_t)load_u64(record.more + 8);
    return d;
}

static bool
put_domain(struct state_store *store, uint32_t customer_id, const char *name,
           const struct domain *d)
{
    struct state_record record = {.kind = (uint8_t)d->word, .at_ms = d->answered_at_ms};
    char bytes[STATE_RECORD_KEY_MAX];
    struct slice key;

    if (!make_key(bytes, STATE_STORE_DOMAIN, customer_id, name, &key))
        return false;
    record.more_size = 16;
    store_u64(record.more, (uint64_t)d->asked_at_ms);
    store_u64(record.more + 8, (uint64_t)d->valid_from_ms);
    return state_store_put(store, key, &record);
}

/* Takes the lease if the probe is due. */
static bool
take_probe(struct state_store *store, uint32_t customer_id, const char *name, struct domain *d,
           int64_t wall_ms)
{
    if (state_store_is_recent(d->asked_at_ms, PROBE_AGAIN_MS, wall_ms))
        return false;
    if (d->word != STATE_DOMAIN_UNKNOWN &&
        state_store_is_recent(d->answered_at_ms, PROBE_DAILY_MS, wall_ms))
        return false;
    d->asked_at_ms = wall_ms;
    return put_domain(store, customer_id, name, d);
}

void
state_store_learn_domain(struct state_store *store, uint32_t customer_id, const char *domain,
                         enum state_domain word, int64_t wall_ms)
{
    struct domain d = find_domain(store, customer_id, domain);

    if (word == STATE_DOMAIN_UNKNOWN)
        return;
    if (word == STATE_DOMAIN_PICKY && d.word == STATE_DOMAIN_ACCEPT_ALL)
        d.valid_from_ms = wall_ms;
    d.word = word;
    d.answered_at_ms = d.asked_at_ms = wall_ms;
    (void)put_domain(store, customer_id, domain, &d);
}

bool
state_store_domain_is_outdated(struct state_store *store, struct slice key,
                               const struct state_record *record, int64_t wall_ms)
{
    int64_t asked_at_ms = record->more_size == 16 ? (int64_t)load_u64(record->more) : 0;
    int64_t at_ms = record->at_ms > asked_at_ms ? record->at_ms : asked_at_ms;

    (void)key;
    return state_store_is_older(
        at_ms, state_store_settings(store)->positive_ttl_ms + STATE_STORE_GRACE_MS, wall_ms);
}

/* --- Recipients. */

/* Ages stand still from `stopped_at_ms` on, if that is not 0. */
static int64_t
judged_at(const struct state_record *record, int64_t stopped_at_ms, int64_t wall_ms)
{
    return stopped_at_ms != 0 && stopped_at_ms >= record->at_ms && stopped_at_ms < wall_ms
               ? stopped_at_ms
               : wall_ms;
}

enum state_recipient
state_store_recipient(struct state_store *store, uint32_t customer_id, const char *key,
                      int64_t stopped_at_ms, int64_t wall_ms)
{
    struct domain domain = find_domain(store, customer_id, domain_of(key));
    const struct state_store_settings *settings = state_store_settings(store);
    char bytes[STATE_RECORD_KEY_MAX];
    struct state_record record;
    struct slice k;
    int64_t at_ms;

    if (domain.word == STATE_DOMAIN_ACCEPT_ALL)
        return STATE_RECIPIENT_ACCEPT_ALL;
    if (domain.word == STATE_DOMAIN_UNKNOWN ||
        !make_key(bytes, STATE_STORE_RECIPIENT, customer_id, key, &k) ||
        !state_store_find(store, k, &record) || record.at_ms < domain.valid_from_ms)
        return STATE_RECIPIENT_UNKNOWN;
    at_ms = judged_at(&record, stopped_at_ms, wall_ms);
    if (state_store_is_older(record.at_ms, settings->positive_ttl_ms, at_ms))
        return STATE_RECIPIENT_UNKNOWN;
    if (record.kind)
        return STATE_RECIPIENT_VALID;
    return at_ms - record.at_ms > settings->negative_ttl_ms ? STATE_RECIPIENT_INVALID_STALE
                                                            : STATE_RECIPIENT_INVALID;
}

static bool
is_known_already(struct state_store *store, struct slice key, bool valid,
                 const struct domain *domain, int64_t wall_ms)
{
    const struct state_store_settings *settings = state_store_settings(store);
    int64_t within_ms = (valid ? settings->positive_ttl_ms : settings->negative_ttl_ms) / 8;
    struct state_record record;

    if (within_ms > STATE_STORE_REFRESH_MS)
        within_ms = STATE_STORE_REFRESH_MS;
    return state_store_find(store, key, &record) && record.kind == valid &&
           record.at_ms >= domain->valid_from_ms &&
           state_store_is_recent(record.at_ms, within_ms, wall_ms);
}

bool
state_store_learn(struct state_store *store, uint32_t customer_id, const char *key, bool valid,
                  int64_t wall_ms)
{
    struct state_record record = {.kind = valid, .at_ms = wall_ms};
    struct domain domain;
    char bytes[STATE_RECORD_KEY_MAX];
    struct slice k;

    if (!make_key(bytes, STATE_STORE_RECIPIENT, customer_id, key, &k))
        return false;
    domain = find_domain(store, customer_id, domain_of(key));
    if (domain.word != STATE_DOMAIN_ACCEPT_ALL &&
        !is_known_already(store, k, valid, &domain, wall_ms))
        (void)state_store_put(store, k, &record);
    return take_probe(store, customer_id, domain_of(key), &domain, wall_ms);
}

bool
state_store_recipient_is_outdated(struct state_store *store, struct slice key,
                                  const struct state_record *record, int64_t wall_ms)
{
    char text[STATE_KEY_MAX + 1];
    struct domain domain;

    if (key.n <= KEY_HEAD ||
        !slice_to_text((struct slice){key.p + KEY_HEAD, key.n - KEY_HEAD}, text, sizeof text))
        return true;
    domain = find_domain(store, customer_of(key), domain_of(text));
    return domain.word == STATE_DOMAIN_ACCEPT_ALL || record->at_ms < domain.valid_from_ms ||
           state_store_is_older(record->at_ms,
                                state_store_settings(store)->positive_ttl_ms + STATE_STORE_GRACE_MS,
                                wall_ms);
}

/* --- What operators do with it. */

bool
state_store_forget(struct state_store *store, uint32_t customer_id, const char *key)
{
    char bytes[STATE_RECORD_KEY_MAX];
    struct state_record record;
    struct slice k;

    return make_key(bytes, STATE_STORE_RECIPIENT, customer_id, key, &k) &&
           state_store_find(store, k, &record) && state_store_put(store, k, NULL);
}

bool
state_store_forget_domain(struct state_store *store, uint32_t customer_id, const char *domain,
                          int64_t wall_ms)
{
    struct domain d = {.word = STATE_DOMAIN_UNKNOWN, .valid_from_ms = wall_ms + 1};

    d.answered_at_ms = wall_ms; /* its age, for the purge */
    return put_domain(store, customer_id, domain, &d);
}
