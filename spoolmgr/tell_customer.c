/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What waits for each customer, and what has ended without delivery.  A message is looked at when
 * it comes and when it has ended, never in between; deadlines are ends of days, so there are few
 * different ones.
 */
#include "spoolmgr/tell_private.h"

#include <stdio.h>
#include <stdlib.h>

#define LINES_MOST 10000   /* of all digests together */
#define RECIPIENTS_SHOWN 5 /* of one message */

/* --- Customers. */

struct tell_customer **
tell_slot(struct tell *tell, uint32_t id)
{
    struct tell_customer **slot = &tell->customers[id % TELL_SLOTS];

    while (*slot != NULL && (*slot)->id != id)
        slot = &(*slot)->next;
    return slot;
}

struct tell_customer *
tell_customer_of(struct tell *tell, uint32_t id, const char *name)
{
    struct tell_customer **slot = tell_slot(tell, id), *c = *slot;

    if (c != NULL)
        return c;
    c = *slot = mem_alloc(sizeof *c);
    c->keeper = tell->keeper;
    c->id = id;
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

void
tell_customer_free(struct tell_customer **at)
{
    struct tell_customer *c = *at;

    *at = c->next;
    customer_trouble_fini(&c->trouble);
    free(c->deadlines);
    free(c);
}

/* --- What waits. */

/* Where the deadline is, or would be. */
static size_t
deadline_at(const struct tell_customer *c, int64_t at_ms)
{
    size_t low = 0, high = c->deadline_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (c->deadlines[middle].at_ms < at_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void
deadline_add(struct tell_customer *c, int64_t at_ms, int64_t arrived_at_ms)
{
    size_t i = deadline_at(c, at_ms);

    if (i == c->deadline_count || c->deadlines[i].at_ms != at_ms) {
        c->deadlines = mem_realloc(c->deadlines, (c->deadline_count + 1) * sizeof *c->deadlines);
        memmove(&c->deadlines[i + 1], &c->deadlines[i],
                (c->deadline_count - i) * sizeof *c->deadlines);
        c->deadline_count++;
        c->deadlines[i] = (struct tell_deadline){at_ms, arrived_at_ms, 0};
    }
    if (arrived_at_ms < c->deadlines[i].first_arrived_at_ms)
        c->deadlines[i].first_arrived_at_ms = arrived_at_ms;
    c->deadlines[i].messages++;
}

static void
deadline_remove(struct tell_customer *c, int64_t at_ms)
{
    size_t i = deadline_at(c, at_ms);

    CHECK(i < c->deadline_count && c->deadlines[i].at_ms == at_ms);
    if (--c->deadlines[i].messages > 0)
        return;
    c->deadline_count--;
    memmove(&c->deadlines[i], &c->deadlines[i + 1], (c->deadline_count - i) * sizeof *c->deadlines);
}

/* P4, as far as the message says (notice_judge). */
static bool
is_unheard(const struct spool_message *m)
{
    return !(m->flags & SPOOL_FLAG_VERIFIED) || (m->flags & SPOOL_FLAG_SPAM);
}

const struct tell_deadline *
tell_first_deadline(const struct tell_customer *c, int64_t now_ms)
{
    size_t i = deadline_at(c, now_ms + 1);

    return i < c->deadline_count ? &c->deadlines[i] : NULL;
}

void
tell_found(struct keeper *k, const struct spool_message *m)
{
    struct tell_customer *c = tell_customer_of(k->tell, m->customer_id, m->customer);

    c->messages++;
    c->bytes += m->body_bytes;
    c->unheard += is_unheard(m);
    c->arrived_since += m->received_at_ms > k->tell->written_at_ms;
    deadline_add(c, m->expires_at_ms, m->received_at_ms);
}

void
tell_extended(struct keeper *k, const struct spool_message *m, int64_t deadline_before_ms)
{
    struct tell_customer *c;

    if (m->expires_at_ms == deadline_before_ms || (m->flags & SPOOL_FLAG_OWN) || m->open_count == 0)
        return;
    c = tell_customer_of(k->tell, m->customer_id, m->customer);
    deadline_remove(c, deadline_before_ms);
    deadline_add(c, m->expires_at_ms, m->received_at_ms);
}

/* --- What has ended. */

static bool
is_failure(enum spool_end end)
{
    return end == SPOOL_END_REFUSED || end == SPOOL_END_EXPIRED || end == SPOOL_END_RETURNED ||
           end == SPOOL_END_REMOVED;
}

static void
list_recipients(const struct spool_message *m, const struct spool_envelope *e, struct buf *out)
{
    unsigned shown = 0, more = 0;

    for (unsigned i = 0; i < m->recipient_count; i++) {
        if (!is_failure(spool_message_end(m, i)))
            continue;
        if (shown < RECIPIENTS_SHOWN)
            buf_printf(out, "%s%s", shown > 0 ? ", " : "", e->recipients[i].address);
        else
            more++;
        shown++;
    }
    if (more > 0)
        buf_printf(out, " (+%u)", more);
}

/* What is recorded behind the reply says whether its sender was told (notice_reply). */
static bool
split_reply(const char *reply, char reason[NOTICE_REPLY_SIZE])
{
    char *note;

    snprintf(reason, NOTICE_REPLY_SIZE, "%s", reply);
    note = strstr(reason, " [no notice: ");
    if (note == NULL)
        note = strstr(reason, " [notice ");
    if (note == NULL)
        return false;
    *note = '\0';
    return note[2] == 'n' && note[3] == 'o' && note[4] == 't';
}

static void
note_failure(struct keeper *k, struct tell_customer *c, const struct spool_message *m,
             unsigned first)
{
    bool has_room =
        c->trouble.failure_count < CUSTOMER_TROUBLE_LINES && k->tell->line_count < LINES_MOST;
    char ref[REF_SIZE], reason[NOTICE_REPLY_SIZE];
    struct customer_failure f = {.at_ms = spool_message_ended_at_ms(m, first),
                                 .end = spool_message_end(m, first),
                                 .ref = ref_text(m->ref, ref),
                                 .sender = "?",
                                 .reason = reason};
    size_t lines = c->trouble.failure_count;
    struct spool_envelope e;
    struct buf recipients;
    struct arena arena;

    f.is_sender_told = split_reply(spool_message_reply(m, first), reason);
    buf_init(&recipients, 0);
    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    if (has_room && spool_store_envelope(k->store, m, &arena, &e) == 0) {
        f.sender = e.reverse_path;
        list_recipients(m, &e, &recipients);
    }
    f.recipients = buf_text(&recipients);
    customer_trouble_failed(&c->trouble, &f, has_room);
    k->tell->line_count += c->trouble.failure_count - lines;
    arena_clear(&arena);
    buf_fini(&recipients);
    k->tell->is_dirty = true;
}

/* One message is one, however many recipients it has: failed if one of them is. */
void
tell_note_end(struct keeper *k, struct tell_customer *c, const struct spool_message *m)
{
    unsigned failed = m->recipient_count;
    bool is_delivered = false;

    for (unsigned i = m->recipient_count; i-- > 0;) {
        failed = is_failure(spool_message_end(m, i)) ? i : failed;
        is_delivered = is_delivered || spool_message_end(m, i) == SPOOL_END_DELIVERED;
    }
    if (failed < m->recipient_count && k->tell->is_silent)
        return;
    if (failed < m->recipient_count) {
        note_failure(k, c, m, failed);
    } else if (is_delivered && c->trouble.since_ms != 0) {
        customer_trouble_delivered(&c->trouble, 1);
        k->tell->is_dirty = true;
    }
}

void
tell_ended(struct keeper *k, const struct spool_message *m, bool was_found)
{
    struct tell_customer *c = tell_customer_of(k->tell, m->customer_id, m->customer);

    if (was_found) {
        c->messages--;
        c->bytes -= m->body_bytes;
        c->unheard -= is_unheard(m);
        deadline_remove(c, m->expires_at_ms);
    }
    tell_note_end(k, c, m);
}
