/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Items of one size, as many as there may come, without an allocation each: they lie in chunks, are
 * never moved, and are known by a number of 32 bits, half of a pointer.  A chunk in which none is
 * left is given back.  A child made by fork does not have the items, and must not touch the pool:
 * otherwise each page that the parent changes would be there twice.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_CHUNK_ITEMS 1024

struct pool_chunk;

struct pool {
    size_t item_bytes;
    struct pool_chunk **chunks; /* NULL: given back */
    size_t chunk_count;
    size_t with_room; /* no chunk before it has any */
};

/* item_bytes: at least 4, a multiple of 8. */
void pool_init(struct pool *pool, size_t item_bytes);
void pool_fini(struct pool *pool); /* and all items */

/* A zeroed item; its number, which is not 0. */
void *pool_take(struct pool *pool, uint32_t *number);
void pool_give(struct pool *pool, uint32_t number);

/* NULL for 0. Any other number must have been taken. */
void *pool_at(const struct pool *pool, uint32_t number);

/* For a walk over all: number by number from 1 to below the end.  Taken or not: one that never was
 * is zeroed, of one that was given back the first 4 octets are the pool's, and the others as they
 * were then. NULL: its chunk has gone. */
void *pool_peek(const struct pool *pool, uint32_t number);
uint32_t pool_end(const struct pool *pool);

#endif
