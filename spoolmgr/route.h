/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where mail goes: the registry's replica and the health of backends, as the keeper sees them at
 * each attempt.  Both are files that others may replace at any moment; both may be missing: without
 * a usable replica nothing has a route, and mail is kept.
 */
#ifndef SPOOLMGR_ROUTE_H
#define SPOOLMGR_ROUTE_H

#include "base/config.h"
#include "registry/registry.h"
#include "state/shared_table.h"

/* The keeper's column in the shared table, behind those of the relay's workers. */
#define ROUTE_SLOT (SHARED_WORKERS_MAX - 1)

struct route;

/* Makes the shared table if the relay has not. ERR_IO and others: it cannot be had. */
MUST_USE int route_open(const struct config *config, struct route **route);
void route_close(struct route **route);

/* Looks whether the files have been replaced. True: the replica is another one now.  *table_is_new:
 * the shared table is another one, whose column of ours has no slot yet. */
bool route_refresh(struct route *route, bool *table_is_new);
bool route_has_replica(const struct route *route);

/* A route is a number: which backends serve a domain.  They are its own, or those of its customer;
 * or an operator has said that one backend of the customer's gets a message. */
#define ROUTE_NONE 0
#define ROUTE_REDIRECTED (UINT64_C(1) << 63)
#define ROUTE_OWN (UINT64_C(1) << 62) /* of mail of our own: own.h says where it leads */
static inline uint64_t
route_number(uint32_t customer_id, uint32_t domain_id)
{
    return (uint64_t)domain_id << 32 | customer_id;
}

static inline uint64_t
route_redirected(uint32_t customer_id, uint32_t backend)
{
    return ROUTE_REDIRECTED | route_number(customer_id, backend);
}

static inline bool
route_is_own(uint64_t route)
{
    return (route & ROUTE_OWN) != 0 && (route & ROUTE_REDIRECTED) == 0;
}

static inline uint32_t
route_customer_id(uint64_t route)
{
    return route_is_own(route) ? 0 : (uint32_t)route;
}

/* 0: the customer's. */
static inline uint32_t
route_domain_id(uint64_t route)
{
    return route & (ROUTE_REDIRECTED | ROUTE_OWN) ? 0 : (uint32_t)(route >> 32);
}

/* The backend's number; 0: it is not redirected. */
static inline uint32_t
route_backend(uint64_t route)
{
    return route & ROUTE_REDIRECTED ? (uint32_t)((route & ~ROUTE_REDIRECTED) >> 32) : 0;
}

/* ROUTE_NONE: nobody serves this domain. */
uint64_t route_of(struct route *route, const char *domain);
/* The backends, by priority; returns how many. */
unsigned route_backends(const struct route *route, uint64_t number,
                        struct registry_backend found[REGISTRY_BACKENDS_MAX]);
/* The replica says that nobody serves the domain (ROUTE_NONE), or that the route has no backend.
 * False too if it cannot say: then nothing may follow from it. */
bool route_is_missing(const struct route *route, const char *domain, uint64_t number);
/* False: the customer has no contact, or no replica says so (route_has_replica). */
bool route_contact(const struct route *route, uint32_t customer_id,
                   struct registry_contact *contact);
struct shared_table *route_table(struct route *route);

#endif
