/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Our Received line, and the scan of the header in passage.
 *
 * What a peer chose (HELO name, PTR name, recipient) enters the line only through `add_name`, which
 * lets through what a host name or literal can consist of, or as a mailbox that the grammar has
 * accepted; so it can neither end the line nor forge a part of it.
 *
 * The scan reads the beginning of a line octet by octet until it knows what it is, and crosses the
 * rest with memchr.
 */
#include "smtp/smtp_trace.h"

#include "base/clock.h"
#include "smtp/smtp_path.h"

#define NAME_MAX_LENGTH 255 /* RFC 5321 4.5.3.1.2; the line stays below 998 (RFC 5322 2.1.1) */

static bool
is_name_octet(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("-._:[]", c) != NULL);
}

static void
add_name(struct buf *out, const char *name)
{
    char text[NAME_MAX_LENGTH];
    size_t n = 0;

    for (; n < sizeof text && name[n] != '\0'; n++)
        text[n] = is_name_octet(name[n]) ? name[n] : '?';
    if (n == 0)
        buf_add_text(out, "unknown");
    buf_add(out, text, n);
}

/* "for <...>" only for what is a mailbox in ASCII. */
static bool
add_recipient(struct buf *out, const char *recipient)
{
    struct smtp_path path;

    if (recipient == NULL || smtp_path_parse_mailbox(slice_of(recipient), &path) < 0 ||
        path.needs_smtputf8)
        return false;
    buf_printf(out, "\r\n\tfor <%s>; ", path.text);
    return true;
}

void
smtp_trace_write(const struct smtp_trace *trace, struct buf *out)
{
    char literal[INET_ENDPOINT_SIZE], ref[REF_SIZE], date[CLOCK_RFC5322_SIZE];

    buf_add_text(out, "Received: from ");
    add_name(out, trace->helo_name);
    buf_add_text(out, " (");
    add_name(out, trace->client_name);
    buf_printf(out, " %s)\r\n\tby ", inet_literal_text(trace->client, literal));
    add_name(out, trace->hostname);
    buf_printf(out, " (Postern) with %s id %s", trace->is_esmtp ? "ESMTP" : "SMTP",
               ref_text(trace->ref, ref));
    if (!add_recipient(out, trace->only_recipient))
        buf_add_text(out, ";\r\n\t");
    buf_printf(out, "%s\r\n", clock_rfc5322(trace->received_at_ms, date));
}

/* --- The header in passage. */

enum scan_state {
    SCAN_LINE,  /* at the start of a line */
    SCAN_NAME,  /* in what may be a field name */
    SCAN_SPACE, /* behind it: white space before the colon (RFC 5322 4.5) */
    SCAN_REST,  /* on the way to the end of a line */
    SCAN_CR,    /* behind a CR at the start of a line */
};

void
smtp_header_scan_init(struct smtp_header_scan *scan)
{
    *scan = (struct smtp_header_scan){
        .state = SCAN_LINE, .first_line_is_header = true, .in_first_line = true};
}

/* What the line is, is known now.  A line that is no field ends the scan only if it is the first:
 * relays disagree on junk inside a header, and for counting hops the longer header is the safe one.
 */
static void
judge_line(struct smtp_header_scan *scan, bool is_field)
{
    struct slice name = {scan->name, scan->name_length};

    if (scan->in_first_line && !is_field) {
        scan->first_line_is_header = false;
        scan->header_ended = true;
    }
    if (is_field && slice_equal_nocase(name, SLICE("received")))
        scan->received_count++;
    scan->in_first_line = false;
    scan->state = SCAN_REST;
}

static void
scan_name_octet(struct smtp_header_scan *scan, char c)
{
    if (c == ':' && scan->name_length > 0)
        judge_line(scan, true);
    else if ((c == ' ' || c == '\t') && scan->name_length > 0)
        scan->state = SCAN_SPACE;
    else if (scan->state == SCAN_SPACE || c < 33 || c == 127 || c == ':')
        judge_line(scan, false);
    else if (scan->name_length < sizeof scan->name)
        scan->name[scan->name_length++] = c;
    if (c == '\n')
        scan->state = SCAN_LINE; /* a line of one word */
}

static void
scan_octet(struct smtp_header_scan *scan, char c)
{
    if (scan->state == SCAN_CR) {
        scan->header_ended = c == '\n';
        if (!scan->header_ended)
            judge_line(scan, false);
        return;
    }
    if (scan->state == SCAN_LINE) {
        scan->name_length = 0;
        scan->state = c == '\r' ? SCAN_CR : SCAN_NAME;
        if (c == '\r')
            return;
    }
    scan_name_octet(scan, c);
}

void
smtp_header_scan_feed(struct smtp_header_scan *scan, struct slice piece)
{
    const char *p = piece.p, *end = piece.p + piece.n;

    while (p < end && !scan->header_ended) {
        if (scan->state != SCAN_REST) {
            scan_octet(scan, *p++);
            continue;
        }
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL)
            return;
        scan->state = SCAN_LINE;
        p++;
    }
}
