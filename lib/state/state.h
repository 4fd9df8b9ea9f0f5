/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The node's memory: what it has learned about recipients (later: greylist, bans), kept by the
 * state process in LMDB, asked by workers over a channel.  The client never waits longer than
 * STATE_DEADLINE_MS; no answer means "unknown" and costs learning, never mail.
 */
#ifndef STATE_H
#define STATE_H

#include "net/channel.h"

#define STATE_DEADLINE_MS 50
#define STATE_KEY_MAX 400

enum state_recipient {
    STATE_RECIPIENT_UNKNOWN,
    STATE_RECIPIENT_VALID,
    STATE_RECIPIENT_INVALID,
    STATE_RECIPIENT_INVALID_STALE
};

/* --- In a worker. */
struct state_client;
/* channel_fd -1: there is no state process yet; everything is unknown until state_client_attach. */
struct state_client *state_client_open(struct loop *loop, int channel_fd);
/* A new state process. What the old one had been asked is answered as unknown, from the loop. */
void state_client_attach(struct state_client *client, int channel_fd);
/* Queries that wait are dropped without a callback; their handles are gone with it. */
void state_client_close(struct state_client **client);
/* How many questions found no answer in time: the owner raises an alarm when it grows. */
uint64_t state_client_timeouts(const struct state_client *client);

struct state_query;
typedef void (*state_on_recipient)(void *ctx, enum state_recipient answer);
/* Questions and news of one turn of the loop go out as one message.  customer_id and the
 * recipient's key (smtp_path_key). Calls back once, never from inside; cancel before that if its
 * owner goes. */
struct state_query *state_recipient_ask(struct state_client *client, uint32_t customer_id,
                                        const char *key, state_on_recipient on_answer, void *ctx);
void state_query_cancel(struct state_query **query);
void state_recipient_learn(struct state_client *client, uint32_t customer_id, const char *key,
                           bool valid); /* no answer */

/* --- The state process. */
struct state_store;
struct state_store_settings {
    const char *dir; /* state.mdb lives here */
    int64_t positive_ttl_ms, negative_ttl_ms;
    uint64_t map_size_bytes;
};
/* A file that fails its check (foreign, torn, of another version) is set aside as
 * state.mdb.bad-TIME and begun anew; *set_aside says so. */
MUST_USE int state_store_open(const struct state_store_settings *settings,
                              struct state_store **store, bool *set_aside);
void state_store_close(struct state_store **store);
enum state_recipient state_store_recipient(struct state_store *store, uint32_t customer_id,
                                           const char *key, int64_t wall_ms);
void state_store_learn(struct state_store *store, uint32_t customer_id, const char *key, bool valid,
                       int64_t wall_ms);
/* Commits in synced batches: call when STATE_BATCH_MAX changes wait or STATE_BATCH_MS after the
 * first. Hands them to the writing thread and returns at once; the result is that of the batch
 * before. ERR_AGAIN: that one is still being written, nothing was handed over.  ERR_FULL, ERR_IO:
 * it was lost (learning is lost, not mail). */
#define STATE_BATCH_MAX 100
#define STATE_BATCH_MS 50
unsigned state_store_waiting(const struct state_store *store);
/* Nothing waits, and the result of everything that was handed over has been told. */
bool state_store_is_idle(const struct state_store *store);
MUST_USE int state_store_commit(struct state_store *store);
/* Waits until all is on disk. */
MUST_USE int state_store_flush(struct state_store *store);
/* Looks at `limit` records, from where the last call ended, and removes the outdated ones. */
MUST_USE int state_store_purge(struct state_store *store, int64_t wall_ms, unsigned limit);

/* Serves workers' channels with the store, and commits its batches; on_error gets what a commit
 * answers other than ERR_OK and ERR_AGAIN. */
struct state_server;
struct state_server *state_server_new(struct loop *loop, struct state_store *store,
                                      void (*on_error)(void *ctx, int err), void *ctx);
void state_server_add(struct state_server *server, int channel_fd);
void state_server_free(struct state_server **server);

#endif
