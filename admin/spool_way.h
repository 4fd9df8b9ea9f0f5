/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The way of an order to whoever carries it out: through PostgreSQL to the keeper of its node; to
 * this machine's spool over the keeper's control socket, or by ourselves, when that is not there.
 * Never by two of them: an order is withdrawn from one way before it takes another.
 */
#ifndef ADMIN_SPOOL_WAY_H
#define ADMIN_SPOOL_WAY_H

#include <jansson.h>

#include "admin/call.h"
#include "order/order.h"

struct spool_way;

/* All borrowed.  `store`: this machine's spool, NULL if it can not be read.  Every result but
 * COMMAND_DONE has been explained. */
enum command_status spool_way_open(const struct call *call, unsigned node,
                                   const struct order *order, const struct spool_store *store,
                                   struct spool_way **way);
void spool_way_close(struct spool_way **way);

/* For up to ORDER_IDS_MAX messages: the answer as lib/order/order_json.h has it, with "ok" true;
 * json_decref it.  NULL: explained; *status: what to exit with, *has_effect: it may have been
 * carried out. */
json_t *spool_way_ask(struct spool_way *way, const struct ref *refs, size_t count,
                      enum command_status *status, bool *has_effect);

enum spool_way_kind { SPOOL_WAY_DATABASE, SPOOL_WAY_SOCKET, SPOOL_WAY_SELF };
enum spool_way_kind spool_way_kind_of(const struct spool_way *way);
const char *spool_way_word(enum spool_way_kind kind);

#endif
