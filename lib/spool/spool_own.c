/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The segment is built in memory as its file will be: header block, records, index, trailer.  One
 * write, one sync, one rename, one sync of the folder; a power loss leaves all of it or nothing.
 */
#include "config.h"

#include "spool/spool_own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/siphash.h"
#include "spool/spool_format.h"
#include "spool/spool_index.h"

#define NEW_NAME "own.new"
#define FILE_MODE 0600
#define NAME_TRIES 1000

struct spool_own {
    struct spool_segment_header header;
    struct buf records, index; /* records: what lies behind the header block */
    struct spool_trailer trailer;
};

struct spool_own *
spool_own_new(uint16_t node)
{
    struct spool_own *own = mem_alloc(sizeof *own);

    own->header.id = (struct spool_segment_id){.node = node, .epoch = SPOOL_OWN_EPOCH};
    own->header.created_at_ms = clock_wall_ms();
    random_bytes(own->header.key, sizeof own->header.key);
    buf_init(&own->records, 0);
    buf_init(&own->index, 0);
    return own;
}

void
spool_own_free(struct spool_own **own)
{
    if (*own == NULL)
        return;
    buf_fini(&(*own)->records);
    buf_fini(&(*own)->index);
    free(*own);
    *own = NULL;
}

bool
spool_own_is_empty(const struct spool_own *own)
{
    return own->trailer.records == 0;
}

static struct spool_record_header
header_of(struct slice envelope, struct slice content)
{
    return (struct spool_record_header){
        .type = SPOOL_RECORD_MESSAGE,
        .envelope_bytes = (uint32_t)envelope.n,
        .body_bytes = content.n,
        .envelope_check = XXH3_64bits(envelope.p, envelope.n),
        .body_check = XXH3_64bits(content.p, content.n),
        .envelope_at = SPOOL_RECORD_HEADER_BYTES,
        .body_at = SPOOL_RECORD_HEADER_BYTES + (uint32_t)envelope.n,
    };
}

static void
add_record(struct spool_own *own, struct ref ref, struct slice envelope, struct slice content)
{
    static const char padding[SPOOL_ALIGN];
    struct spool_record_header header = header_of(envelope, content);
    uint64_t offset = SPOOL_SEGMENT_HEADER_BYTES + buf_size(&own->records);
    uint64_t extent = spool_record_extent(&header);
    uint8_t block[SPOOL_RECORD_HEADER_BYTES];
    struct spool_index_entry entry = {
        .header = header,
        .offset = offset,
        .ref = ref,
        .is_inline = envelope.n <= SPOOL_INDEX_INLINE_MAX,
        .envelope = envelope,
    };

    spool_record_encode(&header, offset, own->header.key, block);
    buf_add(&own->records, block, sizeof block);
    buf_add_slice(&own->records, envelope);
    buf_add_slice(&own->records, content);
    buf_add(&own->records, padding,
            (size_t)(offset + extent - SPOOL_SEGMENT_HEADER_BYTES - buf_size(&own->records)));
    spool_index_put(&own->index, &entry);
    own->trailer.records++;
}

void
spool_own_add(struct spool_own *own, const struct spool_envelope *envelope, struct slice content)
{
    struct spool_envelope e = *envelope;
    struct buf encoded;

    CHECK(e.recipient_count > 0 && (e.flags & SPOOL_FLAG_PREPARED) == 0);
    e.flags |= SPOOL_FLAG_OWN;
    e.committed_at_ms = clock_wall_ms();
    buf_init(&encoded, 0);
    spool_envelope_encode(&e, &encoded);
    add_record(own, e.ref, buf_slice(&encoded), content);
    buf_fini(&encoded);
}

/* --- The file. */

static int
disk_err(void)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? ERR_FULL : ERR_IO;
}

static void
build(const struct spool_own *own, struct spool_segment_id id, struct buf *file)
{
    struct spool_segment_header header = own->header;
    struct spool_trailer trailer = own->trailer;
    struct slice index = buf_slice(&own->index);
    uint8_t block[SPOOL_SEGMENT_HEADER_BYTES] = {0}, end[SPOOL_TRAILER_BYTES];

    trailer.index_offset = SPOOL_SEGMENT_HEADER_BYTES + buf_size(&own->records);
    trailer.index_bytes = index.n;
    trailer.index_check = XXH3_64bits(index.p, index.n);
    header.id = id;
    header.size_bytes = trailer.index_offset + index.n + SPOOL_TRAILER_BYTES;
    spool_header_encode(&header, block);
    spool_format_put_writer(0, header.key, block + SPOOL_WRITER_AT);
    store_u64(block + SPOOL_SEGMENT_COMMITTED_AT, trailer.index_offset);
    spool_trailer_encode(&trailer, header.key, end);
    buf_add(file, block, sizeof block);
    buf_add_slice(file, buf_slice(&own->records));
    buf_add_slice(file, index);
    buf_add(file, end, sizeof end);
}

/* Under its working name, synced. */
static int
write_file(const struct spool_io *io, int dir_fd, struct slice octets)
{
    int fd = io->openat(dir_fd, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
    int rc = ERR_OK;

    if (fd < 0)
        return disk_err();
    if (spool_write_all(io, fd, octets.p, octets.n, 0) < 0 || io->fsync(fd) < 0)
        rc = disk_err();
    io->close(fd);
    return rc;
}

static bool
is_taken(const struct spool_io *io, int dir_fd, struct spool_segment_id id)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int fd = io->openat(dir_fd, spool_segment_name(id, name), O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return errno != ENOENT;
    io->close(fd);
    return true;
}

/* Seconds, but never one twice: a name that was there before is not given again while the ledger
 * may remember it. */
static int
find_number(const struct spool_io *io, int dir_fd, struct spool_segment_id *id, uint32_t last)
{
    uint32_t now = (uint32_t)(clock_wall_ms() / 1000);

    id->number = now > last ? now : last + 1;
    for (int i = 0; i < NAME_TRIES; i++, id->number++)
        if (!is_taken(io, dir_fd, *id))
            return ERR_OK;
    return ERR_EXISTS;
}

int
spool_own_write(const struct spool_own *own, const struct spool_io *io, int dir_fd,
                uint32_t *number)
{
    struct spool_segment_id id = own->header.id;
    char name[SPOOL_SEGMENT_NAME_SIZE];
    struct buf file;
    int rc = find_number(io, dir_fd, &id, *number);

    if (rc < 0)
        return rc;
    buf_init(&file, 0);
    build(own, id, &file);
    rc = write_file(io, dir_fd, buf_slice(&file));
    buf_fini(&file);
    if (rc == ERR_OK && io->renameat(dir_fd, NEW_NAME, spool_segment_name(id, name)) < 0)
        rc = disk_err();
    if (rc < 0) { /* gives the room back; harmless if it stays */
        (void)io->unlinkat(dir_fd, NEW_NAME);
        return rc;
    }
    *number = id.number;
    if (io->fsync(dir_fd) == 0)
        return ERR_OK;
    rc = disk_err(); /* it may be there after a loss of power, or not */
    (void)io->unlinkat(dir_fd, spool_segment_name(id, name));
    return rc;
}
