/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The networks that an SPF record passes (RFC 7208): ip4, ip6, a, mx, include and redirect.  What
 * can not be said as networks (ptr, exists, macros, exclusions, +all) makes the whole name fail, so
 * that a filter is never exempt for more, nor locked out for less, than its operator says.
 */
#ifndef RELAYD_CONTROL_RESOLVE_H
#define RELAYD_CONTROL_RESOLVE_H

#include "dns/dns.h"
#include "registry/registry.h"

struct control_resolve;

struct control_resolved {
    struct registry_include
        *include;    /* its networks in a fixed order, each once; never none if good */
    uint32_t ttl_s;  /* the least of all answers */
    const char *why; /* a sentence if it failed, else NULL */
};

/* `on_done` runs once, never from inside; what it is given is borrowed. Bounded: 10 mechanisms that
 * ask DNS (RFC 7208 4.6.4), 10 hosts an mx, REGISTRY_INCLUDE_NETWORKS_MAX networks. */
struct control_resolve *
control_resolve_start(struct dns *dns, const char *name,
                      void (*on_done)(void *ctx, const struct control_resolved *result), void *ctx);
void control_resolve_cancel(struct control_resolve **resolve);

#endif
