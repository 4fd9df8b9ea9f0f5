/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits in the spool of this node for each customer, so that a worker can hold its quota
 * without asking anybody (P8).  The keeper counts what it has read of the log; a worker counts what
 * it has just committed, until the keeper has read it.
 */
#ifndef STATE_SHARED_KEPT_H
#define STATE_SHARED_KEPT_H

#include "state/shared_table.h"

struct shared_kept {
    uint64_t messages, bytes; /* with an open recipient; of their content */
};

/* Zeroes if nothing is known. */
struct shared_kept shared_kept_get(const struct shared_table *table, uint32_t customer_id);

/* May the customer have one more of so many octets, if `most` is its quota?  Where nothing waits
 * it always may: a quota is no limit to the size of a message.  The bound below counts too. */
bool shared_kept_has_room(const struct shared_table *table, uint32_t customer_id, uint64_t bytes,
                          const struct shared_kept *most);
/* A worker, before it commits a record: counts it if there is room; never more than `most` are
 * taken over all workers.  most NULL: it is kept whatever there is. */
bool shared_kept_take(struct shared_table *table, uint32_t customer_id, uint64_t bytes,
                      const struct shared_kept *most);
/* Its commit has failed. */
void shared_kept_give(struct shared_table *table, uint32_t customer_id, uint64_t bytes);

/* The keeper, at its start and in a table that is new: nothing waits.  What waits is then counted
 * by `_add`, with is_new for a record that a worker has counted meanwhile. */
void shared_kept_clear(struct shared_table *table);
void shared_kept_add(struct shared_table *table, uint32_t customer_id, uint64_t bytes, bool is_new);
void shared_kept_remove(struct shared_table *table, uint32_t customer_id, uint64_t bytes);
/* The customer with the most octets. */
uint64_t shared_kept_most_bytes(const struct shared_table *table);

/* While the disk is short: who has so many octets waiting gets no more in. */
#define SHARED_KEPT_NO_BOUND UINT64_MAX
void shared_kept_set_bound(struct shared_table *table, uint64_t bytes);
uint64_t shared_kept_bound(const struct shared_table *table);

#endif
