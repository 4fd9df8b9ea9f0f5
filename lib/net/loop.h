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

#define LOOP_STALL_LIMIT_MS 200

/* Create after fork; one a process. Ignores SIGPIPE for the process. */
struct loop *loop_new(void);
void loop_free(struct loop **loop);
struct event_base *loop_event_base(struct loop *loop);

void loop_run(struct loop *loop);  /* until loop_stop */
void loop_stop(struct loop *loop); /* after the current turn */

/* For a process that does the waiting for others: its turns may take as long as the disk does. */
void loop_allow_stalls(struct loop *loop);

int64_t loop_now_ms(struct loop *loop); /* monotonic time, read once a turn */

/* Runs fn(ctx) after the current turn, in order of deferral; what it defers runs after it, in the
 * same pause between turns as long as that does not go on for ever. Costs no system call. */
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

/* Signals arrive as callbacks, through a signalfd: the signal is blocked in this process from now
 * on (process_fork unblocks it in children), and no global state of libevent is touched. */
void loop_on_signal(struct loop *loop, int signo, void (*on_signal)(void *ctx, int signo),
                    void *ctx);
/* A signal that comes before its loop_on_signal waits for that, instead of ending the process. */
void loop_expect_signal(int signo);

/* A module that hangs events of its own on loop_event_base frames each callback with these, so that
 * the stall watch can say what ran: `what` is a word, `fn` the function that was called. */
int64_t loop_callback_begin(struct loop *loop);
void loop_callback_end(struct loop *loop, int64_t began_us, const char *what, void (*fn)(void));

#endif
