/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections to backends.  A link is one connection with its client engine; the pool keeps idle
 * ones for the next transaction and makes new ones within the backend's limit.  A link has one user
 * at a time, which gets the engine's events.
 *
 *   connecting -> greeting -> idle <-> busy
 *
 * The pool reports what a failure says about the endpoint's health: only a fresh connection that
 * fails before MAIL does.
 */
#ifndef RELAYD_BACKEND_H
#define RELAYD_BACKEND_H

#include "net/conn.h"
#include "relayd/worker.h"
#include "route/destination.h"

struct backend_link;
struct backend_wait;

#define BACKEND_LINK_USES_MAX 100           /* transactions on one connection */
#define BACKEND_LINK_AGE_MS (5 * 60 * 1000) /* then it is not used again */
#define BACKEND_LINK_IDLE_MS 4000           /* an idle connection is given up */
#define BACKEND_CLEAR_MS (5 * 60 * 1000)    /* in the clear behind a handshake that failed */
#define BACKEND_CROWDED_MS (60 * 1000)      /* no more than stood when one more was refused */

/* Events of a link that is busy, in the user's hands. */
struct backend_user_ops {
    void (*on_reply)(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
                     const struct smtp_reply *reply);
    void (*on_want_content)(void *ctx);
    void (*on_drained)(void *ctx); /* the output has fallen below the low mark */
    /* The link is gone, and the pool has taken it back; `dot_sent` as in smtp_client.h. */
    void (*on_lost)(void *ctx, enum smtp_phase phase, bool dot_sent,
                    const struct smtp_reply *reply);
    /* Asked each second, and more often while others wait for a connection to this endpoint: can
     * the link be done without?  True: it has been released or dropped.  May be NULL: never. */
    bool (*on_wanted)(void *ctx, bool others_wait);
};

struct backend_pool *backend_pool_new(struct worker *worker);
void backend_pool_free(struct backend_pool **pool);
void backend_pool_drop_idle(struct backend_pool *pool); /* the worker is stopping */

/* Destinations whose endpoint, source, tls and tls_name are the same share connections; slots,
 * limit and health are the endpoint's. */

/* An idle link, or NULL. Never calls back. */
struct backend_link *backend_take_idle(struct backend_pool *pool, const struct destination *to,
                                       const struct backend_user_ops *ops, void *ctx);
/* A link later: made anew, or given back by another user. One callback, never from inside: link, or
 * NULL with the reason. If the backend could not be reached, the health table says so already; that
 * all its links were busy for too long says nothing about it. */
typedef void (*backend_on_link)(void *ctx, struct backend_link *link, enum smtp_phase phase,
                                const struct smtp_reply *reply);
struct backend_wait *backend_wait_start(struct backend_pool *pool, const struct destination *to,
                                        backend_on_link on_link, const struct backend_user_ops *ops,
                                        void *ctx);
/* How long it may last while all links are busy; backend-connect-timeout if nothing is said. */
void backend_wait_set_patience(struct backend_wait *wait, int64_t patience_ms);
void backend_wait_cancel(struct backend_wait **wait);

struct smtp_client *backend_link_client(struct backend_link *link);
bool
backend_link_is_reused(const struct backend_link *link); /* had a transaction before this one */
const struct inet_endpoint *backend_link_endpoint(const struct backend_link *link);
/* "TLSv1.3"; "" while it is in the clear. */
const char *backend_link_tls_version(const struct backend_link *link);
size_t backend_link_output_size(struct backend_link *link);
/* After calls of the engine: sends what was said and sets the deadline. */
void backend_link_flush(struct backend_link *link);
/* Sends out of the caller's memory, behind what was said (conn_write). False: the backend takes no
 * more for now, and on_drained follows when it does. */
bool backend_link_write(struct backend_link *link, const struct iovec *pieces, int count);
/* Another user has it from now on, in whatever it is doing, who waits for an answer that is
 * overdue: that the connection stands says no more that the backend lives. */
void backend_link_hand_over(struct backend_link *link, const struct backend_user_ops *ops,
                            void *ctx);
/* The user is done: an open transaction is RSET first; the link goes to the next who waits, or
 * idles. */
void backend_link_release(struct backend_link **link);
/* Closes it at once, whatever it was doing: content was on its way, or it is of no more use. Says
 * nothing about health. */
void backend_link_drop(struct backend_link **link);

#endif
