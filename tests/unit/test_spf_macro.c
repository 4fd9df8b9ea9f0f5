/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Macros: the examples of RFC 7208 7.4, and names that cannot be.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "spf/spf_macro.h"

static struct inet_endpoint
address(const char *text)
{
    struct inet_network n;
    struct inet_endpoint e = {.family = 0};
    int rc = inet_network_parse(slice_of(text), &n);

    cr_assert_eq(rc, ERR_OK);
    e.family = n.family;
    memcpy(e.addr, n.addr, sizeof e.addr);
    return e;
}

static const char *
expand(const char *spec, const char *client, const char *local, const char *helo)
{
    static char name[INET_DOMAIN_SIZE];
    struct inet_endpoint from = address(client);
    struct spf_macro_values values = {.client = &from,
                                      .local_part = local,
                                      .sender_domain = "email.example.com",
                                      .helo = helo,
                                      .domain = "email.example.com"};

    return spf_macro_expand(slice_of(spec), &values, name) ? name : "";
}

Test(spf_macro, expansions)
{
    static const struct {
        const char *spec, *name;
    } cases[] = {
        {"%{s}", "strong-bad@email.example.com"},
        {"%{o}", "email.example.com"},
        {"%{d4}", "email.example.com"},
        {"%{d3}", "email.example.com"},
        {"%{d2}", "example.com"},
        {"%{d1}", "com"},
        {"%{dr}", "com.example.email"},
        {"%{d2r}", "example.email"},
        {"%{d99999999999999999999}", "email.example.com"},
        {"%{l}", "strong-bad"},
        {"%{l-}", "strong.bad"},
        {"%{lr}", "strong-bad"},
        {"%{lr-}", "bad.strong"},
        {"%{l1r-}", "strong"},
        {"%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
        {"%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
        {"%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
        {"A%%b%_c%-D.Test.", "a%b c%20d.test"},
        {"%{S}", "strong-bad%40email.example.com"},
        {"%{H}.x", "%5bbad%20helo%5d.x"},
        {"%{p}.x", "unknown.x"},
        {"%{h}", "[bad helo]"},
        {"a..test", ""},
        {".test", ""},
        {"%{l9}..x", ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cr_expect_str_eq(expand(cases[i].spec, "192.0.2.3", "strong-bad", "[bad helo]"),
                         cases[i].name, "%s: %s", cases[i].spec,
                         expand(cases[i].spec, "192.0.2.3", "strong-bad", "[bad helo]"));
}

Test(spf_macro, an_address_of_ipv6_by_nibbles)
{
    char name[INET_DOMAIN_SIZE];
    struct inet_endpoint e = address("2001:db8::cb01");

    cr_expect_str_eq(expand("%{ir}.%{v}.x", "2001:db8::cb01", "x", "x"),
                     "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.x");
    spf_macro_reverse_name(&e, name);
    cr_expect_str_eq(name,
                     "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

Test(spf_macro, a_long_name_loses_labels_on_the_left)
{
    char spec[2000] = "";
    const char *name;

    for (unsigned i = 0; i < 100; i++)
        snprintf(spec + 12 * i, 13, "a%010u.", i);
    snprintf(spec + 1200, sizeof spec - 1200, "end");
    name = expand(spec, "192.0.2.3", "x", "x");
    cr_expect_leq(strlen(name), 253);
    cr_expect_gt(strlen(name), 253 - 12);
    cr_expect_str_eq(name + strlen(name) - 15, "a0000000099.end");
}

Test(spf_macro, names_that_dns_could_not_have)
{
    char helo[80];

    memset(helo, 'x', sizeof helo);
    helo[64] = '\0';
    cr_expect_str_eq(expand("%{h}.test", "192.0.2.3", "x", helo), "");
    helo[63] = '\0';
    cr_expect_str_neq(expand("%{h}.test", "192.0.2.3", "x", helo), "");
    cr_expect_str_eq(expand("%{l}.test", "192.0.2.3", "\xc3\xa9", "x"), "");
    cr_expect_str_eq(expand("%{L}.test", "192.0.2.3", "\xc3\xa9", "x"), "", "RFC 8616 4");
}

Test(spf_macro, which_macros_there_are)
{
    cr_expect(spf_macro_has(SLICE("a.%{I}.b"), "iph"));
    cr_expect(spf_macro_has(SLICE("%%%{p}"), "p"));
    cr_expect_not(spf_macro_has(SLICE("%%{p}"), "p"));
    cr_expect_not(spf_macro_has(SLICE("%{d}.p.i"), "iph"));
    cr_expect_not(spf_macro_has(SLICE("%"), "iph"));
    cr_expect_not(spf_macro_has(SLICE(""), "iph"));
}
