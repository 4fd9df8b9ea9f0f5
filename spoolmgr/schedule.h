/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The schedule: which message is asked for next, and when again.  Pure: no clock, no disk, no
 * network; moments are handed in.
 *
 *   queue    one a route: a customer's, or that of a domain with backends of its own; 0: no route.
 *            Ready items oldest first, waiting items by the moment at which they become ready.
 *   window   one a backend endpoint: how many attempts may run at once.  From 1, one more for each
 *            message taken, halved on trouble; one while the backend is being probed.
 */
#ifndef SPOOLMGR_SCHEDULE_H
#define SPOOLMGR_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct schedule_queue;

enum schedule_state { SCHEDULE_OUT, SCHEDULE_READY, SCHEDULE_WAITING, SCHEDULE_RUNNING };

struct schedule_item { /* embedded in its owner; all fields belong to the schedule */
    struct schedule_queue *queue;
    int64_t arrived_at_ms, next_at_ms;
    uint32_t order; /* breaks ties: as put in; wraps around */
    uint32_t heap_at : 30;
    enum schedule_state state : 2;
};

struct schedule_heap {
    struct schedule_item **items;
    size_t count, room;
};

struct schedule_queue {
    uint64_t route;
    struct schedule_heap ready, waiting;
    unsigned running;
    uint64_t pass;               /* the pass it takes part in, if that is the schedule's */
    int64_t unreachable_at_ms;   /* an attempt that began then found no backend to talk to; 0: the
                                    newest attempt did. For the keeper */
    int64_t unresolved_until_ms; /* the names of its backends have no address; said until then. For
                                    the keeper */
    bool no_route;               /* the route had no backend when it was last asked for one. For the
                                    keeper */
};

struct schedule {
    struct schedule_queue **queues;
    size_t queue_count;
    uint32_t next_order;
    uint64_t pass; /* counted up by each begin */
};

void schedule_init(struct schedule *s);
void schedule_fini(struct schedule *s); /* items stay their owners' */

struct schedule_queue *schedule_queue_of(struct schedule *s, uint64_t route);

/* Into the queue, ready or waiting by next_at; an item that is in a queue moves.  Not while it
 * runs. */
void schedule_put(struct schedule *s, struct schedule_item *item, struct schedule_queue *queue,
                  int64_t arrived_at_ms, int64_t next_at_ms, int64_t now_ms);
void schedule_remove(struct schedule_item *item); /* harmless if it is in none */
/* Waiting items whose moment has come become ready. */
void schedule_promote(struct schedule *s, int64_t now_ms);
/* Waiting items of the queue become ready now, but for those that keep their pause.  Returns how
 * many.  Costs as much as there are waiting. */
size_t schedule_make_due(struct schedule_queue *queue,
                         bool (*keeps_its_pause)(const struct schedule_item *item));
/* The clock that moments are of has jumped: pauses last as long as they would have. */
void schedule_clock_jumped(struct schedule *s, int64_t by_ms);
/* The oldest ready item, which now runs; NULL: none. */
struct schedule_item *schedule_take(struct schedule_queue *queue);
struct schedule_item *schedule_peek(const struct schedule_queue *queue);
/* It has run: out of the queue; put it again or forget it. */
void schedule_done(struct schedule_item *item);

/* Begins a pass: everything that waits is ready now. Returns the number of items. */
size_t schedule_pass_begin(struct schedule *s);
/* It takes part in the pass that runs: something has come that the pass has led to. */
void schedule_pass_join(struct schedule *s, struct schedule_queue *queue);
/* This queue has nothing left to ask for in the pass. */
void schedule_pass_leave(struct schedule *s, struct schedule_queue *queue);
bool schedule_pass_has(const struct schedule *s, const struct schedule_queue *queue);
bool schedule_pass_is_over(const struct schedule *s);

/* --- The window of an endpoint. */
struct schedule_window {
    unsigned allowed, active;
};
void schedule_window_init(struct schedule_window *w);
bool schedule_window_may_start(const struct schedule_window *w, unsigned limit, bool probing);
void schedule_window_good(struct schedule_window *w, unsigned limit);
void schedule_window_trouble(struct schedule_window *w);

/* --- Pauses. */
/* A recorded moment, no further away than a pause can be: a clock that was ahead when it was
 * recorded must not keep a message for weeks. */
int64_t schedule_capped_ms(int64_t next_at_ms, int64_t now_ms, int64_t max_ms);
/* After a message-specific failure: min, then twice the previous pause up to max; less up to a
 * fifth by `random`, so that what failed together is not tried together. */
int64_t schedule_backoff_ms(int64_t previous_ms, int64_t min_ms, int64_t max_ms, uint32_t random);
/* After the n-th loss behind the dot (from 1): 1 h, 4 h; -1: hold. */
int64_t schedule_unknown_pause_ms(unsigned n);

#endif
