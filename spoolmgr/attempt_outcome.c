/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the outcome of an attempt means.  The policy of DESIGN section 5 for mail that waits:
 *
 *   taken                    ends as delivered; the window of the endpoint grows
 *   refused                  ends as refused, with the reply; at a backend that is watched: later
 *   later, or trouble behind MAIL   this message alone pauses, longer each time
 *   no connection, no EHLO   nothing is the message's fault: it stays the oldest; the backend is
 *                            down
 *   lost behind the dot      possible duplicate: 1 h, 4 h, then held
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "base/siphash.h"
#include "spoolmgr/attempt_private.h"
#include "state/shared_reason.h"

#define CROWDED_MS 5000 /* after "too many connections" */
#define HOLD_REASON "takes it and does not answer"

struct tally {
    unsigned by_class[SMTP_CLASS_UNKNOWN + 1];
    const char *reply; /* the one that says most: of the worst class */
    const char *tls;   /* of its connection; "": in the clear */
};

/* --- The backend. */

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
        if (attempt_all_are_down(k, a->task->route))
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

/* --- The message. */

static void
end_delivered(struct keeper *k, struct attempt *a, int64_t now_ms)
{
    for (unsigned i = 0; i < a->result_count; i++) {
        if (a->results[i].class == SMTP_CLASS_OK)
            spool_store_ended(k->store, a->mail->message, a->results[i].recipient,
                              SPOOL_END_DELIVERED, now_ms, a->results[i].text);
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
        return attempt_is_down(k, a->endpoint) ? 0 : now_ms + CROWDED_MS;
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

/* The disk may think better of it; it is tried again as any message that was deferred. */
static void
warn_unreadable(const struct spool_message *m)
{
    char ref[REF_SIZE];

    log_line(LOG_LEVEL_ALARM, ref_text(m->ref, ref), "spool-body-unreadable",
             "effect=\"the message is tried again; nothing of it was delivered\"");
}

/* Records what is left open behind this attempt; returns when it is asked for again. */
static int64_t
record_open(struct keeper *k, struct attempt *a, const struct courier_done *done,
            const struct tally *tally, int64_t now_ms)
{
    struct spool_message *m = a->mail->message;
    int64_t next_at_ms = next_attempt(k, a, done, tally);
    bool unknown = tally->by_class[SMTP_CLASS_UNKNOWN] > 0;

    spool_store_attempt(k->store, m, now_ms, next_at_ms < 0 ? 0 : next_at_ms, unknown,
                        tally->reply);
    if (unknown)
        attempt_possible_duplicate(k, m, "the backend did not answer the end of the message");
    if (done->body == COURIER_BODY_DAMAGED)
        attempt_hold_damaged(k, m, "its stored body is damaged");
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
    int64_t next_at_ms = 0, now_ms = clock_wall_ms(); /* one moment: ended.c compares them */

    CRASH_POINT("keeper-heard-deliverer");
    if (!a->endpoint->is_own)
        keeper_health_hear(k, a);
    tally = tally_of(a, done);
    judge_endpoint(k, a, done, &tally);
    end_delivered(k, a, now_ms);
    loss = loss_of(k, a, done);
    if (m->open_count > loss.count - loss.expired) /* what is refused has no next attempt */
        next_at_ms = record_open(k, a, done, &tally, now_ms);
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
