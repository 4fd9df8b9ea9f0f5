/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Records against the grammar of RFC 7208 12: what is one, what each term is, and what is none.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_record.h"

Test(spf_record, which_text_is_the_record)
{
    static const struct {
        const char *name;
        struct slice texts[4];
        enum spf_selected selected;
    } cases[] = {
        {"none at all", {{NULL, 0}}, SPF_SELECTED_NONE},
        {"the version alone", {SLICE("v=spf1")}, SPF_SELECTED_ONE},
        {"in capitals", {SLICE("V=SPF1 -all")}, SPF_SELECTED_ONE},
        {"another version", {SLICE("v=spf10 -all")}, SPF_SELECTED_NONE},
        {"a tab behind it", {SLICE("v=spf1\t-all")}, SPF_SELECTED_NONE},
        {"a space before it", {SLICE(" v=spf1 -all")}, SPF_SELECTED_NONE},
        {"among others", {SLICE("google=1"), SLICE("v=spf1 a"), SLICE("x")}, SPF_SELECTED_ONE},
        {"two", {SLICE("v=spf1 a"), SLICE("x"), SLICE("v=spf1 a")}, SPF_SELECTED_MANY},
        {"cut", {SLICE("v=spf")}, SPF_SELECTED_NONE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice record;
        unsigned count = 0;

        while (count < 4 && cases[i].texts[count].p != NULL)
            count++;
        cr_expect_eq(spf_record_select(cases[i].texts, count, &record), cases[i].selected, "%s",
                     cases[i].name);
    }
}

/* All terms, or NULL. Read from a copy of exact size, so that a read beyond the end is seen. */
static bool
is_valid(struct slice text, struct spf_term *first)
{
    char *exact = malloc(text.n);
    struct spf_record_reader reader;
    struct spf_term term;
    unsigned count = 0;
    int rc;

    memcpy(exact, text.p, text.n);
    spf_record_begin(&reader, (struct slice){exact, text.n});
    while ((rc = spf_record_next(&reader, &term)) == ERR_OK)
        if (count++ == 0)
            *first = term;
    free(exact);
    return rc == ERR_AGAIN;
}

Test(spf_record, terms_that_are_valid)
{
    static const struct {
        const char *term;
        enum spf_term_kind kind;
        char qualifier;
        size_t domain_size;
        uint8_t bits4, bits6, bits;
    } cases[] = {
        {"all", SPF_TERM_ALL, '+', 0, 0, 0, 0},
        {"-ALL", SPF_TERM_ALL, '-', 0, 0, 0, 0},
        {"~include:a.test", SPF_TERM_INCLUDE, '~', 6, 0, 0, 0},
        {"?a", SPF_TERM_A, '?', 0, 32, 128, 0},
        {"a/0", SPF_TERM_A, '+', 0, 0, 128, 0},
        {"a//0", SPF_TERM_A, '+', 0, 32, 0, 0},
        {"a/24//64", SPF_TERM_A, '+', 0, 24, 64, 0},
        {"mx:a.test./24//64", SPF_TERM_MX, '+', 7, 24, 64, 0},
        {"a:foo:bar/baz.example.com", SPF_TERM_A, '+', 23, 32, 128, 0},
        {"a:foo.example.xn--zckzah", SPF_TERM_A, '+', 22, 32, 128, 0},
        {"a:a%%b%_c%-d.e", SPF_TERM_A, '+', 12, 32, 128, 0},
        {"a:%{d}", SPF_TERM_A, '+', 4, 32, 128, 0},
        {"exists:%{ir}.%{l1r+-}._spf.%{d2}", SPF_TERM_EXISTS, '+', 25, 0, 0, 0},
        {"exists:%{L12R.-+,/_=}.x", SPF_TERM_EXISTS, '+', 16, 0, 0, 0},
        {"ptr", SPF_TERM_PTR, '+', 0, 0, 0, 0},
        {"-ptr:a.test", SPF_TERM_PTR, '-', 6, 0, 0, 0},
        {"ip4:192.0.2.1", SPF_TERM_IP4, '+', 0, 0, 0, 32},
        {"ip4:192.0.2.1/0", SPF_TERM_IP4, '+', 0, 0, 0, 0},
        {"IP6:2001:db8::/32", SPF_TERM_IP6, '+', 0, 0, 0, 32},
        {"ip6:::1.1.1.1/0", SPF_TERM_IP6, '+', 0, 0, 0, 0},
        {"redirect=a.test", SPF_TERM_REDIRECT, '+', 6, 0, 0, 0},
        {"exp=%{d}.test", SPF_TERM_EXP, '+', 9, 0, 0, 0},
        {"moo.cow-far_out=man:dog/cat", SPF_TERM_UNKNOWN, '+', 0, 0, 0, 0},
        {"x=", SPF_TERM_UNKNOWN, '+', 0, 0, 0, 0},
        {"x=%{t}", SPF_TERM_UNKNOWN, '+', 0, 0, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[200];
        struct spf_term term = {.kind = SPF_TERM_UNKNOWN};

        snprintf(text, sizeof text, "v=spf1  %s ", cases[i].term);
        cr_expect(is_valid(slice_of(text), &term), "%s", cases[i].term);
        cr_expect_eq(term.kind, cases[i].kind, "%s: kind %d", cases[i].term, term.kind);
        cr_expect_eq(term.qualifier, cases[i].qualifier, "%s", cases[i].term);
        cr_expect_eq(term.domain.n, cases[i].domain_size, "%s: %zu", cases[i].term, term.domain.n);
        cr_expect_eq(term.bits4, cases[i].bits4, "%s: /%u", cases[i].term, term.bits4);
        cr_expect_eq(term.bits6, cases[i].bits6, "%s: //%u", cases[i].term, term.bits6);
        cr_expect_eq(term.network.bits, cases[i].bits, "%s: /%u", cases[i].term, term.network.bits);
    }
}

Test(spf_record, terms_that_are_not)
{
    static const struct slice cases[] = {
        SLICE("moo"),
        SLICE("-"),
        SLICE("+-all"),
        SLICE("all."),
        SLICE("all:a.test"),
        SLICE("all/8"),
        SLICE("include"),
        SLICE("include:"),
        SLICE("include:a"),
        SLICE("include:a.test/24"),
        SLICE("a:"),
        SLICE("a:museum"),
        SLICE("a:museum."),
        SLICE("a:a.-com"),
        SLICE("a:a.com-"),
        SLICE("a:a.123"),
        SLICE("a:a.test:8080"),
        SLICE("a/33"),
        SLICE("a//129"),
        SLICE("a/24/64"),
        SLICE("a/032"),
        SLICE("a/00"),
        SLICE("a/"),
        SLICE("a//"),
        SLICE("a/24//"),
        SLICE("a///24"),
        SLICE("a/4294967296"),
        SLICE("mx/256"),
        SLICE("ptr:"),
        SLICE("ptr/0"),
        SLICE("ip4"),
        SLICE("ip4:"),
        SLICE("ip4:1.2.3"),
        SLICE("ip4:1.2.3.4.5"),
        SLICE("ip4:1.2.3.256"),
        SLICE("ip4:1.2.3.0256"),
        SLICE("ip4:1.2.3.04"),
        SLICE("ip4:00.2.3.4"),
        SLICE("ip4:1..3.4"),
        SLICE("ip4:.2.3.4"),
        SLICE("ip4:1.2.3."),
        SLICE("ip4:1.2.3.4."),
        SLICE("ip4:1.2.3.+4"),
        SLICE("ip4:1.2.3.4x"),
        SLICE("ip4:1.2.3.99999999999"),
        SLICE("ip4:1.2.3.4/33"),
        SLICE("ip4:1.2.3.4/032"),
        SLICE("ip4:1.2.3.4//32"),
        SLICE("ip4:1.2.3.4:25"),
        SLICE("ip4:::1"),
        SLICE("ip6:1.2.3.4"),
        SLICE("ip6:::1/129"),
        SLICE("ip6::CAFE::BABE"),
        SLICE("exists"),
        SLICE("exists:"),
        SLICE("exists:a.b/24"),
        SLICE("exists:%(ir).a.test"),
        SLICE("exists:a%.a.test"),
        SLICE("exists:%{c}.a.test"),
        SLICE("exists:%{r}.a.test"),
        SLICE("exists:%{t}.a.test"),
        SLICE("exists:%{a}.a.test"),
        SLICE("exists:%{d0}.a.test"),
        SLICE("exists:%{d"),
        SLICE("exists:%{"),
        SLICE("exists:%"),
        SLICE("exists:%{dr2}.a.test"),
        SLICE("exists:%{d}x"),
        SLICE("redirect="),
        SLICE("redirect:a.test"),
        SLICE("-redirect=a.test"),
        SLICE("redirect=a.test redirect=b.test"),
        SLICE("exp=a.test exp=b.test"),
        SLICE("exp=-all"),
        SLICE("exp=%{r}.a.test"),
        SLICE("1up=x"),
        SLICE("=all"),
        SLICE("x/y=z"),
        SLICE("x=%abc"),
        SLICE("a:\x80.test"),
        SLICE("a:a.test\rptr"),
        SLICE("a\tmx"),
        SLICE("x=\x7f"),
        SLICE("a:a.test\0"),
        SLICE("all \0"),
        SLICE("a.b"),
        SLICE("all all moo"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[200] = "v=spf1 ";
        struct spf_term term;

        memcpy(text + 7, cases[i].p, cases[i].n);
        cr_expect_not(is_valid((struct slice){text, 7 + cases[i].n}, &term), "%s", cases[i].p);
    }
}

Test(spf_record, an_address_is_one_if_inet_pton_says_so)
{
    static const char octets[] = "0123456789..2501";
    unsigned state = 1, good = 0;

    for (unsigned i = 0; i < 200000; i++) {
        char text[40] = "v=spf1 ip4:";
        uint8_t expected[4];
        size_t n = strlen(text), end = n + 7 + i % 6;
        struct spf_term term;
        bool is_good;

        for (; n < end; n++) {
            state = state * 1103515245 + 12345;
            text[n] = octets[state >> 16 & 15];
        }
        is_good = inet_pton(AF_INET, text + strlen("v=spf1 ip4:"), expected) == 1;
        cr_assert_eq(is_valid((struct slice){text, n}, &term), is_good, "%s", text);
        cr_assert(!is_good || memcmp(term.network.addr, expected, 4) == 0, "%s", text);
        good += is_good;
    }
    cr_assert_gt(good, 100, "%u", good);
}

Test(spf_record, only_a_record_of_bounded_length_is_one)
{
    char text[SPF_RECORD_MAX + 1];
    struct spf_term term;

    memset(text, ' ', sizeof text);
    memcpy(text, "v=spf1", 6);
    cr_expect(is_valid((struct slice){text, SPF_RECORD_MAX}, &term));
    cr_expect_not(is_valid((struct slice){text, sizeof text}, &term));
}

Test(spf_record, cut_anywhere_nothing_is_read_beyond_the_end)
{
    static const char text[] =
        "v=spf1 a:%{d2r.-}.b/24//64 ip6:2001:db8::/32 mx//12 redirect=%{o} x=%%";
    struct spf_term term;

    for (size_t n = 6; n < sizeof text; n++)
        (void)is_valid((struct slice){text, n}, &term);
    cr_expect(is_valid(slice_of(text), &term));
}

Test(spf_record, includes_and_redirects_of_a_record_that_nobody_has_checked)
{
    static const struct {
        struct slice text;
        const char *specs;
    } cases[] = {
        {SLICE("v=spf1 include:a.test ~all"), "a.test "},
        {SLICE(
             "v=spf1   a ?INCLUDE:a.test ip4:192.0.2.1 +include:%{i}.b include: Redirect=c.test "),
         "a.test %{i}.b  c.test "},
        {SLICE("v=spf1 include redirect a:include:b +redirects=x ip4:include:y exp=redirect=z -"),
         ""},
        {SLICE("v=spf1"), ""},
        {SLICE(""), ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char *exact = malloc(cases[i].text.n + 1), found[200] = "";
        struct slice rest = {exact, cases[i].text.n}, spec;

        memcpy(exact, cases[i].text.p, cases[i].text.n);
        while (spf_record_next_reference(&rest, &spec))
            snprintf(found + strlen(found), sizeof found - strlen(found), SLICE_FMT " ",
                     SLICE_ARG(spec));
        free(exact);
        cr_expect_str_eq(found, cases[i].specs, "%zu: %s", i, found);
    }
}
