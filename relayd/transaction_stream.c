/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content on its way to the backend: our header lines, the body from where it lies, memory or
 * disk, and the dot.  Never more than the connection takes; who drains it calls for the next piece.
 *
 * Invariants: each octet is said once, in order (P7); the dot goes behind the last of them, from
 * here alone, and the transaction is in flight by then.
 */
#include "relayd/transaction_private.h"

#include "base/crash_point.h"
#include "base/log.h"

#define STREAM_PIECE_BYTES (128 * 1024)
#define STREAM_COPIED_BYTES (64 * 1024) /* of a body in memory, its end: it leaves with the dot */

static void
send_dot(struct transaction *t)
{
    t->dot_sent = true;
    CRASH_POINT("worker-before-dot");
    smtp_client_dot(backend_link_client(t->link));
    backend_link_flush(t->link);
    CRASH_POINT("worker-behind-dot");
}

static void pump(struct transaction *t);

static void
on_read(void *ctx, int err, struct slice piece)
{
    struct transaction *t = ctx;

    t->stream_reading = false;
    if (t->stage != STAGE_DELIVERING || t->link == NULL)
        return;
    if (err < 0) {
        log_line(LOG_LEVEL_ALARM, t->ref_text, "spill-unreadable", "error=\"%s\"", err_text(err));
        transaction_link_drop(t);
        if (t->is_prepared)
            transaction_resolve_silently(t, SPOOL_RESOLUTION_CANCEL);
        transaction_finish_verdict(t, SMTP_VERDICT_LOCAL_PROBLEM);
        return;
    }
    t->streamed_bytes += piece.n;
    smtp_client_content(backend_link_client(t->link), piece);
    if (t->streamed_bytes == t->body->size_bytes)
        send_dot(t);
    else
        pump(t);
}

static void
pump_large(struct transaction *t)
{
    backend_link_flush(t->link);
    if (t->stream_reading || backend_link_output_size(t->link) > CONN_HIGH_MARK)
        return;
    t->stream_reading = true;
    spool_large_read(t->body->large, t->streamed_bytes, STREAM_PIECE_BYTES, on_read, t);
}

/* The next piece of a body in memory; false behind the last one. */
static bool
next_piece(struct transaction *t)
{
    return t->stream_rest.n > 0 || body_next_piece(t->body, &t->stream_chunk, &t->stream_rest);
}

static uint64_t
bytes_left(const struct transaction *t)
{
    return t->body->size_bytes - t->streamed_bytes;
}

static int
gather(struct transaction *t, struct iovec pieces[CONN_PIECES_MAX])
{
    struct smtp_client *client = backend_link_client(t->link);
    int n = 0;

    while (n < CONN_PIECES_MAX && bytes_left(t) > STREAM_COPIED_BYTES && next_piece(t)) {
        size_t before = t->stream_rest.n;
        struct slice run = smtp_client_next_run(client, &t->stream_rest);

        t->streamed_bytes += before - t->stream_rest.n;
        pieces[n++] = (struct iovec){.iov_base = (char *)(uintptr_t)run.p, .iov_len = run.n};
    }
    return n;
}

static void
copy_rest(struct transaction *t)
{
    struct smtp_client *client = backend_link_client(t->link);

    while (next_piece(t)) {
        smtp_client_content(client, t->stream_rest);
        t->streamed_bytes += t->stream_rest.n;
        t->stream_rest.n = 0;
    }
}

/* A large one leaves from where it lies; its end is copied, so that the dot is in the same write.
 */
static void
pump_memory(struct transaction *t)
{
    struct iovec pieces[CONN_PIECES_MAX];
    int n;

    while ((n = gather(t, pieces)) > 0)
        if (!backend_link_write(t->link, pieces, n))
            return;
    copy_rest(t);
    send_dot(t);
}

static void
pump(struct transaction *t)
{
    if (t->body->large)
        pump_large(t);
    else
        pump_memory(t);
}

void
transaction_stream(struct transaction *t)
{
    t->stage = STAGE_DELIVERING;
    t->is_streaming = true;
    t->streamed_bytes = 0;
    t->stream_chunk = NULL;
    t->stream_rest.n = 0;
    smtp_client_content(backend_link_client(t->link), buf_slice(&t->prepend));
    pump(t);
}

void
transaction_on_drained(void *ctx)
{
    struct transaction *t = ctx;

    if (t->stage == STAGE_DELIVERING && t->is_streaming && !t->dot_sent &&
        t->streamed_bytes < t->body->size_bytes)
        pump(t);
}
