/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What backends have offered in EHLO, by endpoint, for the time when they are down.  An endpoint
 * that has never been reached is not there: nothing is known of it.
 */
#include "base/codec.h"
#include "state/state_protocol.h"
#include "state/state_store_private.h"

static struct slice
make_key(char dst[1 + STATE_ENDPOINT_SIZE], const struct inet_endpoint *endpoint)
{
    dst[0] = STATE_STORE_BACKEND;
    state_endpoint_encode(endpoint, dst + 1);
    return (struct slice){dst, 1 + STATE_ENDPOINT_SIZE};
}

void
state_store_learn_capabilities(struct state_store *store, const struct inet_endpoint *endpoint,
                               const struct state_capabilities *capabilities, int64_t wall_ms)
{
    struct state_record record = {.kind = state_capabilities_flags(capabilities),
                                  .at_ms = wall_ms,
                                  .more_size = 8},
                        before;
    char bytes[1 + STATE_ENDPOINT_SIZE];
    struct slice key = make_key(bytes, endpoint);

    store_u64(record.more, capabilities->size_max_bytes);
    if (state_store_find(store, key, &before) && before.kind == record.kind &&
        before.more_size == 8 && memcmp(before.more, record.more, 8) == 0 &&
        state_store_is_recent(before.at_ms, STATE_STORE_REFRESH_MS, wall_ms))
        return;
    (void)state_store_put(store, key, &record);
}

struct state_capabilities
state_store_capabilities(struct state_store *store, const struct inet_endpoint *endpoint,
                         int64_t stopped_at_ms, int64_t wall_ms)
{
    char bytes[1 + STATE_ENDPOINT_SIZE];
    struct state_record record;
    bool stands_still;

    if (!state_store_find(store, make_key(bytes, endpoint), &record) || record.more_size != 8)
        return (struct state_capabilities){.is_known = false};
    stands_still = stopped_at_ms >= record.at_ms && stopped_at_ms < wall_ms;
    if (state_store_is_older(record.at_ms, STATE_CAPABILITIES_TTL_MS,
                             stands_still ? stopped_at_ms : wall_ms))
        return (struct state_capabilities){.is_known = false};
    return state_capabilities_of(record.kind, load_u64(record.more));
}

bool
state_store_backend_is_outdated(struct state_store *store, struct slice key,
                                const struct state_record *record, int64_t wall_ms)
{
    (void)store;
    (void)key;
    return state_store_is_older(record->at_ms, STATE_CAPABILITIES_TTL_MS + STATE_STORE_GRACE_MS,
                                wall_ms);
}
