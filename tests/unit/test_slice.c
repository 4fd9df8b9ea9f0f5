/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Cuts and comparisons of borrowed bytes; the locale changes nothing.
 */
#include <criterion/criterion.h>
#include <locale.h>

#include "base/err.h"
#include "base/slice.h"

static const struct {
    const char *name, *a, *b;
    bool same, same_nocase, starts_nocase;
} pairs[] = {
    {"same", "EHLO", "EHLO", true, true, true},
    {"case", "ehlo", "EHLO", false, true, true},
    {"prefix", "EHLO x", "ehlo", false, false, true},
    {"shorter", "EHL", "EHLO", false, false, false},
    {"empty", "", "", true, true, true},
    {"not letters", "@[`{", "`{@[", false, false, false},
    {"8-bit", "\xe4", "\xc4", false, false, false},
};

Test(slice, comparisons_know_ascii_alone)
{
    setlocale(LC_ALL, "");
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        struct slice a = slice_of(pairs[i].a), b = slice_of(pairs[i].b);

        cr_expect_eq(slice_equal(a, b), pairs[i].same, "%s", pairs[i].name);
        cr_expect_eq(slice_equal_nocase(a, b), pairs[i].same_nocase, "%s", pairs[i].name);
        cr_expect_eq(slice_starts_nocase(a, b), pairs[i].starts_nocase, "%s", pairs[i].name);
    }
}

Test(slice, split_gives_every_part_also_empty_ones)
{
    struct slice rest = SLICE("a,,b,");

    cr_expect(slice_equal(slice_split(&rest, ','), SLICE("a")));
    cr_expect(slice_equal(slice_split(&rest, ','), SLICE("")));
    cr_expect(slice_equal(slice_split(&rest, ','), SLICE("b")));
    cr_expect_not_null(rest.p);
    cr_expect(slice_equal(slice_split(&rest, ','), SLICE("")));
    cr_expect_null(rest.p);
}

Test(slice, counts_a_character)
{
    cr_expect_eq(slice_count(SLICE(""), '\n'), 0);
    cr_expect_eq(slice_count((struct slice){NULL, 0}, '\n'), 0);
    cr_expect_eq(slice_count(SLICE("\na\n\nb"), '\n'), 3);
}

Test(slice, trim_and_copy)
{
    char dst[4];

    cr_expect(slice_equal(slice_trim(SLICE(" \t a b\t ")), SLICE("a b")));
    cr_expect_eq(slice_trim(SLICE(" \t")).n, 0);
    cr_expect(slice_to_text(SLICE("abc"), dst, sizeof dst));
    cr_expect_str_eq(dst, "abc");
    cr_expect_not(slice_to_text(SLICE("abcd"), dst, sizeof dst));
    cr_expect_str_eq(dst, "");
    cr_expect_not(slice_to_text((struct slice){"a\0", 2}, dst, sizeof dst));
}

Test(slice, knows_octets_above_ascii)
{
    cr_expect(slice_is_ascii(SLICE("")));
    cr_expect(slice_is_ascii(SLICE("a\t\x7f")));
    cr_expect_not(slice_is_ascii(SLICE("a\x80")));
    cr_expect_not(slice_is_ascii(SLICE("\xff"
                                       "b")));
}
