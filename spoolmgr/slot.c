/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connection slots of the backends, which attempts share with live mail.  While a worker waits for
 * one, the keeper has its share and no more, and asks for what it lacks as a worker does; with
 * fewer slots than there are who want one, by turns.
 */
#include "spoolmgr/keeper.h"

#define RETRY_MS 20     /* as often as the workers look */
#define NEXT_TURN_MS 60 /* more than two looks of theirs */
#define WANTED_MS 1000  /* then whatever waited here has gone elsewhere */

static bool
is_owed_to_others(const struct keeper *k, const struct endpoint *e, uint32_t limit)
{
    struct shared_slot_share share =
        shared_slot_share(route_table(k->route), ROUTE_SLOT, &e->address, limit);

    if (share.wanted == 0)
        return false;
    return e->window.active >= share.slots ||
           (share.is_too_few && loop_now_ms(k->loop) - e->slot_given_at_ms < NEXT_TURN_MS);
}

static void
say_wanted(struct keeper *k, struct endpoint *e, bool is_wanted)
{
    if (is_wanted || e->slot_wanted_at_ms > 0)
        shared_slot_want(route_table(k->route), ROUTE_SLOT, &e->address, is_wanted);
    e->slot_wanted_at_ms = is_wanted ? loop_now_ms(k->loop) : 0;
    if (is_wanted && !loop_timer_is_running(&k->slot_retry))
        loop_timer_start(&k->slot_retry, RETRY_MS);
}

bool
slot_take(struct keeper *k, struct endpoint *e, uint32_t limit)
{
    bool taken;

    if (e->is_own)
        return true;
    taken = !is_owed_to_others(k, e, limit) &&
            shared_slot_take(route_table(k->route), ROUTE_SLOT, &e->address, limit);
    say_wanted(k, e, !taken);
    return taken;
}

void
slot_give(struct keeper *k, struct endpoint *e)
{
    shared_slot_give(route_table(k->route), ROUTE_SLOT, &e->address);
    e->slot_given_at_ms = loop_now_ms(k->loop);
}

void
slot_tidy(struct keeper *k, struct endpoint *e)
{
    if (e->slot_wanted_at_ms > 0 && loop_now_ms(k->loop) - e->slot_wanted_at_ms >= WANTED_MS)
        say_wanted(k, e, false);
}

void
slot_on_retry(void *ctx)
{
    keeper_pump(ctx);
}
