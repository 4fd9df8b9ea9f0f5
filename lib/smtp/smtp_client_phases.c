/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The phases of the client engine: one table of what each sends, how long its reply may take, and
 * what that leads to.  A reply's function gives its event last, when the state is changed.
 */
#include "base/base64.h"
#include "smtp/smtp_client_private.h"

/* --- The way to on_ready. */
static void
become_ready(struct smtp_client *client)
{
    smtp_client_set_state(client, STATE_IDLE);
    client->ops->on_ready(client->ctx, &client->caps);
}

/* Whoever listens must not learn the password. */
static const char *
why_not_authenticate(const struct smtp_client *client)
{
    if (!client->is_secure)
        return "credentials are sent inside TLS only";
    if (!client->caps.auth_plain && !client->caps.auth_login)
        return "AUTH PLAIN or LOGIN is needed, and not offered";
    return NULL;
}

static void
authenticate(struct smtp_client *client)
{
    const char *why = client->credentials ? why_not_authenticate(client) : NULL;
    struct smtp_reply none = smtp_reply_make(0, NULL, why ? why : "");

    if (client->credentials == NULL)
        become_ready(client);
    else if (why != NULL)
        smtp_client_end_in(client, SMTP_PHASE_AUTH, &none);
    else
        smtp_client_enqueue(client, SMTP_PHASE_AUTH);
}

/* The greeting is over, unless TLS is wanted first. */
static void
end_greeting(struct smtp_client *client)
{
    struct smtp_reply none = smtp_reply_make(0, NULL, "TLS is needed, and not offered");

    if (client->tls != SMTP_CLIENT_TLS_NONE && client->caps.starttls)
        smtp_client_enqueue(client, SMTP_PHASE_STARTTLS);
    else if (client->tls == SMTP_CLIENT_TLS_MUST)
        smtp_client_end_in(client, SMTP_PHASE_STARTTLS, &none);
    else
        authenticate(client);
}

/* --- What each phase sends. */
static void
send_nothing(struct smtp_client *client)
{
    (void)client;
}

static void
send_ehlo(struct smtp_client *client)
{
    client->ehlo_lines = 0;
    buf_printf(client->out, "EHLO %s\r\n", client->settings->hostname);
}

static void
send_helo(struct smtp_client *client)
{
    buf_printf(client->out, "HELO %s\r\n", client->settings->hostname);
}

static void
send_starttls(struct smtp_client *client)
{
    buf_add_text(client->out, "STARTTLS\r\n");
}

/* RFC 4616: nobody else to act for, the user, the password. */
static void
send_auth_plain(struct smtp_client *client)
{
    const struct smtp_credentials *c = client->credentials;
    struct buf message;

    buf_init(&message, 0);
    buf_add(&message, "", 1);
    buf_add(&message, c->user, strlen(c->user) + 1);
    buf_add_text(&message, c->password);
    buf_add_text(client->out, "AUTH PLAIN ");
    base64_add(client->out, buf_slice(&message));
    buf_add_text(client->out, "\r\n");
    buf_fini(&message);
}

/* LOGIN asks for the two by one 334 each; what it asks in words is for nobody. */
static void
send_auth(struct smtp_client *client)
{
    const struct smtp_credentials *c = client->credentials;

    if (client->auth_step == 0 && client->caps.auth_plain) {
        send_auth_plain(client);
    } else if (client->auth_step == 0) {
        buf_add_text(client->out, "AUTH LOGIN\r\n");
    } else {
        base64_add(client->out, slice_of(client->auth_step == 1 ? c->user : c->password));
        buf_add_text(client->out, "\r\n");
    }
}

static size_t
first_line_size(const struct buf *lines)
{
    struct slice all = buf_slice(lines);
    const char *end = memchr(all.p, '\n', all.n);

    CHECK(end != NULL);
    return (size_t)(end - all.p) + 1;
}

static void
send_line(struct smtp_client *client)
{
    size_t n = first_line_size(&client->lines);

    buf_add(client->out, buf_slice(&client->lines).p, n);
    buf_consume(&client->lines, n);
}

static void
send_data(struct smtp_client *client)
{
    buf_add_text(client->out, "DATA\r\n");
}

static void
send_dot(struct smtp_client *client)
{
    smtp_stuff_end(&client->stuff, client->out);
}

static void
send_rset(struct smtp_client *client)
{
    buf_add_text(client->out, "RSET\r\n");
}

static void
send_quit(struct smtp_client *client)
{
    buf_add_text(client->out, "QUIT\r\n");
}

/* --- What each reply leads to. */
static void
notify(struct smtp_client *client, enum smtp_phase phase, unsigned index, enum smtp_class class,
       const struct smtp_reply *reply)
{
    client->ops->on_reply(client->ctx, phase, index, class, reply);
}

static bool
is_our_name(const struct smtp_client *client)
{
    return slice_equal_nocase(slice_of(client->banner_name), slice_of(client->settings->hostname));
}

static void
on_banner(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    struct smtp_reply loop =
        smtp_reply_make(554, "5.4.6", "The destination greets with our own name: a loop");

    struct slice rest = slice_of(reply->text);

    (void)slice_to_text(slice_split(&rest, ' '), client->banner_name, sizeof client->banner_name);
    if (class == SMTP_CLASS_OK && is_our_name(client))
        smtp_client_end_in(client, SMTP_PHASE_BANNER, &loop);
    else if (class == SMTP_CLASS_OK)
        smtp_client_enqueue(client, SMTP_PHASE_EHLO);
    else
        smtp_client_end_in(client, SMTP_PHASE_BANNER, reply);
}

static bool
wants_helo(uint16_t code) /* RFC 5321 3.2 */
{
    return code == 500 || code == 501 || code == 502 || code == 504 || code == 550;
}

static void
on_ehlo(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK) {
        client->caps.esmtp = true;
        end_greeting(client);
        return;
    }
    client->caps = (struct smtp_capabilities){0};
    if (wants_helo(reply->code))
        smtp_client_enqueue(client, SMTP_PHASE_HELO);
    else
        smtp_client_end_in(client, SMTP_PHASE_EHLO, reply);
}

static void
on_helo(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK)
        end_greeting(client);
    else
        smtp_client_end_in(client, SMTP_PHASE_HELO, reply);
}

/* The event comes from smtp_client_input, when what stands behind the 220 is gone. */
static void
on_starttls(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK)
        smtp_client_set_state(client, STATE_SECURING);
    else if (client->tls == SMTP_CLIENT_TLS_MUST)
        smtp_client_end_in(client, SMTP_PHASE_STARTTLS, reply);
    else
        authenticate(client);
}

static void
on_auth(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    bool asks = reply->code == 334;

    if (class == SMTP_CLASS_OK && !asks)
        become_ready(client);
    else if (asks && !client->caps.auth_plain && client->auth_step++ < 2)
        smtp_client_enqueue(client, SMTP_PHASE_AUTH);
    else
        smtp_client_end_in(client, SMTP_PHASE_AUTH, reply);
}

/* The transaction goes on as it is; 421 has ended it before. */
static void
on_xforward(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    (void)reply;
    if (class != SMTP_CLASS_OK)
        client->caps.xforward = 0;
}

static void
on_mail(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class != SMTP_CLASS_OK) {
        client->mail_refused = true;
        client->refusal = *reply;
        client->refusal_class = class;
    }
    notify(client, SMTP_PHASE_MAIL, 0, class, reply);
}

static void
on_rcpt(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    unsigned index = client->rcpt_answered++;

    client->rcpt_taken += class == SMTP_CLASS_OK;
    if (client->mail_refused)
        notify(client, SMTP_PHASE_RCPT, index, client->refusal_class, &client->refusal);
    else
        notify(client, SMTP_PHASE_RCPT, index, class, reply);
}

/* DATA of a transaction without a recipient: what the peer said to it tells nothing. */
static void
notify_data_refused(struct smtp_client *client)
{
    struct smtp_reply nobody = smtp_verdict_reply(SMTP_VERDICT_NO_VALID_RECIPIENTS);

    if (client->mail_refused)
        notify(client, SMTP_PHASE_DATA, 0, client->refusal_class, &client->refusal);
    else
        notify(client, SMTP_PHASE_DATA, 0, SMTP_CLASS_REFUSED, &nobody);
}

/* 354 although nobody was accepted: a dot alone ends it (RFC 2920 3.1). */
static void
send_empty(struct smtp_client *client, const struct smtp_reply *reply)
{
    unsigned waiting = client->queued - client->sent;

    if (client->rcpt_taken > 0) { /* MAIL was refused: that dot might deliver */
        smtp_client_end_broken(client, "content wanted for a refused sender", reply);
        return;
    }
    CHECK(waiting <= 1); /* a RSET may wait: it goes behind the dot */
    smtp_client_drop_unsent(client);
    smtp_client_set_state(client, STATE_EMPTY);
    smtp_stuff_init(&client->stuff);
    smtp_client_enqueue(client, SMTP_PHASE_DOT);
    if (waiting)
        smtp_client_enqueue(client, SMTP_PHASE_RSET);
}

static void
begin_content(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (client->is_reset) {
        smtp_client_end_broken(client, "given up when content was wanted", reply);
        return;
    }
    smtp_client_set_state(client, STATE_CONTENT);
    smtp_stuff_init(&client->stuff);
    notify(client, SMTP_PHASE_DATA, 0, SMTP_CLASS_OK, reply);
    if (client->state == STATE_CONTENT)
        client->ops->on_want_content(client->ctx);
}

static void
on_data(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    bool nobody = client->mail_refused || client->rcpt_taken == 0;

    if (class == SMTP_CLASS_OK && nobody)
        send_empty(client, reply);
    else if (class == SMTP_CLASS_OK)
        begin_content(client, reply);
    else if (nobody)
        notify_data_refused(client);
    else
        notify(client, SMTP_PHASE_DATA, 0, class, reply);
}

static void
on_dot(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (client->state == STATE_EMPTY) {
        smtp_client_set_state(client, STATE_OPEN);
        notify_data_refused(client);
        return;
    }
    /* RFC 5321 4.1.1.4 says that the transaction is over, whatever the reply; Postfix, refusing by
     * smtpd_end_of_data_restrictions, stays in it and answers the next MAIL 503. */
    smtp_client_set_state(client, class == SMTP_CLASS_OK ? STATE_IDLE : STATE_OPEN);
    notify(client, SMTP_PHASE_DOT, 0, class, reply);
}

static void
on_rset(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK) {
        smtp_client_set_state(client, STATE_IDLE);
        notify(client, SMTP_PHASE_RSET, 0, class, reply);
    } else
        smtp_client_end_in(client, SMTP_PHASE_RSET, reply);
}

static void
on_quit(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    (void)class;
    smtp_client_end_in(client, SMTP_PHASE_QUIT, reply);
}

void
smtp_client_on_ehlo_line(void *ctx, struct slice text)
{
    struct smtp_client *client = ctx;

    if (client->ehlo_lines++ > 0) /* the first is the peer's name */
        smtp_capabilities_take(&client->caps, text);
}

void
smtp_client_answer_pointless(struct smtp_client *client)
{
    while (client->state == STATE_OPEN && client->sent == client->answered &&
           client->sent != client->queued) {
        enum smtp_phase phase = smtp_client_phase_at(client, client->sent);
        bool is_data = phase == SMTP_PHASE_DATA && client->rcpt_taken == 0;

        if (!is_data && !(client->mail_refused && phase == SMTP_PHASE_RCPT))
            return;
        if (phase == SMTP_PHASE_RCPT)
            buf_consume(&client->lines, first_line_size(&client->lines));
        client->sent++;
        client->answered++;
        if (is_data)
            notify_data_refused(client);
        else
            on_rcpt(client, client->refusal_class, &client->refusal);
    }
}

#define TIMEOUT(field) offsetof(struct smtp_client_settings, field##_timeout_ms)

/* The timeouts' lengths are the configuration's; RFC 5321 4.5.3.2 says five minutes for most, two
 * for DATA, ten for the dot. */
const struct smtp_client_row smtp_client_rows[SMTP_PHASE_COUNT] = {
    [SMTP_PHASE_CONNECT] = {TIMEOUT(command), true, send_nothing, on_quit}, /* never queued */
    [SMTP_PHASE_BANNER] = {TIMEOUT(command), true, send_nothing, on_banner},
    [SMTP_PHASE_EHLO] = {TIMEOUT(command), true, send_ehlo, on_ehlo},
    [SMTP_PHASE_HELO] = {TIMEOUT(command), true, send_helo, on_helo},
    [SMTP_PHASE_STARTTLS] = {TIMEOUT(command), true, send_starttls, on_starttls},
    [SMTP_PHASE_AUTH] = {TIMEOUT(command), true, send_auth, on_auth},
    [SMTP_PHASE_XFORWARD] = {TIMEOUT(command), false, send_line, on_xforward},
    [SMTP_PHASE_MAIL] = {TIMEOUT(command), false, send_line, on_mail},
    [SMTP_PHASE_RCPT] = {TIMEOUT(command), false, send_line, on_rcpt},
    [SMTP_PHASE_DATA] = {TIMEOUT(data), true, send_data, on_data},
    [SMTP_PHASE_DOT] = {TIMEOUT(final), true, send_dot, on_dot},
    [SMTP_PHASE_RSET] = {TIMEOUT(command), false, send_rset, on_rset},
    [SMTP_PHASE_QUIT] = {TIMEOUT(command), true, send_quit, on_quit},
};
