/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who carries out what is ordered: the keeper, over its control socket, or, where none runs, a
 * child of ours that owns the spool for that long.  Both take the same lines and give the same
 * answers.
 */
#ifndef ADMIN_SPOOL_OWNER_H
#define ADMIN_SPOOL_OWNER_H

#include <jansson.h>

#include "admin/call.h"
#include "order/order.h"

struct spool_owner;

/* Finds one. Every result but COMMAND_DONE has been explained: COMMAND_LATER if somebody has the
 * spool and does not answer.  `store` is the caller's, read-only. */
enum command_status spool_owner_open(const struct call *call, const struct spool_store *store,
                                     struct spool_owner **owner);
void spool_owner_close(struct spool_owner **owner);
bool spool_owner_is_keeper(const struct spool_owner *owner);

/* One order for up to ORDER_IDS_MAX messages; the answer as lib/order/order_json.h has it, with
 * "ok" true; json_decref it.  NULL: explained; *has_effect: it may have been carried out. */
json_t *spool_owner_ask(struct spool_owner *owner, const struct order *order,
                        const struct ref *refs, size_t count, bool *has_effect);

#endif
