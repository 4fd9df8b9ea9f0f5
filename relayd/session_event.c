/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is told of a connection at its end: one line in the event log, with the time of each phase.
 * Who was refused before a session began is told by arrival.c.
 */
#include "relayd/session_private.h"

#include "base/clock.h"
#include "base/event_log.h"
#include "relayd/event_refusals.h"

static const char *const why_words[] = {
    [SESSION_END_NONE] = "unknown",
    [SESSION_END_QUIT] = "quit",
    [SESSION_END_CLOSED] = "closed",
    [SESSION_END_LOST] = "lost",
    [SESSION_END_TIMEOUT] = "timeout",
    [SESSION_END_SLOW] = "slow",
    [SESSION_END_IDLE] = "idle",
    [SESSION_END_STOPPED] = "stopped",
    [SESSION_END_LIMIT] = "limit",
    [SESSION_END_EARLY_TALKER] = "early-talker",
    [SESSION_END_NO_HEADER] = "no-proxy-header",
    [SESSION_END_TLS] = "tls-failed",
    [SESSION_END_REFUSED] = "refused",
};

struct note_word {
    unsigned bit;
    const char *word;
};

static const struct note_word own_notes[] = {
    {SESSION_NOTE_EARLY_TALKER, "early-talker"},
    {SESSION_NOTE_PROXIED, "proxied"},
    {SESSION_NOTE_XCLIENT, "xclient"},
    {SESSION_NOTE_NOT_READING, "not-reading"},
};

static const struct note_word engine_notes[] = {
    {SMTP_NOTE_EARLY_EHLO, "early-ehlo"},         {SMTP_NOTE_EARLY_DATA, "early-data"},
    {SMTP_NOTE_EARLY_STARTTLS, "early-starttls"}, {SMTP_NOTE_BARE_OCTET, "bare-octet"},
    {SMTP_NOTE_OTHER_PROTOCOL, "other-protocol"},
};

static bool
add_words(struct buf *json, unsigned bits, const struct note_word *words, size_t count, bool first)
{
    for (size_t i = 0; i < count; i++) {
        if (!(bits & words[i].bit))
            continue;
        buf_printf(json, "%s\"%s\"", first ? "" : ",", words[i].word);
        first = false;
    }
    return first;
}

static void
add_notes(struct buf *json, const struct session *s)
{
    bool first;

    buf_add_text(json, ",\"notes\":[");
    first = add_words(json, s->notes, own_notes, ARRAY_SIZE(own_notes), true);
    if (s->engine)
        add_words(json, smtp_server_notes(s->engine), engine_notes, ARRAY_SIZE(engine_notes),
                  first);
    buf_add_text(json, "]");
}

static void
add_phases(struct buf *json, const struct session *s)
{
    const char *gap = "";

    buf_add_text(json, ",\"phases_ms\":{");
    for (int i = 0; i < SESSION_PHASE_COUNT; i++) {
        int64_t ms =
            session_clock_spent_ms(&s->clock, (enum session_phase)i, loop_now_ms(s->worker->loop));

        if (ms == 0)
            continue;
        buf_printf(json, "%s\"%s\":%lld", gap, session_phase_word((enum session_phase)i),
                   (long long)ms);
        gap = ",";
    }
    buf_add_text(json, "}");
}

static void
add_engine(struct buf *json, const struct session *s)
{
    if (s->engine == NULL)
        return;
    event_text(json, "helo", smtp_server_helo_name(s->engine));
    event_number(json, "commands", smtp_server_command_count(s->engine));
    event_number(json, "errors", smtp_server_error_count(s->engine));
}

static void
add_tls(struct buf *json, const struct session *s)
{
    if (conn_tls_version(s->conn)[0]) {
        event_text(json, "tls", slice_of(conn_tls_version(s->conn)));
        event_text(json, "cipher", slice_of(conn_tls_cipher(s->conn)));
        event_text(json, "tls_session", slice_of(conn_tls_is_resumed(s->conn) ? "resumed" : "new"));
    }
    if (conn_tls_error(s->conn)[0])
        event_text(json, "tls_error", slice_of(conn_tls_error(s->conn)));
}

void
session_record_end(struct session *s)
{
    char address[INET_ENDPOINT_SIZE];
    int64_t now = clock_wall_ms();
    struct buf json;

    if (s->messages == 0 && s->recipients == 0 &&
        !event_refusals_may_list(s->worker->refusals, &s->peer, "connection", now))
        return;
    buf_init(&json, 0);
    event_begin(&json, "connection", now);
    event_text(&json, "client", slice_of(inet_address_text(&s->peer, address)));
    event_number(&json, "port", s->peer.port);
    if (!inet_endpoint_equal(&s->peer, &s->connected))
        event_text(&json, "via", slice_of(inet_address_text(&s->connected, address)));
    add_engine(&json, s);
    add_tls(&json, s);
    event_number(&json, "messages", s->messages);
    event_number(&json, "recipients", s->recipients);
    event_number(&json, "ms", now - s->opened_at_ms);
    add_phases(&json, s);
    add_notes(&json, s);
    event_text(&json, "end", slice_of(why_words[s->why]));
    event_end(&json);
    event_log_add(s->worker->events, buf_slice(&json));
    buf_fini(&json);
}
