/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client engine against a server made of bytes.  The first octet chooses how the caller behaves
 * (recipients, DATA pipelined, reset when, TLS, credentials); the rest is what the server says, in
 * pieces: 0x01 hands over what is there so far, 0x02 is a timeout, 0x03 a loss.  Checked: the
 * engine's invariants after each step; one last event; each command answered at most once and in
 * order; a 250 to the dot is only told when the server said 2xx behind it; no credentials in the
 * clear.
 */
#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct caller {
    struct smtp_client *client;
    struct buf in, out;
    uint8_t way;
    unsigned rcpts, answered, accepted, transactions, dots;
    bool mail_answered, data_answered, wanted, dot_sent, given_up, ended, securing, is_secure;
};

static const struct smtp_client_settings settings = {
    .hostname = "relay.example",
    .command_timeout_ms = 1,
    .data_timeout_ms = 1,
    .content_timeout_ms = 1,
    .final_timeout_ms = 1,
};

static const struct smtp_credentials credentials = {"relay", "s3cret word"};

static void
give_up(struct caller *c)
{
    c->given_up = true;
    smtp_client_reset(c->client);
}

static void
begin(struct caller *c)
{
    static const struct smtp_mail mail = {
        .path = {.text = "a@b.example", .local_length = 1},
        .has_size = true,
        .size_bytes = 10,
        .body = SMTP_BODY_8BITMIME,
        .smtputf8 = true,
        .dsn_ret = SMTP_DSN_RET_HDRS,
        .dsn_envid = "x+20y",
    };
    static const struct smtp_rcpt rcpt = {
        .path = {.text = "a@b.example", .local_length = 1},
        .dsn_notify = SMTP_DSN_NOTIFY_SUCCESS | SMTP_DSN_NOTIFY_DELAY,
        .dsn_orcpt = "rfc822;a@b.example",
    };

    if (c->transactions++ == 4) {
        smtp_client_quit(c->client);
        return;
    }
    c->rcpts = 1 + (c->way & 3);
    c->answered = c->accepted = 0;
    c->mail_answered = c->data_answered = c->wanted = c->dot_sent = c->given_up = false;
    smtp_client_mail(c->client, &mail);
    for (unsigned i = 0; i < c->rcpts; i++)
        smtp_client_rcpt(c->client, &rcpt);
    if (c->way & 4)
        smtp_client_data(c->client);
}

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    (void)caps;
    begin(ctx);
}

static void
on_rcpt(struct caller *c, unsigned index, enum smtp_class class)
{
    CHECK(c->mail_answered && !c->data_answered && index == c->answered && index < c->rcpts);
    c->answered++;
    c->accepted += class == SMTP_CLASS_OK;
    if (c->way & 8)
        give_up(c);
    else if (c->answered == c->rcpts && !(c->way & 4) && !c->given_up)
        smtp_client_data(c->client);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct caller *c = ctx;

    CHECK(!c->ended && reply->code != 0);
    if (phase == SMTP_PHASE_MAIL) {
        CHECK(!c->mail_answered);
        c->mail_answered = true;
        if (c->way & 16)
            give_up(c);
    } else if (phase == SMTP_PHASE_RCPT)
        on_rcpt(c, index, class);
    else if (phase == SMTP_PHASE_DATA) {
        CHECK(!c->data_answered && (class != SMTP_CLASS_OK || c->accepted > 0));
        c->data_answered = true;
        if (class != SMTP_CLASS_OK)
            give_up(c);
    } else if (phase == SMTP_PHASE_DOT) {
        CHECK(c->dot_sent && (class != SMTP_CLASS_OK || reply->code / 100 == 2));
        if (class == SMTP_CLASS_OK)
            begin(c);
        else
            give_up(c);
    } else {
        CHECK(phase == SMTP_PHASE_RSET);
        begin(c);
    }
}

static void
on_want_content(void *ctx)
{
    struct caller *c = ctx;

    CHECK(c->accepted > 0 && c->data_answered && !c->wanted);
    c->wanted = true;
    if (c->way & 32)
        return; /* content comes later, see below */
    smtp_client_content(c->client, SLICE(".x\r\n."));
    c->dot_sent = true;
    smtp_client_dot(c->client);
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct caller *c = ctx;

    (void)phase;
    CHECK(!c->ended && (!dot_sent || c->dot_sent));
    CHECK(reply->code != 0 || reply->text[0] != '\0');
    c->ended = true;
}

static void
on_starttls(void *ctx)
{
    struct caller *c = ctx;

    CHECK((c->way & 64) && !c->securing && buf_size(&c->in) == 0);
    c->securing = true;
}

static const struct smtp_client_ops ops = {
    .on_ready = on_ready,
    .on_starttls = on_starttls,
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_end = on_end,
};

static void
step(struct caller *c, uint8_t octet)
{
    if (octet == 1)
        smtp_client_input(c->client, &c->in);
    else if (octet == 2)
        smtp_client_timeout(c->client);
    else if (octet == 3)
        smtp_client_lost(c->client);
    else
        buf_add(&c->in, &octet, 1);
    if (octet > 3)
        return;
    smtp_client_check(c->client);
    CHECK(c->is_secure || memmem(buf_slice(&c->out).p, buf_size(&c->out), "AUTH", 4) == NULL);
    (void)smtp_client_phase(c->client);
    CHECK(!c->ended || smtp_client_timeout_ms(c->client) == 0);
    if (c->securing && octet == 1) {
        c->securing = false;
        c->is_secure = true;
        smtp_client_tls_started(c->client);
    }
    if ((c->way & 32) && c->wanted && !c->dot_sent) {
        smtp_client_content(c->client, SLICE("later\r\n"));
        c->dot_sent = true;
        smtp_client_dot(c->client);
    }
}

/* In the clear as well: then there must be an end, and no AUTH. */
static bool
gives_credentials(uint8_t way)
{
    return (way & 128) && (!(way & 64) || (way & 2));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct caller c = {.way = size ? data[0] : 0};

    buf_init(&c.in, 0);
    buf_init(&c.out, 0);
    c.client = smtp_client_new(&settings, &ops, &c, &c.out);
    if (c.way & 64)
        smtp_client_set_tls(c.client, c.way & 128 ? SMTP_CLIENT_TLS_MUST : SMTP_CLIENT_TLS_MAY);
    if (gives_credentials(c.way))
        smtp_client_set_credentials(c.client, &credentials);
    for (size_t i = 1; i < size; i++)
        step(&c, data[i]);
    step(&c, 1);
    step(&c, 3);
    CHECK(c.ended);
    smtp_client_free(&c.client);
    buf_fini(&c.in);
    buf_fini(&c.out);
    return 0;
}
