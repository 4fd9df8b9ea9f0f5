/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The octets of a segment: header, record header, trailer, as plain values with their places.  Used
 * by the writer, the scan and the sealing only; spool_segment.h has the picture.
 */
#ifndef SPOOL_FORMAT_H
#define SPOOL_FORMAT_H

#include "spool/spool_record.h"
#include "spool/spool_segment.h"

/* Beside the committed offset, in the same sector: a writer whose write or sync failed closes the
 * segment here; nothing behind this offset counts, even if it verifies.  0: not closed. */
#define SPOOL_SEGMENT_CLOSED_AT (SPOOL_SEGMENT_COMMITTED_AT + 8)
#define SPOOL_ALIGN 8
/* A large message's body stands here behind its record's start: page-aligned in the file, and with
 * room before it for nearly every envelope; a longer envelope follows the body. */
#define SPOOL_LARGE_BODY_AT 16384
#define SPOOL_TRAILER_BYTES 64

static inline uint64_t
spool_align(uint64_t n)
{
    return (n + SPOOL_ALIGN - 1) & ~(uint64_t)(SPOOL_ALIGN - 1);
}

/* --- Segment header. */
struct spool_segment_header {
    struct spool_segment_id id;
    uint64_t size_bytes;
    int64_t created_at_ms;
    uint8_t key[SIPHASH_KEY_SIZE];
};
#define SPOOL_HEADER_BYTES 64 /* of the first sector; behind it the writer, else zero */
#define SPOOL_WRITER_AT SPOOL_HEADER_BYTES
#define SPOOL_WRITER_BYTES 16

void spool_header_encode(const struct spool_segment_header *header,
                         uint8_t dst[SPOOL_HEADER_BYTES]);
MUST_USE int
spool_header_decode(const uint8_t src[SPOOL_HEADER_BYTES],
                    struct spool_segment_header *header); /* ERR_CORRUPT, ERR_VERSION */

void spool_format_put_writer(uint32_t writer, const uint8_t key[SIPHASH_KEY_SIZE],
                             uint8_t dst[SPOOL_WRITER_BYTES]);
/* 0: an older version's segment does not say. */
uint32_t spool_format_get_writer(const uint8_t src[SPOOL_WRITER_BYTES],
                                 const uint8_t key[SIPHASH_KEY_SIZE]);

/* --- Record header.  Places are relative to the record's start, so that envelope and body may lie
 * in either order and with room between. */
struct spool_record_header {
    uint8_t type; /* enum spool_record_type, or a later version's */
    uint32_t envelope_bytes;
    uint64_t body_bytes;
    uint64_t envelope_check, body_check; /* XXH3 */
    uint64_t envelope_at;
    uint32_t body_at;
};

void spool_record_encode(const struct spool_record_header *header, uint64_t offset,
                         const uint8_t key[SIPHASH_KEY_SIZE],
                         uint8_t dst[SPOOL_RECORD_HEADER_BYTES]);
/* False: not a record header of this place in this segment, or one that contradicts itself. */
bool spool_record_decode(const uint8_t src[SPOOL_RECORD_HEADER_BYTES], uint64_t offset,
                         const uint8_t key[SIPHASH_KEY_SIZE], struct spool_record_header *header);
/* No part is absurd or lies over the header or the other part. */
bool spool_record_is_consistent(const struct spool_record_header *header);
/* The first octets of every record header, to search for. */
extern const uint8_t spool_record_magic[4];
/* From the record's start to behind its last part, aligned. */
uint64_t spool_record_extent(const struct spool_record_header *header);

/* --- Trailer: the last octets of a sealed segment's file. */
struct spool_trailer {
    uint64_t index_offset, index_bytes;
    uint64_t records, damaged;
    uint64_t index_check; /* XXH3 */
};

void spool_trailer_encode(const struct spool_trailer *trailer, const uint8_t key[SIPHASH_KEY_SIZE],
                          uint8_t dst[SPOOL_TRAILER_BYTES]);
bool spool_trailer_decode(const uint8_t src[SPOOL_TRAILER_BYTES], uint64_t file_bytes,
                          const uint8_t key[SIPHASH_KEY_SIZE], struct spool_trailer *trailer);

/* --- Whole reads and writes over spool_io.  ERR_IO with errno; a short read is ERR_CORRUPT. */
MUST_USE int spool_read_exactly(const struct spool_io *io, int fd, void *dst, size_t n,
                                uint64_t offset);
MUST_USE int spool_write_all(const struct spool_io *io, int fd, const void *src, size_t n,
                             uint64_t offset);
/* Uses up `iov`; any count. */
MUST_USE int spool_write_pieces(const struct spool_io *io, int fd, struct iovec *iov, size_t count,
                                uint64_t offset);

#endif
