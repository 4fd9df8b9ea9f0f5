/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The snapshot's thread in the state process: looks through the table, and writes if what it finds
 * differs from what it has written last.  The loop's thread only says when, and hears the result;
 * so a slow disk delays no answer (P8).
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/buf.h"
#include "state/shared_snapshot.h"

enum writer_state { WRITER_IDLE, WRITER_BUSY, WRITER_ENDING };

struct shared_snapshot_writer {
    struct shared_table *table;
    char *path;
    struct buf content;     /* the thread's, as is: */
    uint64_t written_check; /* of the content that was written last, without its moment; 0: none */
    unsigned rest_ticks;    /* the loop's thread's: so many seconds nothing is begun */

    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum writer_state state; /* under the mutex, as is: */
    int64_t wall_ms;
    size_t written_bytes; /* by the last one */
    int result;           /* of the last one; told once */
};

static int
write_if_changed(struct shared_snapshot_writer *w, int64_t wall_ms, size_t *written_bytes)
{
    uint64_t check;
    int rc;

    *written_bytes = 0;
    buf_clear(&w->content);
    shared_snapshot_encode(w->table, wall_ms, &w->content);
    check = XXH3_64bits(buf_slice(&w->content).p, buf_size(&w->content)) | 1;
    if (check == w->written_check)
        return ERR_OK;
    rc = shared_snapshot_put(&w->content, w->path, wall_ms);
    w->written_check = rc == ERR_OK ? check : 0;
    *written_bytes = buf_size(&w->content);
    return rc;
}

static void *
work(void *ctx)
{
    struct shared_snapshot_writer *w = ctx;

    pthread_mutex_lock(&w->mutex);
    for (;;) {
        size_t written_bytes;
        int64_t wall_ms;
        int rc;

        while (w->state == WRITER_IDLE)
            pthread_cond_wait(&w->changed, &w->mutex);
        if (w->state == WRITER_ENDING)
            break;
        wall_ms = w->wall_ms;
        pthread_mutex_unlock(&w->mutex);
        rc = write_if_changed(w, wall_ms, &written_bytes);
        pthread_mutex_lock(&w->mutex);
        w->result = rc;
        w->written_bytes = written_bytes;
        if (w->state == WRITER_BUSY)
            w->state = WRITER_IDLE;
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

int
shared_snapshot_writer_tick(struct shared_snapshot_writer *w, int64_t wall_ms)
{
    int rc = ERR_OK;

    if (w->rest_ticks > 0) {
        w->rest_ticks--;
        return ERR_OK;
    }
    pthread_mutex_lock(&w->mutex);
    if (w->state == WRITER_IDLE) {
        rc = w->result;
        w->result = ERR_OK;
        w->rest_ticks = (unsigned)(w->written_bytes / SHARED_SNAPSHOT_BYTES_A_SECOND);
        w->written_bytes = 0;
        if (w->rest_ticks == 0) {
            w->wall_ms = wall_ms;
            w->state = WRITER_BUSY;
            pthread_cond_signal(&w->changed);
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return rc;
}

/* Without signals: they belong to the loop's thread. */
static int
start_thread(struct shared_snapshot_writer *w)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? ERR_OK : ERR_IO;
}

static void
release(struct shared_snapshot_writer *w)
{
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->changed);
    buf_fini(&w->content);
    free(w->path);
    free(w);
}

struct shared_snapshot_writer *
shared_snapshot_writer_new(struct shared_table *table, const char *path)
{
    struct shared_snapshot_writer *w = mem_alloc(sizeof *w);

    w->table = table;
    w->path = mem_strdup(path);
    buf_init(&w->content, 0);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (start_thread(w) == ERR_OK)
        return w;
    release(w);
    return NULL;
}

void
shared_snapshot_writer_free(struct shared_snapshot_writer **result)
{
    struct shared_snapshot_writer *w = *result;

    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->state = WRITER_ENDING;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    release(w);
    *result = NULL;
}
