/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The byte queue against a plain model, its bound, and what it gives back.
 */
#include <criterion/criterion.h>

#include "base/buf.h"

Test(buf, is_a_queue_whatever_the_pieces)
{
    struct buf b;
    unsigned char next_in = 0, next_out = 0;

    buf_init(&b, 0);
    for (size_t step = 1; step < 3000; step++) {
        for (size_t i = 0; i < step % 97; i++, next_in++)
            buf_add(&b, &next_in, 1);
        for (size_t left = step * 7 % 101; left > 0 && buf_size(&b) > 0; left--) {
            cr_assert_eq((unsigned char)buf_slice(&b).p[0], next_out);
            buf_consume(&b, 1);
            next_out++;
        }
    }
    cr_expect_eq((unsigned char)(next_in - next_out), (unsigned char)buf_size(&b));
    buf_fini(&b);
}

Test(buf, a_bound_holds_exactly_and_a_refusal_changes_nothing)
{
    struct buf b;

    buf_init(&b, 10);
    cr_expect_eq(buf_append(&b, "0123456789", 10), ERR_OK);
    cr_expect_eq(buf_append(&b, "x", 1), ERR_LIMIT);
    cr_expect(slice_equal(buf_slice(&b), SLICE("0123456789")));
    buf_consume(&b, 4);
    cr_expect_eq(buf_append(&b, "abcde", 5), ERR_LIMIT);
    cr_expect_eq(buf_append(&b, "abcd", 4), ERR_OK);
    cr_expect_str_eq(buf_text(&b), "456789abcd", "the NUL may stand beyond the bound");
    buf_fini(&b);
}

Test(buf, an_empty_buffer_has_no_memory_until_it_is_used_and_after_release)
{
    struct buf b;

    buf_init(&b, 0);
    cr_expect_eq(buf_append(&b, NULL, 0), ERR_OK);
    cr_expect_null(b.mem);
    cr_expect_eq(buf_slice(&b).n, 0);
    buf_printf(&b, "%s-%d", "text", 7);
    cr_expect_str_eq(buf_text(&b), "text-7");
    buf_release(&b);
    cr_expect_null(b.mem);
    cr_expect_str_eq(buf_text(&b), "");
    buf_fini(&b);
}
