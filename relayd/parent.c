/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parent: one table of children; whatever happens to a child (message, end, silence) is a small
 * function on its row.
 *
 * A column of the shared table belongs to one worker process and is cleared when that process is
 * dead: what was in flight in it is logged as possible duplicate, and its segments are sealed.
 */
#include "relayd/parent_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "net/process.h"
#include "net/tls_client.h"
#include "net/tls_server.h"
#include "sender/sender_dialin.h"

#define TICK_MS 500
#define SILENCE_MAX_MS 5000 /* a worker that has not stamped its column for so long is replaced */
#define RESTART_PAUSE_MIN_MS 50
#define RESTART_PAUSE_MAX_MS 5000
#define HEALTHY_AFTER_MS 10000 /* a child that lived so long is started anew without a pause */
#define STOP_MS 30000
#define OVERDUE_MS 2000 /* behind the time at which a child was to have ended */

static const char *
kind_name(enum child_kind kind)
{
    static const char *const names[] = {"state", "control", "segments", "spf", "worker"};

    return names[kind];
}

const char *
parent_child_name(const struct child *child)
{
    return kind_name(child->kind);
}

static struct child *
child_of_pid(struct parent *p, pid_t pid)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].pid == pid)
            return &p->children[i];
    return NULL;
}

struct child *
parent_state_child(struct parent *p)
{
    return &p->children[CHILD_STATE];
}

struct child *
parent_segments_child(struct parent *p)
{
    return &p->children[CHILD_SEGMENTS];
}

struct child *
parent_spf_child(struct parent *p)
{
    return &p->children[CHILD_SPF];
}

void
parent_each_worker(struct parent *p, void (*fn)(struct child *worker))
{
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].kind == CHILD_WORKER && p->children[i].pid && p->children[i].channel)
            fn(&p->children[i]);
}

/* At a stop the segments process is the last to go: when the workers have ended and what they have
 * written is sealed. */
static void
end_segments_at_last(struct parent *p)
{
    if (!p->stopping || !parent_segments_idle(p))
        return;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].pid && p->children[i].kind != CHILD_SEGMENTS)
            return;
    channel_close(&parent_segments_child(p)->channel);
}

/* The state process goes behind the workers: they tell it what their last messages have taught.  So
 * does spf, which their last messages may wait for. */
static void
end_helpers_behind_workers(struct parent *p)
{
    struct child *helpers[] = {parent_state_child(p), parent_spf_child(p)};

    if (!p->stopping)
        return;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].pid && p->children[i].kind == CHILD_WORKER)
            return;
    for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
        if (helpers[i]->stop_by_ms == 0) /* a reload may have told it already */
            parent_stop_child(helpers[i], false, STOP_MS);
}

/* --- Messages. */

static void
on_worker_message(struct child *worker, uint16_t type, struct decoder *d)
{
    if (type == RELAYD_WANT_SEGMENT) {
        uint32_t ticket = get_u32(d);
        uint64_t size_bytes = get_u64(d);

        if (decoder_done(d))
            parent_give_segment(worker, ticket, size_bytes);
    } else if (type == RELAYD_DONE_SEGMENT) {
        struct spool_segment_id id = spool_segment_get_id(d);

        get_u8(d);
        if (decoder_done(d))
            parent_done_segment(worker, id);
    } else if (type == RELAYD_KEEP_SEGMENT) {
        struct spool_segment_id id = spool_segment_get_id(d);
        uint64_t size_bytes = get_u64(d);

        if (decoder_done(d))
            parent_trim_segment(worker, id, size_bytes);
    } else if (type == RELAYD_ANSWER)
        parent_take_answer(worker, d);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct child *child = ctx;
    struct decoder d = decoder_of(payload);

    if (child->kind == CHILD_WORKER)
        on_worker_message(child, type, &d);
    else if (child->kind == CHILD_CONTROL && type == RELAYD_REPLICA_WRITTEN)
        parent_each_worker(child->parent, parent_send_replica);
    else if (child->kind == CHILD_SEGMENTS) {
        parent_segments_message(child->parent, type, &d, fd_count > 0 ? fds[0] : -1);
        end_segments_at_last(child->parent);
    }
    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
}

static void
on_channel_close(void *ctx)
{
    struct child *child = ctx;

    channel_close(&child->channel); /* its end is seen by SIGCHLD */
}

/* --- Children. */

/* PARENT_COLUMNS: there is none. */
static unsigned
free_column(struct parent *p)
{
    for (unsigned column = 0; column < PARENT_COLUMNS; column++) {
        bool used = false;

        for (size_t i = 0; i < CHILDREN_MAX; i++)
            used = used || (p->children[i].kind == CHILD_WORKER && p->children[i].pid &&
                            p->children[i].column == column);
        if (!used)
            return column;
    }
    return PARENT_COLUMNS;
}

void
parent_start_child(struct child *child)
{
    struct parent *p = child->parent;
    size_t sockets = child->kind == CHILD_WORKER ? p->config->listen.count * p->socket_count : 0;
    int *keep = mem_alloc((1 + sockets) * sizeof *keep);
    char title[32];
    int channel_fd, rc;

    keep[0] = p->children_lock_fd;
    for (size_t i = 0; i < sockets; i++)
        keep[1 + i] = p->listen_fds[i];
    child->stop_by_ms = 0;
    child->was_silent = false;
    child->column = child->kind == CHILD_WORKER ? free_column(p) : 0;
    CHECK(child->column < PARENT_COLUMNS);
    child->started_at_ms = clock_monotonic_ms();
    if (child->kind == CHILD_WORKER) /* a start that takes long is not silence */
        shared_worker_stamp(p->table, child->column, child->started_at_ms);
    snprintf(title, sizeof title, "relayd-%s", kind_name(child->kind));
    rc = process_fork(title, keep, 1 + sockets, &child->pid, &channel_fd);
    free(keep);
    if (rc < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "fork-failed", "child=%s error=\"%s\"",
                 kind_name(child->kind), strerror(errno));
        child->pid = 0;
        child->restart_at_ms = child->started_at_ms + RESTART_PAUSE_MAX_MS;
        return;
    }
    if (child->pid == 0)
        parent_run_child(child, channel_fd);
    child->channel = channel_open(p->loop, channel_fd, on_message, on_channel_close, child);
    if (child->kind == CHILD_WORKER) {
        parent_send_replica(child);
        parent_send_event_log(child);
        parent_send_ticket_keys(child);
        parent_join_to_state(child);
        parent_join_to_spf(child);
    } else if (child->kind == CHILD_STATE)
        parent_each_worker(p, parent_join_to_state);
    else if (child->kind == CHILD_SPF)
        parent_each_worker(p, parent_join_to_spf);
    else if (child->kind == CHILD_SEGMENTS)
        parent_segments_pump(p);
}

void
parent_on_in_flight(void *ctx, struct ref ref)
{
    char text[REF_SIZE];

    (void)ctx;
    log_line(LOG_LEVEL_WARN, ref_text(ref, text), "possible-duplicate", "ref=%s why=worker-died",
             text);
}

static bool
died_by_fault(const struct child *child, int status)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    bool by_fault = child->was_silent;

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
        by_fault = by_fault || (WIFSIGNALED(status) && WTERMSIG(status) == faults[i]);
    return by_fault;
}

/* Before its column is cleared. */
static void
note_suspect(struct parent *p, const struct child *worker, int status)
{
    uint64_t message = shared_worker_message(p->table, worker->column);

    if (died_by_fault(worker, status) && shared_suspect_note(p->table, message, clock_wall_ms()))
        log_line(LOG_LEVEL_ALARM, NULL, "suspect-message",
                 "fingerprint=%016llx why=\"two workers have died of it within an hour\" "
                 "effect=\"what looks like it is answered 451 for an hour\"",
                 (unsigned long long)message);
}

static void
on_child_end(struct child *child, int status)
{
    struct parent *p = child->parent;
    int64_t now = clock_monotonic_ms();
    /* One that was told to end may not have come to its handler yet. */
    bool was_told = child->stop_by_ms != 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
    bool clean = was_told || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pid_t pid;

    if (!p->stopping || !clean)
        log_line(clean ? LOG_LEVEL_INFO : LOG_LEVEL_ALARM, NULL, "child-ended",
                 "child=%s index=%u pid=%ld %s=%d", kind_name(child->kind), child->index,
                 (long)child->pid, WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    pid = child->pid;
    child->pid = 0;
    channel_close(&child->channel);
    if (child->kind == CHILD_WORKER) {
        note_suspect(p, child, status);
        parent_ask_worker_ended(p, pid);
        shared_worker_clear(p->table, child->column, parent_on_in_flight, p);
        parent_segments_worker_ended(child);
    } else if (child->kind == CHILD_SEGMENTS)
        parent_segments_process_ended(p);
    if (now - child->started_at_ms > HEALTHY_AFTER_MS || clean)
        child->pause_ms = RESTART_PAUSE_MIN_MS;
    else
        child->pause_ms =
            child->pause_ms * 2 > RESTART_PAUSE_MAX_MS ? RESTART_PAUSE_MAX_MS : child->pause_ms * 2;
    child->restart_at_ms = now + child->pause_ms;
}

static void
restart_due(struct parent *p)
{
    int64_t now = clock_monotonic_ms(), soonest = TICK_MS;

    for (size_t i = 0; i < CHILDREN_MAX && !p->stopping; i++) {
        struct child *c = &p->children[i];

        if (!c->wanted || c->pid)
            continue;
        if (now >= c->restart_at_ms)
            parent_start_child(c);
        else if (c->restart_at_ms - now < soonest)
            soonest = c->restart_at_ms - now;
    }
    loop_timer_start(&p->tick, soonest);
}

static void
on_sigchld(void *ctx, int signo)
{
    struct parent *p = ctx;
    struct child *child;
    int status;
    pid_t pid;
    bool any = false;

    (void)signo;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if ((child = child_of_pid(p, pid)) != NULL)
            on_child_end(child, status);
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        any = any || p->children[i].pid;
    parent_go_on_reloading(p);
    end_helpers_behind_workers(p);
    end_segments_at_last(p);
    if (p->stopping && !any)
        loop_stop(p->loop);
    else
        restart_due(p);
}

static void
kill_silent(struct parent *p)
{
    int64_t now = clock_monotonic_ms();
    bool was_late = now - p->ticked_at_ms > SILENCE_MAX_MS / 2;

    p->ticked_at_ms = now;
    if (was_late) { /* the machine was asleep, or we were: the workers have had no time either */
        for (size_t i = 0; i < CHILDREN_MAX; i++)
            if (p->children[i].pid && p->children[i].kind == CHILD_WORKER)
                shared_worker_stamp(p->table, p->children[i].column, now);
        return;
    }

    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *c = &p->children[i];
        int64_t stamped = c->pid && c->kind == CHILD_WORKER
                              ? shared_worker_stamped_at_ms(p->table, c->column)
                              : now;

        if (now - stamped > SILENCE_MAX_MS) {
            log_line(LOG_LEVEL_ALARM, NULL, "worker-silent",
                     "index=%u pid=%ld ms=%lld effect=\"killed and replaced\"", c->index,
                     (long)c->pid, (long long)(now - stamped));
            kill(c->pid, SIGKILL);
            c->was_silent = true;
            shared_worker_stamp(p->table, c->column, now); /* once is enough */
        }
    }
}

/* They end by themselves at stop_by_ms; one that does not would hold its row for ever. */
static void
kill_overdue(struct parent *p)
{
    int64_t now = clock_monotonic_ms();

    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *c = &p->children[i];
        int64_t by_ms = p->stopping ? p->stop_by_ms : c->stop_by_ms;

        if (c->pid == 0 || by_ms == 0 || now <= by_ms + OVERDUE_MS)
            continue;
        log_line(LOG_LEVEL_WARN, NULL, "child-overdue", "child=%s pid=%ld effect=\"killed\"",
                 kind_name(c->kind), (long)c->pid);
        kill(c->pid, SIGKILL);
    }
}

static void
on_tick(void *ctx)
{
    struct parent *p = ctx;

    kill_overdue(p);
    kill_silent(p);
    if (parent_wants_event_log(p)) {
        parent_open_event_log(p);
        parent_each_worker(p, parent_send_event_log);
    }
    parent_tls_tick(p, clock_monotonic_ms(), clock_wall_ms());
    restart_due(p);
}

/* --- Stop. */

void
parent_stop_child(struct child *child, bool others_take_over, int64_t within_ms)
{
    struct buf b;
    bool told = false;

    if (child->pid == 0)
        return;
    child->stop_by_ms = clock_monotonic_ms() + within_ms;
    buf_init(&b, 0);
    put_u8(&b, others_take_over);
    put_u32(&b, (uint32_t)within_ms);
    if (child->channel && child->kind == CHILD_WORKER)
        told = channel_send(child->channel, RELAYD_STOP, buf_slice(&b), NULL, 0) == ERR_OK;
    buf_fini(&b);
    if (!told)
        kill(child->pid, SIGTERM);
}

static void
on_stop_signal(void *ctx, int signo)
{
    struct parent *p = ctx;

    log_line(LOG_LEVEL_INFO, NULL, "stopping", "signal=%d", signo);
    p->stopping = true;
    p->stop_by_ms = clock_monotonic_ms() + STOP_MS;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].kind == CHILD_WORKER || p->children[i].kind == CHILD_CONTROL)
            parent_stop_child(&p->children[i], false, STOP_MS);
    end_helpers_behind_workers(p);
    end_segments_at_last(p);
}

/* --- Run. */

static void
plan_children(struct parent *p)
{
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        struct child *c = &p->children[i];

        c->parent = p;
        c->pause_ms = RESTART_PAUSE_MIN_MS;
        c->wanted = i < WORKERS_AT + p->config->workers;
        c->kind = i < WORKERS_AT ? (enum child_kind)i : CHILD_WORKER;
        c->index = i < WORKERS_AT ? 0 : i - WORKERS_AT;
    }
}

static void
tear_down(struct parent *p)
{
    parent_segments_free(p);
    loop_free(&p->loop);
    shared_table_detach(&p->table);
    config_free(&p->config);
    config_free(&p->next_config);
    tls_server_free(&p->tls);
    tls_client_free(&p->tls_client);
    sender_dialin_free(&p->dialin);
    sender_dialin_free(&p->next_dialin);
    tls_server_free(&p->next_tls);
    explicit_bzero(&p->ticket_keys, sizeof p->ticket_keys);
    free(p->listen_fds);
    free(p);
}

int
parent_run(struct config *config)
{
    struct parent *p = mem_alloc(sizeof *p);
    char text[INET_ENDPOINT_SIZE];

    p->config = config;
    STAILQ_INIT(&p->makes_shared);
    STAILQ_INIT(&p->makes_large);
    STAILQ_INIT(&p->seals);
    plan_children(p);
    tls_ticket_keys_make(&p->ticket_keys);
    if (parent_set_up(p) < 0) {
        tear_down(p);
        return 1;
    }
    p->loop = loop_new();
    loop_timer_init(&p->tick, p->loop, on_tick, p);
    loop_on_signal(p->loop, SIGCHLD, on_sigchld, p);
    loop_on_signal(p->loop, SIGTERM, on_stop_signal, p);
    loop_on_signal(p->loop, SIGINT, on_stop_signal, p);
    loop_on_signal(p->loop, SIGHUP, parent_on_reload_signal, p);
    for (size_t a = 0; a < config->listen.count; a++)
        log_line(LOG_LEVEL_INFO, NULL, "listening", "on=%s workers=%u",
                 inet_endpoint_text(&config->listen.items[a], text), config->workers);
    parent_open_control(p);
    on_tick(p);
    loop_run(p->loop);
    parent_close_control(p);
    parent_write_snapshot(p);
    log_line(LOG_LEVEL_INFO, NULL, "stopped", "epoch=%u", p->epoch);
    loop_timer_cancel(&p->tick);
    tear_down(p);
    return 0;
}
