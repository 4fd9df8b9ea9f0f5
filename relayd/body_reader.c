/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Chunks as they lie in memory; from the disk copies, a piece at a time.
 */
#include "relayd/body_reader.h"

#define PIECE_BYTES (64 * 1024)

void
body_reader_init(struct body_reader *r, void (*on_ready)(void *ctx), void *ctx)
{
    *r = (struct body_reader){.on_ready = on_ready, .ctx = ctx};
    buf_init(&r->piece, 0);
}

void
body_reader_fini(struct body_reader *r)
{
    buf_fini(&r->piece);
}

void
body_reader_begin(struct body_reader *r, const struct body *body, uint64_t offset)
{
    CHECK(!r->is_reading && body->is_whole);
    r->body = body;
    r->at = NULL;
    r->skip = r->offset = offset;
    r->has_piece = false;
    r->err = 0;
}

static enum body_read
next_of_memory(struct body_reader *r, struct slice *piece)
{
    while (body_next_piece(r->body, &r->at, piece)) {
        size_t n = r->skip < piece->n ? (size_t)r->skip : piece->n;

        r->skip -= n;
        *piece = (struct slice){piece->p + n, piece->n - n};
        if (piece->n > 0)
            return BODY_READ_PIECE;
    }
    return BODY_READ_END;
}

static void
on_read(void *ctx, int err, struct slice piece)
{
    struct body_reader *r = ctx;

    r->is_reading = false;
    r->err = err < 0 ? err : piece.n == 0 ? ERR_CORRUPT : 0;
    r->has_piece = r->err == 0;
    buf_clear(&r->piece);
    buf_add_slice(&r->piece, piece);
    r->offset += piece.n;
    r->on_ready(r->ctx);
}

static enum body_read
next_of_disk(struct body_reader *r, struct slice *piece)
{
    if (r->err < 0)
        return BODY_READ_FAILED;
    if (r->has_piece) {
        r->has_piece = false;
        *piece = buf_slice(&r->piece);
        return BODY_READ_PIECE;
    }
    if (!r->is_reading && r->offset >= r->body->size_bytes)
        return BODY_READ_END;
    if (!r->is_reading) {
        r->is_reading = true;
        spool_large_read(r->body->large, r->offset, PIECE_BYTES, on_read, r);
    }
    return BODY_READ_LATER;
}

enum body_read
body_reader_next(struct body_reader *r, struct slice *piece)
{
    return r->body->large ? next_of_disk(r, piece) : next_of_memory(r, piece);
}
