/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Looks the open recipients of a message up in the replica.  What cannot be looked up counts as
 * routed: relayctl says that mail is stuck only where it knows it.
 */
#include "admin/routing.h"

#include <stdio.h>
#include <string.h>

#include "admin/field.h"
#include "admin/node_registry.h"
#include "base/parse.h"

struct routing_found { /* the worst open recipient */
    enum routing_state state;
    const char *domain;   /* borrowed from the message */
    uint32_t customer_id; /* 0: no domain */
    uint32_t held_number;
};

struct registry *
routing_open(const struct call *call)
{
    struct registry *registry = NULL;
    char path[CALL_PATH_SIZE];

    if (registry_open_path(call_path(path, call->config->state_dir, NODE_REPLICA_FILE), &registry) <
        0)
        return NULL;
    return registry;
}

/* Of its customer, by number; those of a single domain are not found. */
static int
find_redirect(const struct registry *registry, uint32_t customer_id, uint32_t number,
              struct registry_backend *found)
{
    struct registry_domain all = {.customer_id = customer_id};
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = 0;
    int rc = registry_find_backends(registry, &all, backends, &count);

    for (unsigned i = 0; rc == ERR_OK && i < count; i++) {
        if (backends[i].number != number)
            continue;
        *found = backends[i];
        return ERR_OK;
    }
    return rc == ERR_OK ? ERR_NOT_FOUND : rc;
}

static int
find_backends(const struct registry *registry, const struct spool_message *m,
              const struct registry_domain *domain, struct registry_backend *backends,
              unsigned *count)
{
    int rc;

    *count = 0;
    if (spool_message_redirect(m) == 0)
        return registry_find_backends(registry, domain, backends, count);
    rc = find_redirect(registry, m->customer_id, spool_message_redirect(m), backends);
    *count = rc == ERR_OK;
    return rc;
}

static void
look_at_backends(const struct registry *registry, const struct spool_message *m,
                 const struct registry_domain *domain, struct routing_found *found)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count;
    int rc = find_backends(registry, m, domain, backends, &count);

    if (rc < 0 && rc != ERR_NOT_FOUND)
        return;
    found->state = count == 0 ? ROUTING_NO_BACKEND : ROUTING_HELD;
    for (unsigned i = 0; i < count; i++) {
        if (!backends[i].held)
            found->state = ROUTING_KNOWN;
        else if (i == 0)
            found->held_number = backends[i].number;
    }
}

static struct routing_found
look_up(const struct registry *registry, const struct spool_message *m, const char *domain)
{
    struct routing_found found = {.state = ROUTING_KNOWN, .domain = domain};
    struct registry_domain row = {.customer_id = m->customer_id};
    int rc = spool_message_redirect(m) ? ERR_OK : registry_find_domain(registry, domain, &row);

    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && row.removed)) {
        found.state = ROUTING_NO_DOMAIN;
    } else if (rc == ERR_OK) {
        found.customer_id = row.customer_id;
        look_at_backends(registry, m, &row, &found);
    }
    return found;
}

static struct routing_found
find_worst(const struct registry *registry, const struct spool_message *m)
{
    struct routing_found worst = {.state = ROUTING_KNOWN};

    if (m->flags & SPOOL_FLAG_OWN) /* mail of our own has a way out of its own */
        return worst;
    for (unsigned i = 0; registry && i < m->recipient_count; i++) {
        struct routing_found found;

        if (!spool_message_is_open(m, i))
            continue;
        found = look_up(registry, m, spool_message_domain(m, i));
        if (found.state > worst.state)
            worst = found;
    }
    return worst;
}

enum routing_state
routing_of(const struct registry *registry, const struct spool_message *message)
{
    return find_worst(registry, message).state;
}

void
routing_remedy(const struct registry *registry, const struct spool_message *message,
               struct buf *remedy)
{
    struct routing_found worst = find_worst(registry, message);
    struct registry_customer customer;
    const char *name = message->customer;

    if (worst.customer_id &&
        registry_find_customer(registry, worst.customer_id, REGISTRY_LASTING, &customer) == 0)
        name = customer.name;
    if (worst.state == ROUTING_NO_DOMAIN)
        buf_printf(remedy,
                   "%s is not registered; if it should be: relayctl domain add %s --customer %s",
                   worst.domain, worst.domain, name);
    if (worst.state == ROUTING_NO_BACKEND && spool_message_redirect(message))
        buf_printf(remedy,
                   "it was redirected to %s/%u, which is gone: relayctl spool redirect --to "
                   "none, or to another backend",
                   name, spool_message_redirect(message));
    else if (worst.state == ROUTING_NO_BACKEND)
        buf_printf(remedy,
                   "customer %s has no mail server: relayctl backend add ADDRESS:PORT --customer "
                   "%s",
                   name, name);
    if (worst.state == ROUTING_HELD)
        buf_printf(remedy, "an operator has held its mail server: relayctl backend release %s/%u",
                   name, worst.held_number);
}

/* --- Backends. */

void
routing_each_backend(const struct registry *registry, const struct spool_message *m,
                     void (*each)(void *ctx, const struct registry_backend *backend), void *ctx)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    const char *last = NULL;

    for (unsigned i = 0; registry && i < m->recipient_count; i++) {
        struct registry_domain row = {.customer_id = m->customer_id};
        const char *domain = spool_message_domain(m, i);
        unsigned count;

        if (!spool_message_is_open(m, i) || (last && strcmp(last, domain) == 0))
            continue;
        last = domain;
        if (spool_message_redirect(m) == 0 &&
            (registry_find_domain(registry, domain, &row) != ERR_OK || row.removed))
            continue;
        if (find_backends(registry, m, &row, backends, &count) != ERR_OK)
            continue;
        for (unsigned b = 0; b < count; b++)
            each(ctx, &backends[b]);
    }
}

struct wanted {
    uint32_t customer_id, number;
    bool found;
};

static void
look_for_backend(void *ctx, const struct registry_backend *backend)
{
    struct wanted *w = ctx;

    w->found = w->found || (backend->customer_id == w->customer_id && backend->number == w->number);
}

bool
routing_leads_to(const struct registry *registry, const struct spool_message *message,
                 uint32_t customer_id, uint32_t number)
{
    struct wanted wanted = {customer_id, number, false};

    routing_each_backend(registry, message, look_for_backend, &wanted);
    return wanted.found;
}

/* --- Names. */

struct named {
    const char *name;
    uint32_t id; /* 0: not found */
};

static void
look_for_name(void *ctx, const struct registry_customer *customer)
{
    struct named *named = ctx;

    if (strcmp(customer->name, named->name) == 0)
        named->id = customer->id;
}

enum command_status
routing_read_backend(const struct registry *registry, const char *option, const char *name,
                     uint32_t *customer_id, uint32_t *number)
{
    char customer[FIELD_NAME_SIZE], digits[16];
    struct named named = {customer, 0};
    uint64_t n = 0;
    enum command_status status = field_backend_name(name, customer, digits);

    if (status != COMMAND_DONE)
        return status;
    if (registry == NULL) {
        call_complain("%s: this node's copy of the registry can not be read, so that nobody knows "
                      "%s; see `relayctl node show`",
                      option, name);
        return COMMAND_FAILED;
    }
    if (registry_each_customer(registry, REGISTRY_LASTING, look_for_name, &named) != ERR_OK ||
        named.id == 0)
        return call_usage("%s: this node knows no customer %s; `relayctl backend list` shows the "
                          "backends",
                          option, customer);
    if (parse_u64(slice_of(digits), &n) != ERR_OK)
        return COMMAND_USAGE;
    *customer_id = named.id;
    *number = (uint32_t)n;
    return COMMAND_DONE;
}

bool
routing_has_backend(const struct registry *registry, uint32_t customer_id, uint32_t number)
{
    struct registry_backend found;

    return registry && find_redirect(registry, customer_id, number, &found) == ERR_OK;
}

const char *
routing_customer_name(const struct registry *registry, uint32_t customer_id,
                      char dst[REGISTRY_NAME_SIZE])
{
    struct registry_customer customer;

    if (registry_find_customer(registry, customer_id, REGISTRY_LASTING, &customer) == ERR_OK)
        snprintf(dst, REGISTRY_NAME_SIZE, "%s", customer.name);
    else
        snprintf(dst, REGISTRY_NAME_SIZE, "#%u", customer_id);
    return dst;
}
