/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One attempt: from the queue to a deliverer, and back into the queue.
 *
 * `offered` is durable before a dot goes out, so that whatever dies afterwards, the possible
 * duplicate is known by name (P2).
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "spoolmgr/attempt_private.h"

#define SOON_MS 1000 /* after trouble of our own */

/* --- Life. */

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
attempt_new(struct keeper *k, struct task *task, const struct attempt_choice *choice)
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

void
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

/* --- Beginning. */

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

void
attempt_hold_damaged(struct keeper *k, struct spool_message *m, const char *why)
{
    char ref[REF_SIZE];

    spool_store_mark_damaged(k->store, m);
    spool_store_hold(k->store, m, why);
    log_line(LOG_LEVEL_ALARM, ref_text(m->ref, ref), "spool-damage",
             "effect=\"the message is held; nothing of it was delivered\" why=\"%s\"", why);
}

static void
start(struct keeper *k, struct schedule_queue *queue, const struct attempt_choice *choice)
{
    struct task *task = (struct task *)schedule_take(queue);
    struct attempt *a = attempt_new(k, task, choice);
    int err = a->recipient_count > 0 ? attempt_send(k, a) : ERR_NOT_FOUND;
    char ref[REF_SIZE];

    if (err == 0)
        return;
    if (err == ERR_CORRUPT)
        attempt_hold_damaged(k, task->mail->message, "its stored envelope is damaged");
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
note_unresolved(struct keeper *k, struct schedule_queue *queue, const struct attempt_choice *choice)
{
    struct task *task = (struct task *)schedule_peek(queue);
    struct spool_message *m = task->mail->message;
    int64_t now_ms = clock_wall_ms();
    char quoted[ATTEMPT_WHY_SIZE + 8];

    if (now_ms < queue->unresolved_until_ms)
        return;
    queue->unresolved_until_ms = now_ms + k->config->probe_interval_min_ms;
    if (attempt_all_are_down(k, queue->route))
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
    struct attempt_choice choice = {0};

    while (schedule_peek(queue) != NULL && fleet_has_room(k->fleet)) {
        if (must_wait(k, queue))
            continue;
        choice = attempt_choose(k, queue);
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
