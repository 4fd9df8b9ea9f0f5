/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail of our own: how it comes into the spool, and the way it takes out of it.
 *
 *   own_submit ──▶ batch ──▶ committer's thread: a segment of its own, synced ──▶ on_written
 *                                              ╰─ the next refresh finds it: a message like any
 *
 * It goes to the customer's servers if this node serves the domain, else by outbound-route.  What
 * becomes of it is recorded, and nobody is told.
 */
#ifndef SPOOLMGR_OWN_H
#define SPOOLMGR_OWN_H

#include "registry/registry.h"
#include "route/destination.h"
#include "smtp/smtp_client.h"
#include "spool/spool_record.h"

struct keeper;
struct own;

/* ERR_SYNTAX: the credentials cannot be used, which has been said. */
MUST_USE int own_new(struct keeper *k, struct own **own);
void own_free(struct own **own); /* what waits is dropped without a callback */

/* Makes mail of our own (notice_envelope gives an envelope; both are copied).  on_written comes
 * once, never from inside: 0: it is durable, and will be tried like any mail; else nothing of it
 * is kept.  Whatever must not be recorded before it waits for that. */
typedef void (*own_on_written)(void *ctx, int err);
void own_submit(struct keeper *k, const struct spool_envelope *envelope, struct slice content,
                own_on_written on_written, void *ctx);
bool own_is_idle(const struct keeper *k);
void own_written(struct keeper *k, int err); /* by the committer */

/* --- Its way. */

/* For a domain that this node does not serve; never ROUTE_NONE. */
uint64_t own_route(struct keeper *k, const char *domain);
/* As registry backends, so that it is looked up like any; 0: outbound-route is not set. */
unsigned own_backends(const struct keeper *k, uint64_t route,
                      struct registry_backend found[REGISTRY_BACKENDS_MAX]);
bool own_is_missing(const struct keeper *k); /* outbound-route is not set */
/* NULL: none; good as long as `own` is. */
const struct smtp_credentials *own_credentials(const struct keeper *k);

#endif
