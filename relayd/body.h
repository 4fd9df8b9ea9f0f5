/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content of one message in passage.  It lies in chunks of the worker's pool, and goes to disk
 * (a segment of its own, spool_large, laid out so that spooling it needs no copy) when it is large,
 * or when the pool is short and others could use its chunks.  A body on disk uses chunks for what
 * is still to be written.
 *
 * The pool is shared by a dynamic threshold (Choudhury and Hahne, 1998): a body may be granted
 * another chunk only while it holds less than a sixteenth of what is free.  One alone may have all
 * it wants, and some chunks always stay free for who has just come; a sixteenth of the pool is for
 * bodies of up to BODY_SMALL_CHUNKS alone.  Chunks are granted before a read and for what it may
 * bring, so what was read can always be kept.  Who has used up its share is *behind*: its session
 * reads no further until chunks come back.  While somebody waits so, bodies that have not moved for
 * BODY_IDLE_MS go to disk, the largest first.
 *
 *   BODY_IN_MEMORY ----> BODY_MOVING (its segment is awaited) ----> BODY_ON_DISK
 *          \                  \                                       \
 *           `------------------`---------------------------------------`----> BODY_FAILED
 *
 * on_change is called from the loop alone, never from inside a function of this file.
 */
#ifndef RELAYD_BODY_H
#define RELAYD_BODY_H

#include <sys/queue.h>
#include <sys/uio.h>

#include "base/slice.h"
#include "net/loop.h"
#include "spool/spool_writer.h"

#define BODY_CHUNK_BYTES 4096
#define BODY_POOL_CHUNKS (64 * 1024 * 1024 / BODY_CHUNK_BYTES) /* 64 MB a worker */
#define BODY_MEMORY_MAX (1024 * 1024)                          /* more goes to disk at once */
#define BODY_PRESSED_MAX (256 * 1024) /* more goes to disk when it meets its share */
#define BODY_SMALL_CHUNKS 3           /* a normal message of 10 KB */
#define BODY_AHEAD_CHUNKS 16          /* granted ahead at most, for the next read */
#define BODY_READ_MAX (BODY_AHEAD_CHUNKS * BODY_CHUNK_BYTES)
#define BODY_CHUNKS_MAX (BODY_MEMORY_MAX / BODY_CHUNK_BYTES + BODY_AHEAD_CHUNKS)
#define BODY_IDLE_MS 1000

struct body;
struct body_chunk;
TAILQ_HEAD(body_list, body);

struct body_pool {
    struct loop *loop;
    struct body_slab *slabs;
    struct body_chunk *unused;   /* made, and used by nobody */
    unsigned chunks_max, made;   /* made when they are first needed, kept then */
    unsigned granted;            /* to bodies, or on their way to disk */
    unsigned larges, larges_max; /* segments that bodies have, or wait for */
    unsigned moves;              /* bodies on their way to disk that did not want to go */
    int64_t idle_ms;
    /* By what they were granted.  Who can be made to give something back, the longest unmoved
     * first: the largest is pushed first.  Who waits for its share, the longest waiting first: the
     * smallest is served first. */
    struct body_list listed[BODY_CHUNKS_MAX + 1], waiting[BODY_CHUNKS_MAX + 1];
    unsigned waiting_count;
    struct loop_timer timer; /* while somebody waits */
    bool turn_due, closed;
};

void body_pool_init(struct body_pool *pool, struct loop *loop, unsigned chunks_max,
                    unsigned larges_max);
/* Before the writer and the loop go: no body is told anything any more. */
void body_pool_close(struct body_pool *pool);
void body_pool_fini(struct body_pool *pool); /* after both, and after all bodies */

enum body_state { BODY_IN_MEMORY, BODY_MOVING, BODY_ON_DISK, BODY_FAILED };

enum body_trouble {
    BODY_FINE,
    BODY_NO_ROOM,  /* spill-max, the disk or the pool is used up */
    BODY_TOO_LONG, /* longer than announced, and that was all the room it has */
    BODY_BROKEN,   /* the disk failed */
    BODY_UNWANTED, /* body_discard */
};

LIST_HEAD(body_batches, body_batch);

struct body {
    struct body_pool *pool;
    struct spool_writer *writer;
    enum body_state state : 8;
    enum body_trouble trouble : 8; /* of one that has failed */
    bool is_whole;                 /* body_end */
    bool is_waiting, is_listed;    /* is in that list of the pool */
    bool was_pushed;               /* counts in pool->moves */
    unsigned granted;              /* of them: */
    unsigned held, writing;        /* chunks here, and in batches at the writer */
    unsigned last_used;            /* octets of the last chunk here */
    struct body_chunk *first, *last;
    uint64_t size_bytes;
    uint64_t max_bytes;           /* that it may have */
    uint32_t envelope_bytes;      /* of its record, should it be spooled: at most */
    uint64_t announced_bytes;     /* 0: unknown */
    int64_t moved_at_ms;          /* took something */
    int64_t waits_since_ms;       /* while is_waiting */
    TAILQ_ENTRY(body) list, wait; /* in pool->listed[listed_at], pool->waiting[granted] */
    unsigned listed_at;
    struct body_batches batches;
    struct spool_large *large; /* BODY_MOVING, BODY_ON_DISK */
    void (*on_change)(void *ctx);
    void *ctx;
};

/* on_change(ctx): body_room has changed, or what body_is_settled waits for has happened. */
void body_init(struct body *body, struct body_pool *pool, struct spool_writer *writer,
               void (*on_change)(void *ctx), void *ctx);
void body_fini(struct body *body);

/* Content of at most max_bytes follows (DATA).  `announced_bytes` is what MAIL said of it (RFC
 * 1870; 0: nothing): if that is more than memory holds, room on disk is reserved first, and content
 * must not be read before body_is_settled.  May be called again after body_is_settled with a
 * trouble, if nothing was appended. */
void body_begin(struct body *body, uint64_t max_bytes, uint64_t announced_bytes,
                uint32_t envelope_bytes);
/* So much may be read from the client and then appended; 0 if it is behind; at most BODY_READ_MAX.
 * Also for one that has failed: it is read, and thrown away. */
size_t body_room(const struct body *body);
/* The sender should pause. on_change tells when it need not any more. */
bool body_is_behind(const struct body *body);
/* Takes a piece. A failure shows in body->state and body->trouble; nothing is held any more then.
 */
void body_append(struct body *body, struct slice piece);
/* The content is whole. */
void body_end(struct body *body);
/* What came and what comes is not wanted; all it holds goes back. */
void body_discard(struct body *body);
/* False while it waits for its segment. */
bool body_is_settled(const struct body *body);
/* BODY_IN_MEMORY: fills at most BODY_CHUNKS_MAX entries, returns how many. Borrowed until the body
 * ends. */
int body_iovec(const struct body *body, struct iovec iov[BODY_CHUNKS_MAX]);
/* The same, one by one: the piece behind *at, which goes on to it; *at NULL: the first. False
 * behind the last. */
bool body_next_piece(const struct body *body, const struct body_chunk **at, struct slice *piece);

#endif
