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

#include "base/config.h"
#include "base/milter_entry.h"
#include "net/loop.h"
#include "state/shared_table.h"

#define SCANNERS_MAX MILTER_ENTRIES_MAX
_Static_assert(SCANNERS_MAX == SHARED_SCANNERS_MAX, "each has its place in the shared table");

struct scanners;

/* What is found out is written into the worker's column of `table`, for `relayctl status`. */
struct scanners *scanners_new(struct loop *loop, const struct config *config,
                              struct shared_table *table, unsigned slot);
void scanners_free(struct scanners **scanners);
unsigned scanners_count(const struct scanners *scanners);
const struct milter_entry *scanners_entry(const struct scanners *scanners, unsigned i);

/* Shall it be asked now?  True: scanners_heard, or scanners_dropped, follows. */
bool scanners_may_ask(struct scanners *scanners, unsigned i);
/* `why`: it has failed; NULL: it has not. `is_dead`: it could not be talked to at all. */
void scanners_heard(struct scanners *scanners, unsigned i, const char *why, bool is_dead);
void scanners_dropped(struct scanners *scanners, unsigned i); /* nobody waits for it any more */
/* Why it is failing; "" it is not. */
const char *scanners_trouble(const struct scanners *scanners, unsigned i);

#endif
