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

/* "for <...>" only for what is a mailbox, in ASCII unless the header may be UTF-8. */
static bool
add_recipient(struct buf *out, const struct smtp_trace *trace)
{
    struct smtp_path path;

    if (trace->only_recipient == NULL ||
        smtp_path_parse_mailbox(slice_of(trace->only_recipient), &path) < 0 ||
        (path.needs_smtputf8 && !trace->is_smtputf8))
        return false;
    buf_printf(out, "\r\n\tfor <%s>; ", path.text);
    return true;
}

static bool
is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* The registered names of "with" (RFC 3848, RFC 6531 4.3); there is none for HELO with TLS. */
static const char *
protocol(const struct smtp_trace *trace)
{
    bool tls = is_given(trace->tls_version);

    if (!trace->is_esmtp)
        return "SMTP";
    if (trace->is_smtputf8)
        return tls ? "UTF8SMTPS" : "UTF8SMTP";
    return tls ? "ESMTPS" : "ESMTP";
}

static void
add_host(struct buf *out, const struct smtp_trace *trace)
{
    add_name(out, trace->hostname);
    buf_add_text(out, " (Postern");
    if (is_given(trace->domain)) {
        buf_add_text(out, " ");
        add_name(out, trace->domain);
    }
    buf_add_text(out, ")");
}

static void
add_tls(struct buf *out, const struct smtp_trace *trace)
{
    if (!is_given(trace->tls_version))
        return;
    buf_add_text(out, " (");
    add_name(out, trace->tls_version);
    buf_add_text(out, " ");
    add_name(out, trace->tls_cipher ? trace->tls_cipher : "");
    buf_add_text(out, ")");
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
    add_host(out, trace);
    buf_printf(out, " with %s id %s", protocol(trace), ref_text(trace->ref, ref));
    add_tls(out, trace);
    if (!add_recipient(out, trace))
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
smtp_header_scan_init(struct smtp_header_scan *scan, const char *hostname, const char *domain)
{
    *scan = (struct smtp_header_scan){.state = SCAN_LINE,
                                      .first_line_is_header = true,
                                      .in_first_line = true,
                                      .hostname = hostname ? hostname : "",
                                      .domain = domain ? domain : ""};
}

/* --- Received lines of ours: by HOST (Postern DOMAIN) with ANY id REF, in any folding.  The words
 * of the line are compared one by one with what must come next; a word that does not match begins
 * the search anew.  A comment of somebody else that quotes us can be counted, which only its writer
 * can do to himself. */

static bool
is_token(const struct smtp_header_scan *scan, const char *text)
{
    return slice_equal_nocase((struct slice){scan->token, scan->token_length}, slice_of(text));
}

static bool
is_own_domain(const struct smtp_header_scan *scan)
{
    struct slice token = {scan->token, scan->token_length};
    struct slice domain = slice_of(scan->domain);

    return token.n == domain.n + 1 && token.p[domain.n] == ')' && domain.n > 0 &&
           slice_equal_nocase((struct slice){token.p, domain.n}, domain);
}

static bool
is_reference(const struct smtp_header_scan *scan)
{
    struct slice token = {scan->token, scan->token_length};
    struct ref ref;

    if (token.n > 0 && token.p[token.n - 1] == ';')
        token.n--;
    return ref_parse(token, &ref) == ERR_OK;
}

static bool
token_matches(const struct smtp_header_scan *scan)
{
    switch (scan->matched) {
    case 0:
        return is_token(scan, "by");
    case 1:
        return scan->hostname[0] != '\0' && is_token(scan, scan->hostname);
    case 2:
        return is_token(scan, "(Postern");
    case 3:
        return is_own_domain(scan);
    case 4:
        return is_token(scan, "with");
    case 5:
        return true;
    case 6:
        return is_token(scan, "id");
    default:
        return is_reference(scan);
    }
}

static void
end_token(struct smtp_header_scan *scan)
{
    if (scan->token_length == 0)
        return;
    if (token_matches(scan))
        scan->matched++;
    else
        scan->matched = is_token(scan, "by");
    if (scan->matched == 8) {
        scan->own_received++;
        scan->in_received = false; /* once a line */
    }
    scan->token_length = 0;
}

/* One that does not fit matches nothing; it stays at its full length until it ends. */
static void
scan_token_octet(struct smtp_header_scan *scan, char c)
{
    if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
        end_token(scan);
    else if (scan->token_length < sizeof scan->token)
        scan->token[scan->token_length++] = c;
}

static void
scan_message_id_octet(struct smtp_header_scan *scan, char c)
{
    if (c > 32 && c < 127 && scan->message_id_length < sizeof scan->message_id - 1)
        scan->message_id[scan->message_id_length++] = c;
}

/* Part of a header line. */
static void
look_at(struct smtp_header_scan *scan, struct slice s)
{
    scan->saw_8bit = scan->saw_8bit || !slice_is_ascii(s);
    for (size_t i = 0; scan->in_received && i < s.n; i++)
        scan_token_octet(scan, s.p[i]);
    for (size_t i = 0; scan->in_message_id && i < s.n; i++)
        scan_message_id_octet(scan, s.p[i]);
}

/* --- Lines. */

static void
begin_field(struct smtp_header_scan *scan, bool is_received, bool is_message_id)
{
    scan->in_message_id = is_message_id && scan->message_id_length == 0;
    scan->in_received = is_received;
    scan->matched = 0;
    scan->token_length = 0;
}

/* What the line is, is known now.  A line that is no field ends the scan only if it is the first:
 * relays disagree on junk inside a header, and for counting hops the longer header is the safe one.
 * A line that is no field and does not begin with a space ends a Received line. */
static void
judge_line(struct smtp_header_scan *scan, bool is_field)
{
    struct slice name = {scan->name, is_field ? scan->name_length : 0};
    bool received = slice_equal_nocase(name, SLICE("received"));

    if (scan->in_first_line && !is_field) {
        scan->first_line_is_header = false;
        scan->header_ended = true;
    }
    scan->received_count += received;
    begin_field(scan, received, slice_equal_nocase(name, SLICE("message-id")));
    scan->in_first_line = false;
    scan->state = SCAN_REST;
}

/* " more of the line before". */
static bool
continue_line(struct smtp_header_scan *scan, char c)
{
    if ((c != ' ' && c != '\t') || scan->name_length > 0 || scan->in_first_line)
        return false;
    scan->state = SCAN_REST;
    return true;
}

static void
scan_name_octet(struct smtp_header_scan *scan, char c)
{
    if (continue_line(scan, c))
        return;
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

/* On the way to the end of a line; returns behind what was used. */
static const char *
scan_rest(struct smtp_header_scan *scan, const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    const char *stop = lf ? lf + 1 : end;

    look_at(scan, (struct slice){p, (size_t)(stop - p)});
    if (lf != NULL)
        scan->state = SCAN_LINE;
    return stop;
}

void
smtp_header_scan_feed(struct smtp_header_scan *scan, struct slice piece)
{
    const char *p = piece.p, *end = piece.p + piece.n;

    while (p < end && !scan->header_ended) {
        if (scan->state == SCAN_REST)
            p = scan_rest(scan, p, end);
        else {
            scan->saw_8bit = scan->saw_8bit || (unsigned char)*p > 0x7f;
            scan_octet(scan, *p++);
        }
    }
}
