/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A store in a folder of its own, for the tests of lib/state.  Criterion runs each test in a
 * process of its own, so what is static here is one test's.
 */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/slice.h"
#include "state/state.h"
#include "tests/unit/scratch.h"

#define NOW 1795000000000
#define MINUTE 60000LL
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static char folder[SCRATCH_PATH], path[128];
static struct state_store *store;
static struct state_store_settings settings;

static inline void
setup(void)
{
    scratch_folder(folder, "test_state");
    snprintf(path, sizeof path, "%s/state.mdb", folder);
    settings = (struct state_store_settings){.dir = folder,
                                             .positive_ttl_ms = 30 * DAY,
                                             .negative_ttl_ms = 15 * MINUTE,
                                             .map_size_bytes = 64 << 20};
}

static inline unsigned
each_file(const char *prefix, bool remove_it)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        count++;
        if (remove_it)
            cr_expect(unlinkat(dirfd(dir), entry->d_name, 0) == 0 ||
                      unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) == 0);
    }
    closedir(dir);
    return count;
}

static inline void
teardown(void)
{
    state_store_close(&store);
    each_file("", true);
    cr_expect_eq(rmdir(folder), 0);
}

static inline bool
reopen(void)
{
    bool set_aside;

    state_store_close(&store);
    cr_assert_eq(state_store_open(&settings, &store, &set_aside), ERR_OK);
    return set_aside;
}

#endif
