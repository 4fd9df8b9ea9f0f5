/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The messages of the store in memory: one allocation with its envelope's arena, a list in order of
 * arrival, and a table by reference.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

#define ENVELOPE_ARENA_BYTES (8 * 1024 * 1024)

static void
entry_free(struct spool_store_entry *entry)
{
    for (unsigned i = 0; i < entry->message.envelope.recipient_count; i++)
        free(entry->replies[i]);
    free(entry->last_reply);
    free(entry->hold_reason);
    spool_notes_free(entry);
    arena_clear(&entry->arena);
    free(entry);
}

/* In order of arrival: what is new is nearly always the newest. */
static void
list_insert(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_entry *before = s->last;

    while (before != NULL &&
           before->message.envelope.received_at_ms > entry->message.envelope.received_at_ms)
        before = before->prev;
    entry->prev = before;
    entry->next = before ? before->next : s->first;
    if (entry->next)
        entry->next->prev = entry;
    else
        s->last = entry;
    if (before)
        before->next = entry;
    else
        s->first = entry;
}

static void
list_remove(struct spool_store *s, struct spool_store_entry *entry)
{
    if (entry->prev)
        entry->prev->next = entry->next;
    else
        s->first = entry->next;
    if (entry->next)
        entry->next->prev = entry->prev;
    else
        s->last = entry->prev;
}

static size_t
spool_entry_slot(const struct spool_store *s, struct ref ref)
{
    uint64_t x = ref.number ^ ((uint64_t)ref.minute << 35) ^ ((uint64_t)ref.node << 48);

    x *= 0x9e3779b97f4a7c15ULL; /* references are our own: no attacker chooses them */
    return (size_t)(x >> 32) & (s->table_size - 1);
}

static void
table_grow(struct spool_store *s)
{
    size_t old_size = s->table_size;
    struct spool_store_entry **old = s->table;

    s->table_size = old_size ? old_size * 2 : 1024;
    s->table = mem_alloc(s->table_size * sizeof(*s->table));
    for (size_t i = 0; i < old_size; i++) {
        while (old[i] != NULL) {
            struct spool_store_entry *entry = old[i];
            struct spool_store_entry **slot =
                &s->table[spool_entry_slot(s, entry->message.envelope.ref)];

            old[i] = entry->ref_next;
            entry->ref_next = *slot;
            *slot = entry;
        }
    }
    free(old);
}

static void
table_insert(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_entry **slot;

    if (s->message_count >= s->table_size)
        table_grow(s);
    slot = &s->table[spool_entry_slot(s, entry->message.envelope.ref)];
    entry->ref_next = *slot;
    *slot = entry;
    s->message_count++;
}

static void
table_remove(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_entry **slot = &s->table[spool_entry_slot(s, entry->message.envelope.ref)];

    while (*slot != entry)
        slot = &(*slot)->ref_next;
    *slot = entry->ref_next;
    s->message_count--;
}

struct spool_store_entry *
spool_entry_new(const struct spool_scan_record *record, struct spool_store_segment *segment)
{
    struct spool_store_entry *entry = mem_alloc(sizeof *entry);
    struct spool_message *m = &entry->message;

    arena_init(&entry->arena, ENVELOPE_ARENA_BYTES);
    if (spool_envelope_decode(record->envelope, &entry->arena, &m->envelope) != 0 ||
        m->envelope.recipient_count == 0)
        goto bad;
    m->states = arena_alloc(&entry->arena, m->envelope.recipient_count * sizeof(*m->states));
    entry->replies = arena_alloc(&entry->arena, m->envelope.recipient_count * sizeof(char *));
    if (m->states == NULL || entry->replies == NULL)
        goto bad;
    for (unsigned i = 0; i < m->envelope.recipient_count; i++)
        m->states[i].reply = "";
    entry->segment = segment;
    m->segment = segment->id;
    m->record_offset = record->offset;
    m->body_offset = record->body_offset;
    m->body_bytes = record->body_bytes;
    m->body_check = record->body_check;
    m->open_count = m->envelope.recipient_count;
    m->expires_at_ms = m->envelope.expires_at_ms;
    spool_outcome_begin(m);
    m->last_reply = m->hold_reason = "";
    return entry;
bad:
    arena_clear(&entry->arena);
    free(entry);
    return NULL;
}

void
spool_entry_link(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_segment *segment = entry->segment;

    entry->segment_next = segment->messages;
    segment->messages = entry;
    segment->message_count++;
    list_insert(s, entry);
    table_insert(s, entry);
    s->open_count++;
    segment->open_count++;
}

void
spool_entry_forget(struct spool_store *s, struct spool_store_entry *entry)
{
    if (entry->message.open_count > 0)
        s->open_count--;
    list_remove(s, entry);
    table_remove(s, entry);
    entry_free(entry);
}

static int
by_arrival(const void *a, const void *b)
{
    const struct spool_store_entry *x = *(struct spool_store_entry *const *)a;
    const struct spool_store_entry *y = *(struct spool_store_entry *const *)b;
    int64_t at = x->message.envelope.received_at_ms, bt = y->message.envelope.received_at_ms;
    int segments = spool_segment_compare(x->message.segment, y->message.segment);

    if (at != bt)
        return at < bt ? -1 : 1;
    if (segments != 0)
        return segments;
    return (x->message.record_offset > y->message.record_offset) -
           (x->message.record_offset < y->message.record_offset);
}

/* Segments of several workers interleave: the first read collects, and sorts once. */
void
spool_entries_sort(struct spool_store *s)
{
    struct spool_store_entry **all = mem_alloc((s->message_count + 1) * sizeof(*all));
    size_t n = 0;

    for (size_t i = 0; i < s->segment_count; i++) {
        for (struct spool_store_entry *e = s->segments[i]->messages; e != NULL; e = e->segment_next)
            all[n++] = e;
    }
    CHECK(n == s->message_count);
    qsort(all, n, sizeof(*all), by_arrival);
    s->first = s->last = NULL;
    for (size_t i = 0; i < n; i++) {
        all[i]->prev = s->last;
        all[i]->next = NULL;
        if (s->last)
            s->last->next = all[i];
        else
            s->first = all[i];
        s->last = all[i];
    }
    free(all);
}

/* --- Looking. */

struct spool_message *
spool_store_next(struct spool_store *s, struct spool_message *cursor)
{
    struct spool_store_entry *e = cursor ? ((struct spool_store_entry *)cursor)->next : s->first;

    return e ? &e->message : NULL;
}

struct spool_message *
spool_store_find(struct spool_store *s, struct ref ref)
{
    struct spool_store_entry *e = s->table_size ? s->table[spool_entry_slot(s, ref)] : NULL;

    while (e != NULL && !ref_equal(e->message.envelope.ref, ref))
        e = e->ref_next;
    return e ? &e->message : NULL;
}
