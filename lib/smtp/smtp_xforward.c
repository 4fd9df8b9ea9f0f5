/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One row an attribute: its word, and how its value is found.  Values go out in xtext (RFC 3461 4),
 * so that nothing a client said can end the line or begin an attribute of its own.
 */
#include "smtp/smtp_xforward.h"

#include <stdio.h>

#define UNAVAILABLE "[UNAVAILABLE]"
#define VALUE_SIZE (SMTP_XFORWARD_VALUE_MAX + 1)

typedef void (*value_fn)(const struct smtp_xforward *x, char dst[VALUE_SIZE]);

/* A name that does not fit whole would be another one. */
static void
copy(const char *text, char dst[VALUE_SIZE])
{
    if (text == NULL || !slice_to_text(slice_of(text), dst, VALUE_SIZE))
        dst[0] = '\0';
}

static void
put_name(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    copy(x->client_name, dst);
}

static void
put_addr(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    char address[INET_ENDPOINT_SIZE];

    if (x->client.family)
        snprintf(dst, VALUE_SIZE, "%s%s", x->client.family == 6 ? "IPV6:" : "",
                 inet_address_text(&x->client, address));
}

static void
put_port(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    if (x->client.family && x->client.port)
        snprintf(dst, VALUE_SIZE, "%u", x->client.port);
}

static void
put_proto(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    copy(x->protocol, dst);
}

static void
put_helo(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    copy(x->helo, dst);
}

static void
put_ident(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    copy(x->ident, dst);
}

/* What came to us came from elsewhere: the other word, LOCAL, is for mail that was made here. */
static void
put_source(const struct smtp_xforward *x, char dst[VALUE_SIZE])
{
    (void)x;
    copy("REMOTE", dst);
}

static const struct attribute {
    unsigned bit, command;
    struct slice word;
    value_fn put;
} attributes[] = {
    {SMTP_XFORWARD_NAME, 0, SLICE("NAME"), put_name},
    {SMTP_XFORWARD_ADDR, 0, SLICE("ADDR"), put_addr},
    {SMTP_XFORWARD_PORT, 0, SLICE("PORT"), put_port},
    {SMTP_XFORWARD_PROTO, 0, SLICE("PROTO"), put_proto},
    {SMTP_XFORWARD_HELO, 1, SLICE("HELO"), put_helo},
    {SMTP_XFORWARD_IDENT, 1, SLICE("IDENT"), put_ident},
    {SMTP_XFORWARD_SOURCE, 1, SLICE("SOURCE"), put_source},
};

unsigned
smtp_xforward_offered(struct slice rest)
{
    unsigned bits = 0;

    while (rest.n > 0) {
        struct slice word = slice_split(&rest, ' ');

        for (size_t i = 0; i < ARRAY_SIZE(attributes); i++)
            if (slice_equal_nocase(word, attributes[i].word))
                bits |= attributes[i].bit;
    }
    return bits;
}

static void
add_xtext(struct buf *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c < 0x21 || *c > 0x7e || *c == '+' || *c == '=')
            buf_printf(out, "+%02X", *c);
        else
            buf_add(out, c, 1);
    }
}

static void
add_attribute(struct buf *out, const struct attribute *a, const struct smtp_xforward *x)
{
    char value[VALUE_SIZE] = "";

    a->put(x, value);
    buf_printf(out, " %s=", a->word.p);
    if (value[0])
        add_xtext(out, value);
    else
        buf_add_text(out, UNAVAILABLE);
}

static bool
add_command(struct buf *out, unsigned command, unsigned offered, const struct smtp_xforward *x)
{
    bool begun = false;

    for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
        if (attributes[i].command != command || !(offered & attributes[i].bit))
            continue;
        if (!begun)
            buf_add_text(out, "XFORWARD");
        begun = true;
        add_attribute(out, &attributes[i], x);
    }
    if (begun)
        buf_add_text(out, "\r\n");
    return begun;
}

unsigned
smtp_xforward_write(const struct smtp_xforward *x, unsigned offered, struct buf *out)
{
    unsigned first = add_command(out, 0, offered, x);

    return first + add_command(out, 1, offered, x);
}
