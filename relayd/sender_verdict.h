/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a judgement is said: the reply that the sender gets, with what was looked up in it (P6).
 */
#ifndef RELAYD_SENDER_VERDICT_H
#define RELAYD_SENDER_VERDICT_H

#include "relayd/sender_facts.h"
#include "smtp/smtp_reply.h"

/* Of POLICY_REFUSE and POLICY_TRY_LATER, but for greylist.  Without a reference. */
enum smtp_verdict sender_verdict_of(const struct policy_judgement *judgement,
                                    const struct sender_facts *facts);
struct smtp_reply sender_verdict_reply(const struct policy_judgement *judgement,
                                       const struct sender_facts *facts);
/* What a first contact hears, with the minutes to wait; GREYLISTED, or PRIMARY_IS_UP. */
struct smtp_reply sender_verdict_first_contact(enum smtp_verdict verdict, int64_t wait_ms);

#endif
