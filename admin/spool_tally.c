/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The C library's tree finds a row among 100,000; the order comes at the end.
 */
#define _GNU_SOURCE 1 /* tdestroy */

#include "admin/spool_tally.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int
by_key(const void *a, const void *b)
{
    const struct spool_tally_row *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static int
by_key_of_row(const void *a, const void *b)
{
    return by_key(*(struct spool_tally_row *const *)a, *(struct spool_tally_row *const *)b);
}

static struct spool_tally_row *
add_row(struct spool_tally *t, const char *key)
{
    struct spool_tally_row *row = mem_alloc(sizeof *row);

    row->key = mem_strdup(key);
    if ((t->count & (t->count - 1)) == 0) /* room for the next power of two */
        t->rows = mem_realloc(t->rows, (t->count ? t->count * 2 : 1) * sizeof(void *));
    t->rows[t->count++] = row;
    CHECK(tsearch(row, &t->tree, by_key) != NULL);
    return row;
}

struct spool_totals *
spool_tally_of(struct spool_tally *t, const char *key)
{
    const struct spool_tally_row wanted = {.key = (char *)(uintptr_t)key};
    void *found = tfind(&wanted, &t->tree, by_key);
    struct spool_tally_row *row = found ? *(struct spool_tally_row **)found : add_row(t, key);

    return &row->totals;
}

void
spool_tally_sort(struct spool_tally *t)
{
    if (t->count > 0)
        qsort(t->rows, t->count, sizeof(void *), by_key_of_row);
}

static void
keep(void *row)
{
    (void)row;
}

static void
take_earliest(int64_t *at_ms, int64_t other_ms)
{
    if (*at_ms == 0 || (other_ms != 0 && other_ms < *at_ms))
        *at_ms = other_ms;
}

struct spool_totals
spool_tally_sum(const struct spool_tally *tally)
{
    struct spool_totals sum = {0};

    for (size_t i = 0; i < tally->count; i++) {
        const struct spool_totals *t = &tally->rows[i]->totals;

        sum.messages += t->messages;
        sum.recipients += t->recipients;
        sum.size_bytes += t->size_bytes;
        sum.held += t->held;
        sum.damaged += t->damaged;
        sum.no_route += t->no_route;
        sum.due += t->due;
        for (unsigned age = 0; age < SPOOL_AGES; age++)
            sum.ages[age] += t->ages[age];
        take_earliest(&sum.oldest_at_ms, t->oldest_at_ms);
        take_earliest(&sum.next_at_ms, t->next_at_ms);
        take_earliest(&sum.expires_at_ms, t->expires_at_ms);
    }
    return sum;
}

void
spool_tally_fini(struct spool_tally *t)
{
    tdestroy(t->tree, keep);
    for (size_t i = 0; i < t->count; i++) {
        free(t->rows[i]->key);
        free(t->rows[i]);
    }
    free(t->rows);
    *t = (struct spool_tally){.count = 0};
}
