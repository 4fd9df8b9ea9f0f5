/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One client connection: socket, server engine, at most one transaction.
 */
#ifndef RELAYD_SESSION_H
#define RELAYD_SESSION_H

#include "relayd/worker.h"

struct sender_facts;
struct session;

/* Takes over an accepted socket; frees itself when the connection ends.  With `by_proxy` a header
 * of the PROXY protocol comes first, and the client is counted in behind it; otherwise it has been
 * (arrival_enter), and leaves at its end. */
void session_start(struct worker *worker, int fd, const struct inet_endpoint *peer, bool by_proxy);
/* 421 as soon as order permits, then the end: the worker is stopping. */
void session_stop(struct session *session);
/* The same of one that may have time to hear it. */
void session_drain(struct session *session);
/* 421 now, whatever it is in the middle of, and the end. */
void session_break_off(struct session *session);
struct session *session_next(const struct session *session);
/* Pressure has begun or is over: what time clients have is set anew. */
void sessions_pressure_changed(struct worker *worker);

/* --- For the transaction. */
void session_answer(struct session *session,
                    const struct smtp_reply *reply); /* never from inside an operation */
/* And writes it before it returns. False: the client is gone, and has not heard it. */
bool session_answer_now(struct session *session, const struct smtp_reply *reply);
void session_resume(struct session *session); /* reading may go on */
/* The client has sent something behind DATA, which is not answered yet (RFC 2920 3.1). */
bool session_is_early(const struct session *session);
struct smtp_server *session_engine(struct session *session);
/* The client: as a proxy or XCLIENT says, or who has connected. */
const struct inet_endpoint *session_peer(const struct session *session);
struct allowance *session_allowance(struct session *session); /* relayd/allowance.h */
/* What is known of the client; made when it is first asked for.  Of an ended session NULL. */
struct sender_facts *session_facts(struct session *session);
/* Nobody waits for them any more. */
void session_ignore_facts(struct session *session);
const char *session_tls_version(const struct session *session); /* as conn_tls_version */
const char *session_tls_cipher(const struct session *session);

#endif
