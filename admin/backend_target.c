/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Both sources fill the same rows; the replica does not list recipients, so that from there none is
 * known.
 */
#include "admin/backend_target.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/database.h"
#include "admin/routing.h"
#include "net/tls_client.h"
#include "smtp/smtp_path.h"

#define RCPTS_MAX 4

struct wish {                                   /* what is asked for */
    char customer[FIELD_NAME_SIZE], number[16]; /* number "": all of the customer's */
    bool is_met;
};

static struct backend_target *
add_target(struct backend_targets *targets, const char *customer)
{
    struct backend_target *t;

    targets->items = mem_realloc(targets->items, (targets->count + 1) * sizeof *targets->items);
    t = &targets->items[targets->count++];
    *t = (struct backend_target){.max_message_size_bytes = UINT64_MAX};
    snprintf(t->customer, sizeof t->customer, "%s", customer);
    return t;
}

static void
name_target(struct backend_target *t)
{
    snprintf(t->name, sizeof t->name, "%s/%u", t->customer, t->row.number);
    t->row.held = false; /* it can be tested all the same */
}

static void
add_text(char ***list, size_t *count, const char *text)
{
    *list = mem_realloc(*list, (*count + 1) * sizeof **list);
    (*list)[(*count)++] = mem_strdup(text);
}

void
backend_targets_fini(struct backend_targets *targets)
{
    for (size_t i = 0; i < targets->count; i++) {
        struct backend_target *t = &targets->items[i];

        for (size_t k = 0; k < t->domain_count; k++)
            free(t->domains[k]);
        for (size_t k = 0; k < t->rcpt_count; k++)
            free(t->rcpts[k]);
        free(t->domains);
        free(t->rcpts);
    }
    free(targets->items);
    *targets = (struct backend_targets){.items = NULL};
}

/* --- From PostgreSQL. */

#define SERVED                                                                                 \
    "d.customer_id = c.id AND (d.name = b.domain OR (b.domain IS NULL AND NOT EXISTS (SELECT " \
    "FROM "                                                                                    \
    "postern.backends o WHERE o.domain = d.name)))"

static const char backends_sql[] =
    "SELECT c.id, c.name, b.number, host(b.address), b.port, b.host, b.lookup, b.tls, b.tls_name, "
    "host(b.source_address), c.max_message_size_bytes, "
    "(SELECT coalesce(json_agg(d.name ORDER BY d.name), '[]') FROM postern.domains d WHERE " SERVED
    "), "
    "(SELECT coalesce(json_agg(r.a), '[]') FROM (SELECT (SELECT r.local_part || '@' || r.domain "
    "FROM postern.recipients r WHERE r.domain = d.name ORDER BY r.created_at LIMIT 1) AS a FROM "
    "postern.domains d WHERE left(d.name, 1) <> '.' AND " SERVED " LIMIT 50) r WHERE r.a IS NOT "
    "NULL), coalesce(b.max_connections, 0) "
    "FROM postern.backends b JOIN postern.customers c ON c.id = b.customer_id "
    "WHERE c.name = $1 AND ($2 = '' OR b.number = nullif($2, '')::integer) ORDER BY b.number";

/* Who got mail lately. */
static const char learned_sql[] =
    "SELECT DISTINCT k FROM (SELECT recipient_keys FROM postern.events WHERE customer = $1 AND "
    "verdict = 'delivered' AND at > now() - interval '7 days' ORDER BY at DESC LIMIT 100) e, "
    "unnest(e.recipient_keys) k WHERE left(k, 1) <> '@' LIMIT 20";

/* One that can be said to any server. */
static bool
is_plain(const char *address)
{
    struct smtp_path path;

    return smtp_path_parse_mailbox(slice_of(address), &path) == ERR_OK && !path.needs_smtputf8;
}

static bool
is_any(const char *text)
{
    return text != NULL;
}

static void
read_list(const char *text, bool (*fits)(const char *), char ***list, size_t *count, size_t most)
{
    json_t *array = json_loads(text, 0, NULL), *item;
    size_t i;

    json_array_foreach(array, i, item) if (*count < most && fits(json_string_value(item)))
        add_text(list, count, json_string_value(item));
    json_decref(array);
}

static bool
serves(const struct backend_target *t, const char *address)
{
    const char *at = strrchr(address, '@');

    for (size_t i = 0; at && i < t->domain_count; i++)
        if (strcmp(at + 1, t->domains[i]) == 0)
            return true;
    return false;
}

/* What fails here is no loss: the operator can name a recipient. */
static void
add_learned(struct call *call, struct backend_target *t)
{
    const char *params[] = {t->customer};
    PGresult *r = database_try(call, learned_sql, 1, params);

    for (int i = 0; PQresultStatus(r) == PGRES_TUPLES_OK && i < PQntuples(r); i++)
        if (t->rcpt_count < RCPTS_MAX && serves(t, PQgetvalue(r, i, 0)) &&
            is_plain(PQgetvalue(r, i, 0)))
            add_text(&t->rcpts, &t->rcpt_count, PQgetvalue(r, i, 0));
    PQclear(r);
}

static void
read_endpoint(const PGresult *r, int row, struct registry_backend *b)
{
    const char *address = database_text(r, row, 3), *source = database_text(r, row, 9);

    if (address && inet_endpoint_parse(slice_of(address), 25, &b->endpoint) < 0)
        b->endpoint.family = 0;
    b->endpoint.port = (uint16_t)database_number(r, row, 4);
    if (source && inet_endpoint_parse(slice_of(source), 25, &b->source) < 0)
        b->source.family = 0;
    snprintf(b->host, sizeof b->host, "%s", PQgetvalue(r, row, 5));
    snprintf(b->tls_name, sizeof b->tls_name, "%s", PQgetvalue(r, row, 8));
}

static void
read_row(struct call *call, const PGresult *r, int row, struct backend_targets *targets)
{
    struct backend_target *t = add_target(targets, PQgetvalue(r, row, 1));
    enum tls_policy tls = TLS_POLICY_MAY;

    t->row.customer_id = (uint32_t)database_number(r, row, 0);
    t->row.number = (uint32_t)database_number(r, row, 2);
    t->row.weight = 1;
    if (strcmp(PQgetvalue(r, row, 6), "mx") == 0)
        t->row.lookup = REGISTRY_LOOKUP_MX;
    if (tls_policy_parse(slice_of(PQgetvalue(r, row, 7)), &tls) == ERR_OK)
        t->row.tls = (enum registry_tls)tls;
    read_endpoint(r, row, &t->row);
    t->row.max_connections = (uint32_t)database_number(r, row, 13);
    if (database_text(r, row, 10))
        t->max_message_size_bytes = (uint64_t)database_number(r, row, 10);
    name_target(t);
    read_list(PQgetvalue(r, row, 11), is_any, &t->domains, &t->domain_count, SIZE_MAX);
    read_list(PQgetvalue(r, row, 12), is_plain, &t->rcpts, &t->rcpt_count, RCPTS_MAX);
    if (t->rcpt_count == 0)
        add_learned(call, t);
}

static enum command_status
find_in_database(struct call *call, struct wish *wish, struct backend_targets *targets)
{
    const char *params[] = {wish->customer, wish->number};
    PGresult *r;
    enum command_status status = database_query(call, backends_sql, 2, params, &r);

    if (status != COMMAND_DONE)
        return status;
    for (int row = 0; row < PQntuples(r); row++)
        read_row(call, r, row, targets);
    wish->is_met = PQntuples(r) > 0;
    PQclear(r);
    return COMMAND_DONE;
}

/* --- From the replica. */

struct search {
    const struct registry *registry;
    struct wish *wish;
    struct backend_targets *targets;
    size_t from;                       /* where the targets of this wish begin */
    struct registry_customer customer; /* id 0: not found */
};

static void
on_customer(void *ctx, const struct registry_customer *customer)
{
    struct search *s = ctx;

    if (strcmp(customer->name, s->wish->customer) == 0)
        s->customer = *customer;
}

static struct backend_target *
target_of(struct search *s, const struct registry_backend *b)
{
    struct backend_target *t;

    for (size_t i = s->from; i < s->targets->count; i++)
        if (s->targets->items[i].row.number == b->number)
            return &s->targets->items[i];
    t = add_target(s->targets, s->customer.name);
    t->row = *b;
    t->max_message_size_bytes = s->customer.max_message_size_bytes;
    name_target(t);
    return t;
}

static bool
is_wished(const struct wish *wish, uint32_t number)
{
    char text[16];

    snprintf(text, sizeof text, "%u", number);
    return wish->number[0] == '\0' || strcmp(text, wish->number) == 0;
}

static void
add_backends(struct search *s, const struct registry_domain *domain, const char *name)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = 0;

    if (registry_find_backends(s->registry, domain, backends, &count) < 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        struct backend_target *t;

        if (!is_wished(s->wish, backends[i].number))
            continue;
        t = target_of(s, &backends[i]);
        s->wish->is_met = true;
        if (name)
            add_text(&t->domains, &t->domain_count, name);
    }
}

static void
on_domain(void *ctx, const struct registry_domain *domain)
{
    struct search *s = ctx;

    if (domain->customer_id == s->customer.id && !domain->removed)
        add_backends(s, domain, domain->name);
}

static enum command_status
find_in_replica(const struct registry *registry, struct wish *wish, struct backend_targets *targets)
{
    struct search s = {
        .registry = registry, .wish = wish, .targets = targets, .from = targets->count};
    struct registry_domain all;

    if (registry_each_customer(registry, REGISTRY_LASTING, on_customer, &s) < 0)
        return COMMAND_FAILED;
    if (s.customer.id == 0)
        return COMMAND_DONE;
    if (registry_each_domain(registry, on_domain, &s) < 0)
        return COMMAND_FAILED;
    all = (struct registry_domain){.customer_id = s.customer.id};
    add_backends(&s, &all, NULL); /* those that no domain has now */
    return COMMAND_DONE;
}

/* --- What is asked for. */

static enum command_status
read_wishes(struct call *call, struct wish *wishes)
{
    const char *customer = call_value(call, "customer");
    enum command_status status = COMMAND_DONE;
    unsigned i;

    for (i = 0; status == COMMAND_DONE && i < call->line.operand_count; i++)
        status = field_backend_name(call->line.operands[i], wishes[i].customer, wishes[i].number);
    if (status == COMMAND_DONE && customer)
        status = field_customer_name(customer, wishes[i].customer);
    if (i == 0 && customer == NULL)
        status = call_usage("which? Name backends, or use --customer NAME; for example: %s",
                            call->line.command->example);
    return status;
}

static void
complain_missing(const struct wish *wish)
{
    if (wish->number[0])
        call_complain("there is no backend %s/%s; `relayctl backend list --customer %s` shows them",
                      wish->customer, wish->number, wish->customer);
    else
        call_complain("customer %s is not there, or has no backend; `relayctl customer list` shows "
                      "them",
                      wish->customer);
}

static enum command_status
find_all(struct call *call, struct wish *wishes, unsigned count, const struct registry *registry,
         struct backend_targets *targets)
{
    enum command_status status = COMMAND_DONE;

    for (unsigned i = 0; status == COMMAND_DONE && i < count; i++) {
        status = registry ? find_in_replica(registry, &wishes[i], targets)
                          : find_in_database(call, &wishes[i], targets);
        if (status != COMMAND_DONE || wishes[i].is_met)
            continue;
        complain_missing(&wishes[i]);
        targets->is_partial = true;
    }
    return status == COMMAND_DONE && targets->count == 0 ? COMMAND_NOTHING : status;
}

/* The database, or else the replica; COMMAND_LATER if there is neither. */
static enum command_status
open_source(struct call *call, struct registry **registry)
{
    enum command_status status;
    struct buf why;

    *registry = NULL;
    buf_init(&why, 0);
    status = database_try_connect(call, &why);
    if (status == COMMAND_LATER && (*registry = routing_open(call)) != NULL) {
        call_warn(call, "%s; what is registered is read from this node's copy", buf_text(&why));
        status = COMMAND_DONE;
    } else if (status != COMMAND_DONE)
        call_complain("%s", buf_text(&why));
    else
        status = database_check_schema(call);
    buf_fini(&why);
    return status;
}

enum command_status
backend_targets_find(struct call *call, struct backend_targets *targets)
{
    unsigned count = call->line.operand_count + (call_value(call, "customer") != NULL);
    struct wish *wishes = mem_alloc((count + 1) * sizeof *wishes);
    struct registry *registry = NULL;
    enum command_status status = read_wishes(call, wishes);

    *targets = (struct backend_targets){.items = NULL};
    if (status == COMMAND_DONE)
        status = open_source(call, &registry);
    if (status == COMMAND_DONE) {
        targets->from_replica = registry != NULL;
        status = find_all(call, wishes, count, registry, targets);
    }
    registry_close(&registry);
    free(wishes);
    return status;
}
