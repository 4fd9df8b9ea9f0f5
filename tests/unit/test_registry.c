/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The replica file: what went in comes out, and a file that is torn, zeroed, foreign or flipped is
 * noticed before a look-up (P5: with a damaged replica nothing is refused).
 */
#include <cdb.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/codec.h"

#include "registry/registry.h"
#include "registry/registry_format.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH], path[128], path_tmp[128];

static void
setup(void)
{
    scratch_folder(folder, "test_registry");
    snprintf(path, sizeof path, "%s/replica.cdb", folder);
    snprintf(path_tmp, sizeof path_tmp, "%s/replica.tmp", folder);
}

static void
teardown(void)
{
    (void)unlink(path);
    (void)unlink(path_tmp);
    cr_expect_eq(rmdir(folder), 0, "something else was left in %s", folder);
}

TestSuite(registry, .init = setup, .fini = teardown);

static const struct registry_customer customers[] = {
    {1, "acme", REGISTRY_CUSTOMER_ACTIVE, 50, 50, 200, 20 << 20, 5, REGISTRY_CONNECTIONS_CLIENT,
     true, false, 1000, 123456789012, 0x31, true},
    {2, "beta", REGISTRY_CUSTOMER_SUSPENDED, REGISTRY_UNLIMITED, REGISTRY_UNLIMITED,
     REGISTRY_UNLIMITED, UINT64_MAX, 14, REGISTRY_CONNECTIONS_CUSTOMER, false, false,
     REGISTRY_UNLIMITED, UINT64_MAX, POLICY_SET_OFF, false},
    {0xfffffffe, "gamma", REGISTRY_CUSTOMER_SUSPENDED_REFUSE, 1, 2, 3, 4, 5,
     REGISTRY_CONNECTIONS_CUSTOMER, true, true, 1, 2, 1ull << 4 * POLICY_SPF, true},
};

/* Of gamma. */
static const struct registry_temporary temporary[] = {
    {REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE, 100, 1000},
    {REGISTRY_LIMIT_MESSAGES_PER_CONNECTION, REGISTRY_UNLIMITED, 1000},
    {REGISTRY_LIMIT_CONNECTIONS_PER_HOUR, 300, 2000},
    {REGISTRY_LIMIT_MESSAGE_SIZE, UINT64_MAX, 1000},
    {REGISTRY_LIMIT_RETENTION_DAYS, 500, 1000},
    {REGISTRY_LIMIT_CONNECTIONS_SCOPE, REGISTRY_CONNECTIONS_CLIENT, 1000},
    {REGISTRY_LIMIT_BARE_LF, 0, 1000},
    {REGISTRY_LIMIT_SPOOL_MESSAGES, REGISTRY_UNLIMITED, 1000},
    {REGISTRY_LIMIT_SPOOL_BYTES, 5000, 1000},
    {REGISTRY_LIMIT_POLICY, (uint64_t)POLICY_DEFER << 4 * POLICY_GREYLIST, 1000},
};

static const struct registry_domain domains[] = {
    {.name = "acme.example", .customer_id = 1, .when_down = REGISTRY_WHEN_DOWN_DEFER},
    {.name = ".acme.example", .customer_id = 2, .when_down = REGISTRY_WHEN_DOWN_REJECT},
    {.name = "special.acme.example", .customer_id = 3},
    {.name = "gone.example", .customer_id = 1, .removed = true},
    {.name = "lost.example",
     .customer_id = 1,
     .missing_since_ms = 1795000000123,
     .missing_accepted = true},
    {.name = ".wide.example", .customer_id = 0xfffffffe},
};

static const struct registry_contact contact = {"ops@elsewhere.example", "nl"};

static void
add_senders(struct registry_maker *maker)
{
    struct registry_include include = {.name = "spf.example", .count = 1};
    struct registry_filter_entry filter = {.customer_id = 1, .number = 1, .label = "wall"};
    struct registry_rule rule = {.customer_id = 1, .value = "192.0.2.0/25", .reason = "no"};

    cr_assert_eq(inet_network_parse(SLICE("192.0.2.0/24"), &filter.network), ERR_OK);
    cr_assert_eq(inet_network_parse(SLICE("192.0.2.0/25"), &rule.network), ERR_OK);
    include.networks[0] = rule.network;
    rule.kind = REGISTRY_RULE_NETWORK;
    cr_assert_eq(registry_maker_filter(maker, &filter, NULL), ERR_OK);
    filter = (struct registry_filter_entry){
        .customer_id = 1, .number = 2, .label = "cloud", .include = "spf.example"};
    cr_assert_eq(registry_maker_filter(maker, &filter, &include), ERR_OK);
    cr_assert_eq(registry_maker_include(maker, &include), ERR_OK);
    cr_assert_eq(registry_maker_rule(maker, &rule), ERR_OK);
    rule = (struct registry_rule){
        .customer_id = 1, .kind = REGISTRY_RULE_DOMAIN, .value = "b.example", .reason = "why"};
    cr_assert_eq(registry_maker_rule(maker, &rule), ERR_OK);
}

static void
make(const char *database_id)
{
    struct registry_version version = {.version = 42, .written_at_ms = 1795000000000};
    struct registry_maker *maker;

    snprintf(version.database_id, sizeof version.database_id, "%s", database_id);
    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(customers); i++)
        cr_assert_eq(
            registry_maker_customer(maker, &customers[i], temporary,
                                    customers[i].id == 0xfffffffe ? ARRAY_SIZE(temporary) : 0),
            ERR_OK);
    cr_assert_eq(registry_maker_contact(maker, 1, &contact), ERR_OK);
    add_senders(maker);
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
        cr_assert_eq(registry_maker_domain(maker, &domains[i]), ERR_OK);
    for (uint32_t i = 0; i < 20; i++) {
        struct registry_backend b = {.customer_id = 1,
                                     .weight = 1,
                                     .number = i + 1,
                                     .priority = 20 - i / 2,
                                     .tls = i % 4,
                                     .held = i % 3 == 0,
                                     .max_connections = i};
        char text[32];

        snprintf(text, sizeof text, "192.0.2.%u:25", i);
        cr_assert_eq(
            inet_endpoint_parse(slice_of(i == 7 ? "[2001:db8::1]:2525" : text), 0, &b.endpoint),
            ERR_OK);
        cr_assert_eq(registry_maker_backend(maker, &b), ERR_OK);
    }
    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
    cr_assert_null(maker);
}

Test(registry, what_went_in_comes_out)
{
    struct registry *r;
    const struct registry_version *version;

    make("3f2b9a51-0c6e-4d6e-9d3c-7f0a1b2c3d4e");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    version = registry_get_version(r);
    cr_expect_str_eq(version->database_id, "3f2b9a51-0c6e-4d6e-9d3c-7f0a1b2c3d4e");
    cr_expect_eq(version->version, 42);
    cr_expect_eq(version->domain_count, ARRAY_SIZE(domains));
    cr_expect_eq(version->written_at_ms, 1795000000000);
    for (size_t i = 0; i < ARRAY_SIZE(customers); i++) {
        struct registry_customer c;
        const struct registry_customer *want = &customers[i];

        cr_assert_eq(registry_find_customer(r, want->id, REGISTRY_LASTING, &c), ERR_OK, "%s",
                     want->name);
        cr_expect_str_eq(c.name, want->name);
        cr_expect(c.state == want->state &&
                      c.max_recipients_per_message == want->max_recipients_per_message &&
                      c.max_messages_per_connection == want->max_messages_per_connection &&
                      c.max_connections_per_hour == want->max_connections_per_hour &&
                      c.max_message_size_bytes == want->max_message_size_bytes &&
                      c.retention_days == want->retention_days &&
                      c.connections_scope == want->connections_scope &&
                      c.normalise_bare_lf == want->normalise_bare_lf &&
                      c.keep_live_4xx == want->keep_live_4xx &&
                      c.max_spool_messages == want->max_spool_messages &&
                      c.max_spool_bytes == want->max_spool_bytes && c.policy == want->policy,
                  "%s", want->name);
    }
    cr_expect_eq(registry_find_customer(r, 77, 0, &(struct registry_customer){0}), ERR_NOT_FOUND);
    registry_close(&r);
    cr_expect_null(r);
}

Test(registry, a_customer_has_a_contact_or_none)
{
    struct registry_contact found;
    struct registry *r;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_assert_eq(registry_find_contact(r, 1, &found), ERR_OK);
    cr_expect_str_eq(found.address, contact.address);
    cr_expect_str_eq(found.language, contact.language);
    cr_expect_eq(registry_find_contact(r, 2, &found), ERR_NOT_FOUND);
    cr_expect_str_eq(found.address, "");
    registry_close(&r);
}

Test(registry, P5_a_temporary_change_ends_by_the_clock_alone)
{
    struct registry *r;
    struct registry_customer c;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_assert_eq(registry_find_customer(r, 0xfffffffe, 999, &c), ERR_OK);
    cr_expect(c.max_recipients_per_message == 100 &&
              c.max_messages_per_connection == REGISTRY_UNLIMITED &&
              c.max_connections_per_hour == 300 && c.max_message_size_bytes == UINT64_MAX &&
              c.retention_days == 500 && c.connections_scope == REGISTRY_CONNECTIONS_CLIENT &&
              !c.normalise_bare_lf && c.max_spool_messages == REGISTRY_UNLIMITED &&
              c.max_spool_bytes == 5000 &&
              policy_action_of(c.policy, POLICY_GREYLIST) == POLICY_DEFER &&
              policy_action_of(c.policy, POLICY_SPF) == POLICY_OFF);
    cr_assert_eq(registry_find_customer(r, 0xfffffffe, 1000, &c), ERR_OK);
    cr_expect(c.max_recipients_per_message == 1 && c.max_messages_per_connection == 2 &&
                  c.max_connections_per_hour == 300 && c.max_message_size_bytes == 4 &&
                  c.retention_days == 5 && c.connections_scope == REGISTRY_CONNECTIONS_CUSTOMER &&
                  c.normalise_bare_lf && c.max_spool_messages == 1 && c.max_spool_bytes == 2 &&
                  policy_action_of(c.policy, POLICY_SPF) == POLICY_MARK,
              "at its end it is over, and the longer one goes on");
    cr_assert_eq(registry_find_customer(r, 0xfffffffe, 2000, &c), ERR_OK);
    cr_expect_eq(c.max_connections_per_hour, 3);
    cr_assert_eq(registry_find_customer(r, 1, 0, &c), ERR_OK);
    cr_expect_eq(c.max_connections_per_hour, 200, "another customer's");
    registry_close(&r);
}

static const struct {
    const char *name;
    struct registry_temporary temporary;
} bad_changes[] = {
    {"no such limit", {REGISTRY_LIMIT_COUNT, 1, INT64_MAX}},
    {"recipients beyond their type", {REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE, 1ull << 32, 1}},
    {"messages beyond their type", {REGISTRY_LIMIT_MESSAGES_PER_CONNECTION, 1ull << 32, 1}},
    {"connections beyond their type", {REGISTRY_LIMIT_CONNECTIONS_PER_HOUR, 1ull << 32, 1}},
    {"days beyond their type", {REGISTRY_LIMIT_RETENTION_DAYS, 1ull << 32, 1}},
    {"no such scope", {REGISTRY_LIMIT_CONNECTIONS_SCOPE, 2, 1}},
    {"neither refused nor normalised", {REGISTRY_LIMIT_BARE_LF, 2, 1}},
    {"no such action", {REGISTRY_LIMIT_POLICY, 9, 1}},
    {"no such check", {REGISTRY_LIMIT_POLICY, 1ull << 60, 1}},
};

Test(registry, P5_a_nonsense_change_is_damage_and_never_a_limit)
{
    struct registry_version version = {.database_id = "id", .version = 1};

    for (size_t i = 0; i < ARRAY_SIZE(bad_changes); i++) {
        struct registry_customer c;
        struct registry_maker *maker;
        struct registry *r;

        cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
        cr_assert_eq(registry_maker_customer(maker, &customers[0], &bad_changes[i].temporary, 1),
                     ERR_OK);
        cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
        cr_assert_eq(registry_open_path(path, &r), ERR_OK);
        cr_expect_eq(registry_find_customer(r, 1, 0, &c), ERR_CORRUPT, "%s", bad_changes[i].name);
        registry_close(&r);
    }
}

static const struct {
    const char *name, *ask, *want; /* NULL: not registered */
} looks[] = {
    {"exact", "acme.example", "acme.example"},
    {"exact before the parent", "special.acme.example", "special.acme.example"},
    {"a subdomain", "mail.acme.example", ".acme.example"},
    {"a deep subdomain", "a.b.c.acme.example", ".acme.example"},
    {"a subdomain of an exact name under the parent", "x.special.acme.example", ".acme.example"},
    {"the parent entry is not the parent itself", "wide.example", NULL},
    {"a subdomain of it is", "x.wide.example", ".wide.example"},
    {"a tombstone is found", "gone.example", "gone.example"},
    {"a missing one is found", "lost.example", "lost.example"},
    {"a name that only ends alike", "notacme.example", NULL},
    {"unknown", "else.example", NULL},
    {"empty", "", NULL},
    {"a dot", ".", NULL},
    {"the entry's own spelling is no domain", ".acme.example", NULL},
    {"dots", "...", NULL},
};

Test(registry, P3_domains_are_found_by_name_then_by_parent)
{
    struct registry *r;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
        struct registry_domain found = {0};
        int rc = registry_find_domain(r, looks[i].ask, &found);

        cr_expect_eq(rc, looks[i].want ? ERR_OK : ERR_NOT_FOUND, "%s", looks[i].name);
        if (looks[i].want)
            cr_expect_str_eq(found.name, looks[i].want, "%s", looks[i].name);
    }
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
        struct registry_domain found;

        if (domains[i].name[0] == '.')
            continue;
        cr_assert_eq(registry_find_domain(r, domains[i].name, &found), ERR_OK);
        cr_expect(found.customer_id == domains[i].customer_id &&
                      found.when_down == domains[i].when_down &&
                      found.removed == domains[i].removed &&
                      found.missing_since_ms == domains[i].missing_since_ms &&
                      found.missing_accepted == domains[i].missing_accepted,
                  "%s", domains[i].name);
    }
    registry_close(&r);
}

static void
count_domain(void *ctx, const struct registry_domain *domain)
{
    unsigned *seen = ctx;

    for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
        if (strcmp(domains[i].name, domain->name) == 0)
            *seen |= 1u << i;
}

Test(registry, every_domain_is_listed)
{
    struct registry *r;
    unsigned seen = 0;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_eq(registry_each_domain(r, count_domain, &seen), ERR_OK);
    cr_expect_eq(seen, (1u << ARRAY_SIZE(domains)) - 1);
    registry_close(&r);
}

static void
note_backend(void *ctx, const struct registry_backend *backend)
{
    unsigned *seen = ctx;

    if (backend->customer_id == 1 && backend->number == 1 && backend->domain_id == 0)
        *seen |= backend->endpoint.port == 25 ? 1 : 4;
    if (backend->customer_id == 1 && backend->number == 2 && backend->domain_id == 7 &&
        strcmp(backend->host, "mx.own.example") == 0)
        *seen |= 2;
}

static void
count_customer(void *ctx, const struct registry_customer *customer)
{
    unsigned *seen = ctx;

    for (size_t i = 0; i < ARRAY_SIZE(customers); i++)
        if (customers[i].id == customer->id && strcmp(customers[i].name, customer->name) == 0)
            *seen |= 1u << i;
    if (customer->id == 0xfffffffe && customer->max_connections_per_hour == 300)
        *seen |= 1u << 8;
}

Test(registry, every_customer_is_listed_as_it_is_then)
{
    struct registry *r;
    unsigned seen = 0, later = 0;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_eq(registry_each_customer(r, 1999, count_customer, &seen), ERR_OK);
    cr_expect_eq(seen, 1u << 8 | ((1u << ARRAY_SIZE(customers)) - 1));
    cr_expect_eq(registry_each_customer(r, 2000, count_customer, &later), ERR_OK);
    cr_expect_eq(later, (1u << ARRAY_SIZE(customers)) - 1);
    registry_close(&r);
}

Test(registry, backends_come_in_order_and_are_bounded)
{
    struct registry_backend found[REGISTRY_BACKENDS_MAX];
    struct registry *r;
    unsigned count;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_eq(
        registry_find_backends(r, &(struct registry_domain){.customer_id = 2}, found, &count),
        ERR_NOT_FOUND);
    cr_expect_eq(count, 0);
    cr_assert_eq(
        registry_find_backends(r, &(struct registry_domain){.customer_id = 1}, found, &count),
        ERR_OK);
    cr_assert_eq(count, REGISTRY_BACKENDS_MAX);
    cr_expect_eq(found[0].number, 19, "the lowest priority, then the lowest number");
    cr_expect_eq(found[1].number, 20);
    for (unsigned i = 1; i < count; i++)
        cr_expect(
            found[i - 1].priority < found[i].priority ||
            (found[i - 1].priority == found[i].priority && found[i - 1].number < found[i].number));
    for (unsigned i = 0; i < count; i++) {
        char text[INET_ENDPOINT_SIZE];

        if (found[i].number == 8)
            cr_expect_str_eq(inet_endpoint_text(&found[i].endpoint, text), "[2001:db8::1]:2525");
        cr_expect_eq(found[i].tls, (found[i].number - 1) % 4);
        cr_expect_eq(found[i].held, (found[i].number - 1) % 3 == 0);
    }
    registry_close(&r);
}

static struct inet_endpoint
endpoint_of(const char *text)
{
    struct inet_endpoint e;

    cr_assert_eq(inet_endpoint_parse(slice_of(text), 0, &e), ERR_OK, "%s", text);
    return e;
}

static void
make_shared_backends(void)
{
    static const struct {
        uint32_t customer_id;
        const char *endpoint;
    } backends[] = {
        {1, "192.0.2.1:25"}, {1, "192.0.2.1:2525"},   {2, "192.0.2.1:25"},
        {3, "192.0.2.2:25"}, {4, "[2001:db8::1]:25"}, {5, "192.0.2.1:26"},
    };
    struct registry_version version = {.database_id = "id", .version = 1};
    struct registry_maker *maker;

    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    for (uint32_t i = 0; i < ARRAY_SIZE(backends); i++) {
        struct registry_backend b = {.customer_id = backends[i].customer_id,
                                     .weight = 1,
                                     .number = i,
                                     .endpoint = endpoint_of(backends[i].endpoint)};

        cr_assert_eq(registry_maker_backend(maker, &b), ERR_OK);
    }
    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
}

Test(registry, an_address_tells_whose_backend_it_is)
{
    struct inet_endpoint shared = endpoint_of("192.0.2.1:40000"),
                         other = endpoint_of("[2001:db8::1]:1"),
                         nobody = endpoint_of("192.0.2.3:25");
    struct registry *r;
    uint32_t ids[8];
    unsigned count;

    make_shared_backends();
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_assert_eq(registry_find_backend_customers(r, &shared, ids, 8, &count), ERR_OK);
    cr_expect(count == 3 && ids[0] == 1 && ids[1] == 2 && ids[2] == 5, "each once, any port");
    cr_assert_eq(registry_find_backend_customers(r, &shared, ids, 2, &count), ERR_OK);
    cr_expect_eq(count, 2, "no more than there is room for");
    cr_assert_eq(registry_find_backend_customers(r, &other, ids, 8, &count), ERR_OK);
    cr_expect(count == 1 && ids[0] == 4);
    cr_expect_eq(registry_find_backend_customers(r, &nobody, ids, 8, &count), ERR_NOT_FOUND);
    cr_expect_eq(count, 0);
    registry_close(&r);
}

Test(registry, a_domain_has_backends_of_its_own_and_recipients)
{
    struct registry_version version = {.database_id = "id", .version = 1};
    struct registry_domain own = {.name = "own.example",
                                  .id = 7,
                                  .customer_id = 1,
                                  .mode = REGISTRY_MODE_FALLBACK,
                                  .primary_up = REGISTRY_PRIMARY_UP_DEFER,
                                  .has_backends = true,
                                  .has_recipients = true,
                                  .is_recipients_complete = true};
    struct registry_domain other = {.name = "other.example", .id = 8, .customer_id = 1};
    struct inet_endpoint source = {.family = 4, .addr = {192, 0, 2, 9}};
    struct registry_backend general = {
        .customer_id = 1, .number = 1, .endpoint = endpoint_of("192.0.2.1:25"), .weight = 1};
    struct registry_backend single = {.customer_id = 1,
                                      .number = 2,
                                      .domain_id = 7,
                                      .host = "mx.own.example",
                                      .endpoint = {.port = 2525},
                                      .lookup = REGISTRY_LOOKUP_MX,
                                      .weight = 30,
                                      .source = source,
                                      .tls = REGISTRY_TLS_VERIFY,
                                      .tls_name = "gate.own.example",
                                      .trusts_us = true};
    struct registry_backend found[REGISTRY_BACKENDS_MAX];
    struct registry_maker *maker;
    struct registry_domain d;
    struct registry *r;
    unsigned count, seen = 0;

    cr_assert_eq(registry_maker_new(path, &maker), ERR_OK);
    cr_assert_eq(registry_maker_domain(maker, &own), ERR_OK);
    cr_assert_eq(registry_maker_domain(maker, &other), ERR_OK);
    cr_assert_eq(registry_maker_backend(maker, &general), ERR_OK);
    cr_assert_eq(registry_maker_backend(maker, &single), ERR_OK);
    cr_assert_eq(registry_maker_recipient(maker, 7, slice_of("user")), ERR_OK);
    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);

    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_assert_eq(registry_find_domain(r, "own.example", &d), ERR_OK);
    cr_expect(d.id == 7 && d.mode == REGISTRY_MODE_FALLBACK && d.has_backends && d.has_recipients &&
              d.primary_up == REGISTRY_PRIMARY_UP_DEFER && d.is_recipients_complete);
    cr_assert_eq(registry_find_backends(r, &d, found, &count), ERR_OK);
    cr_assert_eq(count, 1);
    cr_expect(found[0].number == 2 && found[0].customer_id == 1 && found[0].domain_id == 7 &&
              found[0].lookup == REGISTRY_LOOKUP_MX && found[0].weight == 30 &&
              found[0].tls == REGISTRY_TLS_VERIFY && found[0].trusts_us);
    cr_expect(found[0].endpoint.family == 0 && found[0].endpoint.port == 2525);
    cr_expect_str_eq(found[0].host, "mx.own.example");
    cr_expect_str_eq(found[0].tls_name, "gate.own.example");
    cr_expect(inet_endpoint_equal(&found[0].source, &single.source));
    cr_expect_eq(registry_find_recipient(r, &d, slice_of("User")), ERR_OK);
    cr_expect_eq(registry_find_recipient(r, &d, slice_of("use")), ERR_NOT_FOUND);

    cr_assert_eq(registry_find_domain(r, "other.example", &d), ERR_OK);
    cr_assert_eq(registry_find_backends(r, &d, found, &count), ERR_OK);
    cr_assert_eq(count, 1);
    cr_expect_eq(found[0].number, 1);
    cr_expect_eq(registry_each_backend(r, note_backend, &seen), ERR_OK);
    cr_expect_eq(seen, 3, "a customer's and a domain's");
    cr_expect_eq(registry_find_recipient(r, &d, slice_of("user")), ERR_NOT_FOUND);
    registry_close(&r);
}

/* --- The formats before. */

static void
add_format_1(struct cdb_make *cdb, const char *key, size_t key_size, struct buf *value)
{
    cr_assert_eq(
        cdb_make_add(cdb, key, (unsigned)key_size, buf_slice(value).p, (unsigned)buf_size(value)),
        0);
    buf_clear(value);
}

static void
add_trailer(int fd, uint32_t format)
{
    char t[REGISTRY_TRAILER_LENGTH] = {0};
    off_t length = lseek(fd, 0, SEEK_END);
    char *all = malloc((size_t)length + sizeof t);

    cr_assert_eq(pread(fd, all, (size_t)length, 0), length);
    memcpy(t + REGISTRY_TRAILER_MAGIC, REGISTRY_MAGIC, 8);
    store_u32(t + REGISTRY_TRAILER_FORMAT, format);
    memcpy(t + REGISTRY_TRAILER_DATABASE, "id", 2);
    store_u64(t + REGISTRY_TRAILER_VERSION, 7);
    store_u64(t + REGISTRY_TRAILER_DOMAINS, 1);
    store_u64(t + REGISTRY_TRAILER_SIZE, (uint64_t)length + sizeof t);
    memcpy(all + length, t, sizeof t);
    store_u64(t + REGISTRY_TRAILER_CHECK,
              XXH3_64bits(all, (size_t)length + REGISTRY_TRAILER_CHECK));
    cr_assert_eq(pwrite(fd, t, sizeof t, length), (ssize_t)sizeof t);
    free(all);
    close(fd);
}

/* As the first release wrote it: no additions to a customer, no index of addresses. */
static void
make_format_1(void)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char key[REGISTRY_KEY_SIZE];
    struct inet_endpoint e = endpoint_of("192.0.2.1:25");
    struct cdb_make cdb;
    struct buf v;

    cr_assert_eq(cdb_make_start(&cdb, fd), 0);
    buf_init(&v, 0);
    put_text(&v, "acme");
    put_u8(&v, REGISTRY_CUSTOMER_ACTIVE);
    put_u32(&v, 51);
    put_u32(&v, 52);
    put_u32(&v, 201);
    put_u64(&v, 12345);
    put_u32(&v, 6);
    add_format_1(&cdb, key, registry_key_number(key, 'c', 1), &v);
    put_u32(&v, 1);
    put_u8(&v, REGISTRY_WHEN_DOWN_DEFER);
    put_u8(&v, 0);
    put_u64(&v, 0);
    add_format_1(&cdb, key, registry_key_name(key, 'd', "acme.example"), &v);
    put_u32(&v, 1);
    put_u8(&v, e.family);
    buf_add(&v, e.addr, sizeof e.addr);
    put_u16(&v, e.port);
    put_u32(&v, 10);
    put_u32(&v, 0);
    put_u8(&v, REGISTRY_TLS_MAY);
    put_u8(&v, 0);
    add_format_1(&cdb, key, registry_key_number(key, 'b', 1), &v);
    buf_fini(&v);
    cr_assert_eq(cdb_make_finish(&cdb), 0);

    add_trailer(fd, 1);
}

/* As the release before sender policy wrote it. */
static void
make_format_3(void)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    char key[REGISTRY_KEY_SIZE];
    struct cdb_make cdb;
    struct buf v;

    cr_assert_eq(cdb_make_start(&cdb, fd), 0);
    buf_init(&v, 0);
    put_text(&v, "acme");
    put_u8(&v, REGISTRY_CUSTOMER_ACTIVE);
    put_u32(&v, 51);
    put_u32(&v, 52);
    put_u32(&v, 201);
    put_u64(&v, 12345);
    put_u32(&v, 6);
    put_u8(&v, 1);
    put_u32(&v, 10);
    put_u64(&v, 11);
    put_u8(&v, REGISTRY_CONNECTIONS_CLIENT);
    put_u8(&v, 1);
    put_u8(&v, 1);
    put_u8(&v, REGISTRY_LIMIT_SPOOL_BYTES);
    put_u64(&v, 99);
    put_u64(&v, 1000);
    add_format_1(&cdb, key, registry_key_number(key, 'c', 1), &v);
    buf_fini(&v);
    cr_assert_eq(cdb_make_finish(&cdb), 0);
    add_trailer(fd, 3);
}

Test(registry, P5_the_format_before_policy_is_read_and_checks_nobody)
{
    struct inet_endpoint address = endpoint_of("192.0.2.1:25");
    struct registry_maker *maker;
    struct registry_filter filter;
    struct registry_customer c;
    struct registry_rule rule;
    struct registry *r;

    make_format_3();
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_assert_eq(registry_find_customer(r, 1, 999, &c), ERR_OK);
    cr_expect(c.keep_live_4xx && c.max_spool_messages == 10 && c.max_spool_bytes == 99 &&
              c.connections_scope == REGISTRY_CONNECTIONS_CLIENT && c.normalise_bare_lf);
    cr_expect(c.policy == POLICY_SET_OFF && !c.filters_only);
    cr_expect_eq(registry_checks_needed(r), 0);
    cr_expect_eq(registry_find_filter(r, 1, &address, &filter), ERR_NOT_FOUND);
    cr_expect_eq(registry_find_rule(r, 1, &address, "a@b.example", 0, &rule), ERR_NOT_FOUND);
    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    cr_expect_eq(registry_maker_copy(maker, r), ERR_VERSION,
                 "its records would not be those of a newer file");
    registry_maker_abort(&maker);
    registry_close(&r);
}

Test(registry, P5_the_format_before_is_read)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct registry_customer c;
    struct registry_domain d;
    struct registry *r;
    uint32_t ids[4];
    unsigned count;

    make_format_1();
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_eq(registry_get_version(r)->version, 7);
    cr_assert_eq(registry_find_domain(r, "acme.example", &d), ERR_OK);
    cr_expect_eq(d.when_down, REGISTRY_WHEN_DOWN_DEFER);
    cr_assert_eq(registry_find_customer(r, 1, 0, &c), ERR_OK);
    cr_expect(c.max_recipients_per_message == 51 && c.max_messages_per_connection == 52 &&
              c.max_connections_per_hour == 201 && c.max_message_size_bytes == 12345 &&
              c.retention_days == 6);
    cr_expect(c.connections_scope == REGISTRY_CONNECTIONS_CUSTOMER && !c.normalise_bare_lf &&
                  c.max_spool_messages == REGISTRY_UNLIMITED && c.max_spool_bytes == UINT64_MAX,
              "what it lacks has its default");
    cr_assert_eq(
        registry_find_backends(r, &(struct registry_domain){.customer_id = 1}, backends, &count),
        ERR_OK);
    cr_expect_eq(count, 1);
    cr_expect_eq(
        registry_find_backend_customers(r, &backends[0].endpoint, ids, ARRAY_SIZE(ids), &count),
        ERR_NOT_FOUND, "it has no index of addresses");
    cr_expect_eq(registry_find_contact(r, 1, &(struct registry_contact){0}), ERR_NOT_FOUND,
                 "and no contacts");
    registry_close(&r);
}

/* --- Damage. */

static char *content;
static size_t size;

static void
read_file(void)
{
    struct stat st;
    int fd = open(path, O_RDONLY);

    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    size = (size_t)st.st_size;
    content = malloc(size);
    cr_assert_eq(read(fd, content, size), (ssize_t)size);
    close(fd);
}

static int
open_with(const char *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600), rc;
    struct registry *r;

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, n), (ssize_t)n);
    close(fd);
    rc = registry_open_path(path, &r);
    cr_expect_eq(r == NULL, rc != ERR_OK);
    registry_close(&r);
    return rc;
}

Test(registry, P5_a_file_torn_at_any_length_is_noticed)
{
    make("id");
    read_file();
    for (size_t n = 0; n < size; n++) {
        int rc = open_with(content, n);

        cr_assert(rc == ERR_CORRUPT, "torn at %zu of %zu: %d", n, size, rc);
    }
    cr_expect_eq(open_with(content, size), ERR_OK);
    free(content);
}

Test(registry, P5_a_flipped_bit_anywhere_is_noticed)
{
    make("id");
    read_file();
    for (size_t at = 0; at < size; at++) {
        int rc;

        content[at] ^= (char)(1 << at % 8);
        rc = open_with(content, size);
        cr_assert(rc == ERR_CORRUPT, "flipped at %zu of %zu: %d", at, size, rc);
        content[at] ^= (char)(1 << at % 8);
    }
    free(content);
}

Test(registry, P5_zeroed_foreign_and_missing_files_are_noticed)
{
    static const size_t zeroed[] = {0, 1, 95, 96, 2048, 2144, 65536};
    char *zeros = calloc(1, 65536);
    struct registry *r;

    for (size_t i = 0; i < ARRAY_SIZE(zeroed); i++)
        cr_expect_eq(open_with(zeros, zeroed[i]), ERR_CORRUPT, "%zu zeros", zeroed[i]);
    make("id");
    read_file();
    memset(content + size / 2, 0, size - size / 2);
    cr_expect_eq(open_with(content, size), ERR_CORRUPT, "half zeroed");
    memset(content, 'x', size);
    cr_expect_eq(open_with(content, size), ERR_CORRUPT, "foreign");
    (void)unlink(path);
    cr_expect_eq(registry_open_path(path, &r), ERR_NOT_FOUND);
    cr_expect_eq(registry_open_path(folder, &r), ERR_CORRUPT, "a folder");
    free(zeros);
    free(content);
}

static void
ignore_filter(void *ctx, const struct registry_filter_entry *filter)
{
    (void)ctx;
    (void)filter;
}

static void
ignore_include(void *ctx, const struct registry_include *include)
{
    (void)ctx;
    (void)include;
}

/* A file whose checksum is right but whose inside is nonsense (a bug, or malice): look-ups answer
 * something or ERR_CORRUPT and stay inside the file. */
Test(registry, P5_look_ups_survive_hostile_content)
{
    struct inet_endpoint address = endpoint_of("192.0.2.1:25");
    unsigned seed = 1;
    uint32_t ids[4];

    make("id");
    read_file();
    for (int round = 0; round < 3000; round++) {
        char *copy = malloc(size);
        struct registry_backend backends[REGISTRY_BACKENDS_MAX];
        struct registry_customer customer;
        struct registry_filter filter;
        struct registry_domain domain;
        struct registry_rule rule;
        struct registry *r;
        unsigned count, seen = 0;
        int fd;

        memcpy(copy, content, size);
        for (int i = 0; i < 8; i++)
            copy[(unsigned)rand_r(&seed) % (size - REGISTRY_TRAILER_LENGTH)] = (char)rand_r(&seed);
        store_u64(copy + size - 8, XXH3_64bits(copy, size - 8));
        fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
        cr_assert_eq(write(fd, copy, size), (ssize_t)size);
        close(fd);
        if (registry_open_path(path, &r) == ERR_OK) {
            (void)!registry_find_domain(r, "x.acme.example", &domain);
            (void)!registry_find_customer(r, 1, 0, &customer);
            (void)!registry_find_customer(r, 0xfffffffe, 0, &customer);
            (void)!registry_find_backend_customers(r, &address, ids, ARRAY_SIZE(ids), &count);
            (void)!registry_find_backends(r, &(struct registry_domain){.customer_id = 1}, backends,
                                          &count);
            (void)!registry_each_domain(r, count_domain, &seen);
            (void)!registry_each_backend(r, note_backend, &seen);
            (void)!registry_each_customer(r, 0, count_customer, &seen);
            (void)!registry_find_filter(r, 1, &address, &filter);
            (void)!registry_find_rule(r, 1, &address, "a@b.example", 0, &rule);
            (void)!registry_each_filter(r, ignore_filter, NULL);
            (void)!registry_each_include(r, ignore_include, NULL);
            (void)registry_checks_needed(r);
            registry_close(&r);
        }
        free(copy);
    }
    free(content);
}

Test(registry, another_format_is_told_from_damage)
{
    make("id");
    read_file();
    store_u32(content + size - REGISTRY_TRAILER_LENGTH + REGISTRY_TRAILER_FORMAT,
              REGISTRY_FORMAT_VERSION + 1);
    store_u64(content + size - 8, XXH3_64bits(content, size - 8));
    cr_expect_eq(open_with(content, size), ERR_VERSION);
    free(content);
}

Test(registry, an_abandoned_maker_leaves_the_last_file)
{
    struct registry_maker *maker;
    struct registry *r;

    make("first");
    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    cr_assert_eq(registry_maker_domain(maker, &domains[0]), ERR_OK);
    registry_maker_abort(&maker);
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    make("second");
    cr_expect_str_eq(registry_get_version(r)->database_id, "first", "a mapping stays what it was");
    registry_close(&r);
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_str_eq(registry_get_version(r)->database_id, "second");
    registry_close(&r);
}

static void
sum_ids(void *ctx, const struct registry_customer *customer)
{
    *(uint64_t *)ctx += customer->id;
}

/* Numbers in keys are stored turned. */
Test(registry, each_of_many_customers_is_found_by_its_number_and_listed_with_it)
{
    struct registry_version version = {.database_id = "many", .version = 1};
    struct registry_customer customer = customers[0];
    uint64_t want = 0, listed = 0;
    struct registry_maker *maker;
    struct registry *r;

    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    for (uint32_t i = 0; i < 20000; i++) {
        customer.id = i % 2 ? 0xffffffff - i : i + 1;
        customer.max_recipients_per_message = i;
        want += customer.id;
        cr_assert_eq(registry_maker_customer(maker, &customer, NULL, 0), ERR_OK);
    }
    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t id = i % 2 ? 0xffffffff - i : i + 1;

        cr_assert_eq(registry_find_customer(r, id, 0, &customer), ERR_OK, "%u", id);
        cr_assert_eq(customer.max_recipients_per_message, i, "%u", id);
    }
    cr_expect_eq(registry_each_customer(r, 0, sum_ids, &listed), ERR_OK);
    cr_expect_eq(listed, want);
    registry_close(&r);
}

Test(registry, a_hundred_thousand_domains)
{
    struct registry_version version = {.database_id = "big", .version = 1};
    struct registry_domain domain = {.customer_id = 1};
    struct registry_maker *maker;
    struct registry *r;

    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(domain.name, sizeof domain.name, "d%u.example", i);
        cr_assert_eq(registry_maker_domain(maker, &domain), ERR_OK);
    }
    cr_assert_eq(registry_maker_finish(&maker, &version, path), ERR_OK);
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(domain.name, sizeof domain.name, "d%u.example", i);
        cr_assert_eq(registry_find_domain(r, domain.name, &domain), ERR_OK, "%u", i);
    }
    cr_expect_eq(registry_get_version(r)->domain_count, 100000);
    registry_close(&r);
}
