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

#define TICK_MS 500
#define SILENCE_MAX_MS 5000 /* a worker that has not stamped its column for so long is replaced */
#define RESTART_PAUSE_MIN_MS 50
#define RESTART_PAUSE_MAX_MS 5000
#define HEALTHY_AFTER_MS 10000 /* a child that lived so long is started anew without a pause */
#define STOP_WAIT_MS 32000

static void start_child(struct child *child);

static const char *
kind_name(enum child_kind kind)
{
    static const char *const names[] = {"state", "control", "worker"};

    return names[kind];
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
    return &p->children[0];
}

void
parent_each_worker(struct parent *p, void (*fn)(struct child *worker))
{
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].kind == CHILD_WORKER && p->children[i].pid && p->children[i].channel)
            fn(&p->children[i]);
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
        struct spool_segment_id id = {.node = get_u16(d)};

        id.epoch = get_u32(d);
        id.number = get_u32(d);
        get_u8(d);
        if (decoder_done(d))
            parent_done_segment(worker, id);
    }
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct child *child = ctx;
    struct decoder d = decoder_of(payload);

    for (size_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (child->kind == CHILD_WORKER)
        on_worker_message(child, type, &d);
    else if (child->kind == CHILD_CONTROL && type == RELAYD_REPLICA_WRITTEN)
        parent_each_worker(child->parent, parent_send_replica);
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

/* In the child: becomes what it is to be; never returns. */
_Noreturn static void
run_child(struct child *child, int channel_fd)
{
    struct parent *p = child->parent;
    struct worker_args args = {.slot = child->column, .parent_fd = channel_fd, .table = p->table};
    int fds[CHILDREN_MAX * 16];

    for (unsigned s = 0; s < p->socket_count; s++)
        if (s % p->config->workers == child->index)
            for (size_t a = 0; a < p->config->listen.count && args.listen_count < ARRAY_SIZE(fds);
                 a++)
                fds[args.listen_count++] = p->listen_fds[a * p->socket_count + s];
    args.listen_fds = fds;
    switch (child->kind) {
    case CHILD_STATE:
        _exit(state_process_run(p->config, channel_fd));
    case CHILD_CONTROL:
        _exit(control_process_run(p->config, channel_fd));
    case CHILD_WORKER:
        exit(worker_run(p->config, &args));
    }
    abort();
}

static void
start_child(struct child *child)
{
    struct parent *p = child->parent;
    int keep[CHILDREN_MAX * 16];
    size_t keep_count = 0;
    char title[32];
    int channel_fd, rc;

    keep[keep_count++] = p->children_lock_fd;
    if (child->kind == CHILD_WORKER)
        for (size_t i = 0; i < p->config->listen.count * p->socket_count; i++)
            keep[keep_count++] = p->listen_fds[i];
    child->column = child->kind == CHILD_WORKER ? free_column(p) : 0;
    CHECK(child->column < PARENT_COLUMNS);
    child->started_at_ms = clock_monotonic_ms();
    if (child->kind == CHILD_WORKER) /* a start that takes long is not silence */
        shared_worker_stamp(p->table, child->column, child->started_at_ms);
    snprintf(title, sizeof title, "relayd-%s", kind_name(child->kind));
    rc = process_fork(title, keep, keep_count, &child->pid, &channel_fd);
    if (rc < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "fork-failed", "child=%s error=\"%s\"",
                 kind_name(child->kind), strerror(errno));
        child->pid = 0;
        child->restart_at_ms = child->started_at_ms + RESTART_PAUSE_MAX_MS;
        return;
    }
    if (child->pid == 0)
        run_child(child, channel_fd);
    child->channel = channel_open(p->loop, channel_fd, on_message, on_channel_close, child);
    if (child->kind == CHILD_WORKER) {
        parent_send_replica(child);
        parent_send_event_log(child);
        parent_join_to_state(child);
    } else if (child->kind == CHILD_STATE)
        parent_each_worker(p, parent_join_to_state);
}

void
parent_on_in_flight(void *ctx, struct ref ref)
{
    char text[REF_SIZE];

    (void)ctx;
    log_line(LOG_LEVEL_WARN, ref_text(ref, text), "possible-duplicate", "ref=%s why=worker-died",
             text);
}

static void
on_child_end(struct child *child, int status)
{
    struct parent *p = child->parent;
    int64_t now = clock_monotonic_ms();
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    if (!p->stopping || !clean)
        log_line(clean ? LOG_LEVEL_INFO : LOG_LEVEL_ALARM, NULL, "child-ended",
                 "child=%s index=%u pid=%ld %s=%d", kind_name(child->kind), child->index,
                 (long)child->pid, WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (child->kind == CHILD_WORKER)
        shared_worker_clear(p->table, child->column, parent_on_in_flight, p);
    child->pid = 0;
    channel_close(&child->channel);
    while (child->segments)
        parent_done_segment(child, child->segments->id);
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
            start_child(c);
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
            shared_worker_stamp(p->table, c->column, now); /* once is enough */
        }
    }
}

static void
on_tick(void *ctx)
{
    struct parent *p = ctx;

    if (p->stopping && clock_monotonic_ms() > p->stop_by_ms)
        for (size_t i = 0; i < CHILDREN_MAX; i++)
            if (p->children[i].pid)
                kill(p->children[i].pid, SIGKILL);
    kill_silent(p);
    if (clock_wall_ms() / 3600000 != p->event_hour) {
        parent_open_event_log(p);
        parent_each_worker(p, parent_send_event_log);
    }
    restart_due(p);
}

/* --- Stop and reload. */

static void
stop_child(struct child *child, bool others_take_over)
{
    struct slice payload = others_take_over ? SLICE("\1") : SLICE("\0");

    if (child->pid && child->channel && child->kind == CHILD_WORKER &&
        channel_send(child->channel, RELAYD_STOP, payload, NULL, 0) == ERR_OK)
        return;
    if (child->pid)
        kill(child->pid, SIGTERM);
}

static void
on_stop_signal(void *ctx, int signo)
{
    struct parent *p = ctx;

    log_line(LOG_LEVEL_INFO, NULL, "stopping", "signal=%d", signo);
    p->stopping = true;
    p->stop_by_ms = clock_monotonic_ms() + STOP_WAIT_MS;
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        stop_child(&p->children[i], false);
}

static bool
same_text(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Settings that only a restart can change. */
static const char *
needs_restart(const struct config *a, const struct config *b)
{
    if (a->listen.count != b->listen.count)
        return "listen";
    for (size_t i = 0; i < a->listen.count; i++)
        if (!inet_endpoint_equal(&a->listen.items[i], &b->listen.items[i]))
            return "listen";
    if (a->workers != b->workers)
        return "workers";
    if (a->node != b->node)
        return "node";
    if (!same_text(a->spool_dir, b->spool_dir) || !same_text(a->state_dir, b->state_dir) ||
        !same_text(a->run_dir, b->run_dir) || !same_text(a->log_dir, b->log_dir))
        return "spool-dir, state-dir, run-dir or log-dir";
    return same_text(a->user, b->user) ? NULL : "user";
}

static struct child *
spare_row(struct parent *p)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++)
        if (p->children[i].kind == CHILD_WORKER && !p->children[i].wanted &&
            p->children[i].pid == 0)
            return &p->children[i];
    return NULL;
}

/* New workers begin beside the old ones, which end with their last session; with so many workers
 * that there is no room for twice as many, and for the other processes, each is started anew when
 * it has ended. */
static void
replace_children(struct parent *p)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *old = &p->children[i], *fresh;

        if (old->pid == 0 || !old->wanted || old->replaced_in == p->reloads)
            continue;
        fresh = old->kind == CHILD_WORKER ? spare_row(p) : NULL;
        if (fresh && free_column(p) < PARENT_COLUMNS) {
            fresh->index = old->index;
            fresh->wanted = true;
            fresh->replaced_in = p->reloads;
            old->wanted = false;
            start_child(fresh);
        }
        stop_child(old, true);
    }
}

static void
on_reload_signal(void *ctx, int signo)
{
    struct parent *p = ctx;
    struct config *fresh;
    struct buf problems;
    const char *why;

    (void)signo;
    buf_init(&problems, 0);
    if (config_load(p->config->path, &problems, &fresh) < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "reload-refused",
                 "problems=\"%s\" effect=\"nothing has changed\"", buf_text(&problems));
    } else if ((why = needs_restart(p->config, fresh)) != NULL) {
        log_line(LOG_LEVEL_ALARM, NULL, "reload-refused",
                 "setting=\"%s\" effect=\"nothing has changed\" remedy=\"restart relayd\"", why);
        config_free(&fresh);
    } else {
        log_line(LOG_LEVEL_INFO, NULL, "reloading", "path=%s", fresh->path);
        config_free(&p->config);
        p->config = fresh;
        p->reloads++;
        replace_children(p);
    }
    buf_fini(&problems);
}

/* --- Run. */

static void
plan_children(struct parent *p)
{
    for (unsigned i = 0; i < 2 + p->config->workers; i++)
        p->children[i].wanted = true;
    p->children[0].kind = CHILD_STATE;
    p->children[1].kind = CHILD_CONTROL;
    for (unsigned i = 0; i < CHILDREN_MAX; i++) {
        p->children[i].parent = p;
        p->children[i].pause_ms = RESTART_PAUSE_MIN_MS;
        if (i >= 2) {
            p->children[i].kind = CHILD_WORKER;
            p->children[i].index = i - 2;
        }
    }
}

static void
tear_down(struct parent *p)
{
    loop_free(&p->loop);
    shared_table_detach(&p->table);
    config_free(&p->config);
    free(p->listen_fds);
    free(p);
}

int
parent_run(struct config *config)
{
    struct parent *p = mem_alloc(sizeof *p);
    char text[INET_ENDPOINT_SIZE];

    p->config = config;
    if (parent_set_up(p) < 0) {
        tear_down(p);
        return 1;
    }
    plan_children(p);
    p->loop = loop_new();
    loop_timer_init(&p->tick, p->loop, on_tick, p);
    loop_on_signal(p->loop, SIGCHLD, on_sigchld, p);
    loop_on_signal(p->loop, SIGTERM, on_stop_signal, p);
    loop_on_signal(p->loop, SIGINT, on_stop_signal, p);
    loop_on_signal(p->loop, SIGHUP, on_reload_signal, p);
    for (size_t a = 0; a < config->listen.count; a++)
        log_line(LOG_LEVEL_INFO, NULL, "listening", "on=%s workers=%u",
                 inet_endpoint_text(&config->listen.items[a], text), config->workers);
    on_tick(p);
    loop_run(p->loop);
    log_line(LOG_LEVEL_INFO, NULL, "stopped", "epoch=%u", p->epoch);
    loop_timer_cancel(&p->tick);
    tear_down(p);
    return 0;
}
