/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sources of backscatter: an address (IPv6: a /64) that sends a customer null-sender mail for
 * recipients that do not exist, more than the threshold within the window, is banned for that
 * customer, for null-sender mail and for a time.  A window begins with the first such mail, so what
 * is below the threshold in any window never bans.
 *
 * A server that delivers good mail to several customers is no mere nuisance, whoever forged the
 * mail that it bounces: it is never banned, but reported.  Who delivers well is written at most
 * once a day for an address and customer, for the last few customers.
 */
#include "base/codec.h"
#include "state/state_protocol.h"
#include "state/state_store_private.h"

#define DAY_MS (24 * 60 * 60 * 1000LL)
#define WEEK_MS (7 * DAY_MS)
#define GOOD_CUSTOMERS 3 /* that make it one that is never banned */
#define GOOD_MAX 8       /* are remembered */

/* --- Who delivers good mail. */

struct good {
    int64_t reported_at_ms; /* 0: never */
    unsigned count;
    struct good_customer {
        uint32_t id;
        int64_t at_ms;
    } customers[GOOD_MAX];
};

#define GOOD_HEAD 8
#define GOOD_ENTRY 12
#define GOOD_KEY_SIZE (1 + STATE_SOURCE_SIZE)

static struct slice
good_key(const struct inet_endpoint *address, char dst[GOOD_KEY_SIZE])
{
    dst[0] = STATE_STORE_GOOD;
    state_source_encode(address, dst + 1);
    return (struct slice){dst, GOOD_KEY_SIZE};
}

static struct good
find_good(struct state_store *store, const struct inet_endpoint *address)
{
    struct good good = {.count = 0};
    char bytes[GOOD_KEY_SIZE];
    struct state_record record;

    if (!state_store_find(store, good_key(address, bytes), &record) ||
        record.more_size < GOOD_HEAD || (record.more_size - GOOD_HEAD) % GOOD_ENTRY != 0 ||
        (record.more_size - GOOD_HEAD) / GOOD_ENTRY > GOOD_MAX)
        return good;
    good.reported_at_ms = (int64_t)load_u64(record.more);
    good.count = (unsigned)((record.more_size - GOOD_HEAD) / GOOD_ENTRY);
    for (unsigned i = 0; i < good.count; i++) {
        const char *p = record.more + GOOD_HEAD + i * GOOD_ENTRY;

        good.customers[i] = (struct good_customer){load_u32(p), (int64_t)load_u64(p + 4)};
    }
    return good;
}

static bool
put_good(struct state_store *store, const struct inet_endpoint *address, const struct good *good,
         int64_t wall_ms)
{
    struct state_record record = {.at_ms = wall_ms,
                                  .more_size = GOOD_HEAD + good->count * GOOD_ENTRY};
    char bytes[GOOD_KEY_SIZE];

    store_u64(record.more, (uint64_t)good->reported_at_ms);
    for (unsigned i = 0; i < good->count; i++) {
        char *p = record.more + GOOD_HEAD + i * GOOD_ENTRY;

        store_u32(p, good->customers[i].id);
        store_u64(p + 4, (uint64_t)good->customers[i].at_ms);
    }
    return state_store_put(store, good_key(address, bytes), &record);
}

static unsigned
count_good(const struct good *good, int64_t wall_ms)
{
    unsigned count = 0;

    for (unsigned i = 0; i < good->count; i++)
        count += !state_store_is_older(good->customers[i].at_ms, WEEK_MS, wall_ms);
    return count;
}

/* The customer's entry, a new one, or the oldest. */
static struct good_customer *
entry_for(struct good *good, uint32_t customer_id)
{
    struct good_customer *oldest = good->customers;

    for (unsigned i = 0; i < good->count; i++) {
        if (good->customers[i].id == customer_id)
            return &good->customers[i];
        if (good->customers[i].at_ms < oldest->at_ms)
            oldest = &good->customers[i];
    }
    if (good->count == GOOD_MAX)
        return oldest;
    good->customers[good->count] = (struct good_customer){customer_id, INT64_MIN};
    return &good->customers[good->count++];
}

void
state_store_learn_good(struct state_store *store, uint32_t customer_id,
                       const struct inet_endpoint *address, int64_t wall_ms)
{
    struct good good = find_good(store, address);
    struct good_customer *entry = entry_for(&good, customer_id);

    /* Of one that delivers to many more, enough is known for today. */
    if (entry->at_ms <= wall_ms && entry->at_ms > wall_ms - DAY_MS)
        return;
    *entry = (struct good_customer){customer_id, wall_ms};
    (void)put_good(store, address, &good, wall_ms);
}

bool
state_store_good_is_outdated(struct state_store *store, struct slice key,
                             const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    return state_store_is_older(record->at_ms, WEEK_MS, wall_ms);
}

/* --- Who bounces. */

enum { BOUNCE_COUNTED, BOUNCE_BANNED };

/* Of COUNTED, at_ms is when the window began, and of BANNED the ban. */
#define BOUNCE_MORE 12 /* u32 count, u64 end of the ban */
#define BOUNCE_KEY_SIZE (1 + 4 + STATE_SOURCE_SIZE)

static struct slice
bounce_key(uint32_t customer_id, const struct inet_endpoint *address, char dst[BOUNCE_KEY_SIZE])
{
    dst[0] = STATE_STORE_BOUNCE;
    for (unsigned i = 0; i < 4; i++)
        dst[1 + i] = (char)(customer_id >> (24 - 8 * i));
    state_source_encode(address, dst + 5);
    return (struct slice){dst, BOUNCE_KEY_SIZE};
}

static bool
find_bounce(struct state_store *store, struct slice key, struct state_record *record)
{
    return state_store_find(store, key, record) && record->more_size == BOUNCE_MORE;
}

static void
put_bounce(struct state_store *store, struct slice key, uint8_t kind, int64_t at_ms, uint32_t count,
           int64_t until_ms)
{
    struct state_record record = {.kind = kind, .at_ms = at_ms, .more_size = BOUNCE_MORE};

    store_u32(record.more, count);
    store_u64(record.more + 4, (uint64_t)until_ms);
    (void)state_store_put(store, key, &record);
}

static int64_t
until_of(const struct state_record *record, int64_t wall_ms)
{
    int64_t until_ms = (int64_t)load_u64(record->more + 4);
    bool is_banned = record->kind == BOUNCE_BANNED && until_ms > wall_ms &&
                     record->at_ms <= wall_ms + STATE_STORE_CLOCK_SLACK_MS;

    return is_banned ? until_ms : 0;
}

/* A report is due once a day. */
static struct state_backscatter
spare(struct state_store *store, const struct inet_endpoint *address, struct good *good,
      unsigned good_customers, int64_t wall_ms)
{
    struct state_backscatter what = {.good_customers = good_customers};

    if (state_store_is_recent(good->reported_at_ms, DAY_MS, wall_ms))
        return what;
    good->reported_at_ms = wall_ms;
    if (put_good(store, address, good, wall_ms))
        what.word = STATE_BACKSCATTER_SPARED;
    return what;
}

static struct state_backscatter
judge(struct state_store *store, struct slice key, const struct inet_endpoint *address,
      uint32_t count, int64_t wall_ms)
{
    struct good good = find_good(store, address);
    unsigned good_customers = count_good(&good, wall_ms);
    int64_t until_ms = wall_ms + state_store_settings(store)->ban_ms;

    if (good_customers >= GOOD_CUSTOMERS)
        return spare(store, address, &good, good_customers, wall_ms);
    put_bounce(store, key, BOUNCE_BANNED, wall_ms, count, until_ms);
    return (struct state_backscatter){STATE_BACKSCATTER_BANNED, until_ms, good_customers};
}

struct state_backscatter
state_store_learn_bounce(struct state_store *store, uint32_t customer_id,
                         const struct inet_endpoint *address, int64_t wall_ms)
{
    const struct state_store_settings *settings = state_store_settings(store);
    struct state_backscatter nothing = {.word = STATE_BACKSCATTER_COUNTED};
    char bytes[BOUNCE_KEY_SIZE];
    struct slice key = bounce_key(customer_id, address, bytes);
    struct state_record record;
    bool is_there = find_bounce(store, key, &record);
    int64_t began_at_ms = wall_ms;
    uint32_t count = 1;

    if (settings->bounce_threshold == 0 || (!is_there && state_store_is_crowded(store)) ||
        (is_there && until_of(&record, wall_ms) > 0))
        return nothing;
    if (is_there && record.kind == BOUNCE_COUNTED &&
        state_store_is_recent(record.at_ms, settings->bounce_window_ms, wall_ms)) {
        began_at_ms = record.at_ms;
        count += load_u32(record.more);
    }
    put_bounce(store, key, BOUNCE_COUNTED, began_at_ms, count, 0);
    return count > settings->bounce_threshold ? judge(store, key, address, count, wall_ms)
                                              : nothing;
}

int64_t
state_store_ban(struct state_store *store, uint32_t customer_id,
                const struct inet_endpoint *address, int64_t wall_ms)
{
    char bytes[BOUNCE_KEY_SIZE];
    struct state_record record;
    struct good good;

    if (state_store_settings(store)->bounce_threshold == 0 ||
        !find_bounce(store, bounce_key(customer_id, address, bytes), &record) ||
        until_of(&record, wall_ms) == 0)
        return 0;
    good = find_good(store, address);
    return count_good(&good, wall_ms) >= GOOD_CUSTOMERS ? 0 : until_of(&record, wall_ms);
}

bool
state_store_forget_bounces(struct state_store *store, uint32_t customer_id,
                           const struct inet_endpoint *address, int64_t wall_ms)
{
    char bytes[BOUNCE_KEY_SIZE];
    struct slice key = bounce_key(customer_id, address, bytes);
    struct state_record record;

    return find_bounce(store, key, &record) && state_store_put(store, key, NULL) &&
           until_of(&record, wall_ms) > 0;
}

bool
state_store_bounce_is_outdated(struct state_store *store, struct slice key,
                               const struct state_record *record, int64_t wall_ms)
{
    (void)key;
    if (record->more_size == BOUNCE_MORE && until_of(record, wall_ms) > 0)
        return false;
    return record->kind == BOUNCE_BANNED ||
           state_store_is_older(record->at_ms, state_store_settings(store)->bounce_window_ms,
                                wall_ms);
}

bool
state_store_ban_row(struct state_store *store, struct slice key, const struct state_record *record,
                    int64_t wall_ms, struct state_row *row)
{
    struct inet_endpoint address = {.family = 0};

    if (key.n != BOUNCE_KEY_SIZE || record->more_size != BOUNCE_MORE)
        return false;
    for (unsigned i = 0; i < 4; i++)
        row->customer_id = row->customer_id << 8 | (uint8_t)key.p[1 + i];
    address.family = (uint8_t)key.p[5];
    memcpy(address.addr, key.p + 6, STATE_SOURCE_SIZE - 1);
    row->network =
        (struct inet_network){.family = address.family, .bits = address.family == 4 ? 32 : 64};
    memcpy(row->network.addr, address.addr, sizeof address.addr);
    row->since_ms = record->at_ms;
    row->until_ms = state_store_ban(store, row->customer_id, &address, wall_ms);
    return row->until_ms > 0;
}
