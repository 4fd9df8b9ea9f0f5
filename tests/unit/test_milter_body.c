/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: a new body has no line end but CR LF, in any cut.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "milter/milter_body.h"

static void
on_piece(void *ctx, struct slice piece)
{
    buf_add_slice(ctx, piece);
}

Test(milter_body, P7_every_line_end_becomes_CR_LF)
{
    static const struct {
        const char *name;
        struct slice given;
        const char *kept;
    } cases[] = {
        {"good", {"a\r\nb\r\n", 6}, "a\r\nb\r\n"},
        {"nothing", {"", 0}, ""},
        {"no end", {"a", 1}, "a\r\n"},
        {"LF", {"a\n\nb\n", 5}, "a\r\n\r\nb\r\n"},
        {"CR", {"a\rb\r", 4}, "a\r\nb\r\n"},
        {"two CR", {"a\r\rb", 4}, "a\r\n\r\nb\r\n"},
        {"CR CR LF", {"a\r\r\nb", 5}, "a\r\n\r\nb\r\n"},
        {"LF CR", {"a\n\rb", 4}, "a\r\n\r\nb\r\n"},
        {"zeros", {"a\0b\0\r\0\n", 7}, "ab\r\n\r\n"},
        {"a dot alone", {"a\n.\r\nQUIT\r", 10}, "a\r\n.\r\nQUIT\r\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t cut = 0; cut <= cases[i].given.n; cut++) {
            struct milter_body body = {.was_cr = false};
            struct slice s = cases[i].given;
            struct buf kept;

            buf_init(&kept, 0);
            milter_body_feed(&body, (struct slice){s.p, cut}, on_piece, &kept);
            milter_body_feed(&body, (struct slice){s.p + cut, s.n - cut}, on_piece, &kept);
            milter_body_end(&body, on_piece, &kept);
            milter_body_end(&body, on_piece, &kept);
            cr_expect_str_eq(buf_text(&kept), cases[i].kept, "%s at %zu", cases[i].name, cut);
            buf_fini(&kept);
        }
}
