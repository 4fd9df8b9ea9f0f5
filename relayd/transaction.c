/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Life, answers and history of a transaction; what it decides is in transaction_rcpt.c and
 * transaction_dot.c.
 */
#include "relayd/transaction_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/event_log.h"
#include "relayd/event_refusals.h"

/* --- Life. */

static void
on_body_change(void *ctx)
{
    struct transaction *t = ctx;

    if (t->stage == STAGE_OPEN)
        transaction_settle_data(t);
    else if (t->content_ended) {
        if (t->stage == STAGE_CONTENT)
            transaction_settle_content(t);
    } else if (t->session)
        session_resume(t->session);
}

struct transaction *
transaction_new(struct worker *worker, struct session *session, const struct smtp_mail *mail)
{
    struct transaction *t = mem_alloc(sizeof *t);

    t->worker = worker;
    t->session = session;
    t->client = *session_peer(session);
    t->mail = *mail;
    t->ref = worker_next_ref(worker);
    ref_text(t->ref, t->ref_text);
    t->started_at_ms = clock_wall_ms();
    t->fingerprint = shared_fingerprint(worker->table, session_peer(session), mail->path.text, NULL,
                                        mail->size_bytes);
    arena_init(&t->arena, TRANSACTION_ARENA_BYTES);
    buf_init(&t->prepend, 0);
    smtp_header_scan_init(&t->header, NULL, NULL);
    smtp_auth_results_init(&t->auth_results, "");
    t->body = &t->own_body;
    body_init(t->body, &worker->bodies, worker->writer, on_body_change, t);
    return t;
}

static void
transaction_free(void *ctx)
{
    struct transaction *t = ctx;

    buf_fini(&t->prepend);
    arena_clear(&t->arena);
    free(t);
}

void
transaction_leave_flight(struct transaction *t)
{
    if (t->is_in_flight)
        shared_inflight_leave(t->worker->table, t->worker->slot, t->in_flight);
    t->is_in_flight = false;
}

bool
transaction_enter_flight(struct transaction *t)
{
    if (!t->is_in_flight)
        t->is_in_flight = shared_inflight_enter(t->worker->table, t->worker->slot, t->ref,
                                                &t->in_flight) == ERR_OK;
    return t->is_in_flight;
}

/* Lets go of everything that could call back, and frees after the turn. */
void
transaction_close(struct transaction *t)
{
    if (t->stage == STAGE_ENDED)
        return;
    transaction_link_let_go(t);
    loop_timer_cancel(&t->timer);
    t->stage = STAGE_ENDED;
    backend_wait_cancel(&t->wait);
    destination_walk_free(&t->walk);
    state_query_cancel(&t->query);
    transaction_scan_end(t);
    body_fini(t->body);
    CHECK(t->late == NULL);
    loop_defer(t->worker->loop, transaction_free, t);
}

void
transaction_abandon(struct transaction **held)
{
    struct transaction *t = *held;

    *held = NULL;
    transaction_policy_cancel(t);
    t->session = NULL;
    if (t->stage == STAGE_COMMITTING || t->stage == STAGE_PREPARING ||
        (t->stage == STAGE_DELIVERING && t->dot_sent)) {
        t->worker->detached_count++;
        return;
    }
    if (t->stage == STAGE_DELIVERING && t->is_prepared)
        transaction_resolve_silently(t, SPOOL_RESOLUTION_CANCEL);
    if (t->stage != STAGE_ANSWERING)
        transaction_leave_flight(t);
    transaction_close(t);
}

unsigned
transaction_recipient_count(const struct transaction *t)
{
    return t->recipient_count;
}

struct ref
transaction_ref(const struct transaction *t)
{
    return t->ref;
}

const struct registry_customer *
transaction_customer(const struct transaction *t)
{
    return &t->route.customer;
}

uint64_t
transaction_fingerprint(const struct transaction *t)
{
    return t->fingerprint;
}

/* --- Answers. */

void
transaction_answer(struct transaction *t, const struct smtp_reply *reply)
{
    if (t->in_operation) {
        t->answer = *reply;
        t->answered = true;
    } else if (t->session)
        session_answer(t->session, reply);
}

enum smtp_step
transaction_operation_end(struct transaction *t, struct smtp_reply *reply)
{
    t->in_operation = false;
    if (!t->answered)
        return SMTP_SERVER_WAIT;
    t->answered = false;
    *reply = t->answer;
    return SMTP_SERVER_DONE;
}

/* --- History. */

static void
event_head(struct transaction *t, struct buf *json, const char *event)
{
    char address[INET_ENDPOINT_SIZE];

    event_begin(json, event, clock_wall_ms());
    event_text(json, "ref", slice_of(t->ref_text));
    event_text(json, "client", slice_of(inet_address_text(&t->client, address)));
    if (t->session) {
        event_text(json, "helo", smtp_server_helo_name(session_engine(t->session)));
        if (session_tls_version(t->session)[0])
            event_text(json, "tls", slice_of(session_tls_version(t->session)));
    }
    event_text(json, "from", slice_of(t->mail.path.text));
}

void
transaction_use(struct transaction *t, uint32_t customer_id, enum shared_use use, uint64_t amount)
{
    if (customer_id != 0)
        shared_use_add(t->worker->table, customer_id, use, amount, clock_wall_ms());
}

/* What the backend at hand said; the reply to the sender may be another. */
static void
add_backend(struct transaction *t, struct buf *json)
{
    char address[INET_ENDPOINT_SIZE];

    if (t->live_count == 0 && transaction_route_why(t)[0])
        event_text(json, "backend", slice_of(transaction_route_why(t)));
    else if (t->backend.family)
        event_text(json, "backend", slice_of(inet_endpoint_text(&t->backend, address)));
    if (t->backend_tls[0])
        event_text(json, "backend_tls", slice_of(t->backend_tls));
    if (t->backend_reply[0])
        event_text(json, "backend_reply", slice_of(t->backend_reply));
}

static void
add_customer(struct buf *json, const struct registry_customer *customer)
{
    event_text(json, "customer", slice_of(customer->name));
    event_number(json, "customer_id", customer->id);
}

static bool
is_of(const char *word, enum smtp_verdict verdict)
{
    return strcmp(word, smtp_verdict_word(verdict)) == 0;
}

static void
add_limit(struct buf *json, const char *key, uint64_t value, uint64_t limit)
{
    event_number(json, key, (int64_t)value);
    event_number(json, "limit", (int64_t)limit);
}

/* What has met a limit, and the limit: who explains the refusal needs both. */
static void
add_rcpt_limit(struct transaction *t, const struct registry_customer *customer, const char *verdict,
               struct buf *json)
{
    if (is_of(verdict, SMTP_VERDICT_TOO_BIG_RCPT) &&
        t->mail.size_bytes > customer->max_message_size_bytes)
        add_limit(json, "announced", t->mail.size_bytes, customer->max_message_size_bytes);
    else if (is_of(verdict, SMTP_VERDICT_TOO_MANY_RECIPIENTS) &&
             t->recipient_count >= customer->max_recipients_per_message)
        add_limit(json, "recipients", t->recipient_count + 1, customer->max_recipients_per_message);
    else if (is_of(verdict, SMTP_VERDICT_CONNECTIONS_PER_HOUR))
        event_number(json, "limit", customer->max_connections_per_hour);
}

/* Which of the two it waits for, see transaction_policy_judge. */
static void
add_wait(struct transaction *t, const char *verdict, struct buf *json)
{
    bool by_policy = screen_is_refused(&t->policy.at_hand.screen);

    if (is_of(verdict, SMTP_VERDICT_GREYLISTED) || is_of(verdict, SMTP_VERDICT_PRIMARY_IS_UP))
        event_number(json, "wait_ms", by_policy ? t->policy.wait_ms : t->must_wait_ms);
}

static void
add_rcpt_customer(struct transaction *t, const char *verdict, struct buf *json)
{
    struct registry_customer customer;

    if (t->worker->registry == NULL ||
        registry_find_customer(t->worker->registry, t->rcpt_customer_id, clock_wall_ms(),
                               &customer) < 0)
        return;
    add_customer(json, &customer);
    add_rcpt_limit(t, &customer, verdict, json);
}

static void
add_content_limit(struct transaction *t, const char *verdict, struct buf *json)
{
    uint64_t limit = t->route.customer.max_message_size_bytes;
    uint64_t size = t->session ? smtp_server_content_size(session_engine(t->session)) : 0;

    if (is_of(verdict, SMTP_VERDICT_LOOP))
        add_limit(json, "received", t->header.received_count, t->worker->config->max_received);
    else if (is_of(verdict, SMTP_VERDICT_TOO_BIG) && size > limit)
        event_number(json, "limit", (int64_t)limit);
    else if (is_of(verdict, SMTP_VERDICT_BARE_LINE_END) && t->session)
        event_text(json, "fault", slice_of(smtp_server_content_fault(session_engine(t->session))));
}

void
transaction_note_reply(struct transaction *t, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];

    t->backend_reply[0] = '\0';
    if (reply != NULL)
        snprintf(t->backend_reply, sizeof t->backend_reply, "%.199s",
                 smtp_reply_text(reply, text, sizeof text));
}

void
transaction_record_refusal(struct transaction *t, const char *verdict,
                           const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];
    struct buf json;

    shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_RECIPIENTS_REFUSED);
    transaction_use(t, t->rcpt_customer_id, SHARED_USE_REFUSALS, 1);
    if (t->rcpt_customer_id == 0 &&
        !event_refusals_may_list(t->worker->refusals, &t->client, verdict, clock_wall_ms()))
        return;
    buf_init(&json, 0);
    event_head(t, &json, "recipient-refused");
    event_text(&json, "rcpt", slice_of(t->rcpt.path.text));
    transaction_policy_event(t, false, &json);
    if (t->rcpt_customer_id != 0) {
        event_text(&json, "domain", slice_of(t->rcpt.path.domain));
        add_rcpt_customer(t, verdict, &json);
        add_wait(t, verdict, &json);
        add_backend(t, &json);
    }
    event_text(&json, "verdict", slice_of(verdict));
    event_text(&json, "reply", slice_of(smtp_reply_text(reply, text, sizeof text)));
    event_end(&json);
    event_log_add(t->worker->events, buf_slice(&json));
    buf_fini(&json);
    t->backend_reply[0] = '\0';
}

/* Recipients whose mail is kept; only of a message that was taken. */
static void
add_kept(struct transaction *t, struct buf *json, const struct smtp_reply *reply, bool all)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < t->recipient_count; i++)
        kept += all || t->recipients[i].side != SPOOL_LIVE;
    if (reply->code / 100 == 2)
        event_number(json, "kept", kept);
}

void
transaction_record_message(struct transaction *t, const char *verdict,
                           const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];
    struct buf json;

    buf_init(&json, 0);
    event_head(t, &json, "message");
    add_customer(&json, &t->route.customer);
    buf_add_text(&json, ",\"rcpt\":[");
    for (unsigned i = 0; i < t->recipient_count; i++) {
        buf_add_text(&json, i ? ",\"" : "\"");
        event_escape(&json, slice_of(t->recipients[i].address));
        buf_add_text(&json, "\"");
    }
    buf_add_text(&json, "]");
    transaction_policy_event(t, true, &json);
    if (t->recipient_count > 0)
        event_text(&json, "domain", slice_of(t->recipients[0].domain));
    if (t->header.message_id[0])
        event_text(&json, "message_id", slice_of(t->header.message_id));
    event_number(&json, "size", (int64_t)t->body->size_bytes);
    add_content_limit(t, verdict, &json);
    event_number(&json, "ms", clock_wall_ms() - t->started_at_ms);
    add_kept(t, &json, reply, strcmp(verdict, "spooled") == 0);
    add_backend(t, &json);
    event_text(&json, "verdict", slice_of(verdict));
    event_text(&json, "reply", slice_of(smtp_reply_text(reply, text, sizeof text)));
    event_end(&json);
    event_log_add(t->worker->events, buf_slice(&json));
    buf_fini(&json);
}

void
transaction_log_duplicate(struct transaction *t, const char *why)
{
    shared_count(t->worker->table, t->worker->slot, SHARED_COUNTER_POSSIBLE_DUPLICATES);
    log_line(LOG_LEVEL_WARN, t->ref_text, "possible-duplicate", "ref=%s why=%s", t->ref_text, why);
}
