/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The small transaction that looks whether a backend that refuses known recipients takes them
 * again: MAIL FROM:<>, RCPT of one of them, RSET, over a link of the pool, with nobody waiting for
 * it.  Its caller has claimed it (shared_health_may_probe); its outcome goes to the shared table.
 */
#ifndef RELAYD_PROBE_H
#define RELAYD_PROBE_H

#include "relayd/backend.h"
#include "route/destination.h"

struct probe;

/* rcpt: known valid; copied. */
void probe_start(struct worker *worker, const struct destination *destination,
                 const struct smtp_rcpt *rcpt);
/* At the worker's end, before the pool's: whose turn it was is found out by another's claim. */
void probe_cancel_all(struct worker *worker);

#endif
