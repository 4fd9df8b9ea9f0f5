/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: Authentication-Results fields that claim to be ours go, and not an octet else; the same in
 * any cut.
 */
#include <criterion/criterion.h>

#include "base/buf.h"
#include "smtp/smtp_auth_results.h"

#define OURS "Authentication-Results: mx.acme.test; spf=pass\r\n"
#define REST "Subject: x\r\n\r\nbody\r\n"

static void
on_piece(void *ctx, struct slice piece)
{
    cr_assert_gt(piece.n, 0);
    buf_add_slice(ctx, piece);
}

static unsigned
filter(struct slice content, size_t cut, struct buf *out)
{
    struct smtp_auth_results f;

    buf_clear(out);
    smtp_auth_results_init(&f, "MX.acme.test");
    for (size_t at = 0; at < content.n; at += cut) {
        size_t n = cut < content.n - at ? cut : content.n - at;

        smtp_auth_results_feed(&f, (struct slice){content.p + at, n}, on_piece, out);
    }
    smtp_auth_results_end(&f, on_piece, out);
    return f.removed;
}

static const struct {
    const char *name, *content, *left; /* left NULL: all of it */
    unsigned removed;
} cases[] = {
    {"none", REST, NULL, 0},
    {"nothing", "", NULL, 0},
    {"ours", OURS REST, REST, 1},
    {"behind others", "A: 1\r\nAu: 2\r\n" OURS REST, "A: 1\r\nAu: 2\r\n" REST, 1},
    {"twice", OURS OURS REST, REST, 2},
    {"twice apart", OURS "X: y\r\n" OURS REST, "X: y\r\n" REST, 2},
    {"folded behind", "Authentication-Results: mx.acme.test;\r\n\tspf=pass\r\n dkim=pass\r\n" REST,
     REST, 1},
    {"folded before", "Authentication-Results:\r\n\t\r\n mx.acme.test; none\r\n" REST, REST, 1},
    {"any case", "AUTHENTICATION-results:MX.Acme.TEST;none\r\n" REST, REST, 1},
    {"space before the colon", "Authentication-Results \t: mx.acme.test; none\r\n" REST, REST, 1},
    {"a version", "Authentication-Results: mx.acme.test 1; none\r\n" REST, REST, 1},
    {"a version of old", "Authentication-Results: mx.acme.test/1; none\r\n" REST, REST, 1},
    {"no result", "Authentication-Results: mx.acme.test\r\n" REST, REST, 1},
    {"no result, and the last", "X: y\r\nAuthentication-Results: mx.acme.test\r\n\r\nb",
     "X: y\r\n\r\nb", 1},
    {"cut off", "Authentication-Results: mx.acme.test", "", 1},
    {"the dot of the root", "Authentication-Results: mx.acme.test.; none\r\n" REST, REST, 1},
    {"a comment", "Authentication-Results: (a (b) \\) \"c) mx.acme.test; none\r\n" REST, REST, 1},
    {"comments", "Authentication-Results:(a)\r\n (b)mx.acme.test(c); none\r\n" REST, REST, 1},
    {"quoted", "Authentication-Results: \"mx.acme.test\"; none\r\n" REST, REST, 1},
    {"quoted pairs", "Authentication-Results: \"m\\x.acme\\.test\" 1; none\r\n" REST, REST, 1},
    {"quoted and folded", "Authentication-Results: \"mx.acme\r\n .test\"; none\r\n" REST, NULL, 0},
    {"another's", "Authentication-Results: mx.other.test; spf=pass\r\n" REST, NULL, 0},
    {"a longer one's", "Authentication-Results: mx.acme.test.other; spf=pass\r\n" REST, NULL, 0},
    {"a shorter one's", "Authentication-Results: mx.acme.tes; spf=pass\r\n" REST, NULL, 0},
    {"ours in a comment", "Authentication-Results: (mx.acme.test) x.test; none\r\n" REST, NULL, 0},
    {"a comment without end", "Authentication-Results: (mx.acme.test; none\r\n" REST, NULL, 0},
    {"quotes without end", "Authentication-Results: \"mx.acme.test; none\r\n" REST, NULL, 0},
    {"no id", "Authentication-Results: ; mx.acme.test\r\n" REST, NULL, 0},
    {"nothing in it", "Authentication-Results:\r\n" REST, NULL, 0},
    {"an address", "Authentication-Results: mx.acme.test@x; none\r\n" REST, NULL, 0},
    {"another field", "Authentication-Resultss: mx.acme.test; none\r\n" REST, NULL, 0},
    {"a shorter field", "Authentication-Result: mx.acme.test; none\r\n" REST, NULL, 0},
    {"ARC's", "ARC-Authentication-Results: i=1; mx.acme.test; none\r\n" REST, NULL, 0},
    {"folded into another", "X: y\r\n " OURS REST, NULL, 0},
    {"in the body", "X: y\r\n\r\n" OURS, NULL, 0},
    {"behind an empty line at once", "\r\n" OURS, NULL, 0},
    {"in a content without a header", "hello there\r\n" OURS REST, NULL, 0},
    {"in one that begins like ours", "Authentication-Results are fine\r\n" OURS REST, NULL, 0},
    {"in one that begins with its letter", "A\r\n" OURS REST, NULL, 0},
    {"behind a field of one letter", "A:\r\n" OURS REST, "A:\r\n" REST, 1},
    {"behind junk inside the header", "X: y\r\njunk\r\n" OURS REST, "X: y\r\njunk\r\n" REST, 1},
    {"behind a folded field", "X: y\r\n\tz\r\n" OURS REST, "X: y\r\n\tz\r\n" REST, 1},
    {"behind a folded one of another", "Authentication-Results: x.test;\r\n spf=pass\r\n" OURS REST,
     "Authentication-Results: x.test;\r\n spf=pass\r\n" REST, 1},
};

Test(smtp_auth_results, ours_go_and_nothing_else)
{
    struct buf out;

    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice content = slice_of(cases[i].content);
        const char *left = cases[i].left ? cases[i].left : cases[i].content;

        for (size_t cut = 1; cut <= content.n + 1; cut++) {
            unsigned removed = filter(content, cut, &out);

            cr_expect(slice_equal(buf_slice(&out), slice_of(left)), "%s, cut by %zu: %s",
                      cases[i].name, cut, buf_text(&out));
            cr_expect_eq(removed, cases[i].removed, "%s: %u", cases[i].name, removed);
        }
    }
    buf_fini(&out);
}

Test(smtp_auth_results, an_id_that_hides_behind_a_long_comment_goes)
{
    struct buf content, out;

    buf_init(&content, 0);
    buf_init(&out, 0);
    buf_add_text(&content, "Authentication-Results: (");
    for (unsigned i = 0; i < 100; i++)
        buf_add_text(&content, "0123456789");
    buf_add_text(&content, ") mx.acme.test; spf=pass\r\n\tx=y\r\n" REST);
    for (size_t cut = 1; cut < 1100; cut += 7) {
        cr_expect_eq(filter(buf_slice(&content), cut, &out), 1);
        cr_expect(slice_equal(buf_slice(&out), SLICE(REST)), "%zu: %s", cut, buf_text(&out));
    }
    buf_fini(&content);
    buf_fini(&out);
}

Test(smtp_auth_results, without_a_name_of_ours_nothing_goes)
{
    struct smtp_auth_results f;
    struct buf out;

    buf_init(&out, 0);
    smtp_auth_results_init(&f, "");
    smtp_auth_results_feed(&f, SLICE(OURS REST), on_piece, &out);
    smtp_auth_results_end(&f, on_piece, &out);
    cr_expect(slice_equal(buf_slice(&out), SLICE(OURS REST)));
    buf_fini(&out);
}
