/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands of the server engine, a table: where one is permitted, what its arguments are, what
 * runs it, and what its acceptance changes.  Functions come in threes at most: run_X asks the
 * owner's operation, write_X writes an answer of more than one line, settle_X changes the state
 * after the answer was written.
 *
 * Not here: anything wrong with a command, which the dispatcher has answered before
 * (smtp_server.c).
 */
#include "smtp/smtp_server_private.h"

/* --- The commands.  What *reply is preset to: see smtp_server.h. */

static enum smtp_step
run_helo(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_reply_make(250, NULL, "");
    return server->ops->helo(server->ctx, slice_of(server->command->helo),
                             server->command->verb == SMTP_VERB_EHLO, reply);
}

/* LIMITS (RFC 9422): only what is held to. */
static void
write_limits(struct buf *out, const struct smtp_server_settings *settings)
{
    if (settings->recipients_announced == 0 && settings->messages_announced == 0)
        return;
    buf_add_text(out, "250-LIMITS");
    if (settings->recipients_announced > 0)
        buf_printf(out, " RCPTMAX=%u", settings->recipients_announced);
    if (settings->messages_announced > 0)
        buf_printf(out, " MAILMAX=%u", settings->messages_announced);
    buf_add_text(out, " RCPTDOMAINMAX=1\r\n");
}

static void
write_offers(struct smtp_server *server)
{
    if (smtp_server_is_offered(server, SMTP_OFFER_STARTTLS) && !server->is_tls)
        buf_add_text(server->out, "250-STARTTLS\r\n");
    if (smtp_server_is_offered(server, SMTP_OFFER_ETRN))
        buf_add_text(server->out, "250-ETRN\r\n");
    if (smtp_server_is_offered(server, SMTP_OFFER_XCLIENT))
        buf_add_text(server->out, "250-XCLIENT " SMTP_XCLIENT_ATTRIBUTES "\r\n");
}

static void
write_helo(struct smtp_server *server, const struct smtp_reply *reply)
{
    const struct smtp_server_settings *settings = server->settings;
    const char *gap = reply->text[0] ? " " : "";

    if (reply->code / 100 != 2) {
        smtp_server_say(server, reply);
        return;
    }
    if (server->command->verb == SMTP_VERB_HELO) {
        buf_printf(server->out, "250 %s%s%s\r\n", settings->hostname, gap, reply->text);
        return;
    }
    buf_printf(server->out,
               "250-%s%s%s\r\n250-SIZE %llu\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
               "250-SMTPUTF8\r\n250-DSN\r\n",
               settings->hostname, gap, reply->text, (unsigned long long)settings->max_size_bytes);
    write_limits(server->out, settings);
    write_offers(server);
    buf_add_text(server->out, "250 ENHANCEDSTATUSCODES\r\n");
}

static void
settle_helo(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return; /* the state is as if it had not been said (RFC 5321 4.1.4) */
    smtp_server_end_transaction(server, SMTP_RESET_RSET);
    smtp_server_set_state(server, STATE_READY);
    memcpy(server->helo_name, server->command->helo, sizeof server->helo_name);
    server->is_esmtp = server->command->verb == SMTP_VERB_EHLO;
}

static enum smtp_step
run_mail(struct smtp_server *server, struct smtp_reply *reply)
{
    const struct smtp_mail *mail = &server->command->mail;
    uint64_t max = server->settings->max_size_bytes;

    if (mail->has_size && max > 0 && mail->size_bytes > max) { /* RFC 1870 6.1 */
        *reply = smtp_verdict_reply(SMTP_VERDICT_TOO_BIG);
        return SMTP_SERVER_DONE;
    }
    *reply = smtp_verdict_reply(SMTP_VERDICT_SENDER_OK);
    return server->ops->mail(server->ctx, mail, reply);
}

static void
settle_mail(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return;
    smtp_server_set_state(server, STATE_MAIL);
    server->smtputf8 = server->command->mail.smtputf8;
}

static enum smtp_step
run_rcpt(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_LOCAL_PROBLEM);
    return server->ops->rcpt(server->ctx, &server->command->rcpt, reply);
}

static void
settle_rcpt(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return;
    smtp_server_set_state(server, STATE_RCPT);
    server->idle_commands = 0;
}

static enum smtp_step
run_data(struct smtp_server *server, struct smtp_reply *reply)
{
    server->normalise = false;
    *reply = smtp_verdict_reply(SMTP_VERDICT_START_MAIL);
    return server->ops->data(server->ctx, reply);
}

static void
settle_data(struct smtp_server *server, bool accepted)
{
    if (!accepted)
        return; /* the transaction stays, RSET ends it (RFC 5321 4.1.4) */
    smtp_server_set_state(server, STATE_CONTENT);
    smtp_data_init(&server->data, server->normalise);
    server->content_wanted = true;
}

/* --- STARTTLS, ETRN, XCLIENT. */

static enum smtp_step
run_starttls(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_TLS_READY);
    return server->ops->starttls(server->ctx, reply);
}

static void
settle_starttls(struct smtp_server *server, bool accepted)
{
    if (accepted)
        smtp_server_set_state(server, STATE_TLS);
}

static enum smtp_step
run_etrn(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_LOCAL_PROBLEM);
    return server->ops->etrn(server->ctx, slice_of(server->command->etrn), reply);
}

static enum smtp_step
run_xclient(struct smtp_server *server, struct smtp_reply *reply)
{
    *reply = smtp_verdict_reply(SMTP_VERDICT_XCLIENT_DENIED);
    return server->ops->xclient(server->ctx, &server->command->xclient, reply);
}

static void
write_xclient(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (reply->code == 220)
        smtp_server_write_greeting(server);
    else
        smtp_server_say(server, reply);
}

/* With a HELO name the client may go on with MAIL, as Postfix has it. */
static void
settle_xclient(struct smtp_server *server, bool accepted)
{
    const struct smtp_xclient *x = &server->command->xclient;

    if (!accepted)
        return;
    smtp_server_begin_anew(server);
    if (x->helo[0] == '\0')
        return;
    smtp_server_set_state(server, STATE_READY);
    memcpy(server->helo_name, x->helo, sizeof server->helo_name);
    server->is_esmtp = !(x->given & SMTP_XCLIENT_PROTO) || x->is_esmtp;
}

static void
settle_rset(struct smtp_server *server, bool accepted)
{
    (void)accepted;
    smtp_server_end_transaction(server, SMTP_RESET_RSET);
}

static void
settle_quit(struct smtp_server *server, bool accepted)
{
    (void)accepted;
    smtp_server_end_session(server);
}

const struct smtp_server_row smtp_server_rows[SMTP_VERB_COUNT] = {
    [SMTP_VERB_EHLO] = {.states = IN_SESSION,
                        .parse = smtp_parse_helo,
                        .run = run_helo,
                        .write = write_helo,
                        .settle = settle_helo,
                        .early = SMTP_NOTE_EARLY_EHLO},
    [SMTP_VERB_HELO] = {.states = IN_SESSION,
                        .parse = smtp_parse_helo,
                        .run = run_helo,
                        .write = write_helo,
                        .settle = settle_helo,
                        .early = SMTP_NOTE_EARLY_EHLO},
    [SMTP_VERB_MAIL] = {.states = BIT(STATE_READY),
                        .parse = smtp_parse_mail,
                        .run = run_mail,
                        .settle = settle_mail},
    [SMTP_VERB_RCPT] = {.states = BIT(STATE_MAIL) | BIT(STATE_RCPT),
                        .parse = smtp_parse_rcpt,
                        .run = run_rcpt,
                        .settle = settle_rcpt,
                        .may_follow_refusal = true},
    [SMTP_VERB_DATA] = {.states = BIT(STATE_RCPT),
                        .parse = smtp_parse_nothing,
                        .run = run_data,
                        .settle = settle_data,
                        .accept = 354,
                        .may_follow_refusal = true,
                        .early = SMTP_NOTE_EARLY_DATA},
    [SMTP_VERB_RSET] = {.states = IN_SESSION, .parse = smtp_parse_nothing, .settle = settle_rset},
    [SMTP_VERB_NOOP] = {.states = IN_SESSION, .parse = smtp_parse_anything},
    [SMTP_VERB_VRFY] = {.states = IN_SESSION,
                        .parse = smtp_parse_something,
                        .verdict = SMTP_VERDICT_VRFY},
    [SMTP_VERB_HELP] = {.states = IN_SESSION,
                        .parse = smtp_parse_anything,
                        .verdict = SMTP_VERDICT_HELP},
    [SMTP_VERB_QUIT] = {.states = IN_SESSION,
                        .parse = smtp_parse_nothing,
                        .verdict = SMTP_VERDICT_BYE,
                        .settle = settle_quit},
    [SMTP_VERB_STARTTLS] = {.states = OUTSIDE,
                            .parse = smtp_parse_nothing,
                            .run = run_starttls,
                            .settle = settle_starttls,
                            .accept = 220,
                            .offer = SMTP_OFFER_STARTTLS,
                            .early = SMTP_NOTE_EARLY_STARTTLS},
    [SMTP_VERB_ETRN] = {.states = BIT(STATE_READY),
                        .parse = smtp_parse_etrn,
                        .run = run_etrn,
                        .offer = SMTP_OFFER_ETRN},
    [SMTP_VERB_XCLIENT] = {.states = OUTSIDE,
                           .parse = smtp_parse_xclient,
                           .run = run_xclient,
                           .write = write_xclient,
                           .settle = settle_xclient,
                           .accept = 220,
                           .offer = SMTP_OFFER_XCLIENT},
};
