/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a connection to a destination takes: which name its certificate must have, which TLS, which
 * address of ours.  Small and without state, so that both programs mean the same by it.
 */
#ifndef ROUTE_DESTINATION_LINK_H
#define ROUTE_DESTINATION_LINK_H

#include <string.h>

#include "net/tls_client.h"
#include "route/destination.h"

/* For tls_client_ssl; NULL: the endpoint's address. */
static inline const char *
destination_name(const struct destination *to)
{
    if (to->tls_name[0])
        return to->tls_name;
    return to->host[0] ? to->host : NULL;
}

static inline enum tls_policy
destination_policy(const struct destination *to)
{
    static const enum tls_policy policies[] = {
        [REGISTRY_TLS_NONE] = TLS_POLICY_NONE,
        [REGISTRY_TLS_MAY] = TLS_POLICY_MAY,
        [REGISTRY_TLS_ENCRYPT] = TLS_POLICY_ENCRYPT,
        [REGISTRY_TLS_VERIFY] = TLS_POLICY_VERIFY,
    };

    return policies[to->tls];
}

/* Can a connection that was made for one serve the other? */
static inline bool
destination_shares_links(const struct destination *a, const struct destination *b)
{
    return inet_endpoint_equal(&a->endpoint, &b->endpoint) &&
           inet_endpoint_equal(&a->source, &b->source) && a->tls == b->tls &&
           strcmp(a->tls_name, b->tls_name) == 0 && a->authenticates == b->authenticates &&
           (a->tls == REGISTRY_TLS_NONE || strcmp(a->host, b->host) == 0);
}

/* family 0: the system chooses; one of the other family cannot be used. */
static inline struct inet_endpoint
destination_source(const struct destination *to)
{
    struct inet_endpoint source = {.family = 0};

    if (to->source.family == to->endpoint.family)
        source = to->source;
    source.port = 0;
    return source;
}

static inline bool
destination_source_is_odd(const struct destination *to)
{
    return to->source.family != 0 && to->source.family != to->endpoint.family;
}

#endif
