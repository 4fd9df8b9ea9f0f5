/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A shared table in a folder of its own, for the tests of lib/state.  Criterion runs each test in a
 * process of its own, so what is static here is one test's.
 */
#ifndef SHARED_FIXTURE_H
#define SHARED_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "state/shared_layout.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH], path[128];
static struct shared_table *table;

static inline void
open_table(void)
{
    scratch_folder(folder, "test_shared");
    snprintf(path, sizeof path, "%s/shared", folder);
    cr_assert_eq(shared_table_create(path, 7, &table), ERR_OK);
}

/* The test has removed what else it made there. */
static inline void
close_table(void)
{
    shared_table_detach(&table);
    (void)unlink(path);
    cr_expect_eq(rmdir(folder), 0, "something else was left in %s", folder);
}

#endif
