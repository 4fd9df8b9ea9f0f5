/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One of these a link.  It ends when it has heard something, or the link's deadline has passed, and
 * its record's fate is known.
 */
#include "relayd/late.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "relayd/recipient_policy.h"
#include "relayd/resolve.h"

#define YIELD_MS 60000 /* so long it is listened to even if others wait for the connection */

struct late {
    struct worker *worker;
    struct late *next, *previous;
    struct backend_link *link; /* NULL: something was heard */
    struct ref ref;
    int64_t since_ms;
    struct loop_timer timer;
    bool is_owned; /* late_kept or late_forget is still to come */
    bool is_kept;
    enum spool_resolution_kind heard;
    struct smtp_reply reply;
};

static void
late_free(void *ctx)
{
    free(ctx);
}

/* Its link may be on the stack. */
static void
end(struct late *late)
{
    struct worker *w = late->worker;

    if (late->next)
        late->next->previous = late->previous;
    if (late->previous)
        late->previous->next = late->next;
    else
        w->lates = late->next;
    loop_timer_cancel(&late->timer);
    loop_defer(w->loop, late_free, late);
}

static void
settle(struct late *late)
{
    if (late->link != NULL || late->is_owned)
        return;
    if (late->is_kept)
        resolve_silently(late->worker, late->ref, late->heard, &late->reply);
    end(late);
}

static void
hear(struct late *late, enum spool_resolution_kind what, const struct smtp_reply *reply)
{
    static const char *const words[] = {
        [SPOOL_RESOLUTION_DELIVERED] = "delivered",
        [SPOOL_RESOLUTION_REFUSED] = "refused",
        [SPOOL_RESOLUTION_GIVEN_UP] = "nothing",
    };
    char ref[REF_SIZE], text[SMTP_REPLY_LINE_SIZE], said[SMTP_REPLY_LINE_SIZE + 8];

    late->heard = what;
    if (reply)
        late->reply = *reply;
    ref_text(late->ref, ref);
    log_line(
        LOG_LEVEL_INFO, ref, "late-answer", "ref=%s heard=%s seconds=%lld reply=%s", ref,
        words[what], (long long)(loop_now_ms(late->worker->loop) - late->since_ms) / 1000,
        log_quote(slice_of(smtp_reply_text(&late->reply, text, sizeof text)), said, sizeof said));
    settle(late);
}

/* A 5xx that speaks of us, or of a server that is not itself again, is no verdict on the message:
 * the keeper tries it once more. */
static enum spool_resolution_kind
meaning_of(const struct late *late, enum smtp_class class, const struct smtp_reply *reply)
{
    const struct worker *w = late->worker;
    enum shared_health_state state;
    char ref[REF_SIZE];

    if (class == SMTP_CLASS_OK)
        return SPOOL_RESOLUTION_DELIVERED;
    if (class != SMTP_CLASS_REFUSED ||
        recipient_policy_blames_us(late->worker, late->link, reply, ref_text(late->ref, ref)))
        return SPOOL_RESOLUTION_GIVEN_UP;
    state = shared_health_state_of(w->table, backend_link_endpoint(late->link), clock_wall_ms());
    return state == SHARED_HEALTH_RECOVERING || state == SHARED_HEALTH_REFUSING
               ? SPOOL_RESOLUTION_GIVEN_UP
               : SPOOL_RESOLUTION_REFUSED;
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct late *late = ctx;
    enum spool_resolution_kind meaning;

    (void)index;
    if (phase != SMTP_PHASE_DOT || reply->code == 421) /* on_lost follows */
        return;
    meaning = meaning_of(late, class, reply);
    backend_link_release(&late->link);
    hear(late, meaning, reply);
}

static void
on_want_content(void *ctx)
{
    (void)ctx;
}

static void
on_drained(void *ctx)
{
    (void)ctx;
}

static void
on_lost(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct late *late = ctx;

    (void)phase;
    (void)dot_sent;
    late->link = NULL;
    hear(late, SPOOL_RESOLUTION_GIVEN_UP, reply);
}

static bool
on_wanted(void *ctx, bool others_wait)
{
    struct late *late = ctx;

    if (!others_wait || loop_now_ms(late->worker->loop) - late->since_ms < YIELD_MS)
        return false;
    backend_link_drop(&late->link);
    hear(late, SPOOL_RESOLUTION_GIVEN_UP, NULL);
    return true;
}

static void
on_time_up(void *ctx)
{
    struct late *late = ctx;

    if (late->link == NULL)
        return;
    backend_link_drop(&late->link);
    hear(late, SPOOL_RESOLUTION_GIVEN_UP, NULL);
}

static const struct backend_user_ops late_ops = {
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_drained = on_drained,
    .on_lost = on_lost,
    .on_wanted = on_wanted,
};

struct late *
late_listen(struct worker *w, struct backend_link **link, struct ref ref)
{
    struct late *late = mem_alloc(sizeof *late);

    late->worker = w;
    late->link = *link;
    late->ref = ref;
    late->since_ms = loop_now_ms(w->loop);
    late->is_owned = true;
    late->next = w->lates;
    if (w->lates)
        w->lates->previous = late;
    w->lates = late;
    loop_timer_init(&late->timer, w->loop, on_time_up, late);
    loop_timer_start(&late->timer, LATE_LISTEN_MS);
    backend_link_hand_over(*link, &late_ops, late);
    *link = NULL;
    return late;
}

static void
disown(struct late **held, bool is_kept)
{
    struct late *late = *held;

    *held = NULL;
    if (late == NULL)
        return;
    late->is_owned = false;
    late->is_kept = is_kept;
    settle(late);
}

void
late_kept(struct late **late)
{
    disown(late, true);
}

void
late_forget(struct late **late)
{
    disown(late, false);
}

void
late_free_all(struct worker *w)
{
    while (w->lates) {
        struct late *late = w->lates;

        w->lates = late->next;
        loop_timer_cancel(&late->timer);
        free(late);
    }
}
