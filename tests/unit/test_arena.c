/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The cap is hard, memory is zeroed and aligned, and a cleared arena begins anew.
 */
#include <criterion/criterion.h>
#include <stdint.h>

#include "base/arena.h"

Test(arena, gives_zeroed_aligned_memory_up_to_its_cap)
{
    struct arena a;
    size_t given = 0;
    char *p;

    arena_init(&a, 10000);
    while ((p = arena_alloc(&a, 33)) != NULL) {
        cr_expect_eq((uintptr_t)p % _Alignof(max_align_t), 0);
        for (int i = 0; i < 33; i++)
            cr_expect_eq(p[i], 0);
        memset(p, 0xff, 33);
        given += 33;
    }
    cr_expect(given > 5000 && given <= 10000, "%zu", given);
    arena_clear(&a);
    cr_expect_not_null(arena_alloc(&a, 10000));
    cr_expect_null(arena_alloc(&a, 1));
    arena_clear(&a);
    cr_expect_null(arena_alloc(&a, 10001));
    cr_expect_null(arena_alloc(&a, SIZE_MAX));
}

Test(arena, copies_end_with_a_nul)
{
    struct arena a;

    arena_init(&a, 64);
    cr_expect_str_eq(arena_copy(&a, SLICE("abc")), "abc");
    cr_expect_str_eq(arena_copy(&a, (struct slice){NULL, 0}), "");
    cr_expect_null(arena_copy(&a, (struct slice){"", 64}));
    arena_clear(&a);
}

/* Whoever was told that there is room has it, piece by piece, whatever the sizes. */
Test(arena, room_that_was_promised_is_there)
{
    for (size_t first = 0; first < 200; first++)
        for (size_t size = 1; size < 100; size++) {
            struct arena a;
            bool promised;

            arena_init(&a, 256);
            (void)arena_alloc(&a, first);
            promised = arena_has_room(&a, 3 * size, 3);
            for (int i = 0; i < 3 && promised; i++)
                cr_assert_not_null(arena_alloc(&a, size), "%zu, then 3 of %zu", first, size);
            cr_assert(promised || first + 3 * size + 4 * _Alignof(max_align_t) > 256, "%zu, %zu",
                      first, size);
            arena_clear(&a);
        }
}
