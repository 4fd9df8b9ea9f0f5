/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The ledger: a chain of append-only files ledger-NNNNNNNN in the spool folder, in which the keeper
 * writes every outcome.  This module knows files, entries and their order of becoming durable, and
 * nothing of what an entry means (that is spool_store.c).
 *
 *   0    header (SPOOL_LEDGER_HEADER_BYTES): magic, version, number, random key, SipHash of these
 *   64   entries, aligned to 8: u32 payload length, u16 type, u16 0, u64 offset of this entry,
 *        payload, padding, u64 SipHash of all of it under the file's key
 *
 * A file begins with the whole live state of its day (a checkpoint), closed by an entry of its own;
 * behind it come batches, each written and synced as one, each begun by an entry that says up to
 * where the file had been synced.  So a torn tail (cut, never trusted) and damage to what had been
 * synced (skipped, counted, read on behind it) can be told apart.
 */
#ifndef SPOOL_LEDGER_H
#define SPOOL_LEDGER_H

#include "base/buf.h"
#include "spool/spool_io.h"

#define SPOOL_LEDGER_HEADER_BYTES 64
#define SPOOL_LEDGER_PAYLOAD_MAX 65536
#define SPOOL_LEDGER_VERSION 1
#define SPOOL_LEDGER_NAME_SIZE 32
/* Types from here on are the ledger's own. */
#define SPOOL_LEDGER_TYPE_MAX 0xff00

struct spool_ledger;
struct spool_ledger_job;

/* `payload` is borrowed for the call. */
typedef void (*spool_ledger_on_entry)(void *ctx, uint16_t type, struct slice payload);

struct spool_ledger_stats {
    uint32_t number;          /* of the file in use */
    uint64_t bytes;           /* of the file in use */
    uint64_t checkpoint_end;  /* how many of them are its checkpoint */
    uint64_t entries;         /* read at open */
    uint64_t damaged;         /* places that had been synced and do not verify */
    uint64_t cut_bytes;       /* of a torn tail */
    uint64_t damaged_headers; /* files that could not be used at all */
    uint64_t files;           /* found at open, whatever was in them */
};

/* Finds the newest file whose header verifies; what is in it comes with spool_ledger_replay, from
 * this file even if a checkpoint replaces it meanwhile. Read-only: ERR_NOT_FOUND never; no ledger
 * is an empty one.  ERR_AGAIN: a file went between the look at the folder and its opening, since
 * the owner wrote a checkpoint; ask again. ERR_IO. */
MUST_USE int spool_ledger_open(const struct spool_io *io, int dir_fd, bool owner,
                               struct spool_ledger **ledger);
/* Once, before anything is added: the file's entries, in order.  As owner also: cuts a torn tail,
 * syncs file and folder (what was read may not have been durable), removes older files, makes the
 * first file if there is none. ERR_IO. */
MUST_USE int spool_ledger_replay(struct spool_ledger *ledger, spool_ledger_on_entry on_entry,
                                 void *ctx);
void spool_ledger_close(struct spool_ledger **ledger); /* what is queued is lost */

/* Queues an entry for the next sync. */
void spool_ledger_add(struct spool_ledger *ledger, uint16_t type, struct slice payload);
bool spool_ledger_has_queued(const struct spool_ledger *ledger);
/* The file has failed to sync: only a checkpoint helps. */
bool spool_ledger_is_broken(const struct spool_ledger *ledger);
void spool_ledger_get_stats(const struct spool_ledger *ledger, struct spool_ledger_stats *stats);

/* Work in three steps, so that it can block in a thread: begin and end belong to the ledger's
 * thread, run touches the job alone.  One job at a time. */
struct spool_ledger_job *
spool_ledger_begin_sync(struct spool_ledger *ledger); /* NULL: nothing queued, or broken */
/* A checkpoint: the whole live state, written in steps into a file of its own, which becomes the
 * ledger's with the last one.  Syncs may come between the steps; then what they make durable of a
 * state that has been added already must be added as well, behind it.  What is queued when the last
 * step begins must be in it: once it is durable, that is dropped from the queue.  A step that fails
 * gives the checkpoint up. */
void spool_ledger_begin_checkpoint(struct spool_ledger *ledger); /* one that runs begins anew */
void spool_ledger_drop_checkpoint(struct spool_ledger *ledger);
bool spool_ledger_is_checkpointing(const struct spool_ledger *ledger);
void spool_ledger_checkpoint_add(struct spool_ledger *ledger, uint16_t type, struct slice payload);
size_t spool_ledger_checkpoint_waiting(const struct spool_ledger *ledger); /* octets for a step */
struct spool_ledger_job *spool_ledger_begin_step(struct spool_ledger *ledger, bool is_last);
void spool_ledger_job_run(struct spool_ledger_job *job);
/* 0: durable. ERR_FULL, ERR_IO: what was queued stays queued. */
MUST_USE int spool_ledger_job_end(struct spool_ledger *ledger, struct spool_ledger_job **job);

#endif
