/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A recipient: the registry's word, what is known without the backend (transaction_memory.c), then
 * the backend's.
 */
#include "relayd/transaction_private.h"

#include "base/clock.h"
#include "relayd/allowance.h"

/* --- A recipient. */

static unsigned
next_cap(const struct transaction *t)
{
    return t->recipient_cap ? t->recipient_cap * 2 : 4;
}

/* Asked before the backend is: what that has accepted is not to be refused for want of room. */
static bool
has_room(const struct transaction *t)
{
    size_t wanted =
        strlen(t->rcpt.path.text) + strlen(t->rcpt.path.domain) + strlen(t->rcpt.dsn_orcpt) + 3;

    if (t->recipient_count == t->recipient_cap)
        wanted += next_cap(t) * sizeof *t->recipients;
    return arena_has_room(&t->arena, wanted, 4);
}

static void
add_recipient(struct transaction *t, enum spool_side side)
{
    struct spool_recipient *r;

    if (t->recipient_count == t->recipient_cap) {
        struct spool_recipient *grown = arena_alloc(&t->arena, next_cap(t) * sizeof *grown);

        CHECK(grown != NULL); /* has_room */
        if (t->recipient_count)
            memcpy(grown, t->recipients, t->recipient_count * sizeof *grown);
        t->recipients = grown;
        t->recipient_cap = next_cap(t);
    }
    r = &t->recipients[t->recipient_count++];
    r->address = arena_copy(&t->arena, slice_of(t->rcpt.path.text));
    r->domain = arena_copy(&t->arena, slice_of(t->rcpt.path.domain));
    r->side = side;
    r->dsn_notify = (uint8_t)t->rcpt.dsn_notify;
    r->dsn_orcpt = arena_copy(&t->arena, slice_of(t->rcpt.dsn_orcpt));
    CHECK(r->address != NULL && r->domain != NULL && r->dsn_orcpt != NULL);
    t->live_count += side == SPOOL_LIVE;
}

static void
refuse_as(struct transaction *t, const char *verdict, const struct smtp_reply *reply)
{
    transaction_record_refusal(t, verdict, reply);
    transaction_answer(t, reply);
}

void
transaction_refuse(struct transaction *t, const struct smtp_reply *reply)
{
    refuse_as(t, smtp_reply_word(reply), reply);
}

void
transaction_refuse_verdict(struct transaction *t, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    smtp_reply_add_ref(&reply, t->ref);
    refuse_as(t, smtp_verdict_word(verdict), &reply);
}

/* The first recipient counts the connection; another worker may have counted the last one between
 * the look and now. What the backend has taken is taken back then. */
static bool
is_within_hour(struct transaction *t, struct smtp_reply *reply)
{
    if (t->recipient_count > 0 || t->policy.at_hand.screen.is_filter ||
        allowance_take(session_allowance(t->session), t->worker->table, &t->route.customer,
                       session_peer(t->session), reply))
        return true;
    transaction_link_let_go(t);
    smtp_reply_add_ref(reply, t->ref);
    return false;
}

struct shared_kept
transaction_quota(const struct transaction *t)
{
    const struct registry_customer *customer = &t->route.customer;

    return (struct shared_kept){
        .messages = customer->max_spool_messages == REGISTRY_UNLIMITED
                        ? UINT64_MAX
                        : customer->max_spool_messages,
        .bytes = customer->max_spool_bytes,
    };
}

/* SMTP_VERDICT_OK: it may be kept here, as far as is known before the message. */
static enum smtp_verdict
judge_keeping(const struct transaction *t)
{
    struct shared_kept quota = transaction_quota(t);

    if (clock_monotonic_ms() < t->worker->spool_closed_until_ms)
        return SMTP_VERDICT_SPOOL_FULL;
    return shared_kept_has_room(t->worker->table, t->route.customer.id, t->mail.size_bytes, &quota)
               ? SMTP_VERDICT_OK
               : SMTP_VERDICT_QUOTA_FULL;
}

static void
accept_recipient(struct transaction *t, enum spool_side side)
{
    enum smtp_verdict verdict = side == SPOOL_OURS ? judge_keeping(t) : SMTP_VERDICT_OK;
    struct smtp_reply reply;

    if (verdict != SMTP_VERDICT_OK) {
        transaction_refuse_verdict(t, verdict);
        return;
    }
    if (!is_within_hour(t, &reply)) {
        transaction_refuse(t, &reply);
        return;
    }
    t->backend_reply[0] = '\0';
    add_recipient(t, side);
    transaction_policy_accepted(t);
    shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_RECIPIENTS_ACCEPTED);
    reply = smtp_verdict_reply(SMTP_VERDICT_RECIPIENT_OK);
    transaction_answer(t, &reply);
}

void
transaction_resolve(struct transaction *t, struct decision_rcpt_input input)
{
    struct decision_rcpt d;
    struct smtp_reply reply;

    transaction_note_reply(t, input.reply);
    input.when_down = t->route.domain.when_down;
    if (t->is_memory_silent && input.when_down == REGISTRY_WHEN_DOWN_REJECT)
        input.when_down = REGISTRY_WHEN_DOWN_DEFER; /* our own trouble refuses nobody for good */
    input.live_4xx = t->route.customer.keep_live_4xx;
    input.blames_us = input.class == SMTP_CLASS_REFUSED &&
                      recipient_policy_blames_us(t->worker, t->link, input.reply, t->ref_text);
    d = decision_at_rcpt(&input);
    t->pending = false;
    if ((d.learn_valid || d.learn_invalid) && !t->is_listed)
        recipient_policy_learn(t->worker, t->route.customer.id, t->rcpt_key, d.learn_valid,
                               &t->backend);
    if (d.action == DECISION_RCPT_REJECT ||
        (d.action == DECISION_RCPT_PASS && decision_speaks_of_mailbox(&input))) {
        allowance_count_unknown(session_allowance(t->session), t->route.customer.id);
        transaction_policy_unknown(t);
    }
    switch (d.action) {
    case DECISION_RCPT_LIVE:
        accept_recipient(t, SPOOL_LIVE);
        return;
    case DECISION_RCPT_OURS:
        t->has_unknown =
            t->has_unknown || (input.known != DECISION_KNOWN_VALID && input.class != SMTP_CLASS_OK);
        t->is_away = t->link == NULL;
        accept_recipient(t, SPOOL_OURS);
        return;
    case DECISION_RCPT_PASS:
        recipient_policy_pass(&t->backend, t->backend_name, SMTP_PHASE_RCPT, input.reply, t->ref,
                              &reply);
        refuse_as(t, "refused", &reply);
        return;
    case DECISION_RCPT_DEFER:
    case DECISION_RCPT_REJECT:
        transaction_refuse_verdict(t, d.verdict);
        return;
    }
}

static void
resolve_said(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
             const struct smtp_reply *reply, enum decision_known known)
{
    transaction_resolve(t, (struct decision_rcpt_input){
                               .backend = DECISION_BACKEND_ASKED,
                               .class = class,
                               .reply = reply,
                               .reply_is_to_mail = phase == SMTP_PHASE_MAIL,
                               .known = known,
                               /* An acceptance is always told: it takes back an earlier refusal,
                                * and the store knows whether the domain is picky. */
                               .is_picky = true,
                           });
}

static void
on_known_later(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->query = NULL;
    resolve_said(t, t->said_phase, SMTP_CLASS_LATER, &t->said, transaction_memory_known(t, answer));
}

/* Whose a deferral is matters only where known recipients are kept here. */
static void
resolve_reply(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
              const struct smtp_reply *reply)
{
    if (transaction_health_hears(t, phase, class, reply))
        return;
    if (class != SMTP_CLASS_LATER || !t->route.customer.keep_live_4xx) {
        resolve_said(t, phase, class, reply, DECISION_KNOWN_NOT);
        return;
    }
    t->said = *reply;
    t->said_phase = phase;
    transaction_memory_ask(t, on_known_later);
}

/* --- The backend is asked. */

void
transaction_take_rcpt_reply(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                            const struct smtp_reply *reply)
{
    bool is_stale = reply->code == 421 && transaction_link_is_stale(t);

    t->link_answered = true;
    if (!t->pending || t->query != NULL)
        return;
    if (class == SMTP_CLASS_AWAY) {
        t->away_reply = *reply;
        if (t->live_count > 0 && reply->code != 421) { /* for this recipient, and not for others */
            if (phase == SMTP_PHASE_MAIL)
                transaction_link_let_go(t);
            transaction_memory_away(t, false);
            return;
        }
        /* What it says of one recipient may be that recipient's doing. */
        if (!is_stale && (phase == SMTP_PHASE_MAIL || reply->code == 421))
            transaction_health_broke(t);
        transaction_link_drop(t);
        transaction_lost_at_rcpt(t, is_stale);
        return;
    }
    if (phase == SMTP_PHASE_MAIL && class != SMTP_CLASS_OK) {
        t->mail_refused = true;
        t->mail_class = class;
        t->mail_reply = *reply;
        transaction_link_let_go(t);
        resolve_reply(t, phase, class, reply);
    } else if (phase == SMTP_PHASE_RCPT)
        resolve_reply(t, phase, class, reply);
}

void
transaction_lost_at_rcpt(struct transaction *t, bool is_stale)
{
    if (is_stale && t->live_count > 0)
        t->was_retried = false;
    else if (is_stale)
        t->next_destination--;
    transaction_ask(t);
}

/* An address needs SMTPUTF8 and this backend lacks it, or the announced size is more than it takes:
 * that is its word on the recipient. */
static enum smtp_verdict
judge_capabilities(const struct transaction *t)
{
    const struct smtp_capabilities *caps = smtp_client_capabilities(backend_link_client(t->link));

    if (smtp_capabilities_lack_utf8(caps, &t->mail, &t->rcpt.path))
        return SMTP_VERDICT_UTF8_NOT_SUPPORTED;
    return smtp_capabilities_lack_size(caps, &t->mail) ? SMTP_VERDICT_TOO_BIG_RCPT
                                                       : SMTP_VERDICT_OK;
}

/* The sender's next command may run before this returns. */
static void
refuse_pending(struct transaction *t, enum smtp_verdict verdict)
{
    t->pending = false;
    transaction_refuse_verdict(t, verdict);
}

void
transaction_begin_rcpt(struct transaction *t)
{
    struct smtp_client *client = backend_link_client(t->link);
    enum smtp_verdict verdict = judge_capabilities(t);

    if (t->must_wait_ms > 0) { /* the primary is up */
        transaction_link_let_go(t);
        transaction_memory_refuse_first_contact(t);
        return;
    }
    if (verdict != SMTP_VERDICT_OK) {
        transaction_link_let_go(t);
        refuse_pending(t, verdict);
        return;
    }
    t->link_rcpts = 1;
    transaction_forward(t);
    smtp_client_mail(client, &t->mail);
    smtp_client_rcpt(client, &t->rcpt);
    backend_link_flush(t->link);
}

/* With live recipients the backend is chosen for good; it is asked on another connection, once. */
static void
ask_again(struct transaction *t)
{
    if (t->was_retried || !shared_health_may_ask(t->worker->table, &t->backend, clock_wall_ms())) {
        transaction_memory_away(t, !t->was_retried);
        return;
    }
    t->was_retried = true;
    transaction_link_take(t);
}

static void
ask_next(struct transaction *t)
{
    bool tried = t->next_destination > 0;

    switch (transaction_route_next(t)) {
    case DESTINATION_FOUND:
        transaction_link_take(t);
        return;
    case DESTINATION_WAIT:
        return;
    case DESTINATION_END:
        transaction_memory_away(t, !tried);
        return;
    }
}

void
transaction_ask(struct transaction *t)
{
    enum smtp_verdict verdict;

    if (t->is_away)
        transaction_memory_away(t, true);
    else if (t->mail_refused)
        resolve_reply(t, SMTP_PHASE_MAIL, t->mail_class, &t->mail_reply);
    else if (t->link && ++t->link_rcpts > TRANSACTION_RECIPIENTS_MAX)
        refuse_pending(t, SMTP_VERDICT_TOO_MANY_RECIPIENTS);
    else if (t->must_wait_ms > 0 && (t->link || t->live_count > 0))
        transaction_memory_refuse_first_contact(t);
    else if (t->link && (verdict = judge_capabilities(t)) != SMTP_VERDICT_OK)
        refuse_pending(t, verdict);
    else if (t->link) {
        smtp_client_rcpt(backend_link_client(t->link), &t->rcpt);
        backend_link_flush(t->link);
    } else if (t->live_count > 0)
        ask_again(t);
    else
        ask_next(t);
}

/* Domains with backends of their own are destinations of their own. */
static bool
is_same_destination(const struct registry_domain *a, const struct registry_domain *b)
{
    return a->customer_id == b->customer_id &&
           (a->has_backends ? a->id : 0) == (b->has_backends ? b->id : 0);
}

/* No recipient has been accepted yet, and this one is of another customer: begin anew with that
 * one's backends. */
static void
take_route(struct transaction *t, const struct recipient_route *route)
{
    if (!is_same_destination(&t->route.domain, &route->domain)) {
        transaction_link_let_go(t);
        t->mail_refused = false;
        t->away_reply = (struct smtp_reply){0};
    }
    t->is_away = false;
    t->route = *route;
}

/* Two workers have died at this message: none is to meet it again for an hour. */
static bool
is_suspect(struct transaction *t)
{
    struct shared_table *table = t->worker->table;
    int64_t now = clock_wall_ms();

    t->is_suspect = t->is_suspect || shared_suspect_is(table, t->fingerprint, now);
    if (t->is_suspect || t->recipient_count > 0)
        return t->is_suspect;
    t->fingerprint = shared_fingerprint(table, session_peer(t->session), t->mail.path.text,
                                        t->rcpt.path.text, t->mail.size_bytes);
    t->is_suspect = shared_suspect_is(table, t->fingerprint, now);
    return t->is_suspect;
}

static enum smtp_verdict
judge_limits(const struct transaction *t, const struct recipient_route *route)
{
    if (t->recipient_count == 0) /* the first one is never "too many" (DESIGN 4.4) */
        return SMTP_VERDICT_OK;
    if (!is_same_destination(&t->route.domain, &route->domain))
        return SMTP_VERDICT_OTHER_DESTINATION;
    return t->recipient_count >= t->route.customer.max_recipients_per_message ||
                   t->recipient_count >= TRANSACTION_RECIPIENTS_MAX || !has_room(t)
               ? SMTP_VERDICT_TOO_MANY_RECIPIENTS
               : SMTP_VERDICT_OK;
}

/* Whose it is, if anybody's. */
static enum smtp_verdict
find_route(struct transaction *t, struct recipient_route *route,
           struct registry_backend backends[REGISTRY_BACKENDS_MAX])
{
    enum smtp_verdict verdict = is_suspect(t) ? SMTP_VERDICT_SUSPECT : SMTP_VERDICT_OK;

    route->customer.id = 0;
    if (verdict == SMTP_VERDICT_OK)
        verdict = recipient_policy_route(t->worker, &t->mail, &t->rcpt, route, backends);
    t->rcpt_customer_id = route->customer.id;
    return verdict;
}

/* Refused clients use up nothing, so limits come behind policy (DESIGN section 8). */
static bool
is_within_limits(struct transaction *t, const struct recipient_route *route)
{
    enum smtp_verdict verdict = judge_limits(t, route);
    struct smtp_reply reply;

    if (verdict != SMTP_VERDICT_OK) {
        transaction_refuse_verdict(t, verdict);
        return false;
    }
    if (t->policy.at_hand.screen.is_filter || /* a customer's filters do not count */
        allowance_look(session_allowance(t->session), t->worker->table, &route->customer,
                       session_peer(t->session), &reply))
        return true;
    smtp_reply_add_ref(&reply, t->ref);
    transaction_refuse(t, &reply);
    return false;
}

static void
begin_asking(struct transaction *t, const struct recipient_route *route,
             const struct registry_backend *backends)
{
    if (t->recipient_count == 0) {
        take_route(t, route);
        transaction_route_begin(t, backends);
    }
    t->route.domain = route->domain;
    t->pending = true;
    t->was_retried = false;
    t->rcpt_at_ms = loop_now_ms(t->worker->loop);
    smtp_path_key(&t->rcpt.path, t->rcpt_key);
    transaction_memory_begin(t);
}

void
transaction_judge_rcpt(struct transaction *t)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct recipient_route route;
    struct smtp_reply refusal;
    enum smtp_verdict verdict = find_route(t, &route, backends);

    if (verdict != SMTP_VERDICT_OK) {
        transaction_refuse_verdict(t, verdict);
        return;
    }
    switch (transaction_policy_judge(t, &route, &refusal)) {
    case TRANSACTION_POLICY_WAITS:
        return;
    case TRANSACTION_POLICY_REFUSES:
        refuse_as(t, transaction_policy_word(t), &refusal);
        return;
    case TRANSACTION_POLICY_ACCEPTS:
        break;
    }
    if (is_within_limits(t, &route))
        begin_asking(t, &route, backends);
}

enum smtp_step
transaction_rcpt(struct transaction *t, const struct smtp_rcpt *rcpt, struct smtp_reply *reply)
{
    t->in_operation = true;
    t->rcpt = *rcpt;
    transaction_policy_begin(t);
    transaction_judge_rcpt(t);
    return transaction_operation_end(t, reply);
}
