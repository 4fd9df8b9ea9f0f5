/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What workers get from the parent, since they open nothing themselves; and how much of the disk
 * their large messages may take.
 */
#include "relayd/parent_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "registry/registry_last.h"
#include "base/event_files.h"

#define HOUR_MS 3600000
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

/* A channel between a worker and a helper.  Each child closes its end some time before it is
 * reaped: then it has a pid and no channel, and its successor is joined when it starts. */
static void
join(struct child *worker, struct child *helper, enum relayd_message message)
{
    int fds[2];

    if (helper->pid == 0 || helper->channel == NULL || worker->channel == NULL)
        return;
    if (channel_pair(fds) < 0)
        return;
    if (channel_send(helper->channel, RELAYD_ADD_WORKER, SLICE(""), &fds[0], 1) < 0 ||
        channel_send(worker->channel, message, SLICE(""), &fds[1], 1) < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "worker-without-helper", "worker=%u helper=%s",
                 worker->index, parent_child_name(helper));
    close(fds[0]);
    close(fds[1]);
}

void
parent_join_to_state(struct child *worker)
{
    join(worker, parent_state_child(worker->parent), RELAYD_STATE);
}

void
parent_join_to_spf(struct child *worker)
{
    join(worker, parent_spf_child(worker->parent), RELAYD_SPF);
}

/* --- The event log: a file an hour, and parts of it when it grows large, so that the oldest can go
 * (control_events.c). */

static bool
is_event_file_full(struct parent *p)
{
    struct stat st;

    return p->event_fd >= 0 && fstat(p->event_fd, &st) == 0 &&
           (uint64_t)st.st_size >= event_files_part_bytes(p->config->event_log_max);
}

bool
parent_wants_event_log(struct parent *p)
{
    return clock_wall_ms() / HOUR_MS != p->event_hour ||
           (is_event_file_full(p) && p->event_part < EVENT_FILES_PARTS);
}

void
parent_open_event_log(struct parent *p)
{
    char path[4096], name[EVENT_FILES_NAME];
    int64_t hour = clock_wall_ms() / HOUR_MS;

    p->event_part = hour == p->event_hour ? p->event_part : 0;
    p->event_hour = hour;
    do {
        snprintf(path, sizeof path, "%s/%s", p->config->log_dir,
                 event_files_name(hour * HOUR_MS, p->event_part, name));
        if (p->event_fd >= 0)
            close(p->event_fd);
        p->event_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    } while (is_event_file_full(p) && p->event_part++ < EVENT_FILES_PARTS);
    if (p->event_fd < 0)
        log_line(LOG_LEVEL_ALARM, NULL, "event-log-unwritable", "path=%s error=\"%s\"", path,
                 strerror(errno));
}

/* --- Room for large messages in passage. */

bool
parent_is_spill_full(struct parent *p, uint64_t size_bytes)
{
    uint64_t spilled = p->spilled_bytes - p->sealing_bytes, now_ms = (uint64_t)clock_monotonic_ms();

    if (size_bytes == SPOOL_SEGMENT_BYTES)
        return false;
    if (spilled <= p->config->spill_max && size_bytes <= p->config->spill_max - spilled)
        return false;
    if (now_ms >= p->spill_full_again_at_ms) {
        p->spill_full_again_at_ms = now_ms + SPILL_FULL_EVERY_MS;
        log_line(LOG_LEVEL_ALARM, NULL, "spill-full",
                 "reserved=%llu wanted=%llu spill-max=%llu effect=\"large messages are answered "
                 "452\"",
                 (unsigned long long)spilled, (unsigned long long)size_bytes,
                 (unsigned long long)p->config->spill_max);
    }
    return true;
}
