/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The event loop: libevent underneath, and two rules on top.  Nothing is freed inside a callback:
 * loop_defer runs a function after the turn.  Nothing blocks: a turn longer than the stall limit is
 * logged with what ran, and in tests it fails the run (environment variable
 * POSTERN_STALL_ABORT_MS).
 */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct event_base;

/* Create after fork; one a process. */
struct loop *loop_new(void);
void loop_free(struct loop **loop);
struct event_base *loop_event_base(struct loop *loop);

void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* after the current turn */

int64_t loop_now_ms(struct loop *loop); /* monotonic time, read once a turn */

/* Runs fn(ctx) after the current turn, in order of deferral. */
void loop_defer(struct loop *loop, void (*fn)(void *ctx), void *ctx);

/* One-shot timer, embedded in its owner: init once, start again at will, cancel before the owner
 * goes. */
struct loop_timer {
    struct loop *loop;
    void *event;
    void (*on_fire)(void *ctx);
    void *ctx;
};
void loop_timer_init(struct loop_timer *t, struct loop *loop, void (*on_fire)(void *ctx),
                     void *ctx);
void loop_timer_start(struct loop_timer *t, int64_t delay_ms); /* restarts if it runs */
void loop_timer_cancel(struct loop_timer *t); /* harmless if it does not run; frees the event */
bool loop_timer_is_running(const struct loop_timer *t);

/* A descriptor that is watched for reading until it is closed (eventfd, socketpair, listening
 * socket). */
struct loop_watch;
struct loop_watch *loop_watch_start(struct loop *loop, int fd, void (*on_readable)(void *ctx),
                                    void *ctx);
void loop_watch_cancel(struct loop_watch **watch); /* does not close the descriptor */

/* Signals arrive as callbacks. One loop a process may own signals. */
void loop_on_signal(struct loop *loop, int signo, void (*on_signal)(void *ctx, int signo),
                    void *ctx);

#endif
