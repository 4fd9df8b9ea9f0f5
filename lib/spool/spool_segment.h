/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A segment: one file of the spool log, named NODE-EPOCH-NUMBER.seg, created by the relay's parent,
 * written by one worker only, sealed when it is full or its writer dies, removed when all its
 * messages have ended.
 *
 *   0      header block (SPOOL_SEGMENT_HEADER_BYTES): magic, version, identity, creation time, a
 * random key, SipHash of these 2048   committed offset (u64): all records before it are synced.
 * Written after each sync, itself unsynced: in a segment that is being written a reader goes no
 * further; in a sealed or orphaned one it goes on while records verify. 4096   records, each
 * aligned to 8: record header (SPOOL_RECORD_HEADER_BYTES): magic, version, type, lengths, XXH3 of
 * envelope and of body, SipHash of all of this and of the record's offset under the segment's key.
 * Nothing inside a message can pass for a record, and nothing of a recycled segment's earlier life
 * can (the key is new). envelope, body, padding end    a sealed segment has a footer: the index of
 * its records, with a checksum, found from the last 64 octets of the file
 */
#ifndef SPOOL_SEGMENT_H
#define SPOOL_SEGMENT_H

#include "base/buf.h"
#include "base/codec.h"
#include "base/ref.h"
#include "base/siphash.h"
#include "spool/spool_io.h"

#define SPOOL_SEGMENT_BYTES (64ULL * 1024 * 1024)
#define SPOOL_SEGMENT_HEADER_BYTES 4096
#define SPOOL_SEGMENT_COMMITTED_AT 2048
#define SPOOL_RECORD_HEADER_BYTES 64
#define SPOOL_SEGMENT_NAME_SIZE 40
#define SPOOL_VERSION 1
/* Free segments kept for recycling, "free-NNNN.seg"; more are unlinked. */
#define SPOOL_FREE_MAX 8

struct spool_segment_id {
    uint16_t node;
    uint32_t epoch;  /* of the relay's start; counted up durably in spool-dir/epoch */
    uint32_t number; /* within the epoch */
};

const char *spool_segment_name(struct spool_segment_id id, char dst[SPOOL_SEGMENT_NAME_SIZE]);
MUST_USE int spool_segment_parse_name(const char *name,
                                      struct spool_segment_id *id); /* ERR_SYNTAX */
/* In messages between processes and entries of the ledger. */
void spool_segment_put_id(struct buf *b, struct spool_segment_id id);
struct spool_segment_id spool_segment_get_id(struct decoder *d);

/* For the relay's parent. `writer` is the process that will write it (0: not known), so that a
 * reader can tell when all that a dead one wrote has been sealed and read. Recycles a free segment
 * by rename if there is one and size_bytes is the usual size, else preallocates; writes the header
 * with a new key; syncs file and folder. *fd is open for reading and writing. ERR_FULL, ERR_IO. */
MUST_USE int spool_segment_create(const struct spool_io *io, int dir_fd, struct spool_segment_id id,
                                  uint64_t size_bytes, uint32_t writer, int *fd,
                                  uint8_t key[SIPHASH_KEY_SIZE]);
/* Marks the end of a segment whose writer is done or dead: keeps what verifies beyond the committed
 * offset, writes the footer, syncs. A segment without any record is turned into a free one. */
MUST_USE int spool_segment_seal(const struct spool_io *io, int dir_fd, struct spool_segment_id id);
/* Gives back the room of one that is being written behind its first size_bytes, which are all that
 * its writer uses; the file keeps its length.  Not for one that is sealed: its footer may lie
 * there. */
MUST_USE int spool_segment_trim(const struct spool_io *io, int dir_fd, struct spool_segment_id id,
                                uint64_t size_bytes);
/* When all of its messages have ended: rename to a free name (or unlink), sync the folder. */
MUST_USE int spool_segment_recycle(const struct spool_io *io, int dir_fd,
                                   struct spool_segment_id id);

/* Reads spool-dir/epoch, counts it up durably and returns the new one: call once at the parent's
 * start. */
MUST_USE int spool_epoch_next(const struct spool_io *io, int dir_fd, uint32_t *epoch);

#endif
