/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The engine's operations.  What concerns a message goes to the transaction; what concerns the
 * client or the node is answered here.
 */
#include "relayd/session_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "relayd/arrival.h"

static enum smtp_step
on_helo(void *ctx, struct slice name, bool is_ehlo, struct smtp_reply *reply)
{
    (void)ctx;
    (void)name;
    (void)is_ehlo;
    (void)reply;
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

static void
on_reset(void *ctx, enum smtp_reset why)
{
    struct session *s = ctx;

    if (why == SMTP_RESET_DONE) {
        s->messages++;
        session_progress(s);
    }
    session_drop_transaction(s);
}

const struct smtp_server_ops session_ops = {
    .helo = on_helo,
    .mail = on_mail,
    .rcpt = on_rcpt,
    .data = on_data,
    .content = on_content,
    .end = on_content_end,
    .reset = on_reset,
};

unsigned
session_offers(const struct session *s)
{
    (void)s;
    return 0;
}
