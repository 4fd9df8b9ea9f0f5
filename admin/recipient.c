/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl recipient: the recipients that a customer has registered, and what this node has learned
 * of others, as far as it is to be forgotten.  Registered ones are known valid on every node; on a
 * list that is complete the others are refused without asking the customer's server.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/missing.h"
#include "admin/recipient_file.h"
#include "admin/registry_row.h"
#include "net/control.h"

#define ASK_MS 5000

struct owner { /* a registered domain */
    char domain[FIELD_DOMAIN_SIZE];
    char customer_id[16];
    bool is_complete;
};

/* The domain itself, or the nearest ".parent" that takes it, as a node looks it up. */
static enum command_status
find_owner(struct call *call, const char *name, struct owner *owner)
{
    const char *params[] = {name};
    PGresult *r;
    enum command_status status =
        database_query(call,
                       "SELECT name, customer_id, recipients_complete FROM postern.domains WHERE "
                       "name = $1 OR (left(name, 1) = '.' AND right($1, length(name)) = name) "
                       "ORDER BY length(name) DESC LIMIT 1",
                       1, params, &r);

    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(r) == 0)
        status = missing_complain(call, MISSING_DOMAIN, name);
    else {
        snprintf(owner->domain, sizeof owner->domain, "%s", PQgetvalue(r, 0, 0));
        snprintf(owner->customer_id, sizeof owner->customer_id, "%s", PQgetvalue(r, 0, 1));
        owner->is_complete = database_bool(r, 0, 2);
    }
    PQclear(r);
    return status;
}

/* --- Adding. */

#define INSERT                                                                              \
    "INSERT INTO postern.recipients (domain, local_part) SELECT DISTINCT $1::text, l FROM " \
    "unnest($2::text[]) l ON CONFLICT DO NOTHING"

static enum command_status
insert(struct call *call, const char *domain, const char *array, long *added)
{
    const char *params[] = {domain, array};
    PGresult *r;
    enum command_status status = database_query(call, INSERT, 2, params, &r);

    if (status == COMMAND_DONE)
        *added += strtol(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    return status;
}

static enum command_status
add_one(struct call *call, const char *text, long *added)
{
    struct recipient_address address;
    struct owner owner;
    char why[FIELD_TEXT_SIZE];
    const char *wrong = recipient_address_parse(text, &address, why);
    enum command_status status;
    struct buf array;

    if (wrong)
        return call_usage("recipient: \"%.200s\" %s", text, wrong);
    status = find_owner(call, address.domain, &owner);
    if (status != COMMAND_DONE)
        return status;
    buf_init(&array, 0);
    recipient_array_add(&array, address.local_part);
    recipient_array_end(&array);
    status = insert(call, owner.domain, buf_text(&array), added);
    buf_fini(&array);
    return status;
}

static void
print_counts(const struct call *call, const char *domain, long added, long removed)
{
    static const struct printer_column columns[] = {
        {"domain", "Domain", PRINTER_LEFT},
        {"added", "Added", PRINTER_LEFT},
        {"removed", "Removed", PRINTER_LEFT},
        {"dry_run", "Only tried", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));

    printer_text(p, domain);
    printer_number(p, added);
    printer_number(p, removed);
    printer_bool(p, call->dry_run);
    printer_finish(&p);
}

enum command_status
recipient_add(struct call *call)
{
    enum command_status status = database_begin_change(call);
    long added = 0;

    if (status != COMMAND_DONE)
        return status;
    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        status = add_one(call, call->line.operands[i], &added);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        print_counts(call, NULL, added, 0);
    return status;
}

/* --- Importing. */

static enum command_status
remove_others(struct call *call, const char *domain, const char *array, long *removed)
{
    const char *params[] = {domain, array};
    PGresult *r;
    enum command_status status =
        database_query(call,
                       "DELETE FROM postern.recipients r WHERE domain = $1 AND NOT EXISTS (SELECT "
                       "FROM (SELECT unnest($2::text[]) l) list WHERE list.l = r.local_part)",
                       2, params, &r);

    if (status == COMMAND_DONE)
        *removed = strtol(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    return status;
}

enum command_status
recipient_set_complete(struct call *call, const char *domain, bool is_complete)
{
    const char *params[] = {domain, is_complete ? "true" : "false"};
    PGresult *r;
    enum command_status status = database_query(
        call,
        "UPDATE postern.domains d SET recipients_complete = $2::boolean WHERE name = $1 AND (NOT "
        "$2::boolean OR EXISTS (SELECT FROM postern.recipients r WHERE r.domain = d.name))",
        2, params, &r);

    if (status != COMMAND_DONE)
        return status;
    if (strcmp(PQcmdTuples(r), "0") == 0)
        status = call_usage("%s has no registered recipients: a complete list of none would "
                            "refuse all its mail; import them first",
                            domain);
    PQclear(r);
    return status;
}

static enum command_status
import(struct call *call, const char *domain, const char *array)
{
    bool complete = call_value(call, "complete"), not_complete = call_value(call, "not-complete");
    long added = 0, removed = 0;
    struct owner owner;
    enum command_status status = database_begin_change(call);

    if (status != COMMAND_DONE)
        return status;
    status = find_owner(call, domain, &owner);
    if (status == COMMAND_DONE && strcmp(owner.domain, domain) != 0) {
        call_complain("%s is served as one of %s; import them with --domain %s", domain,
                      owner.domain, owner.domain);
        status = COMMAND_NOTHING;
    }
    if (status == COMMAND_DONE && call_value(call, "replace"))
        status = remove_others(call, domain, array, &removed);
    if (status == COMMAND_DONE)
        status = insert(call, domain, array, &added);
    if (status == COMMAND_DONE && (complete || not_complete))
        status = recipient_set_complete(call, domain, complete);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        print_counts(call, domain, added, removed);
    return status;
}

enum command_status
recipient_import(struct call *call)
{
    const char *text = call_value(call, "domain");
    char domain[FIELD_DOMAIN_SIZE];
    enum command_status status;
    unsigned long count;
    struct buf array;

    if (text == NULL)
        return call_usage("of which domain are they? For example: %s", call->line.command->example);
    if (call_value(call, "complete") && call_value(call, "not-complete"))
        return call_usage("--complete and --not-complete exclude each other");
    status = field_domain_name(text, domain);
    if (status != COMMAND_DONE)
        return status;
    buf_init(&array, 0);
    status = recipient_file_read(call->line.operands[0], domain, &array, &count);
    if (status == COMMAND_DONE && count == 0)
        status = call_usage("%s holds no address; nothing was changed", call->line.operands[0]);
    if (status == COMMAND_DONE)
        status = import(call, domain, buf_text(&array));
    buf_fini(&array);
    return status;
}

/* --- Looking. */

/* That it is registered. */
static enum command_status
check_domain(struct call *call, const char *name)
{
    const char *params[] = {name};
    PGresult *result;
    enum command_status status =
        database_query(call, "SELECT FROM postern.domains WHERE name = $1", 1, params, &result);
    bool is_there = status == COMMAND_DONE && PQntuples(result) > 0;

    PQclear(result);
    return status != COMMAND_DONE || is_there ? status
                                              : missing_complain(call, MISSING_DOMAIN, name);
}

enum command_status
recipient_list(struct call *call)
{
    static const struct printer_column columns[] = {
        {"address", "ADDRESS", PRINTER_LEFT},
        {"customer", "CUSTOMER", PRINTER_LEFT},
        {"complete", "LIST IS COMPLETE", PRINTER_LEFT},
        {"created_at", "ADDED", PRINTER_LEFT},
    };
    const char *customer = call_value(call, "customer"), *text = call_value(call, "domain");
    char domain[FIELD_DOMAIN_SIZE] = "", id[16] = "";
    const char *params[] = {domain, id};
    enum command_status status = text ? field_domain_name(text, domain) : COMMAND_DONE;
    struct printer *p;
    unsigned count;
    PGresult *r;

    if (status == COMMAND_DONE && customer)
        status = registry_row_customer(call, customer, id);
    if (status == COMMAND_DONE)
        status = database_query(
            call,
            "SELECT r.local_part || CASE left(d.name, 1) WHEN '.' THEN '@*' ELSE '@' END || "
            "d.name, "
            "c.name, d.recipients_complete, " DATABASE_MS(
                "r.created_at") " FROM postern.recipients r JOIN postern.domains d ON d.name = "
                                "r.domain JOIN postern.customers c ON c.id = d.customer_id WHERE "
                                "($1 = '' OR d.name = $1) AND ($2 = '' OR c.id::text = $2) ORDER "
                                "BY d.name, r.local_part",
            2, params, &r);
    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (int row = 0; row < PQntuples(r); row++) {
        printer_text(p, database_text(r, row, 0));
        printer_text(p, database_text(r, row, 1));
        printer_bool(p, database_bool(r, row, 2));
        printer_date(p, database_number(r, row, 3));
    }
    count = printer_row_count(p);
    printer_finish(&p);
    PQclear(r);
    if (count > 0)
        return COMMAND_DONE;
    if (text && (status = check_domain(call, domain)) != COMMAND_DONE)
        return status;
    call_complain("no registered recipient matches; `relayctl recipient import` registers them");
    return customer || text ? COMMAND_NOTHING : COMMAND_DONE;
}

/* --- Forgetting. */

/* Tells the relay on this node; false: it does not run here, or may not be asked. */
static bool
tell_relay(const struct call *call, const struct owner *owner, const char *key, const char *domain)
{
    json_t *json = json_pack("{s:s, s:I, s:s?, s:s?}", "verb", "recipient-forget", "customer",
                             (json_int_t)strtol(owner->customer_id, NULL, 10), "recipient", key,
                             "domain", domain),
           *answer = NULL;
    char path[CALL_PATH_SIZE], *line = json_dumps(json, JSON_COMPACT);
    struct buf text;
    bool ok = false;

    buf_init(&text, 0);
    if (control_call(call_path(path, call->config->run_dir, "relayd.sock"), slice_of(line), ASK_MS,
                     &text) == ERR_OK) {
        answer = json_loadb(buf_slice(&text).p, buf_slice(&text).n, 0, NULL);
        ok = json_is_true(json_object_get(answer, "ok"));
    }
    buf_fini(&text);
    free(line);
    json_decref(json);
    json_decref(answer);
    return ok;
}

/* By a function that support staff may call too. */
static enum command_status
remove_one(struct call *call, const char *domain, const char *local_part, long *removed)
{
    const char *params[] = {domain, local_part};
    PGresult *r;
    enum command_status status =
        database_query(call, "SELECT postern.recipient_forget($1, $2)", 2, params, &r);

    if (status == COMMAND_DONE)
        *removed += (long)database_number(r, 0, 0);
    PQclear(r);
    return status;
}

/* A complete list of none would refuse all mail: it is one no more. */
static enum command_status
remove_all(struct call *call, const char *domain, long *removed)
{
    const char *params[] = {domain};
    PGresult *r;
    enum command_status status =
        database_query(call, "DELETE FROM postern.recipients WHERE domain = $1", 1, params, &r);

    if (status == COMMAND_DONE)
        *removed += strtol(PQcmdTuples(r), NULL, 10);
    PQclear(r);
    if (status == COMMAND_DONE)
        status = database_query(call,
                                "UPDATE postern.domains SET recipients_complete = false WHERE "
                                "name = $1 AND recipients_complete",
                                1, params, &r);
    if (status == COMMAND_DONE)
        PQclear(r);
    return status;
}

struct forgetting {
    long removed;
    unsigned untold; /* the relay has not been told of so many */
};

static enum command_status
forget_address(struct call *call, const char *text, struct forgetting *f)
{
    char why[FIELD_TEXT_SIZE], key[FIELD_TEXT_SIZE];
    struct recipient_address address;
    struct owner owner;
    const char *wrong = recipient_address_parse(text, &address, why);
    enum command_status status;

    if (wrong)
        return call_usage("recipient: \"%.200s\" %s", text, wrong);
    status = find_owner(call, address.domain, &owner);
    if (status == COMMAND_DONE)
        status = remove_one(call, owner.domain, address.local_part, &f->removed);
    if (status != COMMAND_DONE || call->dry_run)
        return status;
    snprintf(key, sizeof key, "%s@%s", address.local_part, address.domain);
    f->untold += !tell_relay(call, &owner, key, NULL);
    return status;
}

static enum command_status
forget_domain(struct call *call, const char *text, struct forgetting *f)
{
    char domain[FIELD_DOMAIN_SIZE];
    struct owner owner;
    enum command_status status = field_domain_name(text, domain);

    if (status == COMMAND_DONE)
        status = find_owner(call, domain, &owner);
    if (status == COMMAND_DONE && strcmp(owner.domain, domain) == 0)
        status = remove_all(call, owner.domain, &f->removed);
    if (status != COMMAND_DONE || call->dry_run || domain[0] == '.')
        return status; /* what was learned is of single subdomains */
    f->untold += !tell_relay(call, &owner, NULL, domain);
    return status;
}

enum command_status
recipient_forget(struct call *call)
{
    const char *domain = call_value(call, "domain");
    struct forgetting f = {0};
    enum command_status status;

    if ((domain != NULL) == (call->line.operand_count > 0))
        return call_usage("say which: addresses, or --domain DOMAIN for all of it");
    if (domain) {
        status = call_confirm(call, "Forget all registered and learned recipients of the domain?");
        if (status != COMMAND_DONE)
            return status;
    }
    status = domain ? database_begin_change(call) : database_begin_function(call);
    if (status != COMMAND_DONE)
        return status;
    if (domain)
        status = forget_domain(call, domain, &f);
    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        status = forget_address(call, call->line.operands[i], &f);
    status = database_end(call, status);
    if (status != COMMAND_DONE)
        return status;
    print_counts(call, domain, 0, f.removed);
    if (f.untold == 0)
        return COMMAND_DONE;
    call_complain(
        "relayd does not run here, or may not be asked by you: what this node has learned "
        "of %s stays",
        f.untold == 1 ? "it" : "them");
    return COMMAND_PARTLY;
}
