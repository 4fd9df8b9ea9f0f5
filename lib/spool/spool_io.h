/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The disk under the spool, as operations: the real one, and in tests one that drops, cuts and
 * reorders unsynced writes. Every function returns 0 or more, or -1 with errno, as the system call
 * of its name.
 */
#ifndef SPOOL_IO_H
#define SPOOL_IO_H

#include <dirent.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

struct spool_io {
    int (*openat)(int dir_fd, const char *name, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t offset);
    ssize_t (*pread)(int fd, void *buf, size_t n, off_t offset);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd); /* a folder as well */
    /* Has the file's octets written to the device, and waits for it; promises nothing. */
    int (*write_out)(int fd, off_t offset, off_t n);
    int (*fallocate)(int fd, int mode, off_t offset, off_t length);
    int (*ftruncate)(int fd, off_t length);
    int (*renameat)(int dir_fd, const char *from, const char *to);
    int (*unlinkat)(int dir_fd, const char *name);
};

extern const struct spool_io spool_io_disk;

/* Calls each(name) for every name in the folder; 0 or ERR_IO. */
MUST_USE int spool_io_each_name(const struct spool_io *io, int dir_fd,
                                void (*each)(void *ctx, const char *name), void *ctx);

#endif
