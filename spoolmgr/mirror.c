/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The index of the spool in PostgreSQL, and the connection to it, which commands.c uses as well. It
 * is a copy for people: the log is the truth, and nothing here holds up mail (P5).  Changes collect
 * for half a second and go in batches (mirror_rows) that can be repeated without harm.  After each
 * connection all is written anew, and rows of this node that were not are deleted: they are no
 * longer in the log.
 *
 *   DOWN --connected--> CHECKING --the schema fits, the log is no older one (lineage.c)--> COPYING
 *                           \--it does not--> MISFIT (asked again later)
 *   COPYING --all written--> PRUNING --> FOLLOWING
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/db_schema.h"
#include "spoolmgr/mirror_rows.h"

#define FLUSH_MS 500
#define BATCH_ROWS 500
#define BATCH_MS 20 /* envelopes are on the disk: the loop reads for no longer (P8) */
#define RECHECK_MS 30000
#define RECHECK_OLD_MS 2000 /* an operator may have accepted it */

enum state { DOWN, CHECKING, COPYING, PRUNING, FOLLOWING, MISFIT };

static const char delete_sql[] =
    "DELETE FROM postern.spool_index WHERE ref = ANY($1::text[]) AND node = $2::int";

/* Written since the copy began: between these two. */
static const char prune_sql[] = "DELETE FROM postern.spool_index WHERE node = $1::int "
                                "AND updated_at NOT BETWEEN $2::timestamptz AND $3::timestamptz";

struct mirror {
    struct keeper *keeper;
    struct db *db;
    enum state state;
    struct mail *dirty_first, *dirty_last;
    size_t dirty_count;
    struct buf gone; /* references of ended messages, as an array's elements */
    size_t gone_count;
    size_t in_flight;             /* queries */
    int64_t copy_began_ms, at_ms; /* at_ms never goes back: a stamp of this connection's rows */
    bool has_complained, was_ever_up;
    bool may_tell;  /* how far the log goes: it goes on with each sync, so once a timer */
    bool may_count; /* peaks: the same */
    struct loop_timer timer;
    int64_t recheck_at_ms;
    char node[16];
};

static void flush(struct mirror *mirror);

/* --- The list of what has changed. */

static void
list_remove(struct mirror *mirror, struct mail *mail)
{
    if (!mail->is_dirty)
        return;
    if (mail->dirty_prev)
        mail->dirty_prev->dirty_next = mail->dirty_next;
    else
        mirror->dirty_first = mail->dirty_next;
    if (mail->dirty_next)
        mail->dirty_next->dirty_prev = mail->dirty_prev;
    else
        mirror->dirty_last = mail->dirty_prev;
    mail->dirty_prev = mail->dirty_next = NULL;
    mail->is_dirty = false;
    mirror->dirty_count--;
}

static void
list_add(struct mirror *mirror, struct mail *mail)
{
    if (mail->is_dirty)
        return;
    mail->is_dirty = true;
    mail->dirty_prev = mirror->dirty_last;
    if (mirror->dirty_last)
        mirror->dirty_last->dirty_next = mail;
    else
        mirror->dirty_first = mail;
    mirror->dirty_last = mail;
    mirror->dirty_count++;
}

void
mirror_forget(struct mirror *mirror, struct mail *mail)
{
    list_remove(mirror, mail);
}

void
mirror_changed(struct mirror *mirror, struct mail *mail)
{
    char ref[REF_SIZE];

    if (mirror->state < COPYING || mirror->state == MISFIT)
        return; /* all is written when the database is there */
    if (mail->message->open_count > 0) {
        list_add(mirror, mail);
        return;
    }
    list_remove(mirror, mail);
    if (mail->is_gone)
        return;
    mail->is_gone = true;
    buf_printf(&mirror->gone, "%s%s", mirror->gone_count++ ? "," : "",
               ref_text(mail->message->ref, ref));
}

/* --- Queries. */

static void
complain(struct mirror *mirror, const char *why)
{
    if (!mirror->has_complained)
        log_line(LOG_LEVEL_WARN, NULL, "mirror-failed",
                 "why=\"%s\" effect=\"the index in PostgreSQL is behind; mail is not\"", why);
    mirror->has_complained = true;
}

static void
recheck_in(struct mirror *mirror, int64_t ms)
{
    mirror->state = MISFIT;
    mirror->recheck_at_ms = loop_now_ms(mirror->keeper->loop) + ms;
}

/* What a failed batch held is not known to be there: all is copied again, after a pause. */
static void
on_written(void *ctx, const PGresult *result)
{
    struct mirror *mirror = ctx;

    mirror->in_flight--;
    if (result == NULL)
        return;
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        complain(mirror, PQresultErrorMessage(result));
        recheck_in(mirror, RECHECK_MS);
        return;
    }
    flush(mirror);
}

static const char *
stamp(struct mirror *mirror, char dst[CLOCK_RFC3339_SIZE])
{
    int64_t now_ms = clock_wall_ms();

    if (now_ms > mirror->at_ms)
        mirror->at_ms = now_ms;
    return clock_rfc3339(mirror->at_ms, dst);
}

static void
send_rows(struct mirror *mirror)
{
    char when[CLOCK_RFC3339_SIZE];
    struct mirror_rows rows;
    int64_t enough_at_ms = clock_monotonic_ms() + BATCH_MS;

    mirror_rows_init(&rows);
    while (mirror->dirty_first != NULL && rows.count < BATCH_ROWS &&
           (rows.count == 0 || clock_monotonic_ms() < enough_at_ms)) {
        mirror_rows_add(&rows, mirror->keeper, mirror->dirty_first);
        list_remove(mirror, mirror->dirty_first);
    }
    mirror->in_flight++;
    mirror_rows_send(&rows, mirror->db, mirror->node, stamp(mirror, when), on_written, mirror);
    mirror_rows_fini(&rows);
}

static void
send_gone(struct mirror *mirror)
{
    struct buf list;
    const char *params[2];

    buf_init(&list, 0);
    buf_printf(&list, "{%s}", buf_text(&mirror->gone));
    params[0] = buf_text(&list);
    params[1] = mirror->node;
    mirror->in_flight++;
    db_query(mirror->db, delete_sql, ARRAY_SIZE(params), params, on_written, mirror);
    buf_fini(&list);
    buf_clear(&mirror->gone);
    mirror->gone_count = 0;
}

static void
send_prune(struct mirror *mirror)
{
    char from[CLOCK_RFC3339_SIZE], to[CLOCK_RFC3339_SIZE];
    const char *params[] = {mirror->node, clock_rfc3339(mirror->copy_began_ms, from),
                            stamp(mirror, to)};

    mirror->state = PRUNING;
    mirror->in_flight++;
    db_query(mirror->db, prune_sql, ARRAY_SIZE(params), params, on_written, mirror);
}

static void
on_audited(void *ctx, const PGresult *result)
{
    struct mirror *mirror = ctx;

    mirror->in_flight--;
    if (result == NULL)
        return;
    audit_sent(mirror->keeper,
               PQresultStatus(result) == PGRES_TUPLES_OK ? NULL : PQresultErrorMessage(result));
    flush(mirror);
}

static void
send_audit(struct mirror *mirror)
{
    mirror->in_flight++;
    audit_send(mirror->keeper, mirror->db, on_audited, mirror);
}

static void
on_usage(void *ctx, const PGresult *result)
{
    struct mirror *mirror = ctx;

    mirror->in_flight--;
    if (result == NULL)
        return;
    usage_sent(mirror->keeper,
               PQresultStatus(result) == PGRES_COMMAND_OK ? NULL : PQresultErrorMessage(result));
    flush(mirror);
}

static void
send_usage(struct mirror *mirror)
{
    mirror->may_count = false;
    mirror->in_flight++;
    usage_send(mirror->keeper, mirror->db, on_usage, mirror);
}

/* One query at a time, so that what changes meanwhile collects. */
static void
flush(struct mirror *mirror)
{
    if (mirror->in_flight > 0 || mirror->state < COPYING || mirror->state == MISFIT)
        return;
    if (!audit_is_empty(mirror->keeper))
        send_audit(mirror);
    else if (!usage_is_told(mirror->keeper) && (mirror->may_count || mirror->keeper->once))
        send_usage(mirror);
    else if (mirror->gone_count > 0)
        send_gone(mirror);
    else if (mirror->dirty_count > 0)
        send_rows(mirror);
    else if (mirror->may_tell && !lineage_is_told(mirror->keeper)) {
        mirror->may_tell = false;
        mirror->in_flight++;
        lineage_tell(mirror->keeper, mirror->db, on_written, mirror);
    } else if (mirror->state == COPYING)
        send_prune(mirror);
    else if (mirror->state == PRUNING) {
        mirror->state = FOLLOWING;
        commands_poke(mirror->keeper->commands); /* says so */
        log_line(LOG_LEVEL_INFO, NULL, "mirror", "state=agrees open=%zu",
                 spool_store_open_count(mirror->keeper->store));
    }
}

static void
begin_copy(struct mirror *mirror)
{
    struct spool_message *m = NULL;

    mirror->state = COPYING;
    usage_database_up(mirror->keeper);
    mirror->copy_began_ms = clock_wall_ms();
    mirror->at_ms = mirror->copy_began_ms;
    while ((m = spool_store_next(mirror->keeper->store, m)) != NULL) {
        if (m->open_count > 0 && m->user != NULL)
            list_add(mirror, m->user);
    }
    flush(mirror);
}

static void
on_lineage(void *ctx, const PGresult *result)
{
    struct mirror *mirror = ctx;

    mirror->in_flight--;
    if (result == NULL)
        return;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        complain(mirror, PQresultErrorMessage(result));
        recheck_in(mirror, RECHECK_MS);
    } else if (lineage_hear(mirror->keeper, result))
        begin_copy(mirror);
    else
        recheck_in(mirror, RECHECK_OLD_MS);
}

static void
on_schema(void *ctx, const PGresult *result)
{
    struct mirror *mirror = ctx;
    char sentence[DB_SCHEMA_SENTENCE_SIZE];

    mirror->in_flight--;
    if (result == NULL)
        return;
    if (db_schema_check(result, sentence) == DB_SCHEMA_FITS) {
        mirror->has_complained = false;
        commands_up(mirror->keeper->commands, mirror->db);
        mirror->in_flight++;
        lineage_ask(mirror->keeper, mirror->db, on_lineage, mirror);
        return;
    }
    commands_down(mirror->keeper->commands);
    complain(mirror, sentence);
    recheck_in(mirror, RECHECK_MS);
}

static void
check_schema(struct mirror *mirror)
{
    mirror->state = CHECKING;
    mirror->in_flight++;
    db_query(mirror->db, DB_SCHEMA_QUERY, 0, NULL, on_schema, mirror);
}

static void
on_up(void *ctx)
{
    struct mirror *mirror = ctx;

    log_line(LOG_LEVEL_INFO, NULL, "database-up", "mirror=yes");
    check_schema(mirror);
}

static void
on_down(void *ctx, const char *why)
{
    struct mirror *mirror = ctx;

    if (mirror->state != DOWN || !mirror->was_ever_up)
        log_line(LOG_LEVEL_WARN, NULL, "database-down", "why=\"%s\"", why);
    mirror->was_ever_up = true;
    mirror->state = DOWN;
    commands_down(mirror->keeper->commands);
    lineage_database_down(mirror->keeper);
    while (mirror->dirty_first != NULL)
        list_remove(mirror, mirror->dirty_first);
    buf_clear(&mirror->gone);
    mirror->gone_count = 0;
}

/* Of the one channel that commands.c listens to. */
static void
on_notify(void *ctx, const char *channel, const char *payload)
{
    struct mirror *mirror = ctx;

    (void)channel;
    (void)payload;
    commands_poke(mirror->keeper->commands);
}

static const struct db_ops db_ops = {.on_up = on_up, .on_down = on_down, .on_notify = on_notify};

static void
on_timer(void *ctx)
{
    struct mirror *mirror = ctx;

    loop_timer_start(&mirror->timer, FLUSH_MS);
    mirror->may_tell = mirror->may_count = true;
    if (mirror->state == MISFIT && mirror->in_flight == 0 &&
        loop_now_ms(mirror->keeper->loop) >= mirror->recheck_at_ms)
        check_schema(mirror);
    flush(mirror);
}

struct mirror *
mirror_new(struct keeper *k)
{
    struct mirror *mirror = mem_alloc(sizeof *mirror);

    mirror->keeper = k;
    buf_init(&mirror->gone, 0);
    snprintf(mirror->node, sizeof mirror->node, "%u", k->config->node);
    loop_timer_init(&mirror->timer, k->loop, on_timer, mirror);
    loop_timer_start(&mirror->timer, FLUSH_MS);
    mirror->db = db_open(k->loop, k->config->database, &db_ops, mirror);
    return mirror;
}

void
mirror_free(struct mirror **mirror)
{
    struct mirror *m = *mirror;

    if (m == NULL)
        return;
    db_close(&m->db);
    loop_timer_cancel(&m->timer);
    while (m->dirty_first != NULL)
        list_remove(m, m->dirty_first);
    buf_fini(&m->gone);
    free(m);
    *mirror = NULL;
}

bool
mirror_is_settled(const struct mirror *mirror)
{
    return mirror->state == FOLLOWING && mirror->in_flight == 0 && mirror->dirty_count == 0 &&
           mirror->gone_count == 0 && audit_is_empty(mirror->keeper) &&
           usage_is_told(mirror->keeper) && lineage_is_told(mirror->keeper);
}

bool
mirror_follows(const struct mirror *mirror)
{
    return mirror->state == FOLLOWING;
}

bool
mirror_is_up(const struct mirror *mirror)
{
    return mirror->state >= COPYING && mirror->state != MISFIT;
}
