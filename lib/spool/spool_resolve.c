/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What became of records that were open when they were written: a resolution, once read, is turned
 * into outcomes of the ledger, and is no more than that afterwards.
 *
 * Its one idea: segments are read in any order, so a resolution may be read before its record, or a
 * late answer before the confirmation that comes before it.  Such a one is parked, by reference,
 * until its turn comes; its segment stays as long as one may still come.
 *
 * Invariants: a resolution changes nothing when it is applied again (a restart reads it again, and
 * a ledger cut in the middle of its outcomes knows a part of them), so what tells that it has been
 * applied is queued last; the segment that it was read in goes no sooner than its outcomes are
 * synced.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

/* --- Parking. */

static size_t
parked_slot(const struct spool_store *s, struct ref ref)
{
    uint64_t x = ref.number ^ ((uint64_t)ref.minute << 35) ^ ((uint64_t)ref.node << 48);

    return (size_t)((x * 0x9e3779b97f4a7c15ULL) >> 32) & (s->parked_size - 1);
}

/* Behind the others of its slot: in the order of reading. */
static void
parked_insert(struct spool_store *s, struct spool_store_parked *p)
{
    struct spool_store_parked **at = &s->parked[parked_slot(s, p->resolution.ref)];

    while (*at != NULL)
        at = &(*at)->next;
    p->next = NULL;
    *at = p;
}

static void
parked_grow(struct spool_store *s)
{
    size_t old_size = s->parked_size;
    struct spool_store_parked **old = s->parked;

    s->parked_size = old_size ? old_size * 2 : 64;
    s->parked = mem_alloc(s->parked_size * sizeof(*s->parked));
    for (size_t i = 0; i < old_size; i++) {
        while (old[i] != NULL) {
            struct spool_store_parked *p = old[i];

            old[i] = p->next;
            parked_insert(s, p);
        }
    }
    free(old);
}

static void
park(struct spool_store *s, struct spool_store_segment *said_in,
     const struct spool_resolution *resolution)
{
    size_t n = strlen(resolution->reply) + 1;
    struct spool_store_parked *p = mem_alloc(sizeof *p + n);

    p->resolution = *resolution;
    p->resolution.reply = memcpy(p->reply, resolution->reply, n);
    p->said_in = said_in;
    if (s->parked_count >= s->parked_size)
        parked_grow(s);
    parked_insert(s, p);
    s->parked_count++;
    said_in->parked_count++;
}

static struct spool_store_parked *
unpark(struct spool_store *s, struct spool_store_parked **at)
{
    struct spool_store_parked *p = *at;

    *at = p->next;
    s->parked_count--;
    p->said_in->parked_count--;
    return p;
}

/* --- Applying. */

static bool
is_first(enum spool_resolution_kind kind)
{
    return kind <= SPOOL_RESOLUTION_CANCEL;
}

enum whom { WHOM_ALL, WHOM_LIVE, WHOM_CONCERNED };

static bool
is_whom(const struct spool_message *m, unsigned i, enum whom whom)
{
    if (whom == WHOM_CONCERNED)
        return spool_message_is_concerned(m, i);
    return whom == WHOM_ALL || spool_message_side(m, i) == SPOOL_LIVE;
}

static void
end_open(struct spool_store *s, struct spool_message *m, enum whom whom, enum spool_end end,
         int64_t at_ms, const char *reply)
{
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (spool_message_is_open(m, i) && is_whom(m, i, whom))
            spool_store_ended(s, m, i, end, at_ms, reply);
    }
}

static void
resolve_confirm(struct spool_store *s, struct spool_message *m, const struct spool_resolution *r)
{
    end_open(s, m, WHOM_LIVE, SPOOL_END_DELIVERED, r->at_ms, r->reply);
    spool_outcome_confirmed(s, m);
}

static void
resolve_confirm_all(struct spool_store *s, struct spool_message *m,
                    const struct spool_resolution *r)
{
    bool listens = (r->flags & SPOOL_FLAG_UNKNOWN) && (r->flags & SPOOL_FLAG_LISTENING);

    if (r->flags & SPOOL_FLAG_UNKNOWN)
        spool_outcome_listens(s, m, true, listens ? r->at_ms + SPOOL_LISTEN_MS : 0);
    spool_outcome_confirmed(s, m);
}

static void
resolve_cancel(struct spool_store *s, struct spool_message *m, const struct spool_resolution *r)
{
    end_open(s, m, WHOM_ALL, SPOOL_END_CANCELLED, r->at_ms, r->reply);
}

static void
resolve_given_up(struct spool_store *s, struct spool_message *m, const struct spool_resolution *r)
{
    (void)r;
    spool_store_stop_listening(s, m);
}

static void
resolve_delivered(struct spool_store *s, struct spool_message *m, const struct spool_resolution *r)
{
    end_open(s, m, WHOM_CONCERNED, SPOOL_END_DELIVERED, r->at_ms, r->reply);
    spool_store_stop_listening(s, m);
}

static void
resolve_refused(struct spool_store *s, struct spool_message *m, const struct spool_resolution *r)
{
    end_open(s, m, WHOM_CONCERNED, SPOOL_END_REFUSED, r->at_ms, r->reply);
    spool_store_stop_listening(s, m);
}

static void (*const rows[])(struct spool_store *s, struct spool_message *m,
                            const struct spool_resolution *r) = {
    [SPOOL_RESOLUTION_CONFIRM] = resolve_confirm,
    [SPOOL_RESOLUTION_CONFIRM_ALL] = resolve_confirm_all,
    [SPOOL_RESOLUTION_CANCEL] = resolve_cancel,
    [SPOOL_RESOLUTION_DELIVERED] = resolve_delivered,
    [SPOOL_RESOLUTION_REFUSED] = resolve_refused,
    [SPOOL_RESOLUTION_GIVEN_UP] = resolve_given_up,
};

/* Not to be applied yet: what it follows has not been read. */
static bool
is_early(const struct spool_message *m, const struct spool_resolution *r)
{
    return m->prepared && m->open_count > 0 && !is_first(r->kind);
}

/* The first resolution of a record counts, and a late answer while it is listened for: whom nobody
 * waits for any more may be in the middle of an attempt. */
static bool
counts(const struct spool_message *m, const struct spool_resolution *r)
{
    return m->open_count > 0 &&
           (is_first(r->kind) ? m->prepared : spool_message_listens_until_ms(m) != 0);
}

static void
apply(struct spool_store *s, struct spool_store_segment *said_in, struct spool_message *m,
      const struct spool_resolution *r)
{
    uint64_t before = s->queued_seq;

    if (!counts(m, r))
        return;
    rows[r->kind](s, m, r);
    if (s->queued_seq == before)
        return;
    said_in->last_seq = s->queued_seq; /* the ledger first, then either segment may go */
    if (s->on_resolved != NULL)
        s->on_resolved(s->on_resolved_ctx, m, r);
}

/* Takes the parked ones whose turn has come; true: there was one. */
static bool
apply_parked(struct spool_store *s, struct spool_message *m)
{
    struct spool_store_parked **at = &s->parked[parked_slot(s, m->ref)];
    bool found = false;

    while (*at != NULL) {
        struct spool_store_parked *p;

        if (!ref_equal((*at)->resolution.ref, m->ref) || is_early(m, &(*at)->resolution)) {
            at = &(*at)->next;
            continue;
        }
        p = unpark(s, at);
        apply(s, p->said_in, m, &p->resolution);
        free(p);
        found = true;
    }
    return found;
}

void
spool_resolve_adopt(struct spool_store *s, struct spool_message *m)
{
    while (s->parked_count > 0 && apply_parked(s, m))
        ; /* one may have made another's turn come */
}

void
spool_resolve_adopt_all(struct spool_store *s)
{
    for (size_t i = 0; i < s->parked_size && s->parked_count > 0; i++) {
        struct spool_store_parked **at = &s->parked[i];

        while (*at != NULL) {
            struct spool_message *m = spool_store_find(s, (*at)->resolution.ref);

            if (m != NULL && apply_parked(s, m))
                at = &s->parked[i]; /* any of the slot may have gone */
            else
                at = &(*at)->next;
        }
    }
}

void
spool_resolve_read(struct spool_store *s, struct spool_store_segment *segment,
                   const struct spool_resolution *resolution)
{
    struct spool_message *m = spool_store_find(s, resolution->ref);

    if (m == NULL || !s->ledger_is_read || is_early(m, resolution)) {
        park(s, segment, resolution);
        return;
    }
    apply(s, segment, m, resolution);
    spool_resolve_adopt(s, m);
}

/* --- Without a resolution. */

void
spool_store_confirm(struct spool_store *s, struct spool_message *m, int64_t at_ms)
{
    if (!m->prepared || m->open_count == 0)
        return;
    end_open(s, m, WHOM_LIVE, SPOOL_END_CANCELLED, at_ms, "");
    spool_outcome_confirmed(s, m);
}

void
spool_store_stop_listening(struct spool_store *s, struct spool_message *m)
{
    if (spool_message_listens_until_ms(m) != 0)
        spool_outcome_listens(s, m, m->unknown, 0);
}

bool
spool_message_awaits_all(const struct spool_message *m)
{
    unsigned i = 0;

    if (!m->prepared && spool_message_listens_until_ms(m) == 0)
        return false;
    while (i < m->recipient_count && (!spool_message_is_open(m, i) || spool_message_awaits(m, i)))
        i++;
    return m->open_count > 0 && i == m->recipient_count;
}

void
spool_store_on_resolved(struct spool_store *s, spool_on_resolved on_resolved, void *ctx)
{
    s->on_resolved = on_resolved;
    s->on_resolved_ctx = ctx;
}

/* --- Writers. */

void
spool_store_ask_writing(struct spool_store *s, spool_is_writing is_writing, void *ctx)
{
    s->is_writing = is_writing;
    s->is_writing_ctx = ctx;
}

static bool
is_writing(const struct spool_store *s, const struct spool_store_segment *segment)
{
    return s->is_writing != NULL && s->is_writing(s->is_writing_ctx, segment->id, segment->writer);
}

/* May this segment be of the same writer?  One whose header cannot be read may. */
static bool
is_of_same_writer(const struct spool_store_segment *a, const struct spool_store_segment *b)
{
    return a->id.node == b->id.node && a->id.epoch == b->id.epoch &&
           (!a->is_known || a->writer == b->writer);
}

enum spool_writer_state
spool_store_writer_state(const struct spool_store *s, const struct spool_message *m)
{
    const struct spool_store_segment *own = m->segment;
    enum spool_writer_state state = SPOOL_WRITER_DONE;

    if (is_writing(s, own))
        return SPOOL_WRITER_LIVES;
    for (size_t i = 0; i < s->segment_count; i++) {
        const struct spool_store_segment *other = s->segments[i];

        if (other->complete || other->vanished || !is_of_same_writer(other, own))
            continue;
        if (!other->unreadable)
            return SPOOL_WRITER_UNREAD;
        state = SPOOL_WRITER_DAMAGED;
    }
    return state;
}

/* All that its writer wrote before what `segment` holds has been read from `other`. A dead writer's
 * segment says so when it has been sealed; a living one has published what it committed, but in a
 * segment that it has given up. */
static bool
has_given_all(const struct spool_store *s, const struct spool_store_segment *other)
{
    if (other->complete || other->vanished)
        return true;
    return other->is_known && !other->unreadable && !other->closed && is_writing(s, other);
}

static bool
all_is_given(const struct spool_store *s, const struct spool_store_segment *segment)
{
    for (size_t i = 0; i < s->segment_count; i++) {
        const struct spool_store_segment *other = s->segments[i];

        if (is_of_same_writer(other, segment) && !has_given_all(s, other))
            return false;
    }
    return true;
}

bool
spool_store_writer_is_read(const struct spool_store *s, const struct spool_message *m)
{
    return all_is_given(s, m->segment);
}

bool
spool_resolve_may_forget(const struct spool_store *s, const struct spool_store_segment *segment)
{
    if (segment->parked_count == 0)
        return true;
    if (segment->read_at == s->pass)
        return false; /* what it resolves may stand where this pass had been before */
    return all_is_given(s, segment);
}

void
spool_resolve_forget(struct spool_store *s, struct spool_store_segment *segment)
{
    for (size_t i = 0; i < s->parked_size && segment->parked_count > 0; i++) {
        struct spool_store_parked **at = &s->parked[i];

        while (*at != NULL) {
            if ((*at)->said_in == segment)
                free(unpark(s, at));
            else
                at = &(*at)->next;
        }
    }
}
