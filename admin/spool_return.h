/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A return where no keeper runs: senders are told first, so their notices are durable before the
 * ends are.  For the owner of the spool.
 */
#ifndef ADMIN_SPOOL_RETURN_H
#define ADMIN_SPOOL_RETURN_H

#include <jansson.h>

#include "base/config.h"
#include "order/order.h"

struct spool_returns;
/* All borrowed. */
struct spool_returns *spool_returns_new(const struct config *config, struct spool_store *store,
                                        const struct order *order, const char *who);
/* The order has been judged DONE for it. */
void spool_returns_add(struct spool_returns *returns, struct spool_message *message);
/* Writes the notices, then ends the messages, in memory and for the next sync; each is counted in
 * the answer.  Frees it. */
void spool_returns_finish(struct spool_returns **returns, json_t *answer);

#endif
