/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool: a list of links and a list of waits for each endpoint.  All worlds meet in serve():
 * whenever a link becomes idle, is lost, or a wait arrives, it gives idle links to the oldest waits
 * and opens links while the limit permits.
 *
 * Invariants: a link is busy exactly when it has a user; a slot of the shared table is held for
 * each link; a wait is answered once.
 */
#include "relayd/backend.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define SLOT_RETRY_MS 20
#define OPEN_PAUSE_MS 1000

enum link_state { LINK_CONNECTING, LINK_GREETING, LINK_IDLE, LINK_BUSY, LINK_RESETTING };

struct backend_target { /* an endpoint */
    struct backend_pool *pool;
    struct backend_target *next;
    struct inet_endpoint endpoint;
    uint32_t limit;
    struct backend_link *links;
    struct backend_wait *first_wait, *last_wait;
    unsigned link_count, opening_count;
    int64_t open_again_at_ms; /* no new connection before this moment */
    struct loop_timer retry;  /* slots are held by other workers: try again */
};

struct backend_link {
    struct backend_target *target;
    struct backend_link *next, *previous;
    struct conn *conn;
    struct smtp_client *client;
    enum link_state state;
    unsigned uses;
    unsigned progress; /* of the engine, when the deadline was last set */
    bool timed_out;
    int64_t ready_by_ms; /* being made: until then EHLO is answered */
    int64_t idle_since_ms;
    const struct backend_user_ops *ops;
    void *ctx;
};

struct backend_wait {
    struct backend_target *target;
    struct backend_wait *next, *previous;
    int64_t since_ms, until_ms;
    backend_on_link on_link;
    const struct backend_user_ops *ops;
    void *ctx;
};

struct backend_pool {
    struct worker *worker;
    struct backend_target *targets;
    struct loop_timer idle_timer;
};

static void serve(struct backend_target *target);

/* --- Lists. */

static void
link_insert(struct backend_link *link)
{
    struct backend_target *t = link->target;

    link->next = t->links;
    if (t->links)
        t->links->previous = link;
    t->links = link;
    t->link_count++;
}

static void
link_unlink(struct backend_link *link)
{
    if (link->next)
        link->next->previous = link->previous;
    if (link->previous)
        link->previous->next = link->next;
    else
        link->target->links = link->next;
    link->target->link_count--;
}

static void
wait_unlink(struct backend_wait *wait)
{
    struct backend_target *t = wait->target;

    if (wait->next)
        wait->next->previous = wait->previous;
    else
        t->last_wait = wait->previous;
    if (wait->previous)
        wait->previous->next = wait->next;
    else
        t->first_wait = wait->next;
}

/* --- The end of a link. */

static void
link_free(void *ctx)
{
    struct backend_link *link = ctx;

    smtp_client_free(&link->client);
    free(link);
}

/* Closes it and gives its slot back; the memory goes after the turn, since engine and connection
 * may be on the stack. */
static void
link_end(struct backend_link *link)
{
    struct backend_target *t = link->target;
    struct worker *w = t->pool->worker;

    if (link->state == LINK_CONNECTING || link->state == LINK_GREETING)
        t->opening_count--;
    link_unlink(link);
    conn_close(&link->conn);
    shared_slot_give(w->table, w->slot, &t->endpoint);
    loop_defer(w->loop, link_free, link);
}

static void
link_quit(struct backend_link *link)
{
    smtp_client_quit(link->client);
    conn_flush_now(link->conn);
    link_end(link);
}

static enum shared_health_reason
reason_of(enum smtp_phase phase, bool timed_out)
{
    if (timed_out)
        return SHARED_REASON_TIMEOUT;
    switch (phase) {
    case SMTP_PHASE_CONNECT:
        return SHARED_REASON_CONNECT;
    case SMTP_PHASE_BANNER:
        return SHARED_REASON_BANNER;
    case SMTP_PHASE_EHLO:
    case SMTP_PHASE_HELO:
        return SHARED_REASON_EHLO;
    case SMTP_PHASE_STARTTLS:
        return SHARED_REASON_TLS;
    case SMTP_PHASE_MAIL:
    case SMTP_PHASE_RCPT:
    case SMTP_PHASE_DATA:
    case SMTP_PHASE_DOT:
    case SMTP_PHASE_RSET:
    case SMTP_PHASE_QUIT:
    case SMTP_PHASE_COUNT:
        break;
    }
    return SHARED_REASON_LOST;
}

static void
note_down(struct backend_target *t, enum smtp_phase phase, bool timed_out,
          const struct smtp_reply *reply)
{
    struct worker *w = t->pool->worker;
    enum shared_health_reason reason = reason_of(phase, timed_out);
    char endpoint[INET_ENDPOINT_SIZE], text[SMTP_REPLY_TEXT_SIZE] = "",
                                       quoted[SMTP_REPLY_LINE_SIZE + 8];

    if (!shared_health_failed(w->table, &t->endpoint, reason, clock_wall_ms(),
                              w->config->probe_interval_min_ms, w->config->probe_interval_max_ms))
        return;
    if (reply && reply->code)
        smtp_reply_text(reply, text, sizeof text);
    log_line(LOG_LEVEL_WARN, NULL, "backend-down", "endpoint=%s phase=%s reason=%s reply=%s",
             inet_endpoint_text(&t->endpoint, endpoint), smtp_phase_word(phase),
             log_quote(slice_of(shared_reason_text(reason)), (char[120]){0}, 120),
             log_quote(slice_of(text), quoted, sizeof quoted));
}

static void
note_up(struct backend_target *t)
{
    struct worker *w = t->pool->worker;
    char endpoint[INET_ENDPOINT_SIZE];

    if (shared_health_succeeded(w->table, &t->endpoint, clock_wall_ms()))
        log_line(LOG_LEVEL_INFO, NULL, "backend-up", "endpoint=%s",
                 inet_endpoint_text(&t->endpoint, endpoint));
}

static unsigned
count_waits(const struct backend_target *t)
{
    unsigned count = 0;

    for (const struct backend_wait *wait = t->first_wait; wait; wait = wait->next)
        count++;
    return count;
}

static void
fail_wait(struct backend_wait *wait, enum smtp_phase phase, const struct smtp_reply *reply)
{
    wait_unlink(wait);
    wait->on_link(wait->ctx, NULL, phase, reply);
    free(wait);
}

/* Everybody who waits for this endpoint hears that it cannot be reached; who begins to wait
 * meanwhile does not. */
static void
fail_waits(struct backend_target *t, enum smtp_phase phase, const struct smtp_reply *reply)
{
    unsigned count = count_waits(t);

    while (count-- > 0 && t->first_wait)
        fail_wait(t->first_wait, phase, reply);
}

/* No link became free in time: all are busy with other messages.  Says nothing about the backend's
 * health. */
static void
fail_old_waits(struct backend_target *t, int64_t now_ms)
{
    unsigned count = count_waits(t);
    struct backend_wait *next;

    /* A callback may begin another wait, which goes to the end. */
    for (struct backend_wait *w = t->first_wait; w && count > 0 && t->opening_count == 0;
         w = next, count--) {
        next = w->next;
        if (w->until_ms < now_ms)
            fail_wait(w, SMTP_PHASE_CONNECT, NULL);
    }
}

static bool
has_ready_link(const struct backend_target *t)
{
    return t->link_count > t->opening_count;
}

/* A connection could not be made. While others stand, the backend lives and wants no more of them
 * ("421 too many connections"): what waits is served by those, and the next attempt has time. */
static void
open_failed(struct backend_target *t, enum smtp_phase phase, bool timed_out,
            const struct smtp_reply *reply)
{
    if (has_ready_link(t)) {
        t->open_again_at_ms = loop_now_ms(t->pool->worker->loop) + OPEN_PAUSE_MS;
        return;
    }
    note_down(t, phase, timed_out, reply);
    fail_waits(t, phase, reply);
}

/* A link is lost: its user hears of it, or, if it was still being made, those who wait. */
static void
link_lost(struct backend_link *link, enum smtp_phase phase, bool dot_sent, bool timed_out,
          const struct smtp_reply *reply)
{
    struct backend_target *t = link->target;
    enum link_state state = link->state;
    const struct backend_user_ops *ops = link->ops;
    void *ctx = link->ctx;

    link_end(link);
    if (state == LINK_CONNECTING || state == LINK_GREETING) {
        open_failed(t, phase, timed_out, reply);
    } else if (state == LINK_BUSY)
        ops->on_lost(ctx, phase, dot_sent, reply);
    if (!has_ready_link(t))
        t->open_again_at_ms = 0;
    serve(t);
}

/* --- Events of the engine. */

static void
link_idle(struct backend_link *link)
{
    link->state = LINK_IDLE;
    link->ops = NULL;
    link->idle_since_ms = loop_now_ms(link->target->pool->worker->loop);
    if (link->uses >= BACKEND_LINK_USES_MAX ||
        (link->target->pool->worker->closing && link->target->first_wait == NULL))
        link_quit(link);
}

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    struct backend_link *link = ctx;

    (void)caps;
    link->target->opening_count--;
    note_up(link->target);
    link_idle(link);
    serve(link->target);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct backend_link *link = ctx;

    if (link->state == LINK_BUSY)
        link->ops->on_reply(link->ctx, phase, index, class, reply);
    else if (link->state == LINK_RESETTING && link->conn && smtp_client_is_idle(link->client)) {
        struct backend_target *t = link->target;

        link_idle(link);
        serve(t);
    }
}

static void
on_want_content(void *ctx)
{
    struct backend_link *link = ctx;

    if (link->state == LINK_BUSY)
        link->ops->on_want_content(link->ctx);
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct backend_link *link = ctx;

    if (link->conn == NULL) /* dropped by its user inside an earlier event of this turn */
        return;
    link_lost(link, phase, dot_sent, link->timed_out, reply);
}

static const struct smtp_client_ops client_ops = {
    .on_ready = on_ready,
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_end = on_end,
};

/* --- Events of the connection. */

/* Whoever waits for a link that is being made waits no longer than backend-connect-timeout,
 * whatever the backend does behind the connection. */
static int64_t
link_timeout_ms(const struct backend_link *link)
{
    int64_t ms = smtp_client_timeout_ms(link->client);
    int64_t left_ms = link->ready_by_ms - loop_now_ms(link->target->pool->worker->loop);

    if (link->state != LINK_GREETING || left_ms > ms)
        return ms;
    return left_ms > 1 ? left_ms : 1;
}

static void
on_connected(struct backend_link *link)
{
    struct worker *w = link->target->pool->worker;

    link->state = LINK_GREETING;
    link->progress = UINT_MAX;
    link->client = smtp_client_new(&w->client_settings, &client_ops, link, conn_output(link->conn));
    shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_CONNECTIONS);
    backend_link_flush(link);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct backend_link *link = ctx;

    switch (event) {
    case CONN_CONNECTED:
        on_connected(link);
        return;
    case CONN_TLS_READY:
        return;
    case CONN_INPUT:
        if (link->client == NULL)
            return;
        smtp_client_input(link->client, conn_input(link->conn));
        if (link->conn)
            backend_link_flush(link);
        return;
    case CONN_DRAINED:
        conn_deadline(link->conn, link_timeout_ms(link));
        if (link->state == LINK_BUSY)
            link->ops->on_drained(link->ctx);
        return;
    case CONN_TIMEOUT:
        link->timed_out = true;
        if (link->client)
            smtp_client_timeout(link->client);
        else
            link_lost(link, SMTP_PHASE_CONNECT, false, true, NULL);
        return;
    case CONN_EOF:
    case CONN_FAILED:
        if (link->client)
            smtp_client_lost(link->client);
        else
            link_lost(link, SMTP_PHASE_CONNECT, false, false, NULL);
        return;
    }
}

static bool
link_open(struct backend_target *t)
{
    struct worker *w = t->pool->worker;
    struct backend_link *link;

    if (!shared_slot_take(w->table, w->slot, &t->endpoint, t->limit))
        return false;
    link = mem_alloc(sizeof *link);
    link->target = t;
    link->state = LINK_CONNECTING;
    link->ready_by_ms = loop_now_ms(w->loop) + (int64_t)w->config->backend_connect_timeout_ms;
    if (conn_connect(w->loop, &t->endpoint, NULL, w->config->backend_connect_timeout_ms, on_conn,
                     link, &link->conn) < 0) {
        shared_slot_give(w->table, w->slot, &t->endpoint);
        free(link);
        return false;
    }
    link_insert(link);
    t->opening_count++;
    return true;
}

/* --- Who gets which link. */

static void
link_assign(struct backend_link *link, const struct backend_user_ops *ops, void *ctx)
{
    struct worker *w = link->target->pool->worker;

    link->state = LINK_BUSY;
    link->ops = ops;
    link->ctx = ctx;
    if (link->uses++ > 0)
        shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_REUSES);
}

static struct backend_link *
find_idle(const struct backend_target *t)
{
    struct backend_link *link = t->links;

    while (link && link->state != LINK_IDLE)
        link = link->next;
    return link;
}

/* This worker's part of the backend's connections: all workers together never exceed the limit (the
 * shared table sees to that), and none can starve another. */
static unsigned
share(const struct backend_target *t)
{
    unsigned workers = t->pool->worker->config->workers;

    return (t->limit + workers - 1) / workers;
}

/* As many new connections as there are waits, within the limit. */
static void
open_links(struct backend_target *t)
{
    int64_t pause_ms = t->open_again_at_ms - loop_now_ms(t->pool->worker->loop);

    if (t->first_wait && pause_ms > 0) {
        loop_timer_start(&t->retry, pause_ms);
        return;
    }
    while (count_waits(t) > t->opening_count && t->link_count < share(t) && link_open(t))
        ;
    if (t->first_wait)
        loop_timer_start(&t->retry, SLOT_RETRY_MS);
}

/* Users who hold a link without needing it give it back: to as many as wait, or to nobody. */
static void
ask_back(struct backend_target *t, bool others_wait)
{
    unsigned wanted = others_wait ? count_waits(t) : UINT_MAX;
    struct backend_link *next;

    for (struct backend_link *link = t->links; link && wanted > 0; link = next) {
        next = link->next;
        if (link->state == LINK_RESETTING)
            wanted--;
        else if (link->state == LINK_BUSY && link->ops->on_wanted &&
                 link->ops->on_wanted(link->ctx, others_wait))
            wanted--;
    }
}

static void
serve(struct backend_target *t)
{
    struct backend_link *link;

    while (t->first_wait && (link = find_idle(t)) != NULL) {
        struct backend_wait *wait = t->first_wait;

        wait_unlink(wait);
        link_assign(link, wait->ops, wait->ctx);
        wait->on_link(wait->ctx, link, SMTP_PHASE_MAIL, NULL);
        free(wait);
    }
    open_links(t);
}

static void
on_retry(void *ctx)
{
    struct backend_target *t = ctx;

    if (t->first_wait)
        ask_back(t, true);
    serve(t);
}

static struct backend_target *
target_of(struct backend_pool *pool, const struct inet_endpoint *endpoint)
{
    struct backend_target *t = pool->targets;

    while (t && !inet_endpoint_equal(&t->endpoint, endpoint))
        t = t->next;
    if (t == NULL) {
        t = mem_alloc(sizeof *t);
        t->pool = pool;
        t->endpoint = *endpoint;
        t->limit = pool->worker->config->backend_connections;
        t->next = pool->targets;
        pool->targets = t;
        loop_timer_init(&t->retry, pool->worker->loop, on_retry, t);
    }
    return t;
}

struct backend_link *
backend_take_idle(struct backend_pool *pool, const struct inet_endpoint *endpoint,
                  const struct backend_user_ops *ops, void *ctx)
{
    struct backend_target *t = target_of(pool, endpoint);
    struct backend_link *link = t->first_wait ? NULL : find_idle(t);

    if (link)
        link_assign(link, ops, ctx);
    return link;
}

static void
serve_later(void *ctx)
{
    serve(ctx);
}

struct backend_wait *
backend_wait_start(struct backend_pool *pool, const struct inet_endpoint *endpoint, uint32_t limit,
                   backend_on_link on_link, const struct backend_user_ops *ops, void *ctx)
{
    struct backend_target *t = target_of(pool, endpoint);
    struct backend_wait *wait = mem_alloc(sizeof *wait);

    t->limit = limit;
    wait->target = t;
    wait->since_ms = loop_now_ms(pool->worker->loop);
    backend_wait_set_patience(wait, pool->worker->config->backend_connect_timeout_ms);
    wait->on_link = on_link;
    wait->ops = ops;
    wait->ctx = ctx;
    wait->previous = t->last_wait;
    if (t->last_wait)
        t->last_wait->next = wait;
    else
        t->first_wait = wait;
    t->last_wait = wait;
    loop_defer(pool->worker->loop, serve_later, t);
    return wait;
}

void
backend_wait_set_patience(struct backend_wait *wait, int64_t patience_ms)
{
    wait->until_ms = wait->since_ms + patience_ms;
}

void
backend_wait_cancel(struct backend_wait **wait)
{
    if (*wait == NULL)
        return;
    wait_unlink(*wait);
    free(*wait);
    *wait = NULL;
}

/* --- A link in the hands of its user. */

struct smtp_client *
backend_link_client(struct backend_link *link)
{
    return link->client;
}

bool
backend_link_is_reused(const struct backend_link *link)
{
    return link->uses > 1;
}

const struct inet_endpoint *
backend_link_endpoint(const struct backend_link *link)
{
    return &link->target->endpoint;
}

size_t
backend_link_output_size(struct backend_link *link)
{
    return buf_size(conn_output(link->conn));
}

void
backend_link_flush(struct backend_link *link)
{
    unsigned progress = smtp_client_progress(link->client);

    conn_flush(link->conn);
    if (progress == link->progress)
        return;
    link->progress = progress;
    conn_deadline(link->conn, link_timeout_ms(link));
}

void
backend_link_hand_over(struct backend_link *link, const struct backend_user_ops *ops, void *ctx)
{
    link->ops = ops;
    link->ctx = ctx;
}

void
backend_link_release(struct backend_link **held)
{
    struct backend_link *link = *held;
    struct backend_target *t;

    *held = NULL;
    if (link == NULL)
        return;
    t = link->target;
    link->ops = NULL;
    if (smtp_client_is_idle(link->client)) {
        link_idle(link);
        loop_defer(t->pool->worker->loop, serve_later, t);
        return;
    }
    link->state = LINK_RESETTING;
    smtp_client_reset(link->client);
    backend_link_flush(link);
}

void
backend_link_drop(struct backend_link **held)
{
    struct backend_link *link = *held;
    struct backend_target *t;

    *held = NULL;
    if (link == NULL)
        return;
    t = link->target;
    link->ops = NULL;
    link->state = LINK_RESETTING; /* the engine may be on the stack and may still speak */
    link_end(link);
    loop_defer(t->pool->worker->loop, serve_later, t);
}

/* --- The pool. */

static void
on_idle_timer(void *ctx)
{
    struct backend_pool *pool = ctx;
    int64_t now = loop_now_ms(pool->worker->loop);

    for (struct backend_target *t = pool->targets; t; t = t->next) {
        struct backend_link *next;

        for (struct backend_link *link = t->links; link; link = next) {
            next = link->next;
            if (link->state != LINK_IDLE || now - link->idle_since_ms < BACKEND_LINK_IDLE_MS)
                continue;
            link_quit(link);
        }
        ask_back(t, false);
        fail_old_waits(t, now);
    }
    loop_timer_start(&pool->idle_timer, 1000);
}

struct backend_pool *
backend_pool_new(struct worker *worker)
{
    struct backend_pool *pool = mem_alloc(sizeof *pool);

    pool->worker = worker;
    loop_timer_init(&pool->idle_timer, worker->loop, on_idle_timer, pool);
    loop_timer_start(&pool->idle_timer, 1000);
    return pool;
}

void
backend_pool_drop_idle(struct backend_pool *pool)
{
    for (struct backend_target *t = pool->targets; t; t = t->next) {
        struct backend_link *next;

        for (struct backend_link *link = t->links; link; link = next) {
            next = link->next;
            if (link->state == LINK_IDLE) {
                link_quit(link);
            }
        }
    }
}

void
backend_pool_free(struct backend_pool **held)
{
    struct backend_pool *pool = *held;

    *held = NULL;
    if (pool == NULL)
        return;
    loop_timer_cancel(&pool->idle_timer);
    while (pool->targets) {
        struct backend_target *t = pool->targets;

        pool->targets = t->next;
        while (t->links)
            link_end(t->links);
        while (t->first_wait) {
            struct backend_wait *wait = t->first_wait;

            backend_wait_cancel(&wait);
        }
        loop_timer_cancel(&t->retry);
        free(t);
    }
    free(pool);
}
