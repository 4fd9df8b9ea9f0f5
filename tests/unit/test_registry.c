/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The replica file: what went in comes out, and a file that is torn, zeroed, foreign or flipped is
 * noticed before a look-up (P5: with a damaged replica nothing is refused).
 */
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

static char folder[64], path[128], path_tmp[128];

static void
setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/test_registry.XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
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
    {1, "acme", REGISTRY_CUSTOMER_ACTIVE, 50, 50, 200, 20 << 20, 5},
    {2, "beta", REGISTRY_CUSTOMER_SUSPENDED, REGISTRY_UNLIMITED, REGISTRY_UNLIMITED,
     REGISTRY_UNLIMITED, UINT64_MAX, 14},
    {0xfffffffe, "gamma", REGISTRY_CUSTOMER_SUSPENDED_REFUSE, 1, 2, 3, 4, 5},
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

static void
make(const char *database_id)
{
    struct registry_version version = {.version = 42, .written_at_ms = 1795000000000};
    struct registry_maker *maker;

    snprintf(version.database_id, sizeof version.database_id, "%s", database_id);
    cr_assert_eq(registry_maker_new(path_tmp, &maker), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(customers); i++)
        cr_assert_eq(registry_maker_customer(maker, &customers[i]), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
        cr_assert_eq(registry_maker_domain(maker, &domains[i]), ERR_OK);
    for (uint32_t i = 0; i < 20; i++) {
        struct registry_backend b = {.customer_id = 1,
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

        cr_assert_eq(registry_find_customer(r, want->id, &c), ERR_OK, "%s", want->name);
        cr_expect_str_eq(c.name, want->name);
        cr_expect(c.state == want->state &&
                      c.max_recipients_per_message == want->max_recipients_per_message &&
                      c.max_messages_per_connection == want->max_messages_per_connection &&
                      c.max_connections_per_hour == want->max_connections_per_hour &&
                      c.max_message_size_bytes == want->max_message_size_bytes &&
                      c.retention_days == want->retention_days,
                  "%s", want->name);
    }
    cr_expect_eq(registry_find_customer(r, 77, &(struct registry_customer){0}), ERR_NOT_FOUND);
    registry_close(&r);
    cr_expect_null(r);
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

Test(registry, backends_come_in_order_and_are_bounded)
{
    struct registry_backend found[REGISTRY_BACKENDS_MAX];
    struct registry *r;
    unsigned count;

    make("id");
    cr_assert_eq(registry_open_path(path, &r), ERR_OK);
    cr_expect_eq(registry_find_backends(r, 2, found, &count), ERR_NOT_FOUND);
    cr_expect_eq(count, 0);
    cr_assert_eq(registry_find_backends(r, 1, found, &count), ERR_OK);
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

/* A file whose checksum is right but whose inside is nonsense (a bug, or malice): look-ups answer
 * something or ERR_CORRUPT and stay inside the file. */
Test(registry, P5_look_ups_survive_hostile_content)
{
    unsigned seed = 1;

    make("id");
    read_file();
    for (int round = 0; round < 3000; round++) {
        char *copy = malloc(size);
        struct registry_backend backends[REGISTRY_BACKENDS_MAX];
        struct registry_customer customer;
        struct registry_domain domain;
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
            (void)!registry_find_customer(r, 1, &customer);
            (void)!registry_find_backends(r, 1, backends, &count);
            (void)!registry_each_domain(r, count_domain, &seen);
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
    store_u32(content + size - REGISTRY_TRAILER_LENGTH + REGISTRY_TRAILER_FORMAT, 2);
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
