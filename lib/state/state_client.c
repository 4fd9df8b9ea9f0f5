/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's side.  Questions wait in one list in the order of their ids, which is also the order
 * of their deadlines and of the answers; so one timer and a walk from the head suffice.  What a
 * turn of the loop asks and tells leaves when it ends.  Without a state process every question is
 * unknown, told in a later turn like any other answer.
 */
#include <stdlib.h>

#include "base/codec.h"
#include "state/state.h"
#include "state/state_protocol.h"

struct state_query {
    struct state_query *next, *prev;
    struct state_client *client;
    uint32_t id;
    int64_t deadline_ms;
    bool is_asked; /* somebody may answer it */
    state_on_recipient on_answer;
    void *ctx;
};

struct state_client {
    struct loop *loop;
    struct channel *channel; /* NULL: there is no state process */
    struct loop_timer timer;
    struct state_query *first, *last;
    uint32_t next_id;
    struct buf asks, news;
    bool is_flush_due, is_closed;
    uint64_t timeouts;
};

/* --- The list. */

static void
append(struct state_client *client, struct state_query *q)
{
    q->prev = client->last;
    if (client->last != NULL)
        client->last->next = q;
    else
        client->first = q;
    client->last = q;
}

static void
unlink_query(struct state_query *q)
{
    struct state_client *client = q->client;

    if (q->prev != NULL)
        q->prev->next = q->next;
    else
        client->first = q->next;
    if (q->next != NULL)
        q->next->prev = q->prev;
    else
        client->last = q->prev;
}

/* The handle is gone when its owner is called, who may ask, cancel or close in turn. */
static void
answer(struct state_query *q, enum state_recipient recipient)
{
    state_on_recipient on_answer = q->on_answer;
    void *ctx = q->ctx;

    unlink_query(q);
    free(q);
    on_answer(ctx, recipient);
}

/* --- Deadlines. The timer is left alone when answers come; it looks at the list when it fires. */

static void
on_deadline(void *ctx)
{
    struct state_client *client = ctx;
    int64_t now_ms = loop_now_ms(client->loop);

    while (client->first != NULL && client->first->deadline_ms <= now_ms) {
        client->timeouts += client->first->is_asked;
        answer(client->first, STATE_RECIPIENT_UNKNOWN);
    }
    if (client->first != NULL && !client->is_closed)
        loop_timer_start(&client->timer, client->first->deadline_ms - now_ms);
}

/* Nobody will answer what was asked: its time is up. */
static void
give_up(struct state_client *client)
{
    for (struct state_query *q = client->first; q != NULL; q = q->next) {
        q->deadline_ms = 0;
        q->is_asked = false;
    }
    loop_timer_start(&client->timer, 0);
}

/* --- The channel. */

static void
take_answer(struct state_client *client, uint32_t id, unsigned recipient)
{
    /* Those before it were cancelled, timed out, or will time out. */
    for (struct state_query *q = client->first; q != NULL && (int32_t)(q->id - id) <= 0;
         q = q->next)
        if (q->id == id) {
            answer(q, (enum state_recipient)recipient);
            return;
        }
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct state_client *client = ctx;
    struct decoder d = decoder_of(payload);

    (void)fds;
    CHECK(fd_count == 0);
    while (type == STATE_MESSAGE_ANSWER && d.p < d.end && !client->is_closed) {
        uint32_t id = get_u32(&d);
        unsigned recipient = get_u8(&d);

        if (d.failed)
            break;
        take_answer(client, id,
                    recipient <= STATE_RECIPIENT_INVALID_STALE ? recipient
                                                               : STATE_RECIPIENT_UNKNOWN);
    }
}

static void
on_close(void *ctx)
{
    struct state_client *client = ctx;

    channel_close(&client->channel);
    give_up(client);
}

static void
send_buffer(struct state_client *client, enum state_message type, struct buf *b)
{
    /* A failure costs the answer or the learning, and the deadline tells. */
    if (client->channel != NULL && buf_size(b) > 0)
        (void)!channel_send(client->channel, type, buf_slice(b), NULL, 0);
    buf_clear(b);
}

static void
flush(void *ctx)
{
    struct state_client *client = ctx;

    client->is_flush_due = false;
    send_buffer(client, STATE_MESSAGE_LEARN, &client->news);
    send_buffer(client, STATE_MESSAGE_ASK, &client->asks);
}

static void
flush_later(struct state_client *client)
{
    if (buf_size(&client->asks) > STATE_MESSAGE_ROOM ||
        buf_size(&client->news) > STATE_MESSAGE_ROOM)
        flush(client);
    else if (!client->is_flush_due)
        loop_defer(client->loop, flush, client);
    client->is_flush_due = true;
}

/* --- What callers do. */

struct state_client *
state_client_open(struct loop *loop, int channel_fd)
{
    struct state_client *client = mem_alloc(sizeof *client);

    client->loop = loop;
    buf_init(&client->asks, 0);
    buf_init(&client->news, 0);
    loop_timer_init(&client->timer, loop, on_deadline, client);
    if (channel_fd >= 0)
        state_client_attach(client, channel_fd);
    return client;
}

void
state_client_attach(struct state_client *client, int channel_fd)
{
    channel_close(&client->channel);
    give_up(client);
    buf_clear(&client->asks);
    client->channel = channel_open(client->loop, channel_fd, on_message, on_close, client);
}

static void
free_client(void *ctx)
{
    struct state_client *client = ctx;

    buf_fini(&client->asks);
    buf_fini(&client->news);
    free(client);
}

void
state_client_close(struct state_client **result)
{
    struct state_client *client = *result;
    struct state_query *q;

    *result = NULL;
    if (client == NULL)
        return;
    send_buffer(client, STATE_MESSAGE_LEARN, &client->news);
    client->is_closed = true;
    channel_close(&client->channel);
    loop_timer_cancel(&client->timer);
    while ((q = client->first) != NULL) {
        unlink_query(q);
        free(q);
    }
    loop_defer(client->loop, free_client, client); /* behind a flush that may be due */
}

struct state_query *
state_recipient_ask(struct state_client *client, uint32_t customer_id, const char *key,
                    state_on_recipient on_answer, void *ctx)
{
    struct state_query *q = mem_alloc(sizeof *q);
    size_t size = strnlen(key, STATE_KEY_MAX + 1);

    q->client = client;
    q->id = client->next_id++;
    q->on_answer = on_answer;
    q->ctx = ctx;
    q->is_asked = client->channel != NULL && size > 0 && size <= STATE_KEY_MAX;
    q->deadline_ms = loop_now_ms(client->loop) + (q->is_asked ? STATE_DEADLINE_MS : 0);
    append(client, q);
    if (!q->is_asked || !loop_timer_is_running(&client->timer))
        loop_timer_start(&client->timer, q->is_asked ? STATE_DEADLINE_MS : 0);
    if (!q->is_asked)
        return q;
    put_u32(&client->asks, q->id);
    put_u32(&client->asks, customer_id);
    put_bytes(&client->asks, (struct slice){key, size});
    flush_later(client);
    return q;
}

void
state_query_cancel(struct state_query **query)
{
    struct state_query *q = *query;

    *query = NULL;
    if (q == NULL)
        return;
    unlink_query(q);
    free(q);
}

void
state_recipient_learn(struct state_client *client, uint32_t customer_id, const char *key,
                      bool valid)
{
    size_t size = strnlen(key, STATE_KEY_MAX + 1);

    if (client->channel == NULL || size == 0 || size > STATE_KEY_MAX)
        return;
    put_u8(&client->news, valid);
    put_u32(&client->news, customer_id);
    put_bytes(&client->news, (struct slice){key, size});
    flush_later(client);
}

uint64_t
state_client_timeouts(const struct state_client *client)
{
    return client->timeouts;
}
