/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sources of backscatter that the relay on this node has banned by itself, as they are shown beside
 * what operators block.
 */
#ifndef ADMIN_BAN_H
#define ADMIN_BAN_H

#include "admin/call.h"

struct ban {
    uint32_t customer_id;
    const char *customer; /* NULL: its name is not known */
    const char *what;     /* an address, or an IPv6 /64 */
    int64_t since_ms, until_ms;
};
typedef void (*ban_each)(void *ctx, const struct ban *ban);

/* Of one customer, or of all (0).  A relay that does not run here is complained of, and is no
 * failure. */
void ban_list(const struct call *call, uint32_t customer_id, ban_each each, void *ctx);
/* `what` is an address or network.  True: it was banned for the customer, and is no more (in a dry
 * run: would be). */
bool ban_end(const struct call *call, uint32_t customer_id, const char *what);

#endif
