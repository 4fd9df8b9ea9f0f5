/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two buffers: the loop fills one, the thread writes the other.  When the disk is so slow that
 * EVENT_LOG_MAX_BYTES wait, lines are dropped and counted: mail never waits for its own history.
 * What was lost, so or because the disk refused it, is said in the log, at once and then as a sum a
 * minute, and by an event "gap" when lines can be written again.
 */
#include "base/event_log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENT_LOG_MAX_BYTES (16 * 1024 * 1024)
#define SAY_EVERY_MS 60000

struct event_log {
    struct buf gathered; /* the loop's, as all until the mutex */
    uint64_t dropped, gap_lines;
    uint64_t unsaid;  /* lines that were lost since it was said */
    int unsaid_errno; /* of the first of them; 0: dropped */
    int64_t say_again_at_ms;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct buf waiting; /* under the mutex, as all below */
    int fd;
    bool ending;
    uint64_t lost;   /* lines that could not be written, until the loop has taken the number */
    int lost_errno;  /* of the first of them */
    int batch_errno; /* of the last batch; 0: it was written */
    bool is_torn;    /* the last line that was written has no end */
};

/* Returns what could not be written. */
static struct slice
write_all(int fd, struct slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return bytes;
}

/* With the mutex; returns with it. */
static void
write_batch(struct event_log *log, struct buf *batch)
{
    struct slice rest;
    int fd = dup(log->fd), saved;
    bool torn;

    pthread_mutex_unlock(&log->mutex);
    rest = write_all(fd, buf_slice(batch));
    saved = errno;
    if (fd >= 0)
        close(fd);
    torn = rest.n > 0 && rest.n < buf_size(batch) && rest.p[-1] != '\n';
    pthread_mutex_lock(&log->mutex);
    log->is_torn = rest.n == buf_size(batch) ? log->is_torn : torn;
    if (log->lost == 0)
        log->lost_errno = saved;
    log->lost += slice_count(rest, '\n');
    log->batch_errno = rest.n > 0 ? saved : 0;
}

static void *
run(void *ctx)
{
    struct event_log *log = ctx;
    struct buf batch;

    buf_init(&batch, 0);
    pthread_mutex_lock(&log->mutex);
    for (;;) {
        while ((buf_size(&log->waiting) == 0 || log->fd < 0) && !log->ending)
            pthread_cond_wait(&log->filled, &log->mutex);
        if (buf_size(&log->waiting) == 0 || log->fd < 0)
            break;
        buf_clear(&batch);
        if (log->is_torn)
            buf_add_text(&batch, "\n");
        buf_add_slice(&batch, buf_slice(&log->waiting));
        buf_clear(&log->waiting);
        write_batch(log, &batch);
    }
    pthread_mutex_unlock(&log->mutex);
    buf_fini(&batch);
    return NULL;
}

static void
say_dropped(uint64_t count, const char *why)
{
    log_line(LOG_LEVEL_ALARM, NULL, "events-dropped", "count=%llu error=\"%s\"",
             (unsigned long long)count, why);
}

static const char *
reason(int why)
{
    return why ? strerror(why) : "the disk is too slow";
}

/* What was lost since it was last looked; adds it to what is to be said. */
static uint64_t
take_lost(struct event_log *log)
{
    uint64_t lost = log->lost + log->dropped;

    if (log->unsaid == 0)
        log->unsaid_errno = log->lost > 0 ? log->lost_errno : 0;
    log->unsaid += lost;
    log->lost = log->dropped = 0;
    return lost;
}

/* At the end: what has no file, or could not be written. */
static void
say_unwritten(struct event_log *log)
{
    uint64_t left =
        slice_count(buf_slice(&log->gathered), '\n') + slice_count(buf_slice(&log->waiting), '\n');

    take_lost(log);
    if (log->unsaid + left > 0)
        say_dropped(log->unsaid + left,
                    log->fd < 0 ? "there is no file to write to" : reason(log->unsaid_errno));
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
    say_unwritten(log);
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
    pthread_cond_signal(&log->filled);
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

/* The gap itself is an event, once there is an end to it. */
static void
say_gap(struct event_log *log)
{
    struct buf json;

    buf_init(&json, 0);
    event_begin(&json, "gap", clock_wall_ms());
    event_number(&json, "lines", (int64_t)log->gap_lines);
    event_text(&json, "why", SLICE("the event log could not be written"));
    event_end(&json);
    log->gap_lines = 0;
    event_log_add(log, buf_slice(&json));
    buf_fini(&json);
}

static void
say_lost(struct event_log *log)
{
    int64_t now_ms = clock_monotonic_ms();
    bool is_over;
    uint64_t lost;

    pthread_mutex_lock(&log->mutex);
    lost = take_lost(log);
    is_over = lost == 0 && log->batch_errno == 0;
    pthread_mutex_unlock(&log->mutex);
    log->gap_lines += lost;
    if (log->unsaid > 0 && now_ms >= log->say_again_at_ms) {
        say_dropped(log->unsaid, reason(log->unsaid_errno));
        log->unsaid = 0;
        log->say_again_at_ms = now_ms + SAY_EVERY_MS;
    }
    if (is_over && log->gap_lines > 0)
        say_gap(log);
}

void
event_log_flush(struct event_log *log)
{
    say_lost(log);
    if (buf_size(&log->gathered) == 0)
        return;
    pthread_mutex_lock(&log->mutex);
    if (buf_size(&log->waiting) + buf_size(&log->gathered) <= EVENT_LOG_MAX_BYTES) {
        buf_add_slice(&log->waiting, buf_slice(&log->gathered));
        buf_clear(&log->gathered);
        pthread_cond_signal(&log->filled);
    }
    pthread_mutex_unlock(&log->mutex);
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
        /* PostgreSQL's jsonb takes no NUL: its symbol stands for it. */
        buf_printf(json, c == '"' || c == '\\' ? "\\%c" : "\\u%04x", c ? c : 0x2400);
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
