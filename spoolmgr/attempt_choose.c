/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Where an attempt goes: the first destination of the route that is up and has room, or that is due
 * for a probe.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "spoolmgr/attempt_private.h"

static struct endpoint **
endpoint_slot(struct keeper *k, const struct inet_endpoint *address)
{
    return &k->endpoints[inet_endpoint_hash(address) % ENDPOINT_SLOTS];
}

static struct endpoint *
endpoint_of(struct keeper *k, const struct inet_endpoint *address, bool is_own)
{
    struct endpoint **slot = endpoint_slot(k, address);
    struct endpoint *e = *slot;

    while (e != NULL && (e->is_own != is_own || !inet_endpoint_equal(&e->address, address)))
        e = e->next;
    if (e != NULL)
        return e;
    e = mem_alloc(sizeof *e);
    e->address = *address;
    e->is_own = is_own;
    schedule_window_init(&e->window);
    e->next = *slot;
    *slot = e;
    return e;
}

bool
attempt_is_down(struct keeper *k, const struct endpoint *e)
{
    if (e->is_own)
        return loop_now_ms(k->loop) < e->rests_until_ms;
    return shared_health_stops(
        shared_health_state_of(route_table(k->route), &e->address, clock_wall_ms()));
}

static bool
may_probe(struct keeper *k, struct endpoint *e, const struct schedule_queue *queue)
{
    struct shared_table *table = route_table(k->route);
    bool in_pass = schedule_pass_has(&k->schedule, queue) && e->asked_in_pass != k->schedule.pass;

    if (e->is_own)
        return in_pass;
    if (in_pass)
        shared_health_probe_now(table, &e->address, clock_wall_ms());
    return shared_health_may_probe(table, &e->address, clock_wall_ms()) || in_pass;
}

static bool
choose_destination(struct keeper *k, const struct schedule_queue *queue,
                   const struct destination *destination, struct attempt_choice *choice)
{
    struct endpoint *e = endpoint_of(k, &destination->endpoint, route_is_own(queue->route));
    struct destination to = *destination;
    bool down = attempt_is_down(k, e);

    if (!e->is_own)
        shared_health_found_as(route_table(k->route), &e->address, to.registered, clock_wall_ms());
    if (down && e->window.active > 0) {
        choice->is_busy = true;
        return false; /* its probe runs; the next one may serve meanwhile */
    }
    if (down && !may_probe(k, e, queue))
        return false;
    to.authenticates = e->is_own && own_credentials(k) != NULL;
    choice->is_busy = !schedule_window_may_start(&e->window, to.max_connections, down) ||
                      (choice->slot = slot_take(k, e, &to)) == NULL;
    if (choice->is_busy)
        return true;
    choice->endpoint = e;
    choice->destination = to;
    choice->was_down = down;
    return true;
}

/* The route's destinations as they are known now; what is not known yet is being looked up. */
static struct destination_walk *
walk_of(struct keeper *k, uint64_t route, unsigned *backend_count)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];

    *backend_count = route_is_own(route) ? own_backends(k, route, backends)
                                         : route_backends(k->route, route, backends);
    return destination_walk_new(k->destinations, backends, *backend_count, NULL, NULL);
}

static void
walk(struct keeper *k, const struct schedule_queue *queue, struct destination_walk *walk,
     struct attempt_choice *choice)
{
    for (unsigned i = 0;; i++) {
        const struct destination *d;
        enum destination_step step;

        if (i == destination_walk_count(walk) &&
            (step = destination_walk_more(walk)) != DESTINATION_FOUND) {
            choice->is_busy = choice->is_busy || step == DESTINATION_WAIT;
            return;
        }
        d = destination_walk_item(walk, i);
        if (!d->held && choose_destination(k, queue, d, choice))
            return;
    }
}

struct attempt_choice
attempt_choose(struct keeper *k, struct schedule_queue *queue)
{
    struct attempt_choice choice = {0};
    unsigned count;
    struct destination_walk *destinations = walk_of(k, queue->route, &count);

    queue->no_route = count == 0;
    walk(k, queue, destinations, &choice);
    snprintf(choice.why, sizeof choice.why, "%s", destination_walk_why(destinations));
    choice.is_unsure = destination_walk_is_unsure(destinations);
    destination_walk_free(&destinations);
    return choice;
}

bool
attempt_all_are_down(struct keeper *k, uint64_t route)
{
    unsigned count;
    struct destination_walk *destinations = walk_of(k, route, &count);
    enum destination_step step = DESTINATION_FOUND;
    bool all = count > 0;

    while (step == DESTINATION_FOUND)
        step = destination_walk_more(destinations);
    all = all && step == DESTINATION_END && !destination_walk_is_unsure(destinations);
    for (unsigned i = 0; i < destination_walk_count(destinations); i++) {
        const struct destination *d = destination_walk_item(destinations, i);

        all = all &&
              (d->held || attempt_is_down(k, endpoint_of(k, &d->endpoint, route_is_own(route))));
    }
    destination_walk_free(&destinations);
    return all;
}

/* Of all the Internet's servers those are remembered that are in use, or rest. */
void
attempt_tidy(struct keeper *k)
{
    int64_t now_ms = loop_now_ms(k->loop);

    for (size_t i = 0; i < ENDPOINT_SLOTS; i++) {
        struct endpoint **at = &k->endpoints[i];

        while (*at != NULL) {
            struct endpoint *e = *at;

            slot_tidy(k, e);
            if (!e->is_own || e->slot_count > 0 ||
                now_ms < e->rests_until_ms + k->config->message_retry_max_ms) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            free(e);
        }
    }
}
