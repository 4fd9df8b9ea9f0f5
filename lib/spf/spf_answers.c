/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A list in the order of the questions: with at most some dozens, a walk is as quick as a table.
 */
#include "spf/spf_answers.h"

#include "spf/spf_record.h"

#define ITEMS_MAX 64

void
spf_answers_init(struct spf_answers *answers)
{
    *answers = (struct spf_answers){.end = &answers->first};
    arena_init(&answers->arena, SPF_ANSWERS_BYTES);
}

void
spf_answers_fini(struct spf_answers *answers)
{
    arena_clear(&answers->arena);
}

struct spf_known *
spf_answers_find(struct spf_answers *answers, const char *name, enum spf_type type)
{
    for (struct spf_known *known = answers->first; known != NULL; known = known->next)
        if (known->type == type && strcmp(known->name, name) == 0)
            return known;
    return NULL;
}

struct spf_known *
spf_answers_add(struct spf_answers *answers, const char *name, enum spf_type type)
{
    struct spf_known *known = arena_alloc(&answers->arena, sizeof *known);
    const char *copy = arena_copy(&answers->arena, slice_of(name));

    if (known == NULL || copy == NULL)
        return NULL;
    known->name = copy;
    known->type = type;
    *answers->end = known;
    answers->end = &known->next;
    answers->count++;
    return known;
}

static bool
is_host(struct slice name)
{
    if (name.n == 0 || name.n >= INET_DOMAIN_SIZE)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return true;
}

/* The suite of RFC 7208 has a mail server whose name is none: it is asked for, and never shown. */
static bool
is_printable(struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] > '~')
            return false;
    return name.n > 0 && name.n < INET_DOMAIN_SIZE;
}

static bool
is_of_use(enum spf_type type, struct slice item)
{
    switch (type) {
    case SPF_TYPE_A:
        return item.n == 4;
    case SPF_TYPE_AAAA:
        return item.n == 16;
    case SPF_TYPE_MX:
        return is_printable(item);
    case SPF_TYPE_PTR:
        return is_host(item);
    case SPF_TYPE_TXT:
        return spf_record_is(item);
    }
    return false;
}

void
spf_answers_fill(struct spf_answers *answers, struct spf_known *known,
                 const struct spf_answer *answer)
{
    struct slice items[ITEMS_MAX], *copies;
    unsigned count = 0;

    known->is_given = true;
    known->answer = (struct spf_answer){.result = answer->result};
    if (answer->result != SPF_ANSWER_OK)
        return;
    for (unsigned i = 0; i < answer->count && count < ITEMS_MAX; i++)
        if (is_of_use(known->type, answer->items[i])) {
            items[count] = answer->items[i];
            if (items[count].n > SPF_RECORD_MAX) /* too long for a record, and stays so */
                items[count].n = SPF_RECORD_MAX + 1;
            count++;
        }
    copies = count > 0 ? arena_alloc(&answers->arena, count * sizeof *copies) : NULL;
    for (unsigned i = 0; copies != NULL && i < count; i++) {
        copies[i] = (struct slice){arena_copy(&answers->arena, items[i]), items[i].n};
        if (copies[i].p == NULL)
            copies = NULL;
    }
    if (count > 0 && copies == NULL)
        known->answer.result = SPF_ANSWER_TEMPORARY;
    else
        known->answer =
            (struct spf_answer){.result = count > 0 ? SPF_ANSWER_OK : SPF_ANSWER_NO_DATA,
                                .count = count,
                                .items = copies};
}
