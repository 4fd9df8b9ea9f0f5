/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who has come before.  A first contact (origin, customer, sender, recipient) is written down and
 * waits; one that comes again after the delay, and within a day, makes its origin known: from then
 * on nothing of it waits, on the whole node.  The origin is the domain for which SPF has authorised
 * the client, so that a pool of many addresses is one, or else the client's network.  The delay is
 * the asker's: two checks with different delays share the memory.
 *
 * There may be a million first contacts: their records have no addresses, but two hashes of them in
 * the key.  Of an origin there are few: its record has the domain's text, so that a collision,
 * which anybody can make, only begins anew.
 *
 * An origin is forgotten by a word in the place of its record, which voids all that is older than
 * itself; one for the origin of zeros voids all.
 */
#include "base/codec.h"
#include "base/siphash.h"
#include "state/state_protocol.h"
#include "state/state_store_private.h"

enum { ORIGIN_KNOWN, ORIGIN_FORGOTTEN };

#define ORIGIN_SIZE STATE_NETWORK_SIZE
#define KNOWN_KEY_SIZE (1 + ORIGIN_SIZE)
#define WAITING_KEY_SIZE (1 + ORIGIN_SIZE + 4 + 16)
#define DOMAIN_ORIGIN 'd' /* in the place of an address's family */

struct origin {
    char bytes[ORIGIN_SIZE];
    struct slice domain; /* n 0: it is a network */
};

static const struct origin everyone = {.domain = {"", 0}};

static const uint8_t domain_hash_key[SIPHASH_KEY_SIZE] = "postern domains";
static const uint8_t contact_hash_keys[2][SIPHASH_KEY_SIZE] = {"postern contact",
                                                               "postern CONTACT"};

static struct origin
network_origin(const struct inet_endpoint *client)
{
    struct origin origin = {.domain = {"", 0}};

    state_network_encode(client, origin.bytes);
    return origin;
}

static struct origin
domain_origin(struct slice domain)
{
    struct origin origin = {.bytes = {DOMAIN_ORIGIN}, .domain = domain};

    store_u64(origin.bytes + 1, siphash(domain.p, domain.n, domain_hash_key));
    return origin;
}

static struct slice
known_key(const struct origin *origin, char dst[KNOWN_KEY_SIZE])
{
    dst[0] = STATE_STORE_KNOWN;
    memcpy(dst + 1, origin->bytes, ORIGIN_SIZE);
    return (struct slice){dst, KNOWN_KEY_SIZE};
}

/* Big endian: an origin's contacts with a customer lie together. */
static struct slice
waiting_key(const struct origin *origin, uint32_t customer_id, struct slice contact,
            char dst[WAITING_KEY_SIZE])
{
    char *p = dst + 1 + ORIGIN_SIZE;

    dst[0] = STATE_STORE_WAITING;
    memcpy(dst + 1, origin->bytes, ORIGIN_SIZE);
    for (unsigned i = 0; i < 4; i++)
        p[i] = (char)(customer_id >> (24 - 8 * i));
    for (unsigned i = 0; i < 2; i++)
        store_u64(p + 4 + 8 * i, siphash(contact.p, contact.n, contact_hash_keys[i]));
    return (struct slice){dst, WAITING_KEY_SIZE};
}

/* --- Origins. */

/* Behind the moment since when it is known. */
static struct slice
domain_of(const struct state_record *record)
{
    return (struct slice){record->more + 8, record->more_size - 8};
}

static bool
find_origin(struct state_store *store, const struct origin *origin, struct state_record *record)
{
    char bytes[KNOWN_KEY_SIZE];

    return state_store_find(store, known_key(origin, bytes), record) && record->more_size >= 8 &&
           slice_equal(domain_of(record), origin->domain);
}

static void
put_origin(struct state_store *store, const struct origin *origin, uint8_t kind, int64_t since_ms,
           int64_t wall_ms)
{
    struct state_record record = {
        .kind = kind, .at_ms = wall_ms, .more_size = 8 + origin->domain.n};
    char bytes[KNOWN_KEY_SIZE];

    store_u64(record.more, (uint64_t)since_ms);
    memcpy(record.more + 8, origin->domain.p, origin->domain.n);
    (void)state_store_put(store, known_key(origin, bytes), &record);
}

/* What was written before is void.  A word of a clock that was ahead would void what comes. */
static int64_t
forgotten_at_ms(struct state_store *store, const struct origin *origin, int64_t wall_ms)
{
    struct state_record record;
    bool is_forgotten = find_origin(store, origin, &record) && record.kind == ORIGIN_FORGOTTEN;

    return is_forgotten && record.at_ms <= wall_ms ? record.at_ms : INT64_MIN;
}

static bool
is_void(struct state_store *store, const struct origin *origin, const struct state_record *record,
        int64_t wall_ms)
{
    return record->at_ms <= forgotten_at_ms(store, &everyone, wall_ms) ||
           record->at_ms <= forgotten_at_ms(store, origin, wall_ms);
}

/* Asking is being seen, but for a look. */
static bool
is_known(struct state_store *store, const struct origin *origin, bool is_look, int64_t wall_ms)
{
    struct state_record record;

    if (!find_origin(store, origin, &record) || record.kind != ORIGIN_KNOWN ||
        state_store_is_older(record.at_ms, STATE_GREYLIST_KNOWN_MS, wall_ms) ||
        record.at_ms <= forgotten_at_ms(store, &everyone, wall_ms))
        return false;
    if (!is_look && !state_store_is_recent(record.at_ms, STATE_STORE_REFRESH_MS, wall_ms))
        put_origin(store, origin, ORIGIN_KNOWN, (int64_t)load_u64(record.more), wall_ms);
    return true;
}

/* --- Contacts. */

/* Who cannot be written down would never be known. */
static int64_t
begin_waiting(struct state_store *store, const struct origin *origin, struct slice key,
              int64_t delay_ms, bool is_look, int64_t wall_ms)
{
    struct state_record record = {.at_ms = wall_ms, .more_size = origin->domain.n};

    if (state_store_is_crowded(store))
        return 0;
    if (is_look)
        return delay_ms;
    memcpy(record.more, origin->domain.p, origin->domain.n);
    return state_store_put(store, key, &record) && !state_store_has_failed(store) ? delay_ms : 0;
}

static int64_t
left_to_wait(struct state_store *store, const struct origin *origin, struct slice key,
             int64_t delay_ms, bool is_look, int64_t wall_ms)
{
    struct state_record record;
    int64_t age_ms;

    if (!state_store_find(store, key, &record) ||
        state_store_is_older(record.at_ms, STATE_GREYLIST_WINDOW_MS, wall_ms) ||
        is_void(store, origin, &record, wall_ms))
        return begin_waiting(store, origin, key, delay_ms, is_look, wall_ms);
    age_ms = wall_ms > record.at_ms ? wall_ms - record.at_ms : 0;
    if (age_ms < delay_ms)
        return delay_ms - age_ms;
    if (is_look)
        return 0;
    put_origin(store, origin, ORIGIN_KNOWN, wall_ms, wall_ms);
    (void)state_store_put(store, key, NULL);
    return 0;
}

static struct state_greylist
judge(struct state_store *store, const struct state_greylist_key *first, int64_t delay_ms,
      bool is_look, int64_t wall_ms)
{
    char contact_bytes[STATE_CONTACT_MAX], key_bytes[WAITING_KEY_SIZE];
    struct origin network = network_origin(&first->client), domain, *origin = &network;
    struct slice contact;
    size_t domain_size = first->authorised_domain ? strlen(first->authorised_domain) : 0;

    if (delay_ms <= 0 || !state_contact_encode(first, contact_bytes, &contact))
        return (struct state_greylist){.wait_ms = 0};
    if (is_known(store, &network, is_look, wall_ms))
        return (struct state_greylist){.is_known = true};
    if (domain_size > 0) {
        domain = domain_origin((struct slice){contact.p + contact.n - domain_size, domain_size});
        origin = &domain;
        if (is_known(store, &domain, is_look, wall_ms))
            return (struct state_greylist){.is_known = true};
    }
    return (struct state_greylist){
        .wait_ms =
            left_to_wait(store, origin, waiting_key(origin, first->customer_id, contact, key_bytes),
                         delay_ms, is_look, wall_ms)};
}

struct state_greylist
state_store_greylist(struct state_store *store, const struct state_greylist_key *first,
                     int64_t delay_ms, int64_t wall_ms)
{
    return judge(store, first, delay_ms, false, wall_ms);
}

struct state_greylist
state_store_greylist_look(struct state_store *store, const struct state_greylist_key *first,
                          int64_t delay_ms, int64_t wall_ms)
{
    return judge(store, first, delay_ms, true, wall_ms);
}

/* --- What the purge asks. */

bool
state_store_of_before_is_outdated(struct state_store *store, struct slice key,
                                  const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    (void)record;
    (void)wall_ms;
    return true;
}

bool
state_store_waiting_is_outdated(struct state_store *store, struct slice key,
                                const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    return state_store_is_older(record->at_ms, STATE_GREYLIST_WINDOW_MS, wall_ms);
}

/* A word of forgetting must stay as long as what it voids. */
bool
state_store_known_is_outdated(struct state_store *store, struct slice key,
                              const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    return state_store_is_older(record->at_ms, STATE_GREYLIST_KNOWN_MS, wall_ms);
}

/* --- What operators do with it. */

static struct origin
origin_of_filter(const struct state_filter *which)
{
    struct inet_endpoint client = {.family = which->network.family};

    if (which->domain[0] != '\0')
        return domain_origin(slice_of(which->domain));
    if (client.family == 0)
        return everyone;
    memcpy(client.addr, which->network.addr, sizeof client.addr);
    return network_origin(&client);
}

void
state_store_forget_origin(struct state_store *store, const struct state_filter *which,
                          int64_t wall_ms)
{
    struct origin origin = origin_of_filter(which);

    put_origin(store, &origin, ORIGIN_FORGOTTEN, wall_ms, wall_ms);
}

size_t
state_store_origin_prefix(const struct state_filter *filter, char dst[STATE_PLACE_MAX])
{
    struct origin origin = origin_of_filter(filter);
    size_t network_size = 1 + filter->network.bits / 8;

    memcpy(dst, origin.bytes, sizeof origin.bytes);
    if (filter->domain[0] != '\0')
        return sizeof origin.bytes;
    if (filter->network.family == 0)
        return 0;
    return network_size < sizeof origin.bytes ? network_size : sizeof origin.bytes;
}

/* The origin of a key, whose text the record has. */
static bool
get_origin(struct slice key, struct slice domain, struct origin *origin, struct state_row *row)
{
    *origin = (struct origin){.domain = domain};
    memcpy(origin->bytes, key.p + 1, ORIGIN_SIZE);
    if (origin->bytes[0] == DOMAIN_ORIGIN)
        return domain.n > 0 && slice_to_text(domain, row->domain, sizeof row->domain);
    row->network = (struct inet_network){.family = (uint8_t)origin->bytes[0],
                                         .bits = origin->bytes[0] == 4 ? 24 : 64};
    memcpy(row->network.addr, origin->bytes + 1, ORIGIN_SIZE - 1);
    return row->network.family == 4 || row->network.family == 6;
}

bool
state_store_known_row(struct state_store *store, struct slice key,
                      const struct state_record *record, int64_t wall_ms, struct state_row *row)
{
    struct origin origin;

    if (key.n != KNOWN_KEY_SIZE || record->more_size < 8 || record->kind != ORIGIN_KNOWN ||
        !get_origin(key, domain_of(record), &origin, row) ||
        state_store_is_older(record->at_ms, STATE_GREYLIST_KNOWN_MS, wall_ms) ||
        record->at_ms <= forgotten_at_ms(store, &everyone, wall_ms))
        return false;
    row->since_ms = (int64_t)load_u64(record->more);
    row->seen_ms = record->at_ms;
    return true;
}

bool
state_store_waiting_row(struct state_store *store, struct slice key,
                        const struct state_record *record, int64_t wall_ms, struct state_row *row)
{
    struct slice domain = {record->more, record->more_size};
    struct origin origin;

    if (key.n != WAITING_KEY_SIZE || !get_origin(key, domain, &origin, row) ||
        state_store_is_older(record->at_ms, STATE_GREYLIST_WINDOW_MS, wall_ms) ||
        is_void(store, &origin, record, wall_ms))
        return false;
    for (unsigned i = 0; i < 4; i++)
        row->customer_id = row->customer_id << 8 | (uint8_t)key.p[1 + ORIGIN_SIZE + i];
    row->since_ms = record->at_ms;
    return true;
}
