/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The control socket of a daemon: a stream socket in run-dir, one JSON object a line in, one a line
 * out.  The peer's user comes from SO_PEERCRED, never from an argument.  control_call is the
 * blocking client for relayctl and for `--once`.
 */
#ifndef NET_CONTROL_H
#define NET_CONTROL_H

#include <sys/types.h>

#include "base/buf.h"
#include "net/loop.h"

struct control;
struct control_request; /* one line being answered; owned by the control socket */

/* `line` without its line end, borrowed for the call. Answer now or later, once, with
 * control_answer. */
typedef void (*control_on_request)(void *ctx, struct control_request *request, struct slice line);

/* A listening socket as control_listen makes it, for who serves it himself.  ERR_BUSY: somebody
 * listens there. */
MUST_USE int control_bind(const char *path, int *fd);
/* The sockets that are made in this folder from now on belong to the group, whose members may use
 * them.  Before the process gives up its rights.  ERR_NOT_FOUND: there is no such group. */
MUST_USE int control_share(const char *folder, const char *group);
MUST_USE int control_listen(struct loop *loop, const char *path, control_on_request on_request,
                            void *ctx, struct control **control);
void control_close(struct control **control); /* also unlinks the socket */
uid_t control_peer_uid(const struct control_request *request);
void control_answer(struct control_request *request, struct slice json_line);

/* Connects, sends one line, waits for one line. ERR_NOT_FOUND: nobody listens. */
MUST_USE int control_call(const char *path, struct slice json_line, int64_t timeout_ms,
                          struct buf *answer);

#endif
