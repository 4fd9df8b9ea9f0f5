/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The header in passage, and our own line on top of it.  The first octet says how the rest is cut:
 * the scan says the same in any cut.  The rest as names of a peer (up to a NUL each): our line
 * stays one field whose lines begin with a tab, and is seen as one by the scan.
 */
#include "smtp/smtp_trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOSTNAME "mx.example"
#define DOMAIN "d.example"

static void
scan_in(struct smtp_header_scan *scan, struct slice s, size_t step)
{
    smtp_header_scan_init(scan, HOSTNAME, DOMAIN);
    for (size_t at = 0; at < s.n; at += step)
        smtp_header_scan_feed(scan, (struct slice){s.p + at, s.n - at < step ? s.n - at : step});
}

static void
check_scan(struct slice s, size_t step)
{
    struct smtp_header_scan whole, cut;

    scan_in(&whole, s, s.n > 0 ? s.n : 1);
    scan_in(&cut, s, step);
    CHECK(whole.received_count == cut.received_count && whole.own_received == cut.own_received);
    CHECK(whole.saw_8bit == cut.saw_8bit && whole.header_ended == cut.header_ended);
    CHECK(whole.first_line_is_header == cut.first_line_is_header);
    CHECK(whole.own_received <= whole.received_count);
}

static void
check_line(struct slice line)
{
    struct smtp_header_scan scan;
    unsigned lines = 0;

    CHECK(slice_starts_nocase(line, SLICE("received: from ")));
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i];

        if (c == '\r') {
            CHECK(i + 1 < line.n && line.p[i + 1] == '\n');
            CHECK(i + 2 == line.n || line.p[i + 2] == '\t');
            lines++;
            i++;
        } else
            CHECK(c == '\t' || (c >= 0x20 && c != 0x7f));
    }
    CHECK(lines == 3);
    scan_in(&scan, line, line.n);
    CHECK(scan.received_count == 1 && scan.own_received == 1 && scan.first_line_is_header);
}

static char *
take_text(struct slice *s)
{
    struct slice word = slice_split(s, '\0');
    char *text = malloc(word.n + 1);

    if (word.n > 0)
        memcpy(text, word.p, word.n);
    text[word.n] = '\0';
    return text;
}

static void
check_names(struct slice s, uint8_t way)
{
    char *texts[4];
    struct inet_endpoint client = {.family = way & 1 ? 6 : 4};
    struct smtp_trace trace = {.client = &client,
                               .hostname = HOSTNAME,
                               .domain = DOMAIN,
                               .ref = ref_make(1, 1700000000000, 1, 1)};
    struct buf out;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        texts[i] = take_text(&s);
    trace.helo_name = texts[0];
    trace.client_name = texts[1];
    trace.only_recipient = way & 2 ? texts[2] : NULL;
    trace.tls_version = way & 4 ? "TLSv1.3" : NULL;
    trace.tls_cipher = texts[3];
    trace.is_esmtp = way & 8;
    trace.is_smtputf8 = way & 16;
    buf_init(&out, 0);
    smtp_trace_write(&trace, &out);
    check_line(buf_slice(&out));
    buf_fini(&out);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data + 1, size - 1};

    if (size < 2)
        return 0;
    check_scan(rest, 1 + data[0] % 64);
    check_names(rest, data[0]);
    return 0;
}
