/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl filter show and list: networks, and what an include led to when a node last looked.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/filter.h"
#include "admin/registry_row.h"

enum row_column {
    ROW_CUSTOMER,
    ROW_NUMBER,
    ROW_LABEL,
    ROW_NETWORK,
    ROW_INCLUDE,
    ROW_EXEMPT,
    ROW_ORIGIN,
    ROW_ONLY,
    ROW_COUNT,
    ROW_RESOLVED,
    ROW_RESOLVED_AT,
    ROW_ERROR,
};

enum command_status
filter_query(struct call *call, const struct filter_name *name, PGresult **rows)
{
    const char *params[] = {name ? name->customer_id : "", name ? name->label : "",
                            name ? name->number : ""};

    return database_query(
        call,
        "SELECT c.name, f.number, f.label, f.network::text, f.spf_include, "
        "array_to_string(f.exempt, ' '), f.origin, c.filters_only, cardinality(i.resolved), "
        "array_to_string(i.resolved, ' '), " DATABASE_MS(
            "i.resolved_at") ", i.resolve_error "
                             "FROM postern.upstream_filters f JOIN postern.customers c ON c.id = "
                             "f.customer_id LEFT JOIN postern.spf_includes i ON i.name = "
                             "f.spf_include WHERE ($1 = '' OR c.id = nullif($1, '')::integer) AND "
                             "($2 = '' OR f.label = $2) AND ($3 = '' OR f.number = nullif($3, "
                             "'')::integer) ORDER BY c.name, f.label, f.number",
        3, params, rows);
}

/* Words that a space separates. */
static void
print_words(struct printer *p, const char *text)
{
    const char *words[600];
    char copy[16384];
    char *rest = copy, *word;
    size_t count = 0;

    snprintf(copy, sizeof copy, "%s", text ? text : "");
    while (count < ARRAY_SIZE(words) && (word = strsep(&rest, " ")) != NULL)
        if (word[0] != '\0')
            words[count++] = word;
    printer_words(p, words, count);
}

static json_t *
json_words(const char *text)
{
    struct slice rest = slice_of(text ? text : "");
    json_t *words = json_array();

    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');

        if (word.n > 0)
            CHECK(json_array_append_new(words, json_stringn(word.p, word.n)) == 0);
    }
    return words;
}

/* What the row leads to. */
static json_t *
json_networks(const PGresult *rows, int row)
{
    const char *network = database_text(rows, row, ROW_NETWORK);

    return json_words(network ? network : database_text(rows, row, ROW_RESOLVED));
}

static json_t *
json_row(const PGresult *rows, int row)
{
    return json_pack("{s:I, s:s, s:s?, s:s?, s:o, s:s, s:o, s:o, s:s?}", "number",
                     (json_int_t)database_number(rows, row, ROW_NUMBER), "label",
                     PQgetvalue(rows, row, ROW_LABEL), "network",
                     database_text(rows, row, ROW_NETWORK), "spf_include",
                     database_text(rows, row, ROW_INCLUDE), "exempt",
                     json_words(database_text(rows, row, ROW_EXEMPT)), "origin",
                     PQgetvalue(rows, row, ROW_ORIGIN), "networks", json_networks(rows, row),
                     "resolved_at", printer_json_time(database_number(rows, row, ROW_RESOLVED_AT)),
                     "resolve_error", database_text(rows, row, ROW_ERROR));
}

struct json_t *
filter_json(const PGresult *rows)
{
    json_t *all = json_array();

    for (int row = 0; row < PQntuples(rows); row++)
        CHECK(json_array_append_new(all, json_row(rows, row)) == 0);
    return all;
}

/* --- List. */

static const struct printer_column list_columns[] = {
    {"name", "FILTER", PRINTER_LEFT},
    {"number", "N", PRINTER_RIGHT},
    {"network", "NETWORK", PRINTER_LEFT},
    {"spf_include", "SPF INCLUDE", PRINTER_LEFT},
    {"network_count", "NETWORKS", PRINTER_RIGHT},
    {"exempt", "EXEMPT", PRINTER_LEFT},
    {"origin", "ORIGIN", PRINTER_LEFT},
    {"filters_only", "ONLY", PRINTER_LEFT},
    {"resolved_at", "RESOLVED", PRINTER_LEFT},
    {"resolve_error", "TROUBLE", PRINTER_LEFT},
};

static void
print_row(struct printer *p, const PGresult *rows, int row)
{
    char name[2 * FIELD_NAME_SIZE + 1], exempt[64], *space;

    snprintf(name, sizeof name, "%s/%s", PQgetvalue(rows, row, ROW_CUSTOMER),
             PQgetvalue(rows, row, ROW_LABEL));
    snprintf(exempt, sizeof exempt, "%s", PQgetvalue(rows, row, ROW_EXEMPT));
    while ((space = strchr(exempt, ' ')) != NULL)
        *space = ',';
    printer_text(p, name);
    printer_number(p, database_number(rows, row, ROW_NUMBER));
    printer_text(p, database_text(rows, row, ROW_NETWORK));
    printer_text(p, database_text(rows, row, ROW_INCLUDE));
    printer_number(
        p, database_text(rows, row, ROW_NETWORK) ? 1 : database_number(rows, row, ROW_COUNT));
    printer_value(p, json_words(PQgetvalue(rows, row, ROW_EXEMPT)), exempt[0] ? exempt : "none");
    printer_text(p, PQgetvalue(rows, row, ROW_ORIGIN));
    printer_bool(p, database_bool(rows, row, ROW_ONLY));
    printer_since(p, database_number(rows, row, ROW_RESOLVED_AT));
    printer_text(p, database_text(rows, row, ROW_ERROR));
}

unsigned
filter_table(const struct call *call, const PGresult *rows)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    unsigned count;

    for (int row = 0; row < PQntuples(rows); row++)
        print_row(p, rows, row);
    count = printer_row_count(p);
    printer_finish(&p);
    return count;
}

enum command_status
filter_list(struct call *call)
{
    const char *owner = call_value(call, "customer");
    struct filter_name name = {.customer_id = ""};
    PGresult *rows;
    enum command_status status = COMMAND_DONE;
    unsigned count;

    if (owner)
        status = field_customer_name(owner, name.customer);
    if (status == COMMAND_DONE && owner)
        status = registry_row_customer(call, name.customer, name.customer_id);
    if (status == COMMAND_DONE)
        status = filter_query(call, &name, &rows);
    if (status != COMMAND_DONE)
        return status;
    count = filter_table(call, rows);
    PQclear(rows);
    if (count > 0)
        return COMMAND_DONE;
    call_complain("no filter matches; for example: relayctl filter add 203.0.113.0/24 --customer "
                  "acme --label barracuda");
    return owner ? COMMAND_NOTHING : COMMAND_DONE;
}

/* --- One. */

static const struct printer_column show_columns[] = {
    {"name", "Filter", PRINTER_LEFT},     {"exempt", "Exempt from SPF and", PRINTER_LEFT},
    {"origin", "Origin", PRINTER_LEFT},   {"filters_only", "Nobody else may send", PRINTER_LEFT},
    {"entries", "Entries", PRINTER_LEFT},
};

static void
table_networks(const struct call *call, const PGresult *rows)
{
    static const struct printer_column columns[] = {
        {"number", "N", PRINTER_RIGHT},
        {"from", "FROM", PRINTER_LEFT},
        {"network", "NETWORK", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    for (int row = 0; row < PQntuples(rows); row++) {
        const char *include = database_text(rows, row, ROW_INCLUDE);
        struct slice rest = slice_of(PQgetvalue(rows, row, include ? ROW_RESOLVED : ROW_NETWORK));

        while (rest.p != NULL) {
            struct slice word = slice_split(&rest, ' ');
            char text[INET_ENDPOINT_SIZE];

            if (!slice_to_text(word, text, sizeof text) || text[0] == '\0')
                snprintf(text, sizeof text, "not known yet");
            printer_number(p, database_number(rows, row, ROW_NUMBER));
            printer_text(p, include);
            printer_text(p, text);
        }
    }
    fputc('\n', call->printing.out);
    printer_finish(&p);
}

static void
say_resolved(const struct call *call, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        const char *include = database_text(rows, row, ROW_INCLUDE),
                   *error = database_text(rows, row, ROW_ERROR);
        int64_t at_ms = database_number(rows, row, ROW_RESOLVED_AT);
        char relative[PRINTER_RELATIVE_SIZE];

        if (include == NULL)
            continue;
        fprintf(call->printing.out, "%s was %s %s%s%s\n", include,
                at_ms ? "looked up" : "not looked up yet;",
                at_ms ? printer_relative(at_ms, call->printing.now_ms, relative)
                      : "a running relayd does that",
                error ? "; the last attempt failed, and the networks stay: " : "",
                error ? error : "");
    }
}

static void
print_one(const struct call *call, const PGresult *rows)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_ONE, show_columns, ARRAY_SIZE(show_columns));
    char name[2 * FIELD_NAME_SIZE + 1], count[48];

    snprintf(name, sizeof name, "%s/%s", PQgetvalue(rows, 0, ROW_CUSTOMER),
             PQgetvalue(rows, 0, ROW_LABEL));
    snprintf(count, sizeof count, "%d (below)", PQntuples(rows));
    printer_text(p, name);
    print_words(p, PQgetvalue(rows, 0, ROW_EXEMPT));
    printer_text(p, PQgetvalue(rows, 0, ROW_ORIGIN));
    printer_bool(p, database_bool(rows, 0, ROW_ONLY));
    printer_value(p, filter_json(rows), count);
    printer_finish(&p);
}

enum command_status
filter_show(struct call *call)
{
    struct filter_name name;
    PGresult *rows;
    enum command_status status = filter_name_read(call, call->line.operands[0], &name);

    if (status == COMMAND_DONE)
        status = filter_query(call, &name, &rows);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(rows) == 0) {
        status = filter_complain_missing(&name);
    } else {
        print_one(call, rows);
        if (!call->printing.json) {
            table_networks(call, rows);
            say_resolved(call, rows);
        }
    }
    PQclear(rows);
    return status;
}
