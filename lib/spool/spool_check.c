/* SPDX-License-Identifier: BSD-2-Clause
 *
 * XXH3 with 64 bits, as everywhere in the segments.
 */
#include "spool/spool_check.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/err.h"

struct spool_check {
    XXH3_state_t *state;
};

struct spool_check *
spool_check_new(void)
{
    struct spool_check *check = mem_alloc(sizeof *check);

    check->state = XXH3_createState();
    CHECK(check->state != NULL);
    spool_check_reset(check);
    return check;
}

void
spool_check_free(struct spool_check **check)
{
    if (*check == NULL)
        return;
    XXH3_freeState((*check)->state);
    free(*check);
    *check = NULL;
}

void
spool_check_reset(struct spool_check *check)
{
    XXH3_64bits_reset(check->state);
}

void
spool_check_add(struct spool_check *check, struct slice piece)
{
    XXH3_64bits_update(check->state, piece.p, piece.n);
}

uint64_t
spool_check_result(const struct spool_check *check)
{
    return XXH3_64bits_digest(check->state);
}
