/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What each customer has used since midnight, over all workers of the node, in the shared table:
 * for people to look at, deciding nothing.  The day is that of the process's time zone.
 */
#ifndef STATE_SHARED_USE_H
#define STATE_SHARED_USE_H

#include "state/shared_table.h"

enum shared_use {
    SHARED_USE_CONNECTIONS, /* that had a recipient of the customer accepted */
    SHARED_USE_MESSAGES,    /* taken: at the backend or in the spool */
    SHARED_USE_RECIPIENTS,  /* of those */
    SHARED_USE_BYTES,       /* of their content */
    SHARED_USE_REFUSALS,    /* recipients and messages that were not taken, whoever refused them */
    SHARED_USE_COUNT
};

/* One compare-and-swap.  When more customers than fit have mail on one day, the last are not
 * counted. */
void shared_use_add(struct shared_table *table, uint32_t customer_id, enum shared_use use,
                    uint64_t amount, int64_t wall_ms);
/* Zeroes if nothing is known. */
void shared_use_get(struct shared_table *table, uint32_t customer_id, int64_t wall_ms,
                    uint64_t used[SHARED_USE_COUNT]);
/* How many additions found no room. */
uint64_t shared_use_lost(const struct shared_table *table);

#endif
