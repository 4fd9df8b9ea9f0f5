/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One attempt: where it goes, and what its outcome means.  The policy of DESIGN section 5 for mail
 * that waits:
 *
 *   taken                    ends as delivered; the window of the endpoint grows
 *   refused                  ends as refused, with the reply; at a backend that is watched: later
 *   later, or trouble behind MAIL   this message alone pauses, longer each time
 *   no connection, no EHLO   nothing is the message's fault: it stays the oldest; the backend is
 * down lost behind the dot      possible duplicate: 1 h, 4 h, then held
 *
 * `offered` is durable before a dot goes out, so that whatever dies afterwards, the possible
 * duplicate is known by name (P2).
 */
#include "spoolmgr/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/siphash.h"
#include "state/shared_reason.h"

#define SOON_MS 1000    /* after trouble of our own */
#define CROWDED_MS 5000 /* after "too many connections" */
#define HOLD_REASON "takes it and does not answer"
#define ATTEMPT_WHY_SIZE (INET_DOMAIN_SIZE + 40)

/* --- Endpoints. */

static struct endpoint **
endpoint_slot(struct keeper *k, const struct inet_endpoint *address)
{
    uint32_t hash = address->port;

    for (size_t i = 0; i < sizeof address->addr; i++)
        hash = hash * 31 + address->addr[i];
    return &k->endpoints[hash % ENDPOINT_SLOTS];
}

static struct endpoint *
endpoint_of(struct keeper *k, const struct inet_endpoint *address, bool is_own)
{
    struct endpoint **slot = endpoint_slot(k, address);
    struct endpoint *e = *slot;

    while (e != NULL && (e->is_own != is_own || !inet_endpoint_equal(&e->address, address)))
        e = e->next;
    if (e != NULL)
        return e;
    e = mem_alloc(sizeof *e);
    e->address = *address;
    e->is_own = is_own;
    schedule_window_init(&e->window);
    e->next = *slot;
    *slot = e;
    return e;
}

/* Down or refusing: its queue stands still, but for probes. */
static bool
is_down(struct keeper *k, const struct endpoint *e)
{
    if (e->is_own)
        return loop_now_ms(k->loop) < e->rests_until_ms;
    return shared_health_stops(
        shared_health_state_of(route_table(k->route), &e->address, clock_wall_ms()));
}

static bool
may_probe(struct keeper *k, struct endpoint *e, const struct schedule_queue *queue)
{
    struct shared_table *table = route_table(k->route);
    bool in_pass = schedule_pass_has(&k->schedule, queue) && e->asked_in_pass != k->schedule.pass;

    if (e->is_own)
        return in_pass;
    if (in_pass)
        shared_health_probe_now(table, &e->address, clock_wall_ms());
    return shared_health_may_probe(table, &e->address, clock_wall_ms()) || in_pass;
}

struct choice {
    struct endpoint *endpoint; /* NULL: none now */
    struct destination destination;
    struct slot *slot;
    bool was_down;
    bool is_busy; /* one is up, and has enough to do, or is being probed; or a name is being looked
                     up: ask again later */
    char why[ATTEMPT_WHY_SIZE]; /* a backend has no address; "" each has */
    bool is_unsure;             /* one's name could not be looked up */
};

static bool
choose_destination(struct keeper *k, const struct schedule_queue *queue,
                   const struct destination *destination, struct choice *choice)
{
    struct endpoint *e = endpoint_of(k, &destination->endpoint, route_is_own(queue->route));
    struct destination to = *destination;
    bool down = is_down(k, e);

    if (down && e->window.active > 0) {
        choice->is_busy = true;
        return false; /* its probe runs; the next one may serve meanwhile */
    }
    if (down && !may_probe(k, e, queue))
        return false;
    to.authenticates = e->is_own && own_credentials(k) != NULL;
    choice->is_busy = !schedule_window_may_start(&e->window, to.max_connections, down) ||
                      (choice->slot = slot_take(k, e, &to)) == NULL;
    if (choice->is_busy)
        return true;
    choice->endpoint = e;
    choice->destination = to;
    choice->was_down = down;
    return true;
}

/* The route's destinations as they are known now; what is not known yet is being looked up. */
static struct destination_walk *
walk_of(struct keeper *k, uint64_t route, unsigned *backend_count)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];

    *backend_count = route_is_own(route) ? own_backends(k, route, backends)
                                         : route_backends(k->route, route, backends);
    return destination_walk_new(k->destinations, backends, *backend_count, NULL, NULL);
}

static void
walk(struct keeper *k, const struct schedule_queue *queue, struct destination_walk *walk,
     struct choice *choice)
{
    for (unsigned i = 0;; i++) {
        const struct destination *d;
        enum destination_step step;

        if (i == destination_walk_count(walk) &&
            (step = destination_walk_more(walk)) != DESTINATION_FOUND) {
            choice->is_busy = choice->is_busy || step == DESTINATION_WAIT;
            return;
        }
        d = destination_walk_item(walk, i);
        if (!d->held && choose_destination(k, queue, d, choice))
            return;
    }
}

/* The first destination that may be asked now. */
static struct choice
choose(struct keeper *k, struct schedule_queue *queue)
{
    struct choice choice = {0};
    unsigned count;
    struct destination_walk *destinations = walk_of(k, queue->route, &count);

    queue->no_route = count == 0;
    walk(k, queue, destinations, &choice);
    snprintf(choice.why, sizeof choice.why, "%s", destination_walk_why(destinations));
    choice.is_unsure = destination_walk_is_unsure(destinations);
    destination_walk_free(&destinations);
    return choice;
}

/* Each that may be asked is down, or is known to have no address. */
static bool
all_backends_are_down(struct keeper *k, uint64_t route)
{
    unsigned count;
    struct destination_walk *destinations = walk_of(k, route, &count);
    enum destination_step step = DESTINATION_FOUND;
    bool all = count > 0;

    while (step == DESTINATION_FOUND)
        step = destination_walk_more(destinations);
    all = all && step == DESTINATION_END && !destination_walk_is_unsure(destinations);
    for (unsigned i = 0; i < destination_walk_count(destinations); i++) {
        const struct destination *d = destination_walk_item(destinations, i);

        all = all && (d->held || is_down(k, endpoint_of(k, &d->endpoint, route_is_own(route))));
    }
    destination_walk_free(&destinations);
    return all;
}

/* --- Beginning. */

struct attempt *
attempt_find(struct keeper *k, uint32_t id)
{
    struct attempt *a = k->attempts;

    while (a != NULL && a->id != id)
        a = a->next;
    return a;
}

static void
collect_recipients(struct keeper *k, struct attempt *a)
{
    const struct spool_message *m = a->mail->message;

    a->recipients = mem_alloc(m->recipient_count * sizeof(*a->recipients));
    a->results = mem_alloc(m->recipient_count * sizeof(*a->results));
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (spool_message_is_open(m, i) && !spool_message_awaits(m, i) &&
            plan_route(k, m, i) == a->task->route)
            a->recipients[a->recipient_count++] = i;
    }
}

static struct attempt *
attempt_new(struct keeper *k, struct task *task, const struct choice *choice)
{
    struct attempt *a = mem_alloc(sizeof *a);

    a->id = ++k->next_attempt_id;
    a->number = spool_message_attempts(task->mail->message) + 1;
    a->task = task;
    a->mail = task->mail;
    a->endpoint = choice->endpoint;
    a->destination = choice->destination;
    a->was_down = choice->was_down;
    a->slot = choice->slot;
    a->started_at_ms = clock_wall_ms();
    a->endpoint->window.active++;
    a->endpoint->asked_in_pass = k->schedule.pass;
    collect_recipients(k, a);
    task->mail->is_running = true;
    a->next = k->attempts;
    k->attempts = a;
    return a;
}

/* Out of all lists; what the outcome means has been said. */
static void
attempt_free(struct keeper *k, struct attempt *a)
{
    struct attempt **at = &k->attempts;
    struct mail *mail = a->mail;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->endpoint->window.active--;
    slot_leave(k, a->slot);
    mail->is_running = false;
    free(a->recipients);
    free(a->results);
    free(a);
}

/* Of all the Internet's servers those are remembered that are in use, or rest. */
void
attempt_tidy(struct keeper *k)
{
    int64_t now_ms = loop_now_ms(k->loop);

    for (size_t i = 0; i < ENDPOINT_SLOTS; i++) {
        struct endpoint **at = &k->endpoints[i];

        while (*at != NULL) {
            struct endpoint *e = *at;

            slot_tidy(k, e);
            if (!e->is_own || e->slot_count > 0 ||
                now_ms < e->rests_until_ms + k->config->message_retry_max_ms) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            free(e);
        }
    }
}

/* Back into the queue, or, if nothing is left of it, out. */
static void
attempt_end(struct keeper *k, struct attempt *a, int64_t next_at_ms)
{
    struct mail *mail = a->mail;
    struct task *task = a->task;

    attempt_free(k, a);
    schedule_done(&task->item);
    plan_put(k, task, next_at_ms);
    plan_message(k, mail->message);
    keeper_touch(k, mail);
    keeper_pump(k);
}

static int
send_with(struct keeper *k, struct attempt *a, const struct spool_envelope *envelope)
{
    struct fleet_content content = {.envelope = envelope};
    int err = spool_store_body(k->store, a->mail->message, &content.body);

    if (err == 0)
        err = spool_store_dup_segment(k->store, a->mail->message, &content.segment_fd);
    if (err != 0)
        return err;
    err = fleet_send(k->fleet, a, &content);
    close(content.segment_fd);
    return err;
}

static int
attempt_send(struct keeper *k, struct attempt *a)
{
    struct spool_envelope envelope;
    struct arena arena;
    int err = keeper_envelope(k, a->mail->message, &arena, &envelope);

    if (err == 0)
        err = send_with(k, a, &envelope);
    arena_clear(&arena);
    return err;
}

/* Holds a message that is no longer what it was. */
static void
hold_damaged(struct keeper *k, struct spool_message *m, const char *why)
{
    char ref[REF_SIZE];

    spool_store_mark_damaged(k->store, m);
    spool_store_hold(k->store, m, why);
    log_line(LOG_LEVEL_ALARM, ref_text(m->ref, ref), "spool-damage",
             "effect=\"the message is held; nothing of it was delivered\" why=\"%s\"", why);
}

/* The disk may think better of it; it is tried again as any message that was deferred. */
static void
warn_unreadable(const struct spool_message *m)
{
    char ref[REF_SIZE];

    log_line(LOG_LEVEL_ALARM, ref_text(m->ref, ref), "spool-body-unreadable",
             "effect=\"the message is tried again; nothing of it was delivered\"");
}

static void
start(struct keeper *k, struct schedule_queue *queue, const struct choice *choice)
{
    struct task *task = (struct task *)schedule_take(queue);
    struct attempt *a = attempt_new(k, task, choice);
    int err = a->recipient_count > 0 ? attempt_send(k, a) : ERR_NOT_FOUND;
    char ref[REF_SIZE];

    if (err == 0)
        return;
    if (err == ERR_CORRUPT)
        hold_damaged(k, task->mail->message, "its stored envelope is damaged");
    else if (a->recipient_count > 0)
        log_line(LOG_LEVEL_WARN, ref_text(task->mail->message->ref, ref), "deferred",
                 "why=\"cannot be handed to a deliverer: %s\"", err_text(err));
    attempt_end(k, a, clock_wall_ms() + SOON_MS);
}

/* Another task of the same message runs: this one comes after it. */
static bool
must_wait(struct keeper *k, struct schedule_queue *queue)
{
    struct task *task = (struct task *)schedule_peek(queue);

    if (!task->mail->is_running)
        return false;
    plan_put(k, task, clock_wall_ms() + SOON_MS);
    return true;
}

/* Nobody can be asked, and one reason is a name: as an attempt that failed, at the oldest message.
 * If that is a fact and no failure of the resolver, the route is as good as unreachable. */
static void
note_unresolved(struct keeper *k, struct schedule_queue *queue, const struct choice *choice)
{
    struct task *task = (struct task *)schedule_peek(queue);
    struct spool_message *m = task->mail->message;
    int64_t now_ms = clock_wall_ms();
    char quoted[ATTEMPT_WHY_SIZE + 8];

    if (now_ms < queue->unresolved_until_ms)
        return;
    queue->unresolved_until_ms = now_ms + k->config->probe_interval_min_ms;
    if (all_backends_are_down(k, queue->route))
        queue->unreachable_at_ms = now_ms;
    spool_store_attempt(k->store, m, now_ms, 0, false, choice->why);
    report_add(k, m, "deferred", "customer=%s attempt=%u open=%u next=%s why=%s", m->customer,
               spool_message_attempts(m), m->open_count, "when-its-name-has-an-address",
               log_quote(slice_of(choice->why), quoted, sizeof quoted));
    keeper_touch(k, task->mail);
}

static void
pump_queue(struct keeper *k, struct schedule_queue *queue)
{
    struct choice choice = {0};

    while (schedule_peek(queue) != NULL && fleet_has_room(k->fleet)) {
        if (must_wait(k, queue))
            continue;
        choice = choose(k, queue);
        if (choice.endpoint == NULL)
            break;
        start(k, queue, &choice);
    }
    if (choice.endpoint == NULL && !choice.is_busy && choice.why[0] != '\0' &&
        schedule_peek(queue) != NULL)
        note_unresolved(k, queue, &choice);
    if (queue->running == 0 && !choice.is_busy && fleet_has_room(k->fleet))
        schedule_pass_leave(&k->schedule, queue); /* nothing left, or nobody left to ask */
}

void
attempt_pump(struct keeper *k)
{
    schedule_promote(&k->schedule, clock_wall_ms());
    for (size_t i = 0; i < k->schedule.queue_count; i++) {
        struct schedule_queue *queue = k->schedule.queues[i];

        if (queue->route == ROUTE_NONE)
            schedule_pass_leave(&k->schedule, queue);
        else if (queue->ready.count > 0 || schedule_pass_has(&k->schedule, queue))
            pump_queue(k, queue);
    }
    slot_close_idle(k);
}

/* --- In passage. */

void
attempt_reached(struct keeper *k, struct attempt *a)
{
    struct shared_table *table = route_table(k->route);
    char text[INET_ENDPOINT_SIZE];

    a->reached = true;
    slot_reached(k, a->slot);
    a->task->item.queue->unreachable_at_ms = 0;
    if (a->endpoint->is_own) {
        a->endpoint->rest_ms = a->endpoint->rests_until_ms = 0;
        return;
    }
    if (shared_health_succeeded(table, &a->endpoint->address, clock_wall_ms()))
        log_line(LOG_LEVEL_INFO, NULL, "backend-up", "backend=%s waiting=%zu",
                 inet_endpoint_text(&a->endpoint->address, text),
                 a->task->item.queue->ready.count + a->task->item.queue->waiting.count + 1);
}

void
attempt_wants_dot(struct keeper *k, struct attempt *a)
{
    spool_store_offered(k->store, a->mail->message);
    a->offered = true;
    a->offered_seq = spool_store_queued(k->store);
    CRASH_POINT("keeper-offered");
    committer_sync(k->committer);
}

void
attempt_synced(struct keeper *k)
{
    uint64_t synced = spool_store_synced(k->store);

    for (struct attempt *a = k->attempts; a != NULL; a = a->next) {
        if (!a->offered || a->dot_sent || a->offered_seq > synced)
            continue;
        CRASH_POINT("keeper-before-dot");
        a->dot_sent = true;
        fleet_send_dot(k->fleet, a);
        CRASH_POINT("keeper-behind-dot");
    }
}

void
attempt_result(struct attempt *a, const struct courier_result *result)
{
    for (unsigned i = 0; i < a->recipient_count; i++) {
        if (a->recipients[i] != result->recipient || a->result_count >= a->recipient_count)
            continue;
        a->results[a->result_count++] = *result;
        return;
    }
}

void
attempt_possible_duplicate(struct keeper *k, struct spool_message *m, const char *why)
{
    char ref[REF_SIZE];

    ref_text(m->ref, ref);
    log_line(LOG_LEVEL_WARN, ref, "possible-duplicate", "ref=%s why=\"%s\"", ref, why);
    shared_count(route_table(k->route), ROUTE_SLOT, SHARED_COUNTER_POSSIBLE_DUPLICATES);
}

/* --- What an outcome means. */

struct tally {
    unsigned by_class[SMTP_CLASS_UNKNOWN + 1];
    const char *reply; /* the one that says most: of the worst class */
    const char *tls;   /* of its connection; "": in the clear */
};

static struct tally
tally_of(const struct attempt *a, const struct courier_done *done)
{
    struct tally tally = {.reply = done->text, .tls = done->tls};
    enum smtp_class worst = SMTP_CLASS_OK;

    for (unsigned i = 0; i < a->result_count; i++) {
        const struct courier_result *result = &a->results[i];

        tally.by_class[result->class]++;
        if (result->class >= worst) {
            worst = result->class;
            tally.reply = result->text;
        }
    }
    return tally;
}

static void
say_down(struct attempt *a, enum shared_health_reason reason, const char *said)
{
    char text[INET_ENDPOINT_SIZE], quoted[600];

    a->endpoint->window.allowed = 1;
    log_line(LOG_LEVEL_WARN, NULL, "backend-down", "backend=%s why=\"%s\" said=%s",
             inet_endpoint_text(&a->endpoint->address, text), shared_reason_text(reason),
             log_quote(slice_of(said), quoted, sizeof quoted));
}

static void
backend_down(struct keeper *k, struct attempt *a, enum shared_health_reason reason,
             const char *said)
{
    a->endpoint->window.allowed = 1;
    if (shared_health_failed(route_table(k->route), &a->endpoint->address, reason, clock_wall_ms(),
                             k->config->probe_interval_min_ms, k->config->probe_interval_max_ms))
        say_down(a, reason, said);
}

/* The Internet's servers are not ours to probe: a pause for all that goes there, as for a message.
 */
static void
own_endpoint_rests(struct keeper *k, struct attempt *a)
{
    struct endpoint *e = a->endpoint;
    uint32_t random;

    random_bytes(&random, sizeof random);
    e->rest_ms = schedule_backoff_ms(e->rest_ms, k->config->message_retry_min_ms,
                                     k->config->message_retry_max_ms, random);
    e->rests_until_ms = loop_now_ms(k->loop) + e->rest_ms;
    e->window.allowed = 1;
}

/* No conversation came about, and that is nobody's fault but the backend's. */
static bool
is_unreached(const struct attempt *a, const struct courier_done *done)
{
    return done->lost && done->fresh && !a->reached;
}

/* The window and the health of the endpoint follow what happened. */
static void
judge_endpoint(struct keeper *k, struct attempt *a, const struct courier_done *done,
               const struct tally *tally)
{
    struct schedule_window *window = &a->endpoint->window;
    bool broke = done->lost || tally->by_class[SMTP_CLASS_AWAY] > 0;

    if (done->body != COURIER_BODY_WHOLE)
        return;
    if (is_unreached(a, done) && window->active > 1 && !a->was_down) {
        schedule_window_trouble(window); /* others are talking: it only is crowded */
    } else if (is_unreached(a, done)) {
        if (a->endpoint->is_own)
            own_endpoint_rests(k, a);
        else
            backend_down(k, a, shared_reason_of(done->phase, done->timed_out), done->text);
        if (all_backends_are_down(k, a->task->route))
            a->task->item.queue->unreachable_at_ms = a->started_at_ms;
    } else if (broke) {
        schedule_window_trouble(window);
        if (!a->endpoint->is_own && keeper_health_broke(k, a))
            say_down(a, SHARED_REASON_BROKEN, done->text);
    } else {
        if (!a->endpoint->is_own)
            shared_health_completed(route_table(k->route), &a->endpoint->address);
        if (tally->by_class[SMTP_CLASS_OK] > 0)
            schedule_window_good(window, a->destination.max_connections);
    }
}

static void
end_recipients(struct keeper *k, struct attempt *a, enum smtp_class class, enum spool_end end)
{
    int64_t now_ms = clock_wall_ms();

    for (unsigned i = 0; i < a->result_count; i++) {
        if (a->results[i].class == class)
            spool_store_ended(k->store, a->mail->message, a->results[i].recipient, end, now_ms,
                              a->results[i].text);
    }
}

/* When this message is asked for again; -1: held. */
static int64_t
next_attempt(struct keeper *k, const struct attempt *a, const struct courier_done *done,
             const struct tally *tally)
{
    const struct spool_message *m = a->mail->message;
    int64_t now_ms = clock_wall_ms(), pause_ms;
    uint32_t random;

    if (tally->by_class[SMTP_CLASS_UNKNOWN] > 0) {
        pause_ms = schedule_unknown_pause_ms(spool_message_unknowns(m) + 1);
        return pause_ms < 0 ? -1 : now_ms + pause_ms;
    }
    if (is_unreached(a, done))
        return is_down(k, a->endpoint) ? 0 : now_ms + CROWDED_MS;
    random_bytes(&random, sizeof random);
    pause_ms = spool_message_next_attempt_at_ms(m) > spool_message_last_attempt_at_ms(m) &&
                       spool_message_last_attempt_at_ms(m) > 0
                   ? spool_message_next_attempt_at_ms(m) - spool_message_last_attempt_at_ms(m)
                   : 0;
    pause_ms = schedule_backoff_ms(pause_ms, k->config->message_retry_min_ms,
                                   k->config->message_retry_max_ms, random);
    return now_ms + (a->endpoint->is_own ? pause_ms : keeper_health_pause_ms(k, a, pause_ms));
}

/* What ends by P4: what was refused; and what failed behind its deadline, in an attempt that began
 * behind it. */
struct loss {
    struct notice_end *ends;
    unsigned count, expired;
};

static void
add_loss(struct loss *loss, const struct courier_result *result, enum spool_end end)
{
    loss->ends[loss->count++] = (struct notice_end){result->recipient, end, result->text};
    loss->expired += end == SPOOL_END_EXPIRED;
}

static struct loss
loss_of(struct keeper *k, const struct attempt *a, const struct courier_done *done)
{
    bool expires = done->body == COURIER_BODY_WHOLE &&
                   expiry_is_due(k, a->mail->message->expires_at_ms, a->started_at_ms);
    struct loss loss = {.ends = mem_alloc((a->result_count + 1) * sizeof *loss.ends)};

    for (unsigned i = 0; i < a->result_count; i++) {
        enum smtp_class class = a->results[i].class;

        if (class == SMTP_CLASS_REFUSED)
            add_loss(&loss, &a->results[i], SPOOL_END_REFUSED);
        else if (expires && (class == SMTP_CLASS_LATER || class == SMTP_CLASS_AWAY))
            add_loss(&loss, &a->results[i], SPOOL_END_EXPIRED);
    }
    return loss;
}

static const char *
outcome_word(const struct attempt *a, const struct tally *tally, unsigned expired, unsigned open)
{
    if (open > 0 &&
        tally->by_class[SMTP_CLASS_OK] + tally->by_class[SMTP_CLASS_REFUSED] < a->recipient_count)
        return expired > 0 ? "expired" : "deferred";
    if (expired > 0)
        return "expired";
    return tally->by_class[SMTP_CLASS_OK] > 0 ? "delivered" : "refused";
}

/* Records what is left open behind this attempt; returns when it is asked for again. */
static int64_t
record_open(struct keeper *k, struct attempt *a, const struct courier_done *done,
            const struct tally *tally)
{
    struct spool_message *m = a->mail->message;
    int64_t next_at_ms = next_attempt(k, a, done, tally);
    bool unknown = tally->by_class[SMTP_CLASS_UNKNOWN] > 0;

    spool_store_attempt(k->store, m, clock_wall_ms(), next_at_ms < 0 ? 0 : next_at_ms, unknown,
                        tally->reply);
    if (unknown)
        attempt_possible_duplicate(k, m, "the backend did not answer the end of the message");
    if (done->body == COURIER_BODY_DAMAGED)
        hold_damaged(k, m, "its stored body is damaged");
    else if (next_at_ms < 0)
        spool_store_hold(k->store, m, HOLD_REASON);
    if (done->body == COURIER_BODY_UNREADABLE)
        warn_unreadable(m);
    return next_at_ms < 0 ? 0 : next_at_ms;
}

static void
log_outcome(struct keeper *k, const struct attempt *a, const struct tally *tally, unsigned expired,
            int64_t next_at_ms, struct ending *ending, const char *notice)
{
    const struct spool_message *m = a->mail->message;
    unsigned open = m->open_count - ending_count(ending);
    char backend[INET_ENDPOINT_SIZE], quoted[600], when[CLOCK_RFC3339_SIZE], text[REPORT_BYTES];

    snprintf(text, sizeof text,
             "customer=%s backend=%s backend_tls=%s attempt=%u delivered=%u refused=%u "
             "deferred=%u expired=%u "
             "open=%u next=%s notice=%s reply=%s",
             m->customer, inet_endpoint_text(&a->endpoint->address, backend),
             tally->tls[0] ? tally->tls : "-", a->number, tally->by_class[SMTP_CLASS_OK],
             tally->by_class[SMTP_CLASS_REFUSED],
             tally->by_class[SMTP_CLASS_LATER] + tally->by_class[SMTP_CLASS_AWAY] +
                 tally->by_class[SMTP_CLASS_UNKNOWN] - expired,
             expired, open,
             open == 0         ? "-"
             : m->held         ? "held"
             : next_at_ms == 0 ? "when-its-backend-is-back"
                               : clock_rfc3339(next_at_ms, when),
             notice, log_quote(slice_of(tally->reply), quoted, sizeof quoted));
    ending_report(k, m, ending, outcome_word(a, tally, expired, open), text);
}

void
attempt_done(struct keeper *k, struct attempt *a, const struct courier_done *done)
{
    struct spool_message *m = a->mail->message;
    char notice[ENDING_WORD_SIZE];
    struct ending *ending;
    struct tally tally;
    struct loss loss;
    int64_t next_at_ms = 0;

    CRASH_POINT("keeper-heard-deliverer");
    if (!a->endpoint->is_own)
        keeper_health_hear(k, a);
    tally = tally_of(a, done);
    judge_endpoint(k, a, done, &tally);
    end_recipients(k, a, SMTP_CLASS_OK, SPOOL_END_DELIVERED);
    loss = loss_of(k, a, done);
    if (m->open_count > loss.count - loss.expired) /* what is refused has no next attempt */
        next_at_ms = record_open(k, a, done, &tally);
    ending = ending_begin(k, m, loss.ends, loss.count, notice);
    log_outcome(k, a, &tally, loss.expired, next_at_ms, ending, notice);
    free(loss.ends);
    attempt_end(k, a, next_at_ms);
}

void
attempt_expire(struct keeper *k, struct mail *mail, uint64_t route, const char *why)
{
    struct spool_message *m = mail->message;
    struct notice_end *ends = mem_alloc(m->recipient_count * sizeof *ends);
    char notice[ENDING_WORD_SIZE], text[REPORT_BYTES];
    struct ending *ending;
    unsigned expired = 0;

    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (spool_message_is_open(m, i) && !spool_message_awaits(m, i) &&
            plan_route(k, m, i) == route)
            ends[expired++] = (struct notice_end){i, SPOOL_END_EXPIRED, why};
    }
    ending = ending_begin(k, m, ends, expired, notice);
    free(ends);
    snprintf(text, sizeof text, "customer=%s attempt=%u expired=%u open=%u notice=%s why=\"%s\"",
             m->customer, spool_message_attempts(m), expired, m->open_count - ending_count(ending),
             notice, why);
    ending_report(k, m, ending, "expired", text);
    plan_message(k, m);
    keeper_touch(k, mail);
}

/* --- A deliverer has died. */

static void
crashed(struct keeper *k, struct attempt *a)
{
    struct mail *mail = a->mail;
    struct spool_message *m = mail->message;
    int64_t now_ms = clock_wall_ms(), next_at_ms = now_ms + SOON_MS;

    if (a->dot_sent)
        attempt_possible_duplicate(k, m, "its deliverer died after the end of the message");
    if (mail->crashes > 0 || a->dot_sent) /* it may be the message that kills them */
        next_at_ms = now_ms + k->config->message_retry_min_ms;
    mail->crashes += mail->crashes < UINT8_MAX;
    if (a->offered)
        spool_store_attempt(k->store, m, now_ms, next_at_ms, false, "the deliverer died");
    attempt_end(k, a, next_at_ms);
}

void
attempt_crashed(struct keeper *k, unsigned deliverer)
{
    struct attempt *next;

    for (struct attempt *a = k->attempts; a != NULL; a = next) {
        next = a->next;
        if (a->deliverer == deliverer)
            crashed(k, a);
    }
}

void
attempt_abandon_all(struct keeper *k)
{
    while (k->attempts != NULL) {
        struct schedule_item *item = &k->attempts->task->item;

        attempt_free(k, k->attempts);
        schedule_done(item);
    }
    slot_give_all(k);
}
