/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The selectors of selection.c as SQL.  A row is there for each message with an open recipient.
 */
#include "admin/spool_index.h"

#include <string.h>

#include "admin/database.h"
#include "base/clock.h"

#define CONDITIONS_MAX 10

struct where {
    struct buf sql;
    const char *params[CONDITIONS_MAX];
    int count;
    char node[16], before[CLOCK_RFC3339_SIZE], after[CLOCK_RFC3339_SIZE];
    struct buf refs;
};

/* Each # in `condition` is its parameter. */
static void
add(struct where *w, const char *condition, const char *param)
{
    CHECK(w->count < CONDITIONS_MAX);
    w->params[w->count++] = param;
    buf_add_text(&w->sql, w->count > 1 ? " AND " : " WHERE ");
    for (const char *p = condition; *p; p++)
        if (p[0] == '#')
            buf_printf(&w->sql, "$%d", w->count);
        else
            buf_add(&w->sql, p, 1);
}

static void
add_refs(struct where *w, const struct selection *s)
{
    char text[REF_SIZE];

    buf_add_text(&w->refs, "{");
    for (size_t i = 0; i < s->ref_count; i++)
        buf_printf(&w->refs, "%s%s", i ? "," : "", ref_text(s->refs[i], text));
    buf_add_text(&w->refs, "}");
    add(w, "ref = ANY (#::text[])", buf_text(&w->refs));
}

/* The keeper says "running" where the log says "offered" or not yet. */
static void
add_state(struct where *w, const char *state)
{
    if (strcmp(state, "waiting") == 0)
        add(w, "state IN (#, 'running')", state);
    else
        add(w, "state = #", state);
}

static void
add_domain(struct where *w, const char *domain)
{
    add(w,
        domain[0] == '.' ? "EXISTS (SELECT FROM unnest(recipients) r "
                           "WHERE right(lower(r), length(#)) = lower(#))"
                         : "EXISTS (SELECT FROM unnest(recipients) r "
                           "WHERE substring(lower(r) from '[^@]*$') = lower(#))",
        domain);
}

static void
add_all(struct where *w, const struct selection *s, unsigned node)
{
    snprintf(w->node, sizeof w->node, "%u", node);
    if (node)
        add(w, "node = #::integer", w->node);
    if (s->customer)
        add(w, "customer = #", s->customer);
    if (s->from)
        add(w, "lower(reverse_path) = lower(#)", s->from);
    if (s->rcpt)
        add(w, "EXISTS (SELECT FROM unnest(recipients) r WHERE lower(r) = lower(#))", s->rcpt);
    if (s->domain[0])
        add_domain(w, s->domain);
    if (s->received_before_ms)
        add(w, "received_at <= #::timestamptz", clock_rfc3339(s->received_before_ms, w->before));
    if (s->received_after_ms)
        add(w, "received_at >= #::timestamptz", clock_rfc3339(s->received_after_ms, w->after));
    if (s->state)
        add_state(w, s->state);
    if (s->refs)
        add_refs(w, s);
}

static enum command_status
check_selectors(const struct selection *s)
{
    if (s->backend)
        return call_usage("--backend: PostgreSQL's index of the spool does not know it; use "
                          "--customer or --domain, or run relayctl on that node as root");
    if (s->state && (strcmp(s->state, "ended") == 0 || strcmp(s->state, "offered") == 0))
        return call_usage("--state %s: PostgreSQL's index of the spool does not know it; run "
                          "relayctl on that node as root",
                          s->state);
    return COMMAND_DONE;
}

static enum command_status
connect_it(struct call *call)
{
    enum command_status status = COMMAND_DONE;

    if (call->pg == NULL) {
        status = database_connect(call);
        if (status == COMMAND_DONE)
            status = database_check_schema(call);
    }
    return status;
}

enum command_status
spool_index_query(struct call *call, const struct selection *selection, unsigned node,
                  const char *columns, PGresult **result)
{
    enum command_status status = check_selectors(selection);
    struct where w = {.count = 0};
    struct buf sql;

    *result = NULL;
    if (status == COMMAND_DONE)
        status = connect_it(call);
    if (status != COMMAND_DONE)
        return status;
    buf_init(&w.sql, 0);
    buf_init(&w.refs, 0);
    buf_init(&sql, 0);
    add_all(&w, selection, node);
    buf_printf(&sql, "SELECT %s FROM postern.spool_index%s ORDER BY received_at, ref", columns,
               buf_text(&w.sql));
    status = database_query(call, buf_text(&sql), w.count, w.params, result);
    buf_fini(&sql);
    buf_fini(&w.refs);
    buf_fini(&w.sql);
    return status;
}
