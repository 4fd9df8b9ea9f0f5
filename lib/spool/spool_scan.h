/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reading the records of one segment, the same way whatever its state: by its footer when it is
 * sealed, else in 4 MB blocks, never a read per header.  Sealing and the store both stand on it.
 *
 * What is damaged is stepped over and counted: behind a record whose header does not verify the
 * search goes on at the next multiple of 8.  Nothing inside a message can pass for a record: the
 * check of a header is keyed and covers its place.
 *
 *   spool_scan_open(io, fd, &scan);
 *   while ((rc = spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record)) == 0)
 *       ...
 *   rc is ERR_AGAIN: all there is for now.  Later spool_scan_refresh, and go on with next.
 */
#ifndef SPOOL_SCAN_H
#define SPOOL_SCAN_H

#include "spool/spool_record.h"
#include "spool/spool_segment.h"

#define SPOOL_SCAN_BLOCK_BYTES (4u * 1024 * 1024)

enum spool_scan_reach {
    SPOOL_SCAN_COMMITTED, /* the writer lives: no further than the committed offset */
    SPOOL_SCAN_ALL, /* the writer is dead: also what verifies whole (body as well) behind it */
};

struct spool_scan_info {
    struct spool_segment_id id; /* of the header: compare with the file's name */
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t size_bytes; /* as made; a sealed segment's file is shorter or longer */
    int64_t created_at_ms;
    uint32_t writer; /* the process; 0: not known */
    bool closed;     /* its writer had trouble and has given it up */
    uint64_t committed_offset;
    bool sealed;      /* reach makes no difference then: the footer tells all */
    uint64_t records; /* in the footer; 0 while not sealed */
    uint64_t damaged; /* places stepped over, counted when sealed or by this scan */
};

struct spool_scan_record {
    enum spool_record_type type;
    struct ref ref;
    uint64_t offset, end;  /* of the record; the next one begins at `end` or behind it */
    struct slice envelope; /* verified; for spool_envelope_decode; borrowed until the next call */
    uint64_t envelope_offset;         /* in the file */
    uint64_t body_offset, body_bytes; /* in the file */
    uint64_t body_check;              /* XXH3; verified only behind what the writer committed */
};

struct spool_scan;

/* Reads the segment's header; `fd` is borrowed. ERR_CORRUPT, ERR_VERSION, ERR_IO. */
MUST_USE int spool_scan_open(const struct spool_io *io, int fd, struct spool_scan **scan);
void spool_scan_close(struct spool_scan **scan);

/* Reads committed offset and footer anew: one or two small reads. ERR_IO. */
MUST_USE int spool_scan_refresh(struct spool_scan *scan);
/* Borrowed; follows refresh and next. */
const struct spool_scan_info *spool_scan_info(const struct spool_scan *scan);

/* The next record at or behind the cursor. ERR_AGAIN: no more for now (memory for reading is given
 * back); ERR_IO: the disk refused, the cursor stays. */
MUST_USE int spool_scan_next(struct spool_scan *scan, enum spool_scan_reach reach,
                             struct spool_scan_record *record);
/* Where the next record is looked for: begins behind the segment's header. */
uint64_t spool_scan_offset(const struct spool_scan *scan);
void spool_scan_seek(struct spool_scan *scan, uint64_t offset);

/* Reads the body through `fd` and compares. ERR_CORRUPT, ERR_IO. */
MUST_USE int spool_scan_verify_body(const struct spool_io *io, int fd, uint64_t body_offset,
                                    uint64_t body_bytes, uint64_t body_check);

#endif
