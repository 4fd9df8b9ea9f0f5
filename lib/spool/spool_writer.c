/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The writer's loop side: hands commits to the lanes, asks the parent for segments (the first when
 * a commit needs it, then one ahead), and runs the callbacks of what is done.  No callback but
 * want_segment and trim_segment runs outside spool_writer_turn.
 */
#include "config.h"

#include "spool/spool_writer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "spool/spool_lane.h"

/* --- Segments. */

static bool
should_ask(const struct spool_lane *lane, int64_t now_ms)
{
    return lane->is_used && !lane->asked && !lane->spare.open && now_ms >= lane->ask_again_at_ms;
}

static void
ask_for_segment(struct spool_writer *writer, struct spool_lane *lane)
{
    int64_t now_ms = clock_monotonic_ms();
    bool ask;

    pthread_mutex_lock(&writer->mutex);
    ask = should_ask(lane, now_ms);
    if (ask) {
        lane->asked = true;
        lane->asked_until_ms = now_ms + SPOOL_SEGMENT_WAIT_MS;
        pthread_cond_signal(&lane->cond); /* it watches that moment */
        lane->refused = false;
        lane->ticket = writer->next_ticket++;
    }
    pthread_mutex_unlock(&writer->mutex);
    if (ask)
        writer->ops->want_segment(writer->ctx, SPOOL_SEGMENT_BYTES, lane->ticket);
}

static bool
give_to_lane(struct spool_lane *lane, uint32_t ticket, const struct spool_open_segment *segment)
{
    if (!lane->asked || lane->ticket != ticket)
        return false;
    lane->asked = false;
    lane->refused = !segment->open;
    if (segment->open)
        lane->spare = *segment;
    else
        lane->ask_again_at_ms = clock_monotonic_ms() + SPOOL_SEGMENT_RETRY_MS;
    pthread_cond_signal(&lane->cond);
    return true;
}

void
spool_writer_give(struct spool_writer *writer, uint32_t ticket, int fd, struct spool_segment_id id,
                  const uint8_t key[SIPHASH_KEY_SIZE], uint64_t size_bytes)
{
    struct spool_open_segment segment = {
        .open = fd >= 0,
        .fd = fd,
        .id = id,
        .size_bytes = size_bytes,
        .end = SPOOL_SEGMENT_HEADER_BYTES,
    };
    bool taken;

    CHECK(fd < 0 || size_bytes > SPOOL_SEGMENT_HEADER_BYTES);
    if (fd >= 0)
        memcpy(segment.key, key, sizeof segment.key);
    pthread_mutex_lock(&writer->mutex);
    taken = give_to_lane(&writer->lanes[LANE_SMALL], ticket, &segment) ||
            give_to_lane(&writer->lanes[LANE_LARGE], ticket, &segment) ||
            spool_large_give(writer, ticket, &segment);
    if (!taken && segment.open)
        spool_writer_notice(writer, &segment, true, "");
    pthread_mutex_unlock(&writer->mutex);
    if (!taken && segment.open)
        writer->io->close(fd); /* whoever asked is gone */
}

/* --- Small records. */

static void
queue_commit(struct spool_writer *writer, struct spool_commit *commit)
{
    struct spool_lane *lane = &writer->lanes[commit->lane];

    if (commit->rc == ERR_OK) {
        lane->is_used = true;
        ask_for_segment(writer, lane); /* first, so that an earlier refusal is not ours */
    }
    pthread_mutex_lock(&writer->mutex);
    if (commit->rc < 0) {
        commit->state = COMMIT_DONE;
        STAILQ_INSERT_TAIL(&writer->done, commit, link);
        spool_writer_wake(writer);
    } else {
        if (STAILQ_EMPTY(&lane->waiting))
            pthread_cond_signal(&lane->cond);
        STAILQ_INSERT_TAIL(&lane->waiting, commit, link);
    }
    pthread_mutex_unlock(&writer->mutex);
}

static void
put_no_header(struct buf *record)
{
    static const char no_header[SPOOL_RECORD_HEADER_BYTES];

    buf_add(record, no_header, sizeof no_header);
}

void
spool_writer_put_envelope(struct buf *record, const struct spool_envelope *envelope)
{
    struct spool_envelope stamped = *envelope;

    stamped.committed_at_ms = clock_wall_ms();
    put_no_header(record);
    spool_envelope_encode(&stamped, record);
}

static struct spool_commit *
commit_new(struct spool_writer *writer, enum spool_record_type type, int body_count,
           spool_on_commit on_done, void *ctx)
{
    struct spool_commit *commit =
        mem_alloc(sizeof *commit + (size_t)body_count * sizeof *commit->body);

    commit->writer = writer;
    commit->type = type;
    commit->on_done = on_done;
    commit->ctx = ctx;
    commit->waits_until_ms = clock_monotonic_ms() + SPOOL_SEGMENT_WAIT_MS;
    commit->body_count = body_count;
    buf_init(&commit->record, 0);
    return commit;
}

struct spool_commit *
spool_commit_start(struct spool_writer *writer, const struct spool_envelope *envelope,
                   const struct iovec *body, int body_count, spool_on_commit on_done, void *ctx)
{
    struct spool_commit *commit =
        commit_new(writer, SPOOL_RECORD_MESSAGE, body_count, on_done, ctx);

    for (int i = 0; i < body_count; i++) {
        commit->body[i] = body[i];
        commit->body_bytes += body[i].iov_len;
    }
    spool_writer_put_envelope(&commit->record, envelope);
    if (buf_size(&commit->record) > SPOOL_ENVELOPE_MAX ||
        spool_commit_extent(commit) > SPOOL_SEGMENT_BYTES - SPOOL_SEGMENT_HEADER_BYTES)
        commit->rc = ERR_LIMIT;
    commit->lane = commit->body_bytes > SPOOL_SMALL_MAX ? LANE_LARGE : LANE_SMALL;
    queue_commit(writer, commit);
    return commit;
}

struct spool_commit *
spool_resolve_start(struct spool_writer *writer, const struct spool_resolution *resolution,
                    spool_on_commit on_done, void *ctx)
{
    struct spool_commit *commit = commit_new(writer, SPOOL_RECORD_RESOLUTION, 0, on_done, ctx);
    struct spool_resolution stamped = *resolution;

    stamped.at_ms = clock_wall_ms();
    put_no_header(&commit->record);
    spool_resolution_encode(&stamped, &commit->record);
    commit->lane = LANE_SMALL;
    queue_commit(writer, commit);
    return on_done ? commit : NULL;
}

void
spool_commit_cancel(struct spool_commit **commit_, void (*release)(void *owner), void *owner)
{
    struct spool_commit *commit = *commit_;
    struct spool_writer *writer;

    if (commit == NULL)
        return;
    *commit_ = NULL;
    writer = commit->writer;
    commit->cancelled = true;
    commit->release = release;
    commit->owner = owner;
    pthread_mutex_lock(&writer->mutex);
    if (commit->state == COMMIT_WAITING) {
        STAILQ_REMOVE(&writer->lanes[commit->lane].waiting, commit, spool_commit, link);
        commit->state = COMMIT_DONE;
        STAILQ_INSERT_TAIL(&writer->done, commit, link);
        spool_writer_wake(writer);
    }
    pthread_mutex_unlock(&writer->mutex);
}

static void
free_commit(struct spool_commit *commit)
{
    buf_fini(&commit->record);
    free(commit);
}

/* --- The turn. */

static void
run_commits(struct spool_commits *done)
{
    struct spool_commit *commit;

    while ((commit = STAILQ_FIRST(done)) != NULL) {
        STAILQ_REMOVE_HEAD(done, link);
        if (commit->cancelled && commit->release)
            commit->release(commit->owner);
        else if (!commit->cancelled && commit->on_done)
            commit->on_done(commit->ctx, commit->rc);
        free_commit(commit);
    }
}

static void
run_notices(struct spool_writer *writer, struct spool_notices *notices)
{
    struct spool_notice *notice;

    while ((notice = STAILQ_FIRST(notices)) != NULL) {
        STAILQ_REMOVE_HEAD(notices, link);
        if (notice->alarm[0] != '\0')
            writer->ops->alarm(writer->ctx, "spool-write-failed", notice->alarm);
        if (notice->segment_done)
            writer->ops->done_segment(writer->ctx, notice->id, notice->has_records);
        free(notice);
    }
}

static void
take_done(struct spool_writer *writer, struct spool_commits *done, struct spool_notices *notices)
{
    pthread_mutex_lock(&writer->mutex);
    writer->woken = false;
    STAILQ_CONCAT(done, &writer->done);
    STAILQ_CONCAT(notices, &writer->notices);
    pthread_mutex_unlock(&writer->mutex);
}

void
spool_writer_turn(struct spool_writer *writer)
{
    struct spool_commits done = STAILQ_HEAD_INITIALIZER(done);
    struct spool_notices notices = STAILQ_HEAD_INITIALIZER(notices);
    eventfd_t count;

    CHECK(!writer->in_turn);
    writer->in_turn = true;
    (void)!eventfd_read(writer->wake_fd, &count);
    take_done(writer, &done, &notices);
    run_commits(&done);
    spool_large_turn(writer);
    run_notices(writer, &notices);
    for (int i = 0; i < LANE_COUNT; i++)
        ask_for_segment(writer, &writer->lanes[i]);
    writer->in_turn = false;
}

/* --- Life. */

static void
init_lane(struct spool_writer *writer, struct spool_lane *lane)
{
    pthread_condattr_t attr;

    lane->writer = writer;
    STAILQ_INIT(&lane->waiting);
    STAILQ_INIT(&lane->larges);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->cond, &attr);
    pthread_condattr_destroy(&attr);
}

/* Signals are the loop's business. */
static int
start_threads(struct spool_writer *writer)
{
    sigset_t all, before;
    int started = 0, rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < LANE_COUNT && rc == 0) {
        struct spool_lane *lane = &writer->lanes[started];

        rc = pthread_create(&lane->thread, NULL, spool_lane_main, lane);
        started += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void
stop_threads(struct spool_writer *writer, int started)
{
    pthread_mutex_lock(&writer->mutex);
    writer->stop = true;
    for (int i = 0; i < LANE_COUNT; i++)
        pthread_cond_signal(&writer->lanes[i].cond);
    pthread_mutex_unlock(&writer->mutex);
    for (int i = 0; i < started; i++)
        pthread_join(writer->lanes[i].thread, NULL);
}

/* The commits end without a callback; who cancelled still gets back what is theirs. */
static void
drop_commits(struct spool_commits *commits)
{
    struct spool_commit *commit;

    while ((commit = STAILQ_FIRST(commits)) != NULL) {
        STAILQ_REMOVE_HEAD(commits, link);
        if (commit->cancelled && commit->release)
            commit->release(commit->owner);
        free_commit(commit);
    }
}

static void
fini_lane(struct spool_lane *lane)
{
    drop_commits(&lane->waiting);
    if (lane->current.open)
        lane->writer->io->close(lane->current.fd);
    if (lane->spare.open)
        lane->writer->io->close(lane->spare.fd);
    pthread_cond_destroy(&lane->cond);
    free(lane->iov);
}

static void
fini_writer(struct spool_writer *writer)
{
    struct spool_notice *notice;

    while (!LIST_EMPTY(&writer->larges))
        spool_large_destroy(LIST_FIRST(&writer->larges));
    spool_large_release_used(writer);
    for (int i = 0; i < LANE_COUNT; i++)
        fini_lane(&writer->lanes[i]);
    drop_commits(&writer->done);
    while ((notice = STAILQ_FIRST(&writer->notices)) != NULL) {
        STAILQ_REMOVE_HEAD(&writer->notices, link);
        free(notice);
    }
    pthread_mutex_destroy(&writer->mutex);
    close(writer->wake_fd);
    free(writer);
}

int
spool_writer_new(const struct spool_io *io, const struct spool_writer_ops *ops, void *ctx,
                 struct spool_writer **writer_, int *wake_fd)
{
    struct spool_writer *writer;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), started;

    *writer_ = NULL;
    if (fd < 0)
        return ERR_IO;
    writer = mem_alloc(sizeof *writer);
    *writer = (struct spool_writer){.io = io, .ops = ops, .ctx = ctx, .wake_fd = fd};
    writer->next_ticket = 1;
    LIST_INIT(&writer->larges);
    STAILQ_INIT(&writer->done);
    STAILQ_INIT(&writer->notices);
    STAILQ_INIT(&writer->used_pieces);
    STAILQ_INIT(&writer->done_larges);
    TAILQ_INIT(&writer->unserved_larges);
    pthread_mutex_init(&writer->mutex, NULL);
    for (int i = 0; i < LANE_COUNT; i++)
        init_lane(writer, &writer->lanes[i]);
    started = start_threads(writer);
    if (started < LANE_COUNT) {
        stop_threads(writer, started);
        fini_writer(writer);
        return ERR_IO;
    }
    *writer_ = writer;
    *wake_fd = fd;
    return ERR_OK;
}

void
spool_writer_free(struct spool_writer **writer)
{
    if (*writer == NULL)
        return;
    CHECK(!(*writer)->in_turn);
    stop_threads(*writer, LANE_COUNT);
    fini_writer(*writer);
    *writer = NULL;
}
