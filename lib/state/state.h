/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The node's memory: what it has learned about recipients, domains and backends, and who has come
 * before
 * (greylist) or has been a nuisance (backscatter), kept by the state process in LMDB, asked by
 * workers over a channel.  The client never waits longer than STATE_DEADLINE_MS; no answer means
 * "unknown" and costs learning, never mail.
 */
#ifndef STATE_H
#define STATE_H

#include "base/inet.h"
#include "net/channel.h"

#define STATE_DEADLINE_MS 50
#define STATE_KEY_MAX 400

enum state_recipient {
    STATE_RECIPIENT_UNKNOWN,
    STATE_RECIPIENT_VALID,
    STATE_RECIPIENT_INVALID,
    STATE_RECIPIENT_INVALID_STALE,
    STATE_RECIPIENT_ACCEPT_ALL, /* its domain accepts every recipient: nothing is known of one */
};

/* Does a domain's server accept every recipient? A random one is tried to know. */
enum state_domain { STATE_DOMAIN_UNKNOWN, STATE_DOMAIN_PICKY, STATE_DOMAIN_ACCEPT_ALL };

/* What a backend offered when it was reached last. */
struct state_capabilities {
    bool is_known;
    bool eightbitmime, smtputf8, has_size;
    uint64_t size_max_bytes; /* 0 with has_size: no fixed maximum */
};
#define STATE_CAPABILITIES_TTL_MS (30 * 24 * 60 * 60 * 1000LL)

/* Who comes: addresses as on the wire, their case means nothing; of the client its network counts
 * (/24, or /64).  It is known by `authorised_domain`, for which SPF has authorised the client by a
 * sound pass, or by its network if there is none (NULL, ""). */
struct state_greylist_key {
    uint32_t customer_id;
    struct inet_endpoint client;
    const char *sender; /* "" is the null sender */
    const char *recipient;
    const char *authorised_domain;
};
struct state_greylist {
    int64_t wait_ms; /* 0: may pass */
    bool is_known;   /* it passes since its network or domain is known, not for having waited */
};
#define STATE_GREYLIST_WINDOW_MS (24 * 60 * 60 * 1000LL)     /* then a first contact is forgotten */
#define STATE_GREYLIST_KNOWN_MS (36 * 24 * 60 * 60 * 1000LL) /* since who passed was last seen */

/* What is listed, in pages. */
enum state_listing { STATE_LIST_KNOWN, STATE_LIST_WAITING, STATE_LIST_BANS };
/* Only of this domain, or of networks within this one; neither: all. */
struct state_filter {
    struct inet_network network; /* family 0: none */
    char domain[INET_DOMAIN_SIZE];
};
struct state_row {
    uint32_t customer_id; /* 0: of all */
    struct inet_network network;
    char domain[INET_DOMAIN_SIZE]; /* instead of a network */
    int64_t since_ms;
    int64_t seen_ms, until_ms; /* 0: is not known of such */
};
#define STATE_PAGE_ROWS 100
#define STATE_PLACE_MAX 40
struct state_place { /* where a page begins; size 0: at the beginning */
    size_t size;
    char key[STATE_PLACE_MAX];
};
struct state_page {
    unsigned count;
    struct state_row rows[STATE_PAGE_ROWS];
    struct state_place next; /* size 0: that was the last */
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

/* Questions of one turn of the loop go out as one message, behind all news of before; what was
 * learned of recipients leaves within 20 ms, other news in this turn.  A question calls back once,
 * never from inside; cancel before that if its owner goes.  Without an answer in time nothing is
 * known, and the greylist lets pass. */
struct state_query;
struct state_answer { /* what was asked for, the rest is zero */
    bool is_told;     /* the state process has answered */
    enum state_recipient recipient;
    struct state_capabilities capabilities;
    struct state_greylist greylist;
    int64_t banned_until_ms;       /* 0: it is not */
    const struct state_page *page; /* borrowed for the call; NULL: none was asked for, or told */
};
typedef void (*state_on_answer)(void *ctx, const struct state_answer *answer);

/* customer_id and the recipient's key (smtp_path_key).  Ages stand still from `stopped_at_ms` on,
 * since then all that could tell of this recipient is down; 0: they do not. */
struct state_query *state_recipient_ask(struct state_client *client, uint32_t customer_id,
                                        const char *key, int64_t stopped_at_ms,
                                        state_on_answer on_answer, void *ctx);
struct state_query *state_capabilities_ask(struct state_client *client,
                                           const struct inet_endpoint *endpoint,
                                           int64_t stopped_at_ms, state_on_answer on_answer,
                                           void *ctx);
/* Asking is being seen: the first question begins the delay. */
struct state_query *state_greylist_ask(struct state_client *client,
                                       const struct state_greylist_key *key, int64_t delay_ms,
                                       state_on_answer on_answer, void *ctx);
/* What would be said; nobody is seen by it. */
struct state_query *state_greylist_look(struct state_client *client,
                                        const struct state_greylist_key *key, int64_t delay_ms,
                                        state_on_answer on_answer, void *ctx);
/* Is null-sender mail of this address banned for the customer? */
struct state_query *state_ban_ask(struct state_client *client, uint32_t customer_id,
                                  const struct inet_endpoint *address, state_on_answer on_answer,
                                  void *ctx);
/* A page may be empty and not the last.  What was written in the last moment may be missing. */
struct state_query *state_list_ask(struct state_client *client, enum state_listing listing,
                                   const struct state_filter *filter,
                                   const struct state_place *place, state_on_answer on_answer,
                                   void *ctx);
void state_query_cancel(struct state_query **query);

/* News have no answer.  `backend` said it.  What an acceptance is worth the store knows: nothing
 * while the domain accepts all. */
void state_recipient_learn(struct state_client *client, uint32_t customer_id, const char *key,
                           bool valid, const struct inet_endpoint *backend);
void state_domain_learn(struct state_client *client, uint32_t customer_id, const char *domain,
                        enum state_domain word);
/* An operator's word. Of a domain all is forgotten that was learned in it. */
void state_recipient_forget(struct state_client *client, uint32_t customer_id, const char *key);
void state_domain_forget(struct state_client *client, uint32_t customer_id, const char *domain);
void state_capabilities_learn(struct state_client *client, const struct inet_endpoint *endpoint,
                              const struct state_capabilities *capabilities);
/* The address has sent null-sender mail for a recipient of the customer that does not exist. */
void state_bounce_learn(struct state_client *client, uint32_t customer_id,
                        const struct inet_endpoint *address);
/* It has delivered mail to the customer, and not of the null sender.  Costs next to nothing when it
 * is said of every message. */
void state_good_learn(struct state_client *client, uint32_t customer_id,
                      const struct inet_endpoint *address);
/* An operator's word: nothing is known of this domain or network (/24, /64), and nothing of it has
 * waited.  Neither: of nobody. */
void state_greylist_forget(struct state_client *client, const struct state_filter *which);
/* An operator's word: a ban ends, and counting begins anew. */
void state_ban_forget(struct state_client *client, uint32_t customer_id,
                      const struct inet_endpoint *address);
/* The state process asks this worker, and no other, to find out whether a domain accepts every
 * recipient: something of it has been learned at `backend`.  Answered by state_domain_learn, or
 * not; then somebody is asked again in ten minutes. */
typedef void (*state_on_probe)(void *ctx, uint32_t customer_id, const char *domain,
                               const struct inet_endpoint *backend);
void state_client_on_probe(struct state_client *client, state_on_probe on_probe, void *ctx);

/* --- The state process. */
struct state_store;
struct state_store_settings {
    const char *dir; /* state.mdb lives here */
    int64_t positive_ttl_ms, negative_ttl_ms;
    uint64_t map_size_bytes;
    uint32_t bounce_threshold; /* more than that within the window are banned; 0: nobody is */
    int64_t bounce_window_ms, ban_ms;
};
/* A file that fails its check (foreign, torn, of another version) is set aside as
 * state.mdb.bad-TIME and begun anew; *set_aside says so. */
MUST_USE int state_store_open(const struct state_store_settings *settings,
                              struct state_store **store, bool *set_aside);
void state_store_close(struct state_store **store);
/* For stopped_at_ms see state_recipient_ask. */
enum state_recipient state_store_recipient(struct state_store *store, uint32_t customer_id,
                                           const char *key, int64_t stopped_at_ms, int64_t wall_ms);
/* True: the domain is to be probed, by the caller and nobody else. */
bool state_store_learn(struct state_store *store, uint32_t customer_id, const char *key, bool valid,
                       int64_t wall_ms);
void state_store_learn_domain(struct state_store *store, uint32_t customer_id, const char *domain,
                              enum state_domain word, int64_t wall_ms);
/* False: nothing was known of it. */
bool state_store_forget(struct state_store *store, uint32_t customer_id, const char *key);
/* All that was learned in the domain; learning begins anew with a probe. */
bool state_store_forget_domain(struct state_store *store, uint32_t customer_id, const char *domain,
                               int64_t wall_ms);
void state_store_learn_capabilities(struct state_store *store, const struct inet_endpoint *endpoint,
                                    const struct state_capabilities *capabilities, int64_t wall_ms);
struct state_capabilities state_store_capabilities(struct state_store *store,
                                                   const struct inet_endpoint *endpoint,
                                                   int64_t stopped_at_ms, int64_t wall_ms);
/* A first contact is written down; one that has waited makes its domain or network known. */
struct state_greylist state_store_greylist(struct state_store *store,
                                           const struct state_greylist_key *key, int64_t delay_ms,
                                           int64_t wall_ms);
struct state_greylist state_store_greylist_look(struct state_store *store,
                                                const struct state_greylist_key *key,
                                                int64_t delay_ms, int64_t wall_ms);
/* For `which` see state_greylist_forget. */
void state_store_forget_origin(struct state_store *store, const struct state_filter *which,
                               int64_t wall_ms);
/* Of an address that bounces. A good one is one that has delivered to three customers in a week. */
struct state_backscatter {
    enum {
        STATE_BACKSCATTER_COUNTED, /* nothing to report */
        STATE_BACKSCATTER_BANNED,  /* just now */
        STATE_BACKSCATTER_SPARED,  /* above the threshold, but good; said once a day */
    } word;
    int64_t until_ms;
    unsigned good_customers;
};
struct state_backscatter state_store_learn_bounce(struct state_store *store, uint32_t customer_id,
                                                  const struct inet_endpoint *address,
                                                  int64_t wall_ms);
void state_store_learn_good(struct state_store *store, uint32_t customer_id,
                            const struct inet_endpoint *address, int64_t wall_ms);
/* The end of its ban, 0: there is none.  A good one has none, whatever it was before. */
int64_t state_store_ban(struct state_store *store, uint32_t customer_id,
                        const struct inet_endpoint *address, int64_t wall_ms);
/* False: there was no ban. */
bool state_store_forget_bounces(struct state_store *store, uint32_t customer_id,
                                const struct inet_endpoint *address, int64_t wall_ms);
/* Looks at a bounded number of records. */
MUST_USE int state_store_list(struct state_store *store, enum state_listing listing,
                              const struct state_filter *filter, const struct state_place *place,
                              int64_t wall_ms, struct state_page *page);
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
/* What is worth a line of the log. */
typedef void (*state_on_backscatter)(void *ctx, uint32_t customer_id,
                                     const struct inet_endpoint *address,
                                     const struct state_backscatter *what);
void state_server_on_backscatter(struct state_server *server, state_on_backscatter on_backscatter,
                                 void *ctx);
void state_server_add(struct state_server *server, int channel_fd);
void state_server_free(struct state_server **server);

#endif
