/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Which log this is: a random name, made with it, in spool-dir/identity; and that the keeper has
 * found it to be older than PostgreSQL has seen it (a restored disk), for as long as no operator
 * has accepted it.
 */
#ifndef SPOOL_IDENTITY_H
#define SPOOL_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SPOOL_LOG_SIZE 33 /* 32 hexadecimal digits */

struct spool_position { /* how far the outcomes go: each ledger's number is above the last one's */
    uint32_t ledger;
    uint64_t octets;
};

struct spool_identity {
    char log[SPOOL_LOG_SIZE];
    bool is_refused;
    struct spool_position position; /* refused: how far it goes */
};

bool spool_position_is_before(struct spool_position a, struct spool_position b);

void spool_identity_make(struct spool_identity *identity); /* a new name */
/* ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO (errno) */
MUST_USE int spool_identity_read(const char *dir, struct spool_identity *identity);
/* In place of the one that is there, durably. ERR_IO (errno) */
MUST_USE int spool_identity_write(const char *dir, const struct spool_identity *identity);

#endif
