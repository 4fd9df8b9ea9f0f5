/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Delivery status notifications: the whole of one, octet by octet; what hostile text can do in it;
 * what is returned of the message.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/clock.h"
#include "smtp/smtp_dsn.h"

static const struct smtp_dsn_recipient refused = {
    .address = "user@acme.example",
    .orcpt = "rfc822;user+2Bx@old.example",
    .status = {5, 1, 1},
    .said = "550 5.1.1 no such user",
    .why = "Its server refused it.",
    .last_attempt_at_ms = 1795176000000,
};

static const char header[] = "From: <sender@origin.example>\r\nSubject: a test\r\n";

static struct smtp_dsn
dsn_of(const struct smtp_dsn_recipient *recipients, unsigned count)
{
    return (struct smtp_dsn){
        .action = SMTP_DSN_FAILED,
        .hostname = "relay.example",
        .from = "postmaster@relay.example",
        .reverse_path = "sender@origin.example",
        .envid = "",
        .ref = {.node = 1, .minute = 2, .number = 3},
        .random = {0x0123456789abcdef, 0xfedcba9876543210},
        .now_ms = 1795179600000,
        .arrived_at_ms = 1794744000000,
        .recipients = recipients,
        .recipient_count = count,
        .original = SLICE(header),
    };
}

static void
setup(void)
{
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
}

TestSuite(smtp_dsn, .init = setup);

#define BOUNDARY "=_0123456789abcdeffedcba9876543210"

Test(smtp_dsn, P4_the_whole_of_one)
{
    struct smtp_dsn dsn = dsn_of(&refused, 1);
    char want[4096], ref[REF_SIZE];
    struct buf out;

    dsn.envid = "QQ+3D1";
    snprintf(want, sizeof want,
             "From: Mail Delivery System <postmaster@relay.example>\r\n"
             "To: <sender@origin.example>\r\n"
             "Subject: Your message could not be delivered\r\n"
             "Date: Fri, 20 Nov 2026 14:00:00 +0100\r\n"
             "Message-ID: <fedcba9876543210fedcba9876543210@relay.example>\r\n"
             "Auto-Submitted: auto-replied\r\n"
             "MIME-Version: 1.0\r\n"
             "Content-Type: multipart/report; report-type=delivery-status;\r\n"
             "\tboundary=\"" BOUNDARY "\"\r\n"
             "\r\n"
             "This is a delivery report in the form of RFC 3464.\r\n"
             "\r\n--" BOUNDARY "\r\n"
             "Content-Type: text/plain; charset=us-ascii\r\n"
             "\r\n"
             "This is relay.example, which receives mail for the address below.\r\n"
             "\r\n"
             "Your message of Sun, 15 Nov 2026 13:00:00 +0100\r\n"
             "could not be delivered to the following, and is not tried any more:\r\n"
             "\r\n"
             "  <user@acme.example>\r\n"
             "    Its server refused it.\r\n"
             "    The server said: 550 5.1.1 no such user\r\n"
             "\r\n"
             "Its reference here is %s.\r\n"
             "\r\n--" BOUNDARY "\r\n"
             "Content-Type: message/delivery-status\r\n"
             "\r\n"
             "Original-Envelope-Id: QQ=1\r\n"
             "Reporting-MTA: dns; relay.example\r\n"
             "Arrival-Date: Sun, 15 Nov 2026 13:00:00 +0100\r\n"
             "\r\n"
             "Original-Recipient: rfc822; user+x@old.example\r\n"
             "Final-Recipient: rfc822; user@acme.example\r\n"
             "Action: failed\r\n"
             "Status: 5.1.1\r\n"
             "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"
             "Last-Attempt-Date: Fri, 20 Nov 2026 13:00:00 +0100\r\n"
             "\r\n--" BOUNDARY "\r\n"
             "Content-Type: text/rfc822-headers\r\n"
             "\r\n"
             "From: <sender@origin.example>\r\n"
             "Subject: a test\r\n"
             "\r\n--" BOUNDARY "--\r\n",
             ref_text(dsn.ref, ref));
    buf_init(&out, 0);
    smtp_dsn_write(&dsn, &out);
    cr_expect_str_eq(buf_text(&out), want);
    buf_fini(&out);
}

static bool
has(struct buf *out, const char *text)
{
    return strstr(buf_text(out), text) != NULL;
}

Test(smtp_dsn, a_delay_says_until_when)
{
    struct smtp_dsn_recipient away = {.address = "user@acme.example",
                                      .orcpt = "",
                                      .said = "",
                                      .why = "Its server could not be reached."};
    struct smtp_dsn dsn = dsn_of(&away, 1);
    struct buf out;

    dsn.action = SMTP_DSN_DELAYED;
    dsn.until_ms = 1795215600000;
    buf_init(&out, 0);
    smtp_dsn_write(&dsn, &out);
    cr_expect(has(&out, "\r\nAction: delayed\r\nStatus: 4.0.0\r\n"
                        "Will-Retry-Until: Sat, 21 Nov 2026 00:00:00 +0100\r\n"));
    cr_expect(has(&out, "It is tried again until Sat, 21 Nov 2026 00:00:00 +0100.\r\n"));
    cr_expect(!has(&out, "Diagnostic-Code") && !has(&out, "Original-Recipient"));
    buf_fini(&out);
}

Test(smtp_dsn, addresses_beyond_ascii)
{
    struct smtp_dsn_recipient utf8 = {
        .address = "j\xc3\xb6rg@acme.example", .orcpt = "", .said = "", .why = "It is away."};
    struct smtp_dsn dsn = dsn_of(&utf8, 1);
    struct buf out;

    dsn.is_smtputf8 = true;
    buf_init(&out, 0);
    smtp_dsn_write(&dsn, &out);
    cr_expect(has(&out, "report-type=global-delivery-status"));
    cr_expect(has(&out, "Final-Recipient: utf-8; j\xc3\xb6rg@acme.example\r\n"));
    cr_expect(has(&out, "Content-Type: message/global-headers\r\n"));
    buf_clear(&out);
    dsn.is_smtputf8 = false;
    smtp_dsn_write(&dsn, &out);
    cr_expect(has(&out, "Final-Recipient: rfc822; j??rg@acme.example\r\n"));
    buf_fini(&out);
}

/* Every line ends with CR LF, is no longer than 998, and has nothing but text. */
static void
expect_clean(const char *text)
{
    size_t length = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (p[0] == '\r' && p[1] == '\n') {
            p++;
            length = 0;
            continue;
        }
        cr_assert((*p >= ' ' && *p < 0x7f) || *p == '\t', "octet %02x", (unsigned char)*p);
        cr_assert_leq(++length, 998);
    }
}

Test(smtp_dsn, P7_what_others_said_stays_in_its_line)
{
    char longest[3000];
    struct smtp_dsn_recipient hostile = {
        .address = "a\r\nBcc: x@y\r\n\r\n--" BOUNDARY "--@acme.example",
        .orcpt = "rfc\r\n822;+0D+0AAction: delivered+00+zz+",
        .said = "550 \r\n.\r\n\x1b[31m\xff",
        .why = longest,
    };
    struct smtp_dsn_recipient two[] = {hostile, hostile};
    struct smtp_dsn dsn = dsn_of(two, 2);
    struct buf out;

    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    dsn.envid = "+0D+0AReporting-MTA: forged+1B";
    buf_init(&out, 0);
    smtp_dsn_write(&dsn, &out);
    expect_clean(buf_text(&out));
    cr_expect(!has(&out, "\r\nBcc") && !has(&out, "\r\nAction: delivered"));
    buf_fini(&out);
}

static const struct {
    const char *name, *message, *want;
    size_t most;
} returned[] = {
    {"header and body", "A: 1\r\nB: 2\r\n\r\nbody\r\n", "A: 1\r\nB: 2\r\n", 100},
    {"no body", "A: 1\r\n", "A: 1\r\n", 100},
    {"no header", "\r\nbody\r\n", "", 100},
    {"no end of line", "A: 1", "", 100},
    {"cut at a line end", "A: 1\r\nB: 2\r\nC: 3\r\n", "A: 1\r\nB: 2\r\n", 13},
    {"nothing", "", "", 100},
};

Test(smtp_dsn, what_is_returned_of_the_message)
{
    for (size_t i = 0; i < ARRAY_SIZE(returned); i++) {
        struct slice got = smtp_dsn_header_of(slice_of(returned[i].message), returned[i].most);

        cr_expect(slice_equal(got, slice_of(returned[i].want)), "%s", returned[i].name);
    }
}
