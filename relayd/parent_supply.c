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

/* --- What workers get. */

void
parent_send_replica(struct child *worker)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/%s", worker->parent->config->state_dir, RELAYD_REPLICA_FILE);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (channel_send(worker->channel, RELAYD_REPLICA, SLICE(""), &fd, 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "replica-not-sent", "worker=%u", worker->index);
    close(fd);
}

void
parent_send_event_log(struct child *worker)
{
    if (worker->parent->event_fd >= 0 && channel_send(worker->channel, RELAYD_EVENT_LOG, SLICE(""),
                                                      &worker->parent->event_fd, 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "event-log-not-sent", "worker=%u", worker->index);
}

/* A channel between a worker and the state process. */
void
parent_join_to_state(struct child *worker)
{
    struct child *state = parent_state_child(worker->parent);
    int fds[2];

    if (state->pid == 0 || channel_pair(fds) < 0)
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

void
parent_give_segment(struct child *worker, uint32_t ticket, uint64_t size_bytes)
{
    struct parent *p = worker->parent;
    struct spool_segment_id id = {(uint16_t)p->config->node, p->epoch, ++p->next_segment};
    uint8_t key[SIPHASH_KEY_SIZE] = {0};
    struct given_segment *given;
    struct buf b;
    int fd = -1;
    int rc = spool_segment_create(&spool_io_disk, p->spool_dir_fd, id, size_bytes, &fd, key);

    if (rc < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-made",
                 "size=%llu error=\"%s\" effect=\"what must be spooled is answered 452\"",
                 (unsigned long long)size_bytes, err_text(rc));
    buf_init(&b, 0);
    put_u32(&b, ticket);
    put_u16(&b, id.node);
    put_u32(&b, id.epoch);
    put_u32(&b, id.number);
    put_bytes(&b, (struct slice){(const char *)key, sizeof key});
    put_u64(&b, size_bytes);
    if (channel_send(worker->channel, RELAYD_SEGMENT, buf_slice(&b), &fd, rc < 0 ? 0 : 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-sent", "worker=%u", worker->index);
    buf_fini(&b);
    if (rc < 0)
        return;
    close(fd);
    given = mem_alloc(sizeof *given);
    given->id = id;
    given->next = worker->segments;
    worker->segments = given;
}

static void
seal_segment(struct parent *p, struct spool_segment_id id)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int rc = spool_segment_seal(&spool_io_disk, p->spool_dir_fd, id);

    if (rc < 0 && rc != ERR_NOT_FOUND)
        log_line(LOG_LEVEL_ALARM, NULL, "segment-not-sealed", "segment=%s error=\"%s\"",
                 spool_segment_name(id, name), err_text(rc));
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
