/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What has become of a message: the vocabulary of the ledger.  Each kind of entry is one row: how
 * it is applied to a message.  Writing one and reading it back at the next start run the same row,
 * so that memory after a restart is memory before it.
 *
 * Every entry names its message by place and by reference; one whose reference does not fit the
 * record at the place is not applied (a folder may have been put together from two).  Entries are
 * absolute: the newest of a kind says all.
 */
#include "spool/spool_store_private.h"

#include "base/log.h"

#define TEXT_MAX 1000 /* of a reply or a reason; longer ones are cut */

const char *
spool_end_word(enum spool_end end)
{
    static const char *const words[] = {
        [SPOOL_END_NONE] = "open",           [SPOOL_END_DELIVERED] = "delivered",
        [SPOOL_END_REFUSED] = "refused",     [SPOOL_END_EXPIRED] = "expired",
        [SPOOL_END_RETURNED] = "returned",   [SPOOL_END_REMOVED] = "removed",
        [SPOOL_END_CANCELLED] = "cancelled",
    };

    return (unsigned)end < ARRAY_SIZE(words) ? words[end] : "?";
}

/* --- Applying. */

static void
apply_offered(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    (void)s;
    (void)d;
    m->offered = true;
}

/* The reply is that of each open recipient, and asked for as such. */
static void
apply_attempt(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    struct spool_tries *tries = spool_entry_tries(m);

    tries->attempts = get_u32(d);
    tries->unknowns = get_u32(d);
    tries->last_attempt_at_ms = (int64_t)get_u64(d);
    tries->next_attempt_at_ms = (int64_t)get_u64(d);
    spool_entry_set_text(s, &tries->last_reply, get_bytes(d));
    m->offered = false;
}

static void
apply_ended(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    uint32_t i = get_u32(d);
    uint8_t end = get_u8(d);
    int64_t at_ms = (int64_t)get_u64(d);
    struct slice reply = get_bytes(d);
    struct spool_recipient_detail *recipient;

    if (d->failed || i >= m->recipient_count || end == SPOOL_END_NONE)
        return;
    recipient = &spool_entry_recipients(m)[i];
    if (recipient->end == SPOOL_END_NONE && --m->open_count == 0) {
        s->open_count--;
        m->segment->open_count--;
    }
    recipient->end = end;
    recipient->ended_at_ms = at_ms;
    recipient->is_of_dot =
        m->prepared && end == SPOOL_END_DELIVERED && spool_message_side(m, i) == SPOOL_LIVE;
    spool_entry_set_text(s, &recipient->reply, reply);
    if (m->open_count == 0)
        m->offered = false;
}

static void
apply_expires(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    (void)s;
    m->expires_at_ms = (int64_t)get_u64(d);
    spool_entry_detail(m)->is_extended = true;
}

static void
apply_hold(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    m->held = get_u8(d) != 0;
    spool_entry_set_text(s, &spool_entry_detail(m)->hold_reason, get_bytes(d));
}

static void
apply_confirmed(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    (void)s;
    (void)d;
    m->prepared = false;
}

static void
apply_listens(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    struct spool_detail *detail = spool_entry_detail(m);

    (void)s;
    m->unknown = get_u8(d) != 0;
    detail->listens_until_ms = (int64_t)get_u64(d);
    detail->has_listens = true;
}

static void
apply_due(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    (void)s;
    (void)d;
    if (m->tries != NULL)
        m->tries->next_attempt_at_ms = 0;
}

static void
apply_redirect(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    (void)s;
    spool_entry_detail(m)->redirect = get_u32(d);
}

static void
apply_note(struct spool_store *s, struct spool_message *m, struct decoder *d)
{
    struct spool_store_note *note = spool_note_get(d);

    (void)s;
    if (note != NULL)
        spool_notes_add(m, note);
}

static void (*const rows[OUTCOME_TYPE_COUNT])(struct spool_store *s, struct spool_message *m,
                                              struct decoder *d) = {
    [OUTCOME_OFFERED] = apply_offered,   [OUTCOME_ATTEMPT] = apply_attempt,
    [OUTCOME_ENDED] = apply_ended,       [OUTCOME_EXPIRES] = apply_expires,
    [OUTCOME_HOLD] = apply_hold,         [OUTCOME_CONFIRMED] = apply_confirmed,
    [OUTCOME_LISTENS] = apply_listens,   [OUTCOME_DUE] = apply_due,
    [OUTCOME_REDIRECT] = apply_redirect, [OUTCOME_NOTE] = apply_note,
};

static void
apply(struct spool_store *s, struct spool_message *m, uint16_t type, struct slice fields)
{
    struct decoder d = decoder_of(fields);

    if (type < OUTCOME_TYPE_COUNT && rows[type] != NULL)
        rows[type](s, m, &d);
}

/* --- What the ledger's file says; of a place whose record is not in memory it is kept. */

static void
put_place(struct buf *b, const struct spool_message *m)
{
    spool_segment_put_id(b, m->segment->id);
    put_u64(b, m->record_offset);
    put_u16(b, m->ref.node);
    put_u32(b, m->ref.minute);
    put_u64(b, m->ref.number);
}

struct spool_place
spool_outcome_place(struct decoder *d)
{
    struct spool_place place = {.segment = spool_segment_get_id(d)};

    place.offset = get_u64(d);
    place.ref.node = get_u16(d);
    place.ref.minute = get_u32(d);
    place.ref.number = get_u64(d);
    return place;
}

static struct slice
rest_of(const struct decoder *d)
{
    return (struct slice){d->p, (size_t)(d->end - d->p)};
}

void
spool_outcome_read(void *store, uint16_t type, struct slice payload)
{
    struct spool_store *s = store;
    struct decoder d = decoder_of(payload);
    struct spool_place place = spool_outcome_place(&d);
    struct spool_message *m;

    if (d.failed)
        return;
    m = spool_entry_find(s, &place);
    if (m != NULL)
        apply(s, m, type, rest_of(&d));
    else if (s->customer == NULL)
        spool_pending_add(&s->pending, &place, type, payload);
}

struct adopting {
    struct spool_store *store;
    struct spool_message *message;
};

static void
adopt_entry(void *ctx, uint16_t type, struct slice payload)
{
    const struct adopting *a = ctx;
    struct decoder fields = decoder_of(payload);

    (void)spool_outcome_place(&fields);
    apply(a->store, a->message, type, rest_of(&fields));
}

/* --- Writing. */

struct buf *
spool_outcome_entry(struct spool_store *s, const struct spool_message *m)
{
    buf_clear(&s->scratch);
    put_place(&s->scratch, m);
    return &s->scratch;
}

void
spool_outcome_put_text(struct buf *b, const char *text)
{
    struct slice s = slice_of(text ? text : "");

    if (s.n > TEXT_MAX)
        s.n = TEXT_MAX;
    put_bytes(b, s);
}

#define PLACE_BYTES 32

/* Queues what stands in the scratch buffer and applies it; a reader, which sees what the owner will
 * write, applies it alone. */
static void
record(struct spool_store *s, struct spool_message *m, enum outcome_type type)
{
    struct slice fields = buf_slice(&s->scratch);

    CHECK(fields.n >= PLACE_BYTES);
    if (s->mode == SPOOL_STORE_OWNER) {
        spool_ledger_add(s->ledger, (uint16_t)type, fields);
        spool_checkpoint_follow(s, m, type);
        s->queued_seq++;
        m->segment->last_seq = s->queued_seq;
    }
    apply(s, m, (uint16_t)type, (struct slice){fields.p + PLACE_BYTES, fields.n - PLACE_BYTES});
}

void
spool_outcome_put_attempt(struct buf *b, const struct spool_tries *tries)
{
    put_u32(b, tries->attempts);
    put_u32(b, tries->unknowns);
    put_u64(b, (uint64_t)tries->last_attempt_at_ms);
    put_u64(b, (uint64_t)tries->next_attempt_at_ms);
    spool_outcome_put_text(b, tries->last_reply);
}

void
spool_outcome_put_ended(struct buf *b, unsigned recipient, enum spool_end end, int64_t at_ms,
                        const char *reply)
{
    put_u32(b, recipient);
    put_u8(b, (uint8_t)end);
    put_u64(b, (uint64_t)at_ms);
    spool_outcome_put_text(b, reply);
}

void
spool_store_offered(struct spool_store *s, struct spool_message *m)
{
    spool_outcome_entry(s, m);
    record(s, m, OUTCOME_OFFERED);
}

void
spool_store_attempt(struct spool_store *s, struct spool_message *m, int64_t at_ms,
                    int64_t next_at_ms, bool unknown, const char *reply)
{
    struct spool_tries tries = {.attempts = spool_message_attempts(m) + 1,
                                .unknowns = spool_message_unknowns(m) + unknown,
                                .last_attempt_at_ms = at_ms,
                                .next_attempt_at_ms = next_at_ms,
                                .last_reply = reply};

    spool_outcome_put_attempt(spool_outcome_entry(s, m), &tries);
    record(s, m, OUTCOME_ATTEMPT);
}

void
spool_store_ended(struct spool_store *s, struct spool_message *m, unsigned recipient,
                  enum spool_end end, int64_t at_ms, const char *reply)
{
    CHECK(recipient < m->recipient_count && end != SPOOL_END_NONE);
    spool_outcome_put_ended(spool_outcome_entry(s, m), recipient, end, at_ms, reply);
    record(s, m, OUTCOME_ENDED);
    if (s->on_ended != NULL)
        s->on_ended(s->on_ended_ctx, m, recipient);
}

void
spool_store_on_ended(struct spool_store *s, spool_on_ended on_ended, void *ctx)
{
    s->on_ended = on_ended;
    s->on_ended_ctx = ctx;
}

void
spool_store_extend(struct spool_store *s, struct spool_message *m, int64_t expires_at_ms)
{
    put_u64(spool_outcome_entry(s, m), (uint64_t)expires_at_ms);
    record(s, m, OUTCOME_EXPIRES);
}

void
spool_store_hold(struct spool_store *s, struct spool_message *m, const char *reason)
{
    struct buf *b = spool_outcome_entry(s, m);

    put_u8(b, reason != NULL);
    spool_outcome_put_text(b, reason);
    record(s, m, OUTCOME_HOLD);
}

void
spool_store_due(struct spool_store *s, struct spool_message *m)
{
    spool_outcome_entry(s, m);
    record(s, m, OUTCOME_DUE);
}

void
spool_store_redirect(struct spool_store *s, struct spool_message *m, uint32_t backend)
{
    put_u32(spool_outcome_entry(s, m), backend);
    record(s, m, OUTCOME_REDIRECT);
}

void
spool_store_note(struct spool_store *s, struct spool_message *m, const struct spool_note *note)
{
    spool_note_put(spool_outcome_entry(s, m), note);
    record(s, m, OUTCOME_NOTE);
}

/* --- Open outcomes. */

void
spool_outcome_begin(struct spool_store *s, struct spool_message *m, const struct spool_facts *facts)
{
    m->prepared = (facts->flags & SPOOL_FLAG_PREPARED) != 0;
    m->unknown = (facts->flags & SPOOL_FLAG_UNKNOWN) && !m->prepared;
    if (m->unknown && (facts->flags & SPOOL_FLAG_LISTENING))
        spool_entry_detail(m)->listens_until_ms = facts->committed_at_ms + SPOOL_LISTEN_MS;
    m->held = (facts->flags & SPOOL_FLAG_HELD) != 0;
    if (m->held)
        spool_entry_set_text(s, &spool_entry_detail(m)->hold_reason, facts->reason);
}

void
spool_outcome_confirmed(struct spool_store *s, struct spool_message *m)
{
    spool_outcome_entry(s, m);
    record(s, m, OUTCOME_CONFIRMED);
}

void
spool_outcome_listens(struct spool_store *s, struct spool_message *m, bool unknown,
                      int64_t until_ms)
{
    struct buf *b = spool_outcome_entry(s, m);

    put_u8(b, unknown);
    put_u64(b, (uint64_t)until_ms);
    record(s, m, OUTCOME_LISTENS);
}

void
spool_outcome_adopt(struct spool_store *s, struct spool_message *m)
{
    struct spool_place place = {m->segment->id, m->record_offset, m->ref};

    if (!s->ledger_is_read)
        return;
    if (spool_pending_take(&s->pending, &place, adopt_entry, &(struct adopting){s, m}))
        spool_checkpoint_begin_anew(s);
    spool_resolve_adopt(s, m);
}
