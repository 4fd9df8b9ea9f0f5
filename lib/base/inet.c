/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses, ports and domain names, parsed once and kept as values.
 */
#include "base/inet.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"

static int
parse_address(struct slice s, struct inet_endpoint *e)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN];

    if (!slice_to_text(s, text, sizeof text))
        return ERR_SYNTAX;
    if (inet_pton(AF_INET, text, e->addr) == 1) {
        e->family = 4;
        return ERR_OK;
    }
    if (inet_pton(AF_INET6, text, e->addr) != 1)
        return ERR_SYNTAX;
    e->family = 6;
    if (memcmp(e->addr, mapped, sizeof mapped) == 0) {
        memmove(e->addr, e->addr + 12, 4);
        memset(e->addr + 4, 0, 12);
        e->family = 4;
    }
    return ERR_OK;
}

int
inet_endpoint_parse(struct slice s, uint16_t default_port, struct inet_endpoint *e)
{
    struct slice host = s, port = {NULL, 0};
    const char *colon;
    uint64_t number;
    int rc;

    *e = (struct inet_endpoint){.port = default_port};
    if (s.n > 0 && s.p[0] == '[') {
        const char *close = memchr(s.p, ']', s.n);

        if (close == NULL)
            return ERR_SYNTAX;
        host = (struct slice){s.p + 1, (size_t)(close - s.p) - 1};
        s.n -= (size_t)(close + 1 - s.p);
        s.p = close + 1;
        if (s.n > 0 && s.p[0] != ':')
            return ERR_SYNTAX;
        if (s.n > 0)
            port = (struct slice){s.p + 1, s.n - 1};
    } else if ((colon = s.n ? memchr(s.p, ':', s.n) : NULL) != NULL &&
               memchr(colon + 1, ':', s.n - (size_t)(colon + 1 - s.p)) == NULL) {
        host.n = (size_t)(colon - s.p);
        port = (struct slice){colon + 1, s.n - host.n - 1};
    }
    rc = parse_address(host, e);
    if (rc < 0)
        return rc;
    if (port.p != NULL) {
        rc = parse_u64(port, &number);
        if (rc < 0)
            return rc;
        if (number == 0 || number > 65535)
            return ERR_RANGE;
        e->port = (uint16_t)number;
    }
    return e->port ? ERR_OK : ERR_SYNTAX;
}

const char *
inet_address_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE])
{
    if (e->family == 0 ||
        !inet_ntop(e->family == 4 ? AF_INET : AF_INET6, e->addr, dst, INET_ENDPOINT_SIZE))
        snprintf(dst, INET_ENDPOINT_SIZE, "none");
    return dst;
}

const char *
inet_endpoint_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE])
{
    char address[INET_ENDPOINT_SIZE];

    inet_address_text(e, address);
    snprintf(dst, INET_ENDPOINT_SIZE, e->family == 6 ? "[%.46s]:%u" : "%.46s:%u", address, e->port);
    return dst;
}

const char *
inet_literal_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE])
{
    char address[INET_ENDPOINT_SIZE];

    inet_address_text(e, address);
    snprintf(dst, INET_ENDPOINT_SIZE, e->family == 6 ? "[IPv6:%.46s]" : "[%.46s]", address);
    return dst;
}

bool
inet_endpoint_equal(const struct inet_endpoint *a, const struct inet_endpoint *b)
{
    return a->family == b->family && a->port == b->port &&
           memcmp(a->addr, b->addr, sizeof a->addr) == 0;
}

uint32_t
inet_endpoint_hash(const struct inet_endpoint *e)
{
    uint32_t hash = e->port;

    for (size_t i = 0; i < sizeof e->addr; i++)
        hash = hash * 31 + e->addr[i];
    return hash;
}

/* --- Networks. */

/* The octet `i` of a mask of `bits`. */
static uint8_t
mask_octet(unsigned bits, unsigned i)
{
    if (bits >= 8 * i + 8)
        return 0xff;
    return bits <= 8 * i ? 0 : (uint8_t)(0xff00 >> (bits - 8 * i));
}

static bool
has_host_bits(const struct inet_network *n)
{
    for (unsigned i = 0; i < sizeof n->addr; i++)
        if (n->addr[i] & (uint8_t)~mask_octet(n->bits, i))
            return true;
    return false;
}

int
inet_network_parse(struct slice s, struct inet_network *n)
{
    struct slice rest = s, address = slice_split(&rest, '/');
    struct inet_endpoint e = {0};
    bool mapped = false;
    uint64_t bits;
    int rc = parse_address(address, &e);

    *n = (struct inet_network){0};
    if (rc < 0)
        return rc;
    mapped = e.family == 4 && memchr(address.p, ':', address.n) != NULL;
    bits = e.family == 4 && !mapped ? 32 : 128;
    if (rest.p != NULL) {
        uint64_t most = bits;

        rc = parse_u64(rest, &bits);
        if (rc == ERR_OK && (bits > most || (mapped && bits < 96)))
            rc = ERR_RANGE;
        if (rc < 0)
            return rc;
    }
    n->family = e.family;
    n->bits = (uint8_t)(mapped ? bits - 96 : bits);
    memcpy(n->addr, e.addr, sizeof n->addr);
    return has_host_bits(n) ? ERR_RANGE : ERR_OK;
}

const char *
inet_network_text(const struct inet_network *n, char dst[INET_ENDPOINT_SIZE])
{
    struct inet_endpoint e = {.family = n->family};
    char address[INET_ENDPOINT_SIZE];

    memcpy(e.addr, n->addr, sizeof e.addr);
    snprintf(dst, INET_ENDPOINT_SIZE, "%.46s/%u", inet_address_text(&e, address), n->bits);
    return dst;
}

bool
inet_network_has(const struct inet_network *n, const struct inet_endpoint *e)
{
    if (n->family == 0 || n->family != e->family)
        return false;
    for (unsigned i = 0; 8 * i < n->bits; i++)
        if ((e->addr[i] ^ n->addr[i]) & mask_octet(n->bits, i))
            return false;
    return true;
}

struct inet_network
inet_network_around(const struct inet_endpoint *e, unsigned bits)
{
    struct inet_network n = {.family = e->family, .bits = (uint8_t)bits};

    for (unsigned i = 0; i < sizeof n.addr; i++)
        n.addr[i] = e->addr[i] & mask_octet(bits, i);
    return n;
}

bool
inet_network_is_valid(const struct inet_network *n)
{
    return (n->family == 4 || n->family == 6) && n->bits <= (n->family == 4 ? 32 : 128) &&
           !has_host_bits(n);
}

socklen_t
inet_endpoint_to_sockaddr(const struct inet_endpoint *e, struct sockaddr_storage *ss)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

    memset(ss, 0, sizeof *ss);
    if (e->family == 4) {
        in->sin_family = AF_INET;
        in->sin_port = htons(e->port);
        memcpy(&in->sin_addr, e->addr, 4);
        return sizeof *in;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(e->port);
    memcpy(&in6->sin6_addr, e->addr, 16);
    return sizeof *in6;
}

int
inet_endpoint_from_sockaddr(const struct sockaddr *sa, struct inet_endpoint *e)
{
    *e = (struct inet_endpoint){0};
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

        e->family = 4;
        e->port = ntohs(in->sin_port);
        memcpy(e->addr, &in->sin_addr, 4);
        return ERR_OK;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

        e->port = ntohs(in6->sin6_port);
        e->family = 6;
        memcpy(e->addr, &in6->sin6_addr, 16);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            e->family = 4;
            memset(e->addr, 0, 16);
            memcpy(e->addr, (const char *)&in6->sin6_addr + 12, 4);
        }
        return ERR_OK;
    }
    return ERR_SYNTAX;
}

/* A last label of digits alone: RFC 1123 2.1, an address and never a name. */
static const char *
check_labels(struct slice rest)
{
    bool is_number = false; /* the last label so far */
    size_t labels = 0;

    while (rest.p != NULL) {
        struct slice label = slice_split(&rest, '.');

        if (label.n == 0)
            return "has an empty label (two dots in a row, or one at the start)";
        if (label.n > 63)
            return "has a label of more than 63 characters";
        if (label.p[0] == '-' || label.p[label.n - 1] == '-')
            return "has a label that begins or ends with a hyphen";
        for (size_t i = 0; i < label.n; i++) {
            char c = label.p[i];

            if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
                return "has a character that a domain name cannot have";
        }
        is_number = strspn(label.p, "0123456789") >= label.n;
        labels++;
    }
    if (labels < 2)
        return "needs at least two labels, such as acme.example";
    return is_number ? "ends in a number, as an address does and a domain name does not" : NULL;
}

int
inet_domain_normalize(struct slice s, char dst[INET_DOMAIN_SIZE], const char **why)
{
    char text[1024];
    char *ascii = NULL;
    bool plain = true;

    dst[0] = '\0';
    if (s.n > 0 && s.p[s.n - 1] == '.')
        s.n--;
    if (!slice_to_text(s, text, sizeof text) || s.n == 0) {
        *why = s.n == 0 ? "is empty" : "is too long or holds a NUL";
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (text[i] >= 'A' && text[i] <= 'Z')
            text[i] = (char)(text[i] + 32);
        if ((unsigned char)text[i] >= 0x80)
            plain = false;
    }
    if (!plain &&
        idn2_to_ascii_8z(text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) != IDN2_OK) {
        *why = "is not a valid internationalised name (IDNA 2008)";
        return ERR_SYNTAX;
    }
    *why = "is longer than 253 characters";
    if (!slice_to_text(slice_of(ascii ? ascii : text), dst, INET_DOMAIN_SIZE)) {
        free(ascii);
        return ERR_SYNTAX;
    }
    free(ascii);
    *why = check_labels(slice_of(dst));
    if (*why != NULL) {
        dst[0] = '\0';
        return ERR_SYNTAX;
    }
    return ERR_OK;
}
