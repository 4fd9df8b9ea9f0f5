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

/* The customer whose backends serve this domain; 0: no route. */
uint32_t route_customer(struct route *route, const char *domain);
/* Its backends, the first to be asked first; returns how many. */
unsigned route_backends(const struct route *route, uint32_t customer_id,
                        struct registry_backend found[REGISTRY_BACKENDS_MAX]);
/* The replica says that nobody serves the domain (customer 0), or that the customer has no backend.
 * False too if it cannot say: then nothing may follow from it. */
bool route_is_missing(const struct route *route, const char *domain, uint32_t customer_id);
struct shared_table *route_table(struct route *route);

#endif
