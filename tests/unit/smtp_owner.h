/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An owner of the server engine for tests, dialogues and fuzzing: it writes down every event, keeps
 * the content, and answers by what it is told in the addresses, so that a conversation needs no
 * other script.  The first word of a HELO name or local part (up to a dot, hyphen or '@'):
 *
 *   refuse  550 5.7.1      later  451 4.3.0      close  421 4.3.2
 *
 * and of a sender, for later: nodata (DATA is answered 451), baddot (the dot 554), closedot (the
 * dot 421), stop (content is declined at the first piece), normalise (bare LF is a line end).
 * With `waits` every operation waits, and owner_feed answers it.
 */
#ifndef SMTP_OWNER_H
#define SMTP_OWNER_H

#include "smtp/smtp_server.h"

struct owner {
    struct smtp_server *server;
    struct smtp_server_settings settings;
    struct buf in, out, events, content;
    struct smtp_reply pending;
    bool waits;
    char sender[16]; /* its first word */
    unsigned accepted, resets, ends;
};

static inline void
owner_word(const char *text, char dst[16])
{
    size_t n = strcspn(text, ".-@");

    if (!slice_to_text((struct slice){text, n}, dst, 16))
        dst[0] = '\0';
}

static inline enum smtp_step
owner_step(struct owner *o, const char *word, struct smtp_reply *reply)
{
    static const struct {
        const char *word;
        uint16_t code;
        const char *enhanced, *text;
    } words[] = {
        {"refuse", 550, "5.7.1", "No"},
        {"later", 451, "4.3.0", "Not now"},
        {"close", 421, "4.3.2", "Gone"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(word, words[i].word) == 0)
            *reply = smtp_reply_make(words[i].code, words[i].enhanced, words[i].text);
    o->pending = *reply;
    if (o->waits)
        memset(reply, 0, sizeof *reply); /* what waits is answered later, not here */
    return o->waits ? SMTP_SERVER_WAIT : SMTP_SERVER_DONE;
}

static inline enum smtp_step
owner_helo(void *ctx, struct slice name, bool is_ehlo, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    char word[16];

    buf_printf(&o->events, "%s " SLICE_FMT "\n", is_ehlo ? "ehlo" : "helo", SLICE_ARG(name));
    owner_word(name.p, word);
    return owner_step(o, word, reply);
}

static inline enum smtp_step
owner_mail(void *ctx, const struct smtp_mail *mail, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    enum smtp_step step;

    buf_printf(&o->events, "mail <%s> size=%lld body=%d", mail->path.text,
               mail->has_size ? (long long)mail->size_bytes : -1, (int)mail->body);
    if (mail->smtputf8)
        buf_add_text(&o->events, " utf8");
    if (mail->dsn_ret || mail->dsn_envid[0])
        buf_printf(&o->events, " ret=%d envid=%s", (int)mail->dsn_ret, mail->dsn_envid);
    buf_add_text(&o->events, "\n");
    owner_word(mail->path.text, o->sender);
    step = owner_step(o, o->sender, reply);
    o->accepted += o->pending.code / 100 == 2;
    return step;
}

static inline enum smtp_step
owner_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    char word[16];

    buf_printf(&o->events, "rcpt <%s>", rcpt->path.text);
    if (rcpt->dsn_notify || rcpt->dsn_orcpt[0])
        buf_printf(&o->events, " notify=%u orcpt=%s", (unsigned)rcpt->dsn_notify, rcpt->dsn_orcpt);
    buf_add_text(&o->events, "\n");
    owner_word(rcpt->path.text, word);
    *reply = smtp_verdict_reply(SMTP_VERDICT_RECIPIENT_OK);
    return owner_step(o, word, reply);
}

static inline enum smtp_step
owner_data(void *ctx, struct smtp_reply *reply)
{
    struct owner *o = ctx;

    buf_add_text(&o->events, "data\n");
    buf_clear(&o->content);
    smtp_server_set_normalise(o->server, strcmp(o->sender, "normalise") == 0);
    return owner_step(o, strcmp(o->sender, "nodata") == 0 ? "later" : "", reply);
}

static inline bool
owner_content(void *ctx, struct slice piece)
{
    struct owner *o = ctx;

    CHECK(piece.n > 0);
    buf_add_slice(&o->content, piece);
    return strcmp(o->sender, "stop") != 0;
}

static inline enum smtp_step
owner_end(void *ctx, bool fault, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    const char *word = "";

    o->ends++;
    buf_printf(&o->events, "end fault=%d size=%llu\n", fault,
               (unsigned long long)smtp_server_content_size(o->server));
    if (strcmp(o->sender, "stop") != 0)
        buf_add_slice(&o->events, buf_slice(&o->content));
    if (strcmp(o->sender, "closedot") == 0)
        word = "close";
    else if (!fault)
        *reply = strcmp(o->sender, "baddot") == 0 ? smtp_reply_make(554, "5.6.0", "Bad")
                                                  : smtp_verdict_reply(SMTP_VERDICT_DELIVERED);
    return owner_step(o, word, reply);
}

static inline void
owner_reset(void *ctx, enum smtp_reset why)
{
    static const char *const words[] = {"rset", "done", "closed"};
    struct owner *o = ctx;

    o->resets++;
    buf_printf(&o->events, "reset %s\n", words[why]);
}

static inline enum smtp_step
owner_starttls(void *ctx, struct smtp_reply *reply)
{
    struct owner *o = ctx;

    buf_add_text(&o->events, "starttls\n");
    return owner_step(o, "", reply);
}

static inline enum smtp_step
owner_etrn(void *ctx, struct slice argument, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    char word[16];

    buf_printf(&o->events, "etrn " SLICE_FMT "\n", SLICE_ARG(argument));
    owner_word(argument.p, word);
    *reply = smtp_verdict_reply(SMTP_VERDICT_ETRN_STARTED);
    return owner_step(o, word, reply);
}

static inline enum smtp_step
owner_xclient(void *ctx, const struct smtp_xclient *x, struct smtp_reply *reply)
{
    struct owner *o = ctx;
    char client[INET_ENDPOINT_SIZE], destination[INET_ENDPOINT_SIZE], word[16];

    buf_printf(&o->events, "xclient given=%u none=%u later=%u %s %s %s %s %s:%u %s:%u %d\n",
               x->given, x->unavailable, x->temporary, x->name, x->reverse_name, x->helo, x->login,
               inet_address_text(&x->client, client), x->client.port,
               inet_address_text(&x->destination, destination), x->destination.port, x->is_esmtp);
    owner_word(x->login, word);
    *reply = smtp_reply_make(220, NULL, "");
    return owner_step(o, word, reply);
}

static const struct smtp_server_ops owner_ops = {
    .helo = owner_helo,
    .mail = owner_mail,
    .rcpt = owner_rcpt,
    .data = owner_data,
    .content = owner_content,
    .end = owner_end,
    .reset = owner_reset,
    .starttls = owner_starttls,
    .etrn = owner_etrn,
    .xclient = owner_xclient,
};

static inline void
owner_init(struct owner *o)
{
    *o = (struct owner){
        .settings = {.hostname = "mx.example", .max_size_bytes = 1000, .max_errors = 10}};
    buf_init(&o->in, 0);
    buf_init(&o->out, 0);
    buf_init(&o->events, 0);
    buf_init(&o->content, 0);
    o->server = smtp_server_new(&o->settings, &owner_ops, o, &o->out);
}

static inline void
owner_fini(struct owner *o)
{
    smtp_server_free(&o->server);
    CHECK(o->resets == o->accepted); /* once for each MAIL that was accepted */
    buf_fini(&o->in);
    buf_fini(&o->out);
    buf_fini(&o->events);
    buf_fini(&o->content);
}

/* Gives what is buffered until nothing moves, without answering what waits. */
static inline void
owner_push(struct owner *o, struct slice piece)
{
    buf_add_slice(&o->in, piece);
    buf_consume(&o->in, smtp_server_input(o->server, buf_slice(&o->in)));
    smtp_server_check(o->server);
}

static inline void
owner_answer(struct owner *o)
{
    struct smtp_reply reply = o->pending;

    smtp_server_answer(o->server, &reply);
    smtp_server_check(o->server);
}

static inline void
owner_feed(struct owner *o, struct slice piece)
{
    owner_push(o, piece);
    while (smtp_server_is_waiting(o->server)) {
        owner_answer(o);
        owner_push(o, SLICE(""));
    }
}

#endif
