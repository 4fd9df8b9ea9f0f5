/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content and the dot: to the backend (transaction_stream.c), or to the spool.
 * transaction_finish is the only place that answers a dot (P1).
 */
#include "relayd/transaction_private.h"

#include <stdlib.h>

#include "base/crash_point.h"
#include "base/log.h"
#include "milter/milter_header.h"
#include "relayd/late.h"
#include "relayd/scanners.h"

#define ENVELOPE_BYTES (64 * 1024) /* with our header lines, and */
#define ENVELOPE_RECIPIENT_BYTES \
    (SMTP_PATH_SIZE + INET_DOMAIN_SIZE + SMTP_DSN_ORCPT_MAX + 64) /* each */

/* --- The verdict at the dot. */

static void
count_use(struct transaction *t, bool kept)
{
    uint32_t id = t->route.customer.id;

    if (!kept) {
        transaction_use(t, id, SHARED_USE_REFUSALS, 1);
        return;
    }
    transaction_use(t, id, SHARED_USE_MESSAGES, 1);
    transaction_use(t, id, SHARED_USE_RECIPIENTS, t->recipient_count);
    transaction_use(t, id, SHARED_USE_BYTES, t->body->size_bytes);
}

void
transaction_finish(struct transaction *t, enum shared_counter counter, const char *word, bool kept,
                   const struct smtp_reply *reply)
{
    bool detached = t->session == NULL, heard = !detached;

    shared_count(t->worker->table, t->worker->slot, counter);
    count_use(t, kept);
    loop_timer_cancel(&t->timer);
    if (kept)
        transaction_policy_taken(t);
    transaction_record_message(t, word, reply);
    t->stage =
        STAGE_ANSWERING; /* the link, if there is one, is in order and goes back to the pool */
    if (!detached && t->in_operation)
        transaction_answer(t, reply);
    else if (!detached) /* the engine's reset lets go of this transaction */
        heard = session_answer_now(t->session, reply);
    CRASH_POINT("worker-answered");
    if (kept && !heard)
        transaction_log_duplicate(t, "client-gone");
    transaction_leave_flight(t);
    if (detached) {
        t->worker->detached_count--;
        transaction_close(t);
        worker_check_idle(t->worker);
    }
}

void
transaction_finish_verdict(struct transaction *t, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    smtp_reply_add_ref(&reply, t->ref);
    transaction_finish(t,
                       verdict == SMTP_VERDICT_DELIVERED ? SHARED_COUNTER_MESSAGES_DELIVERED
                                                         : SHARED_COUNTER_MESSAGES_REFUSED,
                       smtp_verdict_word(verdict), verdict == SMTP_VERDICT_DELIVERED, &reply);
}

/* Nobody waits for the answer any more: the sender has heard nothing, and will send it again. */
static void
decide_for_nobody(struct transaction *t, enum smtp_class class)
{
    enum decision_event event =
        class == SMTP_CLASS_OK ? DECISION_EVENT_GONE_AFTER : DECISION_EVENT_GONE_BEFORE;
    struct decision_dot d = decision_at_dot(transaction_side(t), event, false);

    if (d.action == DECISION_DOT_RECORD_CONFIRM)
        transaction_resolve_silently(t, SPOOL_RESOLUTION_CONFIRM);
    else if (d.action == DECISION_DOT_CANCEL)
        transaction_resolve_silently(t, SPOOL_RESOLUTION_CANCEL);
    transaction_finish_verdict(t, class == SMTP_CLASS_OK ? SMTP_VERDICT_DELIVERED
                                                         : SMTP_VERDICT_LOCAL_PROBLEM);
}

static void
act(struct transaction *t, struct decision_dot d, enum smtp_phase phase,
    const struct smtp_reply *backend_reply)
{
    struct smtp_reply reply;

    switch (d.action) {
    case DECISION_DOT_CONFIRM:
        transaction_resolve_silently(t, SPOOL_RESOLUTION_CONFIRM);
        transaction_finish_verdict(t, d.verdict);
        return;
    case DECISION_DOT_DELIVERED:
    case DECISION_DOT_FAIL:
        transaction_finish_verdict(t, d.verdict);
        return;
    case DECISION_DOT_PASS:
        recipient_policy_pass(&t->backend, t->backend_name, phase, backend_reply, t->ref, &reply);
        transaction_finish(t, SHARED_COUNTER_MESSAGES_REFUSED, "refused", false, &reply);
        return;
    case DECISION_DOT_CANCEL:
        if (d.verdict == SMTP_VERDICT_BLAMES_US) {
            reply = smtp_verdict_reply(d.verdict);
            smtp_reply_add_ref(&reply, t->ref);
        } else
            recipient_policy_pass(&t->backend, t->backend_name, phase, backend_reply, t->ref,
                                  &reply);
        transaction_cancel(t, &reply);
        return;
    case DECISION_DOT_COMMIT:
        transaction_commit(t, 0, backend_reply);
        return;
    case DECISION_DOT_COMMIT_UNKNOWN:
        transaction_commit(t, SPOOL_FLAG_UNKNOWN | (t->late ? SPOOL_FLAG_LISTENING : 0u),
                           backend_reply);
        return;
    case DECISION_DOT_CONFIRM_ALL:
    case DECISION_DOT_CONFIRM_ALL_UNKNOWN:
        transaction_confirm_all(t, d.action == DECISION_DOT_CONFIRM_ALL_UNKNOWN);
        return;
    case DECISION_DOT_DROP:
    case DECISION_DOT_RECORD:
    case DECISION_DOT_RECORD_CONFIRM:
        break;
    }
    CHECK(!"the client is there");
}

void
transaction_decide_dot(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                       const struct smtp_reply *backend_reply)
{
    bool blames_us = class == SMTP_CLASS_REFUSED &&
                     recipient_policy_blames_us(t->worker, t->link, backend_reply, t->ref_text);

    transaction_note_reply(t, backend_reply);
    loop_timer_cancel(&t->timer);
    CRASH_POINT("worker-heard-backend");
    if (class == SMTP_CLASS_UNKNOWN)
        transaction_log_duplicate(t, "no-reply-to-dot");
    if (t->session == NULL)
        decide_for_nobody(t, class);
    else
        act(t, decision_at_dot(transaction_side(t), decision_event_of(class), blames_us), phase,
            backend_reply);
}

/* --- The time at the dot. */

static void
on_too_late(void *ctx)
{
    struct transaction *t = ctx;

    t->away_reply = smtp_reply_make(0, NULL, "the backend took too long");
    backend_wait_cancel(&t->wait);
    if (t->link)
        transaction_health_broke(t);
    if (t->dot_sent && t->link && t->session) {
        t->late = late_listen(t->worker, &t->link, t->ref);
        t->data_sent = false;
    } else
        transaction_link_drop(t);
    if (t->stage == STAGE_PREPARING) /* goes on when its record is there, and finds no link */
        return;
    transaction_decide_dot(t, t->dot_sent ? SMTP_PHASE_DOT : SMTP_PHASE_DATA,
                           t->dot_sent ? SMTP_CLASS_UNKNOWN : SMTP_CLASS_AWAY, &t->away_reply);
}

/* --- What the backend gets. */

static void
make_prepend(struct transaction *t)
{
    char helo[SMTP_HELO_SIZE];
    struct smtp_server *engine = session_engine(t->session);
    struct smtp_trace trace = {
        .helo_name = helo,
        .client_name = transaction_policy_client_name(t),
        .client = session_peer(t->session),
        .hostname = t->worker->config->hostname,
        .domain = t->recipient_count ? t->recipients[0].domain : "",
        .tls_version = session_tls_version(t->session),
        .tls_cipher = session_tls_cipher(t->session),
        .is_esmtp = smtp_server_is_esmtp(engine),
        .is_smtputf8 = t->mail.smtputf8,
        .ref = t->ref,
        .only_recipient = t->recipient_count == 1 ? t->recipients[0].address : NULL,
        .received_at_ms = t->started_at_ms,
    };

    slice_to_text(smtp_server_helo_name(engine), helo, sizeof helo);
    transaction_scan_header(t, &t->prepend);
    transaction_policy_header(t, &t->prepend);
    smtp_trace_write(&trace, &t->prepend);
    if (!t->header.first_line_is_header)
        buf_add_text(&t->prepend, "\r\n");
}

void
transaction_on_want_content(void *ctx)
{
    struct transaction *t = ctx;

    t->link_answered = true;
    if (!transaction_enter_flight(t)) {
        transaction_link_drop(t);
        transaction_finish_verdict(t, SMTP_VERDICT_LOCAL_PROBLEM);
    } else if (transaction_side(t) == DECISION_MIXED_UNPREPARED)
        transaction_prepare(t);
    else
        transaction_stream(t);
}

static void
finish_without_room(struct transaction *t)
{
    static const enum smtp_verdict verdicts[] = {
        [BODY_FINE] = SMTP_VERDICT_LOCAL_PROBLEM,
        [BODY_NO_ROOM] = SMTP_VERDICT_SPILL_FULL,
        [BODY_TOO_LONG] = SMTP_VERDICT_LARGER_THAN_ANNOUNCED,
        [BODY_BROKEN] = SMTP_VERDICT_SPOOL_FAILED,
        [BODY_UNWANTED] = SMTP_VERDICT_LOCAL_PROBLEM,
    };

    if (t->body->trouble == BODY_NO_ROOM)
        shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_SPILLS_REFUSED);
    transaction_finish_verdict(t, verdicts[t->body->trouble]);
}

/* A scanner wants it held: whoever would take it now, it is kept until an operator lets it go. */
static void
hold(struct transaction *t)
{
    struct smtp_reply why = smtp_reply_make(0, NULL, transaction_scan_hold(t));

    transaction_link_let_go(t);
    transaction_commit(t, SPOOL_FLAG_HELD, &why);
}

/* Of final-reply-timeout, behind what scanners have used. */
static int64_t
time_left_ms(const struct transaction *t)
{
    return (int64_t)t->worker->config->final_reply_timeout_ms -
           (loop_now_ms(t->worker->loop) - t->dot_at_ms);
}

/* The content is whole and, if it is large, has its place. */
void
transaction_settle_content(struct transaction *t)
{
    if (!body_is_settled(t->body))
        return;
    if (t->body->state == BODY_FAILED) {
        finish_without_room(t);
        return;
    }
    if (!transaction_origin_is_settled(t) || !transaction_scan_is_settled(t))
        return;
    if (t->body->large)
        shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_SPILLS);
    make_prepend(t);
    if (transaction_scan_hold(t)[0]) {
        hold(t);
        return;
    }
    if (t->live_count == 0) {
        transaction_commit(t, 0, &t->away_reply);
        return;
    }
    loop_timer_start(&t->timer, time_left_ms(t));
    if (t->must_replay || t->link == NULL) {
        transaction_replay_start(t);
        return;
    }
    t->stage = STAGE_DELIVERING;
    t->data_sent = true;
    smtp_client_data(backend_link_client(t->link));
    backend_link_flush(t->link);
}

/* --- Content from the client. */

static void
refuse_data(struct transaction *t, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    smtp_reply_add_ref(&reply, t->ref);
    shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_MESSAGES_REFUSED);
    count_use(t, false);
    transaction_record_message(t, smtp_verdict_word(verdict), &reply);
    transaction_answer(t, &reply);
}

void
transaction_settle_data(struct transaction *t)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_START_MAIL);

    if (!body_is_settled(t->body))
        return;
    /* A message that was smuggled past the relay before us cannot wait for our 354, since that
     * relay knows nothing of it (P7). */
    if (session_is_early(t->session)) {
        refuse_data(t, SMTP_VERDICT_EARLY_DATA);
        return;
    }
    if (t->body->state == BODY_FAILED) {
        shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_SPILLS_REFUSED);
        refuse_data(t, SMTP_VERDICT_SPILL_FULL);
        return;
    }
    t->stage = STAGE_CONTENT;
    transaction_answer(t, &reply);
}

uint64_t
transaction_max_content_bytes(const struct transaction *t)
{
    uint64_t node = t->worker->config->max_message_size,
             customer = t->route.customer.max_message_size_bytes;

    return customer < node ? customer : node;
}

uint32_t
transaction_max_envelope_bytes(const struct transaction *t)
{
    uint64_t n = ENVELOPE_BYTES + (uint64_t)t->recipient_count * ENVELOPE_RECIPIENT_BYTES +
                 (uint64_t)scanners_count(t->worker->scanners) * MILTER_EDITS_BYTES;

    return n < SPOOL_ENVELOPE_MAX ? (uint32_t)n : SPOOL_ENVELOPE_MAX;
}

enum smtp_step
transaction_data(struct transaction *t, struct smtp_reply *reply)
{
    smtp_server_set_normalise(session_engine(t->session), t->route.customer.normalise_bare_lf);
    smtp_header_scan_init(&t->header, t->worker->config->hostname, t->recipients[0].domain);
    smtp_auth_results_init(&t->auth_results, t->worker->config->hostname);
    t->in_operation = true;
    body_begin(t->body, transaction_max_content_bytes(t), t->mail.has_size ? t->mail.size_bytes : 0,
               transaction_max_envelope_bytes(t));
    transaction_settle_data(t);
    return transaction_operation_end(t, reply);
}

/* What is stored and sent on: all that came, but for fields that claim to be ours (P7). */
static void
keep_piece(void *ctx, struct slice piece)
{
    struct transaction *t = ctx;

    smtp_header_scan_feed(&t->header, piece);
    transaction_origin_feed(t, piece);
    body_append(t->body, piece);
}

bool
transaction_content(struct transaction *t, struct slice piece)
{
    if (t->worker->crash_sender && strcmp(t->worker->crash_sender, t->mail.path.text) == 0)
        abort();
    t->content_bytes += piece.n;
    if (t->content_bytes > t->route.customer.max_message_size_bytes)
        t->too_big = true;
    if (t->too_big) {
        body_discard(t->body);
        return false;
    }
    smtp_auth_results_feed(&t->auth_results, piece, keep_piece, t);
    return t->body->state != BODY_FAILED;
}

/* Known by our own trace, never by an address; the backend's state stays as it is, since it does
 * what it is told with all else. */
static void
refuse_loop(struct transaction *t)
{
    log_line(LOG_LEVEL_ALARM, t->ref_text, "backend-loops",
             "ref=%s customer=%s domain=%s remedy=\"the customer's server must deliver this "
             "domain's mail itself, not send it to the domain's MX\"",
             t->ref_text, t->route.customer.name, t->recipients[0].domain);
    transaction_finish_verdict(t, SMTP_VERDICT_BACKEND_LOOP);
}

enum decision_side
transaction_side(const struct transaction *t)
{
    if (t->live_count == 0)
        return DECISION_ONLY_OURS;
    if (t->live_count == t->recipient_count)
        return DECISION_ONLY_LIVE;
    return t->is_prepared ? DECISION_MIXED : DECISION_MIXED_UNPREPARED;
}

/* RFC 6531 3.6: a header with UTF-8 goes to no server that has not offered to take it; nor is it
 * kept for one, if that is known. */
static bool
lacks_utf8(const struct transaction *t)
{
    if (!t->mail.smtputf8 || !t->header.saw_8bit)
        return false;
    if (t->link == NULL)
        return t->live_count == 0 && t->kept_for.is_known && !t->kept_for.smtputf8;
    return !smtp_client_capabilities(backend_link_client(t->link))->smtputf8;
}

/* Larger than what any of the backends takes that it would be kept for. */
static bool
is_too_big_to_keep(const struct transaction *t)
{
    return t->live_count == 0 && t->kept_for.is_known && t->kept_for.has_size &&
           t->body->size_bytes > t->kept_for.size_max_bytes;
}

enum smtp_step
transaction_end(struct transaction *t, bool fault, struct smtp_reply *reply)
{
    struct decision_content content;
    enum smtp_verdict verdict;

    if (fault) {
        smtp_reply_add_ref(reply, t->ref);
        shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_MESSAGES_REFUSED);
        count_use(t, false);
        transaction_record_message(t, reply->code == 552 ? "too-big" : "bare-line-end", reply);
        return SMTP_SERVER_DONE;
    }
    t->in_operation = true;
    t->content_ended = true;
    t->dot_at_ms = loop_now_ms(t->worker->loop);
    loop_timer_init(&t->timer, t->worker->loop, on_too_late, t);
    smtp_auth_results_end(&t->auth_results, keep_piece, t);
    body_end(t->body);
    content = (struct decision_content){
        .is_too_big = t->too_big || is_too_big_to_keep(t),
        .received_count = t->header.received_count,
        .received_max = t->worker->config->max_received,
        .own_received = t->header.own_received,
    };
    verdict = decision_of_content(&content);
    if (verdict == SMTP_VERDICT_BACKEND_LOOP)
        refuse_loop(t);
    else if (verdict != SMTP_VERDICT_OK)
        transaction_finish_verdict(t, verdict);
    else if (lacks_utf8(t))
        transaction_finish_verdict(t, SMTP_VERDICT_UTF8_NOT_SUPPORTED);
    else
        transaction_settle_content(t);
    return transaction_operation_end(t, reply);
}

bool
transaction_is_behind(const struct transaction *t)
{
    return t->stage == STAGE_CONTENT && body_is_behind(t->body);
}

size_t
transaction_room(const struct transaction *t)
{
    size_t room = body_room(t->body), held = t->auth_results.held_count;

    return room > held ? room - held : 1; /* it is behind: reading is paused */
}
