/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The keeper's life.  One loop; every 200 ms it looks at the spool (a lost poke would be harmless
 * anyway, so there is none) and at the files that others replace.  Between ticks it is
 * driven by what deliverers, the ledger's thread and PostgreSQL say.
 *
 * A pass (`--once`, or the verb "pass") asks every route now, whatever its pause.
 */
#include "spoolmgr/keeper.h"

#include "config.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "dns/dns.h"
#include "net/control.h"

#define TICK_MS 200
#define TICKS_A_SECOND (1000 / TICK_MS)
#define STOP_MS 30000       /* a stop waits so long for what runs */
#define ONCE_MIRROR_MS 3000 /* `--once` waits so long for PostgreSQL */

/* --- Small parts. */

void
keeper_touch(struct keeper *k, struct mail *mail)
{
    committer_sync(k->committer);
    kept_changed(k, mail);
    mail->shown_no_route = plan_has_no_route(mail);
    if (k->mirror != NULL)
        mirror_changed(k->mirror, mail);
}

int
keeper_envelope(struct keeper *k, const struct spool_message *m, struct arena *arena,
                struct spool_envelope *envelope)
{
    arena_init(arena, SPOOL_ENVELOPE_ARENA_BYTES);
    return spool_store_envelope(k->store, m, arena, envelope);
}

static void
pump(void *ctx)
{
    struct keeper *k = ctx;

    k->pump_is_due = false;
    if (!k->is_stopping && lineage_permits(k))
        attempt_pump(k);
}

void
keeper_pump(struct keeper *k)
{
    if (k->pump_is_due)
        return;
    k->pump_is_due = true;
    loop_defer(k->loop, pump, k);
}

static void
on_synced(void *ctx)
{
    CRASH_POINT("keeper-synced");
    report_synced(ctx); /* first: the others may have the committer clean */
    attempt_synced(ctx);
    orders_synced(ctx);
}

static void
on_own(void *ctx, int err)
{
    own_written(ctx, err);
}

static void
on_forget(void *ctx, struct spool_message *m)
{
    plan_forget(ctx, m);
}

static const struct committer_ops committer_ops = {on_synced, on_forget, on_own};

/* --- Messages that are seen for the first time. */

/* Why it may have been delivered already; NULL: it has not been. */
static const char *
why_duplicate(const struct keeper *k, const struct spool_message *m)
{
    if (m->offered)
        return "the keeper ended behind the end of the message";
    if (k->outcomes_missing != NULL && m->received_at_ms <= k->started_at_ms)
        return k->outcomes_missing;
    if (m->unknown && spool_message_listens_until_ms(m) == 0 && spool_message_attempts(m) == 0)
        return "lost behind the end of the message when it was received";
    return NULL;
}

static void
take_message(struct keeper *k, struct spool_message *m)
{
    const char *why = why_duplicate(k, m);

    if (m->open_count == 0)
        return;
    if (why != NULL)
        attempt_possible_duplicate(k, m, why);
    if (m->offered)
        spool_store_attempt(k->store, m, clock_wall_ms(), spool_message_next_attempt_at_ms(m),
                            false, "the keeper ended before the backend's answer was recorded");
    plan_message(k, m);
    keeper_touch(k, m->user);
}

/* A notice of what the pass has ended goes out in it. */
static void
join_pass(struct keeper *k, const struct mail *mail)
{
    for (const struct task *task = mail->tasks; task != NULL; task = task->next)
        if (task->item.queue != NULL)
            schedule_pass_join(&k->schedule, task->item.queue);
}

static void
on_new(void *ctx, struct spool_message *m)
{
    struct keeper *k = ctx;

    take_message(k, m);
    kept_found(k, m, true);
    if (k->pass != 0 && (m->flags & SPOOL_FLAG_OWN))
        join_pass(k, m->user);
    keeper_pump(k);
}

static void
take_all(struct keeper *k)
{
    struct spool_message *m = NULL;

    ended_before(k);
    ending_mend(k);
    kept_begin(k);
    while ((m = spool_store_next(k->store, m)) != NULL) {
        take_message(k, m);
        kept_found(k, m, false);
        if (m->open_count == 0)
            tell_ended_before(k, m);
    }
    tell_begin(k);
}

/* --- The end. */

static bool
has_work(struct keeper *k)
{
    if (k->attempts != NULL || !orders_is_idle(k) || !commands_is_idle(k->commands) ||
        !own_is_idle(k))
        return true;
    if (committer_has_failed(k->committer))
        return false; /* waiting does not help */
    return !committer_is_idle(k->committer);
}

static void
stop(struct keeper *k, int64_t patience_ms)
{
    if (k->is_stopping)
        return;
    k->is_stopping = true;
    k->stop_at_ms = loop_now_ms(k->loop) + patience_ms;
}

static void
check_stop(struct keeper *k)
{
    bool is_late = loop_now_ms(k->loop) >= k->stop_at_ms;
    bool mirrored = !k->once || k->mirror == NULL || mirror_is_settled(k->mirror);

    if (!k->is_stopping || (!is_late && (has_work(k) || !mirrored)))
        return;
    loop_stop(k->loop);
}

static void
check_pass(struct keeper *k)
{
    if (k->once && lineage_is_old(k)) { /* the alarm has said why */
        k->exit_status = 1;
        stop(k, 0);
        return;
    }
    if (k->pass == 0 || !schedule_pass_is_over(&k->schedule) || k->attempts != NULL ||
        !own_is_idle(k))
        return;
    k->pass = 0;
    log_line(LOG_LEVEL_INFO, NULL, "pass-over", "open=%zu", spool_store_open_count(k->store));
    if (k->once)
        stop(k, ONCE_MIRROR_MS);
}

static void
on_signal(void *ctx, int signo)
{
    struct keeper *k = ctx;

    log_line(LOG_LEVEL_INFO, NULL, "stopping", "signal=%d", signo);
    stop(k, STOP_MS);
}

static void
on_hangup(void *ctx, int signo)
{
    (void)ctx;
    (void)signo;
    log_line(LOG_LEVEL_INFO, NULL, "no-reload",
             "effect=none remedy=\"restart spoolmgr to take a changed configuration\"");
}

/* --- The tick. */

static void
refresh_route(struct keeper *k)
{
    bool table_is_new;

    if (route_refresh(k->route, &table_is_new))
        plan_routes_changed(k);
    if (table_is_new) {
        slot_retake_all(k);
        kept_begin(k);
    }
}

static void
refresh_store(struct keeper *k)
{
    int err = spool_store_refresh(k->store, on_new, k);

    if (err != 0 && !k->store_failed)
        log_line(LOG_LEVEL_ALARM, NULL, "spool-unreadable", "folder=%s why=\"%s\"",
                 k->config->spool_dir, err_text(err));
    k->store_failed = err != 0;
}

static void
on_tick(void *ctx)
{
    struct keeper *k = ctx;

    loop_timer_start(&k->tick, TICK_MS);
    expiry_look(k);
    keeper_refresh(k);
    ended_flush(k);
    if (++k->ticks % TICKS_A_SECOND == 0) {
        usage_look(k);
        tell_look(k); /* what has ended is remembered before it is cleaned away */
        committer_clean(k->committer);
        await_look(k);
        kept_look(k);
        reading_look(k->reading);
        attempt_tidy(k);
    }
    if (lineage_permits(k))
        plan_sweep(k);
    drain_look(k);
    keeper_pump(k);
    check_pass(k);
    check_stop(k);
}

/* --- The control socket. */

static size_t
begin_pass(struct keeper *k)
{
    size_t count = schedule_pass_begin(&k->schedule);

    k->pass = k->schedule.pass;
    log_line(LOG_LEVEL_INFO, NULL, "pass", "tasks=%zu", count);
    keeper_pump(k);
    return count;
}

/* In this order: what let a message in is known before the message. */
void
keeper_refresh(struct keeper *k)
{
    refresh_route(k);
    refresh_store(k);
}

static json_t *
answer_pass(struct keeper *k)
{
    keeper_refresh(k);
    return json_pack("{s:b, s:I}", "ok", 1, "tasks", (json_int_t)begin_pass(k));
}

static json_t *
queues_json(struct keeper *k)
{
    json_t *list = json_array();

    for (size_t i = 0; i < k->schedule.queue_count; i++) {
        const struct schedule_queue *queue = k->schedule.queues[i];

        if (queue->ready.count + queue->waiting.count + queue->running == 0)
            continue;
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:s, s:I, s:I, s:I}", "customer_id",
                                        (json_int_t)route_customer_id(queue->route), "domain_id",
                                        (json_int_t)route_domain_id(queue->route), "state",
                                        queue->route == ROUTE_NONE || queue->no_route ? "no-route"
                                        : queue->unreachable_at_ms > 0 ? "unreachable"
                                                                       : "ok",
                                        "ready", (json_int_t)queue->ready.count, "waiting",
                                        (json_int_t)queue->waiting.count, "running",
                                        (json_int_t)queue->running));
    }
    return list;
}

static json_t *
answer_status(struct keeper *k)
{
    struct spool_store_stats stats;

    spool_store_get_stats(k->store, &stats);
    return json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o}", "ok", 1, "open",
        (json_int_t)spool_store_open_count(k->store), "segments", (json_int_t)stats.segments,
        "damaged_records", (json_int_t)stats.damaged_records, "unreadable_segments",
        (json_int_t)stats.unreadable_segments, "ledger_bytes", (json_int_t)stats.ledger_bytes,
        "no_route_domains", (json_int_t)k->no_route_count, "expiry_grace_s",
        (json_int_t)clock_watch_grace_ms(&k->clock) / 1000, "replica", route_has_replica(k->route),
        "database",
        k->mirror == NULL         ? "not configured"
        : mirror_is_up(k->mirror) ? "up"
                                  : "down",
        "queues", queues_json(k));
}

static const struct verb {
    const char *word;
    json_t *(*answer)(struct keeper *k);
} verbs[] = {
    {"pass", answer_pass},
    {"status", answer_status},
};

static json_t *
answer_of(struct keeper *k, const char *word)
{
    for (size_t i = 0; word != NULL && i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].word, word) == 0)
            return verbs[i].answer(k);
    }
    return json_pack("{s:b, s:s}", "ok", 0, "error",
                     "unknown request: the verbs are pass, status and order");
}

static void
on_request(void *ctx, struct control_request *request, struct slice line)
{
    struct keeper *k = ctx;
    json_t *asked = json_loadb(line.p, line.n, 0, NULL), *answer;
    const char *word = json_string_value(json_object_get(asked, "verb"));
    char *text;

    if (word != NULL && strcmp(word, "order") == 0) {
        orders_take_request(k, request, asked);
        json_decref(asked);
        return;
    }
    answer = answer_of(k, word);
    text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    control_answer(request, text ? slice_of(text) : SLICE("{\"ok\":false}"));
    free(text);
    json_decref(answer);
    json_decref(asked);
}

static void
open_control(struct keeper *k)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/spoolmgr.sock", k->config->run_dir);
    if (control_listen(k->loop, path, on_request, k, &k->control) != 0)
        log_line(LOG_LEVEL_WARN, NULL, "control-failed",
                 "socket=%s effect=\"the keeper cannot be asked for anything\"", path);
}

/* --- Life. */

/* Before a first keeper nothing has been delivered from the spool: then no ledger is as it should
 * be. */
static void
judge_outcomes(struct keeper *k, bool is_first)
{
    struct spool_store_stats stats;

    spool_store_get_stats(k->store, &stats);
    k->outcomes_missing = spool_store_outcomes_missing(k->store);
    if (is_first && k->outcomes_missing != NULL && stats.ledger_damaged == 0) {
        log_line(LOG_LEVEL_INFO, NULL, "first-start", "open=%zu ledger=new",
                 spool_store_open_count(k->store));
        k->outcomes_missing = NULL;
    }
    if (k->outcomes_missing != NULL)
        log_line(
            LOG_LEVEL_ALARM, NULL, "outcomes-missing",
            "open=%zu why=\"%s\" effect=\"messages that were delivered before may be delivered "
            "again; each is logged as possible-duplicate\"",
            spool_store_open_count(k->store), k->outcomes_missing);
}

static int
open_all(struct keeper *k)
{
    int err = spool_store_open(&spool_io_disk, k->config->spool_dir, SPOOL_STORE_OWNER, &k->store);

    if (err != 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "spool-unreadable", "folder=%s why=\"%s\"",
                 k->config->spool_dir, err_text(err));
        return err;
    }
    err = route_open(k->config, &k->route);
#ifdef POSTERN_DEVELOPER
    if (getenv("POSTERN_TEST_CHECKPOINT_BYTES"))
        spool_store_set_checkpoint_bytes(
            k->store, strtoull(getenv("POSTERN_TEST_CHECKPOINT_BYTES"), NULL, 10));
    if (err == 0)
        shared_health_set_good_apart(
            route_table(k->route), strtoll(getenv("POSTERN_TEST_GOOD_APART_MS") ?: "0", NULL, 10));
#endif
    if (err != 0)
        log_line(LOG_LEVEL_ALARM, NULL, "shared-table-failed", "folder=%s why=\"%s\"",
                 k->config->run_dir, err_text(err));
    return err;
}

static void
start(struct keeper *k)
{
    k->loop = loop_new();
    k->dns = dns_new(k->loop, &k->config->resolver);
    k->destinations = destination_finder_new(k->loop, k->config, k->dns);
    schedule_init(&k->schedule);
    pool_init(&k->mails, sizeof(struct mail));
    notice_rate_init(&k->notice_rate);
    k->fleet = fleet_new(k, k->config->deliverers); /* before there are threads */
    k->committer = committer_new(k->loop, k->store, &committer_ops, k);
    loop_timer_init(&k->tick, k->loop, on_tick, k);
    loop_timer_init(&k->slot_retry, k->loop, slot_on_retry, k);
    loop_on_signal(k->loop, SIGTERM, on_signal, k);
    loop_on_signal(k->loop, SIGINT, on_signal, k);
    loop_on_signal(k->loop, SIGHUP, on_hangup, k);
    k->audit = audit_new();
    k->commands = commands_new(k);
    if (k->config->database[0] != '\0')
        k->mirror = mirror_new(k);
    lineage_begin(k);
    k->orders = orders_new(k);
    open_control(k);
    k->reading = reading_new(k);
    expiry_begin(k);
    spool_store_on_resolved(k->store, await_resolved, k);
    k->ended = ended_new(k);
    spool_store_on_ended(k->store, ended_note, k);
    k->usage = usage_new();
    k->tell = tell_new(k);
    take_all(k);
    if (k->once)
        await_look(k);
    committer_sync(k->committer); /* what opening has made of resolutions */
    log_line(LOG_LEVEL_INFO, NULL, "keeper", "open=%zu deliverers=%u once=%s",
             spool_store_open_count(k->store), k->config->deliverers, k->once ? "yes" : "no");
    if (k->once)
        begin_pass(k);
    loop_timer_start(&k->tick, 0);
}

static void
forget_all(struct keeper *k)
{
    struct spool_message *m = NULL;

    while ((m = spool_store_next(k->store, m)) != NULL)
        plan_forget(k, m);
    pool_fini(&k->mails);
    for (size_t i = 0; i < ENDPOINT_SLOTS; i++) {
        while (k->endpoints[i] != NULL) {
            struct endpoint *e = k->endpoints[i];

            k->endpoints[i] = e->next;
            free(e);
        }
    }
}

static void
end(struct keeper *k)
{
    loop_timer_cancel(&k->tick);
    loop_timer_cancel(&k->slot_retry);
    expiry_end(k);
    commands_down(k->commands);
    orders_free(&k->orders);
    control_close(&k->control);
    reading_free(&k->reading);
    fleet_free(&k->fleet); /* what still runs stays `offered`, and is named at the next start */
    attempt_abandon_all(k);
    if (committer_free(&k->committer) != 0)
        k->exit_status = 1;
    ending_end(k);
    tell_free(&k->tell);
    own_free(&k->own);
    report_end(k);
    ended_free(&k->ended);
    mirror_free(&k->mirror);
    usage_free(&k->usage);
    commands_free(&k->commands);
    lineage_end(k);
    audit_free(&k->audit);
    forget_all(k);
    noroute_end(k);
    destination_finder_free(&k->destinations);
    dns_free(&k->dns);
    schedule_fini(&k->schedule);
    loop_free(&k->loop);
}

int
keeper_run(const struct config *config, bool once, bool is_first)
{
    struct keeper *k = mem_alloc(sizeof *k);
    int status;

    k->config = config;
    k->once = once;
    k->started_at_ms = clock_wall_ms();
    if (own_new(k, &k->own) != 0 || open_all(k) != 0) {
        k->exit_status = 1;
    } else {
        judge_outcomes(k, is_first);
        spool_store_ask_writing(k->store, await_is_writing, k);
        start(k);
        loop_run(k->loop);
        end(k);
    }
    own_free(&k->own);
    route_close(&k->route);
    spool_store_close(&k->store);
    status = k->exit_status;
    free(k);
    return status;
}
