/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Inside the writer: what its loop side and its two I/O threads share.  One mutex guards all of it;
 * a thread gives it up for every system call, and what it then works on (`busy`, a taken batch, its
 * current segment) is its own until it takes the mutex again.  The loop holds the mutex for a few
 * instructions only.
 */
#ifndef SPOOL_LANE_H
#define SPOOL_LANE_H

#include <pthread.h>
#include <sys/queue.h>

#include <xxhash.h>

#include "spool/spool_format.h"
#include "spool/spool_writer.h"

/* A batch stops growing here, so that a sync does not become long while others wait for its end. */
#define SPOOL_BATCH_BYTES (8u * 1024 * 1024)
/* So long a busy lane waits for company before it writes (group commit delay). */
#define SPOOL_GATHER_NS (1000 * 1000)
/* A commit that finds no segment, and a large message, wait this long for one, then fail with
 * ERR_FULL: the client's patience at the final dot is 10 minutes (RFC 5321 4.5.3.2.6), ours with
 * the parent is not.  A spare that was asked for and has not come by then is asked for again. */
#define SPOOL_SEGMENT_WAIT_MS 5000
/* After "none can be had" the next request waits this long. */
#define SPOOL_SEGMENT_RETRY_MS 1000
#define SPOOL_LARGE_READ_BYTES (1024u * 1024)
/* Where a large message's body begins in its segment. */
#define SPOOL_LARGE_BODY_OFFSET (SPOOL_SEGMENT_HEADER_BYTES + (uint64_t)SPOOL_LARGE_BODY_AT)
/* Less of a large message's room is not worth giving back before its end. */
#define SPOOL_LARGE_TRIM_BYTES (1024u * 1024)
/* Of a large record that the device is given at once. */
#define SPOOL_LARGE_STEP_BYTES (512u * 1024)

struct spool_open_segment {
    bool open;
    int fd;
    struct spool_segment_id id;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t size_bytes;
    uint64_t end; /* behind the last good record; the committed offset */
};

struct spool_commit {
    STAILQ_ENTRY(spool_commit) link; /* in a lane's waiting list, a batch, or the done list */
    struct spool_writer *writer;
    enum { COMMIT_WAITING, COMMIT_TAKEN, COMMIT_DONE } state;
    int lane;
    int rc;
    enum spool_record_type type;
    int64_t waits_until_ms;
    struct buf record; /* room for the record header, then the envelope */
    uint64_t body_bytes;
    spool_on_commit on_done; /* NULL: nobody waits */
    void *ctx;
    bool cancelled; /* the loop's alone, as all below */
    void (*release)(void *owner);
    void *owner;
    int body_count;
    struct iovec body[];
};
STAILQ_HEAD(spool_commits, spool_commit);

/* Something to be told on the loop: a segment is done with, or something failed. */
struct spool_notice {
    STAILQ_ENTRY(spool_notice) link;
    bool segment_done, has_records;
    struct spool_segment_id id;
    char alarm[160]; /* "" none */
};
STAILQ_HEAD(spool_notices, spool_notice);

struct spool_piece { /* of a large message, queued and borrowed */
    STAILQ_ENTRY(spool_piece) link;
    size_t n; /* octets in all */
    void (*release)(void *owner);
    void *owner;
    int count;
    struct iovec iov[];
};
STAILQ_HEAD(spool_pieces, spool_piece);

enum spool_request { REQUEST_NONE, REQUEST_WANTED, REQUEST_DONE };

struct spool_large {
    LIST_ENTRY(spool_large) all;
    TAILQ_ENTRY(spool_large) unserved; /* while its segment has not come */
    bool is_unserved;
    int64_t waits_until_ms;
    STAILQ_ENTRY(spool_large) to_lane, to_loop;
    bool at_lane, at_loop; /* is in that list */
    struct spool_writer *writer;
    uint32_t ticket;
    uint64_t max_body_bytes, max_envelope_bytes, appended_bytes;
    struct spool_open_segment segment;
    int failed;
    bool closing, closed; /* the owner is gone; the thread is done with it */
    bool committed;

    bool ready_due;
    spool_on_commit on_ready;
    void *ready_ctx;

    struct spool_pieces pieces;

    enum spool_request read;
    uint64_t read_offset;
    size_t read_bytes; /* wanted, then got */
    char *read_octets;
    int read_rc;
    spool_on_read on_read;
    void *read_ctx;

    enum spool_request commit;
    struct buf record;
    int commit_rc;
    spool_on_commit on_commit;
    void *commit_ctx;

    XXH3_state_t *body_state; /* the thread's, as below */
    uint64_t written_bytes;
};
LIST_HEAD(spool_larges, spool_large);
STAILQ_HEAD(spool_large_list, spool_large);
TAILQ_HEAD(spool_large_queue, spool_large);

enum { LANE_SMALL, LANE_LARGE, LANE_COUNT };

struct spool_lane {
    struct spool_writer *writer;
    pthread_t thread;
    pthread_cond_t cond;
    struct spool_commits waiting;
    struct spool_open_segment current, spare;
    bool is_busy; /* commits came while it synced */
    bool is_used; /* a commit has come: a segment is worth having; the loop's */
    bool asked;   /* for `ticket`, until asked_until_ms */
    bool refused; /* the last request was answered "none" */
    uint32_t ticket;
    int64_t ask_again_at_ms, asked_until_ms;
    struct spool_large_list larges; /* with work; the large lane's only */
    struct iovec *iov;              /* the thread's */
    size_t iov_size;
};

struct spool_writer {
    const struct spool_io *io;
    const struct spool_writer_ops *ops;
    void *ctx;
    int wake_fd;
    bool in_turn;
    uint32_t next_ticket;
    struct spool_larges larges; /* all; the loop's */

    pthread_mutex_t mutex; /* guards what follows, the lanes and the larges */
    bool stop;
    bool woken;
    struct spool_commits done;
    struct spool_notices notices;
    struct spool_pieces used_pieces; /* borrowed ones, to be released */
    struct spool_large_list done_larges;
    struct spool_large_queue unserved_larges; /* the longest waiting first */
    struct spool_lane lanes[LANE_COUNT];
};

/* --- spool_writer.c */
/* Room for the record header, and the envelope with the time of its commit. */
void spool_writer_put_envelope(struct buf *record, const struct spool_envelope *envelope);

/* --- spool_lane.c */
void *spool_lane_main(void *lane);
/* With the mutex held. */
void spool_writer_wake(struct spool_writer *writer);
void spool_writer_notice(struct spool_writer *writer, const struct spool_open_segment *segment,
                         bool segment_done, const char *alarm);
uint64_t spool_commit_extent(const struct spool_commit *commit);
/* Without it.  After a failure: nothing behind the last good offset is ever to count. */
void spool_segment_close_at(const struct spool_io *io, const struct spool_open_segment *segment,
                            const char *step, char *alarm, size_t alarm_size);
MUST_USE int spool_segment_publish(const struct spool_io *io,
                                   const struct spool_open_segment *segment);

/* --- spool_large_step.c */
/* With the mutex held; gives it up meanwhile. */
void spool_large_step(struct spool_lane *lane, struct spool_large *large);
/* With the mutex held: they are for the loop to release. */
void spool_large_drop_pieces(struct spool_writer *writer, struct spool_pieces *pieces);

/* --- spool_large.c */
/* With the mutex held: the thread is to look at it, if there is anything to do; the loop is. */
void spool_large_to_lane(struct spool_large *large);
void spool_large_to_loop(struct spool_large *large);
/* With the mutex held: fails those whose segment has not come in time; the next such moment, or
 * INT64_MAX. */
int64_t spool_large_fail_unserved(struct spool_writer *writer, int64_t now_ms);
void spool_large_turn(struct spool_writer *writer);
/* Without it, on the loop: releases what was borrowed and is no longer used. */
void spool_large_release_used(struct spool_writer *writer);
bool spool_large_give(struct spool_writer *writer, uint32_t ticket,
                      const struct spool_open_segment *segment);
/* Without it, on the loop, when no thread has it. */
void spool_large_destroy(struct spool_large *large);

#endif
