/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Chunks of at least ARENA_CHUNK_BYTES in a list; allocation moves a mark in the newest.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#define ARENA_CHUNK_BYTES 1000

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    alignas(max_align_t) char mem[];
};

void
arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){.max_bytes = max_bytes};
}

void
arena_clear(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *c = a->chunks;

        a->chunks = c->next;
        free(c);
    }
    a->used_bytes = 0;
}

bool
arena_has_room(const struct arena *a, size_t size_bytes, unsigned pieces)
{
    return size_bytes + pieces * (alignof(max_align_t) - 1) <= a->max_bytes - a->used_bytes;
}

void *
arena_alloc(struct arena *a, size_t size_bytes)
{
    const size_t align = alignof(max_align_t);
    struct arena_chunk *c = a->chunks;
    void *p;

    if (size_bytes > a->max_bytes)
        return NULL;
    size_bytes = (size_bytes + align - 1) / align * align;
    if (size_bytes > a->max_bytes - a->used_bytes)
        return NULL;
    if (c == NULL || c->cap - c->used < size_bytes) {
        size_t cap = size_bytes > ARENA_CHUNK_BYTES ? size_bytes : ARENA_CHUNK_BYTES;

        c = mem_alloc(sizeof *c + cap);
        c->cap = cap;
        c->next = a->chunks;
        a->chunks = c;
    }
    p = c->mem + c->used;
    c->used += size_bytes;
    a->used_bytes += size_bytes;
    return p;
}

char *
arena_copy(struct arena *a, struct slice s)
{
    char *p = s.n < a->max_bytes ? arena_alloc(a, s.n + 1) : NULL;

    if (p != NULL && s.n)
        memcpy(p, s.p, s.n);
    return p;
}
