/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses first, since what looks like one is no name; then names, from the special to the
 * ordinary.
 */
#include "sender/sender_helo.h"

#include <stdio.h>
#include <string.h>

/* --- Addresses. */

static bool
parse_address(struct slice s, struct inet_endpoint *e)
{
    char text[INET_ENDPOINT_SIZE];
    bool is_ipv6 = memchr(s.p, ':', s.n) != NULL;

    if (s.n == 0 || s.n + 3 > sizeof text || memchr(s.p, '[', s.n) != NULL)
        return false;
    snprintf(text, sizeof text, is_ipv6 ? "[%.*s]" : "%.*s", (int)s.n, s.p);
    if (inet_endpoint_parse(slice_of(text), 1, e) < 0)
        return false;
    e->port = 0;
    return true;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]", and without the tag, as some write it. */
static bool
parse_literal(struct slice s, struct inet_endpoint *e)
{
    static const char tag[] = "IPv6:";

    if (s.n < 2 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    s = (struct slice){s.p + 1, s.n - 2};
    if (slice_starts_nocase(s, slice_of(tag)))
        s = (struct slice){s.p + sizeof tag - 1, s.n - (sizeof tag - 1)};
    return parse_address(s, e);
}

static bool
is_same_host(const struct inet_endpoint *a, const struct inet_endpoint *b)
{
    return a->family != 0 && a->family == b->family &&
           memcmp(a->addr, b->addr, a->family == 4 ? 4 : 16) == 0;
}

static bool
is_our_address(const struct config *config, const struct inet_endpoint *local,
               const struct inet_endpoint *e)
{
    for (size_t i = 0; i < config->listen.count; i++)
        if (is_same_host(&config->listen.items[i], e))
            return true;
    return is_same_host(local, e) || is_same_host(&config->source_address, e);
}

/* --- Names. */

static bool
is_localhost(const char *name)
{
    static const char *const words[] = {"localhost",   "localhost4",   "localhost6",
                                        "localdomain", "localdomain4", "localdomain6"};
    struct slice rest = slice_of(name), first = slice_split(&rest, '.'), last = first;

    while (rest.p != NULL)
        last = slice_split(&rest, '.');
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (slice_equal(first, slice_of(words[i])) || slice_equal(last, slice_of(words[i])))
            return true;
    return false;
}

/* inet_domain_normalize wants two labels; so one gets a second for the while. */
static bool
normalize(struct slice s, char name[INET_DOMAIN_SIZE])
{
    static const char second[] = ".x";
    char text[INET_DOMAIN_SIZE * 2];
    const char *why;
    bool is_word = memchr(s.p, '.', s.n) == NULL;

    if (s.n + sizeof second > sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s%s", (int)s.n, s.p, is_word ? second : "");
    if (strlen(text) < s.n || inet_domain_normalize(slice_of(text), name, &why) < 0)
        return false;
    if (is_word)
        name[strlen(name) - (sizeof second - 1)] = '\0';
    return true;
}

/* No top-level domain is a number: such a name is a failed address (RFC 3696 2). */
static bool
ends_in_number(const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot != NULL ? dot + 1 : name;

    return last[strspn(last, "0123456789")] == '\0';
}

static bool
is_our_name(const struct config *config, const char *name)
{
    char ours[INET_DOMAIN_SIZE];
    const char *why;

    return inet_domain_normalize(slice_of(config->hostname), ours, &why) == ERR_OK
               ? strcmp(ours, name) == 0
               : slice_equal_nocase(slice_of(config->hostname), slice_of(name));
}

enum sender_helo
sender_helo_of(struct slice s, const struct config *config, const struct inet_endpoint *client,
               const struct inet_endpoint *local, char name[INET_DOMAIN_SIZE])
{
    struct inet_endpoint e;
    bool is_literal;

    name[0] = '\0';
    if (s.n == 0)
        return SENDER_HELO_NONE;
    is_literal = parse_literal(s, &e);
    if (is_literal && is_same_host(client, &e)) /* also where that is us: a client on this host */
        return SENDER_HELO_LITERAL;
    if (is_literal || parse_address(s, &e)) {
        if (is_our_address(config, local, &e))
            return SENDER_HELO_OURS;
        return is_literal ? SENDER_HELO_FOREIGN : SENDER_HELO_ADDRESS;
    }
    if (s.p[s.n - 1] == '.')
        s.n--;
    if (s.n == 0 || !normalize(s, name))
        return SENDER_HELO_NONE;
    if (is_our_name(config, name))
        return SENDER_HELO_OURS;
    if (is_localhost(name) || ends_in_number(name)) {
        enum sender_helo helo = is_localhost(name) ? SENDER_HELO_LOCALHOST : SENDER_HELO_NONE;

        name[0] = '\0';
        return helo;
    }
    return strchr(name, '.') == NULL ? SENDER_HELO_WORD : SENDER_HELO_HOST;
}

const char *
sender_helo_text(enum sender_helo helo)
{
    static const char *const texts[] = {
        [SENDER_HELO_HOST] = "is a host's",
        [SENDER_HELO_LITERAL] = "is its own address",
        [SENDER_HELO_OURS] = "is our own name or address",
        [SENDER_HELO_ADDRESS] = "is an address without brackets",
        [SENDER_HELO_FOREIGN] = "is another host's address",
        [SENDER_HELO_LOCALHOST] = "is localhost, which every host is to itself",
        [SENDER_HELO_WORD] = "is one word without a domain",
        [SENDER_HELO_NONE] = "is no host name",
    };

    return texts[helo];
}
