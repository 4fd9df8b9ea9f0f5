/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A whole body read back from an offset, wherever it lies: piece by piece, never waiting.  One
 * reader a body at a time.
 */
#ifndef RELAYD_BODY_READER_H
#define RELAYD_BODY_READER_H

#include "relayd/body.h"

enum body_read {
    BODY_READ_PIECE,
    BODY_READ_LATER, /* on_ready follows */
    BODY_READ_END,
    BODY_READ_FAILED, /* the disk */
};

struct body_reader {
    const struct body *body;
    void (*on_ready)(void *ctx);
    void *ctx;
    const struct body_chunk *at; /* of a body in memory, */
    uint64_t skip;               /* and what of it is still to be passed over */
    uint64_t offset;             /* of one on disk */
    struct buf piece;
    bool is_reading, has_piece; /* is_reading: the body's owner must wait for on_ready */
    int err;
};

void body_reader_init(struct body_reader *reader, void (*on_ready)(void *ctx), void *ctx);
void body_reader_fini(struct body_reader *reader); /* nothing is being read, or the body has gone */
void body_reader_begin(struct body_reader *reader, const struct body *body, uint64_t offset);
/* The piece is borrowed until the next call. */
enum body_read body_reader_next(struct body_reader *reader, struct slice *piece);

#endif
