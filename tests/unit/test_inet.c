/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Addresses have one spelling, domains one stored form.
 */
#include <criterion/criterion.h>

#include "base/inet.h"

static const struct {
    const char *name, *text;
    uint16_t default_port;
    int rc;
    const char *want, *literal;
} endpoints[] = {
    {"IPv4 and port", "192.0.2.10:25", 0, ERR_OK, "192.0.2.10:25", "[192.0.2.10]"},
    {"IPv4, default port", "192.0.2.10", 25, ERR_OK, "192.0.2.10:25", "[192.0.2.10]"},
    {"IPv6 and port", "[2001:DB8::1]:587", 25, ERR_OK, "[2001:db8::1]:587", "[IPv6:2001:db8::1]"},
    {"IPv6 in brackets", "[::1]", 25, ERR_OK, "[::1]:25", "[IPv6:::1]"},
    {"IPv6 bare", "2001:db8::1", 25, ERR_OK, "[2001:db8::1]:25", "[IPv6:2001:db8::1]"},
    {"mapped IPv4", "[::ffff:192.0.2.10]:25", 0, ERR_OK, "192.0.2.10:25", "[192.0.2.10]"},
    {"no port", "192.0.2.10", 0, ERR_SYNTAX, NULL, NULL},
    {"empty port", "192.0.2.10:", 25, ERR_SYNTAX, NULL, NULL},
    {"port 0", "192.0.2.10:0", 25, ERR_RANGE, NULL, NULL},
    {"port too large", "192.0.2.10:65536", 25, ERR_RANGE, NULL, NULL},
    {"a name", "mx.isp.example:25", 25, ERR_SYNTAX, NULL, NULL},
    {"empty", "", 25, ERR_SYNTAX, NULL, NULL},
    {"open bracket", "[::1:25", 25, ERR_SYNTAX, NULL, NULL},
    {"text behind the bracket", "[::1]25", 25, ERR_SYNTAX, NULL, NULL},
    {"short IPv4", "192.0.2:25", 25, ERR_SYNTAX, NULL, NULL},
    {"octal", "192.0.2.010:25", 25, ERR_SYNTAX, NULL, NULL},
};

Test(inet, endpoints)
{
    for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
        struct inet_endpoint e, again;
        struct sockaddr_storage ss;
        char text[INET_ENDPOINT_SIZE];

        cr_expect_eq(
            inet_endpoint_parse(slice_of(endpoints[i].text), endpoints[i].default_port, &e),
            endpoints[i].rc, "%s", endpoints[i].name);
        if (endpoints[i].want == NULL)
            continue;
        cr_expect_str_eq(inet_endpoint_text(&e, text), endpoints[i].want, "%s", endpoints[i].name);
        cr_expect_str_eq(inet_literal_text(&e, text), endpoints[i].literal, "%s",
                         endpoints[i].name);
        inet_endpoint_to_sockaddr(&e, &ss);
        cr_expect_eq(inet_endpoint_from_sockaddr((struct sockaddr *)&ss, &again), ERR_OK);
        cr_expect(inet_endpoint_equal(&e, &again), "%s", endpoints[i].name);
    }
}

Test(inet, equal_endpoints_have_one_hash_and_neighbours_others)
{
    static const char *const texts[] = {"192.0.2.10:25", "192.0.2.11:25", "192.0.2.10:26",
                                        "[2001:db8::1]:25", "[2001:db8::2]:25"};
    struct inet_endpoint e[ARRAY_SIZE(texts)], again;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        cr_assert_eq(inet_endpoint_parse(slice_of(texts[i]), 0, &e[i]), ERR_OK);
        cr_assert_eq(inet_endpoint_parse(slice_of(texts[i]), 0, &again), ERR_OK);
        cr_expect_eq(inet_endpoint_hash(&e[i]), inet_endpoint_hash(&again), "%s", texts[i]);
        for (size_t j = 0; j < i; j++)
            cr_expect_neq(inet_endpoint_hash(&e[i]), inet_endpoint_hash(&e[j]), "%s", texts[i]);
    }
}

static const struct {
    const char *name, *text;
    int rc;
    const char *want, *inside, *outside;
} networks[] = {
    {"a block", "192.0.2.0/24", ERR_OK, "192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
    {"an odd prefix", "10.20.32.0/19", ERR_OK, "10.20.32.0/19", "10.20.63.1", "10.20.64.1"},
    {"one address", "192.0.2.1", ERR_OK, "192.0.2.1/32", "192.0.2.1", "192.0.2.2"},
    {"all of IPv4", "0.0.0.0/0", ERR_OK, "0.0.0.0/0", "203.0.113.9", "::1"},
    {"IPv6", "2001:DB8::/32", ERR_OK, "2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"},
    {"one IPv6 address", "2001:db8::1", ERR_OK, "2001:db8::1/128", "2001:db8::1", "2001:db8::2"},
    {"mapped", "::ffff:192.0.2.0/120", ERR_OK, "192.0.2.0/24", "192.0.2.9", "::1"},
    {"mapped address", "::ffff:192.0.2.7", ERR_OK, "192.0.2.7/32", "192.0.2.7", "192.0.2.8"},
    {"mapped, short prefix", "::ffff:0.0.0.0/95", ERR_RANGE, NULL, NULL, NULL},
    {"host bits", "192.0.2.1/24", ERR_RANGE, NULL, NULL, NULL},
    {"host bits of an octet", "192.0.2.128/24", ERR_RANGE, NULL, NULL, NULL},
    {"long prefix", "192.0.2.0/33", ERR_RANGE, NULL, NULL, NULL},
    {"long IPv6 prefix", "2001:db8::/129", ERR_RANGE, NULL, NULL, NULL},
    {"no prefix", "192.0.2.0/", ERR_SYNTAX, NULL, NULL, NULL},
    {"two slashes", "192.0.2.0/24/1", ERR_SYNTAX, NULL, NULL, NULL},
    {"a sign", "192.0.2.0/+24", ERR_SYNTAX, NULL, NULL, NULL},
    {"short", "192.0.2/24", ERR_SYNTAX, NULL, NULL, NULL},
    {"a name", "isp.example", ERR_SYNTAX, NULL, NULL, NULL},
    {"empty", "", ERR_SYNTAX, NULL, NULL, NULL},
};

Test(inet, networks)
{
    for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
        struct inet_network n, again;
        struct inet_endpoint e;
        char text[INET_ENDPOINT_SIZE];

        cr_expect_eq(inet_network_parse(slice_of(networks[i].text), &n), networks[i].rc, "%s",
                     networks[i].name);
        if (networks[i].want == NULL)
            continue;
        cr_expect_str_eq(inet_network_text(&n, text), networks[i].want, "%s", networks[i].name);
        cr_expect_eq(inet_network_parse(slice_of(text), &again), ERR_OK);
        cr_expect_eq(memcmp(&n, &again, sizeof n), 0, "%s", networks[i].name);
        cr_assert_eq(inet_endpoint_parse(slice_of(networks[i].inside), 25, &e), ERR_OK);
        cr_expect(inet_network_has(&n, &e), "%s", networks[i].name);
        cr_assert_eq(inet_endpoint_parse(slice_of(networks[i].outside), 25, &e), ERR_OK);
        cr_expect_not(inet_network_has(&n, &e), "%s", networks[i].name);
    }
}

#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

static const struct {
    const char *name, *text, *want; /* NULL: refused */
} domains[] = {
    {"plain", "acme.example", "acme.example"},
    {"case and last dot", "ACME.Example.", "acme.example"},
    {"U-label",
     "b\xc3\xbc"
     "cher.example",
     "xn--bcher-kva.example"},
    {"U-label, upper case",
     "B\xc3\x9c"
     "CHER.example",
     "xn--bcher-kva.example"},
    {"sharp s is itself (IDNA 2008)",
     "stra\xc3\x9f"
     "e.example",
     "xn--strae-oqa.example"},
    {"underscore", "_dmarc.acme.example", "_dmarc.acme.example"},
    {"digits", "1.2.example", "1.2.example"},
    {"digits and a letter last", "acme.1a", "acme.1a"},
    {"an address", "192.0.2.1", NULL},
    {"an address and a dot", "192.0.2.1.", NULL},
    {"a number last", "acme.123", NULL},
    {"label of 63", L63 ".example", L63 ".example"},
    {"label of 64", L63 "x.example", NULL},
    {"254 octets", L63 "." L63 "." L63 "." L63, NULL},
    {"one label", "localhost", NULL},
    {"empty", "", NULL},
    {"dot alone", ".", NULL},
    {"empty label", "acme..example", NULL},
    {"first dot", ".acme.example", NULL},
    {"hyphen first", "-acme.example", NULL},
    {"hyphen last", "acme-.example", NULL},
    {"space", "ac me.example", NULL},
    {"address", "a@acme.example", NULL},
    {"broken UTF-8", "b\xc3.example", NULL},
    {"symbol", "\xe2\x98\x83.example", NULL},
};

Test(inet, domains)
{
    for (size_t i = 0; i < ARRAY_SIZE(domains); i++) {
        char name[INET_DOMAIN_SIZE];
        const char *why = NULL;
        int rc = inet_domain_normalize(slice_of(domains[i].text), name, &why);

        cr_expect_eq(rc, domains[i].want ? ERR_OK : ERR_SYNTAX, "%s: %s", domains[i].name, name);
        cr_expect_str_eq(name, domains[i].want ? domains[i].want : "", "%s", domains[i].name);
        cr_expect_eq(why == NULL, domains[i].want != NULL, "%s", domains[i].name);
    }
}
