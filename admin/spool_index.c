/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The selectors of selection.c as SQL.  A row is there for each message with an open recipient.
 */
#include "admin/spool_index.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "admin/database.h"
#include "admin/where.h"
#include "base/clock.h"

struct spool_where {
    struct where where;
    char node[16], before[CLOCK_RFC3339_SIZE], after[CLOCK_RFC3339_SIZE];
    struct buf from, rcpt;
};

/* The keeper says "running" where the log says "offered" or not yet. */
static void
add_state(struct where *w, const char *state)
{
    if (strcmp(state, "waiting") == 0)
        where_add(w, "state IN (#, 'running')", state);
    else
        where_add(w, "state = #", state);
}

static void
add_domain(struct where *w, const char *domain)
{
    where_add(w,
              domain[0] == '.' ? "EXISTS (SELECT FROM unnest(recipients) r "
                                 "WHERE right(lower(r), length(#)) = lower(#))"
                               : "EXISTS (SELECT FROM unnest(recipients) r "
                                 "WHERE substring(lower(r) from '[^@]*$') = lower(#))",
              domain);
}

static void
add_all(struct spool_where *w, const struct selection *s, unsigned node)
{
    struct where *where = &w->where;

    where_init(where);
    buf_init(&w->from, 0);
    buf_init(&w->rcpt, 0);
    snprintf(w->node, sizeof w->node, "%u", node);
    if (node)
        where_add(where, "node = #::integer", w->node);
    if (s->customer)
        where_add(where, "customer = #", s->customer);
    if (s->from)
        where_add(where,
                  s->from[0] == '@'
                      ? "EXISTS (SELECT FROM unnest(#::text[]) a "
                        "WHERE right(lower(reverse_path), length(a)) = lower(a))"
                      : "lower(reverse_path) IN (SELECT lower(a) FROM unnest(#::text[]) a)",
                  field_address_array(&w->from, s->from, s->from_ascii));
    if (s->rcpt)
        where_add(where,
                  s->rcpt[0] == '@'
                      ? "EXISTS (SELECT FROM unnest(recipients) r JOIN unnest(#::text[]) a "
                        "ON right(lower(r), length(a)) = lower(a))"
                      : "EXISTS (SELECT FROM unnest(recipients) r JOIN unnest(#::text[]) a "
                        "ON lower(r) = lower(a))",
                  field_address_array(&w->rcpt, s->rcpt, s->rcpt_ascii));
    if (s->domain[0])
        add_domain(where, s->domain);
    if (s->received_before_ms)
        where_add(where, "received_at <= #::timestamptz",
                  clock_rfc3339(s->received_before_ms, w->before));
    if (s->received_after_ms)
        where_add(where, "received_at >= #::timestamptz",
                  clock_rfc3339(s->received_after_ms, w->after));
    if (s->state)
        add_state(where, s->state);
    if (s->refs)
        where_add_refs(where, s->refs, s->ref_count);
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

/* --- Which spool. */

static bool
is_here(const struct call *call, const struct selection *s)
{
    return s->node == 0 || s->node == call->config->node;
}

/* The database's account of a reader is the keeper's, which may see more than its asker. */
static bool
may_use(const struct call *call)
{
    return call->config->database[0] && call->reads_for == NULL;
}

unsigned
spool_index_node(const struct call *call, const struct selection *s)
{
    if (s->node)
        return s->node;
    return access(call->config->spool_dir, F_OK) != 0 && errno == ENOENT ? 0 : call->config->node;
}

enum command_status
spool_index_or_store(const struct call *call, const struct selection *selection,
                     const char *customer, struct spool_store **store)
{
    enum command_status status = COMMAND_DONE;
    struct buf why;

    *store = NULL;
    if (!is_here(call, selection) && call->reads_for)
        return call_usage("--node: the keeper has this node's spool read, and no other");
    if (!is_here(call, selection))
        return COMMAND_DONE;
    buf_init(&why, 0);
    if (spool_reader_try_open(call, customer, store, &why) != COMMAND_DONE) {
        call_complain("%s", buf_text(&why));
        status = may_use(call) ? COMMAND_DONE : COMMAND_FAILED;
    }
    buf_fini(&why);
    return status;
}

/* --- Rows. */

static void
spool_where_fini(struct spool_where *w)
{
    buf_fini(&w->from);
    buf_fini(&w->rcpt);
    where_fini(&w->where);
}

static enum command_status
run(struct call *call, const char *sql, const struct where *w, PGresult **result)
{
    return database_query(call, sql, w ? w->count : 0, w ? w->params : NULL, result);
}

static enum command_status
begin(struct call *call, const struct selection *s, const char *columns)
{
    PGresult *result = NULL;
    enum command_status status = run(call, "BEGIN", NULL, &result);
    struct spool_where w;
    struct buf sql;

    PQclear(result);
    if (status != COMMAND_DONE)
        return status;
    add_all(&w, s, spool_index_node(call, s));
    buf_init(&sql, 0);
    buf_printf(&sql,
               "DECLARE found CURSOR FOR SELECT %s FROM postern.spool_index%s "
               "ORDER BY received_at, ref",
               columns, buf_text(&w.where.sql));
    status = run(call, buf_text(&sql), &w.where, &result);
    PQclear(result);
    buf_fini(&sql);
    spool_where_fini(&w);
    return status;
}

/* It has changed nothing. */
static void
end(struct call *call)
{
    PQclear(PQexec(call->pg, "ROLLBACK"));
}

enum command_status
spool_index_each(struct call *call, const struct selection *s, const char *columns,
                 void (*each)(void *ctx, const PGresult *result, int row), void *ctx)
{
    enum command_status status = check_selectors(s);
    int count;

    if (status == COMMAND_DONE)
        status = connect_it(call);
    if (status == COMMAND_DONE)
        status = begin(call, s, columns);
    if (status != COMMAND_DONE) {
        end(call);
        return status;
    }
    do {
        PGresult *result;

        status = run(call, "FETCH 1000 FROM found", NULL, &result);
        count = status == COMMAND_DONE ? PQntuples(result) : 0;
        for (int i = 0; i < count; i++)
            each(ctx, result, i);
        PQclear(result);
    } while (count > 0);
    end(call);
    return status;
}

/* --- Counts. */

/* Whose recipients are counted: all that are open, or those of one domain; the index does not say
 * which of them have ended. */
static const char by_customer_sql[] =
    "SELECT customer AS key, open_recipients AS counted, i.* FROM postern.spool_index i%s";
static const char by_domain_sql[] =
    "SELECT d.key, d.counted, i.* FROM postern.spool_index i, LATERAL (SELECT "
    "substring(lower(r) from '[^@]*$') AS key, count(*) AS counted FROM unnest(i.recipients) r "
    "GROUP BY 1) d%s";
static const char count_sql[] =
    "SELECT coalesce(key, ''), count(*), sum(counted), sum(size_bytes), "
    "count(*) FILTER (WHERE state = 'held'), count(*) FILTER (WHERE state = 'damaged'), "
    "count(*) FILTER (WHERE state = 'no-route'), count(*) FILTER (WHERE tried AND next <= now), "
    "min(received), min(next) FILTER (WHERE tried AND next > now), min(expires), "
    "count(*) FILTER (WHERE received > now - 3600000), "
    "count(*) FILTER (WHERE received > now - 21600000), "
    "count(*) FILTER (WHERE received > now - 86400000), "
    "count(*) FILTER (WHERE received > now - 259200000) "
    "FROM (SELECT *, state IN ('waiting', 'running') AS tried, "
    "(extract(epoch FROM now()) * 1000)::bigint AS now, "
    "(extract(epoch FROM received_at) * 1000)::bigint AS received, "
    "(extract(epoch FROM next_attempt_at) * 1000)::bigint AS next, "
    "(extract(epoch FROM expires_at) * 1000)::bigint AS expires "
    "FROM (%s) found) found GROUP BY 1";

static void
read_totals(const PGresult *result, int row, struct spool_totals *t)
{
    uint64_t before = 0;

    *t = (struct spool_totals){
        .messages = (uint64_t)database_number(result, row, 1),
        .recipients = (uint64_t)database_number(result, row, 2),
        .size_bytes = (uint64_t)database_number(result, row, 3),
        .held = (uint64_t)database_number(result, row, 4),
        .damaged = (uint64_t)database_number(result, row, 5),
        .no_route = (uint64_t)database_number(result, row, 6),
        .due = (uint64_t)database_number(result, row, 7),
        .oldest_at_ms = database_number(result, row, 8),
        .next_at_ms = database_number(result, row, 9),
        .expires_at_ms = database_number(result, row, 10),
    };
    for (int i = 0; i < SPOOL_AGES; i++) {
        uint64_t below =
            i + 1 < SPOOL_AGES ? (uint64_t)database_number(result, row, 11 + i) : t->messages;

        t->ages[i] = below - before;
        before = below;
    }
}

enum command_status
spool_index_count(struct call *call, const struct selection *s, bool by_domain,
                  void (*each)(void *ctx, const char *key, const struct spool_totals *totals),
                  void *ctx)
{
    enum command_status status = check_selectors(s);
    PGresult *result = NULL;
    struct spool_where w;
    struct buf rows, sql;

    if (status == COMMAND_DONE)
        status = connect_it(call);
    if (status != COMMAND_DONE)
        return status;
    add_all(&w, s, spool_index_node(call, s));
    buf_init(&rows, 0);
    buf_init(&sql, 0);
    buf_printf(&rows, by_domain ? by_domain_sql : by_customer_sql, buf_text(&w.where.sql));
    buf_printf(&sql, count_sql, buf_text(&rows));
    status = run(call, buf_text(&sql), &w.where, &result);
    for (int i = 0; status == COMMAND_DONE && i < PQntuples(result); i++) {
        struct spool_totals totals;

        read_totals(result, i, &totals);
        each(ctx, PQgetvalue(result, i, 0), &totals);
    }
    PQclear(result);
    buf_fini(&sql);
    buf_fini(&rows);
    spool_where_fini(&w);
    return status;
}

/* --- How old it is. */

static void
say_node(struct buf *text, const PGresult *result, int row)
{
    long long age_s = (long long)database_number(result, row, 1);

    buf_printf(text, "%s node %lld ", row ? "," : ":", (long long)database_number(result, row, 0));
    if (PQgetisnull(result, row, 1))
        buf_add_text(text, "has never been seen in it");
    else if (age_s < 60)
        buf_printf(text, "as of %lld s ago", age_s);
    else
        buf_printf(text, "as of %lld minutes ago (its keeper is away)", age_s / 60);
    if (!PQgetisnull(result, row, 1) && !database_bool(result, row, 2))
        buf_add_text(text, " (not all is copied yet)");
}

bool
spool_index_say(struct call *call, const struct selection *s)
{
    static const char sql[] =
        "SELECT coalesce(n.node, w.node), extract(epoch FROM now() - n.seen_at)::bigint, n.follows "
        "FROM (SELECT nullif($1::integer, 0) AS node) w "
        "FULL JOIN postern.spool_nodes n ON n.node = w.node "
        "WHERE coalesce(n.node, w.node) = coalesce(w.node, nullif($1::integer, 0), n.node) "
        "ORDER BY 1";
    char node[16];
    const char *params[] = {node};
    bool is_known = false;
    PGresult *result;
    struct buf text;

    snprintf(node, sizeof node, "%u", spool_index_node(call, s));
    result = database_try(call, sql, 1, params);
    buf_init(&text, 0);
    for (int i = 0; PQresultStatus(result) == PGRES_TUPLES_OK && i < PQntuples(result); i++) {
        say_node(&text, result, i);
        is_known = is_known || !PQgetisnull(result, i, 1);
    }
    call_complain("from PostgreSQL's index of the spool%s", buf_text(&text));
    buf_fini(&text);
    PQclear(result);
    return is_known;
}
