/* SPDX-License-Identifier: BSD-2-Clause
 *
 * From messages to tasks: a message has one task for each route among its open recipients,
 * mostly one.  The route is looked up anew when the registry changes, by a sweep in slices, so that
 * neither a million messages nor a change a second holds up the loop (P8).
 */
#include "spoolmgr/keeper.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define SWEEP_SLICE 2000 /* messages a tick */

static bool
is_scheduled(const struct spool_message *m)
{
    return m->open_count > 0 && !m->held && !m->damaged && !spool_message_awaits_all(m);
}

static struct task *
task_find(struct mail *mail, uint64_t route)
{
    struct task *task = mail->tasks;

    while (task != NULL && task->route != route)
        task = task->next;
    return task;
}

void
plan_put(struct keeper *k, struct task *task, int64_t next_at_ms)
{
    schedule_put(&k->schedule, &task->item, schedule_queue_of(&k->schedule, task->route),
                 task->mail->message->received_at_ms, next_at_ms, clock_wall_ms());
}

/* As the message says, but no clock that was ahead may keep it for weeks. */
static int64_t
first_at_ms(struct keeper *k, const struct mail *mail)
{
    return schedule_capped_ms(spool_message_next_attempt_at_ms(mail->message), clock_wall_ms(),
                              k->config->message_retry_max_ms);
}

static void
task_add(struct keeper *k, struct mail *mail, uint64_t route)
{
    bool is_first = mail->first.mail == NULL;
    struct task *task = is_first ? &mail->first : mem_alloc(sizeof *task);

    task->mail = mail;
    task->route = route;
    task->next = mail->tasks;
    mail->tasks = task;
    plan_put(k, task, first_at_ms(k, mail));
}

/* The one that lies in its mail is unused from now on. */
static void
task_free(struct task *task)
{
    schedule_remove(&task->item);
    if (task == &task->mail->first)
        task->mail = NULL;
    else
        free(task);
}

static void
tasks_free(struct task *task)
{
    while (task != NULL) {
        struct task *next = task->next;

        task_free(task);
        task = next;
    }
}

/* Takes the route's task out of a list; NULL: there is none. */
static struct task *
task_take(struct task **list, uint64_t route)
{
    while (*list != NULL) {
        struct task *task = *list;

        if (task->route == route) {
            *list = task->next;
            return task;
        }
        list = &task->next;
    }
    return NULL;
}

static void
tasks_drop(struct mail *mail)
{
    tasks_free(mail->tasks);
    mail->tasks = NULL;
}

static struct mail *
mail_of(struct keeper *k, struct spool_message *m)
{
    struct mail *mail = m->user;
    uint32_t number;

    if (mail == NULL) {
        mail = pool_take(&k->mails, &number);
        mail->number = number;
        mail->message = m;
        m->user = mail;
    }
    return mail;
}

/* The route's task: the one it had, where it was, or a new one. */
static void
task_keep(struct keeper *k, struct mail *mail, struct task **old, uint64_t route)
{
    struct task *task;

    if (task_find(mail, route) != NULL)
        return;
    task = task_take(old, route);
    if (task == NULL) {
        task_add(k, mail, route);
        return;
    }
    task->next = mail->tasks;
    mail->tasks = task;
}

uint64_t
plan_route(struct keeper *k, const struct spool_message *m, unsigned recipient)
{
    uint64_t route;

    if (m->flags & SPOOL_FLAG_OWN) {
        route = route_of(k->route, spool_message_domain(m, recipient));
        return route != ROUTE_NONE ? route : own_route(k, spool_message_domain(m, recipient));
    }
    return spool_message_redirect(m) ? route_redirected(m->customer_id, spool_message_redirect(m))
                                     : route_of(k->route, spool_message_domain(m, recipient));
}

/* All its recipients go one way: the task it has is that of the new route, which costs nothing a
 * message. */
static void
task_turn(struct keeper *k, struct mail *mail, uint64_t route)
{
    struct task *task = mail->tasks;

    if (task == NULL) {
        task_add(k, mail, route);
    } else if (task->route != route) {
        task->route = route;
        plan_put(k, task, first_at_ms(k, mail));
    }
}

/* A task for each route among the recipients that may be attempted; those that are no longer
 * wanted go. */
static void
tasks_update_several(struct keeper *k, struct mail *mail)
{
    struct spool_message *m = mail->message;
    struct task *old = mail->tasks;
    const char *domain = "";

    mail->tasks = NULL;
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (!spool_message_is_open(m, i) || spool_message_awaits(m, i) ||
            strcmp(domain, spool_message_domain(m, i)) == 0)
            continue;
        domain = spool_message_domain(m, i);
        task_keep(k, mail, &old, plan_route(k, m, i));
    }
    if (mail->tasks == NULL) /* recipients without any domain */
        task_keep(k, mail, &old, 0);
    tasks_free(old);
}

static void
tasks_update(struct keeper *k, struct mail *mail)
{
    const struct spool_message *m = mail->message;
    bool is_one = m->domain != NULL || spool_message_redirect(m) != 0;

    if (is_one && (mail->tasks == NULL || mail->tasks->next == NULL))
        task_turn(k, mail, plan_route(k, m, 0));
    else
        tasks_update_several(k, mail);
}

void
plan_message(struct keeper *k, struct spool_message *m)
{
    struct mail *mail;

    if (m->open_count == 0 && m->user == NULL)
        return;
    mail = mail_of(k, m);
    await_update(k, mail);
    if (mail->is_running) {
        mail->needs_plan = true;
        return;
    }
    mail->needs_plan = false;
    if (is_scheduled(m) && !mail->is_ending)
        tasks_update(k, mail);
    else
        tasks_drop(mail);
}

void
plan_forget(struct keeper *k, struct spool_message *m)
{
    struct mail *mail = m->user;

    if (k->sweep == m)
        k->sweep = spool_store_next(k->store, m);
    if (mail == NULL)
        return;
    CHECK(!mail->is_running && !mail->is_ending);
    kept_changed(k, mail);
    if (k->mirror != NULL)
        mirror_forget(k->mirror, mail);
    await_forget(k, mail);
    tasks_drop(mail);
    pool_give(&k->mails, mail->number);
    m->user = NULL;
}

bool
plan_has_no_route(const struct mail *mail)
{
    for (const struct task *task = mail->tasks; task != NULL; task = task->next) {
        if (task->route == 0 || (task->item.queue != NULL && task->item.queue->no_route))
            return true;
    }
    return false;
}

const char *
plan_state(const struct mail *mail)
{
    const struct spool_message *m = mail->message;

    if (m->damaged)
        return "damaged";
    if (m->held)
        return "held";
    if (m->prepared)
        return "prepared";
    if (spool_message_awaits_all(m))
        return "listening";
    if (plan_has_no_route(mail))
        return "no-route";
    return mail->is_running || mail->is_ending ? "running" : "waiting";
}

/* --- The sweep. */

/* Behind its deadline, and its route could not be reached in an attempt made since. */
static void
sweep_expiry(struct keeper *k, struct mail *mail)
{
    struct task *next;

    if (mail->is_running)
        return;
    for (struct task *task = mail->tasks; task != NULL; task = next) {
        next = task->next;
        if (task->item.queue != NULL &&
            expiry_is_due(k, mail->message->expires_at_ms, task->item.queue->unreachable_at_ms)) {
            attempt_expire(k, mail, task->route, "its backends could not be reached");
            return; /* its tasks have been planned anew */
        }
    }
}

static void
sweep_one(struct keeper *k, struct spool_message *m)
{
    struct mail *mail = m->user;

    if (mail == NULL || m->open_count == 0)
        return;
    if (k->sweep_replans) {
        const char *before = plan_state(mail);

        plan_message(k, m);
        if (before != plan_state(mail))
            keeper_touch(k, mail);
    }
    if (mail->shown_no_route != plan_has_no_route(mail))
        keeper_touch(k, mail);
    if (!noroute_look(k, mail))
        sweep_expiry(k, mail);
}

void
plan_sweep(struct keeper *k)
{
    if (k->sweep == NULL) {
        k->sweep = spool_store_next(k->store, NULL);
        k->sweep_number++;
    }
    for (unsigned i = 0; i < SWEEP_SLICE && k->sweep != NULL; i++) {
        struct spool_message *m = k->sweep;

        sweep_one(k, m);
        k->sweep = spool_store_next(k->store, m);
    }
    if (k->sweep == NULL) {
        noroute_swept(k);
        k->sweep_replans = k->replan_again;
        k->replan_again = false;
    }
}

void
plan_routes_changed(struct keeper *k)
{
    if (k->sweep_replans) {
        k->replan_again = true; /* once more when this sweep is through */
        return;
    }
    k->sweep = NULL;
    k->sweep_replans = true;
}
