/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Glue between a connection and the server engine: feeds input, lets output go once a turn, keeps
 * the deadlines, pauses reading when the content is behind.  Decides nothing about mail; that is
 * the transaction's.
 *
 * The session owns its transaction until that detaches itself (its outcome is open, but the client
 * is gone).
 */
#include "relayd/session.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/conn.h"
#include "relayd/transaction.h"

#define SESSION_WAIT_INPUT_MAX \
    (64 * 1024) /* pipelined input that may lie there while an operation waits */

struct session {
    struct worker *worker;
    struct session *next, *previous;
    struct conn *conn;
    struct smtp_server *engine;
    struct inet_endpoint peer;
    struct transaction *transaction;
    bool paused, processing;
};

static void
session_free(void *ctx)
{
    struct session *s = ctx;

    smtp_server_free(&s->engine);
    free(s);
}

static void
session_end(struct session *s, bool send_output)
{
    struct worker *w = s->worker;

    if (s->conn == NULL)
        return;
    if (s->transaction)
        transaction_abandon(&s->transaction);
    if (send_output)
        conn_close_after_output(&s->conn);
    else
        conn_close(&s->conn);
    if (s->next)
        s->next->previous = s->previous;
    if (s->previous)
        s->previous->next = s->next;
    else
        w->sessions = s->next;
    w->session_count--;
    loop_defer(w->loop, session_free, s);
    worker_check_idle(w);
}

/* --- Operations of the engine. */

static enum smtp_step
on_helo(void *ctx, struct slice name, bool is_ehlo, struct smtp_reply *reply)
{
    (void)ctx;
    (void)name;
    (void)is_ehlo;
    (void)reply;
    return SMTP_SERVER_DONE;
}

static enum smtp_step
on_mail(void *ctx, const struct smtp_mail *mail, struct smtp_reply *reply)
{
    struct session *s = ctx;

    if (s->worker->closing) {
        *reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);
        return SMTP_SERVER_DONE;
    }
    s->transaction = transaction_new(s->worker, s, mail);
    *reply = smtp_verdict_reply(SMTP_VERDICT_SENDER_OK);
    return SMTP_SERVER_DONE;
}

static enum smtp_step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct smtp_reply *reply)
{
    struct session *s = ctx;

    return transaction_rcpt(s->transaction, rcpt, reply);
}

static enum smtp_step
on_data(void *ctx, struct smtp_reply *reply)
{
    struct session *s = ctx;

    return transaction_data(s->transaction, reply);
}

static bool
on_content(void *ctx, struct slice piece)
{
    struct session *s = ctx;

    return transaction_content(s->transaction, piece);
}

static enum smtp_step
on_content_end(void *ctx, bool fault, struct smtp_reply *reply)
{
    struct session *s = ctx;

    return transaction_end(s->transaction, fault, reply);
}

static void
on_reset(void *ctx, enum smtp_reset why)
{
    struct session *s = ctx;

    (void)why;
    if (s->transaction)
        transaction_abandon(&s->transaction);
}

static const struct smtp_server_ops server_ops = {
    .helo = on_helo,
    .mail = on_mail,
    .rcpt = on_rcpt,
    .data = on_data,
    .content = on_content,
    .end = on_content_end,
    .reset = on_reset,
};

/* --- Moving bytes. */

static void
set_deadline(struct session *s)
{
    const struct config *c = s->worker->config;
    int64_t timeout_ms = c->client_command_timeout_ms;

    if (smtp_server_is_waiting(s->engine))
        timeout_ms = 0; /* the waiting is ours; the backend's deadlines hold */
    else if (smtp_server_in_data(s->engine))
        timeout_ms = c->client_data_timeout_ms;
    conn_deadline(s->conn, timeout_ms);
}

static void
set_reading(struct session *s)
{
    bool waiting = smtp_server_is_waiting(s->engine);
    bool pause = (waiting && buf_size(conn_input(s->conn)) >= SESSION_WAIT_INPUT_MAX) ||
                 (s->transaction && transaction_is_behind(s->transaction)) ||
                 conn_output_is_full(s->conn);

    if (pause == s->paused)
        return;
    s->paused = pause;
    if (pause)
        conn_read_pause(s->conn);
    else
        conn_read_resume(s->conn);
}

static void
process(struct session *s)
{
    struct buf *in = conn_input(s->conn);

    s->processing = true;
    while (buf_size(in) > 0 && !smtp_server_is_waiting(s->engine) &&
           !smtp_server_is_finished(s->engine)) {
        size_t n = smtp_server_input(s->engine, buf_slice(in));

        buf_consume(in, n);
        if (n == 0)
            break;
    }
    s->processing = false;
    if (s->worker->closing)
        session_stop(s);
    if (smtp_server_is_finished(s->engine)) {
        session_end(s, true);
        return;
    }
    conn_flush(s->conn);
    set_deadline(s);
    set_reading(s);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct session *s = ctx;

    switch (event) {
    case CONN_INPUT:
    case CONN_DRAINED:
        process(s);
        return;
    case CONN_TIMEOUT: {
        struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_TIMEOUT);

        smtp_server_close(s->engine, &reply);
        session_end(s, true);
        return;
    }
    case CONN_EOF:
    case CONN_FAILED:
        session_end(s, false);
        return;
    case CONN_TLS_READY:
    case CONN_CONNECTED:
        return;
    }
}

void
session_start(struct worker *worker, int fd, const struct inet_endpoint *peer)
{
    struct session *s = mem_alloc(sizeof *s);

    s->worker = worker;
    s->peer = *peer;
    s->conn = conn_open_accepted(worker->loop, fd, peer, on_conn, s);
    s->engine = smtp_server_new(&worker->server_settings, &server_ops, s, conn_output(s->conn));
    s->next = worker->sessions;
    if (s->next)
        s->next->previous = s;
    worker->sessions = s;
    worker->session_count++;
    shared_count(worker->table, worker->slot, SHARED_COUNTER_CONNECTIONS);
    smtp_server_greet(s->engine);
    conn_flush_now(s->conn);
    set_deadline(s);
}

void
session_stop(struct session *s)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);

    /* A transaction that has begun may still end; everybody else goes now. */
    if (smtp_server_in_transaction(s->engine) || smtp_server_is_finished(s->engine))
        return;
    smtp_server_close(s->engine, &reply);
    if (!s->processing && smtp_server_is_finished(s->engine))
        session_end(s, true);
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
    smtp_server_answer(s->engine, reply);
    process(s);
}

/* The end of the client's side may be there and not yet read. */
static bool
is_connected(struct session *s)
{
    char octet;
    ssize_t n = recv(conn_fd(s->conn), &octet, 1, MSG_PEEK | MSG_DONTWAIT);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
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
        process(s);
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
