/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The file side of the ledger.  Its one idea: a file is either appended to and synced, or replaced
 * by a new one that holds all (written, synced, renamed, folder synced); after a sync that failed
 * it is never appended to again.
 *
 * Invariants: `offset` is where the next batch goes, and everything before it has been synced; one
 * job at a time; a job owns copies of all that it needs.
 */
#include "spool/spool_ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/parse.h"
#include "base/siphash.h"

#define MAGIC "PSTNLDGR"
#define ENTRY_HEAD 16
#define ENTRY_TAIL 8
#define RESERVE_BYTES                                                          \
    (1024 * 1024) /* room ahead, so that a full disk can still record outcomes \
                   */
#define READ_BYTES (256 * 1024)

enum own_type { TYPE_SYNCED = SPOOL_LEDGER_TYPE_MAX, TYPE_CHECKPOINT_END };

struct spool_ledger {
    const struct spool_io *io;
    int dir_fd;
    int fd;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t offset, reserved;
    struct buf queue;
    uint32_t highest;      /* number of any file at open: a new one must win over a damaged one */
    struct buf *adding_to; /* queue, or the checkpoint that is being written */
    bool broken, owner;
    struct spool_ledger_job *job;
    struct spool_ledger_stats stats;
};

struct spool_ledger_job {
    const struct spool_io *io;
    int dir_fd;
    bool is_checkpoint;
    int fd;
    uint64_t offset, reserve_to;
    struct buf bytes;
    size_t synced_entry_bytes; /* of our own entry at the front of a batch */
    size_t held_bytes;         /* of the queue: what a checkpoint holds already */
    uint32_t number, old_number;
    uint8_t key[SIPHASH_KEY_SIZE];
    int err;
    bool sync_failed; /* what the file holds now is not known */
    bool maybe_named; /* the new file may have taken its name */
};

static const char *
file_name(uint32_t number, const char *suffix, char dst[SPOOL_LEDGER_NAME_SIZE])
{
    snprintf(dst, SPOOL_LEDGER_NAME_SIZE, "ledger-%08u%s", number, suffix);
    return dst;
}

static bool
parse_name(const char *name, uint32_t *number)
{
    struct slice s = slice_of(name);
    uint64_t v;

    if (s.n != 15 || memcmp(s.p, "ledger-", 7) != 0)
        return false;
    if (parse_u64((struct slice){s.p + 7, 8}, &v) != 0)
        return false;
    *number = (uint32_t)v;
    return true;
}

static int
err_of_errno(void)
{
    return errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_IO;
}

int
spool_each_name(const struct spool_io *io, int dir_fd, void (*each)(void *ctx, const char *name),
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

/* --- Entries. */

static size_t
padded(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static size_t
entry_bytes(size_t payload_bytes)
{
    return ENTRY_HEAD + padded(payload_bytes) + ENTRY_TAIL;
}

/* Offset and check come at the end, when the place is known. */
static void
entry_add(struct buf *b, uint16_t type, struct slice payload)
{
    static const char zeros[16];

    CHECK(payload.n <= SPOOL_LEDGER_PAYLOAD_MAX);
    put_u32(b, (uint32_t)payload.n);
    put_u16(b, type);
    put_u16(b, 0);
    put_u64(b, 0);
    buf_add_slice(b, payload);
    buf_add(b, zeros, padded(payload.n) - payload.n + ENTRY_TAIL);
}

static void
entries_finish(char *p, size_t n, uint64_t offset, const uint8_t *key)
{
    while (n > 0) {
        size_t size = entry_bytes(load_u32(p));

        CHECK(size <= n);
        store_u64(p + 8, offset);
        store_u64(p + size - ENTRY_TAIL, siphash(p, size - ENTRY_TAIL, key));
        p += size;
        n -= size;
        offset += size;
    }
}

/* The size of the entry at `offset` of the file, 0 if none verifies there. */
static size_t
entry_check(struct slice file, uint64_t offset, const uint8_t *key, uint16_t *type,
            struct slice *payload)
{
    const char *p = file.p + offset;
    size_t left = file.n - offset, size;

    if (left < entry_bytes(0) || load_u64(p + 8) != offset)
        return 0;
    if (load_u32(p) > SPOOL_LEDGER_PAYLOAD_MAX)
        return 0;
    size = entry_bytes(load_u32(p));
    if (size > left || load_u64(p + size - ENTRY_TAIL) != siphash(p, size - ENTRY_TAIL, key))
        return 0;
    *type = (uint16_t)(load_u32(p + 4) & 0xffff);
    *payload = (struct slice){p + ENTRY_HEAD, load_u32(p)};
    return size;
}

/* --- The header. */

static void
header_add(struct buf *b, uint32_t number, const uint8_t *key)
{
    char h[SPOOL_LEDGER_HEADER_BYTES] = MAGIC;

    store_u32(h + 8, SPOOL_LEDGER_VERSION);
    store_u32(h + 12, number);
    memcpy(h + 16, key, SIPHASH_KEY_SIZE);
    store_u64(h + SPOOL_LEDGER_HEADER_BYTES - 8, siphash(h, SPOOL_LEDGER_HEADER_BYTES - 8, key));
    buf_add(b, h, sizeof h);
}

static bool
header_check(struct slice file, uint32_t number, uint8_t *key)
{
    const char *h = file.p;

    if (file.n < SPOOL_LEDGER_HEADER_BYTES || memcmp(h, MAGIC, 8) != 0)
        return false;
    memcpy(key, h + 16, SIPHASH_KEY_SIZE);
    return load_u32(h + 8) == SPOOL_LEDGER_VERSION && load_u32(h + 12) == number &&
           load_u64(h + SPOOL_LEDGER_HEADER_BYTES - 8) ==
               siphash(h, SPOOL_LEDGER_HEADER_BYTES - 8, key);
}

/* --- Reading. */

static int
read_whole(const struct spool_io *io, int fd, struct buf *b)
{
    for (;;) {
        char *room;
        ssize_t n;

        if (buf_room(b, READ_BYTES, &room) != 0)
            return ERR_MEMORY;
        n = io->pread(fd, room, READ_BYTES, (off_t)buf_size(b));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            return 0;
        buf_added(b, (size_t)n);
    }
}

/* Is there, behind a bad place, proof that the place had been synced? */
static bool
was_synced(struct slice file, uint64_t bad, const uint8_t *key)
{
    uint16_t type;
    struct slice payload;

    for (uint64_t at = bad + 8; at + entry_bytes(8) <= file.n; at += 8) {
        if (entry_check(file, at, key, &type, &payload) == 0)
            continue;
        if (type >= SPOOL_LEDGER_TYPE_MAX && payload.n == 8 && load_u64(payload.p) > bad)
            return true;
    }
    return false;
}

/* Gives every entry that can be trusted; returns where the next batch goes. */
static uint64_t
replay(struct spool_ledger *l, struct slice file, spool_ledger_on_entry on_entry, void *ctx)
{
    uint64_t at = SPOOL_LEDGER_HEADER_BYTES;
    bool skipping = false;
    uint16_t type;
    struct slice payload;

    while (at < file.n) {
        size_t size = entry_check(file, at, l->key, &type, &payload);

        if (size == 0 && !skipping && !was_synced(file, at, l->key))
            break;
        if (size == 0) {
            l->stats.damaged += !skipping;
            skipping = true;
            at += 8;
            continue;
        }
        skipping = false;
        at += size;
        if (type == TYPE_CHECKPOINT_END)
            l->stats.checkpoint_end = at;
        if (type >= SPOOL_LEDGER_TYPE_MAX)
            continue;
        l->stats.entries++;
        on_entry(ctx, type, payload);
    }
    return at;
}

struct names {
    uint32_t *numbers;
    size_t count;
    const struct spool_io *io;
    int dir_fd;
    bool owner;
};

static void
on_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    uint32_t number;

    if (!parse_name(name, &number)) {
        if (names->owner && strncmp(name, "ledger-", 7) == 0 && strstr(name, ".new") != NULL)
            names->io->unlinkat(names->dir_fd, name); /* a checkpoint that was not finished */
        return;
    }
    names->numbers = mem_realloc(names->numbers, (names->count + 1) * sizeof *names->numbers);
    names->numbers[names->count++] = number;
}

static int
newer_first(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x < y) - (x > y);
}

/* Opens number's file and reads it into `bytes`. ERR_NOT_FOUND, ERR_CORRUPT: try an older one. */
static int
open_file(struct spool_ledger *l, uint32_t number, struct buf *bytes)
{
    char name[SPOOL_LEDGER_NAME_SIZE];
    int err;

    l->fd = l->io->openat(l->dir_fd, file_name(number, "", name),
                          (l->owner ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
    if (l->fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    buf_clear(bytes);
    err = read_whole(l->io, l->fd, bytes);
    if (err == 0 && !header_check(buf_slice(bytes), number, l->key))
        err = ERR_CORRUPT;
    if (err == 0)
        return 0;
    l->io->close(l->fd);
    l->fd = -1;
    return err;
}

/* As owner: what was read becomes durable, and what was not trusted goes. */
static int
settle(struct spool_ledger *l, const struct names *names, uint64_t size)
{
    char name[SPOOL_LEDGER_NAME_SIZE];

    if (size > l->offset && l->io->ftruncate(l->fd, (off_t)l->offset) != 0)
        return ERR_IO;
    if (l->io->fsync(l->fd) != 0 || l->io->fsync(l->dir_fd) != 0)
        return ERR_IO;
    for (size_t i = 0; i < names->count; i++) {
        if (names->numbers[i] < l->stats.number)
            l->io->unlinkat(l->dir_fd, file_name(names->numbers[i], "", name));
    }
    return 0;
}

static void
write_nothing(void *ctx)
{
    (void)ctx;
}

static int
make_first(struct spool_ledger *l)
{
    struct spool_ledger_job *job = spool_ledger_begin_checkpoint(l, write_nothing, NULL);

    spool_ledger_job_run(job);
    return spool_ledger_job_end(l, &job);
}

/* Tries the files from the newest on. */
static int
open_newest(struct spool_ledger *l, const struct names *names, spool_ledger_on_entry on_entry,
            void *ctx)
{
    struct buf bytes;
    int err = ERR_NOT_FOUND;

    buf_init(&bytes, 0);
    for (size_t i = 0; i < names->count && l->fd < 0; i++) {
        if (l->stats.number == 0)
            l->stats.number = names->numbers[i];
        err = open_file(l, names->numbers[i], &bytes);
        if (err == ERR_NOT_FOUND && !l->owner)
            err = ERR_AGAIN; /* what replaced it is not in our list */
        if (err == ERR_IO || err == ERR_AGAIN)
            break;
        if (err != 0) {
            l->stats.damaged_headers += err == ERR_CORRUPT;
            continue;
        }
        l->stats.number = names->numbers[i];
        l->offset = replay(l, buf_slice(&bytes), on_entry, ctx);
        l->stats.cut_bytes = buf_size(&bytes) - l->offset;
        if (l->owner)
            err = settle(l, names, buf_size(&bytes));
    }
    buf_fini(&bytes);
    return err == ERR_NOT_FOUND || err == ERR_CORRUPT ? (l->owner ? make_first(l) : 0) : err;
}

/* A reader may look while the only name changes, and see neither the old one nor the new. */
static int
list_files(struct names *names)
{
    int err = spool_each_name(names->io, names->dir_fd, on_name, names);

    if (err == 0 && names->count == 0 && !names->owner)
        err = spool_each_name(names->io, names->dir_fd, on_name, names);
    return err;
}

int
spool_ledger_open(const struct spool_io *io, int dir_fd, bool owner, spool_ledger_on_entry on_entry,
                  void *ctx, struct spool_ledger **ledger)
{
    struct names names = {.io = io, .dir_fd = dir_fd, .owner = owner};
    struct spool_ledger *l = mem_alloc(sizeof *l);
    int err;

    *l = (struct spool_ledger){.io = io, .dir_fd = dir_fd, .fd = -1, .owner = owner};
    buf_init(&l->queue, 0);
    l->adding_to = &l->queue;
    err = list_files(&names);
    l->stats.files = names.count;
    if (err == 0) {
        if (names.count > 0) {
            qsort(names.numbers, names.count, sizeof *names.numbers, newer_first);
            l->highest = names.numbers[0];
        }
        err = open_newest(l, &names, on_entry, ctx);
    }
    free(names.numbers);
    if (err != 0)
        spool_ledger_close(&l);
    *ledger = l;
    return err;
}

void
spool_ledger_close(struct spool_ledger **ledger)
{
    struct spool_ledger *l = *ledger;

    if (l == NULL)
        return;
    CHECK(l->job == NULL);
    if (l->fd >= 0)
        l->io->close(l->fd);
    buf_fini(&l->queue);
    free(l);
    *ledger = NULL;
}

void
spool_ledger_add(struct spool_ledger *l, uint16_t type, struct slice payload)
{
    CHECK(l->owner && type < SPOOL_LEDGER_TYPE_MAX);
    entry_add(l->adding_to, type, payload);
}

bool
spool_ledger_has_queued(const struct spool_ledger *l)
{
    return buf_size(&l->queue) > 0;
}

bool
spool_ledger_is_broken(const struct spool_ledger *l)
{
    return l->broken;
}

void
spool_ledger_get_stats(const struct spool_ledger *l, struct spool_ledger_stats *stats)
{
    *stats = l->stats;
    stats->bytes = l->offset;
}

/* --- Jobs. */

static struct spool_ledger_job *
job_new(struct spool_ledger *l)
{
    struct spool_ledger_job *job = mem_alloc(sizeof *job);

    CHECK(l->owner && l->job == NULL);
    *job = (struct spool_ledger_job){.io = l->io, .dir_fd = l->dir_fd, .fd = -1};
    buf_init(&job->bytes, 0);
    l->job = job;
    return job;
}

static void
add_own(struct buf *b, enum own_type type, uint64_t synced_to)
{
    char payload[8];

    store_u64(payload, synced_to);
    entry_add(b, (uint16_t)type, (struct slice){payload, sizeof payload});
}

struct spool_ledger_job *
spool_ledger_begin_sync(struct spool_ledger *l)
{
    struct spool_ledger_job *job;

    if (l->broken || buf_size(&l->queue) == 0)
        return NULL;
    job = job_new(l);
    add_own(&job->bytes, TYPE_SYNCED, l->offset);
    job->synced_entry_bytes = buf_size(&job->bytes);
    buf_add_slice(&job->bytes, buf_slice(&l->queue));
    buf_clear(&l->queue);
    entries_finish(job->bytes.mem + job->bytes.start, buf_size(&job->bytes), l->offset, l->key);
    job->fd = l->fd;
    job->offset = l->offset;
    if (l->offset + buf_size(&job->bytes) > l->reserved)
        job->reserve_to = l->offset + buf_size(&job->bytes) + RESERVE_BYTES;
    return job;
}

struct spool_ledger_job *
spool_ledger_begin_checkpoint(struct spool_ledger *l, void (*write_state)(void *ctx), void *ctx)
{
    struct spool_ledger_job *job = job_new(l);

    job->is_checkpoint = true;
    job->old_number = l->stats.number;
    job->held_bytes = buf_size(&l->queue);
    job->number = (l->stats.number > l->highest ? l->stats.number : l->highest) + 1;
    random_bytes(job->key, sizeof job->key);
    header_add(&job->bytes, job->number, job->key);
    l->adding_to = &job->bytes;
    write_state(ctx);
    l->adding_to = &l->queue;
    add_own(&job->bytes, TYPE_CHECKPOINT_END, buf_size(&job->bytes));
    entries_finish(job->bytes.mem + job->bytes.start + SPOOL_LEDGER_HEADER_BYTES,
                   buf_size(&job->bytes) - SPOOL_LEDGER_HEADER_BYTES, SPOOL_LEDGER_HEADER_BYTES,
                   job->key);
    return job;
}

static int
write_all(struct spool_ledger_job *job)
{
    struct slice rest = buf_slice(&job->bytes);
    uint64_t at = job->offset;

    while (rest.n > 0) {
        struct iovec iov = {.iov_base = (void *)(uintptr_t)rest.p, .iov_len = rest.n};
        ssize_t n = job->io->pwritev(job->fd, &iov, 1, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_of_errno() : ERR_IO;
        rest.p += n;
        rest.n -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

static void
run_sync(struct spool_ledger_job *job)
{
    if (job->reserve_to > 0 && job->io->fallocate(job->fd, FALLOC_FL_KEEP_SIZE, (off_t)job->offset,
                                                  (off_t)(job->reserve_to - job->offset)) != 0)
        job->reserve_to = 0; /* a comfort: the write itself decides */
    job->err = write_all(job);
    if (job->err == 0 && job->io->fdatasync(job->fd) != 0) {
        job->err = ERR_IO;
        job->sync_failed = true;
    }
}

static int
write_new_file(struct spool_ledger_job *job, const char *name)
{
    int err;

    job->fd = job->io->openat(job->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (job->fd < 0)
        return err_of_errno();
    err = write_all(job);
    if (err == 0 && job->io->fsync(job->fd) != 0)
        err = err_of_errno();
    return err;
}

/* Write, sync, rename, sync the folder; only then the older file goes. */
static void
run_checkpoint(struct spool_ledger_job *job)
{
    char new_name[SPOOL_LEDGER_NAME_SIZE], name[SPOOL_LEDGER_NAME_SIZE];

    file_name(job->number, ".new", new_name);
    job->err = write_new_file(job, new_name);
    if (job->err != 0) {
        job->io->unlinkat(job->dir_fd, new_name);
        return;
    }
    job->maybe_named = true;
    if (job->io->renameat(job->dir_fd, new_name, file_name(job->number, "", name)) != 0 ||
        job->io->fsync(job->dir_fd) != 0) {
        job->err = ERR_IO;
        return;
    }
    if (job->old_number > 0)
        job->io->unlinkat(job->dir_fd, file_name(job->old_number, "", name));
}

void
spool_ledger_job_run(struct spool_ledger_job *job)
{
    if (job->is_checkpoint)
        run_checkpoint(job);
    else
        run_sync(job);
}

static void
end_sync(struct spool_ledger *l, struct spool_ledger_job *job)
{
    if (job->reserve_to > 0)
        l->reserved = job->reserve_to;
    if (job->err == 0) {
        l->offset += buf_size(&job->bytes);
        return;
    }
    l->broken = job->sync_failed;
    buf_consume(&job->bytes, job->synced_entry_bytes);
    buf_add_slice(&job->bytes, buf_slice(&l->queue));
    buf_clear(&l->queue);
    buf_add_slice(&l->queue, buf_slice(&job->bytes));
}

/* A new file that may bear its name would win over the old one at the next start: then the old one
 * must not be appended to any more. */
static void
end_checkpoint(struct spool_ledger *l, struct spool_ledger_job *job)
{
    if (job->maybe_named)
        l->stats.number = job->number;
    if (job->err != 0) {
        if (job->fd >= 0)
            l->io->close(job->fd);
        l->broken = l->broken || job->maybe_named;
        return;
    }
    if (l->fd >= 0)
        l->io->close(l->fd);
    l->fd = job->fd;
    l->offset = buf_size(&job->bytes);
    l->reserved = 0;
    l->broken = false;
    buf_consume(&l->queue, job->held_bytes); /* a torn repetition could lead back to before it */
    l->stats.checkpoint_end = l->offset;
    memcpy(l->key, job->key, sizeof l->key);
}

int
spool_ledger_job_end(struct spool_ledger *l, struct spool_ledger_job **job)
{
    struct spool_ledger_job *j = *job;
    int err = j->err;

    CHECK(l->job == j);
    if (j->is_checkpoint)
        end_checkpoint(l, j);
    else
        end_sync(l, j);
    buf_fini(&j->bytes);
    free(j);
    l->job = NULL;
    *job = NULL;
    return err;
}
