/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The destinations of a transaction: a walk through its route's backends, which makes more of them
 * as they are needed.  A RCPT waits for a name; a name that has no address is passed over as a
 * backend that cannot be reached.
 */
#include "relayd/transaction_private.h"

#include "base/clock.h"

/* A name is known: the RCPT that has waited for it goes on. */
static void
on_ready(void *ctx)
{
    struct transaction *t = ctx;

    if (t->pending && t->query == NULL && t->link == NULL && t->wait == NULL)
        transaction_ask(t);
}

/* While a link is held its destination stays what it is. */
void
transaction_route_begin(struct transaction *t, const struct registry_backend *backends)
{
    t->next_destination = 0;
    if (t->walk != NULL && t->link != NULL)
        return;
    destination_walk_free(&t->walk);
    t->walk = destination_walk_new(t->worker->destinations, backends, t->route.backend_count,
                                   on_ready, t);
}

const struct destination *
transaction_destination(const struct transaction *t)
{
    return destination_walk_item(t->walk, t->chosen);
}

enum destination_step
transaction_route_next(struct transaction *t)
{
    while (!transaction_health_is_late(t)) {
        const struct destination *d;
        enum destination_step step;

        if (t->next_destination == destination_walk_count(t->walk) &&
            (step = destination_walk_more(t->walk)) != DESTINATION_FOUND)
            return step;
        t->chosen = t->next_destination++;
        d = transaction_destination(t);
        if (d->held)
            continue;
        if (shared_health_may_ask(t->worker->table, &d->endpoint, clock_wall_ms()))
            return DESTINATION_FOUND;
        shared_health_found_as(t->worker->table, &d->endpoint, d->registered, clock_wall_ms());
    }
    return DESTINATION_END;
}

const char *
transaction_route_why(const struct transaction *t)
{
    return t->walk ? destination_walk_why(t->walk) : "";
}
