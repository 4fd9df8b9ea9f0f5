/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: what the ledger says of a message comes to it whole and in order, whenever it is read.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <stdio.h>

#include "base/buf.h"
#include "spool/spool_pending.h"

static struct spool_place
place_of(uint32_t number)
{
    return (struct spool_place){.segment = {1, 7, number % 3},
                                .offset = 4096 + 8 * (uint64_t)number,
                                .ref = {.node = 1, .minute = 5, .number = number}};
}

static void
add(struct spool_pending *p, uint32_t number, uint16_t type)
{
    struct spool_place place = place_of(number);
    char text[40];

    snprintf(text, sizeof text, "%u-%u", number, type);
    spool_pending_add(p, &place, type, slice_of(text));
}

static void
tell(void *ctx, uint16_t type, struct slice payload)
{
    buf_printf(ctx, "%u:%.*s ", type, (int)payload.n, payload.p);
}

static void
expect_taken(struct spool_pending *p, uint32_t number, const char *want)
{
    struct spool_place place = place_of(number);
    struct buf got;

    buf_init(&got, 0);
    spool_pending_take(p, &place, tell, &got);
    cr_expect_str_eq(buf_text(&got), want);
    buf_fini(&got);
}

Test(spool_pending, P2_entries_of_a_place_come_in_order_and_once)
{
    struct spool_pending p = {.log = NULL};

    expect_taken(&p, 1, "");
    add(&p, 1, 2);
    add(&p, 4, 9);
    add(&p, 1, 1);
    add(&p, 1, 3);
    expect_taken(&p, 1, "2:1-2 1:1-1 3:1-3 ");
    expect_taken(&p, 1, "");
    add(&p, 1, 5);
    expect_taken(&p, 1, "5:1-5 ");
    expect_taken(&p, 4, "9:4-9 ");
    cr_expect_eq(p.live, 0);
    cr_expect_null(p.log, "nothing is left, and nothing is kept");
    spool_pending_clear(&p);
}

Test(spool_pending, P2_another_reference_at_the_place_is_another_message)
{
    struct spool_pending p = {.log = NULL};
    struct spool_place other = place_of(1);

    other.ref.number = 77;
    add(&p, 1, 1);
    add(&p, 2, 1);
    spool_pending_add(&p, &other, 8, SLICE("other"));
    expect_taken(&p, 1, "");
    add(&p, 1, 3);
    spool_pending_add(&p, &other, 8, SLICE("other"));
    cr_expect_eq(p.live, 2);
    spool_pending_clear(&p);
}

#define MANY 3000

static bool
keeps(void *ctx, struct spool_segment_id segment)
{
    (void)ctx;
    return segment.number != 1;
}

static void
count(void *ctx, uint16_t type, struct slice payload)
{
    unsigned *n = ctx;

    (void)payload;
    *n += type;
}

Test(spool_pending, P2_many_places_hold)
{
    struct spool_pending p = {.log = NULL};
    unsigned n = 0;

    for (uint16_t type = 1; type <= 2; type++)
        for (uint32_t i = 0; i < MANY; i++)
            add(&p, i, type);
    for (uint32_t i = 0; i < MANY; i++)
        expect_taken(&p, i + MANY, "");
    spool_pending_each(&p, keeps, count, &n);
    cr_expect_eq(n, 2 * MANY / 3 * 3, "two of three segments, types 1 and 2");
    cr_expect_eq(p.live, 2 * MANY / 3);
    expect_taken(&p, 1, "");
    expect_taken(&p, 2, "1:2-1 2:2-2 ");
    expect_taken(&p, MANY - 1, "1:2999-1 2:2999-2 ");
    spool_pending_clear(&p);
}
