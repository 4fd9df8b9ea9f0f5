/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The order of the layers: what needs privileges or files first (user, time zone), then no new
 * privileges, which the others stand on, then paths, and system calls last, since the filter would
 * deny what made it.
 *
 * With a database in reach of one process and mail of strangers in another, each layer alone would
 * do; they fail in different ways.
 */
#define _GNU_SOURCE 1

#include "net/sandbox_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "net/process.h"

/* Without TZ libc looks at /etc/localtime again whenever a local time is made; with it, never. */
static void
settle_timezone(void)
{
    setenv("TZ", ":/etc/localtime", 0);
    tzset();
}

struct sandbox_layers
sandbox_available(void)
{
    return (struct sandbox_layers){
        .no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0,
        .seccomp = sandbox_calls_available(),
        .landlock = sandbox_landlock_version(),
    };
}

int
sandbox_enter(const struct sandbox *sandbox, struct sandbox_layers *active)
{
    struct sandbox_layers layers = sandbox_available();
    int rc = process_become(sandbox->user);

    *active = (struct sandbox_layers){0};
    if (rc == ERR_OK)
        rc = process_drop_capabilities();
    if (rc < 0)
        return rc;
    settle_timezone();
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return ERR_IO;
    if (layers.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ERR_IO;
    if (layers.landlock > 0 && sandbox_limit_paths(sandbox, layers.landlock) < 0)
        return ERR_IO;
    if (layers.seccomp && sandbox_limit_calls(sandbox) < 0)
        return ERR_IO;
    *active = layers;
    return ERR_OK;
}

const char *
sandbox_text(const struct sandbox_layers *layers, const char *user, char dst[SANDBOX_TEXT_SIZE])
{
    char landlock[32] = "";

    if (layers->landlock > 0)
        snprintf(landlock, sizeof landlock, ", landlock %d", layers->landlock);
    snprintf(dst, SANDBOX_TEXT_SIZE, "%s%s%s%s%.64s",
             layers->no_new_privs ? "no-new-privs" : "no layer of the kernel",
             layers->seccomp ? ", seccomp" : "", landlock, user[0] ? ", user " : "", user);
    return dst;
}
