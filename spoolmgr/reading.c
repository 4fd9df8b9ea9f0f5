/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Staff who may use the control sockets and not the spool's files read the spool through us: each
 * connection to run-dir/spoolmgr-read.sock gets a relayctl of its own, run as the spool's user and
 * told who asks.  What may be read, and that content is noted first, is relayctl's to know
 * (admin/spool_serve.c).  Here: so many at once and no more, each ended with its asker.
 *
 *   relayctl of staff ── arguments, its standard descriptors ──▶ relayctl of the spool's user
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "net/control.h"
#include "net/listener.h"
#include "order/order.h"
#include "spoolmgr/keeper.h"

#define READERS_MAX 8
#define READING_FD 3 /* where a reader has the connection (admin/spool_serve.c) */
#define READ_MS 600000

struct reader {
    pid_t pid;      /* 0: unused */
    int fd;         /* the connection, to see that its asker has gone; -1: it is killed */
    int64_t end_ms; /* of the loop's clock */
};

struct reading {
    struct keeper *keeper;
    struct listener *listener;
    char path[4096];
    struct reader readers[READERS_MAX];
};

static const char *
program(void)
{
#ifdef POSTERN_DEVELOPER
    if (getenv("POSTERN_TEST_RELAYCTL"))
        return getenv("POSTERN_TEST_RELAYCTL");
#endif
    return SBINDIR "/relayctl";
}

static struct reader *
find_place(struct reading *reading)
{
    for (size_t i = 0; i < READERS_MAX; i++)
        if (reading->readers[i].pid == 0)
            return &reading->readers[i];
    return NULL;
}

/* Signals as they are at the start of a program. */
static void
set_signals(posix_spawnattr_t *how)
{
    sigset_t set;

    sigemptyset(&set);
    posix_spawnattr_setsigmask(how, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(how, &set);
    posix_spawnattr_setflags(how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

/* Not by fork: what a million messages take in memory would be copied to be thrown away (P8). */
static int
spawn(const struct keeper *k, int fd, const char *who, pid_t *pid)
{
    char *const argv[] = {(char *)"relayctl", (char *)"--serve-reader", (char *)k->config->path,
                          (char *)who, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    int rc;

    posix_spawnattr_init(&how);
    posix_spawn_file_actions_init(&actions);
    set_signals(&how);
    posix_spawn_file_actions_adddup2(&actions, fd, READING_FD);
    rc = posix_spawn(pid, program(), &actions, &how, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&how);
    return rc;
}

/* False: there is none. */
static bool
begin(struct reading *reading, struct reader *reader, int fd, const char *who)
{
    pid_t pid;
    int rc = fcntl(fd, F_SETFL, 0) == 0 ? spawn(reading->keeper, fd, who, &pid) : errno;

    if (rc == 0)
        *reader = (struct reader){pid, fd, loop_now_ms(reading->keeper->loop) + READ_MS};
    else
        log_line(LOG_LEVEL_ALARM, NULL, "reader-failed", "program=%s why=\"%s\"", program(),
                 strerror(rc));
    return rc == 0;
}

static void
on_accept(void *ctx, int fd, const struct inet_endpoint *peer)
{
    struct reading *reading = ctx;
    struct reader *reader;
    struct ucred cred;
    socklen_t size = sizeof cred;
    char who[ORDER_WHO_SIZE];

    (void)peer;
    reading_look(reading);
    reader = find_place(reading);
    if (reader == NULL || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 ||
        !begin(reading, reader, fd, order_who(cred.uid, who)))
        close(fd); /* the asker says what that means */
}

/* It keeps its place until it is gone: one that is stuck in the disk is not waited for (P8). */
static void
end(struct reader *reader)
{
    kill(reader->pid, SIGKILL);
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
}

static bool
has_ended(struct reader *reader)
{
    if (waitpid(reader->pid, NULL, WNOHANG) == 0)
        return false;
    if (reader->fd >= 0)
        close(reader->fd);
    reader->pid = 0;
    return true;
}

static bool
has_gone(const struct reader *reader)
{
    struct pollfd p = {.fd = reader->fd, .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLRDHUP));
}

void
reading_look(struct reading *reading)
{
    for (size_t i = 0; i < READERS_MAX; i++) {
        struct reader *reader = &reading->readers[i];

        if (reader->pid == 0 || has_ended(reader) || reader->fd < 0)
            continue;
        if (has_gone(reader) || loop_now_ms(reading->keeper->loop) >= reader->end_ms)
            end(reader);
    }
}

struct reading *
reading_new(struct keeper *k)
{
    struct reading *reading = mem_alloc(sizeof *reading);
    int fd;

    reading->keeper = k;
    snprintf(reading->path, sizeof reading->path, "%s/spoolmgr-read.sock", k->config->run_dir);
    if (control_bind(reading->path, &fd) == ERR_OK)
        reading->listener = listener_open(k->loop, fd, on_accept, reading);
    else
        log_line(LOG_LEVEL_WARN, NULL, "control-failed",
                 "socket=%s effect=\"nobody can read the spool through the keeper\"",
                 reading->path);
    return reading;
}

void
reading_free(struct reading **reading)
{
    struct reading *r = *reading;

    if (r->listener != NULL) {
        unlink(r->path);
        listener_leave(&r->listener);
    }
    for (size_t i = 0; i < READERS_MAX; i++)
        if (r->readers[i].pid != 0)
            end(&r->readers[i]);
    free(r);
    *reading = NULL;
}
