/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections shared with the other workers.  The limit is the endpoint's, over all of them, and
 * any worker may have all of it while no other asks.  Who waits says so in the shared table; the
 * others then close what is idle, and what they have beyond their share when its transaction is
 * over.  With fewer connections than workers that wait it goes by turns.
 *
 * Nothing here opens a connection or serves a wait.
 */
#include <limits.h>

#include "relayd/backend_private.h"

#define SLOT_RETRY_MS 20
#define TURN_MS 250     /* with fewer connections than workers that want one */
#define NEXT_TURN_MS 60 /* more than two looks of the others */

static struct shared_slot_share
share_of(const struct backend_place *place)
{
    struct worker *w = backend_place_worker(place);

    return shared_slot_share(w->table, w->slot, &place->endpoint, place->limit);
}

bool
place_owes(struct backend_place *place, const struct backend_link *link)
{
    struct shared_slot_share share = share_of(place);

    if (share.wanted == 0 || !share.is_full)
        return false;
    if (place->first_wait == NULL || place->link_count > share.slots)
        return true;
    if (!share.is_too_few || place_now_ms(place) - link->made_at_ms < TURN_MS)
        return false;
    place->open_again_at_ms = place_now_ms(place) + NEXT_TURN_MS;
    return true;
}

bool
place_may_open(const struct backend_place *place)
{
    struct shared_slot_share share = share_of(place);

    return share.wanted == 0 || place->link_count < share.slots;
}

void
place_say_wanted(struct backend_place *place)
{
    struct worker *w = backend_place_worker(place);
    unsigned wanted =
        place->wait_count > place->opening_count ? place->wait_count - place->opening_count : 0;

    if (wanted > 0 || place->is_wanting)
        shared_slot_want(w->table, w->slot, &place->endpoint, wanted);
    place->is_wanting = wanted > 0;
    if (place->first_wait)
        loop_timer_start(&place->retry, SLOT_RETRY_MS);
}

void
place_ask_back(struct backend_place *place, bool others_wait)
{
    unsigned wanted = others_wait ? place->wait_count + share_of(place).wanted : UINT_MAX;
    struct backend_link *next;

    for (struct backend_link *link = place->links; link && wanted > 0; link = next) {
        next = link->next;
        if (link->state == LINK_RESETTING)
            wanted--;
        else if (link->state == LINK_BUSY && link->ops->on_wanted &&
                 link->ops->on_wanted(link->ctx, others_wait))
            wanted--;
    }
}

void
place_give_idle(struct backend_place *place)
{
    struct shared_slot_share share;
    struct backend_link *link;

    if (place->link_count == 0 || place->first_wait)
        return;
    share = share_of(place);
    if (share.wanted == 0 || !share.is_full)
        return;
    for (unsigned i = 0; i < share.wanted && (link = place_idle_link(place, NULL)) != NULL; i++)
        link_quit(link);
    place_ask_back(place, true);
}
