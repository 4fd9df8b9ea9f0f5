/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every value goes through one of two functions, add_comment_text and add_value; there is no third
 * way into a line.
 */
#include "spf/spf_header.h"

#define VALUE_MAX 320 /* octets of a value; a longer one is cut */

static char
printable(char c)
{
    return c >= ' ' && c <= '~' ? c : '?';
}

/* Inside "(...)": what could end or nest it, or escape, is written otherwise, for readers that do
 * not know quoted pairs. */
static void
add_comment_text(struct buf *out, const char *text)
{
    for (size_t n = 0; text[n] != '\0' && n < VALUE_MAX; n++) {
        char c = printable(text[n]);

        if (c == '(')
            c = '[';
        else if (c == ')')
            c = ']';
        else if (c == '\\')
            c = '/';
        else if (c == '"')
            c = '\'';
        buf_add(out, &c, 1);
    }
}

/* RFC 5322 3.2.3, and a token of RFC 2045 as well. */
static bool
is_plain(const char *text)
{
    bool was_dot = true; /* none may come first */
    size_t n = 0;

    for (; text[n] != '\0'; n++) {
        char c = text[n];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';

        if (!is_word && (c != '.' || was_dot))
            return false;
        was_dot = c == '.';
    }
    return n > 0 && n < VALUE_MAX && !was_dot;
}

static void
add_value(struct buf *out, const char *text)
{
    if (is_plain(text)) {
        buf_add_text(out, text);
        return;
    }
    buf_add_text(out, "\"");
    for (size_t n = 0; text[n] != '\0' && n < VALUE_MAX; n++) {
        char c = printable(text[n]);

        if (c == '"' || c == '\\')
            buf_add_text(out, "\\");
        buf_add(out, &c, 1);
    }
    buf_add_text(out, "\"");
}

/* A line of its own for each: none can become too long. */
static void
add_pair(struct buf *out, const char *key, const char *value)
{
    buf_printf(out, "\r\n\t%s=", key);
    add_value(out, value);
    buf_add_text(out, ";");
}

void
spf_header_write_received(const struct spf_header *h, struct buf *out)
{
    char address[INET_ENDPOINT_SIZE];

    buf_printf(out, "Received-SPF: %s (", spf_verdict_text(h->result->verdict));
    add_comment_text(out, h->hostname);
    buf_add_text(out, ": ");
    add_comment_text(out, h->result->reason);
    buf_add_text(out, ")");
    add_pair(out, "receiver", h->hostname);
    add_pair(out, "identity", h->result->identity == SPF_HELO ? "helo" : "mailfrom");
    add_pair(out, "client-ip", inet_address_text(&h->question->client, address));
    add_pair(out, "helo", h->question->helo);
    add_pair(out, "envelope-from", h->question->mail_from);
    if (h->result->mechanism[0] != '\0')
        add_pair(out, "mechanism", h->result->mechanism);
    buf_add_text(out, "\r\n");
}

/* The domain that was judged; what was no domain, as it came. */
static const char *
judged(const struct spf_header *h)
{
    if (h->result->domain[0] != '\0')
        return h->result->domain;
    return h->result->identity == SPF_HELO ? h->question->helo : h->question->mail_from;
}

void
spf_header_write_auth_part(const struct spf_header *h, struct buf *out)
{
    buf_printf(out, ";\r\n\tspf=%s", spf_verdict_text(h->result->verdict));
    if (h->result->reason[0] != '\0') {
        buf_add_text(out, "\r\n\treason=");
        add_value(out, h->result->reason);
    }
    buf_printf(out, "\r\n\tsmtp.%s=", h->result->identity == SPF_HELO ? "helo" : "mailfrom");
    add_value(out, judged(h));
}
