/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits, counted under names: customers, domains or backends.
 */
#ifndef ADMIN_SPOOL_TALLY_H
#define ADMIN_SPOOL_TALLY_H

#include "admin/spool_reader.h"

struct spool_tally_row {
    char *key;
    struct spool_totals totals;
};

/* All zero is empty. */
struct spool_tally {
    struct spool_tally_row **rows; /* each with at least one message; in no order */
    size_t count;
    void *tree; /* of them, by key */
};

/* The row of `key`, which is copied; made if there is none, to be counted into at once.  It stays
 * where it is until spool_tally_fini. */
struct spool_totals *spool_tally_of(struct spool_tally *tally, const char *key);
void spool_tally_sort(struct spool_tally *tally); /* by key */
/* Of all rows; where no message counts in two. */
struct spool_totals spool_tally_sum(const struct spool_tally *tally);
void spool_tally_fini(struct spool_tally *tally);

#endif
