/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl customer show and list: limits as they are now, which of them end by themselves, and
 * what is used of them on this node.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/customer_limit.h"
#include "admin/customer_policy.h"
#include "admin/customer_use.h"
#include "admin/filter.h"
#include "admin/registry_row.h"
#include "admin/sender_rule.h"
#include "base/clock.h"

/* The limits lie in the order of enum customer_limit_index. */
enum row_column {
    ROW_ID,
    ROW_NAME,
    ROW_CONTACT,
    ROW_STATE,
    ROW_STATE_REASON,
    ROW_DOMAINS,
    ROW_BACKENDS,
    ROW_CREATED_AT,
    ROW_LIVE_4XX,
    ROW_LANGUAGE,
    ROW_FILTERS_ONLY,
    ROW_LIMITS
};

#define ROW_COLUMNS                                             \
    "c.id, c.name, c.contact, c.state, c.state_reason, "        \
    "coalesce(d.count, 0), coalesce(b.count, 0), " DATABASE_MS( \
        "c.created_at") ", c.live_4xx, c.language, c.filters_only"

/* Counted once for all: a question a customer would be 200,000 of them. */
static const char from_sql[] =
    " FROM postern.customers c "
    "LEFT JOIN (SELECT customer_id AS id, count(*) FROM postern.domains GROUP BY 1) d USING (id) "
    "LEFT JOIN (SELECT customer_id AS id, count(*) FROM postern.backends GROUP BY 1) b USING (id) "
    "WHERE $1::integer IS NULL OR c.id = $1::integer ORDER BY c.name COLLATE \"C\"";

/* Customers with their limits, and the changes that end by themselves. */
struct view {
    const struct call *call;
    PGresult *rows, *changes, *filters, *rules; /* the last two of a single customer */
    struct customer_use use;
};

static enum command_status
view_open(struct call *call, const char *customer_id, struct view *view)
{
    const char *params[] = {customer_id};
    enum command_status status;
    struct buf sql;

    *view = (struct view){.call = call};
    buf_init(&sql, 0);
    buf_add_text(&sql, "SELECT " ROW_COLUMNS);
    for (unsigned i = 0; i < CUSTOMER_LIMIT_COUNT; i++)
        buf_printf(&sql, ", c.%s", customer_limits[i].column);
    buf_add_text(&sql, from_sql);
    status = database_query(call, buf_text(&sql), 1, params, &view->rows);
    buf_fini(&sql);
    if (status == COMMAND_DONE)
        status = customer_limit_changes(call, customer_id, &view->changes);
    return status;
}

static void
view_close(struct view *view)
{
    customer_use_close(&view->use);
    PQclear(view->rows);
    PQclear(view->changes);
    PQclear(view->filters);
    PQclear(view->rules);
}

static struct customer_limit_value
limit_of(const struct view *view, int row, enum customer_limit_index index)
{
    return customer_limit_value(index, database_text(view->rows, row, ROW_LIMITS + (int)index),
                                view->changes, PQgetvalue(view->rows, row, ROW_ID));
}

static uint32_t
id_of(const struct view *view, int row)
{
    return (uint32_t)database_number(view->rows, row, ROW_ID);
}

static void
print_limit(struct printer *p, const struct customer_limit_value *value)
{
    struct buf text;

    buf_init(&text, 0);
    if (printer_is_for_people(p))
        customer_limit_text(value, &text);
    printer_value(p, customer_limit_json(value->limit, value->value), buf_text(&text));
    buf_fini(&text);
}

/* --- One. */

static json_t *
temporary_json(const struct customer_limit_value *v)
{
    char until[CLOCK_RFC3339_SIZE];

    return json_pack("{s:s, s:o, s:s, s:o}", "field", v->limit->column, "value",
                     customer_limit_json(v->limit, v->value), "until_at",
                     clock_rfc3339(v->until_ms, until), "then",
                     customer_limit_json(v->limit, v->lasting));
}

/* What the lines of the limits say already, together for programs. */
static void
print_temporary(struct printer *p, const struct view *view, int row)
{
    json_t *all = json_array();
    char text[64] = "none";
    int64_t next_ms = 0;

    for (unsigned i = 0; i < CUSTOMER_LIMIT_COUNT; i++) {
        struct customer_limit_value v = limit_of(view, row, (enum customer_limit_index)i);

        if (v.until_ms == 0)
            continue;
        CHECK(json_array_append_new(all, temporary_json(&v)) == 0);
        if (next_ms == 0 || v.until_ms < next_ms)
            next_ms = v.until_ms;
    }
    if (next_ms) {
        char relative[PRINTER_RELATIVE_SIZE];

        snprintf(text, sizeof text, "%zu; the next ends %s", json_array_size(all),
                 printer_relative(next_ms, view->call->printing.now_ms, relative));
    }
    printer_value(p, all, text);
}

#define HEAD_COLUMNS 5
#define TAIL_COLUMNS 9

static const struct printer_column head_columns[HEAD_COLUMNS] = {
    {"name", "Customer", PRINTER_LEFT},       {"contact", "Contact", PRINTER_LEFT},
    {"language", "Language", PRINTER_LEFT},   {"state", "State", PRINTER_LEFT},
    {"state_reason", "Reason", PRINTER_LEFT},
};
static const struct printer_column tail_columns[TAIL_COLUMNS] = {
    {"checks", "Checks of senders", PRINTER_LEFT},
    {"filters", "Filters", PRINTER_LEFT},
    {"filters_only", "Only from filters", PRINTER_LEFT},
    {"rules", "Blocked and allowed", PRINTER_LEFT},
    {"live_4xx", "Live 4xx", PRINTER_LEFT},
    {"temporary", "Temporary changes", PRINTER_LEFT},
    {"domains", "Domains", PRINTER_LEFT},
    {"backends", "Backends", PRINTER_LEFT},
    {"created_at", "Created", PRINTER_LEFT},
};

#define SHOW_COLUMNS (HEAD_COLUMNS + CUSTOMER_LIMIT_COUNT + TAIL_COLUMNS + CUSTOMER_USE_COLUMNS)

static void
make_show_columns(struct printer_column columns[SHOW_COLUMNS])
{
    memcpy(columns, head_columns, sizeof head_columns);
    columns += HEAD_COLUMNS;
    for (unsigned i = 0; i < CUSTOMER_LIMIT_COUNT; i++)
        columns[i] = (struct printer_column){customer_limits[i].column, customer_limits[i].title,
                                             PRINTER_LEFT};
    columns += CUSTOMER_LIMIT_COUNT;
    memcpy(columns, tail_columns, sizeof tail_columns);
    columns += TAIL_COLUMNS;
    memcpy(columns, customer_use_show_columns, sizeof customer_use_show_columns);
}

/* What holds of senders, for programs; people find it in tables below. */
static void
print_senders(struct printer *p, const struct view *view, int row)
{
    const char *policy = limit_of(view, row, CUSTOMER_LIMIT_POLICY).value;
    char text[64];

    customer_policy_summary(policy, text);
    printer_value(p, customer_policy_json(policy), text);
    snprintf(text, sizeof text, PQntuples(view->filters) ? "%d (below)" : "none",
             PQntuples(view->filters));
    printer_value(p, filter_json(view->filters), text);
    printer_bool(p, database_bool(view->rows, row, ROW_FILTERS_ONLY));
    sender_rule_summary(view->rules, text);
    printer_value(p, sender_rule_json(view->rules), text);
}

static void
print_tables(const struct call *call, const struct view *view)
{
    if (call->printing.json || PQntuples(view->rows) == 0)
        return;
    if (strcmp(limit_of(view, 0, CUSTOMER_LIMIT_POLICY).value, "off") != 0) {
        fputc('\n', call->printing.out);
        customer_policy_table(call, limit_of(view, 0, CUSTOMER_LIMIT_POLICY).value);
    }
    if (PQntuples(view->filters) > 0) {
        fputc('\n', call->printing.out);
        (void)filter_table(call, view->filters);
    }
    if (PQntuples(view->rules) > 0) {
        fputc('\n', call->printing.out);
        (void)sender_rule_table(call, view->rules);
    }
}

static enum command_status
open_senders(struct call *call, const char *customer_id, struct view *view)
{
    struct filter_name whose = {.label = ""};
    enum command_status status;

    snprintf(whose.customer_id, sizeof whose.customer_id, "%s", customer_id);
    status = filter_query(call, &whose, &view->filters);
    return status == COMMAND_DONE ? sender_rule_query(call, customer_id, "", &view->rules) : status;
}

static void
print_one(struct printer *p, const struct view *view, int row)
{
    printer_text(p, database_text(view->rows, row, ROW_NAME));
    printer_text(p, database_text(view->rows, row, ROW_CONTACT));
    printer_text(p, database_text(view->rows, row, ROW_LANGUAGE));
    printer_word(p, PQgetvalue(view->rows, row, ROW_STATE));
    printer_text(p, database_text(view->rows, row, ROW_STATE_REASON));
    for (unsigned i = 0; i < CUSTOMER_LIMIT_COUNT; i++) {
        struct customer_limit_value value = limit_of(view, row, (enum customer_limit_index)i);

        print_limit(p, &value);
    }
    print_senders(p, view, row);
    printer_text(p, database_text(view->rows, row, ROW_LIVE_4XX));
    print_temporary(p, view, row);
    printer_number(p, database_number(view->rows, row, ROW_DOMAINS));
    printer_number(p, database_number(view->rows, row, ROW_BACKENDS));
    printer_time(p, database_number(view->rows, row, ROW_CREATED_AT));
    customer_use_print(view->call, &view->use, p, id_of(view, row));
}

enum command_status
customer_show(struct call *call)
{
    struct printer_column columns[SHOW_COLUMNS];
    char name[FIELD_NAME_SIZE], id[16];
    struct printer *p;
    struct view view;
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = registry_row_customer(call, name, id);
    if (status != COMMAND_DONE)
        return status;
    status = view_open(call, id, &view);
    if (status == COMMAND_DONE)
        status = open_senders(call, id, &view);
    if (status == COMMAND_DONE) {
        make_show_columns(columns);
        customer_use_open(call, &view.use);
        p = printer_new(&call->printing, PRINTER_ONE, columns, SHOW_COLUMNS);
        for (int row = 0; row < PQntuples(view.rows); row++)
            print_one(p, &view, row);
        printer_finish(&p);
        print_tables(call, &view);
    }
    view_close(&view);
    return status;
}

/* --- All. */

#define LIST_COLUMNS 8
#define LIST_USE_COLUMNS 3

/* The last ones with --use only. */
static const struct printer_column list_columns[LIST_COLUMNS + LIST_USE_COLUMNS] = {
    {"name", "CUSTOMER", PRINTER_LEFT},
    {"state", "STATE", PRINTER_LEFT},
    {"contact", "CONTACT", PRINTER_BELOW},
    {"domains", "DOMAINS", PRINTER_RIGHT},
    {"backends", "BACKENDS", PRINTER_RIGHT},
    {"retention_days", "DAYS", PRINTER_RIGHT},
    {"max_message_size_bytes", "SIZE", PRINTER_RIGHT},
    {"policy", "POLICY", PRINTER_LEFT},
    {"messages_today", "MESSAGES", PRINTER_RIGHT},
    {"bytes_today", "OCTETS", PRINTER_RIGHT},
    {"refusals_today", "REFUSALS", PRINTER_RIGHT},
};

static void
print_row(struct printer *p, const struct view *view, int row, bool with_use)
{
    struct customer_limit_value days = limit_of(view, row, CUSTOMER_LIMIT_DAYS),
                                size = limit_of(view, row, CUSTOMER_LIMIT_MESSAGE_SIZE);

    /* A list has no room for what a limit will be then. */
    days.until_ms = size.until_ms = 0;
    printer_text(p, database_text(view->rows, row, ROW_NAME));
    printer_word(p, PQgetvalue(view->rows, row, ROW_STATE));
    printer_text(p, database_text(view->rows, row, ROW_CONTACT));
    printer_number(p, database_number(view->rows, row, ROW_DOMAINS));
    printer_number(p, database_number(view->rows, row, ROW_BACKENDS));
    print_limit(p, &days);
    printer_usual(p, customer_limit_number(&days) == 5);
    print_limit(p, &size);
    printer_usual(p, customer_limit_number(&size) == 20 << 20);
    printer_text(p, limit_of(view, row, CUSTOMER_LIMIT_POLICY).value);
    if (with_use)
        customer_use_print_row(view->call, &view->use, p, id_of(view, row));
}

enum command_status
customer_list(struct call *call)
{
    bool with_use = call_value(call, "use") != NULL;
    struct printer *p;
    struct view view;
    unsigned count;
    enum command_status status = view_open(call, NULL, &view);

    if (status == COMMAND_DONE) {
        if (with_use)
            customer_use_open(call, &view.use);
        p = printer_new(&call->printing, PRINTER_LIST, list_columns,
                        LIST_COLUMNS + (with_use ? LIST_USE_COLUMNS : 0));
        for (int row = 0; row < PQntuples(view.rows); row++)
            print_row(p, &view, row, with_use);
        count = printer_row_count(p);
        printer_finish(&p);
        if (count == 0)
            call_complain("there are no customers yet; for example: relayctl customer add acme "
                          "--contact ops@acme.example");
        else if (with_use && view.use.table == NULL)
            call_complain("the use is unknown: %s", view.use.why);
    }
    view_close(&view);
    return status;
}
