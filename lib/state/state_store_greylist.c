/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who has come before: (customer, network of the client, sender, recipient).  A first contact is
 * written down and waits; one that comes again after the delay, and within a day, passes, and is
 * known from then on.  The delay is the asker's: two checks with different delays share the memory.
 *
 * Sender and recipient are longer than a key may be: the key has their hash, the record has them,
 * so that a collision, which anybody can make, only begins anew.
 */
#include "base/codec.h"
#include "base/siphash.h"
#include "state/state_protocol.h"
#include "state/state_store_private.h"

enum { WAITING, PASSED };

#define KEY_SIZE (1 + 4 + STATE_NETWORK_SIZE + 8)

static struct slice
make_key(char dst[KEY_SIZE], uint32_t customer_id, const char network[STATE_NETWORK_SIZE],
         struct slice pair)
{
    static const uint8_t fixed[SIPHASH_KEY_SIZE] = "postern greylis";

    dst[0] = STATE_STORE_GREYLIST;
    for (unsigned i = 0; i < 4; i++)
        dst[1 + i] = (char)(customer_id >> (24 - 8 * i));
    memcpy(dst + 5, network, STATE_NETWORK_SIZE);
    store_u64(dst + 5 + STATE_NETWORK_SIZE, siphash(pair.p, pair.n, fixed));
    return (struct slice){dst, KEY_SIZE};
}

static bool
is_outdated(const struct state_record *record, int64_t wall_ms)
{
    return state_store_is_older(
        record->at_ms, record->kind == PASSED ? STATE_GREYLIST_KNOWN_MS : STATE_GREYLIST_WINDOW_MS,
        wall_ms);
}

/* false: it is lost, and who came would never be known. */
static bool
put(struct state_store *store, struct slice key, uint8_t kind, struct slice pair, int64_t wall_ms)
{
    struct state_record record = {.kind = kind, .at_ms = wall_ms, .more_size = pair.n};

    memcpy(record.more, pair.p, pair.n);
    return state_store_put(store, key, &record);
}

int64_t
state_store_greylist(struct state_store *store, const struct state_greylist_key *first,
                     int64_t delay_ms, int64_t wall_ms)
{
    char network[STATE_NETWORK_SIZE], pair_bytes[STATE_PAIR_MAX], bytes[KEY_SIZE];
    struct slice pair, key;
    struct state_record record;
    int64_t age_ms;

    if (delay_ms <= 0 || !state_pair_encode(first, pair_bytes, &pair))
        return 0;
    state_network_encode(&first->client, network);
    key = make_key(bytes, first->customer_id, network, pair);
    if (!state_store_find(store, key, &record) || is_outdated(&record, wall_ms) ||
        !slice_equal((struct slice){record.more, record.more_size}, pair))
        return put(store, key, WAITING, pair, wall_ms) ? delay_ms : 0;
    age_ms = wall_ms > record.at_ms ? wall_ms - record.at_ms : 0;
    if (record.kind == WAITING && age_ms < delay_ms)
        return delay_ms - age_ms;
    if (record.kind == WAITING ||
        !state_store_is_recent(record.at_ms, STATE_STORE_REFRESH_MS, wall_ms))
        (void)put(store, key, PASSED, pair, wall_ms);
    return 0;
}

bool
state_store_greylist_is_outdated(struct state_store *store, struct slice key,
                                 const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    return is_outdated(record, wall_ms);
}
