/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The reference: the one identifier of a message, in replies, in the id of our Received line, in
 * the spool, in events and in DSNs (DESIGN section 9).  It encodes node, minute and a number, so
 * that the right event file is found without an index and no two are alike.  Written
 * "P001-4KX3T-0B7Q2CF" in Crockford's base 32 (no I, L, O, U), it is recognisable in any pasted
 * text.
 */
#ifndef BASE_REF_H
#define BASE_REF_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct ref {
    uint16_t node;   /* 1 .. 32767; 0: no reference */
    uint32_t minute; /* since 2020-01-01T00:00Z, 25 bits */
    uint64_t
        number; /* 35 bits: 7 of the epoch of the relay's start, 28 of a counter of that epoch */
};

#define REF_SIZE 19 /* the text with its NUL */

struct ref ref_make(uint16_t node, int64_t wall_ms, uint32_t epoch, uint64_t counter);
const char *ref_text(struct ref r, char dst[REF_SIZE]);
bool ref_equal(struct ref a, struct ref b);
bool ref_is_none(struct ref r);
int64_t ref_minute_wall_ms(struct ref r); /* the start of its minute */

/* The whole of `s` must be a reference; lower case is accepted, and I, L, O for 1, 1, 0.
 * ERR_SYNTAX. */
MUST_USE int ref_parse(struct slice s, struct ref *r);
/* The first reference anywhere in `text`. ERR_NOT_FOUND. */
MUST_USE int ref_find(struct slice text, struct ref *r);

#endif
