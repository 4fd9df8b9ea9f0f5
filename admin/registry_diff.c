/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two temporary tables: the lines of the file, each with what is to be done of it, and the registry
 * as such lines.  What is done is in registry_apply.c.
 */
#include "admin/registry_diff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES REGISTRY_DIFF_LINES
#define PRESENT "pg_temp.import_present"
#define WRONG_MAX 20

/* --- Loading. */

/* As COPY's text format has it. */
static void
add_cell(struct buf *staged, const char *text, char behind)
{
    for (; *text; text++)
        if (*text == '\t' || *text == '\n' || *text == '\r')
            buf_printf(staged, "\\x%02x", *text);
        else {
            if (*text == '\\')
                buf_add_text(staged, "\\");
            buf_add(staged, text, 1);
        }
    buf_add(staged, &behind, 1);
}

static void
add_json(struct buf *staged, const json_t *json, char behind)
{
    char *text = json_dumps(json, JSON_COMPACT);

    CHECK(text != NULL);
    add_cell(staged, text, behind);
    free(text);
}

void
registry_diff_stage(const struct registry_line *line, unsigned long number, struct buf *staged)
{
    buf_printf(staged, "%lu\t%td\t%s\t", number, line->form - registry_forms, line->form->kind);
    add_cell(staged, line->key, '\t');
    add_json(staged, line->parts, '\t');
    add_json(staged, line->doc, '\n');
}

static enum command_status
copy(struct call *call, struct slice text)
{
    PGresult *result =
        PQexec(call->pg, "COPY " LINES " (line, rank, kind, key, parts, doc) FROM STDIN");
    enum command_status status = COMMAND_DONE;

    if (PQresultStatus(result) != PGRES_COPY_IN)
        status = database_explain(call, result);
    PQclear(result);
    while (status == COMMAND_DONE && text.n > 0) {
        int n = text.n > (1 << 20) ? 1 << 20 : (int)text.n;

        if (PQputCopyData(call->pg, text.p, n) != 1)
            break; /* PQgetResult says why */
        text.p += n;
        text.n -= (size_t)n;
    }
    if (status != COMMAND_DONE)
        return status;
    (void)PQputCopyEnd(call->pg, NULL);
    while ((result = PQgetResult(call->pg)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            status = database_explain(call, result);
        PQclear(result);
    }
    return status;
}

enum command_status
registry_diff_load(struct call *call, struct buf *staged)
{
    enum command_status status = database_run(
        call,
        "CREATE TEMPORARY TABLE import_lines (line bigint, rank integer NOT NULL, kind text "
        "NOT NULL, key text NOT NULL, parts jsonb NOT NULL, doc jsonb NOT NULL, action text) "
        "ON COMMIT DROP",
        0, NULL);

    return status == COMMAND_DONE ? copy(call, buf_slice(staged)) : status;
}

/* --- Comparing. */

/* Has line i a field that `doc` has otherwise? */
#define DIFFERS(doc) \
    "EXISTS (SELECT FROM jsonb_each(i.doc) f WHERE " doc " -> f.key IS DISTINCT FROM f.value)"

/* Of the kinds that the file has, and of those that may have to go. */
static enum command_status
load_present(struct call *call, const struct registry_scope *scope)
{
    enum command_status status;
    struct buf sql, columns;

    buf_init(&sql, 0);
    buf_init(&columns, 0);
    buf_add_text(&sql, "CREATE TEMPORARY TABLE import_present ON COMMIT DROP AS ");
    for (size_t i = 0; i < REGISTRY_KIND_COUNT; i++) {
        const struct registry_form *form = &registry_forms[i];

        buf_clear(&columns);
        buf_printf(&columns,
                   "%zu AS rank, '%s' AS kind, %s AS key, %s AS owner, "
                   "jsonb_build_object(%s) AS parts, jsonb_build_object('kind', '%s'",
                   i, form->kind, form->key, form->owner, form->parts, form->kind);
        registry_form_fields_sql(form, &columns);
        buf_add_text(&columns, ") AS doc");
        buf_add_text(&sql, i ? " UNION ALL " : "");
        registry_form_rows_sql(form, call->printing.now_ms, buf_text(&columns), &sql);
        if (!scope->prunes || (i == REGISTRY_RECIPIENT && !scope->recipients))
            buf_printf(&sql, " AND EXISTS (SELECT FROM " LINES " WHERE kind = '%s')", form->kind);
    }
    status = database_run(call, buf_text(&sql), 0, NULL);
    buf_fini(&columns);
    buf_fini(&sql);
    return status == COMMAND_DONE ? database_run(call, "ANALYZE " LINES ", " PRESENT, 0, NULL)
                                  : status;
}

static enum command_status
find_changed(struct call *call)
{
    return database_run(call,
                        "UPDATE " LINES " i SET action = coalesce((SELECT CASE WHEN " DIFFERS(
                            "p.doc") " THEN 'changed' ELSE 'same' END FROM " PRESENT
                                     " p WHERE p.kind = i.kind AND p.key = i.key), "
                                     "'added')",
                        0, NULL);
}

static enum command_status
find_removed(struct call *call, const struct registry_scope *scope)
{
    const char *params[] = {scope->customer, scope->recipients ? "t" : "f"};

    if (!scope->prunes)
        return COMMAND_DONE;
    return database_run(
        call,
        "INSERT INTO " LINES " (rank, kind, key, parts, doc, action) SELECT p.rank, p.kind, "
        "p.key, p.parts, '{}', 'removed' FROM " PRESENT " p WHERE ($1 = '' OR p.owner = "
        "(SELECT id FROM postern.customers WHERE name = $1)) AND ($2::boolean OR p.kind <> "
        "'recipient') AND NOT EXISTS (SELECT FROM " LINES " i WHERE i.kind = p.kind AND "
        "i.key = p.key)",
        2, params);
}

static enum command_status
count(struct call *call, struct registry_counts *counts)
{
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT count(*) FILTER (WHERE action = 'added'), count(*) FILTER (WHERE action = "
        "'changed'), count(*) FILTER (WHERE action = 'removed'), count(*) FILTER (WHERE action = "
        "'same') FROM " LINES,
        0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    *counts = (struct registry_counts){
        .added = (long long)database_number(result, 0, 0),
        .changed = (long long)database_number(result, 0, 1),
        .removed = (long long)database_number(result, 0, 2),
        .same = (long long)database_number(result, 0, 3),
    };
    PQclear(result);
    return COMMAND_DONE;
}

enum command_status
registry_diff_find(struct call *call, const struct registry_scope *scope,
                   struct registry_counts *counts)
{
    enum command_status status =
        database_run(call, "CREATE INDEX ON " LINES " (kind, key)", 0, NULL);

    if (status == COMMAND_DONE)
        status = load_present(call, scope);
    if (status == COMMAND_DONE)
        status = database_run(call, "CREATE INDEX ON " PRESENT " (kind, key)", 0, NULL);
    if (status == COMMAND_DONE)
        status = find_changed(call);
    if (status == COMMAND_DONE)
        status = find_removed(call, scope);
    return status == COMMAND_DONE ? count(call, counts) : status;
}

enum command_status
registry_diff_removed(struct call *call, struct registry_removed *removed)
{
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT string_agg(n || ' ' || word || CASE n WHEN 1 THEN '' ELSE 's' END, ', ' ORDER BY "
        "rank), encode(sha256(convert_to(string_agg(keys, E'\\n' ORDER BY rank), 'UTF8')), 'hex') "
        "FROM (SELECT rank, count(*) AS n, CASE kind WHEN 'change' THEN 'temporary change' ELSE "
        "kind END AS word, string_agg(kind || ' ' || key, E'\\n' ORDER BY key COLLATE \"C\") AS "
        "keys "
        "FROM " LINES " WHERE action = 'removed' GROUP BY rank, kind) r",
        0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    snprintf(removed->counted, sizeof removed->counted, "%s", PQgetvalue(result, 0, 0));
    snprintf(removed->digest, sizeof removed->digest, "%s", PQgetvalue(result, 0, 1));
    PQclear(result);
    return COMMAND_DONE;
}

/* --- What cannot be. Each: line, kind, key, what is wrong. */

#define IS_GONE(kind_is, key_is)                                                       \
    "EXISTS (SELECT FROM " LINES " g WHERE g.kind = '" kind_is "' AND g.key = " key_is \
    " AND g.action = 'removed')"
#define IS_NEW(kind_is, key_is)                                                        \
    "EXISTS (SELECT FROM " LINES " n WHERE n.kind = '" kind_is "' AND n.key = " key_is \
    " AND n.action = 'added')"
#define OWNER REGISTRY_DIFF_OWNER
#define DOMAIN "coalesce(i.parts ->> 'domain', i.doc ->> 'domain')"

static const char *const checks[] = {
    "SELECT line, kind, key, 'is in the file twice: line ' || first || ' has it too' FROM (SELECT "
    "line, kind, key, min(line) OVER (PARTITION BY kind, key) AS first FROM " LINES
    " WHERE action <> 'removed') i WHERE line > first",
    "SELECT line, kind, key, 'there is no customer \"' || " OWNER " || '\"' FROM " LINES
    " i WHERE action <> 'removed' AND " OWNER " IS NOT NULL AND NOT " IS_NEW(
        "customer", OWNER) " AND (NOT EXISTS (SELECT FROM postern.customers c WHERE c.name = " OWNER
                           ") OR " IS_GONE("customer", OWNER) ")",
    "SELECT line, kind, key, 'there is no domain \"' || " DOMAIN " || '\"' FROM " LINES
    " i WHERE kind IN ('backend', 'recipient') AND action <> 'removed' AND " DOMAIN
    " IS NOT NULL AND NOT " IS_NEW(
        "domain", DOMAIN) " AND (NOT EXISTS (SELECT FROM postern.domains d WHERE d.name = " DOMAIN
                          ") OR " IS_GONE("domain", DOMAIN) ")",
};

static const char *const result_checks[] = {
    "SELECT i.line, i.kind, i.key, 'cannot be made in one step with other lines of the file, which "
    "move or hold it; a domain takes the backends that are its own alone to another customer' "
    "FROM " LINES " i LEFT JOIN " PRESENT
    " p ON p.kind = i.kind AND p.key = i.key WHERE i.action <> "
    "'removed' AND (p.key IS NULL OR " DIFFERS("p.doc") ") ORDER BY i.line",
    "SELECT i.line, 'domain', d.name, 'has no recipients, and a complete list of none would refuse "
    "all its mail; let the file have them (relayctl export --recipients), or recipients_complete "
    "false' FROM postern.domains d LEFT JOIN " LINES " i ON i.kind = 'domain' AND i.key = d.name "
    "WHERE d.recipients_complete AND NOT EXISTS (SELECT FROM postern.recipients r WHERE r.domain = "
    "d.name)",
    "SELECT i.line, i.kind, i.key, 'needs \"held_reason\": a backend on hold has one, as with "
    "relayctl backend hold' FROM postern.backends b JOIN postern.customers c ON c.id = "
    "b.customer_id JOIN " LINES " i ON i.kind = 'backend' AND i.key = c.name || '/' || b.number "
    "WHERE b.held AND b.held_reason IS NULL AND i.action IN ('added', 'changed')",
    "SELECT i.line, i.kind, i.key, 'needs \"state_reason\": a customer that is ' || c.state || ' "
    "has one, as with relayctl customer suspend' FROM postern.customers c JOIN " LINES
    " i ON i.kind = 'customer' AND i.key = c.name WHERE c.state <> 'active' AND c.state_reason IS "
    "NULL AND i.action IN ('added', 'changed')",
    "SELECT i.line, 'customer', c.name, 'has no filter, and with filters_only nobody at all could "
    "send to it' FROM postern.customers c LEFT JOIN " LINES " i ON i.kind = 'customer' AND i.key = "
    "c.name WHERE c.filters_only AND NOT EXISTS (SELECT FROM postern.upstream_filters f WHERE "
    "f.customer_id = c.id)",
};

void
registry_diff_set_place(const char *line, const char *kind, const char *key)
{
    call_set_place("%s%s%s%s %.120s", line ? "line " : "", line ? line : "", line ? ": " : "", kind,
                   key);
}

static enum command_status
complain_rows(struct call *call, const char *sql)
{
    PGresult *result;
    enum command_status status = database_query(call, sql, 0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    for (int row = 0; row < PQntuples(result) && row < WRONG_MAX; row++) {
        registry_diff_set_place(database_text(result, row, 0), PQgetvalue(result, row, 1),
                                PQgetvalue(result, row, 2));
        status = call_usage("%s", PQgetvalue(result, row, 3));
    }
    call_set_place("%s", "");
    if (PQntuples(result) > WRONG_MAX)
        call_complain("and %d more of this kind", PQntuples(result) - WRONG_MAX);
    PQclear(result);
    return status;
}

/* All of them; the worst status. */
static enum command_status
complain_all(struct call *call, const char *const *queries, size_t query_count)
{
    enum command_status status = COMMAND_DONE;

    for (size_t i = 0; i < query_count && status <= COMMAND_USAGE; i++) {
        enum command_status one = complain_rows(call, queries[i]);

        status = one > status ? one : status;
    }
    return status;
}

static enum command_status
check_needs(struct call *call)
{
    enum command_status status = COMMAND_DONE;

    for (size_t i = 0; i < REGISTRY_KIND_COUNT && status <= COMMAND_USAGE; i++) {
        const struct registry_form *form = &registry_forms[i];
        enum command_status one;
        struct buf sql;

        if (form->needs == NULL)
            continue;
        buf_init(&sql, 0);
        buf_printf(&sql,
                   "SELECT line, kind, key, '%s' FROM " LINES
                   " i WHERE kind = '%s' AND action = 'added' AND NOT (%s) ORDER BY line",
                   form->needs_text, form->kind, form->needs);
        one = complain_rows(call, buf_text(&sql));
        buf_fini(&sql);
        status = one > status ? one : status;
    }
    return status;
}

enum command_status
registry_diff_check(struct call *call)
{
    enum command_status status = complain_all(call, checks, ARRAY_SIZE(checks)), needs_status;

    if (status > COMMAND_USAGE)
        return status;
    needs_status = check_needs(call);
    return needs_status > status ? needs_status : status;
}

/* Triggers and foreign keys may have done more than was asked: it is read again. */
enum command_status
registry_diff_check_result(struct call *call)
{
    static const struct registry_scope of_the_file = {.prunes = false};
    enum command_status status = database_run(call, "DROP TABLE " PRESENT, 0, NULL);

    if (status == COMMAND_DONE)
        status = load_present(call, &of_the_file);
    return status != COMMAND_DONE ? status
                                  : complain_all(call, result_checks, ARRAY_SIZE(result_checks));
}

#define IS_REMOVED_DOMAIN                                                                   \
    "EXISTS (SELECT FROM " LINES " g WHERE g.kind = 'domain' AND g.action = 'removed' AND " \
    "CASE WHEN left(g.key, 1) = '.' THEN right(lower(r), length(g.key)) = g.key ELSE "      \
    "right(lower(r), length(g.key) + 1) = '@' || g.key END)"
#define OF_REMOVED_CUSTOMER                                                              \
    "customer_id IN (SELECT c.id FROM postern.customers c JOIN " LINES " g ON g.kind = " \
    "'customer' AND g.action = 'removed' AND g.key = c.name)"
#define OF_ROUTELESS_CUSTOMER                                                              \
    "customer_id IN (SELECT c.id FROM postern.customers c JOIN postern.backends b ON "     \
    "b.customer_id = c.id LEFT JOIN " LINES " g ON g.kind = 'backend' AND g.action = "     \
    "'removed' AND g.key = c.name || '/' || b.number WHERE NOT EXISTS (SELECT FROM " LINES \
    " n WHERE n.kind = 'backend' AND n.action = 'added' AND n.parts ->> 'customer' = "     \
    "c.name) GROUP BY c.id HAVING bool_and(g.key IS NOT NULL))"

const char registry_diff_waiting[] =
    OF_REMOVED_CUSTOMER " OR " OF_ROUTELESS_CUSTOMER
                        " OR EXISTS (SELECT FROM unnest(recipients) r WHERE " IS_REMOVED_DOMAIN ")";
const char registry_diff_waiting_alone[] = OF_REMOVED_CUSTOMER
    " OR " OF_ROUTELESS_CUSTOMER
    " OR (recipients <> '{}' AND NOT EXISTS (SELECT FROM unnest(recipients) r WHERE "
    "NOT " IS_REMOVED_DOMAIN "))";

/* --- Printing. */

/* A value of JSON; people see a text without its quotes. */
static void
print_json(struct printer *p, const PGresult *result, int row, int column)
{
    const char *json = database_text(result, row, column);
    json_t *value = json ? json_loads(json, JSON_DECODE_ANY, NULL) : NULL;
    char *text = json_is_string(value) ? mem_strdup(json_string_value(value)) : NULL;

    if (value == NULL || json_is_null(value)) {
        printer_none(p, value ? "none" : "");
        json_decref(value);
    } else
        printer_value(p, value, text ? text : json);
    free(text);
}

enum command_status
registry_diff_print(struct call *call)
{
    static const struct printer_column columns[] = {
        {"action", "ACTION", PRINTER_LEFT}, {"kind", "KIND", PRINTER_LEFT},
        {"name", "NAME", PRINTER_LEFT},     {"field", "FIELD", PRINTER_LEFT},
        {"old", "OLD", PRINTER_LEFT},       {"new", "NEW", PRINTER_LEFT},
    };
    PGresult *result;
    struct printer *p;
    enum command_status status = database_query(
        call,
        "SELECT i.action, i.kind, i.key, f.key, p.doc -> f.key, f.value FROM " LINES
        " i LEFT JOIN " PRESENT " p ON p.kind = i.kind AND p.key = i.key LEFT JOIN LATERAL "
        "jsonb_each(i.doc) f ON i.action = 'changed' AND p.doc -> f.key IS DISTINCT FROM f.value "
        "WHERE i.action <> 'same' ORDER BY i.rank, i.line NULLS LAST, i.key, f.key",
        0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (int row = 0; row < PQntuples(result); row++) {
        for (int column = 0; column < 3; column++)
            printer_text(p, PQgetvalue(result, row, column));
        if (PQgetisnull(result, row, 3))
            printer_none(p, "");
        else
            printer_text(p, PQgetvalue(result, row, 3));
        print_json(p, result, row, 4);
        print_json(p, result, row, 5);
    }
    printer_finish(&p);
    PQclear(result);
    return COMMAND_DONE;
}
