/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Landlock: no path at all but the folders of the process.  All that a version of the interface can
 * forbid is forbidden: also, from version 6 on, signals to and abstract sockets of processes
 * outside.  The interface is spelled out here, since the headers of Debian 12 know version 2.
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/slice.h"
#include "net/sandbox_private.h"

#define FS_ALL(bits) ((UINT64_C(1) << (bits)) - 1)
#define FS_READ \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define FS_OF_A_FILE                                                                             \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
     UINT64_C(1) << 14 /* truncate */)

struct ruleset {
    uint64_t handled_access_fs;
    uint64_t handled_access_net; /* version 4; nothing: who may connect may connect anywhere */
    uint64_t scoped;             /* version 6: 1 abstract unix sockets, 2 signals */
};

int
sandbox_landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

    return version > 0 ? (int)version : 0;
}

/* How many of the access bits a version has. */
static uint64_t
handled_by(int version)
{
    static const int bits[] = {0, 13, 14, 15, 15, 16};

    return FS_ALL(bits[version < 5 ? version : 5]);
}

static int
allow(int ruleset, uint64_t access, const char *path)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access};
    struct stat st;
    int rc, fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? ERR_OK : ERR_IO; /* what is not there needs no rule */
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= FS_OF_A_FILE;
    rule.parent_fd = fd;
    rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? ERR_IO
                                                                                           : ERR_OK;
    close(fd);
    return rc;
}

#if SANDBOX_SANITIZER
/* The folder of log_path=... in an _OPTIONS variable. */
static int
allow_reports(int ruleset, uint64_t all, const char *variable)
{
    struct slice rest = slice_of(getenv(variable) ? getenv(variable) : "");
    const struct slice word = SLICE("log_path=");

    while (rest.p != NULL) {
        struct slice option = slice_split(&rest, ':');
        char folder[4096], *slash;

        if (option.n <= word.n || option.n >= sizeof folder ||
            memcmp(option.p, word.p, word.n) != 0)
            continue;
        memcpy(folder, option.p + word.n, option.n - word.n);
        folder[option.n - word.n] = '\0';
        slash = strrchr(folder, '/');
        if (slash != NULL && slash != folder) {
            *slash = '\0';
            return allow(ruleset, all, folder);
        }
    }
    return ERR_OK;
}

static int
allow_sanitizer(int ruleset, uint64_t all)
{
    if (allow(ruleset, FS_READ, "/proc") < 0 || allow_reports(ruleset, all, "ASAN_OPTIONS") < 0 ||
        allow_reports(ruleset, all, "UBSAN_OPTIONS") < 0)
        return ERR_IO;
    return ERR_OK;
}
#else
static int
allow_sanitizer(int ruleset, uint64_t all)
{
    (void)ruleset;
    (void)all;
    return ERR_OK;
}
#endif

static int
allow_paths(int ruleset, const struct sandbox *sandbox, uint64_t all)
{
    uint64_t writing = all & ~(uint64_t)(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                         LANDLOCK_ACCESS_FS_MAKE_BLOCK);
    int rc = ERR_OK;

    for (size_t i = 0; i < SANDBOX_FOLDERS_MAX && sandbox->folders[i] && rc == ERR_OK; i++)
        rc = allow(ruleset, writing, sandbox->folders[i]);
    if (rc == ERR_OK && (sandbox->kind == SANDBOX_FILES || sandbox->kind == SANDBOX_LINK))
        rc = allow(ruleset, writing, "/dev/null");
    if (rc == ERR_OK && sandbox->kind == SANDBOX_LINK)
        rc = allow(ruleset, FS_READ, "/"); /* to load a library is to execute, for Landlock */
    return rc == ERR_OK ? allow_sanitizer(ruleset, writing) : rc;
}

int
sandbox_limit_paths(const struct sandbox *sandbox, int version)
{
    struct ruleset attr = {
        .handled_access_fs = handled_by(version),
        .scoped = version < 6                     ? 0
                  : sandbox->kind == SANDBOX_LINK ? 2
                                                  : 3,
    };
    size_t size = version < 4   ? sizeof attr.handled_access_fs
                  : version < 6 ? 2 * sizeof attr.handled_access_fs
                                : sizeof attr;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0), rc;

    if (ruleset < 0)
        return ERR_IO;
    rc = allow_paths(ruleset, sandbox, attr.handled_access_fs);
    if (rc == ERR_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        rc = ERR_IO;
    close(ruleset);
    return rc;
}
