/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Crash points. The counts lie in memory that all processes of a start share.
 */
#include "base/crash_point.h"

#ifdef POSTERN_DEVELOPER
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define POINTS_MAX 64

static struct points {
    struct point {
        char name[40];
        atomic_long left;
    } points[POINTS_MAX];
    size_t count;
} * shared; /* NULL: none were asked for */

void
crash_point_begin(void)
{
    const char *text = getenv("POSTERN_TEST_CRASH");
    int used;

    if (text == NULL || *text == '\0')
        return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    while (*text != '\0') {
        struct point *point = &shared->points[shared->count];
        long count;

        CHECK(shared->count < POINTS_MAX);
        CHECK(sscanf(text, "%39[^:]:%ld%n", point->name, &count, &used) == 2);
        atomic_store(&point->left, count);
        shared->count++;
        text += used;
        text += *text == ',';
    }
}

void
crash_point(const char *name)
{
    for (size_t i = 0; shared != NULL && i < shared->count; i++) {
        struct point *point = &shared->points[i];

        if (strcmp(point->name, name) != 0 || atomic_fetch_sub(&point->left, 1) != 1)
            continue;
        log_line(LOG_LEVEL_WARN, NULL, "crash-point", "name=%s", name);
        _exit(137); /* a worker may not send signals; all its threads end by this too */
    }
}
#endif
