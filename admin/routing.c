/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Looks the open recipients of a message up in the replica.  What cannot be looked up counts as
 * routed: relayctl says that mail is stuck only where it knows it.
 */
#include "admin/routing.h"

#include "admin/node_registry.h"

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

static void
look_at_backends(const struct registry *registry, const struct registry_domain *domain,
                 struct routing_found *found)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = 0;
    int rc = registry_find_backends(registry, domain, backends, &count);

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
look_up(const struct registry *registry, const char *domain)
{
    struct routing_found found = {.state = ROUTING_KNOWN, .domain = domain};
    struct registry_domain row;
    int rc = registry_find_domain(registry, domain, &row);

    if (rc == ERR_NOT_FOUND || (rc == ERR_OK && row.removed)) {
        found.state = ROUTING_NO_DOMAIN;
    } else if (rc == ERR_OK) {
        found.customer_id = row.customer_id;
        look_at_backends(registry, &row, &found);
    }
    return found;
}

static struct routing_found
find_worst(const struct registry *registry, const struct spool_message *m)
{
    struct routing_found worst = {.state = ROUTING_KNOWN};

    for (unsigned i = 0; registry && i < m->envelope.recipient_count; i++) {
        struct routing_found found;

        if (m->states[i].end != SPOOL_END_NONE)
            continue;
        found = look_up(registry, m->envelope.recipients[i].domain);
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
    const char *name = message->envelope.customer;

    if (worst.customer_id &&
        registry_find_customer(registry, worst.customer_id, REGISTRY_LASTING, &customer) == 0)
        name = customer.name;
    if (worst.state == ROUTING_NO_DOMAIN)
        buf_printf(remedy,
                   "%s is not registered; if it should be: relayctl domain add %s --customer %s",
                   worst.domain, worst.domain, name);
    if (worst.state == ROUTING_NO_BACKEND)
        buf_printf(remedy,
                   "customer %s has no mail server: relayctl backend add ADDRESS:PORT --customer "
                   "%s",
                   name, name);
    if (worst.state == ROUTING_HELD)
        buf_printf(remedy, "an operator has held its mail server: relayctl backend release %s/%u",
                   name, worst.held_number);
}
