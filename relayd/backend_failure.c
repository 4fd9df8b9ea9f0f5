/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a connection that could not be made says, and of whom: of TLS (the next does without), of
 * one target's policy, of how many connections the backend wants, or else of its health.  In that
 * order, and no connection says two of these.
 *
 * One that has been made ends what was said of its health.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "relayd/backend_private.h"
#include "state/shared_reason.h"

#define OPEN_PAUSE_MS 1000

static void
note_down(struct backend_place *place, enum smtp_phase phase, bool timed_out,
          const struct smtp_reply *reply)
{
    struct worker *w = backend_place_worker(place);
    enum shared_health_reason reason = shared_reason_of(phase, timed_out);
    char endpoint[INET_ENDPOINT_SIZE], text[SMTP_REPLY_TEXT_SIZE] = "",
                                       quoted[SMTP_REPLY_LINE_SIZE + 8];

    shared_slot_crowded(w->table, w->slot, &place->endpoint, 0);
    if (!shared_health_failed(w->table, &place->endpoint, reason, clock_wall_ms(),
                              w->config->probe_interval_min_ms, w->config->probe_interval_max_ms))
        return;
    if (reply && reply->code)
        smtp_reply_text(reply, text, sizeof text);
    else if (reply)
        snprintf(text, sizeof text, "%s", reply->text);
    log_line(LOG_LEVEL_WARN, NULL, "backend-down", "endpoint=%s phase=%s reason=%s reply=%s",
             inet_endpoint_text(&place->endpoint, endpoint), smtp_phase_word(phase),
             log_quote(slice_of(shared_reason_text(reason)), (char[120]){0}, 120),
             log_quote(slice_of(text), quoted, sizeof quoted));
}

void
place_link_ready(struct backend_place *place)
{
    struct worker *w = backend_place_worker(place);
    char endpoint[INET_ENDPOINT_SIZE];

    if (shared_health_succeeded(w->table, &place->endpoint, clock_wall_ms()))
        log_line(LOG_LEVEL_INFO, NULL, "backend-up", "endpoint=%s",
                 inet_endpoint_text(&place->endpoint, endpoint));
}

static bool
has_ready_link(const struct backend_place *place)
{
    return place->link_count > place->opening_count + place->quiet_count;
}

/* TLS is needed and failed, while the endpoint serves others: their connections show that it lives,
 * so that this target alone waits. */
static bool
is_refused_alone(struct backend_target *target, enum smtp_phase phase, bool others_stand)
{
    struct backend_place *place = target->place;

    if (phase != SMTP_PHASE_STARTTLS || !others_stand)
        return false;
    target->refused_until_ms =
        place_now_ms(place) + backend_place_worker(place)->config->probe_interval_min_ms;
    return true;
}

/* While others stand, the backend lives and wants no more of them ("421 too many connections", or
 * a refusal): what waits is served by those, and no worker opens more for a while. */
static bool
is_crowded(struct backend_place *place, enum smtp_phase phase, bool timed_out, bool others_stand,
           const struct smtp_reply *reply)
{
    struct worker *w = backend_place_worker(place);
    char endpoint[INET_ENDPOINT_SIZE];

    if (timed_out || !others_stand)
        return false;
    if (phase != SMTP_PHASE_CONNECT && reply->code / 100 != 4)
        return false;
    shared_slot_crowded(w->table, w->slot, &place->endpoint, BACKEND_CROWDED_MS);
    log_line(LOG_LEVEL_INFO, NULL, "backend-crowded", "endpoint=%s connections=%u",
             inet_endpoint_text(&place->endpoint, endpoint),
             shared_slot_standing(w->table, &place->endpoint));
    return true;
}

void
target_failed(struct backend_target *target, enum smtp_phase phase, bool was_secure, bool timed_out,
              const struct smtp_reply *reply)
{
    struct backend_place *place = target->place;
    struct worker *w = backend_place_worker(place);
    bool others_stand = shared_slot_standing(w->table, &place->endpoint) > 0;

    if (target_goes_on_in_clear(target, phase, was_secure, reply))
        return;
    if (is_refused_alone(target, phase, others_stand))
        place_fail_waits(place, target, phase, reply);
    else if (is_crowded(place, phase, timed_out, others_stand, reply) || has_ready_link(place))
        place->open_again_at_ms = place_now_ms(place) + OPEN_PAUSE_MS;
    else {
        note_down(place, phase, timed_out, reply);
        place_fail_waits(place, NULL, phase, reply);
    }
}
