/* SPDX-License-Identifier: BSD-2-Clause
 *
 * resolv.conf(5), of which we want one thing: the first nameserver.
 */
#ifndef BASE_RESOLV_CONF_H
#define BASE_RESOLV_CONF_H

#include "base/inet.h"

/* With port 53.  ERR_NOT_FOUND: there is none (whose address has no zone, as fe80::1%eth0 has). */
MUST_USE int resolv_conf_first(struct slice text, struct inet_endpoint *nameserver);

#endif
