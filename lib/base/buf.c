/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The byte queue.  Invariant: start <= end <= cap; an empty queue has start == end == 0.
 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_SIZE 512

void
buf_init(struct buf *b, size_t max_size)
{
    *b = (struct buf){.max_size = max_size};
}

void
buf_fini(struct buf *b)
{
    free(b->mem);
    *b = (struct buf){.max_size = b->max_size};
}

static void
move_to_front(struct buf *b)
{
    if (b->start == 0)
        return;
    memmove(b->mem, b->mem + b->start, buf_size(b));
    b->end -= b->start;
    b->start = 0;
}

int
buf_room(struct buf *b, size_t n, char **p)
{
    size_t cap = b->cap;

    *p = NULL;
    if (b->max_size && (n > b->max_size || buf_size(b) > b->max_size - n))
        return ERR_LIMIT;
    if (cap - b->end < n) {
        if (b->start >= n)
            move_to_front(b);
        else {
            move_to_front(b);
            if (cap == 0)
                cap = BUF_FIRST_SIZE;
            while (cap - b->end < n)
                cap += cap;
            b->mem = mem_realloc(b->mem, cap);
            b->cap = cap;
        }
    }
    *p = b->mem + b->end;
    return ERR_OK;
}

void
buf_added(struct buf *b, size_t n)
{
    CHECK(n <= b->cap - b->end);
    b->end += n;
}

int
buf_append(struct buf *b, const void *p, size_t n)
{
    char *at;
    int rc;

    if (n == 0)
        return ERR_OK;
    rc = buf_room(b, n, &at);
    if (rc < 0)
        return rc;
    memcpy(at, p, n);
    b->end += n;
    return ERR_OK;
}

int
buf_append_slice(struct buf *b, struct slice s)
{
    return buf_append(b, s.p, s.n);
}

int
buf_append_file(struct buf *b, const char *path)
{
    FILE *f = fopen(path, "re");
    char piece[8192];
    size_t n;
    int rc = ERR_OK;

    if (f == NULL)
        return ERR_IO;
    while (rc == ERR_OK && (n = fread(piece, 1, sizeof piece, f)) > 0)
        rc = buf_append(b, piece, n);
    if (rc == ERR_OK && ferror(f))
        rc = ERR_IO;
    fclose(f);
    return rc;
}

void
buf_add(struct buf *b, const void *p, size_t n)
{
    int rc = buf_append(b, p, n);

    CHECK(rc == ERR_OK);
}

void
buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void
buf_add_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.p, s.n);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list args)
{
    va_list again;
    char *at;
    int n, rc;

    va_copy(again, args);
    n = vsnprintf(b->mem ? b->mem + b->end : NULL, b->cap - b->end, fmt, args);
    CHECK(n >= 0);
    if (b->max_size > 0 || (size_t)n >= b->cap - b->end) {
        rc = buf_room(b, (size_t)n + 1, &at);
        CHECK(rc == ERR_OK);
        vsnprintf(at, (size_t)n + 1, fmt, again);
    }
    b->end += (size_t)n;
    va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    buf_vprintf(b, fmt, args);
    va_end(args);
}

void
buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= buf_size(b));
    b->start += n;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void
buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}

void
buf_release(struct buf *b)
{
    buf_fini(b);
}

const char *
buf_text(struct buf *b)
{
    size_t max_size = b->max_size;
    char *at;
    int rc;

    b->max_size = 0;
    rc = buf_room(b, 1, &at);
    b->max_size = max_size;
    CHECK(rc == ERR_OK);
    *at = '\0';
    return b->mem + b->start;
}
