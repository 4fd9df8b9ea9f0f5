/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P7: what a result says in a header, and that no octet of a peer can add a line, end a comment or
 * leave its quotes.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "spf/spf_header.h"

static struct buf out;

static void
setup(void)
{
    buf_init(&out, 0);
}

static void
teardown(void)
{
    buf_fini(&out);
}

TestSuite(spf_header, .init = setup, .fini = teardown);

static const struct spf_question question = {
    .client = {4, {192, 0, 2, 1}, 25},
    .identity = SPF_MAIL_FROM,
    .helo = "mail.acme.test",
    .mail_from = "joe+x@acme.test",
};

static const struct spf_result result = {
    .verdict = SPF_PASS,
    .identity = SPF_MAIL_FROM,
    .domain = "acme.test",
    .mechanism = "ip4:192.0.2.0/24",
    .reason = "ip4:192.0.2.0/24 in the record of acme.test matches",
};

Test(spf_header, a_pass)
{
    struct spf_header header = {"mx.ours.test", &question, &result};

    spf_header_write_received(&header, &out);
    cr_expect_str_eq(buf_text(&out),
                     "Received-SPF: pass (mx.ours.test: ip4:192.0.2.0/24 in the record of "
                     "acme.test matches)\r\n"
                     "\treceiver=mx.ours.test;\r\n"
                     "\tidentity=mailfrom;\r\n"
                     "\tclient-ip=192.0.2.1;\r\n"
                     "\thelo=mail.acme.test;\r\n"
                     "\tenvelope-from=\"joe+x@acme.test\";\r\n"
                     "\tmechanism=\"ip4:192.0.2.0/24\";\r\n");
    buf_clear(&out);
    spf_header_write_auth_part(&header, &out);
    cr_expect_str_eq(buf_text(&out),
                     ";\r\n\tspf=pass\r\n"
                     "\treason=\"ip4:192.0.2.0/24 in the record of acme.test matches\"\r\n"
                     "\tsmtp.mailfrom=acme.test");
}

Test(spf_header, a_null_sender_over_ipv6)
{
    struct spf_question q = {.client = {6, {0x20, 1, 0xd, 0xb8, [15] = 1}, 25},
                             .helo = "[IPv6:2001:db8::1]",
                             .mail_from = ""};
    struct spf_result r = {.verdict = SPF_NONE, .identity = SPF_HELO};
    struct spf_header header = {"mx.ours.test", &q, &r};

    spf_header_write_received(&header, &out);
    cr_expect_str_eq(buf_text(&out), "Received-SPF: none (mx.ours.test: )\r\n"
                                     "\treceiver=mx.ours.test;\r\n"
                                     "\tidentity=helo;\r\n"
                                     "\tclient-ip=\"2001:db8::1\";\r\n"
                                     "\thelo=\"[IPv6:2001:db8::1]\";\r\n"
                                     "\tenvelope-from=\"\";\r\n");
    buf_clear(&out);
    spf_header_write_auth_part(&header, &out);
    cr_expect_str_eq(buf_text(&out), ";\r\n\tspf=none\r\n\tsmtp.helo=\"[IPv6:2001:db8::1]\"");
}

/* Octet by octet, as a reader of RFC 5322 would. */
static void
expect_intact(struct slice text, unsigned folds, const char *what)
{
    bool is_quoted = false, is_escaped = false;
    unsigned depth = 0, lines = 0, length = 0;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        length++;
        if (c == '\r') {
            cr_expect(i + 1 < text.n && text.p[i + 1] == '\n', "%s: bare CR", what);
            cr_expect(i + 2 == text.n || text.p[i + 2] == '\t', "%s: a line begins", what);
            cr_expect(!is_quoted && depth == 0, "%s: a line ends inside", what);
            cr_expect_leq(length, 998, "%s: %u octets", what, length);
            length = 0;
            lines++;
        } else if (c != '\n' && c != '\t')
            cr_expect(c >= ' ' && c <= '~', "%s: octet %d", what, c);
        if (is_escaped)
            is_escaped = false;
        else if (c == '\\')
            is_escaped = true;
        else if (c == '"' && depth == 0)
            is_quoted = !is_quoted;
        else if (c == '(' && !is_quoted)
            depth++;
        else if (c == ')' && !is_quoted && depth > 0)
            depth--;
    }
    cr_expect(!is_quoted && !is_escaped && depth == 0, "%s: something is open", what);
    cr_expect_eq(lines, folds, "%s: %u lines", what, lines);
}

static void
expect_harmless(const char *evil, const char *what)
{
    struct spf_question q = {.client = question.client, .helo = evil, .mail_from = evil};
    struct spf_result r = {.verdict = SPF_FAIL, .identity = SPF_MAIL_FROM};
    struct spf_header header = {"mx.ours.test", &q, &r};

    snprintf(r.mechanism, sizeof r.mechanism, "%s", evil);
    snprintf(r.reason, sizeof r.reason, "%s", evil);
    buf_clear(&out);
    spf_header_write_received(&header, &out);
    expect_intact(buf_slice(&out), evil[0] ? 7 : 6, what);
    buf_clear(&out);
    spf_header_write_auth_part(&header, &out);
    expect_intact(buf_slice(&out), evil[0] ? 3 : 2, what);
}

Test(spf_header, no_octet_of_a_peer_gets_out)
{
    static const char *const evils[] = {
        "",  "\r\nX: y",      "a\nb",     "a\r\n b",         "\"; x=\"", "\\",   "a\\\"", "(",
        ")", "\\)(",          "\x80\xff", "\x7f\x01\x1b[2J", "a;b=c",    "a..b", ".",     "a.",
        " ", "a@b (c) \"d\\", "\t"};
    char octet[4] = "a?b", longest[2000];

    for (size_t i = 0; i < ARRAY_SIZE(evils); i++)
        expect_harmless(evils[i], evils[i]);
    for (int c = 1; c < 256; c++) {
        octet[1] = (char)c;
        expect_harmless(octet, octet);
    }
    for (size_t i = 0; i < 3; i++) {
        memset(longest, "\"a\\"[i], sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        expect_harmless(longest, "a long one");
    }
}
