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

/* --- What is pending: places whose record is not in memory. */

static void
put_place(struct buf *b, const struct spool_message *m)
{
    put_u16(b, m->segment->id.node);
    put_u32(b, m->segment->id.epoch);
    put_u32(b, m->segment->id.number);
    put_u64(b, m->record_offset);
    put_u16(b, m->ref.node);
    put_u32(b, m->ref.minute);
    put_u64(b, m->ref.number);
}

struct spool_place
spool_outcome_place(struct decoder *d)
{
    struct spool_place place;

    place.segment.node = get_u16(d);
    place.segment.epoch = get_u32(d);
    place.segment.number = get_u32(d);
    place.offset = get_u64(d);
    place.ref.node = get_u16(d);
    place.ref.minute = get_u32(d);
    place.ref.number = get_u64(d);
    return place;
}

void
spool_outcome_read(void *store, uint16_t type, struct slice payload)
{
    struct spool_store *s = store;
    struct decoder d = decoder_of(payload);
    struct spool_place place = spool_outcome_place(&d);

    if (!d.failed)
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
    apply(a->store, a->message, type, (struct slice){fields.p, (size_t)(fields.end - fields.p)});
}

/* --- Writing. */

/* Begins an entry in the scratch buffer; fields follow, then send. */
static struct buf *
begin(struct spool_store *s, const struct spool_message *m)
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

static void
queue_scratch(struct spool_store *s, enum outcome_type type)
{
    spool_ledger_add(s->ledger, (uint16_t)type, buf_slice(&s->scratch));
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
        queue_scratch(s, type);
        s->queued_seq++;
        m->segment->last_seq = s->queued_seq;
    }
    apply(s, m, (uint16_t)type, (struct slice){fields.p + PLACE_BYTES, fields.n - PLACE_BYTES});
}

static void
put_attempt(struct buf *b, unsigned attempts, unsigned unknowns, int64_t at_ms, int64_t next_at_ms,
            const char *reply)
{
    put_u32(b, attempts);
    put_u32(b, unknowns);
    put_u64(b, (uint64_t)at_ms);
    put_u64(b, (uint64_t)next_at_ms);
    spool_outcome_put_text(b, reply);
}

static void
put_ended(struct buf *b, unsigned recipient, enum spool_end end, int64_t at_ms, const char *reply)
{
    put_u32(b, recipient);
    put_u8(b, (uint8_t)end);
    put_u64(b, (uint64_t)at_ms);
    spool_outcome_put_text(b, reply);
}

void
spool_store_offered(struct spool_store *s, struct spool_message *m)
{
    begin(s, m);
    record(s, m, OUTCOME_OFFERED);
}

void
spool_store_attempt(struct spool_store *s, struct spool_message *m, int64_t at_ms,
                    int64_t next_at_ms, bool unknown, const char *reply)
{
    put_attempt(begin(s, m), spool_message_attempts(m) + 1, spool_message_unknowns(m) + unknown,
                at_ms, next_at_ms, reply);
    record(s, m, OUTCOME_ATTEMPT);
}

void
spool_store_ended(struct spool_store *s, struct spool_message *m, unsigned recipient,
                  enum spool_end end, int64_t at_ms, const char *reply)
{
    CHECK(recipient < m->recipient_count && end != SPOOL_END_NONE);
    put_ended(begin(s, m), recipient, end, at_ms, reply);
    record(s, m, OUTCOME_ENDED);
}

void
spool_store_extend(struct spool_store *s, struct spool_message *m, int64_t expires_at_ms)
{
    put_u64(begin(s, m), (uint64_t)expires_at_ms);
    record(s, m, OUTCOME_EXPIRES);
}

void
spool_store_hold(struct spool_store *s, struct spool_message *m, const char *reason)
{
    struct buf *b = begin(s, m);

    put_u8(b, reason != NULL);
    spool_outcome_put_text(b, reason);
    record(s, m, OUTCOME_HOLD);
}

void
spool_store_due(struct spool_store *s, struct spool_message *m)
{
    begin(s, m);
    record(s, m, OUTCOME_DUE);
}

void
spool_store_redirect(struct spool_store *s, struct spool_message *m, uint32_t backend)
{
    put_u32(begin(s, m), backend);
    record(s, m, OUTCOME_REDIRECT);
}

void
spool_store_note(struct spool_store *s, struct spool_message *m, const struct spool_note *note)
{
    spool_note_put(begin(s, m), note);
    record(s, m, OUTCOME_NOTE);
}

/* --- Open outcomes. */

void
spool_outcome_begin(struct spool_message *m, const struct spool_facts *facts)
{
    m->prepared = (facts->flags & SPOOL_FLAG_PREPARED) != 0;
    m->unknown = (facts->flags & SPOOL_FLAG_UNKNOWN) && !m->prepared;
    if (m->unknown && (facts->flags & SPOOL_FLAG_LISTENING))
        spool_entry_detail(m)->listens_until_ms = facts->committed_at_ms + SPOOL_LISTEN_MS;
}

void
spool_outcome_confirmed(struct spool_store *s, struct spool_message *m)
{
    begin(s, m);
    record(s, m, OUTCOME_CONFIRMED);
}

void
spool_outcome_listens(struct spool_store *s, struct spool_message *m, bool unknown,
                      int64_t until_ms)
{
    struct buf *b = begin(s, m);

    put_u8(b, unknown);
    put_u64(b, (uint64_t)until_ms);
    record(s, m, OUTCOME_LISTENS);
}

void
spool_outcome_adopt(struct spool_store *s, struct spool_message *m)
{
    struct spool_place place = {m->segment->id, m->record_offset, m->ref};

    spool_pending_take(&s->pending, &place, adopt_entry, &(struct adopting){s, m});
    spool_resolve_adopt(s, m);
}

/* --- The whole live state. */

struct notes_writer {
    struct spool_store *store;
    const struct spool_message *message;
};

static void
write_note(void *ctx, const struct spool_note *note)
{
    struct notes_writer *w = ctx;

    spool_note_put(begin(w->store, w->message), note);
    queue_scratch(w->store, OUTCOME_NOTE);
}

/* What differs from the envelope; that is not looked at, but what the ledger has said. */
static void
write_detail(struct spool_store *s, const struct spool_message *m)
{
    const struct spool_detail *detail = m->detail;

    if (detail->is_extended) {
        put_u64(begin(s, m), (uint64_t)m->expires_at_ms);
        queue_scratch(s, OUTCOME_EXPIRES);
    }
    if (m->held) {
        put_u8(begin(s, m), 1);
        spool_outcome_put_text(&s->scratch, detail->hold_reason);
        queue_scratch(s, OUTCOME_HOLD);
    }
    if (detail->redirect != 0) {
        put_u32(begin(s, m), detail->redirect);
        queue_scratch(s, OUTCOME_REDIRECT);
    }
    if (detail->has_listens) {
        put_u8(begin(s, m), m->unknown);
        put_u64(&s->scratch, (uint64_t)detail->listens_until_ms);
        queue_scratch(s, OUTCOME_LISTENS);
    }
}

static void
write_ends(struct spool_store *s, const struct spool_message *m)
{
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (spool_message_is_open(m, i))
            continue;
        put_ended(begin(s, m), i, spool_message_end(m, i), spool_message_ended_at_ms(m, i),
                  spool_message_reply(m, i));
        queue_scratch(s, OUTCOME_ENDED);
    }
}

static void
write_message(struct spool_store *s, const struct spool_message *m)
{
    spool_store_each_note(m, write_note, &(struct notes_writer){s, m});
    if (m->tries != NULL && m->tries->attempts > 0) {
        put_attempt(begin(s, m), m->tries->attempts, m->tries->unknowns,
                    m->tries->last_attempt_at_ms, m->tries->next_attempt_at_ms,
                    m->tries->last_reply);
        queue_scratch(s, OUTCOME_ATTEMPT);
    }
    if (m->offered) {
        begin(s, m);
        queue_scratch(s, OUTCOME_OFFERED);
    }
    if (m->detail != NULL)
        write_detail(s, m);
    if ((m->flags & SPOOL_FLAG_PREPARED) && !m->prepared) {
        begin(s, m);
        queue_scratch(s, OUTCOME_CONFIRMED);
    }
    write_ends(s, m);
}

static void
write_pending(void *store, uint16_t type, struct slice payload)
{
    const struct spool_store *s = store;

    spool_ledger_add(s->ledger, type, payload);
}

/* Not one that is gone: the folder was synced since. */
static bool
is_there(void *store, struct spool_segment_id segment)
{
    return spool_store_has_segment(store, segment);
}

void
spool_outcome_write_all(struct spool_store *s)
{
    for (struct spool_message *m = spool_store_next(s, NULL); m != NULL; m = spool_store_next(s, m))
        write_message(s, m);
    spool_pending_each(&s->pending, is_there, write_pending, s);
}
