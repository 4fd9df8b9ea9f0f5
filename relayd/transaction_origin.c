/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail that an upstream filter brings, with `--origin received`: SPF and the DNS lists are judged,
 * at the end of the content, by the client that the filter's own Received line names.  Where that
 * cannot be recovered nothing is judged, and the sender counts as not verified (P4).
 */
#include "relayd/transaction_private.h"

#include "base/clock.h"

void
transaction_origin_begin(struct transaction *t)
{
    struct transaction_origin *o = &t->origin;

    if (!t->policy.accepted.screen.origin_received || o->text != NULL)
        return;
    o->text = arena_alloc(&t->arena, sizeof *o->text);
    if (o->text == NULL)
        return; /* not judged, not verified */
    smtp_origin_init(o->text);
    o->state = TRANSACTION_ORIGIN_WANTED;
}

void
transaction_origin_feed(struct transaction *t, struct slice piece)
{
    if (t->origin.text)
        smtp_origin_feed(t->origin.text, piece);
}

void
transaction_origin_cancel(struct transaction *t)
{
    sender_facts_free(&t->origin.facts);
}

static void
refuse(struct transaction *t, const struct policy_judgement *judgement)
{
    struct smtp_reply reply = sender_verdict_reply(judgement, t->origin.facts);

    smtp_reply_add_ref(&reply, t->ref);
    t->origin.state = TRANSACTION_ORIGIN_REFUSED;
    transaction_finish(t, SHARED_COUNTER_MESSAGES_REFUSED,
                       smtp_verdict_word(sender_verdict_of(judgement, t->origin.facts)), false,
                       &reply);
}

/* False: it goes on later, or has been refused. */
static bool
judge(struct transaction *t)
{
    struct screen *screen = &t->policy.accepted.screen;
    struct policy_judgement judgement = screen_judge_origin(screen, t->origin.facts);

    if (judgement.verdict == POLICY_WAIT)
        return false;
    screen->judgement = judgement; /* in place of the filter's own, of which little was asked */
    if (judgement.verdict != POLICY_ACCEPT) {
        refuse(t, &judgement);
        return false;
    }
    t->origin.state = TRANSACTION_ORIGIN_DONE;
    t->policy.marks |= judgement.marks;
    t->policy.unsure |= judgement.unsure;
    t->policy.is_verified = sender_facts_authorised_domain(t->origin.facts)[0] != '\0';
    return true;
}

static void
on_change(void *ctx)
{
    struct transaction *t = ctx;

    if (t->stage == STAGE_CONTENT && t->origin.state == TRANSACTION_ORIGIN_WAITS && judge(t))
        transaction_settle_content(t);
}

bool
transaction_origin_is_settled(struct transaction *t)
{
    struct transaction_origin *o = &t->origin;
    struct inet_endpoint client;

    if (o->state != TRANSACTION_ORIGIN_WANTED)
        return o->state == TRANSACTION_ORIGIN_NOT_WANTED || o->state == TRANSACTION_ORIGIN_DONE;
    if (!smtp_origin_client(o->text, &client)) {
        o->state = TRANSACTION_ORIGIN_DONE;
        return true;
    }
    o->state = TRANSACTION_ORIGIN_WAITS;
    o->facts = sender_facts_new(t->worker, &client, NULL);
    sender_facts_set_sender(o->facts, &t->mail.path);
    sender_facts_listen(o->facts, on_change, t);
    return judge(t);
}
