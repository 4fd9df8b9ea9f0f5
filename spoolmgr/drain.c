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

    return mail->message->unknowns > 0 || mail->crashes > 0;
}

static unsigned
probe_backends(struct keeper *k, uint32_t customer_id)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = route_backends(k->route, customer_id, backends), usable = 0;

    for (unsigned i = 0; i < count; i++) {
        if (backends[i].held)
            continue;
        shared_health_probe_now(route_table(k->route), &backends[i].endpoint, clock_wall_ms());
        usable++;
    }
    return usable;
}

static void
on_request(void *ctx, uint32_t customer_id)
{
    struct keeper *k = ctx;
    struct schedule_queue *queue = schedule_queue_of(&k->schedule, customer_id);
    unsigned usable = probe_backends(k, customer_id);
    size_t due = schedule_make_due(queue, keeps_its_pause);

    log_line(LOG_LEVEL_INFO, NULL, "drain",
             "customer_id=%u due=%zu ready=%zu keep_their_pause=%zu backends=%u", customer_id, due,
             queue->ready.count, queue->waiting.count, usable);
    keeper_pump(k);
}

void
drain_look(struct keeper *k)
{
    if (!k->is_stopping)
        shared_drain_take(route_table(k->route), on_request, k);
}
