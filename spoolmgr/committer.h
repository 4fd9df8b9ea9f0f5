/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The ledger's thread: it syncs outcomes and removes segments, so that no disk holds up the loop
 * (P8).  What is wanted while it works is taken together in its next turn: one sync for many.
 */
#ifndef SPOOLMGR_COMMITTER_H
#define SPOOLMGR_COMMITTER_H

#include "net/loop.h"
#include "spool/spool_own.h"
#include "spool/spool_store.h"

struct committer;

struct committer_ops {
    void (*on_synced)(void *ctx); /* spool_store_synced has grown */
    void (*on_forget)(void *ctx, struct spool_message *message);
    void (*on_own)(void *ctx, int err); /* what committer_own was given; 0: it is durable */
};

struct committer *committer_new(struct loop *loop, struct spool_store *store,
                                const struct committer_ops *ops, void *ctx);
/* Waits for the thread, then syncs what is left, blocking; the result of that. */
MUST_USE int committer_free(struct committer **committer);

void committer_sync(struct committer *committer); /* outcomes have been queued */
/* Writes mail of our own (spool_own_write); one batch at a time, borrowed until on_own, or until
 * committer_free has returned. */
void committer_own(struct committer *committer, const struct spool_own *own, int dir_fd);
void committer_clean(struct committer *committer); /* now and then */
bool committer_is_idle(const struct committer *committer);
bool committer_has_failed(const struct committer *committer); /* its last job did */

#endif
