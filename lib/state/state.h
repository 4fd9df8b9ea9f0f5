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
struct state_client *state_client_open(struct loop *loop, int channel_fd);
void state_client_close(struct state_client **client);

struct state_query;
typedef void (*state_on_recipient)(void *ctx, enum state_recipient answer);
/* customer_id and the recipient's key (smtp_path_key). Calls back once, never from inside; cancel
 * before that if its owner goes. */
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
/* Commits in synced batches: call when 100 changes wait or 50 ms after the first. */
unsigned state_store_waiting(const struct state_store *store);
MUST_USE int state_store_commit(struct state_store *store);
MUST_USE int state_store_purge(struct state_store *store, int64_t wall_ms,
                               unsigned limit); /* removes the outdated, a bounded number */

/* Serves one worker's channel with the store. */
struct state_server;
struct state_server *state_server_new(struct loop *loop, struct state_store *store);
void state_server_add(struct state_server *server, int channel_fd);
void state_server_free(struct state_server **server);

#endif
