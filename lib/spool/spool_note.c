/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What operators have done with a message, as the ledger keeps it: the act, the moment, the name,
 * the reason.  A note changes nothing of the message; the outcome beside it does.  Few messages
 * have any, so they hang on its detail, one allocation each.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

#include "base/codec.h"

struct spool_store_note {
    struct spool_store_note *next;
    struct spool_note note;
    char texts[];
};

void
spool_note_put(struct buf *b, const struct spool_note *note)
{
    put_u8(b, (uint8_t)note->act);
    put_u64(b, (uint64_t)note->at_ms);
    spool_outcome_put_text(b, note->who);
    spool_outcome_put_text(b, note->reason);
    spool_outcome_put_text(b, note->detail);
}

static const char *
copy(char **at, struct slice text)
{
    char *begin = *at;

    if (text.n > 0)
        memcpy(begin, text.p, text.n);
    begin[text.n] = '\0';
    *at = begin + text.n + 1;
    return begin;
}

struct spool_store_note *
spool_note_get(struct decoder *d)
{
    struct spool_store_note *owned;
    struct spool_note note;
    struct slice who, reason, detail;
    char *at;

    note.act = get_u8(d);
    note.at_ms = (int64_t)get_u64(d);
    who = get_bytes(d);
    reason = get_bytes(d);
    detail = get_bytes(d);
    if (d->failed)
        return NULL;
    owned = mem_alloc(sizeof *owned + who.n + reason.n + detail.n + 3);
    at = owned->texts;
    note.who = copy(&at, who);
    note.reason = copy(&at, reason);
    note.detail = copy(&at, detail);
    owned->note = note;
    return owned;
}

const struct spool_note *
spool_note_of(const struct spool_store_note *owned)
{
    return &owned->note;
}

void
spool_note_free(struct spool_store_note *note)
{
    free(note);
}

void
spool_notes_add(struct spool_message *m, struct spool_store_note *note)
{
    struct spool_detail *detail = spool_entry_detail(m);
    struct spool_store_note **at = &detail->notes;
    unsigned count = 0;

    while (*at != NULL) {
        at = &(*at)->next;
        count++;
    }
    *at = note;
    if (count >= SPOOL_NOTES_MAX) {
        struct spool_store_note *oldest = detail->notes;

        detail->notes = oldest->next;
        free(oldest);
    }
}

void
spool_notes_free(struct spool_detail *detail)
{
    while (detail->notes != NULL) {
        struct spool_store_note *note = detail->notes;

        detail->notes = note->next;
        free(note);
    }
}

void
spool_store_each_note(const struct spool_message *message,
                      void (*each)(void *ctx, const struct spool_note *note), void *ctx)
{
    const struct spool_store_note *n = message->detail ? message->detail->notes : NULL;

    for (; n != NULL; n = n->next)
        each(ctx, &n->note);
}
