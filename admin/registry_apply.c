/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Makes the registry what the lines of a file say.  A statement for all rows of a kind says which
 * row was wrong by being repeated row by row.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/registry_diff.h"

#define LINES REGISTRY_DIFF_LINES

#define SOURCE LINES " i LEFT JOIN postern.customers c ON c.name = " REGISTRY_DIFF_OWNER
/* $1: defaults, or the reason; $2: one row alone. */
#define CHOSEN(action_is) "i.kind = '%s' AND i.action = '" action_is "' AND ($2 = '' OR i.key = $2)"
#define CUSTOMER_ID \
    "CASE WHEN c.id IS NULL THEN '{}' ELSE jsonb_build_object('customer_id', c.id) END"

/* What a constraint that the checks do not foresee means. */
static const struct {
    const char *name, *text;
} constraints[] = {
    {"backends_once", "the customer has another backend with this address and port"},
    {"backends_domain", "the domain is not this customer's"},
    {"upstream_filters_once", "the customer has another filter with this network or include"},
    {"domains_customer_id_fkey", "the customer has domains that are not to go"},
    {"backends_customer_id_fkey", "the customer has backends that are not to go"},
    {"upstream_filters_customer_id_fkey", "the customer has filters that are not to go"},
};

static enum command_status
explain_row(struct call *call, const PGresult *result)
{
    const char *name = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

    for (size_t i = 0; name && i < ARRAY_SIZE(constraints); i++)
        if (strcmp(constraints[i].name, name) == 0)
            return call_usage("%s", constraints[i].text);
    return database_explain(call, result);
}

static bool
is_done(const PGresult *result)
{
    ExecStatusType type = PQresultStatus(result);

    return type == PGRES_COMMAND_OK || type == PGRES_TUPLES_OK;
}

/* The statement has failed for all: row by row, up to the one that fails. */
static enum command_status
find_culprit(struct call *call, const struct registry_form *form, const char *action,
             const char *sql, const char *first)
{
    const char *which[] = {form->kind, action};
    enum command_status status;
    PGresult *rows;
    bool found = false;

    PQclear(PQexec(call->pg, "ROLLBACK TO all_rows"));
    status = database_query(
        call, "SELECT line, key FROM " LINES " WHERE kind = $1 AND action = $2 ORDER BY line, key",
        2, which, &rows);
    for (int row = 0; status == COMMAND_DONE && !found && row < PQntuples(rows); row++) {
        const char *params[] = {first, PQgetvalue(rows, row, 1)};
        PGresult *result = database_try(call, sql, 2, params);

        found = !is_done(result);
        registry_diff_set_place(database_text(rows, row, 0), form->kind, params[1]);
        if (found)
            status = explain_row(call, result);
        call_set_place("%s", "");
        PQclear(result);
    }
    PQclear(rows);
    return status;
}

static enum command_status
run_rows(struct call *call, const struct registry_form *form, const char *action, struct buf *sql,
         const char *first)
{
    const char *params[] = {first, ""};
    enum command_status status = database_run(call, "SAVEPOINT all_rows", 0, NULL);
    PGresult *result;

    if (status != COMMAND_DONE)
        return status;
    result = database_try(call, buf_text(sql), 2, params);
    if (!is_done(result))
        status = PQstatus(call->pg) == CONNECTION_OK && database_failed_with(result, "2")
                     ? find_culprit(call, form, action, buf_text(sql), first)
                     : database_explain(call, result);
    PQclear(result);
    return status;
}

/* What a column is of which the file says nothing, as an object. */
static enum command_status
read_defaults(struct call *call, const struct registry_form *form, char **defaults)
{
    char table[64];
    const char *params[] = {table};
    PGresult *result;
    enum command_status status;

    snprintf(table, sizeof table, "postern.%s", form->table);
    status = database_query(
        call,
        "SELECT coalesce('SELECT to_jsonb(d) FROM (SELECT ' || string_agg(pg_get_expr(e.adbin, "
        "e.adrelid) || ' AS ' || quote_ident(a.attname), ', ') || ') d', 'SELECT ''{}''') FROM "
        "pg_attrdef e JOIN pg_attribute a ON a.attrelid = e.adrelid AND a.attnum = e.adnum WHERE "
        "e.adrelid = $1::regclass",
        1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    *defaults = mem_strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    status = database_query(call, *defaults, 0, NULL, &result);
    free(*defaults);
    *defaults = NULL;
    if (status == COMMAND_DONE)
        *defaults = mem_strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    return status;
}

static enum command_status
add_rows(struct call *call, const struct registry_form *form)
{
    struct buf sql, to, from;
    char *defaults = NULL;
    enum command_status status = read_defaults(call, form, &defaults);

    buf_init(&sql, 0);
    buf_init(&to, 0);
    buf_init(&from, 0);
    registry_form_columns_sql(form, "", &to);
    registry_form_columns_sql(form, "r.", &from);
    if (form->ends) { /* it has ended, and is not cleared away yet */
        buf_printf(&sql,
                   "DELETE FROM postern.%s t USING " SOURCE
                   " WHERE " CHOSEN("added") " AND $1::text IS NOT NULL AND %s",
                   form->table, form->kind, form->match);
        status = status == COMMAND_DONE ? run_rows(call, form, "added", &sql, "") : status;
        buf_clear(&sql);
    }
    buf_printf(
        &sql,
        "INSERT INTO postern.%s (%s) SELECT %s FROM " SOURCE " CROSS JOIN LATERAL "
        "jsonb_populate_record(NULL::postern.%s, $1::jsonb || i.parts || i.doc || " CUSTOMER_ID
        ") r WHERE " CHOSEN("added") " ORDER BY i.line",
        form->table, buf_text(&to) + 2, buf_text(&from) + 2, form->table, form->kind);
    if (status == COMMAND_DONE)
        status = run_rows(call, form, "added", &sql, defaults);
    free(defaults);
    buf_fini(&sql);
    buf_fini(&to);
    buf_fini(&from);
    return status;
}

static enum command_status
change_rows(struct call *call, const struct registry_form *form)
{
    enum command_status status;
    struct buf sql, to, from;

    if (registry_form_field(form, 0) == NULL)
        return COMMAND_DONE;
    buf_init(&sql, 0);
    buf_init(&to, 0);
    buf_init(&from, 0);
    registry_form_columns_sql(form, "", &to);
    registry_form_columns_sql(form, "r.", &from);
    buf_printf(&sql,
               "UPDATE postern.%s t SET (%s) = (SELECT %s FROM jsonb_populate_record(t, i.doc "
               "|| " CUSTOMER_ID ") r) FROM " SOURCE
               " WHERE " CHOSEN("changed") " AND $1::text IS NOT NULL AND %s",
               form->table, buf_text(&to) + 2, buf_text(&from) + 2, form->kind, form->match);
    status = run_rows(call, form, "changed", &sql, "");
    buf_fini(&sql);
    buf_fini(&to);
    buf_fini(&from);
    return status;
}

/* A domain that has moved to another customer has taken its own backends along. */
static enum command_status
find_moved(struct call *call, const struct registry_form *form)
{
    enum command_status status;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql,
               "UPDATE " LINES " i SET action = 'changed' WHERE i.kind = '%s' AND i.action = "
               "'added' AND EXISTS (SELECT FROM postern.%s t, postern.customers c WHERE c.name "
               "= " REGISTRY_DIFF_OWNER " AND %s)",
               form->kind, form->table, form->match);
    status = database_run(call, buf_text(&sql), 0, NULL);
    buf_fini(&sql);
    return status;
}

/* A domain leaves a tombstone. */
static enum command_status
remove_rows(struct call *call, const struct registry_form *form)
{
    const char *reason = call_value(call, "reason");
    bool is_domain = form == &registry_forms[REGISTRY_DOMAIN];
    enum command_status status;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql,
               "%sDELETE FROM postern.%s t USING " SOURCE
               " WHERE " CHOSEN("removed") " AND $1::text IS NOT NULL AND %s%s",
               is_domain ? "WITH gone AS (" : "", form->table, form->kind, form->match,
               is_domain
                   ? " RETURNING t.name, t.customer_id) INSERT INTO postern.removed_domains "
                     "(name, customer_id, customer, reason) SELECT gone.name, "
                     "gone.customer_id, o.name, $1::text FROM gone JOIN postern.customers o ON "
                     "o.id = gone.customer_id"
                   : "");
    status = run_rows(call, form, "removed", &sql, reason ? reason : "");
    buf_fini(&sql);
    return status;
}

/* What hangs on others goes first and comes last; a customer goes when its domains may have gone to
 * others. */
enum command_status
registry_diff_apply(struct call *call)
{
    enum command_status status = COMMAND_DONE;

    for (int i = REGISTRY_KIND_COUNT - 1; status == COMMAND_DONE && i > REGISTRY_CUSTOMER; i--)
        status = remove_rows(call, &registry_forms[i]);
    for (int i = 0; status == COMMAND_DONE && i < REGISTRY_KIND_COUNT; i++) {
        if (i == REGISTRY_BACKEND)
            status = find_moved(call, &registry_forms[i]);
        if (status == COMMAND_DONE)
            status = add_rows(call, &registry_forms[i]);
        if (status == COMMAND_DONE)
            status = change_rows(call, &registry_forms[i]);
    }
    return status == COMMAND_DONE ? remove_rows(call, &registry_forms[REGISTRY_CUSTOMER]) : status;
}
