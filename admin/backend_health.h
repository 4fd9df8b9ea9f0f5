/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Backends' health on this node, for lists and for `relayctl backend test` and `release`.
 */
#ifndef ADMIN_BACKEND_HEALTH_H
#define ADMIN_BACKEND_HEALTH_H

#include "admin/call.h"
#include "probe/probe_talk.h"
#include "state/shared_table.h"

/* The cells that backend_health_print adds to a row of a backend. */
#define BACKEND_HEALTH_COUNT 4
#define BACKEND_HEALTH_COLUMNS(health, since, reason, next)                     \
    {"health", health, PRINTER_LEFT}, {"health_since_at", since, PRINTER_LEFT}, \
        {"health_reason", reason, PRINTER_PROSE | PRINTER_BELOW},               \
    {                                                                           \
        "next_probe_at", next, PRINTER_BELOW                                    \
    }

/* NULL: the relay has not been here since the host's start, or the table may not be read. */
struct shared_table *backend_health_open(const struct call *call);
/* In a list times are short.  `held` by an operator goes before what the node knows.  address NULL:
 * it is by name, and each of its addresses has a health of its own (`relayctl status`). */
void backend_health_print(struct printer *p, const struct call *call,
                          const struct shared_table *table, const char *address, int64_t port,
                          bool held, bool is_list);

/* `relayctl backend test --steps`. */
enum command_status backend_health_steps(struct call *call);
/* If the relay here sends nothing there now: has it try again at once, and says what it thought and
 * thinks of it.  false: it does not think so, or does not run. */
bool backend_health_wake(const struct call *call, const struct probe_question *question, char *says,
                         size_t says_size, bool *is_up);

/* Ends `refusing` on this node, if that is what it is; says so. */
void backend_health_release(struct call *call, const char *address, int64_t port);

#endif
