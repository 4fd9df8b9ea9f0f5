/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Texts of enum err, the always-on assertion, and the allocations that may not fail.
 */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
err_text(int err)
{
    static const char *const texts[] = {
        [0] = "no error",
        [-ERR_IO] = "input/output error",
        [-ERR_MEMORY] = "out of memory",
        [-ERR_LIMIT] = "limit reached",
        [-ERR_SYNTAX] = "malformed",
        [-ERR_RANGE] = "out of range",
        [-ERR_NOT_FOUND] = "not found",
        [-ERR_EXISTS] = "exists already",
        [-ERR_CORRUPT] = "damaged",
        [-ERR_VERSION] = "of another version",
        [-ERR_BUSY] = "in use",
        [-ERR_AGAIN] = "nothing to do now",
        [-ERR_CLOSED] = "closed by the other side",
        [-ERR_TIMEOUT] = "timed out",
        [-ERR_FULL] = "no space left",
    };

    if (err > 0 || (size_t)-err >= ARRAY_SIZE(texts))
        return "unknown error";
    return texts[-err];
}

void
check_failed(const char *file, int line, const char *cond)
{
    fprintf(stderr, "%s:%d: check failed: %s\n", file, line, cond);
    abort();
}

void *
mem_alloc(size_t size_bytes)
{
    void *p = calloc(1, size_bytes ? size_bytes : 1);

    CHECK(p != NULL);
    return p;
}

void *
mem_realloc(void *p, size_t size_bytes)
{
    p = realloc(p, size_bytes ? size_bytes : 1);
    CHECK(p != NULL);
    return p;
}

char *
mem_strdup(const char *s)
{
    char *copy;

    if (s == NULL)
        return NULL;
    copy = strdup(s);
    CHECK(copy != NULL);
    return copy;
}
