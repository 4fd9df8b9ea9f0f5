/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P6: replies say what the table says and survive the way through text; a peer's replies are
 * survived whatever they hold, in any cut.
 */
#include <criterion/criterion.h>

#include "smtp/smtp_reply.h"

static const struct {
    const char *name, *input, *want; /* want: smtp_reply_text; NULL: ERR_SYNTAX */
} peers[] = {
    {"plain", "250 OK\r\n", "250 OK"},
    {"code alone", "250\r\n", "250"},
    {"code and space", "250 \r\n", "250"},
    {"no space behind the code", "250OK\r\n", "250 OK"},
    {"tab behind the code", "250\tOK\r\n", "250 OK"},
    {"bare LF", "250 OK\n", "250 OK"},
    {"CR CR LF", "250 OK\r\r\n", "250 OK"},
    {"enhanced", "550 5.7.1 No\r\n", "550 5.7.1 No"},
    {"enhanced alone", "550 5.7.1\r\n", "550 5.7.1"},
    {"enhanced long", "550 5.123.456 No\r\n", "550 5.123.456 No"},
    {"enhanced of another class is text", "550 4.7.1 No\r\n", "550 4.7.1 No"},
    {"enhanced with junk behind is text", "550 5.7.1x No\r\n", "550 5.7.1x No"},
    {"four digits are text", "550 5.1234.1 No\r\n", "550 5.1234.1 No"},
    {"two lines", "250-one\r\n250 two\r\n", "250 one two"},
    {"two lines, enhanced in each", "550-5.1.1 one\r\n550 5.1.1 two\r\n", "550 5.1.1 one two"},
    {"enhanced in the first only", "550-5.1.1 one\r\n550 two\r\n", "550 5.1.1 one two"},
    {"mixed codes, the last counts", "250-one\r\n550 two\r\n", "550 one two"},
    {"mixed codes, foreign enhanced goes", "250-2.0.0 one\r\n550 two\r\n", "550 one two"},
    {"mixed codes, text becomes an enhanced code", "250-5.1.04 b\r\n550 two\r\n",
     "550 5.1.4 b two"},
    {"empty continuation", "250-\r\n250 two\r\n", "250 two"},
    {"control and 8-bit", "250 a\001b\xfc\x7f\r\n", "250 a?b??"},
    {"tab inside", "250 a\tb\r\n", "250 a b"},
    {"CR inside", "250 a\rb\r\n", "250 a?b"},
    {"code below the RFC", "199 x\r\n", "199 x"},
    {"code above the RFC", "999 x\r\n", "999 x"},
    {"code zero", "000 x\r\n", "x"},
    {"no code", "hello\r\n", NULL},
    {"two digits", "25 x\r\n", NULL},
    {"empty line", "\r\n", NULL},
    {"HTTP", "HTTP/1.1 400 Bad Request\r\n", NULL},
    {"leading space", " 250 x\r\n", NULL},
    {"continuation without a code", "250-x\r\ny\r\n", NULL},
};

/* Feeds in two pieces; the rest behind the reply must stay unconsumed. */
static int
parse_cut(struct smtp_reply_parser *p, struct slice input, size_t cut)
{
    struct slice first = {input.p, cut}, second = {input.p + cut, input.n - cut};
    size_t consumed;
    int rc = smtp_reply_parse(p, first, &consumed, NULL, NULL);

    cr_assert_leq(consumed, first.n);
    if (rc != ERR_AGAIN)
        return rc;
    cr_assert_eq(consumed, first.n);
    rc = smtp_reply_parse(p, second, &consumed, NULL, NULL);
    if (rc == ERR_OK)
        cr_assert_eq(consumed, second.n);
    return rc;
}

Test(smtp_reply, replies_of_peers_are_survived_in_any_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
        struct slice input = slice_of(peers[i].input);

        for (size_t cut = 0; cut <= input.n; cut++) {
            struct smtp_reply_parser p;
            char text[SMTP_REPLY_LINE_SIZE];
            int rc;

            smtp_reply_parser_init(&p);
            for (int again = 0; again < 2; again++) {
                rc = parse_cut(&p, input, cut);
                cr_assert_eq(rc, peers[i].want ? ERR_OK : ERR_SYNTAX, "%s", peers[i].name);
                if (peers[i].want == NULL)
                    break;
                smtp_reply_text(&p.reply, text, sizeof text);
                cr_assert_str_eq(text, peers[i].want, "%s cut at %zu", peers[i].name, cut);
            }
        }
    }
}

Test(smtp_reply, only_one_reply_is_consumed)
{
    struct smtp_reply_parser p;
    struct slice input = SLICE("250 one\r\n550 two\r\n");
    size_t consumed;

    smtp_reply_parser_init(&p);
    cr_assert_eq(smtp_reply_parse(&p, input, &consumed, NULL, NULL), ERR_OK);
    cr_expect_eq(consumed, 9);
    cr_expect_eq(p.reply.code, 250);
}

static void
feed_many(struct smtp_reply_parser *p, const char *text, size_t times, int want)
{
    size_t consumed;

    for (size_t i = 0; i < times; i++) {
        int rc = smtp_reply_parse(p, slice_of(text), &consumed, NULL, NULL);

        if (rc == want)
            return;
        cr_assert_eq(rc, ERR_AGAIN);
    }
    cr_assert_fail("%zu times without %s", times, err_text(want));
}

Test(smtp_reply, an_over_long_line_is_cut_and_the_reply_counts)
{
    struct smtp_reply_parser p;

    smtp_reply_parser_init(&p);
    feed_many(&p, "550 5.7.1 ", 1, ERR_AGAIN);
    for (int i = 0; i < 1000; i++)
        feed_many(&p, "xxxxxxxxxx", 1, ERR_AGAIN);
    feed_many(&p, "\r\n", 1, ERR_OK);
    cr_expect_eq(p.reply.code, 550);
    cr_expect_eq(p.reply.enhanced.subject, 7);
    cr_expect_eq(strlen(p.reply.text), SMTP_REPLY_TEXT_SIZE - 1);
    cr_expect(p.overlong);
    feed_many(&p, "250 ok\r\n", 1, ERR_OK);
    cr_expect(!p.overlong);
}

Test(smtp_reply, a_reply_without_end_is_no_reply)
{
    struct smtp_reply_parser p;

    smtp_reply_parser_init(&p);
    feed_many(&p, "250-line\r\n", SMTP_REPLY_LINES_MAX + 1, ERR_SYNTAX);
    smtp_reply_parser_init(&p);
    feed_many(&p, "250 never an end of the line", 1000000, ERR_SYNTAX);
}

static void
count_line(void *ctx, struct slice text)
{
    unsigned *count = ctx;

    *count = *count * 10 + (unsigned)text.n;
}

Test(smtp_reply, each_line_is_shown)
{
    struct smtp_reply_parser p;
    struct slice input = SLICE("250-a\r\n250-bb\r\n250 ccc\r\n");
    unsigned count = 0;
    size_t consumed;

    smtp_reply_parser_init(&p);
    cr_assert_eq(smtp_reply_parse(&p, input, &consumed, count_line, &count), ERR_OK);
    cr_expect_eq(count, 123);
}

static void
expect_round_trip(const struct smtp_reply *reply, const char *name)
{
    struct smtp_reply back;
    char text[SMTP_REPLY_LINE_SIZE], again[SMTP_REPLY_LINE_SIZE];

    smtp_reply_text(reply, text, sizeof text);
    cr_assert_eq(smtp_reply_from_text(slice_of(text), &back), ERR_OK, "%s", name);
    cr_expect_eq(back.code, reply->code, "%s", name);
    cr_expect_eq(back.enhanced.class, reply->enhanced.class, "%s", name);
    cr_expect_eq(back.enhanced.subject, reply->enhanced.subject, "%s", name);
    cr_expect_eq(back.enhanced.detail, reply->enhanced.detail, "%s", name);
    cr_expect_str_eq(back.text, reply->text, "%s", name);
    cr_expect_str_eq(smtp_reply_text(&back, again, sizeof again), text, "%s", name);
}

Test(smtp_reply, P6_every_verdict_is_whole_and_survives_text)
{
    for (int v = 0; v < SMTP_VERDICT_COUNT; v++) {
        struct smtp_reply reply = smtp_verdict_reply((enum smtp_verdict)v);
        const char *word = smtp_verdict_word((enum smtp_verdict)v);

        cr_expect(reply.code >= 200 && reply.code <= 599, "%s", word);
        cr_expect(reply.enhanced.class == reply.code / 100 || reply.code == 354, "%s", word);
        cr_expect_gt(strlen(smtp_verdict_help((enum smtp_verdict)v)), 4, "%s", word);
        cr_expect_null(strchr(reply.text, '?'), "%s", word);
        expect_round_trip(&reply, word);
    }
}

Test(smtp_reply, P6_every_refusal_says_what_each_can_do)
{
    for (int v = 0; v < SMTP_VERDICT_COUNT; v++) {
        enum smtp_verdict verdict = (enum smtp_verdict)v;
        bool is_refusal = smtp_verdict_reply(verdict).code >= 400;

        for (int r = 0; r < SMTP_REMEDY_COUNT; r++) {
            const char *remedy = smtp_verdict_remedy(verdict, (enum smtp_remedy)r);

            cr_expect_eq(remedy[0] != '\0', is_refusal, "%s", smtp_verdict_word(verdict));
            cr_expect(!is_refusal || strchr(".;`", remedy[strlen(remedy) - 1]), "%s: %s",
                      smtp_verdict_word(verdict), remedy);
        }
    }
}

Test(smtp_reply, verdicts_are_found_by_word_and_code)
{
    enum smtp_verdict v = 0;

    cr_expect_eq(smtp_verdict_find("spf-fail", 0, &v), ERR_OK);
    cr_expect_eq(v, SMTP_VERDICT_SPF_FAIL);
    v = 0;
    cr_expect_eq(smtp_verdict_find("suspended", 550, &v), ERR_OK);
    cr_expect_eq(v, SMTP_VERDICT_SUSPENDED_REFUSE);
    v = 0;
    cr_expect_eq(smtp_verdict_find("spf-fail", 450, &v), ERR_NOT_FOUND);
    cr_expect_eq(smtp_verdict_find("no such word", 0, &v), ERR_NOT_FOUND);
}

Test(smtp_reply, odd_replies_survive_text)
{
    static const struct smtp_reply odd[] = {
        {.code = 0, .text = "Connection refused"},
        {.code = 0},
        {.code = 550},
        {.code = 550, .enhanced = {5, 7, 1}},
        {.code = 450, .enhanced = {4, 999, 999}, .text = " spaces around "},
        {.code = 999, .text = "mad"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        expect_round_trip(&odd[i], odd[i].text);
}

Test(smtp_reply, text_that_is_no_reply_is_refused)
{
    static const char *const bad[] = {"5", "55 x", "550x", "5505.7.1"};
    struct smtp_reply reply;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(smtp_reply_from_text(slice_of(bad[i]), &reply), ERR_SYNTAX, "%s", bad[i]);
}

static const struct {
    const char *name, *enhanced, *text, *want;
    uint16_t code;
} writes[] = {
    {"all", "5.7.1", "No", "550 5.7.1 No\r\n", 550},
    {"no enhanced code", NULL, "No", "550 No\r\n", 550},
    {"nothing else", NULL, NULL, "550\r\n", 550},
    {"malformed enhanced code", "5.7", "No", "550 No\r\n", 550},
    {"foreign enhanced code", "4.7.1", "No", "550 No\r\n", 550},
    {"line ends cannot get in", "5.7.1", "a\r\n250 b", "550 5.7.1 a??250 b\r\n", 550},
};

Test(smtp_reply, P6_is_written_as_one_line)
{
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        struct smtp_reply reply =
            smtp_reply_make(writes[i].code, writes[i].enhanced, writes[i].text);
        struct buf out;

        buf_init(&out, 0);
        smtp_reply_write(&reply, &out);
        cr_expect_str_eq(buf_text(&out), writes[i].want, "%s", writes[i].name);
        buf_fini(&out);
    }
}

Test(smtp_reply, P6_the_reference_is_there_however_long_the_text)
{
    struct ref ref = ref_make(1, 1795000000000, 1, 1), found;
    char text[SMTP_REPLY_TEXT_SIZE * 2];
    struct buf out;

    for (size_t n = 0; n < sizeof text - 1; n += 7) {
        struct smtp_reply reply;

        memset(text, 'x', n);
        text[n] = '\0';
        reply = smtp_reply_make(550, "5.7.1", text);
        smtp_reply_add_ref(&reply, ref);
        cr_expect_eq(ref_find(slice_of(reply.text), &found), ERR_OK);
        cr_expect(ref_equal(ref, found));
        buf_init(&out, 0);
        smtp_reply_write(&reply, &out);
        cr_expect_leq(buf_size(&out), 512); /* RFC 5321 4.5.3.1.5 */
        buf_fini(&out);
    }
}

/* The reply goes on behind the verdict's text: a reference, minutes.  Two verdicts may say the
 * same; then either word will do. */
Test(smtp_reply, P6_the_word_of_a_reply_of_ours)
{
    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++) {
        struct smtp_reply own = smtp_verdict_reply((enum smtp_verdict)v), reply = own;
        bool found = false;

        smtp_reply_add_ref(&reply, ref_make(1, 1795000000000, 1, 1));
        for (unsigned w = 0; w < SMTP_VERDICT_COUNT; w++) {
            struct smtp_reply other = smtp_verdict_reply((enum smtp_verdict)w);

            found = found ||
                    (other.code == own.code && strcmp(other.text, own.text) == 0 &&
                     strcmp(smtp_reply_word(&reply), smtp_verdict_word((enum smtp_verdict)w)) == 0);
        }
        cr_expect(found, "%s: %s", smtp_verdict_word((enum smtp_verdict)v),
                  smtp_reply_word(&reply));
    }
    for (size_t i = 0; i < 2; i++) {
        struct smtp_reply reply = smtp_reply_make(550, "5.7.1", i ? "Go away" : "");

        cr_expect_str_eq(smtp_reply_word(&reply), "other");
    }
}
