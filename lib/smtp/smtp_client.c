/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client engine.  Commands stand in one ring of phases with three cursors that only grow:
 *
 *     answered <= sent <= queued
 *
 * A command is queued when the caller gives it, sent when PIPELINING or its turn permits (`pump`),
 * answered when its reply has come (`take_reply`).  What a phase sends, how long it may take and
 * what its reply leads to is one row of `rows`.
 *
 * A reply counts only if its command had been sent before the input arrived; anything else (early,
 * doubled, not SMTP) means that peer and engine no longer speak of the same thing, and the
 * connection ends.  The state is changed before an event is given, since the caller may call back.
 *
 *   GREETING -ehlo/helo, auth-> IDLE -mail-> OPEN -354-> CONTENT -dot-> FINAL -2xx-> IDLE
 *    |    ^                ^            |  |                         \-other-> OPEN
 *    |    |                |            |  \-354, nobody accepted-> EMPTY -reply-> OPEN
 *    |    \-tls_started-\  \---RSET-----/                     any -> ENDED
 *    \--220 to STARTTLS--> SECURING
 */
#include "smtp/smtp_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "smtp/smtp_stuff.h"

#define RCPT_MAX 1000
#define RING 1024 /* more than a transaction can queue, and a power of two */
_Static_assert(RING > RCPT_MAX + 8 && (RING & (RING - 1)) == 0, "the ring holds a transaction");

enum client_state {
    GREETING, /* until EHLO or HELO is answered */
    SECURING, /* the owner does the handshake: whatever comes in is not ours to read */
    IDLE,
    OPEN,    /* from MAIL to 354, or to RSET */
    EMPTY,   /* a dot of our own was sent, RFC 2920 3.1 */
    CONTENT, /* from 354 to the dot */
    FINAL,   /* the dot was sent */
    ENDED,   /* on_end was given */
};

struct smtp_client {
    const struct smtp_client_settings *settings;
    const struct smtp_client_ops *ops;
    void *ctx;
    struct buf *out;

    enum client_state state;
    uint8_t ring[RING]; /* enum smtp_phase */
    unsigned queued, sent, answered;
    unsigned due;     /* `sent` when the input at hand arrived */
    bool early;       /* the reply at hand began before it was due */
    struct buf lines; /* MAIL and RCPT that are queued and not sent */
    unsigned progress;

    char banner_name[INET_DOMAIN_SIZE];
    struct smtp_capabilities caps;
    unsigned ehlo_lines;
    enum smtp_client_tls tls; /* what is still to be done about it: NONE once it is there */
    size_t injected_bytes;
    bool is_secure;                             /* the handshake is done */
    const struct smtp_credentials *credentials; /* NULL: none */
    unsigned auth_step;                         /* answers given to 334 */

    unsigned rcpt_queued, rcpt_answered;
    unsigned rcpt_taken;        /* answered 2xx, whatever became of MAIL */
    bool is_forwarded;          /* XFORWARD is queued, MAIL follows */
    bool data_queued, is_reset; /* of this transaction */
    bool mail_refused;          /* then `refusal` answers for RCPT and DATA too */
    struct smtp_reply refusal;
    enum smtp_class refusal_class;

    enum smtp_phase end_phase;
    struct smtp_stuff stuff;
    struct smtp_reply_parser parser;
};

struct row {
    size_t timeout;  /* offset in the settings */
    bool ends_group; /* nothing is pipelined behind it (RFC 2920 3.1) */
    void (*send)(struct smtp_client *client);
    void (*on_reply)(struct smtp_client *client, enum smtp_class class,
                     const struct smtp_reply *reply);
};
static const struct row rows[SMTP_PHASE_COUNT];

/* --- State and cursors. */
static void
set_state(struct smtp_client *client, enum client_state state)
{
    CHECK(client->state != ENDED);
    client->state = state;
}

static enum smtp_phase
phase_at(const struct smtp_client *client, unsigned cursor)
{
    return (enum smtp_phase)client->ring[cursor % RING];
}

static void
enqueue(struct smtp_client *client, enum smtp_phase phase)
{
    CHECK(client->queued - client->answered < RING);
    client->ring[client->queued++ % RING] = (uint8_t)phase;
}

static bool
may_send(const struct smtp_client *client)
{
    if (client->sent == client->queued)
        return false;
    if (client->sent == client->answered)
        return true;
    return client->caps.pipelining && !rows[phase_at(client, client->sent - 1)].ends_group;
}

static void
pump(struct smtp_client *client)
{
    while (may_send(client)) {
        client->progress++;
        rows[phase_at(client, client->sent++)].send(client);
    }
}

/* Forgets what was queued and not sent. */
static void
drop_unsent(struct smtp_client *client)
{
    client->queued = client->sent;
    buf_clear(&client->lines);
}

enum smtp_phase
smtp_client_phase(const struct smtp_client *client)
{
    static const enum smtp_phase next[] = {
        [GREETING] = SMTP_PHASE_BANNER, [SECURING] = SMTP_PHASE_STARTTLS,
        [IDLE] = SMTP_PHASE_QUIT,       [OPEN] = SMTP_PHASE_RCPT,
        [EMPTY] = SMTP_PHASE_DATA,      [CONTENT] = SMTP_PHASE_DOT,
        [FINAL] = SMTP_PHASE_DOT,
    };

    if (client->state == ENDED)
        return client->end_phase;
    if (client->answered == client->queued || client->state == EMPTY)
        return next[client->state];
    return phase_at(client, client->answered);
}

/* --- Events. */
static void
notify(struct smtp_client *client, enum smtp_phase phase, unsigned index, enum smtp_class class,
       const struct smtp_reply *reply)
{
    client->ops->on_reply(client->ctx, phase, index, class, reply);
}

static void
end_in(struct smtp_client *client, enum smtp_phase phase, const struct smtp_reply *reply)
{
    bool dot_sent = client->state == FINAL;

    client->end_phase = phase;
    set_state(client, ENDED);
    buf_fini(&client->lines);
    client->ops->on_end(client->ctx, phase, dot_sent, reply);
}

/* No reply of the peer ends it: code 0, and in the text why. */
static void
end_because(struct smtp_client *client, const char *why)
{
    struct smtp_reply none = smtp_reply_make(0, NULL, why);

    end_in(client, smtp_client_phase(client), &none);
}

static void
end_broken(struct smtp_client *client, const char *why, const struct smtp_reply *reply)
{
    char said[SMTP_REPLY_LINE_SIZE], text[SMTP_REPLY_LINE_SIZE + 40];

    snprintf(text, sizeof text, "%s: %s", why, smtp_reply_text(reply, said, sizeof said));
    end_because(client, text);
}

static void
become_ready(struct smtp_client *client)
{
    set_state(client, IDLE);
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
        end_in(client, SMTP_PHASE_AUTH, &none);
    else
        enqueue(client, SMTP_PHASE_AUTH);
}

/* The greeting is over, unless TLS is wanted first. */
static void
end_greeting(struct smtp_client *client)
{
    struct smtp_reply none = smtp_reply_make(0, NULL, "TLS is needed, and not offered");

    if (client->tls != SMTP_CLIENT_TLS_NONE && client->caps.starttls)
        enqueue(client, SMTP_PHASE_STARTTLS);
    else if (client->tls == SMTP_CLIENT_TLS_MUST)
        end_in(client, SMTP_PHASE_STARTTLS, &none);
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
        end_in(client, SMTP_PHASE_BANNER, &loop);
    else if (class == SMTP_CLASS_OK)
        enqueue(client, SMTP_PHASE_EHLO);
    else
        end_in(client, SMTP_PHASE_BANNER, reply);
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
        enqueue(client, SMTP_PHASE_HELO);
    else
        end_in(client, SMTP_PHASE_EHLO, reply);
}

static void
on_helo(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK)
        end_greeting(client);
    else
        end_in(client, SMTP_PHASE_HELO, reply);
}

/* The event comes from smtp_client_input, when what stands behind the 220 is gone. */
static void
on_starttls(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK)
        set_state(client, SECURING);
    else if (client->tls == SMTP_CLIENT_TLS_MUST)
        end_in(client, SMTP_PHASE_STARTTLS, reply);
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
        enqueue(client, SMTP_PHASE_AUTH);
    else
        end_in(client, SMTP_PHASE_AUTH, reply);
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
        end_broken(client, "content wanted for a refused sender", reply);
        return;
    }
    CHECK(waiting <= 1); /* a RSET may wait: it goes behind the dot */
    drop_unsent(client);
    set_state(client, EMPTY);
    smtp_stuff_init(&client->stuff);
    enqueue(client, SMTP_PHASE_DOT);
    if (waiting)
        enqueue(client, SMTP_PHASE_RSET);
}

static void
begin_content(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (client->is_reset) {
        end_broken(client, "given up when content was wanted", reply);
        return;
    }
    set_state(client, CONTENT);
    smtp_stuff_init(&client->stuff);
    notify(client, SMTP_PHASE_DATA, 0, SMTP_CLASS_OK, reply);
    if (client->state == CONTENT)
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
    if (client->state == EMPTY) {
        set_state(client, OPEN);
        notify_data_refused(client);
        return;
    }
    /* RFC 5321 4.1.1.4 says that the transaction is over, whatever the reply; Postfix, refusing by
     * smtpd_end_of_data_restrictions, stays in it and answers the next MAIL 503. */
    set_state(client, class == SMTP_CLASS_OK ? IDLE : OPEN);
    notify(client, SMTP_PHASE_DOT, 0, class, reply);
}

static void
on_rset(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    if (class == SMTP_CLASS_OK) {
        set_state(client, IDLE);
        notify(client, SMTP_PHASE_RSET, 0, class, reply);
    } else
        end_in(client, SMTP_PHASE_RSET, reply);
}

static void
on_quit(struct smtp_client *client, enum smtp_class class, const struct smtp_reply *reply)
{
    (void)class;
    end_in(client, SMTP_PHASE_QUIT, reply);
}

#define TIMEOUT(field) offsetof(struct smtp_client_settings, field##_timeout_ms)

/* The timeouts' lengths are the configuration's; RFC 5321 4.5.3.2 says five minutes for most, two
 * for DATA, ten for the dot. */
static const struct row rows[SMTP_PHASE_COUNT] = {
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

static void
on_ehlo_line(void *ctx, struct slice text)
{
    struct smtp_client *client = ctx;

    if (client->ehlo_lines++ > 0) /* the first is the peer's name */
        smtp_capabilities_take(&client->caps, text);
}

/* --- Input. */
static bool
is_unanswered(const struct smtp_client *client)
{
    return client->sent != client->answered;
}

/* Signed distance, since the cursors wrap. */
static bool
is_due(const struct smtp_client *client)
{
    return (int)(client->due - client->answered) > 0;
}

/* A reply that is no answer to any command of its phase. */
static bool
is_senseless(enum smtp_phase phase, const struct smtp_reply *reply)
{
    unsigned first = reply->code / 100;

    if (first == 4 || first == 5 || (phase == SMTP_PHASE_AUTH && reply->code == 334))
        return false;
    return first != (phase == SMTP_PHASE_DATA ? 3 : 2);
}

/* 421 may come at any time (RFC 5321 3.8): it answers what is awaited, and ends the connection. */
static void
take_421(struct smtp_client *client, const struct smtp_reply *reply)
{
    enum smtp_phase phase = smtp_client_phase(client);
    unsigned index = phase == SMTP_PHASE_RCPT ? client->rcpt_answered : 0;
    bool is_awaited = is_unanswered(client);

    client->end_phase = phase;
    set_state(client, ENDED);
    buf_fini(&client->lines);
    if (is_awaited && phase >= SMTP_PHASE_MAIL && phase <= SMTP_PHASE_RSET)
        notify(client, phase, index, SMTP_CLASS_AWAY, reply);
    client->ops->on_end(client->ctx, phase, false, reply);
}

/* Without PIPELINING: what a refused MAIL, or recipients refused one and all, make pointless is not
 * sent but answered here. */
static void
answer_pointless(struct smtp_client *client)
{
    while (client->state == OPEN && client->sent == client->answered &&
           client->sent != client->queued) {
        enum smtp_phase phase = phase_at(client, client->sent);
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

static void
take_reply(struct smtp_client *client, const struct smtp_reply *reply)
{
    enum smtp_phase phase = phase_at(client, client->answered);

    client->progress++;
    if (reply->code == 421) {
        take_421(client, reply);
        return;
    }
    if (client->early) {
        end_broken(client, "reply without a command", reply);
        return;
    }
    if (is_senseless(phase, reply)) {
        end_broken(client, "reply that makes no sense", reply);
        return;
    }
    client->answered++;
    rows[phase].on_reply(client, smtp_class_of(phase, reply), reply);
    answer_pointless(client);
    if (client->state != ENDED)
        pump(client);
}

/* Returns false when more input is needed, or none. */
static bool
take_input(struct smtp_client *client, struct buf *in)
{
    struct smtp_reply_parser *parser = &client->parser;
    bool is_ehlo = is_due(client) && phase_at(client, client->answered) == SMTP_PHASE_EHLO;
    size_t consumed;
    int rc;

    if (parser->octets == 0)
        client->early = !is_due(client);
    rc = smtp_reply_parse(parser, buf_slice(in), &consumed, is_ehlo ? on_ehlo_line : NULL, client);
    buf_consume(in, consumed);
    if (rc == ERR_OK)
        take_reply(client, &parser->reply);
    else if (rc != ERR_AGAIN)
        end_because(client, "not an SMTP reply");
    return rc == ERR_OK && client->state != ENDED;
}

/* What stands in plain text behind the 220, or comes before the handshake is done, is nobody's:
 * parsed as replies it would be believed to have come inside TLS (RFC 3207 4.2, P7). */
static void
throw_away(struct smtp_client *client, struct buf *in)
{
    client->injected_bytes += buf_size(in);
    buf_clear(in);
}

void
smtp_client_input(struct smtp_client *client, struct buf *in)
{
    bool was_securing = client->state == SECURING;

    client->due = client->sent;
    while (client->state != ENDED && client->state != SECURING && buf_size(in) > 0)
        if (!take_input(client, in))
            break;
    if (client->state == ENDED)
        buf_clear(in);
    if (client->state != SECURING)
        return;
    throw_away(client, in);
    if (!was_securing)
        client->ops->on_starttls(client->ctx);
}

void
smtp_client_lost(struct smtp_client *client)
{
    if (client->state != ENDED)
        end_because(client, "connection lost");
}

void
smtp_client_timeout(struct smtp_client *client)
{
    if (client->state != ENDED)
        end_because(client, "timed out");
}

int64_t
smtp_client_timeout_ms(const struct smtp_client *client)
{
    const char *settings = (const char *)client->settings;
    int64_t timeout_ms = 0;

    if (client->state == CONTENT)
        return client->settings->content_timeout_ms;
    if (client->state == SECURING)
        return client->settings->command_timeout_ms;
    if (client->state != ENDED && is_unanswered(client))
        memcpy(&timeout_ms, settings + rows[phase_at(client, client->answered)].timeout,
               sizeof timeout_ms);
    return timeout_ms;
}

unsigned
smtp_client_progress(const struct smtp_client *client)
{
    return client->progress;
}

/* --- Commands. */
struct smtp_client *
smtp_client_new(const struct smtp_client_settings *settings, const struct smtp_client_ops *ops,
                void *ctx, struct buf *out)
{
    struct smtp_client *client = mem_alloc(sizeof *client);

    client->settings = settings;
    client->ops = ops;
    client->ctx = ctx;
    client->out = out;
    buf_init(&client->lines, 0);
    smtp_reply_parser_init(&client->parser);
    enqueue(client, SMTP_PHASE_BANNER);
    pump(client);
    return client;
}

void
smtp_client_free(struct smtp_client **client)
{
    if (*client == NULL)
        return;
    buf_fini(&(*client)->lines);
    free(*client);
    *client = NULL;
}

void
smtp_client_set_tls(struct smtp_client *client, enum smtp_client_tls tls)
{
    CHECK(client->state == GREETING && client->answered == 0);
    client->tls = tls;
}

void
smtp_client_set_credentials(struct smtp_client *client, const struct smtp_credentials *credentials)
{
    CHECK(client->state == GREETING && client->answered == 0);
    client->credentials = credentials;
}

void
smtp_client_tls_started(struct smtp_client *client)
{
    if (client->state == ENDED)
        return;
    CHECK(client->state == SECURING);
    client->is_secure = true;
    client->tls = SMTP_CLIENT_TLS_NONE;
    client->caps = (struct smtp_capabilities){0};
    smtp_reply_parser_init(&client->parser);
    set_state(client, GREETING);
    enqueue(client, SMTP_PHASE_EHLO);
    pump(client);
}

size_t
smtp_client_injected_bytes(const struct smtp_client *client)
{
    return client->injected_bytes;
}

void
smtp_client_xforward(struct smtp_client *client, const struct smtp_xforward *xforward)
{
    unsigned count;

    if (client->state == ENDED)
        return;
    CHECK(smtp_client_is_idle(client));
    count = smtp_xforward_write(xforward, client->caps.xforward, &client->lines);
    if (count == 0)
        return;
    client->is_forwarded = true;
    client->is_reset = false;
    set_state(client, OPEN);
    while (count-- > 0)
        enqueue(client, SMTP_PHASE_XFORWARD);
    pump(client);
}

void
smtp_client_mail(struct smtp_client *client, const struct smtp_mail *mail)
{
    if (client->state == ENDED)
        return;
    CHECK(client->is_forwarded || smtp_client_is_idle(client));
    client->is_forwarded = false;
    client->rcpt_queued = client->rcpt_answered = client->rcpt_taken = 0;
    client->data_queued = client->is_reset = client->mail_refused = false;
    set_state(client, OPEN);
    smtp_capabilities_write_mail(&client->caps, mail, &client->lines);
    enqueue(client, SMTP_PHASE_MAIL);
    pump(client);
}

void
smtp_client_rcpt(struct smtp_client *client, const struct smtp_rcpt *rcpt)
{
    if (client->state == ENDED)
        return;
    CHECK(client->state == OPEN && !client->data_queued && !client->is_reset);
    CHECK(client->rcpt_queued < RCPT_MAX);
    client->rcpt_queued++;
    smtp_capabilities_write_rcpt(&client->caps, rcpt, &client->lines);
    enqueue(client, SMTP_PHASE_RCPT);
    pump(client);
}

void
smtp_client_data(struct smtp_client *client)
{
    if (client->state == ENDED)
        return;
    CHECK(client->state == OPEN && !client->data_queued && !client->is_reset);
    client->data_queued = true;
    enqueue(client, SMTP_PHASE_DATA);
    pump(client);
}

void
smtp_client_content(struct smtp_client *client, struct slice piece)
{
    if (client->state == ENDED)
        return;
    CHECK(client->state == CONTENT);
    smtp_stuff_write(&client->stuff, piece, client->out);
}

struct slice
smtp_client_next_run(struct smtp_client *client, struct slice *rest)
{
    struct slice all = *rest;

    if (client->state == ENDED) {
        rest->n = 0;
        return all;
    }
    CHECK(client->state == CONTENT);
    return smtp_stuff_next(&client->stuff, rest);
}

void
smtp_client_dot(struct smtp_client *client)
{
    if (client->state == ENDED)
        return;
    CHECK(client->state == CONTENT);
    set_state(client, FINAL);
    enqueue(client, SMTP_PHASE_DOT);
    pump(client);
}

void
smtp_client_reset(struct smtp_client *client)
{
    if (client->state == ENDED || client->state == IDLE || client->is_reset)
        return;
    CHECK(client->state == OPEN || client->state == EMPTY);
    client->is_reset = true;
    client->is_forwarded = false;
    drop_unsent(client);
    enqueue(client, SMTP_PHASE_RSET);
    pump(client);
}

void
smtp_client_quit(struct smtp_client *client)
{
    if (client->state == ENDED)
        return;
    CHECK(smtp_client_is_idle(client));
    enqueue(client, SMTP_PHASE_QUIT);
    pump(client);
}

bool
smtp_client_is_idle(const struct smtp_client *client)
{
    return client->state == IDLE && client->answered == client->queued;
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

/* --- Invariants. */
static unsigned
unsent_lines(const struct smtp_client *client)
{
    unsigned count = 0;

    for (unsigned i = client->sent; i != client->queued; i++) {
        enum smtp_phase phase = phase_at(client, i);

        count +=
            phase == SMTP_PHASE_XFORWARD || phase == SMTP_PHASE_MAIL || phase == SMTP_PHASE_RCPT;
    }
    return count;
}

static unsigned
count_lines(struct slice lines)
{
    unsigned count = 0;

    for (size_t i = 0; i < lines.n; i++)
        count += lines.p[i] == '\n';
    return count;
}

void
smtp_client_check(const struct smtp_client *client)
{
    unsigned waiting = client->queued - client->answered;

    CHECK(waiting <= RING && client->sent - client->answered <= waiting);
    CHECK(client->rcpt_taken <= client->rcpt_answered);
    CHECK(client->rcpt_answered <= client->rcpt_queued && client->rcpt_queued <= RCPT_MAX);
    CHECK(client->caps.pipelining || client->sent - client->answered <= 1);
    CHECK(client->state == ENDED || unsent_lines(client) == count_lines(buf_slice(&client->lines)));
    CHECK(client->state == ENDED || waiting == 0 || is_unanswered(client));
    CHECK(client->state != IDLE || waiting <= 1); /* QUIT */
    CHECK(client->state != CONTENT || waiting == 0);
    CHECK(client->state != FINAL ||
          (waiting == 1 && phase_at(client, client->answered) == SMTP_PHASE_DOT));
    CHECK(client->state != GREETING || waiting == 1);
    CHECK(client->state != SECURING || waiting == 0);
}
