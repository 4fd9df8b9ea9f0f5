/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Entries of the ledger whose message is not in memory, since its segment cannot be read or has
 * gone.  By place, and of each in the ledger's order.
 */
#ifndef SPOOL_PENDING_H
#define SPOOL_PENDING_H

#include "base/ref.h"
#include "base/slice.h"
#include "spool/spool_segment.h"

/* Every entry begins with these. */
struct spool_place {
    struct spool_segment_id segment;
    uint64_t offset;
    struct ref ref;
};

struct spool_pending_place;

struct spool_pending {
    char *log; /* the entries, one behind the other */
    size_t used, size;
    struct spool_pending_place *places;
    uint32_t place_count, place_room;
    uint32_t live;   /* places that have not been taken */
    uint32_t *table; /* hashed; numbers of places, from 1 */
    size_t table_size;
};

typedef void (*spool_pending_entry)(void *ctx, uint16_t type, struct slice payload);

/* What the place had of another reference is forgotten. */
void spool_pending_add(struct spool_pending *p, const struct spool_place *place, uint16_t type,
                       struct slice payload);
/* Forgets what the place has, after `each` has had it, if it is of this reference.  True: the place
 * had something. */
bool spool_pending_take(struct spool_pending *p, const struct spool_place *place,
                        spool_pending_entry each, void *ctx);
/* All that is left; places of segments that are not kept are forgotten. */
void spool_pending_each(struct spool_pending *p,
                        bool (*keeps)(void *ctx, struct spool_segment_id segment),
                        spool_pending_entry each, void *ctx);
void spool_pending_clear(struct spool_pending *p);

#endif
