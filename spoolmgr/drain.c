/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A customer's server has asked for its mail (ETRN, RFC 1985; the relay has judged that it may):
 * what waits for this customer is due now, and its backends that are down may be probed now.  All
 * else is as ever: held messages and held backends stay, a backend that is down gets one message
 * first, and a failed probe has its usual pause.
 */
#include "spoolmgr/keeper.h"

#include "base/clock.h"
#include "base/log.h"

/* Not a customer's to shorten: its backend may have the message already, or deliverers die of it.
 */
static bool
keeps_its_pause(const struct schedule_item *item)
{
    const struct mail *mail = ((const struct task *)item)->mail;

    return spool_message_unknowns(mail->message) > 0 || mail->crashes > 0;
}

unsigned
drain_probe_backends(struct keeper *k, uint64_t route)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = route_backends(k->route, route, backends), usable = 0;
    struct destination_walk *walk =
        destination_walk_new(k->destinations, backends, count, NULL, NULL);

    while (destination_walk_more(walk) == DESTINATION_FOUND)
        ;
    for (unsigned i = 0; i < destination_walk_count(walk); i++) {
        const struct destination *d = destination_walk_item(walk, i);

        if (d->held)
            continue;
        shared_health_probe_now(route_table(k->route), &d->endpoint, clock_wall_ms());
        usable++;
    }
    destination_walk_free(&walk);
    return usable;
}

static void
drain_queue(struct keeper *k, struct schedule_queue *queue)
{
    unsigned usable = drain_probe_backends(k, queue->route);
    size_t due = schedule_make_due(queue, keeps_its_pause);

    log_line(LOG_LEVEL_INFO, NULL, "drain",
             "customer_id=%u domain_id=%u due=%zu ready=%zu keep_their_pause=%zu backends=%u",
             route_customer_id(queue->route), route_domain_id(queue->route), due,
             queue->ready.count, queue->waiting.count, usable);
}

/* Its common queue, and those of its domains with backends of their own. */
static void
on_request(void *ctx, uint32_t customer_id)
{
    struct keeper *k = ctx;

    schedule_queue_of(&k->schedule, route_number(customer_id, 0));
    for (size_t i = 0; i < k->schedule.queue_count; i++)
        if (route_customer_id(k->schedule.queues[i]->route) == customer_id)
            drain_queue(k, k->schedule.queues[i]);
    keeper_pump(k);
}

void
drain_look(struct keeper *k)
{
    if (!k->is_stopping)
        shared_drain_take(route_table(k->route), on_request, k);
}
