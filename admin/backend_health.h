/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Backends' health on this node, for lists and for `relayctl backend test` and `release`.
 */
#ifndef ADMIN_BACKEND_HEALTH_H
#define ADMIN_BACKEND_HEALTH_H

#include "admin/call.h"
#include "state/shared_table.h"

/* The cells that backend_health_print adds to a row of a backend. */
#define BACKEND_HEALTH_COUNT 4
#define BACKEND_HEALTH_COLUMNS(health, since, reason, next)                  \
    {"health", health, PRINTER_LEFT}, {"health_since", since, PRINTER_LEFT}, \
        {"health_reason", reason, PRINTER_LEFT},                             \
    {                                                                        \
        "next_probe_at", next, PRINTER_LEFT                                  \
    }

/* NULL: the relay has not been here since the host's start, or the table may not be read. */
struct shared_table *backend_health_open(const struct call *call);
/* `held` by an operator goes before what the node knows.  address NULL: it is by name, and each of
 * its addresses has a health of its own (`relayctl status`). */
void backend_health_print(struct printer *p, const struct call *call,
                          const struct shared_table *table, const char *address, int64_t port,
                          bool held);

/* Ends `refusing` on this node, if that is what it is; says so. */
void backend_health_release(struct call *call, const char *address, int64_t port);

#endif
