/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Strict where the specification is: a header that is not exactly of its form is no header.  What
 * it says beyond addresses (the type-length-values of version 2) is skipped.  Each call looks at
 * the input from its first octet: a header is short and comes in one piece.
 */
#include "net/proxy_protocol.h"

#include "base/parse.h"

#define V1_LINE_MAX 107 /* with CR LF and without a NUL: section 2.1 */
#define V2_FIXED_SIZE 16

static const struct slice v1_begin = {"PROXY ", 6};
static const struct slice v2_begin = {"\r\n\r\n\0\r\nQUIT\n", 12};

/* --- Version 1. */

static int
parse_address(struct slice address, uint8_t family, struct inet_endpoint *e)
{
    struct inet_network one; /* without a prefix: an address, and no port */

    if (address.n == 0 || memchr(address.p, '/', address.n) ||
        (memchr(address.p, ':', address.n) != NULL) != (family == 6) ||
        inet_network_parse(address, &one) < 0)
        return ERR_SYNTAX;
    *e = (struct inet_endpoint){.family = one.family};
    memcpy(e->addr, one.addr, sizeof e->addr);
    return ERR_OK;
}

static int
parse_port(struct slice text, struct inet_endpoint *e)
{
    uint64_t port;

    if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0') ||
        parse_u64(text, &port) < 0 || port > 65535)
        return ERR_SYNTAX;
    e->port = (uint16_t)port;
    return ERR_OK;
}

/* Behind "PROXY ", without CR LF. */
static int
parse_v1_words(struct slice rest, struct proxy_protocol_header *h)
{
    struct slice family = slice_split(&rest, ' ');
    uint8_t number = slice_equal(family, SLICE("TCP4")) ? 4 : 6;
    struct slice words[4];

    if (slice_equal(family, SLICE("UNKNOWN"))) { /* whatever follows is to be ignored */
        h->is_own = true;
        return ERR_OK;
    }
    if (number == 6 && !slice_equal(family, SLICE("TCP6")))
        return ERR_SYNTAX;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (rest.p == NULL)
            return ERR_SYNTAX;
        words[i] = slice_split(&rest, ' ');
    }
    if (rest.p != NULL || parse_address(words[0], number, &h->source) < 0 ||
        parse_address(words[1], number, &h->destination) < 0 ||
        parse_port(words[2], &h->source) < 0 || parse_port(words[3], &h->destination) < 0)
        return ERR_SYNTAX;
    return ERR_OK;
}

static int
parse_v1(struct slice input, struct proxy_protocol_header *h, size_t *size)
{
    size_t look = input.n < V1_LINE_MAX ? input.n : V1_LINE_MAX;
    const char *lf = memchr(input.p, '\n', look);
    struct slice line;

    if (lf == NULL)
        return input.n < V1_LINE_MAX ? ERR_AGAIN : ERR_SYNTAX;
    line = (struct slice){input.p + v1_begin.n, (size_t)(lf - input.p) - v1_begin.n};
    if (line.n == 0 || line.p[line.n - 1] != '\r')
        return ERR_SYNTAX;
    line.n--;
    *size = (size_t)(lf + 1 - input.p);
    return parse_v1_words(line, h);
}

/* --- Version 2. */

/* Octets of the two addresses and ports: section 2.2. */
enum { V2_INET_SIZE = 12, V2_INET6_SIZE = 36 };

static void
take_v2(const char *p, unsigned family, struct proxy_protocol_header *h)
{
    struct inet_endpoint *ends[] = {&h->source, &h->destination};
    size_t width = family == 4 ? 4 : 16;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        const uint8_t *port = (const uint8_t *)p + 2 * width + 2 * i;
        struct inet_endpoint *e = ends[i];

        *e = (struct inet_endpoint){.family = (uint8_t)family,
                                    .port = (uint16_t)(port[0] << 8 | port[1])};
        memcpy(e->addr, p + i * width, width);
        if (family == 6 && memcmp(e->addr, mapped, sizeof mapped) == 0) {
            memcpy(e->addr, e->addr + 12, 4);
            memset(e->addr + 4, 0, 12);
            e->family = 4;
        }
    }
}

static int
parse_v2_addresses(unsigned command, unsigned kind, struct slice rest,
                   struct proxy_protocol_header *h)
{
    enum { LOCAL = 0x20, PROXY = 0x21, TCP_OVER_IPV4 = 0x11, TCP_OVER_IPV6 = 0x21 };
    bool v4 = kind == TCP_OVER_IPV4;

    if (command != LOCAL && command != PROXY)
        return ERR_SYNTAX;
    h->is_own = command == LOCAL || (!v4 && kind != TCP_OVER_IPV6);
    if (h->is_own)
        return ERR_OK;
    if (rest.n < (size_t)(v4 ? V2_INET_SIZE : V2_INET6_SIZE))
        return ERR_SYNTAX;
    take_v2(rest.p, v4 ? 4 : 6, h);
    return ERR_OK;
}

static int
parse_v2(struct slice input, struct proxy_protocol_header *h, size_t *size)
{
    const uint8_t *p = (const uint8_t *)input.p;
    size_t length;

    if (input.n > v2_begin.n && p[12] >> 4 != 2)
        return ERR_SYNTAX;
    if (input.n < V2_FIXED_SIZE)
        return ERR_AGAIN;
    length = (size_t)p[14] << 8 | p[15];
    if (V2_FIXED_SIZE + length > PROXY_PROTOCOL_MAX)
        return ERR_LIMIT;
    if (input.n < V2_FIXED_SIZE + length)
        return ERR_AGAIN;
    *size = V2_FIXED_SIZE + length;
    return parse_v2_addresses(p[12], p[13], (struct slice){input.p + V2_FIXED_SIZE, length}, h);
}

/* --- Either. */

static bool
may_begin(struct slice input, struct slice with)
{
    size_t n = input.n < with.n ? input.n : with.n;

    return memcmp(input.p, with.p, n) == 0;
}

int
proxy_protocol_parse(struct slice input, struct proxy_protocol_header *header, size_t *size)
{
    bool v1, v2;

    *header = (struct proxy_protocol_header){0};
    *size = 0;
    if (input.n == 0)
        return ERR_AGAIN;
    v1 = may_begin(input, v1_begin);
    v2 = may_begin(input, v2_begin);
    if (v1 && input.n >= v1_begin.n)
        return parse_v1(input, header, size);
    if (v2 && input.n >= v2_begin.n)
        return parse_v2(input, header, size);
    return v1 || v2 ? ERR_AGAIN : ERR_SYNTAX;
}
