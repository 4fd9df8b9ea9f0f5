/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Children and locks.  A child begins clean: no descriptor, handler or signal mask of its parent,
 * and a SIGTERM when the parent dies, which process_become renews, since the kernel forgets it when
 * a process changes its user.
 */
#define _GNU_SOURCE 1

#include "net/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/parse.h"
#include "net/channel.h"

#define LOCK_TRIES 10
#define LOCK_PAUSE_US 20000

static int
compare_fds(const void *a, const void *b)
{
    const int *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void
close_range_from(int first, int last)
{
    if (first <= last)
        close_range((unsigned)first, (unsigned)last, 0);
}

/* Closes everything above 2 except the sorted `keep`. */
static void
close_others(int *keep, size_t count)
{
    int from = 3;

    qsort(keep, count, sizeof *keep, compare_fds);
    for (size_t i = 0; i < count; i++) {
        close_range_from(from, keep[i] - 1);
        if (keep[i] >= from)
            from = keep[i] + 1;
    }
    close_range(from < 0 ? 3 : (unsigned)from, ~0U, 0);
}

static void
reset_signals(void)
{
    sigset_t none;

    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
become_child(const char *title, const int *keep_fds, size_t keep_count, int channel_fd,
             pid_t parent)
{
    int *keep = mem_alloc((keep_count + 1) * sizeof *keep);

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(0); /* the parent died before it could be watched */
    prctl(PR_SET_NAME, title);
    if (keep_count > 0)
        memcpy(keep, keep_fds, keep_count * sizeof *keep);
    keep[keep_count] = channel_fd;
    close_others(keep, keep_count + 1);
    free(keep);
    reset_signals();
}

int
process_fork(const char *title, const int *keep_fds, size_t keep_count, pid_t *pid, int *channel_fd)
{
    pid_t parent = getpid();
    sigset_t all, before;
    int fds[2];

    *channel_fd = -1;
    if (channel_pair(fds) < 0)
        return ERR_IO;
    sigfillset(&all); /* no handler of the parent may run in the child */
    sigprocmask(SIG_SETMASK, &all, &before);
    fflush(NULL);
    *pid = fork();
    if (*pid == 0) {
        become_child(title, keep_fds, keep_count, fds[1], parent);
        *channel_fd = fds[1];
        return ERR_OK;
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(fds[1]);
    if (*pid < 0) {
        close(fds[0]);
        return ERR_IO;
    }
    *channel_fd = fds[0];
    return ERR_OK;
}

void
process_ends_with_channel(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* first: SIGTERM is about to mean nothing */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static pid_t
read_owner(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text, 0);
    struct slice s = {text, n > 0 ? (size_t)n : 0};
    uint64_t pid;

    if (parse_u64(slice_split(&s, '\n'), &pid) < 0 || pid > INT32_MAX)
        return 0;
    return (pid_t)pid;
}

static int
write_owner(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return ERR_IO;
    return ERR_OK;
}

/* Somebody who only asks whether the lock is held holds it for a moment himself. */
static bool
lock_soon(int fd)
{
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
            return false;
        usleep(LOCK_PAUSE_US);
    }
    return true;
}

int
process_lock(const char *path, int *fd, pid_t *owner)
{
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = ERR_IO, saved;

    *fd = -1;
    *owner = 0;
    if (lock < 0)
        return ERR_IO;
    if (lock_soon(lock))
        rc = write_owner(lock);
    else if (errno == EWOULDBLOCK) {
        rc = ERR_BUSY;
        *owner = read_owner(lock);
    }
    if (rc < 0) {
        saved = errno;
        close(lock);
        errno = saved;
        return rc;
    }
    *fd = lock;
    return ERR_OK;
}

/* --- Users and capabilities. */

static int
set_capabilities(uint64_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        data[i].effective = data[i].permitted = (uint32_t)(wanted >> 32 * i);
    return syscall(SYS_capset, &header, data) < 0 ? ERR_IO : ERR_OK;
}

static uint64_t
get_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SYS_capget, &header, data) < 0)
        return 0;
    return (uint64_t)data[1].effective << 32 | data[0].effective;
}

int
process_drop_capabilities(void)
{
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return set_capabilities(0);
}

/* Needs CAP_SETPCAP; without it we could not have had more than what is there anyway. */
static void
bound_capabilities(uint64_t kept)
{
    for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
        if (!(kept >> capability & 1))
            (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static int
change_user(const char *user, const struct passwd *pw)
{
    int death_signal = 0;

    prctl(PR_GET_PDEATHSIG, &death_signal);
    if (initgroups(user, pw->pw_gid) < 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
        return ERR_IO;
    if (death_signal != 0)
        prctl(PR_SET_PDEATHSIG, death_signal);
    return ERR_OK;
}

static bool
may_change_user(void)
{
    uint64_t needed = PROCESS_CAPABILITY(CAP_SETUID) | PROCESS_CAPABILITY(CAP_SETGID);

    return geteuid() == 0 || (get_capabilities() & needed) == needed;
}

int
process_become_keeping(const char *user, uint64_t capabilities)
{
    struct passwd *pw;
    int rc;

    if (user[0] == '\0' || !may_change_user())
        return ERR_OK;
    errno = 0;
    pw = getpwnam(user);
    if (pw == NULL)
        return errno && errno != ENOENT ? ERR_IO : ERR_NOT_FOUND;
    bound_capabilities(capabilities);
    if (capabilities != 0 && prctl(PR_SET_KEEPCAPS, 1) < 0)
        return ERR_IO;
    rc = change_user(user, pw);
    if (rc == ERR_OK)
        rc = set_capabilities(capabilities);
    (void)prctl(PR_SET_KEEPCAPS, 0);
    return rc;
}

int
process_become(const char *user)
{
    return process_become_keeping(user, 0);
}
