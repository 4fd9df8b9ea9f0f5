/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state process's side: answers a message of questions with one message of answers, learns, and
 * hands the store's changes to its writing thread in batches.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "state/state.h"
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
    struct server_channel *channels;
    struct loop_timer commit_timer;
    struct buf answers;
};

/* --- Batches. */

static void
commit(void *ctx)
{
    struct state_server *server = ctx;
    int rc = state_store_commit(server->store);

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

static void
answer_all(struct state_server *server, struct decoder *d)
{
    int64_t wall_ms = clock_wall_ms();
    char key[STATE_KEY_MAX + 1];

    while (d->p < d->end) {
        uint32_t id = get_u32(d), customer_id = get_u32(d);

        get_text(d, key, sizeof key);
        if (d->failed)
            return;
        put_u32(&server->answers, id);
        put_u8(&server->answers,
               (uint8_t)state_store_recipient(server->store, customer_id, key, wall_ms));
    }
}

static void
learn_all(struct state_server *server, struct decoder *d)
{
    int64_t wall_ms = clock_wall_ms();
    char key[STATE_KEY_MAX + 1];

    while (d->p < d->end) {
        bool valid = get_u8(d) != 0;
        uint32_t customer_id = get_u32(d);

        get_text(d, key, sizeof key);
        if (d->failed)
            return;
        state_store_learn(server->store, customer_id, key, valid, wall_ms);
    }
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
        answer_all(server, &d);
    else if (type == STATE_MESSAGE_LEARN)
        learn_all(server, &d);
    /* A worker that does not read its answers has given up on them. */
    if (buf_size(&server->answers) > 0)
        (void)!channel_send(ch->channel, STATE_MESSAGE_ANSWER, buf_slice(&server->answers), NULL,
                            0);
    buf_clear(&server->answers);
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
    loop_timer_init(&server->commit_timer, loop, commit, server);
    return server;
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
    free(server);
    *result = NULL;
}
