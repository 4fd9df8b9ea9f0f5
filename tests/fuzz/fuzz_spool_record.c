/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The first octet chooses: an envelope of any bytes; or a segment whose records, footer and offsets
 * are any bytes, scanned both ways.  In the segment, places marked by the input get headers and a
 * trailer whose keyed check is right, since no fuzzer finds one by chance.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/codec.h"
#include "spool/spool_format.h"
#include "spool/spool_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
decode_envelope(struct slice bytes)
{
    struct spool_envelope e;
    struct spool_facts facts;
    struct arena arena;
    struct ref ref;
    struct buf again;
    int rc;

    arena_init(&arena, 64 * 1024);
    (void)!spool_envelope_peek_ref(bytes, &ref);
    rc = spool_envelope_decode(bytes, &arena, &e);
    CHECK(rc == ERR_LIMIT || spool_envelope_facts(bytes, &facts) == rc);
    if (rc == ERR_OK) {
        buf_init(&again, 0);
        spool_envelope_encode(&e, &again);
        CHECK(bytes.p[0] < 3 || slice_equal(buf_slice(&again), bytes)); /* below: older versions */
        buf_fini(&again);
    }
    arena_clear(&arena);
}

static const uint8_t key[SIPHASH_KEY_SIZE] = {1, 2, 3};

/* A record at `offset` whose header takes its lengths from the octets in its place. */
static void
sign_record(uint8_t *file, size_t file_bytes, size_t offset)
{
    uint8_t *at = file + offset;
    struct spool_record_header h = {
        .type = at[5],
        .envelope_bytes = load_u32(at + 8) & 0x1fffff,
        .body_at = load_u32(at + 12) & 0xfffff,
        .body_bytes = load_u64(at + 16) >> (at[6] & 63),
        .envelope_at = load_u64(at + 40) >> (at[7] & 63),
    };

    if (h.envelope_at < file_bytes - offset &&
        h.envelope_bytes < file_bytes - offset - h.envelope_at)
        h.envelope_check = XXH3_64bits(at + h.envelope_at, h.envelope_bytes);
    if (h.body_at < file_bytes - offset && h.body_bytes < file_bytes - offset - h.body_at)
        h.body_check = XXH3_64bits(at + h.body_at, h.body_bytes);
    spool_record_encode(&h, offset, key, at);
}

static void
sign_trailer(uint8_t *file, size_t file_bytes)
{
    struct spool_trailer trailer = {.records = 1};
    uint8_t *at = file + file_bytes - SPOOL_TRAILER_BYTES;

    trailer.index_offset =
        SPOOL_SEGMENT_HEADER_BYTES + load_u32(at + 16) % (file_bytes - SPOOL_SEGMENT_HEADER_BYTES);
    trailer.index_bytes = file_bytes - trailer.index_offset - SPOOL_TRAILER_BYTES;
    if (trailer.index_offset <= file_bytes - SPOOL_TRAILER_BYTES)
        trailer.index_check = XXH3_64bits(file + trailer.index_offset, trailer.index_bytes);
    spool_trailer_encode(&trailer, key, at);
}

static void
scan_all(int fd, enum spool_scan_reach reach)
{
    uint64_t before = 0;
    struct spool_scan_record record;
    struct spool_scan *scan;
    int rc = spool_scan_open(&spool_io_disk, fd, &scan);

    if (rc < 0)
        return;
    while ((rc = spool_scan_next(scan, reach, &record)) == ERR_OK) {
        CHECK(record.offset >= before && record.end > record.offset);
        before = record.end;
        decode_envelope(record.envelope);
        if (record.body_bytes < 1 << 20)
            (void)!spool_scan_verify_body(&spool_io_disk, fd, record.body_offset, record.body_bytes,
                                          record.body_check);
    }
    spool_scan_close(&scan);
}

static void
scan_segment(const uint8_t *data, size_t n, bool sealed)
{
    static int fd = -1;
    const struct spool_segment_header header = {
        .id = {1, 1, 1}, .size_bytes = 65536, .key = {1, 2, 3}};
    size_t file_bytes = SPOOL_SEGMENT_HEADER_BYTES + n;
    uint8_t *file = mem_alloc(file_bytes);

    if (fd < 0)
        fd = memfd_create("segment", 0);
    memcpy(file + SPOOL_SEGMENT_HEADER_BYTES, data, n);
    for (size_t at = SPOOL_SEGMENT_HEADER_BYTES; at + SPOOL_RECORD_HEADER_BYTES <= file_bytes;
         at += 8)
        if (file[at] == 0xd7 && file[at + 1] == 'P')
            sign_record(file, file_bytes, at);
    if (sealed && n >= SPOOL_TRAILER_BYTES)
        sign_trailer(file, file_bytes);
    spool_header_encode(&header, file);
    memcpy(file + SPOOL_SEGMENT_COMMITTED_AT, data, n < 16 ? n : 16);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
    CHECK(spool_write_all(&spool_io_disk, fd, file, file_bytes, 0) == ERR_OK);
    scan_all(fd, SPOOL_SCAN_COMMITTED);
    scan_all(fd, SPOOL_SCAN_ALL);
    free(file);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1 || n > 65536)
        return 0;
    if (data[0] % 3 == 0)
        decode_envelope((struct slice){(const char *)data + 1, n - 1});
    else
        scan_segment(data + 1, n - 1, data[0] % 3 == 1);
    return 0;
}
