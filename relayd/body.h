/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content of one message in passage.  Up to BODY_MEMORY_MAX it lies in chunks of the worker's
 * pool, which are used again and again; a larger one moves to a segment of its own (spool_large),
 * laid out so that spooling it needs no copy.
 */
#ifndef RELAYD_BODY_H
#define RELAYD_BODY_H

#include <sys/uio.h>

#include "spool/spool_writer.h"

#define BODY_CHUNK_BYTES (16 * 1024)
#define BODY_MEMORY_MAX (1024 * 1024)
#define BODY_CHUNKS_MAX \
    (BODY_MEMORY_MAX / BODY_CHUNK_BYTES + 8) /* what is in the input buffer may still come */
#define BODY_POOL_CHUNKS (64 * 1024 * 1024 / BODY_CHUNK_BYTES) /* 64 MB a worker */

struct body_chunk {
    struct body_chunk *next;
    char bytes[BODY_CHUNK_BYTES];
};

struct body_pool {
    struct body_chunk *free;
    unsigned made, in_use;
};

void body_pool_fini(struct body_pool *pool);

struct body {
    struct body_pool *pool;
    struct spool_writer *writer;
    struct body_chunk *first, *last;
    size_t last_used;
    unsigned chunk_count;
    uint64_t size_bytes;
    uint64_t max_bytes;
    struct spool_large *large;
    bool large_ready, failed;
    void (*on_change)(
        void *ctx); /* reading may go on, or what body_is_settled waits for has happened */
    void *ctx;
};

void body_init(struct body *body, struct body_pool *pool, struct spool_writer *writer,
               uint64_t max_bytes, void (*on_change)(void *ctx), void *ctx);
void body_fini(struct body *body);
/* Takes a piece; a failure (no memory in the pool, no space for a large one) is remembered in
 * body->failed. */
void body_append(struct body *body, struct slice piece);
/* The sender should pause. on_change tells when it need not any more. */
bool body_is_behind(const struct body *body);
/* False while a large body still waits for its segment. */
bool body_is_settled(const struct body *body);
/* For a body in memory: fills at most BODY_CHUNKS_MAX entries, returns how many. */
int body_iovec(const struct body *body, struct iovec iov[BODY_CHUNKS_MAX]);

#endif
