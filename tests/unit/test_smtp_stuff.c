/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: stuffed and unstuffed again, content is the same octets, whatever the cut; and nothing in the
 * middle can pass for the end of data.
 */
#include "config.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "smtp/smtp_stuff.h"

static const struct {
    const char *name, *content, *want;
} cases[] = {
    {"empty", "", ".\r\n"},
    {"a line", "a\r\n", "a\r\n.\r\n"},
    {"no line end", "a", "a\r\n.\r\n"},
    {"a dot alone", ".", "..\r\n.\r\n"},
    {"a dot line", ".\r\n", "..\r\n.\r\n"},
    {"two dots", "..\r\n", "...\r\n.\r\n"},
    {"many dots", "......", ".......\r\n.\r\n"},
    {"dot lines", "\r\n.\r\n.\r\n", "\r\n..\r\n..\r\n.\r\n"},
    {"the end of data inside", "a\r\n.\r\nQUIT\r\n", "a\r\n..\r\nQUIT\r\n.\r\n"},
    {"dots inside lines", "a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n"},
    {"empty lines", "\r\n\r\n\r\n", "\r\n\r\n\r\n.\r\n"},
    {"CR at the very end", "a\r", "a\r\r\n.\r\n"},
    {"CR CR LF dot", "a\r\r\n.b", "a\r\r\n..b\r\n.\r\n"},
    {"8-bit", "\xff.\r\n.\xff\r\n", "\xff.\r\n..\xff\r\n.\r\n"},
};

static void
stuff(struct slice content, const size_t *cuts, size_t count, struct buf *out)
{
    struct smtp_stuff state;
    size_t from = 0;

    smtp_stuff_init(&state);
    for (size_t i = 0; i < count; i++) {
        smtp_stuff_write(&state, (struct slice){content.p + from, cuts[i] - from}, out);
        from = cuts[i];
    }
    smtp_stuff_write(&state, (struct slice){content.p + from, content.n - from}, out);
    smtp_stuff_end(&state, out);
}

Test(smtp_stuff, P7_in_every_two_cuts)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice content = slice_of(cases[i].content);
        struct buf out;

        buf_init(&out, 0);
        for (size_t a = 0; a <= content.n; a++)
            for (size_t b = a; b <= content.n; b++) {
                buf_clear(&out);
                stuff(content, (size_t[]){a, b}, 2, &out);
                cr_assert_str_eq(buf_text(&out), cases[i].want, "%s", cases[i].name);
            }
        buf_fini(&out);
    }
}

/* The same octets, none of them copied: each run is a part of the content. */
static void
stuff_by_runs(struct slice content, size_t cut, struct buf *out)
{
    struct slice rest[] = {{content.p, cut}, {content.p + cut, content.n - cut}};
    struct smtp_stuff state;

    smtp_stuff_init(&state);
    for (size_t i = 0; i < ARRAY_SIZE(rest); i++)
        while (rest[i].n > 0) {
            struct slice run = smtp_stuff_next(&state, &rest[i]);

            cr_assert(run.n > 0 && run.p >= content.p && run.p + run.n <= content.p + content.n);
            buf_add_slice(out, run);
        }
    smtp_stuff_end(&state, out);
}

Test(smtp_stuff, P7_in_runs_of_the_content_itself)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice content = slice_of(cases[i].content);
        struct buf out;

        buf_init(&out, 0);
        for (size_t cut = 0; cut <= content.n; cut++) {
            buf_clear(&out);
            stuff_by_runs(content, cut, &out);
            cr_assert_str_eq(buf_text(&out), cases[i].want, "%s, cut at %zu", cases[i].name, cut);
        }
        buf_fini(&out);
    }
}

/* What a receiver does, line by line; returns what stands behind the first end of data. */
static struct slice
unstuff(struct slice wire, struct buf *content)
{
    while (wire.n > 0) {
        const char *end = memmem(wire.p, wire.n, "\r\n", 2);
        size_t n = (size_t)(end - wire.p) + 2;

        cr_assert_not_null(end);
        if (wire.p[0] == '.' && n == 3)
            return (struct slice){wire.p + n, wire.n - n};
        buf_add(content, wire.p + (wire.p[0] == '.'), n - (wire.p[0] == '.'));
        wire.p += n;
        wire.n -= n;
    }
    cr_assert_fail("no end of data");
    return wire;
}

/* Nasty: from few letters, so that line ends and dots meet in every way. */
static void
make_content(struct buf *content, unsigned *seed)
{
    static const char *const parts[] = {"\r\n", ".", "\r\n.", ".\r\n", "a", "\r\n..", "bcd"};
    unsigned count = (unsigned)rand_r(seed) % 40;

    for (unsigned i = 0; i < count; i++)
        buf_add_text(content, parts[(unsigned)rand_r(seed) % ARRAY_SIZE(parts)]);
    buf_add_text(content, "\r\n");
}

Test(smtp_stuff, P7_a_receiver_gets_what_was_sent)
{
    unsigned seed = 1;
    struct buf content, wire, back;

    buf_init(&content, 0);
    buf_init(&wire, 0);
    buf_init(&back, 0);
    for (int i = 0; i < 5000; i++) {
        struct slice rest;
        size_t cut;

        buf_clear(&content);
        buf_clear(&wire);
        buf_clear(&back);
        make_content(&content, &seed);
        cut = (unsigned)rand_r(&seed) % (buf_size(&content) + 1);
        stuff(buf_slice(&content), &cut, 1, &wire);
        rest = unstuff(buf_slice(&wire), &back);
        cr_assert_eq(rest.n, 0);
        cr_assert(slice_equal(buf_slice(&content), buf_slice(&back)));
    }
    buf_fini(&content);
    buf_fini(&wire);
    buf_fini(&back);
}
