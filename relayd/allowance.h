/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What one client connection has used of each customer's limits (DESIGN section 8): whether it
 * counts in the customer's hour, and how many messages it has brought.  A connection counts once
 * for a customer, when its first recipient for that customer is accepted, so that refused clients
 * use up nothing.  The hour itself is in the shared table (state/shared_table.h), exact over all
 * workers (P9).
 */
#ifndef RELAYD_ALLOWANCE_H
#define RELAYD_ALLOWANCE_H

#include "registry/registry.h"
#include "smtp/smtp_reply.h"
#include "state/shared_table.h"

#define ALLOWANCE_CUSTOMERS_MAX 100 /* a connection that serves more is as one that is used up */

struct allowance { /* a session's; all zero at first */
    struct allowance_row *rows;
    unsigned count;
};

void allowance_fini(struct allowance *allowance);

/* Would a recipient for this customer be within the hour's limit? Counts nothing.  false: *reply is
 * the 451 with the minutes to wait, without a reference. */
bool allowance_look(const struct allowance *allowance, const struct shared_table *table,
                    const struct registry_customer *customer, const struct inet_endpoint *client,
                    struct smtp_reply *reply);
/* A recipient for this customer is being accepted: counts the connection if it does not count yet.
 * false: another has taken the last place meanwhile; *reply as above. */
bool allowance_take(struct allowance *allowance, struct shared_table *table,
                    const struct registry_customer *customer, const struct inet_endpoint *client,
                    struct smtp_reply *reply);
/* One more recipient of the customer's that is unknown there was named on this connection. */
void allowance_count_unknown(struct allowance *allowance, uint32_t customer_id);
#define ALLOWANCE_UNKNOWN_MAX 5
bool allowance_unknown_is_used_up(const struct allowance *allowance, uint32_t customer_id);
/* A message for this customer was read to its end. true: the connection is used up. */
bool allowance_count_message(struct allowance *allowance, const struct registry_customer *customer);

#endif
