/* SPDX-License-Identifier: BSD-2-Clause
 *
 * base/mdoc: what a formatter would take for markup is text.
 */
#include <criterion/criterion.h>

#include "base/mdoc.h"

static const struct {
    const char *name, *text, *lines;
} cases[] = {
    {"nothing", "", ""},
    {"a word", "word", "word\n"},
    {"two sentences", "One. Two.", "One.\nTwo.\n"},
    {"spaces between", "One.  Two", "One.\nTwo\n"},
    {"a question, in parentheses", "(Why?) So!", "(Why?)\nSo!\n"},
    {"a stop in a word", "postern.conf 192.0.2.1 is no end", "postern.conf 192.0.2.1 is no end\n"},
    {"an option", "with --all", "with \\-\\-all\n"},
    {"a backslash", "a\\fB", "a\\efB\n"},
    {"a leading dot", ".Sh. .Pp", "\\&.Sh.\n\\&.Pp\n"},
    {"a leading quote", "'one", "\\&'one\n"},
};

Test(mdoc, text_is_no_markup)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out;

        buf_init(&out, 0);
        mdoc_add_lines(&out, cases[i].text);
        cr_expect_str_eq(buf_text(&out), cases[i].lines, "%s: %s", cases[i].name, buf_text(&out));
        buf_fini(&out);
    }
}

Test(mdoc, inside_a_line_stays_one)
{
    struct buf out;

    buf_init(&out, 0);
    mdoc_add(&out, ".A. B-C");
    cr_expect_str_eq(buf_text(&out), ".A. B\\-C");
    buf_fini(&out);
}
