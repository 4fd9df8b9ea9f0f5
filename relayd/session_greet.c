/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A connection before its greeting: whose it is (a header of the PROXY protocol may say so first),
 * and whether it waits for its turn to speak (greet-wait).
 *
 *   PROXY -> GREET -> greeted, or refused in place of the greeting
 *
 * Invariant: there is no engine yet, and nothing that the client has sent is taken for a command.
 */
#include "net/proxy_protocol.h"
#include "relayd/arrival.h"
#include "relayd/session_private.h"

/* In its place, when there is no engine yet. */
void
session_greet_refuse(struct session *s, enum session_why why, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    smtp_reply_write(&reply, conn_output(s->conn));
    session_end(s, why, true);
}

static void
greet(struct session *s)
{
    struct worker *w = s->worker;

    s->stage = SESSION_STAGE_OPEN;
    s->engine = smtp_server_new(&w->server_settings, &session_ops, s, conn_output(s->conn));
    smtp_server_set_offers(s->engine, session_offers(s));
    smtp_server_greet(s->engine);
    conn_flush_now(s->conn);
    session_process(s);
}

static void
refuse_early_talker(struct session *s)
{
    arrival_count(s->worker, ARRIVAL_EARLY, &s->peer);
    session_greet_refuse(s, SESSION_END_EARLY_TALKER, SMTP_VERDICT_EARLY_TALKER);
}

/* Who the client is is known. */
static void
begin(struct session *s)
{
    if (session_has_more(s))
        s->notes |= SESSION_NOTE_EARLY_TALKER;
    if (s->worker->config->greet_wait_ms == 0) {
        greet(s);
        return;
    }
    if (s->notes & SESSION_NOTE_EARLY_TALKER) {
        refuse_early_talker(s);
        return;
    }
    s->stage = SESSION_STAGE_GREET;
    session_keep_time(s);
}

static void
refuse_without_header(struct session *s)
{
    arrival_count(s->worker, ARRIVAL_NO_HEADER, &s->connected);
    session_end(s, SESSION_END_NO_HEADER, false);
}

static void
take_proxy_header(struct session *s)
{
    struct proxy_protocol_header header;
    size_t size;
    int rc = proxy_protocol_parse(buf_slice(conn_input(s->conn)), &header, &size);
    enum smtp_verdict verdict;

    if (rc == ERR_AGAIN)
        return;
    if (rc < 0) {
        refuse_without_header(s);
        return;
    }
    buf_consume(conn_input(s->conn), size);
    if (!header.is_own) {
        s->peer = header.source;
        s->notes |= SESSION_NOTE_PROXIED;
    }
    verdict = arrival_enter(s->worker, &s->peer);
    s->is_entered = verdict == SMTP_VERDICT_OK;
    if (s->is_entered)
        begin(s);
    else
        session_greet_refuse(s, SESSION_END_REFUSED, verdict);
}

void
session_greet_start(struct session *s, bool by_proxy)
{
    s->stage = SESSION_STAGE_PROXY;
    session_clock_start(&s->clock, by_proxy ? SESSION_PHASE_PROXY : SESSION_PHASE_GREET,
                        loop_now_ms(s->worker->loop));
    if (by_proxy)
        session_keep_time(s);
    else
        begin(s);
}

void
session_greet_input(struct session *s)
{
    if (s->stage == SESSION_STAGE_PROXY) {
        take_proxy_header(s);
        return;
    }
    s->notes |= SESSION_NOTE_EARLY_TALKER;
    refuse_early_talker(s);
}

void
session_greet_timeout(struct session *s)
{
    if (s->stage == SESSION_STAGE_PROXY)
        refuse_without_header(s);
    else
        greet(s);
}
