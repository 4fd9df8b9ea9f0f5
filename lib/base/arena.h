/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Strings and small structs that die together: one arena for a session, one for a transaction.  The
 * cap is hard: a full arena returns NULL, which the caller turns into a 452, never a crash. Nothing
 * in an arena owns a descriptor, a timer or an event.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/err.h"
#include "base/slice.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks;
    size_t used_bytes;
    size_t max_bytes;
};

void arena_init(struct arena *a, size_t max_bytes);
void arena_clear(struct arena *a); /* frees all; the arena can be used again */

/* Would so many octets in so many pieces be had? */
bool arena_has_room(const struct arena *a, size_t size_bytes, unsigned pieces);
/* Zeroed and aligned for any type; NULL when the cap is reached. */
void *arena_alloc(struct arena *a, size_t size_bytes);
/* A NUL-terminated copy; NULL when the cap is reached. */
char *arena_copy(struct arena *a, struct slice s);

#endif
