/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool as a whole: segments plus ledger are the whole truth about mail that is kept.  The
 * keeper opens it as owner and writes outcomes to the ledger; relayctl opens it read-only, also
 * beside a running keeper and with every daemon down.
 *
 * The order is law: outcome synced, segment unlinked or recycled, folder synced, only then may a
 * checkpoint forget.  A segment with damage in it is never removed.
 *
 * One thread owns the store; what blocks (syncing, removing, the checkpoint) is a job in three
 * steps, of which the middle one may run in another thread.
 */
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include "spool/spool_message.h"
#include "spool/spool_resolution.h"

struct spool_store;

enum spool_store_mode { SPOOL_STORE_READ, SPOOL_STORE_OWNER };

/* Reads all; `dir` must exist. Damaged records are skipped, counted and (as owner) logged; a scan
 * goes on behind them.  The owner holds the lock of the folder (spool-dir/lock) before it calls. */
MUST_USE int spool_store_open(const struct spool_io *io, const char *dir,
                              enum spool_store_mode mode, struct spool_store **store);
/* Read-only, and of this customer's messages alone, by its name: the others are passed over without
 * being decoded or kept, which is most of the work.  What counts the whole (open count, segments,
 * stats) counts only them. */
MUST_USE int spool_store_open_customer(const struct spool_io *io, const char *dir,
                                       const char *customer, struct spool_store **store);
void spool_store_close(struct spool_store **store);

/* New records up to the committed offsets, new segments, newly sealed ones. Cheap when nothing is
 * new.  on_new may be NULL; it is not called for what spool_store_open has read.  Read-only: the
 * ledger is not read again. */
MUST_USE int spool_store_refresh(struct spool_store *store,
                                 void (*on_new)(void *ctx, struct spool_message *message),
                                 void *ctx);

/* In order of arrival; cursor starts NULL. Ended messages that are still in memory are included
 * (open_count 0). */
struct spool_message *spool_store_next(struct spool_store *store, struct spool_message *cursor);
struct spool_message *spool_store_find(struct spool_store *store, struct ref ref);
size_t
spool_store_open_count(const struct spool_store *store); /* messages with an open recipient */

/* What is not in memory, read from the message's segment; a disk that is asked may block.
 * Everything is copied into `arena`. ERR_IO; ERR_NOT_FOUND: its segment has gone; ERR_CORRUPT: it
 * does not verify any more (and was whole when it was first read), ERR_LIMIT: the arena is full. */
MUST_USE int spool_store_envelope(struct spool_store *store, const struct spool_message *message,
                                  struct arena *arena, struct spool_envelope *envelope);
#define SPOOL_ENVELOPE_ARENA_BYTES (8 * 1024 * 1024) /* enough for any envelope */
struct spool_body {                                  /* where it lies in the segment's file */
    uint64_t offset, bytes;
    uint64_t check; /* XXH3, as spool_scan_verify_body wants it */
};
MUST_USE int spool_store_body(struct spool_store *store, const struct spool_message *message,
                              struct spool_body *body);

/* The body, through the store's own descriptor; verifies nothing. Returns octets read, 0 at the
 * end, or an err. */
MUST_USE int64_t spool_store_read_body(struct spool_store *store,
                                       const struct spool_message *message, uint64_t offset,
                                       void *dst, size_t n);
/* A read-only descriptor of the message's segment, for a deliverer; the caller closes it. */
MUST_USE int spool_store_dup_segment(struct spool_store *store, const struct spool_message *message,
                                     int *fd);
MUST_USE int spool_store_verify_body(struct spool_store *store,
                                     struct spool_message *message); /* ERR_CORRUPT */
/* Somebody who read the body (a deliverer) or the envelope found that it does not match: its
 * segment is kept. */
void spool_store_mark_damaged(struct spool_store *store, struct spool_message *message);

/* --- Outcomes (owner). They change memory at once and are queued for the ledger; a sync job makes
 * all queued ones durable. */
void spool_store_offered(struct spool_store *store, struct spool_message *message);
/* Ends the attempt: no longer offered.  `reply` becomes the reply of every open recipient;
 * `unknown`: its dot was never answered. */
void spool_store_attempt(struct spool_store *store, struct spool_message *message, int64_t at_ms,
                         int64_t next_at_ms, bool unknown, const char *reply);
void spool_store_ended(struct spool_store *store, struct spool_message *message, unsigned recipient,
                       enum spool_end end, int64_t at_ms, const char *reply);
void spool_store_extend(struct spool_store *store, struct spool_message *message,
                        int64_t expires_at_ms);
void spool_store_hold(struct spool_store *store, struct spool_message *message,
                      const char *reason); /* NULL releases */

/* No pause any more: as soon as its route permits. */
void spool_store_due(struct spool_store *store, struct spool_message *message);
/* To this backend of its customer, by number; 0: where its route leads, as before. */
void spool_store_redirect(struct spool_store *store, struct spool_message *message,
                          uint32_t backend);

/* --- What operators have done with it, by name and with the reason (owner). */
enum spool_act { /* in files: numbers never change their meaning */
                 SPOOL_ACT_RETRY = 1,
                 SPOOL_ACT_HOLD = 2,
                 SPOOL_ACT_RELEASE = 3,
                 SPOOL_ACT_EXTEND = 4,
                 SPOOL_ACT_REDIRECT = 5,
                 SPOOL_ACT_RETURN = 6,
                 SPOOL_ACT_REMOVE = 7,
                 SPOOL_ACT_VIEW = 8, /* its content was read */
                 SPOOL_ACT_EXPORT = 9,
};
struct spool_note {
    enum spool_act act;
    int64_t at_ms;
    const char *who, *reason; /* reason and detail: "" none; long texts are cut */
    const char *detail;       /* until when, to which backend */
};
/* Of a message the newest are kept as long as the message is, those before are forgotten. */
#define SPOOL_NOTES_MAX 20
/* Says what is done; doing it is another call. */
void spool_store_note(struct spool_store *store, struct spool_message *message,
                      const struct spool_note *note);
/* Oldest first; borrowed for the call. */
void spool_store_each_note(const struct spool_message *message,
                           void (*each)(void *ctx, const struct spool_note *note), void *ctx);

/* --- What the ledger's file has of one message: all since its checkpoint, and the state of then.
 */
enum spool_event_kind {
    SPOOL_EVENT_OFFERED, /* a dot may have gone out */
    SPOOL_EVENT_ATTEMPT,
    SPOOL_EVENT_END,
    SPOOL_EVENT_HELD, /* not by an operator */
    SPOOL_EVENT_NOTE,
};
struct spool_event { /* borrowed for the call */
    enum spool_event_kind kind;
    int64_t at_ms;      /* 0: not recorded */
    unsigned attempt;   /* ATTEMPT: which */
    unsigned recipient; /* END: whose */
    enum spool_end end;
    const char *text;       /* the reply, why it is held, the note's reason */
    struct spool_note note; /* NOTE */
};
/* Reads the ledger from the disk: not for the keeper's loop.  In the ledger's order. */
MUST_USE int spool_store_history(const struct spool_store *store,
                                 const struct spool_message *message,
                                 void (*each)(void *ctx, const struct spool_event *event),
                                 void *ctx);

/* --- Open outcomes (owner). Resolutions are applied as they are read; these are for what never
 * comes. */
/* A prepared record counts for its recipients `ours`, and the others end as cancelled: its worker
 * is gone. */
void spool_store_confirm(struct spool_store *store, struct spool_message *message, int64_t at_ms);
/* Nothing more is heard of those concerned: they may be attempted. */
void spool_store_stop_listening(struct spool_store *store, struct spool_message *message);
/* Runs in refresh when a resolution has changed a message: before on_new for one that is just being
 * read. */
typedef void (*spool_on_resolved)(void *ctx, struct spool_message *message,
                                  const struct spool_resolution *resolution);
void spool_store_on_resolved(struct spool_store *store, spool_on_resolved on_resolved, void *ctx);
/* Runs when a recipient's end has been queued, and is in the message. */
typedef void (*spool_on_ended)(void *ctx, const struct spool_message *message, unsigned recipient);
void spool_store_on_ended(struct spool_store *store, spool_on_ended on_ended, void *ctx);
/* How the store finds out whether the process still lives that writes this segment; without it none
 * does. */
typedef bool (*spool_is_writing)(void *ctx, struct spool_segment_id segment, uint32_t process);
void spool_store_ask_writing(struct spool_store *store, spool_is_writing is_writing, void *ctx);

enum spool_writer_state {
    SPOOL_WRITER_LIVES,
    SPOOL_WRITER_UNREAD,  /* it is gone; not all that it wrote has been sealed and read */
    SPOOL_WRITER_DAMAGED, /* so, but what is left cannot be read */
    SPOOL_WRITER_DONE,    /* it is gone, and nothing more will be found of it */
};
/* Of the writer of this message's record. */
enum spool_writer_state spool_store_writer_state(const struct spool_store *store,
                                                 const struct spool_message *message);
/* All that its writer, living or not, has been told is durable by now has been read. */
bool spool_store_writer_is_read(const struct spool_store *store,
                                const struct spool_message *message);

/* --- Work that blocks. One job at a time; begin and end belong to the store's thread, run touches
 * nothing of the store and may run in another thread. */
enum spool_work {
    SPOOL_WORK_SYNC,  /* one write, one fdatasync */
    SPOOL_WORK_CLEAN, /* segments whose messages have all ended go; a step of a checkpoint when the
                         ledger has grown */
};
struct spool_job;
struct spool_job *spool_store_begin(struct spool_store *store, enum spool_work work); /* NULL:
                                                                                         nothing to
                                                                                         do */
void spool_job_run(struct spool_job *job);
/* The result of the job; on_forget (may be NULL) before each message's memory goes. */
MUST_USE int spool_store_end(struct spool_store *store, struct spool_job **job,
                             void (*on_forget)(void *ctx, struct spool_message *message),
                             void *ctx);
/* The three steps at once, until nothing is left to do, blocking. */
MUST_USE int spool_store_sync(struct spool_store *store);
MUST_USE int spool_store_clean(struct spool_store *store,
                               void (*on_forget)(void *ctx, struct spool_message *message),
                               void *ctx);
/* A checkpoint is written when the ledger has grown by so much and its last checkpoint's size. */
void spool_store_set_checkpoint_bytes(struct spool_store *store, uint64_t bytes);
/* It is written in steps, each a clean job that looks at so many messages; 0: as it is made. */
void spool_store_set_checkpoint_slice(struct spool_store *store, unsigned messages);
/* One is being written: the next clean job goes on with it.  Syncs may come between. */
bool spool_store_is_checkpointing(const struct spool_store *store);
/* A sync has failed, and nothing is durable until a checkpoint is: sync jobs are its steps. */
bool spool_store_is_broken(const struct spool_store *store);
/* Counted up with every outcome: what was queued when it stood at n is durable once
 * spool_store_synced(store) >= n. */
uint64_t spool_store_queued(const struct spool_store *store);
uint64_t spool_store_synced(const struct spool_store *store);

/* Why outcomes of earlier lives may be missing from what open has read, in words for people ("the
 * ledger is damaged", "the ledger is missing"): any message that was there then may have been
 * delivered.  NULL: none is missing; also if there is no ledger and no message.  A damaged ledger
 * is written anew by the next clean job, so that the next open no longer says so. */
const char *spool_store_outcomes_missing(const struct spool_store *store);

struct spool_store_stats {
    uint64_t segments, free_segments, unreadable_segments;
    uint64_t records, damaged_records; /* found since open, in segments that are there */
    uint32_t ledger_number;            /* of its file in use */
    bool ledger_is_broken; /* its last sync or checkpoint failed: these numbers may not fit */
    uint64_t ledger_bytes, ledger_entries, ledger_damaged, ledger_cut_bytes;
};
void spool_store_get_stats(const struct spool_store *store, struct spool_store_stats *stats);

struct spool_segment_report { /* for --fsck; a plain value */
    struct spool_segment_id id;
    bool sealed, unreadable;
    uint64_t messages, open_messages, damaged;
};
void spool_store_each_segment(const struct spool_store *store,
                              void (*each)(void *ctx, const struct spool_segment_report *segment),
                              void *ctx);

#endif
