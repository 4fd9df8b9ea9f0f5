/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What strangers are refused must not fill the event log: beyond so many lines a second they are
 * counted, by network (/24, /64), minute and verdict, and a minute is told in one line "refusals"
 * for each network.  Refusals that are some customer's business do not come here.
 */
#ifndef RELAYD_EVENT_REFUSALS_H
#define RELAYD_EVENT_REFUSALS_H

#include "base/inet.h"

struct event_log;
struct event_refusals;

/* Networks that one minute tells apart; all others are one, "any". */
#define EVENT_REFUSALS_NETWORKS 1024

/* `log` is borrowed.  0 lines a second: all are counted. */
struct event_refusals *event_refusals_new(struct event_log *log, unsigned lines_per_second);
void event_refusals_free(struct event_refusals **refusals); /* tells what has been counted */
/* May this refusal have a line of its own?  If not, it has been counted as `word` (static). */
bool event_refusals_may_list(struct event_refusals *refusals, const struct inet_endpoint *client,
                             const char *word, int64_t wall_ms);
/* Tells the minute that has ended: call it now and then. */
void event_refusals_tick(struct event_refusals *refusals, int64_t wall_ms);

#endif
