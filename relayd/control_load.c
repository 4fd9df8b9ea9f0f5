/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rows to values.  Columns are found by name, numbers have ranges, words have tables, names and
 * addresses are parsed: what psql or another release may have stored is met here and not in a
 * worker.
 */
#include "relayd/control_load.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"
#include "relayd/control_row.h"

#define RETENTION_DAYS_MOST 3650 /* no limit is ten years, since a date must be computed */

void
control_load_init(struct control_load *load)
{
    *load = (struct control_load){0};
    buf_init(&load->skipped, 0);
}

void
control_load_fini(struct control_load *load)
{
    registry_set_fini(&load->domains);
    free(load->customers);
    free(load->contacts);
    free(load->changes);
    free(load->backends);
    free(load->recipients);
    free(load->filters);
    free(load->includes);
    free(load->rules);
    buf_fini(&load->skipped);
    *load = (struct control_load){0};
}

/* --- Rows. */

static const char *const scopes[] = {
    [REGISTRY_CONNECTIONS_CUSTOMER] = "customer", [REGISTRY_CONNECTIONS_CLIENT] = "client"};
static const char *const bare_lf_words[] = {"refuse", "normalise"};
static const char *const live_4xx_words[] = {"pass", "keep"};

static uint32_t
limit_of(struct control_row *row, const char *column)
{
    if (control_row_is_null(row, column))
        return REGISTRY_UNLIMITED;
    return (uint32_t)control_row_number(row, column, REGISTRY_UNLIMITED - 1);
}

static uint64_t
size_of(struct control_row *row, const char *column)
{
    return control_row_is_null(row, column) ? UINT64_MAX
                                            : control_row_number(row, column, INT64_MAX);
}

static uint32_t
days_of(struct control_row *row, const char *column)
{
    return control_row_is_null(row, column)
               ? RETENTION_DAYS_MOST
               : (uint32_t)control_row_number(row, column, RETENTION_DAYS_MOST);
}

/* One that is odd is none: the customer is served all the same. */
static struct registry_contact
contact_of(const struct control_row *row)
{
    struct registry_contact contact = {.address = ""};

    if (!slice_to_text(control_row_text(row, "contact"), contact.address, sizeof contact.address) ||
        !slice_to_text(control_row_text(row, "language"), contact.language,
                       sizeof contact.language))
        contact.address[0] = '\0';
    return contact;
}

static policy_set
policy_of(struct control_row *row, const char *column)
{
    policy_set policy = POLICY_SET_OFF;
    const char *why;

    if (policy_change(POLICY_SET_OFF, control_row_text(row, column), &policy, &why) != ERR_OK)
        control_row_set_bad(row, column);
    return policy;
}

/* A customer whose policy is not one of ours is served without one (P5), and that is said. */
static policy_set
lasting_policy(struct control_load *load, struct control_row *row)
{
    policy_set policy = policy_of(row, "policy");

    if (row->bad)
        control_row_skip(load, row, "customers", control_row_text(row, "name"));
    return policy;
}

static void
take_customer(struct control_load *load, struct control_row *row)
{
    static const char *const states[] = {"active", "suspended", "refused"};
    struct registry_customer c = {.id = (uint32_t)control_row_number(row, "id", UINT32_MAX)};

    if (!slice_to_text(control_row_text(row, "name"), c.name, sizeof c.name) || c.name[0] == '\0')
        control_row_set_bad(row, "name");
    c.state =
        (enum registry_customer_state)control_row_word(row, "state", states, ARRAY_SIZE(states));
    c.max_recipients_per_message = limit_of(row, "max_recipients_per_message");
    c.max_messages_per_connection = limit_of(row, "max_messages_per_connection");
    c.max_connections_per_hour = limit_of(row, "max_connections_per_hour");
    c.max_message_size_bytes = size_of(row, "max_message_size_bytes");
    c.retention_days = days_of(row, "retention_days");
    c.connections_scope = (enum registry_connections_scope)control_row_word(
        row, "connections_scope", scopes, ARRAY_SIZE(scopes));
    c.normalise_bare_lf =
        control_row_word(row, "bare_lf", bare_lf_words, ARRAY_SIZE(bare_lf_words)) == 1;
    c.keep_live_4xx =
        control_row_word(row, "live_4xx", live_4xx_words, ARRAY_SIZE(live_4xx_words)) == 1;
    c.max_spool_messages = limit_of(row, "max_spool_messages");
    c.max_spool_bytes = size_of(row, "max_spool_bytes");
    c.filters_only = control_row_flag(row, "filters_only");
    if (row->bad) {
        control_row_skip(load, row, "customers", control_row_text(row, "name"));
        return;
    }
    c.policy = lasting_policy(load, row);
    load->contacts[load->customer_count] = contact_of(row);
    load->customers[load->customer_count++] = c;
}

static uint64_t
temporary_value(struct control_row *row, enum registry_limit limit)
{
    switch (limit) {
    case REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE:
    case REGISTRY_LIMIT_MESSAGES_PER_CONNECTION:
    case REGISTRY_LIMIT_CONNECTIONS_PER_HOUR:
    case REGISTRY_LIMIT_SPOOL_MESSAGES:
        return limit_of(row, "value");
    case REGISTRY_LIMIT_MESSAGE_SIZE:
    case REGISTRY_LIMIT_SPOOL_BYTES:
        return size_of(row, "value");
    case REGISTRY_LIMIT_RETENTION_DAYS:
        return days_of(row, "value");
    case REGISTRY_LIMIT_CONNECTIONS_SCOPE:
        return control_row_word(row, "value", scopes, ARRAY_SIZE(scopes));
    case REGISTRY_LIMIT_BARE_LF:
        return control_row_word(row, "value", bare_lf_words, ARRAY_SIZE(bare_lf_words));
    case REGISTRY_LIMIT_POLICY:
        return policy_of(row, "value");
    case REGISTRY_LIMIT_COUNT:
        break;
    }
    return 0;
}

static void
take_change(struct control_load *load, struct control_row *row)
{
    static const char *const fields[REGISTRY_LIMIT_COUNT] = {
        [REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE] = "max_recipients_per_message",
        [REGISTRY_LIMIT_MESSAGES_PER_CONNECTION] = "max_messages_per_connection",
        [REGISTRY_LIMIT_CONNECTIONS_PER_HOUR] = "max_connections_per_hour",
        [REGISTRY_LIMIT_MESSAGE_SIZE] = "max_message_size_bytes",
        [REGISTRY_LIMIT_RETENTION_DAYS] = "retention_days",
        [REGISTRY_LIMIT_CONNECTIONS_SCOPE] = "connections_scope",
        [REGISTRY_LIMIT_BARE_LF] = "bare_lf",
        [REGISTRY_LIMIT_SPOOL_MESSAGES] = "max_spool_messages",
        [REGISTRY_LIMIT_SPOOL_BYTES] = "max_spool_bytes",
        [REGISTRY_LIMIT_POLICY] = "policy",
    };
    struct control_change change = {
        .customer_id = (uint32_t)control_row_number(row, "customer_id", UINT32_MAX)};
    char name[32];

    change.temporary.limit =
        (enum registry_limit)control_row_word(row, "field", fields, ARRAY_SIZE(fields));
    change.temporary.value = temporary_value(row, change.temporary.limit);
    change.temporary.until_ms = (int64_t)control_row_number(row, "until_ms", INT64_MAX);
    snprintf(name, sizeof name, "customer-%u", change.customer_id);
    if (row->bad)
        control_row_skip(load, row, "customer_changes", slice_of(name));
    else
        load->changes[load->change_count++] = change;
}

static void
take_domain(struct control_load *load, struct control_row *row)
{
    static const char *const words[] = {"accept", "defer", "reject"};
    static const char *const modes[] = {"mx", "fallback"};
    static const char *const primary_up_words[] = {"strict", "defer", "accept"};
    struct registry_domain d = {.customer_id =
                                    (uint32_t)control_row_number(row, "customer_id", UINT32_MAX)};

    if (!slice_to_text(control_row_text(row, "name"), d.name, sizeof d.name) ||
        !control_row_is_domain(d.name))
        control_row_set_bad(row, "name");
    d.when_down =
        (enum registry_when_down)control_row_word(row, "when_down", words, ARRAY_SIZE(words));
    d.removed = control_row_flag(row, "removed");
    d.id = (uint32_t)control_row_number(row, "id", UINT32_MAX);
    d.mode = (enum registry_mode)control_row_word(row, "mode", modes, ARRAY_SIZE(modes));
    d.primary_up = (enum registry_primary_up)control_row_word(row, "primary_up", primary_up_words,
                                                              ARRAY_SIZE(primary_up_words));
    d.has_backends = control_row_flag(row, "has_backends");
    d.has_recipients = control_row_flag(row, "has_recipients");
    d.is_recipients_complete = control_row_flag(row, "recipients_complete");
    if (row->bad)
        control_row_skip(load, row, "domains", control_row_text(row, "name"));
    else
        registry_set_add(&load->domains, &d);
}

static void
address_of(struct control_row *row, const char *column, uint16_t port,
           struct inet_endpoint *endpoint)
{
    if (inet_endpoint_parse(control_row_text(row, column), port, endpoint) != ERR_OK ||
        endpoint->port != port)
        control_row_set_bad(row, column);
}

static void
take_place(struct control_row *row, struct registry_backend *b)
{
    static const char *const lookups[] = {"address", "mx"};
    uint64_t port = control_row_number(row, "port", UINT16_MAX);

    control_row_domain(row, "host", b->host);
    b->lookup = (enum registry_lookup)control_row_word(row, "lookup", lookups, ARRAY_SIZE(lookups));
    b->endpoint.port = (uint16_t)port;
    if (port == 0)
        control_row_set_bad(row, "port");
    else if (b->host[0] == '\0')
        address_of(row, "address", (uint16_t)port, &b->endpoint);
    if (!control_row_is_null(row, "source_address"))
        address_of(row, "source_address", 1, &b->source);
    b->source.port = 0;
}

static void
take_backend(struct control_load *load, struct control_row *row)
{
    static const char *const words[] = {"none", "may", "encrypt", "verify"};
    struct registry_backend b = {
        .customer_id = (uint32_t)control_row_number(row, "customer_id", UINT32_MAX),
        .number = (uint32_t)control_row_number(row, "number", UINT32_MAX),
        .domain_id = (uint32_t)control_row_number(row, "domain_id", UINT32_MAX),
        .priority = (uint32_t)control_row_number(row, "priority", UINT32_MAX),
        .weight = (uint32_t)control_row_number(row, "weight", UINT16_MAX),
        .trusts_us = control_row_flag(row, "xforward"),
        .held = control_row_flag(row, "held"),
    };
    char name[32];

    snprintf(name, sizeof name, "customer-%u/%u", b.customer_id, b.number);
    take_place(row, &b);
    control_row_domain(row, "tls_name", b.tls_name);
    if (b.weight == 0)
        control_row_set_bad(row, "weight");
    b.max_connections = control_row_is_null(row, "max_connections")
                            ? 0
                            : (uint32_t)control_row_number(row, "max_connections", UINT32_MAX);
    b.tls = (enum registry_tls)control_row_word(row, "tls", words, ARRAY_SIZE(words));
    if (row->bad)
        control_row_skip(load, row, "backends", slice_of(name));
    else
        load->backends[load->backend_count++] = b;
}

static void
take_recipient(struct control_load *load, struct control_row *row)
{
    struct control_recipient r = {.domain_id =
                                      (uint32_t)control_row_number(row, "domain_id", UINT32_MAX)};

    if (!slice_to_text(control_row_text(row, "local_part"), r.local_part, sizeof r.local_part) ||
        r.local_part[0] == '\0')
        control_row_set_bad(row, "local_part");
    if (row->bad)
        control_row_skip(load, row, "recipients", control_row_text(row, "local_part"));
    else
        load->recipients[load->recipient_count++] = r;
}

/* --- Results. */

static int
take_customers(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"id",
                                          "name",
                                          "state",
                                          "max_recipients_per_message",
                                          "max_messages_per_connection",
                                          "max_connections_per_hour",
                                          "max_message_size_bytes",
                                          "retention_days",
                                          "connections_scope",
                                          "bare_lf",
                                          "live_4xx",
                                          "max_spool_messages",
                                          "max_spool_bytes",
                                          "contact",
                                          "language",
                                          "policy",
                                          "filters_only"};

    free(load->customers);
    free(load->contacts);
    load->customers = mem_alloc((size_t)PQntuples(rows) * sizeof *load->customers + 1);
    load->contacts = mem_alloc((size_t)PQntuples(rows) * sizeof *load->contacts + 1);
    load->customer_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_customer);
}

static int
take_changes(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"customer_id", "field", "value", "until_ms"};

    free(load->changes);
    load->changes = mem_alloc((size_t)PQntuples(rows) * sizeof *load->changes + 1);
    load->change_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_change);
}

static int
take_domains(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {
        "name", "customer_id", "when_down",    "removed",        "id",
        "mode", "primary_up",  "has_backends", "has_recipients", "recipients_complete"};
    int rc = control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_domain);

    registry_set_sort(&load->domains);
    return rc;
}

static int
take_backends(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {
        "customer_id",     "number", "address",        "port",      "priority",
        "max_connections", "tls",    "held",           "domain_id", "host",
        "lookup",          "weight", "source_address", "tls_name",  "xforward"};

    free(load->backends);
    load->backends = mem_alloc((size_t)PQntuples(rows) * sizeof *load->backends + 1);
    load->backend_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_backend);
}

static int
take_recipients(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"domain_id", "local_part"};

    free(load->recipients);
    load->recipients = mem_alloc((size_t)PQntuples(rows) * sizeof *load->recipients + 1);
    load->recipient_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_recipient);
}

const struct control_query control_queries[] = {
    {"SELECT * FROM postern.replica_customers ORDER BY id", take_customers},
    {"SELECT * FROM postern.replica_customer_changes ORDER BY customer_id", take_changes},
    {"SELECT * FROM postern.replica_domains", take_domains},
    {"SELECT * FROM postern.replica_backends", take_backends},
    {"SELECT * FROM postern.replica_recipients", take_recipients},
    {"SELECT * FROM postern.replica_includes", control_load_take_includes},
    {"SELECT * FROM postern.replica_filters ORDER BY customer_id, number",
     control_load_take_filters},
    {"SELECT * FROM postern.replica_rules ORDER BY customer_id", control_load_take_rules},
    {"COMMIT", NULL},
};
const size_t control_query_count = ARRAY_SIZE(control_queries);

int
control_load_take_version(struct control_load *load, const PGresult *rows)
{
    struct slice id = {PQgetvalue(rows, 0, 0), (size_t)PQgetlength(rows, 0, 0)};
    struct slice version = {PQgetvalue(rows, 0, 1), (size_t)PQgetlength(rows, 0, 1)};

    if (!slice_to_text(id, load->domains.database_id, sizeof load->domains.database_id) ||
        id.n == 0 || memchr(id.p, '\n', id.n) != NULL)
        return ERR_SYNTAX;
    return parse_u64(version, &load->domains.version);
}

/* --- Writing. */

/* The customer's own of the changes, which are in the same order; of two of one limit the later. */
static unsigned
collect_changes(const struct control_load *load, uint32_t customer_id, size_t *at,
                struct registry_temporary own[REGISTRY_LIMIT_COUNT])
{
    unsigned count = 0;

    while (*at < load->change_count && load->changes[*at].customer_id < customer_id)
        ++*at;
    for (; *at < load->change_count && load->changes[*at].customer_id == customer_id; ++*at) {
        unsigned i = 0;

        while (i < count && own[i].limit != load->changes[*at].temporary.limit)
            i++;
        own[i] = load->changes[*at].temporary;
        count += i == count;
    }
    return count;
}

static int
add_customers(const struct control_load *load, struct registry_maker *maker)
{
    struct registry_temporary own[REGISTRY_LIMIT_COUNT];
    int rc = ERR_OK;
    size_t at = 0;

    for (size_t i = 0; rc == ERR_OK && i < load->customer_count; i++) {
        unsigned count = collect_changes(load, load->customers[i].id, &at, own);

        rc = registry_maker_customer(maker, &load->customers[i], own, count);
        if (rc == ERR_OK && load->contacts[i].address[0] != '\0')
            rc = registry_maker_contact(maker, load->customers[i].id, &load->contacts[i]);
    }
    return rc;
}

static int
add_all(const struct control_load *load, struct registry_maker *maker)
{
    int rc = add_customers(load, maker);

    for (size_t i = 0; rc == ERR_OK && i < load->domains.count; i++)
        rc = registry_maker_domain(maker, &load->domains.domains[i]);
    for (size_t i = 0; rc == ERR_OK && i < load->backend_count; i++)
        rc = registry_maker_backend(maker, &load->backends[i]);
    for (size_t i = 0; rc == ERR_OK && i < load->recipient_count; i++)
        rc = registry_maker_recipient(maker, load->recipients[i].domain_id,
                                      slice_of(load->recipients[i].local_part));
    return rc == ERR_OK ? control_load_add_senders(load, maker) : rc;
}

int
control_load_write(const struct control_load *load, const char *path, const char *path_tmp,
                   int64_t wall_ms)
{
    struct registry_version version = {.version = load->domains.version, .written_at_ms = wall_ms};
    struct registry_maker *maker;
    int rc = registry_maker_new(path_tmp, &maker);

    if (rc != ERR_OK)
        return rc;
    memcpy(version.database_id, load->domains.database_id, sizeof version.database_id);
    rc = add_all(load, maker);
    if (rc == ERR_OK)
        return registry_maker_finish(&maker, &version, path);
    registry_maker_abort(&maker);
    return rc;
}
