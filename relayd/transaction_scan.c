/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The filters of the setting milters, one after the other, at the end of the content and before the
 * backend gets it; each sees what those before it have changed.  What is made of their answers is
 * the customer's policy (the check milter): as they say, for now instead of for good, or a mark.  A
 * filter that is away or fails is never a refusal for good (P5), and together they get half of
 * final-reply-timeout, so that a backend has its part.
 */
#include "relayd/transaction_scan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "milter/milter_report.h"
#include "base/event_log.h"

static const struct milter_client_ops client_ops;

static enum policy_action
action_of(const struct transaction *t)
{
    return policy_action_of(t->policy.accepted.screen.policy, POLICY_MILTER);
}

static const struct milter_entry *
entry_of(const struct transaction_scan *s, unsigned i)
{
    return scanners_entry(s->t->worker->scanners, i);
}

/* --- The end. */

static void
refuse(struct transaction_scan *s, const struct milter_verdict *verdict)
{
    struct transaction *t = s->t;
    struct smtp_reply reply = verdict->reply;

    smtp_reply_add_ref(&reply, t->ref);
    s->state = SCAN_REFUSED;
    transaction_finish(t, SHARED_COUNTER_MESSAGES_REFUSED, smtp_verdict_word(verdict->verdict),
                       false, &reply);
}

static enum milter_wish
wish_of(const struct transaction *t)
{
    enum policy_action action = action_of(t);

    return action == POLICY_MARK    ? MILTER_MARK_ONLY
           : action == POLICY_DEFER ? MILTER_FOR_NOW
                                    : MILTER_AS_IT_SAYS;
}

static void
hold(struct transaction_scan *s, const struct milter_talk *talk)
{
    if (s->held_by[0] == '\0')
        snprintf(s->held_by, sizeof s->held_by, "%s: %s", entry_of(s, s->at)->name,
                 talk->quarantine);
}

/* False: that was the last word. `talk` NULL: it was not asked. */
static bool
judge(struct transaction_scan *s, const struct milter_talk *talk)
{
    struct milter_verdict verdict = milter_verdict_of(entry_of(s, s->at), talk, wish_of(s->t));

    switch (verdict.effect) {
    case MILTER_REFUSED:
        refuse(s, &verdict);
        return false;
    case MILTER_MARKED:
        s->is_marked = true;
        break;
    case MILTER_UNSURE:
        s->is_unsure = true;
        break;
    case MILTER_HELD:
        hold(s, talk);
        break;
    case MILTER_PASSES:
        break;
    }
    return true;
}

static void
finish(struct transaction_scan *s)
{
    struct transaction *t = s->t;
    unsigned bit = policy_check_bit(POLICY_MILTER);

    if (s->is_unreadable) {
        log_line(LOG_LEVEL_ALARM, t->ref_text, "spill-unreadable", "ref=%s", t->ref_text);
        s->state = SCAN_BROKEN;
        transaction_finish_verdict(t, SMTP_VERDICT_LOCAL_PROBLEM);
        return;
    }
    s->state = SCAN_DONE;
    t->policy.marks |= s->is_marked ? bit : 0;
    t->policy.unsure |= s->is_unsure ? bit : 0;
    t->policy.is_spam = s->is_spam || s->is_marked;
    t->policy.is_verified = t->policy.is_verified || s->is_signed;
    transaction_settle_content(t);
}

/* --- What one has said. */

static void
note(struct transaction_scan *s, const struct milter_talk *talk)
{
    struct scan_result *r = &s->results[s->at];

    r->how = SCAN_ASKED;
    r->outcome = talk->outcome;
    r->is_held = talk->quarantine[0] != '\0';
    r->ms = loop_now_ms(s->t->worker->loop) - s->asked_at_ms;
    snprintf(r->why, sizeof r->why, "%s",
             talk->why             ? talk->why
             : talk->reply.code    ? talk->reply.text
             : talk->quarantine[0] ? talk->quarantine
                                   : "");
}

static void
take_changes(struct transaction_scan *s, const struct milter_talk *talk)
{
    struct transaction *t = s->t;

    s->is_spam = s->is_spam || milter_report_is_spam(&talk->edits);
    s->is_signed =
        s->is_signed ||
        milter_report_dkim_passes(&talk->edits, t->worker->config->hostname, t->mail.path.domain);
    milter_header_apply(&s->header, &talk->edits, talk->protocol & MILTER_LEADING_SPACE);
    s->is_keeping = talk->is_replacing;
}

static void
on_done(void *ctx, const struct milter_talk *talk, bool is_dead)
{
    struct transaction_scan *s = ctx;
    bool has_failed = talk->outcome == MILTER_OUTCOME_FAILED;

    s->client = NULL;
    s->state = SCAN_SETTLING;
    note(s, talk);
    if (s->is_unreadable)
        scanners_dropped(s->t->worker->scanners, s->at, &s->wait);
    else
        scanners_heard(s->t->worker->scanners, s->at, &s->wait, has_failed ? talk->why : NULL,
                       is_dead);
    if (talk->outcome == MILTER_OUTCOME_ACCEPTED)
        take_changes(s, talk);
    if (!s->is_keeping)
        transaction_scan_forget_body(s);
    if (!s->is_unreadable && !judge(s, talk))
        return;
    s->at++;
    transaction_scan_go_on(s);
}

/* --- What one is told. */

static enum milter_pull
pull(void *ctx, struct slice *piece)
{
    struct transaction_scan *s = ctx;

    switch (body_reader_next(&s->reader, piece)) {
    case BODY_READ_PIECE:
        return MILTER_PULL_PIECE;
    case BODY_READ_END:
        return MILTER_PULL_END;
    case BODY_READ_FAILED:
        s->is_unreadable = true;
        break;
    case BODY_READ_LATER:
        break;
    }
    return MILTER_PULL_LATER;
}

static const struct milter_client_ops client_ops = {
    .talk = {.pull = pull,
             .replace = transaction_scan_replace,
             .wants_more = transaction_scan_wants_more},
    .on_done = on_done,
};

static const char *
recipient(const void *ctx, unsigned i)
{
    const struct transaction *t = ctx;

    return t->recipients[i].address;
}

static void
make_question(struct transaction_scan *s)
{
    struct transaction *t = s->t;

    slice_to_text(smtp_server_helo_name(session_engine(t->session)), s->helo, sizeof s->helo);
    s->question = (struct milter_question){
        .hostname = t->worker->config->hostname,
        .ref = t->ref_text,
        .client = *session_peer(t->session),
        .client_name = transaction_policy_client_name(t),
        .helo = s->helo,
        .tls_version = session_tls_version(t->session),
        .tls_cipher = session_tls_cipher(t->session),
        .sender = t->mail.path.text,
        .recipient = recipient,
        .recipient_ctx = t,
        .recipient_count = t->recipient_count,
        .header = &s->header,
    };
}

/* --- One after the other. */

static bool
is_too_large(const struct transaction_scan *s)
{
    const struct milter_entry *e = entry_of(s, s->at);

    return e->max_bytes > 0 && s->t->body->size_bytes > e->max_bytes;
}

/* False: that was the last word. */
static bool
pass_over(struct transaction_scan *s, const char *why)
{
    struct scan_result *r = &s->results[s->at];

    r->how = SCAN_AWAY;
    snprintf(r->why, sizeof r->why, "%s", why);
    if (!judge(s, NULL))
        return false;
    s->at++;
    return true;
}

static void
start(struct transaction_scan *s, int64_t now_ms)
{
    transaction_scan_rewind(s);
    s->asked_at_ms = now_ms;
    s->state = SCAN_ASKING;
    s->client = milter_client_start(s->t->worker->loop, entry_of(s, s->at), &s->question,
                                    s->until_ms - now_ms, &client_ops, s);
}

/* False: that was the last word. */
static bool
ask(struct transaction_scan *s)
{
    struct scanners *scanners = s->t->worker->scanners;
    int64_t now_ms = loop_now_ms(s->t->worker->loop);

    if (is_too_large(s)) {
        s->results[s->at++].how = SCAN_TOO_LARGE;
        return true;
    }
    if (now_ms >= s->until_ms)
        return pass_over(s, "no time was left for it");
    switch (scanners_take(scanners, s->at, &s->wait)) {
    case SCANNERS_ASK:
        start(s, now_ms);
        break;
    case SCANNERS_WAIT:
        s->state = SCAN_WAITING;
        loop_timer_start(&s->timer, s->until_ms - now_ms);
        break;
    case SCANNERS_AWAY:
        return pass_over(s, scanners_trouble(scanners, s->at));
    }
    return true;
}

/* Its turn, or its time is up. */
static void
on_turn(void *ctx)
{
    struct transaction_scan *s = ctx;

    scanners_leave(&s->wait);
    loop_timer_cancel(&s->timer);
    s->state = SCAN_SETTLING;
    transaction_scan_go_on(s);
}

/* True: it is there, or cannot be. */
static bool
read_header(struct transaction_scan *s)
{
    struct slice piece;

    for (;;)
        switch (body_reader_next(&s->reader, &piece)) {
        case BODY_READ_PIECE:
            if (!milter_header_feed(&s->header, piece))
                break;
            s->body_at = s->header.field_bytes + s->header.separator_bytes;
            return true;
        case BODY_READ_LATER:
            return false;
        case BODY_READ_FAILED:
            s->is_unreadable = true;
            return true;
        case BODY_READ_END:
            milter_header_end(&s->header);
            s->body_at = s->header.field_bytes + s->header.separator_bytes;
            return true;
        }
}

static bool
is_settled(const struct transaction_scan *s)
{
    return !s->reader.is_reading && (s->now == NULL || body_is_settled(s->now));
}

/* A new body that found no room on its way to the disk. */
static bool
has_lost_body(const struct transaction_scan *s)
{
    return s->now != NULL && s->now->state == BODY_FAILED;
}

static void
go_on_asking(struct transaction_scan *s)
{
    while (s->state == SCAN_SETTLING && !s->is_unreadable &&
           s->at < scanners_count(s->t->worker->scanners))
        if (!ask(s))
            return;
    if (s->state == SCAN_SETTLING)
        s->state = SCAN_REWRITING;
}

void
transaction_scan_go_on(struct transaction_scan *s)
{
    if (s->state == SCAN_HEADER && read_header(s))
        s->state = SCAN_SETTLING;
    if (s->state == SCAN_ASKING)
        milter_client_resume(s->client);
    if (s->state == SCAN_ASKING && s->is_unreadable) {
        milter_client_cancel(&s->client);
        scanners_dropped(s->t->worker->scanners, s->at, &s->wait);
        s->state = SCAN_SETTLING;
    }
    if (s->state == SCAN_SETTLING &&
        ((s->is_keeping && !transaction_scan_keep_body(s)) || !is_settled(s)))
        return;
    if (s->state == SCAN_SETTLING && has_lost_body(s)) {
        s->state = SCAN_BROKEN;
        transaction_finish_verdict(s->t, SMTP_VERDICT_SPILL_FULL);
        return;
    }
    if (s->state == SCAN_SETTLING)
        go_on_asking(s);
    if (s->state == SCAN_REWRITING &&
        (s->is_unreadable || !transaction_scan_is_changed(s) || transaction_scan_rewrite(s)))
        finish(s);
}

/* --- Life. */

static void
on_ready(void *ctx)
{
    transaction_scan_go_on(ctx);
}

static void
begin(struct transaction *t)
{
    struct transaction_scan *s = mem_alloc(sizeof *s);

    t->scan = s;
    s->t = t;
    s->until_ms =
        loop_now_ms(t->worker->loop) + (int64_t)t->worker->config->final_reply_timeout_ms / 2;
    milter_header_init(&s->header);
    buf_init(&s->pending, 0);
    s->wait = (struct scanners_wait){.on_turn = on_turn, .ctx = s};
    loop_timer_init(&s->timer, t->worker->loop, on_turn, s);
    body_reader_init(&s->reader, on_ready, s);
    body_reader_begin(&s->reader, t->body, 0);
    make_question(s);
    transaction_scan_go_on(s);
}

bool
transaction_scan_is_settled(struct transaction *t)
{
    if (scanners_count(t->worker->scanners) == 0 || action_of(t) == POLICY_OFF)
        return true;
    if (t->scan)
        return t->scan->state == SCAN_DONE;
    begin(t);
    return false;
}

bool
transaction_scan_is_running(const struct transaction *t)
{
    return t->scan && t->scan->state < SCAN_DONE;
}

const char *
transaction_scan_hold(const struct transaction *t)
{
    return t->scan ? t->scan->held_by : "";
}

void
transaction_scan_header(const struct transaction *t, struct buf *header)
{
    if (t->scan)
        milter_header_write_top(&t->scan->header, header);
}

static void
free_scan(void *ctx)
{
    free(ctx);
}

void
transaction_scan_end(struct transaction *t)
{
    struct transaction_scan *s = t->scan;

    if (s == NULL)
        return;
    t->scan = NULL;
    scanners_leave(&s->wait);
    loop_timer_cancel(&s->timer);
    if (s->client) {
        milter_client_cancel(&s->client);
        scanners_dropped(t->worker->scanners, s->at, &s->wait);
    }
    if (t->body != &t->own_body) {
        transaction_scan_free_body(&t->body);
        t->body = &t->own_body;
    }
    body_fini(&t->own_body); /* what is being read of it will not come */
    transaction_scan_free_body(&s->now);
    transaction_scan_free_body(&s->coming);
    body_reader_fini(&s->reader);
    buf_fini(&s->pending);
    milter_header_fini(&s->header);
    loop_defer(t->worker->loop, free_scan, s);
}

/* --- History. */

static const char *
word_of(const struct scan_result *r)
{
    static const char *const words[] = {
        [SCAN_TOO_LARGE] = "too large", [SCAN_AWAY] = "away", [SCAN_ASKED] = ""};

    if (r->how != SCAN_ASKED)
        return words[r->how];
    return r->is_held && r->outcome == MILTER_OUTCOME_ACCEPTED ? "quarantine"
                                                               : milter_outcome_word(r->outcome);
}

void
transaction_scan_event(const struct transaction *t, struct buf *json, const char **gap)
{
    for (unsigned i = 0; t->scan && i < SCANNERS_MAX; i++) {
        const struct scan_result *r = &t->scan->results[i];

        if (r->how == SCAN_NOT_ASKED)
            continue;
        buf_printf(json, "%s{\"check\":\"milter\",\"name\":\"%s\",\"result\":\"%s\"", *gap,
                   entry_of(t->scan, i)->name, word_of(r));
        if (r->why[0])
            event_text(json, "input", slice_of(r->why));
        event_number(json, "ms", r->ms);
        buf_add_text(json, "}");
        *gap = ",";
    }
}

bool
transaction_scan_has_refused(const struct transaction *t)
{
    return t->scan && t->scan->state == SCAN_REFUSED;
}
