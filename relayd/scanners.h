/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The filters of the setting milters as one worker knows them: who is asked in which order, and who
 * is left alone for a while, since it is away.
 *
 *   up --(cannot be reached; fails three messages in a row)--> failing --(a message, as probe)-->
 * up
 *
 * A failing one is asked by one message at a time, 5 s after it failed, then ever later; all others
 * go on without it at once (or are put off, as its on-failure says), so it costs nobody anything.
 */
#ifndef RELAYD_SCANNERS_H
#define RELAYD_SCANNERS_H

#include <sys/queue.h>

#include "base/config.h"
#include "base/milter_entry.h"
#include "net/loop.h"
#include "state/shared_table.h"

#define SCANNERS_MAX MILTER_ENTRIES_MAX
_Static_assert(SCANNERS_MAX == SHARED_SCANNERS_MAX, "each has its place in the shared table");

struct scanners;
TAILQ_HEAD(scanners_queue, scanners_wait);

/* What is found out is written into the worker's column of `table`, for `relayctl status`. */
struct scanners *scanners_new(struct loop *loop, const struct config *config,
                              struct shared_table *table, unsigned slot);
void scanners_free(struct scanners **scanners);
unsigned scanners_count(const struct scanners *scanners);
const struct milter_entry *scanners_entry(const struct scanners *scanners, unsigned i);

/* So many messages a worker are shown to one filter at once: what it bears, and descriptors. */
#define SCANNERS_AT_ONCE 50

struct scanners_wait { /* in its owner; zeroes: it waits for nothing */
    TAILQ_ENTRY(scanners_wait) link;
    struct scanners_queue *queue; /* NULL: none */
    bool is_probe;                /* it has the turn by which a failing one is tried */
    void (*on_turn)(void *ctx);
    void *ctx;
};

enum scanners_turn {
    SCANNERS_ASK,  /* scanners_heard, or scanners_dropped, follows */
    SCANNERS_WAIT, /* wait->on_turn(wait->ctx) follows: then this is asked again */
    SCANNERS_AWAY, /* it is failing */
};
enum scanners_turn scanners_take(struct scanners *scanners, unsigned i, struct scanners_wait *wait);
void scanners_leave(struct scanners_wait *wait); /* it waits no more; harmless if it does not */
/* `who` took the turn.  `why`: it has failed; NULL: it has not. `is_dead`: it could not be talked
 * to at all. Others get their turn from inside. */
void scanners_heard(struct scanners *scanners, unsigned i, struct scanners_wait *who,
                    const char *why, bool is_dead);
/* Nobody wants to know any more. */
void scanners_dropped(struct scanners *scanners, unsigned i, struct scanners_wait *who);
/* Why it is failing; "" it is not. */
const char *scanners_trouble(const struct scanners *scanners, unsigned i);

#endif
