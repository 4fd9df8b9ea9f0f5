/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Segments, as the parent sees them: what each worker has been given, and a queue of work for the
 * segments process, which waits for the disk.  It gets one job at a time, so that its death leaves
 * one question open.  New segments that all share go first, since many wait for them; those of
 * single messages and seals take turns, or a stream of large messages would never be given its room
 * back.  What waits to be sealed counts as room that is free: while more is promised than spill-max
 * allows, seals go before the segments that it was promised to.  So does what waits to be trimmed,
 * the room that a single message turned out not to need; it goes with the seals, and before its
 * own.
 *
 * An id is used once.  Whatever happens to a new segment (its worker died meanwhile, the process
 * died, the disk is full), its id is sealed in the end, which frees what holds no record.
 */
#include "relayd/parent_private.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/crash_point.h"
#include "base/log.h"

#define SEAL_TRIES 2 /* then it is for the next start, and for people */

enum segment_work { WORK_MAKE, WORK_SEAL, WORK_TRIM };

static const struct {
    enum relayd_message asked, answered;
} messages[] = {
    [WORK_MAKE] = {RELAYD_MAKE_SEGMENT, RELAYD_MADE_SEGMENT},
    [WORK_SEAL] = {RELAYD_SEAL_SEGMENT, RELAYD_SEALED_SEGMENT},
    [WORK_TRIM] = {RELAYD_TRIM_SEGMENT, RELAYD_TRIMMED_SEGMENT},
};

struct segment_job {
    STAILQ_ENTRY(segment_job) link;
    enum segment_work work;
    unsigned tries;
    struct spool_segment_id id;
    uint64_t size_bytes;  /* of a new one; that a trimmed one keeps */
    uint64_t frees_bytes; /* of spill-max, when it is done; in sealing_bytes until then */
    struct child *worker; /* of a new one, as below; NULL: gone */
    uint32_t ticket;
};

/* --- The queue. */

static struct segment_job *
take_job(struct segment_jobs *queue)
{
    struct segment_job *job = STAILQ_FIRST(queue);

    if (job != NULL)
        STAILQ_REMOVE_HEAD(queue, link);
    return job;
}

/* One whose worker is gone needs no file any more. */
static struct segment_job *
take_make(struct segment_jobs *makes)
{
    struct segment_job *job;

    while ((job = take_job(makes)) != NULL && job->worker == NULL)
        free(job);
    return job;
}

static struct segment_job *
take_seal_in_turn(struct parent *p)
{
    if (!p->is_seals_turn && p->spilled_bytes <= p->config->spill_max)
        return NULL;
    p->is_seals_turn = false;
    return take_job(&p->seals);
}

static struct segment_job *
next_job(struct parent *p)
{
    struct segment_job *job = take_make(&p->makes_shared);

    if (job == NULL)
        job = take_seal_in_turn(p);
    if (job == NULL) {
        job = take_make(&p->makes_large);
        p->is_seals_turn = job != NULL;
    }
    return job != NULL ? job : take_job(&p->seals);
}

static int
send_job(struct parent *p, const struct segment_job *job)
{
    struct buf b;
    int rc;

    buf_init(&b, 0);
    spool_segment_put_id(&b, job->id);
    if (job->work != WORK_SEAL)
        put_u64(&b, job->size_bytes);
    if (job->work == WORK_MAKE)
        put_u32(&b, (uint32_t)job->worker->pid);
    rc = channel_send(parent_segments_child(p)->channel, (uint16_t)messages[job->work].asked,
                      buf_slice(&b), NULL, 0);
    buf_fini(&b);
    return rc;
}

void
parent_segments_pump(struct parent *p)
{
    if (p->segment_job != NULL || parent_segments_child(p)->channel == NULL)
        return;
    p->segment_job = next_job(p);
    if (p->segment_job != NULL && send_job(p, p->segment_job) < 0)
        channel_close(&parent_segments_child(p)->channel); /* it ends, and is started anew */
}

bool
parent_segments_idle(const struct parent *p)
{
    return p->segment_job == NULL && STAILQ_EMPTY(&p->makes_shared) &&
           STAILQ_EMPTY(&p->makes_large) && STAILQ_EMPTY(&p->seals);
}

static uint64_t
spill_of(uint64_t size_bytes)
{
    return size_bytes == SPOOL_SEGMENT_BYTES ? 0 : size_bytes;
}

static bool
is_same_id(struct spool_segment_id a, struct spool_segment_id b)
{
    return a.epoch == b.epoch && a.number == b.number;
}

/* Trimming that has not begun is not worth it any more; what it would have freed. */
static uint64_t
drop_trim(struct parent *p, struct spool_segment_id id)
{
    struct segment_job *job;
    uint64_t frees_bytes;

    STAILQ_FOREACH(job, &p->seals, link)
    if (job->work == WORK_TRIM && is_same_id(job->id, id))
        break;
    if (job == NULL)
        return 0;
    frees_bytes = job->frees_bytes;
    STAILQ_REMOVE(&p->seals, job, segment_job, link);
    free(job);
    return frees_bytes;
}

/* `size_bytes` are what a trimmed one keeps. */
static void
give_back(struct parent *p, enum segment_work work, struct spool_segment_id id, uint64_t size_bytes,
          uint64_t frees_bytes)
{
    struct segment_job *job = mem_alloc(sizeof *job);

    *job = (struct segment_job){.work = work, .id = id, .size_bytes = size_bytes};
    job->frees_bytes = drop_trim(p, id) + frees_bytes;
    p->sealing_bytes += frees_bytes;
    STAILQ_INSERT_TAIL(&p->seals, job, link);
    parent_segments_pump(p);
}

/* --- New segments. */

static void
answer_worker(struct child *worker, uint32_t ticket, struct spool_segment_id id, struct slice key,
              uint64_t size_bytes, int fd)
{
    struct buf b;
    bool sent;

    if (worker->channel == NULL)
        return;
    buf_init(&b, 0);
    put_u32(&b, ticket);
    spool_segment_put_id(&b, id);
    put_bytes(&b, key);
    put_u64(&b, size_bytes);
    CRASH_POINT("parent-before-giving");
    sent = channel_send(worker->channel, RELAYD_SEGMENT, buf_slice(&b), &fd, fd >= 0) == ERR_OK;
    CRASH_POINT("parent-behind-giving");
    buf_fini(&b);
    if (sent)
        return;
    log_line(LOG_LEVEL_ALARM, NULL, "segment-not-sent", "worker=%u effect=\"it is replaced\"",
             worker->index);
    if (fd >= 0)
        parent_done_segment(worker, id);
    channel_close(&worker->channel); /* it ends when it sees that */
}

static void
refuse(struct child *worker, uint32_t ticket, struct spool_segment_id id, uint64_t size_bytes)
{
    static const char no_key[SIPHASH_KEY_SIZE];

    answer_worker(worker, ticket, id, (struct slice){no_key, sizeof no_key}, size_bytes, -1);
}

static void
add_given(struct child *worker, struct spool_segment_id id, uint64_t size_bytes)
{
    struct given_segment *given = mem_alloc(sizeof *given);

    given->id = id;
    given->size_bytes = size_bytes;
    given->next = worker->segments;
    worker->segments = given;
    worker->parent->spilled_bytes += spill_of(size_bytes);
}

/* It counts as given from here on: two requests must not share what is left of spill-max. */
void
parent_give_segment(struct child *worker, uint32_t ticket, uint64_t size_bytes)
{
    struct parent *p = worker->parent;
    struct spool_segment_id id = {(uint16_t)p->config->node, p->epoch, 0};
    struct segment_job *job;

    if (worker->channel == NULL)
        return;
    if (parent_is_spill_full(p, size_bytes)) {
        refuse(worker, ticket, id, size_bytes);
        return;
    }
    id.number = ++p->next_segment;
    add_given(worker, id, size_bytes);
    job = mem_alloc(sizeof *job);
    *job = (struct segment_job){
        .id = id, .size_bytes = size_bytes, .worker = worker, .ticket = ticket};
    if (size_bytes == SPOOL_SEGMENT_BYTES)
        STAILQ_INSERT_TAIL(&p->makes_shared, job, link);
    else
        STAILQ_INSERT_TAIL(&p->makes_large, job, link);
    parent_segments_pump(p);
}

/* Where it hangs; there is NULL if it is not the worker's. */
static struct given_segment **
find_given(struct child *worker, struct spool_segment_id id)
{
    struct given_segment **at = &worker->segments;

    while (*at != NULL && !is_same_id((*at)->id, id))
        at = &(*at)->next;
    return at;
}

void
parent_done_segment(struct child *worker, struct spool_segment_id id)
{
    struct given_segment **at = find_given(worker, id), *given = *at;

    if (given == NULL)
        return;
    *at = given->next;
    give_back(worker->parent, WORK_SEAL, id, 0, spill_of(given->size_bytes));
    free(given);
}

void
parent_trim_segment(struct child *worker, struct spool_segment_id id, uint64_t size_bytes)
{
    struct given_segment *given = *find_given(worker, id);
    uint64_t frees_bytes;

    if (given == NULL || spill_of(given->size_bytes) == 0 || spill_of(size_bytes) == 0 ||
        size_bytes < SPOOL_SEGMENT_HEADER_BYTES || size_bytes >= given->size_bytes)
        return;
    frees_bytes = given->size_bytes - size_bytes;
    given->size_bytes = size_bytes;
    give_back(worker->parent, WORK_TRIM, id, size_bytes, frees_bytes);
}

static void
forget_worker(struct segment_jobs *makes, const struct child *worker)
{
    struct segment_job *job;

    STAILQ_FOREACH(job, makes, link)
    if (job->worker == worker)
        job->worker = NULL;
}

void
parent_segments_worker_ended(struct child *worker)
{
    struct parent *p = worker->parent;

    forget_worker(&p->makes_shared, worker);
    forget_worker(&p->makes_large, worker);
    if (p->segment_job && p->segment_job->worker == worker)
        p->segment_job->worker = NULL;
    while (worker->segments)
        parent_done_segment(worker, worker->segments->id);
}

/* --- What the segments process says. */

static void
on_made(const struct segment_job *job, int err, struct slice key, int fd)
{
    if (err < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-made",
                 "size=%llu error=\"%s\" effect=\"what must be spooled is answered 452\"",
                 (unsigned long long)job->size_bytes, err_text(err));
    if (job->worker == NULL)
        return; /* its end has seen to the id */
    if (err == ERR_OK && fd >= 0)
        answer_worker(job->worker, job->ticket, job->id, key, job->size_bytes, fd);
    else {
        parent_done_segment(job->worker, job->id);
        refuse(job->worker, job->ticket, job->id, job->size_bytes);
    }
}

/* What it had reserved is free, or has become the spool's. */
static void
on_given_back(struct parent *p, const struct segment_job *job, int err)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    p->spilled_bytes -= job->frees_bytes;
    p->sealing_bytes -= job->frees_bytes;
    if (err < 0 && err != ERR_NOT_FOUND)
        log_line(LOG_LEVEL_ALARM, NULL,
                 job->work == WORK_TRIM ? "segment-not-trimmed" : "segment-not-sealed",
                 "segment=%s error=\"%s\"", spool_segment_name(job->id, name), err_text(err));
}

void
parent_segments_message(struct parent *p, uint16_t type, struct decoder *d, int fd)
{
    struct segment_job *job = p->segment_job;
    int err = -(int)get_u32(d);

    if (job == NULL || messages[job->work].answered != type)
        return;
    p->segment_job = NULL;
    if (job->work != WORK_MAKE)
        on_given_back(p, job, err);
    else
        on_made(job, err, get_bytes(d), fd);
    free(job);
    parent_segments_pump(p);
}

/* What it was at is asked once more if it is a seal; a worker asks again by itself. */
void
parent_segments_process_ended(struct parent *p)
{
    static const char no_key[SIPHASH_KEY_SIZE];
    struct segment_job *job = p->segment_job;

    p->segment_job = NULL;
    if (job == NULL)
        return;
    if (job->work == WORK_SEAL && ++job->tries < SEAL_TRIES) {
        STAILQ_INSERT_TAIL(&p->seals, job, link);
        return;
    }
    if (job->work != WORK_MAKE)
        on_given_back(p, job, ERR_CLOSED);
    else
        on_made(job, ERR_CLOSED, (struct slice){no_key, sizeof no_key}, -1);
    free(job);
}

/* Segments of earlier starts of this node that were never sealed: their writers are dead. */
void
parent_seal_orphans(struct parent *p)
{
    DIR *dir = opendir(p->config->spool_dir);
    struct spool_segment_id id;
    struct dirent *entry;

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        if (spool_segment_parse_name(entry->d_name, &id) == ERR_OK && id.node == p->config->node &&
            id.epoch != p->epoch)
            give_back(p, WORK_SEAL, id, 0, 0); /* harmless for one that is sealed */
    closedir(dir);
}

void
parent_segments_free(struct parent *p)
{
    struct segment_job *job;

    while ((job = take_job(&p->makes_shared)) != NULL ||
           (job = take_job(&p->makes_large)) != NULL || (job = take_job(&p->seals)) != NULL)
        free(job);
    free(p->segment_job);
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        while (p->children[i].segments) {
            struct given_segment *given = p->children[i].segments;

            p->children[i].segments = given->next;
            free(given);
        }
}
