/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Writes filters, includes and rules: a network under its own bits, and for each customer the list
 * of lengths that registry_sender.c tries.  That list is complete only behind the customer's last
 * network, so it is written when the next customer's come, or at the end.
 */
#include "base/codec.h"
#include "registry/registry_format.h"
#include "registry/registry_private.h"

static void
put_network(struct buf *value, const struct inet_network *network)
{
    put_u8(value, network->family);
    put_u8(value, network->bits);
    buf_add(value, network->addr, sizeof network->addr);
}

/* --- Lengths. */

static int
add_lengths(struct registry_maker *m, char kind, struct registry_lengths *lengths)
{
    char key[REGISTRY_KEY_SIZE];

    if (!lengths->is_open)
        return ERR_OK;
    if (kind == 'F')
        put_u8(&m->value, lengths->is_complete);
    for (unsigned bits = 129; bits-- > 0;)
        for (unsigned i = 0; i < 2; i++)
            if (lengths->is_used[i][bits]) {
                put_u8(&m->value, i == 0 ? 4 : 6);
                put_u8(&m->value, (uint8_t)bits);
            }
    lengths->is_open = false;
    return registry_maker_add(m, key, registry_key_number(key, kind, lengths->customer_id));
}

static int
begin_customer(struct registry_maker *m, char kind, struct registry_lengths *lengths,
               uint32_t customer_id)
{
    int rc;

    if (lengths->is_open && lengths->customer_id == customer_id)
        return ERR_OK;
    rc = add_lengths(m, kind, lengths);
    *lengths =
        (struct registry_lengths){.is_open = true, .customer_id = customer_id, .is_complete = true};
    return rc;
}

static void
use_length(struct registry_lengths *lengths, const struct inet_network *network)
{
    lengths->is_used[network->family == 6][network->bits] = true;
}

int
registry_maker_add_lengths(struct registry_maker *m)
{
    int rc = add_lengths(m, 'F', &m->filters);

    return rc == ERR_OK ? add_lengths(m, 'X', &m->rules) : rc;
}

/* --- Filters. */

static int
add_filter_network(struct registry_maker *m, const struct registry_filter_entry *filter,
                   const struct inet_network *network)
{
    char key[REGISTRY_KEY_SIZE];

    CHECK(inet_network_is_valid(network));
    put_u32(&m->value, filter->number);
    put_text(&m->value, filter->label);
    put_u32(&m->value, filter->exempt);
    put_u8(&m->value, filter->origin_received);
    use_length(&m->filters, network);
    return registry_maker_add(m, key, registry_key_network(key, 'f', filter->customer_id, network));
}

static int
add_entry(struct registry_maker *m, const struct registry_filter_entry *filter)
{
    char key[REGISTRY_KEY_SIZE];

    put_u32(&m->value, filter->number);
    put_text(&m->value, filter->label);
    put_network(&m->value, &filter->network);
    put_text(&m->value, filter->include);
    put_u32(&m->value, filter->exempt);
    put_u8(&m->value, filter->origin_received);
    return registry_maker_add(m, key, registry_key_number(key, 'i', filter->customer_id));
}

int
registry_maker_filter(struct registry_maker *m, const struct registry_filter_entry *filter,
                      const struct registry_include *include)
{
    int rc = begin_customer(m, 'F', &m->filters, filter->customer_id);

    if (rc == ERR_OK)
        rc = add_entry(m, filter);
    if (filter->include[0] == '\0')
        return rc == ERR_OK ? add_filter_network(m, filter, &filter->network) : rc;
    m->filters.is_complete = m->filters.is_complete && include != NULL && include->count > 0;
    for (unsigned i = 0; rc == ERR_OK && include != NULL && i < include->count; i++)
        rc = add_filter_network(m, filter, &include->networks[i]);
    return rc;
}

int
registry_maker_include(struct registry_maker *m, const struct registry_include *include)
{
    char key[REGISTRY_KEY_SIZE];

    CHECK(include->count <= REGISTRY_INCLUDE_NETWORKS_MAX);
    put_u64(&m->value, (uint64_t)include->resolved_ms);
    put_u32(&m->value, include->count);
    for (unsigned i = 0; i < include->count; i++)
        put_network(&m->value, &include->networks[i]);
    return registry_maker_add(m, key, registry_key_name(key, 'n', include->name));
}

/* --- Rules. */

int
registry_maker_rule(struct registry_maker *m, const struct registry_rule *rule)
{
    char key[REGISTRY_KEY_SIZE], name_key[REGISTRY_KEY_SENDER_SIZE];
    bool is_network = rule->kind == REGISTRY_RULE_NETWORK;
    int rc = begin_customer(m, 'X', &m->rules, rule->customer_id);

    if (rc != ERR_OK)
        return rc;
    put_u8(&m->value, (uint8_t)rule->action);
    put_u8(&m->value, (uint8_t)rule->kind);
    put_u64(&m->value, (uint64_t)rule->expires_ms);
    put_text(&m->value, rule->value);
    put_text(&m->value, rule->reason);
    if (!is_network)
        return registry_maker_add(m, name_key,
                                  registry_key_sender(name_key, rule->customer_id, rule->value));
    CHECK(inet_network_is_valid(&rule->network));
    use_length(&m->rules, &rule->network);
    return registry_maker_add(m, key,
                              registry_key_network(key, 'x', rule->customer_id, &rule->network));
}

/* --- A copy. */

static int
copy_record(void *ctx, struct slice key, struct slice value)
{
    struct registry_maker *m = ctx;

    if (key.n == 0)
        return ERR_CORRUPT;
    if (strchr("infFp", key.p[0]) != NULL)
        return ERR_OK;
    buf_add(&m->value, value.p, value.n);
    return registry_maker_add(m, key.p, key.n);
}

int
registry_maker_copy(struct registry_maker *m, const struct registry *registry)
{
    if (registry->format != REGISTRY_FORMAT_VERSION)
        return ERR_VERSION;
    m->domain_count += registry->version.domain_count;
    m->checks_needed |= registry_checks_needed(registry);
    return registry_walk(registry, copy_record, m);
}
