/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What of the ledger blocks.  A sync: one write and one fdatasync behind what is there.  A
 * checkpoint: a file of its own, written in steps, so that neither memory nor the loop ever has all
 * of it; the last step syncs it, gives it its name, and drops from the queue what it holds.
 *
 * Invariants: a job owns copies of all that it needs, and touches nothing else.  Steps sync now and
 * then, so that the last one, beside which no outcome can be synced, has little left to wait for.
 */
#include "spool/spool_ledger_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

#include "base/crash_point.h"

#define RESERVE_BYTES                                                          \
    (1024 * 1024) /* room ahead, so that a full disk can still record outcomes \
                   */
#define STEP_SYNC_BYTES (4 * 1024 * 1024)

enum kind { KIND_SYNC, KIND_STEP, KIND_LAST_STEP };

struct spool_ledger_job {
    const struct spool_io *io;
    int dir_fd;
    enum kind kind;
    int fd; /* below 0: a step makes its file */
    int old_fd;
    uint64_t offset, reserve_to, unsynced;
    struct buf bytes;
    size_t header_bytes;       /* of a file, before its entries */
    size_t synced_entry_bytes; /* of our own entry at the front of a batch */
    size_t held_bytes;         /* of the queue: what a checkpoint holds already */
    uint32_t number, old_number;
    uint8_t key[SIPHASH_KEY_SIZE];
    int err;
    bool sync_failed; /* what the file holds now is not known */
    bool maybe_named; /* the new file may have taken its name */
};

static int
err_of_errno(void)
{
    return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
}

static struct spool_ledger_job *
job_new(struct spool_ledger *l, enum kind kind)
{
    struct spool_ledger_job *job = mem_alloc(sizeof *job);

    CHECK(l->owner && l->job == NULL);
    *job =
        (struct spool_ledger_job){.io = l->io, .dir_fd = l->dir_fd, .kind = kind, .old_fd = l->fd};
    buf_init(&job->bytes, 0);
    l->job = job;
    return job;
}

/* --- Beginning. */

struct spool_ledger_job *
spool_ledger_begin_sync(struct spool_ledger *l)
{
    struct spool_ledger_job *job;

    if (l->broken || buf_size(&l->queue) == 0)
        return NULL;
    job = job_new(l, KIND_SYNC);
    spool_ledger_entry_add_own(&job->bytes, SPOOL_LEDGER_SYNCED, l->offset);
    job->synced_entry_bytes = buf_size(&job->bytes);
    buf_add_slice(&job->bytes, buf_slice(&l->queue));
    buf_clear(&l->queue);
    memcpy(job->key, l->key, sizeof job->key);
    job->fd = l->fd;
    job->offset = l->offset;
    if (l->offset + buf_size(&job->bytes) > l->reserved)
        job->reserve_to = l->offset + buf_size(&job->bytes) + RESERVE_BYTES;
    return job;
}

static void
give_up_checkpoint(struct spool_ledger *l)
{
    struct spool_ledger_checkpoint *c = &l->checkpoint;

    if (c->is_running && c->fd >= 0)
        l->io->close(c->fd);
    buf_fini(&c->bytes);
    *c = (struct spool_ledger_checkpoint){.fd = -1};
}

void
spool_ledger_begin_checkpoint(struct spool_ledger *l)
{
    struct spool_ledger_checkpoint *c = &l->checkpoint;

    CHECK(l->owner && l->job == NULL);
    give_up_checkpoint(l);
    c->is_running = true;
    c->number = (l->stats.number > l->highest ? l->stats.number : l->highest) + 1;
    random_bytes(c->key, sizeof c->key);
    buf_init(&c->bytes, 0);
    spool_ledger_header_add(&c->bytes, c->number, c->key);
}

void
spool_ledger_drop_checkpoint(struct spool_ledger *l)
{
    char name[SPOOL_LEDGER_NAME_SIZE];

    CHECK(l->job == NULL);
    if (l->checkpoint.is_running && l->checkpoint.fd >= 0)
        l->io->unlinkat(l->dir_fd, spool_ledger_file_name(l->checkpoint.number, ".new", name));
    give_up_checkpoint(l);
}

bool
spool_ledger_is_checkpointing(const struct spool_ledger *l)
{
    return l->checkpoint.is_running;
}

void
spool_ledger_checkpoint_add(struct spool_ledger *l, uint16_t type, struct slice payload)
{
    CHECK(l->checkpoint.is_running && type < SPOOL_LEDGER_TYPE_MAX);
    spool_ledger_entry_add(&l->checkpoint.bytes, type, payload);
}

size_t
spool_ledger_checkpoint_waiting(const struct spool_ledger *l)
{
    return buf_size(&l->checkpoint.bytes);
}

struct spool_ledger_job *
spool_ledger_begin_step(struct spool_ledger *l, bool is_last)
{
    struct spool_ledger_checkpoint *c = &l->checkpoint;
    struct spool_ledger_job *job = job_new(l, is_last ? KIND_LAST_STEP : KIND_STEP);

    CHECK(c->is_running);
    if (is_last)
        spool_ledger_entry_add_own(&c->bytes, SPOOL_LEDGER_CHECKPOINT_END,
                                   c->offset + buf_size(&c->bytes));
    job->fd = c->fd;
    job->offset = c->offset;
    job->unsynced = c->unsynced;
    job->number = c->number;
    job->old_number = l->stats.number;
    job->held_bytes = is_last ? buf_size(&l->queue) : 0;
    job->header_bytes = c->offset == 0 ? SPOOL_LEDGER_HEADER_BYTES : 0;
    memcpy(job->key, c->key, sizeof job->key);
    job->bytes = c->bytes;
    buf_init(&c->bytes, 0);
    return job;
}

/* --- Running. */

static void
finish_entries(struct spool_ledger_job *job)
{
    char *p = job->bytes.mem + job->bytes.start;
    size_t header = job->header_bytes;

    if (buf_size(&job->bytes) > header)
        spool_ledger_entries_finish(p + header, buf_size(&job->bytes) - header,
                                    job->offset + header, job->key);
}

static int
write_all(struct spool_ledger_job *job)
{
    struct slice rest = buf_slice(&job->bytes);
    uint64_t at = job->offset;

    while (rest.n > 0) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)rest.p, .iov_len = rest.n};
        ssize_t n = job->io->pwritev(job->fd, &iov, 1, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_of_errno() : ERR_IO;
        rest.p += n;
        rest.n -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

static void
run_sync(struct spool_ledger_job *job)
{
    if (job->reserve_to > 0 && job->io->fallocate(job->fd, FALLOC_FL_KEEP_SIZE, (off_t)job->offset,
                                                  (off_t)(job->reserve_to - job->offset)) != 0)
        job->reserve_to = 0; /* a comfort: the write itself decides */
    CRASH_POINT("ledger-before-write");
    job->err = write_all(job);
    CRASH_POINT("ledger-written");
    if (job->err == 0 && job->io->fdatasync(job->fd) != 0) {
        job->err = ERR_IO;
        job->sync_failed = true;
    }
}

static int
write_step(struct spool_ledger_job *job, const char *name)
{
    int err;

    if (job->fd < 0)
        job->fd = job->io->openat(job->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (job->fd < 0)
        return err_of_errno();
    err = write_all(job);
    job->unsynced += buf_size(&job->bytes);
    if (err == 0 && job->kind == KIND_LAST_STEP)
        return job->io->fsync(job->fd) == 0 ? 0 : err_of_errno();
    if (err == 0 && job->unsynced >= STEP_SYNC_BYTES) {
        job->unsynced = 0;
        err = job->io->fdatasync(job->fd) == 0 ? 0 : err_of_errno();
    }
    return err;
}

/* Closing it is what gives its room back, which takes its time. */
static void
unlink_and_close(struct spool_ledger_job *job, const char *name, int fd)
{
    job->io->unlinkat(job->dir_fd, name);
    if (fd >= 0)
        job->io->close(fd);
}

/* Sync the folder behind the rename; only then the older file goes. */
static void
take_name(struct spool_ledger_job *job, const char *new_name)
{
    char name[SPOOL_LEDGER_NAME_SIZE];

    CRASH_POINT("checkpoint-written");
    job->maybe_named = true;
    if (job->io->renameat(job->dir_fd, new_name, spool_ledger_file_name(job->number, "", name)) !=
            0 ||
        job->io->fsync(job->dir_fd) != 0) {
        job->err = ERR_IO;
        return;
    }
    CRASH_POINT("checkpoint-named");
    if (job->old_number > 0)
        unlink_and_close(job, spool_ledger_file_name(job->old_number, "", name), job->old_fd);
}

static void
run_step(struct spool_ledger_job *job)
{
    char new_name[SPOOL_LEDGER_NAME_SIZE];

    spool_ledger_file_name(job->number, ".new", new_name);
    job->err = write_step(job, new_name);
    if (job->err != 0) {
        unlink_and_close(job, new_name, job->fd);
        job->fd = -1;
    } else if (job->kind == KIND_LAST_STEP) {
        take_name(job, new_name);
    }
}

void
spool_ledger_job_run(struct spool_ledger_job *job)
{
    finish_entries(job);
    if (job->kind == KIND_SYNC)
        run_sync(job);
    else
        run_step(job);
}

/* --- Ending. */

static void
end_sync(struct spool_ledger *l, struct spool_ledger_job *job)
{
    if (job->reserve_to > 0)
        l->reserved = job->reserve_to;
    if (job->err == 0) {
        l->offset += buf_size(&job->bytes);
        return;
    }
    l->broken = l->broken || job->sync_failed;
    buf_consume(&job->bytes, job->synced_entry_bytes);
    buf_add_slice(&job->bytes, buf_slice(&l->queue));
    buf_clear(&l->queue);
    buf_add_slice(&l->queue, buf_slice(&job->bytes));
}

static void
end_step(struct spool_ledger *l, struct spool_ledger_job *job)
{
    struct spool_ledger_checkpoint *c = &l->checkpoint;

    c->fd = job->fd;
    c->offset += buf_size(&job->bytes);
    c->unsynced = job->unsynced;
    if (job->err != 0)
        give_up_checkpoint(l);
}

static void
take_file(struct spool_ledger *l, struct spool_ledger_job *job)
{
    l->fd = job->fd; /* the old one has been closed */
    l->offset = job->offset + buf_size(&job->bytes);
    l->reserved = 0;
    l->broken = false;
    buf_consume(&l->queue, job->held_bytes); /* a torn repetition could lead back to before it */
    l->stats.checkpoint_end = l->offset;
    memcpy(l->key, job->key, sizeof l->key);
    l->checkpoint.is_running = false; /* and with it goes nothing: the file is the ledger's */
    give_up_checkpoint(l);
}

/* A new file that may bear its name would win over the old one at the next start: then the old one
 * must not be appended to any more. */
static void
end_last_step(struct spool_ledger *l, struct spool_ledger_job *job)
{
    if (job->maybe_named)
        l->stats.number = job->number;
    if (job->err == 0) {
        take_file(l, job);
        return;
    }
    l->broken = l->broken || job->maybe_named;
    end_step(l, job);
}

static void (*const ends[])(struct spool_ledger *l, struct spool_ledger_job *job) = {
    [KIND_SYNC] = end_sync,
    [KIND_STEP] = end_step,
    [KIND_LAST_STEP] = end_last_step,
};

int
spool_ledger_job_end(struct spool_ledger *l, struct spool_ledger_job **job)
{
    struct spool_ledger_job *j = *job;
    int err = j->err;

    CHECK(l->job == j);
    ends[j->kind](l, j);
    buf_fini(&j->bytes);
    free(j);
    l->job = NULL;
    *job = NULL;
    return err;
}

int
spool_ledger_make_first(struct spool_ledger *l)
{
    struct spool_ledger_job *job;

    spool_ledger_begin_checkpoint(l);
    job = spool_ledger_begin_step(l, true);
    spool_ledger_job_run(job);
    return spool_ledger_job_end(l, &job);
}
