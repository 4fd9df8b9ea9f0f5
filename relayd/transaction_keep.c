/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What goes to the spool: all of a message, or, when some recipients are the backend's and some are
 * ours, first a prepared record, that counts only by its resolution (DESIGN section 5, "mixed").
 * The order is law: prepared record durable, dot, the backend's answer, resolution, ours.  A
 * confirmation needs no sync before the 250, since a prepared record whose worker is gone counts as
 * confirmed for what is ours; a cancellation does.
 */
#include "relayd/transaction_private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "relayd/late.h"
#include "relayd/resolve.h"

#define SPOOL_CLOSED_MS 5000 /* then the next message tries the disk again */

/* A segment that failed is closed, and the next one may do; when that fails too it is the disk. */
static void
spool_failed(struct transaction *t, int err)
{
    if (err == ERR_FULL || t->worker->spool_has_failed)
        t->worker->spool_closed_until_ms = clock_monotonic_ms() + SPOOL_CLOSED_MS;
    t->worker->spool_has_failed = true;
    log_line(LOG_LEVEL_ALARM, t->ref_text, "spool-failed", "ref=%s error=\"%s\"", t->ref_text,
             err_text(err));
}

static int64_t
expires_at_ms(const struct transaction *t)
{
    return clock_retention_end_ms(t->started_at_ms, t->route.customer.retention_days);
}

static void
finish_queued(struct transaction *t)
{
    struct smtp_reply reply = smtp_reply_queued(t->ref_text, expires_at_ms(t));

    late_kept(&t->late);
    transaction_finish(t, SHARED_COUNTER_MESSAGES_SPOOLED, "spooled", true, &reply);
}

/* Why it is kept, for people who look into the spool. */
static const char *
reason_of(struct transaction *t, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE] = "the backend is down";
    const char *copy;

    if (reply && reply->code)
        smtp_reply_text(reply, text, sizeof text);
    else if (reply && reply->text[0])
        snprintf(text, sizeof text, "%s", reply->text);
    copy = arena_copy(&t->arena, slice_of(text));
    return copy ? copy : "";
}

/* The envelope's texts are borrowed from `t` and `helo`. */
static void
make_envelope(struct transaction *t, uint32_t flags, const struct smtp_reply *why,
              char helo[SMTP_HELO_SIZE], struct spool_envelope *envelope)
{
    *envelope = (struct spool_envelope){
        .ref = t->ref,
        .received_at_ms = t->started_at_ms,
        .expires_at_ms = expires_at_ms(t),
        .customer_id = t->route.customer.id,
        .customer = t->route.customer.name,
        .client_name = transaction_policy_client_name(t),
        .helo = helo,
        .reverse_path = t->mail.path.text,
        .body = (uint8_t)t->mail.body,
        .flags = flags | (t->mail.smtputf8 ? SPOOL_FLAG_SMTPUTF8 : 0u) |
                 (t->has_unknown ? 0u : SPOOL_FLAG_KNOWN) |
                 (t->policy.is_verified && !t->policy.is_spam ? SPOOL_FLAG_VERIFIED : 0u) |
                 (t->policy.is_spam ? SPOOL_FLAG_SPAM : 0u),
        .reason = reason_of(t, why),
        .prepend = buf_slice(&t->prepend),
        .dsn_ret = (uint8_t)t->mail.dsn_ret,
        .dsn_envid = t->mail.dsn_envid,
        .recipients = t->recipients,
        .recipient_count = t->recipient_count,
    };
    helo[0] = '\0';
    if (t->session) {
        envelope->client = *session_peer(t->session);
        slice_to_text(smtp_server_helo_name(session_engine(t->session)), helo, SMTP_HELO_SIZE);
    }
}

static void
store(struct transaction *t, uint32_t flags, const struct smtp_reply *why, spool_on_commit on_done)
{
    char helo[SMTP_HELO_SIZE];
    struct spool_envelope envelope;

    make_envelope(t, flags, why, helo, &envelope);
    if (t->body->large)
        spool_large_commit(t->body->large, &envelope, on_done, t);
    else {
        struct iovec iov[BODY_CHUNKS_MAX];
        int n = body_iovec(t->body, iov);

        spool_commit_start(t->worker->writer, &envelope, iov, n, on_done, t);
    }
}

/* Of the customer's quota.  What the backend may have already is kept whatever it is: a refusal
 * would only bring it once more. */
static bool
take_room(struct transaction *t, uint32_t flags)
{
    struct shared_kept quota = transaction_quota(t);

    return shared_kept_take(t->worker->table, t->route.customer.id, t->body->size_bytes,
                            flags & SPOOL_FLAG_UNKNOWN ? NULL : &quota);
}

static void
give_room(struct transaction *t)
{
    shared_kept_give(t->worker->table, t->route.customer.id, t->body->size_bytes);
}

/* --- All of it. */

static void
on_committed(void *ctx, int err)
{
    struct transaction *t = ctx;

    CRASH_POINT("worker-committed");
    t->worker->spool_has_failed = t->worker->spool_has_failed && err < 0;
    if (err < 0) {
        give_room(t);
        spool_failed(t, err);
        late_forget(&t->late);
        transaction_finish_verdict(t, SMTP_VERDICT_SPOOL_FAILED);
    } else
        finish_queued(t);
}

void
transaction_commit(struct transaction *t, uint32_t flags, const struct smtp_reply *why)
{
    if (!transaction_enter_flight(t)) {
        late_forget(&t->late);
        transaction_finish_verdict(t, SMTP_VERDICT_LOCAL_PROBLEM);
        return;
    }
    if (!take_room(t, flags)) {
        transaction_finish_verdict(t, SMTP_VERDICT_QUOTA_FULL_DATA);
        return;
    }
    t->stage = STAGE_COMMITTING;
    store(t, flags, why, on_committed);
    CRASH_POINT("worker-commit-asked");
}

/* --- Of both sides. */

static void
on_prepared(void *ctx, int err)
{
    struct transaction *t = ctx;

    t->is_prepared = err == 0;
    CRASH_POINT("worker-prepared");
    if (err < 0) {
        give_room(t);
        spool_failed(t, err);
        transaction_link_drop(t);
        transaction_finish_verdict(t, SMTP_VERDICT_SPOOL_FAILED);
    } else if (t->link == NULL || t->session == NULL) {
        transaction_link_drop(t);
        transaction_decide_dot(t, SMTP_PHASE_DATA, SMTP_CLASS_AWAY, &t->away_reply);
    } else
        transaction_stream(t);
}

void
transaction_prepare(struct transaction *t)
{
    if (!take_room(t, SPOOL_FLAG_PREPARED)) {
        transaction_link_drop(t);
        transaction_finish_verdict(t, SMTP_VERDICT_QUOTA_FULL_DATA);
        return;
    }
    t->stage = STAGE_PREPARING;
    store(t, SPOOL_FLAG_PREPARED, &t->away_reply, on_prepared);
}

static void
on_resolved(void *ctx, int err)
{
    struct transaction *t = ctx;

    CRASH_POINT("worker-resolved");
    if (err < 0) {
        /* As if the worker had died: what is ours goes out. */
        spool_failed(t, err);
        transaction_log_duplicate(t, "resolution-not-written");
        late_forget(&t->late);
        transaction_finish_verdict(t, SMTP_VERDICT_SPOOL_FAILED);
    } else if (t->resolved_reply.code == 0)
        finish_queued(t);
    else
        transaction_finish(t, SHARED_COUNTER_MESSAGES_REFUSED, "refused", false,
                           &t->resolved_reply);
}

void
transaction_cancel(struct transaction *t, const struct smtp_reply *reply)
{
    struct spool_resolution resolution = {.ref = t->ref, .kind = SPOOL_RESOLUTION_CANCEL};

    t->resolved_reply = *reply;
    t->stage = STAGE_COMMITTING;
    spool_resolve_start(t->worker->writer, &resolution, on_resolved, t);
}

void
transaction_confirm_all(struct transaction *t, bool is_unknown)
{
    struct spool_resolution resolution = {
        .ref = t->ref,
        .kind = SPOOL_RESOLUTION_CONFIRM_ALL,
        .flags = (is_unknown ? SPOOL_FLAG_UNKNOWN : 0u) | (t->late ? SPOOL_FLAG_LISTENING : 0u),
    };

    t->resolved_reply.code = 0;
    t->stage = STAGE_COMMITTING;
    spool_resolve_start(t->worker->writer, &resolution, on_resolved, t);
}

void
transaction_resolve_silently(struct transaction *t, enum spool_resolution_kind kind)
{
    resolve_silently(t->worker, t->ref, kind, NULL);
}
