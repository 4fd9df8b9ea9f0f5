/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What others chose (replies, addresses, envelope ids) enters a line only through `add_clean`, so
 * that it can neither end the line nor bring octets that the notice does not declare.
 */
#include "smtp/smtp_dsn.h"

#include <stdio.h>

#include "base/clock.h"

#define TEXT_MAX 700 /* of what others said in one line, below the 998 of RFC 5322 2.1.1 */
#define BOUNDARY_SIZE 40

struct writer {
    const struct smtp_dsn *dsn;
    struct buf *out;
    char boundary[BOUNDARY_SIZE];
};

static const struct words {
    const char *action, *subject, *line;
    uint8_t class;
} words[] = {
    [SMTP_DSN_FAILED] = {"failed", "Your message could not be delivered",
                         "could not be delivered to the following, and is not tried any more", 5},
    [SMTP_DSN_DELAYED] = {"delayed", "Your message is delayed",
                          "could not be delivered yet to the following", 4},
    [SMTP_DSN_RELAYED] = {"relayed", "Your message was passed on",
                          "was passed on, for the following, to a server that does not confirm "
                          "delivery",
                          2},
};

static void
add_clean(const struct writer *w, const char *text)
{
    for (size_t n = 0; text[n] != '\0' && n < TEXT_MAX; n++) {
        unsigned char c = (unsigned char)text[n];
        bool is_good = c >= 0x80 ? w->dsn->is_smtputf8 : c >= ' ' && c != 0x7f;

        buf_add(w->out, is_good ? &text[n] : "?", 1);
    }
}

static int
hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 3461 4: "+XX" is an octet. */
static void
add_xtext(const struct writer *w, const char *xtext)
{
    char text[TEXT_MAX + 1];
    size_t n = 0;

    for (const char *p = xtext; *p != '\0' && n < TEXT_MAX; p++) {
        if (p[0] == '+' && hex_of(p[1]) >= 0 && hex_of(p[2]) >= 0) {
            text[n++] = (char)(hex_of(p[1]) * 16 + hex_of(p[2]));
            p += 2;
        } else
            text[n++] = *p;
    }
    text[n] = '\0';
    add_clean(w, text);
}

static void
add_date(const struct writer *w, const char *name, int64_t at_ms)
{
    char date[CLOCK_RFC5322_SIZE];

    buf_printf(w->out, "%s: %s\r\n", name, clock_rfc5322(at_ms, date));
}

/* --- For people. */

static void
add_recipient_text(const struct writer *w, const struct smtp_dsn_recipient *r)
{
    buf_add_text(w->out, "  <");
    add_clean(w, r->address);
    buf_add_text(w->out, ">\r\n    ");
    add_clean(w, r->why);
    if (r->said[0] != '\0') {
        buf_add_text(w->out, "\r\n    The server said: ");
        add_clean(w, r->said);
    }
    buf_add_text(w->out, "\r\n\r\n");
}

static void
add_text(const struct writer *w)
{
    const struct smtp_dsn *dsn = w->dsn;
    char arrived[CLOCK_RFC5322_SIZE], until[CLOCK_RFC5322_SIZE], ref[REF_SIZE];

    buf_printf(w->out, "Content-Type: text/plain; charset=%s\r\n",
               dsn->is_smtputf8 ? "utf-8\r\nContent-Transfer-Encoding: 8bit" : "us-ascii");
    buf_printf(w->out,
               "\r\nThis is %s, which receives mail for the address below.\r\n\r\n"
               "Your message of %s\r\n%s:\r\n\r\n",
               dsn->hostname, clock_rfc5322(dsn->arrived_at_ms, arrived), words[dsn->action].line);
    for (unsigned i = 0; i < dsn->recipient_count; i++)
        add_recipient_text(w, &dsn->recipients[i]);
    if (dsn->action == SMTP_DSN_DELAYED)
        buf_printf(w->out,
                   "It is tried again until %s.\r\n"
                   "You need not send it again.\r\n\r\n",
                   clock_rfc5322(dsn->until_ms, until));
    buf_printf(w->out, "Its reference here is %s.\r\n", ref_text(dsn->ref, ref));
}

/* --- For programs (RFC 3464 2). */

static void
add_original_recipient(const struct writer *w, const char *orcpt)
{
    const char *xtext = strchr(orcpt, ';');
    char type[TEXT_MAX + 1];

    if (xtext == NULL ||
        !slice_to_text((struct slice){orcpt, (size_t)(xtext - orcpt)}, type, sizeof type))
        return;
    buf_add_text(w->out, "Original-Recipient: ");
    add_clean(w, type);
    buf_add_text(w->out, "; ");
    add_xtext(w, xtext + 1);
    buf_add_text(w->out, "\r\n");
}

static void
add_recipient_fields(const struct writer *w, const struct smtp_dsn_recipient *r)
{
    const struct smtp_dsn *dsn = w->dsn;

    buf_add_text(w->out, "\r\n");
    add_original_recipient(w, r->orcpt);
    buf_printf(w->out, "Final-Recipient: %s; ", dsn->is_smtputf8 ? "utf-8" : "rfc822");
    add_clean(w, r->address);
    buf_printf(w->out, "\r\nAction: %s\r\n", words[dsn->action].action);
    if (r->status.class != 0)
        buf_printf(w->out, "Status: %u.%u.%u\r\n", r->status.class, r->status.subject,
                   r->status.detail);
    else
        buf_printf(w->out, "Status: %u.0.0\r\n", words[dsn->action].class);
    if (r->said[0] != '\0') {
        buf_add_text(w->out, "Diagnostic-Code: smtp; ");
        add_clean(w, r->said);
        buf_add_text(w->out, "\r\n");
    }
    if (r->last_attempt_at_ms != 0)
        add_date(w, "Last-Attempt-Date", r->last_attempt_at_ms);
    if (dsn->action == SMTP_DSN_DELAYED)
        add_date(w, "Will-Retry-Until", dsn->until_ms);
}

static void
add_status(const struct writer *w)
{
    const struct smtp_dsn *dsn = w->dsn;

    buf_printf(w->out, "Content-Type: message/%sdelivery-status\r\n\r\n",
               dsn->is_smtputf8 ? "global-" : "");
    if (dsn->envid[0] != '\0') {
        buf_add_text(w->out, "Original-Envelope-Id: ");
        add_xtext(w, dsn->envid);
        buf_add_text(w->out, "\r\n");
    }
    buf_printf(w->out, "Reporting-MTA: dns; %s\r\n", dsn->hostname);
    add_date(w, "Arrival-Date", dsn->arrived_at_ms);
    for (unsigned i = 0; i < dsn->recipient_count; i++)
        add_recipient_fields(w, &dsn->recipients[i]);
}

/* --- The message itself, as it came. */

static void
add_original(const struct writer *w)
{
    const struct smtp_dsn *dsn = w->dsn;
    const char *type = dsn->is_smtputf8
                           ? dsn->is_whole ? "message/global" : "message/global-headers"
                       : dsn->is_whole ? "message/rfc822"
                                       : "text/rfc822-headers";

    buf_printf(w->out, "Content-Type: %s\r\n%s\r\n", type,
               slice_is_ascii(dsn->original) ? "" : "Content-Transfer-Encoding: 8bit\r\n");
    buf_add_slice(w->out, dsn->original);
    if (dsn->original.n < 2 || memcmp(dsn->original.p + dsn->original.n - 2, "\r\n", 2) != 0)
        buf_add_text(w->out, "\r\n");
}

struct slice
smtp_dsn_header_of(struct slice message, size_t most)
{
    size_t end = 0;

    while (end < message.n) {
        const char *line = message.p + end;
        const char *lf = memchr(line, '\n', message.n - end);
        size_t length = lf ? (size_t)(lf - line) + 1 : message.n - end;

        if (lf == NULL || end + length > most || line[0] == '\n' ||
            (length == 2 && line[0] == '\r'))
            break;
        end += length;
    }
    return (struct slice){message.p, end};
}

/* --- All of it. */

static void
add_header(const struct writer *w)
{
    const struct smtp_dsn *dsn = w->dsn;
    bool has_high = dsn->is_smtputf8 || !slice_is_ascii(dsn->original);

    buf_printf(w->out, "From: Mail Delivery System <%s>\r\nTo: <", dsn->from);
    add_clean(w, dsn->reverse_path);
    buf_printf(w->out, ">\r\nSubject: %s\r\n", words[dsn->action].subject);
    add_date(w, "Date", dsn->now_ms);
    buf_printf(w->out,
               "Message-ID: <%016llx%016llx@%s>\r\nAuto-Submitted: auto-replied\r\n"
               "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=%sdelivery-status;"
               "\r\n\tboundary=\"%s\"\r\n%s\r\n",
               (unsigned long long)~dsn->random[0], (unsigned long long)dsn->random[1],
               dsn->hostname, dsn->is_smtputf8 ? "global-" : "", w->boundary,
               has_high ? "Content-Transfer-Encoding: 8bit\r\n" : "");
}

void
smtp_dsn_write(const struct smtp_dsn *dsn, struct buf *out)
{
    struct writer w = {.dsn = dsn, .out = out};

    CHECK(dsn->reverse_path[0] != '\0' && dsn->recipient_count > 0);
    snprintf(w.boundary, sizeof w.boundary, "=_%016llx%016llx", (unsigned long long)dsn->random[0],
             (unsigned long long)dsn->random[1]);
    add_header(&w);
    buf_add_text(out, "This is a delivery report in the form of RFC 3464.\r\n");
    buf_printf(out, "\r\n--%s\r\n", w.boundary);
    add_text(&w);
    buf_printf(out, "\r\n--%s\r\n", w.boundary);
    add_status(&w);
    buf_printf(out, "\r\n--%s\r\n", w.boundary);
    add_original(&w);
    buf_printf(out, "\r\n--%s--\r\n", w.boundary);
}
