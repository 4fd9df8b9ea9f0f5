/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The engine's operations.  What concerns a message goes to the transaction; what concerns the
 * client or the node is answered here.
 */
#include "relayd/session_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "relayd/arrival.h"
#include "relayd/sender_facts.h"
#include "smtp/smtp_command.h"

#define ETRN_CUSTOMERS_MAX 64 /* with a server at one address */

/* --- Sender policy: what any customer may want to know is looked up before it is asked for. */

#define BIT(check) (1u << POLICY_##check)
#define CHECKS_OF_CLIENT (BIT(PTR_NONE) | BIT(PTR_MISMATCH) | BIT(DIALIN) | BIT(HELO) | BIT(DNSBL))
#define CHECKS_OF_SENDER (BIT(SENDER) | POLICY_CHECKS_OF_SPF)

static unsigned
checks_needed(const struct session *s)
{
    return s->worker->registry ? registry_checks_needed(s->worker->registry) : 0;
}

static struct sender_facts *
facts_new(struct session *s, struct slice helo)
{
    struct sender_facts *facts = sender_facts_new(s->worker, &s->peer, s->conn);

    sender_facts_set_helo(facts, helo);
    return facts;
}

struct sender_facts *
session_facts(struct session *s)
{
    if (s->facts == NULL && s->conn != NULL)
        s->facts = facts_new(s, smtp_server_helo_name(s->engine));
    return s->facts;
}

void
session_ignore_facts(struct session *s)
{
    if (s->facts)
        sender_facts_listen(s->facts, NULL, NULL);
}

static void
look_for_sender(struct session *s, const struct smtp_mail *mail)
{
    unsigned needed = checks_needed(s) & CHECKS_OF_SENDER;

    if (needed == 0)
        return;
    sender_facts_set_sender(session_facts(s), &mail->path);
    (void)sender_facts_look(s->facts, needed);
}

static enum smtp_step
on_helo(void *ctx, struct slice name, bool is_ehlo, struct smtp_reply *reply)
{
    struct session *s = ctx;
    unsigned needed = checks_needed(s) & CHECKS_OF_CLIENT;

    (void)is_ehlo;
    (void)reply;
    if (s->facts)
        sender_facts_set_helo(s->facts, name);
    else if (needed)
        s->facts = facts_new(s, name);
    if (needed)
        (void)sender_facts_look(s->facts, needed);
    return SMTP_SERVER_DONE;
}

static enum smtp_step
on_mail(void *ctx, const struct smtp_mail *mail, struct smtp_reply *reply)
{
    struct session *s = ctx;

    if (s->worker->closing) {
        *reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);
        return SMTP_SERVER_DONE;
    }
    s->transaction = transaction_new(s->worker, s, mail);
    look_for_sender(s, mail);
    *reply = smtp_verdict_reply(SMTP_VERDICT_SENDER_OK);
    return SMTP_SERVER_DONE;
}

static enum smtp_step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct smtp_reply *reply)
{
    struct session *s = ctx;
    enum smtp_step step = transaction_rcpt(s->transaction, rcpt, reply);

    if (step == SMTP_SERVER_DONE && reply->code / 100 == 2)
        session_progress(s);
    return step;
}

static enum smtp_step
on_data(void *ctx, struct smtp_reply *reply)
{
    struct session *s = ctx;

    return transaction_data(s->transaction, reply);
}

static bool
on_content(void *ctx, struct slice piece)
{
    struct session *s = ctx;

    return transaction_content(s->transaction, piece);
}

static enum smtp_step
on_content_end(void *ctx, bool fault, struct smtp_reply *reply)
{
    struct session *s = ctx;

    return transaction_end(s->transaction, fault, reply);
}

/* The customer's limit of messages is said to the next command, when this one has its answer. */
static void
count_message(struct session *s)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_TOO_MANY_MESSAGES);

    s->messages++;
    if (!allowance_count_message(&s->allowance, transaction_customer(s->transaction)))
        return;
    smtp_reply_add_ref(&reply, transaction_ref(s->transaction)); /* the message that was the last */
    smtp_server_close_next(s->engine, &reply);
}

static void
on_reset(void *ctx, enum smtp_reset why)
{
    struct session *s = ctx;

    if (why == SMTP_RESET_DONE) {
        count_message(s);
        session_progress(s);
    }
    session_drop_transaction(s);
}

/* --- STARTTLS: the handshake begins when the reply has been written (session.c). */

static enum smtp_step
on_starttls(void *ctx, struct smtp_reply *reply)
{
    (void)ctx;
    *reply = smtp_verdict_reply(SMTP_VERDICT_TLS_READY);
    return SMTP_SERVER_DONE;
}

/* --- ETRN (RFC 1985), for the customers who have a server at the client's address. */

static unsigned
customers_at(const struct session *s, uint32_t ids[ETRN_CUSTOMERS_MAX])
{
    unsigned count = 0;

    if (s->worker->registry == NULL ||
        registry_find_backend_customers(s->worker->registry, &s->peer, ids, ETRN_CUSTOMERS_MAX,
                                        &count) < 0)
        return 0;
    return count;
}

/* 0: the domain is not of a customer whose server asks. */
static uint32_t
etrn_customer(const struct session *s, struct slice argument)
{
    uint32_t ids[ETRN_CUSTOMERS_MAX];
    unsigned count = customers_at(s, ids);
    struct registry_domain domain;
    char name[INET_DOMAIN_SIZE];
    const char *why;

    if (argument.n > 0 && argument.p[0] == '@') /* and what is below it: one queue here */
        argument = (struct slice){argument.p + 1, argument.n - 1};
    if (inet_domain_normalize(argument, name, &why) < 0 ||
        registry_find_domain(s->worker->registry, name, &domain) < 0 || domain.removed)
        return 0;
    for (unsigned i = 0; i < count; i++)
        if (ids[i] == domain.customer_id)
            return domain.customer_id;
    return 0;
}

static enum smtp_verdict
start_drain(const struct session *s, struct slice argument)
{
    uint32_t customer_id = s->worker->registry ? etrn_customer(s, argument) : 0;

    if (customer_id == 0)
        return SMTP_VERDICT_ETRN_NOT_ALLOWED;
    return shared_drain_request(s->worker->table, customer_id, clock_wall_ms()) ==
                   SHARED_DRAIN_STARTED
               ? SMTP_VERDICT_ETRN_STARTED
               : SMTP_VERDICT_ETRN_TOO_SOON;
}

static enum smtp_step
on_etrn(void *ctx, struct slice argument, struct smtp_reply *reply)
{
    struct session *s = ctx;
    enum smtp_verdict verdict = start_drain(s, argument);
    char address[INET_ENDPOINT_SIZE], quoted[SMTP_HELO_SIZE * 4];

    log_line(LOG_LEVEL_INFO, NULL, "etrn", "client=%s argument=%s answer=%s",
             inet_address_text(&s->peer, address), log_quote(argument, quoted, sizeof quoted),
             smtp_verdict_word(verdict));
    *reply = smtp_verdict_reply(verdict);
    return SMTP_SERVER_DONE;
}

/* --- XCLIENT, from the networks of xclient-from. */

/* Counts the client in under its other address. */
static enum smtp_verdict
become(struct session *s, const struct inet_endpoint *client)
{
    enum smtp_verdict verdict;

    arrival_leave(s->worker, &s->peer);
    allowance_fini(&s->allowance); /* another client has used nothing yet */
    sender_facts_free(&s->facts);
    s->peer = *client;
    verdict = arrival_enter(s->worker, &s->peer);
    s->is_entered = verdict == SMTP_VERDICT_OK;
    return verdict;
}

static enum smtp_step
on_xclient(void *ctx, const struct smtp_xclient *x, struct smtp_reply *reply)
{
    struct session *s = ctx;
    struct inet_endpoint client = s->peer;
    enum smtp_verdict verdict;

    if ((x->given & SMTP_XCLIENT_ADDR) && x->client.family != 0) {
        client = x->client;
        client.port = s->peer.port;
    }
    if ((x->given & SMTP_XCLIENT_PORT) && x->client.port != 0)
        client.port = x->client.port;
    verdict = become(s, &client);
    if (verdict != SMTP_VERDICT_OK) {
        *reply = smtp_verdict_reply(verdict);
        return SMTP_SERVER_DONE;
    }
    s->notes |= SESSION_NOTE_XCLIENT;
    smtp_server_set_offers(s->engine, session_offers(s));
    *reply = smtp_reply_make(220, NULL, "");
    return SMTP_SERVER_DONE;
}

const struct smtp_server_ops session_ops = {
    .helo = on_helo,
    .mail = on_mail,
    .rcpt = on_rcpt,
    .data = on_data,
    .content = on_content,
    .end = on_content_end,
    .reset = on_reset,
    .starttls = on_starttls,
    .etrn = on_etrn,
    .xclient = on_xclient,
};

unsigned
session_offers(const struct session *s)
{
    uint32_t ids[ETRN_CUSTOMERS_MAX];
    unsigned offers = 0;

    if (s->worker->tls != NULL)
        offers |= SMTP_OFFER_STARTTLS;
    if (customers_at(s, ids) > 0)
        offers |= SMTP_OFFER_ETRN;
    if (arrival_is_in(&s->worker->config->xclient_from, &s->connected))
        offers |= SMTP_OFFER_XCLIENT;
    return offers;
}
