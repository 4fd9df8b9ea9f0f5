/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Items keep their places and their numbers; what is given back is taken again, and zeroed.
 */
#include "config.h"

#include <criterion/criterion.h>

#include "base/err.h"
#include "base/pool.h"

struct item {
    uint64_t value;
    uint32_t number;
};

#define ITEMS (3 * POOL_CHUNK_ITEMS + 5)

static struct item *items[ITEMS];

static void
take(struct pool *p, unsigned i)
{
    uint32_t number;

    items[i] = pool_take(p, &number);
    cr_assert_neq(number, 0);
    cr_assert_eq(items[i]->value, 0, "it is zeroed");
    cr_assert_eq(items[i]->number, 0, "it is zeroed");
    items[i]->value = i + UINT64_C(1000000000000);
    items[i]->number = number;
}

static void
look(const struct pool *p, unsigned i)
{
    cr_expect_eq(pool_at(p, items[i]->number), items[i]);
    cr_expect_eq(items[i]->value, i + UINT64_C(1000000000000));
}

Test(pool, items_keep_their_places)
{
    struct pool p;

    pool_init(&p, sizeof(struct item));
    cr_expect_null(pool_at(&p, 0));
    for (unsigned i = 0; i < ITEMS; i++)
        take(&p, i);
    for (unsigned i = 0; i < ITEMS; i += 3)
        pool_give(&p, items[i]->number);
    for (unsigned i = 0; i < ITEMS; i += 3)
        take(&p, i);
    for (unsigned i = 0; i < ITEMS; i++)
        look(&p, i);
    cr_expect_eq(p.chunk_count, 4, "what was given back was taken again");
    pool_fini(&p);
}

Test(pool, an_empty_chunk_goes_and_comes_back)
{
    struct pool p;

    pool_init(&p, sizeof(struct item));
    for (unsigned i = 0; i < ITEMS; i++)
        take(&p, i);
    for (unsigned i = 0; i < 2 * POOL_CHUNK_ITEMS; i++)
        pool_give(&p, items[i]->number);
    cr_expect_null(p.chunks[0]);
    cr_expect_null(p.chunks[1]);
    look(&p, ITEMS - 1);
    for (unsigned i = 0; i < 2 * POOL_CHUNK_ITEMS; i++)
        take(&p, i);
    for (unsigned i = 0; i < ITEMS; i++)
        look(&p, i);
    cr_expect_eq(p.chunk_count, 4);
    pool_fini(&p);
}

Test(pool, a_walk_meets_each_item_and_what_was_given_back)
{
    struct pool p;
    unsigned met = 0;

    pool_init(&p, sizeof(struct item));
    cr_expect_eq(pool_end(&p), 1, "nothing to be met");
    for (unsigned i = 0; i < ITEMS; i++)
        take(&p, i);
    for (unsigned i = 0; i < POOL_CHUNK_ITEMS + 2; i++)
        pool_give(&p, items[i]->number);
    cr_expect_null(pool_peek(&p, 1), "its chunk has gone");
    for (uint32_t number = 1; number < pool_end(&p); number++)
        met += pool_peek(&p, number) != NULL && number > POOL_CHUNK_ITEMS + 2 && number <= ITEMS;
    cr_expect_eq(met, ITEMS - POOL_CHUNK_ITEMS - 2);
    cr_expect_eq(pool_peek(&p, ITEMS), pool_at(&p, ITEMS));
    pool_fini(&p);
}
