/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is known about a recipient before its backend is asked: is its domain registered, whose is
 * it, may it receive this now (DESIGN 4.4, P3); and two small services around the backend's answer:
 * passing it on, learning from it.
 */
#ifndef RELAYD_RECIPIENT_POLICY_H
#define RELAYD_RECIPIENT_POLICY_H

#include "relayd/backend.h"

struct recipient_route {
    struct registry_domain domain;
    struct registry_customer customer;
    unsigned backend_count;
};

/* SMTP_VERDICT_OK with the route and its backends, or why not.  A bare <postmaster> is replaced by
 * the setting `postmaster`.  A replica that is missing or damaged is a 451, never a 550 (P5). */
enum smtp_verdict recipient_policy_route(struct worker *worker, const struct smtp_mail *mail,
                                         struct smtp_rcpt *rcpt, struct recipient_route *route,
                                         struct registry_backend backends[REGISTRY_BACKENDS_MAX]);

/* Is it among the recipients that the customer has registered? */
enum recipient_listed {
    RECIPIENT_NOT_LISTED, /* which says nothing */
    RECIPIENT_LISTED,
    RECIPIENT_NOT_ON_COMPLETE_LIST, /* so it does not exist; never said of postmaster (RFC 5321
                                       4.5.1), nor of an empty list */
    RECIPIENT_LIST_UNREADABLE,      /* a damaged replica: 451 */
};
enum recipient_listed recipient_policy_listed(struct worker *worker,
                                              const struct registry_domain *domain,
                                              const struct smtp_path *path);

/* Does this 5xx speak of us, not of the sender? Then an alarm has been logged (backend-blames-us).
 */
bool recipient_policy_blames_us(struct worker *worker, struct backend_link *link,
                                const struct smtp_reply *reply, const char *session);
/* The backend's refusal as the sender sees it: cleaned of its address and its name, with our
 * reference. */
void recipient_policy_pass(const struct inet_endpoint *backend, const char *backend_name,
                           enum smtp_phase phase, const struct smtp_reply *backend_reply,
                           struct ref ref, struct smtp_reply *reply);

/* Tells the state process. */
void recipient_policy_learn(struct worker *worker, uint32_t customer_id, const char *key,
                            bool valid, const struct inet_endpoint *backend);

#endif
