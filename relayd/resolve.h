/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Resolutions that nobody waits for (spool/spool_resolution.h): the worker writes each, again and
 * again if the spool cannot be written, and does not end before it has.
 */
#ifndef RELAYD_RESOLVE_H
#define RELAYD_RESOLVE_H

#include "relayd/worker.h"
#include "smtp/smtp_reply.h"
#include "spool/spool_resolution.h"

/* `reply`: the backend's; NULL: none. */
void resolve_silently(struct worker *worker, struct ref ref, enum spool_resolution_kind kind,
                      const struct smtp_reply *reply);

#endif
