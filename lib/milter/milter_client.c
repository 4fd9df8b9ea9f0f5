/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The connection serves one message: a filter's state is a message's, and a new connection on the
 * same host costs less than to find out what an old one is worth.
 */
#include "milter/milter_client.h"

#include <stdlib.h>

#include "net/conn.h"

_Static_assert(MILTER_TALK_OUT_MAX >= CONN_HIGH_MARK, "who stops writing there is told of room");

#define FAIR_MS 5000 /* enough to be connected to and to negotiate */
#define AGAIN_MS 20

struct milter_client {
    struct loop *loop;
    const struct milter_entry *entry;
    const struct milter_client_ops *ops;
    void *ctx;
    struct conn *conn;
    struct milter_talk talk;
    struct buf unsent;              /* the talk's commands until there is a connection */
    struct loop_timer timer, again; /* again: to connect to it */
    int64_t started_at_ms, limit_at_ms;
    unsigned progress_seen;
    bool is_over, is_paused, is_late;
};

static void
free_client(void *ctx)
{
    free(ctx);
}

static void
drop(struct milter_client *c)
{
    loop_timer_cancel(&c->timer);
    loop_timer_cancel(&c->again);
    if (c->conn)
        conn_close(&c->conn);
    milter_talk_fini(&c->talk);
    buf_fini(&c->unsent);
    loop_defer(c->loop, free_client, c);
}

/* QUIT, so that a filter cleans up at once; ABORT before, where it is amid a message. */
static void
take_leave(struct milter_client *c)
{
    if (c->conn == NULL)
        return;
    if (c->talk.outcome == MILTER_OUTCOME_FAILED) {
        conn_close(&c->conn);
        return;
    }
    milter_packet_put(conn_output(c->conn), MILTER_ABORT, SLICE(""));
    milter_packet_put(conn_output(c->conn), MILTER_QUIT, SLICE(""));
    conn_close_after_output(&c->conn);
}

/* Of a message that had hardly any left its filter is not to blame. */
static bool
had_time(const struct milter_client *c)
{
    int64_t fair_ms = c->entry->timeout_ms < FAIR_MS ? c->entry->timeout_ms : FAIR_MS;

    return loop_now_ms(c->loop) - c->started_at_ms >= fair_ms;
}

static void
finish(void *ctx)
{
    struct milter_client *c = ctx;
    bool is_dead = c->talk.version == 0 && (!c->is_late || had_time(c));

    if (c->is_over)
        return;
    c->is_over = true;
    take_leave(c);
    c->ops->on_done(c->ctx, &c->talk, is_dead);
    drop(c);
}

/* --- Time. */

static void
start_timer(struct milter_client *c)
{
    int64_t left = c->limit_at_ms - loop_now_ms(c->loop);

    loop_timer_start(&c->timer, c->entry->timeout_ms < left ? c->entry->timeout_ms
                                : left > 0                  ? left
                                                            : 0);
}

static void
on_too_late(void *ctx)
{
    struct milter_client *c = ctx;

    c->is_late = c->talk.outcome == MILTER_OUTCOME_OPEN;
    if (c->is_late)
        milter_talk_fail(&c->talk, "it took too long");
    finish(c);
}

/* --- The connection. */

static void
settle(struct milter_client *c)
{
    bool is_full = milter_talk_is_full(&c->talk);

    if (c->talk.outcome != MILTER_OUTCOME_OPEN) {
        finish(c);
        return;
    }
    if (c->talk.progress_count != c->progress_seen) {
        c->progress_seen = c->talk.progress_count;
        start_timer(c);
    }
    if (is_full && !c->is_paused)
        conn_read_pause(c->conn);
    else if (!is_full && c->is_paused)
        conn_read_resume(c->conn);
    c->is_paused = is_full;
    conn_flush(c->conn);
}

static void
take_input(struct milter_client *c)
{
    struct buf *input = conn_input(c->conn);

    milter_talk_feed(&c->talk, buf_slice(input));
    buf_consume(input, buf_size(input));
    settle(c);
}

static void
on_connected(struct milter_client *c)
{
    c->talk.out = conn_output(c->conn);
    buf_add_slice(c->talk.out, buf_slice(&c->unsent));
    buf_release(&c->unsent);
    conn_flush(c->conn);
}

static void
on_event(void *ctx, enum conn_event event)
{
    struct milter_client *c = ctx;

    switch (event) {
    case CONN_CONNECTED:
        on_connected(c);
        return;
    case CONN_INPUT:
        take_input(c);
        return;
    case CONN_DRAINED:
        milter_talk_resume(&c->talk);
        settle(c);
        return;
    case CONN_EOF:
        milter_talk_fail(&c->talk, "it closed the connection");
        break;
    case CONN_FAILED:
    case CONN_TIMEOUT:
    case CONN_TLS_READY:
        milter_talk_fail(&c->talk, c->talk.out == &c->unsent ? "it cannot be connected to"
                                                             : "the connection was lost");
        break;
    }
    finish(c);
}

/* --- Life. */

static int
connect_to(struct milter_client *c)
{
    const struct milter_entry *e = c->entry;

    /* Its own timer ends it: the connection's deadline is longer. */
    if (e->endpoint.family == 0)
        return conn_connect_unix(c->loop, e->path, 2 * e->timeout_ms, on_event, c, &c->conn);
    return conn_connect(c->loop, &e->endpoint, NULL, 2 * e->timeout_ms, on_event, c, &c->conn);
}

/* The queue of its socket may be full for a moment. */
static void
on_again(void *ctx)
{
    struct milter_client *c = ctx;
    int rc = connect_to(c);

    if (rc == ERR_AGAIN)
        loop_timer_start(&c->again, AGAIN_MS);
    else if (rc < 0) {
        milter_talk_fail(&c->talk, "it cannot be connected to");
        loop_timer_start(&c->timer, 0);
    }
}

struct milter_client *
milter_client_start(struct loop *loop, const struct milter_entry *entry,
                    const struct milter_question *question, int64_t limit_ms,
                    const struct milter_client_ops *ops, void *ctx)
{
    struct milter_client *c = mem_alloc(sizeof *c);

    c->loop = loop;
    c->entry = entry;
    c->ops = ops;
    c->ctx = ctx;
    c->started_at_ms = loop_now_ms(loop);
    c->limit_at_ms = c->started_at_ms + limit_ms;
    buf_init(&c->unsent, 0);
    milter_talk_init(&c->talk, question, &ops->talk, ctx, &c->unsent);
    milter_talk_start(&c->talk);
    loop_timer_init(&c->timer, loop, on_too_late, c);
    loop_timer_init(&c->again, loop, on_again, c);
    start_timer(c);
    on_again(c);
    return c;
}

void
milter_client_resume(struct milter_client *c)
{
    if (c->is_over || c->talk.out == &c->unsent)
        return;
    milter_talk_resume(&c->talk);
    settle(c);
}

void
milter_client_cancel(struct milter_client **held)
{
    struct milter_client *c = *held;

    *held = NULL;
    if (c == NULL || c->is_over)
        return;
    c->is_over = true;
    drop(c);
}
