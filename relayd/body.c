/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Chunks in memory, then one large segment.  The move happens once, when the segment has come;
 * until then the pieces that were already read are still taken into chunks, and the session reads
 * no further.
 */
#include "relayd/body.h"

#include <stdlib.h>

static struct body_chunk *
chunk_take(struct body_pool *pool)
{
    struct body_chunk *c = pool->free;

    if (c != NULL)
        pool->free = c->next;
    else if (pool->made < BODY_POOL_CHUNKS) {
        c = malloc(sizeof *c);
        if (c == NULL)
            return NULL;
        pool->made++;
    } else
        return NULL;
    c->next = NULL;
    pool->in_use++;
    return c;
}

static void
chunks_give(struct body *body)
{
    while (body->first) {
        struct body_chunk *c = body->first;

        body->first = c->next;
        c->next = body->pool->free;
        body->pool->free = c;
        body->pool->in_use--;
    }
    body->last = NULL;
    body->chunk_count = 0;
    body->last_used = 0;
}

void
body_pool_fini(struct body_pool *pool)
{
    while (pool->free) {
        struct body_chunk *c = pool->free;

        pool->free = c->next;
        free(c);
    }
}

void
body_init(struct body *body, struct body_pool *pool, struct spool_writer *writer,
          uint64_t max_bytes, void (*on_change)(void *ctx), void *ctx)
{
    *body = (struct body){
        .pool = pool, .writer = writer, .max_bytes = max_bytes, .on_change = on_change, .ctx = ctx};
}

void
body_fini(struct body *body)
{
    spool_large_close(&body->large);
    if (body->pool)
        chunks_give(body);
}

static void
append_chunks(struct body *body, struct slice piece)
{
    while (piece.n > 0) {
        size_t room = body->last ? BODY_CHUNK_BYTES - body->last_used : 0;
        size_t n;

        if (room == 0) {
            struct body_chunk *c =
                body->chunk_count < BODY_CHUNKS_MAX ? chunk_take(body->pool) : NULL;

            if (c == NULL) {
                body->failed = true;
                return;
            }
            if (body->last)
                body->last->next = c;
            else
                body->first = c;
            body->last = c;
            body->last_used = 0;
            body->chunk_count++;
            continue;
        }
        n = piece.n < room ? piece.n : room;
        memcpy(body->last->bytes + body->last_used, piece.p, n);
        body->last_used += n;
        piece.p += n;
        piece.n -= n;
    }
}

int
body_iovec(const struct body *body, struct iovec iov[BODY_CHUNKS_MAX])
{
    int n = 0;

    for (struct body_chunk *c = body->first; c; c = c->next, n++) {
        iov[n].iov_base = c->bytes;
        iov[n].iov_len = c == body->last ? body->last_used : BODY_CHUNK_BYTES;
    }
    return n;
}

static void
on_large_room(void *ctx)
{
    struct body *body = ctx;

    body->on_change(body->ctx);
}

static void
on_large_ready(void *ctx, int err)
{
    struct body *body = ctx;
    struct iovec iov[BODY_CHUNKS_MAX];
    int n;

    body->large_ready = true;
    if (err < 0)
        body->failed = true;
    n = body->failed ? 0 : body_iovec(body, iov);
    for (int i = 0; i < n && !body->failed; i++)
        if (spool_large_append(body->large, (struct slice){iov[i].iov_base, iov[i].iov_len}) < 0)
            body->failed = true;
    chunks_give(body);
    body->on_change(body->ctx);
}

void
body_append(struct body *body, struct slice piece)
{
    body->size_bytes += piece.n;
    if (body->failed)
        return;
    if (body->large && body->large_ready) {
        if (spool_large_append(body->large, piece) < 0)
            body->failed = true;
        return;
    }
    append_chunks(body, piece);
    if (body->large == NULL && body->size_bytes > BODY_MEMORY_MAX && !body->failed) {
        body->large = spool_large_open(body->writer, body->max_bytes, on_large_ready, body);
        if (body->large == NULL)
            body->failed = true;
        else
            spool_large_on_room(body->large, on_large_room, body);
    }
}

bool
body_is_behind(const struct body *body)
{
    if (body->failed || body->large == NULL)
        return false;
    return !body->large_ready || spool_large_is_behind(body->large);
}

bool
body_is_settled(const struct body *body)
{
    return body->large == NULL || body->large_ready;
}
