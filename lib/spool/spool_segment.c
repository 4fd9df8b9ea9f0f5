/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The life of a segment's file: made under another name and renamed when its header is durable, so
 * that a file with a segment's name always has a good header; sealed where its records end; freed
 * by rename.  Each step is synced before the next one counts on it.
 */
#include "config.h"

#include "spool/spool_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/crash_point.h"
#include "base/parse.h"
#include "spool/spool_index.h"
#include "spool/spool_scan.h"

#define NEW_NAME "segment.new"
#define EPOCH_NAME "epoch"
#define EPOCH_NEW_NAME "epoch.new"
#define FILE_MODE 0600

static int
disk_err(void)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ERR_FULL : ERR_IO;
}

/* --- Names: "00001-0000000130-0000000004.seg", so that a sorted listing is in order of creation.
 */

const char *
spool_segment_name(struct spool_segment_id id, char dst[SPOOL_SEGMENT_NAME_SIZE])
{
    snprintf(dst, SPOOL_SEGMENT_NAME_SIZE, "%05u-%010" PRIu32 "-%010" PRIu32 ".seg",
             (unsigned)id.node, id.epoch, id.number);
    return dst;
}

int
spool_segment_parse_name(const char *name, struct spool_segment_id *id)
{
    char again[SPOOL_SEGMENT_NAME_SIZE];
    struct slice rest = slice_of(name);
    uint64_t node, epoch, number;

    if (rest.n < 4 || memcmp(rest.p + rest.n - 4, ".seg", 4) != 0)
        return ERR_SYNTAX;
    rest.n -= 4;
    if (parse_u64(slice_split(&rest, '-'), &node) < 0 || rest.p == NULL ||
        parse_u64(slice_split(&rest, '-'), &epoch) < 0 || rest.p == NULL ||
        parse_u64(rest, &number) < 0)
        return ERR_SYNTAX;
    if (node > UINT16_MAX || epoch > UINT32_MAX || number > UINT32_MAX)
        return ERR_SYNTAX;
    *id = (struct spool_segment_id){(uint16_t)node, (uint32_t)epoch, (uint32_t)number};
    return strcmp(spool_segment_name(*id, again), name) == 0 ? ERR_OK : ERR_SYNTAX;
}

void
spool_segment_put_id(struct buf *b, struct spool_segment_id id)
{
    put_u16(b, id.node);
    put_u32(b, id.epoch);
    put_u32(b, id.number);
}

struct spool_segment_id
spool_segment_get_id(struct decoder *d)
{
    struct spool_segment_id id = {.node = get_u16(d)};

    id.epoch = get_u32(d);
    id.number = get_u32(d);
    return id;
}

static const char *
free_name(unsigned slot, char dst[SPOOL_SEGMENT_NAME_SIZE])
{
    snprintf(dst, SPOOL_SEGMENT_NAME_SIZE, "free-%04u.seg", slot);
    return dst;
}

static bool
exists(const struct spool_io *io, int dir_fd, const char *name)
{
    int fd = io->openat(dir_fd, name, O_RDONLY, 0);

    if (fd < 0)
        return errno != ENOENT;
    io->close(fd);
    return true;
}

/* --- Creation. */

/* A free segment's descriptor and name, or -1. */
static int
open_free(const struct spool_io *io, int dir_fd, char name[SPOOL_SEGMENT_NAME_SIZE])
{
    for (unsigned slot = 0; slot < SPOOL_FREE_MAX; slot++) {
        int fd = io->openat(dir_fd, free_name(slot, name), O_RDWR, 0);

        if (fd >= 0)
            return fd;
    }
    return -1;
}

/* Room for all of it now, so that a commit cannot find the disk full. */
static int
reserve(const struct spool_io *io, int fd, uint64_t size_bytes)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return ERR_IO;
    if ((uint64_t)st.st_size > size_bytes && io->ftruncate(fd, (off_t)size_bytes) < 0)
        return disk_err();
    if (io->fallocate(fd, 0, 0, (off_t)size_bytes) == 0)
        return ERR_OK;
    if (errno != EOPNOTSUPP)
        return disk_err();
    return io->ftruncate(fd, (off_t)size_bytes) < 0 ? disk_err() : ERR_OK;
}

static int
write_header(const struct spool_io *io, int fd, const struct spool_segment_header *header,
             uint32_t writer)
{
    uint8_t block[SPOOL_SEGMENT_HEADER_BYTES] = {0};

    spool_header_encode(header, block);
    spool_format_put_writer(writer, header->key, block + SPOOL_WRITER_AT);
    store_u64(block + SPOOL_SEGMENT_COMMITTED_AT, SPOOL_SEGMENT_HEADER_BYTES);
    if (spool_write_all(io, fd, block, sizeof block, 0) < 0 || io->fsync(fd) < 0)
        return disk_err();
    return ERR_OK;
}

static bool
is_same_file(const struct spool_io *io, int dir_fd, const char *name, int fd)
{
    struct stat a, b;
    int other = io->openat(dir_fd, name, O_RDONLY, 0);
    bool same = other >= 0 && fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
                a.st_ino == b.st_ino;

    if (other >= 0)
        io->close(other);
    return same;
}

/* Gives the prepared file its name. The keeper frees segments while we take them: should it have
 * put another file in the free slot between our open and our rename, that one is renamed; it is of
 * no use to anybody, and goes. */
static int
publish_name(const struct spool_io *io, int dir_fd, const char *from, const char *to, int fd)
{
    if (io->renameat(dir_fd, from, to) < 0)
        return errno == ENOENT ? ERR_AGAIN : disk_err();
    if (!is_same_file(io, dir_fd, to, fd)) {
        if (io->unlinkat(dir_fd, to) < 0)
            return ERR_IO;
        return ERR_AGAIN;
    }
    return io->fsync(dir_fd) < 0 ? disk_err() : ERR_OK;
}

static int
make_segment(const struct spool_io *io, int dir_fd, const struct spool_segment_header *header,
             uint32_t writer, bool recycle, int *fd)
{
    char from[SPOOL_SEGMENT_NAME_SIZE], to[SPOOL_SEGMENT_NAME_SIZE];
    int rc;

    *fd = recycle ? open_free(io, dir_fd, from) : -1;
    if (*fd < 0) {
        snprintf(from, sizeof from, "%s", NEW_NAME);
        *fd = io->openat(dir_fd, from, O_RDWR | O_CREAT | O_TRUNC, FILE_MODE);
    }
    if (*fd < 0)
        return disk_err();
    rc = reserve(io, *fd, header->size_bytes);
    if (rc == ERR_OK)
        rc = write_header(io, *fd, header, writer);
    if (rc == ERR_OK)
        rc = publish_name(io, dir_fd, from, spool_segment_name(header->id, to), *fd);
    if (rc < 0) {
        int saved = errno;

        io->close(*fd);
        *fd = -1;
        if (strcmp(from, NEW_NAME) == 0) /* gives the room back; harmless if it stays */
            (void)io->unlinkat(dir_fd, from);
        errno = saved;
    }
    return rc;
}

int
spool_segment_create(const struct spool_io *io, int dir_fd, struct spool_segment_id id,
                     uint64_t size_bytes, uint32_t writer, int *fd, uint8_t key[SIPHASH_KEY_SIZE])
{
    struct spool_segment_header header = {
        .id = id, .size_bytes = size_bytes, .created_at_ms = clock_wall_ms()};
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int rc;

    *fd = -1;
    CHECK(size_bytes >= SPOOL_SEGMENT_HEADER_BYTES + SPOOL_RECORD_HEADER_BYTES);
    if (exists(io, dir_fd, spool_segment_name(id, name)))
        return ERR_EXISTS;
    random_bytes(header.key, sizeof header.key);
    rc = make_segment(io, dir_fd, &header, writer, size_bytes == SPOOL_SEGMENT_BYTES, fd);
    if (rc == ERR_AGAIN)
        rc = make_segment(io, dir_fd, &header, writer, false, fd);
    if (rc == ERR_OK)
        memcpy(key, header.key, SIPHASH_KEY_SIZE);
    return rc == ERR_AGAIN ? ERR_IO : rc;
}

/* A file system that cannot do that has, as a rule, reserved nothing either. */
int
spool_segment_trim(const struct spool_io *io, int dir_fd, struct spool_segment_id id,
                   uint64_t size_bytes)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int fd = io->openat(dir_fd, spool_segment_name(id, name), O_RDWR, 0), rc = ERR_OK;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (fstat(fd, &st) < 0)
        rc = ERR_IO;
    else if ((uint64_t)st.st_size > size_bytes &&
             io->fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)size_bytes,
                           st.st_size - (off_t)size_bytes) < 0 &&
             errno != EOPNOTSUPP)
        rc = ERR_IO;
    io->close(fd);
    return rc;
}

/* --- The end of a segment's use. */

static int
free_segment(const struct spool_io *io, int dir_fd, const char *name, bool usual_size)
{
    char to[SPOOL_SEGMENT_NAME_SIZE];
    unsigned slot = 0;
    int rc;

    while (slot < SPOOL_FREE_MAX && exists(io, dir_fd, free_name(slot, to)))
        slot++;
    rc = usual_size && slot < SPOOL_FREE_MAX ? io->renameat(dir_fd, name, to)
                                             : io->unlinkat(dir_fd, name);
    if (rc < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    return io->fsync(dir_fd) < 0 ? ERR_IO : ERR_OK;
}

int
spool_segment_recycle(const struct spool_io *io, int dir_fd, struct spool_segment_id id)
{
    struct spool_segment_header header = {.size_bytes = 0};
    uint8_t block[SPOOL_HEADER_BYTES];
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int fd = io->openat(dir_fd, spool_segment_name(id, name), O_RDONLY, 0);
    int rc;

    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    rc = spool_read_exactly(io, fd, block, sizeof block, 0);
    if (rc == ERR_OK)
        rc = spool_header_decode(block, &header);
    io->close(fd);
    if (rc == ERR_IO)
        return rc;
    return free_segment(io, dir_fd, name, rc == ERR_OK && header.size_bytes == SPOOL_SEGMENT_BYTES);
}

/* --- Sealing. */

struct sealing {
    const struct spool_io *io;
    int fd;
    struct spool_scan *scan;
    struct buf index;
    struct spool_trailer trailer;
};

static void
index_record(struct sealing *s, const struct spool_scan_record *record,
             const struct spool_record_header *header)
{
    struct spool_index_entry entry = {
        .header = *header,
        .offset = record->offset,
        .ref = record->ref,
        .is_inline = record->envelope.n <= SPOOL_INDEX_INLINE_MAX,
        .envelope = record->envelope,
    };

    spool_index_put(&s->index, &entry);
    s->trailer.records++;
    s->trailer.index_offset = record->end;
}

/* The header as it was decoded by the scan: all of it follows from the record. */
static struct spool_record_header
header_of(const struct spool_scan_record *record)
{
    return (struct spool_record_header){
        .type = (uint8_t)record->type,
        .envelope_bytes = (uint32_t)record->envelope.n,
        .body_bytes = record->body_bytes,
        .envelope_check = XXH3_64bits(record->envelope.p, record->envelope.n),
        .body_check = record->body_check,
        .envelope_at = record->envelope_offset - record->offset,
        .body_at = (uint32_t)(record->body_offset - record->offset),
    };
}

static int
collect_index(struct sealing *s)
{
    const struct spool_scan_info *info = spool_scan_info(s->scan);
    struct spool_scan_record record;
    int rc;

    while ((rc = spool_scan_next(s->scan, SPOOL_SCAN_ALL, &record)) == ERR_OK) {
        struct spool_record_header header = header_of(&record);

        index_record(s, &record, &header);
    }
    if (rc != ERR_AGAIN)
        return rc;
    s->trailer.damaged = info->damaged;
    /* What is damaged before the committed offset stays for people to look at. */
    if (s->trailer.index_offset < info->committed_offset)
        s->trailer.index_offset = spool_align(info->committed_offset);
    return ERR_OK;
}

/* Until the trailer is whole at the end of the file, the segment counts as unsealed. It vouches for
 * the index and for bodies that a killed writer may have left unsynced, so they are synced first:
 * power lost in between would else leave a good trailer over torn ones. */
static int
write_footer(struct sealing *s)
{
    const struct spool_scan_info *info = spool_scan_info(s->scan);
    struct slice index = buf_slice(&s->index);
    uint64_t trailer_at = s->trailer.index_offset + index.n;
    uint8_t block[SPOOL_TRAILER_BYTES];

    if (spool_write_all(s->io, s->fd, index.p, index.n, s->trailer.index_offset) < 0 ||
        s->io->fsync(s->fd) < 0)
        return disk_err();
    s->trailer.index_bytes = index.n;
    s->trailer.index_check = XXH3_64bits(index.p, index.n);
    spool_trailer_encode(&s->trailer, info->key, block);
    if (spool_write_all(s->io, s->fd, block, sizeof block, trailer_at) < 0 ||
        s->io->ftruncate(s->fd, (off_t)(trailer_at + sizeof block)) < 0 || s->io->fsync(s->fd) < 0)
        return disk_err();
    return ERR_OK;
}

static int
seal_open_segment(struct sealing *s, int dir_fd, const char *name)
{
    const struct spool_scan_info *info = spool_scan_info(s->scan);
    int rc;

    if (info->sealed)
        return ERR_OK;
    rc = collect_index(s);
    if (rc < 0)
        return rc;
    CRASH_POINT("segment-before-footer");
    if (s->trailer.records == 0 && s->trailer.damaged == 0)
        return free_segment(s->io, dir_fd, name, info->size_bytes == SPOOL_SEGMENT_BYTES);
    return write_footer(s);
}

static bool
is_same_id(struct spool_segment_id a, struct spool_segment_id b)
{
    return a.node == b.node && a.epoch == b.epoch && a.number == b.number;
}

int
spool_segment_seal(const struct spool_io *io, int dir_fd, struct spool_segment_id id)
{
    struct sealing s = {.io = io};
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int rc;

    s.fd = io->openat(dir_fd, spool_segment_name(id, name), O_RDWR, 0);
    if (s.fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    buf_init(&s.index, 0);
    rc = spool_scan_open(io, s.fd, &s.scan);
    if (rc == ERR_OK && !is_same_id(spool_scan_info(s.scan)->id, id))
        rc = ERR_CORRUPT;
    if (rc == ERR_OK)
        rc = seal_open_segment(&s, dir_fd, name);
    spool_scan_close(&s.scan);
    buf_fini(&s.index);
    io->close(s.fd);
    return rc;
}

/* --- The epoch. */

/* The highest epoch that a segment's name shows: the file alone is not trusted to be there. */
static void
on_epoch_name(void *epoch, const char *name)
{
    uint32_t *highest = epoch;
    struct spool_segment_id id;

    if (spool_segment_parse_name(name, &id) == ERR_OK && id.epoch > *highest)
        *highest = id.epoch;
}

static int
read_epoch(const struct spool_io *io, int dir_fd, uint32_t *epoch)
{
    int fd = io->openat(dir_fd, EPOCH_NAME, O_RDONLY, 0);
    char text[32];
    uint64_t v;
    ssize_t n;

    *epoch = 0;
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : ERR_IO;
    n = io->pread(fd, text, sizeof text, 0);
    io->close(fd);
    if (n < 0)
        return ERR_IO;
    if (n == 0 || text[n - 1] != '\n' || parse_u64((struct slice){text, (size_t)n - 1}, &v) < 0 ||
        v >= UINT32_MAX)
        return ERR_CORRUPT;
    *epoch = (uint32_t)v;
    return ERR_OK;
}

static int
write_epoch(const struct spool_io *io, int dir_fd, uint32_t epoch)
{
    int fd = io->openat(dir_fd, EPOCH_NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC, FILE_MODE);
    char text[32];
    int n = snprintf(text, sizeof text, "%" PRIu32 "\n", epoch);
    int rc;

    if (fd < 0)
        return disk_err();
    rc = spool_write_all(io, fd, text, (size_t)n, 0);
    if (rc < 0 || io->fsync(fd) < 0)
        rc = disk_err();
    io->close(fd);
    if (rc < 0)
        return rc;
    if (io->renameat(dir_fd, EPOCH_NEW_NAME, EPOCH_NAME) < 0 || io->fsync(dir_fd) < 0)
        return disk_err();
    return ERR_OK;
}

int
spool_epoch_next(const struct spool_io *io, int dir_fd, uint32_t *epoch)
{
    uint32_t written, seen = 0;
    int rc = read_epoch(io, dir_fd, &written);

    if (rc == ERR_OK)
        rc = spool_io_each_name(io, dir_fd, on_epoch_name, &seen);
    if (rc < 0)
        return rc;
    *epoch = (written > seen ? written : seen) + 1;
    return write_epoch(io, dir_fd, *epoch);
}
