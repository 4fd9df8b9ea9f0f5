/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A hash table of counted texts.  Its texts come from peers in part (replies), so that a hash that
 * can be foreseen would let one make the table slow: it is keyed.
 */
#include "config.h"

#include "spool/spool_texts.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/err.h"
#include "base/siphash.h"

#define FIRST_SIZE 64

struct spool_text {
    struct spool_text *next; /* of the same slot */
    uint64_t hash;
    uint32_t users;
    uint32_t length;
    char text[];
};

static struct spool_text *
text_of(const char *text)
{
    return (struct spool_text *)(uintptr_t)(text - offsetof(struct spool_text, text));
}

static uint64_t
hash_of(struct slice text)
{
    static uint64_t seed;

    if (seed == 0)
        random_bytes(&seed, sizeof seed);
    return XXH3_64bits_withSeed(text.p, text.n, seed);
}

static struct spool_text **
slot_of(const struct spool_texts *t, uint64_t hash)
{
    return &t->table[hash & (t->size - 1)];
}

static void
grow(struct spool_texts *t)
{
    struct spool_texts old = *t;

    t->size = old.size ? old.size * 2 : FIRST_SIZE;
    t->table = mem_alloc(t->size * sizeof(*t->table));
    for (size_t i = 0; i < old.size; i++) {
        while (old.table[i] != NULL) {
            struct spool_text *text = old.table[i], **slot = slot_of(t, text->hash);

            old.table[i] = text->next;
            text->next = *slot;
            *slot = text;
        }
    }
    free(old.table);
}

static bool
is_same(const struct spool_text *a, struct slice b)
{
    return a->length == b.n && memcmp(a->text, b.p, b.n) == 0;
}

static struct spool_text *
find(const struct spool_texts *t, struct slice text, uint64_t hash)
{
    struct spool_text *found = t->size ? *slot_of(t, hash) : NULL;

    while (found != NULL && (found->hash != hash || !is_same(found, text)))
        found = found->next;
    return found;
}

static struct spool_text *
add(struct spool_texts *t, struct slice text, uint64_t hash)
{
    struct spool_text *made = mem_alloc(sizeof *made + text.n + 1), **slot;

    if (t->count >= t->size)
        grow(t);
    slot = slot_of(t, hash);
    made->hash = hash;
    made->length = (uint32_t)text.n;
    memcpy(made->text, text.p, text.n);
    made->next = *slot;
    *slot = made;
    t->count++;
    return made;
}

const char *
spool_text_take(struct spool_texts *t, struct slice text)
{
    struct spool_text *found;
    uint64_t hash;

    if (text.n > 0)
        text.n = strnlen(text.p, text.n);
    if (text.n == 0)
        return "";
    if (t->last != NULL && is_same(text_of(t->last), text)) {
        text_of(t->last)->users++;
        return t->last;
    }
    hash = hash_of(text);
    found = find(t, text, hash);
    if (found == NULL)
        found = add(t, text, hash);
    found->users++;
    t->last = found->text;
    return found->text;
}

void
spool_text_give(struct spool_texts *t, const char *text)
{
    struct spool_text *given, **at;

    if (text == NULL || text[0] == '\0')
        return;
    given = text_of(text);
    CHECK(given->users > 0);
    if (--given->users > 0)
        return;
    at = slot_of(t, given->hash);
    while (*at != given)
        at = &(*at)->next;
    *at = given->next;
    t->count--;
    if (t->last == text)
        t->last = NULL;
    free(given);
}

void
spool_texts_fini(struct spool_texts *t)
{
    for (size_t i = 0; i < t->size; i++) {
        while (t->table[i] != NULL) {
            struct spool_text *text = t->table[i];

            t->table[i] = text->next;
            free(text);
        }
    }
    free(t->table);
    *t = (struct spool_texts){.table = NULL};
}
