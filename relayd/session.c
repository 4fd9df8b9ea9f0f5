/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Glue between a connection and the server engine: feeds input, lets output go once a turn, keeps
 * the time (session_clock), pauses reading when the content is behind or the client does not read.
 * Decides nothing about mail; that is the transaction's.
 *
 * What an open connection can keep here is bounded: SESSION_INPUT_MAX of commands that wait behind
 * an operation, SESSION_OUTPUT_MAX of replies that are not read and one piece of commands more.
 *
 * The session owns its transaction until that detaches itself (its outcome is open, but the client
 * is gone).
 */
#include "relayd/session_private.h"

#include <netinet/tcp.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/tls_server.h"
#include "relayd/arrival.h"
#include "relayd/sender_facts.h"

#define SESSION_INPUT_MAX 4096 /* a group of pipelined commands; the rest stays in the kernel */
#define SESSION_OUTPUT_MAX (16 * 1024)
#define SESSION_COMMANDS_AT_ONCE 4096 /* octets of commands between two looks at the output */
#define PRESSURE_SPREAD_MS 1          /* so that not all end in one turn */

/* --- The end. */

static void
session_free(void *ctx)
{
    struct session *s = ctx;

    smtp_server_free(&s->engine);
    allowance_fini(&s->allowance);
    free(s);
}

static void
unlink_session(struct session *s)
{
    struct worker *w = s->worker;

    if (s->next)
        s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        w->sessions = s->next;
    w->session_count--;
}

void
session_drop_transaction(struct session *s)
{
    if (s->transaction == NULL)
        return;
    s->recipients += transaction_recipient_count(s->transaction);
    transaction_abandon(&s->transaction);
}

void
session_end(struct session *s, enum session_why why, bool send_output)
{
    struct worker *w = s->worker;

    if (s->conn == NULL)
        return;
    if (s->why == SESSION_END_NONE)
        s->why = why;
    session_drop_transaction(s);
    session_record_end(s);
    sender_facts_free(&s->facts);
    if (send_output)
        conn_close_after_output(&s->conn);
    else
        conn_close(&s->conn);
    if (s->is_entered)
        arrival_leave(w, &s->peer);
    unlink_session(s);
    loop_defer(w->loop, session_free, s);
    worker_check_idle(w);
}

/* --- Time. */

static enum session_phase
phase_of(const struct session *s)
{
    static const enum session_phase before_open[] = {
        [SESSION_STAGE_PROXY] = SESSION_PHASE_PROXY,
        [SESSION_STAGE_GREET] = SESSION_PHASE_GREET,
        [SESSION_STAGE_TLS] = SESSION_PHASE_TLS,
    };

    if (s->stage != SESSION_STAGE_OPEN)
        return before_open[s->stage];
    if (smtp_server_is_waiting(s->engine))
        return SESSION_PHASE_OURS;
    if (s->is_stuck)
        return SESSION_PHASE_OUTPUT;
    if (!smtp_server_in_data(s->engine))
        return SESSION_PHASE_COMMAND;
    return s->transaction && transaction_is_behind(s->transaction) ? SESSION_PHASE_BEHIND
                                                                   : SESSION_PHASE_CONTENT;
}

static void
set_deadline(struct session *s, int64_t not_before_ms)
{
    int64_t now = loop_now_ms(s->worker->loop);
    int64_t at = session_clock_deadline_ms(&s->clock, &s->worker->session_times,
                                           arrival_is_pressed(s->worker));

    if (at == 0) {
        conn_deadline(s->conn, 0);
        return;
    }
    at = at < not_before_ms ? not_before_ms : at;
    conn_deadline(s->conn, at > now ? at - now : 1);
}

/* A phase begins anew when it changes, and for commands with each that has come whole. */
void
session_keep_time(struct session *s)
{
    int64_t now = loop_now_ms(s->worker->loop);
    enum session_phase phase = phase_of(s);
    uint32_t commands = s->engine ? smtp_server_command_count(s->engine) : 0;

    if (phase != s->clock.phase || (phase == SESSION_PHASE_COMMAND && commands != s->commands_seen))
        session_clock_enter(&s->clock, phase, now);
    s->commands_seen = commands;
    conn_read_limit(s->conn, s->engine && smtp_server_in_data(s->engine)
                                 ? transaction_room(s->transaction)
                                 : SESSION_INPUT_MAX);
    if (phase == SESSION_PHASE_CONTENT)
        session_clock_content(&s->clock, smtp_server_content_size(s->engine), now);
    set_deadline(s, 0);
}

void
session_progress(struct session *s)
{
    session_clock_progress(&s->clock, loop_now_ms(s->worker->loop));
}

void
sessions_pressure_changed(struct worker *worker)
{
    int64_t at = loop_now_ms(worker->loop);

    for (struct session *s = worker->sessions; s; s = s->next)
        set_deadline(s, at += PRESSURE_SPREAD_MS);
}

/* --- Moving bytes. */

static void
set_reading(struct session *s)
{
    bool waiting = s->engine && smtp_server_is_waiting(s->engine);
    bool pause = s->is_stuck || (waiting && buf_size(conn_input(s->conn)) >= SESSION_INPUT_MAX) ||
                 (s->transaction && transaction_is_behind(s->transaction));

    if (pause == s->paused)
        return;
    s->paused = pause;
    if (pause)
        conn_read_pause(s->conn);
    else
        conn_read_resume(s->conn);
}

/* The replies go out before more is made; what the client does not take stops its reading. */
static void
look_at_output(struct session *s)
{
    if (buf_size(conn_output(s->conn)) >= SESSION_OUTPUT_MAX)
        conn_flush_now(s->conn);
    if (buf_size(conn_output(s->conn)) < SESSION_OUTPUT_MAX)
        return;
    s->is_stuck = true;
    s->notes |= SESSION_NOTE_NOT_READING;
    conn_notify_empty(s->conn);
}

/* Should this worker die now, the parent knows at which message (P8). */
static void
work_on(const struct session *s)
{
    shared_worker_set_message(s->worker->table, s->worker->slot,
                              s->transaction ? transaction_fingerprint(s->transaction) : 0);
}

static void
feed(struct session *s)
{
    struct buf *in = conn_input(s->conn);

    s->processing = true;
    work_on(s);
    while (buf_size(in) > 0 && !s->is_stuck && !smtp_server_is_waiting(s->engine) &&
           !smtp_server_is_finished(s->engine)) {
        struct slice piece = buf_slice(in);
        size_t n;

        if (!smtp_server_in_data(s->engine) && piece.n > SESSION_COMMANDS_AT_ONCE)
            piece.n = SESSION_COMMANDS_AT_ONCE;
        s->fed_bytes = (uint32_t)piece.n;
        n = smtp_server_input(s->engine, piece);
        buf_consume(in, n);
        s->fed_bytes = 0;
        if (n == 0)
            break;
        look_at_output(s);
    }
    shared_worker_set_message(s->worker->table, s->worker->slot, 0);
    s->processing = false;
}

/* 220 to STARTTLS has been said. What the client sent behind it in plain text is thrown away
 * (RFC 3207 4.2), and noted by the engine. */
static void
start_tls(struct session *s)
{
    SSL *ssl = tls_server_ssl(s->worker->tls);

    if (ssl == NULL) {
        session_end(s, SESSION_END_TLS, false);
        return;
    }
    s->stage = SESSION_STAGE_TLS;
    (void)conn_start_tls(s->conn, ssl, 0); /* the deadline is session_keep_time's */
    session_keep_time(s);
}

static void
on_tls_ready(struct session *s)
{
    s->stage = SESSION_STAGE_OPEN;
    s->is_stuck = false;
    smtp_server_tls_started(s->engine);
    set_reading(s);
    session_keep_time(s);
}

void
session_process(struct session *s)
{
    feed(s);
    if (s->worker->closing || arrival_is_closed(s->worker))
        session_stop(s);
    if (s->conn == NULL)
        return;
    if (smtp_server_is_finished(s->engine)) {
        session_end(s,
                    smtp_server_last_code(s->engine) == 221 ? SESSION_END_QUIT : SESSION_END_LIMIT,
                    true);
        return;
    }
    conn_flush(s->conn);
    set_reading(s);
    if (smtp_server_wants_tls(s->engine))
        start_tls(s);
    else
        session_keep_time(s);
}

/* Before the engine is there it was given nothing. */
bool
session_has_more(const struct session *s)
{
    return buf_size(conn_input(s->conn)) > s->fed_bytes || conn_has_more(s->conn);
}

bool
session_is_early(const struct session *s)
{
    return (smtp_server_notes(s->engine) & SMTP_NOTE_EARLY_DATA) || session_has_more(s);
}

/* --- Events. */

static void
on_input(struct session *s)
{
    if (s->engine == NULL)
        session_greet_input(s);
    else if (s->stage == SESSION_STAGE_OPEN)
        session_process(s);
}

static void
say_late(struct session *s, enum session_lateness late)
{
    static const struct {
        enum session_why why;
        enum smtp_verdict verdict;
    } rows[] = {
        [SESSION_SILENT] = {SESSION_END_TIMEOUT, SMTP_VERDICT_TIMEOUT},
        [SESSION_SLOW] = {SESSION_END_SLOW, SMTP_VERDICT_TOO_SLOW},
        [SESSION_NO_PROGRESS] = {SESSION_END_IDLE, SMTP_VERDICT_TIMEOUT},
    };
    struct smtp_reply reply = smtp_verdict_reply(rows[late].verdict);

    s->why = rows[late].why;
    smtp_server_close(s->engine, &reply);
    session_end(s, rows[late].why, !s->is_stuck);
}

static void
on_timeout(struct session *s)
{
    int64_t now = loop_now_ms(s->worker->loop);
    enum session_lateness late = session_clock_judge(&s->clock, &s->worker->session_times,
                                                     arrival_is_pressed(s->worker), now);

    if (late == SESSION_IN_TIME)
        set_deadline(s, 0);
    else if (s->stage == SESSION_STAGE_TLS)
        session_end(s, SESSION_END_TLS, false);
    else if (s->engine == NULL)
        session_greet_timeout(s);
    else
        say_late(s, late);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct session *s = ctx;

    switch (event) {
    case CONN_DRAINED:
        s->is_stuck = false;
        if (s->stage == SESSION_STAGE_OPEN)
            session_process(s);
        return;
    case CONN_INPUT:
        on_input(s);
        return;
    case CONN_TIMEOUT:
        on_timeout(s);
        return;
    case CONN_EOF: /* what was answered may still be read; what is under way is dropped */
        session_end(s, SESSION_END_CLOSED, true);
        return;
    case CONN_FAILED:
        session_end(s, s->stage == SESSION_STAGE_TLS ? SESSION_END_TLS : SESSION_END_LOST, false);
        return;
    case CONN_TLS_READY:
        on_tls_ready(s);
        return;
    case CONN_CONNECTED:
        return;
    }
}

/* --- Life. */

void
session_start(struct worker *worker, int fd, const struct inet_endpoint *peer, bool by_proxy)
{
    struct session *s = mem_alloc(sizeof *s);

    s->worker = worker;
    s->peer = *peer;
    s->connected = *peer;
    s->opened_at_ms = clock_wall_ms();
    s->is_entered = !by_proxy;
    s->conn = conn_open_accepted(worker->loop, fd, peer, on_conn, s);
    conn_read_limit(s->conn, SESSION_INPUT_MAX);
    s->next = worker->sessions;
    if (s->next)
        s->next->previous = s;
    worker->sessions = s;
    worker->session_count++;
    shared_count(worker->table, worker->slot, SHARED_COUNTER_CONNECTIONS);
    session_greet_start(s, by_proxy);
}

void
session_stop(struct session *s)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);

    if (s->engine == NULL) {
        session_greet_refuse(s, SESSION_END_STOPPED, SMTP_VERDICT_SHUTTING_DOWN);
        return;
    }
    if (s->stage == SESSION_STAGE_TLS) { /* there is no way to say it */
        session_end(s, SESSION_END_STOPPED, false);
        return;
    }
    /* A transaction that has begun may still end; everybody else goes now. */
    if (smtp_server_in_transaction(s->engine) || smtp_server_is_finished(s->engine))
        return;
    smtp_server_close(s->engine, &reply);
    if (!s->processing && smtp_server_is_finished(s->engine))
        session_end(s, SESSION_END_STOPPED, true);
}

void
session_drain(struct session *s)
{
    if (s->stage != SESSION_STAGE_TLS) /* it hears it behind the handshake */
        session_stop(s);
}

void
session_break_off(struct session *s)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);
    bool can_hear = s->engine && s->stage == SESSION_STAGE_OPEN && !s->is_stuck;

    if (can_hear)
        smtp_server_close(s->engine, &reply);
    session_end(s, SESSION_END_STOPPED, can_hear);
}

struct session *
session_next(const struct session *session)
{
    return session->next;
}

void
session_answer(struct session *s, const struct smtp_reply *reply)
{
    CHECK(!s->processing);
    if (reply->code / 100 == 2 && !smtp_server_in_data(s->engine))
        session_progress(s);
    smtp_server_answer(s->engine, reply);
    session_process(s);
}

/* The end of the client's side may be there and not yet read, behind other input or TLS's own. */
static bool
is_connected(struct session *s)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    return getsockopt(conn_fd(s->conn), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state == TCP_ESTABLISHED;
}

bool
session_answer_now(struct session *s, const struct smtp_reply *reply)
{
    bool heard = is_connected(s);

    session_answer(s, reply);
    if (s->conn)
        conn_flush_now(s->conn);
    return heard;
}

void
session_resume(struct session *s)
{
    if (!s->processing && s->conn)
        session_process(s);
}

struct smtp_server *
session_engine(struct session *session)
{
    return session->engine;
}

const struct inet_endpoint *
session_peer(const struct session *session)
{
    return &session->peer;
}

struct allowance *
session_allowance(struct session *session)
{
    return &session->allowance;
}

const char *
session_tls_version(const struct session *session)
{
    return conn_tls_version(session->conn);
}

const char *
session_tls_cipher(const struct session *session)
{
    return conn_tls_cipher(session->conn);
}
