/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is known of one client and of who it says it is: the facts that policy_judge wants, each
 * looked up when it is first asked for and kept for the connection.  Look-ups run side by side;
 * nothing here decides anything (DESIGN section 7).
 *
 *   client's address --> PTR and back, dial-in patterns, DNS lists     as long as the address is
 * the same HELO             --> is it ours, does it resolve                   until another HELO
 *   MAIL FROM        --> its domain's MX, SPF                          until another MAIL FROM
 */
#ifndef RELAYD_SENDER_FACTS_H
#define RELAYD_SENDER_FACTS_H

#include "policy/policy.h"
#include "relayd/worker.h"
#include "sender/sender_dnsbl.h"
#include "sender/sender_ptr.h"
#include "spf/spf_client.h"

struct conn;
struct sender_facts;

/* `conn`: the client's connection, borrowed, for our own address on it; NULL: there is none. */
struct sender_facts *sender_facts_new(struct worker *worker, const struct inet_endpoint *client,
                                      const struct conn *conn);
void sender_facts_free(struct sender_facts **facts);

/* Forgets what was looked up of another. */
void sender_facts_set_helo(struct sender_facts *facts, struct slice name);
void sender_facts_set_sender(struct sender_facts *facts, const struct smtp_path *path);

/* Begins the look-ups for `checks` (bits) that have not been begun.  What is known at once is in
 * what it returns, which is borrowed until the next call.  Facts of other checks may be unknown. */
const struct policy_facts *sender_facts_look(struct sender_facts *facts, unsigned checks);
/* The same, without beginning anything. */
const struct policy_facts *sender_facts_known(const struct sender_facts *facts);
/* Called, never from inside, each time something has become known.  NULL: nobody. */
void sender_facts_listen(struct sender_facts *facts, void (*on_change)(void *ctx), void *ctx);

/* --- For replies, headers and the event. */
const struct inet_endpoint *sender_facts_client(const struct sender_facts *facts);
/* The client's name that leads back to it; "" none, or not looked up. */
const char *sender_facts_name(const struct sender_facts *facts);
/* The first name of the client's address, whether it leads back or not; "". */
const char *sender_facts_ptr(const struct sender_facts *facts);
const struct sender_dnsbl_found *
sender_facts_dnsbl(const struct sender_facts *facts); /* NULL: not known */
/* What SPF is asked; borrowed from `facts`. */
struct spf_question sender_facts_question(const struct sender_facts *facts,
                                          enum spf_identity identity);
/* The result that the facts of SPF are owed to; NULL: none. */
const struct spf_result *sender_facts_deciding_spf(const struct sender_facts *facts);
/* NULL: not evaluated. */
const struct spf_result *sender_facts_spf(const struct sender_facts *facts,
                                          enum spf_identity identity);
const char *sender_facts_helo(const struct sender_facts *facts);
/* The sender's domain says with a null MX that it takes no mail. */
bool sender_facts_has_null_mx(const struct sender_facts *facts);
/* The domain for which SPF has authorised the client by a record that says something; "". */
const char *sender_facts_authorised_domain(const struct sender_facts *facts);
/* What was looked up for a check: the client's name, the list, the domain, ...; for the event.  And
 * how long it took. */
const char *sender_facts_input(const struct sender_facts *facts, enum policy_check check);
int64_t sender_facts_ms(const struct sender_facts *facts, enum policy_check check);

#endif
