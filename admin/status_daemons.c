/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Daemons, by their locks.
 */
#include "admin/status_part.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"

#define STARTING_MS 30000 /* so long may relayd take to read the registry for the first time */

static pid_t
read_pid(int fd)
{
    char text[32];
    uint64_t pid = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n > 0 && parse_u64((struct slice){text, strspn(text, "0123456789")}, &pid) < 0)
        pid = 0;
    return n > 0 ? (pid_t)pid : 0;
}

/* A shared lock for a moment: it is refused while the daemon holds its exclusive one. */
static void
look_at(struct status *s, const char *name, const char *path, const char *consequence)
{
    struct status_part *part = status_add(s, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    pid_t pid;

    part->state = "running";
    if (fd < 0 && errno != ENOENT)
        status_unreadable(part, path);
    else if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
        status_problem(part, "stopped", "%s; start %s by its supervisor, or as root: %s -c %s",
                       consequence, name, name, s->call->config_path);
    else if ((pid = read_pid(fd)) > 0) {
        buf_printf(&part->detail, "pid %ld", (long)pid);
        status_fact(part, "pid", json_integer(pid));
    }
    if (fd >= 0)
        close(fd);
}

void
status_look_daemons(struct status *s)
{
    const struct config *config = s->call->config;
    char path[CALL_PATH_SIZE];

    look_at(s, "relayd", call_path(path, config->run_dir, "relayd.pid"), "no mail is received");
    look_at(s, "spoolmgr", call_path(path, config->spool_dir, "lock"),
            "spooled mail is not delivered");
}

/* By its pid file, which it holds and has just written. */
bool
status_has_just_started(const struct call *call)
{
    char path[CALL_PATH_SIZE];
    int fd = open(call_path(path, call->config->run_dir, "relayd.pid"), O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool started = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && fstat(fd, &st) == 0 &&
                   call->printing.now_ms - (int64_t)st.st_mtime * 1000 < STARTING_MS;

    if (fd >= 0)
        close(fd);
    return started;
}
