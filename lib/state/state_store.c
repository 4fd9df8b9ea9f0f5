/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the node remembers, in LMDB: records by key, whatever they are of.  What they mean is in
 * state_store_recipient.c and its neighbours.  The loop's thread reads: first the changes that
 * wait, then those that are being written, then the file.  A second thread does nothing but write a
 * batch in one synced transaction, so that a slow disk delays no answer.  The batch being written
 * is read by both threads and changed by neither; it is handed over and back under the mutex.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "state/state_changes.h"
#include "state/state_file.h"
#include "state/state_store_private.h"

enum writer_state { WRITER_IDLE, WRITER_BUSY, WRITER_ENDING };

struct state_store {
    struct state_store_settings settings;
    int lock_fd;
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reader;                         /* reset between look-ups */
    unsigned reading;                        /* look-ups under way: one inside a walk */
    struct state_changes *waiting, *written; /* swapped */
    struct state_store_place purge_place;    /* where the purge goes on */
    bool has_failed;                         /* the last batch that was heard of */

    pthread_t writer;
    bool has_writer;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum writer_state writer_state; /* under the mutex, as is: */
    int last_result;                /* of the last batch; reported once */
};

/* --- Writing, in the thread. */

static int
err_of(int rc)
{
    if (rc == 0)
        return ERR_OK;
    return rc == MDB_MAP_FULL || rc == ENOSPC || rc == EDQUOT ? ERR_FULL : ERR_IO;
}

static int
write_change(MDB_txn *txn, MDB_dbi dbi, struct state_change *change)
{
    MDB_val key = {change->key_size, change->bytes}, value;
    char bytes[STATE_RECORD_SIZE_MAX];
    struct state_record record;
    int rc;

    if (change->is_removed) {
        rc = mdb_del(txn, dbi, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    state_change_record(change, &record);
    value = (MDB_val){state_record_encode(state_change_key(change), &record, bytes), bytes};
    return mdb_put(txn, dbi, &key, &value, 0);
}

static int
write_batch(struct state_store *store, const struct state_changes *batch)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (rc != 0)
        return err_of(rc);
    for (unsigned i = 0; rc == 0 && i < STATE_CHANGES_BUCKETS; i++)
        for (struct state_change *c = batch->buckets[i]; rc == 0 && c != NULL; c = c->next)
            rc = write_change(txn, store->dbi, c);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return err_of(rc);
    }
    return err_of(mdb_txn_commit(txn));
}

static void *
write_batches(void *ctx)
{
    struct state_store *store = ctx;

    pthread_mutex_lock(&store->mutex);
    for (;;) {
        int rc;

        while (store->writer_state == WRITER_IDLE)
            pthread_cond_wait(&store->changed, &store->mutex);
        if (store->writer_state == WRITER_ENDING)
            break;
        pthread_mutex_unlock(&store->mutex);
        rc = write_batch(store, store->written);
        pthread_mutex_lock(&store->mutex);
        store->last_result = rc;
        store->writer_state = WRITER_IDLE;
        pthread_cond_broadcast(&store->changed);
    }
    pthread_mutex_unlock(&store->mutex);
    return NULL;
}

unsigned
state_store_waiting(const struct state_store *store)
{
    return store->waiting->count;
}

/* The writer alone leaves BUSY, this thread alone enters it. */
static bool
is_writing(const struct state_store *store)
{
    struct state_store *s = (struct state_store *)(uintptr_t)store;
    bool busy;

    pthread_mutex_lock(&s->mutex);
    busy = s->writer_state == WRITER_BUSY;
    pthread_mutex_unlock(&s->mutex);
    return busy;
}

bool
state_store_is_idle(const struct state_store *store)
{
    return store->waiting->count == 0 && store->written->count == 0 && !is_writing(store);
}

int
state_store_commit(struct state_store *store)
{
    struct state_changes *batch;
    int rc;

    pthread_mutex_lock(&store->mutex);
    rc = store->writer_state == WRITER_BUSY ? ERR_AGAIN : store->last_result;
    if (store->writer_state == WRITER_IDLE) {
        store->last_result = ERR_OK;
        batch = store->written;
        if (batch->count > 0)
            store->has_failed = rc != ERR_OK;
        state_changes_clear(batch);
        store->written = store->waiting;
        store->waiting = batch;
        if (store->written->count > 0) {
            store->writer_state = WRITER_BUSY;
            pthread_cond_broadcast(&store->changed);
        }
    }
    pthread_mutex_unlock(&store->mutex);
    return rc;
}

static void
wait_for_writer(struct state_store *store)
{
    pthread_mutex_lock(&store->mutex);
    while (store->writer_state == WRITER_BUSY)
        pthread_cond_wait(&store->changed, &store->mutex);
    pthread_mutex_unlock(&store->mutex);
}

int
state_store_flush(struct state_store *store)
{
    int before, now;

    wait_for_writer(store);
    before = state_store_commit(store);
    wait_for_writer(store);
    now = state_store_commit(store);
    return before != ERR_OK ? before : now;
}

/* --- Reading, in the loop's thread. */

static bool
begin_reading(struct state_store *store)
{
    if (store->reading == 0 && mdb_txn_renew(store->reader) != 0)
        return false;
    store->reading++;
    return true;
}

static void
end_reading(struct state_store *store)
{
    if (--store->reading == 0)
        mdb_txn_reset(store->reader);
}

static bool
find_in_file(struct state_store *store, struct slice key, struct state_record *record)
{
    MDB_val k = {key.n, (void *)(uintptr_t)key.p}, value;
    bool found = false;

    if (!begin_reading(store))
        return false;
    if (mdb_get(store->reader, store->dbi, &k, &value) == 0)
        found = state_record_decode(key, (struct slice){value.mv_data, value.mv_size}, record) ==
                ERR_OK;
    end_reading(store);
    return found;
}

static const struct state_change *
find_in_memory(const struct state_store *store, struct slice key)
{
    const struct state_change *change = state_changes_find(store->waiting, key);

    return change ? change : state_changes_find(store->written, key);
}

bool
state_store_find(struct state_store *store, struct slice key, struct state_record *record)
{
    const struct state_change *change = find_in_memory(store, key);

    if (change == NULL)
        return find_in_file(store, key, record);
    if (!change->is_removed)
        state_change_record(change, record);
    return !change->is_removed;
}

bool
state_store_put(struct state_store *store, struct slice key, const struct state_record *record)
{
    return state_changes_put(store->waiting, key, record);
}

const struct state_store_settings *
state_store_settings(const struct state_store *store)
{
    return &store->settings;
}

bool
state_store_has_failed(const struct state_store *store)
{
    return store->has_failed;
}

/* Pages that are free are not counted: LMDB uses them first. */
bool
state_store_is_crowded(const struct state_store *store)
{
    uint64_t pages;
    MDB_stat st;

    if (mdb_env_stat(store->env, &st) != 0)
        return true;
    pages = st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages;
    return pages * st.ms_psize > store->settings.map_size_bytes / 2;
}

/* --- Walks over the file. */

int
state_store_walk(struct state_store *store, struct state_store_place *place, unsigned limit,
                 state_store_each each, void *ctx)
{
    MDB_val key = {place->size, place->key}, value;
    MDB_cursor *cursor;
    bool goes_on = true;
    int rc;

    if (!begin_reading(store))
        return ERR_IO;
    rc = mdb_cursor_open(store->reader, store->dbi, &cursor);
    if (rc != 0)
        goto out;
    rc = mdb_cursor_get(cursor, &key, &value, place->size ? MDB_SET_RANGE : MDB_FIRST);
    for (unsigned seen = 0; rc == 0 && goes_on && seen < limit; seen++) {
        goes_on = each(ctx, (struct slice){key.mv_data, key.mv_size},
                       (struct slice){value.mv_data, value.mv_size});
        if (goes_on)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    place->size = 0;
    if (rc == 0 && key.mv_size <= sizeof place->key) {
        memcpy(place->key, key.mv_data, key.mv_size);
        place->size = key.mv_size;
    }
    mdb_cursor_close(cursor);
out:
    end_reading(store);
    return rc == 0 || rc == MDB_NOTFOUND ? ERR_OK : ERR_IO;
}

/* --- Purging: a bounded walk that goes on where the last one ended. */

static const struct {
    char first; /* of the key */
    state_store_is_outdated is_outdated;
} purges[] = {
    {STATE_STORE_RECIPIENT, state_store_recipient_is_outdated},
    {STATE_STORE_DOMAIN, state_store_domain_is_outdated},
    {STATE_STORE_BACKEND, state_store_backend_is_outdated},
    {STATE_STORE_GREYLIST_BEFORE, state_store_of_before_is_outdated},
    {STATE_STORE_WAITING, state_store_waiting_is_outdated},
    {STATE_STORE_KNOWN, state_store_known_is_outdated},
    {STATE_STORE_BOUNCE, state_store_bounce_is_outdated},
    {STATE_STORE_GOOD, state_store_good_is_outdated},
};

struct purge {
    struct state_store *store;
    int64_t wall_ms;
};

/* A record whose check fails lies on a page that nobody should write to. */
static bool
purge_record(void *ctx, struct slice key, struct slice value)
{
    struct purge *purge = ctx;
    struct state_record record;

    if (key.n == 0 || key.n > STATE_RECORD_KEY_MAX || find_in_memory(purge->store, key) != NULL)
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(purges); i++)
        if (purges[i].first == key.p[0] && state_record_decode(key, value, &record) == ERR_OK &&
            purges[i].is_outdated(purge->store, key, &record, purge->wall_ms))
            (void)state_store_put(purge->store, key, NULL);
    return true;
}

int
state_store_purge(struct state_store *store, int64_t wall_ms, unsigned limit)
{
    struct purge purge = {store, wall_ms};

    return state_store_walk(store, &store->purge_place, limit, purge_record, &purge);
}

/* --- Opening. */

/* Of two state processes the second must wait until the first is gone. */
static int
take_lock(struct state_store *store, const char *path)
{
    char path_lock[PATH_MAX];

    if (snprintf(path_lock, sizeof path_lock, "%s.owner", path) >= (int)sizeof path_lock)
        return ERR_LIMIT;
    store->lock_fd = open(path_lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return ERR_IO;
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? ERR_BUSY : ERR_IO;
    return ERR_OK;
}

static int
begin_anew(struct state_store *store, bool is_new)
{
    MDB_txn *txn;

    if (mdb_txn_begin(store->env, NULL, 0, &txn) != 0)
        return ERR_IO;
    if (mdb_dbi_open(txn, NULL, 0, &store->dbi) != 0 ||
        (is_new && state_file_put_magic(txn, store->dbi) != ERR_OK)) {
        mdb_txn_abort(txn);
        return ERR_IO;
    }
    return mdb_txn_commit(txn) == 0 ? ERR_OK : ERR_IO;
}

static int
open_env(struct state_store *store, const char *path, bool is_new)
{
    char path_lock[PATH_MAX];
    int rc;

    /* LMDB's own lock file: we alone are here, so whatever it holds is left over. */
    if (snprintf(path_lock, sizeof path_lock, "%s-lock", path) >= (int)sizeof path_lock)
        return ERR_LIMIT;
    (void)unlink(path_lock);
    if (mdb_env_create(&store->env) != 0 ||
        mdb_env_set_mapsize(store->env, store->settings.map_size_bytes) != 0 ||
        mdb_env_open(store->env, path, MDB_NOSUBDIR | MDB_NOTLS, 0600) != 0)
        return ERR_IO;
    rc = begin_anew(store, is_new);
    if (rc != ERR_OK)
        return rc;
    if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->reader) != 0)
        return ERR_IO;
    mdb_txn_reset(store->reader);
    return ERR_OK;
}

static int
open_file(struct state_store *store, bool *set_aside)
{
    char path[PATH_MAX];
    int rc;

    if (snprintf(path, sizeof path, "%s/state.mdb", store->settings.dir) >= (int)sizeof path)
        return ERR_LIMIT;
    rc = take_lock(store, path);
    if (rc != ERR_OK)
        return rc;
    rc = state_file_examine(path);
    if (rc == ERR_CORRUPT) {
        rc = state_file_set_aside(path);
        *set_aside = rc == ERR_OK;
        if (rc == ERR_OK)
            rc = ERR_NOT_FOUND;
    }
    if (rc != ERR_OK && rc != ERR_NOT_FOUND)
        return rc;
    return open_env(store, path, rc == ERR_NOT_FOUND);
}

/* Without signals: they belong to the loop's thread, which takes them from a descriptor. */
static int
start_writer(struct state_store *store)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    store->has_writer = pthread_create(&store->writer, NULL, write_batches, store) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return store->has_writer ? ERR_OK : ERR_IO;
}

int
state_store_open(const struct state_store_settings *settings, struct state_store **result,
                 bool *set_aside)
{
    struct state_store *store = mem_alloc(sizeof *store);
    int rc;

    *result = NULL;
    *set_aside = false;
    store->settings = *settings;
    store->lock_fd = -1;
    store->waiting = mem_alloc(sizeof *store->waiting);
    store->written = mem_alloc(sizeof *store->written);
    state_changes_init(store->waiting);
    state_changes_init(store->written);
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->changed, NULL);
    rc = open_file(store, set_aside);
    if (rc == ERR_OK)
        rc = start_writer(store);
    if (rc != ERR_OK)
        state_store_close(&store);
    *result = store;
    return rc;
}

static void
end_writer(struct state_store *store)
{
    (void)!state_store_flush(store);
    pthread_mutex_lock(&store->mutex);
    store->writer_state = WRITER_ENDING;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->mutex);
    pthread_join(store->writer, NULL);
}

void
state_store_close(struct state_store **result)
{
    struct state_store *store = *result;

    if (store == NULL)
        return;
    if (store->has_writer)
        end_writer(store);
    if (store->reader != NULL)
        mdb_txn_abort(store->reader);
    if (store->env != NULL)
        mdb_env_close(store->env);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    state_changes_clear(store->waiting);
    state_changes_clear(store->written);
    free(store->waiting);
    free(store->written);
    pthread_mutex_destroy(&store->mutex);
    pthread_cond_destroy(&store->changed);
    free(store);
    *result = NULL;
}
