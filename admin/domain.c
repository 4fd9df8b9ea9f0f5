/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl domain: which domains are served for whom.  Only a removal from here leaves a tombstone,
 * which tells every node that the domain is gone on purpose.
 */
#include <string.h>

#include "admin/commands.h"
#include "admin/contact.h"
#include "admin/missing.h"
#include "admin/ownership.h"
#include "admin/registry_form.h"
#include "admin/registry_row.h"
#include "admin/removal.h"
#include "survey/survey_domain.h"

static const char *const when_down_words[] = {"accept", "defer", "reject", NULL};

static const char *const mode_words[] = {"mx", "fallback", NULL};
static const char *const primary_up_words[] = {"strict", "defer", "accept", NULL};
static const char *const recipients_words[] = {"complete", "listed", NULL};

const struct field domain_fields[] = {
    {"when-down", "when_down", "text", field_check_word, 0, 0, when_down_words},
    {"mode", "mode", "text", field_check_word, 0, 0, mode_words},
    {"primary-up", "primary_up", "text", field_check_word, 0, 0, primary_up_words},
    {0},
};

/* The customer that --customer names, as an id; the option is required if `required`. */
static enum command_status
read_customer(struct call *call, bool required, char id[16])
{
    const char *text = call_value(call, "customer");
    char name[FIELD_NAME_SIZE];
    enum command_status status;

    id[0] = '\0';
    if (text == NULL && required)
        return call_usage("whose is it? Use --customer NAME, for example: %s",
                          call->line.command->example);
    if (text == NULL)
        return COMMAND_DONE;
    status = field_customer_name(text, name);
    return status == COMMAND_DONE ? registry_row_customer(call, name, id) : status;
}

static enum command_status
complain_exists(struct call *call, const char *name)
{
    const char *params[] = {name};
    PGresult *result;
    enum command_status status =
        database_query(call,
                       "SELECT c.name FROM postern.domains d JOIN postern.customers c ON c.id = "
                       "d.customer_id WHERE d.name = $1",
                       1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    call_complain("domain %s is registered already, for customer %s; `relayctl domain set %s` "
                  "changes it",
                  name, PQntuples(result) ? PQgetvalue(result, 0, 0) : "?", name);
    PQclear(result);
    return COMMAND_FAILED;
}

/* In a savepoint, so that the owner of an existing one can be asked for after the failure. */
static enum command_status
insert(struct call *call, const char *name, const char *customer_id,
       const struct field_values *values)
{
    const char *keys[] = {name, customer_id};
    enum command_status status = COMMAND_DONE;
    PGresult *result;

    PQclear(PQexec(call->pg, "SAVEPOINT adding"));
    result = registry_row_insert(call, "domains", "name, customer_id", "$1::text, $2::integer", 2,
                                 keys, values);
    if (database_failed_with(result, "23505")) {
        PQclear(PQexec(call->pg, "ROLLBACK TO adding"));
        status = complain_exists(call, name);
    } else if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        status = database_explain(call, result);
    }
    PQclear(result);
    return status;
}

/* What is to be published is said at once; `domain show` says it again. */
static void
done(struct call *call, const char *action, const char *name, const char *token)
{
    call_done(call, action, "domain", name);
    if (token[0] && !call->printing.json && !call->dry_run)
        fprintf(call->printing.out,
                "The customer proves that it is its own by a TXT record at %s:\n"
                "    " SURVEY_OWNERSHIP_PREFIX "%s\n",
                name[0] == '.' ? name + 1 : name, token);
}

enum command_status
domain_add(struct call *call)
{
    struct field_values values;
    char name[FIELD_DOMAIN_SIZE], customer_id[16], token[OWNERSHIP_TOKEN_SIZE];
    bool is_there;
    enum command_status status = field_domain_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = field_read(call, domain_fields, &values);
    if (status == COMMAND_DONE)
        status = ownership_check_options(call);
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = read_customer(call, true, customer_id);
    if (status == COMMAND_DONE)
        status = insert(call, name, customer_id, &values);
    if (status == COMMAND_DONE)
        status = ownership_set(call, name, &is_there, token);
    if (status == COMMAND_DONE)
        status = contact_warn(call, customer_id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        done(call, "added", name, token);
    return status;
}

/* --recipients, which is no column: a list of none cannot be complete. */
static enum command_status
set_recipients(struct call *call, const char *name)
{
    static const struct field field = {"recipients", "", "", NULL, 0, 0, recipients_words};
    const char *text = call_value(call, "recipients"), *wrong;
    char word[FIELD_TEXT_SIZE], why[FIELD_TEXT_SIZE];
    bool is_null = false;

    if (text == NULL)
        return COMMAND_DONE;
    wrong = field_check_word(&field, text, word, &is_null, why);
    if (wrong)
        return call_usage("--recipients: \"%s\" %s", text, wrong);
    return recipient_set_complete(call, name, strcmp(word, "complete") == 0);
}

enum command_status
domain_set(struct call *call)
{
    static const struct field customer_field = {"", "customer_id", "integer", NULL, 0, 0, NULL};
    struct field_values values;
    char name[FIELD_DOMAIN_SIZE], customer_id[16], token[OWNERSHIP_TOKEN_SIZE];
    const char *keys[] = {name};
    bool changed = true;
    enum command_status status = field_domain_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = field_read(call, domain_fields, &values);
    if (status == COMMAND_DONE)
        status = ownership_check_options(call);
    if (status != COMMAND_DONE)
        return status;
    if (values.count == 0 && call_value(call, "customer") == NULL &&
        call_value(call, "recipients") == NULL && !ownership_is_given(call))
        return call_usage("nothing to set; for example: %s", call->line.command->example);
    status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = read_customer(call, false, customer_id);
    if (customer_id[0]) {
        values.fields[values.count] = &customer_field;
        values.params[values.count++] = customer_id;
    }
    if (status == COMMAND_DONE && values.count > 0)
        status = registry_row_update(call, "domains", "name = $1", 1, keys, &values, &changed);
    if (status == COMMAND_DONE && !changed)
        status = missing_complain(call, MISSING_DOMAIN, name);
    if (status == COMMAND_DONE)
        status = set_recipients(call, name);
    if (status == COMMAND_DONE)
        status = ownership_set(call, name, &changed, token);
    if (status == COMMAND_DONE && !changed)
        status = missing_complain(call, MISSING_DOMAIN, name);
    if (status == COMMAND_DONE && customer_id[0])
        status = contact_warn(call, customer_id);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        done(call, "changed", name, token);
    return status;
}

/* --- Looking. */

#define DOMAIN_COLUMNS                                                                       \
    "d.name, c.name, d.when_down, c.state, "                                                 \
    "(SELECT count(*) FROM postern.recipients r WHERE r.domain = d.name), "                  \
    "d.recipients_complete, (SELECT count(*) FROM postern.backends b WHERE b.customer_id = " \
    "d.customer_id), " DATABASE_MS("d.created_at") ", d.mode, d.primary_up, d.ownership_token"

/* primary-up says nothing of a domain whose first MX we are. */
static void
print_mode(struct printer *p, const PGresult *result, int row, bool is_list)
{
    const char *mode = database_text(result, row, 8);

    printer_text(p, mode);
    printer_usual(p, is_list && strcmp(mode, "mx") == 0);
    printer_text(p, strcmp(mode, "fallback") == 0 ? database_text(result, row, 9) : NULL);
}

static void
print_ownership(struct printer *p, const char *token)
{
    char text[OWNERSHIP_TOKEN_SIZE + 64];

    if (token)
        snprintf(text, sizeof text, SURVEY_OWNERSHIP_PREFIX "%s", token);
    printer_text(p, token ? text : NULL);
}

static const struct printer_column show_columns[] = {
    {"name", "Domain", PRINTER_LEFT},
    {"customer", "Customer", PRINTER_LEFT},
    {"when_down", "When down", PRINTER_LEFT},
    {"mode", "Mode", PRINTER_LEFT},
    {"primary_up", "While the primary is up", PRINTER_LEFT},
    {"customer_state", "Customer's state", PRINTER_LEFT},
    {"recipients", "Registered recipients", PRINTER_LEFT},
    {"recipients_complete", "These are all", PRINTER_LEFT},
    {"backends", "Backends", PRINTER_LEFT},
    {"created_at", "Created", PRINTER_LEFT},
    {"ownership_txt", "Proof of ownership (TXT)", PRINTER_LEFT},
};

enum command_status
domain_show(struct call *call)
{
    char name[FIELD_DOMAIN_SIZE];
    const char *params[] = {name};
    PGresult *result;
    struct printer *p;
    enum command_status status = field_domain_name(call->line.operands[0], name);

    if (status == COMMAND_DONE)
        status = database_query(call,
                                "SELECT " DOMAIN_COLUMNS
                                " FROM postern.domains d JOIN postern.customers c ON c.id = "
                                "d.customer_id WHERE d.name = $1",
                                1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_ONE, show_columns, ARRAY_SIZE(show_columns));
    for (int row = 0; row < PQntuples(result); row++) {
        printer_text(p, database_text(result, row, 0));
        printer_text(p, database_text(result, row, 1));
        printer_text(p, database_text(result, row, 2));
        print_mode(p, result, row, false);
        printer_word(p, PQgetvalue(result, row, 3));
        printer_number(p, database_number(result, row, 4));
        printer_bool(p, database_bool(result, row, 5));
        printer_number(p, database_number(result, row, 6));
        printer_time(p, database_number(result, row, 7));
        print_ownership(p, database_text(result, row, 10));
    }
    status = printer_row_count(p) ? COMMAND_DONE : COMMAND_NOTHING;
    printer_finish(&p);
    PQclear(result);
    return status == COMMAND_DONE ? status : missing_complain(call, MISSING_DOMAIN, name);
}

static const struct printer_column list_columns[] = {
    {"name", "DOMAIN", PRINTER_LEFT},           {"customer", "CUSTOMER", PRINTER_LEFT},
    {"when_down", "WHEN DOWN", PRINTER_LEFT},   {"mode", "MODE", PRINTER_LEFT},
    {"primary_up", "PRIMARY UP", PRINTER_LEFT}, {"customer_state", "CUSTOMER IS", PRINTER_LEFT},
    {"backends", "BACKENDS", PRINTER_RIGHT},
};

enum command_status
domain_list(struct call *call)
{
    char id[16];
    const char *params[] = {id};
    PGresult *result;
    struct printer *p;
    enum command_status status = read_customer(call, false, id);

    if (status == COMMAND_DONE)
        status = database_query(call,
                                "SELECT " DOMAIN_COLUMNS
                                " FROM postern.domains d JOIN postern.customers c ON c.id = "
                                "d.customer_id WHERE $1 = '' OR d.customer_id::text = $1 ORDER BY "
                                "d.name",
                                1, params, &result);
    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    for (int row = 0; row < PQntuples(result); row++) {
        printer_text(p, database_text(result, row, 0));
        printer_text(p, database_text(result, row, 1));
        printer_text(p, database_text(result, row, 2));
        printer_usual(p, strcmp(PQgetvalue(result, row, 2), "accept") == 0);
        print_mode(p, result, row, true);
        printer_word(p, PQgetvalue(result, row, 3));
        printer_usual(p, strcmp(PQgetvalue(result, row, 3), "active") == 0);
        printer_number(p, database_number(result, row, 6));
    }
    status = printer_row_count(p) ? COMMAND_DONE : COMMAND_NOTHING;
    printer_finish(&p);
    PQclear(result);
    if (status == COMMAND_NOTHING)
        call_complain("no domain matches; for example: relayctl domain add acme.example --customer "
                      "acme");
    return id[0] ? status : COMMAND_DONE; /* nothing was selected, so nothing was missed */
}

/* --- Removing. */

/* Recipients of the domain, or of its subdomains for ".name". */
#define WAITING_FOR_DOMAIN                                                             \
    "EXISTS (SELECT FROM unnest(recipients) r WHERE CASE WHEN left($1, 1) = '.' THEN " \
    "right(lower(r), length($1)) = $1 ELSE right(lower(r), length($1) + 1) = '@' || $1 END)"

/* And nobody else's: it may be ended as a whole. */
#define WAITING_FOR_DOMAIN_ALONE                                                    \
    WAITING_FOR_DOMAIN                                                              \
    " AND NOT EXISTS (SELECT FROM unnest(recipients) r WHERE NOT CASE WHEN "        \
    "left($1, 1) = '.' THEN right(lower(r), length($1)) = $1 ELSE right(lower(r), " \
    "length($1) + 1) = '@' || $1 END)"

static enum command_status
bury(struct call *call, const char *name)
{
    const char *params[] = {name, call_value(call, "reason")};
    PGresult *result;
    bool there;
    enum command_status status =
        database_query(call,
                       "WITH gone AS (DELETE FROM postern.domains WHERE name = $1 RETURNING name, "
                       "customer_id) INSERT INTO postern.removed_domains (name, customer_id, "
                       "customer, reason) SELECT gone.name, gone.customer_id, c.name, $2 FROM gone "
                       "JOIN postern.customers c ON c.id = gone.customer_id RETURNING name",
                       2, params, &result);

    if (status != COMMAND_DONE)
        return status;
    there = PQntuples(result) > 0;
    PQclear(result);
    return there ? COMMAND_DONE : missing_complain(call, MISSING_DOMAIN, name);
}

enum command_status
domain_remove(struct call *call)
{
    struct removal removal;
    char name[FIELD_DOMAIN_SIZE], what[FIELD_DOMAIN_SIZE + 64];
    const char *params[] = {name};
    enum command_status status = call_need_reason(call);

    if (status == COMMAND_DONE)
        status = field_domain_name(call->line.operands[0], name);
    if (status == COMMAND_DONE) {
        snprintf(what, sizeof what, "Remove domain %s and refuse its mail from now on?", name);
        status = call_confirm(call, what);
    }
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    removal_init(&removal, call);
    snprintf(what, sizeof what, "domain %s", name);
    status = removal_check(&removal, what, WAITING_FOR_DOMAIN, WAITING_FOR_DOMAIN_ALONE, 1, params);
    if (status == COMMAND_DONE)
        status = bury(call, name);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "removed", "domain", name);
    status = removal_finish(&removal, status);
    removal_fini(&removal);
    return status;
}
