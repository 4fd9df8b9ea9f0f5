/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Prose at a terminal: where lines break, and that a peer's octets are only shown.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "admin/paragraph.h"

static char *
printed(const char *label, const char *text)
{
    char *memory = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&memory, &size);

    cr_assert_not_null(out);
    paragraph_print(out, label, text);
    fclose(out);
    return memory;
}

#define INDENT "             "

static const struct {
    const char *name, *label, *text, *want;
} cases[] = {
    {"short", "Why", "It is so.", "Why          It is so.\n"},
    {"nothing", "Why", "", "Why          \n"},
    {"spaces", "", "  a \t b\nc ", INDENT "a b c\n"},
    {"exactly 80", "", "123456789 123456789 123456789 123456789 123456789 123456789 1234567 x",
     INDENT "123456789 123456789 123456789 123456789 123456789 123456789 1234567\n" INDENT "x\n"},
    {"a long word stays whole", "",
     "a 123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789 b",
     INDENT
     "a\n" INDENT
     "123456789.123456789.123456789.123456789.123456789.123456789.123456789.123456789\n" INDENT
     "b\n"},
    {"a command in backquotes is not torn", "",
     "123456789 123456789 123456789 123456789 123456 see `relayctl spool list`, and more",
     INDENT "123456789 123456789 123456789 123456789 123456 see\n" INDENT
            "`relayctl spool list`, and more\n"},
    {"octets that a terminal obeys", "", "a\x1b[31m\x7f\xc2\x9b",
     INDENT "a\\x1b[31m\\x7f\\xc2\\x9b\n"},
    {"UTF-8 is shown", "", "M\xc3\xbcller", INDENT "M\xc3\xbcller\n"},
    {"no UTF-8", "", "a\xff\xc3", INDENT "a\\xff\\xc3\n"},
    {"a longer form of what a terminal obeys", "", "\xe0\x82\x9b\xf0\x80\x82\x9b",
     INDENT "\\xe0\\x82\\x9b\\xf0\\x80\\x82\\x9b\n"},
    {"half of a pair, and beyond Unicode", "", "\xed\xa0\x80\xf4\x90\x80\x80",
     INDENT "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\n"},
    {"three and four octets", "", "\xe2\x82\xac\xf0\x9f\x93\xa7",
     INDENT "\xe2\x82\xac\xf0\x9f\x93\xa7\n"},
};

Test(paragraph, lines)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *got = printed(cases[i].label, cases[i].text);

        cr_expect_str_eq(got, cases[i].want, "%s: \"%s\"", cases[i].name, got);
        free(got);
    }
}

Test(paragraph, characters_are_counted_and_not_octets)
{
    char text[400] = "", *got;

    for (int i = 0; i < 33; i++)
        snprintf(text + strlen(text), 4, "%s\xc3\xa4", i ? " " : "");
    got = printed("", text); /* 65 columns behind the indent */
    cr_expect_eq(strchr(got, '\n'), got + strlen(got) - 1, "%s", got);
    free(got);
}

Test(paragraph, fits_a_terminal_unless_its_lines_are_too_long_to_read)
{
    static const struct {
        unsigned width, longest;
    } widths[] = {{0, 80}, {60, 60}, {100, 100}, {200, 100}, {10, 40}};

    for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
        char text[1000] = "", *got;

        for (int n = 0; n < 300; n++)
            snprintf(text + strlen(text), 4, "%s", "x ");
        paragraph_set_width(widths[i].width);
        got = printed("", text);
        cr_expect_leq(strcspn(got, "\n"), widths[i].longest, "%u: %s", widths[i].width, got);
        cr_expect_geq(strcspn(got, "\n"), widths[i].longest - 1, "%u: %s", widths[i].width, got);
        free(got);
    }
}
