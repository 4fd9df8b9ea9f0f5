/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl filter: mail filters before us.  Their address exempts from checks of the connecting
 * host, for one customer, and never grants relay (P3).  Looking is in filter_show.c.
 */
#include "admin/filter.h"

#include <stdio.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/registry_form.h"
#include "admin/registry_row.h"
#include "base/parse.h"

static const char *const origin_words[] = {"connection", "received", NULL};
static const char *const exempt_words[] = {"ptr", "helo", "dnsbl", "greylist", NULL};

/* --- Options. */

static const char *
wrong_exemption(const char *word, char why[FIELD_TEXT_SIZE])
{
    struct command_guess guess = {0};

    for (const char *const *known = exempt_words; *known; known++)
        command_guess_offer(&guess, word, *known);
    snprintf(why, FIELD_TEXT_SIZE,
             "has \"%.40s\", which is no exemption%s%s%s; use ptr, helo, dnsbl and greylist with "
             "commas between, or none",
             word, guess.best ? " (did you mean " : "", guess.best ? guess.best : "",
             guess.best ? "?)" : "");
    return strncmp(word, "spf", 3) == 0
               ? "names SPF, from which a filter is always exempt; use ptr, helo, dnsbl and "
                 "greylist with commas between, or none"
               : why;
}

/* "ptr,helo" or "none", as an array of PostgreSQL's. */
static const char *
check_exempt(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE], bool *is_null,
             char why[FIELD_TEXT_SIZE])
{
    struct slice rest = slice_of(strcmp(text, "none") == 0 ? NULL : text);

    (void)field;
    (void)is_null;
    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ',');
        const char *const *known = exempt_words;
        char name[64];

        while (*known && !slice_equal(word, slice_of(*known)))
            known++;
        if (*known == NULL)
            return wrong_exemption(slice_to_text(word, name, sizeof name) ? name : "", why);
    }
    if (strlen(text) >= FIELD_TEXT_SIZE - 3)
        return "is too long";
    snprintf(dst, FIELD_TEXT_SIZE, "{%s}", strcmp(text, "none") == 0 ? "" : text);
    return NULL;
}

static const char *
check_label(const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE], bool *is_null,
            char why[FIELD_TEXT_SIZE])
{
    static const char form[] = "use 1 to 63 lower-case letters, digits, dots, hyphens and "
                               "underscores, not digits alone";
    size_t n = strlen(text);

    (void)field;
    (void)is_null;
    snprintf(why, FIELD_TEXT_SIZE, "cannot be a label; %s", form);
    if (n == 0 || n >= FIELD_NAME_SIZE || strspn(text, "0123456789") == n ||
        strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != n || strchr(".-_", text[0]) ||
        strchr(".-_", text[n - 1]))
        return why;
    memcpy(dst, text, n + 1);
    return NULL;
}

const struct field filter_fields[] = {
    {"label", "label", "text", check_label, 0, 0, NULL},
    {"exempt", "exempt", "text[]", check_exempt, 0, 0, NULL},
    {"origin", "origin", "text", field_check_word, 0, 0, origin_words},
    {0},
};

static const char *
value_of(const struct field_values *values, const char *column)
{
    for (unsigned i = 0; i < values->count; i++)
        if (strcmp(values->fields[i]->column, column) == 0)
            return values->params[i];
    return NULL;
}

/* --- Names. */

enum command_status
filter_name_read(struct call *call, const char *text, struct filter_name *name)
{
    const char *slash = strrchr(text, '/'), *rest = slash ? slash + 1 : "";
    char why[FIELD_TEXT_SIZE], label[FIELD_TEXT_SIZE];
    bool is_null = false, is_number = strspn(rest, "0123456789") == strlen(rest);
    uint64_t number = 0;
    enum command_status status;

    *name = (struct filter_name){.label = ""};
    if (slash == NULL || slash - text >= FIELD_NAME_SIZE ||
        (is_number ? parse_u64(slice_of(rest), &number) != ERR_OK || number == 0 || number > 9999
                   : check_label(NULL, rest, label, &is_null, why) != NULL))
        return call_usage(
            "filter: \"%.100s\" is not the name of a filter; it is CUSTOMER/LABEL, as "
            "in acme/barracuda, or CUSTOMER/N for one of its networks; `relayctl "
            "filter list` shows them",
            text);
    memcpy(name->customer, text, (size_t)(slash - text));
    snprintf(name->text, sizeof name->text, "%.128s", text);
    if (is_number)
        snprintf(name->number, sizeof name->number, "%llu", (unsigned long long)number);
    else
        snprintf(name->label, sizeof name->label, "%.63s", rest);
    status = field_customer_name(name->customer, label);
    return status == COMMAND_DONE ? registry_row_customer(call, name->customer, name->customer_id)
                                  : status;
}

enum command_status
filter_complain_missing(const struct filter_name *name)
{
    call_complain(
        "there is no filter %s; `relayctl filter list --customer %s` shows the customer's",
        name->text, name->customer);
    return COMMAND_NOTHING;
}

/* --- The lock. */

enum command_status
filter_check_lock(struct call *call, const char *customer, const char *customer_id)
{
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT count(*), count(*) FILTER (WHERE f.spf_include IS NOT NULL AND coalesce("
        "cardinality(i.resolved), 0) = 0) FROM postern.upstream_filters f LEFT JOIN "
        "postern.spf_includes i ON i.name = f.spf_include WHERE f.customer_id = $1::integer",
        1, &customer_id, &result);
    int64_t count, unknown;

    if (status != COMMAND_DONE)
        return status;
    count = database_number(result, 0, 0);
    unknown = database_number(result, 0, 1);
    PQclear(result);
    if (count == 0) {
        call_complain(
            "customer %s has no filter, so nobody at all could send to it; first add one, "
            "for example: relayctl filter add 203.0.113.0/24 --customer %s --label "
            "barracuda --only",
            customer, customer);
        return COMMAND_FAILED;
    }
    if (unknown > 0)
        call_warn(call,
                  "the lock holds once the networks of every SPF include of %s are known; until "
                  "then others may send to it (`relayctl filter list --customer %s` shows them)",
                  customer, customer);
    return COMMAND_DONE;
}

static enum command_status
set_lock(struct call *call, const char *customer, const char *customer_id, bool is_locked)
{
    const char *params[] = {customer_id, is_locked ? "t" : "f"};
    PGresult *result;
    enum command_status status = database_query(
        call, "UPDATE postern.customers SET filters_only = $2::boolean WHERE id = $1::integer", 2,
        params, &result);

    PQclear(result);
    return status == COMMAND_DONE && is_locked ? filter_check_lock(call, customer, customer_id)
                                               : status;
}

/* --- Warnings. */

static void
warn_of_listen(struct call *call, const char *text, const struct inet_network *network)
{
    char address[INET_ENDPOINT_SIZE];

    for (size_t i = 0; i < call->config->listen.count; i++)
        if (inet_network_has(network, &call->config->listen.items[i]))
            call_warn(call, "%s holds an address of this relay itself (%s); is that meant?", text,
                      inet_address_text(&call->config->listen.items[i], address));
}

static enum command_status
warn_of_backend(struct call *call, const char *network)
{
    PGresult *result;
    enum command_status status = database_query(
        call,
        "SELECT c.name, b.number, host(b.address) FROM postern.backends b JOIN postern.customers c "
        "ON c.id = b.customer_id WHERE b.address <<= $1::cidr ORDER BY c.name, b.number LIMIT 3",
        1, &network, &result);

    for (int row = 0; status == COMMAND_DONE && row < PQntuples(result); row++)
        call_warn(call,
                  "%s holds the backend %s/%s (%s): mail that this server sends would count as the "
                  "filter's; is that meant?",
                  network, PQgetvalue(result, row, 0), PQgetvalue(result, row, 1),
                  PQgetvalue(result, row, 2));
    PQclear(result);
    return status;
}

static void
warn_of_origin(struct call *call, const char *origin)
{
    if (strcmp(origin, "connection") == 0)
        call_warn(call, "without --origin received no sender behind the filter counts as verified, "
                        "so nobody is told when mail to this customer cannot be delivered");
}

/* --- Adding. */

/* What all rows of a label have: what was given, else what its other rows have, else all exempt. */
struct settings {
    char label[FIELD_NAME_SIZE], exempt[FIELD_TEXT_SIZE], origin[16];
};

static enum command_status
read_settings(struct call *call, const char *customer_id, const struct field_values *values,
              struct settings *s)
{
    const char *label = value_of(values, "label"), *exempt = value_of(values, "exempt"),
               *origin = value_of(values, "origin");
    const char *params[] = {customer_id, s->label};
    PGresult *result;
    enum command_status status;
    bool has_rows;

    snprintf(s->label, sizeof s->label, "%s", label ? label : "filter");
    status = database_query(
        call,
        "SELECT exempt::text, origin FROM postern.upstream_filters WHERE customer_id = $1::integer "
        "AND label = $2 ORDER BY number LIMIT 1",
        2, params, &result);
    if (status != COMMAND_DONE)
        return status;
    has_rows = PQntuples(result) > 0;
    snprintf(s->exempt, sizeof s->exempt, "%s",
             exempt     ? exempt
             : has_rows ? PQgetvalue(result, 0, 0)
                        : "{ptr,helo,dnsbl,greylist}");
    snprintf(s->origin, sizeof s->origin, "%s",
             origin     ? origin
             : has_rows ? PQgetvalue(result, 0, 1)
                        : "connection");
    PQclear(result);
    return COMMAND_DONE;
}

/* One of `network` and `include` is NULL. */
static enum command_status
insert(struct call *call, const struct filter_name *name, const struct settings *s,
       const char *network, const char *include)
{
    const char *params[] = {name->customer_id, s->label, network, include, s->exempt, s->origin};
    PGresult *result = database_try(
        call,
        "INSERT INTO postern.upstream_filters (customer_id, number, label, network, spf_include, "
        "exempt, origin) SELECT $1::integer, coalesce(max(number), 0) + 1, $2, $3::cidr, $4, "
        "$5::text[], $6 FROM postern.upstream_filters WHERE customer_id = $1::integer",
        6, params);
    enum command_status status = COMMAND_DONE;

    if (database_failed_with(result, "23505")) {
        call_complain("customer %s has %s already; `relayctl filter list --customer %s` shows the "
                      "name of its filter",
                      name->customer, network ? network : include, name->customer);
        status = COMMAND_FAILED;
    } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        status = database_explain(call, result);
    }
    PQclear(result);
    return status;
}

static enum command_status
insert_network(struct call *call, const struct filter_name *name, const struct settings *s,
               const char *operand)
{
    char text[INET_ENDPOINT_SIZE];
    struct inet_network network;
    enum command_status status = field_network("filter", operand, &network);

    if (status != COMMAND_DONE)
        return status;
    inet_network_text(&network, text);
    warn_of_listen(call, text, &network);
    status = warn_of_backend(call, text);
    return status == COMMAND_DONE ? insert(call, name, s, text, NULL) : status;
}

/* Settings that were given hold for all of the label's rows. */
static enum command_status
set_label(struct call *call, const struct filter_name *name, const struct settings *s)
{
    const char *params[] = {name->customer_id, s->label, s->exempt, s->origin};
    PGresult *result;
    enum command_status status = database_query(
        call,
        "UPDATE postern.upstream_filters SET exempt = $3::text[], origin = $4 WHERE customer_id = "
        "$1::integer AND label = $2 AND (exempt, origin) IS DISTINCT FROM ($3::text[], $4)",
        4, params, &result);

    PQclear(result);
    return status;
}

static enum command_status
add_rows(struct call *call, const struct filter_name *name, const struct settings *s,
         const char *include)
{
    enum command_status status = COMMAND_DONE;

    for (unsigned i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        status = insert_network(call, name, s, call->line.operands[i]);
    if (status == COMMAND_DONE && include)
        status = insert(call, name, s, NULL, include);
    if (status == COMMAND_DONE)
        status = set_label(call, name, s);
    if (status == COMMAND_DONE && call_value(call, "only"))
        status = set_lock(call, name->customer, name->customer_id, true);
    return status;
}

/* Every mistake is said before anything is begun. */
static enum command_status
check_operands(const struct call *call, const char *include, char normal[INET_DOMAIN_SIZE])
{
    enum command_status status = COMMAND_DONE;
    struct inet_network network;
    const char *why;

    if (include == NULL && call->line.operand_count == 0)
        return call_usage("filter add needs a network, or --spf-include NAME, for example: %s",
                          call->line.command->example);
    for (unsigned i = 0; i < call->line.operand_count; i++)
        if (field_network("filter", call->line.operands[i], &network) != COMMAND_DONE)
            status = COMMAND_USAGE;
    if (include && inet_domain_normalize(slice_of(include), normal, &why) != ERR_OK)
        status =
            call_usage("--spf-include: \"%s\" %s; use the name that the filter's operator says, "
                       "such as _spf.example.net",
                       include, why);
    return status;
}

static void
say_include(const struct call *call, const char *include, const char *name)
{
    if (include && !call->printing.json)
        fprintf(
            call->printing.out,
            "the networks of %s are looked up by relayd; `relayctl filter show %s` shows them\n",
            include, name);
}

enum command_status
filter_add(struct call *call)
{
    const char *owner = call_value(call, "customer"), *include = call_value(call, "spf-include");
    char normal[INET_DOMAIN_SIZE] = "", text[2 * FIELD_NAME_SIZE + 1];
    struct filter_name name = {.label = ""};
    struct field_values values;
    struct settings settings;
    enum command_status status = field_read(call, filter_fields, &values),
                        operands_status = check_operands(call, include, normal);

    if (owner == NULL)
        return call_usage("filter add needs --customer NAME, for example: %s",
                          call->line.command->example);
    if (status == COMMAND_DONE)
        status = operands_status;
    if (status == COMMAND_DONE)
        status = field_customer_name(owner, name.customer);
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = registry_row_customer(call, name.customer, name.customer_id);
    if (status == COMMAND_DONE)
        status = read_settings(call, name.customer_id, &values, &settings);
    if (status == COMMAND_DONE)
        status = add_rows(call, &name, &settings, include ? normal : NULL);
    status = database_end(call, status);
    if (status != COMMAND_DONE)
        return status;
    snprintf(text, sizeof text, "%s/%s", name.customer, settings.label);
    warn_of_origin(call, settings.origin);
    call_done(call, "added", "filter", text);
    say_include(call, include ? normal : NULL, text);
    return status;
}

/* --- Changing. */

/* --exempt and --origin are of a whole label. */
#define OF_NAME                                                                                  \
    "customer_id = $1::integer AND ($2 = '' OR label = $2) AND ($3 = '' OR number = nullif($3, " \
    "'')::integer)"

static enum command_status
change_rows(struct call *call, const struct filter_name *name, const struct field_values *values)
{
    const char *keys[] = {name->customer_id, name->label, name->number};
    enum command_status status;
    bool changed;

    if (values->count == 0) {
        PGresult *rows;

        status = filter_query(call, name, &rows);
        changed = status == COMMAND_DONE && PQntuples(rows) > 0;
        PQclear(rows);
    } else {
        status = registry_row_update(call, "upstream_filters", OF_NAME, 3, keys, values, &changed);
    }
    return status == COMMAND_DONE && !changed ? filter_complain_missing(name) : status;
}

static enum command_status
change(struct call *call, const struct filter_name *name, const struct field_values *values,
       const char *lock)
{
    enum command_status status = change_rows(call, name, values);

    if (status == COMMAND_DONE && lock)
        status = set_lock(call, name->customer, name->customer_id, strcmp(lock, "yes") == 0);
    return status;
}

enum command_status
filter_set(struct call *call)
{
    static const struct field lock_fields[] = {
        {"filters-only", "filters_only", "boolean", field_check_word, 0, 0, field_yes_words}, {0}};
    struct field_values values, lock;
    struct filter_name name;
    enum command_status status = field_read(call, filter_fields, &values),
                        lock_status = field_read(call, lock_fields, &lock);

    if (status == COMMAND_DONE)
        status = lock_status;
    if (status == COMMAND_DONE && values.count + lock.count == 0)
        return call_usage("nothing to set; for example: %s", call->line.command->example);
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = filter_name_read(call, call->line.operands[0], &name);
    if (status == COMMAND_DONE && name.label[0] == '\0' && values.count > 0)
        status = call_usage("filter set needs the filter's label, as in %s/barracuda: its networks "
                            "have the same settings",
                            name.customer);
    if (status == COMMAND_DONE)
        status = change(call, &name, &values, lock.count ? lock.texts[0] : NULL);
    status = database_end(call, status);
    if (status != COMMAND_DONE)
        return status;
    if (value_of(&values, "origin"))
        warn_of_origin(call, value_of(&values, "origin"));
    call_done(call, "changed", "filter", name.text);
    return status;
}

/* --- Removing. */

static enum command_status
check_last(struct call *call, const struct filter_name *name)
{
    PGresult *result;
    const char *params[] = {name->customer_id};
    enum command_status status =
        database_query(call,
                       "SELECT FROM postern.customers c WHERE c.id = $1::integer AND "
                       "c.filters_only AND NOT EXISTS "
                       "(SELECT FROM postern.upstream_filters f WHERE f.customer_id = c.id)",
                       1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) > 0) {
        call_complain("customer %s takes mail from its filters only, and %s is the last of them: "
                      "nobody could send to it; first: relayctl customer set %s --filters-only no",
                      name->customer, name->text, name->customer);
        status = COMMAND_FAILED;
    }
    PQclear(result);
    return status;
}

static enum command_status
remove_rows(struct call *call, const struct filter_name *name)
{
    const char *params[] = {name->customer_id, name->label, name->number};
    PGresult *result;
    enum command_status status = database_query(
        call, "DELETE FROM postern.upstream_filters WHERE " OF_NAME, 3, params, &result);

    if (status == COMMAND_DONE && strcmp(PQcmdTuples(result), "0") == 0)
        status = filter_complain_missing(name);
    PQclear(result);
    return status;
}

enum command_status
filter_remove(struct call *call)
{
    char question[2 * FIELD_NAME_SIZE + 32];
    struct filter_name name;
    enum command_status status = call_need_reason(call);

    if (status == COMMAND_DONE) {
        snprintf(question, sizeof question, "Remove filter %.120s?", call->line.operands[0]);
        status = call_confirm(call, question);
    }
    if (status == COMMAND_DONE)
        status = database_begin_change(call);
    if (status != COMMAND_DONE)
        return status;
    status = filter_name_read(call, call->line.operands[0], &name);
    if (status == COMMAND_DONE)
        status = remove_rows(call, &name);
    if (status == COMMAND_DONE)
        status = check_last(call, &name);
    status = database_end(call, status);
    if (status == COMMAND_DONE)
        call_done(call, "removed", "filter", name.text);
    return status;
}
