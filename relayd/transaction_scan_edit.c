/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bodies: the content's own, a filter's new one, and the changed content, which is written once,
 * when all filters have had their say (P7: what nobody changed is copied octet by octet).
 */
#include "relayd/transaction_scan.h"

#include <stdlib.h>

static void
on_change(void *ctx)
{
    transaction_scan_go_on(ctx);
}

/* What came within the limit does not break it by what filters write into its header (P9). */
static uint64_t
max_changed_bytes(const struct transaction *t)
{
    return transaction_max_content_bytes(t) +
           (uint64_t)scanners_count(t->worker->scanners) * MILTER_EDITS_BYTES + 2;
}

static struct body *
new_body(struct transaction_scan *s)
{
    struct transaction *t = s->t;
    struct body *body = mem_alloc(sizeof *body);

    body_init(body, &t->worker->bodies, t->worker->writer, on_change, s);
    body_begin(body, max_changed_bytes(t), 0, transaction_max_envelope_bytes(t));
    return body;
}

void
transaction_scan_free_body(struct body **body)
{
    if (*body)
        body_fini(*body);
    free(*body);
    *body = NULL;
}

void
transaction_scan_rewind(struct transaction_scan *s)
{
    if (s->now)
        body_reader_begin(&s->reader, s->now, 0);
    else
        body_reader_begin(&s->reader, s->t->body, s->body_at);
}

/* A body may be appended what it has room for, and no more.  False: the rest waits for on_change.
 */
static bool
pour(struct transaction_scan *s)
{
    size_t room;

    while (buf_size(&s->pending) > 0 && (room = body_room(s->coming)) > 0) {
        struct slice piece = buf_slice(&s->pending);

        if (piece.n > room)
            piece.n = room;
        body_append(s->coming, piece);
        buf_consume(&s->pending, piece.n);
    }
    return buf_size(&s->pending) == 0;
}

/* --- A new body. */

static void
add_piece(void *ctx, struct slice piece)
{
    struct transaction_scan *s = ctx;

    buf_add_slice(&s->pending, piece);
}

bool
transaction_scan_replace(void *ctx, struct slice piece)
{
    struct transaction_scan *s = ctx;

    if (s->coming == NULL)
        s->coming = new_body(s);
    milter_body_feed(&s->ends, piece, add_piece, s);
    if (s->coming->size_bytes + buf_size(&s->pending) > max_changed_bytes(s->t))
        body_discard(s->coming);
    (void)pour(s);
    return s->coming->state != BODY_FAILED;
}

bool
transaction_scan_wants_more(void *ctx)
{
    struct transaction_scan *s = ctx;

    return pour(s) && !body_is_behind(s->coming);
}

void
transaction_scan_forget_body(struct transaction_scan *s)
{
    transaction_scan_free_body(&s->coming);
    buf_clear(&s->pending);
    s->ends = (struct milter_body){.was_cr = false};
}

bool
transaction_scan_keep_body(struct transaction_scan *s)
{
    milter_body_end(&s->ends, add_piece, s);
    if (!pour(s))
        return false;
    body_end(s->coming);
    transaction_scan_free_body(&s->now);
    s->now = s->coming;
    s->coming = NULL;
    s->is_keeping = false;
    return true;
}

/* --- The changed content. */

bool
transaction_scan_is_changed(const struct transaction_scan *s)
{
    return s->now != NULL || s->header.is_changed;
}

static void
begin(struct transaction_scan *s)
{
    milter_header_write_rest(&s->header, &s->pending);
    if (s->now && s->header.separator_bytes == 0 && s->t->header.first_line_is_header)
        buf_add_text(&s->pending, "\r\n");
    s->coming = new_body(s);
    transaction_scan_rewind(s);
}

/* True: there is no more to copy, or no use in it. */
static bool
copy(struct transaction_scan *s)
{
    struct slice piece;

    while (pour(s) && s->coming->state != BODY_FAILED)
        switch (body_reader_next(&s->reader, &piece)) {
        case BODY_READ_PIECE:
            buf_add_slice(&s->pending, piece);
            break;
        case BODY_READ_LATER:
            return false;
        case BODY_READ_FAILED:
            s->is_unreadable = true;
            return true;
        case BODY_READ_END:
            body_end(s->coming);
            return true;
        }
    return s->coming->state == BODY_FAILED;
}

static void
use(struct transaction_scan *s)
{
    struct transaction *t = s->t;

    t->body = s->coming;
    s->coming = NULL;
    body_fini(&t->own_body);
    transaction_scan_free_body(&s->now);
}

bool
transaction_scan_rewrite(struct transaction_scan *s)
{
    if (s->coming == NULL)
        begin(s);
    if (!s->coming->is_whole && !copy(s))
        return false;
    if (s->is_unreadable)
        return true;
    if (!body_is_settled(s->coming) || s->reader.is_reading)
        return false;
    use(s);
    return true;
}
