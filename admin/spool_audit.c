/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the keeper does for the orders that it carries out, relayctl does for its own: a row of the
 * audit for each part of an order, signed by the database's user that relayctl is.
 */
#include "admin/spool_audit.h"

#include <stdio.h>
#include <unistd.h>

#include "admin/database.h"
#include "base/clock.h"
#include "order/order_json.h"

struct copy {
    const struct spool_orders *orders;
    char at[CLOCK_RFC3339_SIZE], node[16];
    int64_t now_ms;
};

/* The messages from `from` up to `to`. */
static bool
copy_part(const struct copy *c, size_t from, size_t to, struct buf *why)
{
    const struct spool_orders *o = c->orders;
    char key[64];
    struct buf refs;
    PGresult *result;
    bool is_there;

    buf_init(&refs, 0);
    for (size_t i = from; i < to; i++)
        buf_printf(&refs, "%c%s", i > from ? ',' : '{',
                   json_string_value(json_array_get(o->ids, i)));
    buf_add_text(&refs, "}");
    snprintf(key, sizeof key, "%lld-%ld-%zu", (long long)c->now_ms, (long)getpid(), from);
    result = database_try(
        o->call,
        "SELECT postern.audit_spool_order($1::timestamptz, $2::integer, $3, $4, $5, $6, "
        "$7, $8::text[])",
        8,
        (const char *const[]){c->at, c->node, key, o->who, order_kind(o->order.act)->word,
                              o->order.reason, o->order.detail, buf_text(&refs)});
    is_there = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (!is_there)
        database_say_why(o->call, result, why);
    PQclear(result);
    buf_fini(&refs);
    return is_there;
}

void
spool_audit_copy(const struct spool_orders *o)
{
    struct copy c = {.orders = o, .now_ms = clock_wall_ms()};
    struct buf why;
    bool is_there;

    buf_init(&why, 0);
    clock_rfc3339(c.now_ms, c.at);
    snprintf(c.node, sizeof c.node, "%u", o->call->config->node);
    is_there = database_try_connect(o->call, &why) == COMMAND_DONE;
    for (size_t at = 0; is_there && at < o->done; at += ORDER_IDS_MAX)
        is_there =
            copy_part(&c, at, at + ORDER_IDS_MAX < o->done ? at + ORDER_IDS_MAX : o->done, &why);
    if (!is_there)
        call_complain("the audit in PostgreSQL does not have it, the spool's ledger does: %s",
                      buf_text(&why));
    buf_fini(&why);
}
