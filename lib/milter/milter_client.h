/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A talk (milter_talk.h) over a connection of its own, with its time.  A filter that says that it
 * is at work gets its time anew, up to a limit.
 */
#ifndef MILTER_CLIENT_H
#define MILTER_CLIENT_H

#include "base/milter_entry.h"
#include "milter/milter_talk.h"
#include "net/loop.h"

struct milter_client;

struct milter_client_ops {
    struct milter_talk_ops talk;
    /* The last word.  The talk is borrowed for the call; the client is gone behind it. */
    void (*on_done)(void *ctx, const struct milter_talk *talk, bool is_dead);
};
/* is_dead of a failed one: it could not be reached, or did not get as far as to negotiate; else the
 * fault may be of this message. */

/* `entry`, `question` and `ops` are borrowed for its life.  `limit_ms`: all of it, whatever the
 * filter says.  on_done runs once, never from inside milter_client_start. */
struct milter_client *milter_client_start(struct loop *loop, const struct milter_entry *entry,
                                          const struct milter_question *question, int64_t limit_ms,
                                          const struct milter_client_ops *ops, void *ctx);
/* What was waited for (a piece of the body, room for a new one) may be there; on_done may run from
 * inside. */
void milter_client_resume(struct milter_client *client);
void milter_client_cancel(struct milter_client **client); /* on_done never runs; NULL is fine */

#endif
