/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The examination of state.mdb.  The child walks every page that can be reached: all records, and
 * the list of free pages, whose damage would otherwise show only when one of them is written over.
 * It needs no knowledge of LMDB's layout, and its death by a signal is an answer as good as any.
 */
#include "state/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/state_store_private.h"

#define EXAMINE_LIMIT_S 60
#define SET_ASIDE_TRIES 100
#define FREE_DBI 0 /* LMDB's own list of free pages */
#define MAIN_DBI 1

static const char magic_key[] = "\0postern";
static const char magic_value[] = "state 1";

int
state_file_put_magic(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_val key = {sizeof magic_key, (void *)(uintptr_t)magic_key};
    MDB_val value = {sizeof magic_value, (void *)(uintptr_t)magic_value};

    return mdb_put(txn, dbi, &key, &value, 0) == 0 ? ERR_OK : ERR_IO;
}

/* --- In the child. */

static int
has_magic(MDB_txn *txn)
{
    MDB_val key = {sizeof magic_key, (void *)(uintptr_t)magic_key}, value;
    int rc = mdb_get(txn, MAIN_DBI, &key, &value);

    if (rc == MDB_NOTFOUND || rc == MDB_BAD_VALSIZE)
        return MDB_INVALID;
    if (rc != 0)
        return rc;
    return value.mv_size == sizeof magic_value &&
                   memcmp(value.mv_data, magic_value, sizeof magic_value) == 0
               ? 0
               : MDB_INVALID;
}

static int
judge_free_pages(MDB_val value, size_t last_page)
{
    size_t count, page;

    if (value.mv_size < sizeof count)
        return MDB_CORRUPTED;
    memcpy(&count, value.mv_data, sizeof count);
    if (count > value.mv_size / sizeof page - 1)
        return MDB_CORRUPTED;
    for (size_t i = 1; i <= count; i++) {
        memcpy(&page, (char *)value.mv_data + i * sizeof page, sizeof page);
        if (page < 2 || page > last_page)
            return MDB_CORRUPTED;
    }
    return 0;
}

/* The magic and kinds of a later release have other forms. */
static int
judge_record(MDB_val key, MDB_val value)
{
    static const char kinds[] = {
        STATE_STORE_RECIPIENT, STATE_STORE_DOMAIN, STATE_STORE_BACKEND, STATE_STORE_GREYLIST_BEFORE,
        STATE_STORE_WAITING,   STATE_STORE_KNOWN,  STATE_STORE_BOUNCE,  STATE_STORE_GOOD};
    struct slice k = {key.mv_data, key.mv_size}, v = {value.mv_data, value.mv_size};
    struct state_record record;

    if (k.n == 0 || memchr(kinds, k.p[0], sizeof kinds) == NULL ||
        state_record_decode(k, v, &record) == ERR_OK)
        return 0;
    return MDB_CORRUPTED;
}

/* Keys must rise, so that a tree which loops is noticed. */
static int
walk(MDB_txn *txn, MDB_dbi dbi, size_t last_page)
{
    MDB_val key, value, before = {0};
    MDB_cursor *cursor;
    volatile unsigned char sum = 0;
    int rc = mdb_cursor_open(txn, dbi, &cursor);

    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        for (size_t i = 0; i < key.mv_size; i++)
            sum ^= ((const unsigned char *)key.mv_data)[i];
        for (size_t i = 0; i < value.mv_size; i++)
            sum ^= ((const unsigned char *)value.mv_data)[i];
        if (before.mv_data != NULL && mdb_cmp(txn, dbi, &before, &key) >= 0)
            rc = MDB_CORRUPTED;
        else if (dbi == FREE_DBI)
            rc = judge_free_pages(value, last_page);
        else
            rc = judge_record(key, value);
        before = key;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
examine(const char *path)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_envinfo info;
    MDB_dbi dbi;
    int rc = mdb_env_create(&env);

    if (rc != 0 || (rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0)) != 0 ||
        (rc = mdb_env_info(env, &info)) != 0 ||
        (rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)) != 0 ||
        (rc = mdb_dbi_open(txn, NULL, 0, &dbi)) != 0)
        return rc;
    if ((rc = has_magic(txn)) == 0 && (rc = walk(txn, FREE_DBI, info.me_last_pgno)) == 0)
        rc = walk(txn, MAIN_DBI, info.me_last_pgno);
    return rc;
}

/* What speaks of our circumstances and not of the file. */
static bool
is_of_environment(int rc)
{
    return rc == EACCES || rc == EPERM || rc == ENOMEM || rc == EMFILE || rc == ENFILE ||
           rc == EAGAIN || rc == EBUSY || rc == EINTR;
}

_Noreturn static void
examine_in_child(const char *path)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGTERM};
    struct rlimit none = {0, 0};
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), rc;
    sigset_t all;

    for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
        (void)signal(fatal[i], SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    (void)setrlimit(RLIMIT_CORE, &none);
    if (null >= 0)
        (void)dup2(null, STDERR_FILENO); /* LMDB's assertions */
    (void)alarm(EXAMINE_LIMIT_S);
    rc = examine(path);
    _exit(rc == 0 ? 0 : is_of_environment(rc) ? 2 : 1);
}

/* --- In the state process. */

int
state_file_examine(const char *path)
{
    struct stat st;
    int status;
    pid_t pid;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return ERR_CORRUPT;
    pid = fork();
    if (pid < 0)
        return ERR_IO;
    if (pid == 0)
        examine_in_child(path);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return ERR_IO;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 1)
        return WEXITSTATUS(status) == 0 ? ERR_OK : ERR_IO;
    return ERR_CORRUPT;
}

int
state_file_set_aside(const char *path)
{
    char aside[PATH_MAX], when[32];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    for (unsigned i = 0; i < SET_ASIDE_TRIES; i++) {
        if (snprintf(aside, sizeof aside, "%s.bad-%s-%u", path, when, i) >= (int)sizeof aside)
            return ERR_LIMIT;
        if (access(aside, F_OK) != 0) /* two in one second must not overwrite each other */
            return rename(path, aside) == 0 ? ERR_OK : ERR_IO;
    }
    return ERR_EXISTS;
}
