/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Writing DNS messages (RFC 1035 4) for the tests' name servers: plainly, without compression of
 * names, at p + n; each returns where it goes on.
 */
#ifndef TESTS_DNS_WIRE_H
#define TESTS_DNS_WIRE_H

#include <stdint.h>
#include <string.h>

#include "base/slice.h"

static inline size_t
add_u16(uint8_t *p, size_t n, unsigned value)
{
    p[n] = (uint8_t)(value >> 8);
    p[n + 1] = (uint8_t)value;
    return n + 2;
}

static inline size_t
add_octets(uint8_t *p, size_t n, struct slice octets)
{
    memcpy(p + n, octets.p, octets.n);
    return n + octets.n;
}

static inline size_t
add_name(uint8_t *p, size_t n, struct slice name)
{
    while (name.p != NULL && name.n > 0) {
        struct slice label = slice_split(&name, '.');

        p[n++] = (uint8_t)label.n;
        n = add_octets(p, n, label);
    }
    p[n++] = 0;
    return n;
}

/* In strings of 255 octets. */
static inline size_t
add_text(uint8_t *p, size_t n, struct slice text)
{
    do {
        struct slice part = {text.p, text.n < 255 ? text.n : 255};

        p[n++] = (uint8_t)part.n;
        n = add_octets(p, n, part);
        text = (struct slice){text.p + part.n, text.n - part.n};
    } while (text.n > 0);
    return n;
}

/* The name and the type that a query asks for; where the question ends. */
static inline size_t
read_question(const uint8_t *query, char *name, unsigned *type)
{
    size_t at = 12, n = 0;

    while (query[at] != 0) {
        if (n > 0)
            name[n++] = '.';
        memcpy(name + n, query + at + 1, query[at]);
        n += query[at];
        at += query[at] + 1u;
    }
    name[n] = '\0';
    *type = (unsigned)query[at + 1] << 8 | query[at + 2];
    return at + 5;
}

#endif
