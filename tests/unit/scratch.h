/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Files and folders of a test lie below TMPDIR, where runtap looks that none is left.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

#define SCRATCH_PATH 96 /* short enough for a socket in it */

/* A name for mkstemp. */
static inline void
scratch_name(char path[SCRATCH_PATH], const char *name)
{
    const char *place = getenv("TMPDIR");
    int n = snprintf(path, SCRATCH_PATH, "%s/%s-XXXXXX", place && *place ? place : "/tmp", name);

    CHECK(n < SCRATCH_PATH);
}

/* A folder of its own, which the test removes. */
static inline void
scratch_folder(char path[SCRATCH_PATH], const char *name)
{
    scratch_name(path, name);
    CHECK(mkdtemp(path) != NULL);
}

#endif
