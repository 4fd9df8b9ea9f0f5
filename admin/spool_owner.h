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

/* What there is to be seen of this machine's keeper. */
enum spool_owner_keeper {
    SPOOL_OWNER_NO_KEEPER, /* nobody listens */
    SPOOL_OWNER_KEEPER,    /* it is there, and linked to the database */
    SPOOL_OWNER_UNLINKED,  /* it is there, without the database */
    SPOOL_OWNER_NOT_SEEN,  /* it can not be asked, or does not answer */
};
enum spool_owner_keeper spool_owner_look(const struct call *call);

/* Finds one. Every result but COMMAND_DONE has been explained: COMMAND_LATER if somebody has the
 * spool and does not answer.  `store` is the caller's, read-only; NULL: it can not be read, and
 * only a keeper will do. */
enum command_status spool_owner_open(const struct call *call, const struct spool_store *store,
                                     struct spool_owner **owner);
void spool_owner_close(struct spool_owner **owner);
bool spool_owner_is_keeper(const struct spool_owner *owner);

/* One order for up to ORDER_IDS_MAX messages; the answer as lib/order/order_json.h has it, with
 * "ok" true; json_decref it.  NULL: explained; *has_effect: it may have been carried out. */
json_t *spool_owner_ask(struct spool_owner *owner, const struct order *order,
                        const struct ref *refs, size_t count, bool *has_effect);

#endif
