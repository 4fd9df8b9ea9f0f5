/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Orders that go to the keeper of a node through PostgreSQL: a row of postern.spool_commands, and
 * its answer.  The operator is whom the database's session belongs to.
 */
#ifndef ADMIN_SPOOL_COMMAND_H
#define ADMIN_SPOOL_COMMAND_H

#include <jansson.h>

#include "admin/call.h"
#include "order/order.h"

struct spool_commander;

/* A connection of its own, whatever the call's is doing.  COMMAND_DONE: that node's keeper has been
 * there a moment ago.  Else `why` says what is in the way: COMMAND_LATER: the database or the
 * keeper is away; COMMAND_NOTHING: no keeper of such a node has ever been there; COMMAND_FAILED:
 * the database's role has not the rights. */
enum command_status spool_commander_open(const struct call *call, unsigned node,
                                         struct spool_commander **commander, struct buf *why);
void spool_commander_close(struct spool_commander **commander);

enum spool_command_end {
    SPOOL_COMMAND_ANSWERED,
    SPOOL_COMMAND_NOT_TAKEN, /* withdrawn: nothing of it is done, nor will be */
    SPOOL_COMMAND_STOPPED,   /* the same, since the operator has interrupted it */
    SPOOL_COMMAND_REFUSED,   /* by the database; nothing of it is done */
    SPOOL_COMMAND_UNKNOWN,   /* it may have been carried out */
};
/* One command, for up to ORDER_IDS_MAX messages.  ANSWERED: *answer as lib/order/order_json.h has
 * it; json_decref it.  Else it is NULL, and `why` says what happened. */
enum spool_command_end spool_commander_ask(struct spool_commander *commander,
                                           const struct order *order, const struct ref *refs,
                                           size_t count, json_t **answer, struct buf *why);

#endif
