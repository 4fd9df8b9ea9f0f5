/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One order of relayctl's to the spool: who is meant, and what has come of it.
 */
#ifndef ADMIN_SPOOL_ORDERS_H
#define ADMIN_SPOOL_ORDERS_H

#include <jansson.h>

#include "admin/call.h"
#include "admin/selection.h"
#include "admin/spool_way.h"
#include "order/order.h"

/* A message in the spool of another node. */
struct spool_away {
    struct ref ref;
    unsigned node;
};

struct spool_orders {
    struct call *call;
    struct order order;
    char detail[256];     /* the order's, if it has one */
    const char *question; /* "Remove"; on a terminal it is asked, if `asks` */
    bool asks;
    struct ref *picked; /* of this node's spool */
    size_t picked_count;
    struct spool_away *away; /* by node, once they are asked */
    size_t away_count;
    size_t sent;     /* answered so far */
    size_t unjudged; /* in a dry run: of spools that can not be read here */
    size_t done, already;
    json_t *ids;    /* what is done */
    json_t *others; /* as lib/order/order_json.h has them */
    char who[ORDER_WHO_SIZE];
    json_t *nodes;              /* whose spools were asked */
    enum spool_way_kind way;    /* the last one's */
    bool is_broken;             /* one of them gave no answer */
    enum command_status broken; /* what to exit with, if nothing has come of it */
};

void spool_orders_init(struct spool_orders *orders, struct call *call, enum spool_act act);
void spool_orders_fini(struct spool_orders *orders);
/* COMMAND_USAGE: it is needed and missing, or no text. */
enum command_status spool_orders_check_reason(const struct spool_orders *orders);
/* What is selected; ids that are not there are noted as missing. */
void spool_orders_pick(struct spool_orders *orders, const struct selection *selection,
                       struct spool_store *store);
void spool_orders_pick_ref(struct spool_orders *orders, struct ref ref);
/* Names those that are in `others`; returns how many. */
size_t spool_orders_complain(const struct spool_orders *orders);
/* Asks, and has it done to what was picked, or judges it in a dry run. COMMAND_DONE: what came of
 * it is in `done`, `already` and `others`; else explained.  `store`: NULL if it can not be read. */
enum command_status spool_orders_give(struct spool_orders *orders, struct spool_store *store);

#endif
