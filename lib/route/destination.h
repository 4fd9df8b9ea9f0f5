/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where a domain's mail goes: from the registry's backends to endpoints, one after the other, as
 * they are to be tried.  Both programs find their way with this.
 */
#ifndef ROUTE_DESTINATION_H
#define ROUTE_DESTINATION_H

#include "registry/registry.h"

/* One place to connect to, and how: a plain value.  Two destinations whose endpoint, source, tls
 * and tls_name are the same can share connections. */
struct destination {
    struct inet_endpoint endpoint; /* family 0 only if `held`: its name was not looked up */
    struct inet_endpoint source;   /* without a port; family 0: as the system chooses */
    enum registry_tls tls;
    char tls_name[INET_DOMAIN_SIZE];         /* that its certificate must be for; "" its address */
    char host[INET_DOMAIN_SIZE];             /* the name whose address it is; "" none */
    uint32_t max_connections;                /* to the endpoint, over all of the node; never 0 */
    uint32_t customer_id, domain_id, number; /* the backend, as in struct registry_backend */
    bool trusts_us;                          /* XFORWARD tells it who the client is */
    bool held;                               /* by an operator: not to be asked */
};

#endif
