/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Headers of the PROXY protocol: what each says, and that it says the same however it is cut: every
 * shorter beginning asks for more or is refused, never taken for a header.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/proxy_protocol.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define IPV4_ENDS "\xc0\x00\x02\x09\xc6\x33\x64\x01\x12\x34\x00\x19"
#define IPV6_A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x09"
#define BIN(s)           \
    {                    \
        s, sizeof(s) - 1 \
    }

static const struct {
    const char *name;
    struct slice input;
    int rc;
    const char *source, *destination; /* NULL: the connection's own */
    size_t behind;                    /* octets that are not the header's */
} cases[] = {
    {"v1 IPv4", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 4660 25\r\nEHLO"), ERR_OK, "192.0.2.9:4660",
     "198.51.100.1:25", 4},
    {"v1 IPv6", BIN("PROXY TCP6 2001:db8::9 2001:db8::1 4660 25\r\n"), ERR_OK, "[2001:db8::9]:4660",
     "[2001:db8::1]:25", 0},
    {"v1 longest",
     BIN("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     ERR_OK, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", 0},
    {"v1 unknown", BIN("PROXY UNKNOWN\r\n"), ERR_OK, NULL, NULL, 0},
    {"v1 unknown and more", BIN("PROXY UNKNOWN ff:: x 1 2 \r\nQ"), ERR_OK, NULL, NULL, 1},
    {"v1 port 0", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 0 25\r\n"), ERR_OK, "192.0.2.9:0",
     "198.51.100.1:25", 0},
    {"v1 port too large", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 65536 25\r\n"), ERR_SYNTAX, 0, 0,
     0},
    {"v1 port with zeros", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 025 25\r\n"), ERR_SYNTAX, 0, 0,
     0},
    {"v1 port with a sign", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 +1 25\r\n"), ERR_SYNTAX, 0, 0,
     0},
    {"v1 two spaces", BIN("PROXY TCP4  192.0.2.9 198.51.100.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 a word more", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 1 25 x\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 a word less", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 1\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 trailing space", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 1 25 \r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 wrong family", BIN("PROXY TCP4 2001:db8::9 2001:db8::1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 other wrong family", BIN("PROXY TCP6 192.0.2.9 192.0.2.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 prefix", BIN("PROXY TCP4 192.0.2.0/24 198.51.100.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 UDP", BIN("PROXY UDP4 192.0.2.9 198.51.100.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 lower case", BIN("proxy TCP4 192.0.2.9 198.51.100.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 bare LF", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 1 25\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 bare CR", BIN("PROXY TCP4 192.0.2.9 198.51.100.1 1 25\r\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 NUL", BIN("PROXY TCP4 192.0.2.9\0 198.51.100.1 1 25\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v1 without end",
     BIN("PROXY UNKNOWN ..........................................."
         "................................................................"),
     ERR_SYNTAX, 0, 0, 0},
    {"v1 nothing", BIN("PROXY \r\n"), ERR_SYNTAX, 0, 0, 0},
    {"v2 IPv4", BIN(V2 "\x21\x11\x00\x0c" IPV4_ENDS "EHLO"), ERR_OK, "192.0.2.9:4660",
     "198.51.100.1:25", 4},
    {"v2 IPv6", BIN(V2 "\x21\x21\x00\x24" IPV6_A IPV6_A "\x12\x34\x00\x19"), ERR_OK,
     "[2001:db8::9]:4660", "[2001:db8::9]:25", 0},
    {"v2 mapped", BIN(V2 "\x21\x21\x00\x24" MAPPED MAPPED "\x12\x34\x00\x19"), ERR_OK,
     "192.0.2.9:4660", "192.0.2.9:25", 0},
    {"v2 with more", BIN(V2 "\x21\x11\x00\x10" IPV4_ENDS "\x04\x00\x01\x00Q"), ERR_OK,
     "192.0.2.9:4660", "198.51.100.1:25", 1},
    {"v2 local", BIN(V2 "\x20\x00\x00\x00"), ERR_OK, NULL, NULL, 0},
    {"v2 local with addresses", BIN(V2 "\x20\x11\x00\x0c" IPV4_ENDS), ERR_OK, NULL, NULL, 0},
    {"v2 unspecified", BIN(V2 "\x21\x00\x00\x00"), ERR_OK, NULL, NULL, 0},
    {"v2 datagram", BIN(V2 "\x21\x12\x00\x0c" IPV4_ENDS), ERR_OK, NULL, NULL, 0},
    {"v2 unix", BIN(V2 "\x21\x31\x00\x02xx"), ERR_OK, NULL, NULL, 0},
    {"v2 too short for IPv4", BIN(V2 "\x21\x11\x00\x0bxxxxxxxxxxx"), ERR_SYNTAX, 0, 0, 0},
    {"v2 too short for IPv6", BIN(V2 "\x21\x21\x00\x0c" IPV4_ENDS), ERR_SYNTAX, 0, 0, 0},
    {"v2 other command", BIN(V2 "\x22\x11\x00\x0c" IPV4_ENDS), ERR_SYNTAX, 0, 0, 0},
    {"v2 other version", BIN(V2 "\x11\x11\x00\x0c" IPV4_ENDS), ERR_SYNTAX, 0, 0, 0},
    {"v2 too long", BIN(V2 "\x21\x11\x10\x00" IPV4_ENDS), ERR_LIMIT, 0, 0, 0},
    {"SMTP", BIN("EHLO client.example\r\n"), ERR_SYNTAX, 0, 0, 0},
    {"empty line", BIN("\r\nHELO"), ERR_SYNTAX, 0, 0, 0},
};

static void
check_end(const char *name, const struct inet_endpoint *e, const char *want)
{
    char text[INET_ENDPOINT_SIZE];

    if (want)
        cr_expect_str_eq(inet_endpoint_text(e, text), want, "%s", name);
    else
        cr_expect_eq(e->family, 0, "%s", name);
}

Test(proxy_protocol, says)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct proxy_protocol_header h;
        size_t size;

        cr_expect_eq(proxy_protocol_parse(cases[i].input, &h, &size), cases[i].rc, "%s",
                     cases[i].name);
        if (cases[i].rc != ERR_OK)
            continue;
        cr_expect_eq(size, cases[i].input.n - cases[i].behind, "%s", cases[i].name);
        cr_expect_eq(h.is_own, cases[i].source == NULL, "%s", cases[i].name);
        check_end(cases[i].name, &h.source, cases[i].source);
        check_end(cases[i].name, &h.destination, cases[i].destination);
    }
}

/* The beginning is copied, so that a read behind its end is found. */
static int
parse_beginning(struct slice input, size_t n, size_t *size)
{
    struct proxy_protocol_header h;
    char *copy = malloc(n ? n : 1);
    int rc;

    memcpy(copy, input.p, n);
    rc = proxy_protocol_parse((struct slice){copy, n}, &h, size);
    free(copy);
    return rc;
}

Test(proxy_protocol, cut_at_every_octet)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t whole = cases[i].input.n - cases[i].behind;
        bool refused = false;

        for (size_t n = 0; n <= cases[i].input.n; n++) {
            size_t size;
            int rc = parse_beginning(cases[i].input, n, &size);

            if (cases[i].rc == ERR_OK)
                cr_expect_eq(rc, n < whole ? ERR_AGAIN : ERR_OK, "%s at %zu", cases[i].name, n);
            else {
                cr_expect(rc == cases[i].rc || (rc == ERR_AGAIN && !refused), "%s at %zu: %d",
                          cases[i].name, n, rc);
                refused = refused || rc == cases[i].rc;
            }
        }
    }
}
