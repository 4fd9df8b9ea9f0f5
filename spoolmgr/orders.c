/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Operators' orders, as they come over the control socket or through PostgreSQL (commands.c):
 * retry, hold, release and the others of lib/order.  An order names up to ORDER_IDS_MAX messages;
 * they are taken in slices, so that many askers hold up nothing (P8), and the answer goes out when
 * all of it is durable.
 *
 *   WORKING --all taken--> SYNCING --durable--> answered
 *       \--some are being delivered--> WAITING (BUSY_MS at most) --> SYNCING
 *
 * A return tells senders first (ending.c): it is answered when the last of its notices is written
 * and what follows from them is durable.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "order/order_json.h"
#include "spoolmgr/keeper.h"

#define SLICE_MESSAGES 500
#define BUSY_MS 5000
#define BUSY_LOOK_MS 100

enum stage { WORKING, WAITING, SYNCING };

struct asked {
    struct asked *next;
    struct keeper *keeper;
    struct orders_asker asker;
    enum stage stage;
    json_t *json; /* the order's texts are its */
    struct order order;
    const struct order_kind *kind;
    struct ref *refs; /* those before `busy` are being delivered, and come again */
    size_t count, at, busy;
    size_t endings;        /* whose notices are on their way to the disk */
    int64_t busy_until_ms; /* of the loop's clock */
    uint64_t seq;          /* durable once the store has synced so far */
    uint64_t *routes;      /* whose backends have been asked for by it */
    size_t route_count;
    json_t *answer;
};

struct orders {
    struct keeper *keeper;
    struct asked *first;
    struct loop_timer timer;
};

/* --- One message. */

/* A retry asks backends that are down as well, each route's once an order. */
static void
ask_route(struct keeper *k, struct asked *a, uint64_t route)
{
    for (size_t i = 0; i < a->route_count; i++)
        if (a->routes[i] == route)
            return;
    a->routes = mem_realloc(a->routes, (a->route_count + 1) * sizeof *a->routes);
    a->routes[a->route_count++] = route;
    drain_probe_backends(k, route);
}

static void
make_due(struct keeper *k, struct asked *a, struct mail *mail)
{
    for (struct task *task = mail->tasks; task != NULL; task = task->next) {
        if (task->item.state == SCHEDULE_WAITING)
            plan_put(k, task, 0);
        ask_route(k, a, task->route);
    }
}

static void
say(struct keeper *k, const struct asked *a, const struct spool_message *m)
{
    char who[ORDER_WHO_SIZE * 4], reason[ORDER_REASON_MAX * 4 + 8];
    char detail[ORDER_REASON_MAX * 4 + 8];

    report_add(k, m, a->kind->done, "customer=%s open=%u operator=%s reason=%s detail=%s",
               m->customer, m->open_count, log_quote(slice_of(a->asker.who), who, sizeof who),
               log_quote(slice_of(a->order.reason), reason, sizeof reason),
               log_quote(slice_of(a->order.detail), detail, sizeof detail));
}

static void
follow(struct keeper *k, struct asked *a, struct spool_message *m)
{
    say(k, a, m);
    if (m->user == NULL) { /* it had ended before */
        committer_sync(k->committer);
        return;
    }
    plan_message(k, m);
    if (a->order.act == SPOOL_ACT_RETRY)
        make_due(k, a, m->user);
    keeper_touch(k, m->user);
}

static bool
is_busy(const struct asked *a, const struct spool_message *m)
{
    const struct mail *mail = m->user;
    const char *why;

    return a->kind->is_undisturbed && mail != NULL && (mail->is_running || mail->is_ending) &&
           order_judge(m, &a->order, &why) == ORDER_DONE;
}

/* --- A return. */

static void
on_settled(void *ctx, struct ref ref, int err)
{
    struct asked *a = ctx;

    a->endings--;
    order_json_count(a->answer, ref, err == 0 ? ORDER_DONE : ORDER_UNFIT,
                     err == 0 ? "" : "its notice can not be kept: is the disk full?");
    if (a->stage == SYNCING && a->endings == 0)
        a->seq = spool_store_queued(a->keeper->store);
}

/* False: its notice is being written; on_settled follows. */
static bool
take_back(struct keeper *k, struct asked *a, struct spool_message *m)
{
    struct notice_end *ends = mem_alloc(m->recipient_count * sizeof *ends);
    char reply[ORDER_END_SIZE], notice[ENDING_WORD_SIZE], text[REPORT_BYTES], quoted[REPORT_BYTES];
    struct ending *e;

    order_end_text(&a->order, a->asker.who, reply);
    order_note(k->store, m, &a->order, a->asker.who, clock_wall_ms());
    e = ending_begin(k, m, ends, notice_open_ends(m, SPOOL_END_RETURNED, reply, ends), notice);
    free(ends);
    snprintf(text, sizeof text, "customer=%s open=%u notice=%s why=%s", m->customer,
             m->open_count - ending_count(e), notice,
             log_quote(slice_of(reply), quoted, sizeof quoted));
    ending_report(k, m, e, a->kind->done, text);
    if (e != NULL) {
        ending_on(e, on_settled, a);
        a->endings++;
    }
    plan_message(k, m);
    keeper_touch(k, m->user);
    return e == NULL;
}

static enum order_result
carry_out(struct keeper *k, struct asked *a, struct spool_message *m, const char **why)
{
    int64_t deadline_ms = m->expires_at_ms;
    enum order_result result;

    if (a->order.act != SPOOL_ACT_RETURN) {
        result = order_carry_out(k->store, m, &a->order, a->asker.who, clock_wall_ms(), why);
        tell_extended(k, m, deadline_ms);
        if (result == ORDER_DONE)
            follow(k, a, m);
        return result;
    }
    result = order_judge(m, &a->order, why);
    if (result == ORDER_DONE && !take_back(k, a, m))
        return ORDER_BUSY;
    return result;
}

static void
take_message(struct keeper *k, struct asked *a, struct ref ref)
{
    struct spool_message *m = spool_store_find(k->store, ref);
    enum order_result result = ORDER_MISSING;
    const char *why = a->asker.again
                          ? "it has ended, by this order or before it, and is gone: the log "
                            "of spoolmgr says which"
                          : "it is not in the spool of this node";

    if (m != NULL && is_busy(a, m)) {
        a->refs[a->busy++] = ref;
        return;
    }
    if (m != NULL && a->asker.again && order_is_so(m, &a->order, a->asker.who))
        result = ORDER_DONE;
    else if (m != NULL)
        result = carry_out(k, a, m, &why);
    if (result != ORDER_BUSY) /* it settles later */
        order_json_count(a->answer, ref, result, why);
}

/* --- One order. */

static void
finish(struct orders *orders, struct asked *a, json_t *json)
{
    struct asked **at = &orders->first;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    ending_forget(a->keeper, a);
    a->asker.on_answer(a->asker.ctx, json);
    json_decref(json);
    json_decref(a->answer);
    json_decref(a->json);
    free(a->refs);
    free(a->routes);
    free(a);
}

static void
give_up_busy(struct asked *a)
{
    for (size_t i = 0; i < a->busy; i++)
        order_json_count(a->answer, a->refs[i], ORDER_BUSY, "it is being delivered just now");
    a->busy = 0;
}

static void
take_slice(struct orders *orders, struct asked *a)
{
    struct keeper *k = orders->keeper;
    size_t end = a->at + SLICE_MESSAGES < a->count ? a->at + SLICE_MESSAGES : a->count;

    while (a->at < end)
        take_message(k, a, a->refs[a->at++]);
    if (a->at < a->count)
        return;
    if (a->busy > 0 && loop_now_ms(k->loop) < a->busy_until_ms) {
        a->stage = WAITING;
        return;
    }
    give_up_busy(a);
    a->stage = SYNCING;
    a->seq = spool_store_queued(k->store);
    keeper_pump(k);
}

/* Those that were being delivered, once more. */
static void
look_again(struct orders *orders, struct asked *a)
{
    a->stage = WORKING;
    a->count = a->busy;
    a->at = a->busy = 0;
    take_slice(orders, a);
}

static json_t *
not_written(void)
{
    json_t *json = order_json_error("the ledger can not be written now: what was asked has effect, "
                                    "and is recorded as soon as it can be");

    json_object_set_new(json, "outcome", json_string("not known"));
    return json;
}

void
orders_synced(struct keeper *k)
{
    struct asked *next;

    for (struct asked *a = k->orders->first; a != NULL; a = next) {
        next = a->next;
        if (a->stage != SYNCING || a->endings > 0)
            continue;
        if (spool_store_synced(k->store) >= a->seq) {
            if (!a->asker.audits)
                audit_add(k, &a->order, a->asker.who, json_object_get(a->answer, "ids"));
            finish(k->orders, a, json_incref(a->answer));
        } else if (committer_has_failed(k->committer))
            finish(k->orders, a, not_written());
    }
}

static void
on_timer(void *ctx)
{
    struct orders *orders = ctx;
    bool works = false, waits = false;

    for (struct asked *a = orders->first; a != NULL; a = a->next) {
        if (a->stage == WORKING)
            take_slice(orders, a);
        else if (a->stage == WAITING)
            look_again(orders, a);
        works = works || a->stage == WORKING;
        waits = waits || a->stage == WAITING;
    }
    if (works || waits)
        loop_timer_start(&orders->timer, works ? 0 : BUSY_LOOK_MS);
    orders_synced(orders->keeper);
}

/* In the order in which they came: a release behind a hold is carried out behind it. */
static void
append(struct orders *orders, struct asked *a)
{
    struct asked **at = &orders->first;

    while (*at != NULL)
        at = &(*at)->next;
    *at = a;
}

void
orders_take(struct keeper *k, const struct orders_asker *asker, json_t *json)
{
    struct asked *a = mem_alloc(sizeof *a);
    const char *problem = "the keeper is stopping";

    if (k->is_stopping ||
        order_json_parse(json, &a->order, &a->refs, &a->count, &problem) != ERR_OK) {
        json_t *error = order_json_error(problem);

        free(a);
        asker->on_answer(asker->ctx, error);
        json_decref(error);
        return;
    }
    keeper_refresh(k); /* who asks may have seen more than we have */
    a->keeper = k;
    a->asker = *asker;
    a->json = json_incref(json);
    a->kind = order_kind(a->order.act);
    a->answer = order_json_answer(a->asker.who);
    a->busy_until_ms = loop_now_ms(k->loop) + BUSY_MS;
    append(k->orders, a);
    loop_timer_start(&k->orders->timer, 0);
}

/* --- Those of the control socket. */

static void
on_answer(void *ctx, const json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT);

    control_answer(ctx, text ? slice_of(text) : SLICE("{\"ok\":false}"));
    free(text);
}

void
orders_take_request(struct keeper *k, struct control_request *request, json_t *json)
{
    struct orders_asker asker = {.on_answer = on_answer, .ctx = request};
    const char *reader = json_string_value(json_object_get(json, "for"));

    if (reader != NULL && control_peer_uid(request) == geteuid()) /* one of ours: reading.c */
        snprintf(asker.who, sizeof asker.who, "%s", reader);
    else
        order_who(control_peer_uid(request), asker.who);
    orders_take(k, &asker, json);
}

bool
orders_is_idle(const struct keeper *k)
{
    return k->orders->first == NULL;
}

/* --- Life. */

struct orders *
orders_new(struct keeper *k)
{
    struct orders *orders = mem_alloc(sizeof *orders);

    orders->keeper = k;
    loop_timer_init(&orders->timer, k->loop, on_timer, orders);
    return orders;
}

void
orders_free(struct orders **orders)
{
    struct orders *o = *orders;

    if (o == NULL)
        return;
    loop_timer_cancel(&o->timer);
    while (o->first != NULL)
        finish(o, o->first, order_json_error("the keeper is stopping"));
    free(o);
    *orders = NULL;
}
