/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The transaction's connection to its backend.  The dialogue at RCPT fetches verdicts; it does not
 * keep the backend's slot while the sender thinks, or drips its content (DESIGN 4.5): who has kept
 * a link for five seconds without asking anything gives it back, and at once where others wait for
 * one.  What was said on it is said again, in one burst, when the content is whole.
 *
 * A link that is lost, or answers 421, before it has answered anything in this transaction, stood
 * idle too long: that means nothing, and the same backend is asked on another one.
 */
#include "relayd/transaction_private.h"

#include <stdio.h>

#include "base/test_value.h"

#define THINKING_MS 10 /* so long a sender may take, if others wait for the connection */
#define THINKING_ALONE_MS 5000

static void
linked(struct transaction *t)
{
    t->link_answered = false;
    t->link_rcpts = 0;
    t->asked_at_ms = loop_now_ms(t->worker->loop);
    t->backend = *backend_link_endpoint(t->link);
    snprintf(t->backend_name, sizeof t->backend_name, "%s",
             smtp_client_banner_name(backend_link_client(t->link)));
    snprintf(t->backend_tls, sizeof t->backend_tls, "%s", backend_link_tls_version(t->link));
    if (t->stage == STAGE_REACHING)
        transaction_replay_begin(t);
    else
        transaction_begin_rcpt(t);
}

static void
on_link(void *ctx, struct backend_link *link, enum smtp_phase phase, const struct smtp_reply *reply)
{
    struct transaction *t = ctx;

    t->wait = NULL;
    t->link = link;
    if (link != NULL) {
        linked(t);
        return;
    }
    if (reply)
        t->away_reply = *reply;
    if (t->stage == STAGE_REACHING)
        transaction_decide_dot(t, phase, SMTP_CLASS_AWAY, &t->away_reply);
    else
        transaction_ask(t);
}

void
transaction_link_take(struct transaction *t)
{
    const struct destination *destination = transaction_destination(t);
    struct worker *w = t->worker;

    t->link = backend_take_idle(w->pool, destination, &transaction_link_ops, t);
    if (t->link)
        linked(t);
    else
        t->wait = backend_wait_start(w->pool, destination, on_link, &transaction_link_ops, t);
    if (t->wait && t->stage == STAGE_REACHING) /* as long as there is time at the dot */
        backend_wait_set_patience(t->wait, w->config->final_reply_timeout_ms);
}

void
transaction_link_drop(struct transaction *t)
{
    backend_link_drop(&t->link);
    t->data_sent = false;
    t->must_replay = t->must_replay || t->live_count > 0;
}

void
transaction_link_let_go(struct transaction *t)
{
    if (t->data_sent) {
        transaction_link_drop(t);
        return;
    }
    t->must_replay = t->must_replay || (t->link && t->live_count > 0);
    backend_link_release(&t->link);
}

bool
transaction_link_is_stale(const struct transaction *t)
{
    return t->link && backend_link_is_reused(t->link) && !t->link_answered;
}

/* --- What comes from it. */

static void
take_reply(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
           const struct smtp_reply *reply)
{
    bool is_burst = t->must_replay && t->stage == STAGE_DELIVERING;

    t->asked_at_ms = loop_now_ms(t->worker->loop);
    if (is_burst && phase != SMTP_PHASE_DOT) {
        transaction_take_replay_reply(t, phase, class, reply);
        return;
    }
    if (phase != SMTP_PHASE_DOT && phase != SMTP_PHASE_DATA) {
        transaction_take_rcpt_reply(t, phase, class, reply);
        return;
    }
    t->link_answered = true;
    if (phase == SMTP_PHASE_DATA && class == SMTP_CLASS_OK)
        return; /* transaction_on_want_content follows */
    if (class == SMTP_CLASS_AWAY || class == SMTP_CLASS_UNKNOWN) {
        transaction_health_broke(t);
        transaction_link_drop(t);
    } else if (phase == SMTP_PHASE_DOT)
        transaction_health_completed(t);
    t->data_sent = false;
    transaction_decide_dot(t, phase, class, reply);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct transaction *t = ctx;
    struct worker *w = t->worker;

    (void)index;
    shared_worker_set_message(w->table, w->slot, t->fingerprint);
    take_reply(t, phase, class, reply);
    shared_worker_set_message(w->table, w->slot, 0); /* t may be gone */
}

/* Amid the burst on a connection that stood idle too long: the backend has not seen it, or has at
 * least not taken anything of it. */
static bool
may_begin_again(struct transaction *t, bool is_stale, bool dot_sent)
{
    return t->stage == STAGE_DELIVERING && is_stale && !dot_sent && !t->is_prepared;
}

static void
on_lost(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct transaction *t = ctx;
    bool is_stale = transaction_link_is_stale(t);

    if (!is_stale && (t->stage == STAGE_DELIVERING || (t->pending && t->query == NULL)))
        transaction_health_broke(t);
    t->link = NULL;
    t->data_sent = false;
    t->must_replay = t->must_replay || t->live_count > 0;
    if (reply)
        t->away_reply = *reply;
    if (may_begin_again(t, is_stale, dot_sent))
        transaction_replay_start(t);
    else if (t->stage == STAGE_DELIVERING && t->live_count == 0)
        transaction_replay_without_live(t);
    else if (t->stage == STAGE_DELIVERING)
        transaction_decide_dot(t, phase, dot_sent ? SMTP_CLASS_UNKNOWN : SMTP_CLASS_AWAY, reply);
    else if (t->pending && t->query == NULL)
        transaction_lost_at_rcpt(t, is_stale);
}

/* Only while nothing is under way on it. */
static bool
on_wanted(void *ctx, bool others_wait)
{
    struct transaction *t = ctx;
    int64_t patience_ms =
        others_wait ? THINKING_MS : test_value("POSTERN_TEST_THINKING_MS", THINKING_ALONE_MS);
    bool is_thinking =
        (t->stage == STAGE_OPEN && !t->pending) ||
        (t->stage == STAGE_CONTENT && (!t->content_ended || transaction_scan_is_running(t)));

    if (!is_thinking || loop_now_ms(t->worker->loop) - t->asked_at_ms < patience_ms)
        return false;
    transaction_link_let_go(t);
    return true;
}

const struct backend_user_ops transaction_link_ops = {
    .on_reply = on_reply,
    .on_want_content = transaction_on_want_content,
    .on_drained = transaction_on_drained,
    .on_lost = on_lost,
    .on_wanted = on_wanted,
};
