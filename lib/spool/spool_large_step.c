/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A large message on the lane's thread, which does one thing at a time for each in turn: pieces,
 * then a read, then the commit, so that each sees the ones before it.  Each step has the mutex, and
 * gives it up for the disk.
 *
 * Invariants: the segment holds no record before the commit, and the record is synced before it
 * counts; a message that has failed is not written to again.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/crash_point.h"
#include "spool/spool_lane.h"

static void
fail(struct spool_large *large, const char *alarm)
{
    large->failed = ERR_IO;
    spool_writer_notice(large->writer, &large->segment, false, alarm);
}

void
spool_large_drop_pieces(struct spool_writer *writer, struct spool_pieces *pieces)
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
    rc = spool_write_pieces(io, large->segment.fd, iov, count,
                            SPOOL_LARGE_BODY_OFFSET + large->written_bytes);
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
    spool_large_drop_pieces(writer, &pieces);
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
                                SPOOL_LARGE_BODY_OFFSET + large->read_offset);
        pthread_mutex_lock(&writer->mutex);
    }
    large->read_bytes = n;
    large->read_rc = rc;
    large->read = REQUEST_DONE;
    spool_large_to_loop(large);
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
    spool_large_to_loop(large);
}

static void
step_close(struct spool_large *large)
{
    struct spool_writer *writer = large->writer;

    pthread_mutex_unlock(&writer->mutex);
    if (large->segment.open)
        writer->io->close(large->segment.fd);
    pthread_mutex_lock(&writer->mutex);
    spool_large_drop_pieces(writer, &large->pieces);
    if (large->segment.open)
        spool_writer_notice(writer, &large->segment, true, "");
    large->segment.open = false;
    large->closed = true;
    spool_large_to_loop(large);
}

void
spool_large_step(struct spool_lane *lane, struct spool_large *large)
{
    (void)lane;
    if (large->closing)
        step_close(large);
    else if (large->failed < 0 && !STAILQ_EMPTY(&large->pieces))
        spool_large_drop_pieces(large->writer, &large->pieces);
    else if (!STAILQ_EMPTY(&large->pieces))
        step_pieces(large);
    else if (large->read == REQUEST_WANTED)
        step_read(large);
    else if (large->commit == REQUEST_WANTED)
        step_commit(large);
    large->at_lane = false;
    spool_large_to_lane(large);
}
