/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fixed places, little-endian.  Each block ends with the SipHash of what stands before it under the
 * segment's key; a record header's covers its offset as well.  So a block is taken for what it is
 * in its own segment, its own life and its own place only.
 */
#include "config.h"

#include "spool/spool_format.h"

#include <errno.h>
#include <limits.h>

#include "base/codec.h"

#define HEADER_CHECK_AT (SPOOL_HEADER_BYTES - 8)
#define TRAILER_CHECK_AT (SPOOL_TRAILER_BYTES - 8)
#define RECORD_CHECK_AT (SPOOL_RECORD_HEADER_BYTES - 8)

static const char header_magic[8] = "PTRNSEG";
static const char trailer_magic[8] = "PTRNEND";
const uint8_t spool_record_magic[4] = {0xd7, 'P', 'R', 0x1b};

/* --- Segment header: 0 magic, 8 version, 12 node, 16 epoch, 20 number, 24 size, 32 created, 40
 * key. */

void
spool_header_encode(const struct spool_segment_header *header, uint8_t dst[SPOOL_HEADER_BYTES])
{
    memset(dst, 0, SPOOL_HEADER_BYTES);
    memcpy(dst, header_magic, sizeof header_magic);
    store_u32(dst + 8, SPOOL_VERSION);
    store_u32(dst + 12, header->id.node);
    store_u32(dst + 16, header->id.epoch);
    store_u32(dst + 20, header->id.number);
    store_u64(dst + 24, header->size_bytes);
    store_u64(dst + 32, (uint64_t)header->created_at_ms);
    memcpy(dst + 40, header->key, SIPHASH_KEY_SIZE);
    store_u64(dst + HEADER_CHECK_AT, siphash(dst, HEADER_CHECK_AT, header->key));
}

int
spool_header_decode(const uint8_t src[SPOOL_HEADER_BYTES], struct spool_segment_header *header)
{
    if (memcmp(src, header_magic, sizeof header_magic) != 0)
        return ERR_CORRUPT;
    if (load_u32(src + 8) != SPOOL_VERSION)
        return ERR_VERSION;
    header->id.node = (uint16_t)load_u32(src + 12);
    header->id.epoch = load_u32(src + 16);
    header->id.number = load_u32(src + 20);
    header->size_bytes = load_u64(src + 24);
    header->created_at_ms = (int64_t)load_u64(src + 32);
    memcpy(header->key, src + 40, SIPHASH_KEY_SIZE);
    if (load_u64(src + HEADER_CHECK_AT) != siphash(src, HEADER_CHECK_AT, header->key))
        return ERR_CORRUPT;
    return ERR_OK;
}

/* --- Writer: 0 process, 4 zero, 8 check. */

void
spool_format_put_writer(uint32_t writer, const uint8_t key[SIPHASH_KEY_SIZE],
                        uint8_t dst[SPOOL_WRITER_BYTES])
{
    memset(dst, 0, SPOOL_WRITER_BYTES);
    store_u32(dst, writer);
    store_u64(dst + 8, siphash(dst, 8, key));
}

uint32_t
spool_format_get_writer(const uint8_t src[SPOOL_WRITER_BYTES], const uint8_t key[SIPHASH_KEY_SIZE])
{
    return load_u64(src + 8) == siphash(src, 8, key) ? load_u32(src) : 0;
}

/* --- Record header: 0 magic, 4 version, 5 type, 8 envelope bytes, 12 body at, 16 body bytes, 24
 * envelope check, 32 body check, 40 envelope at, 48 zero, 56 check. */

static uint64_t
record_check(const uint8_t block[SPOOL_RECORD_HEADER_BYTES], uint64_t offset,
             const uint8_t key[SIPHASH_KEY_SIZE])
{
    uint8_t covered[SPOOL_RECORD_HEADER_BYTES];

    memcpy(covered, block, RECORD_CHECK_AT);
    store_u64(covered + RECORD_CHECK_AT, offset);
    return siphash(covered, sizeof covered, key);
}

void
spool_record_encode(const struct spool_record_header *header, uint64_t offset,
                    const uint8_t key[SIPHASH_KEY_SIZE], uint8_t dst[SPOOL_RECORD_HEADER_BYTES])
{
    memset(dst, 0, SPOOL_RECORD_HEADER_BYTES);
    memcpy(dst, spool_record_magic, sizeof spool_record_magic);
    dst[4] = SPOOL_VERSION;
    dst[5] = header->type;
    store_u32(dst + 8, header->envelope_bytes);
    store_u32(dst + 12, header->body_at);
    store_u64(dst + 16, header->body_bytes);
    store_u64(dst + 24, header->envelope_check);
    store_u64(dst + 32, header->body_check);
    store_u64(dst + 40, header->envelope_at);
    store_u64(dst + RECORD_CHECK_AT, record_check(dst, offset, key));
}

bool
spool_record_is_consistent(const struct spool_record_header *h)
{
    const uint64_t far = UINT64_C(1) << 48;

    if (h->envelope_bytes > SPOOL_ENVELOPE_MAX || h->body_bytes > far || h->envelope_at > far)
        return false;
    if (h->envelope_at < SPOOL_RECORD_HEADER_BYTES || h->body_at < SPOOL_RECORD_HEADER_BYTES)
        return false;
    return h->envelope_at + h->envelope_bytes <= h->body_at ||
           h->body_at + h->body_bytes <= h->envelope_at;
}

bool
spool_record_decode(const uint8_t src[SPOOL_RECORD_HEADER_BYTES], uint64_t offset,
                    const uint8_t key[SIPHASH_KEY_SIZE], struct spool_record_header *header)
{
    if (memcmp(src, spool_record_magic, sizeof spool_record_magic) != 0 || src[4] != SPOOL_VERSION)
        return false;
    if (load_u64(src + RECORD_CHECK_AT) != record_check(src, offset, key))
        return false;
    header->type = src[5];
    header->envelope_bytes = load_u32(src + 8);
    header->body_at = load_u32(src + 12);
    header->body_bytes = load_u64(src + 16);
    header->envelope_check = load_u64(src + 24);
    header->body_check = load_u64(src + 32);
    header->envelope_at = load_u64(src + 40);
    return spool_record_is_consistent(header);
}

uint64_t
spool_record_extent(const struct spool_record_header *header)
{
    uint64_t envelope_end = header->envelope_at + header->envelope_bytes;
    uint64_t body_end = header->body_at + header->body_bytes;

    return spool_align(envelope_end > body_end ? envelope_end : body_end);
}

/* --- Trailer: 0 magic, 8 version, 16 index offset, 24 index bytes, 32 records, 40 damaged, 48
 * index check, 56 check. */

void
spool_trailer_encode(const struct spool_trailer *trailer, const uint8_t key[SIPHASH_KEY_SIZE],
                     uint8_t dst[SPOOL_TRAILER_BYTES])
{
    memset(dst, 0, SPOOL_TRAILER_BYTES);
    memcpy(dst, trailer_magic, sizeof trailer_magic);
    store_u32(dst + 8, SPOOL_VERSION);
    store_u64(dst + 16, trailer->index_offset);
    store_u64(dst + 24, trailer->index_bytes);
    store_u64(dst + 32, trailer->records);
    store_u64(dst + 40, trailer->damaged);
    store_u64(dst + 48, trailer->index_check);
    store_u64(dst + TRAILER_CHECK_AT, siphash(dst, TRAILER_CHECK_AT, key));
}

bool
spool_trailer_decode(const uint8_t src[SPOOL_TRAILER_BYTES], uint64_t file_bytes,
                     const uint8_t key[SIPHASH_KEY_SIZE], struct spool_trailer *trailer)
{
    if (memcmp(src, trailer_magic, sizeof trailer_magic) != 0 ||
        load_u32(src + 8) != SPOOL_VERSION ||
        load_u64(src + TRAILER_CHECK_AT) != siphash(src, TRAILER_CHECK_AT, key))
        return false;
    trailer->index_offset = load_u64(src + 16);
    trailer->index_bytes = load_u64(src + 24);
    trailer->records = load_u64(src + 32);
    trailer->damaged = load_u64(src + 40);
    trailer->index_check = load_u64(src + 48);
    return trailer->index_offset >= SPOOL_SEGMENT_HEADER_BYTES &&
           trailer->index_offset <= file_bytes - SPOOL_TRAILER_BYTES &&
           trailer->index_bytes == file_bytes - trailer->index_offset - SPOOL_TRAILER_BYTES;
}

/* --- Whole reads and writes. */

int
spool_read_exactly(const struct spool_io *io, int fd, void *dst, size_t n, uint64_t offset)
{
    char *at = dst;

    while (n > 0) {
        ssize_t got = io->pread(fd, at, n, (off_t)offset);

        if (got < 0)
            return ERR_IO;
        if (got == 0)
            return ERR_CORRUPT;
        at += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return ERR_OK;
}

/* Drops `n` written octets from the front of the pieces. */
static void
advance(struct iovec **iov, size_t *count, size_t n)
{
    while (*count > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

int
spool_write_pieces(const struct spool_io *io, int fd, struct iovec *iov, size_t count,
                   uint64_t offset)
{
    advance(&iov, &count, 0); /* empty ones at the front: a write of nothing is no progress */
    while (count > 0) {
        int now = count < IOV_MAX ? (int)count : IOV_MAX;
        ssize_t put = io->pwritev(fd, iov, now, (off_t)offset);

        if (put <= 0) {
            errno = put == 0 ? EIO : errno;
            return ERR_IO;
        }
        offset += (uint64_t)put;
        advance(&iov, &count, (size_t)put);
    }
    return ERR_OK;
}

int
spool_write_all(const struct spool_io *io, int fd, const void *src, size_t n, uint64_t offset)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)src, .iov_len = n};

    return spool_write_pieces(io, fd, &piece, 1, offset);
}
