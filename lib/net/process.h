/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Child processes of a supervisor: fork with a channel to the parent, restart with growing pauses,
 * end with the parent (PR_SET_PDEATHSIG and end of file on the channel).
 */
#ifndef NET_PROCESS_H
#define NET_PROCESS_H

#include <sys/types.h>

#include "base/err.h"

/* Forks. In the child: 0, *channel_fd is its end, every other descriptor above 2 that is not in
 * keep_fds is closed, signal handlers are default and unblocked, and the process gets SIGTERM when
 * its parent dies. In the parent: the pid, *channel_fd is its end. ERR_IO. */
MUST_USE int process_fork(const char *title, const int *keep_fds, size_t keep_count, pid_t *pid,
                          int *channel_fd);

/* For a child whose work must not be cut by a signal to the group: from now on it ignores SIGTERM,
 * SIGINT and SIGHUP, and ends by the end of file on its channel; SIGKILL when its parent dies. */
void process_ends_with_channel(void);

/* Takes an exclusive lock on `path` (made if missing), which holds this process's pid for people;
 * held until exit. ERR_BUSY: somebody has it, *owner is the pid if readable. */
MUST_USE int process_lock(const char *path, int *fd, pid_t *owner);

/* Becomes `user` for good if we are root; nothing when user is "". ERR_NOT_FOUND: no such user.
 * ERR_IO. */
MUST_USE int process_become(const char *user);

#endif
