/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Orders that are durable in the ledger, on their way into PostgreSQL's audit.  They wait while it
 * is away, so many and no more; what does not get there is said in the log, which names each
 * message anyway.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/db.h"
#include "order/order.h"
#include "spoolmgr/keeper.h"

#define WAITING_MAX 256

struct entry {
    struct entry *next;
    char at[CLOCK_RFC3339_SIZE], key[48], who[ORDER_WHO_SIZE];
    char reason[ORDER_REASON_MAX + 1], detail[ORDER_REASON_MAX + 1];
    const char *act; /* a literal */
    size_t ref_count;
    struct buf refs; /* an array as PostgreSQL writes it */
};

struct audit {
    struct entry *first, *last;
    size_t count;
    uint64_t number;
};

static void
drop_first(struct audit *audit)
{
    struct entry *e = audit->first;

    audit->first = e->next;
    if (audit->first == NULL)
        audit->last = NULL;
    audit->count--;
    buf_fini(&e->refs);
    free(e);
}

static void
lose_first(struct audit *audit, const char *why)
{
    const struct entry *e = audit->first;

    log_line(LOG_LEVEL_ALARM, NULL, "audit-not-copied",
             "order=%s act=%s operator=\"%s\" messages=%zu why=\"%s\" effect=\"it is in the ledger "
             "and in this log, not in PostgreSQL\"",
             e->key, e->act, e->who, e->ref_count, why);
    drop_first(audit);
}

void
audit_add(struct keeper *k, const struct order *order, const char *who, const struct json_t *ids)
{
    struct audit *audit = k->audit;
    int64_t now_ms = clock_wall_ms();
    struct entry *e;

    if (k->mirror == NULL || json_array_size(ids) == 0)
        return;
    e = mem_alloc(sizeof *e);
    clock_rfc3339(now_ms, e->at);
    snprintf(e->key, sizeof e->key, "%lld-%llu", (long long)k->started_at_ms,
             (unsigned long long)++audit->number);
    snprintf(e->who, sizeof e->who, "%s", who);
    snprintf(e->reason, sizeof e->reason, "%s", order->reason);
    snprintf(e->detail, sizeof e->detail, "%s", order->detail);
    e->act = order_kind(order->act)->word;
    e->ref_count = json_array_size(ids);
    buf_init(&e->refs, 0);
    for (size_t i = 0; i < e->ref_count; i++)
        buf_printf(&e->refs, "%c%s", i ? ',' : '{', json_string_value(json_array_get(ids, i)));
    buf_add_text(&e->refs, "}");
    if (audit->last)
        audit->last->next = e;
    else
        audit->first = e;
    audit->last = e;
    if (++audit->count > WAITING_MAX)
        lose_first(audit, "too much waits for PostgreSQL");
}

bool
audit_is_empty(const struct keeper *k)
{
    return k->audit->first == NULL;
}

/* The oldest stays until its answer is there: a connection may be lost in between. */
void
audit_send(struct keeper *k, struct db *db, db_on_result on_result, void *ctx)
{
    struct entry *e = k->audit->first;
    char node[16];
    const char *params[] = {e->at,  node,      e->key,    e->who,
                            e->act, e->reason, e->detail, buf_text(&e->refs)};

    snprintf(node, sizeof node, "%u", k->config->node);
    db_query(db,
             "SELECT postern.audit_spool_order($1::timestamptz, $2::integer, $3, $4, $5, $6, $7, "
             "$8::text[])",
             ARRAY_SIZE(params), params, on_result, ctx);
}

void
audit_sent(struct keeper *k, const char *why_not)
{
    if (why_not)
        lose_first(k->audit, why_not);
    else
        drop_first(k->audit);
}

struct audit *
audit_new(void)
{
    return mem_alloc(sizeof(struct audit));
}

void
audit_free(struct audit **audit)
{
    while ((*audit)->first != NULL)
        lose_first(*audit, "the keeper ends");
    free(*audit);
    *audit = NULL;
}
