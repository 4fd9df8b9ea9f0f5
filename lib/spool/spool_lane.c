/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An I/O thread: takes all commits that wait, lays them out behind each other in the current
 * segment, one pwritev, one fdatasync, then the committed offset, then the loop is woken.  The
 * checksums are computed here, not on the loop.
 *
 * Invariant: a commit's rc is 0 only after the fdatasync that covers it has returned 0.  A segment
 * in which a write or sync failed is never written to again, but for the mark that says so.
 */
#include "config.h"

#include "spool/spool_lane.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/crash_point.h"

static const char padding[SPOOL_ALIGN];

/* --- To the loop. */

void
spool_writer_wake(struct spool_writer *writer)
{
    if (writer->woken)
        return;
    writer->woken = true;
    (void)!eventfd_write(writer->wake_fd, 1);
}

void
spool_writer_notice(struct spool_writer *writer, const struct spool_open_segment *segment,
                    bool segment_done, const char *alarm)
{
    struct spool_notice *notice = mem_alloc(sizeof *notice);

    notice->segment_done = segment_done;
    notice->has_records = segment->end > SPOOL_SEGMENT_HEADER_BYTES;
    notice->id = segment->id;
    snprintf(notice->alarm, sizeof notice->alarm, "%s", alarm);
    STAILQ_INSERT_TAIL(&writer->notices, notice, link);
    spool_writer_wake(writer);
}

static void
finish(struct spool_writer *writer, struct spool_commits *batch, int rc)
{
    struct spool_commit *commit;

    STAILQ_FOREACH(commit, batch, link)
    {
        commit->rc = rc;
        commit->state = COMMIT_DONE;
    }
    STAILQ_CONCAT(&writer->done, batch);
    spool_writer_wake(writer);
}

/* --- Segments. */

void
spool_segment_close_at(const struct spool_io *io, const struct spool_open_segment *segment,
                       const char *step, char *alarm, size_t alarm_size)
{
    char name[SPOOL_SEGMENT_NAME_SIZE], why[64];
    uint8_t mark[8];

    snprintf(alarm, alarm_size, "%s: %s: %s", spool_segment_name(segment->id, name), step,
             strerror_r(errno, why, sizeof why));
    store_u64(mark, segment->end);
    /* As good as a failing disk permits: without the mark a sealing may keep what was refused, and
     * the message is delivered once more. */
    (void)!spool_write_all(io, segment->fd, mark, sizeof mark, SPOOL_SEGMENT_CLOSED_AT);
}

int
spool_segment_publish(const struct spool_io *io, const struct spool_open_segment *segment)
{
    uint8_t committed[8];

    store_u64(committed, segment->end);
    return spool_write_all(io, segment->fd, committed, sizeof committed,
                           SPOOL_SEGMENT_COMMITTED_AT);
}

/* With the mutex held, which is given up for the close. */
static void
retire_current(struct spool_lane *lane, const char *alarm)
{
    struct spool_open_segment old = lane->current;

    lane->current.open = false;
    pthread_mutex_unlock(&lane->writer->mutex);
    lane->writer->io->close(old.fd);
    pthread_mutex_lock(&lane->writer->mutex);
    spool_writer_notice(lane->writer, &old, true, alarm);
}

uint64_t
spool_commit_extent(const struct spool_commit *commit)
{
    return spool_align(buf_size(&commit->record) + commit->body_bytes);
}

static bool
fits(const struct spool_open_segment *segment, uint64_t offset, const struct spool_commit *commit)
{
    return segment->open && spool_commit_extent(commit) <= segment->size_bytes - offset;
}

/* --- A batch. */

static size_t
piece_count(const struct spool_commit *commit)
{
    return (size_t)commit->body_count + 2; /* header with envelope, body, padding */
}

/* Takes what fits; returns the number of pieces it will be written in. */
static size_t
take_batch(struct spool_lane *lane, struct spool_commits *batch)
{
    uint64_t offset = lane->current.end, bytes = 0;
    size_t pieces = 0;
    struct spool_commit *commit;

    while ((commit = STAILQ_FIRST(&lane->waiting)) != NULL) {
        if (!fits(&lane->current, offset, commit))
            break;
        if (pieces > 0 && (pieces + piece_count(commit) > IOV_MAX || bytes >= SPOOL_BATCH_BYTES))
            break;
        STAILQ_REMOVE_HEAD(&lane->waiting, link);
        STAILQ_INSERT_TAIL(batch, commit, link);
        commit->state = COMMIT_TAKEN;
        pieces += piece_count(commit);
        offset += spool_commit_extent(commit);
        bytes += spool_commit_extent(commit);
    }
    return pieces;
}

static uint64_t
check_of_body(const struct spool_commit *commit)
{
    XXH3_state_t *state;
    uint64_t check;

    if (commit->body_count == 1)
        return XXH3_64bits(commit->body[0].iov_base, commit->body[0].iov_len);
    state = XXH3_createState();
    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    for (int i = 0; i < commit->body_count; i++)
        XXH3_64bits_update(state, commit->body[i].iov_base, commit->body[i].iov_len);
    check = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return check;
}

static void
complete_header(struct spool_commit *commit, uint64_t offset, const uint8_t key[SIPHASH_KEY_SIZE])
{
    char *record = commit->record.mem + commit->record.start;
    size_t envelope_bytes = buf_size(&commit->record) - SPOOL_RECORD_HEADER_BYTES;
    struct spool_record_header header = {
        .type = (uint8_t)commit->type,
        .envelope_bytes = (uint32_t)envelope_bytes,
        .envelope_at = SPOOL_RECORD_HEADER_BYTES,
        .envelope_check = XXH3_64bits(record + SPOOL_RECORD_HEADER_BYTES, envelope_bytes),
        .body_at = (uint32_t)buf_size(&commit->record),
        .body_bytes = commit->body_bytes,
        .body_check = check_of_body(commit),
    };

    spool_record_encode(&header, offset, key, (uint8_t *)record);
}

static size_t
lay_out(struct spool_commit *commit, struct iovec *iov)
{
    size_t unpadded = buf_size(&commit->record) + (size_t)commit->body_bytes;
    size_t n = 0;

    iov[n++] = (struct iovec){commit->record.mem + commit->record.start, buf_size(&commit->record)};
    for (int i = 0; i < commit->body_count; i++)
        iov[n++] = commit->body[i];
    iov[n++] = (struct iovec){(void *)(uintptr_t)padding, spool_align(unpadded) - unpadded};
    return n;
}

static size_t
lay_out_batch(struct spool_lane *lane, struct spool_commits *batch, size_t pieces, uint64_t *end)
{
    struct spool_commit *commit;
    size_t n = 0;

    if (pieces > lane->iov_size) {
        lane->iov = mem_realloc(lane->iov, pieces * sizeof *lane->iov);
        lane->iov_size = pieces;
    }
    *end = lane->current.end;
    STAILQ_FOREACH(commit, batch, link)
    {
        complete_header(commit, *end, lane->current.key);
        n += lay_out(commit, lane->iov + n);
        *end += spool_commit_extent(commit);
    }
    return n;
}

/* ERR_IO: nothing of the batch is durable, the segment is closed. ERR_AGAIN: all of it is, but the
 * segment is closed all the same. */
static int
write_batch(struct spool_lane *lane, struct spool_commits *batch, size_t pieces, char *alarm,
            size_t alarm_size)
{
    const struct spool_io *io = lane->writer->io;
    struct spool_open_segment *segment = &lane->current;
    uint64_t end;
    size_t n = lay_out_batch(lane, batch, pieces, &end);

    CRASH_POINT("lane-before-write");
    if (spool_write_pieces(io, segment->fd, lane->iov, n, segment->end) < 0) {
        spool_segment_close_at(io, segment, "write", alarm, alarm_size);
        return ERR_IO;
    }
    CRASH_POINT("lane-written");
    if (io->fdatasync(segment->fd) < 0) {
        spool_segment_close_at(io, segment, "fdatasync", alarm, alarm_size);
        return ERR_IO;
    }
    CRASH_POINT("lane-synced");
    segment->end = end;
    if (spool_segment_publish(io, segment) < 0) {
        spool_segment_close_at(io, segment, "committed offset", alarm, alarm_size);
        return ERR_AGAIN;
    }
    CRASH_POINT("lane-published");
    return ERR_OK;
}

/* What came while the last sync ran is not alone: others are on their way, and a millisecond makes
 * one sync of theirs.  Nobody waits who comes alone. */
static void
gather(struct spool_lane *lane)
{
    struct timespec at;

    if (!lane->is_busy || lane->writer->stop)
        return;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += SPOOL_GATHER_NS;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&lane->cond, &lane->writer->mutex, &at);
}

static void
commit_batch(struct spool_lane *lane)
{
    struct spool_writer *writer = lane->writer;
    struct spool_commits batch = STAILQ_HEAD_INITIALIZER(batch);
    size_t pieces = take_batch(lane, &batch);
    char alarm[160] = "";
    int rc;

    pthread_mutex_unlock(&writer->mutex);
    rc = write_batch(lane, &batch, pieces, alarm, sizeof alarm);
    pthread_mutex_lock(&writer->mutex);
    if (rc != ERR_OK)
        retire_current(lane, alarm);
    finish(writer, &batch, rc == ERR_AGAIN ? ERR_OK : rc);
    lane->is_busy = !STAILQ_EMPTY(&lane->waiting);
}

/* --- The thread. */

static void
wait_until(struct spool_lane *lane, int64_t at_ms)
{
    struct timespec at = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};

    pthread_cond_timedwait(&lane->cond, &lane->writer->mutex, &at);
}

static void
fail_first(struct spool_lane *lane, int rc)
{
    struct spool_commits failed = STAILQ_HEAD_INITIALIZER(failed);
    struct spool_commit *commit = STAILQ_FIRST(&lane->waiting);

    STAILQ_REMOVE_HEAD(&lane->waiting, link);
    STAILQ_INSERT_TAIL(&failed, commit, link);
    finish(lane->writer, &failed, rc);
}

/* Makes the current segment one that the first commit fits into. False: there is none yet. */
static bool
have_segment(struct spool_lane *lane)
{
    const struct spool_commit *first = STAILQ_FIRST(&lane->waiting);

    if (fits(&lane->current, lane->current.end, first))
        return true;
    if (!lane->spare.open)
        return false;
    if (lane->current.open) {
        if (lane->current.end > SPOOL_SEGMENT_HEADER_BYTES)
            retire_current(lane, "");
        return false; /* the mutex was free: look again */
    }
    lane->current = lane->spare;
    lane->spare.open = false;
    spool_writer_wake(lane->writer); /* to ask for the next spare */
    return fits(&lane->current, lane->current.end, first);
}

static bool
step_commits(struct spool_lane *lane)
{
    const struct spool_commit *first;

    if (STAILQ_EMPTY(&lane->waiting))
        return false;
    gather(lane);
    if (STAILQ_EMPTY(&lane->waiting)) /* they may have been cancelled meanwhile */
        return false;
    if (have_segment(lane)) {
        commit_batch(lane);
        return true;
    }
    if (lane->current.open && lane->current.end == SPOOL_SEGMENT_HEADER_BYTES) {
        fail_first(lane, ERR_LIMIT); /* not even into an empty one */
        return true;
    }
    if (lane->spare.open)
        return true;
    first = STAILQ_FIRST(&lane->waiting); /* it may have been cancelled meanwhile */
    if (first == NULL)
        return false;
    if (lane->refused || clock_monotonic_ms() >= first->waits_until_ms) {
        fail_first(lane, ERR_FULL);
        return true;
    }
    return false;
}

static bool
step_larges(struct spool_lane *lane)
{
    struct spool_large *large = STAILQ_FIRST(&lane->larges);

    if (large == NULL)
        return false;
    STAILQ_REMOVE_HEAD(&lane->larges, to_lane);
    spool_large_step(lane, large);
    return true;
}

/* A request that has had no answer is no request any more; the loop makes the next one. */
static void
give_up_asking(struct spool_lane *lane, int64_t now_ms)
{
    if (!lane->asked || now_ms < lane->asked_until_ms)
        return;
    lane->asked = false;
    spool_writer_wake(lane->writer);
}

static int64_t
earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* The segments that have not come in time; returns when to look again, or INT64_MAX. */
static int64_t
step_deadlines(struct spool_lane *lane)
{
    int64_t now_ms = clock_monotonic_ms(), next_ms = INT64_MAX;

    give_up_asking(lane, now_ms);
    if (lane == &lane->writer->lanes[LANE_LARGE])
        next_ms = spool_large_fail_unserved(lane->writer, now_ms);
    if (lane->asked)
        next_ms = earlier(next_ms, lane->asked_until_ms);
    if (!STAILQ_EMPTY(&lane->waiting))
        next_ms = earlier(next_ms, STAILQ_FIRST(&lane->waiting)->waits_until_ms);
    return next_ms;
}

void *
spool_lane_main(void *arg)
{
    struct spool_lane *lane = arg;
    struct spool_writer *writer = lane->writer;

    pthread_mutex_lock(&writer->mutex);
    while (!writer->stop) {
        bool worked = step_commits(lane);
        int64_t next_ms;

        worked |= !writer->stop && step_larges(lane);
        next_ms = step_deadlines(lane);
        if (worked || writer->stop || !STAILQ_EMPTY(&lane->larges))
            continue;
        if (next_ms == INT64_MAX)
            pthread_cond_wait(&lane->cond, &writer->mutex);
        else
            wait_until(lane, next_ms);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}
