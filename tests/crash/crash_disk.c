/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The disk that loses power.  The real files show what the page cache would; beside them stands
 * what the medium may hold: for each sector written since its file's last sync all versions since
 * then, the sizes since then, and a log of the folder's changes since its last sync.  Files whose
 * names go are moved to a graveyard, since a lost rename may bring them back.
 */
#include "config.h"

#include "crash_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "tests/unit/scratch.h"

#define SECTOR 512
#define BUCKETS 64
#define NAME_BYTES 64

struct sector {
    struct sector *next;
    uint64_t number;
    unsigned count;
    uint8_t (*versions)[SECTOR]; /* the first is durable */
    bool is_lost;                /* by a sync that failed: it may not be what the kernel has */
};

struct file {
    ino_t inode;
    int fd;
    struct sector *sectors[BUCKETS];
    off_t *sizes; /* the first is durable, the last is the present one */
    unsigned size_count;
};

struct name {
    char text[NAME_BYTES];
    unsigned file;
};

struct names {
    struct name *list;
    unsigned count;
};

enum change_kind { CHANGE_CREATE, CHANGE_RENAME, CHANGE_UNLINK };

struct change {
    enum change_kind kind;
    char from[NAME_BYTES], to[NAME_BYTES];
    unsigned file;
};

static struct {
    pthread_mutex_t mutex;
    struct crash_disk_options options;
    uint64_t random, operations, syncs;
    uint64_t points; /* since the program began */
    bool crashed;
    char base[SCRATCH_PATH], path[SCRATCH_PATH + 8];
    int dir_fd, grave_fd;
    struct file *files;
    unsigned file_count;
    struct names present, durable;
    struct change *log;
    unsigned log_count;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static uint64_t
draw(uint64_t below)
{
    uint64_t z = disk.random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* --- Names. */

static struct name *
find_name(const struct names *names, const char *text)
{
    for (unsigned i = 0; i < names->count; i++)
        if (strcmp(names->list[i].text, text) == 0)
            return &names->list[i];
    return NULL;
}

static void
remove_name(struct names *names, const char *text)
{
    struct name *name = find_name(names, text);

    if (name != NULL)
        *name = names->list[--names->count];
}

static void
set_name(struct names *names, const char *text, unsigned file)
{
    remove_name(names, text);
    names->list = mem_realloc(names->list, (names->count + 1) * sizeof *names->list);
    snprintf(names->list[names->count].text, NAME_BYTES, "%s", text);
    names->list[names->count++].file = file;
}

static void
apply_change(struct names *names, const struct change *change)
{
    const struct name *from = find_name(names, change->from);
    bool is_there = from != NULL && from->file == change->file;

    if (change->kind != CHANGE_CREATE && is_there)
        remove_name(names, change->from);
    if (change->kind != CHANGE_UNLINK)
        set_name(names, change->to, change->file);
}

static void
log_change(enum change_kind kind, const char *from, const char *to, unsigned file)
{
    struct change change = {.kind = kind, .file = file};

    snprintf(change.from, sizeof change.from, "%s", from);
    snprintf(change.to, sizeof change.to, "%s", to);
    disk.log = mem_realloc(disk.log, (disk.log_count + 1) * sizeof *disk.log);
    disk.log[disk.log_count++] = change;
    apply_change(&disk.present, &change);
}

static void
copy_names(struct names *to, const struct names *from)
{
    to->list = mem_realloc(to->list, from->count * sizeof *to->list);
    if (from->count > 0)
        memcpy(to->list, from->list, from->count * sizeof *to->list);
    to->count = from->count;
}

static const char *
grave_name(unsigned file, char dst[NAME_BYTES])
{
    snprintf(dst, NAME_BYTES, "%u", file);
    return dst;
}

static void
bury(const char *name, unsigned file)
{
    char grave[NAME_BYTES];

    CHECK(renameat(disk.dir_fd, name, disk.grave_fd, grave_name(file, grave)) == 0);
}

/* --- Files. */

static struct file *
file_of_inode(ino_t inode)
{
    for (unsigned i = 0; i < disk.file_count; i++)
        if (disk.files[i].inode == inode)
            return &disk.files[i];
    return NULL;
}

/* NULL: a folder. */
static struct file *
file_of(int fd)
{
    struct file *file;
    struct stat st;

    CHECK(fstat(fd, &st) == 0);
    if (S_ISDIR(st.st_mode))
        return NULL;
    file = file_of_inode(st.st_ino);
    CHECK(file != NULL);
    return file;
}

static unsigned
add_file(const char *name)
{
    struct file file = {.fd = openat(disk.dir_fd, name, O_RDWR | O_CLOEXEC)};
    struct stat st;

    CHECK(file.fd >= 0 && fstat(file.fd, &st) == 0);
    file.inode = st.st_ino;
    file.sizes = mem_alloc(sizeof *file.sizes);
    file.size_count = 1;
    disk.files = mem_realloc(disk.files, (disk.file_count + 1) * sizeof file);
    disk.files[disk.file_count] = file;
    return disk.file_count++;
}

static off_t
present_size(const struct file *file)
{
    return file->sizes[file->size_count - 1];
}

static void
note_size(struct file *file, off_t size)
{
    if (size == present_size(file))
        return;
    file->sizes = mem_realloc(file->sizes, (file->size_count + 1) * sizeof *file->sizes);
    file->sizes[file->size_count++] = size;
}

static struct sector *
find_sector(struct file *file, uint64_t number)
{
    struct sector *s = file->sectors[number % BUCKETS];

    while (s != NULL && s->number != number)
        s = s->next;
    return s;
}

static void
add_version(struct sector *s, const uint8_t octets[SECTOR])
{
    s->versions = mem_realloc(s->versions, (s->count + 1) * sizeof *s->versions);
    memcpy(s->versions[s->count++], octets, SECTOR);
}

static void
note_version(struct file *file, uint64_t number, const uint8_t octets[SECTOR], bool only_if_first)
{
    struct sector *s = find_sector(file, number);

    if (s != NULL && only_if_first)
        return;
    if (s == NULL) {
        s = mem_alloc(sizeof *s);
        s->number = number;
        s->next = file->sectors[number % BUCKETS];
        file->sectors[number % BUCKETS] = s;
    }
    add_version(s, octets);
}

/* Notes the sectors of [offset, offset + n) as they are now. */
static void
note_range(struct file *file, off_t offset, size_t n, bool only_if_first)
{
    uint64_t first = (uint64_t)offset / SECTOR, end = ((uint64_t)offset + n + SECTOR - 1) / SECTOR;
    size_t bytes = (size_t)(end - first) * SECTOR;
    uint8_t *octets = mem_alloc(bytes);

    CHECK(pread(file->fd, octets, bytes, (off_t)(first * SECTOR)) >= 0);
    for (uint64_t i = first; i < end; i++)
        note_version(file, i, octets + (i - first) * SECTOR, only_if_first);
    free(octets);
}

/* What a truncation takes away may come back. */
static void
note_truncation(struct file *file, off_t size)
{
    off_t at = size, end = present_size(file);

    while (at < end && (at = lseek(file->fd, at, SEEK_DATA)) >= 0 && at < end) {
        off_t hole = lseek(file->fd, at, SEEK_HOLE);

        note_range(file, at, (size_t)((hole < end ? hole : end) - at), true);
        at = hole;
    }
}

static void
drop_sector(struct sector *s)
{
    free(s->versions);
    free(s);
}

/* All that was written is durable; `keep`: but for what an earlier failed sync lost. */
static void
make_durable(struct file *file, bool keep)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct sector **at = &file->sectors[i];

        while (*at != NULL) {
            struct sector *s = *at;

            if (keep && s->is_lost && s->count == 1) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            drop_sector(s);
        }
    }
    file->sizes[0] = present_size(file);
    file->size_count = 1;
}

/* A failed sync: the medium has one of the versions, and the kernel takes all for written. */
static void
lose_some(struct file *file)
{
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct sector *s = file->sectors[i]; s != NULL; s = s->next) {
            memmove(s->versions[0], s->versions[draw(s->count)], SECTOR);
            s->count = 1;
            s->is_lost = true;
        }
}

static void
lose_power(struct file *file)
{
    off_t size = file->sizes[draw(file->size_count)];

    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct sector *s = file->sectors[i]; s != NULL; s = s->next)
            CHECK(pwrite(file->fd, s->versions[draw(s->count)], SECTOR,
                         (off_t)s->number * SECTOR) == SECTOR);
    CHECK(ftruncate(file->fd, size) == 0);
    note_size(file, size);
    make_durable(file, false);
}

/* --- The operations.  With the mutex held: may this one be done?  `*last`: it is, but nobody will
 * hear of it. */

static bool
may_do(bool takes_space, bool *last)
{
    *last = false;
    if (disk.crashed) {
        errno = EIO;
        return false;
    }
    disk.operations++;
    if (takes_space && disk.operations >= disk.options.full_from &&
        disk.operations < disk.options.full_until) {
        disk.points++;
        errno = ENOSPC;
        return false;
    }
    *last = disk.operations == disk.options.crash_at;
    disk.crashed |= *last;
    disk.points += *last;
    return true;
}

static int
outcome(int rc, bool last)
{
    if (!last)
        return rc;
    errno = EIO;
    return -1;
}

static int
enter(void)
{
    return pthread_mutex_lock(&disk.mutex);
}

static int
leave(int rc)
{
    int saved = errno;

    pthread_mutex_unlock(&disk.mutex);
    errno = saved;
    return rc;
}

static int
open_known(const char *name, int flags)
{
    struct name *known = find_name(&disk.present, name);

    if (known != NULL && (flags & O_TRUNC)) {
        note_truncation(&disk.files[known->file], 0);
        note_size(&disk.files[known->file], 0);
    }
    return openat(disk.dir_fd, name, flags | O_CLOEXEC);
}

/* The folder by any descriptor: whoever is tested may have opened it by its path. */
static void
check_folder(int dir_fd)
{
    struct stat given, ours;

    if (dir_fd == disk.dir_fd)
        return;
    CHECK(fstat(dir_fd, &given) == 0 && fstat(disk.dir_fd, &ours) == 0);
    CHECK(given.st_ino == ours.st_ino && given.st_dev == ours.st_dev);
}

static int
open_or_create(const char *name, int flags, mode_t mode)
{
    int fd;

    if (find_name(&disk.present, name) != NULL)
        return open_known(name, flags);
    fd = openat(disk.dir_fd, name, flags | O_CLOEXEC, mode);
    if (fd >= 0)
        log_change(CHANGE_CREATE, "", name, add_file(name));
    return fd;
}

static int
crash_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    bool last = false;
    int fd = -1;

    if (flags & O_DIRECTORY)
        return openat(dir_fd, name, flags | O_CLOEXEC);
    enter();
    check_folder(dir_fd);
    if (flags & O_CREAT)
        fd = may_do(true, &last) ? open_or_create(name, flags, mode) : -1;
    else if (disk.crashed)
        errno = EIO;
    else
        fd = open_known(name, flags);
    if (last && fd >= 0) {
        close(fd);
        fd = -1;
        errno = EIO;
    }
    return leave(fd);
}

static int
crash_close(int fd)
{
    return close(fd);
}

static size_t
iov_bytes(const struct iovec *iov, int count)
{
    size_t n = 0;

    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    return n;
}

static ssize_t
write_some(struct file *file, const struct iovec *iov, int count, off_t offset)
{
    size_t n = iov_bytes(iov, count), done = 0;

    if (disk.options.short_writes && n > 1 && draw(8) == 0)
        n = 1 + draw(n - 1);
    note_range(file, offset, n, true);
    for (int i = 0; i < count && done < n; i++) {
        size_t piece = iov[i].iov_len < n - done ? iov[i].iov_len : n - done;

        CHECK(pwrite(file->fd, iov[i].iov_base, piece, offset + (off_t)done) == (ssize_t)piece);
        done += piece;
    }
    note_range(file, offset, n, false);
    if (offset + (off_t)n > present_size(file))
        note_size(file, offset + (off_t)n);
    return (ssize_t)n;
}

static ssize_t
crash_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    ssize_t rc = -1;
    bool last;

    enter();
    if (may_do(true, &last))
        rc = write_some(file_of(fd), iov, count, offset);
    if (last) {
        errno = EIO;
        rc = -1;
    }
    leave(0);
    return rc;
}

static ssize_t
crash_pread(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t rc = -1;

    enter();
    errno = EIO;
    if (!disk.crashed)
        rc = pread(fd, buf, n, offset);
    leave(0);
    return rc;
}

static int
sync_file(struct file *file)
{
    if (++disk.syncs == disk.options.fail_sync_at) {
        disk.points++;
        lose_some(file);
        errno = EIO;
        return -1;
    }
    make_durable(file, true);
    return 0;
}

static int
crash_fsync(int fd)
{
    struct file *file;
    bool last;
    int rc = -1;

    enter();
    if (may_do(false, &last) && !last) {
        rc = 0;
        file = file_of(fd);
        if (file != NULL)
            rc = sync_file(file);
        else {
            copy_names(&disk.durable, &disk.present);
            disk.log_count = 0;
        }
    }
    if (last)
        errno = EIO;
    return leave(rc);
}

static int
set_size(struct file *file, off_t size)
{
    if (size < present_size(file))
        note_truncation(file, size);
    note_size(file, size);
    return ftruncate(file->fd, size);
}

static int
zero_range(struct file *file, off_t offset, off_t length)
{
    char *zeros = mem_alloc((size_t)length);
    struct iovec piece = {zeros, (size_t)length};
    bool short_writes = disk.options.short_writes;

    disk.options.short_writes = false;
    write_some(file, &piece, 1, offset);
    disk.options.short_writes = short_writes;
    free(zeros);
    return 0;
}

static int
crash_fallocate(int fd, int mode, off_t offset, off_t length)
{
    struct file *file;
    bool last;
    int rc = -1;

    enter();
    if (may_do(mode == 0, &last)) {
        file = file_of(fd);
        rc = 0;
        if (mode & FALLOC_FL_PUNCH_HOLE) {
            if (offset + length > present_size(file))
                length = present_size(file) - offset;
            rc = length > 0 ? zero_range(file, offset, length) : 0;
        } else if (offset + length > present_size(file))
            rc = set_size(file, offset + length);
        rc = outcome(rc, last);
    }
    return leave(rc);
}

static int
crash_ftruncate(int fd, off_t length)
{
    bool last;
    int rc = -1;

    enter();
    if (may_do(false, &last))
        rc = outcome(set_size(file_of(fd), length), last);
    return leave(rc);
}

static int
rename_known(const char *from, const char *to)
{
    struct name *source = find_name(&disk.present, from), *target;
    unsigned file;

    if (source == NULL) {
        errno = ENOENT;
        return -1;
    }
    file = source->file;
    target = find_name(&disk.present, to);
    if (target != NULL && target->file != file)
        bury(to, target->file);
    CHECK(renameat(disk.dir_fd, from, disk.dir_fd, to) == 0);
    log_change(CHANGE_RENAME, from, to, file);
    return 0;
}

static int
crash_renameat(int dir_fd, const char *from, const char *to)
{
    bool last;
    int rc = -1;

    enter();
    check_folder(dir_fd);
    if (may_do(false, &last))
        rc = outcome(rename_known(from, to), last);
    return leave(rc);
}

static int
unlink_known(const char *text)
{
    struct name *name = find_name(&disk.present, text);

    if (name == NULL) {
        errno = ENOENT;
        return -1;
    }
    bury(text, name->file);
    log_change(CHANGE_UNLINK, text, "", name->file);
    return 0;
}

static int
crash_unlinkat(int dir_fd, const char *name)
{
    bool last;
    int rc = -1;

    enter();
    check_folder(dir_fd);
    if (may_do(false, &last))
        rc = outcome(unlink_known(name), last);
    return leave(rc);
}

/* Promises nothing, so it does nothing. */
static int
crash_write_out(int fd, off_t offset, off_t n)
{
    (void)fd, (void)offset, (void)n;
    return 0;
}

static const struct spool_io crash_io = {
    .openat = crash_openat,
    .close = crash_close,
    .pwritev = crash_pwritev,
    .pread = crash_pread,
    .fdatasync = crash_fsync,
    .fsync = crash_fsync,
    .write_out = crash_write_out,
    .fallocate = crash_fallocate,
    .ftruncate = crash_ftruncate,
    .renameat = crash_renameat,
    .unlinkat = crash_unlinkat,
};

/* --- Power. */

void
crash_disk_arm(const struct crash_disk_options *options)
{
    enter();
    disk.options = *options;
    disk.random = options->seed;
    disk.operations = disk.syncs = 0;
    leave(0);
}

const struct spool_io *
crash_disk_begin(const struct crash_disk_options *options)
{
    char grave[SCRATCH_PATH + 8];

    CHECK(disk.base[0] == '\0');
    scratch_folder(disk.base, "postern-crash");
    snprintf(disk.path, sizeof disk.path, "%s/disk", disk.base);
    snprintf(grave, sizeof grave, "%s/grave", disk.base);
    CHECK(mkdir(disk.path, 0700) == 0 && mkdir(grave, 0700) == 0);
    disk.dir_fd = open(disk.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    disk.grave_fd = open(grave, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(disk.dir_fd >= 0 && disk.grave_fd >= 0);
    disk.crashed = false;
    crash_disk_arm(options);
    return &crash_io;
}

static void
settle_names(void)
{
    char grave[NAME_BYTES];
    unsigned kept = (unsigned)draw(disk.log_count + 1u);

    for (unsigned i = 0; i < disk.present.count; i++)
        bury(disk.present.list[i].text, disk.present.list[i].file);
    for (unsigned i = 0; i < disk.log_count; i++)
        if (disk.options.names_any ? draw(2) == 0 : i < kept)
            apply_change(&disk.durable, &disk.log[i]);
    disk.log_count = 0;
    copy_names(&disk.present, &disk.durable);
    for (unsigned i = 0; i < disk.present.count; i++)
        CHECK(renameat(disk.grave_fd, grave_name(disk.present.list[i].file, grave), disk.dir_fd,
                       disk.present.list[i].text) == 0);
}

void
crash_disk_power_on(void)
{
    enter();
    for (unsigned i = 0; i < disk.file_count; i++)
        lose_power(&disk.files[i]);
    settle_names();
    disk.options = (struct crash_disk_options){.seed = 0};
    disk.operations = disk.syncs = 0;
    disk.crashed = false;
    leave(0);
}

void
crash_disk_end(void)
{
    char name[NAME_BYTES], path[SCRATCH_PATH + 8];

    while (disk.present.count > 0) {
        const struct name *first = &disk.present.list[0];

        bury(first->text, first->file);
        remove_name(&disk.present, first->text);
    }
    for (unsigned i = 0; i < disk.file_count; i++) {
        make_durable(&disk.files[i], false);
        free(disk.files[i].sizes);
        close(disk.files[i].fd);
        unlinkat(disk.grave_fd, grave_name(i, name), 0);
    }
    free(disk.files);
    free(disk.present.list);
    free(disk.durable.list);
    free(disk.log);
    close(disk.dir_fd);
    close(disk.grave_fd);
    snprintf(path, sizeof path, "%s/grave", disk.base);
    CHECK(rmdir(disk.path) == 0 && rmdir(path) == 0 && rmdir(disk.base) == 0);
    disk.files = NULL;
    disk.file_count = disk.log_count = 0;
    disk.log = NULL;
    disk.present = disk.durable = (struct names){.count = 0};
    disk.base[0] = '\0';
}

int
crash_disk_dir(void)
{
    return disk.dir_fd;
}

const char *
crash_disk_path(void)
{
    return disk.path;
}

uint64_t
crash_disk_operations(void)
{
    uint64_t n;

    enter();
    n = disk.operations;
    leave(0);
    return n;
}

uint64_t
crash_disk_syncs(void)
{
    uint64_t n;

    enter();
    n = disk.syncs;
    leave(0);
    return n;
}

bool
crash_disk_tell(int test_number)
{
    printf("%sok %d - %" PRIu64 " crash points tried\n", disk.points > 0 ? "" : "not ", test_number,
           disk.points);
    return disk.points > 0;
}

bool
crash_disk_crashed(void)
{
    bool crashed;

    enter();
    crashed = disk.crashed;
    leave(0);
    return crashed;
}

/* --- The command line of a test. */

uint64_t
crash_disk_option(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 10);
    return otherwise;
}
