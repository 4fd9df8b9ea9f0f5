/* SPDX-License-Identifier: BSD-2-Clause
 *
 *   connect -> greeting -> EHLO [-> HELO] [-> STARTTLS -> TLS -> EHLO] -> (ready) -> steps -> QUIT
 *
 * Nothing is sent behind RCPT but what the script says.  Two cursors, sent and answered, since some
 * steps go out together where the server offers PIPELINING.
 */
#include "conformance/conformance_talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/conformance_form.h"
#include "conformance/conformance_seal.h"
#include "net/conn.h"

enum stage {
    STAGE_CONNECT,
    STAGE_BANNER,
    STAGE_EHLO,
    STAGE_HELO,
    STAGE_STARTTLS,
    STAGE_TLS,
    STAGE_EHLO_TLS,
    STAGE_READY,
    STAGE_STEPS,
    STAGE_ENDED,
};

struct conformance_talk {
    struct loop *loop;
    const struct conformance_talk_settings *settings;
    enum tls_policy tls;
    struct conformance_talk_script *script;
    struct conformance_talk_result *result;
    const struct conformance_talk_ops *ops;
    void *ctx;
    struct conn *conn;
    SSL *ssl; /* conn's */
    enum stage stage;
    int64_t asked_at_ms;
    size_t sent, answered;
    bool mail_taken, rcpt_taken, many_refused, wants_content;
    struct smtp_reply_parser parser;
    struct conformance_form form;
};

/* --- The end. */

static void
end_later(void *ctx)
{
    struct conformance_talk *t = ctx;

    t->ops->on_end(t->ctx, t);
    free(t);
}

static void
end(struct conformance_talk *t)
{
    if (t->stage == STAGE_ENDED)
        return;
    if (t->conn && t->stage >= STAGE_EHLO && t->stage != STAGE_TLS && !t->wants_content &&
        t->result->failure[0] == '\0')
        buf_add_text(conn_output(t->conn), "QUIT\r\n");
    t->stage = STAGE_ENDED;
    if (t->conn)
        conn_close_after_output(&t->conn);
    loop_defer(t->loop, end_later, t);
}

static enum smtp_phase
phase_of_step(const struct conformance_step *s)
{
    static const struct {
        const char *verb;
        enum smtp_phase phase;
    } verbs[] = {{"MAIL", SMTP_PHASE_MAIL},
                 {"RCPT", SMTP_PHASE_RCPT},
                 {"DATA", SMTP_PHASE_DATA},
                 {"RSET", SMTP_PHASE_RSET}};

    for (size_t i = 0; s->line && i < ARRAY_SIZE(verbs); i++)
        if (strncmp(s->line, verbs[i].verb, 4) == 0)
            return verbs[i].phase;
    return SMTP_PHASE_DOT;
}

static enum smtp_phase
phase_of(const struct conformance_talk *t)
{
    static const enum smtp_phase phases[] = {
        [STAGE_CONNECT] = SMTP_PHASE_CONNECT,   [STAGE_BANNER] = SMTP_PHASE_BANNER,
        [STAGE_EHLO] = SMTP_PHASE_EHLO,         [STAGE_HELO] = SMTP_PHASE_HELO,
        [STAGE_STARTTLS] = SMTP_PHASE_STARTTLS, [STAGE_TLS] = SMTP_PHASE_STARTTLS,
        [STAGE_EHLO_TLS] = SMTP_PHASE_EHLO,     [STAGE_READY] = SMTP_PHASE_EHLO,
    };

    if (t->stage < STAGE_STEPS)
        return phases[t->stage];
    return t->answered < t->script->count ? phase_of_step(&t->script->steps[t->answered])
                                          : SMTP_PHASE_QUIT;
}

static void
fail(struct conformance_talk *t, const char *why)
{
    t->result->failed_phase = phase_of(t);
    snprintf(t->result->failure, sizeof t->result->failure, "%s", why);
    end(t);
}

/* --- Steps. */

static bool
is_left_out(const struct conformance_talk *t, const struct conformance_step *s)
{
    enum smtp_phase phase = phase_of_step(s);

    if (phase == SMTP_PHASE_RCPT)
        return !t->mail_taken || (s->ask == CONFORMANCE_ASK_MANY && t->many_refused);
    if (phase == SMTP_PHASE_DATA)
        return !t->rcpt_taken;
    return phase == SMTP_PHASE_DOT && !t->wants_content;
}

/* Until it is ready as long as relayd waits for that; then for an answer. */
static void
await_answer(struct conformance_talk *t)
{
    conn_deadline(t->conn, t->stage < STAGE_READY ? t->settings->connect_timeout_ms
                                                  : t->settings->answer_timeout_ms);
}

static void
send_step(struct conformance_talk *t, const struct conformance_step *s)
{
    buf_printf(conn_output(t->conn), "%s%s", s->line ? s->line : s->content,
               s->line ? "\r\n" : ".\r\n");
    if (s->line == NULL)
        t->wants_content = false;
    if (t->sent == t->answered)
        t->asked_at_ms = loop_now_ms(t->loop);
    t->sent++;
}

static bool
may_send(const struct conformance_talk *t)
{
    if (t->sent == t->script->count)
        return false;
    return t->sent == t->answered ||
           (t->script->steps[t->sent - 1].with_next && t->result->caps.pipelining);
}

static void
send_steps(struct conformance_talk *t)
{
    while (may_send(t)) {
        const struct conformance_step *s = &t->script->steps[t->sent];

        if (!is_left_out(t, s))
            send_step(t, s);
        else if (t->sent == t->answered)
            t->sent = t->answered = t->sent + 1;
        else
            break;
    }
    if (t->answered == t->script->count) {
        end(t);
        return;
    }
    conn_flush(t->conn);
    await_answer(t);
}

static void
take_step(struct conformance_talk *t, const struct smtp_reply *reply)
{
    struct conformance_step *s = &t->script->steps[t->answered++];
    bool ok = reply->code / 100 == 2;
    enum smtp_phase phase = phase_of_step(s);

    s->reply = *reply;
    s->ms = loop_now_ms(t->loop) - t->asked_at_ms;
    t->asked_at_ms = loop_now_ms(t->loop);
    if (phase == SMTP_PHASE_MAIL)
        t->mail_taken = ok;
    else if (phase == SMTP_PHASE_RCPT)
        t->rcpt_taken = t->rcpt_taken || ok;
    else
        t->mail_taken = t->rcpt_taken = phase == SMTP_PHASE_DATA && reply->code != 354;
    t->many_refused |= s->ask == CONFORMANCE_ASK_MANY && !ok;
    t->wants_content = phase == SMTP_PHASE_DATA && reply->code == 354;
    send_steps(t);
}

/* --- What comes before them. */

static void
ask(struct conformance_talk *t, enum stage stage, const char *verb, const char *operand)
{
    t->stage = stage;
    t->asked_at_ms = loop_now_ms(t->loop);
    if (stage == STAGE_EHLO || stage == STAGE_EHLO_TLS)
        t->result->caps = (struct smtp_capabilities){.esmtp = true};
    buf_printf(conn_output(t->conn), "%s%s\r\n", verb, operand);
    conn_flush(t->conn);
    await_answer(t);
}

static void
get_ready(struct conformance_talk *t)
{
    t->stage = STAGE_READY;
    t->result->ready = true;
    conn_deadline(t->conn, 0);
    t->ops->on_ready(t->ctx, t);
}

void
conformance_talk_go(struct conformance_talk *t)
{
    if (t->stage != STAGE_READY)
        return;
    t->stage = STAGE_STEPS;
    send_steps(t);
}

void
conformance_talk_stop(struct conformance_talk *t, const char *why)
{
    if (t->stage != STAGE_ENDED)
        fail(t, why);
}

static bool
must_have_tls(const struct conformance_talk *t)
{
    return t->tls == TLS_POLICY_ENCRYPT || t->tls == TLS_POLICY_VERIFY;
}

static void
without_tls(struct conformance_talk *t, const char *why)
{
    if (must_have_tls(t))
        fail(t, why);
    else
        get_ready(t);
}

static void
take_banner(struct conformance_talk *t, const struct smtp_reply *reply)
{
    size_t n = strcspn(reply->text, " ");

    t->result->banner = *reply;
    if (slice_equal_nocase((struct slice){reply->text, n}, slice_of(t->settings->hostname)))
        fail(t, "its greeting has our own name");
    else if (reply->code / 100 == 2)
        ask(t, STAGE_EHLO, "EHLO ", t->settings->hostname);
    else
        fail(t, "turned away");
}

static void
take_ehlo(struct conformance_talk *t, const struct smtp_reply *reply)
{
    t->result->ehlo = *reply;
    t->result->caps_plain = t->result->caps;
    t->result->tls_offered = reply->code / 100 == 2 && t->result->caps.starttls;
    if (reply->code / 100 == 5) {
        t->result->caps = (struct smtp_capabilities){.esmtp = false};
        ask(t, STAGE_HELO, "HELO ", t->settings->hostname);
    } else if (reply->code / 100 != 2)
        fail(t, "EHLO is refused");
    else if (t->tls != TLS_POLICY_NONE && t->result->tls_offered && t->settings->tls_client)
        ask(t, STAGE_STARTTLS, "STARTTLS", "");
    else
        without_tls(t, "STARTTLS is not offered");
}

static void
take_helo(struct conformance_talk *t, const struct smtp_reply *reply)
{
    t->result->helo = *reply;
    if (reply->code / 100 == 2)
        without_tls(t, "STARTTLS is not offered");
    else
        fail(t, "EHLO and HELO are refused");
}

static void
take_starttls(struct conformance_talk *t, const struct smtp_reply *reply)
{
    t->result->tls_tried = true;
    if (reply->code / 100 != 2) {
        smtp_reply_text(reply, t->result->tls_text, sizeof t->result->tls_text);
        without_tls(t, "STARTTLS is refused");
        return;
    }
    t->ssl = tls_client_ssl(t->settings->tls_client, t->tls,
                            t->settings->tls_name[0] ? t->settings->tls_name : NULL,
                            &t->settings->endpoint);
    t->stage = STAGE_TLS;
    t->result->injected_bytes = conn_start_tls(t->conn, t->ssl, t->settings->connect_timeout_ms);
}

static void
take_ehlo_tls(struct conformance_talk *t, const struct smtp_reply *reply)
{
    if (reply->code / 100 == 2)
        get_ready(t);
    else
        fail(t, "EHLO is refused over TLS");
}

static void
on_tls_ready(struct conformance_talk *t)
{
    struct conformance_talk_result *r = t->result;

    r->tls_works = true;
    snprintf(r->tls_text, sizeof r->tls_text, "%s %s", conn_tls_version(t->conn),
             conn_tls_cipher(t->conn));
    conformance_seal_read(t->ssl, t->settings->tls_name, &t->settings->endpoint, &r->certificate);
    ask(t, STAGE_EHLO_TLS, "EHLO ", t->settings->hostname);
}

/* --- Answers. */

static void
look_at_form(struct conformance_talk *t, struct slice octets)
{
    const char *odd = conformance_form_take(&t->form, octets);

    if (odd && t->result->odd[0] == '\0')
        snprintf(t->result->odd, sizeof t->result->odd, "%s", odd);
}

static void
on_line(void *ctx, struct slice text)
{
    struct conformance_talk *t = ctx;

    if (t->stage == STAGE_EHLO || t->stage == STAGE_EHLO_TLS)
        smtp_capabilities_take(&t->result->caps, text);
}

static void
take(struct conformance_talk *t, const struct smtp_reply *reply)
{
    static void (*const takes[])(struct conformance_talk *, const struct smtp_reply *) = {
        [STAGE_BANNER] = take_banner,     [STAGE_EHLO] = take_ehlo,
        [STAGE_HELO] = take_helo,         [STAGE_STARTTLS] = take_starttls,
        [STAGE_EHLO_TLS] = take_ehlo_tls, [STAGE_STEPS] = take_step,
    };
    int64_t ms = loop_now_ms(t->loop) - t->asked_at_ms;

    if (t->stage < STAGE_STEPS && ms > t->result->slowest_ms)
        t->result->slowest_ms = ms;
    if ((size_t)t->stage < ARRAY_SIZE(takes) && takes[t->stage])
        takes[t->stage](t, reply);
}

/* An answer that closes the connection is taken first, then it ends there. */
static bool
take_closing(struct conformance_talk *t, const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE];

    if (reply->code != 421)
        return false;
    if (t->stage == STAGE_BANNER)
        t->result->banner = *reply;
    else if (t->stage == STAGE_EHLO)
        t->result->ehlo = *reply;
    else if (t->stage == STAGE_STEPS && t->answered < t->sent)
        t->script->steps[t->answered].reply = *reply;
    fail(t, smtp_reply_text(reply, text, sizeof text));
    return true;
}

static void
on_input(struct conformance_talk *t)
{
    while (t->stage != STAGE_ENDED && t->stage != STAGE_TLS && buf_size(conn_input(t->conn)) > 0) {
        struct slice input = buf_slice(conn_input(t->conn));
        size_t consumed;
        int rc = smtp_reply_parse(&t->parser, input, &consumed, on_line, t);

        look_at_form(t, (struct slice){input.p, consumed});
        buf_consume(conn_input(t->conn), consumed);
        if (rc == ERR_AGAIN)
            return;
        if (rc != ERR_OK || t->stage == STAGE_READY ||
            (t->stage == STAGE_STEPS && t->answered == t->sent)) {
            t->result->is_garbage = rc != ERR_OK;
            fail(t, rc != ERR_OK                  ? "this is no answer of a mail server"
                    : t->parser.reply.code == 421 ? "closed while nothing was asked (421)"
                                                  : "an answer to nothing");
            return;
        }
        if (!take_closing(t, &t->parser.reply))
            take(t, &t->parser.reply);
    }
}

static void
on_failed(struct conformance_talk *t)
{
    const char *why = conn_tls_error(t->conn);

    if (t->stage == STAGE_TLS)
        snprintf(t->result->tls_text, sizeof t->result->tls_text, "%s",
                 why[0] ? why : "connection lost");
    if (why[0] == '\0')
        why = t->stage == STAGE_CONNECT && conn_error(t->conn) ? strerror(conn_error(t->conn))
                                                               : "connection lost";
    fail(t, why);
}

static void
on_connected(struct conformance_talk *t)
{
    t->result->connected = true;
    t->result->connect_ms = loop_now_ms(t->loop) - t->asked_at_ms;
    t->asked_at_ms = loop_now_ms(t->loop);
    t->stage = STAGE_BANNER;
    await_answer(t);
}

static void
on_timeout(struct conformance_talk *t)
{
    t->result->timed_out = true;
    if (t->stage == STAGE_TLS)
        snprintf(t->result->tls_text, sizeof t->result->tls_text, "no answer in time");
    fail(t, "no answer in time");
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct conformance_talk *t = ctx;

    switch (event) {
    case CONN_CONNECTED:
        on_connected(t);
        return;
    case CONN_INPUT:
        on_input(t);
        return;
    case CONN_TLS_READY:
        on_tls_ready(t);
        return;
    case CONN_DRAINED:
        return;
    case CONN_EOF:
    case CONN_FAILED:
        on_failed(t);
        return;
    case CONN_TIMEOUT:
        on_timeout(t);
        return;
    }
}

struct conformance_talk *
conformance_talk_start(struct loop *loop, const struct conformance_talk_settings *settings,
                       enum tls_policy tls, struct conformance_talk_script *script,
                       const struct conformance_talk_ops *ops, void *ctx)
{
    struct conformance_talk *t = mem_alloc(sizeof *t);

    t->loop = loop;
    t->settings = settings;
    t->tls = tls;
    t->script = script;
    t->result = &script->result;
    t->ops = ops;
    t->ctx = ctx;
    t->asked_at_ms = loop_now_ms(loop);
    smtp_reply_parser_init(&t->parser);
    *t->result = (struct conformance_talk_result){.failed_phase = SMTP_PHASE_CONNECT};
    if (conn_connect(loop, &settings->endpoint, settings->source.family ? &settings->source : NULL,
                     settings->connect_timeout_ms, on_conn, t, &t->conn) < 0)
        fail(t, strerror(errno));
    return t;
}
