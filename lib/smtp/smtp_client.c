/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The client engine.  Commands stand in one ring of phases with three cursors that only grow:
 *
 *     answered <= sent <= queued
 *
 * A command is queued when the caller gives it, sent when PIPELINING or its turn permits (`pump`),
 * answered when its reply has come (`take_reply`).  What a phase sends, how long it may take and
 * what its reply leads to is one row of the table in smtp_client_phases.c.
 *
 * A reply counts only if its command had been sent before the input arrived; anything else (early,
 * doubled, not SMTP) means that peer and engine no longer speak of the same thing, and the
 * connection ends.  The state is changed before an event is given, since the caller may call back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "smtp/smtp_client_private.h"

/* --- State and cursors. */
void
smtp_client_set_state(struct smtp_client *client, enum smtp_client_state state)
{
    CHECK(client->state != STATE_ENDED);
    client->state = state;
}

void
smtp_client_enqueue(struct smtp_client *client, enum smtp_phase phase)
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
    return client->caps.pipelining &&
           !smtp_client_rows[smtp_client_phase_at(client, client->sent - 1)].ends_group;
}

void
smtp_client_pump(struct smtp_client *client)
{
    while (may_send(client)) {
        client->progress++;
        smtp_client_rows[smtp_client_phase_at(client, client->sent++)].send(client);
    }
}

void
smtp_client_drop_unsent(struct smtp_client *client)
{
    client->queued = client->sent;
    buf_clear(&client->lines);
}

enum smtp_phase
smtp_client_phase(const struct smtp_client *client)
{
    static const enum smtp_phase next[] = {
        [STATE_GREETING] = SMTP_PHASE_BANNER, [STATE_SECURING] = SMTP_PHASE_STARTTLS,
        [STATE_IDLE] = SMTP_PHASE_QUIT,       [STATE_OPEN] = SMTP_PHASE_RCPT,
        [STATE_EMPTY] = SMTP_PHASE_DATA,      [STATE_CONTENT] = SMTP_PHASE_DOT,
        [STATE_FINAL] = SMTP_PHASE_DOT,
    };

    if (client->state == STATE_ENDED)
        return client->end_phase;
    if (client->answered == client->queued || client->state == STATE_EMPTY)
        return next[client->state];
    return smtp_client_phase_at(client, client->answered);
}

bool
smtp_client_is_idle(const struct smtp_client *client)
{
    return client->state == STATE_IDLE && client->answered == client->queued;
}

/* --- The end. */
void
smtp_client_end_in(struct smtp_client *client, enum smtp_phase phase,
                   const struct smtp_reply *reply)
{
    bool dot_sent = client->state == STATE_FINAL;

    client->end_phase = phase;
    smtp_client_set_state(client, STATE_ENDED);
    buf_fini(&client->lines);
    client->ops->on_end(client->ctx, phase, dot_sent, reply);
}

static void
end_because(struct smtp_client *client, const char *why)
{
    struct smtp_reply none = smtp_reply_make(0, NULL, why);

    smtp_client_end_in(client, smtp_client_phase(client), &none);
}

void
smtp_client_end_broken(struct smtp_client *client, const char *why, const struct smtp_reply *reply)
{
    char said[SMTP_REPLY_LINE_SIZE], text[SMTP_REPLY_LINE_SIZE + 40];

    snprintf(text, sizeof text, "%s: %s", why, smtp_reply_text(reply, said, sizeof said));
    end_because(client, text);
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
    smtp_client_set_state(client, STATE_ENDED);
    buf_fini(&client->lines);
    if (is_awaited && phase >= SMTP_PHASE_MAIL && phase <= SMTP_PHASE_RSET)
        client->ops->on_reply(client->ctx, phase, index, SMTP_CLASS_AWAY, reply);
    client->ops->on_end(client->ctx, phase, false, reply);
}

static void
take_reply(struct smtp_client *client, const struct smtp_reply *reply)
{
    enum smtp_phase phase = smtp_client_phase_at(client, client->answered);

    client->progress++;
    if (reply->code == 421) {
        take_421(client, reply);
        return;
    }
    if (client->early) {
        smtp_client_end_broken(client, "reply without a command", reply);
        return;
    }
    if (is_senseless(phase, reply)) {
        smtp_client_end_broken(client, "reply that makes no sense", reply);
        return;
    }
    client->answered++;
    smtp_client_rows[phase].on_reply(client, smtp_class_of(phase, reply), reply);
    smtp_client_answer_pointless(client);
    if (client->state != STATE_ENDED)
        smtp_client_pump(client);
}

/* Returns false when more input is needed, or none. */
static bool
take_input(struct smtp_client *client, struct buf *in)
{
    struct smtp_reply_parser *parser = &client->parser;
    bool is_ehlo =
        is_due(client) && smtp_client_phase_at(client, client->answered) == SMTP_PHASE_EHLO;
    size_t consumed;
    int rc;

    if (parser->octets == 0)
        client->early = !is_due(client);
    rc = smtp_reply_parse(parser, buf_slice(in), &consumed,
                          is_ehlo ? smtp_client_on_ehlo_line : NULL, client);
    buf_consume(in, consumed);
    if (rc == ERR_OK)
        take_reply(client, &parser->reply);
    else if (rc != ERR_AGAIN)
        end_because(client, "not an SMTP reply");
    return rc == ERR_OK && client->state != STATE_ENDED;
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
    bool was_securing = client->state == STATE_SECURING;

    client->due = client->sent;
    while (client->state != STATE_ENDED && client->state != STATE_SECURING && buf_size(in) > 0)
        if (!take_input(client, in))
            break;
    if (client->state == STATE_ENDED)
        buf_clear(in);
    if (client->state != STATE_SECURING)
        return;
    throw_away(client, in);
    if (!was_securing)
        client->ops->on_starttls(client->ctx);
}

void
smtp_client_lost(struct smtp_client *client)
{
    if (client->state != STATE_ENDED)
        end_because(client, "connection lost");
}

void
smtp_client_timeout(struct smtp_client *client)
{
    if (client->state != STATE_ENDED)
        end_because(client, "timed out");
}

int64_t
smtp_client_timeout_ms(const struct smtp_client *client)
{
    const char *settings = (const char *)client->settings;
    int64_t timeout_ms = 0;

    if (client->state == STATE_CONTENT)
        return client->settings->content_timeout_ms;
    if (client->state == STATE_SECURING)
        return client->settings->command_timeout_ms;
    if (client->state != STATE_ENDED && is_unanswered(client))
        memcpy(&timeout_ms,
               settings + smtp_client_rows[smtp_client_phase_at(client, client->answered)].timeout,
               sizeof timeout_ms);
    return timeout_ms;
}

unsigned
smtp_client_progress(const struct smtp_client *client)
{
    return client->progress;
}

/* --- Life. */
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
    smtp_client_enqueue(client, SMTP_PHASE_BANNER);
    smtp_client_pump(client);
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

/* --- Invariants. */
static unsigned
unsent_lines(const struct smtp_client *client)
{
    unsigned count = 0;

    for (unsigned i = client->sent; i != client->queued; i++) {
        enum smtp_phase phase = smtp_client_phase_at(client, i);

        count +=
            phase == SMTP_PHASE_XFORWARD || phase == SMTP_PHASE_MAIL || phase == SMTP_PHASE_RCPT;
    }
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
    CHECK(client->state == STATE_ENDED ||
          unsent_lines(client) == slice_count(buf_slice(&client->lines), '\n'));
    CHECK(client->state == STATE_ENDED || waiting == 0 || is_unanswered(client));
    CHECK(client->state != STATE_IDLE || waiting <= 1); /* QUIT */
    CHECK(client->state != STATE_CONTENT || waiting == 0);
    CHECK(client->state != STATE_FINAL ||
          (waiting == 1 && smtp_client_phase_at(client, client->answered) == SMTP_PHASE_DOT));
    CHECK(client->state != STATE_GREETING || waiting == 1);
    CHECK(client->state != STATE_SECURING || waiting == 0);
}
