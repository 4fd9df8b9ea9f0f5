/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who sends, as the replica has it: the longest network of a filter, the most specific rule, the
 * checks that anybody needs; and a customer that is locked to filters which nobody knows is not
 * (P5).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/registry.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH], path[128], path_tmp[128];
static struct registry_maker *maker;

static void
setup(void)
{
    scratch_folder(folder, "test_registry_sender");
    snprintf(path, sizeof path, "%s/replica.cdb", folder);
    snprintf(path_tmp, sizeof path_tmp, "%s/replica.tmp", folder);
    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
}

static void
teardown(void)
{
    (void)unlink(path);
    cr_expect_eq(rmdir(folder), 0, "something else was left in %s", folder);
}

TestSuite(registry_sender, .init = setup, .fini = teardown);

static struct registry *
finish(void)
{
    struct registry_version version = {.database_id = "id", .version = 1};
    struct registry *r;

    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    return r;
}

static struct inet_network
network_of(const char *text)
{
    struct inet_network n;

    cr_assert_eq(inet_network_parse(slice_of(text), &n), ERR_OK, "%s", text);
    return n;
}

static struct inet_endpoint
address_of(const char *text)
{
    struct inet_endpoint e;

    cr_assert_eq(inet_endpoint_parse(slice_of(text), 25, &e), ERR_OK, "%s", text);
    return e;
}

/* --- Filters. */

static void
add_network(uint32_t customer_id, uint32_t number, const char *label, const char *network)
{
    struct registry_filter_entry f = {.customer_id = customer_id,
                                      .number = number,
                                      .network = network_of(network),
                                      .exempt = number,
                                      .origin_received = number == 2};

    snprintf(f.label, sizeof f.label, "%s", label);
    cr_assert_eq(registry_maker_filter(maker, &f, NULL), ERR_OK);
}

static void
add_include(uint32_t customer_id, uint32_t number, const struct registry_include *include)
{
    struct registry_filter_entry f = {
        .customer_id = customer_id, .number = number, .label = "cloud", .include = "spf.example"};

    cr_assert_eq(registry_maker_filter(maker, &f, include), ERR_OK);
}

static const struct {
    const char *name;
    uint32_t customer_id;
    const char *address;
    uint32_t number; /* 0: none */
    const char *network;
} filters[] = {
    {"the longest network", 1, "198.51.100.77", 2, "198.51.100.64/26"},
    {"the wider one beside it", 1, "198.51.100.1", 1, "198.51.100.0/24"},
    {"one address", 1, "203.0.113.9", 3, "203.0.113.9/32"},
    {"its neighbour", 1, "203.0.113.8", 0, NULL},
    {"the first of two that are equal", 1, "192.0.2.200", 4, "192.0.2.0/24"},
    {"IPv6", 1, "2001:db8:1::5", 6, "2001:db8:1::/48"},
    {"IPv6 outside", 1, "2001:db8:2::5", 0, NULL},
    {"IPv4 in the bits of an IPv6 network", 1, "32.1.13.184", 0, NULL},
    {"another customer's", 2, "198.51.100.77", 0, NULL},
    {"of another customer", 2, "203.0.113.77", 1, "203.0.113.0/24"},
    {"a customer without any", 3, "198.51.100.77", 0, NULL},
};

Test(registry_sender, P3_a_filter_is_its_customers_and_the_longest_network_wins)
{
    struct registry *r;

    add_network(1, 1, "wall", "198.51.100.0/24");
    add_network(1, 2, "inner", "198.51.100.64/26");
    add_network(1, 3, "host", "203.0.113.9");
    add_network(1, 4, "first", "192.0.2.0/24");
    add_network(1, 5, "second", "192.0.2.0/24");
    add_network(1, 6, "six", "2001:db8:1::/48");
    add_network(2, 1, "other", "203.0.113.0/24");
    r = finish();
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
        struct inet_endpoint e = address_of(filters[i].address);
        struct registry_filter f;
        char text[INET_ENDPOINT_SIZE];
        int rc = registry_find_filter(r, filters[i].customer_id, &e, &f);

        cr_assert_eq(rc, filters[i].number ? ERR_OK : ERR_NOT_FOUND, "%s", filters[i].name);
        if (rc != ERR_OK)
            continue;
        cr_expect(f.customer_id == filters[i].customer_id && f.number == filters[i].number &&
                      f.exempt == filters[i].number &&
                      f.origin_received == (filters[i].number == 2),
                  "%s", filters[i].name);
        cr_expect_str_eq(inet_network_text(&f.network, text), filters[i].network, "%s",
                         filters[i].name);
    }
    registry_close(&r);
}

static void
fill(struct registry_include *include)
{
    for (unsigned i = 0; i < REGISTRY_INCLUDE_NETWORKS_MAX; i++) {
        char text[32];

        snprintf(text, sizeof text, "10.%u.%u.0/24", i / 250, i % 250);
        include->networks[include->count++] = network_of(text);
    }
}

Test(registry_sender, an_include_of_the_largest_size_is_found_whole)
{
    struct registry_include *include = calloc(1, sizeof *include);
    struct registry *r;

    snprintf(include->name, sizeof include->name, "spf.example");
    fill(include);
    add_include(1, 1, include);
    add_include(2, 1, include);
    cr_assert_eq(registry_maker_include(maker, include), ERR_OK);
    r = finish();
    for (unsigned i = 0; i < include->count; i++) {
        struct inet_endpoint e = {.family = 4};
        struct registry_filter f;

        memcpy(e.addr, include->networks[i].addr, 4);
        e.addr[3] = 200;
        cr_assert_eq(registry_find_filter(r, 1 + i % 2, &e, &f), ERR_OK);
        cr_expect_str_eq(f.label, "cloud");
    }
    registry_close(&r);
    free(include);
}

static void
add_customer(uint32_t id)
{
    struct registry_customer c = {.id = id, .name = "acme", .filters_only = true};

    cr_assert_eq(registry_maker_customer(maker, &c, NULL, 0), ERR_OK);
}

static bool
is_locked(const struct registry *r, uint32_t id)
{
    struct registry_customer c;

    cr_assert_eq(registry_find_customer(r, id, 0, &c), ERR_OK);
    return c.filters_only;
}

Test(registry_sender, P5_a_lock_holds_only_while_every_filter_is_known)
{
    struct registry_include none = {.name = "spf.example"}, known = none;
    struct registry *r;

    known.networks[known.count++] = network_of("192.0.2.0/24");
    for (uint32_t id = 1; id <= 5; id++)
        add_customer(id);
    add_network(2, 1, "wall", "192.0.2.0/24");
    add_network(3, 1, "wall", "192.0.2.0/24");
    add_include(3, 2, NULL);
    add_include(4, 1, &none);
    add_include(5, 1, &known);
    r = finish();
    cr_expect_not(is_locked(r, 1), "no filter");
    cr_expect(is_locked(r, 2), "a network");
    cr_expect_not(is_locked(r, 3), "an include that has never been looked up");
    cr_expect_not(is_locked(r, 4), "an include that led nowhere");
    cr_expect(is_locked(r, 5), "an include with a network");
    registry_close(&r);
}

/* --- A copy with other networks. */

struct seen {
    unsigned filters, includes;
    struct registry_filter_entry last;
    int64_t resolved_ms;
};

static void
see_filter(void *ctx, const struct registry_filter_entry *filter)
{
    struct seen *seen = ctx;

    seen->filters++;
    seen->last = *filter;
}

static void
see_include(void *ctx, const struct registry_include *include)
{
    struct seen *seen = ctx;

    seen->includes++;
    seen->resolved_ms = include->resolved_ms;
    cr_expect_str_eq(include->name, "spf.example");
    cr_expect_eq(include->count, 1);
}

Test(registry_sender, P5_an_include_is_refreshed_in_a_copy_and_all_else_stays)
{
    struct registry_include include = {.name = "spf.example", .resolved_ms = 42};
    struct registry_rule block = {.customer_id = 1,
                                  .action = REGISTRY_RULE_BLOCK,
                                  .kind = REGISTRY_RULE_DOMAIN,
                                  .value = "bad.example",
                                  .reason = "bad"},
                         found;
    struct registry_domain domain = {.name = "acme.example", .customer_id = 1};
    struct inet_endpoint before = address_of("192.0.2.1"), after = address_of("198.51.100.1");
    struct registry_filter f;
    struct registry *r, *copy;
    struct seen seen = {0};

    include.networks[include.count++] = network_of("192.0.2.0/24");
    add_customer(1);
    cr_assert_eq(registry_maker_domain(maker, &domain), ERR_OK);
    add_include(1, 7, &include);
    cr_assert_eq(registry_maker_include(maker, &include), ERR_OK);
    cr_assert_eq(registry_maker_rule(maker, &block), ERR_OK);
    r = finish();
    cr_assert_eq(registry_each_filter(r, see_filter, &seen), ERR_OK);
    cr_assert_eq(registry_each_include(r, see_include, &seen), ERR_OK);
    cr_expect(seen.filters == 1 && seen.includes == 1 && seen.resolved_ms == 42);
    cr_expect(seen.last.customer_id == 1 && seen.last.number == 7 && seen.last.network.family == 0);
    cr_expect_str_eq(seen.last.include, "spf.example");

    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    cr_assert_eq(registry_maker_copy(maker, r), ERR_OK);
    include.networks[0] = network_of("198.51.100.0/24");
    cr_assert_eq(registry_maker_filter(maker, &seen.last, &include), ERR_OK);
    cr_assert_eq(registry_maker_include(maker, &include), ERR_OK);
    copy = finish();
    cr_expect_eq(registry_find_filter(copy, 1, &before, &f), ERR_NOT_FOUND);
    cr_expect_eq(registry_find_filter(copy, 1, &after, &f), ERR_OK);
    cr_expect_eq(registry_get_version(copy)->domain_count, 1);
    cr_expect_eq(registry_find_domain(copy, "acme.example", &domain), ERR_OK);
    cr_expect(is_locked(copy, 1));
    cr_expect_eq(registry_find_rule(copy, 1, NULL, "x@bad.example", 0, &found), ERR_OK);
    cr_expect_eq(registry_find_filter(r, 1, &before, &f), ERR_OK, "the old mapping stays");
    registry_close(&copy);
    registry_close(&r);
}

/* --- Rules. */

static const struct {
    uint32_t customer_id;
    enum registry_rule_action action;
    enum registry_rule_kind kind;
    const char *value;
    int64_t expires_ms;
} rules[] = {
    {0, REGISTRY_RULE_BLOCK, REGISTRY_RULE_NETWORK, "198.51.100.0/24", 0},
    {0, REGISTRY_RULE_ALLOW, REGISTRY_RULE_NETWORK, "198.51.100.7", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_SENDER, "bob@friend.example", 0},
    {1, REGISTRY_RULE_ALLOW, REGISTRY_RULE_DOMAIN, "friend.example", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_DOMAIN, ".friend.example", 0},
    {1, REGISTRY_RULE_ALLOW, REGISTRY_RULE_DOMAIN, ".deep.friend.example", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_DOMAIN, ".top", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_NETWORK, "203.0.113.0/24", 0},
    {1, REGISTRY_RULE_ALLOW, REGISTRY_RULE_NETWORK, "203.0.113.64/26", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_NETWORK, "203.0.113.70", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_NETWORK, "2001:db8::/32", 0},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_DOMAIN, "both.example", 0},
    {1, REGISTRY_RULE_ALLOW, REGISTRY_RULE_DOMAIN, "both.example", 1000},
    {1, REGISTRY_RULE_BLOCK, REGISTRY_RULE_SENDER, "jürgen@friend.example", 0},
    {2, REGISTRY_RULE_BLOCK, REGISTRY_RULE_DOMAIN, "friend.example", 0},
};

static const struct {
    const char *name;
    uint32_t customer_id;
    const char *address, *sender;
    int64_t wall_ms;
    const char *value; /* NULL: no rule */
    enum registry_rule_action action;
} looks[] = {
    {"nothing fits", 1, "192.0.2.1", "a@b.example", 0, NULL, 0},
    {"the sender before its domain", 1, NULL, "bob@friend.example", 0, "bob@friend.example",
     REGISTRY_RULE_BLOCK},
    {"in any case", 1, NULL, "Bob@FRIEND.example", 0, "bob@friend.example", REGISTRY_RULE_BLOCK},
    {"a sender not in ASCII", 1, NULL, "jürgen@friend.example", 0, "jürgen@friend.example",
     REGISTRY_RULE_BLOCK},
    {"the domain", 1, NULL, "ann@friend.example", 0, "friend.example", REGISTRY_RULE_ALLOW},
    {"its subdomain", 1, NULL, "ann@x.friend.example", 0, ".friend.example", REGISTRY_RULE_BLOCK},
    {"the nearest parent", 1, NULL, "a@x.deep.friend.example", 0, ".deep.friend.example",
     REGISTRY_RULE_ALLOW},
    {"a top-level domain", 1, NULL, "a@anything.top", 0, ".top", REGISTRY_RULE_BLOCK},
    {"a name that only ends alike", 1, NULL, "a@notfriend.example", 0, NULL, 0},
    {"a network", 1, "203.0.113.1", "", 0, "203.0.113.0/24", REGISTRY_RULE_BLOCK},
    {"the longer network", 1, "203.0.113.65", "", 0, "203.0.113.64/26", REGISTRY_RULE_ALLOW},
    {"the single address", 1, "203.0.113.70", NULL, 0, "203.0.113.70", REGISTRY_RULE_BLOCK},
    {"the domain before a network", 1, "203.0.113.1", "a@friend.example", 0, "friend.example",
     REGISTRY_RULE_ALLOW},
    {"a single address before the domain", 1, "203.0.113.70", "a@friend.example", 0, "203.0.113.70",
     REGISTRY_RULE_BLOCK},
    {"the sender before the single address", 1, "203.0.113.70", "bob@friend.example", 0,
     "bob@friend.example", REGISTRY_RULE_BLOCK},
    {"IPv6", 1, "2001:db8::1", NULL, 0, "2001:db8::/32", REGISTRY_RULE_BLOCK},
    {"the null sender has no name", 1, NULL, "", 0, NULL, 0},
    {"allow before block", 1, NULL, "a@both.example", 999, "both.example", REGISTRY_RULE_ALLOW},
    {"until it has ended", 1, NULL, "a@both.example", 1000, "both.example", REGISTRY_RULE_BLOCK},
    {"another customer thinks otherwise", 2, "203.0.113.70", "ann@friend.example", 0,
     "friend.example", REGISTRY_RULE_BLOCK},
    {"a customer without rules", 3, "203.0.113.70", "bob@friend.example", 0, NULL, 0},
    {"the operators' own", 0, "198.51.100.1", NULL, 0, "198.51.100.0/24", REGISTRY_RULE_BLOCK},
    {"its exception", 0, "198.51.100.7", NULL, 0, "198.51.100.7", REGISTRY_RULE_ALLOW},
    {"the operators' is no customer's", 1, "198.51.100.1", NULL, 0, NULL, 0},
    {"no address at all", 1, NULL, NULL, 0, NULL, 0},
    {"two at-signs", 1, NULL, "\"a@b\"@friend.example", 0, "friend.example", REGISTRY_RULE_ALLOW},
    {"a literal", 1, NULL, "a@[192.0.2.1]", 0, NULL, 0},
    {"only an at-sign", 1, NULL, "@", 0, NULL, 0},
};

static void
add_rules(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        struct registry_rule rule = {.customer_id = rules[i].customer_id,
                                     .action = rules[i].action,
                                     .kind = rules[i].kind,
                                     .expires_ms = rules[i].expires_ms};

        snprintf(rule.value, sizeof rule.value, "%s", rules[i].value);
        snprintf(rule.reason, sizeof rule.reason, "since %zu", i);
        if (rule.kind == REGISTRY_RULE_NETWORK)
            rule.network = network_of(rules[i].value);
        cr_assert_eq(registry_maker_rule(maker, &rule), ERR_OK);
    }
}

Test(registry_sender, the_most_specific_rule_holds)
{
    struct registry *r;

    add_rules();
    r = finish();
    for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
        struct inet_endpoint e;
        struct registry_rule rule;
        int rc;

        if (looks[i].address != NULL)
            e = address_of(looks[i].address);
        rc = registry_find_rule(r, looks[i].customer_id, looks[i].address ? &e : NULL,
                                looks[i].sender, looks[i].wall_ms, &rule);
        cr_assert_eq(rc, looks[i].value ? ERR_OK : ERR_NOT_FOUND, "%s: %d", looks[i].name, rc);
        if (rc != ERR_OK)
            continue;
        cr_expect_str_eq(rule.value, looks[i].value, "%s", looks[i].name);
        cr_expect_eq(rule.action, looks[i].action, "%s", looks[i].name);
        cr_expect(strncmp(rule.reason, "since ", 6) == 0, "%s", looks[i].name);
    }
    registry_close(&r);
}

Test(registry_sender, an_endless_sender_is_no_rules)
{
    struct registry *r;
    struct registry_rule rule;
    char sender[2000];

    add_rules();
    r = finish();
    memset(sender, 'a', sizeof sender);
    memcpy(sender + 1900, "@friend.example", 16);
    cr_expect_eq(registry_find_rule(r, 1, NULL, sender, 0, &rule), ERR_NOT_FOUND);
    memset(sender, 'a', sizeof sender);
    sender[1] = '@';
    sender[sizeof sender - 1] = '\0';
    cr_expect_eq(registry_find_rule(r, 1, NULL, sender, 0, &rule), ERR_NOT_FOUND);
    registry_close(&r);
}

/* --- The checks that are needed. */

Test(registry_sender, the_checks_of_every_policy_are_needed_and_no_other)
{
    struct registry_customer a = {.id = 1, .name = "a"}, b = {.id = 2, .name = "b"};
    struct registry_temporary temporary = {
        REGISTRY_LIMIT_POLICY, policy_with(POLICY_SET_OFF, POLICY_DNSBL, POLICY_MARK), 1000};
    struct registry *r;

    a.policy = policy_with(POLICY_SET_OFF, POLICY_SPF, POLICY_MARK);
    cr_assert_eq(registry_maker_customer(maker, &a, NULL, 0), ERR_OK);
    cr_assert_eq(registry_maker_customer(maker, &b, &temporary, 1), ERR_OK);
    r = finish();
    cr_expect_eq(registry_checks_needed(r),
                 policy_check_bit(POLICY_SPF) | policy_check_bit(POLICY_DNSBL));
    registry_close(&r);
}

/* Policies and exemptions are numbers in replica files: another order of checks is another format.
 */
Test(registry_sender, P5_the_numbers_of_checks_and_actions_stay)
{
    static const enum policy_check checks[] = {
        POLICY_BAN,      POLICY_PTR_NONE, POLICY_PTR_MISMATCH, POLICY_DIALIN,
        POLICY_HELO,     POLICY_DNSBL,    POLICY_SENDER,       POLICY_SPF,
        POLICY_SPF_SOFT, POLICY_SPF_PERM, POLICY_SPF_TEMP,     POLICY_GREYLIST};
    static const enum policy_action actions[] = {POLICY_OFF,    POLICY_MARK,   POLICY_DEFER,
                                                 POLICY_REJECT, POLICY_FORGED, POLICY_SUSPECT};

    for (unsigned i = 0; i < ARRAY_SIZE(checks); i++)
        cr_expect_eq(checks[i], i);
    for (unsigned i = 0; i < ARRAY_SIZE(actions); i++)
        cr_expect_eq(actions[i], i);
    registry_maker_abort(&maker);
}
