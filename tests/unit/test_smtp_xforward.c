/* SPDX-License-Identifier: BSD-2-Clause
 *
 * XFORWARD: which attributes go out in which form, and its place before MAIL in the engine.
 */
#include <criterion/criterion.h>

#include "smtp/smtp_client.h"

#define ALL (unsigned)(2 * SMTP_XFORWARD_SOURCE - 1)
#define X255                                                                                     \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *name;
    unsigned offered, commands;
    const char *client; /* NULL: unknown */
    struct smtp_xforward x;
    const char *want;
} table[] = {
    {"all that is known",
     ALL,
     2,
     "192.0.2.1:2525",
     {.client_name = "mx.origin.example",
      .protocol = "ESMTP",
      .helo = "origin.example",
      .ident = "P1"},
     "XFORWARD NAME=mx.origin.example ADDR=192.0.2.1 PORT=2525 PROTO=ESMTP\r\n"
     "XFORWARD HELO=origin.example IDENT=P1 SOURCE=REMOTE\r\n"},
    {"IPv6", SMTP_XFORWARD_ADDR, 1, "[2001:db8::1]:25", {0}, "XFORWARD ADDR=IPV6:2001:db8::1\r\n"},
    {"nothing is known",
     ALL,
     2,
     NULL,
     {0},
     "XFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] PROTO=[UNAVAILABLE]\r\n"
     "XFORWARD HELO=[UNAVAILABLE] IDENT=[UNAVAILABLE] SOURCE=REMOTE\r\n"},
    {"nothing is offered", 0, 0, "192.0.2.1:25", {.helo = "x"}, ""},
    {"of the second command alone",
     SMTP_XFORWARD_HELO,
     1,
     NULL,
     {.helo = "x"},
     "XFORWARD HELO=x\r\n"},
    {"P7 a value ends no line and begins no attribute",
     SMTP_XFORWARD_HELO,
     1,
     NULL,
     {.helo = "a b=c+d\r\nMAIL \xc3\xa4"},
     "XFORWARD HELO=a+20b+3Dc+2Bd+0D+0AMAIL+20+C3+A4\r\n"},
    {"as long as it may be",
     SMTP_XFORWARD_HELO,
     1,
     NULL,
     {.helo = X255},
     "XFORWARD HELO=" X255 "\r\n"},
    {"longer is unknown",
     SMTP_XFORWARD_HELO,
     1,
     NULL,
     {.helo = X255 "y"},
     "XFORWARD HELO=[UNAVAILABLE]\r\n"},
};

Test(smtp_xforward, values_go_out_in_xtext_and_only_where_offered)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct smtp_xforward x = table[i].x;
        struct buf out;

        if (table[i].client)
            cr_assert_eq(inet_endpoint_parse(slice_of(table[i].client), 0, &x.client), ERR_OK);
        buf_init(&out, 0);
        cr_expect_eq(smtp_xforward_write(&x, table[i].offered, &out), table[i].commands, "%s",
                     table[i].name);
        cr_expect_str_eq(buf_text(&out), table[i].want, "%s", table[i].name);
        buf_fini(&out);
    }
}

Test(smtp_xforward, what_EHLO_offers)
{
    cr_expect_eq(smtp_xforward_offered(SLICE("")), 0);
    cr_expect_eq(smtp_xforward_offered(SLICE("NAME addr PORT PROTO HELO IDENT SOURCE")), ALL);
    cr_expect_eq(smtp_xforward_offered(SLICE("HELO WHATEVER NAMES")), SMTP_XFORWARD_HELO);
}

/* --- In the engine. */

static struct {
    unsigned replies, ends;
    enum smtp_phase last, ended_in;
} seen;

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    (void)ctx;
    (void)caps;
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    (void)ctx;
    (void)index;
    (void)class;
    (void)reply;
    seen.replies++;
    seen.last = phase;
}

static void
on_want_content(void *ctx)
{
    (void)ctx;
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    (void)ctx;
    (void)reply;
    cr_expect_not(dot_sent);
    seen.ends++;
    seen.ended_in = phase;
}

static const struct smtp_client_ops ops = {.on_ready = on_ready,
                                           .on_reply = on_reply,
                                           .on_want_content = on_want_content,
                                           .on_end = on_end};
static const struct smtp_client_settings settings = {.hostname = "relay.example",
                                                     .command_timeout_ms = 1};

struct talk {
    struct smtp_client *client;
    struct buf in, out;
};

static void
says(struct talk *t, const char *server, const char *client)
{
    buf_add_text(&t->in, server);
    smtp_client_input(t->client, &t->in);
    smtp_client_check(t->client);
    cr_expect_str_eq(buf_text(&t->out), client);
    buf_clear(&t->out);
}

static void
transaction(struct talk *t)
{
    struct smtp_xforward x = {.helo = "h"};
    struct smtp_mail mail = {.path.text = "a@b.example"};

    smtp_client_xforward(t->client, &x);
    smtp_client_check(t->client);
    smtp_client_mail(t->client, &mail);
    smtp_client_check(t->client);
}

static struct talk *
begin(const char *ehlo)
{
    static struct talk t; /* the engine keeps a pointer into it */

    seen.replies = seen.ends = 0;
    buf_init(&t.in, 0);
    buf_init(&t.out, 0);
    t.client = smtp_client_new(&settings, &ops, NULL, &t.out);
    says(&t, "220 peer\r\n", "EHLO relay.example\r\n");
    buf_add_text(&t.in, ehlo);
    smtp_client_input(t.client, &t.in);
    return &t;
}

static void
end(struct talk *t)
{
    smtp_client_free(&t->client);
    buf_fini(&t->in);
    buf_fini(&t->out);
}

#define MAIL "MAIL FROM:<a@b.example>\r\n"

Test(smtp_xforward, goes_before_each_MAIL_in_one_burst)
{
    struct talk *t = begin("250-peer\r\n250-PIPELINING\r\n250 XFORWARD HELO\r\n");

    transaction(t);
    says(t, "", "XFORWARD HELO=h\r\n" MAIL);
    says(t, "250 ok\r\n250 ok\r\n", "");
    cr_expect_eq(seen.replies, 1, "XFORWARD gives no event");
    cr_expect_eq(seen.last, SMTP_PHASE_MAIL);
    smtp_client_reset(t->client);
    says(t, "250 ok\r\n", "RSET\r\n");
    transaction(t);
    says(t, "", "XFORWARD HELO=h\r\n" MAIL);
    end(t);
}

Test(smtp_xforward, without_PIPELINING_it_waits_its_turn)
{
    struct talk *t = begin("250-peer\r\n250 XFORWARD HELO IDENT ADDR\r\n");

    transaction(t);
    says(t, "", "XFORWARD ADDR=[UNAVAILABLE]\r\n");
    says(t, "250 ok\r\n", "XFORWARD HELO=h IDENT=[UNAVAILABLE]\r\n");
    says(t, "250 ok\r\n", MAIL);
    end(t);
}

Test(smtp_xforward, a_refusal_harms_nothing_and_is_remembered)
{
    struct talk *t = begin("250-peer\r\n250 XFORWARD HELO\r\n");

    transaction(t);
    says(t, "550 5.7.0 not you\r\n", "XFORWARD HELO=h\r\n" MAIL);
    says(t, "250 ok\r\n", "");
    cr_expect_eq(seen.last, SMTP_PHASE_MAIL);
    smtp_client_reset(t->client);
    says(t, "250 ok\r\n", "RSET\r\n");
    transaction(t);
    says(t, "", MAIL);
    end(t);
}

Test(smtp_xforward, given_up_before_MAIL_the_engine_is_idle_again)
{
    struct talk *t = begin("250-peer\r\n250 XFORWARD HELO\r\n");
    struct smtp_xforward x = {.helo = "h"};

    smtp_client_xforward(t->client, &x);
    smtp_client_reset(t->client);
    says(t, "250 ok\r\n", "XFORWARD HELO=h\r\nRSET\r\n");
    says(t, "250 ok\r\n", "");
    cr_expect(smtp_client_is_idle(t->client));
    end(t);
}

Test(smtp_xforward, P1_a_421_or_a_loss_ends_it_there)
{
    struct talk *t = begin("250-peer\r\n250 XFORWARD HELO\r\n");

    transaction(t);
    says(t, "421 4.4.2 idle too long\r\n", "XFORWARD HELO=h\r\n");
    cr_expect_eq(seen.ends, 1);
    cr_expect_eq(seen.ended_in, SMTP_PHASE_XFORWARD);
    cr_expect_eq(seen.replies, 0);
    end(t);
}
