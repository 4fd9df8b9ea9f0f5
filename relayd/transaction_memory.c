/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is known of the recipient at hand without its backend: by the customer's registered list,
 * and by the node's memory.
 *
 * Before the backend is asked: a recipient that is not on a complete list is refused at once; who
 * has named five unknown recipients is answered from memory, since some servers delay each refusal;
 * and in fallback mode a first contact waits while the primary is up.  Whether it is up is found
 * out as ever, by making a connection to it: nobody is put off for a server that is down.
 *
 * When the backend cannot answer: is the recipient known, and can its backends take this message at
 * all?  What they offered holds while they are down.
 */
#include "relayd/transaction_private.h"

#include "base/clock.h"
#include "relayd/allowance.h"

/* Since then all backends of the recipient are down, and ages stand still; 0: they are not.  Those
 * that an operator holds say nothing. */
static int64_t
stopped_at_ms(const struct transaction *t)
{
    struct shared_health health;
    int64_t at_ms = 0;

    for (unsigned i = 0; i < destination_walk_count(t->walk); i++) {
        const struct destination *d = destination_walk_item(t->walk, i);

        if (d->held)
            continue;
        if (shared_health_get(t->worker->table, &d->endpoint, &health) != ERR_OK ||
            !shared_health_stops(health.state))
            return 0;
        if (health.since_ms > at_ms)
            at_ms = health.since_ms;
    }
    return at_ms;
}

static void
ask_recipient(struct transaction *t, state_on_answer on_answer)
{
    t->query = state_recipient_ask(t->worker->state, t->route.customer.id, t->rcpt_key,
                                   stopped_at_ms(t), on_answer, t);
}

enum decision_known
transaction_memory_known(const struct transaction *t, const struct state_answer *answer)
{
    return t->is_listed ? DECISION_KNOWN_VALID : decision_known_of(answer->recipient);
}

void
transaction_memory_ask(struct transaction *t, state_on_answer on_answer)
{
    ask_recipient(t, on_answer);
}

/* --- Before the backend is asked. */

static void
refuse(struct transaction *t, enum smtp_verdict verdict)
{
    t->pending = false;
    transaction_refuse_verdict(t, verdict);
}

static void
refuse_unknown(struct transaction *t, enum smtp_verdict verdict)
{
    allowance_count_unknown(session_allowance(t->session), t->route.customer.id);
    transaction_policy_unknown(t);
    refuse(t, verdict);
}

static void
on_greylist(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->query = NULL;
    t->must_wait_ms = answer->greylist.wait_ms;
    transaction_ask(t);
}

static void
ask_greylist(struct transaction *t)
{
    const struct sender_facts *facts = session_facts(t->session);
    struct state_greylist_key key = {.customer_id = t->route.customer.id,
                                     .client = *session_peer(t->session),
                                     .sender = t->mail.path.text,
                                     .recipient = t->rcpt_key,
                                     .authorised_domain =
                                         screen_pool(&t->policy.at_hand.screen, facts)};
    int64_t delay_ms = screen_fallback_delay_ms(t->worker, &t->route.domain);

    if (delay_ms > 0 && !screen_lifts_greylist(&t->policy.at_hand.screen, facts))
        t->query = state_greylist_ask(t->worker->state, &key, delay_ms, on_greylist, t);
    else
        transaction_ask(t);
}

/* 421 ends the connection, which would cost the accepted ones their message. */
static enum smtp_verdict
crowded_verdict(const struct transaction *t)
{
    return t->recipient_count > 0 ? SMTP_VERDICT_TOO_MANY_UNKNOWN
                                  : SMTP_VERDICT_TOO_MANY_UNKNOWN_CLOSE;
}

static void
on_known_of_many(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->query = NULL;
    switch (transaction_memory_known(t, answer)) {
    case DECISION_KNOWN_VALID:
    case DECISION_KNOWN_ACCEPT_ALL:
        ask_greylist(t);
        return;
    case DECISION_KNOWN_INVALID:
        refuse_unknown(t, SMTP_VERDICT_USER_UNKNOWN);
        return;
    case DECISION_KNOWN_NOT:
    case DECISION_KNOWN_INVALID_STALE:
    case DECISION_KNOWN_COUNT:
        break;
    }
    refuse(t, crowded_verdict(t));
}

void
transaction_memory_begin(struct transaction *t)
{
    enum recipient_listed listed =
        recipient_policy_listed(t->worker, &t->route.domain, &t->rcpt.path);

    t->is_listed = listed == RECIPIENT_LISTED;
    t->must_wait_ms = 0;
    t->is_memory_silent = false;
    if (listed == RECIPIENT_LIST_UNREADABLE)
        refuse(t, SMTP_VERDICT_NO_REGISTRY);
    else if (listed == RECIPIENT_NOT_ON_COMPLETE_LIST)
        refuse_unknown(t, SMTP_VERDICT_NOT_LISTED);
    else if (!t->is_listed &&
             allowance_unknown_is_used_up(session_allowance(t->session), t->route.customer.id))
        ask_recipient(t, on_known_of_many);
    else
        ask_greylist(t);
}

void
transaction_memory_refuse_first_contact(struct transaction *t)
{
    struct smtp_reply reply = sender_verdict_first_contact(
        t->route.domain.primary_up == REGISTRY_PRIMARY_UP_DEFER ? SMTP_VERDICT_PRIMARY_IS_UP
                                                                : SMTP_VERDICT_GREYLISTED,
        t->must_wait_ms);

    t->pending = false;
    smtp_reply_add_ref(&reply, t->ref);
    transaction_refuse(t, &reply);
}

/* --- The backend is away. */

static void
resolve(struct transaction *t, enum decision_known known)
{
    if (known == DECISION_KNOWN_VALID)
        transaction_health_probe(t);
    transaction_resolve(
        t, (struct decision_rcpt_input){
               .backend = t->known_down ? DECISION_BACKEND_DOWN : DECISION_BACKEND_ASKED,
               .class = SMTP_CLASS_AWAY,
               .reply = t->away_reply.code ? &t->away_reply : NULL,
               .known = known,
           });
}

/* Those of all backends together: what one of them takes can be kept for it. */
static void
add_capabilities(struct state_capabilities *all, const struct state_capabilities *one)
{
    all->is_known = one->is_known;
    all->smtputf8 = all->smtputf8 || one->smtputf8;
    all->eightbitmime = all->eightbitmime || one->eightbitmime;
    if (!one->has_size || one->size_max_bytes == 0)
        all->has_size = false;
    else if (one->size_max_bytes > all->size_max_bytes)
        all->size_max_bytes = one->size_max_bytes;
}

static bool
needs_utf8(const struct transaction *t)
{
    return t->mail.smtputf8 && (t->mail.path.needs_smtputf8 || t->rcpt.path.needs_smtputf8);
}

static void
judge_capabilities(struct transaction *t)
{
    const struct state_capabilities *c = &t->kept_for;

    if (c->is_known && needs_utf8(t) && !c->smtputf8)
        refuse(t, SMTP_VERDICT_UTF8_NOT_SUPPORTED);
    else if (c->is_known && c->has_size && t->mail.has_size &&
             t->mail.size_bytes > c->size_max_bytes)
        refuse(t, SMTP_VERDICT_TOO_BIG_RCPT);
    else
        resolve(t, t->known);
}

static void on_capabilities(void *ctx, const struct state_answer *answer);

/* One after the other, as long as all are known: what may be more is not less. */
static void
ask_next_capabilities(struct transaction *t)
{
    const struct destination *d;

    if (!t->kept_for.is_known || t->kept_for_asked == destination_walk_count(t->walk)) {
        judge_capabilities(t);
        return;
    }
    d = destination_walk_item(t->walk, t->kept_for_asked);
    if (d->endpoint.family == 0) { /* by name, and held */
        t->kept_for.is_known = false;
        judge_capabilities(t);
    } else
        t->query = state_capabilities_ask(t->worker->state, &d->endpoint, stopped_at_ms(t),
                                          on_capabilities, t);
}

static void
on_capabilities(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->query = NULL;
    t->kept_for_asked++;
    add_capabilities(&t->kept_for, &answer->capabilities);
    ask_next_capabilities(t);
}

/* There is no destination that is not among those found; a name without an address may have one
 * when the message goes out. */
static bool
is_walk_whole(struct transaction *t)
{
    return destination_walk_count(t->walk) > 0 && destination_walk_why(t->walk)[0] == '\0' &&
           destination_walk_count(t->walk) >= t->route.backend_count;
}

static void
on_known_away(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->query = NULL;
    t->known = transaction_memory_known(t, answer);
    t->is_memory_silent = !answer->is_told;
    t->kept_for_asked = 0;
    t->kept_for = (struct state_capabilities){.is_known = is_walk_whole(t), .has_size = true};
    ask_next_capabilities(t);
}

void
transaction_memory_away(struct transaction *t, bool known_down)
{
    t->known_down = known_down;
    ask_recipient(t, on_known_away);
}
