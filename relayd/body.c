/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Grants are numbers, chunks are memory: pool->granted counts what bodies hold and what they were
 * promised for the next read, and never exceeds chunks_max.  Promises cost nothing but the number,
 * and are taken back from who does not use them.
 *
 * Invariants: body->granted >= held + writing; pool->granted is the sum over all bodies and over
 * the batches of those that are gone; a body in pool->waiting has no room; whoever gives chunks
 * back while somebody waits calls for a turn of the pool, where alone others are woken.
 */
#include "relayd/body.h"

#include <stdlib.h>

#define SHARE 16          /* a body may hold a sixteenth of what is free */
#define SMALL_SHARE 16    /* a sixteenth of the pool is kept for small ones */
#define WRITE_CHUNKS 32   /* a body on disk writes so much at once, */
#define DISK_CHUNKS 128   /* and holds so much at most */
#define SLAB_CHUNKS 64    /* get their memory at once */
#define LOOK_MS 100       /* while somebody waits */
#define MOVES_MAX 64      /* at once: the parent makes segments one by one, also for others */
#define WAITERS_MAX 512   /* so many can be helped by the disk within some seconds, and no more */
#define WAIT_MAX_MS 30000 /* for a share, with nothing to give back: then there is no room */
/* Clients' estimates are low by what they count as a line's end (RFC 1870 6). */
#define ESTIMATE_MARGIN(announced) ((announced) / 8 + 64 * 1024)

struct body_chunk {
    struct body_chunk *next;
    char *bytes;
};

/* Memory comes for many at once, so that the chunks of a body mostly lie in a row. */
struct body_slab {
    struct body_slab *next;
    struct body_chunk chunks[SLAB_CHUNKS];
    char bytes[SLAB_CHUNKS * BODY_CHUNK_BYTES];
};

/* Chunks that the writer has. */
struct body_batch {
    LIST_ENTRY(body_batch) link;
    struct body_pool *pool;
    struct body *body; /* NULL: gone */
    struct body_chunk *first, *last;
    unsigned count;
};

/* --- Chunks. */

static unsigned
least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned
free_count(const struct body_pool *pool)
{
    return pool->chunks_max - pool->granted;
}

/* NULL: no memory. */
static struct body_chunk *
make_chunk(struct body_pool *pool)
{
    unsigned n = pool->made % SLAB_CHUNKS;
    struct body_slab *slab = n > 0 ? pool->slabs : malloc(sizeof *slab);

    if (slab == NULL)
        return NULL;
    if (n == 0) {
        slab->next = pool->slabs;
        pool->slabs = slab;
    }
    pool->made++;
    slab->chunks[n].bytes = slab->bytes + n * BODY_CHUNK_BYTES;
    return &slab->chunks[n];
}

static struct body_chunk *
chunk_take(struct body_pool *pool)
{
    struct body_chunk *c = pool->unused;

    if (c != NULL)
        pool->unused = c->next;
    else
        c = make_chunk(pool);
    if (c != NULL)
        c->next = NULL;
    return c;
}

/* In their order: what was used last is used next, in a row as it was. */
static void
chunks_give(struct body_pool *pool, struct body_chunk *first, struct body_chunk *last)
{
    if (first == NULL)
        return;
    last->next = pool->unused;
    pool->unused = first;
}

/* --- Grants. */

static void on_turn(void *ctx);

static void
call_turn(struct body_pool *pool)
{
    if (pool->turn_due || pool->closed)
        return;
    pool->turn_due = true;
    loop_defer(pool->loop, on_turn, pool);
}

static void
take_back(struct body_pool *pool, unsigned count)
{
    pool->granted -= count;
    if (pool->waiting_count > 0 && count > 0)
        call_turn(pool);
}

static unsigned
spare(const struct body *body)
{
    return body->granted - body->held - body->writing;
}

static void
take_spare(struct body *body, unsigned leave)
{
    unsigned n = spare(body) > leave ? spare(body) - leave : 0;

    body->granted -= n;
    take_back(body->pool, n);
}

/* What is free for one that was granted so many. */
static unsigned
free_for(const struct body_pool *pool, unsigned granted)
{
    unsigned kept = granted < BODY_SMALL_CHUNKS ? 0 : pool->chunks_max / SMALL_SHARE;

    return free_count(pool) - least(free_count(pool), kept);
}

/* Each one granted raises what the body holds and lowers what is free: the n-th (from 0) is due
 * while (granted + n) * SHARE < unheld - n. */
static unsigned
count_due(unsigned granted, unsigned unheld)
{
    unsigned held = granted * SHARE;

    return held >= unheld ? 0 : (unheld - held + SHARE) / (SHARE + 1);
}

static unsigned
share_left(const struct body *body)
{
    const struct body_pool *pool = body->pool;
    unsigned first = BODY_SMALL_CHUNKS - least(body->granted, BODY_SMALL_CHUNKS), unheld;

    if (first > 0)
        first = least(first, count_due(body->granted, free_for(pool, body->granted)));
    if (body->granted + first < BODY_SMALL_CHUNKS)
        return first;
    unheld = free_for(pool, BODY_SMALL_CHUNKS);
    return first + count_due(body->granted + first, unheld - least(unheld, first));
}

/* The more it has sent, the more it is given at once: silence behind DATA should not cost 64 KB. */
static unsigned
ahead_of(const struct body *body)
{
    unsigned n = body->size_bytes / BODY_CHUNK_BYTES < BODY_AHEAD_CHUNKS
                     ? (unsigned)(body->size_bytes / BODY_CHUNK_BYTES)
                     : BODY_AHEAD_CHUNKS;

    return n > BODY_SMALL_CHUNKS ? n : BODY_SMALL_CHUNKS;
}

static void
refill(struct body *body)
{
    unsigned max = body->state == BODY_ON_DISK ? DISK_CHUNKS : BODY_CHUNKS_MAX;
    unsigned ahead = ahead_of(body), n = ahead - least(spare(body), ahead);

    n = least(n, max - least(body->granted, max));
    if (n > 0)
        n = least(n, share_left(body));
    body->granted += n;
    body->pool->granted += n;
}

/* --- The pool's lists. */

static void
unlist(struct body *body)
{
    if (body->is_listed)
        TAILQ_REMOVE(&body->pool->listed[body->listed_at], body, list);
    body->is_listed = false;
}

static void
note_move(struct body *body)
{
    body->moved_at_ms = loop_now_ms(body->pool->loop);
    if (body->is_listed && body->listed_at == body->granted && TAILQ_NEXT(body, list) == NULL)
        return;
    unlist(body);
    body->listed_at = body->granted;
    TAILQ_INSERT_TAIL(&body->pool->listed[body->listed_at], body, list);
    body->is_listed = true;
}

static void
wait_enter(struct body *body)
{
    struct body_pool *pool = body->pool;

    if (body->is_waiting)
        return;
    body->is_waiting = true;
    body->waits_since_ms = loop_now_ms(pool->loop);
    TAILQ_INSERT_TAIL(&pool->waiting[body->granted], body, wait);
    pool->waiting_count++;
    if (!loop_timer_is_running(&pool->timer) && !pool->closed)
        loop_timer_start(&pool->timer, LOOK_MS);
}

static void
wait_leave(struct body *body)
{
    if (!body->is_waiting)
        return;
    TAILQ_REMOVE(&body->pool->waiting[body->granted], body, wait);
    body->pool->waiting_count--;
    body->is_waiting = false;
}

static void
leave_lists(struct body *body)
{
    wait_leave(body);
    unlist(body);
}

/* --- The end. */

/* Batches stay granted until the writer is done with them. */
static void
orphan_batches(struct body *body)
{
    struct body_batch *batch;

    while ((batch = LIST_FIRST(&body->batches)) != NULL) {
        LIST_REMOVE(batch, link);
        batch->body = NULL;
    }
    body->granted -= body->writing;
    body->writing = 0;
}

static void
end_push(struct body *body)
{
    if (body->was_pushed)
        body->pool->moves--;
    body->was_pushed = false;
}

static void
close_large(struct body *body)
{
    if (body->large == NULL)
        return;
    spool_large_close(&body->large);
    body->pool->larges--;
}

static void
let_go(struct body *body)
{
    leave_lists(body);
    orphan_batches(body);
    end_push(body);
    close_large(body);
    chunks_give(body->pool, body->first, body->last);
    body->first = body->last = NULL;
    body->held = body->last_used = 0;
    take_spare(body, 0);
}

static void
fail(struct body *body, enum body_trouble trouble)
{
    let_go(body);
    body->state = BODY_FAILED;
    body->trouble = trouble;
}

void
body_init(struct body *body, struct body_pool *pool, struct spool_writer *writer,
          void (*on_change)(void *ctx), void *ctx)
{
    *body = (struct body){.pool = pool, .writer = writer, .on_change = on_change, .ctx = ctx};
    LIST_INIT(&body->batches);
}

void
body_fini(struct body *body)
{
    let_go(body);
}

void
body_discard(struct body *body)
{
    fail(body, BODY_UNWANTED);
}

/* --- To disk. */

static void meet_share(struct body *body);

static void
tell(struct body *body)
{
    if (!body->pool->closed)
        body->on_change(body->ctx);
}

static void
on_written(void *owner)
{
    struct body_batch *batch = owner;
    struct body *body = batch->body;
    bool was_behind;

    chunks_give(batch->pool, batch->first, batch->last);
    if (body == NULL) {
        take_back(batch->pool, batch->count);
        free(batch);
        return;
    }
    was_behind = body_is_behind(body);
    wait_leave(body);
    LIST_REMOVE(batch, link);
    body->writing -= batch->count;
    body->granted -= batch->count;
    take_back(batch->pool, batch->count);
    free(batch);
    if (body->is_whole)
        return;
    refill(body);
    if (body_room(body) == 0)
        meet_share(body);
    else if (was_behind)
        tell(body);
}

/* What it holds goes to the writer. */
static void
flush(struct body *body)
{
    struct iovec iov[BODY_CHUNKS_MAX];
    struct body_batch *batch;
    int n = body_iovec(body, iov), rc;

    if (n == 0)
        return;
    batch = mem_alloc(sizeof *batch);
    *batch = (struct body_batch){.pool = body->pool,
                                 .body = body,
                                 .first = body->first,
                                 .last = body->last,
                                 .count = body->held};
    rc = spool_large_append(body->large, iov, n, on_written, batch);
    if (rc < 0) {
        free(batch);
        fail(body, rc == ERR_LIMIT ? BODY_TOO_LONG : BODY_BROKEN);
        return;
    }
    LIST_INSERT_HEAD(&body->batches, batch, link);
    body->writing += body->held;
    body->held = body->last_used = 0;
    body->first = body->last = NULL;
}

/* What it holds goes to the writer, and the last of it gives back the room that it does not need:
 * a scanner or a backend may keep it waiting for long. */
static void
flush_last(struct body *body)
{
    flush(body);
    if (body->state == BODY_ON_DISK)
        spool_large_trim(body->large);
}

static void
on_segment(void *ctx, int err)
{
    struct body *body = ctx;

    end_push(body);
    if (body->pool->waiting_count > 0)
        call_turn(body->pool); /* the next may be pushed */
    if (err < 0)
        fail(body, BODY_NO_ROOM);
    else {
        body->state = BODY_ON_DISK;
        if (body->is_whole)
            flush_last(body);
        else
            flush(body);
    }
    if (body->state == BODY_ON_DISK && !body->is_whole) {
        refill(body);
        note_move(body);
        if (body_room(body) == 0)
            meet_share(body);
    }
    tell(body);
}

/* What the client has announced is believed as long as it can be true. */
static uint64_t
reservation(const struct body *body)
{
    uint64_t announced = body->announced_bytes, room;

    if (announced == 0 || announced < body->size_bytes)
        return body->max_bytes;
    room = announced + ESTIMATE_MARGIN(announced);
    return room < body->max_bytes ? room : body->max_bytes;
}

static void
move(struct body *body)
{
    struct body_pool *pool = body->pool;

    leave_lists(body);
    if (pool->larges >= pool->larges_max) {
        fail(body, BODY_NO_ROOM);
        return;
    }
    body->state = BODY_MOVING;
    pool->larges++;
    body->large =
        spool_large_open(body->writer, reservation(body), body->envelope_bytes, on_segment, body);
}

/* It has no room for another read. */
static void
meet_share(struct body *body)
{
    if (body->state == BODY_ON_DISK)
        flush(body);
    if (body->state == BODY_FAILED)
        return;
    if (body->state == BODY_IN_MEMORY && body->size_bytes > BODY_PRESSED_MAX)
        move(body);
    else if (body->writing == 0) /* else what is being written makes room */
        wait_enter(body);
}

/* --- The pool's turn: wakes who fits, and pushes who does not move. */

static struct body *
first_fitting(struct body_pool *pool)
{
    for (unsigned n = 0; n <= BODY_CHUNKS_MAX && n * SHARE < free_for(pool, n); n++)
        if (!TAILQ_EMPTY(&pool->waiting[n]))
            return TAILQ_FIRST(&pool->waiting[n]);
    return NULL;
}

static void
wake(struct body_pool *pool)
{
    struct body *body;

    while (pool->waiting_count > 0 && (body = first_fitting(pool)) != NULL) {
        wait_leave(body);
        refill(body);
        CHECK(body_room(body) > 0);
        note_move(body);
        tell(body);
    }
}

static void
push_in_memory(struct body *body)
{
    if (body->held == 0 && !body->is_waiting)
        take_spare(body, 1);
    else if (body->held == 0 || body->pool->moves >= MOVES_MAX)
        fail(body, BODY_NO_ROOM);
    else {
        take_spare(body, 0);
        body->was_pushed = true;
        body->pool->moves++;
        move(body);
    }
}

static void
push_on_disk(struct body *body, int64_t now_ms)
{
    flush(body);
    if (body->state == BODY_FAILED)
        return;
    take_spare(body, 1);
    if (body->is_waiting && now_ms - body->waits_since_ms >= WAIT_MAX_MS)
        fail(body, BODY_NO_ROOM);
    else if (body->is_waiting)
        note_move(body);
}

static struct body *
largest_unmoved(struct body_pool *pool, int64_t now_ms)
{
    for (unsigned n = BODY_CHUNKS_MAX + 1; n-- > 0;) {
        struct body *body = TAILQ_FIRST(&pool->listed[n]);

        if (body != NULL && now_ms - body->moved_at_ms >= pool->idle_ms)
            return body;
    }
    return NULL;
}

/* Nobody is pushed for who is helped by what is on its way already; nor does a queue form for the
 * disk that it cannot take in time. */
static bool
needs_push(const struct body_pool *pool)
{
    return pool->moves < least(MOVES_MAX, pool->waiting_count) || pool->waiting_count > WAITERS_MAX;
}

/* One that does not move gives back what it can. */
static bool
push_one(struct body_pool *pool)
{
    int64_t now_ms = loop_now_ms(pool->loop);
    struct body *body;

    if (!needs_push(pool))
        return false;
    body = largest_unmoved(pool, now_ms);
    if (body == NULL)
        return false;
    unlist(body);
    if (body->state == BODY_ON_DISK)
        push_on_disk(body, now_ms);
    else
        push_in_memory(body);
    tell(body);
    return true;
}

static void
on_turn(void *ctx)
{
    struct body_pool *pool = ctx;

    pool->turn_due = false;
    if (pool->closed)
        return;
    do
        wake(pool);
    while (push_one(pool));
    if (pool->waiting_count > 0 && !loop_timer_is_running(&pool->timer))
        loop_timer_start(&pool->timer, LOOK_MS);
}

/* --- The pool's life. */

void
body_pool_init(struct body_pool *pool, struct loop *loop, unsigned chunks_max, unsigned larges_max)
{
    *pool = (struct body_pool){
        .loop = loop, .chunks_max = chunks_max, .larges_max = larges_max, .idle_ms = BODY_IDLE_MS};
    for (size_t i = 0; i <= BODY_CHUNKS_MAX; i++) {
        TAILQ_INIT(&pool->listed[i]);
        TAILQ_INIT(&pool->waiting[i]);
    }
    loop_timer_init(&pool->timer, loop, on_turn, pool);
}

void
body_pool_close(struct body_pool *pool)
{
    pool->closed = true;
    loop_timer_cancel(&pool->timer);
}

void
body_pool_fini(struct body_pool *pool)
{
    while (pool->slabs) {
        struct body_slab *slab = pool->slabs;

        pool->slabs = slab->next;
        free(slab);
    }
    pool->unused = NULL;
}

/* --- Content. */

void
body_begin(struct body *body, uint64_t max_bytes, uint64_t announced_bytes, uint32_t envelope_bytes)
{
    CHECK(body->size_bytes == 0 && body->large == NULL);
    body->state = BODY_IN_MEMORY;
    body->trouble = BODY_FINE;
    body->max_bytes = max_bytes;
    body->announced_bytes = announced_bytes;
    body->envelope_bytes = envelope_bytes;
    if (announced_bytes > BODY_MEMORY_MAX) {
        move(body);
        return;
    }
    refill(body);
    note_move(body);
    if (body_room(body) == 0)
        meet_share(body);
}

/* NULL: nothing at all is free. */
static struct body_chunk *
next_chunk(struct body *body)
{
    if (spare(body) == 0) { /* what was pipelined behind DATA has come without a grant */
        if (free_count(body->pool) == 0 || body->granted == BODY_CHUNKS_MAX)
            return NULL;
        wait_leave(body);
        body->granted++;
        body->pool->granted++;
    }
    return chunk_take(body->pool);
}

static void
append_chunks(struct body *body, struct slice piece)
{
    while (piece.n > 0) {
        size_t room = body->last ? BODY_CHUNK_BYTES - body->last_used : 0;
        size_t n = piece.n < room ? piece.n : room;
        struct body_chunk *c;

        if (room == 0) {
            c = next_chunk(body);
            if (c == NULL) {
                fail(body, BODY_NO_ROOM);
                return;
            }
            if (body->last)
                body->last->next = c;
            else
                body->first = c;
            body->last = c;
            body->last_used = 0;
            body->held++;
            continue;
        }
        memcpy(body->last->bytes + body->last_used, piece.p, n);
        body->last_used += (unsigned)n;
        piece.p += n;
        piece.n -= n;
    }
}

void
body_append(struct body *body, struct slice piece)
{
    body->size_bytes += piece.n;
    if (body->state == BODY_FAILED)
        return;
    append_chunks(body, piece);
    if (body->state == BODY_ON_DISK && body->held >= WRITE_CHUNKS)
        flush(body);
    if (body->state == BODY_IN_MEMORY && body->size_bytes > BODY_MEMORY_MAX)
        move(body);
    if (body->state == BODY_FAILED || body->state == BODY_MOVING)
        return;
    refill(body);
    note_move(body);
    if (body_room(body) == 0)
        meet_share(body);
}

void
body_end(struct body *body)
{
    body->is_whole = true;
    leave_lists(body);
    take_spare(body, 0);
    if (body->state == BODY_ON_DISK)
        flush_last(body);
}

size_t
body_room(const struct body *body)
{
    size_t room = (size_t)spare(body) * BODY_CHUNK_BYTES;

    if (body->state == BODY_FAILED) /* many at once may be: none is to take long */
        return BODY_SMALL_CHUNKS * BODY_CHUNK_BYTES;
    if (body->state == BODY_MOVING)
        return 0;
    if (body->last)
        room += BODY_CHUNK_BYTES - body->last_used;
    return room < BODY_READ_MAX ? room : BODY_READ_MAX;
}

bool
body_is_behind(const struct body *body)
{
    return !body->is_whole && body_room(body) == 0;
}

bool
body_is_settled(const struct body *body)
{
    return body->state != BODY_MOVING;
}

int
body_iovec(const struct body *body, struct iovec iov[BODY_CHUNKS_MAX])
{
    int n = 0;

    for (struct body_chunk *c = body->first; c; c = c->next, n++) {
        iov[n].iov_base = c->bytes;
        iov[n].iov_len = c == body->last ? body->last_used : BODY_CHUNK_BYTES;
    }
    return n;
}

bool
body_next_piece(const struct body *body, const struct body_chunk **at, struct slice *piece)
{
    const struct body_chunk *c = *at ? (*at)->next : body->first;

    if (c == NULL)
        return false;
    *at = c;
    *piece = (struct slice){c->bytes, c == body->last ? body->last_used : BODY_CHUNK_BYTES};
    return true;
}
