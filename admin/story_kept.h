/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What became of a message that was kept: as this node's spool says, or PostgreSQL's index of the
 * spools, or the events of its ends, or that nothing has it any more.
 */
#ifndef ADMIN_STORY_KEPT_H
#define ADMIN_STORY_KEPT_H

#include <jansson.h>

#include "admin/call.h"
#include "base/ref.h"
#include "spool/spool_store.h"

/* This node's spool, read once for many references; opened when it is first asked. */
struct story_spool {
    struct spool_store *store;
    bool was_tried;
    struct buf why_not;
};
void story_spool_init(struct story_spool *spool);
void story_spool_fini(struct story_spool *spool);

/* Never NULL: {"state": waiting, held, ..., ended, "gone" or "unknown", ...}.  ends: events of its
 * ends, for when the spool has forgotten them or cannot be asked.  kept_count: for how many
 * recipients it was kept, by its event; 0: not known.  call->pg may be NULL.  json_decref it. */
json_t *story_kept_find(struct call *call, struct story_spool *spool, struct ref ref,
                        const json_t *ends, int64_t kept_count);
/* It is in the spool or its index, or has ended and is known to have. */
bool story_kept_is_known(const json_t *kept);
void story_kept_print(const struct call *call, const json_t *kept);

#endif
