/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The decoder of content, P7: what goes in between DATA and the dot comes out, once, in any cut.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "smtp/smtp_data.h"

struct sink {
    struct buf content;
    const char *from, *to; /* pieces must be parts of this */
    size_t pieces;
    bool normalise;
};

static void
on_piece(void *ctx, struct slice piece)
{
    struct sink *sink = ctx;

    CHECK(piece.n > 0);
    CHECK((piece.p >= sink->from && piece.p + piece.n <= sink->to) ||
          (sink->normalise && piece.n == 1 && strchr("\r.", piece.p[0]) != NULL));
    buf_add_slice(&sink->content, piece);
    sink->pieces++;
}

static size_t
feed(struct smtp_data *data, struct sink *sink, struct slice in)
{
    size_t n;

    sink->from = in.p;
    sink->to = in.p + in.n;
    n = smtp_data_feed(data, in, on_piece, sink);
    CHECK(n == in.n || smtp_data_ended(data));
    return n;
}

#define T(text)                \
    {                          \
        text, sizeof(text) - 1 \
    }
struct data_case {
    const char *name;
    struct slice in, content;
    bool fault;
    size_t left; /* octets behind the end */
};

static const struct data_case cases[] = {
    {"empty", T(".\r\n"), T(""), false, 0},
    {"one line", T("a\r\n.\r\n"), T("a\r\n"), false, 0},
    {"an empty line", T("\r\n.\r\n"), T("\r\n"), false, 0},
    {"octets behind", T("a\r\n.\r\nQUIT\r\n"), T("a\r\n"), false, 6},
    {"NUL behind", T("a\r\n.\r\n\0"), T("a\r\n"), false, 1},
    {"stuffed dot", T("..\r\n.\r\n"), T(".\r\n"), false, 0},
    {"stuffed end", T("a\r\n..\r\n.\r\n"), T("a\r\n.\r\n"), false, 0},
    {"two stuffed", T("..a\r\n...b\r\n.\r\n"), T(".a\r\n..b\r\n"), false, 0},
    {"dot that was not stuffed", T(".a\r\n.\r\n"), T("a\r\n"), false, 0},
    {"dot inside", T("a.\r\n.\r\n"), T("a.\r\n"), false, 0},
    {"8-bit", T("\x80\xff\r\n.\r\n"), T("\x80\xff\r\n"), false, 0},
    {"bare LF", T("a\nb\r\n.\r\n"), T("a"), true, 0},
    {"bare LF first", T("\na\r\n.\r\n"), T(""), true, 0},
    {"bare CR", T("a\rb\r\n.\r\n"), T("a\r"), true, 0},
    {"CR CR LF", T("a\r\r\n.\r\n"), T("a\r"), true, 0},
    {"NUL", T("a\0b\r\n.\r\n"), T("a"), true, 0},
    {"NUL behind CR", T("a\r\0\n.\r\n\r\n.\r\n"), T("a\r"), true, 0},
    {"LF behind dot", T("a\r\n.\nb\r\n.\r\n"), T("a\r\n"), true, 0},
    {"CR behind dot", T("a\r\n.\rb\r\n.\r\n"), T("a\r\n"), true, 0},
    {"CR CR behind dot", T("a\r\n.\r\r\n.\r\n"), T("a\r\n"), true, 0},
    {"NUL behind dot", T("a\r\n.\0\r\n.\r\n"), T("a\r\n"), true, 0},
    {"NUL behind dot CR", T("a\r\n.\r\0\n\r\n.\r\n"), T("a\r\n"), true, 0},
    {"no content behind a fault", T("\n..a\r\nb\r\n.\r\nx"), T(""), true, 1},
};

/* With a bare LF as a line end. */
static const struct data_case normalised[] = {
    {"clean", T("a\r\n..\r\n.\r\n"), T("a\r\n.\r\n"), false, 0},
    {"bare LF", T("a\nb\r\n.\r\n"), T("a\r\nb\r\n"), false, 0},
    {"only LF", T("\n\n\r\n.\r\n"), T("\r\n\r\n\r\n"), false, 0},
    {"a dot, not stuffed", T("a\n.b\n\r\n.\r\n"), T("a\r\n.b\r\n\r\n"), false, 0},
    {"a dot, stuffed", T("a\n..b\n\r\n.\r\n"), T("a\r\n.b\r\n\r\n"), false, 0},
    {"LF . LF", T("a\n.\nb\r\n.\r\n"), T("a\r\n.\r\nb\r\n"), false, 0},
    {"LF . CR LF", T("a\n.\r\nb\r\n.\r\nx"), T("a\r\n.\r\nb\r\n"), false, 1},
    {"CR LF . LF", T("a\r\n.\nb\r\n.\r\n"), T("a\r\n.\r\nb\r\n"), false, 0},
    {"CR LF . at once, LF", T(".\n.\r\n\r\n.\r\n"), T(".\r\n.\r\n\r\n"), false, 0},
    {"dot behind CR LF", T(".b\n.\r\n.\r\n"), T("b\r\n.\r\n"), false, 0},
    {"bare CR", T("a\nb\rc\nd\r\n.\r\n"), T("a\r\nb\r"), true, 0},
    {"CR CR LF", T("a\r\r\n\n.\n.\r\n\r\n.\r\n"), T("a\r"), true, 0},
    {"NUL", T("a\n\0\n.\n\r\n.\r\n"), T("a\r\n"), true, 0},
    {"NUL behind a dot", T("a\n.\0\r\n.\r\n"), T("a\r\n"), true, 0},
    {"CR behind dot", T("a\n.\rb\r\n.\r\n"), T("a\r\n.\r"), true, 0},
    {"CR . CR", T("a\n\r.\r\n.\r\n"), T("a\r\n\r"), true, 0},
};

Test(smtp_data, the_first_fault_is_named)
{
    static const struct {
        struct slice in;
        const char *text;
    } faults[] = {
        {T("a\r\nb\r\n.\r\n"), ""},           {T("a\rb\nc\r\n.\r\n"), "bare CR"},
        {T("a\nb\rc\r\n.\r\n"), "bare LF"},   {T("a\0b\n\r\n.\r\n"), "NUL"},
        {T("a\r\n.\rb\r\n.\r\n"), "bare CR"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        struct smtp_data data;
        struct sink sink = {0};

        smtp_data_init(&data, false);
        buf_init(&sink.content, 0);
        feed(&data, &sink, faults[i].in);
        cr_expect_str_eq(smtp_data_fault_text(data.fault), faults[i].text, "%zu", i);
        buf_fini(&sink.content);
    }
}

static void
expect(const struct data_case *c, bool normalise, size_t cut)
{
    struct smtp_data data;
    struct sink sink = {.normalise = normalise};
    struct slice in = c->in;
    size_t used = 0;

    smtp_data_init(&data, normalise);
    buf_init(&sink.content, 0);
    while (used < in.n && !smtp_data_ended(&data)) {
        size_t n = cut == 0 ? 1 : used < cut ? cut - used : in.n - used;

        used += feed(&data, &sink, (struct slice){in.p + used, n});
    }
    cr_expect(smtp_data_ended(&data), "%s, cut at %zu", c->name, cut);
    cr_expect_eq(in.n - used, c->left, "%s, cut at %zu", c->name, cut);
    cr_expect_eq(data.fault != SMTP_DATA_FAULT_NONE, c->fault, "%s, cut at %zu", c->name, cut);
    cr_expect(slice_equal(buf_slice(&sink.content), c->content), "%s, cut at %zu: '%s'", c->name,
              cut, buf_text(&sink.content));
    cr_expect_eq(data.size_bytes, c->content.n, "%s, cut at %zu", c->name, cut);
    buf_fini(&sink.content);
}

Test(smtp_data, P7_decodes_in_any_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t cut = 0; cut <= cases[i].in.n; cut++)
            expect(&cases[i], false, cut);
}

Test(smtp_data, P7_normalises_in_any_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(normalised); i++)
        for (size_t cut = 0; cut <= normalised[i].in.n; cut++)
            expect(&normalised[i], true, cut);
}

Test(smtp_data, pieces_are_as_large_as_the_input_permits)
{
    static const char in[] = "one\r\ntwo\r\n\r\nthree\r\n..four\r\nfive\r\n.\r\n";
    struct smtp_data data;
    struct sink sink = {.pieces = 0};

    smtp_data_init(&data, false);
    buf_init(&sink.content, 0);
    cr_expect_eq(feed(&data, &sink, (struct slice){in, sizeof in - 1}), sizeof in - 1);
    cr_expect_eq(sink.pieces, 2);
    cr_expect_str_eq(buf_text(&sink.content), "one\r\ntwo\r\n\r\nthree\r\n.four\r\nfive\r\n");
    buf_fini(&sink.content);
}

/* Lines with one odd thing at any place, in the middle of so many plain octets that they are looked
 * at many at once: the same comes out as octet by octet, where each is looked at alone. */
static void
expect_as_octet_by_octet(struct slice in, bool normalise, size_t begin)
{
    struct smtp_data one, other;
    struct sink whole = {.normalise = normalise}, single = {.normalise = normalise};
    size_t used = 0;

    smtp_data_init(&one, normalise);
    smtp_data_init(&other, normalise);
    buf_init(&whole.content, 0);
    buf_init(&single.content, 0);
    used = feed(&one, &whole, (struct slice){in.p, begin});
    if (!smtp_data_ended(&one))
        used += feed(&one, &whole, (struct slice){in.p + begin, in.n - begin});
    for (size_t i = 0; i < used; i++)
        (void)feed(&other, &single, (struct slice){in.p + i, 1});
    cr_assert_eq(one.state, other.state);
    cr_assert_eq(one.fault, other.fault);
    cr_assert_eq(one.size_bytes, other.size_bytes);
    cr_assert(slice_equal(buf_slice(&whole.content), buf_slice(&single.content)));
    buf_fini(&whole.content);
    buf_fini(&single.content);
}

Test(smtp_data, P7_many_octets_at_once_are_judged_as_each_alone)
{
    static const struct slice odd[] = {
        T("\r"),     T("\n"),        T("\0"),      T("\r\n."),
        T("\r\n.."), T("\r\n.\r\n"), T("\n.\r\n"), T("\r\n\r\n.\r\n"),
        T("\r\n\n"), T("\r\r\n"),    T("\r\n\r"),  T("\r\n\0"),
        T("\n.\n"),  T("\r.\r"),     T("\r\n.\n"), T("\r\n."),
        T(".\r\n"),  T("x"),
    };
    char text[400];

    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        for (size_t at = 0; at + odd[i].n < 300; at++) {
            size_t line = 20 + at % 60;

            for (size_t k = 0; k < sizeof text; k++)
                text[k] = k % line == line - 2 ? '\r' : k % line == line - 1 ? '\n' : 'a';
            memcpy(text + at, odd[i].p, odd[i].n);
            for (int normalise = 0; normalise < 2; normalise++) {
                expect_as_octet_by_octet((struct slice){text, sizeof text}, normalise, 0);
                expect_as_octet_by_octet((struct slice){text, sizeof text}, normalise, at / 2);
                expect_as_octet_by_octet((struct slice){text, at + odd[i].n}, normalise, 0);
            }
        }
}

/* From few parts, at random, so that everything meets everything. */
Test(smtp_data, P7_random_parts_in_two_cuts)
{
    static const struct slice parts[] = {
        T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        T("\r\n"),
        T("\r\n"),
        T("bbb"),
        T("."),
        T("\r\n.."),
        T("cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\r\n"),
    };
    static const struct slice rare[] = {T("\n"), T("\r"), T("\0"), T("\r\n."), T("\r\n.\r\n")};
    unsigned seed = 1;
    struct buf in;

    buf_init(&in, 0);
    for (int i = 0; i < 4000; i++) {
        buf_clear(&in);
        for (int n = rand_r(&seed) % 20; n >= 0; n--) {
            bool is_rare = rand_r(&seed) % 30 == 0;

            buf_add_slice(&in, is_rare ? rare[(unsigned)rand_r(&seed) % ARRAY_SIZE(rare)]
                                       : parts[(unsigned)rand_r(&seed) % ARRAY_SIZE(parts)]);
        }
        expect_as_octet_by_octet(buf_slice(&in), i % 2, (size_t)rand_r(&seed) % buf_size(&in));
    }
    buf_fini(&in);
}

static void
on_nothing(void *ctx, struct slice piece)
{
    (void)ctx, (void)piece;
}

/* P8: no content makes the decoder slow.  Quadratic cost would be minutes here. */
Test(smtp_data, P8_cost_is_linear, .timeout = 60)
{
    static const struct slice patterns[] = {
        T("\r"), T("\n"), T("\0"), T("."), T("x"), T("\r\n"), T("..\r\n"), T("\r\n\0"), T("\r.\n"),
    };
    size_t n = 8 * 1024 * 1024;
    char *text = mem_alloc(n);

    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        struct smtp_data data;
        size_t used;

        for (size_t k = 0; k < n; k++)
            text[k] = patterns[i].p[k % patterns[i].n];
        for (int normalise = 0; normalise < 2; normalise++) {
            smtp_data_init(&data, normalise);
            used = smtp_data_feed(&data, (struct slice){text, n}, on_nothing, NULL);
            cr_expect_eq(used, n, "%zu, %d", i, normalise);
        }
    }
    free(text);
}
