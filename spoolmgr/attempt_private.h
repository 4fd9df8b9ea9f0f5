/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the three files of an attempt share: attempt_choose.c (where it goes), attempt.c (its life)
 * and attempt_outcome.c (what its outcome means).
 */
#ifndef SPOOLMGR_ATTEMPT_PRIVATE_H
#define SPOOLMGR_ATTEMPT_PRIVATE_H

#include "spoolmgr/keeper.h"

#define ATTEMPT_WHY_SIZE (INET_DOMAIN_SIZE + 40)

struct attempt_choice {
    struct endpoint *endpoint; /* NULL: none now */
    struct destination destination;
    struct slot *slot;
    bool was_down;
    bool is_busy; /* one is up, and has enough to do, or is being probed; or a name is being looked
                     up: ask again later */
    char why[ATTEMPT_WHY_SIZE]; /* a backend has no address; "" each has */
    bool is_unsure;             /* one's name could not be looked up */
};

/* --- attempt_choose.c */
/* The first destination that may be asked now. */
struct attempt_choice attempt_choose(struct keeper *k, struct schedule_queue *queue);
/* Down or refusing: its queue stands still, but for probes. */
bool attempt_is_down(struct keeper *k, const struct endpoint *e);
/* Each that may be asked is down, or is known to have no address. */
bool attempt_all_are_down(struct keeper *k, uint64_t route);

/* --- attempt.c */
/* Back into the queue, or, if nothing is left of it, out. */
void attempt_end(struct keeper *k, struct attempt *a, int64_t next_at_ms);
/* Holds a message that is no longer what it was. */
void attempt_hold_damaged(struct keeper *k, struct spool_message *m, const char *why);

#endif
