/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Rows to values: filters before us, what their includes led to, and rules by name.  A network that
 * is far too wide is refused here as well as by the database, since an exemption of half the
 * Internet would be one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"
#include "relayd/control_include.h"
#include "relayd/control_row.h"

#define WIDEST_4 8
#define WIDEST_6 16

static bool
parse_network(struct slice text, struct inet_network *network)
{
    return inet_network_parse(text, network) == ERR_OK &&
           network->bits >= (network->family == 4 ? WIDEST_4 : WIDEST_6);
}

static void
network_of(struct control_row *row, struct inet_network *network)
{
    if (!parse_network(control_row_text(row, "network"), network))
        control_row_set_bad(row, "network");
}

/* --- Filters. */

/* "ptr,helo" and the like; what is owed to the connecting host not being the sender always. */
static unsigned
exempt_of(struct control_row *row)
{
    static const struct {
        const char *word;
        unsigned checks;
    } words[] = {
        {"ptr", 1u << POLICY_PTR_NONE | 1u << POLICY_PTR_MISMATCH | 1u << POLICY_DIALIN},
        {"helo", 1u << POLICY_HELO},
        {"dnsbl", 1u << POLICY_DNSBL},
        {"greylist", 1u << POLICY_GREYLIST},
    };
    struct slice rest = control_row_text(row, "exempt");
    unsigned exempt = 1u << POLICY_BAN | 1u << POLICY_SPF | 1u << POLICY_SPF_SOFT |
                      1u << POLICY_SPF_PERM | 1u << POLICY_SPF_TEMP;

    while (rest.p != NULL && rest.n > 0) {
        struct slice word = slice_split(&rest, ',');
        unsigned i = 0;

        while (i < ARRAY_SIZE(words) && !slice_equal(word, slice_of(words[i].word)))
            i++;
        if (i == ARRAY_SIZE(words))
            control_row_set_bad(row, "exempt");
        else
            exempt |= words[i].checks;
    }
    return exempt;
}

/* A customer that is locked to its filters is not, while one of them cannot be read: it would be
 * refused. */
static void
unlock(struct control_load *load, uint32_t customer_id)
{
    for (size_t i = 0; i < load->customer_count; i++)
        if (load->customers[i].id == customer_id)
            load->customers[i].filters_only = false;
}

static void
take_filter(struct control_load *load, struct control_row *row)
{
    static const char *const origins[] = {"connection", "received"};
    struct registry_filter_entry f = {
        .customer_id = (uint32_t)control_row_number(row, "customer_id", UINT32_MAX),
        .number = (uint32_t)control_row_number(row, "number", UINT32_MAX),
        .exempt = exempt_of(row),
        .origin_received = control_row_word(row, "origin", origins, ARRAY_SIZE(origins)) == 1,
    };
    char name[48];

    if (!slice_to_text(control_row_text(row, "label"), f.label, sizeof f.label) ||
        f.label[0] == '\0')
        control_row_set_bad(row, "label");
    control_row_domain(row, "spf_include", f.include);
    if (f.include[0] == '\0')
        network_of(row, &f.network);
    snprintf(name, sizeof name, "customer-%u/%u", f.customer_id, f.number);
    if (row->bad == NULL) {
        load->filters[load->filter_count++] = f;
        return;
    }
    control_row_skip(load, row, "upstream_filters", slice_of(name));
    unlock(load, f.customer_id);
}

static void
take_include(struct control_load *load, struct control_row *row)
{
    struct registry_include *include = &load->includes[load->include_count];
    struct slice rest = control_row_text(row, "resolved");

    *include = (struct registry_include){
        .resolved_ms = (int64_t)control_row_number(row, "resolved_ms", INT64_MAX)};
    control_row_domain(row, "name", include->name);
    while (rest.p != NULL && rest.n > 0 && row->bad == NULL) {
        if (include->count == REGISTRY_INCLUDE_NETWORKS_MAX ||
            !parse_network(slice_split(&rest, ' '), &include->networks[include->count++]))
            control_row_set_bad(row, "resolved");
    }
    if (row->bad)
        control_row_skip(load, row, "spf_includes", control_row_text(row, "name"));
    else
        load->include_count++;
}

/* --- Rules. */

static void
rule_network(struct control_row *row, struct registry_rule *rule)
{
    struct inet_network *n = &rule->network;
    char text[INET_ENDPOINT_SIZE];

    network_of(row, n);
    inet_network_text(n, text);
    if (n->bits == (n->family == 4 ? 32 : 128))
        *strchr(text, '/') = '\0';
    snprintf(rule->value, sizeof rule->value, "%s", text);
    rule->kind = REGISTRY_RULE_NETWORK;
}

/* ".example" too, which is all of a top-level domain. */
static bool
is_rule_domain(const char *name)
{
    char below[INET_DOMAIN_SIZE + 1];

    if (name[0] != '.')
        return control_row_is_domain(name);
    snprintf(below, sizeof below, "a%s", name);
    return control_row_is_domain(below);
}

static void
rule_value(struct control_row *row, struct registry_rule *rule)
{
    bool is_sender = !control_row_is_null(row, "sender");
    const char *column = is_sender ? "sender" : "domain";

    if (!control_row_is_null(row, "network")) {
        rule_network(row, rule);
        return;
    }
    rule->kind = is_sender ? REGISTRY_RULE_SENDER : REGISTRY_RULE_DOMAIN;
    if (!slice_to_text(control_row_text(row, column), rule->value, sizeof rule->value) ||
        (is_sender ? strchr(rule->value, '@') == NULL
                   : strlen(rule->value) >= INET_DOMAIN_SIZE || !is_rule_domain(rule->value)))
        control_row_set_bad(row, column);
}

static void
take_rule(struct control_load *load, struct control_row *row)
{
    static const char *const actions[] = {
        [REGISTRY_RULE_ALLOW] = "allow", [REGISTRY_RULE_BLOCK] = "block"};
    struct registry_rule *rule = &load->rules[load->rule_count];
    char name[32];

    *rule = (struct registry_rule){
        .customer_id = (uint32_t)control_row_number(row, "customer_id", UINT32_MAX),
        .action = (enum registry_rule_action)control_row_word(row, "action", actions,
                                                              ARRAY_SIZE(actions)),
    };
    rule_value(row, rule);
    if (!slice_to_text(control_row_text(row, "reason"), rule->reason, sizeof rule->reason))
        control_row_set_bad(row, "reason");
    if (!control_row_is_null(row, "expires_ms"))
        rule->expires_ms = (int64_t)control_row_number(row, "expires_ms", INT64_MAX);
    snprintf(name, sizeof name, "customer-%u", rule->customer_id);
    if (row->bad)
        control_row_skip(load, row, "sender_rules", slice_of(name));
    else
        load->rule_count++;
}

/* --- Results. */

int
control_load_take_filters(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"customer_id", "number", "label", "network",
                                          "spf_include", "exempt", "origin"};

    free(load->filters);
    load->filters = mem_alloc((size_t)PQntuples(rows) * sizeof *load->filters + 1);
    load->filter_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_filter);
}

int
control_load_take_includes(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"name", "resolved", "resolved_ms"};

    free(load->includes);
    load->includes = mem_alloc((size_t)PQntuples(rows) * sizeof *load->includes + 1);
    load->include_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_include);
}

int
control_load_take_rules(struct control_load *load, const PGresult *rows)
{
    static const char *const columns[] = {"customer_id", "action", "network",   "sender",
                                          "domain",      "reason", "expires_ms"};

    free(load->rules);
    load->rules = mem_alloc((size_t)PQntuples(rows) * sizeof *load->rules + 1);
    load->rule_count = 0;
    return control_row_take(load, rows, columns, ARRAY_SIZE(columns), take_rule);
}

/* --- Writing. */

static const struct registry_include *
find_include(const struct control_load *load, const char *name)
{
    for (size_t i = 0; i < load->include_count; i++)
        if (strcmp(load->includes[i].name, name) == 0)
            return &load->includes[i];
    return NULL;
}

int
control_load_add_senders(const struct control_load *load, struct registry_maker *maker)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == ERR_OK && i < load->filter_count; i++)
        rc = registry_maker_filter(maker, &load->filters[i],
                                   find_include(load, load->filters[i].include));
    for (size_t i = 0; rc == ERR_OK && i < load->include_count; i++)
        rc = registry_maker_include(maker, &load->includes[i]);
    for (size_t i = 0; rc == ERR_OK && i < load->rule_count; i++)
        rc = registry_maker_rule(maker, &load->rules[i]);
    return rc;
}

/* --- Includes that control looks up. */

void
control_load_use_includes(struct control_load *load, struct control_includes *includes)
{
    for (size_t i = 0; i < load->include_count; i++)
        control_includes_learn(includes, &load->includes[i]);
    free(load->includes);
    load->includes = mem_alloc(load->filter_count * sizeof *load->includes + 1);
    load->include_count = 0;
    for (size_t i = 0; i < load->filter_count; i++) {
        const char *name = load->filters[i].include;
        const struct registry_include *known =
            find_include(load, name) == NULL ? control_includes_find(includes, name) : NULL;

        if (known != NULL)
            load->includes[load->include_count++] = *known;
    }
}

void
control_load_want_includes(const struct control_load *load, struct control_includes *includes)
{
    control_includes_begin(includes);
    for (size_t i = 0; i < load->filter_count; i++)
        if (load->filters[i].include[0] != '\0')
            control_includes_want(includes, load->filters[i].include);
    control_includes_end(includes);
}

static void
learn(void *ctx, const struct registry_include *include)
{
    control_includes_learn(ctx, include);
}

static void
want(void *ctx, const struct registry_filter_entry *filter)
{
    if (filter->include[0] != '\0')
        control_includes_want(ctx, filter->include);
}

void
control_load_remember_includes(const struct registry *registry, struct control_includes *includes)
{
    if (registry_each_include(registry, learn, includes) != ERR_OK)
        return; /* they are looked up */
    control_includes_begin(includes);
    if (registry_each_filter(registry, want, includes) == ERR_OK)
        control_includes_end(includes);
}

/* The filters of a replica, and each of their includes once. */
struct rewrite {
    struct registry_maker *maker;
    const struct control_includes *includes;
    const char **names;
    size_t name_count;
    int rc;
};

static bool
is_first_of_name(struct rewrite *r, const char *name)
{
    for (size_t i = 0; i < r->name_count; i++)
        if (strcmp(r->names[i], name) == 0)
            return false;
    r->names = mem_realloc(r->names, (r->name_count + 1) * sizeof *r->names);
    r->names[r->name_count++] = name;
    return true;
}

static void
rewrite_filter(void *ctx, const struct registry_filter_entry *filter)
{
    struct rewrite *r = ctx;
    const struct registry_include *known =
        filter->include[0] ? control_includes_find(r->includes, filter->include) : NULL;

    if (r->rc == ERR_OK)
        r->rc = registry_maker_filter(r->maker, filter, known);
    if (r->rc == ERR_OK && known != NULL && is_first_of_name(r, known->name))
        r->rc = registry_maker_include(r->maker, known);
}

static int
copy_all(const struct registry *registry, struct rewrite *r)
{
    int rc = registry_maker_copy(r->maker, registry);

    if (rc == ERR_OK)
        rc = registry_each_filter(registry, rewrite_filter, r);
    free(r->names);
    return rc == ERR_OK ? r->rc : rc;
}

int
control_load_rewrite(const char *path, const char *path_tmp,
                     const struct control_includes *includes, int64_t wall_ms)
{
    struct rewrite r = {.includes = includes};
    struct registry_version version;
    struct registry *registry;
    int rc = registry_open_path(path, &registry);

    if (rc != ERR_OK)
        return rc;
    version = *registry_get_version(registry);
    version.written_at_ms = wall_ms;
    rc = registry_maker_new(path_tmp, &r.maker);
    if (rc == ERR_OK)
        rc = copy_all(registry, &r);
    if (rc == ERR_OK)
        rc = registry_maker_finish(&r.maker, &version, path);
    else
        registry_maker_abort(&r.maker);
    registry_close(&registry);
    return rc;
}
