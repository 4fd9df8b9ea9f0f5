/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A worker's side.  Questions wait in one list in the order of their ids, which is also the order
 * of their deadlines and of the answers; so one timer and a walk from the head suffice.  What a
 * turn of the loop asks leaves when it ends, and takes the news along that have collected.  Without
 * a state process every question is unknown, told in a later turn like any other answer.
 */
#include <stdlib.h>

#include "base/codec.h"
#include "state/state_client_private.h"

#define NEWS_MS 20 /* a worker that dies takes no more than that to its grave */

struct state_query {
    struct state_query *next, *prev;
    struct state_client *client;
    uint32_t id;
    int64_t deadline_ms;
    bool is_asked; /* somebody may answer it */
    enum state_question question;
    state_on_answer on_answer;
    void *ctx;
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
answer(struct state_query *q, const struct state_answer *what)
{
    state_on_answer on_answer = q->on_answer;
    void *ctx = q->ctx;

    unlink_query(q);
    free(q);
    on_answer(ctx, what);
}

static const struct state_answer nothing = {.recipient = STATE_RECIPIENT_UNKNOWN};

/* --- Deadlines. The timer is left alone when answers come; it looks at the list when it fires. */

static void
on_deadline(void *ctx)
{
    struct state_client *client = ctx;
    int64_t now_ms = loop_now_ms(client->loop);

    while (client->first != NULL && client->first->deadline_ms <= now_ms) {
        client->timeouts += client->first->is_asked;
        answer(client->first, &nothing);
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

static struct state_answer
answer_of(enum state_question question, uint8_t word, uint64_t number)
{
    struct state_answer a = {.is_told = true};

    switch (question) {
    case STATE_ASK_RECIPIENT:
        if (word <= STATE_RECIPIENT_ACCEPT_ALL)
            a.recipient = word;
        break;
    case STATE_ASK_CAPABILITIES:
        a.capabilities = state_capabilities_of(word, number);
        break;
    case STATE_ASK_GREYLIST:
    case STATE_ASK_GREYLIST_LOOK:
        a.greylist = (struct state_greylist){.wait_ms = (int64_t)number, .is_known = word != 0};
        break;
    case STATE_ASK_LIST: /* not so */
        a.is_told = false;
        break;
    case STATE_ASK_BAN:
        a.banned_until_ms = (int64_t)number;
        break;
    }
    return a;
}

/* Those before it were cancelled, timed out, or will time out; NULL: so was it. */
static struct state_query *
query_of(struct state_client *client, uint32_t id)
{
    struct state_query *q = client->first;

    while (q != NULL && (int32_t)(q->id - id) < 0)
        q = q->next;
    return q != NULL && q->id == id ? q : NULL;
}

static void
take_answer(struct state_client *client, uint32_t id, uint8_t word, uint64_t number)
{
    struct state_query *q = query_of(client, id);
    struct state_answer a;

    if (q == NULL)
        return;
    a = answer_of(q->question, word, number);
    answer(q, &a);
}

static void
take_page(struct state_client *client, struct decoder *d)
{
    struct state_query *q = query_of(client, get_u32(d));
    struct state_page *page = mem_alloc(sizeof *page);
    struct state_answer a = {.is_told = true, .page = page};

    if (q != NULL && q->question == STATE_ASK_LIST && state_page_decode(d, page))
        answer(q, &a);
    free(page);
}

static void
take_answers(struct state_client *client, struct decoder *d)
{
    while (d->p < d->end && !client->is_closed) {
        uint32_t id = get_u32(d);
        uint8_t word = get_u8(d);
        uint64_t number = get_u64(d);

        if (d->failed)
            return;
        take_answer(client, id, word, number);
    }
}

static void
take_probes(struct state_client *client, struct decoder *d)
{
    char domain[STATE_KEY_MAX + 1];

    while (d->p < d->end && !client->is_closed) {
        uint32_t customer_id = get_u32(d);
        struct inet_endpoint backend = state_endpoint_decode(get_bytes(d));

        get_text(d, domain, sizeof domain);
        if (d->failed)
            return;
        if (client->on_probe != NULL && backend.family != 0)
            client->on_probe(client->probe_ctx, customer_id, domain, &backend);
    }
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct state_client *client = ctx;
    struct decoder d = decoder_of(payload);

    (void)fds;
    CHECK(fd_count == 0);
    if (type == STATE_MESSAGE_ANSWER)
        take_answers(client, &d);
    else if (type == STATE_MESSAGE_PAGE)
        take_page(client, &d);
    else if (type == STATE_MESSAGE_PROBE)
        take_probes(client, &d);
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
send_all(struct state_client *client)
{
    send_buffer(client, STATE_MESSAGE_LEARN, &client->news);
    send_buffer(client, STATE_MESSAGE_ASK, &client->asks);
}

static void
on_news_due(void *ctx)
{
    send_all(ctx);
}

static void
flush(void *ctx)
{
    struct state_client *client = ctx;

    client->is_flush_due = false;
    send_all(client);
}

void
state_client_flush(struct state_client *client)
{
    if (buf_size(&client->asks) > STATE_MESSAGE_ROOM ||
        buf_size(&client->news) > STATE_MESSAGE_ROOM)
        send_all(client);
    else if (!client->is_flush_due) {
        client->is_flush_due = true;
        loop_defer(client->loop, flush, client);
    }
}

void
state_client_flush_in_time(struct state_client *client)
{
    if (buf_size(&client->news) > STATE_MESSAGE_ROOM)
        send_all(client);
    else if (!loop_timer_is_running(&client->news_timer))
        loop_timer_start(&client->news_timer, NEWS_MS);
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
    loop_timer_init(&client->news_timer, loop, on_news_due, client);
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
    memset(client->good_told, 0, sizeof client->good_told);
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
    loop_timer_cancel(&client->news_timer);
    while ((q = client->first) != NULL) {
        unlink_query(q);
        free(q);
    }
    loop_defer(client->loop, free_client, client); /* behind a flush that may be due */
}

void
state_entry_put(struct buf *b, const struct state_entry *entry)
{
    char endpoint[STATE_ENDPOINT_SIZE];

    put_u32(b, entry->customer_id);
    put_u64(b, entry->number);
    if (entry->endpoint != NULL)
        state_endpoint_encode(entry->endpoint, endpoint);
    put_bytes(b, (struct slice){endpoint, entry->endpoint != NULL ? sizeof endpoint : 0});
    put_bytes(b, entry->key);
}

/* entry NULL: it cannot be asked. */
static struct state_query *
ask(struct state_client *client, enum state_question question, const struct state_entry *entry,
    state_on_answer on_answer, void *ctx)
{
    struct state_query *q = mem_alloc(sizeof *q);

    q->client = client;
    q->id = client->next_id++;
    q->question = question;
    q->on_answer = on_answer;
    q->ctx = ctx;
    q->is_asked = client->channel != NULL && entry != NULL;
    q->deadline_ms = loop_now_ms(client->loop) + (q->is_asked ? STATE_DEADLINE_MS : 0);
    append(client, q);
    if (!q->is_asked || !loop_timer_is_running(&client->timer))
        loop_timer_start(&client->timer, q->is_asked ? STATE_DEADLINE_MS : 0);
    if (!q->is_asked)
        return q;
    put_u32(&client->asks, q->id);
    put_u8(&client->asks, question);
    state_entry_put(&client->asks, entry);
    state_client_flush(client);
    return q;
}

struct state_query *
state_recipient_ask(struct state_client *client, uint32_t customer_id, const char *key,
                    int64_t stopped_at_ms, state_on_answer on_answer, void *ctx)
{
    struct state_entry entry = {.customer_id = customer_id,
                                .number = (uint64_t)stopped_at_ms,
                                .key = {key, strnlen(key, STATE_KEY_MAX + 1)}};
    bool is_key = entry.key.n > 0 && entry.key.n <= STATE_KEY_MAX;

    return ask(client, STATE_ASK_RECIPIENT, is_key ? &entry : NULL, on_answer, ctx);
}

struct state_query *
state_capabilities_ask(struct state_client *client, const struct inet_endpoint *endpoint,
                       int64_t stopped_at_ms, state_on_answer on_answer, void *ctx)
{
    struct state_entry entry = {.number = (uint64_t)stopped_at_ms, .endpoint = endpoint};

    return ask(client, STATE_ASK_CAPABILITIES, &entry, on_answer, ctx);
}

static struct state_query *
ask_greylist(struct state_client *client, enum state_question question,
             const struct state_greylist_key *key, int64_t delay_ms, state_on_answer on_answer,
             void *ctx)
{
    char contact[STATE_CONTACT_MAX];
    struct state_entry entry = {
        .customer_id = key->customer_id, .number = (uint64_t)delay_ms, .endpoint = &key->client};
    bool is_key = state_contact_encode(key, contact, &entry.key);

    return ask(client, question, is_key ? &entry : NULL, on_answer, ctx);
}

struct state_query *
state_greylist_ask(struct state_client *client, const struct state_greylist_key *key,
                   int64_t delay_ms, state_on_answer on_answer, void *ctx)
{
    return ask_greylist(client, STATE_ASK_GREYLIST, key, delay_ms, on_answer, ctx);
}

struct state_query *
state_greylist_look(struct state_client *client, const struct state_greylist_key *key,
                    int64_t delay_ms, state_on_answer on_answer, void *ctx)
{
    return ask_greylist(client, STATE_ASK_GREYLIST_LOOK, key, delay_ms, on_answer, ctx);
}

struct state_query *
state_ban_ask(struct state_client *client, uint32_t customer_id,
              const struct inet_endpoint *address, state_on_answer on_answer, void *ctx)
{
    struct state_entry entry = {.customer_id = customer_id, .endpoint = address};

    return ask(client, STATE_ASK_BAN, &entry, on_answer, ctx);
}

struct state_query *
state_list_ask(struct state_client *client, enum state_listing listing,
               const struct state_filter *filter, const struct state_place *place,
               state_on_answer on_answer, void *ctx)
{
    char bytes[STATE_LIST_MAX];
    struct state_entry entry = {.number = listing, .key = state_list_encode(filter, place, bytes)};

    return ask(client, STATE_ASK_LIST, &entry, on_answer, ctx);
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
state_client_on_probe(struct state_client *client, state_on_probe on_probe, void *ctx)
{
    client->on_probe = on_probe;
    client->probe_ctx = ctx;
}

uint64_t
state_client_timeouts(const struct state_client *client)
{
    return client->timeouts;
}
