/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The three kinds of error (STYLE: errors).  CHECK is for our own bugs and is always compiled in;
 * enum err is for the environment (I/O, memory, syntax); a protocol outcome is a value and never an
 * error.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

enum err {
    ERR_OK = 0,
    ERR_IO = -1,        /* the operating system refused; errno says why */
    ERR_MEMORY = -2,    /* a peer-sized allocation failed or passed its maximum */
    ERR_LIMIT = -3,     /* a bound of ours was reached: buffer, arena, table */
    ERR_SYNTAX = -4,    /* the input is not of its grammar */
    ERR_RANGE = -5,     /* of the grammar, but outside the permitted values */
    ERR_NOT_FOUND = -6, /* no such entry */
    ERR_EXISTS = -7,    /* there is one already */
    ERR_CORRUPT = -8,   /* a checksum or an invariant of stored data does not hold */
    ERR_VERSION = -9,   /* written by another version than we read */
    ERR_BUSY = -10,     /* somebody else holds it */
    ERR_AGAIN = -11,    /* nothing to do now; not a failure */
    ERR_CLOSED = -12,   /* the other side is gone */
    ERR_TIMEOUT = -13,  /* the deadline passed */
    ERR_FULL = -14,     /* no space: disk, quota, reserve */
};

/* A short English phrase for a log or a person; never NULL; static. */
const char *err_text(int err);

/* Stops the process with file, line and condition on standard error; the parent starts another. */
#define CHECK(cond)                                  \
    do {                                             \
        if (!(cond))                                 \
            check_failed(__FILE__, __LINE__, #cond); \
    } while (0)

_Noreturn void check_failed(const char *file, int line, const char *cond);

/* Small allocations abort on failure: safe, since a 250 comes only after the commit. */
void *mem_alloc(size_t size_bytes); /* zeroed; free() */
void *mem_realloc(void *p, size_t size_bytes);
char *mem_strdup(const char *s); /* NULL gives NULL */

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
