/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The dialogue said again: MAIL, each live recipient and DATA in one pipelined burst, when the
 * content is whole; those replies decide.  Recipients that the backend took before and does not
 * take now have heard a 250 already: they become ours if others go on, so that their end is that of
 * any kept message (DESIGN section 5: "the others go on; those end by P4").  If nobody goes on, the
 * sender is told, at the dot, and nothing is kept.
 */
#include "relayd/transaction_private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

void
transaction_replay_start(struct transaction *t)
{
    const struct inet_endpoint *endpoint = &transaction_destination(t)->endpoint;

    t->stage = STAGE_REACHING;
    t->must_replay = true;
    transaction_link_let_go(t);
    if (!shared_health_may_ask(t->worker->table, endpoint, clock_wall_ms())) {
        transaction_decide_dot(t, SMTP_PHASE_CONNECT, SMTP_CLASS_AWAY, &t->away_reply);
        return;
    }
    transaction_link_take(t);
}

static struct smtp_rcpt
rcpt_of(const struct spool_recipient *r)
{
    struct smtp_rcpt rcpt = {.dsn_notify = r->dsn_notify};

    /* It was parsed when it came. */
    CHECK(smtp_path_parse_mailbox(slice_of(r->address), &rcpt.path) == ERR_OK);
    snprintf(rcpt.dsn_orcpt, sizeof rcpt.dsn_orcpt, "%s", r->dsn_orcpt ? r->dsn_orcpt : "");
    return rcpt;
}

/* RFC 6531 3.6; the backend may be another one than at RCPT, or have changed. */
static bool
lacks_utf8(const struct transaction *t)
{
    const struct smtp_capabilities *caps = smtp_client_capabilities(backend_link_client(t->link));

    if (!t->mail.smtputf8 || caps->smtputf8)
        return false;
    if (t->header.saw_8bit)
        return true;
    for (unsigned i = 0; i < t->recipient_count; i++) {
        struct smtp_rcpt rcpt = rcpt_of(&t->recipients[i]);

        if (smtp_capabilities_lack_utf8(caps, &t->mail, &rcpt.path))
            return true;
    }
    return false;
}

void
transaction_replay_begin(struct transaction *t)
{
    struct smtp_client *client = backend_link_client(t->link);

    if (lacks_utf8(t)) {
        transaction_link_let_go(t);
        transaction_finish_verdict(t, SMTP_VERDICT_UTF8_NOT_SUPPORTED);
        return;
    }
    t->stage = STAGE_DELIVERING;
    t->replay = (struct transaction_replay){.had_ours = t->live_count < t->recipient_count};
    transaction_forward(t);
    smtp_client_mail(client, &t->mail);
    for (unsigned i = 0; i < t->recipient_count; i++) {
        struct smtp_rcpt rcpt;

        if (t->recipients[i].side != SPOOL_LIVE)
            continue;
        rcpt = rcpt_of(&t->recipients[i]);
        smtp_client_rcpt(client, &rcpt);
    }
    smtp_client_data(client);
    t->data_sent = true;
    backend_link_flush(t->link);
}

/* The live recipient whose answer is awaited.  Those that were answered before may be ours by now,
 * but none behind it. */
static struct spool_recipient *
next_recipient(struct transaction *t)
{
    while (t->replay.next < t->recipient_count && t->recipients[t->replay.next].side != SPOOL_LIVE)
        t->replay.next++;
    CHECK(t->replay.next < t->recipient_count);
    return &t->recipients[t->replay.next++];
}

static void
log_refused(struct transaction *t, const struct spool_recipient *r, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE], said[SMTP_REPLY_LINE_SIZE + 8], rcpt[SMTP_PATH_SIZE + 8];

    log_line(LOG_LEVEL_INFO, t->ref_text, "recipient-taken-back", "ref=%s rcpt=%s reply=%s",
             t->ref_text, log_quote(slice_of(r->address), rcpt, sizeof rcpt),
             log_quote(slice_of(smtp_reply_text(reply, text, sizeof text)), said, sizeof said));
}

static void
take_recipient(struct transaction *t, enum smtp_class class, const struct smtp_reply *reply)
{
    struct spool_recipient *r = next_recipient(t);

    if (class == SMTP_CLASS_OK) {
        t->replay.taken++;
        return;
    }
    log_refused(t, r, reply);
    if (t->replay.worst == SMTP_CLASS_OK || class > t->replay.worst) {
        t->replay.worst = class;
        t->replay.worst_reply = *reply;
    }
    r->side = SPOOL_OURS;
    t->live_count--;
}

/* Nobody was taken: what the sender hears is the backend's word on all, unless some are ours
 * anyway. */
void
transaction_replay_without_live(struct transaction *t)
{
    enum smtp_class class = t->replay.worst;

    transaction_link_let_go(t);
    if (t->replay.had_ours || class == SMTP_CLASS_AWAY) {
        transaction_decide_dot(t, SMTP_PHASE_RCPT, SMTP_CLASS_AWAY, &t->replay.worst_reply);
        return;
    }
    for (unsigned i = 0; i < t->recipient_count; i++)
        t->recipients[i].side = SPOOL_LIVE;
    t->live_count = t->recipient_count;
    transaction_decide_dot(t, SMTP_PHASE_RCPT, class, &t->replay.worst_reply);
}

void
transaction_take_replay_reply(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                              const struct smtp_reply *reply)
{
    bool is_closing = reply->code == 421; /* on_lost follows */

    if (is_closing)
        return;
    t->link_answered = true;
    if (phase == SMTP_PHASE_RCPT)
        take_recipient(t, class, reply);
    if (phase != SMTP_PHASE_DATA || class == SMTP_CLASS_OK)
        return;
    t->data_sent = false;
    if (t->live_count == 0)
        transaction_replay_without_live(t);
    else {
        if (class == SMTP_CLASS_AWAY) {
            transaction_health_broke(t);
            transaction_link_drop(t);
        }
        transaction_decide_dot(t, phase, class, reply);
    }
}
