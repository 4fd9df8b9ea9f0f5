/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a client, shared by its two files: state_client.c (questions and their answers, the
 * channel) and state_client_news.c (what is told without an answer).
 */
#ifndef STATE_CLIENT_PRIVATE_H
#define STATE_CLIENT_PRIVATE_H

#include "state/state_protocol.h"

#define STATE_CLIENT_GOOD_MAX 1024

struct state_client {
    struct loop *loop;
    struct channel *channel; /* NULL: there is no state process */
    struct loop_timer timer, news_timer;
    struct state_query *first, *last;
    uint32_t next_id;
    struct buf asks, news;
    bool is_flush_due, is_closed;
    uint64_t timeouts;
    state_on_probe on_probe;
    void *probe_ctx;
    uint64_t good_told[STATE_CLIENT_GOOD_MAX]; /* hashes of what was said lately */
};

/* An entry of a question or of news, behind its head. */
struct state_entry {
    uint32_t customer_id;
    uint64_t number;
    const struct inet_endpoint *endpoint; /* NULL: none */
    struct slice key;
};

/* --- state_client.c */
void state_entry_put(struct buf *b, const struct state_entry *entry);
/* What has been added to `asks` and `news` leaves: at the end of the turn; or, news that can wait,
 * with what leaves next, in NEWS_MS at the latest. */
void state_client_flush(struct state_client *client);
void state_client_flush_in_time(struct state_client *client);

#endif
