/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The upgrade of a connection to TLS, in place: first the output that was there leaves in the
 * clear, then the handshake has the descriptor's events, then conn.c goes on with the stream in the
 * place of read and send.
 *
 * A handshake costs up to a millisecond of CPU, more than any other callback.  All handshakes of a
 * turn together get HANDSHAKE_TURN_US; who comes later in the turn is served in the next ones (the
 * descriptor tells again), so that a flood of handshakes delays other sessions by so much and no
 * more (P8).
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/conn_private.h"

#define HANDSHAKE_TURN_US 10000

static int64_t turn_used_us; /* one loop a process */
static bool turn_is_counted;

static void
on_turn_over(void *ctx)
{
    (void)ctx;
    turn_used_us = 0;
    turn_is_counted = false;
}

static void
count_time(struct conn *c, int64_t used_us)
{
    turn_used_us += used_us;
    if (!turn_is_counted)
        loop_defer(c->loop, on_turn_over, NULL);
    turn_is_counted = true;
}

bool
conn_in_handshake(const struct conn *c)
{
    return c->tls && !c->tls->is_open && c->state == CONN_STATE_OPEN;
}

/* ERR_OK when nothing is left. */
static int
send_plain_rest(struct conn *c)
{
    struct slice rest = {buf_slice(&c->output).p, c->tls->plain_left};
    ssize_t n;

    if (c->write_error) {
        errno = c->write_error;
        return ERR_IO;
    }
    if (rest.n == 0)
        return ERR_OK;
    n = conn_send_plain(c, rest);
    if (n < 0)
        return errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM ? ERR_AGAIN : ERR_IO;
    buf_consume(&c->output, (size_t)n);
    c->tls->plain_left -= (size_t)n;
    return c->tls->plain_left == 0 ? ERR_OK : ERR_AGAIN;
}

static void
become_open(struct conn *c)
{
    c->tls->is_open = true;
    c->deadline_at_ms = 0;
    conn_set_writing(c, false);
    conn_set_reading(c, true);
    conn_schedule(c, WORK_FLUSH | WORK_WATCH); /* what came behind the handshake is inside */
    conn_deliver(c, CONN_TLS_READY);
}

/* Whether this step is to be left out.  The client speaks first: until it does, a server's side
 * needs neither memory nor time. A client's first step has no event to be told again by. */
static bool
is_for_later(struct conn *c)
{
    bool begins = !c->tls->has_begun;

    c->tls->has_begun = true;
    if (!begins)
        return turn_used_us >= HANDSHAKE_TURN_US;
    if (!SSL_is_server(tls_stream_ssl(c->tls->stream)))
        return false;
    conn_set_writing(c, false);
    conn_set_reading(c, true);
    return true;
}

void
conn_tls_step(struct conn *c)
{
    bool wants_write = true;
    int64_t began_us;
    int rc;

    if (c->has_failed)
        return;
    rc = send_plain_rest(c);
    if (rc == ERR_OK) {
        if (is_for_later(c))
            return;
        began_us = clock_monotonic_us();
        rc = tls_stream_handshake(c->tls->stream);
        count_time(c, clock_monotonic_us() - began_us);
        wants_write = tls_stream_wants_write(c->tls->stream);
    }
    if (rc == ERR_OK)
        become_open(c);
    else if (rc == ERR_AGAIN) {
        conn_set_reading(c, !wants_write);
        conn_set_writing(c, wants_write);
    } else
        conn_fail(c, errno);
}

size_t
conn_start_tls(struct conn *c, SSL *ssl, int64_t timeout_ms)
{
    size_t thrown_away = buf_size(&c->input);

    CHECK(c->tls == NULL && ssl != NULL && c->state == CONN_STATE_OPEN);
    c->tls = mem_alloc(sizeof *c->tls);
    c->tls->stream = tls_stream_new(ssl, c->fd);
    c->tls->plain_left = buf_size(&c->output);
    buf_clear(&c->input);
    conn_deadline(c, timeout_ms);
    conn_schedule(c, WORK_TLS);
    return thrown_away;
}

/* A read met the need to write first (an answered key update, the socket full). */
void
conn_tls_read_waits(struct conn *c)
{
    if (!tls_stream_wants_write(c->tls->stream))
        return;
    c->tls->read_waits = true;
    conn_set_reading(c, false);
    conn_set_writing(c, true);
}

void
conn_tls_end(struct conn *c)
{
    if (c->tls && c->tls->is_open && buf_size(&c->output) == 0 && !c->has_failed && !c->write_error)
        tls_stream_end(c->tls->stream);
}

void
conn_tls_fini(struct conn *c)
{
    if (c->tls == NULL)
        return;
    tls_stream_free(&c->tls->stream);
    free(c->tls);
    c->tls = NULL;
}

/* --- looking --- */

const char *
conn_tls_version(const struct conn *c)
{
    return c->tls && c->tls->is_open ? SSL_get_version(tls_stream_ssl(c->tls->stream)) : "";
}

const char *
conn_tls_cipher(const struct conn *c)
{
    return c->tls && c->tls->is_open ? SSL_get_cipher_name(tls_stream_ssl(c->tls->stream)) : "";
}

bool
conn_tls_is_resumed(const struct conn *c)
{
    return c->tls && c->tls->is_open && SSL_session_reused(tls_stream_ssl(c->tls->stream));
}

const char *
conn_tls_error(const struct conn *c)
{
    return c->tls ? tls_stream_error(c->tls->stream) : "";
}
