/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl audit: who has changed what, when and why, and who has read content.  A row is what a
 * trigger has written of one row of the registry, or an order to a spool or a node.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/event_search.h"
#include "admin/field.h"
#include "admin/missing.h"
#include "base/clock.h"
#include "base/parse.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 100000
#define NAMED_MAX 3 /* messages of an order that people see */

const char *const audit_tables[] = {"customers",
                                    "customer_changes",
                                    "domains",
                                    "backends",
                                    "upstream_filters",
                                    "sender_rules",
                                    "recipients",
                                    "removed_domains",
                                    "spool",
                                    "spool_logs",
                                    "scan",
                                    "node",
                                    NULL};

/* --- Finding. */

enum column {
    COLUMN_ID,
    COLUMN_AT,
    COLUMN_WHO,
    COLUMN_PROGRAM,
    COLUMN_ADDRESS,
    COLUMN_TABLE,
    COLUMN_OPERATION,
    COLUMN_VERSION,
    COLUMN_REASON,
    COLUMN_OLD,
    COLUMN_NEW,
    COLUMN_CUSTOMER,
};

/* o.id is the customer that the row is of; a name that is gone is in the audit of its removal. */
static const char sql[] = "SELECT a.id, " DATABASE_MS(
    "a.at") ", a.who, a.program, host(a.client_address), a.table_name, "
            "a.operation, a.version, a.reason, a.old_row, a.new_row, coalesce((SELECT name FROM "
            "postern.customers WHERE id = o.id), (SELECT g.old_row ->> 'name' FROM postern.audit g "
            "WHERE "
            "g.table_name = 'customers' AND g.operation = 'delete' AND (g.old_row ->> "
            "'id')::bigint = o.id "
            "LIMIT 1)) FROM postern.audit a CROSS JOIN LATERAL (SELECT coalesce(a.new_row, "
            "a.old_row) AS "
            "it) r CROSS JOIN LATERAL (SELECT CASE a.table_name WHEN 'customers' THEN (r.it ->> "
            "'id')::bigint WHEN 'recipients' THEN coalesce((SELECT customer_id FROM "
            "postern.domains WHERE "
            "name = r.it ->> 'domain'), (SELECT customer_id FROM postern.removed_domains WHERE "
            "name = r.it "
            "->> 'domain')) WHEN 'spool' THEN NULL ELSE (r.it ->> 'customer_id')::bigint END AS "
            "id) o WHERE "
            "($1 = '' OR a.at >= $1::timestamptz) AND ($2 = '' OR a.at < $2::timestamptz) AND ($3 "
            "= '' OR "
            "a.who = $3) AND ($4 = '' OR a.table_name = $4) AND ($5 = '' OR o.id IN (SELECT id "
            "FROM "
            "postern.customers WHERE name = $5 UNION SELECT (g.old_row ->> 'id')::bigint FROM "
            "postern.audit g WHERE g.table_name = 'customers' AND g.operation = 'delete' AND "
            "g.old_row ->> "
            "'name' = $5)) ORDER BY a.at DESC, a.id DESC LIMIT $6::bigint";

/* --- What a row says. */

static const char *
text_in(const json_t *row, const char *name)
{
    return json_string_value(json_object_get(row, name));
}

/* "acme/1", "block 192.0.2.0/24", ... */
static void
add_name(const char *table, const char *customer, const json_t *row, struct buf *name)
{
    json_t *number = json_object_get(row, "number");

    if (text_in(row, "act"))
        buf_add_text(name, text_in(row, "act"));
    else if (json_is_integer(number))
        buf_printf(name, "%s/%lld", customer ? customer : "?",
                   (long long)json_integer_value(number));
    else if (text_in(row, "local_part"))
        buf_printf(name, "%s@%s", text_in(row, "local_part"), text_in(row, "domain") ?: "?");
    else if (text_in(row, "action"))
        buf_printf(name, "%s %s", text_in(row, "action"),
                   text_in(row, "network")  ? text_in(row, "network")
                   : text_in(row, "sender") ? text_in(row, "sender")
                                            : text_in(row, "domain") ?: "?");
    else if (text_in(row, "field"))
        buf_printf(name, "%s %s", customer ? customer : "?", text_in(row, "field"));
    else
        buf_add_text(name, text_in(row, "name") ?: table);
}

static void
add_change(json_t *changes, const char *field, json_t *before, json_t *after)
{
    before = before ? before : json_null();
    after = after ? after : json_null();
    if (!json_equal(before, after))
        CHECK(json_object_set_new(changes, field,
                                  json_pack("{s:O, s:O}", "old", before, "new", after)) == 0);
}

/* {"retention_days": {"old": 5, "new": 9}}; of one that is new or gone, all that it has. */
static json_t *
changes_of(json_t *before, json_t *after)
{
    json_t *changes = json_object(), *value;
    const char *field;

    json_object_foreach(after, field, value)
        add_change(changes, field, json_object_get(before, field), value);
    json_object_foreach(before, field, value) if (json_object_get(after, field) == NULL)
        add_change(changes, field, value, NULL);
    return changes;
}

/* --- Printing. */

static void
print_json(const struct call *call, const PGresult *r, int row, const char *name, json_t *before,
           json_t *after)
{
    static const struct printer_column columns[] = {
        {"id", "", PRINTER_LEFT},
        {"at", "", PRINTER_LEFT},
        {"who", "", PRINTER_LEFT},
        {"program", "", PRINTER_LEFT},
        {"client_address", "", PRINTER_LEFT},
        {"customer", "", PRINTER_LEFT},
        {"what", "", PRINTER_LEFT},
        {"operation", "", PRINTER_LEFT},
        {"name", "", PRINTER_LEFT},
        {"changes", "", PRINTER_LEFT},
        {"order", "", PRINTER_LEFT},
        {"version", "", PRINTER_LEFT},
        {"reason", "", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    bool is_order = text_in(after, "act") != NULL;

    printer_number(p, database_number(r, row, COLUMN_ID));
    printer_time(p, database_number(r, row, COLUMN_AT));
    printer_text(p, database_text(r, row, COLUMN_WHO));
    printer_text(p, database_text(r, row, COLUMN_PROGRAM));
    printer_text(p, database_text(r, row, COLUMN_ADDRESS));
    printer_text(p, database_text(r, row, COLUMN_CUSTOMER));
    printer_text(p, database_text(r, row, COLUMN_TABLE));
    printer_text(p, database_text(r, row, COLUMN_OPERATION));
    printer_text(p, name);
    printer_value(p, is_order ? json_null() : changes_of(before, after), "");
    printer_value(p, is_order ? json_incref(after) : json_null(), "");
    if (PQgetisnull(r, row, COLUMN_VERSION))
        printer_none(p, "");
    else
        printer_number(p, database_number(r, row, COLUMN_VERSION));
    printer_text(p, database_text(r, row, COLUMN_REASON));
    printer_finish(&p);
}

static void
add_value(struct buf *text, const json_t *value)
{
    char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    buf_add_text(text, json_is_null(value)     ? "none"
                       : json_is_string(value) ? json_string_value(value)
                                               : dumped);
    free(dumped);
}

/* "retention_days: 5, now 9; language: en, now de" */
static void
add_changes(struct buf *text, json_t *before, json_t *after)
{
    json_t *changes = changes_of(before, after), *change;
    const char *field, *gap = "";

    json_object_foreach(changes, field, change)
    {
        buf_printf(text, "%s%s: ", gap, field);
        add_value(text, json_object_get(change, "old"));
        buf_add_text(text, ", now ");
        add_value(text, json_object_get(change, "new"));
        gap = "; ";
    }
    json_decref(changes);
}

/* "on node 1: P001-..., P001-... and 5 more" */
static void
add_order(struct buf *text, const json_t *order)
{
    const json_t *refs = json_object_get(order, "refs");
    size_t count = json_array_size(refs);

    if (text_in(order, "detail"))
        buf_printf(text, "%s, ", text_in(order, "detail"));
    buf_printf(text, "on node %lld", (long long)json_integer_value(json_object_get(order, "node")));
    for (size_t i = 0; i < count && i < NAMED_MAX; i++)
        buf_printf(text, "%s%s", i ? ", " : ": ",
                   json_string_value(json_array_get(refs, i)) ?: "?");
    if (count > NAMED_MAX)
        buf_printf(text, " and %zu more", count - NAMED_MAX);
    if (text_in(order, "outcome"))
        buf_printf(text, " (outcome: %s)", text_in(order, "outcome"));
}

static const char *
word_of(const char *operation)
{
    return strcmp(operation, "insert") == 0   ? "added"
           : strcmp(operation, "update") == 0 ? "changed"
           : strcmp(operation, "delete") == 0 ? "removed"
                                              : "emptied";
}

static void
print_text(struct printer *p, const PGresult *r, int row, const char *name, json_t *before,
           json_t *after)
{
    bool is_order = text_in(after, "act") != NULL;
    struct buf text;

    buf_init(&text, 0);
    if (is_order)
        add_order(&text, after);
    else if (before && after)
        add_changes(&text, before, after);
    printer_date(p, database_number(r, row, COLUMN_AT));
    printer_text(p, PQgetvalue(r, row, COLUMN_WHO));
    printer_text(p, is_order ? "ordered" : word_of(PQgetvalue(r, row, COLUMN_OPERATION)));
    printer_text(p, PQgetvalue(r, row, COLUMN_TABLE));
    printer_text(p, name);
    printer_text(p, buf_text(&text));
    printer_text(p, database_text(r, row, COLUMN_REASON));
    buf_fini(&text);
}

static json_t *
load(const PGresult *r, int row, int column)
{
    const char *text = database_text(r, row, column);

    return text ? json_loads(text, 0, NULL) : NULL;
}

static void
print_rows(const struct call *call, const PGresult *r)
{
    static const struct printer_column columns[] = {
        {"at", "WHEN", PRINTER_LEFT},
        {"who", "WHO", PRINTER_LEFT},
        {"operation", "HAS", PRINTER_LEFT},
        {"what", "OF", PRINTER_LEFT},
        {"name", "NAME", PRINTER_LEFT},
        {"changes", "CHANGES", PRINTER_WRAP | PRINTER_BELOW},
        {"reason", "REASON", PRINTER_WRAP | PRINTER_BELOW},
    };
    struct printer *p = NULL;

    if (!call->printing.json)
        p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (int row = 0; row < PQntuples(r); row++) {
        json_t *before = load(r, row, COLUMN_OLD), *after = load(r, row, COLUMN_NEW);
        struct buf name;

        buf_init(&name, 0);
        add_name(PQgetvalue(r, row, COLUMN_TABLE), database_text(r, row, COLUMN_CUSTOMER),
                 after ? after : before, &name);
        if (p)
            print_text(p, r, row, buf_text(&name), before, after);
        else
            print_json(call, r, row, buf_text(&name), before, after);
        buf_fini(&name);
        json_decref(before);
        json_decref(after);
    }
    printer_finish(&p);
}

/* --- The verb. */

struct search {
    char since[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE], limit[24];
    char table[FIELD_TEXT_SIZE], customer[FIELD_NAME_SIZE];
    uint64_t limit_number;
    bool is_selecting;
};

static enum command_status
read_moment(const struct call *call, const char *option, char dst[CLOCK_RFC3339_SIZE])
{
    int64_t at_ms = 0;
    enum command_status status = event_search_moment(call, option, &at_ms);

    if (at_ms != 0)
        clock_rfc3339(at_ms, dst);
    return status;
}

static enum command_status
read_table(const struct call *call, struct search *s)
{
    static const struct field field = {"what", "", "", NULL, 0, 0, audit_tables};
    const char *text = call_value(call, "what"), *wrong;
    char why[FIELD_TEXT_SIZE];
    bool is_null = false;

    wrong = text ? field_check_word(&field, text, s->table, &is_null, why) : NULL;
    return wrong ? call_usage("--what: \"%s\" %s", text, wrong) : COMMAND_DONE;
}

static enum command_status
read_limit(const struct call *call, struct search *s)
{
    const char *text = call_value(call, "limit");

    s->limit_number = LIMIT_DEFAULT;
    if (text && (parse_u64(slice_of(text), &s->limit_number) < 0 || s->limit_number == 0 ||
                 s->limit_number > LIMIT_MAX))
        return call_usage("--limit: \"%s\" is no number of 1 to %d", text, LIMIT_MAX);
    snprintf(s->limit, sizeof s->limit, "%llu", (unsigned long long)s->limit_number);
    return COMMAND_DONE;
}

static enum command_status
read_search(const struct call *call, struct search *s)
{
    const char *customer = call_value(call, "customer");
    enum command_status statuses[] = {
        read_moment(call, "since", s->since),
        read_moment(call, "until", s->until),
        read_table(call, s),
        read_limit(call, s),
        customer ? field_customer_name(customer, s->customer) : COMMAND_DONE,
    };

    s->is_selecting =
        s->since[0] || s->until[0] || s->table[0] || customer || call_value(call, "by");
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i] != COMMAND_DONE)
            return statuses[i];
    return COMMAND_DONE;
}

enum command_status
audit(struct call *call)
{
    struct search s = {.since = ""};
    const char *by = call_value(call, "by");
    const char *params[] = {s.since, s.until, by ? by : "", s.table, s.customer, s.limit};
    enum command_status status = read_search(call, &s);
    PGresult *result;
    unsigned count;

    if (status == COMMAND_DONE)
        status = database_query(call, sql, ARRAY_SIZE(params), params, &result);
    if (status != COMMAND_DONE)
        return status;
    print_rows(call, result);
    count = (unsigned)PQntuples(result);
    PQclear(result);
    if (count == s.limit_number)
        call_complain("these are the newest %u; for more: --limit, or --until with the time of the "
                      "last one",
                      count);
    if (count > 0 || !s.is_selecting)
        return COMMAND_DONE;
    call_complain("no row of the audit matches");
    missing_say(call, MISSING_CUSTOMER, call_value(call, "customer"));
    return COMMAND_NOTHING;
}
