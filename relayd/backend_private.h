/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the pool, shared by its files: backend.c (places, targets, waits: who gets which
 * link), backend_share.c (connections shared with the other workers), backend_failure.c (what one
 * that could not be made says), backend_link.c (the life of a link, from connect to its end) and
 * backend_tls.c (its TLS).
 */
#ifndef RELAYD_BACKEND_PRIVATE_H
#define RELAYD_BACKEND_PRIVATE_H

#include "relayd/backend.h"

enum link_state { LINK_CONNECTING, LINK_GREETING, LINK_IDLE, LINK_BUSY, LINK_RESETTING };

/* What makes connections interchangeable: endpoint, source, TLS policy, name. */
struct backend_target {
    struct backend_target *next;
    struct backend_place *place;
    struct destination to;
    unsigned wait_count, opening_count;
    int64_t clear_until_ms;   /* policy `may`: the handshake failed; until then in the clear */
    int64_t refused_until_ms; /* TLS is needed and failed, while the endpoint serves others */
    bool source_failed;       /* an alarm has said so */
};

struct backend_place { /* an endpoint, with its slots and its health */
    struct backend_pool *pool;
    struct backend_place *next;
    struct inet_endpoint endpoint;
    uint32_t limit;
    struct backend_target *targets;
    struct backend_link *links;
    struct backend_wait *first_wait, *last_wait;
    unsigned wait_count, link_count, opening_count, idle_count, quiet_count;
    bool is_closed;           /* what was deferred finds nothing to do */
    bool is_wanting;          /* the shared table says so */
    int64_t open_again_at_ms; /* no new connection before this moment */
    struct loop_timer retry;  /* slots are held by others: try again */
};

struct backend_link {
    struct backend_target *target;
    struct backend_link *next, *previous;
    struct conn *conn;
    struct smtp_client *client;
    enum link_state state;
    unsigned uses;
    unsigned progress; /* of the engine, when the deadline was last set */
    bool timed_out, is_secure, stands;
    bool is_quiet; /* its backend owes an answer for long: it shows nothing about its health */
    int64_t ready_by_ms; /* being made: until then EHLO is answered */
    int64_t made_at_ms, idle_since_ms;
    const struct backend_user_ops *ops;
    void *ctx;
};

/* --- backend_link.c */
/* False: no slot is free, or the connection cannot even be begun (said to those who wait). */
bool link_open(struct backend_target *target);
void link_assign(struct backend_link *link, const struct backend_user_ops *ops, void *ctx);
void link_quit(struct backend_link *link); /* of an idle one */
void link_end(struct backend_link *link);

/* --- backend_tls.c */
enum smtp_client_tls link_tls_wanted(const struct backend_target *target); /* now */
void link_tls_begin(struct backend_link *link, int64_t timeout_ms); /* 220 to STARTTLS has come */
void link_tls_ready(struct backend_link *link);
/* Why a handshake failed is worth more than that the connection is gone. */
void link_tls_explain(const struct backend_link *link, enum smtp_phase phase,
                      struct smtp_reply *reply);
/* Policy `may`: the handshake failed, or what the backend said inside was nothing; the next
 * connection does without for a while, and those who wait hear nothing of it. */
bool target_goes_on_in_clear(struct backend_target *target, enum smtp_phase phase, bool was_secure,
                             const struct smtp_reply *reply);

/* --- backend_share.c */
/* Another connection is within this worker's share, or nobody else wants one. */
bool place_may_open(const struct backend_place *place);
/* Others wait, and this worker has more than its share, or has had its turn. */
bool place_owes(struct backend_place *place, const struct backend_link *link);
/* Says how many are still wanted, and comes again (`retry`) while somebody waits. */
void place_say_wanted(struct backend_place *place);
/* Users who hold a link without needing it give it back: to as many as wait, or to nobody. */
void place_ask_back(struct backend_place *place, bool others_wait);
/* Somebody else waits for what is idle here. */
void place_give_idle(struct backend_place *place);

/* --- backend_failure.c */
void place_link_ready(struct backend_place *place);
/* A connection could not be made; the link is gone. */
void target_failed(struct backend_target *target, enum smtp_phase phase, bool was_secure,
                   bool timed_out, const struct smtp_reply *reply);

/* --- backend.c */
struct worker *backend_place_worker(const struct backend_place *place);
int64_t place_now_ms(const struct backend_place *place);
/* Whenever a link becomes idle, is lost, or a wait arrives. */
void place_serve(struct backend_place *place);
void place_serve_later(struct backend_place *place);
/* An idle link of the target, or, NULL, of any. */
struct backend_link *place_idle_link(const struct backend_place *place,
                                     const struct backend_target *target);
/* Everybody who waits for the target, or, NULL, for any, hears that it cannot be reached; who
 * begins to wait meanwhile does not. */
void place_fail_waits(struct backend_place *place, const struct backend_target *target,
                      enum smtp_phase phase, const struct smtp_reply *reply);
/* An idle link is of no more use here: it is old, or another worker is in greater need of it. */
bool place_gives_up(struct backend_place *place, const struct backend_link *link);

#endif
