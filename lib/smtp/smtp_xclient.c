/* SPDX-License-Identifier: BSD-2-Clause
 *
 * XCLIENT's attributes: one table row each.  Values are xtext (RFC 3461 4): "+" and two hexadecimal
 * digits stand for an octet.  What has been undone must again be printable ASCII without spaces, so
 * that no value can hold a line end, whoever is trusted to send it.
 *
 * Not here: who may say XCLIENT, and what a session makes of it.
 */
#include "smtp/smtp_xclient.h"

#include "base/parse.h"

struct attribute {
    struct slice name;
    enum smtp_xclient_attribute bit;
    bool (*parse)(struct slice value, struct smtp_xclient *x);
};

static bool
take_text(struct slice value, char dst[SMTP_XCLIENT_TEXT_SIZE])
{
    return slice_to_text(value, dst, SMTP_XCLIENT_TEXT_SIZE);
}

static bool
parse_name(struct slice value, struct smtp_xclient *x)
{
    return take_text(value, x->name);
}

static bool
parse_reverse_name(struct slice value, struct smtp_xclient *x)
{
    return take_text(value, x->reverse_name);
}

static bool
parse_helo(struct slice value, struct smtp_xclient *x)
{
    return take_text(value, x->helo);
}

static bool
parse_login(struct slice value, struct smtp_xclient *x)
{
    return take_text(value, x->login);
}

/* "192.0.2.1" or "IPV6:2001:db8::1"; a bare IPv6 address is taken as well. */
static bool
take_address(struct slice value, struct inet_endpoint *dst)
{
    static const struct slice tag = {"IPV6:", 5};
    struct inet_endpoint e;
    unsigned colons = 0;

    if (slice_starts_nocase(value, tag))
        value = (struct slice){value.p + tag.n, value.n - tag.n};
    if (value.n == 0 || memchr(value.p, '[', value.n) != NULL)
        return false;
    for (size_t i = 0; i < value.n; i++)
        colons += value.p[i] == ':';
    if (colons == 1 || inet_endpoint_parse(value, 25, &e) < 0) /* one would be a port */
        return false;
    e.port = dst->port;
    *dst = e;
    return true;
}

static bool
parse_addr(struct slice value, struct smtp_xclient *x)
{
    return take_address(value, &x->client);
}

static bool
parse_destaddr(struct slice value, struct smtp_xclient *x)
{
    return take_address(value, &x->destination);
}

static bool
take_port(struct slice value, uint16_t *port)
{
    uint64_t v;

    if (parse_u64(value, &v) < 0 || v > UINT16_MAX)
        return false;
    *port = (uint16_t)v;
    return true;
}

static bool
parse_port(struct slice value, struct smtp_xclient *x)
{
    return take_port(value, &x->client.port);
}

static bool
parse_destport(struct slice value, struct smtp_xclient *x)
{
    return take_port(value, &x->destination.port);
}

static bool
parse_proto(struct slice value, struct smtp_xclient *x)
{
    x->is_esmtp = slice_equal_nocase(value, SLICE("ESMTP"));
    return x->is_esmtp || slice_equal_nocase(value, SLICE("SMTP"));
}

static const struct attribute attributes[] = {
    {{"NAME", 4}, SMTP_XCLIENT_NAME, parse_name},
    {{"ADDR", 4}, SMTP_XCLIENT_ADDR, parse_addr},
    {{"PORT", 4}, SMTP_XCLIENT_PORT, parse_port},
    {{"PROTO", 5}, SMTP_XCLIENT_PROTO, parse_proto},
    {{"HELO", 4}, SMTP_XCLIENT_HELO, parse_helo},
    {{"LOGIN", 5}, SMTP_XCLIENT_LOGIN, parse_login},
    {{"DESTADDR", 8}, SMTP_XCLIENT_DESTADDR, parse_destaddr},
    {{"DESTPORT", 8}, SMTP_XCLIENT_DESTPORT, parse_destport},
    {{"REVERSE_NAME", 12}, SMTP_XCLIENT_REVERSE_NAME, parse_reverse_name},
};

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
undo_xtext(struct slice value, char dst[SMTP_XCLIENT_TEXT_SIZE])
{
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        int c = (unsigned char)value.p[i];

        if (c == '+') {
            if (value.n - i < 3 || hex_digit(value.p[i + 1]) < 0 || hex_digit(value.p[i + 2]) < 0)
                return false;
            c = hex_digit(value.p[i + 1]) * 16 + hex_digit(value.p[i + 2]);
            i += 2;
        }
        if (c < 0x21 || c > 0x7e || n == SMTP_XCLIENT_TEXT_SIZE - 1)
            return false;
        dst[n++] = (char)c;
    }
    dst[n] = '\0';
    return n > 0;
}

static bool
parse_attribute(const struct attribute *a, struct slice value, struct smtp_xclient *x)
{
    char text[SMTP_XCLIENT_TEXT_SIZE];

    if (x->given & a->bit)
        return false;
    x->given |= a->bit;
    if (slice_equal_nocase(value, SLICE("[UNAVAILABLE]")))
        x->unavailable |= a->bit;
    else if (slice_equal_nocase(value, SLICE("[TEMPUNAVAIL]")))
        x->temporary |= a->bit;
    else
        return undo_xtext(value, text) && a->parse(slice_of(text), x);
    return true;
}

static bool
parse_word(struct slice word, struct smtp_xclient *x)
{
    struct slice value = word, name = slice_split(&value, '=');

    if (value.p == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(attributes); i++)
        if (slice_equal_nocase(name, attributes[i].name))
            return parse_attribute(&attributes[i], value, x);
    return false;
}

int
smtp_xclient_parse(struct slice args, struct smtp_xclient *x)
{
    *x = (struct smtp_xclient){0};
    while (args.p != NULL) {
        struct slice word = slice_split(&args, ' ');

        if (word.n > 0 && !parse_word(word, x))
            return ERR_SYNTAX;
    }
    return x->given ? ERR_OK : ERR_SYNTAX;
}
