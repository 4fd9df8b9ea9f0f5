/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail of our own: notices, kept like any mail.  Whoever owns the spool writes it, with the relay
 * up or down: a batch becomes one small segment, whole and sealed before it has its name, so that
 * no other program ever meets one in the making.
 *
 * Their names are a space of their own: epoch 0, which no start of the relay has.
 */
#ifndef SPOOL_OWN_H
#define SPOOL_OWN_H

#include "spool/spool_record.h"
#include "spool/spool_segment.h"

#define SPOOL_OWN_EPOCH 0

struct spool_own;
struct spool_own *spool_own_new(uint16_t node);
void spool_own_free(struct spool_own **own);
/* Encoded and copied.  The flag SPOOL_FLAG_OWN and the time of the commit are set here. */
void spool_own_add(struct spool_own *own, const struct spool_envelope *envelope,
                   struct slice content);
bool spool_own_is_empty(const struct spool_own *own);
/* Writes and syncs all that was added; blocks, and touches nothing but `own` and the folder.  0: it
 * is durable, and a refresh of the store finds it.  ERR_FULL, ERR_IO: nothing of it counts; it may
 * be written again.  *number: of the last segment; the caller keeps it for the next, 0 at first. */
MUST_USE int spool_own_write(const struct spool_own *own, const struct spool_io *io, int dir_fd,
                             uint32_t *number);

#endif
