/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two buffers: the loop fills one, the thread writes the other.  When the disk is so slow that
 * EVENT_LOG_MAX_BYTES wait, lines are dropped and counted: mail never waits for its own history.
 */
#include "relayd/event_log.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENT_LOG_MAX_BYTES (16 * 1024 * 1024)

struct event_log {
    struct buf gathered; /* the loop's */
    uint64_t dropped;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct buf waiting; /* under the mutex, as all below */
    int fd;
    bool ending;
};

static void
write_all(int fd, struct slice bytes)
{
    while (bytes.n > 0 && fd >= 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n <= 0)
            return;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
}

static void *
run(void *ctx)
{
    struct event_log *log = ctx;
    struct buf batch;
    int fd;

    buf_init(&batch, 0);
    pthread_mutex_lock(&log->mutex);
    for (;;) {
        while (buf_size(&log->waiting) == 0 && !log->ending)
            pthread_cond_wait(&log->filled, &log->mutex);
        if (buf_size(&log->waiting) == 0)
            break;
        buf_clear(&batch);
        buf_add_slice(&batch, buf_slice(&log->waiting));
        buf_clear(&log->waiting);
        fd = log->fd >= 0 ? dup(log->fd) : -1;
        pthread_mutex_unlock(&log->mutex);
        write_all(fd, buf_slice(&batch));
        if (fd >= 0)
            close(fd);
        pthread_mutex_lock(&log->mutex);
    }
    pthread_mutex_unlock(&log->mutex);
    buf_fini(&batch);
    return NULL;
}

struct event_log *
event_log_new(void)
{
    struct event_log *log = mem_alloc(sizeof *log);

    log->fd = -1;
    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->filled, NULL);
    CHECK(pthread_create(&log->thread, NULL, run, log) == 0);
    return log;
}

void
event_log_free(struct event_log **held)
{
    struct event_log *log = *held;

    *held = NULL;
    if (log == NULL)
        return;
    event_log_flush(log);
    pthread_mutex_lock(&log->mutex);
    log->ending = true;
    pthread_cond_signal(&log->filled);
    pthread_mutex_unlock(&log->mutex);
    pthread_join(log->thread, NULL);
    if (log->fd >= 0)
        close(log->fd);
    buf_fini(&log->gathered);
    buf_fini(&log->waiting);
    pthread_mutex_destroy(&log->mutex);
    pthread_cond_destroy(&log->filled);
    free(log);
}

void
event_log_use(struct event_log *log, int fd)
{
    event_log_flush(log);
    pthread_mutex_lock(&log->mutex);
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    pthread_mutex_unlock(&log->mutex);
}

void
event_log_add(struct event_log *log, struct slice json)
{
    if (buf_size(&log->gathered) + json.n > EVENT_LOG_MAX_BYTES) {
        log->dropped++;
        return;
    }
    buf_add_slice(&log->gathered, json);
    buf_add(&log->gathered, "\n", 1);
}

void
event_log_flush(struct event_log *log)
{
    if (buf_size(&log->gathered) == 0)
        return;
    pthread_mutex_lock(&log->mutex);
    if (buf_size(&log->waiting) + buf_size(&log->gathered) <= EVENT_LOG_MAX_BYTES) {
        buf_add_slice(&log->waiting, buf_slice(&log->gathered));
        buf_clear(&log->gathered);
        pthread_cond_signal(&log->filled);
    }
    pthread_mutex_unlock(&log->mutex);
    if (log->dropped) {
        log_line(LOG_LEVEL_ALARM, NULL, "events-dropped", "count=%llu",
                 (unsigned long long)log->dropped);
        log->dropped = 0;
    }
}

void
event_begin(struct buf *json, const char *event, int64_t wall_ms)
{
    char when[CLOCK_RFC3339_SIZE];

    buf_printf(json, "{\"at\":\"%s\",\"event\":\"%s\"", clock_rfc3339(wall_ms, when), event);
}

void
event_escape(struct buf *json, struct slice value)
{
    size_t run = 0;

    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
            run++;
            continue;
        }
        buf_add(json, value.p + i - run, run);
        run = 0;
        buf_printf(json, c == '"' || c == '\\' ? "\\%c" : "\\u%04x", c);
    }
    buf_add(json, value.p + value.n - run, run);
}

void
event_text(struct buf *json, const char *key, struct slice value)
{
    buf_add_text(json, ",\"");
    buf_add_text(json, key);
    buf_add_text(json, "\":\"");
    event_escape(json, value);
    buf_add_text(json, "\"");
}

void
event_number(struct buf *json, const char *key, int64_t value)
{
    buf_printf(json, ",\"%s\":%lld", key, (long long)value);
}

void
event_end(struct buf *json)
{
    buf_add_text(json, "}");
}
