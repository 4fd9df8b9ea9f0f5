/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each chunk keeps a list of its own of what is free in it, so that it goes as a whole when its
 * last item does.  Numbers begin at 1.
 */
#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"

struct pool_chunk {
    uint32_t used;
    uint32_t fresh; /* from here on never taken */
    uint32_t free;  /* number of the first that was given back, counted from 1; 0: none */
    char *items;
};

void
pool_init(struct pool *p, size_t item_bytes)
{
    CHECK(item_bytes >= sizeof(uint32_t) && item_bytes % 8 == 0);
    *p = (struct pool){.item_bytes = item_bytes};
}

/* Whole pages, which come zeroed. */
static struct pool_chunk *
chunk_new(const struct pool *p)
{
    struct pool_chunk *chunk = mem_alloc(sizeof *chunk);
    size_t n = POOL_CHUNK_ITEMS * p->item_bytes;

    chunk->items = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(chunk->items != MAP_FAILED);
    (void)madvise(chunk->items, n, MADV_DONTFORK); /* without it, it only costs more */
    return chunk;
}

static void
chunk_free(const struct pool *p, struct pool_chunk *chunk)
{
    if (chunk == NULL)
        return;
    munmap(chunk->items, POOL_CHUNK_ITEMS * p->item_bytes);
    free(chunk);
}

void
pool_fini(struct pool *p)
{
    for (size_t i = 0; i < p->chunk_count; i++)
        chunk_free(p, p->chunks[i]);
    free(p->chunks);
    *p = (struct pool){.item_bytes = p->item_bytes};
}

static bool
has_room(const struct pool_chunk *chunk)
{
    return chunk == NULL || chunk->used < POOL_CHUNK_ITEMS;
}

/* The first chunk that has room, made if it is not there. */
static struct pool_chunk *
chunk_with_room(struct pool *p)
{
    while (p->with_room < p->chunk_count && !has_room(p->chunks[p->with_room]))
        p->with_room++;
    if (p->with_room == p->chunk_count) {
        CHECK(p->chunk_count < UINT32_MAX / POOL_CHUNK_ITEMS);
        p->chunks = mem_realloc(p->chunks, (p->chunk_count + 1) * sizeof(*p->chunks));
        p->chunks[p->chunk_count++] = NULL;
    }
    if (p->chunks[p->with_room] == NULL)
        p->chunks[p->with_room] = chunk_new(p);
    return p->chunks[p->with_room];
}

static void *
item_of(const struct pool *p, struct pool_chunk *chunk, uint32_t at)
{
    return chunk->items + at * p->item_bytes;
}

void *
pool_take(struct pool *p, uint32_t *number)
{
    struct pool_chunk *chunk = chunk_with_room(p);
    bool is_fresh = chunk->free == 0;
    uint32_t at = is_fresh ? chunk->fresh++ : chunk->free - 1;
    void *item = item_of(p, chunk, at);

    if (!is_fresh) {
        memcpy(&chunk->free, item, sizeof chunk->free);
        memset(item, 0, p->item_bytes);
    }
    chunk->used++;
    *number = (uint32_t)(p->with_room * POOL_CHUNK_ITEMS) + at + 1;
    return item;
}

void *
pool_at(const struct pool *p, uint32_t number)
{
    uint32_t at = number - 1;

    return number ? item_of(p, p->chunks[at / POOL_CHUNK_ITEMS], at % POOL_CHUNK_ITEMS) : NULL;
}

void *
pool_peek(const struct pool *p, uint32_t number)
{
    uint32_t at = number - 1;
    struct pool_chunk *chunk = p->chunks[at / POOL_CHUNK_ITEMS];

    return chunk ? item_of(p, chunk, at % POOL_CHUNK_ITEMS) : NULL;
}

uint32_t
pool_end(const struct pool *p)
{
    return (uint32_t)(p->chunk_count * POOL_CHUNK_ITEMS) + 1;
}

void
pool_give(struct pool *p, uint32_t number)
{
    size_t chunk_at = (number - 1) / POOL_CHUNK_ITEMS;
    uint32_t at = (number - 1) % POOL_CHUNK_ITEMS;
    struct pool_chunk *chunk = p->chunks[chunk_at];

    CHECK(number > 0 && chunk != NULL && chunk->used > 0 && at < chunk->fresh);
    memcpy(item_of(p, chunk, at), &chunk->free, sizeof chunk->free);
    chunk->free = at + 1;
    if (--chunk->used == 0) {
        chunk_free(p, chunk);
        p->chunks[chunk_at] = NULL;
    }
    if (chunk_at < p->with_room)
        p->with_room = chunk_at;
}
