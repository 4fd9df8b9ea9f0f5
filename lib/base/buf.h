/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A growable byte queue: bytes are added at the end and consumed from the front.  Embedded:
 * init/fini.  Memory is taken at the first byte and can be given back with buf_release when empty,
 * so that an idle connection costs nothing.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct buf {
    char *mem;
    size_t start;    /* first unread byte */
    size_t end;      /* behind the last byte */
    size_t cap;      /* size of mem */
    size_t max_size; /* more than this unread is ERR_LIMIT; 0: no bound (our own data only) */
};

void buf_init(struct buf *b, size_t max_size);
void buf_fini(struct buf *b);

static inline size_t
buf_size(const struct buf *b)
{
    return b->end - b->start;
}

/* Borrowed until the next change of the buffer. */
static inline struct slice
buf_slice(const struct buf *b)
{
    return (struct slice){b->mem ? b->mem + b->start : "", b->end - b->start};
}

/* Room for at least `n` more bytes at *p; call buf_added with what was used.  ERR_LIMIT beyond
 * max_size. */
MUST_USE int buf_room(struct buf *b, size_t n, char **p);
void buf_added(struct buf *b, size_t n);

/* ERR_LIMIT beyond max_size, and then nothing was added. */
MUST_USE int buf_append(struct buf *b, const void *p, size_t n);
MUST_USE int buf_append_slice(struct buf *b, struct slice s);
/* A whole file; ERR_IO: errno says why. */
MUST_USE int buf_append_file(struct buf *b, const char *path);

/* For buffers without a bound: a failure would be our bug. */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_text(struct buf *b, const char *text);
void buf_add_slice(struct buf *b, struct slice s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0);

void buf_consume(struct buf *b, size_t n); /* from the front */
void buf_clear(struct buf *b);             /* forgets the bytes, keeps the memory */
void buf_release(struct buf *b);           /* forgets the bytes, gives the memory back */
const char *
buf_text(struct buf *b); /* the content as a C string; borrowed; adds a NUL behind the content */

#endif
