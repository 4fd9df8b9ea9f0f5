/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What blocks: the ledger's syncs and checkpoints, the removal of segments.  A job is taken out of
 * the store, run (in another thread, if its owner likes), and its result put back.
 *
 * Invariants: a segment goes only when it is sealed, read whole, without damage, and every outcome
 * of its messages has been synced; a message's memory goes only with its segment.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

#include "base/crash_point.h"

struct spool_job {
    const struct spool_io *io;
    int dir_fd;
    struct spool_ledger_job *ledger;
    uint64_t seq; /* of the newest outcome that the ledger's job makes durable */
    struct spool_removal {
        struct spool_segment_id id;
        int err;
    } * removals;
    size_t removal_count;
    bool is_step; /* of a checkpoint, */
    bool is_last; /* and its last */
};

static bool
may_go(const struct spool_store *s, const struct spool_store_segment *segment)
{
    return segment->complete && segment->open_count == 0 && !segment->vanished &&
           spool_segment_damage(segment) == 0 && segment->last_seq <= s->synced_seq &&
           spool_resolve_may_forget(s, segment);
}

static void
collect_removals(struct spool_store *s, struct spool_job *job)
{
    for (size_t i = 0; i < s->segment_count; i++) {
        struct spool_store_segment *segment = s->segments[i];

        if (!may_go(s, segment))
            continue;
        segment->removing = true;
        job->removals =
            mem_realloc(job->removals, (job->removal_count + 1) * sizeof(*job->removals));
        job->removals[job->removal_count++] = (struct spool_removal){.id = segment->id};
    }
}

static bool
ledger_has_grown(const struct spool_store *s)
{
    struct spool_ledger_stats stats;

    spool_ledger_get_stats(s->ledger, &stats);
    return stats.bytes - stats.checkpoint_end > s->checkpoint_bytes + stats.checkpoint_end;
}

static bool
wants_checkpoint(const struct spool_store *s)
{
    return s->must_rewrite || spool_ledger_is_checkpointing(s->ledger) || ledger_has_grown(s);
}

/* What the ledger wants: a sync, or, after one has failed, a new file. */
static void
begin_ledger(struct spool_store *s, struct spool_job *job, enum spool_work work)
{
    job->seq = s->queued_seq;
    job->is_step = spool_ledger_is_broken(s->ledger) ||
                   (work == SPOOL_WORK_CLEAN && job->removal_count == 0 && wants_checkpoint(s));
    if (job->is_step)
        job->ledger = spool_checkpoint_step(s, &job->is_last);
    else if (work == SPOOL_WORK_SYNC)
        job->ledger = spool_ledger_begin_sync(s->ledger);
}

struct spool_job *
spool_store_begin(struct spool_store *s, enum spool_work work)
{
    struct spool_job *job = mem_alloc(sizeof *job);

    CHECK(s->mode == SPOOL_STORE_OWNER && s->job == NULL);
    *job = (struct spool_job){.io = s->io, .dir_fd = s->dir_fd};
    if (work == SPOOL_WORK_CLEAN)
        collect_removals(s, job);
    begin_ledger(s, job, work);
    if (job->ledger == NULL && job->removal_count == 0) {
        free(job);
        return NULL;
    }
    s->job = job;
    return job;
}

/* One that is gone already was renamed by a try whose sync of the folder failed. */
static int
remove_segment(const struct spool_job *job, struct spool_segment_id id)
{
    int err = spool_segment_recycle(job->io, job->dir_fd, id);

    if (err == ERR_NOT_FOUND)
        err = job->io->fsync(job->dir_fd) == 0 ? 0 : ERR_IO;
    return err;
}

void
spool_job_run(struct spool_job *job)
{
    for (size_t i = 0; i < job->removal_count; i++) {
        CRASH_POINT("keeper-before-removal");
        job->removals[i].err = remove_segment(job, job->removals[i].id);
        CRASH_POINT("keeper-behind-removal");
    }
    if (job->ledger != NULL)
        spool_ledger_job_run(job->ledger);
}

static void
forget_segment(struct spool_store *s, struct spool_store_segment *segment,
               void (*on_forget)(void *ctx, struct spool_message *message), void *ctx)
{
    struct spool_store_entry *next;

    for (struct spool_store_entry *e = spool_entry_at(s, segment->messages); e != NULL; e = next) {
        next = spool_entry_at(s, e->segment_next);
        if (on_forget != NULL)
            on_forget(ctx, &e->message);
        spool_entry_forget(s, e);
    }
    segment->messages = 0;
    if (s->read_fd >= 0 && spool_segment_compare(s->read_segment, segment->id) == 0)
        spool_store_close_read_fd(s);
    spool_store_segment_remove(s, segment);
}

static int
end_ledger(struct spool_store *s, struct spool_job *job)
{
    int err = spool_ledger_job_end(s->ledger, &job->ledger);

    if (err != 0 || (job->is_step && !job->is_last))
        return err;
    s->synced_seq = job->seq;
    s->must_rewrite = s->must_rewrite && !job->is_step;
    return 0;
}

int
spool_store_end(struct spool_store *s, struct spool_job **job,
                void (*on_forget)(void *ctx, struct spool_message *message), void *ctx)
{
    struct spool_job *j = *job;
    int err;

    CHECK(s->job == j);
    err = j->ledger != NULL ? end_ledger(s, j) : 0;
    for (size_t i = 0; i < j->removal_count; i++) {
        struct spool_store_segment *segment = spool_store_segment_find(s, j->removals[i].id);

        segment->removing = false;
        if (j->removals[i].err == 0)
            forget_segment(s, segment, on_forget, ctx);
        else
            err = j->removals[i].err;
    }
    free(j->removals);
    free(j);
    s->job = NULL;
    *job = NULL;
    return err;
}

int
spool_store_sync(struct spool_store *s)
{
    struct spool_job *job;
    int err = 0;

    do {
        job = spool_store_begin(s, SPOOL_WORK_SYNC);
        if (job == NULL)
            return 0;
        spool_job_run(job);
        err = spool_store_end(s, &job, NULL, NULL);
    } while (err == 0 && spool_ledger_is_broken(s->ledger));
    return err;
}

int
spool_store_clean(struct spool_store *s,
                  void (*on_forget)(void *ctx, struct spool_message *message), void *ctx)
{
    struct spool_job *job;
    int err = 0;

    while (err == 0 && (job = spool_store_begin(s, SPOOL_WORK_CLEAN)) != NULL) {
        spool_job_run(job);
        err = spool_store_end(s, &job, on_forget, ctx);
    }
    return err;
}

void
spool_store_set_checkpoint_bytes(struct spool_store *s, uint64_t bytes)
{
    s->checkpoint_bytes = bytes;
}

bool
spool_store_is_broken(const struct spool_store *s)
{
    return spool_ledger_is_broken(s->ledger);
}

uint64_t
spool_store_queued(const struct spool_store *s)
{
    return s->queued_seq;
}

uint64_t
spool_store_synced(const struct spool_store *s)
{
    return s->synced_seq;
}
