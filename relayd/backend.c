/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool: a list of links and a queue of waits for each endpoint (a "place").  All worlds meet in
 * place_serve: whenever a link becomes idle, is lost, or a wait arrives, it gives idle links to the
 * oldest waits of their target and opens links while the limit permits.
 *
 * Invariant: a wait is answered once.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "relayd/backend_private.h"
#include "route/destination_link.h"

#define LOOK_MS 25      /* is an idle link wanted elsewhere? */
#define PLACE_SLOTS 256 /* a power of two */

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
    struct backend_place *places[PLACE_SLOTS];
    struct loop_timer second, look;
};

struct worker *
backend_place_worker(const struct backend_place *place)
{
    return place->pool->worker;
}

int64_t
place_now_ms(const struct backend_place *place)
{
    return loop_now_ms(place->pool->worker->loop);
}

/* --- Waits. */

static void
wait_unlink(struct backend_wait *wait)
{
    struct backend_place *place = wait->target->place;

    if (wait->next)
        wait->next->previous = wait->previous;
    else
        place->last_wait = wait->previous;
    if (wait->previous)
        wait->previous->next = wait->next;
    else
        place->first_wait = wait->next;
    place->wait_count--;
    wait->target->wait_count--;
}

static void
wait_fail(struct backend_wait *wait, enum smtp_phase phase, const struct smtp_reply *reply)
{
    wait_unlink(wait);
    wait->on_link(wait->ctx, NULL, phase, reply);
    free(wait);
}

/* The oldest of the target, or of all of the place. */
static struct backend_wait *
oldest_wait(const struct backend_place *place, const struct backend_target *target)
{
    struct backend_wait *wait = place->first_wait;

    while (wait && target && wait->target != target)
        wait = wait->next;
    return wait;
}

void
place_fail_waits(struct backend_place *place, const struct backend_target *target,
                 enum smtp_phase phase, const struct smtp_reply *reply)
{
    unsigned count = target ? target->wait_count : place->wait_count;
    struct backend_wait *wait;

    while (count-- > 0 && (wait = oldest_wait(place, target)) != NULL)
        wait_fail(wait, phase, reply);
}

/* No link became free in time: all are busy with other messages.  Says nothing about the backend's
 * health. */
static void
fail_old_waits(struct backend_place *place, int64_t now_ms)
{
    unsigned count = place->wait_count;
    struct backend_wait *next;

    /* A callback may begin another wait, which goes to the end. */
    for (struct backend_wait *w = place->first_wait; w && count > 0 && place->opening_count == 0;
         w = next, count--) {
        next = w->next;
        if (w->until_ms < now_ms)
            wait_fail(w, SMTP_PHASE_CONNECT, NULL);
    }
}

/* --- Who gets which link. */

struct backend_link *
place_idle_link(const struct backend_place *place, const struct backend_target *target)
{
    struct backend_link *link = place->idle_count ? place->links : NULL;

    while (link && (link->state != LINK_IDLE || (target && link->target != target)))
        link = link->next;
    return link;
}

bool
place_gives_up(struct backend_place *place, const struct backend_link *link)
{
    return link->uses >= BACKEND_LINK_USES_MAX ||
           place_now_ms(place) - link->made_at_ms >= BACKEND_LINK_AGE_MS ||
           (place->pool->worker->closing && place->first_wait == NULL) || place_owes(place, link);
}

/* The slot of an idle link to another target of this endpoint is as good as any. */
static bool
open_one(struct backend_target *target)
{
    struct backend_link *idle;

    if (link_open(target))
        return true;
    idle = place_idle_link(target->place, NULL);
    if (idle == NULL)
        return false;
    link_quit(idle);
    return link_open(target);
}

/* As many new connections as there are waits, within the limit. */
static void
open_links(struct backend_place *place)
{
    if (place_now_ms(place) < place->open_again_at_ms)
        return;
    for (struct backend_target *t = place->targets; t; t = t->next)
        while (t->wait_count > t->opening_count && place_may_open(place) && open_one(t))
            ;
}

static void
assign_to(struct backend_wait *wait, struct backend_link *link)
{
    wait_unlink(wait);
    link_assign(link, wait->ops, wait->ctx);
    wait->on_link(wait->ctx, link, SMTP_PHASE_MAIL, NULL);
    free(wait);
}

/* A callback may begin or end other waits. */
static bool
assign_one(struct backend_place *place)
{
    if (place->idle_count == 0)
        return false;
    for (struct backend_wait *wait = place->first_wait; wait; wait = wait->next) {
        struct backend_link *link = place_idle_link(place, wait->target);

        if (link == NULL)
            continue;
        assign_to(wait, link);
        return true;
    }
    return false;
}

void
place_serve(struct backend_place *place)
{
    while (place->first_wait && assign_one(place))
        ;
    open_links(place);
    place_say_wanted(place);
}

static void
serve_later(void *ctx)
{
    struct backend_place *place = ctx;

    if (!place->is_closed)
        place_serve(place);
}

void
place_serve_later(struct backend_place *place)
{
    loop_defer(place->pool->worker->loop, serve_later, place);
}

static void
on_retry(void *ctx)
{
    struct backend_place *place = ctx;

    if (place->first_wait)
        place_ask_back(place, true);
    place_serve(place);
}

/* --- Places and targets. */

static struct backend_place **
place_slot(struct backend_pool *pool, const struct inet_endpoint *endpoint)
{
    return &pool->places[inet_endpoint_hash(endpoint) % PLACE_SLOTS];
}

static struct backend_place *
place_of(struct backend_pool *pool, const struct inet_endpoint *endpoint)
{
    struct backend_place **slot = place_slot(pool, endpoint), *place = *slot;

    while (place && !inet_endpoint_equal(&place->endpoint, endpoint))
        place = place->next;
    if (place == NULL) {
        place = mem_alloc(sizeof *place);
        place->pool = pool;
        place->endpoint = *endpoint;
        place->next = *slot;
        *slot = place;
        loop_timer_init(&place->retry, pool->worker->loop, on_retry, place);
    }
    return place;
}

static struct backend_target *
target_of(struct backend_pool *pool, const struct destination *to)
{
    struct backend_place *place = place_of(pool, &to->endpoint);
    struct backend_target *target = place->targets;

    place->limit = to->max_connections;
    shared_health_found_as(pool->worker->table, &to->endpoint, to->registered, clock_wall_ms());
    while (target && !destination_shares_links(&target->to, to))
        target = target->next;
    if (target == NULL) {
        target = mem_alloc(sizeof *target);
        target->place = place;
        target->to = *to;
        target->next = place->targets;
        place->targets = target;
    }
    return target;
}

struct backend_link *
backend_take_idle(struct backend_pool *pool, const struct destination *to,
                  const struct backend_user_ops *ops, void *ctx)
{
    struct backend_target *target = target_of(pool, to);
    struct backend_link *link = target->wait_count ? NULL : place_idle_link(target->place, target);

    if (link)
        link_assign(link, ops, ctx);
    return link;
}

static void
fail_refused(void *ctx)
{
    struct backend_place *place = ctx;
    struct smtp_reply none = smtp_reply_make(0, NULL, "TLS is needed, and failed a moment ago");

    if (place->is_closed)
        return;
    for (struct backend_target *t = place->targets; t; t = t->next)
        if (place_now_ms(place) < t->refused_until_ms)
            place_fail_waits(place, t, SMTP_PHASE_STARTTLS, &none);
    place_serve(place);
}

struct backend_wait *
backend_wait_start(struct backend_pool *pool, const struct destination *to, backend_on_link on_link,
                   const struct backend_user_ops *ops, void *ctx)
{
    struct backend_target *target = target_of(pool, to);
    struct backend_place *place = target->place;
    struct backend_wait *wait = mem_alloc(sizeof *wait);

    wait->target = target;
    wait->since_ms = loop_now_ms(pool->worker->loop);
    backend_wait_set_patience(wait, pool->worker->config->backend_connect_timeout_ms);
    wait->on_link = on_link;
    wait->ops = ops;
    wait->ctx = ctx;
    wait->previous = place->last_wait;
    if (place->last_wait)
        place->last_wait->next = wait;
    else
        place->first_wait = wait;
    place->last_wait = wait;
    place->wait_count++;
    target->wait_count++;
    loop_defer(pool->worker->loop,
               wait->since_ms < target->refused_until_ms ? fail_refused : serve_later, place);
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
    struct backend_place *place;

    if (*wait == NULL)
        return;
    place = (*wait)->target->place;
    wait_unlink(*wait);
    place_say_wanted(place);
    free(*wait);
    *wait = NULL;
}

/* --- The pool. */

static void
each_place(struct backend_pool *pool, void (*each)(struct backend_place *place))
{
    for (size_t i = 0; i < PLACE_SLOTS; i++)
        for (struct backend_place *place = pool->places[i]; place; place = place->next)
            each(place);
}

static void
on_look(void *ctx)
{
    struct backend_pool *pool = ctx;

    each_place(pool, place_give_idle);
    loop_timer_start(&pool->look, LOOK_MS);
}

static void
quit_idle(struct backend_place *place, int64_t since_ms)
{
    struct backend_link *next;

    for (struct backend_link *link = place->idle_count ? place->links : NULL; link; link = next) {
        next = link->next;
        if (link->state == LINK_IDLE && link->idle_since_ms <= since_ms)
            link_quit(link);
    }
}

static void
look_each_second(struct backend_place *place)
{
    int64_t now = place_now_ms(place);

    quit_idle(place, now - BACKEND_LINK_IDLE_MS);
    place_ask_back(place, false);
    fail_old_waits(place, now);
}

static void
on_second(void *ctx)
{
    struct backend_pool *pool = ctx;

    each_place(pool, look_each_second);
    loop_timer_start(&pool->second, 1000);
}

struct backend_pool *
backend_pool_new(struct worker *worker)
{
    struct backend_pool *pool = mem_alloc(sizeof *pool);

    pool->worker = worker;
    loop_timer_init(&pool->second, worker->loop, on_second, pool);
    loop_timer_start(&pool->second, 1000);
    loop_timer_init(&pool->look, worker->loop, on_look, pool);
    loop_timer_start(&pool->look, LOOK_MS);
    return pool;
}

static void
quit_all_idle(struct backend_place *place)
{
    quit_idle(place, INT64_MAX);
}

void
backend_pool_drop_idle(struct backend_pool *pool)
{
    each_place(pool, quit_all_idle);
}

static void
place_release(void *ctx)
{
    struct backend_place *place = ctx;

    while (place->targets) {
        struct backend_target *target = place->targets;

        place->targets = target->next;
        free(target);
    }
    free(place);
}

static void
place_free(struct backend_place *place)
{
    while (place->links)
        link_end(place->links);
    while (place->first_wait) {
        struct backend_wait *wait = place->first_wait;

        backend_wait_cancel(&wait);
    }
    loop_timer_cancel(&place->retry);
    place->is_closed = true;
    loop_defer(place->pool->worker->loop, place_release, place); /* behind what has been deferred */
}

void
backend_pool_free(struct backend_pool **held)
{
    struct backend_pool *pool = *held;

    *held = NULL;
    if (pool == NULL)
        return;
    loop_timer_cancel(&pool->second);
    loop_timer_cancel(&pool->look);
    for (size_t i = 0; i < PLACE_SLOTS; i++)
        while (pool->places[i]) {
            struct backend_place *place = pool->places[i];

            pool->places[i] = place->next;
            place_free(place);
        }
    free(pool);
}
