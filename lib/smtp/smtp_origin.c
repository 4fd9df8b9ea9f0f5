/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Written by MTAs, in the order of how often one meets them:
 *
 *   from HELO (NAME [192.0.2.1]) by ...          Postfix, sendmail, and whoever follows them
 *   from NAME ([192.0.2.1] helo=HELO) by ...     Exim
 *   from [192.0.2.1] (helo=HELO) by ...          Exim, of a client without a name
 *   from NAME (192.0.2.1) by ...                 Exchange
 *   from unknown (HELO HELO) (192.0.2.1) by ...  qmail
 *
 * The client chooses HELO, so the address is looked for in the last comment that has one, behind
 * what a client could have put into an earlier one, and words behind "helo" are left out.  Two
 * addresses in it are one too many.
 */
#include "smtp/smtp_origin.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum stage {
    LINE_BEGINS,
    IN_NAME,  /* of a field, so far that of "Received:" */
    OTHER,    /* in a line that does not matter */
    IN_FIELD, /* in the text of the field */
    FIELD_LINE_ENDED,
    ENDED,
};

static const char field_name[] = "received:";

void
smtp_origin_init(struct smtp_origin *o)
{
    o->length = 0;
    o->stage = LINE_BEGINS;
    o->matched = 0;
}

static void
keep(struct smtp_origin *o, char c)
{
    if (o->length < SMTP_ORIGIN_TEXT)
        o->text[o->length] = (unsigned char)c < 0x20 || c == 0x7f ? ' ' : c;
    o->length += o->length <= SMTP_ORIGIN_TEXT;
}

static void
begin_line(struct smtp_origin *o, char c)
{
    if (c == '\r' || c == '\n') {
        o->stage = ENDED; /* of the header */
        return;
    }
    o->matched = tolower((unsigned char)c) == field_name[0];
    o->stage = o->matched ? IN_NAME : OTHER;
}

static void
feed_octet(struct smtp_origin *o, char c)
{
    switch ((enum stage)o->stage) {
    case LINE_BEGINS:
        begin_line(o, c);
        return;
    case IN_NAME:
        if (tolower((unsigned char)c) != field_name[o->matched])
            o->stage = c == '\n' ? LINE_BEGINS : OTHER;
        else if (field_name[++o->matched] == '\0')
            o->stage = IN_FIELD;
        return;
    case OTHER:
        if (c == '\n')
            o->stage = LINE_BEGINS;
        return;
    case IN_FIELD:
        if (c == '\n')
            o->stage = FIELD_LINE_ENDED;
        else
            keep(o, c);
        return;
    case FIELD_LINE_ENDED:
        o->stage = c == ' ' || c == '\t' ? IN_FIELD : ENDED;
        keep(o, ' ');
        return;
    case ENDED:
        return;
    }
}

void
smtp_origin_feed(struct smtp_origin *o, struct slice piece)
{
    for (size_t i = 0; i < piece.n && o->stage != ENDED; i++)
        feed_octet(o, piece.p[i]);
}

/* --- The from clause. */

static bool
is_word(struct slice text, size_t at, const char *word)
{
    size_t n = strlen(word);

    return at + n <= text.n && strncasecmp(text.p + at, word, n) == 0 &&
           (at == 0 || text.p[at - 1] == ' ') && (at + n == text.n || text.p[at + n] == ' ');
}

/* From behind "from" to "by" outside of comments. */
static bool
from_clause(struct slice text, struct slice *clause)
{
    size_t begin = 0;
    int depth = 0;

    while (begin < text.n && text.p[begin] == ' ')
        begin++;
    if (!is_word(text, begin, "from"))
        return false;
    begin += 4;
    for (size_t i = begin; i < text.n; i++) {
        depth += text.p[i] == '(' ? 1 : text.p[i] == ')' && depth > 0 ? -1 : 0;
        if (depth == 0 && is_word(text, i, "by")) {
            *clause = (struct slice){text.p + begin, i - begin};
            return true;
        }
    }
    return false;
}

static bool
is_delimiter(char c)
{
    return c == ' ' || c == '(' || c == ')' || c == ',' || c == ';' || c == '=';
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]", "[192.0.2.1]:25", "192.0.2.1". */
static bool
address_of_token(struct slice token, struct inet_endpoint *address)
{
    struct inet_network network;
    const char *end;

    if (token.n > 2 && token.p[0] == '[') {
        end = memchr(token.p, ']', token.n);
        if (end == NULL)
            return false;
        token = (struct slice){token.p + 1, (size_t)(end - token.p) - 1};
        if (token.n > 5 && strncasecmp(token.p, "ipv6:", 5) == 0)
            token = (struct slice){token.p + 5, token.n - 5};
    }
    if (memchr(token.p, '/', token.n) || inet_network_parse(token, &network) < 0)
        return false;
    *address = (struct inet_endpoint){.family = network.family};
    memcpy(address->addr, network.addr, sizeof address->addr);
    return true;
}

/* How many different addresses a piece of the clause has, without what the client says of itself;
 * the last is in *address. */
static unsigned
addresses_in(struct slice piece, struct inet_endpoint *address)
{
    unsigned count = 0;

    for (size_t i = 0; i < piece.n;) {
        struct inet_endpoint found;
        size_t begin = i;

        while (i < piece.n && !is_delimiter(piece.p[i]))
            i++;
        if (i > begin) {
            struct slice token = {piece.p + begin, i - begin};

            if (slice_equal_nocase(token, SLICE("helo")) ||
                slice_equal_nocase(token, SLICE("ehlo")))
                break; /* the rest is the client's word */
            if (address_of_token(token, &found)) {
                count += count == 0 || !inet_endpoint_equal(&found, address);
                *address = found;
            }
        }
        i++;
    }
    return count;
}

/* The last comment that has an address; else what stands before the comments. */
static unsigned
addresses_of_clause(struct slice clause, struct inet_endpoint *address)
{
    size_t end = clause.n, first = clause.n;
    int depth = 0;

    for (size_t i = clause.n; i-- > 0;) {
        unsigned count;

        if (clause.p[i] == ')') {
            if (depth++ == 0)
                end = i;
        } else if (clause.p[i] == '(' && depth > 0 && --depth == 0) {
            first = i;
            count = addresses_in((struct slice){clause.p + i + 1, end - i - 1}, address);
            if (count > 0)
                return count;
        }
    }
    return addresses_in((struct slice){clause.p, first}, address);
}

static bool
is_public(const struct inet_endpoint *e)
{
    static const char *const others[] = {"0.0.0.0/8",      "10.0.0.0/8",     "100.64.0.0/10",
                                         "127.0.0.0/8",    "169.254.0.0/16", "172.16.0.0/12",
                                         "192.168.0.0/16", "224.0.0.0/3",    "::/8",
                                         "fc00::/7",       "fe80::/10",      "ff00::/8"};

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct inet_network network;

        if (inet_network_parse(slice_of(others[i]), &network) == ERR_OK &&
            inet_network_has(&network, e))
            return false;
    }
    return true;
}

bool
smtp_origin_client(const struct smtp_origin *o, struct inet_endpoint *client)
{
    struct slice clause;

    return o->length > 0 && o->length <= SMTP_ORIGIN_TEXT &&
           from_clause((struct slice){o->text, o->length}, &clause) &&
           addresses_of_clause(clause, client) == 1 && is_public(client);
}
