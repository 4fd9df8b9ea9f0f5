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
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test_value.h"
#include "db/db_schema.h"
#include "relayd/control_private.h"
#include "relayd/relayd.h"

#define TICK_MS 1000
#define POLL_EVERY_MS 60000
#define COALESCE_MS 20      /* commands that follow each other make one load */
#define WRITE_EVERY_MS 1000 /* at most one replica a second */

/* --- Networks of filters. */

static void
on_rewrite(void *ctx)
{
    struct control_process *c = ctx;
    int rc;

    if (c->good.database_id[0] == '\0' || c->is_good_lost)
        return; /* there is no replica, or none that is ours: the next load writes it */
    if (c->is_loading) {
        loop_timer_start(&c->rewrite, c->write_every_ms);
        return;
    }
    rc = control_load_rewrite(c->path, c->path_tmp, c->includes, clock_wall_ms());
    if (rc != ERR_OK) {
        control_say_not_written(c, rc == ERR_IO ? strerror(errno) : err_text(rc));
        loop_timer_start(&c->rewrite, CONTROL_RETRY_MS);
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
        loop_timer_start(&c->rewrite, c->written_at_ms && since_ms < c->write_every_ms
                                          ? c->write_every_ms - since_ms
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
    control_say(c, level, event, false, why);
    c->retry_at_ms = loop_now_ms(c->loop) + CONTROL_RETRY_MS;
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
    control_finish_load(c);
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
    int64_t delay_ms = c->written_at_ms ? c->write_every_ms - since_ms - c->last_load_ms : 0;

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
        control_say(c, LOG_LEVEL_ALARM, "registry-unreadable", false, error_of(result));
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
    control_say(c, LOG_LEVEL_WARN, "database-down", false, why);
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
        control_say(
            c, LOG_LEVEL_WARN, "no-database", false,
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
    snprintf(c->path_tmp, sizeof c->path_tmp, "%s/%s%s", dir, RELAYD_REPLICA_FILE, CONTROL_TMP);
    snprintf(c->path_last, sizeof c->path_last, "%s/%s", dir, RELAYD_LAST_FILE);
    snprintf(c->path_last_tmp, sizeof c->path_last_tmp, "%s/%s%s", dir, RELAYD_LAST_FILE,
             CONTROL_TMP);
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
    c->write_every_ms = test_value("POSTERN_TEST_REPLICA_APART_MS", WRITE_EVERY_MS);
    c->loop = loop_new();
    make_paths(c);
    loop_on_signal(c->loop, SIGTERM, on_term, c);
    loop_on_signal(c->loop, SIGINT, on_term, c);
    loop_timer_init(&c->tick, c->loop, on_tick, c);
    loop_timer_init(&c->reload, c->loop, on_reload, c);
    loop_timer_init(&c->rewrite, c->loop, on_rewrite, c);
    c->includes = control_includes_new(c->loop, &config->resolver, &includes_ops, c);
    c->parent = channel_open(c->loop, parent_fd, on_parent_message, on_parent_close, c);
    control_read_replica(c);
    open_database(c);
    c->events = control_events_open(c->loop, config);
    loop_run(c->loop);
    fini(c);
    free(c);
    return 0;
}
