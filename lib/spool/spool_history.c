/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The history of one message, as far as the ledger's file goes back: its checkpoint says how things
 * stood, what is behind it says how they went on.  Read from the disk each time, by people who look
 * at one message; the store itself keeps only what has come of it.
 *
 * Entries that only say what an operator's note says already are left out.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

#include "base/codec.h"

#define TRIES 10 /* the owner may write a checkpoint meanwhile */

struct history {
    const struct spool_message *message;
    struct event_list *events;
    struct buf noted_hold; /* the reason of the newest hold by an operator */
};

struct event_list { /* what one reading has found, until the reading is known to be whole */
    struct owned_event *first, **last;
};

struct owned_event {
    struct owned_event *next;
    struct spool_event event;
    struct spool_store_note *note; /* NULL: none */
    char text[];
};

static void
add(struct history *h, const struct spool_event *event, struct slice text,
    struct spool_store_note *note)
{
    struct owned_event *owned = mem_alloc(sizeof *owned + text.n + 1);

    owned->event = *event;
    owned->note = note;
    if (note != NULL) {
        owned->event.note = *spool_note_of(note);
        owned->event.at_ms = owned->event.note.at_ms;
        owned->event.text = owned->event.note.reason;
    } else {
        if (text.n > 0)
            memcpy(owned->text, text.p, text.n);
        owned->text[text.n] = '\0';
        owned->event.text = owned->text;
    }
    *h->events->last = owned;
    h->events->last = &owned->next;
}

/* --- A row a kind of entry; without one it is not told. */

static void
tell_offered(struct history *h, struct decoder *d)
{
    (void)d;
    add(h, &(struct spool_event){.kind = SPOOL_EVENT_OFFERED}, SLICE(""), NULL);
}

static void
tell_attempt(struct history *h, struct decoder *d)
{
    struct spool_event event = {.kind = SPOOL_EVENT_ATTEMPT, .attempt = get_u32(d)};
    struct slice reply;

    (void)get_u32(d);
    event.at_ms = (int64_t)get_u64(d);
    (void)get_u64(d);
    reply = get_bytes(d);
    if (!d->failed)
        add(h, &event, reply, NULL);
}

static void
tell_ended(struct history *h, struct decoder *d)
{
    struct spool_event event = {.kind = SPOOL_EVENT_END, .recipient = get_u32(d)};
    struct slice reply;

    event.end = get_u8(d);
    event.at_ms = (int64_t)get_u64(d);
    reply = get_bytes(d);
    if (!d->failed && event.recipient < h->message->recipient_count)
        add(h, &event, reply, NULL);
}

static void
tell_hold(struct history *h, struct decoder *d)
{
    bool held = get_u8(d) != 0;
    struct slice reason = get_bytes(d);

    if (!d->failed && held && !slice_equal(reason, buf_slice(&h->noted_hold)))
        add(h, &(struct spool_event){.kind = SPOOL_EVENT_HELD}, reason, NULL);
}

static void
tell_note(struct history *h, struct decoder *d)
{
    struct spool_store_note *note = spool_note_get(d);

    if (note == NULL)
        return;
    if (spool_note_of(note)->act == SPOOL_ACT_HOLD) {
        buf_clear(&h->noted_hold);
        buf_add_text(&h->noted_hold, spool_note_of(note)->reason);
    }
    add(h, &(struct spool_event){.kind = SPOOL_EVENT_NOTE}, SLICE(""), note);
}

static void (*const rows[OUTCOME_TYPE_COUNT])(struct history *h, struct decoder *d) = {
    [OUTCOME_OFFERED] = tell_offered, [OUTCOME_ATTEMPT] = tell_attempt,
    [OUTCOME_ENDED] = tell_ended,     [OUTCOME_HOLD] = tell_hold,
    [OUTCOME_NOTE] = tell_note,
};

static void
on_entry(void *ctx, uint16_t type, struct slice payload)
{
    struct history *h = ctx;
    struct decoder d = decoder_of(payload);
    struct spool_place place = spool_outcome_place(&d);

    if (d.failed || type >= OUTCOME_TYPE_COUNT || rows[type] == NULL ||
        place.offset != h->message->record_offset || !ref_equal(place.ref, h->message->ref) ||
        spool_segment_compare(place.segment, spool_message_segment(h->message)) != 0)
        return;
    rows[type](h, &d);
}

static void
forget(struct event_list *list)
{
    while (list->first != NULL) {
        struct owned_event *owned = list->first;

        list->first = owned->next;
        spool_note_free(owned->note);
        free(owned);
    }
    list->last = &list->first;
}

int
spool_store_history(const struct spool_store *s, const struct spool_message *m,
                    void (*each)(void *ctx, const struct spool_event *event), void *ctx)
{
    struct event_list events = {NULL, &events.first};
    struct history h = {.message = m, .events = &events};
    struct spool_ledger *ledger = NULL;
    int err = ERR_AGAIN;

    buf_init(&h.noted_hold, 0);
    for (int tries = 0; tries < TRIES && err == ERR_AGAIN; tries++)
        err = spool_ledger_open(s->io, s->dir_fd, false, &ledger);
    if (err == 0)
        err = spool_ledger_replay(ledger, on_entry, &h);
    spool_ledger_close(&ledger);
    for (struct owned_event *e = events.first; err == 0 && e != NULL; e = e->next)
        each(ctx, &e->event);
    forget(&events);
    buf_fini(&h.noted_hold);
    return err;
}
