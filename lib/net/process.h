/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Child processes of a supervisor: fork with a channel to the parent, restart with growing pauses,
 * end with the parent (PR_SET_PDEATHSIG and end of file on the channel).
 */
#ifndef NET_PROCESS_H
#define NET_PROCESS_H

#include <stdint.h>
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

#define PROCESS_CAPABILITY(number) (UINT64_C(1) << (number)) /* CAP_... of <linux/capability.h> */

/* Becomes `user` for good, without any capability, if we are root or may change users; nothing when
 * user is "". ERR_NOT_FOUND: no such user. ERR_IO. */
MUST_USE int process_become(const char *user);
/* The same, but keeps these capabilities of ours, effective and permitted (PROCESS_CAPABILITY,
 * or'ed); no program that is executed can ever have others. */
MUST_USE int process_become_keeping(const char *user, uint64_t capabilities);
/* Gives up all capabilities, whoever we are. */
MUST_USE int process_drop_capabilities(void);

#endif
