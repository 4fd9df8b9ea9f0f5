/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Listening on: a backend that has not answered the end of a message in time may still do so (the
 * class `unknown` of DESIGN section 5).  The message is in the spool, and the keeper leaves it
 * alone meanwhile; what is heard late ends the record, or lets it go.
 */
#ifndef RELAYD_LATE_H
#define RELAYD_LATE_H

#include "relayd/backend.h"

#define LATE_LISTEN_MS (10 * 60 * 1000) /* behind final-reply-timeout */

struct late;

/* Takes the link over.  Nothing is written before late_kept. */
struct late *late_listen(struct worker *worker, struct backend_link **link, struct ref ref);
/* The record is durable: what was heard, or will be, is written behind it. */
void late_kept(struct late **late);
/* There is no record: what is heard does not matter. */
void late_forget(struct late **late);
/* The worker ends; the keeper knows that by itself. */
void late_free_all(struct worker *worker);

#endif
