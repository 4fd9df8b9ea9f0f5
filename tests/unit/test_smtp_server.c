/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The server engine: whole sessions, each cut at every position and with every operation waiting;
 * every state with every command; the order of replies; P7: no line ending or dot trick makes one
 * message two.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

#include "smtp/smtp_command.h"
#include "tests/unit/smtp_owner.h"

#define TO_READY "EHLO client.example\r\n"
#define TO_MAIL TO_READY "MAIL FROM:<a@b.example>\r\n"
#define TO_RCPT TO_MAIL "RCPT TO:<c@d.example>\r\n"
#define TO_DATA TO_RCPT "DATA\r\n"

/* What a session comes to: replies, events and content, as one text. */
static char *
outcome(const char *in, size_t n, size_t cut, bool waits)
{
    struct owner o;
    char *text;
    size_t at = 0;

    owner_init(&o);
    o.waits = waits;
    smtp_server_greet(o.server);
    while (at < n) { /* cut 0: octet by octet; else once, at `cut` */
        size_t piece = cut == 0 ? 1 : at == 0 && cut < n ? cut : n - at;

        owner_feed(&o, (struct slice){in + at, piece});
        at += piece;
    }
    buf_printf(&o.events, "left %zu finished %d\n", buf_size(&o.in),
               smtp_server_is_finished(o.server));
    buf_add_slice(&o.out, buf_slice(&o.events));
    text = mem_strdup(buf_text(&o.out));
    owner_fini(&o);
    return text;
}

static const struct {
    const char *name;
    struct slice in;
} sessions[] = {
#define S(name, text)              \
    {                              \
        name,                      \
        {                          \
            text, sizeof(text) - 1 \
        }                          \
    }
    S("a message", TO_DATA "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"),
    S("helo", "HELO client\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\nQUIT\r\n"),
    S("two messages", TO_DATA "one\r\n.\r\nMAIL FROM:<e@f.example> SIZE=3\r\n"
                              "RCPT TO:<g@h.example>\r\nDATA\r\n..\r\n.\r\nRSET\r\n"),
    S("stuffed dots", TO_DATA "..\r\n...\r\n.x\r\n. \r\n.\r\nNOOP\r\n"),
    S("bare line feed", TO_DATA "a\nb\r\n.\r\nNOOP\r\n"),
    S("bare carriage return", TO_DATA "a\rb\r\n.\r\nNOOP\r\n"),
    S("nul", TO_DATA "a\0b\r\n.\r\nNOOP\r\n"),
    S("refused behind", TO_DATA "a\r\n.\r\nMAIL FROM:<refuse@x.example>\r\nRCPT TO:<a@b.c>\r\n"
                                "DATA\r\nQUIT\r\n"),
    S("421 in the middle", TO_MAIL "RCPT TO:<close@x.example>\r\nDATA\r\nNOOP\r\n"),
    S("421 at the dot",
      TO_READY "MAIL FROM:<closedot@x>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n.\r\nNOOP\r\n"),
    S("data refused",
      TO_READY "MAIL FROM:<nodata@x>\r\nRCPT TO:<a@b.c>\r\nDATA\r\nRSET\r\nMAIL FROM:<a@b>\r\n"),
    S("content declined", TO_READY "MAIL FROM:<stop@x>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
                                   "1\r\n.2\r\n3\r\n.\r\nNOOP\r\n"),
    S("helo refused", TO_MAIL "EHLO refuse\r\nRCPT TO:<a@b.c>\r\n"),
    S("nonsense",
      "\r\n \r\nFOO\r\nEHLO\r\nEHLO a b\r\nNOOP\nNOOP\r\nNO\rOP\r\nMAIL\r\nQUIT now\r\n"),
    S("normalised", TO_READY "MAIL FROM:<normalise@x>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
                             "a\n\nb\n..c\n.d\n.\ne\r\n.f\n.\r\n\r\n.\ng\n\r\n.\r\nNOOP\r\n"),
    S("normalised, bare CR", TO_READY "MAIL FROM:<normalise@x>\r\nRCPT TO:<a@b.c>\r\nDATA\r\n"
                                      "a\nb\rc\n.\n.\r\n\r\n.\r\nNOOP\r\n"),
    S("dsn, smtputf8", TO_READY "MAIL FROM:<\xc3\xb6@x> SMTPUTF8 RET=FULL ENVID=a+2Bb\r\n"
                                "RCPT TO:<\xc3\xb6@b> NOTIFY=DELAY ORCPT=utf-8;\xc3\xb6@b\r\n"),
    S("too many errors", "A\r\nB\r\nC\r\nD\r\nE\r\nF\r\nG\r\nH\r\nI\r\nJ\r\nQUIT\r\n"),
#undef S
};

static void
expect_same(const char *name, const char *want, struct slice in, size_t cut, bool waits)
{
    char *got = outcome(in.p, in.n, cut, waits);

    cr_expect_str_eq(got, want, "%s, cut at %zu, waits %d:\n%s\nbut whole:\n%s", name, cut, waits,
                     got, want);
    free(got);
}

Test(smtp_server, P7_a_cut_changes_nothing)
{
    for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
        struct slice in = sessions[i].in;
        char *want = outcome(in.p, in.n, in.n, false);

        for (size_t cut = 0; cut <= in.n; cut++)
            for (int waits = 0; waits < 2; waits++)
                expect_same(sessions[i].name, want, in, cut, waits);
        free(want);
    }
}

/* --- Long lines and long messages, cut around the limit. */

static char *
filled(const char *head, size_t fill, const char *tail, size_t *n)
{
    size_t head_length = strlen(head), tail_length = strlen(tail);
    char *text = mem_alloc(head_length + fill + tail_length + 1);

    memcpy(text, head, head_length);
    memset(text + head_length, 'x', fill);
    memcpy(text + head_length + fill, tail, tail_length);
    *n = head_length + fill + tail_length;
    return text;
}

Test(smtp_server, a_line_of_512_octets_is_the_longest)
{
    static const struct {
        const char *name, *tail;
        size_t fill;
        const char *want;
    } cases[] = {
        {"512", "\r\nNOOP\r\n", 512 - 7,
         "220 mx.example ESMTP Postern\r\n250 2.0.0 OK\r\n250 2.0.0 OK\r\n"},
        {"513", "\r\nNOOP\r\n", 513 - 7,
         "220 mx.example ESMTP Postern\r\n500 5.5.6 Command line too long\r\n250 2.0.0 OK\r\n"},
        {"bare ends in it", "\n\r\r \r\nNOOP\r\n", 5000,
         "220 mx.example ESMTP Postern\r\n500 5.5.6 Command line too long\r\n250 2.0.0 OK\r\n"},
        {"no end", "", 5000, "220 mx.example ESMTP Postern\r\n500 5.5.6 Command line too long\r\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t n;
        char *in = filled("NOOP ", cases[i].fill, cases[i].tail, &n);
        char *want = outcome(in, n, n, false);

        cr_expect(strncmp(want, cases[i].want, strlen(cases[i].want)) == 0, "%s: %s", cases[i].name,
                  want);
        for (size_t cut = n > 600 ? n - 60 : 500; cut < n; cut++)
            expect_same(cases[i].name, want, (struct slice){in, n}, cut, false);
        for (size_t cut = 1040; cut < 1056 && cut < n; cut++)
            expect_same(cases[i].name, want, (struct slice){in, n}, cut, false);
        expect_same(cases[i].name, want, (struct slice){in, n}, 0, false);
        free(want);
        free(in);
    }
}

Test(smtp_server, P9_exactly_max_size_bytes_are_accepted)
{
    static const struct {
        const char *name, *tail;
        size_t fill;
        const char *want;
    } cases[] = {
        {"exactly", "\r\n.\r\n", 998, "250 2.0.0 Delivered\r\n"},
        {"exactly, with stuffed dots", "\r\n..\r\n.\r\n", 995, "250 2.0.0 Delivered\r\n"},
        {"one more", "\r\n.\r\n", 999, "552 5.3.4 Message too big\r\n"},
        {"many more", "\r\n.\r\n", 5000, "552 5.3.4 Message too big\r\n"},
        {"a fault beyond the limit", "\n\r\n.\r\n", 5000, "550 5.6.11 "},
        {"a fault before it", "\nxxxx\r\n.\r\n", 996, "550 5.6.11 "},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t n;
        char *in = filled(TO_DATA, cases[i].fill, cases[i].tail, &n);
        char *want = outcome(in, n, n, false);

        cr_expect(strstr(want, cases[i].want), "%s: %s", cases[i].name, want);
        cr_expect_null(strstr(want, "xxx\nreset closed"), "%s", cases[i].name);
        for (size_t cut = 0; cut < n; cut += 1 + (cut > 200 && cut < 900) * 13)
            expect_same(cases[i].name, want, (struct slice){in, n}, cut, cut % 2);
        free(want);
        free(in);
    }
}

Test(smtp_server, size_is_held_at_mail)
{
    static const struct {
        const char *name, *in, *want;
    } cases[] = {
        {"below", "MAIL FROM:<a@b> SIZE=999\r\n", "250 2.1.0"},
        {"exactly", "MAIL FROM:<a@b> SIZE=1000\r\n", "250 2.1.0"},
        {"above", "MAIL FROM:<a@b> SIZE=1001\r\n", "552 5.3.4"},
        {"beyond 64 bits", "MAIL FROM:<a@b> SIZE=99999999999999999999\r\n", "552 5.3.4"},
        {"not a number", "MAIL FROM:<a@b> SIZE=-1\r\n", "501 5.5.4"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct owner o;

        owner_init(&o);
        smtp_server_greet(o.server);
        owner_feed(&o, slice_of(TO_READY));
        buf_clear(&o.out);
        owner_feed(&o, slice_of(cases[i].in));
        cr_expect(strncmp(buf_text(&o.out), cases[i].want, strlen(cases[i].want)) == 0, "%s: %s",
                  cases[i].name, buf_text(&o.out));
        owner_fini(&o);
    }
}

/* --- Every state with every command. */

static const struct {
    const char *name, *way;
} states[] = {
    {"helo", ""},
    {"ready", TO_READY},
    {"mail", TO_MAIL},
    {"rcpt", TO_RCPT},
    {"ready again", TO_DATA ".\r\n"},
};

static const struct {
    const char *line;
    int codes[5]; /* by state */
} commands[] = {
    {"EHLO a\r\n", {250, 250, 250, 250, 250}},
    {"HELO a\r\n", {250, 250, 250, 250, 250}},
    {"EHLO\r\n", {501, 501, 501, 501, 501}},
    {"MAIL FROM:<a@b>\r\n", {503, 250, 503, 503, 250}},
    {"MAIL FROM:a@b\r\n", {503, 501, 503, 503, 501}},
    {"MAIL FROM:<a@b> RET=FULL\r\n", {503, 250, 503, 503, 250}},
    {"MAIL FROM:<a@b> X=1\r\n", {503, 555, 503, 503, 555}},
    {"RCPT TO:<a@b>\r\n", {503, 503, 250, 250, 503}},
    {"RCPT TO:<refuse@b>\r\n", {503, 503, 550, 550, 503}},
    {"RCPT TO:<a@b> NOTIFY=NEVER\r\n", {503, 503, 250, 250, 503}},
    {"RCPT TO:<a@b> X\r\n", {503, 503, 555, 555, 503}},
    {"RCPT TO:<\xc3\xbc@b>\r\n", {503, 503, 553, 553, 503}},
    {"MAIL FROM:<\xc3\xbc@b>\r\n", {503, 550, 503, 503, 550}},
    {"DATA\r\n", {503, 503, 554, 354, 503}},
    {"DATA x\r\n", {503, 503, 554, 501, 503}},
    {"RSET\r\n", {250, 250, 250, 250, 250}},
    {"RSET x\r\n", {501, 501, 501, 501, 501}},
    {"NOOP\r\n", {250, 250, 250, 250, 250}},
    {"NOOP x y\r\n", {250, 250, 250, 250, 250}},
    {"VRFY a\r\n", {252, 252, 252, 252, 252}},
    {"VRFY\r\n", {501, 501, 501, 501, 501}},
    {"HELP\r\n", {214, 214, 214, 214, 214}},
    {"QUIT\r\n", {221, 221, 221, 221, 221}},
    {"QUIT \t\r\n", {221, 221, 221, 221, 221}},
    {"STARTTLS\r\n", {220, 220, 503, 503, 220}},
    {"STARTTLS x\r\n", {501, 501, 503, 503, 501}},
    {"ETRN a\r\n", {503, 250, 503, 503, 250}},
    {"ETRN\r\n", {503, 501, 503, 503, 501}},
    {"XCLIENT NAME=a\r\n", {220, 220, 503, 503, 220}},
    {"XCLIENT HELO=a\r\n", {220, 220, 503, 503, 220}},
    {"XCLIENT X=a\r\n", {501, 501, 503, 503, 501}},
    {"GET / HTTP/1.1\r\n", {421, 421, 421, 421, 421}},
    {"AUTH PLAIN x\r\n", {502, 502, 502, 502, 502}},
    {"BDAT 3 LAST\r\n", {502, 502, 502, 502, 502}},
    {"EXPN a\r\n", {502, 502, 502, 502, 502}},
    {"XYZZY\r\n", {500, 500, 500, 500, 500}},
    {"\r\n", {500, 500, 500, 500, 500}},
    {" NOOP\r\n", {500, 500, 500, 500, 500}},
    {"NOOP\n\r\n", {500, 500, 500, 500, 500}},
    {"NOOP \r\r\n", {500, 500, 500, 500, 500}},
};

Test(smtp_server, every_command_in_every_state)
{
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        for (size_t k = 0; k < ARRAY_SIZE(states); k++) {
            struct owner o;
            size_t lines = 0;

            owner_init(&o);
            smtp_server_set_offers(o.server,
                                   SMTP_OFFER_STARTTLS | SMTP_OFFER_ETRN | SMTP_OFFER_XCLIENT);
            smtp_server_greet(o.server);
            owner_feed(&o, slice_of(states[k].way));
            buf_clear(&o.out);
            owner_feed(&o, slice_of(commands[i].line));
            cr_expect_eq(atol(buf_text(&o.out)), commands[i].codes[k], "%s in %s: %s",
                         commands[i].line, states[k].name, buf_text(&o.out));
            for (const char *p = buf_text(&o.out); *p; p++)
                lines += *p == '\n';
            cr_expect_eq(lines, strncmp(buf_text(&o.out), "250-", 4) ? 1 : 10, "%s in %s",
                         commands[i].line, states[k].name);
            owner_fini(&o);
        }
}

/* --- Waiting. */

Test(smtp_server, input_behind_a_waiting_operation_stays)
{
    static const struct {
        const char *name, *in;
        size_t left;
    } cases[] = {
        {"helo", "EHLO a\r\nNOOP\r\n", 6},
        {"mail", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", 15},
        {"rcpt", "RCPT TO:<c@d>\r\nDATA\r\n", 6},
        {"data", "DATA\r\na\r\n.\r\n", 6},
        {"end of data", "a\r\n.\r\nQUIT\r\n", 6},
    };
    struct owner o;

    owner_init(&o);
    o.waits = true;
    smtp_server_greet(o.server);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t said = buf_size(&o.out);

        buf_clear(&o.in);
        owner_push(&o, slice_of(cases[i].in));
        cr_expect(smtp_server_is_waiting(o.server), "%s", cases[i].name);
        cr_expect_eq(buf_size(&o.in), cases[i].left, "%s", cases[i].name);
        cr_expect_eq(smtp_server_input(o.server, SLICE("QUIT\r\n")), 0, "%s", cases[i].name);
        cr_expect_eq(buf_size(&o.out), said, "%s: nothing is said before the answer",
                     cases[i].name);
        owner_answer(&o);
        cr_expect_gt(buf_size(&o.out), said, "%s", cases[i].name);
    }
    owner_fini(&o);
}

static const char *
tail(struct owner *o, size_t n)
{
    const char *text = buf_text(&o->out);

    return strlen(text) > n ? text + strlen(text) - n : text;
}

Test(smtp_server, close_keeps_the_order_of_replies)
{
    static const struct {
        const char *name, *way;
        bool waits;
        const char *want, *events;
    } cases[] = {
        {"idle", TO_READY, false, "421 4.3.2 Service closing, try again\r\n", ""},
        {"in a transaction", TO_RCPT, false, "421 4.3.2 Service closing, try again\r\n",
         "reset closed\n"},
        {"in content", TO_DATA "abc", false, "421 4.3.2 Service closing, try again\r\n",
         "reset closed\n"},
        {"while RCPT waits", TO_RCPT, true,
         "250 2.1.5 Recipient OK\r\n421 4.3.2 Service closing, try again\r\n", "reset closed\n"},
        {"while the dot waits", TO_DATA ".\r\n", true,
         "250 2.0.0 Delivered\r\n421 4.3.2 Service closing, try again\r\n", "reset done\n"},
        {"while a 421 waits", TO_MAIL "RCPT TO:<close@b>\r\n", true, "421 4.3.2 Gone\r\n",
         "reset closed\n"},
    };
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_SHUTTING_DOWN);

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t n = strlen(cases[i].way);
        struct owner o;

        owner_init(&o);
        o.waits = cases[i].waits;
        smtp_server_greet(o.server);
        if (n > 2 && cases[i].waits) { /* all but the last operation are answered */
            owner_feed(&o, (struct slice){cases[i].way, n - 2});
            owner_push(&o, slice_of(cases[i].way + n - 2));
        } else
            owner_feed(&o, slice_of(cases[i].way));
        smtp_server_close(o.server, &reply);
        smtp_server_check(o.server);
        cr_expect_eq(smtp_server_is_finished(o.server), !cases[i].waits, "%s", cases[i].name);
        if (cases[i].waits)
            owner_answer(&o);
        cr_expect(smtp_server_is_finished(o.server), "%s", cases[i].name);
        cr_expect_str_eq(tail(&o, strlen(cases[i].want)), cases[i].want, "%s", cases[i].name);
        cr_expect(strstr(buf_text(&o.events), cases[i].events), "%s", cases[i].name);
        cr_expect_eq(smtp_server_input(o.server, SLICE("NOOP\r\n")), 0, "%s", cases[i].name);
        smtp_server_close(o.server, &reply);
        cr_expect_str_eq(tail(&o, strlen(cases[i].want)), cases[i].want, "%s: said once",
                         cases[i].name);
        owner_fini(&o);
    }
}

Test(smtp_server, close_stands_in_place_of_the_greeting)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_NODE_FULL);
    struct owner o;

    owner_init(&o);
    cr_expect_eq(smtp_server_input(o.server, SLICE("EHLO a\r\n")), 0);
    smtp_server_close(o.server, &reply);
    cr_expect_str_eq(buf_text(&o.out), "421 4.3.2 Too many connections here, try again later\r\n");
    cr_expect(smtp_server_is_finished(o.server));
    owner_fini(&o);
}

/* --- P7: smuggling. Each variant stands in the middle of one message. If a variant were taken for
 * the end of data, MAIL behind it would be a second transaction. */

static const struct {
    const char *name;
    struct slice end;
    bool fault;
} smuggles[] = {
#define V(text, fault)                          \
    {                                           \
#text, {text, sizeof(text) - 1 }, fault \
    }
    V("\n.\n", true),
    V("\n.\r\n", true),
    V("\r\n.\n", true),
    V("\r.\r", true),
    V("\r.\r\n", true),
    V("\r\n.\r", true),
    V("\r.\n", true),
    V("\n.\r", true),
    V("\r\n.\r\r\n", true),
    V("\r\r\n.\n", true),
    V("\r\n.\0\r\n", true),
    V("\r\n\0.\r\n", true),
    V("\r\0\n.\r\n", true),
    V("\r\n.\r\0\n", true),
    V("\0\r\n.\n", true),
    V("\n\r.\n\r", true),
    V("\n\n.\n\n", true),
    V("\r\r.\r\r", true),
    V("\r\n.\n\r\n", true),
    V("\r\n.\r.\r\n", true),
    V("\n.\r\n.\n", true),
    V("\r\n..\n", true),
    V("\r\n..\r", true),
    V("\r\n..\r\n", false),
    V("\r\n. \r\n", false),
    V("\r\n.\t\r\n", false),
    V("\r\n .\r\n", false),
    V("\x0b.\x0b", false),
    V("\x0c.\x0c", false),
    V("\x85.\x85", false),
    V("\xe2\x80\xa8.\xe2\x80\xa8", false),
    V("\x8d\x8a.\x8d\x8a", false),
    V("\r\n\x2e\x2e\r\n", false),
#undef V
};

Test(smtp_server, P7_one_message_in_is_one_message_out)
{
    static const char behind[] = "MAIL FROM:<evil@b.example>\r\nRCPT TO:<victim@d.example>\r\n"
                                 "DATA\r\nevil\r\n.\r\n";

    for (size_t i = 0; i < ARRAY_SIZE(smuggles); i++) {
        struct buf in;
        struct owner o;
        char *want;

        buf_init(&in, 0);
        buf_add_text(&in, TO_DATA "Subject: x\r\n\r\nbody");
        buf_add_slice(&in, smuggles[i].end);
        buf_add_text(&in, behind);

        owner_init(&o);
        smtp_server_greet(o.server);
        owner_feed(&o, buf_slice(&in));
        cr_expect_eq(o.accepted, 1, "%s", smuggles[i].name);
        cr_expect_eq(o.ends, 1, "%s", smuggles[i].name);
        cr_expect_eq(strstr(buf_text(&o.events), "end fault=1") != NULL, smuggles[i].fault, "%s",
                     smuggles[i].name);
        cr_expect_eq(strstr(buf_text(&o.out), "550 5.6.11 ") != NULL, smuggles[i].fault, "%s",
                     smuggles[i].name);
        owner_fini(&o);

        want = outcome(buf_slice(&in).p, buf_size(&in), buf_size(&in), false);
        for (size_t cut = 0; cut < buf_size(&in); cut++)
            expect_same(smuggles[i].name, want, buf_slice(&in), cut, false);
        free(want);
        buf_fini(&in);
    }
}

/* Every string of up to six octets of CR, LF, dot, NUL and x behind a line: exactly one message,
 * and accepted only if it is clean. */
Test(smtp_server, P7_every_short_ending, .timeout = 120)
{
    static const char octets[] = {'\r', '\n', '.', '\0', 'x'};
    unsigned total = 1;

    for (unsigned n = 1; n <= 6; n++) {
        total *= 5;
        for (unsigned k = 0; k < total; k++) {
            char text[16] = "a\r\n";
            struct owner o;
            bool fault = false, ended;
            unsigned v = k;
            size_t at = 3, end = 0;

            for (unsigned i = 0; i < n; i++, v /= 5)
                text[at++] = octets[v % 5];
            for (size_t i = 0; i + 4 < at && end == 0; i++) /* the reference: search the five */
                if (memcmp(text + i, "\r\n.\r\n", 5) == 0)
                    end = i + 2;
            ended = end > 0;
            for (size_t i = 0; i < (ended ? end : at); i++)
                fault |= text[i] == '\0' || (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) ||
                         (text[i] == '\r' && i + 1 < at && text[i + 1] != '\n');

            owner_init(&o);
            smtp_server_greet(o.server);
            owner_feed(&o, slice_of(TO_DATA));
            smtp_server_input(o.server, (struct slice){text, at});
            smtp_server_check(o.server);
            cr_expect_eq(o.ends > 0, ended, "%u of %u", k, n);
            if (ended)
                cr_expect_eq(strstr(buf_text(&o.events), "end fault=1") != NULL, fault, "%u of %u",
                             k, n);
            owner_fini(&o);
        }
    }
}

/* --- Errors in a row. */

Test(smtp_server, a_good_command_forgives_and_pipelining_is_no_error)
{
    struct owner o;

    owner_init(&o);
    smtp_server_greet(o.server);
    owner_feed(&o, slice_of(TO_READY "MAIL FROM:<refuse@b>\r\n"));
    for (int i = 0; i < 100; i++)
        owner_feed(&o, SLICE("RCPT TO:<a@b>\r\n"));
    owner_feed(&o, SLICE("DATA\r\n"));
    cr_expect_not(smtp_server_is_finished(o.server));
    for (int i = 0; i < 100; i++)
        owner_feed(&o, i % 9 == 8 ? SLICE("NOOP\r\n") : SLICE("FOO\r\n"));
    cr_expect_not(smtp_server_is_finished(o.server));
    for (int i = 0; i < 10; i++)
        owner_feed(&o, SLICE("FOO\r\n"));
    cr_expect(smtp_server_is_finished(o.server));
    cr_expect(strstr(buf_text(&o.out), "421 4.7.0 Too many errors on this connection\r\n"));
    owner_fini(&o);
}

/* --- Notes. */

Test(smtp_server, P7_what_comes_too_early_is_noted)
{
    static const struct {
        const char *name, *way, *in;
        unsigned notes;
    } cases[] = {
        {"nothing", TO_MAIL, "RCPT TO:<c@d>\r\nDATA\r\n", 0},
        {"behind EHLO", "", "EHLO a\r\nMAIL FROM:<>\r\n", SMTP_NOTE_EARLY_EHLO},
        {"behind DATA", TO_RCPT, "DATA\r\nx\r\n", SMTP_NOTE_EARLY_DATA},
        {"behind a refused DATA", TO_MAIL, "DATA\r\nx\r\n", 0},
        {"behind STARTTLS", "", "STARTTLS\r\nEHLO a\r\n", SMTP_NOTE_EARLY_STARTTLS},
        {"STARTTLS", "", "STARTTLS\r\n", 0},
        {"bare LF", "", "NOOP\nNOOP\r\n", SMTP_NOTE_BARE_OCTET},
        {"HTTP", "", "GET / HTTP/1.0\r\n", SMTP_NOTE_OTHER_PROTOCOL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (int waits = 0; waits < 2; waits++) {
            struct owner o;

            owner_init(&o);
            smtp_server_set_offers(o.server, SMTP_OFFER_STARTTLS);
            smtp_server_greet(o.server);
            if (cases[i].way[0])
                for (struct slice rest = slice_of(cases[i].way); rest.n > 0;) {
                    size_t n = (size_t)((const char *)memchr(rest.p, '\n', rest.n) - rest.p) + 1;

                    owner_feed(&o, (struct slice){rest.p, n});
                    rest = (struct slice){rest.p + n, rest.n - n};
                }
            o.waits = waits;
            owner_feed(&o, slice_of(cases[i].in));
            cr_expect_eq(smtp_server_notes(o.server), cases[i].notes, "%s, waits %d: %u",
                         cases[i].name, waits, smtp_server_notes(o.server));
            owner_fini(&o);
        }
}

Test(smtp_server, P7_input_while_DATA_waits_and_before_the_greeting_is_noted)
{
    struct owner o;

    owner_init(&o);
    smtp_server_input(o.server, SLICE("EHLO a\r\n"));
    cr_expect_eq(smtp_server_notes(o.server), SMTP_NOTE_EARLY_TALK);
    smtp_server_greet(o.server);
    owner_feed(&o, SLICE("EHLO a\r\n"));
    owner_feed(&o, SLICE("MAIL FROM:<>\r\n"));
    owner_feed(&o, SLICE("RCPT TO:<a@b>\r\n"));
    o.waits = true;
    owner_push(&o, SLICE("DATA\r\n"));
    cr_expect_eq(smtp_server_notes(o.server), SMTP_NOTE_EARLY_TALK);
    owner_push(&o, SLICE("x"));
    cr_expect_eq(smtp_server_notes(o.server), SMTP_NOTE_EARLY_TALK | SMTP_NOTE_EARLY_DATA);
    owner_answer(&o);
    owner_fini(&o);
}

/* --- STARTTLS: nothing of before is known behind it (RFC 3207 4.2). */

Test(smtp_server, P7_behind_STARTTLS_nothing_is_read_or_said)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_TIMEOUT);
    struct owner o;
    size_t said;

    owner_init(&o);
    smtp_server_set_offers(o.server, SMTP_OFFER_STARTTLS);
    smtp_server_greet(o.server);
    owner_feed(&o, SLICE(TO_READY));
    owner_feed(&o, SLICE("STARTTLS\r\nRSET\r\nMAIL FROM:<evil@b>\r\n"));
    cr_expect(smtp_server_wants_tls(o.server));
    cr_expect_eq(buf_size(&o.in), strlen("RSET\r\nMAIL FROM:<evil@b>\r\n"));
    said = buf_size(&o.out);
    cr_expect_eq(smtp_server_input(o.server, SLICE("NOOP\r\n")), 0);
    cr_expect_eq(buf_size(&o.out), said);
    smtp_server_tls_started(o.server);
    smtp_server_check(o.server);
    cr_expect_eq(smtp_server_helo_name(o.server).n, 0);
    cr_expect_not(smtp_server_is_esmtp(o.server));
    cr_expect_eq(o.accepted, 0);
    smtp_server_close(o.server, &reply);
    cr_expect_gt(buf_size(&o.out), said);
    owner_fini(&o);

    owner_init(&o);
    smtp_server_set_offers(o.server, SMTP_OFFER_STARTTLS);
    smtp_server_greet(o.server);
    owner_feed(&o, SLICE("STARTTLS\r\n"));
    said = buf_size(&o.out);
    smtp_server_close(o.server, &reply);
    cr_expect_eq(buf_size(&o.out), said, "nothing in plain text while the handshake is due");
    cr_expect(smtp_server_is_finished(o.server));
    owner_fini(&o);
}

/* --- Lines: each verb has its own length, by what the extensions add. */

Test(smtp_server, each_verb_has_its_longest_line)
{
    static const struct {
        const char *head, *tail;
        size_t max;
    } cases[] = {
        {"VRFY ", "", SMTP_LINE_MAX},
        {"EHLO ", "", SMTP_LINE_MAX},
        {"XYZZY ", "", SMTP_LINE_MAX},
        {"MAIL FROM:<a@b> X=", "", SMTP_LINE_MAX_MAIL},
        {"RCPT TO:<a@b> X=", "", SMTP_LINE_MAX_RCPT},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (size_t more = 0; more < 2; more++) {
            size_t n, head = strlen(cases[i].head);
            char *in = filled(cases[i].head, cases[i].max - head - 2 + more, "\r\n", &n);
            struct owner o;

            owner_init(&o);
            smtp_server_greet(o.server);
            owner_feed(&o, slice_of(TO_MAIL));
            buf_clear(&o.out);
            owner_feed(&o, (struct slice){in, n});
            cr_expect_eq(strncmp(buf_text(&o.out), "500 5.5.6", 9) == 0, more == 1, "%s%zu: %s",
                         cases[i].head, n, buf_text(&o.out));
            owner_fini(&o);
            free(in);
        }
}
