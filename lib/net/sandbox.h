/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The last step before a process meets the world: from then on it has a user of its own, no
 * capability, no new privileges, only the system calls of its kind (seccomp), and only the folders
 * that it is given (Landlock).  What the kernel does not have is left out and told; what it has and
 * refuses is an error.
 *
 * Call it in a process with a single thread, so that all later threads are born inside.  What is
 * loaded lazily must be there before: the time zone is seen to here; certificates, name services
 * and the like are the caller's.
 */
#ifndef NET_SANDBOX_H
#define NET_SANDBOX_H

#include <stdbool.h>

#include "base/err.h"

enum sandbox_kind {
    /* Speaks to the network through sockets of IPv4 and IPv6 and uses the descriptors that it is
     * given: it opens no file, listens nowhere, and never makes memory executable.  An allow-list;
     * a call outside it is EPERM, and execve and ptrace end the process with SIGSYS. */
    SANDBOX_PEERS,
    /* Works on files in its folders, speaks to nobody. An allow-list as well. */
    SANDBOX_FILES,
    /* A client of a database, with the libraries that this takes: reads files anywhere, writes in
     * its folders, connects anywhere. A deny-list: no programs, no looking into other processes. */
    SANDBOX_LINK,
    /* Reads and writes the descriptors that it has, has memory, a clock and an end: it opens
     * nothing, makes no socket, no thread and no process.  The narrowest allow-list. */
    SANDBOX_NOTHING,
};

#define SANDBOX_FOLDERS_MAX 4

struct sandbox {
    enum sandbox_kind kind;
    const char *user;                         /* process_become; "": none */
    const char *folders[SANDBOX_FOLDERS_MAX]; /* to write in, with all below; NULL: no more */
    bool has_unix_peers;                      /* PEERS: unix sockets as well */
};

struct sandbox_layers {
    bool no_new_privs, seccomp;
    int landlock; /* version of its interface; 0: not there */
};

/* ERR_NOT_FOUND: no such user. ERR_IO: the kernel has refused a layer that it has, with errno; the
 * process may be half inside and has to end. */
MUST_USE int sandbox_enter(const struct sandbox *sandbox, struct sandbox_layers *active);

/* What this kernel has. */
struct sandbox_layers sandbox_available(void);
/* "no-new-privs, seccomp, landlock 7", and with a user ", user NAME". */
#define SANDBOX_TEXT_SIZE 160
const char *sandbox_text(const struct sandbox_layers *layers, const char *user,
                         char dst[SANDBOX_TEXT_SIZE]);

#endif
