/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What became of a record whose outcome was still open when it was written: a small record of its
 * own in the small lane, in whatever segment that lane is at.
 *
 *   prepared (SPOOL_FLAG_PREPARED)
 *       |--CONFIRM-------> waits: OURS            the LIVE ones end as delivered
 *       |--CONFIRM_ALL---> waits: all             with UNKNOWN: possible duplicate of the LIVE ones
 *       |--CANCEL--------> ended: all, as cancelled
 *       \--nothing, and its writer is gone: as CONFIRM, but the LIVE ones end as cancelled; logged
 *   unknown and listening (both flags, of the record or of CONFIRM_ALL)
 *       |--DELIVERED-----> ended: those concerned, as delivered
 *       |--REFUSED-------> ended: those concerned, as refused
 *       \--GIVEN_UP------> waits
 *
 * Those concerned are the recipients that are LIVE in the record, or all if none is; until then
 * they are not attempted, and the others are.  A prepared record gets one of the first three, an
 * unknown one of the last three, and no second.  What comes when nobody waits for it any more, or
 * for a recipient that has ended, changes nothing.  The order in which segments are read makes no
 * difference.
 */
#ifndef SPOOL_RESOLUTION_H
#define SPOOL_RESOLUTION_H

#include "base/buf.h"
#include "base/ref.h"

enum spool_resolution_kind { /* in files: numbers never change their meaning */
                             SPOOL_RESOLUTION_CONFIRM =
                                 1, /* the backend has the LIVE ones, we deliver OURS */
                             SPOOL_RESOLUTION_CONFIRM_ALL = 2, /* we deliver all */
                             SPOOL_RESOLUTION_CANCEL = 3,      /* the record never was */
                             SPOOL_RESOLUTION_DELIVERED = 4,   /* a late 2xx to the dot */
                             SPOOL_RESOLUTION_REFUSED = 5,     /* a late 5xx */
                             SPOOL_RESOLUTION_GIVEN_UP =
                                 6, /* nothing more will be heard: it may be tried now */
};
const char *spool_resolution_word(enum spool_resolution_kind kind); /* "confirm-all" */

struct spool_resolution {
    struct ref ref; /* of the record */
    enum spool_resolution_kind kind;
    uint32_t flags;    /* with CONFIRM_ALL: SPOOL_FLAG_UNKNOWN, and with it SPOOL_FLAG_LISTENING */
    const char *reply; /* the backend's, on one line, for people; cut; "" or NULL: none */
    int64_t at_ms;     /* wall clock; the writer sets it */
};

#define SPOOL_RESOLUTION_REPLY_MAX 1000

/* Version and reference stand where an envelope has them. */
void spool_resolution_encode(const struct spool_resolution *resolution, struct buf *out);
/* `reply` is the resolution's, borrowed from `encoded`, in place of the field. ERR_CORRUPT,
 * ERR_VERSION. */
MUST_USE int spool_resolution_decode(struct slice encoded, struct spool_resolution *resolution,
                                     struct slice *reply);

#endif
