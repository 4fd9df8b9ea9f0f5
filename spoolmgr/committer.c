/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One thread, one job at a time.  The store belongs to the loop; the thread touches the job alone.
 */
#include "spoolmgr/committer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

#define RETRY_MS 1000 /* after a failure: the disk may be full for a while */

struct work { /* a job of the store, or mail of our own */
    struct spool_job *job;
    const struct spool_own *own;
    int dir_fd, own_err;
};

struct committer {
    struct loop *loop;
    struct spool_store *store;
    const struct committer_ops *ops;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct work *todo, *done; /* under the mutex */
    bool stop;                /* under the mutex */
    struct work work;
    int event_fd;
    struct loop_watch *watch;
    struct loop_timer retry;
    const struct spool_own *wants_own; /* NULL: none */
    int own_dir_fd;
    uint32_t own_number; /* the thread's */
    bool is_busy, wants_sync, wants_clean, has_failed;
    enum spool_work last; /* work that was begun */
};

static void
work_run(struct committer *c, struct work *work)
{
    if (work->job != NULL)
        spool_job_run(work->job);
    else
        work->own_err = spool_own_write(work->own, &spool_io_disk, work->dir_fd, &c->own_number);
}

static void *
run(void *arg)
{
    struct committer *c = arg;
    const uint64_t one = 1;
    ssize_t n;

    pthread_mutex_lock(&c->mutex);
    while (!c->stop || c->todo != NULL) {
        struct work *work = c->todo;

        if (work == NULL) {
            pthread_cond_wait(&c->wake, &c->mutex);
            continue;
        }
        c->todo = NULL;
        pthread_mutex_unlock(&c->mutex);
        work_run(c, work);
        pthread_mutex_lock(&c->mutex);
        c->done = work;
        n = write(c->event_fd, &one, sizeof one);
        CHECK(n == sizeof one);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static void
hand_over(struct committer *c, struct work work)
{
    c->is_busy = true;
    pthread_mutex_lock(&c->mutex);
    c->work = work;
    c->todo = &c->work;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

/* NULL: it is not wanted, or there is nothing to do. */
static struct spool_job *
begin(struct committer *c, enum spool_work work)
{
    bool *wanted = work == SPOOL_WORK_SYNC ? &c->wants_sync : &c->wants_clean;
    struct spool_job *job = *wanted ? spool_store_begin(c->store, work) : NULL;

    *wanted = false;
    if (job != NULL)
        c->last = work;
    return job;
}

/* In turns, if both are wanted: with outcomes all the time a checkpoint would never end, and what
 * waits for a sync is not to wait for a whole checkpoint. */
static void
start_next(struct committer *c)
{
    enum spool_work first = c->last == SPOOL_WORK_SYNC ? SPOOL_WORK_CLEAN : SPOOL_WORK_SYNC;
    struct spool_job *job;

    if (c->is_busy)
        return;
    if (c->wants_own != NULL) {
        hand_over(c, (struct work){.own = c->wants_own, .dir_fd = c->own_dir_fd});
        c->wants_own = NULL;
        return;
    }
    if (loop_timer_is_running(&c->retry))
        return;
    job = begin(c, first);
    if (job == NULL)
        job = begin(c, first == SPOOL_WORK_SYNC ? SPOOL_WORK_CLEAN : SPOOL_WORK_SYNC);
    if (job != NULL)
        hand_over(c, (struct work){.job = job});
}

static void
note_failure(struct committer *c, int err)
{
    if (!c->has_failed)
        log_line(LOG_LEVEL_ALARM, NULL, "ledger-failed",
                 "why=\"%s\" effect=\"no dot is sent until outcomes can be recorded again\"",
                 err_text(err));
    c->has_failed = true;
    c->wants_sync = true;
    loop_timer_start(&c->retry, RETRY_MS);
}

static void
note_success(struct committer *c)
{
    if (c->has_failed)
        log_line(LOG_LEVEL_INFO, NULL, "ledger-works", "outcomes are recorded again");
    c->has_failed = false;
}

/* A checkpoint is a row of jobs. */
static void
finish(struct committer *c, struct spool_job *job)
{
    int err = spool_store_end(c->store, &job, c->ops->on_forget, c->ctx);

    if (err != 0)
        note_failure(c, err);
    else if (spool_store_is_broken(c->store))
        c->wants_sync = true;
    else
        note_success(c);
    c->wants_clean = c->wants_clean || spool_store_is_checkpointing(c->store);
}

static void
on_event(void *ctx)
{
    struct committer *c = ctx;
    struct work *work;
    uint64_t count;
    ssize_t n = read(c->event_fd, &count, sizeof count);

    (void)n;
    pthread_mutex_lock(&c->mutex);
    work = c->done;
    c->done = NULL;
    pthread_mutex_unlock(&c->mutex);
    if (work == NULL)
        return;
    c->is_busy = false;
    if (work->job != NULL) {
        finish(c, work->job);
        c->ops->on_synced(c->ctx);
    } else
        c->ops->on_own(c->ctx, work->own_err);
    start_next(c);
}

static void
on_retry(void *ctx)
{
    start_next(ctx);
}

/* Signals are the loop's: in the thread they are all blocked. */
static void
start_thread(struct committer *c)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&c->thread, NULL, run, c);
    CHECK(rc == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct committer *
committer_new(struct loop *loop, struct spool_store *store, const struct committer_ops *ops,
              void *ctx)
{
    struct committer *c = mem_alloc(sizeof *c);

    *c = (struct committer){.loop = loop, .store = store, .ops = ops, .ctx = ctx};
    c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(c->event_fd >= 0);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->wake, NULL);
    loop_timer_init(&c->retry, loop, on_retry, c);
    c->watch = loop_watch_start(loop, c->event_fd, on_event, c);
    start_thread(c);
    return c;
}

int
committer_free(struct committer **committer)
{
    struct committer *c = *committer;
    int err;

    if (c == NULL)
        return 0;
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    if (c->done != NULL && c->done->job != NULL)
        finish(c, c->done->job);
    err = spool_store_sync(c->store);
    loop_timer_cancel(&c->retry);
    loop_watch_cancel(&c->watch);
    close(c->event_fd);
    pthread_mutex_destroy(&c->mutex);
    pthread_cond_destroy(&c->wake);
    free(c);
    *committer = NULL;
    return err;
}

void
committer_sync(struct committer *c)
{
    c->wants_sync = true;
    start_next(c);
}

void
committer_own(struct committer *c, const struct spool_own *own, int dir_fd)
{
    CHECK(c->wants_own == NULL);
    c->wants_own = own;
    c->own_dir_fd = dir_fd;
    start_next(c);
}

void
committer_clean(struct committer *c)
{
    c->wants_clean = true;
    start_next(c);
}

bool
committer_is_idle(const struct committer *c)
{
    return !(c->is_busy && c->last == SPOOL_WORK_SYNC) && !c->wants_sync && c->wants_own == NULL;
}

bool
committer_has_failed(const struct committer *c)
{
    return c->has_failed;
}
