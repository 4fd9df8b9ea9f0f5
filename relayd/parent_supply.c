/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What workers get from the parent, since they open nothing themselves; and the segments they are
 * done with, which are sealed here.
 */
#include "relayd/parent_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "registry/registry_last.h"

#define SPILL_FULL_EVERY_MS 60000 /* the alarm */

/* --- What workers get. */

/* Another registry's replica, or an older one, would make a 550 of registered domains (P5). A
 * damaged one is the worker's to refuse. */
static bool
is_foreign(struct parent *p, int fd)
{
    struct registry *registry;
    struct registry_last last;
    char path[4096];
    bool foreign;

    snprintf(path, sizeof path, "%s/%s", p->config->state_dir, RELAYD_LAST_FILE);
    if (registry_last_read(path, &last) != ERR_OK || registry_open(fd, &registry) != ERR_OK)
        return false;
    foreign = !registry_last_vouches(&last, registry_get_version(registry));
    registry_close(&registry);
    return foreign;
}

void
parent_send_replica(struct child *worker)
{
    char path[4096];
    int fd;

    if (worker->channel == NULL)
        return;
    snprintf(path, sizeof path, "%s/%s", worker->parent->config->state_dir, RELAYD_REPLICA_FILE);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (is_foreign(worker->parent, fd))
        log_line(LOG_LEVEL_ALARM, NULL, "replica-foreign",
                 "file=%s effect=\"not used; recipients are answered 451 until the database has "
                 "been read\"",
                 path);
    else if (channel_send(worker->channel, RELAYD_REPLICA, SLICE(""), &fd, 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "replica-not-sent", "worker=%u", worker->index);
    close(fd);
}

void
parent_send_event_log(struct child *worker)
{
    if (worker->parent->event_fd < 0 || worker->channel == NULL)
        return;
    if (channel_send(worker->channel, RELAYD_EVENT_LOG, SLICE(""), &worker->parent->event_fd, 1) <
        0)
        log_line(LOG_LEVEL_ALARM, NULL, "event-log-not-sent", "worker=%u", worker->index);
}

/* A channel between a worker and the state process.  Each child closes its end some time before it
 * is reaped: then it has a pid and no channel, and its successor is joined when it starts. */
void
parent_join_to_state(struct child *worker)
{
    struct child *state = parent_state_child(worker->parent);
    int fds[2];

    if (state->pid == 0 || state->channel == NULL || worker->channel == NULL)
        return;
    if (channel_pair(fds) < 0)
        return;
    if (channel_send(state->channel, RELAYD_ADD_WORKER, SLICE(""), &fds[0], 1) < 0 ||
        channel_send(worker->channel, RELAYD_STATE, SLICE(""), &fds[1], 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "worker-without-state", "worker=%u", worker->index);
    close(fds[0]);
    close(fds[1]);
}

void
parent_open_event_log(struct parent *p)
{
    char path[4096], stamp[32];
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H", &tm);
    snprintf(path, sizeof path, "%s/events-%s.jsonl", p->config->log_dir, stamp);
    if (p->event_fd >= 0)
        close(p->event_fd);
    p->event_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    p->event_hour = now / 3600;
    if (p->event_fd < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "event-log-unwritable", "path=%s error=\"%s\"", path,
                 strerror(errno));
}

/* --- Segments. */

static void
seal_segment(struct parent *p, struct spool_segment_id id)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int rc = spool_segment_seal(&spool_io_disk, p->spool_dir_fd, id);

    if (rc < 0 && rc != ERR_NOT_FOUND)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-sealed", "segment=%s error=\"%s\"",
                 spool_segment_name(id, name), err_text(rc));
}

/* Octets that large messages in passage have reserved. */
static uint64_t
spilled_bytes(const struct parent *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < CHILDREN_MAX; i++)
        for (const struct given_segment *g = p->children[i].segments; g; g = g->next)
            sum += g->size_bytes != SPOOL_SEGMENT_BYTES ? g->size_bytes : 0;
    return sum;
}

static bool
is_spill_full(struct parent *p, uint64_t size_bytes)
{
    uint64_t spilled, now_ms = (uint64_t)clock_monotonic_ms();

    if (size_bytes == SPOOL_SEGMENT_BYTES)
        return false;
    spilled = spilled_bytes(p);
    if (spilled <= p->config->spill_max && size_bytes <= p->config->spill_max - spilled)
        return false;
    if (now_ms >= p->spill_full_again_at_ms) {
        p->spill_full_again_at_ms = now_ms + SPILL_FULL_EVERY_MS;
        log_line(LOG_LEVEL_ALARM, NULL, "spill-full",
                 "reserved=%llu wanted=%llu spill-max=%llu effect=\"large messages are answered "
                 "452 at their end\"",
                 (unsigned long long)spilled, (unsigned long long)size_bytes,
                 (unsigned long long)p->config->spill_max);
    }
    return true;
}

static void
add_given(struct child *worker, struct spool_segment_id id, uint64_t size_bytes)
{
    struct given_segment *given = mem_alloc(sizeof *given);

    given->id = id;
    given->size_bytes = size_bytes;
    given->next = worker->segments;
    worker->segments = given;
}

static int
make_segment(struct child *worker, uint64_t size_bytes, struct spool_segment_id *id, int *fd,
             uint8_t key[SIPHASH_KEY_SIZE])
{
    struct parent *p = worker->parent;
    int rc;

    *id = (struct spool_segment_id){(uint16_t)p->config->node, p->epoch, 0};
    if (is_spill_full(p, size_bytes))
        return ERR_FULL;
    id->number = ++p->next_segment;
    rc = spool_segment_create(&spool_io_disk, p->spool_dir_fd, *id, size_bytes, fd, key);
    if (rc < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-made",
                 "size=%llu error=\"%s\" effect=\"what must be spooled is answered 452\"",
                 (unsigned long long)size_bytes, err_text(rc));
    else
        add_given(worker, *id, size_bytes);
    return rc;
}

void
parent_give_segment(struct child *worker, uint32_t ticket, uint64_t size_bytes)
{
    uint8_t key[SIPHASH_KEY_SIZE] = {0};
    struct spool_segment_id id;
    struct buf b;
    int fd = -1;
    bool made, sent;

    if (worker->channel == NULL)
        return;
    made = make_segment(worker, size_bytes, &id, &fd, key) == ERR_OK;
    buf_init(&b, 0);
    put_u32(&b, ticket);
    put_u16(&b, id.node);
    put_u32(&b, id.epoch);
    put_u32(&b, id.number);
    put_bytes(&b, (struct slice){(const char *)key, sizeof key});
    put_u64(&b, size_bytes);
    sent = channel_send(worker->channel, RELAYD_SEGMENT, buf_slice(&b), &fd, made) == ERR_OK;
    buf_fini(&b);
    if (made)
        close(fd);
    if (sent)
        return;
    log_line(LOG_LEVEL_ALARM, NULL, "segment-not-sent", "worker=%u effect=\"it is replaced\"",
             worker->index);
    if (made)
        parent_done_segment(worker, id);
    channel_close(&worker->channel); /* it ends when it sees that */
}

void
parent_done_segment(struct child *worker, struct spool_segment_id id)
{
    for (struct given_segment **at = &worker->segments; *at; at = &(*at)->next) {
        struct given_segment *given = *at;

        if (given->id.epoch != id.epoch || given->id.number != id.number)
            continue;
        *at = given->next;
        free(given);
        seal_segment(worker->parent, id);
        return;
    }
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
            seal_segment(p, id); /* harmless for one that is sealed */
    closedir(dir);
}
