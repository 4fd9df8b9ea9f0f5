/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A record of state.mdb: a kind, a moment, and what more its kind needs.  The first octet of its
 * key says of what it is; each of the store's files that knows such records has its own.  A check
 * over key and record guards against a page that is damaged in the middle of a value.
 *
 *   key    'r' customer recipient            state_store_recipient.c
 *          'd' customer domain               state_store_recipient.c
 *          'c' endpoint                      state_store_backend.c
 *          'w' network or domain, customer, contact    state_store_greylist.c
 *          'k' network or domain             state_store_greylist.c
 *          'b' customer address              state_store_bounce.c
 *          'h' address                       state_store_bounce.c
 *   value  u8 kind, u64 moment, more, u32 check
 */
#ifndef STATE_RECORD_H
#define STATE_RECORD_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

#define STATE_RECORD_KEY_MAX 408
#define STATE_RECORD_MORE_MAX 720
#define STATE_RECORD_SIZE_MAX (STATE_RECORD_MORE_MAX + 13)

struct state_record {
    uint8_t kind;
    int64_t at_ms; /* wall clock */
    size_t more_size;
    char more[STATE_RECORD_MORE_MAX];
};

/* How many octets of dst it takes. */
size_t state_record_encode(struct slice key, const struct state_record *record,
                           char dst[STATE_RECORD_SIZE_MAX]);
/* ERR_CORRUPT: the record's own check does not hold. */
MUST_USE int state_record_decode(struct slice key, struct slice value, struct state_record *record);

#endif
