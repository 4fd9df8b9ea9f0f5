/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connection slots of the backends, which attempts share with live mail.  While a worker waits for
 * one, the keeper has its share and no more, and asks for what it lacks as a worker does; with
 * fewer slots than there are who want one, by turns.
 *
 * A slot follows its deliverer's connection.  When its attempt is over the next one takes it, with
 * the connection; what the pump behind it leaves idle is closed, and given back when that is done.
 */
#include "spoolmgr/keeper.h"

#include <stdlib.h>

#include "route/destination_link.h"

#define RETRY_MS 20     /* as often as the workers look */
#define NEXT_TURN_MS 60 /* more than two looks of theirs */
#define WANTED_MS 1000  /* then whatever waited here has gone elsewhere */

static bool
is_owed_to_others(const struct keeper *k, const struct endpoint *e, uint32_t limit)
{
    struct shared_slot_share share;

    if (e->is_own)
        return false;
    share = shared_slot_share(route_table(k->route), ROUTE_SLOT, &e->address, limit);
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

static struct slot *
find_idle(struct keeper *k, const struct endpoint *e, const struct destination *to)
{
    for (struct slot *slot = k->slots; slot != NULL; slot = slot->next) {
        if (slot->endpoint == e && !slot->is_busy && !slot->is_leaving &&
            destination_shares_links(&slot->destination, to) &&
            fleet_has_room_at(k->fleet, slot->deliverer))
            return slot;
    }
    return NULL;
}

static struct slot *
slot_new(struct keeper *k, struct endpoint *e, const struct destination *to)
{
    struct slot *slot;

    if (!e->is_own &&
        !shared_slot_take(route_table(k->route), ROUTE_SLOT, &e->address, to->max_connections))
        return NULL;
    slot = mem_alloc(sizeof *slot);
    slot->number = ++k->last_slot;
    slot->endpoint = e;
    slot->destination = *to;
    slot->is_taken = !e->is_own;
    e->slot_count++;
    slot->next = k->slots;
    k->slots = slot;
    return slot;
}

struct slot *
slot_take(struct keeper *k, struct endpoint *e, const struct destination *to)
{
    struct slot *slot = NULL;

    if (!is_owed_to_others(k, e, to->max_connections) && (slot = find_idle(k, e, to)) == NULL)
        slot = slot_new(k, e, to);
    if (!e->is_own)
        say_wanted(k, e, slot == NULL);
    if (slot != NULL)
        slot->is_busy = true;
    return slot;
}

void
slot_reached(struct keeper *k, struct slot *slot)
{
    if (slot->is_taken && !slot->stands)
        shared_slot_stands(route_table(k->route), ROUTE_SLOT, &slot->endpoint->address, true);
    slot->stands = slot->is_taken;
}

static void
slot_free(struct keeper *k, struct slot *slot)
{
    struct shared_table *table = route_table(k->route);
    struct slot **at = &k->slots;

    while (*at != slot)
        at = &(*at)->next;
    *at = slot->next;
    if (slot->stands)
        shared_slot_stands(table, ROUTE_SLOT, &slot->endpoint->address, false);
    if (slot->is_taken)
        shared_slot_give(table, ROUTE_SLOT, &slot->endpoint->address);
    slot->endpoint->slot_given_at_ms = loop_now_ms(k->loop);
    slot->endpoint->slot_count--;
    free(slot);
}

void
slot_leave(struct keeper *k, struct slot *slot)
{
    slot->is_busy = false;
    slot->endpoint->slot_given_at_ms = loop_now_ms(k->loop); /* others have their turn */
    if (!slot->is_handed)
        slot_free(k, slot);
}

void
slot_close_idle(struct keeper *k)
{
    for (struct slot *slot = k->slots; slot != NULL; slot = slot->next) {
        if (slot->is_busy || slot->is_leaving)
            continue;
        slot->is_leaving = true;
        fleet_send_close(k->fleet, slot);
    }
}

/* One that is busy again: its job was on the way to a connection that is gone, and has another one
 * made. */
void
slot_closed(struct keeper *k, uint32_t number)
{
    struct slot *slot = k->slots;

    while (slot != NULL && slot->number != number)
        slot = slot->next;
    if (slot == NULL || slot->is_busy)
        return;
    slot_free(k, slot);
    keeper_pump(k);
}

void
slot_lost(struct keeper *k, unsigned deliverer)
{
    struct slot *next;

    for (struct slot *slot = k->slots; slot != NULL; slot = next) {
        next = slot->next;
        if (slot->is_handed && slot->deliverer == deliverer)
            slot_free(k, slot);
    }
}

void
slot_give_all(struct keeper *k)
{
    while (k->slots != NULL)
        slot_free(k, k->slots);
}

/* They stand whatever the table's limit is: taken above it they count, and nobody starts more. */
void
slot_retake_all(struct keeper *k)
{
    struct shared_table *table = route_table(k->route);

    for (struct slot *slot = k->slots; slot != NULL; slot = slot->next) {
        slot->stands = false;
        slot->is_taken = !slot->endpoint->is_own &&
                         shared_slot_take(table, ROUTE_SLOT, &slot->endpoint->address, UINT32_MAX);
    }
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
