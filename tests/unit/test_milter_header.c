/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: what filters change in a header, and that nothing else changes.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "milter/milter_header.h"

static char top[4096], rest[4096];

static void
take(struct buf *b, char *dst)
{
    cr_assert_lt(buf_size(b), 4096);
    memcpy(dst, buf_slice(b).p, buf_size(b));
    dst[buf_size(b)] = '\0';
    buf_clear(b);
}

static void
write_out(const struct milter_header *h)
{
    struct buf b;

    buf_init(&b, 0);
    milter_header_write_top(h, &b);
    take(&b, top);
    milter_header_write_rest(h, &b);
    take(&b, rest);
    buf_fini(&b);
}

static void
read_text(struct milter_header *h, const char *text)
{
    milter_header_init(h);
    if (!milter_header_feed(h, slice_of(text)))
        milter_header_end(h);
}

#define A_HEADER \
    "From: a@a.example\r\nSubject: one\r\n two\r\nsubject : again\r\nTo: b@b.example\r\n"

Test(milter_header, P7_what_is_read_is_what_came)
{
    static const struct {
        const char *name, *text;
        unsigned fields;
        size_t field_bytes, separator_bytes;
    } cases[] = {
        {"fields", A_HEADER "\r\nbody\r\n", 4, sizeof A_HEADER - 1, 2},
        {"no body", A_HEADER, 4, sizeof A_HEADER - 1, 0},
        {"empty body", A_HEADER "\r\n", 4, sizeof A_HEADER - 1, 2},
        {"nothing", "", 0, 0, 0},
        {"no header", "\r\nbody\r\n", 0, 0, 2},
        {"body alone", "body\r\n\r\nmore: text\r\n", 0, 0, 0},
        {"folded start", " body\r\n\r\nmore\r\n", 0, 0, 0},
        {"a line in between", "A: b\r\nnonsense\r\nC: d\r\n\r\nbody\r\n", 1, 6, 0},
        {"a blank name", ": b\r\n\r\n", 0, 0, 0},
        {"an empty value", "A:\r\n\r\n", 1, 4, 2},
        {"no line end", "A: b", 0, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
            struct milter_header h;
            struct slice s = slice_of(cases[i].text);

            milter_header_init(&h);
            (void)milter_header_feed(&h, (struct slice){s.p, cut});
            (void)milter_header_feed(&h, (struct slice){s.p + cut, s.n - cut});
            milter_header_end(&h);
            cr_expect_eq(h.count, cases[i].fields, "%s at %zu: %u", cases[i].name, cut, h.count);
            cr_expect_eq(h.field_bytes, cases[i].field_bytes, "%s at %zu", cases[i].name, cut);
            cr_expect_eq(h.separator_bytes, cases[i].separator_bytes, "%s", cases[i].name);
            cr_expect_not(h.is_changed);
            write_out(&h);
            cr_expect_str_eq(top, "");
            cr_expect_eq(strncmp(rest, cases[i].text, h.field_bytes + h.separator_bytes), 0);
            cr_expect_eq(strlen(rest), h.field_bytes + h.separator_bytes, "%s", cases[i].name);
            milter_header_fini(&h);
        }
}

Test(milter_header, one_that_never_ends_is_cut_at_a_field)
{
    static const char field[] =
        "X-Field: of some length, of which there are not so many that their "
        "number counts, as it does below,\r\n\tand more, and more, and more, "
        "and more, and more\r\n";
    struct milter_header h;

    milter_header_init(&h);
    while (!milter_header_feed(&h, slice_of(field)))
        ;
    cr_expect_gt(h.count, 1000);
    cr_expect_lt(h.count, MILTER_FIELDS_MAX);
    cr_expect_eq(h.field_bytes % (sizeof field - 1), 0, "%zu", h.field_bytes);
    cr_expect_leq(h.field_bytes, MILTER_HEADER_MAX);
    cr_expect_gt(h.field_bytes, MILTER_HEADER_MAX - 2 * sizeof field);
    cr_expect_eq(h.separator_bytes, 0);
    milter_header_fini(&h);
}

Test(milter_header, P8_of_very_many_fields_the_rest_is_body)
{
    struct milter_header h;

    milter_header_init(&h);
    for (int i = 0; i < 3 * MILTER_FIELDS_MAX; i++)
        cr_assert_not(milter_header_feed(&h, SLICE("a: b\r\n\tc\r\n")));
    cr_expect(milter_header_feed(&h, SLICE("\r\n")));
    cr_expect_eq(h.count, MILTER_FIELDS_MAX);
    cr_expect_eq(h.field_bytes, MILTER_FIELDS_MAX * 10u, "the last with its folded line");
    cr_expect_eq(h.separator_bytes, 0);
    milter_header_fini(&h);
}

#define ADD MILTER_EDIT_ADD
#define INSERT MILTER_EDIT_INSERT
#define CHANGE MILTER_EDIT_CHANGE

Test(milter_header, P7_edits_change_what_they_say)
{
    static const struct {
        const char *name;
        struct {
            enum milter_edit_kind kind;
            uint32_t index;
            const char *name, *value;
        } edits[4];
        const char *top, *rest; /* rest NULL: as it came */
        bool has_space;
    } cases[] = {
        {"added", {{ADD, 0, "X-A", "1"}, {ADD, 0, "X-B", "2"}}, "X-A: 1\r\nX-B: 2\r\n", NULL, 0},
        {"inserted",
         {{INSERT, 0, "X-A", "1"}, {INSERT, 0, "X-B", "2"}},
         "X-B: 2\r\nX-A: 1\r\n",
         NULL,
         0},
        {"inserted below",
         {{INSERT, 9, "X-A", "1"}, {INSERT, 1, "X-B", "2"}},
         "X-A: 1\r\nX-B: 2\r\n",
         NULL,
         0},
        {"changed",
         {{CHANGE, 1, "Subject", "three"}},
         "",
         "From: a@a.example\r\nSubject: three\r\nsubject : again\r\nTo: b@b.example\r\n\r\n",
         0},
        {"the second",
         {{CHANGE, 2, "SUBJECT", "three"}},
         "",
         "From: a@a.example\r\nSubject: one\r\n two\r\nSUBJECT: three\r\nTo: b@b.example\r\n\r\n",
         0},
        {"deleted",
         {{CHANGE, 1, "Subject", ""}},
         "",
         "From: a@a.example\r\nsubject : again\r\nTo: b@b.example\r\n\r\n",
         0},
        {"one after the other",
         {{CHANGE, 1, "Subject", ""}, {CHANGE, 1, "Subject", "x"}},
         "",
         "From: a@a.example\r\nSubject: x\r\nTo: b@b.example\r\n\r\n",
         0},
        {"number 0 is the first",
         {{CHANGE, 0, "To", "c@c.example"}},
         "",
         "From: a@a.example\r\nSubject: one\r\n two\r\nsubject : again\r\nTo: c@c.example\r\n\r\n",
         0},
        {"changed where there is none", {{CHANGE, 1, "X-A", "1"}}, "X-A: 1\r\n", NULL, 0},
        {"deleted where there is none", {{CHANGE, 3, "Subject", ""}}, "", NULL, 0},
        {"added, then changed",
         {{ADD, 0, "X-A", "1"}, {CHANGE, 1, "X-A", "2"}},
         "X-A: 2\r\n",
         NULL,
         0},
        {"added, then deleted", {{ADD, 0, "X-A", "1"}, {CHANGE, 1, "X-A", ""}}, "", NULL, 0},
        {"folded", {{ADD, 0, "X-A", "1\n\t2\r\n 3"}}, "X-A: 1\r\n\t2\r\n 3\r\n", NULL, 0},
        {"not folded",
         {{ADD, 0, "X-A", "1\nX-B: 2\r\n\r\nbody"}},
         "X-A: 1\r\n\tX-B: 2\r\n\tbody\r\n",
         NULL,
         0},
        {"controls", {{ADD, 0, "X-A", "1\r2\0013\1774\t5"}}, "X-A: 1234\t5\r\n", NULL, 0},
        {"with its space", {{ADD, 0, "X-A", "  1"}}, "X-A:  1\r\n", NULL, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct milter_edits edits = {.count = 0};
        struct milter_header h;

        read_text(&h, A_HEADER "\r\nbody\r\n");
        for (size_t e = 0; e < 4 && cases[i].edits[e].name; e++)
            cr_assert(milter_edits_add(&edits, cases[i].edits[e].kind, cases[i].edits[e].index,
                                       slice_of(cases[i].edits[e].name),
                                       slice_of(cases[i].edits[e].value)));
        milter_header_apply(&h, &edits, cases[i].has_space);
        write_out(&h);
        cr_expect_str_eq(top, cases[i].top, "%s: %s", cases[i].name, top);
        cr_expect_str_eq(rest, cases[i].rest ? cases[i].rest : A_HEADER "\r\n", "%s: %s",
                         cases[i].name, rest);
        cr_expect_eq(h.is_changed, cases[i].rest != NULL, "%s", cases[i].name);
        milter_edits_clear(&edits);
        milter_header_fini(&h);
    }
}

Test(milter_header, a_line_is_no_longer_than_it_may_be)
{
    static char value[5000];
    struct milter_edits edits = {.count = 0};
    struct milter_header h;
    const char *line = top;

    memset(value, 'x', sizeof value - 1);
    value[2000] = '\n';
    read_text(&h, A_HEADER "\r\n");
    cr_assert(milter_edits_add(&edits, ADD, 0, SLICE("X-Long"), slice_of(value)));
    milter_header_apply(&h, &edits, false);
    write_out(&h);
    for (const char *end; (end = strstr(line, "\r\n")) != NULL; line = end + 2)
        cr_expect_leq(end - line, 998);
    milter_edits_clear(&edits);
    milter_header_fini(&h);
}

Test(milter_header, what_is_no_edit)
{
    static char large[MILTER_EDITS_BYTES];
    struct milter_edits edits = {.count = 0};

    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE(""), SLICE("x")));
    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE("A B"), SLICE("x")));
    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE("A:"), SLICE("x")));
    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE("A\r\nB"), SLICE("x")));
    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE("A\xc3\xa4"), SLICE("x")));
    cr_expect_not(
        milter_edits_add(&edits, ADD, 0, SLICE("A"), (struct slice){large, sizeof large}));
    for (int i = 0; i < MILTER_EDITS_MAX; i++)
        cr_assert(milter_edits_add(&edits, ADD, 0, SLICE("A"), SLICE("x")));
    cr_expect_not(milter_edits_add(&edits, ADD, 0, SLICE("A"), SLICE("x")), "too many");
    milter_edits_clear(&edits);
}

Test(milter_header, what_a_filter_is_told)
{
    struct milter_header h;
    struct buf value;

    buf_init(&value, 0);
    read_text(&h, A_HEADER "\r\n");
    milter_header_told(&h.fields[1], false, &value);
    cr_expect_str_eq(buf_text(&value), "one\n two");
    buf_clear(&value);
    milter_header_told(&h.fields[1], true, &value);
    cr_expect_str_eq(buf_text(&value), " one\n two");
    cr_expect(slice_equal(h.fields[2].name, SLICE("subject")));
    buf_fini(&value);
    milter_header_fini(&h);
}
