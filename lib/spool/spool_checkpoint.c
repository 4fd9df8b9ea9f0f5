/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The whole live state, written for a checkpoint in slices, so that a million messages hold up
 * nobody.  Its one idea: the messages are walked by their numbers, and `next` is the first that has
 * not been; what is recorded meanwhile of one before it goes behind its state, and what is recorded
 * of the others will be in theirs.  So each message's entries lead to its state of the end,
 * whenever the walk has passed it.
 *
 * What is pending is written at the begin.  A message that comes from it while a checkpoint is
 * being written would be there twice, and its later state be led back by nothing: then it begins
 * anew.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#define SLICE_MESSAGES 8192 /* looked at; most have nothing to be written, or one entry */
#define SLICE_BYTES ((size_t)(256 * 1024))

static void
add(struct spool_store *s, enum outcome_type type)
{
    spool_ledger_checkpoint_add(s->ledger, (uint16_t)type, buf_slice(&s->scratch));
}

/* --- One message. */

struct notes_writer {
    struct spool_store *store;
    const struct spool_message *message;
};

static void
write_note(void *ctx, const struct spool_note *note)
{
    struct notes_writer *w = ctx;

    spool_note_put(spool_outcome_entry(w->store, w->message), note);
    add(w->store, OUTCOME_NOTE);
}

/* What differs from the envelope; that is not looked at, but what the ledger has said. */
static void
write_detail(struct spool_store *s, const struct spool_message *m)
{
    const struct spool_detail *detail = m->detail;

    if (detail->is_extended) {
        put_u64(spool_outcome_entry(s, m), (uint64_t)m->expires_at_ms);
        add(s, OUTCOME_EXPIRES);
    }
    if (m->held || (m->flags & SPOOL_FLAG_HELD)) {
        put_u8(spool_outcome_entry(s, m), m->held);
        spool_outcome_put_text(&s->scratch, detail->hold_reason);
        add(s, OUTCOME_HOLD);
    }
    if (detail->redirect != 0) {
        put_u32(spool_outcome_entry(s, m), detail->redirect);
        add(s, OUTCOME_REDIRECT);
    }
    if (detail->has_listens) {
        put_u8(spool_outcome_entry(s, m), m->unknown);
        put_u64(&s->scratch, (uint64_t)detail->listens_until_ms);
        add(s, OUTCOME_LISTENS);
    }
}

/* Those of the dot stand before the confirmation, as they were recorded: by that they are known. */
static void
write_ends(struct spool_store *s, const struct spool_message *m, bool at_dot)
{
    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (spool_message_is_open(m, i) || spool_message_ended_at_dot(m, i) != at_dot)
            continue;
        spool_outcome_put_ended(spool_outcome_entry(s, m), i, spool_message_end(m, i),
                                spool_message_ended_at_ms(m, i), spool_message_reply(m, i));
        add(s, OUTCOME_ENDED);
    }
}

static void
write_message(struct spool_store *s, const struct spool_message *m)
{
    spool_store_each_note(m, write_note, &(struct notes_writer){s, m});
    if (m->tries != NULL && m->tries->attempts > 0) {
        spool_outcome_put_attempt(spool_outcome_entry(s, m), m->tries);
        add(s, OUTCOME_ATTEMPT);
    }
    if (m->offered) {
        spool_outcome_entry(s, m);
        add(s, OUTCOME_OFFERED);
    }
    if (m->detail != NULL)
        write_detail(s, m);
    write_ends(s, m, true);
    if ((m->flags & SPOOL_FLAG_PREPARED) && !m->prepared) {
        spool_outcome_entry(s, m);
        add(s, OUTCOME_CONFIRMED);
    }
    write_ends(s, m, false);
}

static void
write_pending(void *store, uint16_t type, struct slice payload)
{
    const struct spool_store *s = store;

    spool_ledger_checkpoint_add(s->ledger, type, payload);
}

/* Not one that is gone: the folder was synced since. */
static bool
is_there(void *store, struct spool_segment_id segment)
{
    return spool_store_has_segment(store, segment);
}

/* --- The walk. */

static void
begin(struct spool_store *s)
{
    spool_ledger_begin_checkpoint(s->ledger);
    s->checkpoint.next = 1;
    s->checkpoint.begins_anew = false;
    spool_pending_each(&s->pending, is_there, write_pending, s);
}

/* True: all have been looked at. */
static bool
write_slice(struct spool_store *s)
{
    unsigned left = s->checkpoint.slice_messages;
    uint32_t end = pool_end(&s->entries);

    for (; s->checkpoint.next < end && left > 0; s->checkpoint.next++, left--) {
        const struct spool_store_entry *entry = pool_peek(&s->entries, s->checkpoint.next);

        if (entry != NULL && entry->message.segment != NULL)
            write_message(s, &entry->message);
        if (spool_ledger_checkpoint_waiting(s->ledger) >= SLICE_BYTES)
            left = 1;
    }
    return s->checkpoint.next >= end;
}

struct spool_ledger_job *
spool_checkpoint_step(struct spool_store *s, bool *is_last)
{
    if (s->checkpoint.begins_anew || !spool_ledger_is_checkpointing(s->ledger))
        begin(s);
    *is_last = write_slice(s);
    return spool_ledger_begin_step(s->ledger, *is_last);
}

/* What stands in the scratch buffer has been recorded of `m`. */
void
spool_checkpoint_follow(struct spool_store *s, const struct spool_message *m,
                        enum outcome_type type)
{
    if (spool_ledger_is_checkpointing(s->ledger) && m->number < s->checkpoint.next)
        add(s, type);
}

void
spool_checkpoint_begin_anew(struct spool_store *s)
{
    s->checkpoint.begins_anew = true;
}

void
spool_store_set_checkpoint_slice(struct spool_store *s, unsigned messages)
{
    s->checkpoint.slice_messages = messages ? messages : SLICE_MESSAGES;
}

bool
spool_store_is_checkpointing(const struct spool_store *s)
{
    return s->mode == SPOOL_STORE_OWNER && spool_ledger_is_checkpointing(s->ledger);
}
