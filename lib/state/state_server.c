/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state process's side: answers a message of questions with one message of answers, learns, and
 * hands the store's changes to its writing thread in batches.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/crash_point.h"
#include "state/state_protocol.h"

#define COMMIT_AGAIN_MS 10

struct server_channel {
    struct server_channel *next;
    struct state_server *server;
    struct channel *channel;
};

struct state_server {
    struct loop *loop;
    struct state_store *store;
    void (*on_error)(void *ctx, int err);
    void *ctx;
    state_on_backscatter on_backscatter;
    void *backscatter_ctx;
    struct server_channel *channels;
    struct loop_timer commit_timer;
    struct buf answers, page, probes;
};

/* --- Batches. */

static void
commit(void *ctx)
{
    struct state_server *server = ctx;
    int rc;

    CRASH_POINT("state-before-commit");
    rc = state_store_commit(server->store);
    CRASH_POINT("state-behind-commit");
    if (rc != ERR_OK && rc != ERR_AGAIN)
        server->on_error(server->ctx, rc);
    /* Once more behind a batch, even with nothing waiting: only so its result is heard. */
    if (!state_store_is_idle(server->store))
        loop_timer_start(&server->commit_timer, rc == ERR_AGAIN ? COMMIT_AGAIN_MS : STATE_BATCH_MS);
}

static void
batch(struct state_server *server)
{
    unsigned waiting = state_store_waiting(server->store);

    if (waiting >= STATE_BATCH_MAX)
        commit(server);
    else if (waiting > 0 && !loop_timer_is_running(&server->commit_timer))
        loop_timer_start(&server->commit_timer, STATE_BATCH_MS);
}

/* --- Messages. */

struct entry {
    uint32_t customer_id;
    uint64_t number;
    struct inet_endpoint endpoint; /* family 0: none */
    struct slice key;
};

static struct entry
get_entry(struct decoder *d)
{
    struct entry e = {.customer_id = get_u32(d), .number = get_u64(d)};

    e.endpoint = state_endpoint_decode(get_bytes(d));
    e.key = get_bytes(d);
    return e;
}

static struct state_greylist
ask_greylist(struct state_server *server, const struct entry *e, bool is_look, int64_t wall_ms)
{
    struct state_greylist_key key = {.customer_id = e->customer_id, .client = e->endpoint};
    char texts[STATE_CONTACT_MAX];

    if (e->endpoint.family == 0 || !state_contact_decode(e->key, texts, &key))
        return (struct state_greylist){.wait_ms = 0};
    return is_look ? state_store_greylist_look(server->store, &key, (int64_t)e->number, wall_ms)
                   : state_store_greylist(server->store, &key, (int64_t)e->number, wall_ms);
}

/* A page is a message of its own. */
static void
list(struct state_server *server, uint32_t id, const struct entry *e, int64_t wall_ms)
{
    struct state_page *page = mem_alloc(sizeof *page);
    struct state_filter filter;
    struct state_place place;

    buf_clear(&server->page);
    if (state_list_decode(e->key, &filter, &place) && e->number <= STATE_LIST_BANS &&
        state_store_list(server->store, (enum state_listing)e->number, &filter, &place, wall_ms,
                         page) == ERR_OK) {
        put_u32(&server->page, id);
        state_page_encode(&server->page, page);
    }
    free(page);
}

static void
forget_origin(struct state_server *server, const struct entry *e, int64_t wall_ms)
{
    struct state_filter which;
    struct state_place place;

    if (state_list_decode(e->key, &which, &place))
        state_store_forget_origin(server->store, &which, wall_ms);
}

/* What the answer is: a word and a number. */
static uint8_t
answer(struct state_server *server, uint8_t question, const struct entry *e, int64_t wall_ms,
       uint64_t *number)
{
    char key[STATE_KEY_MAX + 1];
    struct state_capabilities caps;
    struct state_greylist greylist;

    *number = 0;
    switch (question) {
    case STATE_ASK_RECIPIENT:
        if (!slice_to_text(e->key, key, sizeof key))
            return STATE_RECIPIENT_UNKNOWN;
        return (uint8_t)state_store_recipient(server->store, e->customer_id, key,
                                              (int64_t)e->number, wall_ms);
    case STATE_ASK_CAPABILITIES:
        caps = state_store_capabilities(server->store, &e->endpoint, (int64_t)e->number, wall_ms);
        *number = caps.size_max_bytes;
        return caps.is_known ? state_capabilities_flags(&caps) : 0;
    case STATE_ASK_GREYLIST:
    case STATE_ASK_GREYLIST_LOOK:
        greylist = ask_greylist(server, e, question == STATE_ASK_GREYLIST_LOOK, wall_ms);
        *number = (uint64_t)greylist.wait_ms;
        return greylist.is_known;
    case STATE_ASK_BAN:
        *number = (uint64_t)state_store_ban(server->store, e->customer_id, &e->endpoint, wall_ms);
        return 0;
    default:
        return 0;
    }
}

static void send_buffer(struct server_channel *ch, enum state_message type, struct buf *b);

static void
answer_all(struct server_channel *ch, struct decoder *d)
{
    struct state_server *server = ch->server;
    int64_t wall_ms = clock_wall_ms();

    while (d->p < d->end) {
        uint32_t id = get_u32(d);
        uint8_t question = get_u8(d), word;
        struct entry e = get_entry(d);
        uint64_t number;

        if (d->failed)
            return;
        if (question == STATE_ASK_LIST) {
            list(server, id, &e, wall_ms);
            send_buffer(ch, STATE_MESSAGE_PAGE, &server->page);
            continue;
        }
        word = answer(server, question, &e, wall_ms, &number);
        put_u32(&server->answers, id);
        put_u8(&server->answers, word);
        put_u64(&server->answers, number);
    }
}

static void
learn_recipient(struct state_server *server, const struct entry *e, const char *key, bool valid,
                int64_t wall_ms)
{
    char endpoint[STATE_ENDPOINT_SIZE];
    const char *at = strrchr(key, '@');

    if (!state_store_learn(server->store, e->customer_id, key, valid, wall_ms) || at == NULL ||
        buf_size(&server->probes) > STATE_MESSAGE_ROOM)
        return;
    state_endpoint_encode(&e->endpoint, endpoint);
    put_u32(&server->probes, e->customer_id);
    put_bytes(&server->probes, (struct slice){endpoint, sizeof endpoint});
    put_text(&server->probes, at + 1);
}

static void
learn_capabilities(struct state_server *server, const struct entry *e, int64_t wall_ms)
{
    struct state_capabilities caps;

    if (e->key.n != 1 || e->endpoint.family == 0)
        return;
    caps = state_capabilities_of((uint8_t)e->key.p[0], e->number);
    state_store_learn_capabilities(server->store, &e->endpoint, &caps, wall_ms);
}

static void
learn_bounce(struct state_server *server, const struct entry *e, int64_t wall_ms)
{
    struct state_backscatter what =
        state_store_learn_bounce(server->store, e->customer_id, &e->endpoint, wall_ms);

    if (what.word != STATE_BACKSCATTER_COUNTED && server->on_backscatter != NULL)
        server->on_backscatter(server->backscatter_ctx, e->customer_id, &e->endpoint, &what);
}

static void
learn(struct state_server *server, uint8_t news, const struct entry *e, int64_t wall_ms)
{
    char key[STATE_KEY_MAX + 1];

    if (!slice_to_text(e->key, key, sizeof key))
        return;
    switch (news) {
    case STATE_NEWS_INVALID:
    case STATE_NEWS_VALID:
        learn_recipient(server, e, key, news == STATE_NEWS_VALID, wall_ms);
        return;
    case STATE_NEWS_PICKY:
    case STATE_NEWS_ACCEPT_ALL:
        state_store_learn_domain(
            server->store, e->customer_id, key,
            news == STATE_NEWS_PICKY ? STATE_DOMAIN_PICKY : STATE_DOMAIN_ACCEPT_ALL, wall_ms);
        return;
    case STATE_NEWS_FORGET:
        (void)state_store_forget(server->store, e->customer_id, key);
        return;
    case STATE_NEWS_FORGET_DOMAIN:
        (void)state_store_forget_domain(server->store, e->customer_id, key, wall_ms);
        return;
    case STATE_NEWS_CAPABILITIES:
        learn_capabilities(server, e, wall_ms);
        return;
    case STATE_NEWS_BOUNCE:
        learn_bounce(server, e, wall_ms);
        return;
    case STATE_NEWS_GOOD:
        state_store_learn_good(server->store, e->customer_id, &e->endpoint, wall_ms);
        return;
    case STATE_NEWS_FORGET_BAN:
        (void)state_store_forget_bounces(server->store, e->customer_id, &e->endpoint, wall_ms);
        return;
    default:
        return;
    }
}

static void
learn_all(struct state_server *server, struct decoder *d)
{
    int64_t wall_ms = clock_wall_ms();

    while (d->p < d->end) {
        uint8_t news = get_u8(d);
        struct entry e = get_entry(d);

        if (d->failed)
            return;
        if (news == STATE_NEWS_FORGET_ORIGIN)
            forget_origin(server, &e, wall_ms);
        else
            learn(server, news, &e, wall_ms);
    }
}

static void
send_buffer(struct server_channel *ch, enum state_message type, struct buf *b)
{
    /* A worker that does not read has given up on its answers. */
    if (buf_size(b) > 0)
        (void)!channel_send(ch->channel, type, buf_slice(b), NULL, 0);
    buf_clear(b);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct server_channel *ch = ctx;
    struct state_server *server = ch->server;
    struct decoder d = decoder_of(payload);

    (void)fds;
    CHECK(fd_count == 0);
    if (type == STATE_MESSAGE_ASK)
        answer_all(ch, &d);
    else if (type == STATE_MESSAGE_LEARN)
        learn_all(server, &d);
    send_buffer(ch, STATE_MESSAGE_ANSWER, &server->answers);
    send_buffer(ch, STATE_MESSAGE_PROBE, &server->probes);
    batch(server);
}

static void
on_close(void *ctx)
{
    struct server_channel *ch = ctx, **at = &ch->server->channels;

    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    channel_close(&ch->channel);
    free(ch);
}

/* --- Life. */

struct state_server *
state_server_new(struct loop *loop, struct state_store *store, void (*on_error)(void *ctx, int err),
                 void *ctx)
{
    struct state_server *server = mem_alloc(sizeof *server);

    server->loop = loop;
    server->store = store;
    server->on_error = on_error;
    server->ctx = ctx;
    buf_init(&server->answers, 0);
    buf_init(&server->page, 0);
    buf_init(&server->probes, 0);
    loop_timer_init(&server->commit_timer, loop, commit, server);
    return server;
}

void
state_server_on_backscatter(struct state_server *server, state_on_backscatter on_backscatter,
                            void *ctx)
{
    server->on_backscatter = on_backscatter;
    server->backscatter_ctx = ctx;
}

void
state_server_add(struct state_server *server, int channel_fd)
{
    struct server_channel *ch = mem_alloc(sizeof *ch);

    ch->server = server;
    ch->next = server->channels;
    server->channels = ch;
    ch->channel = channel_open(server->loop, channel_fd, on_message, on_close, ch);
}

void
state_server_free(struct state_server **result)
{
    struct state_server *server = *result;

    if (server == NULL)
        return;
    while (server->channels != NULL)
        on_close(server->channels);
    loop_timer_cancel(&server->commit_timer);
    buf_fini(&server->answers);
    buf_fini(&server->page);
    buf_fini(&server->probes);
    free(server);
    *result = NULL;
}
