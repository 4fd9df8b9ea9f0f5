/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One log of entries and one array of places, so that a ledger of a million entries costs no
 * allocation an entry.  What has been taken stays where it is until all has been.
 */
#include "config.h"

#include "spool/spool_pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define FIRST_SIZE 256
#define NONE SIZE_MAX

struct spool_pending_place {
    struct spool_place place;
    size_t first, last; /* entries, where they stand in the log; first NONE: taken */
    uint32_t next;      /* of the same slot */
};

struct entry {   /* in the log, aligned; its payload follows */
    size_t next; /* of the same place; NONE */
    uint32_t bytes;
    uint16_t type;
};

static struct entry *
entry_at(const struct spool_pending *p, size_t at)
{
    return (struct entry *)(void *)(p->log + at);
}

/* --- Places. */

static uint32_t *
slot_of(const struct spool_pending *p, const struct spool_place *place)
{
    uint64_t x = ((uint64_t)place->segment.epoch << 32 | place->segment.number) ^
                 (uint64_t)place->segment.node << 24;

    x = (x * 0x9e3779b97f4a7c15ULL) ^ (place->offset >> 3);
    x *= 0x9e3779b97f4a7c15ULL;
    return &p->table[(size_t)(x >> 32) & (p->table_size - 1)];
}

static bool
is_at(const struct spool_place *a, const struct spool_place *b)
{
    return a->offset == b->offset && a->segment.number == b->segment.number &&
           a->segment.epoch == b->segment.epoch && a->segment.node == b->segment.node;
}

/* The link that leads to the place, or to 0. */
static uint32_t *
find(const struct spool_pending *p, const struct spool_place *place)
{
    uint32_t *at = slot_of(p, place);

    while (*at != 0 && !is_at(&p->places[*at - 1].place, place))
        at = &p->places[*at - 1].next;
    return at;
}

static void
grow_table(struct spool_pending *p)
{
    p->table_size = p->table_size ? p->table_size * 2 : FIRST_SIZE;
    free(p->table);
    p->table = mem_alloc(p->table_size * sizeof(*p->table));
    for (uint32_t i = 0; i < p->place_count; i++) {
        uint32_t *slot = slot_of(p, &p->places[i].place);

        if (p->places[i].first == NONE)
            continue;
        p->places[i].next = *slot;
        *slot = i + 1;
    }
}

static struct spool_pending_place *
add_place(struct spool_pending *p, uint32_t *link, const struct spool_place *place)
{
    if (p->place_count == p->place_room) {
        bool is_inside = p->places && (char *)link >= (char *)p->places &&
                         (char *)link < (char *)(p->places + p->place_count);
        size_t at = is_inside ? (size_t)((char *)link - (char *)p->places) : 0;

        CHECK(p->place_room < UINT32_MAX / 2);
        p->place_room = p->place_room ? p->place_room * 2 : FIRST_SIZE;
        p->places = mem_realloc(p->places, p->place_room * sizeof(*p->places));
        if (is_inside)
            link = (uint32_t *)(void *)((char *)p->places + at);
    }
    p->places[p->place_count] =
        (struct spool_pending_place){.place = *place, .first = NONE, .last = NONE};
    *link = ++p->place_count;
    p->live++;
    return &p->places[p->place_count - 1];
}

static void
remove_place(struct spool_pending *p, uint32_t *link)
{
    struct spool_pending_place *place = &p->places[*link - 1];

    *link = place->next;
    place->first = NONE;
    if (--p->live == 0)
        spool_pending_clear(p);
}

/* --- Entries. */

static size_t
add_entry(struct spool_pending *p, uint16_t type, struct slice payload)
{
    size_t at = p->used, n = sizeof(struct entry) + payload.n;

    n = (n + sizeof(size_t) - 1) & ~(sizeof(size_t) - 1);
    if (p->size - p->used < n) {
        p->size = p->size * 2 > p->used + n ? p->size * 2 : p->used + n + 65536;
        p->log = mem_realloc(p->log, p->size);
    }
    *entry_at(p, at) = (struct entry){NONE, (uint32_t)payload.n, type};
    memcpy(p->log + at + sizeof(struct entry), payload.p, payload.n);
    p->used += n;
    return at;
}

void
spool_pending_add(struct spool_pending *p, const struct spool_place *place, uint16_t type,
                  struct slice payload)
{
    struct spool_pending_place *found;
    uint32_t *link;
    size_t at;

    if (p->place_count >= p->table_size)
        grow_table(p);
    link = find(p, place);
    if (*link != 0 && !ref_equal(p->places[*link - 1].place.ref, place->ref)) {
        remove_place(p, link);
        spool_pending_add(p, place, type, payload);
        return;
    }
    found = *link != 0 ? &p->places[*link - 1] : add_place(p, link, place);
    at = add_entry(p, type, payload);
    if (found->first == NONE)
        found->first = at;
    else
        entry_at(p, found->last)->next = at;
    found->last = at;
}

static void
each_of(const struct spool_pending *p, const struct spool_pending_place *place,
        spool_pending_entry each, void *ctx)
{
    for (size_t at = place->first; at != NONE; at = entry_at(p, at)->next) {
        const struct entry *e = entry_at(p, at);

        each(ctx, e->type, (struct slice){p->log + at + sizeof *e, e->bytes});
    }
}

bool
spool_pending_take(struct spool_pending *p, const struct spool_place *place,
                   spool_pending_entry each, void *ctx)
{
    uint32_t *link = p->live > 0 ? find(p, place) : NULL;

    if (link == NULL || *link == 0)
        return false;
    if (ref_equal(p->places[*link - 1].place.ref, place->ref))
        each_of(p, &p->places[*link - 1], each, ctx);
    remove_place(p, link);
    return true;
}

void
spool_pending_each(struct spool_pending *p,
                   bool (*keeps)(void *ctx, struct spool_segment_id segment),
                   spool_pending_entry each, void *ctx)
{
    for (uint32_t i = 0; i < p->place_count; i++) {
        struct spool_place place = p->places[i].place;

        if (p->places[i].first == NONE)
            continue;
        if (keeps(ctx, place.segment))
            each_of(p, &p->places[i], each, ctx);
        else
            remove_place(p, find(p, &place)); /* the last one ends the loop */
    }
}

void
spool_pending_clear(struct spool_pending *p)
{
    free(p->log);
    free(p->places);
    free(p->table);
    *p = (struct spool_pending){.log = NULL};
}
