/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table: what relayd does at this moment, who its backends are, and whose limits are
 * near their end.
 */
#include "admin/status_part.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/node_registry.h"
#include "base/clock.h"
#include "base/dnsbl_zone.h"
#include "base/milter_entry.h"
#include "sender/sender_dnsbl.h"

#define NEAR_NAMED 3

struct look {
    struct status *status;
    struct shared_table *table;
    struct registry *registry; /* NULL: it cannot be read */
    unsigned refusing, down;
    uint64_t by_address; /* the name of those that are registered by their address */
    struct status_part *limits;
    json_t *near;
};

/* --- Work. */

static void
count_workers(const struct look *look, struct status_part *part)
{
    unsigned workers = 0;

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX - 1; slot++) /* the last is spoolmgr's */
        workers += shared_worker_pid(look->table, slot) > 0;
    buf_printf(&part->detail, ", %u worker%s", workers, workers == 1 ? "" : "s");
    status_fact(part, "workers", json_integer(workers));
}

static void
look_at_drain(const struct look *look, struct status_part *part)
{
    int64_t since_ms = shared_table_left_service_at_ms(look->table);
    char relative[PRINTER_RELATIVE_SIZE], when[CLOCK_LOCAL_SIZE];

    status_fact(part, "draining_since_at", printer_json_time(since_ms));
    if (since_ms == 0)
        return;
    part->state = "draining";
    buf_printf(&part->detail,
               "; no new ones since %s (%s); when the work is done: relayctl node drain --end",
               clock_local(since_ms, when),
               printer_relative(since_ms, look->status->now_ms, relative));
}

static void
look_at_work(const struct look *look)
{
    struct status *s = look->status;
    struct status_part *part = status_add(s, "clients");
    uint64_t most = s->call->config->max_connections;

    s->connections = shared_connections(look->table);
    buf_printf(&part->detail, "%u of %llu connections", s->connections, (unsigned long long)most);
    count_workers(look, part);
    status_fact(part, "connections", json_integer(s->connections));
    status_fact(part, "max_connections", json_integer((json_int_t)most));
    if ((uint64_t)s->connections * 100 > most * STATUS_NEAR_PERCENT) {
        part->state = "pressed";
        buf_add_text(&part->detail, "; clients are given less time; raise max-connections, or "
                                    "see who they are: relayctl trace --since 5m");
    }
    look_at_drain(look, part);
    for (int i = 0; i < SHARED_COUNTER_COUNT; i++)
        s->counters[i] = shared_counter_sum(look->table, (enum shared_counter)i);
    s->has_counters = true;
}

/* --- Backends. */

static void
on_backend(void *ctx, const struct shared_health *health)
{
    struct look *look = ctx;
    struct status *s = look->status;

    s->backends = mem_realloc(s->backends, (s->backend_count + 1) * sizeof *s->backends);
    s->backends[s->backend_count++] = (struct status_backend){.health = *health};
}

static int
by_endpoint(const void *a, const void *b)
{
    const struct inet_endpoint *x = &((const struct status_backend *)a)->health.endpoint,
                               *y = &((const struct status_backend *)b)->health.endpoint;
    int rc = memcmp(x->addr, y->addr, sizeof x->addr);

    return rc != 0 ? rc : x->port != y->port ? x->port - y->port : x->family - y->family;
}

static void
name_owner(const struct look *look, struct status_backend *backend, uint32_t id)
{
    struct registry_customer customer;
    size_t used = strlen(backend->customers);

    for (unsigned i = 0; i < backend->owner_count; i++)
        if (backend->owners[i] == id)
            return;
    if (backend->owner_count == ARRAY_SIZE(backend->owners) ||
        registry_find_customer(look->registry, id, look->status->now_ms, &customer) < 0)
        return;
    backend->owners[backend->owner_count++] = id;
    snprintf(backend->customers + used, sizeof backend->customers - used, "%s%s", used ? ", " : "",
             customer.name);
}

/* A name: all that it was found to lead to.  Of what a snapshot has brought back that is not known,
 * and only the last of several names that lead to one address is: what is not up may be this one's,
 * if its port is, and is not hidden. */
static void
match_name(struct look *look, const struct registry_backend *registered)
{
    uint64_t hash = shared_name_hash(look->table, registered->host);

    for (size_t i = 0; i < look->status->backend_count; i++) {
        struct status_backend *backend = &look->status->backends[i];

        if (backend->health.endpoint.port != registered->endpoint.port)
            continue;
        if (backend->health.name_hash == hash)
            name_owner(look, backend, registered->customer_id);
        backend->is_registered |= backend->health.name_hash == hash ||
                                  backend->health.name_hash == 0 ||
                                  (backend->health.name_hash != look->by_address &&
                                   backend->health.state != SHARED_HEALTH_UP);
    }
}

static void
on_registered(void *ctx, const struct registry_backend *registered)
{
    struct look *look = ctx;
    const struct status_backend wanted = {.health.endpoint = registered->endpoint};
    struct status_backend *found;

    if (registered->endpoint.family == 0) {
        match_name(look, registered);
        return;
    }
    found = bsearch(&wanted, look->status->backends, look->status->backend_count, sizeof wanted,
                    by_endpoint);
    if (found == NULL)
        return;
    found->is_registered = true;
    name_owner(look, found, registered->customer_id);
}

/* Those that are nobody's any more go; all stay while that cannot be told. */
static void
leave_registered(struct look *look)
{
    struct status *s = look->status;
    size_t kept = 0;

    if (s->backend_count == 0 || look->registry == NULL)
        return;
    look->by_address = shared_name_hash(look->table, "");
    qsort(s->backends, s->backend_count, sizeof *s->backends, by_endpoint);
    if (registry_each_backend(look->registry, on_registered, look) < 0)
        return;
    for (size_t i = 0; i < s->backend_count; i++)
        if (s->backends[i].is_registered)
            s->backends[kept++] = s->backends[i];
    s->backend_count = kept;
}

static void
count_stopped(struct look *look)
{
    for (size_t i = 0; i < look->status->backend_count; i++) {
        enum shared_health_state state = look->status->backends[i].health.state;

        look->refusing += state == SHARED_HEALTH_REFUSING;
        look->down += state == SHARED_HEALTH_DOWN;
    }
}

static void
look_at_backends(struct look *look)
{
    struct status_part *part = status_add(look->status, "health");

    shared_health_each(look->table, on_backend, look);
    leave_registered(look);
    count_stopped(look);
    buf_printf(&part->detail, "%zu backends known, %u down", look->status->backend_count,
               look->down);
    status_fact(part, "known", json_integer((json_int_t)look->status->backend_count));
    status_fact(part, "down", json_integer(look->down));
    status_fact(part, "refusing", json_integer(look->refusing));
    if (look->refusing)
        status_problem(part, "refusing",
                       "; %u back from an outage and refusing recipients that they took before: "
                       "their mail is kept; when the server is mended: relayctl backend release "
                       "CUSTOMER/N",
                       look->refusing);
}

/* --- Content scanners. */

/* The first of the moments since when workers find it failing; or the two constants. */
static int64_t
state_of_scanner(const struct look *look, unsigned scanner)
{
    int64_t state = SHARED_SCANNER_UNKNOWN;

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX; slot++) {
        int64_t at = shared_scanner_get(look->table, slot, scanner);

        if (at > SHARED_SCANNER_UP && (state <= SHARED_SCANNER_UP || at < state))
            state = at;
        else if (state == SHARED_SCANNER_UNKNOWN)
            state = at;
    }
    return state;
}

static void
look_at_scanner(const struct look *look, struct status_part *part, unsigned i, json_t *list)
{
    struct milter_entry entry;
    char address[MILTER_ADDRESS_SIZE], when[CLOCK_LOCAL_SIZE];
    int64_t state = state_of_scanner(look, i);
    bool is_failing = state > SHARED_SCANNER_UP;
    const char *gap = i ? ", " : "";

    if (milter_entry_parse(look->status->call->config->milters.items[i], &entry) != NULL)
        return;
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "name", entry.name, "address",
                                          milter_entry_address(&entry, address), "state",
                                          is_failing                   ? "failing"
                                          : state == SHARED_SCANNER_UP ? "up"
                                                                       : "not asked yet",
                                          "since_at", printer_json_time(is_failing ? state : 0)));
    if (is_failing)
        status_problem(part, "failing",
                       "%s%s fails since %s, and mail %s: start it, or look into its log", gap,
                       entry.name, clock_local(state, when),
                       entry.defers ? "is put off (on-failure=defer)" : "passes unscanned");
    else
        buf_printf(&part->detail, "%s%s %s", gap, entry.name,
                   state == SHARED_SCANNER_UP ? "up" : "not asked yet");
}

static void
look_at_scanners(const struct look *look)
{
    size_t count = look->status->call->config->milters.count;
    struct status_part *part;
    json_t *list;

    if (count == 0)
        return;
    part = status_add(look->status, "scanners");
    list = json_array();
    for (unsigned i = 0; i < count && i < SHARED_SCANNERS_MAX; i++)
        look_at_scanner(look, part, i, list);
    status_fact(part, "milters", list);
}

/* --- DNS lists. */

/* As a worker has found it that has tested it. */
static struct shared_list
state_of_list(const struct look *look, unsigned list, const char *name)
{
    struct shared_list state = {.state = SENDER_DNSBL_NEW};

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX && state.state == SENDER_DNSBL_NEW; slot++)
        state = shared_list_get(look->table, slot, list, name);
    return state.state < SENDER_DNSBL_STATE_COUNT ? state : (struct shared_list){0};
}

static void
look_at_list(const struct look *look, struct status_part *part, unsigned i, const char *setting,
             const char *text)
{
    const char *gap = buf_size(&part->detail) ? ", " : "", *word, *why;
    char when[CLOCK_LOCAL_SIZE];
    struct dnsbl_zone zone;
    struct shared_list list;

    if (i >= SHARED_LISTS_MAX || dnsbl_zone_parse(text, &zone) != NULL)
        return;
    list = state_of_list(look, i, zone.name);
    word = sender_dnsbl_word(list.state);
    why = sender_dnsbl_why(list.state);
    json_array_append_new(json_object_get(part->facts, "lists"),
                          json_pack("{s:s, s:s, s:s, s:s?, s:o}", "name", zone.name, "setting",
                                    setting, "state", word, "why", why[0] ? why : NULL, "since_at",
                                    printer_json_time(list.since_ms)));
    if (why[0])
        status_problem(part, "asleep", "%s%s asleep since %s: %s; mail is judged without it", gap,
                       zone.name, clock_local(list.since_ms, when), why);
    else
        buf_printf(&part->detail, "%s%s %s", gap, zone.name, word);
}

static void
look_at_lists(const struct look *look)
{
    const struct config *c = look->status->call->config;
    struct status_part *part;

    if (c->dnsbl.count + c->dnswl.count == 0)
        return;
    part = status_add(look->status, "lists");
    status_fact(part, "lists", json_array());
    for (unsigned i = 0; i < c->dnsbl.count; i++)
        look_at_list(look, part, i, "dnsbl", c->dnsbl.items[i]);
    for (unsigned i = 0; i < c->dnswl.count; i++)
        look_at_list(look, part, (unsigned)c->dnsbl.count + i, "dnswl", c->dnswl.items[i]);
}

/* --- Limits near their end. */

static void
on_customer(void *ctx, const struct registry_customer *c)
{
    struct look *look = ctx;
    uint32_t limit = c->max_connections_per_hour;
    struct buf *detail = &look->limits->detail;
    uint32_t used;

    if (limit == REGISTRY_UNLIMITED || c->connections_scope != REGISTRY_CONNECTIONS_CUSTOMER)
        return;
    used = shared_window_count(look->table, shared_window_key(look->table, c->id, NULL),
                               look->status->now_ms);
    if (used == 0 || (uint64_t)used * 100 < (uint64_t)limit * STATUS_NEAR_PERCENT)
        return;
    if (json_array_size(look->near) < NEAR_NAMED)
        buf_printf(detail, "%s%s %u of %u connections an hour", buf_size(detail) ? ", " : "",
                   c->name, used, limit);
    json_array_append_new(look->near, json_pack("{s:s, s:s, s:i, s:i}", "customer", c->name,
                                                "field", "max_connections_per_hour", "limit",
                                                (int)limit, "used", (int)used));
}

static void
look_at_limits(struct look *look)
{
    struct status_part *part = status_add(look->status, "limits");
    size_t count;

    look->limits = part;
    look->near = json_array();
    if (look->registry &&
        registry_each_customer(look->registry, look->status->now_ms, on_customer, look) < 0)
        buf_add_text(&part->detail, "the replica cannot be read");
    count = json_array_size(look->near);
    if (count > NEAR_NAMED)
        buf_printf(&part->detail, " and %zu more", count - NEAR_NAMED);
    if (count > 0)
        part->state = "near";
    else if (buf_size(&part->detail) == 0)
        buf_add_text(&part->detail, "no customer is near its connections an hour");
    status_fact(part, "near", look->near);
}

void
status_look_relay(struct status *s)
{
    struct look look = {.status = s};
    char path[CALL_PATH_SIZE];

    if (shared_table_attach(call_path(path, s->call->config->run_dir, "shared"), &look.table) < 0)
        return; /* relayd's own line says why */
    if (registry_open_path(call_path(path, s->call->config->state_dir, NODE_REPLICA_FILE),
                           &look.registry) < 0)
        look.registry = NULL;
    look_at_work(&look);
    look_at_backends(&look);
    look_at_scanners(&look);
    look_at_lists(&look);
    look_at_limits(&look);
    registry_close(&look.registry);
    shared_table_detach(&look.table);
}
