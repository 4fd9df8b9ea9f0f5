/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The kinds of rows, and the SQL that their tables make.  Ids, who made a row and when are not in
 * the file: they are the database's own.
 */
#include "admin/registry_form.h"

#include <stdio.h>
#include <string.h>

#include "admin/until.h"
#include "base/clock.h"

/* --- Fields that no option sets. A check that has complained itself returns "". */

#define CHECK_ARGS                                                                         \
    const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE], bool *is_null, \
        char why[FIELD_TEXT_SIZE]

static bool
is_none(const char *text, bool *is_null)
{
    *is_null = strcmp(text, "none") == 0;
    return *is_null;
}

/* Checked where it is looked up. */
static const char *
check_customer(CHECK_ARGS)
{
    (void)field;
    (void)is_null;
    (void)why;
    snprintf(dst, FIELD_TEXT_SIZE, "%.100s", text);
    return strlen(text) < FIELD_NAME_SIZE ? NULL : "is too long for a customer's name";
}

/* As --reason has it; `max` characters. */
static const char *
check_note(CHECK_ARGS)
{
    if (is_none(text, is_null))
        return NULL;
    snprintf(dst, FIELD_TEXT_SIZE, "%s", text);
    snprintf(why, FIELD_TEXT_SIZE, "must have 1 to %u octets", (unsigned)field->max);
    return text[0] == '\0' || strlen(text) > field->max ? why : NULL;
}

static const char *
check_domain(CHECK_ARGS)
{
    (void)field;
    (void)why;
    return is_none(text, is_null) || field_domain_name(text, dst) == COMMAND_DONE ? NULL : "";
}

static const char *
check_server(CHECK_ARGS)
{
    struct inet_endpoint endpoint;
    char host[INET_DOMAIN_SIZE], address[INET_ENDPOINT_SIZE];

    (void)field;
    (void)why;
    if (is_none(text, is_null))
        return NULL;
    if (field_endpoint(text, &endpoint, host) != COMMAND_DONE)
        return "";
    if (host[0] || endpoint.port != 25)
        return "is not an address alone; a name is in \"host\", and the port in \"port\"";
    snprintf(dst, FIELD_TEXT_SIZE, "%s", inet_address_text(&endpoint, address));
    return NULL;
}

static const char *
check_network(CHECK_ARGS)
{
    struct inet_network network;

    (void)why;
    if (is_none(text, is_null))
        return NULL;
    if (field_network(field->column, text, &network) != COMMAND_DONE)
        return "";
    inet_network_text(&network, dst);
    return NULL;
}

static const char *
check_token(CHECK_ARGS)
{
    size_t n = strlen(text);

    (void)field;
    (void)why;
    if (is_none(text, is_null))
        return NULL;
    if (n < 16 || n > 64 || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789") != n)
        return "is no token; it has 16 to 64 small letters and digits";
    snprintf(dst, FIELD_TEXT_SIZE, "%s", text);
    return NULL;
}

static const char *
check_moment(CHECK_ARGS)
{
    int64_t at_ms;

    (void)field;
    (void)why;
    if (is_none(text, is_null))
        return NULL;
    if (until_parse_moment(text, &at_ms) != ERR_OK || at_ms >= UNTIL_LAST_MS)
        return "is not a moment before 2200; write it as 2026-12-01T15:00:00Z";
    clock_rfc3339(at_ms, dst);
    return NULL;
}

static const char *const state_words[] = {"active", "suspended", "refused", NULL};
static const char *const lookup_words[] = {"address", "mx", NULL};

static const struct field none[] = {{0}};

static const struct field customer_extra[] = {
    {"", "state", "text", field_check_word, 0, 0, state_words},
    {"", "state_reason", "text", check_note, 0, FIELD_TEXT_SIZE - 1, NULL},
    {0},
};
static const struct field change_extra[] = {
    {"", "value", REGISTRY_FORM_VALUE, NULL, 0, 0, NULL}, /* as the customer's field */
    {"", "until_at", "timestamptz", check_moment, 0, 0, NULL},
    {0},
};
static const struct field domain_extra[] = {
    {"", "customer", REGISTRY_FORM_CUSTOMER, check_customer, 0, 0, NULL},
    {"", "recipients_complete", "boolean", field_check_word, 0, 0, field_yes_words},
    {"", "ownership_token", "text", check_token, 0, 0, NULL},
    {0},
};
static const struct field backend_extra[] = {
    {"", "domain", "text", check_domain, 0, 0, NULL},
    {"", "address", "inet", check_server, 0, 0, NULL},
    {"", "host", "text", field_check_host, 0, 0, NULL},
    {"", "lookup", "text", field_check_word, 0, 0, lookup_words},
    {"", "port", "integer", field_check_number, 1, 65535, NULL},
    {"", "held", "boolean", field_check_word, 0, 0, field_yes_words},
    {"", "held_reason", "text", check_note, 0, FIELD_TEXT_SIZE - 1, NULL},
    {0},
};
static const struct field filter_extra[] = {
    {"", "network", "cidr", check_network, 0, 0, NULL},
    {"", "spf_include", "text", field_check_host, 0, 0, NULL},
    {0},
};
static const struct field rule_extra[] = {
    {"", "reason", "text", check_note, 0, 200, NULL},
    {"", "expires_at", "timestamptz", check_moment, 0, 0, NULL},
    {0},
};

/* --- The kinds. */

#define OF_CUSTOMER(table) "postern." table " t JOIN postern.customers c ON c.id = t.customer_id"
#define MATCH_NUMBER "t.customer_id = c.id AND t.number = (i.parts ->> 'number')::integer"
#define RULE_WHAT "coalesce(t.network::text, t.sender, t.domain)"

const struct registry_form registry_forms[REGISTRY_KIND_COUNT] = {
    [REGISTRY_CUSTOMER] =
        {
            .kind = "customer",
            .table = "customers",
            .from = "postern.customers t",
            .owner = "t.id",
            .key = "t.name",
            .parts = "'name', t.name",
            .part_columns = "name",
            .set = customer_fields,
            .extra = customer_extra,
            .match = "t.name = i.key",
        },
    [REGISTRY_CHANGE] =
        {
            .kind = "change",
            .table = "customer_changes",
            .from = OF_CUSTOMER("customer_changes"),
            .ends = "until_at",
            .owner = "t.customer_id",
            .key = "c.name || ' ' || t.field",
            .parts = "'customer', c.name, 'field', t.field",
            .part_columns = "customer_id, field",
            .set = none,
            .extra = change_extra,
            .match = "t.customer_id = c.id AND t.field = i.parts ->> 'field'",
            .needs = "i.doc ? 'value' AND i.doc ->> 'until_at' IS NOT NULL",
            .needs_text = "needs \"value\" and \"until_at\"",
        },
    [REGISTRY_DOMAIN] =
        {
            .kind = "domain",
            .table = "domains",
            .from = OF_CUSTOMER("domains"),
            .owner = "t.customer_id",
            .key = "t.name",
            .parts = "'name', t.name",
            .part_columns = "name",
            .set = domain_fields,
            .extra = domain_extra,
            .match = "t.name = i.key",
            .needs = "i.doc ? 'customer'",
            .needs_text = "needs \"customer\"",
        },
    [REGISTRY_BACKEND] =
        {
            .kind = "backend",
            .table = "backends",
            .from = OF_CUSTOMER("backends"),
            .owner = "t.customer_id",
            .key = "c.name || '/' || t.number",
            .parts = "'customer', c.name, 'number', t.number",
            .part_columns = "customer_id, number",
            .set = backend_fields,
            .extra = backend_extra,
            .match = MATCH_NUMBER,
            .needs = "coalesce(i.doc ->> 'address', i.doc ->> 'host') IS NOT NULL",
            .needs_text = "needs \"address\" or \"host\"",
        },
    [REGISTRY_FILTER] =
        {
            .kind = "filter",
            .table = "upstream_filters",
            .from = OF_CUSTOMER("upstream_filters"),
            .owner = "t.customer_id",
            .key = "c.name || '/' || t.number",
            .parts = "'customer', c.name, 'number', t.number",
            .part_columns = "customer_id, number",
            .set = filter_fields,
            .extra = filter_extra,
            .match = MATCH_NUMBER,
            .needs = "coalesce(i.doc ->> 'network', i.doc ->> 'spf_include') IS NOT NULL",
            .needs_text = "needs \"network\" or \"spf_include\"",
        },
    [REGISTRY_RULE] =
        {
            .kind = "rule",
            .table = "sender_rules",
            .from = "postern.sender_rules t LEFT JOIN postern.customers c ON c.id = t.customer_id",
            .ends = "expires_at",
            .owner = "t.customer_id",
            .key = "coalesce(c.name, '*') || ' ' || t.action || ' ' || " RULE_WHAT,
            .parts = "'customer', c.name, 'action', t.action, 'what', " RULE_WHAT,
            .part_columns = "customer_id, action, network, sender, domain",
            .set = none,
            .extra = rule_extra,
            .match = "coalesce(t.customer_id, 0) = coalesce(c.id, 0) AND t.action = i.parts ->> "
                     "'action' AND " RULE_WHAT " = i.parts ->> 'what'",
            .needs = "i.parts ->> 'action' = 'allow' OR i.doc ->> 'reason' IS NOT NULL",
            .needs_text = "needs \"reason\": a block has one",
        },
    [REGISTRY_RECIPIENT] =
        {
            .kind = "recipient",
            .table = "recipients",
            .from = "postern.recipients t JOIN postern.domains d ON d.name = t.domain",
            .owner = "d.customer_id",
            .key = "t.local_part || '@' || t.domain",
            .parts = "'domain', t.domain, 'local_part', t.local_part",
            .part_columns = "domain, local_part",
            .set = none,
            .extra = none,
            .match = "t.domain = i.parts ->> 'domain' AND t.local_part = i.parts ->> 'local_part'",
        },
};

const struct field *
registry_form_field(const struct registry_form *form, unsigned index)
{
    unsigned set_count = 0;

    while (form->set[set_count].option)
        set_count++;
    if (index < set_count)
        return &form->set[index];
    for (unsigned i = 0; form->extra[i].option; i++)
        if (set_count + i == index)
            return &form->extra[i];
    return NULL;
}

/* --- SQL. */

#define RFC3339 "to_char(t.%s AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

/* How a field is read, by its type. */
static const struct {
    const char *type, *expression;
} readings[] = {
    {"inet", "host(t.%s)"},
    {"cidr", "t.%s::text"},
    {"timestamptz", RFC3339},
    {REGISTRY_FORM_CUSTOMER, "c.name"},
    {REGISTRY_FORM_VALUE,
     "CASE WHEN t.value ~ '^[0-9]+$' THEN to_jsonb(t.value::bigint) ELSE to_jsonb(t.value) END"},
};

static void
add_reading(const struct field *field, struct buf *sql)
{
    const char *rest = "t.%s", *hole;

    for (size_t i = 0; i < ARRAY_SIZE(readings); i++)
        if (strcmp(readings[i].type, field->type) == 0)
            rest = readings[i].expression;
    hole = strstr(rest, "%s");
    if (hole == NULL) {
        buf_add_text(sql, rest);
        return;
    }
    buf_add(sql, rest, (size_t)(hole - rest));
    buf_printf(sql, "%s%s", field->column, hole + 2);
}

void
registry_form_fields_sql(const struct registry_form *form, struct buf *sql)
{
    const struct field *field;

    for (unsigned i = 0; (field = registry_form_field(form, i)) != NULL; i++) {
        buf_printf(sql, ", '%s', ", field->column);
        add_reading(field, sql);
    }
}

void
registry_form_columns_sql(const struct registry_form *form, const char *prefix, struct buf *sql)
{
    struct slice parts = slice_of(form->part_columns);
    const struct field *field;

    while (parts.p != NULL) {
        struct slice part = slice_trim(slice_split(&parts, ','));

        buf_printf(sql, ", %s" SLICE_FMT, prefix, SLICE_ARG(part));
    }
    for (unsigned i = 0; (field = registry_form_field(form, i)) != NULL; i++)
        buf_printf(sql, ", %s%s", prefix,
                   strcmp(field->type, REGISTRY_FORM_CUSTOMER) == 0 ? "customer_id"
                                                                    : field->column);
}

void
registry_form_rows_sql(const struct registry_form *form, int64_t now_ms, const char *columns,
                       struct buf *sql)
{
    buf_printf(sql, "SELECT %s FROM %s WHERE true", columns, form->from);
    if (form->ends)
        buf_printf(sql, " AND (t.%s IS NULL OR t.%s > to_timestamp(%lld / 1000.0))", form->ends,
                   form->ends, (long long)now_ms);
}
