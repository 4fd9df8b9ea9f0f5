/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A row a step: what is said, and which step follows its answer.  One command at a time, so that
 * each answer has its time.
 *
 *   connect -> greeting -> EHLO [-> HELO] [-> STARTTLS -> TLS -> EHLO] -> MAIL [-> RCPT] -> RSET
 */
#include "probe/probe_talk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "net/conn.h"

enum step {
    STEP_CONNECT,
    STEP_GREETING,
    STEP_EHLO,
    STEP_HELO,
    STEP_STARTTLS,
    STEP_TLS,
    STEP_EHLO_TLS,
    STEP_MAIL,
    STEP_RCPT,
    STEP_RSET,
    STEP_END,
};

struct probe_talk {
    struct loop *loop;
    const struct probe_settings *settings;
    struct probe_question question;
    probe_on_report on_report;
    void *ctx;
    struct conn *conn;
    enum step step;
    int64_t step_at_ms;
    struct smtp_reply_parser parser;
    struct smtp_capabilities caps;
    struct probe_report report;
};

struct row {
    const char *name;
    enum smtp_phase phase;
    const char *command, *tail; /* around the operand */
    enum step (*next)(struct probe_talk *t, const struct smtp_reply *reply);
};

static bool
is_ok(const struct smtp_reply *reply)
{
    return reply->code / 100 == 2;
}

/* --- Which step follows. */

static enum step
after_greeting(struct probe_talk *t, const struct smtp_reply *reply)
{
    (void)t;
    return is_ok(reply) ? STEP_EHLO : STEP_END;
}

static bool
wants_tls(const struct probe_talk *t)
{
    return t->question.tls != TLS_POLICY_NONE && t->settings->tls != NULL;
}

static bool
must_have_tls(const struct probe_talk *t)
{
    return t->question.tls == TLS_POLICY_ENCRYPT || t->question.tls == TLS_POLICY_VERIFY;
}

static void
fail(struct probe_talk *t, const char *name, const char *why)
{
    struct probe_step *s = &t->report.steps[t->report.count++];

    CHECK(t->report.count <= PROBE_STEPS_MAX);
    s->name = name;
    snprintf(s->text, sizeof s->text, "%s", why);
}

static enum step
without_tls(struct probe_talk *t, const char *why)
{
    if (!must_have_tls(t))
        return STEP_MAIL;
    fail(t, "TLS", why);
    t->step = STEP_STARTTLS;
    return STEP_END;
}

static enum step
after_ehlo(struct probe_talk *t, const struct smtp_reply *reply)
{
    if (!is_ok(reply))
        return smtp_class_is_broken(SMTP_PHASE_EHLO, reply) || reply->code == 550 ? STEP_HELO
                                                                                  : STEP_END;
    if (t->caps.starttls && wants_tls(t))
        return STEP_STARTTLS;
    return without_tls(t, t->caps.starttls ? "needed, and cannot be tried here"
                                           : "needed, and not offered");
}

static enum step
after_helo(struct probe_talk *t, const struct smtp_reply *reply)
{
    return is_ok(reply) ? without_tls(t, "needed, and not offered") : STEP_END;
}

static enum step
after_starttls(struct probe_talk *t, const struct smtp_reply *reply)
{
    return is_ok(reply) ? STEP_TLS : without_tls(t, "needed, and refused");
}

static enum step
after_ehlo_tls(struct probe_talk *t, const struct smtp_reply *reply)
{
    (void)t;
    return is_ok(reply) ? STEP_MAIL : STEP_END;
}

static enum step
after_mail(struct probe_talk *t, const struct smtp_reply *reply)
{
    t->report.refused_rcpt = !is_ok(reply);
    return is_ok(reply) && t->question.rcpt[0] ? STEP_RCPT : STEP_RSET;
}

static enum step
after_rcpt(struct probe_talk *t, const struct smtp_reply *reply)
{
    t->report.took_rcpt = is_ok(reply);
    t->report.refused_rcpt = !is_ok(reply);
    return STEP_RSET;
}

static enum step
after_rset(struct probe_talk *t, const struct smtp_reply *reply)
{
    (void)t;
    (void)reply;
    return STEP_END;
}

static const struct row rows[] = {
    [STEP_CONNECT] = {"connect", SMTP_PHASE_CONNECT, NULL, NULL, NULL},
    [STEP_GREETING] = {"greeting", SMTP_PHASE_BANNER, NULL, NULL, after_greeting},
    [STEP_EHLO] = {"EHLO", SMTP_PHASE_EHLO, "EHLO ", "\r\n", after_ehlo},
    [STEP_HELO] = {"HELO", SMTP_PHASE_HELO, "HELO ", "\r\n", after_helo},
    [STEP_STARTTLS] = {"STARTTLS", SMTP_PHASE_STARTTLS, "STARTTLS", "\r\n", after_starttls},
    [STEP_TLS] = {"TLS", SMTP_PHASE_STARTTLS, NULL, NULL, NULL},
    [STEP_EHLO_TLS] = {"EHLO", SMTP_PHASE_EHLO, "EHLO ", "\r\n", after_ehlo_tls},
    [STEP_MAIL] = {"MAIL", SMTP_PHASE_MAIL, "MAIL FROM:<>", "\r\n", after_mail},
    [STEP_RCPT] = {"RCPT", SMTP_PHASE_RCPT, "RCPT TO:<", ">\r\n", after_rcpt},
    [STEP_RSET] = {"RSET", SMTP_PHASE_RSET, "RSET", "\r\n", after_rset},
};

/* --- Steps. */

static void
report_later(void *ctx)
{
    struct probe_talk *t = ctx;

    if (t->on_report) /* else it has been cancelled meanwhile */
        t->on_report(t->ctx, &t->report);
    free(t);
}

/* The report: what was reached, up to here. */
static void
end(struct probe_talk *t)
{
    /* Mail goes on in the clear, over a connection of its own, where TLS fails and need not be. */
    t->report.is_up = t->step >= STEP_MAIL || (t->step == STEP_TLS && !must_have_tls(t));
    if (!t->report.is_up)
        t->report.failed_phase = rows[t->step].phase;
    if (t->conn && t->step == STEP_RSET)
        buf_add_text(conn_output(t->conn), "QUIT\r\n");
    if (t->conn)
        conn_close_after_output(&t->conn);
    loop_defer(t->loop, report_later, t);
}

static void
step_done(struct probe_talk *t, bool ok, const char *text)
{
    struct probe_step *s = &t->report.steps[t->report.count++];

    CHECK(t->report.count <= PROBE_STEPS_MAX);
    s->name = rows[t->step].name;
    s->ms = loop_now_ms(t->loop) - t->step_at_ms;
    s->ok = ok;
    snprintf(s->text, sizeof s->text, "%s", text);
}

static const char *
operand(const struct probe_talk *t)
{
    if (t->step == STEP_RCPT)
        return t->question.rcpt;
    return t->step == STEP_MAIL || t->step == STEP_RSET || t->step == STEP_STARTTLS
               ? ""
               : t->settings->hostname;
}

static void
begin(struct probe_talk *t, enum step step)
{
    int64_t timeout_ms = t->settings->command_timeout_ms;

    if (step == STEP_END) {
        end(t);
        return;
    }
    t->step = step;
    t->step_at_ms = loop_now_ms(t->loop);
    smtp_reply_parser_init(&t->parser);
    if (step == STEP_TLS) {
        SSL *ssl = tls_client_ssl(t->settings->tls, t->question.tls,
                                  t->question.tls_name[0] ? t->question.tls_name : NULL,
                                  &t->question.endpoint);

        (void)conn_start_tls(t->conn, ssl, timeout_ms);
        return;
    }
    if (rows[step].command != NULL) {
        if (step == STEP_EHLO || step == STEP_EHLO_TLS)
            t->caps = (struct smtp_capabilities){0};
        buf_printf(conn_output(t->conn), "%s%s%s", rows[step].command, operand(t), rows[step].tail);
        conn_flush(t->conn);
    }
    conn_deadline(t->conn, timeout_ms);
}

static void
on_line(void *ctx, struct slice text)
{
    struct probe_talk *t = ctx;

    if (t->step == STEP_EHLO || t->step == STEP_EHLO_TLS)
        smtp_capabilities_take(&t->caps, text);
}

static void
broken(struct probe_talk *t, const char *why)
{
    step_done(t, false, why);
    end(t);
}

static void
on_input(struct probe_talk *t)
{
    char text[SMTP_REPLY_LINE_SIZE];
    size_t consumed;
    int rc = smtp_reply_parse(&t->parser, buf_slice(conn_input(t->conn)), &consumed, on_line, t);

    buf_consume(conn_input(t->conn), consumed);
    if (rc == ERR_AGAIN)
        return;
    if (rc != ERR_OK) {
        broken(t, "this is no answer of a mail server");
        return;
    }
    step_done(t, is_ok(&t->parser.reply), smtp_reply_text(&t->parser.reply, text, sizeof text));
    if (t->parser.reply.code == 421)
        end(t);
    else
        begin(t, rows[t->step].next(t, &t->parser.reply));
}

static void
on_failed(struct probe_talk *t)
{
    const char *why = conn_tls_error(t->conn);

    if (why[0] == '\0')
        why = t->step == STEP_CONNECT && conn_error(t->conn) ? strerror(conn_error(t->conn))
                                                             : "connection lost";
    broken(t, why);
}

static void
on_tls_ready(struct probe_talk *t)
{
    char text[SMTP_REPLY_LINE_SIZE];

    snprintf(text, sizeof text, "%s %s%s", conn_tls_version(t->conn), conn_tls_cipher(t->conn),
             conn_tls_is_resumed(t->conn) ? ", resumed" : "");
    step_done(t, true, text);
    begin(t, STEP_EHLO_TLS);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct probe_talk *t = ctx;

    switch (event) {
    case CONN_CONNECTED:
        step_done(t, true, "");
        begin(t, STEP_GREETING);
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
        t->report.timed_out = true;
        broken(t, "no answer in time");
        return;
    }
}

struct probe_talk *
probe_talk_start(struct loop *loop, const struct probe_settings *settings,
                 const struct probe_question *question, probe_on_report on_report, void *ctx)
{
    struct probe_talk *t = mem_alloc(sizeof *t);

    t->loop = loop;
    t->settings = settings;
    t->question = *question;
    t->on_report = on_report;
    t->ctx = ctx;
    t->step_at_ms = loop_now_ms(loop);
    if (conn_connect(loop, &question->endpoint, NULL, settings->connect_timeout_ms, on_conn, t,
                     &t->conn) < 0)
        broken(t, strerror(errno));
    return t;
}

void
probe_talk_cancel(struct probe_talk **held)
{
    struct probe_talk *t = *held;

    *held = NULL;
    if (t == NULL)
        return;
    t->on_report = NULL;
    if (t->conn == NULL) /* its report is on its way, and frees it */
        return;
    conn_close(&t->conn);
    loop_defer(t->loop, free, t);
}
