/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A large message in passage: one segment, one record.  The body goes to a fixed place behind room
 * for headers and envelope, while it is received; the commit writes what stands before it, syncs
 * and publishes.  Until then the segment holds no record, so that nothing needs undoing.
 *
 * Both sides are here: the loop's (queue, requests, callbacks) and the large lane's, which does one
 * thing at a time for each message in turn: pieces, then a read, then the commit, so that each sees
 * the ones before it.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/crash_point.h"
#include "spool/spool_lane.h"

#define BODY_OFFSET (SPOOL_SEGMENT_HEADER_BYTES + (uint64_t)SPOOL_LARGE_BODY_AT)

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

static void
to_lane(struct spool_large *large)
{
    if (large->at_lane || !has_work(large))
        return;
    large->at_lane = true;
    STAILQ_INSERT_TAIL(&lane_of(large)->larges, large, to_lane);
    pthread_cond_signal(&lane_of(large)->cond);
}

static void
to_loop(struct spool_large *large)
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
    to_loop(large);
    to_lane(large);
}

/* --- The thread's side.  Each step has the mutex, and gives it up for the disk. */

static void
fail(struct spool_large *large, const char *alarm)
{
    large->failed = ERR_IO;
    spool_writer_notice(large->writer, &large->segment, false, alarm);
}

/* With the mutex: they are for the loop to release. */
static void
drop_pieces(struct spool_writer *writer, struct spool_pieces *pieces)
{
    struct spool_piece *piece;

    while ((piece = STAILQ_FIRST(pieces)) != NULL) {
        STAILQ_REMOVE_HEAD(pieces, link);
        STAILQ_INSERT_TAIL(&writer->used_pieces, piece, link);
        spool_writer_wake(writer);
    }
}

static uint64_t
digest_and_list(struct spool_large *large, struct spool_pieces *pieces, struct iovec *iov)
{
    struct spool_piece *piece;
    uint64_t bytes = 0;
    size_t n = 0;

    STAILQ_FOREACH(piece, pieces, link)
    {
        for (int i = 0; i < piece->count; i++, n++) {
            iov[n] = piece->iov[i];
            XXH3_64bits_update(large->body_state, iov[n].iov_base, iov[n].iov_len);
        }
        bytes += piece->n;
    }
    return bytes;
}

static int
write_pieces(struct spool_large *large, struct spool_pieces *pieces, uint64_t *bytes, char *alarm,
             size_t alarm_size)
{
    const struct spool_io *io = large->writer->io;
    struct spool_piece *piece;
    struct iovec *iov;
    size_t count = 0;
    int rc;

    STAILQ_FOREACH(piece, pieces, link)
    count += (size_t)piece->count;
    iov = mem_alloc(count * sizeof *iov);
    *bytes = digest_and_list(large, pieces, iov);
    rc = spool_write_pieces(io, large->segment.fd, iov, count, BODY_OFFSET + large->written_bytes);
    if (rc < 0)
        spool_segment_close_at(io, &large->segment, "write", alarm, alarm_size);
    free(iov);
    return rc;
}

static void
step_pieces(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;
    struct spool_pieces pieces = STAILQ_HEAD_INITIALIZER(pieces);
    char alarm[160];
    uint64_t bytes;
    int rc;

    STAILQ_CONCAT(&pieces, &large->pieces);
    pthread_mutex_unlock(&writer->mutex);
    rc = write_pieces(large, &pieces, &bytes, alarm, sizeof alarm);
    pthread_mutex_lock(&writer->mutex);
    drop_pieces(writer, &pieces);
    large->written_bytes += bytes;
    if (rc < 0)
        fail(large, alarm);
}

static void
step_read(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;
    uint64_t left =
        large->read_offset < large->written_bytes ? large->written_bytes - large->read_offset : 0;
    size_t n = large->read_bytes < left ? large->read_bytes : (size_t)left;
    int rc = large->failed;

    if (n > SPOOL_LARGE_READ_BYTES)
        n = SPOOL_LARGE_READ_BYTES;
    if (rc == ERR_OK && n > 0) {
        pthread_mutex_unlock(&writer->mutex);
        large->read_octets = mem_alloc(n);
        rc = spool_read_exactly(writer->io, large->segment.fd, large->read_octets, n,
                                BODY_OFFSET + large->read_offset);
        pthread_mutex_lock(&writer->mutex);
    }
    large->read_bytes = n;
    large->read_rc = rc;
    large->read = REQUEST_DONE;
    to_loop(large);
}

static struct spool_record_header
record_header(const struct spool_large *large)
{
    size_t n = buf_size(&large->record) - SPOOL_RECORD_HEADER_BYTES;
    bool before = buf_size(&large->record) <= SPOOL_LARGE_BODY_AT;

    return (struct spool_record_header){
        .type = SPOOL_RECORD_MESSAGE,
        .envelope_bytes = (uint32_t)n,
        .envelope_at = before ? SPOOL_RECORD_HEADER_BYTES
                              : spool_align(SPOOL_LARGE_BODY_AT + large->written_bytes),
        .envelope_check = XXH3_64bits(buf_slice(&large->record).p + SPOOL_RECORD_HEADER_BYTES, n),
        .body_at = SPOOL_LARGE_BODY_AT,
        .body_bytes = large->written_bytes,
        .body_check = XXH3_64bits_digest(large->body_state),
    };
}

static int
write_record(struct spool_large *large, uint64_t *end)
{
    const struct spool_io *io = large->writer->io;
    const uint64_t start = SPOOL_SEGMENT_HEADER_BYTES;
    struct spool_record_header header = record_header(large);
    char *record = large->record.mem + large->record.start;
    const char *envelope = record + SPOOL_RECORD_HEADER_BYTES;
    int rc;

    spool_record_encode(&header, start, large->segment.key, (uint8_t *)record);
    *end = start + spool_record_extent(&header);
    if (*end > large->segment.size_bytes) {
        errno = ENOSPC;
        return ERR_FULL;
    }
    if (header.envelope_at == SPOOL_RECORD_HEADER_BYTES)
        return spool_write_all(io, large->segment.fd, record, buf_size(&large->record), start);
    rc = spool_write_all(io, large->segment.fd, envelope, header.envelope_bytes,
                         start + header.envelope_at);
    if (rc < 0)
        return rc;
    return spool_write_all(io, large->segment.fd, record, SPOOL_RECORD_HEADER_BYTES, start);
}

/* All of it in one sync would keep the device busy for as long, and each small record's sync behind
 * it. */
static int
sync_in_steps(const struct spool_io *io, int fd, uint64_t end)
{
    for (uint64_t at = 0; at + SPOOL_LARGE_STEP_BYTES < end; at += SPOOL_LARGE_STEP_BYTES)
        if (io->write_out(fd, (off_t)at, SPOOL_LARGE_STEP_BYTES) < 0)
            return ERR_IO;
    return io->fdatasync(fd) < 0 ? ERR_IO : ERR_OK;
}

/* As spool_lane.c's write_batch: ERR_AGAIN is durable, with trouble after it. */
static int
write_sync_publish(struct spool_large *large, char *alarm, size_t alarm_size)
{
    const struct spool_io *io = large->writer->io;
    const char *step = "write";
    uint64_t end;
    int rc = write_record(large, &end);

    if (rc == ERR_OK) {
        CRASH_POINT("large-written");
        step = "fdatasync";
        rc = sync_in_steps(io, large->segment.fd, end);
    }
    if (rc == ERR_OK) {
        large->segment.end = end;
        CRASH_POINT("large-synced");
        step = "committed offset";
        rc = spool_segment_publish(io, &large->segment) < 0 ? ERR_AGAIN : ERR_OK;
    }
    if (rc < 0)
        spool_segment_close_at(io, &large->segment, step, alarm, alarm_size);
    return rc;
}

static void
step_commit(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;
    char alarm[160];
    int rc = large->failed;

    if (rc == ERR_OK) {
        pthread_mutex_unlock(&writer->mutex);
        rc = write_sync_publish(large, alarm, sizeof alarm);
        pthread_mutex_lock(&writer->mutex);
        if (rc == ERR_AGAIN)
            spool_writer_notice(writer, &large->segment, false, alarm);
        else if (rc < 0)
            fail(large, alarm);
        large->committed = rc == ERR_OK || rc == ERR_AGAIN;
    }
    large->commit_rc = large->committed ? ERR_OK : rc;
    large->commit = REQUEST_DONE;
    to_loop(large);
}

static void
step_close(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;

    pthread_mutex_unlock(&writer->mutex);
    if (large->segment.open)
        writer->io->close(large->segment.fd);
    pthread_mutex_lock(&writer->mutex);
    drop_pieces(writer, &large->pieces);
    if (large->segment.open)
        spool_writer_notice(writer, &large->segment, true, "");
    large->segment.open = false;
    large->closed = true;
    to_loop(large);
}

void
spool_large_step(struct spool_lane *lane, struct spool_large *large)
{
    (void)lane;
    if (large->closing)
        step_close(large);
    else if (large->failed < 0 && !STAILQ_EMPTY(&large->pieces))
        drop_pieces(large->writer, &large->pieces);
    else if (!STAILQ_EMPTY(&large->pieces))
        step_pieces(large);
    else if (large->read == REQUEST_WANTED)
        step_read(large);
    else if (large->commit == REQUEST_WANTED)
        step_commit(large);
    large->at_lane = false;
    to_lane(large);
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

/* --- The loop's side: requests. */

static uint64_t
room_for(uint64_t body_bytes, uint64_t envelope_bytes)
{
    uint64_t size_bytes = BODY_OFFSET + spool_align(body_bytes) + spool_align(envelope_bytes);

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
            to_lane(large);
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
    to_lane(large);
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
        to_loop(large);
    } else {
        large->commit = REQUEST_WANTED;
        to_lane(large);
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
    to_lane(large);
    pthread_mutex_unlock(&large->writer->mutex);
}

void
spool_large_destroy(struct spool_large *large)
{
    LIST_REMOVE(large, all);
    pthread_mutex_lock(&large->writer->mutex);
    if (large->is_unserved)
        TAILQ_REMOVE(&large->writer->unserved_larges, large, unserved);
    drop_pieces(large->writer, &large->pieces);
    pthread_mutex_unlock(&large->writer->mutex);
    if (large->segment.open)
        large->writer->io->close(large->segment.fd);
    free(large->read_octets);
    buf_fini(&large->record);
    XXH3_freeState(large->body_state);
    free(large);
}

/* --- The loop's side: callbacks.  One is taken at a time: each may close its large, or others. */

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
