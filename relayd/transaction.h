/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One message on its way: from MAIL to the verdict at the dot (DESIGN section 4).  It decides, with
 * relayd/decision.h, what each RCPT and the dot are answered: the backend's own words, or ours when
 * the backend is away.
 *
 *   open (RCPTs) -> content -> delivering -> committing -> ended
 *                      \____________________/^
 *
 * It outlives its session only when the client goes between the sending of the dot, or the
 * beginning of the commit, and the outcome.
 */
#ifndef RELAYD_TRANSACTION_H
#define RELAYD_TRANSACTION_H

#include "relayd/session.h"

struct transaction;

struct transaction *transaction_new(struct worker *worker, struct session *session,
                                    const struct smtp_mail *mail);
/* The session lets go: the engine has ended the transaction, or the client is gone. What can be
 * dropped is dropped. */
void transaction_abandon(struct transaction **transaction);

unsigned transaction_recipient_count(const struct transaction *t); /* accepted */
struct ref transaction_ref(const struct transaction *t);
/* Whose it is; valid when a recipient has been accepted. */
const struct registry_customer *transaction_customer(const struct transaction *t);
/* By what its sender would repeat (state/shared_table.h): should it kill the worker. */
uint64_t transaction_fingerprint(const struct transaction *t);

/* The engine's operations. */
enum smtp_step transaction_rcpt(struct transaction *t, const struct smtp_rcpt *rcpt,
                                struct smtp_reply *reply);
enum smtp_step transaction_data(struct transaction *t, struct smtp_reply *reply);
bool transaction_content(struct transaction *t, struct slice piece);
enum smtp_step transaction_end(struct transaction *t, bool fault, struct smtp_reply *reply);
bool transaction_is_behind(const struct transaction *t); /* reading should pause */
/* In content: so much may be read at once, at least 1. */
size_t transaction_room(const struct transaction *t);

#endif
