/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The messages of the store in memory: entries of one pool, a list in order of arrival, and a table
 * by reference.  Links are the pool's numbers.
 */
#include "config.h"

#include "spool/spool_store_private.h"

#include <stdlib.h>

/* --- What few messages have. */

struct spool_tries *
spool_entry_tries(struct spool_message *m)
{
    if (m->tries == NULL) {
        m->tries = mem_alloc(sizeof *m->tries);
        m->tries->last_reply = "";
    }
    return m->tries;
}

struct spool_detail *
spool_entry_detail(struct spool_message *m)
{
    if (m->detail == NULL) {
        m->detail = mem_alloc(sizeof *m->detail);
        m->detail->hold_reason = "";
    }
    return m->detail;
}

struct spool_recipient_detail *
spool_entry_recipients(struct spool_message *m)
{
    struct spool_detail *detail = spool_entry_detail(m);

    if (detail->recipients == NULL) {
        detail->recipients = mem_alloc(m->recipient_count * sizeof(*detail->recipients));
        for (unsigned i = 0; i < m->recipient_count; i++)
            detail->recipients[i].reply = "";
    }
    return detail->recipients;
}

void
spool_entry_set_text(struct spool_store *s, const char **text, struct slice value)
{
    const char *before = *text;

    *text = spool_text_take(&s->texts, value);
    spool_text_give(&s->texts, before);
}

static void
free_recipients(struct spool_store *s, struct spool_message *m)
{
    struct spool_recipient_detail *recipients = m->detail->recipients;

    if (recipients == NULL)
        return;
    for (unsigned i = 0; i < m->recipient_count; i++) {
        spool_text_give(&s->texts, recipients[i].domain);
        spool_text_give(&s->texts, recipients[i].reply);
    }
    free(recipients);
}

static void
free_detail(struct spool_store *s, struct spool_message *m)
{
    if (m->detail == NULL)
        return;
    free_recipients(s, m);
    spool_notes_free(m->detail);
    spool_text_give(&s->texts, m->detail->hold_reason);
    free(m->detail);
}

static void
entry_free(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_message *m = &entry->message;

    free_detail(s, m);
    if (m->tries != NULL)
        spool_text_give(&s->texts, m->tries->last_reply);
    free(m->tries);
    spool_text_give(&s->texts, m->customer);
    spool_text_give(&s->texts, m->domain);
    m->segment = NULL; /* so the checkpoint's walk knows it */
    pool_give(&s->entries, m->number);
}

/* --- Making one. */

struct filling {
    struct spool_store *store;
    struct spool_message *message;
    bool has_one_domain;
};

static void
fill_recipient(void *ctx, unsigned i, struct slice domain, enum spool_side side)
{
    struct filling *f = ctx;
    struct spool_recipient_detail *r = &f->message->detail->recipients[i];

    r->side = (uint8_t)side;
    if (!f->has_one_domain)
        r->domain = spool_text_take(&f->store->texts, domain);
}

static void
fill_recipients(struct spool_store *s, struct spool_message *m, const struct spool_facts *facts)
{
    struct filling filling = {s, m, facts->has_one_domain};

    m->recipient_count = m->open_count = (uint16_t)facts->recipient_count;
    m->has_live = facts->has_live;
    if (facts->has_one_domain)
        m->domain = spool_text_take(&s->texts, facts->domain);
    if (facts->has_one_domain && !facts->has_live)
        return;
    spool_entry_recipients(m);
    spool_facts_each_recipient(facts, fill_recipient, &filling);
}

struct spool_store_entry *
spool_entry_new(struct spool_store *s, const struct spool_scan_record *record,
                struct spool_store_segment *segment)
{
    struct spool_store_entry *entry;
    struct spool_message *m;
    struct spool_facts facts;
    uint32_t number;

    if (spool_envelope_facts(record->envelope, &facts) != 0 || facts.recipient_count == 0)
        return NULL;
    entry = pool_take(&s->entries, &number);
    m = &entry->message;
    m->number = number;
    m->segment = segment;
    m->record_offset = record->offset;
    m->body_bytes = record->body_bytes;
    m->ref = facts.ref;
    m->received_at_ms = facts.received_at_ms;
    m->expires_at_ms = facts.expires_at_ms;
    m->customer_id = facts.customer_id;
    m->customer = spool_text_take(&s->texts, facts.customer);
    m->flags = (uint16_t)facts.flags;
    fill_recipients(s, m, &facts);
    spool_outcome_begin(s, m, &facts);
    return entry;
}

/* --- The list.  What is new is nearly always the newest. */

static void
list_insert(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_entry *before = spool_entry_at(s, s->last), *after;

    while (before != NULL && before->message.received_at_ms > entry->message.received_at_ms)
        before = spool_entry_at(s, before->prev);
    entry->prev = before ? before->message.number : 0;
    entry->next = before ? before->next : s->first;
    after = spool_entry_at(s, entry->next);
    *(after ? &after->prev : &s->last) = entry->message.number;
    *(before ? &before->next : &s->first) = entry->message.number;
}

static void
list_remove(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_entry *before = spool_entry_at(s, entry->prev);
    struct spool_store_entry *after = spool_entry_at(s, entry->next);

    *(before ? &before->next : &s->first) = entry->next;
    *(after ? &after->prev : &s->last) = entry->prev;
}

/* --- The table. */

static uint32_t *
table_slot(const struct spool_store *s, struct ref ref)
{
    uint64_t x = ref.number ^ ((uint64_t)ref.minute << 35) ^ ((uint64_t)ref.node << 48);

    x *= 0x9e3779b97f4a7c15ULL; /* references are our own: no attacker chooses them */
    return &s->table[(size_t)(x >> 32) & (s->table_size - 1)];
}

static void
table_put(struct spool_store *s, struct spool_store_entry *entry)
{
    uint32_t *slot = table_slot(s, entry->message.ref);

    entry->ref_next = *slot;
    *slot = entry->message.number;
}

static void
table_grow(struct spool_store *s)
{
    size_t old_size = s->table_size;
    uint32_t *old = s->table;

    s->table_size = old_size ? old_size * 2 : 1024;
    s->table = mem_alloc(s->table_size * sizeof(*s->table));
    for (size_t i = 0; i < old_size; i++) {
        for (uint32_t number = old[i], next; number != 0; number = next) {
            struct spool_store_entry *entry = spool_entry_at(s, number);

            next = entry->ref_next;
            table_put(s, entry);
        }
    }
    free(old);
}

static void
table_insert(struct spool_store *s, struct spool_store_entry *entry)
{
    if (s->message_count >= s->table_size)
        table_grow(s);
    table_put(s, entry);
    s->message_count++;
}

static void
table_remove(struct spool_store *s, struct spool_store_entry *entry)
{
    uint32_t *slot = table_slot(s, entry->message.ref);

    while (*slot != entry->message.number)
        slot = &spool_entry_at(s, *slot)->ref_next;
    *slot = entry->ref_next;
    s->message_count--;
}

/* --- Coming and going. */

void
spool_entry_link(struct spool_store *s, struct spool_store_entry *entry)
{
    struct spool_store_segment *segment = entry->message.segment;

    entry->segment_next = segment->messages;
    segment->messages = entry->message.number;
    segment->message_count++;
    if (s->running) /* before, all are sorted at once */
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
    entry_free(s, entry);
}

void
spool_entries_free(struct spool_store *s)
{
    for (size_t i = 0; i < s->segment_count; i++) {
        struct spool_store_entry *entry = spool_entry_at(s, s->segments[i]->messages);

        while (entry != NULL) {
            struct spool_store_entry *next = spool_entry_at(s, entry->segment_next);

            entry_free(s, entry);
            entry = next;
        }
        s->segments[i]->messages = 0;
    }
    pool_fini(&s->entries);
    free(s->table);
}

/* --- The first sorting. */

struct place { /* of an entry in the order of arrival, without a look at the entry */
    int64_t received_at_ms;
    uint32_t segment, number; /* segment: its place among the others */
};

static int
by_arrival(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->received_at_ms != y->received_at_ms)
        return x->received_at_ms < y->received_at_ms ? -1 : 1;
    if (x->segment != y->segment)
        return x->segment < y->segment ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number); /* as read: by offset */
}

/* From the back, since a segment's list begins with its newest. Returns how many. */
static size_t
collect(struct spool_store *s, struct place *all)
{
    size_t n = 0;

    for (size_t i = 0; i < s->segment_count; i++) {
        size_t at = n + s->segments[i]->message_count;
        const struct spool_store_entry *e = spool_entry_at(s, s->segments[i]->messages);

        n = at;
        for (; e != NULL; e = spool_entry_at(s, e->segment_next))
            all[--at] = (struct place){e->message.received_at_ms, (uint32_t)i, e->message.number};
    }
    return n;
}

static bool
is_sorted(const struct place *all, size_t n)
{
    size_t i = 1;

    while (i < n && by_arrival(&all[i - 1], &all[i]) < 0)
        i++;
    return i >= n;
}

/* Segments of several workers interleave: the first read collects, and sorts once. */
void
spool_entries_sort(struct spool_store *s)
{
    struct place *all = mem_alloc((s->message_count + 1) * sizeof(*all));
    size_t n = collect(s, all);

    CHECK(n == s->message_count);
    if (!is_sorted(all, n))
        qsort(all, n, sizeof(*all), by_arrival);
    s->first = n > 0 ? all[0].number : 0;
    s->last = n > 0 ? all[n - 1].number : 0;
    for (size_t i = 0; i < n; i++) {
        struct spool_store_entry *entry = spool_entry_at(s, all[i].number);

        entry->prev = i > 0 ? all[i - 1].number : 0;
        entry->next = i + 1 < n ? all[i + 1].number : 0;
    }
    free(all);
}

/* --- Looking. */

struct spool_message *
spool_store_next(struct spool_store *s, struct spool_message *cursor)
{
    uint32_t number = cursor ? ((struct spool_store_entry *)cursor)->next : s->first;
    struct spool_store_entry *entry = spool_entry_at(s, number);

    return entry ? &entry->message : NULL;
}

struct spool_message *
spool_store_find(struct spool_store *s, struct ref ref)
{
    struct spool_store_entry *e = s->table_size ? spool_entry_at(s, *table_slot(s, ref)) : NULL;

    while (e != NULL && !ref_equal(e->message.ref, ref))
        e = spool_entry_at(s, e->ref_next);
    return e ? &e->message : NULL;
}

static bool
is_at(const struct spool_message *m, const struct spool_place *place)
{
    return m->record_offset == place->offset && ref_equal(m->ref, place->ref) &&
           spool_segment_compare(m->segment->id, place->segment) == 0;
}

/* The ledger's checkpoint has the messages in the order in which they are read: mostly it is the
 * one behind the one before. */
static struct spool_store_entry *
entry_behind_found(const struct spool_store *s)
{
    struct spool_store_entry *e =
        s->found + 1 < pool_end(&s->entries) ? pool_peek(&s->entries, s->found + 1) : NULL;

    return e != NULL && e->message.segment != NULL ? e : NULL;
}

struct spool_message *
spool_entry_find(struct spool_store *s, const struct spool_place *place)
{
    struct spool_store_entry *e = entry_behind_found(s);

    if (e == NULL || !is_at(&e->message, place)) {
        e = s->table_size ? spool_entry_at(s, *table_slot(s, place->ref)) : NULL;
        while (e != NULL && !is_at(&e->message, place))
            e = spool_entry_at(s, e->ref_next);
    }
    if (e == NULL)
        return NULL;
    s->found = e->message.number;
    return &e->message;
}
