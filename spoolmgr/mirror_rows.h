/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A batch of rows of postern.spool_index, for the mirror.  Writing one again does no harm.
 */
#ifndef SPOOLMGR_MIRROR_ROWS_H
#define SPOOLMGR_MIRROR_ROWS_H

#include "spoolmgr/keeper.h"

#define MIRROR_COLUMNS 14

struct mirror_rows {
    struct buf columns[MIRROR_COLUMNS];
    size_t count;
};

void mirror_rows_init(struct mirror_rows *rows);
void mirror_rows_fini(struct mirror_rows *rows);
/* Reads its envelope.  What cannot be read is left out of the row; the message itself is not. */
void mirror_rows_add(struct mirror_rows *rows, struct keeper *k, const struct mail *mail);
/* Once, at least one row; `when` is their updated_at.  No more can be added. */
void mirror_rows_send(struct mirror_rows *rows, struct db *db, const char *node, const char *when,
                      db_on_result on_result, void *ctx);

#endif
