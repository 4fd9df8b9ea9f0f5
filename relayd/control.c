/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The control process: PostgreSQL's registry in, the node's replica out.  After each connect it
 * listens first and then loads everything in one REPEATABLE READ transaction, so that no change
 * falls between; a notification loads again, a poll of the version is the safety net.  What is
 * loaded is judged by the guard before it replaces the last good replica; what is refused waits for
 * an operator.
 *
 * It touches no mail.  Whatever happens here (database away, wrong, of another schema; a full
 * disk), the replica that is there stays, the reason is logged once, and it is tried again.
 *
 * It also looks up what the SPF includes of filters lead to.  Networks that have changed go into a
 * copy of the replica that is there, so that they do not wait for PostgreSQL, and to PostgreSQL
 * when it is there, for nodes that cannot ask.
 *
 *   connect --> LISTEN --> load --judge--> write, tell the parent
 *                           ^   \--refused--> registry-offered ... accept-registry --+
 *                           +---- notification, poll, retry, missing domain due <----+
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/parse.h"
#include "db/db.h"
#include "db/db_schema.h"
#include "net/channel.h"
#include "registry/registry_last.h"
#include "relayd/control_events.h"
#include "relayd/control_include.h"
#include "relayd/control_load.h"
#include "relayd/relayd.h"

#define TICK_MS 1000
#define POLL_EVERY_MS 60000
#define RETRY_MS 5000       /* after a failed load: a schema that does not fit, a full disk */
#define WRITE_EVERY_MS 1000 /* at most one replica a second */
#define COALESCE_MS 20      /* commands that follow each other make one load */
#define REPLICA_TMP ".tmp"

struct control_process {
    const struct config *config;
    struct loop *loop;
    struct channel *parent;
    struct db *db; /* NULL: no database is configured */
    struct control_events *events;
    char path[PATH_MAX], path_tmp[PATH_MAX], path_offered[PATH_MAX], path_accept[PATH_MAX];
    char path_last[PATH_MAX], path_last_tmp[PATH_MAX];

    struct registry_set good;  /* what the replica holds; without a database_id there is none */
    bool is_good_lost;         /* there was one, but it cannot be read */
    struct registry_last last; /* then: what is remembered of it; without a database_id nothing */
    int64_t missing_due_at_ms; /* wall clock; 0: no domain is missing */
    bool is_refused;

    struct control_load load;
    bool is_loading, load_again;
    size_t next_query;
    int64_t load_began_at_ms, last_load_ms; /* monotonic; duration */
    int64_t written_at_ms, poll_at_ms, retry_at_ms;
    struct loop_timer tick, reload;

    struct control_includes *includes;
    struct loop_timer rewrite; /* runs while networks are known that the replica has not */
    bool was_loaded;           /* since the connection came: its schema fits */

    char *said, *skipped; /* the last thing logged of each kind, so that it is said once */
    bool was_up;
};

/* --- Saying. */

/* To the log and to the parent, once per change. */
static void
say(struct control_process *c, enum log_level level, const char *event, bool is_up, const char *why)
{
    struct buf text;
    char quoted[1024];

    if (c->said != NULL && c->was_up == is_up && strcmp(c->said, why) == 0)
        return;
    free(c->said);
    c->said = mem_strdup(why);
    c->was_up = is_up;
    log_line(level, NULL, event, "%s%s replica-version=%" PRIu64 " domains=%zu",
             why[0] ? "why=" : "",
             why[0] ? log_quote(slice_of(why), quoted, sizeof quoted) : "registry=current",
             c->good.version, c->good.count);
    buf_init(&text, 0);
    put_u8(&text, is_up);
    put_text(&text, why);
    (void)!channel_send(c->parent, RELAYD_DATABASE, buf_slice(&text), NULL, 0);
    buf_fini(&text);
}

/* A line for each bad row that was not bad in the load before. */
static void
say_skipped(struct control_process *c)
{
    char *before = c->skipped;
    struct slice lines;

    c->skipped = mem_strdup(buf_text(&c->load.skipped));
    lines = slice_of(c->skipped);
    while (lines.p != NULL) {
        struct slice line = slice_split(&lines, '\n');

        if (line.n > 0 &&
            (before == NULL || memmem(before, strlen(before), line.p, line.n + 1) == NULL))
            log_line(LOG_LEVEL_ALARM, NULL, "registry-row-skipped",
                     SLICE_FMT " skipped-in-all=%u remedy=\"%s\"", SLICE_ARG(line),
                     c->load.skipped_count, "correct it with relayctl; all other rows are in use");
    }
    free(before);
}

/* --- Offer and acceptance: two small files that relayctl reads and writes. */

static void
write_offer(struct control_process *c, const char *why)
{
    struct buf text;
    char path_tmp[PATH_MAX + sizeof REPLICA_TMP];
    int fd;

    snprintf(path_tmp, sizeof path_tmp, "%s%s", c->path_offered, REPLICA_TMP);
    buf_init(&text, 0);
    buf_printf(&text, "database_id %s\nversion %" PRIu64 "\nwhy %s\n", c->load.domains.database_id,
               c->load.domains.version, why);
    fd = open(path_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, buf_slice(&text).p, buf_size(&text)) != (ssize_t)buf_size(&text) ||
        rename(path_tmp, c->path_offered) != 0)
        log_line(LOG_LEVEL_WARN, NULL, "registry-offer-not-written", "file=\"%s\" error=\"%s\"",
                 c->path_offered, strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_fini(&text);
}

static struct slice
line_value(struct slice text, struct slice word)
{
    while (text.p != NULL) {
        struct slice line = slice_split(&text, '\n');

        if (line.n > word.n && line.p[word.n] == ' ' && memcmp(line.p, word.p, word.n) == 0)
            return slice_trim((struct slice){line.p + word.n, line.n - word.n});
    }
    return SLICE("");
}

/* An acceptance is of one registry as it was offered; one that has changed since is offered anew.
 */
static bool
is_accepted(struct control_process *c)
{
    char text[512];
    int fd = open(c->path_accept, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    struct slice all = {text, n > 0 ? (size_t)n : 0};
    uint64_t version;
    bool accepted;

    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd >= 0)
        close(fd);
    accepted =
        slice_equal(line_value(all, SLICE("database_id")), slice_of(c->load.domains.database_id)) &&
        parse_u64(line_value(all, SLICE("version")), &version) == ERR_OK &&
        version >= c->load.domains.version;
    if (!accepted) {
        log_line(LOG_LEVEL_ALARM, NULL, "acceptance-unfit",
                 "offered-database=%s offered-version=%" PRIu64 " remedy=\"%s\"",
                 c->load.domains.database_id, c->load.domains.version,
                 n < 0 ? "the file accept-registry cannot be read: make it readable for our user"
                       : "the registry has changed since: look again, then relayctl node "
                         "accept-registry");
        (void)unlink(c->path_accept);
    }
    return accepted;
}

/* --- The end of a load. */

static void
judge(struct control_process *c, bool is_accepted_, int64_t wall_ms, struct registry_guard *guard)
{
    const struct registry_set *good = c->good.database_id[0] ? &c->good : NULL;

    if (c->is_good_lost)
        registry_guard_judge_by_last(c->last.database_id[0] ? &c->last : NULL, &c->load.domains,
                                     is_accepted_, guard);
    else
        registry_guard_judge(good, &c->load.domains, is_accepted_, wall_ms, guard);
}

/* If it cannot be written, the replica is in use all the same, and the next one tries again. */
static void
remember(struct control_process *c)
{
    struct registry_last last = registry_last_of(&c->good);

    if (registry_last_write(c->path_last, c->path_last_tmp, &last) != ERR_OK)
        log_line(LOG_LEVEL_ALARM, NULL, "replica-last-not-written", "file=\"%s\" error=\"%s\"",
                 c->path_last, strerror(errno));
    c->last = last;
}

static void
refuse(struct control_process *c, const struct registry_guard *guard)
{
    char why[REGISTRY_GUARD_TEXT_SIZE], text[REGISTRY_GUARD_TEXT_SIZE + 160];
    struct registry_set last = {.version = c->last.version};

    memcpy(last.database_id, c->last.database_id, sizeof last.database_id);
    registry_guard_text(guard, c->is_good_lost ? &last : &c->good, &c->load.domains, why);
    snprintf(text, sizeof text,
             "the registry is refused: %s; %s; if it is right: relayctl node accept-registry", why,
             c->is_good_lost ? "the replica is damaged, recipients are answered 451"
                             : "the last good one stays in use");
    c->is_refused = true;
    write_offer(c, why);
    say(c, LOG_LEVEL_ALARM, "registry-refused", true, text);
}

static void
take_over(struct control_process *c, const struct registry_guard *guard)
{
    registry_set_fini(&c->good);
    c->good = c->load.domains;
    c->load.domains = (struct registry_set){0};
    c->missing_due_at_ms = guard->next_due_ms;
    c->written_at_ms = loop_now_ms(c->loop);
    c->is_refused = false;
    c->is_good_lost = false;
    c->was_loaded = true;
    loop_timer_cancel(&c->rewrite);
    control_load_want_includes(&c->load, c->includes);
    remember(c);
    (void)unlink(c->path_offered);
    (void)unlink(c->path_accept);
    (void)!channel_send(c->parent, RELAYD_REPLICA_WRITTEN, SLICE(""), NULL, 0);
    log_line(guard->carried ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, NULL, "replica-written",
             "version=%" PRIu64 " customers=%zu domains=%zu backends=%zu missing=%zu",
             c->good.version, c->load.customer_count, c->good.count, c->load.backend_count,
             guard->carried);
    say(c, LOG_LEVEL_INFO, "database-up", true, "");
}

static void
say_not_written(struct control_process *c, const char *error)
{
    char why[PATH_MAX + 128];

    snprintf(why, sizeof why, "%s cannot be written: %s; the last one stays in use", c->path,
             error);
    say(c, LOG_LEVEL_ALARM, "replica-not-written", true, why);
}

static void
finish_load(struct control_process *c)
{
    int64_t wall_ms = clock_wall_ms();
    struct registry_guard guard;
    int rc;

    judge(c, false, wall_ms, &guard);
    if (guard.verdict != REGISTRY_GUARD_ACCEPT && is_accepted(c)) {
        log_line(LOG_LEVEL_WARN, NULL, "registry-accepted", "database=%s version=%" PRIu64,
                 c->load.domains.database_id, c->load.domains.version);
        judge(c, true, wall_ms, &guard);
    }
    say_skipped(c);
    if (guard.verdict != REGISTRY_GUARD_ACCEPT) {
        refuse(c, &guard);
        return;
    }
    control_load_use_includes(&c->load, c->includes);
    rc = control_load_write(&c->load, c->path, c->path_tmp, wall_ms);
    if (rc == ERR_OK) {
        take_over(c, &guard);
        return;
    }
    say_not_written(c, rc == ERR_IO ? strerror(errno) : err_text(rc));
    c->retry_at_ms = loop_now_ms(c->loop) + RETRY_MS;
}

/* --- Networks of filters. */

static void
on_rewrite(void *ctx)
{
    struct control_process *c = ctx;
    int rc;

    if (c->good.database_id[0] == '\0' || c->is_good_lost)
        return; /* there is no replica, or none that is ours: the next load writes it */
    if (c->is_loading) {
        loop_timer_start(&c->rewrite, WRITE_EVERY_MS);
        return;
    }
    rc = control_load_rewrite(c->path, c->path_tmp, c->includes, clock_wall_ms());
    if (rc != ERR_OK) {
        say_not_written(c, rc == ERR_IO ? strerror(errno) : err_text(rc));
        loop_timer_start(&c->rewrite, RETRY_MS);
        return;
    }
    c->written_at_ms = loop_now_ms(c->loop);
    log_line(LOG_LEVEL_INFO, NULL, "replica-written", "version=%" PRIu64 " why=filter-networks",
             c->good.version);
    (void)!channel_send(c->parent, RELAYD_REPLICA_WRITTEN, SLICE(""), NULL, 0);
}

static void
on_networks_changed(void *ctx)
{
    struct control_process *c = ctx;
    int64_t since_ms = loop_now_ms(c->loop) - c->written_at_ms;

    if (!loop_timer_is_running(&c->rewrite))
        loop_timer_start(&c->rewrite, c->written_at_ms && since_ms < WRITE_EVERY_MS
                                          ? WRITE_EVERY_MS - since_ms
                                          : COALESCE_MS);
}

/* NULL without networks: what was known stays. */
static void
tell_database(void *ctx, const struct registry_include *include, const char *why)
{
    struct control_process *c = ctx;
    const char *params[3] = {include->name, NULL, why};
    struct buf networks;
    char text[INET_ENDPOINT_SIZE];

    buf_init(&networks, 0);
    for (unsigned i = 0; i < include->count && why == NULL; i++)
        buf_printf(&networks, "%s%s", i ? "," : "{",
                   inet_network_text(&include->networks[i], text));
    if (why == NULL) {
        buf_add_text(&networks, "}");
        params[1] = buf_text(&networks);
    }
    db_query(c->db, "SELECT postern.include_resolved($1, $2::cidr[], $3)", 3, params, NULL, NULL);
    buf_fini(&networks);
}

/* Not inside a load, whose transaction only reads. */
static void
on_includes_tried(void *ctx)
{
    struct control_process *c = ctx;

    if (c->db != NULL && db_is_up(c->db) && c->was_loaded && !c->is_loading)
        control_includes_tell(c->includes, tell_database, c);
}

static const struct control_includes_ops includes_ops = {.on_changed = on_networks_changed,
                                                         .on_tried = on_includes_tried};

/* --- Loading: one query at a time. */

static void ask_next(struct control_process *c);
static void load_soon(struct control_process *c);

static void
end_load(struct control_process *c)
{
    c->is_loading = false;
    control_load_fini(&c->load);
    if (c->load_again && db_is_up(c->db))
        load_soon(c);
    c->load_again = false;
    on_includes_tried(c);
}

/* The database answered, but not what is needed. */
static void
fail_load(struct control_process *c, enum log_level level, const char *event, const char *why)
{
    say(c, level, event, false, why);
    c->retry_at_ms = loop_now_ms(c->loop) + RETRY_MS;
    db_query(c->db, "ROLLBACK", 0, NULL, NULL, NULL);
    end_load(c);
}

static const char *
error_of(const PGresult *result)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    return message ? message : "the database gave no reason";
}

static bool
has_failed(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK;
}

static void
on_rows(void *ctx, const PGresult *result)
{
    struct control_process *c = ctx;
    const struct control_query *query = &control_queries[c->next_query];

    if (result == NULL) {
        end_load(c);
        return;
    }
    if (has_failed(result) || (query->take != NULL && query->take(&c->load, result) != ERR_OK)) {
        fail_load(c, LOG_LEVEL_ALARM, "registry-unreadable",
                  has_failed(result) ? error_of(result)
                                     : "a view of the registry lacks a column: run `relayctl db "
                                       "status`");
        return;
    }
    if (++c->next_query < control_query_count) {
        ask_next(c);
        return;
    }
    finish_load(c);
    c->last_load_ms = loop_now_ms(c->loop) - c->load_began_at_ms;
    end_load(c);
}

static void
ask_next(struct control_process *c)
{
    db_query(c->db, control_queries[c->next_query].sql, 0, NULL, on_rows, c);
}

static void
on_schema(void *ctx, const PGresult *result)
{
    struct control_process *c = ctx;
    char sentence[DB_SCHEMA_SENTENCE_SIZE];

    if (result == NULL) {
        end_load(c);
        return;
    }
    if (db_schema_check(result, sentence) != DB_SCHEMA_FITS)
        fail_load(c, LOG_LEVEL_ALARM, "database-schema", sentence);
    else if (control_load_take_version(&c->load, result) != ERR_OK)
        fail_load(c, LOG_LEVEL_ALARM, "registry-unreadable",
                  "its id or version is not one of ours");
    else
        ask_next(c);
}

static void
on_begin(void *ctx, const PGresult *result)
{
    struct control_process *c = ctx;

    if (result == NULL)
        end_load(c);
    else if (has_failed(result))
        fail_load(c, LOG_LEVEL_ALARM, "registry-unreadable", error_of(result));
    else
        db_query(c->db, DB_SCHEMA_QUERY, 0, NULL, on_schema, c);
}

static void
load(struct control_process *c)
{
    loop_timer_cancel(&c->reload);
    control_load_init(&c->load);
    c->is_loading = true;
    c->load_again = false;
    c->next_query = 0;
    c->retry_at_ms = 0;
    c->missing_due_at_ms = 0;
    c->load_began_at_ms = loop_now_ms(c->loop);
    c->poll_at_ms = c->load_began_at_ms + POLL_EVERY_MS;
    db_query(c->db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL, on_begin, c);
}

static void
on_reload(void *ctx)
{
    struct control_process *c = ctx;

    if (!db_is_up(c->db))
        return;
    if (c->is_loading)
        c->load_again = true;
    else
        load(c);
}

/* So that replicas are a second apart and still every change is live within one. */
static void
load_soon(struct control_process *c)
{
    int64_t since_ms = loop_now_ms(c->loop) - c->written_at_ms;
    int64_t delay_ms = c->written_at_ms ? WRITE_EVERY_MS - since_ms - c->last_load_ms : 0;

    if (c->is_loading)
        c->load_again = true;
    else if (!loop_timer_is_running(&c->reload))
        loop_timer_start(&c->reload, delay_ms > COALESCE_MS ? delay_ms : COALESCE_MS);
}

/* --- The safety net. */

static void
on_poll(void *ctx, const PGresult *result)
{
    struct control_process *c = ctx;
    struct control_load seen;

    if (result == NULL || c->is_loading)
        return;
    control_load_init(&seen);
    /* Whatever is odd about it, the load says so. */
    if (has_failed(result) || PQntuples(result) != 1 || PQnfields(result) != 3 ||
        control_load_take_version(&seen, result) != ERR_OK ||
        seen.domains.version != c->good.version ||
        strcmp(seen.domains.database_id, c->good.database_id) != 0)
        load(c);
    control_load_fini(&seen);
}

static bool
is_load_due(struct control_process *c, int64_t now_ms)
{
    return (c->retry_at_ms != 0 && now_ms >= c->retry_at_ms) ||
           (c->missing_due_at_ms != 0 && clock_wall_ms() >= c->missing_due_at_ms) ||
           (c->is_refused && access(c->path_accept, F_OK) == 0);
}

static void
on_tick(void *ctx)
{
    struct control_process *c = ctx;
    int64_t now_ms = loop_now_ms(c->loop);

    loop_timer_start(&c->tick, TICK_MS);
    if (!db_is_up(c->db) || c->is_loading)
        return;
    if (is_load_due(c, now_ms)) {
        load(c);
    } else if (now_ms >= c->poll_at_ms) {
        c->poll_at_ms = now_ms + POLL_EVERY_MS;
        db_query(c->db, DB_SCHEMA_QUERY, 0, NULL, on_poll, c);
    }
}

/* --- The database. */

static void
on_listening(void *ctx, const PGresult *result)
{
    struct control_process *c = ctx;

    if (result != NULL && has_failed(result))
        say(c, LOG_LEVEL_ALARM, "registry-unreadable", false, error_of(result));
}

static void
on_up(void *ctx)
{
    struct control_process *c = ctx;

    db_query(c->db, "LISTEN postern_registry", 0, NULL, on_listening, c);
    load(c);
}

static void
on_down(void *ctx, const char *why)
{
    struct control_process *c = ctx;

    c->was_loaded = false;
    loop_timer_cancel(&c->reload);
    say(c, LOG_LEVEL_WARN, "database-down", false, why);
}

static void
on_notify(void *ctx, const char *channel, const char *payload)
{
    (void)channel;
    (void)payload;
    load_soon(ctx);
}

static const struct db_ops db_ops = {.on_up = on_up, .on_down = on_down, .on_notify = on_notify};

/* --- Life. */

/* The replica is not there or not readable: what is remembered of it? */
static void
read_last(struct control_process *c, int replica_rc)
{
    int rc = registry_last_read(c->path_last, &c->last);

    if (rc != ERR_OK)
        c->last = (struct registry_last){0};
    c->is_good_lost = replica_rc != ERR_NOT_FOUND || rc != ERR_NOT_FOUND;
    if (c->is_good_lost)
        log_line(LOG_LEVEL_WARN, NULL, "replica-remembered",
                 "file=\"%s\" error=\"%s\" database=%s version=%" PRIu64 " domains=%" PRIu64,
                 c->path_last, rc == ERR_OK ? "" : err_text(rc), c->last.database_id,
                 c->last.version, c->last.served);
}

static void
say_found(struct control_process *c, const struct registry *registry)
{
    char written_at[CLOCK_RFC3339_SIZE];

    log_line(LOG_LEVEL_INFO, NULL, "replica-found",
             "version=%" PRIu64 " domains=%zu written-at=%s database=%s", c->good.version,
             c->good.count,
             clock_rfc3339(registry_get_version(registry)->written_at_ms, written_at),
             c->good.database_id);
}

/* A good file, but not the one that was written here: as the parent sees it. */
static bool
is_foreign(const struct control_process *c, const struct registry *registry)
{
    struct registry_last last;

    return registry_last_read(c->path_last, &last) == ERR_OK &&
           !registry_last_vouches(&last, registry_get_version(registry));
}

/* The last good one, by which the next is judged. */
static void
read_replica(struct control_process *c)
{
    struct registry *registry;
    int rc = registry_open_path(c->path, &registry);

    if (rc == ERR_OK && is_foreign(c, registry))
        rc = ERR_CORRUPT;
    if (rc == ERR_OK)
        rc = registry_set_of(registry, &c->good);
    if (rc == ERR_OK) {
        say_found(c, registry);
        control_load_remember_includes(registry, c->includes);
        remember(c); /* it may be from before there was such a file, or a death came between */
    } else {
        log_line(rc == ERR_NOT_FOUND ? LOG_LEVEL_WARN : LOG_LEVEL_ALARM, NULL,
                 rc == ERR_NOT_FOUND ? "replica-missing" : "replica-damaged",
                 "file=\"%s\" error=\"%s\" effect=\"%s\"", c->path, err_text(rc),
                 "until the database has been read, recipients are answered 451");
        read_last(c, rc);
    }
    registry_close(&registry);
}

static void
on_parent_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct control_process *c = ctx;

    (void)payload;
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (type == RELAYD_STOP)
        loop_stop(c->loop);
}

static void
on_parent_close(void *ctx)
{
    struct control_process *c = ctx;

    channel_close(&c->parent);
    loop_stop(c->loop);
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    loop_stop(((struct control_process *)ctx)->loop);
}

static void
open_database(struct control_process *c)
{
    if (c->config->database[0] == '\0') {
        say(c, LOG_LEVEL_WARN, "no-database", false,
            "the setting \"database\" is empty: customers and domains stay as in the last replica");
        return;
    }
    c->db = db_open(c->loop, c->config->database, &db_ops, c);
    loop_timer_start(&c->tick, TICK_MS);
}

static void
make_paths(struct control_process *c)
{
    const char *dir = c->config->state_dir;

    snprintf(c->path, sizeof c->path, "%s/%s", dir, RELAYD_REPLICA_FILE);
    snprintf(c->path_tmp, sizeof c->path_tmp, "%s/%s%s", dir, RELAYD_REPLICA_FILE, REPLICA_TMP);
    snprintf(c->path_last, sizeof c->path_last, "%s/%s", dir, RELAYD_LAST_FILE);
    snprintf(c->path_last_tmp, sizeof c->path_last_tmp, "%s/%s%s", dir, RELAYD_LAST_FILE,
             REPLICA_TMP);
    snprintf(c->path_offered, sizeof c->path_offered, "%s/%s", dir, RELAYD_OFFERED_FILE);
    snprintf(c->path_accept, sizeof c->path_accept, "%s/%s", dir, RELAYD_ACCEPT_FILE);
}

static void
fini(struct control_process *c)
{
    control_events_close(&c->events);
    db_close(&c->db);
    control_includes_free(&c->includes);
    loop_timer_cancel(&c->tick);
    loop_timer_cancel(&c->rewrite);
    loop_timer_cancel(&c->reload);
    if (c->parent != NULL)
        channel_close(&c->parent);
    if (c->is_loading)
        control_load_fini(&c->load);
    registry_set_fini(&c->good);
    free(c->said);
    free(c->skipped);
    loop_free(&c->loop);
}

int
control_process_run(const struct config *config, int parent_fd)
{
    struct control_process *c = mem_alloc(sizeof *c);

    (void)prctl(PR_SET_NAME, "relayd-control");
    log_set_program("relayd/control");
    c->config = config;
    c->loop = loop_new();
    make_paths(c);
    loop_on_signal(c->loop, SIGTERM, on_term, c);
    loop_on_signal(c->loop, SIGINT, on_term, c);
    loop_timer_init(&c->tick, c->loop, on_tick, c);
    loop_timer_init(&c->reload, c->loop, on_reload, c);
    loop_timer_init(&c->rewrite, c->loop, on_rewrite, c);
    c->includes = control_includes_new(c->loop, &config->resolver, &includes_ops, c);
    c->parent = channel_open(c->loop, parent_fd, on_parent_message, on_parent_close, c);
    read_replica(c);
    open_database(c);
    c->events = control_events_open(c->loop, config);
    loop_run(c->loop);
    fini(c);
    free(c);
    return 0;
}
