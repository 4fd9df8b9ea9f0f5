/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two heaps a queue, ready by age and waiting by moment; an item knows its place, so that moving it
 * costs a logarithm however many messages wait (P10).
 */
#include "spoolmgr/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* --- Heaps. */

typedef bool (*is_before)(const struct schedule_item *a, const struct schedule_item *b);

static bool
is_older(const struct schedule_item *a, const struct schedule_item *b)
{
    if (a->arrived_at_ms != b->arrived_at_ms)
        return a->arrived_at_ms < b->arrived_at_ms;
    return (int32_t)(a->order - b->order) < 0;
}

static bool
is_sooner(const struct schedule_item *a, const struct schedule_item *b)
{
    return a->next_at_ms < b->next_at_ms;
}

static void
heap_set(struct schedule_heap *h, size_t at, struct schedule_item *item)
{
    h->items[at] = item;
    item->heap_at = (uint32_t)at & 0x3fffffff;
}

static void
heap_up(struct schedule_heap *h, size_t at, is_before before)
{
    struct schedule_item *item = h->items[at];

    while (at > 0 && before(item, h->items[(at - 1) / 2])) {
        heap_set(h, at, h->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(h, at, item);
}

static void
heap_down(struct schedule_heap *h, size_t at, is_before before)
{
    struct schedule_item *item = h->items[at];

    for (;;) {
        size_t child = at * 2 + 1;

        if (child >= h->count)
            break;
        if (child + 1 < h->count && before(h->items[child + 1], h->items[child]))
            child++;
        if (!before(h->items[child], item))
            break;
        heap_set(h, at, h->items[child]);
        at = child;
    }
    heap_set(h, at, item);
}

static void
heap_add(struct schedule_heap *h, struct schedule_item *item, is_before before)
{
    if (h->count == h->room) {
        h->room = h->room ? h->room * 2 : 16;
        h->items = mem_realloc(h->items, h->room * sizeof(*h->items));
    }
    CHECK(h->count < 0x3fffffff);
    heap_set(h, h->count++, item);
    heap_up(h, h->count - 1, before);
}

static void
heap_remove(struct schedule_heap *h, struct schedule_item *item, is_before before)
{
    size_t at = item->heap_at;
    struct schedule_item *last = h->items[--h->count];

    CHECK(h->items[at] == item || last == item);
    if (last == item)
        return;
    heap_set(h, at, last);
    heap_up(h, at, before);
    heap_down(h, last->heap_at, before);
}

static void
heap_order(struct schedule_heap *h, is_before before)
{
    for (size_t at = h->count / 2; at-- > 0;)
        heap_down(h, at, before);
}

/* --- Queues. */

void
schedule_init(struct schedule *s)
{
    *s = (struct schedule){0};
}

void
schedule_fini(struct schedule *s)
{
    for (size_t i = 0; i < s->queue_count; i++) {
        free(s->queues[i]->ready.items);
        free(s->queues[i]->waiting.items);
        free(s->queues[i]);
    }
    free(s->queues);
    schedule_init(s);
}

/* Sorted by customer, so that a look-up is a few steps. */
struct schedule_queue *
schedule_queue_of(struct schedule *s, uint64_t route)
{
    struct schedule_queue *queue;
    size_t low = 0, high = s->queue_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (s->queues[middle]->route < route)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < s->queue_count && s->queues[low]->route == route)
        return s->queues[low];
    queue = mem_alloc(sizeof *queue);
    queue->route = route;
    s->queues = mem_realloc(s->queues, (s->queue_count + 1) * sizeof(*s->queues));
    memmove(s->queues + low + 1, s->queues + low, (s->queue_count - low) * sizeof(*s->queues));
    s->queues[low] = queue;
    s->queue_count++;
    return queue;
}

void
schedule_remove(struct schedule_item *item)
{
    if (item->state == SCHEDULE_READY)
        heap_remove(&item->queue->ready, item, is_older);
    if (item->state == SCHEDULE_WAITING)
        heap_remove(&item->queue->waiting, item, is_sooner);
    if (item->state == SCHEDULE_RUNNING)
        item->queue->running--;
    item->state = SCHEDULE_OUT;
    item->queue = NULL;
}

void
schedule_put(struct schedule *s, struct schedule_item *item, struct schedule_queue *queue,
             int64_t arrived_at_ms, int64_t next_at_ms, int64_t now_ms)
{
    CHECK(item->state != SCHEDULE_RUNNING);
    schedule_remove(item);
    item->queue = queue;
    item->arrived_at_ms = arrived_at_ms;
    item->next_at_ms = next_at_ms;
    item->order = s->next_order++;
    if (next_at_ms <= now_ms) {
        item->state = SCHEDULE_READY;
        heap_add(&queue->ready, item, is_older);
    } else {
        item->state = SCHEDULE_WAITING;
        heap_add(&queue->waiting, item, is_sooner);
    }
}

static void
make_ready(struct schedule_queue *queue, struct schedule_item *item)
{
    heap_remove(&queue->waiting, item, is_sooner);
    item->state = SCHEDULE_READY;
    heap_add(&queue->ready, item, is_older);
}

void
schedule_promote(struct schedule *s, int64_t now_ms)
{
    for (size_t i = 0; i < s->queue_count; i++) {
        struct schedule_queue *queue = s->queues[i];

        while (queue->waiting.count > 0 && queue->waiting.items[0]->next_at_ms <= now_ms)
            make_ready(queue, queue->waiting.items[0]);
    }
}

size_t
schedule_make_due(struct schedule_queue *queue,
                  bool (*keeps_its_pause)(const struct schedule_item *item))
{
    struct schedule_heap *waiting = &queue->waiting;
    size_t count = waiting->count, kept = 0;

    for (size_t i = 0; i < count; i++) {
        struct schedule_item *item = waiting->items[i];

        if (keeps_its_pause(item)) {
            heap_set(waiting, kept++, item);
            continue;
        }
        item->state = SCHEDULE_READY;
        heap_add(&queue->ready, item, is_older);
    }
    waiting->count = kept;
    heap_order(waiting, is_sooner);
    return count - kept;
}

struct schedule_item *
schedule_peek(const struct schedule_queue *queue)
{
    return queue->ready.count ? queue->ready.items[0] : NULL;
}

void
schedule_clock_jumped(struct schedule *s, int64_t by_ms)
{
    for (size_t i = 0; i < s->queue_count; i++) {
        struct schedule_queue *queue = s->queues[i];

        queue->unreachable_at_ms = queue->unresolved_until_ms = 0;
        for (size_t n = 0; n < queue->waiting.count; n++) /* all alike: their order stays */
            queue->waiting.items[n]->next_at_ms += by_ms;
    }
}

struct schedule_item *
schedule_take(struct schedule_queue *queue)
{
    struct schedule_item *item = schedule_peek(queue);

    if (item == NULL)
        return NULL;
    heap_remove(&queue->ready, item, is_older);
    item->state = SCHEDULE_RUNNING;
    queue->running++;
    return item;
}

void
schedule_done(struct schedule_item *item)
{
    CHECK(item->state == SCHEDULE_RUNNING);
    schedule_remove(item);
}

/* --- A pass. */

size_t
schedule_pass_begin(struct schedule *s)
{
    size_t n = 0;

    s->pass++;
    for (size_t i = 0; i < s->queue_count; i++) {
        struct schedule_queue *queue = s->queues[i];

        while (queue->waiting.count > 0)
            make_ready(queue, queue->waiting.items[0]);
        if (queue->ready.count + queue->running > 0)
            queue->pass = s->pass;
        n += queue->ready.count + queue->running;
    }
    return n;
}

void
schedule_pass_join(struct schedule *s, struct schedule_queue *queue)
{
    queue->pass = s->pass;
}

void
schedule_pass_leave(struct schedule *s, struct schedule_queue *queue)
{
    if (queue->pass == s->pass)
        queue->pass = 0;
}

bool
schedule_pass_has(const struct schedule *s, const struct schedule_queue *queue)
{
    return s->pass > 0 && queue->pass == s->pass;
}

bool
schedule_pass_is_over(const struct schedule *s)
{
    for (size_t i = 0; i < s->queue_count; i++) {
        if (schedule_pass_has(s, s->queues[i]))
            return false;
    }
    return true;
}

/* --- Windows. */

void
schedule_window_init(struct schedule_window *w)
{
    *w = (struct schedule_window){.allowed = 1};
}

bool
schedule_window_may_start(const struct schedule_window *w, unsigned limit, bool probing)
{
    unsigned most = probing ? 1 : w->allowed;

    return w->active < (most < limit ? most : limit);
}

void
schedule_window_good(struct schedule_window *w, unsigned limit)
{
    if (w->allowed < limit)
        w->allowed++;
}

void
schedule_window_trouble(struct schedule_window *w)
{
    w->allowed = w->allowed > 1 ? w->allowed / 2 : 1;
}

/* --- Pauses. */

#define UNKNOWN_LONGEST_MS (4 * 3600 * 1000)

int64_t
schedule_capped_ms(int64_t next_at_ms, int64_t now_ms, int64_t max_ms)
{
    int64_t longest_ms = max_ms > UNKNOWN_LONGEST_MS ? max_ms : UNKNOWN_LONGEST_MS;

    return next_at_ms > now_ms + longest_ms ? now_ms + longest_ms : next_at_ms;
}

int64_t
schedule_backoff_ms(int64_t previous_ms, int64_t min_ms, int64_t max_ms, uint32_t random)
{
    int64_t pause = previous_ms > 0 ? previous_ms * 2 : min_ms;

    if (pause < min_ms)
        pause = min_ms;
    if (pause > max_ms)
        pause = max_ms;
    return pause - pause / 5 * (random % 1000) / 1000;
}

int64_t
schedule_unknown_pause_ms(unsigned n)
{
    static const int64_t hour_ms = 3600 * 1000;

    if (n <= 1)
        return hour_ms;
    return n == 2 ? 4 * hour_ms : -1;
}
