/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the store: records by key for the files that know what they mean.
 */
#ifndef STATE_STORE_PRIVATE_H
#define STATE_STORE_PRIVATE_H

#include "state/state.h"
#include "state/state_record.h"

#define STATE_STORE_REFRESH_MS                                         \
    (60 * 60 * 1000LL) /* what is known is not written again within it \
                        */
#define STATE_STORE_CLOCK_SLACK_MS (24 * 60 * 60 * 1000LL)
/* What is outdated is kept a while on: ages stand still while a backend is down. */
#define STATE_STORE_GRACE_MS (30 * 24 * 60 * 60 * 1000LL)

/* The first octet of a key. */
enum state_store_kind {
    STATE_STORE_RECIPIENT = 'r',
    STATE_STORE_DOMAIN = 'd',
    STATE_STORE_BACKEND = 'c',
    STATE_STORE_GREYLIST_BEFORE = 'g', /* of an earlier form: nobody looks for it */
    STATE_STORE_WAITING = 'w',
    STATE_STORE_KNOWN = 'k',
    STATE_STORE_BOUNCE = 'b',
    STATE_STORE_GOOD = 'h',
};

/* What waits, what is being written, then the file. */
bool state_store_find(struct state_store *store, struct slice key, struct state_record *record);
/* record NULL: removes it.  false: too many changes wait, and this one is lost. */
bool state_store_put(struct state_store *store, struct slice key,
                     const struct state_record *record);
const struct state_store_settings *state_store_settings(const struct state_store *store);
/* Half of the file's room is used: what anybody may make as many records of as he likes is to stop.
 */
bool state_store_is_crowded(const struct state_store *store);
/* The last batch was not written: what is put now may be lost, too. */
bool state_store_has_failed(const struct state_store *store);

/* Calls for at most `limit` records of the file in the order of their keys, from `place` on, as
 * they are there: what waits is not seen. `each` may find and put; false: enough, and the walk goes
 * on with this one. *place is where it goes on; size 0: from the beginning. */
struct state_store_place {
    size_t size;
    char key[STATE_RECORD_KEY_MAX];
};
typedef bool (*state_store_each)(void *ctx, struct slice key, struct slice value);
MUST_USE int state_store_walk(struct state_store *store, struct state_store_place *place,
                              unsigned limit, state_store_each each, void *ctx);

/* May it be removed for good? */
typedef bool (*state_store_is_outdated)(struct state_store *store, struct slice key,
                                        const struct state_record *record, int64_t wall_ms);
bool state_store_recipient_is_outdated(struct state_store *store, struct slice key,
                                       const struct state_record *record, int64_t wall_ms);
bool state_store_domain_is_outdated(struct state_store *store, struct slice key,
                                    const struct state_record *record, int64_t wall_ms);
bool state_store_backend_is_outdated(struct state_store *store, struct slice key,
                                     const struct state_record *record, int64_t wall_ms);
bool state_store_of_before_is_outdated(struct state_store *store, struct slice key,
                                       const struct state_record *record, int64_t wall_ms);
bool state_store_waiting_is_outdated(struct state_store *store, struct slice key,
                                     const struct state_record *record, int64_t wall_ms);
bool state_store_known_is_outdated(struct state_store *store, struct slice key,
                                   const struct state_record *record, int64_t wall_ms);

bool state_store_bounce_is_outdated(struct state_store *store, struct slice key,
                                    const struct state_record *record, int64_t wall_ms);
bool state_store_good_is_outdated(struct state_store *store, struct slice key,
                                  const struct state_record *record, int64_t wall_ms);

/* Of a listing: false: the record says nothing (any more). */
typedef bool (*state_store_row)(struct state_store *store, struct slice key,
                                const struct state_record *record, int64_t wall_ms,
                                struct state_row *row);
bool state_store_known_row(struct state_store *store, struct slice key,
                           const struct state_record *record, int64_t wall_ms,
                           struct state_row *row);
bool state_store_waiting_row(struct state_store *store, struct slice key,
                             const struct state_record *record, int64_t wall_ms,
                             struct state_row *row);
bool state_store_ban_row(struct state_store *store, struct slice key,
                         const struct state_record *record, int64_t wall_ms, struct state_row *row);
/* What keys of the greylist begin with behind their first octet, as far as it is the same for all
 * that pass the filter; its size. */
size_t state_store_origin_prefix(const struct state_filter *filter, char dst[STATE_PLACE_MAX]);

/* Older than `ttl_ms` at `wall_ms`, or of a clock that was far ahead. */
static inline bool
state_store_is_older(int64_t at_ms, int64_t ttl_ms, int64_t wall_ms)
{
    return at_ms > wall_ms + STATE_STORE_CLOCK_SLACK_MS || wall_ms - at_ms > ttl_ms;
}

/* Written so lately that it need not be written again. */
static inline bool
state_store_is_recent(int64_t at_ms, int64_t within_ms, int64_t wall_ms)
{
    return at_ms <= wall_ms && wall_ms - at_ms < within_ms;
}

#endif
