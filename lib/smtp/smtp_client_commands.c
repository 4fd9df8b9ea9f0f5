/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the owner of the client engine gives: commands, content, what is to be known before the
 * greeting.  After on_end all of it does nothing.
 */
#include "smtp/smtp_client_private.h"

/* --- Before the transactions. */
void
smtp_client_set_tls(struct smtp_client *client, enum smtp_client_tls tls)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_GREETING && client->answered == 0);
    client->tls = tls;
}

void
smtp_client_set_credentials(struct smtp_client *client, const struct smtp_credentials *credentials)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_GREETING && client->answered == 0);
    client->credentials = credentials;
}

void
smtp_client_tls_started(struct smtp_client *client)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_SECURING);
    client->is_secure = true;
    client->tls = SMTP_CLIENT_TLS_NONE;
    client->caps = (struct smtp_capabilities){0};
    smtp_reply_parser_init(&client->parser);
    smtp_client_set_state(client, STATE_GREETING);
    smtp_client_enqueue(client, SMTP_PHASE_EHLO);
    smtp_client_pump(client);
}

size_t
smtp_client_injected_bytes(const struct smtp_client *client)
{
    return client->injected_bytes;
}

const char *
smtp_client_banner_name(const struct smtp_client *client)
{
    return client->banner_name;
}

const struct smtp_capabilities *
smtp_client_capabilities(const struct smtp_client *client)
{
    return &client->caps;
}

/* --- A transaction. */
void
smtp_client_xforward(struct smtp_client *client, const struct smtp_xforward *xforward)
{
    unsigned count;

    if (client->state == STATE_ENDED)
        return;
    CHECK(smtp_client_is_idle(client));
    count = smtp_xforward_write(xforward, client->caps.xforward, &client->lines);
    if (count == 0)
        return;
    client->is_forwarded = true;
    client->is_reset = false;
    smtp_client_set_state(client, STATE_OPEN);
    while (count-- > 0)
        smtp_client_enqueue(client, SMTP_PHASE_XFORWARD);
    smtp_client_pump(client);
}

void
smtp_client_mail(struct smtp_client *client, const struct smtp_mail *mail)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->is_forwarded || smtp_client_is_idle(client));
    client->is_forwarded = false;
    client->rcpt_queued = client->rcpt_answered = client->rcpt_taken = 0;
    client->data_queued = client->is_reset = client->mail_refused = false;
    smtp_client_set_state(client, STATE_OPEN);
    smtp_capabilities_write_mail(&client->caps, mail, &client->lines);
    smtp_client_enqueue(client, SMTP_PHASE_MAIL);
    smtp_client_pump(client);
}

void
smtp_client_rcpt(struct smtp_client *client, const struct smtp_rcpt *rcpt)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_OPEN && !client->data_queued && !client->is_reset);
    CHECK(client->rcpt_queued < RCPT_MAX);
    client->rcpt_queued++;
    smtp_capabilities_write_rcpt(&client->caps, rcpt, &client->lines);
    smtp_client_enqueue(client, SMTP_PHASE_RCPT);
    smtp_client_pump(client);
}

void
smtp_client_data(struct smtp_client *client)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_OPEN && !client->data_queued && !client->is_reset);
    client->data_queued = true;
    smtp_client_enqueue(client, SMTP_PHASE_DATA);
    smtp_client_pump(client);
}

void
smtp_client_content(struct smtp_client *client, struct slice piece)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_CONTENT);
    smtp_stuff_write(&client->stuff, piece, client->out);
}

struct slice
smtp_client_next_run(struct smtp_client *client, struct slice *rest)
{
    struct slice all = *rest;

    if (client->state == STATE_ENDED) {
        rest->n = 0;
        return all;
    }
    CHECK(client->state == STATE_CONTENT);
    return smtp_stuff_next(&client->stuff, rest);
}

void
smtp_client_dot(struct smtp_client *client)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(client->state == STATE_CONTENT);
    smtp_client_set_state(client, STATE_FINAL);
    smtp_client_enqueue(client, SMTP_PHASE_DOT);
    smtp_client_pump(client);
}

void
smtp_client_reset(struct smtp_client *client)
{
    if (client->state == STATE_ENDED || client->state == STATE_IDLE || client->is_reset)
        return;
    CHECK(client->state == STATE_OPEN || client->state == STATE_EMPTY);
    client->is_reset = true;
    client->is_forwarded = false;
    smtp_client_drop_unsent(client);
    smtp_client_enqueue(client, SMTP_PHASE_RSET);
    smtp_client_pump(client);
}

void
smtp_client_quit(struct smtp_client *client)
{
    if (client->state == STATE_ENDED)
        return;
    CHECK(smtp_client_is_idle(client));
    smtp_client_enqueue(client, SMTP_PHASE_QUIT);
    smtp_client_pump(client);
}
