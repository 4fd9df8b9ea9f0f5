/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A large message in passage: one segment, one record.  The body goes to a fixed place behind room
 * for headers and envelope, while it is received; the commit writes what stands before it, syncs
 * and publishes.  Until then the segment holds no record, so that nothing needs undoing.
 *
 * The loop's side is here: requests, who is to look at a message next, callbacks.  What the lane's
 * thread does with it is in spool_large_step.c.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "spool/spool_lane.h"

static struct spool_lane *
lane_of(struct spool_large *large)
{
    return &large->writer->lanes[LANE_LARGE];
}

/* --- With the mutex held: who is to look at it next. */

static bool
has_work(const struct spool_large *large)
{
    if (large->closed || large->closing)
        return !large->closed;
    return (large->segment.open || large->failed < 0) &&
           (large->read == REQUEST_WANTED || large->commit == REQUEST_WANTED ||
            !STAILQ_EMPTY(&large->pieces));
}

void
spool_large_to_lane(struct spool_large *large)
{
    if (large->at_lane || !has_work(large))
        return;
    large->at_lane = true;
    STAILQ_INSERT_TAIL(&lane_of(large)->larges, large, to_lane);
    pthread_cond_signal(&lane_of(large)->cond);
}

void
spool_large_to_loop(struct spool_large *large)
{
    if (!large->at_loop) {
        large->at_loop = true;
        STAILQ_INSERT_TAIL(&large->writer->done_larges, large, to_loop);
    }
    spool_writer_wake(large->writer);
}

static void
serve(struct spool_large *large, const struct spool_open_segment *segment)
{
    TAILQ_REMOVE(&large->writer->unserved_larges, large, unserved);
    large->is_unserved = false;
    large->ticket = 0;
    if (segment != NULL && segment->open)
        large->segment = *segment;
    else
        large->failed = ERR_FULL;
    large->ready_due = true;
    spool_large_to_loop(large);
    spool_large_to_lane(large);
}

int64_t
spool_large_fail_unserved(struct spool_writer *writer, int64_t now_ms)
{
    struct spool_large *large;

    while ((large = TAILQ_FIRST(&writer->unserved_larges)) != NULL) {
        if (now_ms < large->waits_until_ms)
            return large->waits_until_ms;
        serve(large, NULL);
    }
    return INT64_MAX;
}

/* --- Requests. */

static uint64_t
room_for(uint64_t body_bytes, uint64_t envelope_bytes)
{
    uint64_t size_bytes =
        SPOOL_LARGE_BODY_OFFSET + spool_align(body_bytes) + spool_align(envelope_bytes);

    /* that size means a shared one */
    return size_bytes == SPOOL_SEGMENT_BYTES ? size_bytes + SPOOL_ALIGN : size_bytes;
}

struct spool_large *
spool_large_open(struct spool_writer *writer, uint64_t max_body_bytes, uint64_t max_envelope_bytes,
                 spool_on_commit on_ready, void *ctx)
{
    struct spool_large *large = mem_alloc(sizeof *large);

    CHECK(max_envelope_bytes <= SPOOL_ENVELOPE_MAX);
    large->writer = writer;
    large->max_body_bytes = max_body_bytes;
    large->max_envelope_bytes = max_envelope_bytes;
    large->on_ready = on_ready;
    large->ready_ctx = ctx;
    STAILQ_INIT(&large->pieces);
    buf_init(&large->record, 0);
    large->body_state = XXH3_createState();
    CHECK(large->body_state != NULL);
    XXH3_64bits_reset(large->body_state);
    LIST_INSERT_HEAD(&writer->larges, large, all);
    pthread_mutex_lock(&writer->mutex);
    large->ticket = writer->next_ticket++;
    large->waits_until_ms = clock_monotonic_ms() + SPOOL_SEGMENT_WAIT_MS;
    large->is_unserved = true;
    TAILQ_INSERT_TAIL(&writer->unserved_larges, large, unserved);
    pthread_cond_signal(&lane_of(large)->cond); /* it watches that moment */
    pthread_mutex_unlock(&writer->mutex);
    writer->ops->want_segment(writer->ctx, room_for(max_body_bytes, max_envelope_bytes),
                              large->ticket);
    return large;
}

bool
spool_large_give(struct spool_writer *writer, uint32_t ticket,
                 const struct spool_open_segment *segment)
{
    struct spool_large *large;

    TAILQ_FOREACH(large, &writer->unserved_larges, unserved)
    if (large->ticket == ticket)
        break;
    if (large == NULL)
        return false;
    serve(large, segment);
    return true;
}

static struct spool_piece *
new_piece(const struct iovec *pieces, int count, void (*release)(void *owner), void *owner)
{
    struct spool_piece *piece = mem_alloc(sizeof *piece + (size_t)count * sizeof *pieces);

    piece->release = release;
    piece->owner = owner;
    piece->count = count;
    for (int i = 0; i < count; i++) {
        piece->iov[i] = pieces[i];
        piece->n += pieces[i].iov_len;
    }
    return piece;
}

int
spool_large_append(struct spool_large *large, const struct iovec *pieces, int count,
                   void (*release)(void *owner), void *owner)
{
    struct spool_piece *piece = new_piece(pieces, count, release, owner);
    int rc = ERR_LIMIT;

    CHECK(large->commit == REQUEST_NONE);
    if (piece->n <= large->max_body_bytes - large->appended_bytes) {
        pthread_mutex_lock(&large->writer->mutex);
        rc = large->failed;
        if (rc == ERR_OK) {
            STAILQ_INSERT_TAIL(&large->pieces, piece, link);
            large->appended_bytes += piece->n;
            spool_large_to_lane(large);
        }
        pthread_mutex_unlock(&large->writer->mutex);
    }
    if (rc < 0)
        free(piece);
    return rc;
}

uint64_t
spool_large_size(const struct spool_large *large)
{
    return large->appended_bytes;
}

void
spool_large_read(struct spool_large *large, uint64_t offset, size_t n, spool_on_read on_read,
                 void *ctx)
{
    pthread_mutex_lock(&large->writer->mutex);
    CHECK(large->read == REQUEST_NONE);
    large->read = REQUEST_WANTED;
    large->read_offset = offset;
    large->read_bytes = n;
    large->on_read = on_read;
    large->read_ctx = ctx;
    spool_large_to_lane(large);
    pthread_mutex_unlock(&large->writer->mutex);
}

void
spool_large_trim(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;
    uint64_t size_bytes = room_for(large->appended_bytes, large->max_envelope_bytes);
    bool trim;

    pthread_mutex_lock(&writer->mutex);
    large->max_body_bytes = large->appended_bytes;
    trim = large->segment.open && large->failed == ERR_OK &&
           size_bytes + SPOOL_LARGE_TRIM_BYTES <= large->segment.size_bytes;
    if (trim)
        large->segment.size_bytes = size_bytes;
    pthread_mutex_unlock(&writer->mutex);
    if (trim)
        writer->ops->trim_segment(writer->ctx, large->segment.id, size_bytes);
}

void
spool_large_commit(struct spool_large *large, const struct spool_envelope *envelope,
                   spool_on_commit on_done, void *ctx)
{
    pthread_mutex_lock(&large->writer->mutex);
    CHECK(large->commit == REQUEST_NONE && buf_size(&large->record) == 0);
    spool_writer_put_envelope(&large->record, envelope);
    large->on_commit = on_done;
    large->commit_ctx = ctx;
    if (buf_size(&large->record) > SPOOL_LARGE_BODY_AT && /* it does not fit before the body */
        buf_size(&large->record) > large->max_envelope_bytes) {
        large->commit_rc = ERR_LIMIT;
        large->commit = REQUEST_DONE;
        spool_large_to_loop(large);
    } else {
        large->commit = REQUEST_WANTED;
        spool_large_to_lane(large);
    }
    pthread_mutex_unlock(&large->writer->mutex);
}

void
spool_large_close(struct spool_large **large_)
{
    struct spool_large *large = *large_;

    if (large == NULL)
        return;
    *large_ = NULL;
    pthread_mutex_lock(&large->writer->mutex);
    large->closing = true;
    if (large->is_unserved)
        TAILQ_REMOVE(&large->writer->unserved_larges, large, unserved);
    large->is_unserved = false;
    spool_large_to_lane(large);
    pthread_mutex_unlock(&large->writer->mutex);
}

void
spool_large_destroy(struct spool_large *large)
{
    LIST_REMOVE(large, all);
    pthread_mutex_lock(&large->writer->mutex);
    if (large->is_unserved)
        TAILQ_REMOVE(&large->writer->unserved_larges, large, unserved);
    spool_large_drop_pieces(large->writer, &large->pieces);
    pthread_mutex_unlock(&large->writer->mutex);
    if (large->segment.open)
        large->writer->io->close(large->segment.fd);
    free(large->read_octets);
    buf_fini(&large->record);
    XXH3_freeState(large->body_state);
    free(large);
}

/* --- Callbacks.  One is taken at a time: each may close its large, or others. */

struct due {
    bool ready, read, commit;
    int ready_rc, read_rc, commit_rc;
    struct slice read_piece;
    char *read_octets;
};

static struct due
take_due(struct spool_large *large)
{
    struct due due = {
        .ready = large->ready_due,
        .read = large->read == REQUEST_DONE,
        .commit = large->commit == REQUEST_DONE && large->on_commit != NULL,
        .ready_rc = large->failed,
        .read_rc = large->read_rc,
        .commit_rc = large->commit_rc,
        .read_octets = large->read_octets,
    };

    large->ready_due = false;
    if (due.read) {
        due.read_piece = (struct slice){large->read_octets ? large->read_octets : "",
                                        due.read_rc == ERR_OK ? large->read_bytes : 0};
        large->read_octets = NULL;
        large->read = REQUEST_NONE;
    } else
        due.read_octets = NULL;
    return due;
}

static void
run_due(struct spool_large *large, const struct due *due)
{
    spool_on_commit on_commit = large->on_commit;

    if (due->commit)
        large->on_commit = NULL;
    if (due->ready && !large->closing)
        large->on_ready(large->ready_ctx, due->ready_rc);
    if (due->read && !large->closing)
        large->on_read(large->read_ctx, due->read_rc, due->read_piece);
    if (due->commit && !large->closing)
        on_commit(large->commit_ctx, due->commit_rc);
}

/* The next large with something to tell; *gone: it was closed and the thread is done with it. */
static struct spool_large *
take_large(struct spool_writer *writer, struct due *due, bool *gone)
{
    struct spool_large *large;

    pthread_mutex_lock(&writer->mutex);
    large = STAILQ_FIRST(&writer->done_larges);
    if (large != NULL) {
        STAILQ_REMOVE_HEAD(&writer->done_larges, to_loop);
        large->at_loop = false;
        *due = take_due(large);
        *gone = large->closed;
    }
    pthread_mutex_unlock(&writer->mutex);
    return large;
}

void
spool_large_release_used(struct spool_writer *writer)
{
    struct spool_pieces used = STAILQ_HEAD_INITIALIZER(used);
    struct spool_piece *piece;

    pthread_mutex_lock(&writer->mutex);
    STAILQ_CONCAT(&used, &writer->used_pieces);
    pthread_mutex_unlock(&writer->mutex);
    while ((piece = STAILQ_FIRST(&used)) != NULL) {
        STAILQ_REMOVE_HEAD(&used, link);
        piece->release(piece->owner);
        free(piece);
    }
}

void
spool_large_turn(struct spool_writer *writer)
{
    struct spool_large *large;
    struct due due;
    bool gone;

    spool_large_release_used(writer);
    while ((large = take_large(writer, &due, &gone)) != NULL) {
        if (gone)
            spool_large_destroy(large);
        else
            run_due(large, &due);
        free(due.read_octets);
    }
}
