/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl customer: who is served, with which limits.
 */
#include <string.h>

#include "admin/commands.h"
#include "admin/registry_row.h"

static const struct field fields[] = {
    {"contact", "contact", "text", field_check_mailbox, 0, 0, NULL},
    {"max-recipients-per-message", "max_recipients_per_message", "integer", field_check_limit, 1,
     100000, NULL},
    {"max-messages-per-connection", "max_messages_per_connection", "integer", field_check_limit, 1,
     1000000, NULL},
    {"max-connections-per-hour", "max_connections_per_hour", "integer", field_check_limit, 1,
     10000000, NULL},
    {"max-message-size", "max_message_size_bytes", "bigint", field_check_size, 1024, 2146435072,
     NULL},
    {"retention-days", "retention_days", "integer", field_check_limit, 1, 365, NULL},
    {0},
};

static enum command_status
insert(struct call *call, const char *name, const struct field_values *values)
{
    const char *keys[] = {name};
    enum command_status status = COMMAND_DONE;
    PGresult *result = registry_row_insert(call, "customers", "name", "$1::text", 1, keys, values);

    if (database_failed_with(result, "23505")) {
        call_complain("customer %s exists already; `relayctl customer set %s` changes it", name,
                      name);
        status = COMMAND_FAILED;
    } else if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = database_explain(call, result);
    }
    PQclear(result);
    return status;
}

enum command_status
customer_add(struct call *call)
{
    struct field_values values;
    char name[FIELD_NAME_SIZE];
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = field_read(call, fields, &values);
    if (status != COMMAND_DONE)
        return status;
    status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = database_end(call, insert(call, name, &values));
    if (status == COMMAND_DONE)
        call_done(call, "added", "customer", name);
    return status;
}

/* Sets fields of one customer, in a change of its own. */
static enum command_status
change(struct call *call, const struct field_values *values, const char *action)
{
    char name[FIELD_NAME_SIZE], id[16] = "";
    const char *keys[] = {id};
    bool changed;
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status =
            registry_row_update(call, "customers", "id = $1::integer", 1, keys, values, &changed);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, action, "customer", name);
    return status;
}

enum command_status
customer_set(struct call *call)
{
    struct field_values values;
    enum command_status status = field_read(call, fields, &values);

    if (status != COMMAND_DONE)
        return status;
    if (values.count == 0)
        return call_usage("nothing to set; for example: %s", call->line.command->example);
    return change(call, &values, "changed");
}

static enum command_status
set_state(struct call *call, const char *state, const char *reason, const char *action)
{
    static const struct field state_field = {"", "state", "text", NULL, 0, 0, NULL};
    static const struct field reason_field = {"", "state_reason", "text", NULL, 0, 0, NULL};
    struct field_values values = {
        .fields = {&state_field, &reason_field}, .params = {state, reason}, .count = 2};

    return change(call, &values, action);
}

enum command_status
customer_suspend(struct call *call)
{
    bool refuse = call_value(call, "refuse") != NULL;

    return set_state(call, refuse ? "refused" : "suspended", call_value(call, "reason"),
                     "suspended");
}

enum command_status
customer_resume(struct call *call)
{
    return set_state(call, "active", NULL, "resumed");
}

/* --- Looking. */

#define CUSTOMER_COLUMNS                                                                    \
    "c.name, c.contact, c.state, c.state_reason, c.max_recipients_per_message, "            \
    "c.max_messages_per_connection, c.max_connections_per_hour, c.max_message_size_bytes, " \
    "c.retention_days, "                                                                    \
    "(SELECT count(*) FROM postern.domains d WHERE d.customer_id = c.id), "                 \
    "(SELECT count(*) FROM postern.backends b WHERE b.customer_id = c.id), " DATABASE_MS(   \
        "c.created_at")

static const struct printer_column show_columns[] = {
    {"name", "Customer", PRINTER_LEFT},
    {"contact", "Contact", PRINTER_LEFT},
    {"state", "State", PRINTER_LEFT},
    {"state_reason", "Reason", PRINTER_LEFT},
    {"max_recipients_per_message", "Recipients per message", PRINTER_LEFT},
    {"max_messages_per_connection", "Messages per connection", PRINTER_LEFT},
    {"max_connections_per_hour", "Connections per hour", PRINTER_LEFT},
    {"max_message_size_bytes", "Message size", PRINTER_LEFT},
    {"retention_days", "Days kept", PRINTER_LEFT},
    {"domains", "Domains", PRINTER_LEFT},
    {"backends", "Backends", PRINTER_LEFT},
    {"created_at", "Created", PRINTER_LEFT},
};

static void
print_limit(struct printer *p, const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        printer_none(p, "none");
    else
        printer_number(p, database_number(r, row, column));
}

static void
print_size_limit(struct printer *p, const PGresult *r, int row, int column)
{
    if (PQgetisnull(r, row, column))
        printer_none(p, "none");
    else
        printer_size(p, (uint64_t)database_number(r, row, column));
}

static void
print_customer(struct printer *p, const PGresult *r, int row)
{
    printer_text(p, database_text(r, row, 0));
    printer_text(p, database_text(r, row, 1));
    printer_word(p, PQgetvalue(r, row, 2));
    printer_text(p, database_text(r, row, 3));
    print_limit(p, r, row, 4);
    print_limit(p, r, row, 5);
    print_limit(p, r, row, 6);
    print_size_limit(p, r, row, 7);
    print_limit(p, r, row, 8);
    printer_number(p, database_number(r, row, 9));
    printer_number(p, database_number(r, row, 10));
    printer_time(p, database_number(r, row, 11));
}

enum command_status
customer_show(struct call *call)
{
    char name[FIELD_NAME_SIZE], id[16];
    const char *params[] = {id};
    PGresult *result;
    struct printer *p;
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status = database_query(
            call, "SELECT " CUSTOMER_COLUMNS " FROM postern.customers c WHERE c.id = $1::integer",
            1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_ONE, show_columns, ARRAY_SIZE(show_columns));
    for (int row = 0; row < PQntuples(result); row++)
        print_customer(p, result, row);
    printer_finish(&p);
    PQclear(result);
    return COMMAND_DONE;
}

static const struct printer_column list_columns[] = {
    {"name", "CUSTOMER", PRINTER_LEFT},
    {"state", "STATE", PRINTER_LEFT},
    {"contact", "CONTACT", PRINTER_LEFT},
    {"domains", "DOMAINS", PRINTER_RIGHT},
    {"backends", "BACKENDS", PRINTER_RIGHT},
    {"retention_days", "DAYS", PRINTER_RIGHT},
    {"max_message_size_bytes", "SIZE", PRINTER_RIGHT},
};

enum command_status
customer_list(struct call *call)
{
    PGresult *result;
    struct printer *p;
    unsigned count;
    enum command_status status =
        database_query(call, "SELECT " CUSTOMER_COLUMNS " FROM postern.customers c ORDER BY c.name",
                       0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    for (int row = 0; row < PQntuples(result); row++) {
        printer_text(p, database_text(result, row, 0));
        printer_word(p, PQgetvalue(result, row, 2));
        printer_text(p, database_text(result, row, 1));
        printer_number(p, database_number(result, row, 9));
        printer_number(p, database_number(result, row, 10));
        print_limit(p, result, row, 8);
        print_size_limit(p, result, row, 7);
    }
    count = printer_row_count(p);
    printer_finish(&p);
    PQclear(result);
    if (count > 0)
        return COMMAND_DONE;
    call_complain("there are no customers yet; for example: relayctl customer add acme --contact "
                  "ops@acme.example");
    return COMMAND_DONE;
}

/* --- Removing. */

/* What still hangs on the customer must be taken off first, each by its own command: a removal that
 * takes domains along would refuse mail that nobody thought of. */
static enum command_status
check_empty(struct call *call, const char *name, const char *id)
{
    const char *params[] = {id};
    long long domains, backends;
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT (SELECT count(*) FROM postern.domains WHERE customer_id = $1::integer), "
        "(SELECT count(*) FROM postern.backends WHERE customer_id = $1::integer)",
        1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    domains = (long long)database_number(result, 0, 0);
    backends = (long long)database_number(result, 0, 1);
    PQclear(result);
    if (domains == 0 && backends == 0)
        return COMMAND_DONE;
    call_complain("customer %s still has %lld domain%s and %lld backend%s; remove them first with "
                  "`relayctl domain remove` and `relayctl backend remove` (`relayctl domain list "
                  "--customer %s` shows them), or suspend the customer with `relayctl customer "
                  "suspend %s`",
                  name, domains, domains == 1 ? "" : "s", backends, backends == 1 ? "" : "s", name,
                  name);
    return COMMAND_FAILED;
}

static enum command_status
remove_row(struct call *call, const char *id)
{
    const char *params[] = {id};
    PGresult *result;
    enum command_status status =
        database_query(call, "DELETE FROM postern.upstream_filters WHERE customer_id = $1::integer",
                       1, params, &result);

    PQclear(result);
    if (status == COMMAND_DONE) {
        status = database_query(call, "DELETE FROM postern.customers WHERE id = $1::integer", 1,
                                params, &result);
        PQclear(result);
    }
    return status;
}

enum command_status
customer_remove(struct call *call)
{
    char name[FIELD_NAME_SIZE], what[FIELD_NAME_SIZE + 32], id[16] = "";
    const char *params[] = {id};
    enum command_status status = call_need_reason(call);

    if (status == COMMAND_DONE)
        status = field_customer_name(call->line.operands[0], name);
    if (status == COMMAND_DONE) {
        snprintf(what, sizeof what, "Remove customer %s?", name);
        status = call_confirm(call, what);
    }
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    snprintf(what, sizeof what, "customer %s", name);
    status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status = check_empty(call, name, id);
    if (status == COMMAND_DONE)
        status = registry_row_check_spool(call, what, "customer_id = $1::integer", 1, params);
    if (status == COMMAND_DONE)
        status = remove_row(call, id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "removed", "customer", name);
    return status;
}
