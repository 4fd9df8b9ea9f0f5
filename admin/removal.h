/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What becomes of the mail that waits for a customer, a domain or a backend that is removed:
 * --spool keep|return.  A return is an order to the spool, given when the removal is done.
 */
#ifndef ADMIN_REMOVAL_H
#define ADMIN_REMOVAL_H

#include "admin/spool_orders.h"

struct removal {
    struct spool_orders orders;
    bool returns;
};

void removal_init(struct removal *removal, struct call *call);
void removal_fini(struct removal *removal);
/* Inside the transaction, by the index of the spool: `where` over postern.spool_index with $1 ...
 * If mail waits there, --spool must say what becomes of it.  `whole`: those among it that a return
 * may end, since nothing else waits with them.  `what` for the sentence: "customer acme". */
enum command_status removal_check(struct removal *removal, const char *what, const char *where,
                                  const char *whole, int param_count, const char *const *params);
/* Behind the transaction, whose result is `status`: returns what is to be returned. COMMAND_PARTLY:
 * the removal is done, and not all of the mail was returned; explained. */
enum command_status removal_finish(struct removal *removal, enum command_status status);

#endif
