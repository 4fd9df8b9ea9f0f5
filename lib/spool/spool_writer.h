/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Group commit: the worker's side of the log.  Two I/O threads do all file work, one for small
 * records, one for large ones, so that a small record never waits for a large one's write or sync.
 * A lane takes what waits, writes it in one pwritev, syncs once, publishes the committed offset and
 * wakes the loop; there the callbacks run.  Nothing is answered before it is durable (P1); nothing
 * here blocks the loop (P8).
 *
 * All functions belong to the loop's thread.  After a failed write or sync the segment is closed
 * for good and never trusted beyond its last good offset; what waited in it fails with ERR_IO, and
 * the next commit takes a new segment.
 */
#ifndef SPOOL_WRITER_H
#define SPOOL_WRITER_H

#include "spool/spool_record.h"
#include "spool/spool_resolution.h"
#include "spool/spool_segment.h"

#define SPOOL_SMALL_MAX (256 * 1024) /* body size up to which a record takes the small lane */

struct spool_writer;

struct spool_writer_ops {
    /* A segment is wanted: for small records (size_bytes == SPOOL_SEGMENT_BYTES; asked ahead, so
     * that one is always spare), or for one large message (at least size_bytes).  Answer later with
     * spool_writer_give. */
    void (*want_segment)(void *ctx, uint64_t size_bytes, uint32_t ticket);
    /* This segment is full, failed or no longer needed: have it sealed (or freed, if nothing was
     * committed to it). */
    void (*done_segment)(void *ctx, struct spool_segment_id id, bool has_records);
    /* No more than the first size_bytes of a large message's segment will be used: what was
     * reserved behind them can go back. */
    void (*trim_segment)(void *ctx, struct spool_segment_id id, uint64_t size_bytes);
    void (*alarm)(void *ctx, const char *event, const char *text);
};

/* `wake_fd` (an eventfd, owned by the writer) becomes readable when spool_writer_turn should be
 * called. */
MUST_USE int spool_writer_new(const struct spool_io *io, const struct spool_writer_ops *ops,
                              void *ctx, struct spool_writer **writer, int *wake_fd);
void spool_writer_free(struct spool_writer **writer); /* waits for the threads; what is not
                                                         committed fails without a callback */
void spool_writer_turn(struct spool_writer *writer);  /* runs the callbacks of what has been done */

/* The answer to want_segment: fd is taken over; fd -1: none can be had (disk full), what waits for
 * it fails with ERR_FULL. */
void spool_writer_give(struct spool_writer *writer, uint32_t ticket, int fd,
                       struct spool_segment_id id, const uint8_t key[SIPHASH_KEY_SIZE],
                       uint64_t size_bytes);

/* --- A small record. */
typedef void (*spool_on_commit)(void *ctx, int err); /* 0: durable */
struct spool_commit;
/* The envelope is encoded at once; the body's pieces are borrowed until the callback. Never calls
 * back from inside. */
struct spool_commit *spool_commit_start(struct spool_writer *writer,
                                        const struct spool_envelope *envelope,
                                        const struct iovec *body, int body_count,
                                        spool_on_commit on_done, void *ctx);
/* The callback will not run.  Whether the record becomes durable all the same is open; the pieces
 * must live until the lane is done with them, so their owner is handed over: `release(owner)` runs
 * on the loop when they are no longer used. */
void spool_commit_cancel(struct spool_commit **commit, void (*release)(void *owner), void *owner);

/* Writes the resolution of a record of this writer whose commit has called back with 0: a small
 * record, committed with all others that wait.  Encoded at once.  It may come to nothing like any
 * commit (ERR_FULL, ERR_IO); a prepared record whose writer ends without one counts as confirmed
 * for OURS, and so does one of a living writer after an hour.  on_done NULL: nobody waits, and NULL
 * is returned; else the handle, as of spool_commit_start. */
struct spool_commit *spool_resolve_start(struct spool_writer *writer,
                                         const struct spool_resolution *resolution,
                                         spool_on_commit on_done, void *ctx);

/* --- A large message in passage: a segment of its own, laid out as one record, filled while it is
 * received. */
struct spool_large;
/* Reserves room for a message of at most max_body_bytes with an envelope of at most
 * max_envelope_bytes (SPOOL_ENVELOPE_MAX at most; a few KB there always are). on_ready: 0 or
 * ERR_FULL (also when the segment does not come in time). */
struct spool_large *spool_large_open(struct spool_writer *writer, uint64_t max_body_bytes,
                                     uint64_t max_envelope_bytes, spool_on_commit on_ready,
                                     void *ctx);
/* Has these written behind what there is.  They are borrowed until release(owner), which runs once,
 * on the loop and never from inside this call, whatever happens: also after spool_large_close, and
 * at the latest in spool_writer_free.  After an error (ERR_LIMIT: more than max_body_bytes) nothing
 * is borrowed.  How much waits to be written is for the owner to bound. */
MUST_USE int spool_large_append(struct spool_large *large, const struct iovec *pieces, int count,
                                void (*release)(void *owner), void *owner);
/* Reads body octets back; the callback gets a borrowed slice (empty: past the end), or err. One
 * read at a time. */
typedef void (*spool_on_read)(void *ctx, int err, struct slice piece);
void spool_large_read(struct spool_large *large, uint64_t offset, size_t n, spool_on_read on_read,
                      void *ctx);
uint64_t spool_large_size(const struct spool_large *large);
/* The body is whole, nothing is appended any more: if much less came than was reserved, the rest
 * goes back (trim_segment, called from inside).  The envelope's room stays. */
void spool_large_trim(struct spool_large *large);
/* Writes header and envelope, syncs, publishes: the body is there already. ERR_LIMIT: the envelope
 * is longer than was said. */
void spool_large_commit(struct spool_large *large, const struct spool_envelope *envelope,
                        spool_on_commit on_done, void *ctx);
/* Ends the passage: no callback runs any more. A committed record stays; an uncommitted one's
 * segment is freed. */
void spool_large_close(struct spool_large **large);

#endif
