/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Our Received line, and the scan of a header in passage.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <time.h>

#include "smtp/smtp_trace.h"

#define LINE_2 "\r\n\tby mx.example (Postern) with ESMTP id P007-"
#define DATE "Wed, 18 Nov 2026 11:06:40 +0000\r\n"

static const struct {
    const char *name, *helo, *ptr, *rcpt, *head, *tail;
} traces[] = {
    {"plain", "client.example", "ptr.example", "joe@d.example",
     "Received: from client.example (ptr.example [192.0.2.1])" LINE_2,
     "\r\n\tfor <joe@d.example>; " DATE},
    {"no PTR, several recipients", "client", "", NULL,
     "Received: from client (unknown [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"literal", "[IPv6:2001:db8::1]", "", NULL,
     "Received: from [IPv6:2001:db8::1] (unknown [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"no HELO", "", "", NULL, "Received: from unknown (unknown [192.0.2.1])" LINE_2,
     ";\r\n\t" DATE},
    {"HELO breaks the line", "a\r\nX: y", "", NULL,
     "Received: from a??X:?y (unknown [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"HELO forges", "a(b)c;d\"e\\f<g>", "h)(i", NULL,
     "Received: from a?b?c?d?e?f?g? (h??i [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"8-bit", "\xc3\xbc", "\x80", NULL, "Received: from ?? (? [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"quoted recipient", "a", "", "\"a b\"@d.example",
     "Received: from a (unknown [192.0.2.1])" LINE_2, "\r\n\tfor <\"a b\"@d.example>; " DATE},
    {"recipient breaks the line", "a", "", "a@b\r\nX: y",
     "Received: from a (unknown [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
    {"recipient forges", "a", "", "a@b>; x <c@d", "Received: from a (unknown [192.0.2.1])" LINE_2,
     ";\r\n\t" DATE},
    {"UTF-8 recipient", "a", "", "\xc3\xbc@d.example",
     "Received: from a (unknown [192.0.2.1])" LINE_2, ";\r\n\t" DATE},
};

static void
write_trace(size_t i, struct buf *out)
{
    struct inet_endpoint client;
    int rc = inet_endpoint_parse(SLICE("192.0.2.1:1024"), 0, &client);
    struct smtp_trace trace = {
        .helo_name = traces[i].helo,
        .client_name = traces[i].ptr,
        .client = &client,
        .hostname = "mx.example",
        .is_esmtp = true,
        .ref = ref_make(7, 1795000000000, 1, 1),
        .only_recipient = traces[i].rcpt,
        .received_at_ms = 1795000000000,
    };

    cr_assert_eq(rc, ERR_OK);
    smtp_trace_write(&trace, out);
}

Test(smtp_trace, P7_nothing_breaks_out_of_received)
{
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < ARRAY_SIZE(traces); i++) {
        struct buf out;
        const char *text;
        size_t n;

        buf_init(&out, 0);
        write_trace(i, &out);
        text = buf_text(&out);
        n = strlen(text);
        cr_expect(strncmp(text, traces[i].head, strlen(traces[i].head)) == 0, "%s: %s",
                  traces[i].name, text);
        cr_expect(n > strlen(traces[i].tail), "%s", traces[i].name);
        cr_expect_str_eq(text + n - strlen(traces[i].tail), traces[i].tail, "%s", traces[i].name);
        buf_fini(&out);
    }
}

static const struct {
    const char *name, *in;
    unsigned received;
    bool ended, header;
} scans[] = {
    {"nothing", "", 0, false, true},
    {"a header", "Subject: x\r\n\r\nbody\r\n", 0, true, true},
    {"hops", "Received: a\r\nRECEIVED :b\r\n\tc\r\nreceived:\r\n\r\nReceived: x\r\n", 3, true,
     true},
    {"folded", "X: y\r\n Received: no\r\n\tReceived: no\r\n\r\n", 0, true, true},
    {"longer and shorter names", "Received-SPF: x\r\nReceive: x\r\nX-Received: x\r\n\r\n", 0, true,
     true},
    {"very long name", "Receivedxxxxxxxxxxxxxxxxxxxxxxxxxx: x\r\n\r\n", 0, true, true},
    {"header not ended", "Received: a\r\nSubject: b\r\n", 1, false, true},
    {"empty header", "\r\nReceived: a\r\n", 0, true, true},
    {"no header", "hello\r\nReceived: a\r\n", 0, true, false},
    {"no header, two words", "hello you: there\r\nReceived: a\r\n", 0, true, false},
    {"begins with a space", " Received: a\r\n\r\n", 0, true, false},
    {"begins with a colon", ": a\r\nReceived: a\r\n", 0, true, false},
    {"8-bit first", "\xc3\xbc: a\r\n\r\n", 0, true, false},
    {"junk inside", "Received: a\r\njunk\r\nReceived: b\r\n\r\nReceived: c\r\n", 2, true, true},
};

Test(smtp_trace, header_scan_in_any_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(scans); i++)
        for (size_t cut = 0; cut <= strlen(scans[i].in); cut++) {
            struct smtp_header_scan scan;
            const char *in = scans[i].in;

            smtp_header_scan_init(&scan, "mx.example", "acme.example");
            smtp_header_scan_feed(&scan, (struct slice){in, cut});
            smtp_header_scan_feed(&scan, slice_of(in + cut));
            cr_expect_eq(scan.received_count, scans[i].received, "%s, cut at %zu: %u",
                         scans[i].name, cut, scan.received_count);
            cr_expect_eq(scan.header_ended, scans[i].ended, "%s, cut at %zu", scans[i].name, cut);
            cr_expect_eq(scan.first_line_is_header, scans[i].header, "%s, cut at %zu",
                         scans[i].name, cut);
        }
}

static const struct {
    const char *name, *in, *want;
} message_ids[] = {
    {"none", "Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", ""},
    {"one", "Message-ID: <a@b>\r\n\r\n", "<a@b>"},
    {"folded, with odd octets", "X: y\r\nMESSAGE-ID :\r\n\t<a\x01\xff@ b>\r\n\r\n", "<a@b>"},
    {"the first counts", "Message-Id: <a@b>\r\nX: y\r\nMessage-Id: <c@d>\r\n\r\n", "<a@b>"},
    {"longer names", "Message-IDs: <a@b>\r\nX-Message-ID: <c@d>\r\n\r\n", ""},
};

Test(smtp_trace, message_id_in_any_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(message_ids); i++)
        for (size_t cut = 0; cut <= strlen(message_ids[i].in); cut++) {
            struct smtp_header_scan scan;
            const char *in = message_ids[i].in;

            smtp_header_scan_init(&scan, NULL, NULL);
            smtp_header_scan_feed(&scan, (struct slice){in, cut});
            smtp_header_scan_feed(&scan, slice_of(in + cut));
            cr_expect_str_eq(scan.message_id, message_ids[i].want, "%s, cut at %zu",
                             message_ids[i].name, cut);
        }
}

Test(smtp_trace, a_message_id_is_bounded)
{
    struct smtp_header_scan scan;

    smtp_header_scan_init(&scan, NULL, NULL);
    smtp_header_scan_feed(&scan, SLICE("Message-ID: "));
    for (int i = 0; i < 1000; i++)
        smtp_header_scan_feed(&scan, SLICE("x"));
    cr_expect_eq(strlen(scan.message_id), SMTP_HEADER_MESSAGE_ID - 1);
}
