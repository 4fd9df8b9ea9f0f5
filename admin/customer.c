/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl customer: who is served, with which limits.  Looking is in customer_show.c.
 */
#include <string.h>

#include "admin/commands.h"
#include "admin/contact.h"
#include "admin/customer_limit.h"
#include "admin/customer_policy.h"
#include "admin/filter.h"
#include "admin/registry_form.h"
#include "admin/registry_row.h"
#include "admin/removal.h"
#include "admin/until.h"
#include "base/clock.h"
#include "base/parse.h"

static const char *const scope_words[] = {"customer", "client", NULL};
static const char *const bare_lf_words[] = {"refuse", "normalise", NULL};

static const char *const live_4xx_words[] = {"pass", "keep", NULL};

static const char *const language_words[] = {"en", "de", "nl", "da", NULL};

const struct field customer_fields[] = {
    {"contact", "contact", "text", field_check_mailbox, 0, 0, NULL},
    {"language", "language", "text", field_check_word, 0, 0, language_words},
    {"max-recipients-per-message", "max_recipients_per_message", "integer", field_check_limit, 1,
     100000, NULL},
    {"max-messages-per-connection", "max_messages_per_connection", "integer", field_check_limit, 1,
     1000000, NULL},
    {"max-connections-per-hour", "max_connections_per_hour", "integer", field_check_limit, 1,
     10000000, NULL},
    {"max-message-size", "max_message_size_bytes", "bigint", field_check_size, 1024, 2146435072,
     NULL},
    {"retention-days", "retention_days", "integer", field_check_limit, 1, 365, NULL},
    {"max-spool-messages", "max_spool_messages", "integer", field_check_limit, 1, 100000000, NULL},
    {"max-spool-size", "max_spool_bytes", "bigint", field_check_size, 1024, 1125899906842624, NULL},
    {"connections-scope", "connections_scope", "text", field_check_word, 0, 0, scope_words},
    {"bare-lf", "bare_lf", "text", field_check_word, 0, 0, bare_lf_words},
    {"live-4xx", "live_4xx", "text", field_check_word, 0, 0, live_4xx_words},
    {"policy", "policy", "text", customer_policy_check, 0, 0, NULL},
    {"filters-only", "filters_only", "boolean", field_check_word, 0, 0, field_yes_words},
    {0},
};

/* What the registry allows and this node's configuration does not. */
static void
warn_of_size(struct call *call, const struct field_values *values)
{
    uint64_t most = call->config->max_message_size, size;
    char text[PARSE_TEXT_SIZE], most_text[PARSE_TEXT_SIZE];

    for (unsigned i = 0; i < values->count; i++)
        if (strcmp(values->fields[i]->column, "max_message_size_bytes") == 0 && values->params[i] &&
            parse_u64(slice_of(values->params[i]), &size) == ERR_OK && size > most)
            call_warn(call,
                      "%s is more than this node takes from anybody (%s); raise "
                      "max-message-size in %s on every node and reload relayd, or it refuses "
                      "larger messages all the same",
                      format_size(size, text), format_size(most, most_text), call->config_path);
}

static enum command_status
warn_of_contact(struct call *call, const char *id, const struct field_values *values)
{
    for (unsigned i = 0; i < values->count; i++)
        if (strcmp(values->fields[i]->column, "contact") == 0)
            return contact_warn(call, id);
    return COMMAND_DONE;
}

/* Locked to filters that it does not have, nobody could send to it. */
static enum command_status
check_lock(struct call *call, const char *name, const char *id, const struct field_values *values)
{
    for (unsigned i = 0; i < values->count; i++)
        if (strcmp(values->fields[i]->column, "filters_only") == 0 &&
            strcmp(values->texts[i], "yes") == 0)
            return filter_check_lock(call, name, id);
    return COMMAND_DONE;
}

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
    char name[FIELD_NAME_SIZE], id[16];
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = field_read(call, customer_fields, &values);
    if (status != COMMAND_DONE)
        return status;
    status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = customer_policy_resolve(call, NULL, false, &values);
    if (status == COMMAND_DONE)
        status = insert(call, name, &values);
    if (status == COMMAND_DONE)
        status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status = check_lock(call, name, id, &values);
    if (status == COMMAND_DONE)
        status = warn_of_contact(call, id, &values);
    status = database_end(call, status);
    if (status == COMMAND_DONE) {
        warn_of_size(call, &values);
        call_done(call, "added", "customer", name);
    }
    return status;
}

/* How long a change holds: for good, or to a moment. */
#define FOR_GOOD 0

static enum command_status
change_row(struct call *call, const char *id, struct field_values *values, int64_t until_ms)
{
    const char *keys[] = {id};
    enum command_status status = customer_policy_resolve(call, id, until_ms != FOR_GOOD, values);
    bool changed;

    if (status != COMMAND_DONE)
        return status;
    if (until_ms != FOR_GOOD)
        return customer_limit_set_until(call, id, values, until_ms);
    status = registry_row_update(call, "customers", "id = $1::integer", 1, keys, values, &changed);
    return status == COMMAND_DONE ? customer_limit_end(call, id, values) : status;
}

/* Sets fields of one customer, in a change of its own. */
static enum command_status
change(struct call *call, struct field_values *values, int64_t until_ms, const char *action)
{
    char name[FIELD_NAME_SIZE], id[16] = "";
    enum command_status status = field_customer_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status = change_row(call, id, values, until_ms);
    if (status == COMMAND_DONE)
        status = check_lock(call, name, id, values);
    if (status == COMMAND_DONE)
        status = warn_of_contact(call, id, values);
    status = database_end(call, status);
    if (status == COMMAND_DONE) {
        warn_of_size(call, values);
        call_done(call, action, "customer", name);
        customer_policy_say(call, values);
    }
    return status;
}

static enum command_status
check_temporary(const struct field_values *values)
{
    for (unsigned i = 0; i < values->count; i++)
        if (strcmp(values->fields[i]->column, "contact") == 0 ||
            strcmp(values->fields[i]->column, "language") == 0 ||
            strcmp(values->fields[i]->column, "filters_only") == 0 ||
            strcmp(values->fields[i]->column, "live_4xx") == 0)
            return call_usage("--%s cannot change for a time only; give --until without it, "
                              "for example: relayctl customer set acme "
                              "--max-connections-per-hour 1000 --until +2d",
                              values->fields[i]->option);
    return COMMAND_DONE;
}

/* --until; without it FOR_GOOD. */
static enum command_status
read_until(const struct call *call, int64_t *until_ms)
{
    const char *text = call_value(call, "until");
    char now[CLOCK_LOCAL_SIZE];
    int rc;

    *until_ms = FOR_GOOD;
    if (text == NULL)
        return COMMAND_DONE;
    rc = until_parse(text, call->printing.now_ms, until_ms);
    if (rc == ERR_RANGE)
        return call_usage("--until: \"%s\" is %s; it is now %s; use a moment after that and before "
                          "2200, or no --until for good",
                          text, *until_ms >= UNTIL_LAST_MS ? "too far away" : "not in the future",
                          clock_local(call->printing.now_ms, now));
    if (rc < 0)
        return call_usage("--until: \"%s\" is not a moment; use a date (2026-12-01, from its "
                          "first minute on), a time (\"2026-12-01 15:00\"), or a span from now "
                          "(+2d, +90m)",
                          text);
    return COMMAND_DONE;
}

static void
say_until(const struct call *call, int64_t until_ms)
{
    char until[CLOCK_LOCAL_SIZE], relative[PRINTER_RELATIVE_SIZE];

    if (until_ms != FOR_GOOD && !call->printing.json)
        fprintf(call->printing.out, "until %s (%s); then the lasting values hold again\n",
                clock_local(until_ms, until),
                printer_relative(until_ms, call->printing.now_ms, relative));
}

enum command_status
customer_set(struct call *call)
{
    struct field_values values;
    int64_t until_ms;
    enum command_status status = field_read(call, customer_fields, &values),
                        until_status = read_until(call, &until_ms);

    if (status == COMMAND_DONE)
        status = until_status;
    if (status == COMMAND_DONE && until_ms != FOR_GOOD)
        status = check_temporary(&values);
    if (status != COMMAND_DONE)
        return status;
    if (values.count == 0)
        return call_usage("nothing to set; for example: %s", call->line.command->example);
    status = change(call, &values, until_ms, "changed");
    if (status == COMMAND_DONE)
        say_until(call, until_ms);
    return status;
}

static enum command_status
set_state(struct call *call, const char *state, const char *reason, const char *action)
{
    static const struct field state_field = {"", "state", "text", NULL, 0, 0, NULL};
    static const struct field reason_field = {"", "state_reason", "text", NULL, 0, 0, NULL};
    struct field_values values = {
        .fields = {&state_field, &reason_field}, .params = {state, reason}, .count = 2};

    return change(call, &values, FOR_GOOD, action);
}

enum command_status
customer_suspend(struct call *call)
{
    bool refuse = call_value(call, "refuse") != NULL;
    enum command_status status = call_need_reason(call);

    return status == COMMAND_DONE ? set_state(call, refuse ? "refused" : "suspended",
                                              call_value(call, "reason"), "suspended")
                                  : status;
}

enum command_status
customer_resume(struct call *call)
{
    return set_state(call, "active", NULL, "resumed");
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
                  "suspend %s --reason TEXT`",
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
    struct removal removal;
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
    removal_init(&removal, call);
    snprintf(what, sizeof what, "customer %s", name);
    status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        status = check_empty(call, name, id);
    if (status == COMMAND_DONE)
        status = removal_check(&removal, what, "customer_id = $1::integer",
                               "customer_id = $1::integer", 1, params);
    if (status == COMMAND_DONE)
        status = remove_row(call, id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "removed", "customer", name);
    status = removal_finish(&removal, status);
    removal_fini(&removal);
    return status;
}
