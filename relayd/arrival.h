/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who may come in: what is decided about a connection before a session answers commands.
 *
 *   accept ─▶ node full? ─▶ from a proxy: its header ─▶ too many of this address? ─▶ greet-wait ─▶
 * 220
 *
 * Who is refused here is counted, and logged at a bounded rate: never a line, an event or memory
 * for each.
 */
#ifndef RELAYD_ARRIVAL_H
#define RELAYD_ARRIVAL_H

#include "relayd/worker.h"

struct arrival; /* of a worker */

struct arrival *arrival_new(struct worker *worker);
void arrival_free(struct arrival **arrival);

/* A listener's callback; ctx is the worker. */
void arrival_accept(void *ctx, int fd, const struct inet_endpoint *peer);
/* Counts a client of this address in; not OK: what it is to be told instead, and it has been
 * counted as refused.  Each that came in leaves. */
enum smtp_verdict arrival_enter(struct worker *worker, const struct inet_endpoint *client);
void arrival_leave(struct worker *worker, const struct inet_endpoint *client);

enum arrival_refusal {
    ARRIVAL_BLOCKED,   /* by an operator */
    ARRIVAL_TOO_MANY,  /* of one address */
    ARRIVAL_FULL,      /* the node, or this worker */
    ARRIVAL_EARLY,     /* talked before the greeting */
    ARRIVAL_NO_HEADER, /* of the PROXY protocol, from a network that owes one */
    ARRIVAL_NO_DESCRIPTOR,
    ARRIVAL_REFUSAL_COUNT
};
void arrival_count(struct worker *worker, enum arrival_refusal why,
                   const struct inet_endpoint *peer);

/* An operator has taken the node out of service: nobody comes in, and who is in goes between
 * messages.  Cheap. */
bool arrival_is_closed(const struct worker *worker);
/* Is the node under pressure?  Cheap; renewed by arrival_beat. */
bool arrival_is_pressed(const struct worker *worker);
/* Once a second: pressure, what is to be logged, what lingers. */
void arrival_beat(struct worker *worker);

bool arrival_is_in(const struct config_networks *networks, const struct inet_endpoint *e);

#endif
