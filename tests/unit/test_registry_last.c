/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P5: a damaged replica and a wrong database together refuse nobody.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/registry_last.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH], path[128], path_tmp[128];

static void
setup(void)
{
    scratch_folder(folder, "test_registry_last");
    snprintf(path, sizeof path, "%s/replica.last", folder);
    snprintf(path_tmp, sizeof path_tmp, "%s/replica.last.tmp", folder);
}

static void
teardown(void)
{
    (void)unlink(path);
    cr_expect_eq(rmdir(folder), 0, "something else was left in %s", folder);
}

TestSuite(registry_last, .init = setup, .fini = teardown);

static const struct {
    const char *name;
    const char *last_id; /* NULL: not known */
    uint64_t last_served;
    const char *id;
    uint64_t version; /* what is remembered has 10 */
    unsigned served, removed;
    bool is_accepted;
    enum registry_guard_verdict want;
} cases[] = {
    {"the same", "A", 100, "A", 10, 100, 0, false, REGISTRY_GUARD_ACCEPT},
    {"later and larger", "A", 100, "A", 11, 200, 0, false, REGISTRY_GUARD_ACCEPT},
    {"an older version", "A", 100, "A", 9, 100, 0, false, REGISTRY_GUARD_LOWER_VERSION},
    {"another database", "A", 100, "B", 11, 100, 0, false, REGISTRY_GUARD_OTHER_DATABASE},
    {"another database, empty", "A", 3, "B", 0, 0, 0, false, REGISTRY_GUARD_OTHER_DATABASE},
    {"five gone of 100", "A", 100, "A", 11, 95, 0, false, REGISTRY_GUARD_ACCEPT},
    {"six gone of 100", "A", 100, "A", 11, 94, 0, false, REGISTRY_GUARD_SHRUNK},
    {"six gone of 600 is one per cent", "A", 600, "A", 11, 594, 0, false, REGISTRY_GUARD_ACCEPT},
    {"tombstones do not serve", "A", 100, "A", 11, 90, 10, false, REGISTRY_GUARD_SHRUNK},
    {"shrunk, accepted", "A", 100, "A", 11, 10, 0, true, REGISTRY_GUARD_ACCEPT},
    {"another database, accepted", "A", 100, "B", 1, 0, 0, true, REGISTRY_GUARD_ACCEPT},
    {"nothing is known", NULL, 0, "A", 11, 1, 0, false, REGISTRY_GUARD_ACCEPT},
    {"nothing is known, empty", NULL, 0, "A", 11, 0, 0, false, REGISTRY_GUARD_EMPTY},
    {"nothing is known, tombstones only", NULL, 0, "A", 11, 0, 4, false, REGISTRY_GUARD_EMPTY},
    {"nothing is known, empty, accepted", NULL, 0, "A", 11, 0, 0, true, REGISTRY_GUARD_ACCEPT},
};

static struct registry_set
set_of(const char *id, uint64_t version, unsigned served, unsigned removed)
{
    struct registry_set set = {.version = version};

    snprintf(set.database_id, sizeof set.database_id, "%s", id);
    for (unsigned i = 0; i < served + removed; i++) {
        struct registry_domain domain = {.customer_id = 1, .removed = i >= served};

        snprintf(domain.name, sizeof domain.name, "d%05u.example", i);
        registry_set_add(&set, &domain);
    }
    return set;
}

Test(registry_last, P5_the_next_registry_is_judged_by_what_is_remembered)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct registry_last last = {.version = 10, .served = cases[i].last_served};
        struct registry_set offer =
            set_of(cases[i].id, cases[i].version, cases[i].served, cases[i].removed);
        struct registry_guard guard;
        char text[REGISTRY_GUARD_TEXT_SIZE];

        snprintf(last.database_id, sizeof last.database_id, "%s",
                 cases[i].last_id ? cases[i].last_id : "");
        registry_guard_judge_by_last(cases[i].last_id ? &last : NULL, &offer, cases[i].is_accepted,
                                     &guard);
        cr_expect_eq(guard.verdict, cases[i].want, "%s: %s", cases[i].name,
                     registry_guard_text(&guard, &offer, &offer, text));
        registry_set_fini(&offer);
    }
}

Test(registry_last, what_is_written_is_read)
{
    struct registry_set set = set_of("0123456789abcdef0123456789abcdef", UINT64_MAX, 7, 3);
    struct registry_last last = registry_last_of(&set), read;

    cr_expect_eq(registry_last_read(path, &read), ERR_NOT_FOUND);
    cr_assert_eq(registry_last_write(path, path_tmp, &last), ERR_OK);
    cr_assert_eq(registry_last_read(path, &read), ERR_OK);
    cr_expect_str_eq(read.database_id, set.database_id);
    cr_expect_eq(read.version, UINT64_MAX);
    cr_expect_eq(read.served, 7);
    cr_expect_eq(registry_last_write("/proc/no/such", "/proc/no/such.tmp", &last), ERR_IO);
    registry_set_fini(&set);
}

static void
put(const char *octets, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    cr_assert_eq(write(fd, octets, n), (ssize_t)n);
    close(fd);
}

Test(registry_last, P5_torn_or_flipped_it_is_not_believed)
{
    struct registry_last last = {"id", 10, 5}, found;
    char text[512];
    ssize_t n;
    int fd;

    cr_assert_eq(registry_last_write(path, path_tmp, &last), ERR_OK);
    fd = open(path, O_RDONLY);
    n = read(fd, text, sizeof text);
    close(fd);
    cr_assert_gt(n, 0);
    for (ssize_t i = 0; i < n; i++) {
        put(text, (size_t)i);
        cr_expect_eq(registry_last_read(path, &found), ERR_CORRUPT, "torn at %zd", i);
        text[i] ^= 1;
        put(text, (size_t)n);
        cr_expect_eq(registry_last_read(path, &found), ERR_CORRUPT, "flipped at %zd", i);
        text[i] ^= 1;
    }
}
