/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl backend: the customers' own mail servers.  A backend is named CUSTOMER/N; its number
 * stays as long as it is there.
 */
#include <string.h>

#include "admin/backend_health.h"
#include "admin/commands.h"
#include "admin/contact.h"
#include "admin/registry_form.h"
#include "admin/registry_row.h"
#include "admin/removal.h"

static const char *const tls_words[] = {"none", "may", "encrypt", "verify", NULL};

const struct field backend_fields[] = {
    {"priority", "priority", "integer", field_check_number, 0, 65535, NULL},
    {"weight", "weight", "integer", field_check_number, 1, 65535, NULL},
    {"source-address", "source_address", "inet", field_check_address, 0, 0, NULL},
    {"tls-name", "tls_name", "text", field_check_host, 0, 0, NULL},
    {"xforward", "xforward", "boolean", field_check_word, 0, 0, field_yes_words},
    {"tls", "tls", "text", field_check_word, 0, 0, tls_words},
    {"max-connections", "max_connections", "integer", field_check_limit, 1, 10000, NULL},
    {0},
};

static const struct field address_field = {"address", "address", "inet", NULL, 0, 0, NULL};
static const struct field host_field = {"address", "host", "text", NULL, 0, 0, NULL};
static const struct field lookup_field = {"mx", "lookup", "text", NULL, 0, 0, NULL};
static const struct field domain_field = {"domain", "domain", "text", NULL, 0, 0, NULL};
static const struct field port_field = {"address", "port", "integer", NULL, 0, 0, NULL};

static void
add_value(struct field_values *values, const struct field *field, const char *text)
{
    unsigned n = values->count++;

    CHECK(n < FIELDS_MAX);
    values->fields[n] = field;
    snprintf(values->texts[n], sizeof values->texts[n], "%s", text ? text : "");
    values->params[n] = text ? values->texts[n] : NULL;
}

/* Of the two columns the other one is emptied; what a name is asked for goes with it. */
static enum command_status
add_endpoint(struct call *call, struct field_values *values, const char *text)
{
    bool is_mx = call_value(call, "mx") != NULL;
    char address[INET_ENDPOINT_SIZE], host[INET_DOMAIN_SIZE], port[8];
    struct inet_endpoint endpoint;
    enum command_status status = field_endpoint(text, &endpoint, host);

    if (status != COMMAND_DONE)
        return status;
    if (is_mx && host[0] == '\0')
        return call_usage("--mx asks for the MX records of a name, and \"%s\" is an address", text);
    snprintf(port, sizeof port, "%u", endpoint.port);
    add_value(values, &address_field, host[0] ? NULL : inet_address_text(&endpoint, address));
    add_value(values, &host_field, host[0] ? host : NULL);
    add_value(values, &port_field, port);
    add_value(values, &lookup_field, is_mx ? "mx" : "address");
    return COMMAND_DONE;
}

/* Which of the customer's domains it is for. */
static enum command_status
add_domain(struct call *call, const char *customer_id, struct field_values *values)
{
    const char *text = call_value(call, "domain");
    char domain[FIELD_DOMAIN_SIZE];
    const char *params[] = {domain, customer_id};
    PGresult *result;
    enum command_status status = text ? field_domain_name(text, domain) : COMMAND_DONE;

    if (text == NULL || status != COMMAND_DONE)
        return status;
    status = database_query(
        call, "SELECT FROM postern.domains WHERE name = $1 AND customer_id = $2::integer", 2,
        params, &result);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) == 0) {
        call_complain("--domain: the customer has no domain %s; `relayctl domain list` shows all",
                      domain);
        status = COMMAND_NOTHING;
    } else
        add_value(values, &domain_field, domain);
    PQclear(result);
    return status;
}

static enum command_status
insert(struct call *call, const char *customer, const char *id, const struct field_values *values,
       char name[FIELD_NAME_SIZE + 16])
{
    const char *keys[] = {id};
    enum command_status status = COMMAND_DONE;
    PGresult *result = registry_row_insert(call, "backends", "customer_id, number",
                                           "$1::integer, (SELECT coalesce(max(number), 0) + 1 FROM "
                                           "postern.backends WHERE customer_id = "
                                           "$1::integer)",
                                           1, keys, values);

    if (database_failed_with(result, "23505")) {
        call_complain("customer %s has this backend already; `relayctl "
                      "backend list --customer %s` shows them",
                      customer, customer);
        status = COMMAND_FAILED;
    } else if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = database_explain(call, result);
    } else {
        snprintf(name, FIELD_NAME_SIZE + 16, "%s/%s", customer,
                 PQgetvalue(result, 0, PQfnumber(result, "number")));
    }
    PQclear(result);
    return status;
}

enum command_status
backend_add(struct call *call)
{
    const char *owner = call_value(call, "customer");
    char customer[FIELD_NAME_SIZE], name[FIELD_NAME_SIZE + 16], id[16];
    struct field_values values;
    enum command_status status;

    if (owner == NULL)
        return call_usage("whose is it? Use --customer NAME, for example: %s",
                          call->line.command->example);
    status = field_customer_name(owner, customer);
    if (status == COMMAND_DONE)
        status = field_read(call, backend_fields, &values);
    if (status == COMMAND_DONE)
        status = add_endpoint(call, &values, call->line.operands[0]);
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = registry_row_customer(call, customer, id);
    if (status == COMMAND_DONE)
        status = add_domain(call, id, &values);
    if (status == COMMAND_DONE)
        status = insert(call, customer, id, &values, name);
    if (status == COMMAND_DONE)
        status = contact_warn(call, id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "added", "backend", name);
    return status;
}

/* --- One backend, by its name. */

struct target {
    char customer[FIELD_NAME_SIZE], number[16], id[16]; /* id: the customer's */
    char name[FIELD_NAME_SIZE + 16];
};

static enum command_status
read_target(struct call *call, struct target *target)
{
    enum command_status status =
        field_backend_name(call->line.operands[0], target->customer, target->number);

    if (status == COMMAND_DONE)
        snprintf(target->name, sizeof target->name, "%s/%s", target->customer, target->number);
    return status;
}

static enum command_status
complain_missing(const struct target *target)
{
    call_complain("there is no backend %s; `relayctl backend list --customer %s` shows them",
                  target->name, target->customer);
    return COMMAND_NOTHING;
}

static bool
moves(const struct field_values *values)
{
    for (unsigned i = 0; i < values->count; i++)
        if (values->fields[i] == &port_field)
            return true;
    return false;
}

static enum command_status
change(struct call *call, const struct field_values *values, const char *action)
{
    struct target target = {.id = ""};
    const char *keys[] = {target.id, target.number};
    bool changed = true;
    enum command_status status = read_target(call, &target);

    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = registry_row_customer(call, target.customer, target.id);
    if (status == COMMAND_DONE)
        status = registry_row_update(call, "backends",
                                     "customer_id = $1::integer AND number = $2::integer", 2, keys,
                                     values, &changed);
    if (status == COMMAND_DONE && !changed)
        status = complain_missing(&target);
    if (status == COMMAND_DONE && moves(values))
        status = contact_warn(call, target.id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, action, "backend", target.name);
    return status;
}

enum command_status
backend_set(struct call *call)
{
    const char *address = call_value(call, "address");
    struct field_values values;
    enum command_status status = field_read(call, backend_fields, &values);

    if (status == COMMAND_DONE && address)
        status = add_endpoint(call, &values, address);
    if (status != COMMAND_DONE)
        return status;
    if (address == NULL && call_value(call, "mx"))
        return call_usage("--mx goes with --address NAME, for example: relayctl backend set acme/1 "
                          "--address acme.example --mx");
    if (values.count == 0)
        return call_usage("nothing to set; for example: %s", call->line.command->example);
    return change(call, &values, "changed");
}

static enum command_status
set_held(struct call *call, bool held, const char *reason, const char *action)
{
    static const struct field held_field = {"", "held", "boolean", NULL, 0, 0, NULL};
    static const struct field reason_field = {"", "held_reason", "text", NULL, 0, 0, NULL};
    struct field_values values = {.fields = {&held_field, &reason_field},
                                  .params = {held ? "true" : "false", reason},
                                  .count = 2};

    return change(call, &values, action);
}

enum command_status
backend_hold(struct call *call)
{
    enum command_status status = call_need_reason(call);

    return status == COMMAND_DONE ? set_held(call, true, call_value(call, "reason"), "held")
                                  : status;
}

/* Its health is that of its address: for one by name the operator says which. */
static enum command_status
find_address(struct call *call, char address[INET_ENDPOINT_SIZE], int64_t *port)
{
    const char *given = call_value(call, "address");
    struct target target;
    const char *params[] = {target.customer, target.number};
    struct inet_endpoint endpoint;
    enum command_status status = read_target(call, &target);
    PGresult *result;

    address[0] = '\0';
    if (given && inet_endpoint_parse(slice_of(given), 25, &endpoint) != ERR_OK)
        return call_usage("--address: \"%s\" is no address; give one such as 192.0.2.10", given);
    if (status == COMMAND_DONE)
        status = database_query(call,
                                "SELECT host(b.address), b.port FROM postern.backends b JOIN "
                                "postern.customers c ON c.id = b.customer_id WHERE c.name = $1 AND "
                                "b.number = $2::integer",
                                2, params, &result);
    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) > 0) {
        snprintf(address, INET_ENDPOINT_SIZE, "%s", given ? given : PQgetvalue(result, 0, 0));
        *port = database_number(result, 0, 1);
    }
    PQclear(result);
    return COMMAND_DONE;
}

enum command_status
backend_release(struct call *call)
{
    char address[INET_ENDPOINT_SIZE];
    int64_t port = 0;
    enum command_status status = find_address(call, address, &port);

    if (status == COMMAND_DONE)
        status = set_held(call, false, NULL, "released");
    if (status == COMMAND_DONE && !call->dry_run && address[0] != '\0')
        backend_health_release(call, address, port);
    else if (status == COMMAND_DONE && !call->dry_run)
        call_complain("if one of its addresses is refusing known recipients (relayctl status), "
                      "release it with --address ADDRESS");
    return status;
}

/* --- Looking. */

#define BACKEND_COLUMNS                                                                         \
    "c.name, b.number, host(b.address), b.port, b.priority, b.max_connections, b.tls, b.held, " \
    "b.held_reason, " DATABASE_MS(                                                              \
        "b.created_at") ", b.host, b.lookup, b.weight, "                                        \
                        "host(b.source_address), b.tls_name, b.xforward, b.domain"
#define BACKEND_FROM " FROM postern.backends b JOIN postern.customers c ON c.id = b.customer_id "

static const struct printer_column show_columns[] = {
    {"name", "Backend", PRINTER_LEFT},
    {"customer", "Customer", PRINTER_LEFT},
    {"address", "Address", PRINTER_LEFT},
    {"port", "Port", PRINTER_LEFT},
    {"priority", "Priority", PRINTER_LEFT},
    {"max_connections", "Connections", PRINTER_LEFT},
    {"tls", "TLS", PRINTER_BELOW},
    {"held", "Held", PRINTER_LEFT},
    {"held_reason", "Reason", PRINTER_LEFT},
    {"domain", "For domain", PRINTER_LEFT},
    {"host", "Host", PRINTER_LEFT},
    {"lookup", "Looked up", PRINTER_LEFT},
    {"weight", "Weight", PRINTER_LEFT},
    {"source_address", "From address", PRINTER_LEFT},
    {"tls_name", "Certificate's name", PRINTER_LEFT},
    {"xforward", "XFORWARD", PRINTER_LEFT},
    BACKEND_HEALTH_COLUMNS("Health", "Since", "Because", "Next probe"),
    {"created_at", "Created", PRINTER_LEFT},
};

static void
print_name(struct printer *p, const PGresult *r, int row)
{
    char name[FIELD_NAME_SIZE + 16];

    snprintf(name, sizeof name, "%s/%s", PQgetvalue(r, row, 0), PQgetvalue(r, row, 1));
    printer_text(p, name);
}

static void
print_connections(struct printer *p, const PGresult *r, int row)
{
    if (PQgetisnull(r, row, 5))
        printer_none(p, "as the node");
    else
        printer_number(p, database_number(r, row, 5));
}

static void
print_health(struct printer *p, const struct call *call, const struct shared_table *table,
             const PGresult *r, int row, bool is_list)
{
    backend_health_print(p, call, table, database_text(r, row, 2), database_number(r, row, 3),
                         database_bool(r, row, 7), is_list);
}

/* Columns of BACKEND_COLUMNS from the tenth on. */
static void
print_routing(struct printer *p, const PGresult *r, int row)
{
    printer_text(p, database_text(r, row, 16));
    printer_text(p, database_text(r, row, 10));
    printer_text(p, database_text(r, row, 11));
    printer_number(p, database_number(r, row, 12));
    printer_text(p, database_text(r, row, 13));
    printer_text(p, database_text(r, row, 14));
    printer_bool(p, database_bool(r, row, 15));
}

enum command_status
backend_show(struct call *call)
{
    struct shared_table *table;
    struct target target;
    const char *params[] = {target.customer, target.number};
    PGresult *result;
    struct printer *p;
    enum command_status status = read_target(call, &target);

    if (status == COMMAND_DONE)
        status = database_query(call,
                                "SELECT " BACKEND_COLUMNS BACKEND_FROM
                                "WHERE c.name = $1 AND b.number = $2::integer",
                                2, params, &result);
    if (status != COMMAND_DONE)
        return status;
    table = backend_health_open(call);
    p = printer_new(&call->printing, PRINTER_ONE, show_columns, ARRAY_SIZE(show_columns));
    for (int row = 0; row < PQntuples(result); row++) {
        print_name(p, result, row);
        printer_text(p, database_text(result, row, 0));
        printer_text(p, database_text(result, row, 2));
        printer_number(p, database_number(result, row, 3));
        printer_number(p, database_number(result, row, 4));
        print_connections(p, result, row);
        printer_text(p, database_text(result, row, 6));
        printer_bool(p, database_bool(result, row, 7));
        printer_text(p, database_text(result, row, 8));
        print_routing(p, result, row);
        print_health(p, call, table, result, row, false);
        printer_time(p, database_number(result, row, 9));
    }
    status = printer_row_count(p) ? COMMAND_DONE : COMMAND_NOTHING;
    shared_table_detach(&table);
    printer_finish(&p);
    PQclear(result);
    return status == COMMAND_DONE ? status : complain_missing(&target);
}

static const struct printer_column list_columns[] = {
    {"name", "BACKEND", PRINTER_LEFT},
    {"domain", "DOMAIN", PRINTER_BELOW},
    {"address", "ADDRESS", PRINTER_LEFT},
    {"host", "HOST", PRINTER_BELOW},
    {"port", "PORT", PRINTER_RIGHT},
    {"priority", "PRIORITY", PRINTER_RIGHT | PRINTER_BELOW},
    {"weight", "WEIGHT", PRINTER_RIGHT | PRINTER_BELOW},
    {"max_connections", "CONNECTIONS", PRINTER_RIGHT | PRINTER_BELOW},
    {"tls", "TLS", PRINTER_BELOW},
    {"held", "HELD", PRINTER_LEFT},
    {"held_reason", "REASON", PRINTER_PROSE | PRINTER_BELOW},
    BACKEND_HEALTH_COLUMNS("HEALTH", "SINCE", "BECAUSE", "NEXT PROBE"),
};

static enum command_status
print_list(const struct call *call, const PGresult *result)
{
    struct shared_table *table = backend_health_open(call);
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    unsigned count;

    for (int row = 0; row < PQntuples(result); row++) {
        print_name(p, result, row);
        printer_text(p, database_text(result, row, 16));
        printer_text(p, database_text(result, row, 2));
        printer_text(p, database_text(result, row, 10));
        printer_number(p, database_number(result, row, 3));
        printer_number(p, database_number(result, row, 4));
        printer_usual(p, database_number(result, row, 4) == 10);
        printer_number(p, database_number(result, row, 12));
        printer_usual(p, database_number(result, row, 12) == 1);
        print_connections(p, result, row);
        printer_usual(p, database_text(result, row, 5) == NULL);
        printer_text(p, database_text(result, row, 6));
        printer_usual(p, strcmp(PQgetvalue(result, row, 6), "may") == 0);
        printer_bool(p, database_bool(result, row, 7));
        printer_usual(p, true); /* its health says so as well */
        printer_text(p, database_text(result, row, 8));
        print_health(p, call, table, result, row, true);
    }
    shared_table_detach(&table);
    count = printer_row_count(p);
    printer_finish(&p);
    if (count > 0)
        return COMMAND_DONE;
    call_complain("no backend matches; for example: relayctl backend add 192.0.2.10:25 --customer "
                  "acme");
    return call_value(call, "customer") ? COMMAND_NOTHING : COMMAND_DONE;
}

enum command_status
backend_list(struct call *call)
{
    const char *owner = call_value(call, "customer");
    char customer[FIELD_NAME_SIZE] = "", id[16] = "";
    const char *params[] = {customer};
    PGresult *result;
    enum command_status status = COMMAND_DONE;

    if (owner)
        status = field_customer_name(owner, customer);
    if (status == COMMAND_DONE && owner)
        status = registry_row_customer(call, customer, id);
    if (status == COMMAND_DONE)
        status =
            database_query(call,
                           "SELECT " BACKEND_COLUMNS BACKEND_FROM
                           "WHERE $1 = '' OR c.name = $1 ORDER BY c.name, b.priority, b.number",
                           1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    status = print_list(call, result);
    PQclear(result);
    return status;
}

/* --- Removing. */

static enum command_status
remove_row(struct call *call, const struct target *target)
{
    const char *params[] = {target->id, target->number};
    PGresult *result;
    bool there;
    enum command_status status = database_query(
        call,
        "DELETE FROM postern.backends WHERE customer_id = $1::integer AND number = $2::integer", 2,
        params, &result);

    if (status != COMMAND_DONE)
        return status;
    there = strcmp(PQcmdTuples(result), "0") != 0;
    PQclear(result);
    return there ? COMMAND_DONE : complain_missing(target);
}

/* Waiting mail is left without a route by the removal of the last backend that serves the domain of
 * one of its recipients: one of the domain's own, or one for all of the customer's. */
#define WAITING_WITHOUT_ROUTE                                                                     \
    "customer_id = $1::integer AND EXISTS (SELECT FROM unnest(CASE WHEN recipients = '{}' THEN "  \
    "'{\"\"}' ELSE recipients END) r LEFT JOIN postern.domains d ON d.customer_id = $1::integer " \
    "AND (d.name = lower(substring(r FROM '@([^@]*)$')) OR (left(d.name, 1) = '.' AND "           \
    "right(lower(r), length(d.name)) = d.name)) WHERE NOT EXISTS (SELECT FROM postern.backends "  \
    "b WHERE b.customer_id = $1::integer AND b.number <> $2::integer AND (b.domain IS NULL OR "   \
    "b.domain = d.name)))"

enum command_status
backend_remove(struct call *call)
{
    struct removal removal;
    struct target target = {.id = ""};
    const char *params[] = {target.id, target.number};
    char what[FIELD_NAME_SIZE + 64];
    enum command_status status = call_need_reason(call);

    if (status == COMMAND_DONE)
        status = read_target(call, &target);
    if (status == COMMAND_DONE) {
        snprintf(what, sizeof what, "Remove backend %s?", target.name);
        status = call_confirm(call, what);
    }
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    removal_init(&removal, call);
    snprintf(what, sizeof what, "backend %s is the customer's last and", target.name);
    status = registry_row_customer(call, target.customer, target.id);
    if (status == COMMAND_DONE)
        status =
            removal_check(&removal, what, WAITING_WITHOUT_ROUTE, WAITING_WITHOUT_ROUTE, 2, params);
    if (status == COMMAND_DONE)
        status = remove_row(call, &target);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "removed", "backend", target.name);
    status = removal_finish(&removal, status);
    removal_fini(&removal);
    return status;
}
