/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Look-ups of who sends: filters before us, and rules by name.  A network is a record under its own
 * bits; a customer's list of the lengths in use says which to try for an address, the longest
 * first.  So a filter with thousands of networks costs a look-up for each length and no search.
 */
#include "base/codec.h"
#include "registry/registry_format.h"
#include "registry/registry_private.h"

/* --- Values. */

static bool
decode_network(struct decoder *d, struct inet_network *network)
{
    network->family = get_u8(d);
    network->bits = get_u8(d);
    for (size_t i = 0; i < sizeof network->addr; i++)
        network->addr[i] = get_u8(d);
    return inet_network_is_valid(network);
}

static int
decode_filter(struct slice value, struct registry_filter *filter)
{
    struct decoder d = decoder_of(value);
    unsigned origin;

    filter->number = get_u32(&d);
    get_text(&d, filter->label, sizeof filter->label);
    filter->exempt = get_u32(&d);
    origin = get_u8(&d);
    filter->origin_received = origin != 0;
    return decoder_done(&d) && filter->exempt <= POLICY_ALL_CHECKS && origin <= 1 ? ERR_OK
                                                                                  : ERR_CORRUPT;
}

static int
decode_rule(struct slice value, struct registry_rule *rule)
{
    struct decoder d = decoder_of(value);
    unsigned action = get_u8(&d), kind = get_u8(&d);

    rule->expires_ms = (int64_t)get_u64(&d);
    get_text(&d, rule->value, sizeof rule->value);
    get_text(&d, rule->reason, sizeof rule->reason);
    rule->action = (enum registry_rule_action)action;
    rule->kind = (enum registry_rule_kind)kind;
    return decoder_done(&d) && action <= REGISTRY_RULE_BLOCK && kind <= REGISTRY_RULE_NETWORK
               ? ERR_OK
               : ERR_CORRUPT;
}

/* --- Networks by address. */

/* Tries one network. ERR_NOT_FOUND: the next. */
typedef int (*try_network)(void *ctx, const struct inet_network *network);

/* `lengths`: pairs of family and bits. */
static int
try_lengths(struct decoder *lengths, const struct inet_endpoint *address, try_network try,
            void *ctx)
{
    int rc = ERR_NOT_FOUND;

    while (rc == ERR_NOT_FOUND && lengths->p < lengths->end) {
        unsigned family = get_u8(lengths), bits = get_u8(lengths);
        struct inet_network network = inet_network_around(address, bits);

        if (lengths->failed || (family != 4 && family != 6) || bits > (family == 4 ? 32u : 128u))
            return ERR_CORRUPT;
        if (family == address->family)
            rc = try(ctx, &network);
    }
    return rc;
}

static int
find_lengths(const struct registry *registry, char kind, uint32_t customer_id,
             struct decoder *lengths)
{
    char key[REGISTRY_KEY_SIZE];
    struct slice value;
    int rc =
        registry_find_value(registry, key, registry_key_number(key, kind, customer_id), &value);

    *lengths = decoder_of(rc == ERR_OK ? value : SLICE(""));
    return rc;
}

/* --- Filters. */

struct filter_search {
    const struct registry *registry;
    struct registry_filter *found;
};

static int
try_filter(void *ctx, const struct inet_network *network)
{
    struct filter_search *search = ctx;
    char key[REGISTRY_KEY_SIZE];
    struct slice value;
    int rc = registry_find_value(
        search->registry, key, registry_key_network(key, 'f', search->found->customer_id, network),
        &value);

    if (rc != ERR_OK)
        return rc;
    search->found->network = *network;
    return decode_filter(value, search->found);
}

int
registry_find_filter(const struct registry *registry, uint32_t customer_id,
                     const struct inet_endpoint *address, struct registry_filter *found)
{
    struct filter_search search = {registry, found};
    struct decoder lengths;
    int rc = find_lengths(registry, 'F', customer_id, &lengths);

    *found = (struct registry_filter){.customer_id = customer_id};
    if (rc != ERR_OK)
        return rc;
    (void)get_u8(&lengths); /* is it complete? */
    return lengths.failed ? ERR_CORRUPT : try_lengths(&lengths, address, try_filter, &search);
}

int
registry_filters_complete(const struct registry *registry, uint32_t customer_id, bool *is_complete)
{
    struct decoder lengths;
    int rc = find_lengths(registry, 'F', customer_id, &lengths);

    *is_complete = false;
    if (rc != ERR_OK)
        return rc == ERR_NOT_FOUND ? ERR_OK : rc;
    *is_complete = get_u8(&lengths) == 1 && lengths.p < lengths.end;
    return lengths.failed ? ERR_CORRUPT : ERR_OK;
}

/* --- Rules. */

struct rule_search {
    const struct registry *registry;
    uint32_t customer_id;
    int64_t wall_ms;
    struct registry_rule *found;
    bool is_single; /* only a network of one address, or only longer ones */
};

/* Of the rules under one key: an allow that holds, else a block that does. */
static int
find_rule_of(const struct rule_search *search, const char *key, size_t key_size)
{
    struct cdb cdb = search->registry->cdb;
    struct registry_rule rule = {.customer_id = search->customer_id};
    struct cdb_find find;
    struct slice value;
    bool is_found = false;
    char stored[REGISTRY_KEY_MOST];
    int rc;

    registry_key_stored(search->registry->format, key, key_size, stored);
    rc = cdb_findinit(&find, &cdb, stored, (unsigned)key_size);
    if (rc <= 0)
        return rc == 0 ? ERR_NOT_FOUND : ERR_CORRUPT;
    while ((rc = registry_value_found(&cdb, cdb_findnext(&find), &value)) == ERR_OK &&
           (rc = decode_rule(value, &rule)) == ERR_OK) {
        if (rule.expires_ms != 0 && rule.expires_ms <= search->wall_ms)
            continue;
        if (!is_found || rule.action == REGISTRY_RULE_ALLOW)
            *search->found = rule;
        is_found = true;
    }
    if (rc != ERR_NOT_FOUND)
        return rc;
    return is_found ? ERR_OK : ERR_NOT_FOUND;
}

static int
try_rule(void *ctx, const struct inet_network *network)
{
    struct rule_search *search = ctx;
    char key[REGISTRY_KEY_SIZE];
    bool is_single = network->bits == (network->family == 4 ? 32 : 128);
    int rc = ERR_NOT_FOUND;

    if (is_single == search->is_single)
        rc =
            find_rule_of(search, key, registry_key_network(key, 'x', search->customer_id, network));
    if (rc == ERR_OK)
        search->found->network = *network;
    return rc;
}

static int
find_by_address(struct rule_search *search, const struct inet_endpoint *address, bool is_single)
{
    struct decoder lengths;
    int rc = ERR_NOT_FOUND;

    if (address != NULL)
        rc = find_lengths(search->registry, 'X', search->customer_id, &lengths);
    search->is_single = is_single;
    return rc == ERR_OK ? try_lengths(&lengths, address, try_rule, search) : rc;
}

static int
find_by_name(const struct rule_search *search, const char *name)
{
    char key[REGISTRY_KEY_SENDER_SIZE];

    return find_rule_of(search, key, registry_key_sender(key, search->customer_id, name));
}

/* In the form of the registry: lower case, the domain normalised. False: no rule can be of it. */
static bool
normalise_sender(const char *sender, char dst[REGISTRY_RULE_VALUE_SIZE])
{
    const char *at = sender ? strrchr(sender, '@') : NULL, *why;
    char domain[INET_DOMAIN_SIZE];
    size_t n = at ? (size_t)(at + 1 - sender) : 0;

    if (at == NULL)
        return false;
    if (inet_domain_normalize(slice_of(at + 1), domain, &why) != ERR_OK &&
        !slice_to_text(slice_of(at + 1), domain, sizeof domain))
        return false;
    if (n + strlen(domain) >= REGISTRY_RULE_VALUE_SIZE)
        return false;
    memcpy(dst, sender, n);
    memcpy(dst + n, domain, strlen(domain) + 1);
    for (char *c = dst; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    return true;
}

static int
find_by_domain(const struct rule_search *search, const char *domain)
{
    int rc = find_by_name(search, domain);

    for (const char *dot = strchr(domain, '.'); rc == ERR_NOT_FOUND && dot != NULL;
         dot = strchr(dot + 1, '.'))
        rc = find_by_name(search, dot);
    return rc;
}

int
registry_find_rule(const struct registry *registry, uint32_t customer_id,
                   const struct inet_endpoint *address, const char *sender, int64_t wall_ms,
                   struct registry_rule *found)
{
    struct rule_search search = {registry, customer_id, wall_ms, found, false};
    char name[REGISTRY_RULE_VALUE_SIZE] = "";
    bool has_name = normalise_sender(sender, name);
    int rc = ERR_NOT_FOUND;

    *found = (struct registry_rule){.customer_id = customer_id};
    if (has_name)
        rc = find_by_name(&search, name);
    if (rc == ERR_NOT_FOUND)
        rc = find_by_address(&search, address, true);
    if (rc == ERR_NOT_FOUND && has_name)
        rc = find_by_domain(&search, strrchr(name, '@') + 1);
    if (rc == ERR_NOT_FOUND)
        rc = find_by_address(&search, address, false);
    return rc;
}

unsigned
registry_checks_needed(const struct registry *registry)
{
    struct slice value;
    struct decoder d;
    unsigned checks;

    if (registry_find_value(registry, "p", 1, &value) != ERR_OK)
        return 0;
    d = decoder_of(value);
    checks = get_u32(&d);
    return decoder_done(&d) ? checks & POLICY_ALL_CHECKS : 0;
}

/* --- All of a kind. */

struct walk {
    void (*each_filter)(void *ctx, const struct registry_filter_entry *filter);
    void (*each_include)(void *ctx, const struct registry_include *include);
    void *ctx;
};

static int
visit_filter(void *ctx, struct slice key, struct slice value)
{
    const struct walk *walk = ctx;
    struct registry_filter_entry f = {.number = 0};
    struct decoder d = decoder_of(value);
    bool is_network;
    unsigned origin;

    if (key.n == 0 || key.p[0] != 'i')
        return ERR_OK;
    if (registry_key_customer(key, &f.customer_id) != ERR_OK)
        return ERR_CORRUPT;
    f.number = get_u32(&d);
    get_text(&d, f.label, sizeof f.label);
    is_network = decode_network(&d, &f.network);
    get_text(&d, f.include, sizeof f.include);
    f.exempt = get_u32(&d);
    origin = get_u8(&d);
    f.origin_received = origin != 0;
    if (!decoder_done(&d) || is_network == (f.include[0] != '\0') || f.exempt > POLICY_ALL_CHECKS ||
        origin > 1)
        return ERR_CORRUPT;
    walk->each_filter(walk->ctx, &f);
    return ERR_OK;
}

static int
visit_include(void *ctx, struct slice key, struct slice value)
{
    const struct walk *walk = ctx;
    struct registry_include include;
    struct decoder d = decoder_of(value);

    if (key.n == 0 || key.p[0] != 'n')
        return ERR_OK;
    if (!slice_to_text((struct slice){key.p + 1, key.n - 1}, include.name, sizeof include.name))
        return ERR_CORRUPT;
    include.resolved_ms = (int64_t)get_u64(&d);
    include.count = get_u32(&d);
    if (include.count > REGISTRY_INCLUDE_NETWORKS_MAX)
        return ERR_CORRUPT;
    for (unsigned i = 0; i < include.count; i++)
        if (!decode_network(&d, &include.networks[i]))
            return ERR_CORRUPT;
    if (!decoder_done(&d))
        return ERR_CORRUPT;
    walk->each_include(walk->ctx, &include);
    return ERR_OK;
}

int
registry_each_filter(const struct registry *registry,
                     void (*each)(void *ctx, const struct registry_filter_entry *filter), void *ctx)
{
    struct walk walk = {.each_filter = each, .ctx = ctx};

    return registry_walk(registry, visit_filter, &walk);
}

int
registry_each_include(const struct registry *registry,
                      void (*each)(void *ctx, const struct registry_include *include), void *ctx)
{
    struct walk walk = {.each_include = each, .ctx = ctx};

    return registry_walk(registry, visit_include, &walk);
}
