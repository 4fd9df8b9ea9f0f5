/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker process: accepts connections, runs their sessions, and takes from the parent what it
 * cannot open itself (replica, segments, event log, channel to state).  It never touches PostgreSQL
 * and never opens a file.
 *
 * Its end: told to stop (RELAYD_STOP), or its parent is gone.  Either way it stops listening at
 * once, says 421 to whoever is between messages, lets messages that have begun come to their end
 * for a bounded time, and exits.
 */
#include "relayd/worker.h"

#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "dns/dns.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/tls_server.h"
#include "relayd/arrival.h"
#include "relayd/backend.h"
#include "relayd/capacity.h"
#include "base/event_log.h"
#include "relayd/event_refusals.h"
#include "relayd/late.h"
#include "relayd/probe.h"
#include "relayd/recipient_probe.h"
#include "relayd/scanners.h"
#include "relayd/session.h"
#include "relayd/worker_ask.h"
#include "route/destination.h"
#include "sender/sender_dnsbl.h"
#include "spf/spf_client.h"

#define BEAT_MS 1000
/* LIMITS of EHLO, said before the customer is known: a customer's limits unless set (DESIGN 8). */
#define RECIPIENTS_ANNOUNCED 50
#define MESSAGES_ANNOUNCED 50
#define EVENT_FLUSH_MS 100
#define STOP_MS 30000      /* after a signal */
#define ORPHAN_MS 5000     /* after the parent's death: a new one waits for us */
#define GRACE_MS 3000      /* in a reload: clients that have just come go on as if nothing were */
#define LAST_WORDS_MS 2000 /* for what clients have not taken yet */
#define LAST_WORDS_LOOK_MS 50
#define LATE_WORDS_MS 1000 /* the same for who is still in a message when all time is over */

struct ref
worker_next_ref(struct worker *w)
{
    return ref_make((uint16_t)w->config->node, clock_wall_ms(), shared_table_epoch(w->table),
                    shared_table_next_number(w->table));
}

/* --- Messages of the parent. */

static void
take_replica(struct worker *w, int fd)
{
    struct registry *fresh;
    int rc = registry_open(fd, &fresh);

    close(fd);
    if (rc < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "replica-unusable", "error=\"%s\" effect=\"%s\"",
                 err_text(rc),
                 w->registry ? "the one in use stays" : "recipients are answered 451");
        return;
    }
    registry_close(&w->registry);
    w->registry = fresh;
}

static void
take_segment(struct worker *w, struct slice payload, const int *fds, size_t fd_count)
{
    struct decoder d = decoder_of(payload);
    uint32_t ticket = get_u32(&d);
    struct spool_segment_id id = spool_segment_get_id(&d);
    struct slice key;
    uint64_t size;

    key = get_bytes(&d);
    size = get_u64(&d);
    CHECK(decoder_done(&d) && key.n == SIPHASH_KEY_SIZE);
    spool_writer_give(w->writer, ticket, fd_count ? fds[0] : -1, id, (const uint8_t *)key.p, size);
}

static void
take_ticket_keys(struct worker *w, struct slice payload)
{
    struct tls_ticket_keys keys;

    CHECK(payload.n == sizeof keys);
    if (w->tls == NULL)
        return;
    memcpy(&keys, payload.p, sizeof keys);
    tls_server_set_ticket_keys(w->tls, &keys);
    explicit_bzero(&keys, sizeof keys);
}

/* Says 421 to whoever is between messages; who is in one hears it behind that. */
static void
close_sessions(void *ctx)
{
    struct worker *w = ctx;
    struct session *next;

    w->closing = true;
    for (struct session *s = w->sessions; s; s = next) {
        next = session_next(s);
        session_stop(s);
    }
    backend_pool_drop_idle(w->pool);
    worker_check_idle(w);
}

static void
stop(struct worker *w, int64_t within_ms, bool others_take_over)
{
    int64_t by_ms = clock_monotonic_ms() + within_ms;

    if (!w->stopping || by_ms < w->stop_by_ms)
        w->stop_by_ms = by_ms;
    if (w->stopping)
        return;
    w->stopping = true;
    for (size_t i = 0; i < w->listener_count; i++)
        (others_take_over ? listener_leave : listener_close)(&w->listeners[i]);
    if (others_take_over)
        loop_timer_start(&w->grace, GRACE_MS);
    else
        close_sessions(w);
    worker_check_idle(w);
}

static void
take_stop(struct worker *w, struct slice payload)
{
    struct decoder d = decoder_of(payload);
    bool others_take_over = get_u8(&d) == 1;
    uint32_t within_ms = get_u32(&d);

    CHECK(decoder_done(&d));
    if (w->stopping && !w->closing && !others_take_over)
        close_sessions(w); /* no more grace; a reload that hurries leaves it, since it is short */
    stop(w, within_ms, others_take_over);
}

void
worker_check_idle(struct worker *w)
{
    int64_t by_ms = clock_monotonic_ms() + LAST_WORDS_MS;

    if (!w->stopping || w->session_count > 0 || w->detached_count > 0)
        return;
    if (!conn_any_ending()) {
        loop_stop(w->loop);
        return;
    }
    if (by_ms < w->stop_by_ms)
        w->stop_by_ms = by_ms;
    loop_timer_start(&w->beat, LAST_WORDS_LOOK_MS);
}

static void
on_parent_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct worker *w = ctx;

    switch ((enum relayd_message)type) {
    case RELAYD_SEGMENT:
        take_segment(w, payload, fds, fd_count);
        return;
    case RELAYD_REPLICA:
        if (fd_count)
            take_replica(w, fds[0]);
        return;
    case RELAYD_STATE:
        if (fd_count)
            state_client_attach(w->state, fds[0]);
        return;
    case RELAYD_SPF:
        if (fd_count)
            spf_client_attach(w->spf, fds[0]);
        return;
    case RELAYD_EVENT_LOG:
        if (fd_count)
            event_log_use(w->events, fds[0]);
        return;
    case RELAYD_TICKET_KEYS:
        take_ticket_keys(w, payload);
        return;
    case RELAYD_ASK:
        worker_ask(w, payload);
        return;
    case RELAYD_STOP:
        take_stop(w, payload);
        return;
    case RELAYD_WANT_SEGMENT:
    case RELAYD_DONE_SEGMENT:
    case RELAYD_KEEP_SEGMENT:
    case RELAYD_ADD_WORKER:
    case RELAYD_ANSWER:
    case RELAYD_REPLICA_WRITTEN:
    case RELAYD_DATABASE:
    case RELAYD_MAKE_SEGMENT:
    case RELAYD_SEAL_SEGMENT:
    case RELAYD_TRIM_SEGMENT:
    case RELAYD_MADE_SEGMENT:
    case RELAYD_SEALED_SEGMENT:
    case RELAYD_TRIMMED_SEGMENT:
        break;
    }
    CHECK(!"a message that is not for a worker");
}

static void
on_parent_gone(void *ctx)
{
    struct worker *w = ctx;

    channel_close(&w->parent);
    if (!w->stopping)
        log_line(LOG_LEVEL_WARN, NULL, "parent-gone", "effect=\"ending\"");
    stop(w, ORPHAN_MS, false);
}

/* --- The spool writer's wishes. */

static void
on_want_segment(void *ctx, uint64_t size_bytes, uint32_t ticket)
{
    static const uint8_t no_key[SIPHASH_KEY_SIZE];
    struct worker *w = ctx;
    struct buf b;
    int rc = ERR_CLOSED;

    buf_init(&b, 0);
    put_u32(&b, ticket);
    put_u64(&b, size_bytes);
    if (w->parent)
        rc = channel_send(w->parent, RELAYD_WANT_SEGMENT, buf_slice(&b), NULL, 0);
    buf_fini(&b);
    if (rc < 0)
        spool_writer_give(w->writer, ticket, -1, (struct spool_segment_id){0}, no_key, size_bytes);
}

static void
on_done_segment(void *ctx, struct spool_segment_id id, bool has_records)
{
    struct worker *w = ctx;
    struct buf b;

    buf_init(&b, 0);
    spool_segment_put_id(&b, id);
    put_u8(&b, has_records);
    /* Without a parent nothing is lost: the next one seals what it finds. */
    if (w->parent && channel_send(w->parent, RELAYD_DONE_SEGMENT, buf_slice(&b), NULL, 0) < 0)
        log_line(LOG_LEVEL_WARN, NULL, "segment-not-handed-back", "number=%u", id.number);
    buf_fini(&b);
}

static void
on_trim_segment(void *ctx, struct spool_segment_id id, uint64_t size_bytes)
{
    struct worker *w = ctx;
    struct buf b;

    buf_init(&b, 0);
    spool_segment_put_id(&b, id);
    put_u64(&b, size_bytes);
    if (w->parent) /* what is not said stays reserved until the message's end */
        (void)!channel_send(w->parent, RELAYD_KEEP_SEGMENT, buf_slice(&b), NULL, 0);
    buf_fini(&b);
}

static void
on_spool_alarm(void *ctx, const char *event, const char *text)
{
    (void)ctx;
    log_line(LOG_LEVEL_ALARM, NULL, event, "text=\"%s\"", text);
}

static const struct spool_writer_ops writer_ops = {
    .want_segment = on_want_segment,
    .done_segment = on_done_segment,
    .trim_segment = on_trim_segment,
    .alarm = on_spool_alarm,
};

static void
on_writer_wake(void *ctx)
{
    struct worker *w = ctx;

    spool_writer_turn(w->writer);
}

/* --- Time. */

/* What is still in the middle of a message is told, and given up; then there is no more waiting. */
static void
end_late(struct worker *w)
{
    struct session *next;

    if (w->is_late) {
        loop_stop(w->loop);
        return;
    }
    log_line(LOG_LEVEL_WARN, NULL, "stopped-late", "sessions=%u detached=%u", w->session_count,
             w->detached_count);
    w->is_late = true;
    w->stop_by_ms = clock_monotonic_ms() + LATE_WORDS_MS;
    for (struct session *s = w->sessions; s; s = next) {
        next = session_next(s);
        session_break_off(s);
    }
}

static void
drain_sessions(struct worker *w)
{
    struct session *next;

    for (struct session *s = w->sessions; s; s = next) {
        next = session_next(s);
        session_drain(s);
    }
}

static void
on_beat(void *ctx)
{
    struct worker *w = ctx;

    shared_worker_stamp(w->table, w->slot, clock_monotonic_ms());
    arrival_beat(w);
    if (arrival_is_closed(w))
        drain_sessions(w);
    if (w->stopping && clock_monotonic_ms() > w->stop_by_ms)
        end_late(w);
    loop_timer_start(&w->beat, BEAT_MS);
    worker_check_idle(w);
}

static void
on_flush(void *ctx)
{
    struct worker *w = ctx;

    event_refusals_tick(w->refusals, clock_wall_ms());
    event_log_flush(w->events);
    loop_timer_start(&w->flush, EVENT_FLUSH_MS);
}

static void
on_signal(void *ctx, int signo)
{
    (void)signo;
    stop(ctx, STOP_MS, false);
}

static void
on_list_state(void *ctx, unsigned list, const char *name, enum sender_dnsbl_state state)
{
    struct worker *w = ctx;

    shared_list_set(w->table, w->slot, list, name,
                    (struct shared_list){.state = state, .since_ms = clock_wall_ms()});
}

static void
set_up(struct worker *w, const struct config *config, const struct worker_args *args)
{
    int wake_fd, rc;

    w->config = config;
    w->slot = args->slot;
#ifdef POSTERN_DEVELOPER
    w->crash_sender = getenv("POSTERN_TEST_CRASH_SENDER");
    shared_health_set_good_apart(args->table,
                                 strtoll(getenv("POSTERN_TEST_GOOD_APART_MS") ?: "0", NULL, 10));
#endif
    w->table = args->table;
    w->tls = args->tls;
    w->tls_client = args->tls_client;
    w->dialin = args->dialin;
    w->loop = loop_new();
    /* Before there are threads, which take over what is blocked. */
    loop_on_signal(w->loop, SIGTERM, on_signal, w);
    loop_on_signal(w->loop, SIGINT, on_signal, w);
    w->parent = channel_open(w->loop, args->parent_fd, on_parent_message, on_parent_gone, w);
    w->state = state_client_open(w->loop, -1); /* everything is unknown until it is attached */
    recipient_probe_prepare(w);
    w->events = event_log_new();
    w->refusals = event_refusals_new(w->events, (config->events_per_second + config->workers - 1) /
                                                    config->workers);
    rc = spool_writer_new(&spool_io_disk, &writer_ops, w, &w->writer, &wake_fd);
    CHECK(rc == ERR_OK);
    w->writer_watch = loop_watch_start(w->loop, wake_fd, on_writer_wake, w);
    body_pool_init(&w->bodies, w->loop, BODY_POOL_CHUNKS, capacity_of_spill(config));
    w->dns = dns_new(w->loop, &config->resolver);
    w->spf = spf_client_open(w->loop, w->dns, -1);
    w->destinations = destination_finder_new(w->loop, config, w->dns);
    w->dnsbl = sender_dnsbl_new(w->dns, config, args->is_first);
    sender_dnsbl_listen(w->dnsbl, on_list_state, w);
    w->scanners = scanners_new(w->loop, config, w->table, w->slot);
    w->pool = backend_pool_new(w);
    w->arrival = arrival_new(w);
    session_times_init(&w->session_times, config);
    w->server_settings = (struct smtp_server_settings){
        .hostname = config->hostname,
        .max_size_bytes = config->max_message_size,
        .max_errors = 20,
        .recipients_announced = RECIPIENTS_ANNOUNCED,
        .messages_announced = MESSAGES_ANNOUNCED,
        .max_idle_commands = 100,
    };
    w->client_settings = (struct smtp_client_settings){
        .hostname = config->hostname,
        .command_timeout_ms = config->backend_command_timeout_ms,
        .data_timeout_ms = config->backend_command_timeout_ms,
        .content_timeout_ms = config->client_data_timeout_ms,
        /* The transaction itself waits for final-reply-timeout. */
        .final_timeout_ms = config->final_reply_timeout_ms + LATE_LISTEN_MS,
    };
    w->listener_count = args->listen_count;
    w->listeners = mem_alloc(args->listen_count * sizeof *w->listeners);
    for (size_t i = 0; i < args->listen_count; i++)
        w->listeners[i] = listener_open(w->loop, args->listen_fds[i], arrival_accept, w);
    loop_timer_init(&w->beat, w->loop, on_beat, w);
    loop_timer_init(&w->flush, w->loop, on_flush, w);
    loop_timer_init(&w->grace, w->loop, close_sessions, w);
}

static void
tear_down(struct worker *w)
{
    for (size_t i = 0; i < w->listener_count; i++)
        listener_close(&w->listeners[i]);
    free(w->listeners);
    arrival_free(&w->arrival);
    worker_ask_cancel_all(w);
    probe_cancel_all(w);
    recipient_probe_cancel_all(w);
    backend_pool_free(&w->pool);
    late_free_all(w);
    destination_finder_free(&w->destinations);
    spf_client_close(&w->spf);
    sender_dnsbl_free(&w->dnsbl);
    scanners_free(&w->scanners);
    dns_free(&w->dns);
    body_pool_close(&w->bodies);
    loop_watch_cancel(&w->writer_watch);
    spool_writer_free(&w->writer);
    event_refusals_free(&w->refusals);
    event_log_free(&w->events);
    state_client_close(&w->state);
    channel_close(&w->parent);
    conn_close_ending();
    loop_timer_cancel(&w->beat);
    loop_timer_cancel(&w->flush);
    loop_timer_cancel(&w->grace);
    loop_free(&w->loop); /* what was deferred runs here */
    registry_close(&w->registry);
    body_pool_fini(&w->bodies);
    free(w);
}

int
worker_run(const struct config *config, const struct worker_args *args)
{
    struct worker *w;
    char name[32];

    snprintf(name, sizeof name, "relayd/worker-%u", args->slot);
    log_set_program(name);
    shared_worker_begin(args->table, args->slot, getpid());
    if (shared_client_prepare(args->table, args->slot) < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "worker-not-started",
                 "file=\"%s/%s\" error=\"%s\" remedy=\"make room in run-dir\"", config->run_dir,
                 RELAYD_SHARED_FILE, strerror(errno));
        return 1;
    }
    w = mem_alloc(sizeof *w);
    set_up(w, config, args);
    on_beat(w);
    on_flush(w);
    loop_run(w->loop);
    tear_down(w);
    return 0;
}
