/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One thing is asked of the database at a time: how far the files are copied, a batch of lines, or
 * a piece of housekeeping.  A batch and the offset behind it are one transaction in the database
 * (postern.events_copy), which refuses a batch that does not begin where the last one ended: so a
 * line is copied exactly once, whenever and however often we die, and if two of us run.
 *
 *   up --> schema --> offsets --> batch, batch, ... --nothing more--> rest for a second
 *            ^                       \-- refused: retry in 5 s          |  --> tend, shorten
 *            +-----------------------------------------------------------+
 *
 * The files are bounded here as well, whether or not there is a database: by age, since they hold
 * whole addresses (event-privacy), and by size; what goes without having been copied is said.  A
 * clock that has jumped makes all of them old at once: then what has not been copied waits.
 */
#define _GNU_SOURCE 1

#include "relayd/control_events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/event_files.h"
#include "base/log.h"
#include "base/parse.h"
#include "db/db.h"
#include "db/db_days.h"
#include "db/db_schema.h"
#include "base/event_log.h"

#define REST_MS 1000
#define RETRY_MS 5000
#define BATCH_BYTES (1024 * 1024)
#define TEND_EVERY_MS (3600 * 1000) /* days to come, days to drop */
#define SHORTEN_REST_MS 200         /* between portions, so that others have the disk */
#define BOUND_EVERY_MS 5000
#define HOUR_MS 3600000LL
#define DAY_MS (24 * HOUR_MS)
#define ENDS_MS (366 * DAY_MS)    /* as long as a customer's mail may be kept */
#define GAP_MS (2 * HOUR_MS)      /* there is a file an hour while the relay runs */
#define SETTLED_MS (10 * 60000LL) /* after its hour nobody writes to a file any more */

struct copied {
    char file[EVENT_FILES_NAME];
    uint64_t offset;
};

struct control_events {
    const struct config *config;
    struct loop *loop;
    struct db *db; /* NULL: no database is configured */
    struct loop_timer timer;
    bool is_asking, is_known; /* the offsets are */
    struct copied *copied;
    size_t copied_count;
    char file[EVENT_FILES_NAME]; /* of the batch under way */
    uint64_t batch_ends;
    int64_t tend_at_ms, shorten_at_ms, bound_at_ms; /* monotonic */
    char *said;        /* the last complaint, so that it is said once */
    bool is_kept_said; /* that files are kept in spite of their age */
};

static void rest(struct control_events *e, int64_t ms);

/* --- Saying. */

static void
complain(struct control_events *e, enum log_level level, const char *event, const char *why)
{
    char quoted[1024];

    if (e->said != NULL && strcmp(e->said, why) == 0)
        return;
    free(e->said);
    e->said = mem_strdup(why);
    log_line(level, NULL, event, "why=%s effect=\"%s\"",
             log_quote(slice_of(why), quoted, sizeof quoted),
             "events wait in the files of log-dir, and are copied later");
}

static void
come_right(struct control_events *e)
{
    if (e->said != NULL)
        log_line(LOG_LEVEL_INFO, NULL, "events-copied-again", "%s", "");
    free(e->said);
    e->said = NULL;
}

/* --- What has been copied. */

static struct copied *
copied_of(struct control_events *e, const char *file)
{
    for (size_t i = 0; i < e->copied_count; i++)
        if (strcmp(e->copied[i].file, file) == 0)
            return &e->copied[i];
    return NULL;
}

static uint64_t
offset_of(struct control_events *e, const char *file)
{
    const struct copied *copied = copied_of(e, file);

    return copied ? copied->offset : 0;
}

static void
set_offset(struct control_events *e, const char *file, uint64_t offset)
{
    struct copied *copied = copied_of(e, file);

    if (copied == NULL) {
        e->copied = mem_realloc(e->copied, (e->copied_count + 1) * sizeof *e->copied);
        copied = &e->copied[e->copied_count++];
        snprintf(copied->file, sizeof copied->file, "%s", file);
    }
    copied->offset = offset;
}

static void
forget_offset(struct control_events *e, const char *file)
{
    struct copied *copied = copied_of(e, file);

    if (copied != NULL)
        *copied = e->copied[--e->copied_count];
}

/* --- Bounds of the files. */

/* The gap is an event of its own, in the file that is written now. */
static void
record_gap(struct control_events *e, const struct event_file *file, const char *newest,
           uint64_t bytes)
{
    char path[PATH_MAX];
    struct buf json;
    int fd;

    snprintf(path, sizeof path, "%s/%s", e->config->log_dir, newest);
    fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    buf_init(&json, 0);
    event_begin(&json, "gap", clock_wall_ms());
    event_text(&json, "file", slice_of(file->name));
    event_number(&json, "bytes", (int64_t)bytes);
    event_text(&json, "why", SLICE("the file was not copied before it had to go"));
    event_end(&json);
    buf_add_text(&json, "\n");
    if (fd < 0 || write(fd, buf_slice(&json).p, buf_size(&json)) != (ssize_t)buf_size(&json))
        log_line(LOG_LEVEL_WARN, NULL, "event-gap-not-recorded", "file=\"%s\" error=\"%s\"", path,
                 strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_fini(&json);
}

static void
remove_file(struct control_events *e, const struct event_file *file, const char *newest,
            const char *why)
{
    uint64_t offset = offset_of(e, file->name);
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", e->config->log_dir, file->name);
    if (unlink(path) != 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "event-file-not-removed", "file=\"%s\" error=\"%s\"", path,
                 strerror(errno));
        return;
    }
    log_line(LOG_LEVEL_INFO, NULL, "event-file-removed", "file=%s why=%s", file->name, why);
    if (e->db != NULL && file->size_bytes > offset) {
        log_line(
            LOG_LEVEL_WARN, NULL, "event-gap", "file=%s bytes=%" PRIu64 " why=%s effect=\"%s\"",
            file->name, file->size_bytes - offset, why,
            e->is_known ? "they are not in the database"
                        : "they are not in the database, unless they were copied before relayd "
                          "started");
        record_gap(e, file, newest, file->size_bytes - offset);
    }
    forget_offset(e, file->name);
}

/* The one that workers write to.  Behind it may be those of hours to come, by a clock that was
 * ahead. */
static size_t
present_file(const struct event_files *files, int64_t now_ms)
{
    size_t i = files->count - 1;

    while (i > 0 && files->items[i].hour_ms > now_ms)
        i--;
    return i;
}

/* There are no files of the hours before those that are written now (or of this one yet): the relay
 * was off, or its clock has jumped, and nobody can tell which. As with the expiry of mail, there is
 * a grace. */
static bool
clock_may_be_wrong(const struct event_files *files, size_t present, int64_t now_ms,
                   int64_t grace_ms)
{
    size_t i = present;

    if (now_ms - files->items[i].hour_ms > GAP_MS)
        return true;
    while (i > 0 && files->items[i].hour_ms - files->items[i - 1].hour_ms <= GAP_MS)
        i--;
    return i > 0 && now_ms - files->items[i].hour_ms < grace_ms;
}

static void
say_kept(struct control_events *e, const struct event_file *file)
{
    if (!e->is_kept_said)
        log_line(LOG_LEVEL_WARN, NULL, "event-files-kept",
                 "file=%s why=\"older than event-privacy, but not copied, and the clock may have "
                 "jumped\" effect=\"such files go when they have been copied, or after "
                 "expiry-grace\"",
                 file->name);
    e->is_kept_said = true;
}

/* The file that workers write to is never removed. */
static void
bound_files(struct control_events *e)
{
    const struct config *c = e->config;
    int64_t age_ms = c->event_privacy_ms ? c->event_privacy_ms : c->event_retention_ms;
    int64_t now_ms = clock_wall_ms();
    struct event_files files;
    uint64_t left, most = c->event_log_max - c->event_log_max / 16;
    size_t present;
    bool is_grace;

    if (event_files_list(c->log_dir, &files) != ERR_OK)
        return; /* the parent has said so */
    left = files.size_bytes;
    present = files.count > 0 ? present_file(&files, now_ms) : 0;
    is_grace = files.count > 0 && clock_may_be_wrong(&files, present, now_ms, c->expiry_grace_ms);
    for (size_t i = 0; i < present; i++) {
        const struct event_file *file = &files.items[i];
        const char *newest = files.items[present].name;
        bool is_old = now_ms - file->hour_ms - HOUR_MS > age_ms;

        if (is_old && !(is_grace && file->size_bytes > offset_of(e, file->name)))
            remove_file(e, file, newest, "event-privacy");
        else if (left > most)
            remove_file(e, file, newest, "event-log-max");
        else if (is_old) {
            say_kept(e, file);
            continue;
        } else
            break;
        left -= file->size_bytes;
    }
    event_files_fini(&files);
}

/* --- A batch. */

/* So that any file is a text of PostgreSQL's: events are printable ASCII, whatever else there is
 * after a disk's damage. */
static void
clean(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != '\n' && ((unsigned char)p[i] < ' ' || (unsigned char)p[i] > '~'))
            p[i] = '?';
}

/* Whole lines from `offset` on; what has no end, only when nobody can end it any more, or when it
 * is longer than any line. */
static size_t
read_lines(struct control_events *e, const struct event_file *file, uint64_t offset, char *bytes)
{
    char path[PATH_MAX];
    const char *end;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s", e->config->log_dir, file->name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    n = fd < 0 ? -1 : pread(fd, bytes, BATCH_BYTES, (off_t)offset);
    if (n < 0)
        complain(e, LOG_LEVEL_ALARM, "event-file-unreadable", path);
    if (fd >= 0)
        close(fd);
    end = n > 0 ? memrchr(bytes, '\n', (size_t)n) : NULL;
    if (end != NULL)
        return (size_t)(end + 1 - bytes);
    if (n == BATCH_BYTES || clock_wall_ms() > file->hour_ms + HOUR_MS + SETTLED_MS)
        return n > 0 ? (size_t)n : 0;
    return 0;
}

static void
on_copied(void *ctx, const PGresult *result)
{
    struct control_events *e = ctx;
    uint64_t offset;

    e->is_asking = false;
    if (result == NULL)
        return; /* the offsets are asked for again when it is back */
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        parse_u64(slice_of(PQgetvalue(result, 0, 0)), &offset) != ERR_OK) {
        complain(e, LOG_LEVEL_ALARM, "events-not-copied", PQresultErrorMessage(result));
        rest(e, RETRY_MS);
        return;
    }
    if (offset != e->batch_ends)
        log_line(LOG_LEVEL_INFO, NULL, "events-copied-before", "file=%s to=%" PRIu64, e->file,
                 offset);
    set_offset(e, e->file, offset);
    come_right(e);
    rest(e, 0);
}

/* Usage is counted by the service's days.  Lines of a file are of its hour, or nearly so, but for
 * ends that came while no keeper ran: they are written by the next one. */
static void
send_batch(struct control_events *e, const struct event_file *file, uint64_t offset,
           const char *lines)
{
    char node[16], begins[24], ends[24];
    const char *params[] = {node, e->file, begins, ends, lines, NULL, NULL};
    struct db_days days;

    snprintf(node, sizeof node, "%u", e->config->node);
    snprintf(begins, sizeof begins, "%" PRIu64, offset);
    snprintf(ends, sizeof ends, "%" PRIu64, e->batch_ends);
    db_days_init(&days, file->hour_ms - ENDS_MS, file->hour_ms + DAY_MS);
    params[5] = buf_text(&days.days);
    params[6] = buf_text(&days.starts);
    e->is_asking = true;
    db_query(e->db, "SELECT postern.events_copy($1, $2, $3, $4, $5, $6, $7)", ARRAY_SIZE(params),
             params, on_copied, e);
    db_days_fini(&days);
}

static bool
copy_from(struct control_events *e, const struct event_file *file)
{
    uint64_t offset = offset_of(e, file->name);
    char *bytes;
    size_t n;

    if (file->size_bytes <= offset)
        return false;
    bytes = mem_alloc(BATCH_BYTES + 1);
    n = read_lines(e, file, offset, bytes);
    if (n > 0) {
        clean(bytes, n);
        bytes[n] = '\0';
        snprintf(e->file, sizeof e->file, "%s", file->name);
        e->batch_ends = offset + n;
        send_batch(e, file, offset, bytes);
    }
    free(bytes);
    return n > 0;
}

static bool
copy_next(struct control_events *e)
{
    struct event_files files;
    bool found = false;

    if (event_files_list(e->config->log_dir, &files) != ERR_OK)
        return false;
    for (size_t i = 0; i < files.count && !found; i++)
        found = copy_from(e, &files.items[i]);
    event_files_fini(&files);
    return found;
}

/* --- Housekeeping in the database. */

static const char *
interval_text(int64_t ms, char dst[40])
{
    snprintf(dst, 40, "%" PRId64 " milliseconds", ms);
    return dst;
}

static void
on_tended(void *ctx, const PGresult *result)
{
    struct control_events *e = ctx;

    e->is_asking = false;
    if (result == NULL)
        return;
    e->tend_at_ms = loop_now_ms(e->loop) + TEND_EVERY_MS;
    if (PQresultStatus(result) !=
        PGRES_TUPLES_OK) { /* e.g. somebody reads for long: lock_timeout */
        log_line(LOG_LEVEL_WARN, NULL, "events-not-tended", "error=\"%s\"",
                 PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
        e->tend_at_ms = loop_now_ms(e->loop) + 60000;
    } else if (!PQgetisnull(result, 0, 0) && strcmp(PQgetvalue(result, 0, 0), "0") != 0)
        log_line(LOG_LEVEL_INFO, NULL, "event-days-dropped", "days=%s", PQgetvalue(result, 0, 0));
    rest(e, 0);
}

static void
on_shortened(void *ctx, const PGresult *result)
{
    struct control_events *e = ctx;
    bool is_done;

    e->is_asking = false;
    if (result == NULL)
        return;
    is_done =
        PQresultStatus(result) != PGRES_TUPLES_OK || strcmp(PQgetvalue(result, 0, 0), "-1") == 0;
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        log_line(LOG_LEVEL_ALARM, NULL, "events-not-shortened", "error=\"%s\"",
                 PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    e->shorten_at_ms = loop_now_ms(e->loop) + (is_done ? TEND_EVERY_MS : SHORTEN_REST_MS);
    rest(e, is_done ? 0 : SHORTEN_REST_MS);
}

/* True: something has been asked. */
static bool
keep_house(struct control_events *e)
{
    int64_t now_ms = loop_now_ms(e->loop);
    char interval[40], usage[40];
    const char *params[] = {interval, usage};

    if (now_ms >= e->tend_at_ms) {
        interval_text(e->config->event_retention_ms, interval);
        interval_text(e->config->usage_retention_ms, usage);
        db_query(e->db, "SELECT postern.events_tend($1, $2)", 2, params, on_tended, e);
    } else if (e->config->event_privacy_ms && now_ms >= e->shorten_at_ms) {
        interval_text(e->config->event_privacy_ms, interval);
        db_query(e->db, "SELECT postern.events_shorten($1)", 1, params, on_shortened, e);
    } else
        return false;
    e->is_asking = true;
    return true;
}

/* --- Beginning. */

static void
on_offsets(void *ctx, const PGresult *result)
{
    struct control_events *e = ctx;
    uint64_t offset;

    e->is_asking = false;
    if (result == NULL)
        return;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        complain(e, LOG_LEVEL_ALARM, "events-not-copied", PQresultErrorMessage(result));
        rest(e, RETRY_MS);
        return;
    }
    e->copied_count = 0;
    for (int i = 0; i < PQntuples(result); i++)
        if (parse_u64(slice_of(PQgetvalue(result, i, 1)), &offset) == ERR_OK)
            set_offset(e, PQgetvalue(result, i, 0), offset);
    e->is_known = true;
    rest(e, 0);
}

static void
on_schema(void *ctx, const PGresult *result)
{
    struct control_events *e = ctx;
    char sentence[DB_SCHEMA_SENTENCE_SIZE], node[16];
    const char *params[] = {node};

    if (result == NULL) {
        e->is_asking = false;
        return;
    }
    if (db_schema_check(result, sentence) != DB_SCHEMA_FITS) { /* control.c has said why */
        e->is_asking = false;
        rest(e, RETRY_MS);
        return;
    }
    snprintf(node, sizeof node, "%u", e->config->node);
    db_query(e->db, "SELECT file, offset_bytes FROM postern.events_copied WHERE node = $1", 1,
             params, on_offsets, e);
}

static void
begin(struct control_events *e)
{
    e->is_asking = true;
    db_query(e->db, DB_SCHEMA_QUERY, 0, NULL, on_schema, e);
}

/* --- The clock's hand. */

static void
rest(struct control_events *e, int64_t ms)
{
    loop_timer_start(&e->timer, ms);
}

static void
on_timer(void *ctx)
{
    struct control_events *e = ctx;

    if (loop_now_ms(e->loop) >= e->bound_at_ms) {
        bound_files(e);
        e->bound_at_ms = loop_now_ms(e->loop) + BOUND_EVERY_MS;
    }
    rest(e, REST_MS);
    if (e->db == NULL || !db_is_up(e->db) || e->is_asking)
        return;
    if (!e->is_known)
        begin(e);
    else if (!keep_house(e))
        (void)copy_next(e);
}

static void
on_up(void *ctx)
{
    struct control_events *e = ctx;

    begin(e);
}

/* What is known of the offsets may be older than what the database has taken. */
static void
on_down(void *ctx, const char *why)
{
    struct control_events *e = ctx;

    complain(e, LOG_LEVEL_WARN, "events-wait", why);
    e->is_known = false;
    e->is_asking = false;
}

static const struct db_ops db_ops = {.on_up = on_up, .on_down = on_down};

struct control_events *
control_events_open(struct loop *loop, const struct config *config)
{
    struct control_events *e = mem_alloc(sizeof *e);

    e->config = config;
    e->loop = loop;
    loop_timer_init(&e->timer, loop, on_timer, e);
    if (config->database[0])
        e->db = db_open(loop, config->database, &db_ops, e);
    rest(e, REST_MS);
    return e;
}

void
control_events_close(struct control_events **held)
{
    struct control_events *e = *held;

    *held = NULL;
    if (e == NULL)
        return;
    if (e->db != NULL)
        db_close(&e->db);
    loop_timer_cancel(&e->timer);
    free(e->copied);
    free(e->said);
    free(e);
}
