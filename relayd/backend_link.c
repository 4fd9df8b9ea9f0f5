/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A link: one connection to a backend with its client engine, from connect() to its end, and what
 * its user may do with it.
 *
 * Invariants: a link is busy exactly when it has a user; it holds a slot of the shared table from
 * link_open to link_end; its memory goes after the turn, since engine and connection may be on the
 * stack.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/log.h"
#include "relayd/backend_private.h"
#include "route/destination_link.h"

static struct worker *
worker_of(const struct backend_link *link)
{
    return backend_place_worker(link->target->place);
}

static bool
is_being_made(const struct backend_link *link)
{
    return link->state == LINK_CONNECTING || link->state == LINK_GREETING;
}

/* The one setter: what is idle is counted. */
static void
set_state(struct backend_link *link, enum link_state state)
{
    link->target->place->idle_count += (state == LINK_IDLE) - (link->state == LINK_IDLE);
    link->state = state;
}

static void
set_stands(struct backend_link *link, bool stands)
{
    struct worker *w = worker_of(link);

    if (stands == link->stands)
        return;
    link->stands = stands;
    shared_slot_stands(w->table, w->slot, &link->target->place->endpoint, stands);
}

static void
set_quiet(struct backend_link *link, bool is_quiet)
{
    link->target->place->quiet_count += is_quiet - link->is_quiet;
    link->is_quiet = is_quiet;
    set_stands(link, !is_quiet);
}

/* --- The end of a link. */

static void
link_free(void *ctx)
{
    struct backend_link *link = ctx;

    smtp_client_free(&link->client);
    free(link);
}

static void
unlink_from_place(struct backend_link *link)
{
    struct backend_place *place = link->target->place;

    if (link->next)
        link->next->previous = link->previous;
    if (link->previous)
        link->previous->next = link->next;
    else
        place->links = link->next;
    place->link_count--;
}

void
link_end(struct backend_link *link)
{
    struct backend_place *place = link->target->place;
    struct worker *w = worker_of(link);

    if (is_being_made(link)) {
        place->opening_count--;
        link->target->opening_count--;
    }
    set_state(link, LINK_RESETTING); /* the engine may be on the stack and may still speak */
    unlink_from_place(link);
    conn_close(&link->conn);
    place->quiet_count -= link->is_quiet;
    set_stands(link, false);
    shared_slot_give(w->table, w->slot, &place->endpoint);
    loop_defer(w->loop, link_free, link);
}

void
link_quit(struct backend_link *link)
{
    smtp_client_quit(link->client);
    conn_flush_now(link->conn);
    link_end(link);
}

/* A link is lost: its user hears of it, or, if it was still being made, those who wait. */
static void
link_lost(struct backend_link *link, enum smtp_phase phase, bool dot_sent,
          const struct smtp_reply *reply)
{
    struct backend_target *target = link->target;
    bool was_being_made = is_being_made(link), was_busy = link->state == LINK_BUSY;
    bool was_secure = link->is_secure, timed_out = link->timed_out;
    const struct backend_user_ops *ops = link->ops;
    void *ctx = link->ctx;

    link_end(link);
    if (was_being_made)
        target_failed(target, phase, was_secure, timed_out, reply);
    else if (was_busy)
        ops->on_lost(ctx, phase, dot_sent, reply);
    place_serve(target->place);
}

/* --- Events of the engine. */

static void
link_idle(struct backend_link *link)
{
    link->ops = NULL;
    link->idle_since_ms = loop_now_ms(worker_of(link)->loop);
    set_state(link, LINK_IDLE);
    if (place_gives_up(link->target->place, link))
        link_quit(link);
}

/* For the time when it is down. */
static void
note_capabilities(const struct backend_link *link, const struct smtp_capabilities *caps)
{
    struct state_capabilities offered = {
        .eightbitmime = caps->eightbitmime,
        .smtputf8 = caps->smtputf8,
        .has_size = caps->has_size,
        .size_max_bytes = caps->size_max_bytes,
    };

    state_capabilities_learn(worker_of(link)->state, &link->target->place->endpoint, &offered);
}

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    struct backend_link *link = ctx;
    struct backend_place *place = link->target->place;
    struct worker *w = worker_of(link);

    note_capabilities(link, caps);
    place->opening_count--;
    link->target->opening_count--;
    link->made_at_ms = loop_now_ms(w->loop);
    set_stands(link, true);
    place_link_ready(place);
    link_idle(link);
    place_serve(place);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct backend_link *link = ctx;

    if (link->state == LINK_BUSY)
        link->ops->on_reply(link->ctx, phase, index, class, reply);
    else if (link->state == LINK_RESETTING && link->conn && smtp_client_is_idle(link->client)) {
        struct backend_place *place = link->target->place;

        link_idle(link);
        place_serve(place);
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
    struct smtp_reply said = *reply;

    if (link->conn == NULL) /* dropped by its user inside an earlier event of this turn */
        return;
    link_tls_explain(link, phase, &said);
    link_lost(link, phase, dot_sent, &said);
}

/* --- Time. */

/* Whoever waits for a link that is being made waits no longer than backend-connect-timeout,
 * whatever the backend does behind the connection. */
static int64_t
link_timeout_ms(const struct backend_link *link)
{
    int64_t ms = smtp_client_timeout_ms(link->client);
    int64_t left_ms = link->ready_by_ms - loop_now_ms(worker_of(link)->loop);

    if (link->state != LINK_GREETING || left_ms > ms)
        return ms;
    return left_ms > 1 ? left_ms : 1;
}

static void
on_starttls(void *ctx)
{
    struct backend_link *link = ctx;

    link_tls_begin(link, link_timeout_ms(link));
}

static const struct smtp_client_ops client_ops = {
    .on_ready = on_ready,
    .on_starttls = on_starttls,
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_end = on_end,
};

/* --- Events of the connection. */

static void
on_connected(struct backend_link *link)
{
    struct worker *w = worker_of(link);

    set_state(link, LINK_GREETING);
    link->progress = UINT_MAX;
    link->client = smtp_client_new(&w->client_settings, &client_ops, link, conn_output(link->conn));
    smtp_client_set_tls(link->client, link_tls_wanted(link->target));
    shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_CONNECTIONS);
    backend_link_flush(link);
}

static void
on_input(struct backend_link *link)
{
    if (link->client == NULL)
        return;
    smtp_client_input(link->client, conn_input(link->conn));
    if (link->conn)
        backend_link_flush(link);
}

static void
on_gone(struct backend_link *link)
{
    struct smtp_reply none;

    if (link->client) {
        if (link->timed_out)
            smtp_client_timeout(link->client);
        else
            smtp_client_lost(link->client);
        return;
    }
    none = smtp_reply_make(
        0, NULL, link->timed_out ? "connection timed out" : strerror(conn_error(link->conn)));
    link_lost(link, SMTP_PHASE_CONNECT, false, &none);
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
        link_tls_ready(link);
        backend_link_flush(link);
        return;
    case CONN_INPUT:
        on_input(link);
        return;
    case CONN_DRAINED:
        conn_deadline(link->conn, link_timeout_ms(link));
        if (link->state == LINK_BUSY)
            link->ops->on_drained(link->ctx);
        return;
    case CONN_TIMEOUT:
        link->timed_out = true;
        on_gone(link);
        return;
    case CONN_EOF:
    case CONN_FAILED:
        on_gone(link);
        return;
    }
}

/* --- Opening. */

static void
source_alarm(struct backend_target *target, const struct inet_endpoint *source, const char *why)
{
    char from[INET_ENDPOINT_SIZE], endpoint[INET_ENDPOINT_SIZE];

    if (target->source_failed)
        return;
    target->source_failed = true;
    log_line(LOG_LEVEL_ALARM, NULL, "source-address-unusable",
             "endpoint=%s source=%s why=\"%s\" effect=\"connections are made from the address that "
             "the system chooses\"",
             inet_endpoint_text(&target->to.endpoint, endpoint), inet_address_text(source, from),
             why);
}

static int
begin_connect(struct backend_link *link)
{
    struct backend_target *target = link->target;
    struct worker *w = worker_of(link);
    struct inet_endpoint source = destination_source(&target->to);
    int rc = conn_connect(w->loop, &target->to.endpoint, &source,
                          w->config->backend_connect_timeout_ms, on_conn, link, &link->conn);

    if (destination_source_is_odd(&target->to))
        source_alarm(target, &target->to.source, "it is of the other family");
    if (rc == ERR_OK || source.family == 0 || (errno != EADDRNOTAVAIL && errno != EINVAL))
        return rc;
    source_alarm(target, &source, strerror(errno));
    return conn_connect(w->loop, &target->to.endpoint, NULL, w->config->backend_connect_timeout_ms,
                        on_conn, link, &link->conn);
}

static void
link_to_place(struct backend_link *link)
{
    struct backend_place *place = link->target->place;

    link->next = place->links;
    if (place->links)
        place->links->previous = link;
    place->links = link;
    place->link_count++;
    place->opening_count++;
    link->target->opening_count++;
}

bool
link_open(struct backend_target *target)
{
    struct backend_place *place = target->place;
    struct worker *w = backend_place_worker(place);
    struct backend_link *link;

    if (!shared_slot_take(w->table, w->slot, &place->endpoint, place->limit))
        return false;
    link = mem_alloc(sizeof *link);
    link->target = target;
    link->state = LINK_CONNECTING;
    link->ready_by_ms = loop_now_ms(w->loop) + w->config->backend_connect_timeout_ms;
    if (begin_connect(link) < 0) { /* no descriptor: whoever waits tries again, or gives up */
        shared_slot_give(w->table, w->slot, &place->endpoint);
        free(link);
        return false;
    }
    link_to_place(link);
    return true;
}

void
link_assign(struct backend_link *link, const struct backend_user_ops *ops, void *ctx)
{
    struct worker *w = worker_of(link);

    set_state(link, LINK_BUSY);
    link->ops = ops;
    link->ctx = ctx;
    if (link->uses++ > 0)
        shared_count(w->table, w->slot, SHARED_COUNTER_BACKEND_REUSES);
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
    return &link->target->to.endpoint;
}

const char *
backend_link_tls_version(const struct backend_link *link)
{
    return conn_tls_version(link->conn);
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

bool
backend_link_write(struct backend_link *link, const struct iovec *pieces, int count)
{
    bool all;

    conn_write(link->conn, pieces, count);
    all = buf_size(conn_output(link->conn)) == 0;
    if (!all)
        conn_notify_empty(link->conn);
    backend_link_flush(link);
    return all;
}

void
backend_link_hand_over(struct backend_link *link, const struct backend_user_ops *ops, void *ctx)
{
    link->ops = ops;
    link->ctx = ctx;
    set_quiet(link, true);
}

void
backend_link_release(struct backend_link **held)
{
    struct backend_link *link = *held;
    struct backend_place *place;

    *held = NULL;
    if (link == NULL)
        return;
    place = link->target->place;
    link->ops = NULL;
    set_quiet(link, false);
    if (smtp_client_is_idle(link->client)) {
        link_idle(link);
        place_serve_later(place);
        return;
    }
    set_state(link, LINK_RESETTING);
    smtp_client_reset(link->client);
    backend_link_flush(link);
}

void
backend_link_drop(struct backend_link **held)
{
    struct backend_link *link = *held;
    struct backend_place *place;

    *held = NULL;
    if (link == NULL)
        return;
    place = link->target->place;
    link->ops = NULL;
    link_end(link);
    place_serve_later(place);
}
