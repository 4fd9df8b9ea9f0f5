/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The values of a replica's records, of each format that can be read.  Nothing is trusted: numbers
 * that name no enum value, and values that are too long or too short, are ERR_CORRUPT.
 */
#include "base/codec.h"
#include "registry/registry_private.h"

/* What came with format 3. */
static bool
decode_domain_additions(struct decoder *d, struct registry_domain *domain)
{
    unsigned mode, primary_up, more;

    domain->id = get_u32(d);
    mode = get_u8(d);
    primary_up = get_u8(d);
    more = get_u8(d);
    domain->mode = (enum registry_mode)mode;
    domain->primary_up = (enum registry_primary_up)primary_up;
    domain->has_backends = (more & REGISTRY_DOMAIN_HAS_BACKENDS) != 0;
    domain->has_recipients = (more & REGISTRY_DOMAIN_HAS_RECIPIENTS) != 0;
    domain->is_recipients_complete = (more & REGISTRY_DOMAIN_COMPLETE) != 0;
    return mode <= REGISTRY_MODE_FALLBACK && primary_up <= REGISTRY_PRIMARY_UP_ACCEPT &&
           more <= REGISTRY_DOMAIN_MORE_ALL;
}

int
registry_decode_domain(struct slice value, uint32_t format, const char *name,
                       struct registry_domain *domain)
{
    struct decoder d = decoder_of(value);
    unsigned when_down, flags;

    *domain = (struct registry_domain){.customer_id = get_u32(&d)};
    when_down = get_u8(&d);
    flags = get_u8(&d);
    domain->missing_since_ms = (int64_t)get_u64(&d);
    if (format >= 3 && !decode_domain_additions(&d, domain))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || when_down > REGISTRY_WHEN_DOWN_REJECT ||
        flags > (REGISTRY_DOMAIN_REMOVED | REGISTRY_DOMAIN_MISSING_ACCEPTED) ||
        !slice_to_text(slice_of(name), domain->name, sizeof domain->name))
        return ERR_CORRUPT;
    domain->when_down = (enum registry_when_down)when_down;
    domain->removed = (flags & REGISTRY_DOMAIN_REMOVED) != 0;
    domain->missing_accepted = (flags & REGISTRY_DOMAIN_MISSING_ACCEPTED) != 0;
    return ERR_OK;
}

/* False: no such limit, or no such value of it. */
static bool
set_limit(struct registry_customer *c, unsigned limit, uint64_t value)
{
    switch ((enum registry_limit)limit) {
    case REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE:
        c->max_recipients_per_message = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_MESSAGES_PER_CONNECTION:
        c->max_messages_per_connection = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_CONNECTIONS_PER_HOUR:
        c->max_connections_per_hour = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_MESSAGE_SIZE:
        c->max_message_size_bytes = value;
        return true;
    case REGISTRY_LIMIT_RETENTION_DAYS:
        c->retention_days = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_CONNECTIONS_SCOPE:
        c->connections_scope = (enum registry_connections_scope)value;
        return value <= REGISTRY_CONNECTIONS_CLIENT;
    case REGISTRY_LIMIT_BARE_LF:
        c->normalise_bare_lf = value != 0;
        return value <= 1;
    case REGISTRY_LIMIT_SPOOL_MESSAGES:
        c->max_spool_messages = (uint32_t)value;
        return value <= UINT32_MAX;
    case REGISTRY_LIMIT_SPOOL_BYTES:
        c->max_spool_bytes = value;
        return true;
    case REGISTRY_LIMIT_POLICY:
        c->policy = value;
        return policy_is_valid(value);
    case REGISTRY_LIMIT_COUNT:
        break;
    }
    return false;
}

/* A change that has ended is checked like any other and left aside. */
static bool
decode_temporary(struct decoder *d, int64_t wall_ms, struct registry_customer *customer)
{
    struct registry_customer changed = *customer;
    unsigned limit = get_u8(d);
    uint64_t value = get_u64(d);
    int64_t until_ms = (int64_t)get_u64(d);

    if (!set_limit(&changed, limit, value))
        return false;
    if (wall_ms < until_ms)
        *customer = changed;
    return true;
}

/* What came with format 2. */
static bool
decode_additions(struct decoder *d, int64_t wall_ms, struct registry_customer *customer)
{
    bool is_good = set_limit(customer, REGISTRY_LIMIT_CONNECTIONS_SCOPE, get_u8(d));
    unsigned count;

    is_good = set_limit(customer, REGISTRY_LIMIT_BARE_LF, get_u8(d)) && is_good;
    count = get_u8(d);
    for (unsigned i = 0; is_good && i < count; i++)
        is_good = decode_temporary(d, wall_ms, customer);
    return is_good;
}

/* What came with formats 3 and 4, before the temporary changes, which may be of it. */
static bool
decode_spool_limits(struct decoder *d, uint32_t format, struct registry_customer *customer)
{
    unsigned flags = get_u8(d);

    customer->keep_live_4xx = (flags & REGISTRY_CUSTOMER_KEEPS_LIVE_4XX) != 0;
    customer->max_spool_messages = get_u32(d);
    customer->max_spool_bytes = get_u64(d);
    if (format < 4)
        return flags <= REGISTRY_CUSTOMER_KEEPS_LIVE_4XX;
    customer->filters_only = (flags & REGISTRY_CUSTOMER_FILTERS_ONLY) != 0;
    return set_limit(customer, REGISTRY_LIMIT_POLICY, get_u64(d)) &&
           flags <= (REGISTRY_CUSTOMER_KEEPS_LIVE_4XX | REGISTRY_CUSTOMER_FILTERS_ONLY);
}

int
registry_decode_customer(struct slice value, const struct registry *registry, uint32_t id,
                         int64_t wall_ms, struct registry_customer *customer)
{
    struct decoder d = decoder_of(value);
    uint32_t format = registry->format;
    unsigned state;

    *customer = (struct registry_customer){
        .id = id, .max_spool_messages = REGISTRY_UNLIMITED, .max_spool_bytes = UINT64_MAX};
    get_text(&d, customer->name, sizeof customer->name);
    state = get_u8(&d);
    customer->max_recipients_per_message = get_u32(&d);
    customer->max_messages_per_connection = get_u32(&d);
    customer->max_connections_per_hour = get_u32(&d);
    customer->max_message_size_bytes = get_u64(&d);
    customer->retention_days = get_u32(&d);
    if (format >= 3 && !decode_spool_limits(&d, format, customer))
        return ERR_CORRUPT;
    if (format >= 2 && !decode_additions(&d, wall_ms, customer))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || state > REGISTRY_CUSTOMER_SUSPENDED_REFUSE)
        return ERR_CORRUPT;
    customer->state = (enum registry_customer_state)state;
    return customer->filters_only ? registry_filters_complete(registry, id, &customer->filters_only)
                                  : ERR_OK;
}

static void
decode_address(struct decoder *d, struct inet_endpoint *endpoint)
{
    endpoint->family = get_u8(d);
    for (size_t i = 0; i < sizeof endpoint->addr; i++)
        endpoint->addr[i] = get_u8(d);
}

static bool
is_family(unsigned family)
{
    return family == 4 || family == 6;
}

/* What came with format 3. */
static bool
decode_backend_additions(struct decoder *d, struct registry_backend *backend)
{
    unsigned lookup, flags;

    get_text(d, backend->host, sizeof backend->host);
    lookup = get_u8(d);
    backend->lookup = (enum registry_lookup)lookup;
    backend->weight = get_u32(d);
    decode_address(d, &backend->source);
    get_text(d, backend->tls_name, sizeof backend->tls_name);
    flags = get_u8(d);
    backend->trusts_us = (flags & REGISTRY_BACKEND_TRUSTS_US) != 0;
    return lookup <= REGISTRY_LOOKUP_MX && backend->weight > 0 &&
           flags <= REGISTRY_BACKEND_TRUSTS_US &&
           (backend->source.family == 0 || is_family(backend->source.family));
}

int
registry_decode_backend(struct slice value, uint32_t format, const struct registry_backend *key,
                        struct registry_backend *backend)
{
    struct decoder d = decoder_of(value);
    unsigned tls, held;

    *backend = *key;
    backend->weight = 1;
    if (backend->domain_id != 0)
        backend->customer_id = get_u32(&d);
    backend->number = get_u32(&d);
    decode_address(&d, &backend->endpoint);
    backend->endpoint.port = get_u16(&d);
    backend->priority = get_u32(&d);
    backend->max_connections = get_u32(&d);
    tls = get_u8(&d);
    held = get_u8(&d);
    if (format >= 3 && !decode_backend_additions(&d, backend))
        return ERR_CORRUPT;
    if (!decoder_done(&d) || tls > REGISTRY_TLS_VERIFY || held > 1 ||
        is_family(backend->endpoint.family) == (backend->host[0] != '\0'))
        return ERR_CORRUPT;
    backend->tls = (enum registry_tls)tls;
    backend->held = held != 0;
    return ERR_OK;
}
