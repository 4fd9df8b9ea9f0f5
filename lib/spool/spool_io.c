/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The real disk: the system calls as they are, repeated when a signal interrupted them.  An
 * interrupted fsync is repeated as well; a failed one never is (the kernel forgets what it could
 * not write, and the second call would lie).
 */
#include "config.h"

#include "spool/spool_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/io_fault.h"

#define AGAIN_IF_INTERRUPTED(operation, call)        \
    __extension__({                                  \
        __typeof__(call) rc_;                        \
        do                                           \
            rc_ = IO_FAULT(operation) ? -1 : (call); \
        while (rc_ < 0 && errno == EINTR);           \
        rc_;                                         \
    })

static int
disk_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    return AGAIN_IF_INTERRUPTED((flags & O_ACCMODE) == O_RDONLY ? "open" : "open-rw",
                                openat(dir_fd, name, flags | O_CLOEXEC, mode));
}

static ssize_t
disk_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    return AGAIN_IF_INTERRUPTED("write", pwritev(fd, iov, count, offset));
}

static ssize_t
disk_pread(int fd, void *buf, size_t n, off_t offset)
{
    return AGAIN_IF_INTERRUPTED("read", pread(fd, buf, n, offset));
}

static int
disk_fdatasync(int fd)
{
    return AGAIN_IF_INTERRUPTED("sync", fdatasync(fd));
}

static int
disk_fsync(int fd)
{
    return AGAIN_IF_INTERRUPTED("sync", fsync(fd));
}

static int
disk_write_out(int fd, off_t offset, off_t n)
{
    unsigned flags =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    return AGAIN_IF_INTERRUPTED("sync", sync_file_range(fd, offset, n, flags));
}

static int
disk_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return AGAIN_IF_INTERRUPTED("allocate", fallocate(fd, mode, offset, length));
}

static int
disk_ftruncate(int fd, off_t length)
{
    return AGAIN_IF_INTERRUPTED("truncate", ftruncate(fd, length));
}

static int
disk_renameat(int dir_fd, const char *from, const char *to)
{
    return IO_FAULT("rename") ? -1 : renameat(dir_fd, from, dir_fd, to);
}

static int
disk_unlinkat(int dir_fd, const char *name)
{
    return IO_FAULT("unlink") ? -1 : unlinkat(dir_fd, name, 0);
}

const struct spool_io spool_io_disk = {
    .openat = disk_openat,
    .close = close, /* not repeated: after EINTR the descriptor is gone (Linux) */
    .pwritev = disk_pwritev,
    .pread = disk_pread,
    .fdatasync = disk_fdatasync,
    .fsync = disk_fsync,
    .write_out = disk_write_out,
    .fallocate = disk_fallocate,
    .ftruncate = disk_ftruncate,
    .renameat = disk_renameat,
    .unlinkat = disk_unlinkat,
};

int
spool_io_each_name(const struct spool_io *io, int dir_fd, void (*each)(void *ctx, const char *name),
                   void *ctx)
{
    int fd = io->openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;

    if (dir == NULL) {
        if (fd >= 0)
            io->close(fd);
        return ERR_IO;
    }
    while ((entry = readdir(dir)) != NULL)
        each(ctx, entry->d_name);
    closedir(dir);
    return 0;
}
