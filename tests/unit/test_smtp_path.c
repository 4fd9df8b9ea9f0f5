/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Paths of RFC 5321 4.1.2: what is of the grammar, what is not, what they come to.
 */
#include <criterion/criterion.h>

#include "smtp/smtp_path.h"

#define X10 "xxxxxxxxxx"
#define X60 X10 X10 X10 X10 X10 X10
#define X63 X60 "xxx"

static const struct {
    const char *name, *in;
    const char *text; /* NULL: a syntax error */
    const char *domain, *key;
} forwards[] = {
    {"plain", "<joe@acme.example>", "joe@acme.example", "acme.example", "joe@acme.example"},
    {"case is kept", "<Joe@ACME.Example>", "Joe@ACME.Example", "acme.example", "joe@acme.example"},
    {"dots", "<a.b.c@d.example>", "a.b.c@d.example", "d.example", "a.b.c@d.example"},
    {"all of atext", "<!#$%&'*+-/=?^_`{|}~@d.example>", "!#$%&'*+-/=?^_`{|}~@d.example",
     "d.example", "!#$%&'*+-/=?^_`{|}~@d.example"},
    {"one label", "<joe@localhost>", "joe@localhost", "localhost", "joe@localhost"},
    {"one label, upper case", "<joe@HOST>", "joe@HOST", "host", "joe@host"},
    {"underscore in domain", "<joe@a_b.example>", "joe@a_b.example", "a_b.example",
     "joe@a_b.example"},
    {"quoted", "<\"joe doe\"@d.example>", "\"joe doe\"@d.example", "d.example",
     "joe doe@d.example"},
    {"quoted for nothing", "<\"Joe\"@d.example>", "\"Joe\"@d.example", "d.example",
     "joe@d.example"},
    {"quoted pair", "<\"a\\\"\\@\\b\"@d.example>", "\"a\\\"\\@\\b\"@d.example", "d.example",
     "a\"@b@d.example"},
    {"quoted brackets", "<\"<a>@b\"@d.example>", "\"<a>@b\"@d.example", "d.example",
     "<a>@b@d.example"},
    {"empty quoted", "<\"\"@d.example>", "\"\"@d.example", "d.example", "@d.example"},
    {"IPv4 literal", "<joe@[192.0.2.1]>", "joe@[192.0.2.1]", "[192.0.2.1]", "joe@[192.0.2.1]"},
    {"IPv6 literal", "<joe@[ipv6:2001:DB8:0::1]>", "joe@[ipv6:2001:DB8:0::1]", "[IPv6:2001:db8::1]",
     "joe@[IPv6:2001:db8::1]"},
    {"mapped literal", "<joe@[IPv6:::ffff:192.0.2.1]>", "joe@[IPv6:::ffff:192.0.2.1]",
     "[192.0.2.1]", "joe@[192.0.2.1]"},
    {"source route", "<@a.example,@b.example:joe@d.example>", "joe@d.example", "d.example",
     "joe@d.example"},
    {"route of one", "<@a:joe@d.example>", "joe@d.example", "d.example", "joe@d.example"},
    {"postmaster", "<Postmaster>", "Postmaster", "", "postmaster"},
    {"postmaster with domain", "<postmaster@d.example>", "postmaster@d.example", "d.example",
     "postmaster@d.example"},
    {"local of 64", "<" X60 "xxxx@d.example>", X60 "xxxx@d.example", "d.example",
     X60 "xxxx@d.example"},
    {"label of 63", "<a@" X63 ".example>", "a@" X63 ".example", X63 ".example",
     "a@" X63 ".example"},
    {"UTF-8 local", "<j\xc3\xb6@d.example>", "j\xc3\xb6@d.example", "d.example",
     "j\xc3\xb6@d.example"},
    {"UTF-8 domain",
     "<joe@b\xc3\xbc"
     "cher.example>",
     "joe@b\xc3\xbc"
     "cher.example",
     "xn--bcher-kva.example", "joe@xn--bcher-kva.example"},
    {"UTF-8 label alone",
     "<joe@b\xc3\xbc"
     "cher>",
     "joe@b\xc3\xbc"
     "cher",
     "xn--bcher-kva", "joe@xn--bcher-kva"},

    {"null", "<>", NULL, NULL, NULL},
    {"nothing", "", NULL, NULL, NULL},
    {"no brackets", "joe@d.example", NULL, NULL, NULL},
    {"not closed", "<joe@d.example", NULL, NULL, NULL},
    {"closed twice", "<joe@d.example>>x", "joe@d.example", "d.example", "joe@d.example"},
    {"no domain", "<joe>", NULL, NULL, NULL},
    {"empty domain", "<joe@>", NULL, NULL, NULL},
    {"empty local", "<@d.example>", NULL, NULL, NULL},
    {"dot first", "<.a@d.example>", NULL, NULL, NULL},
    {"dot last", "<a.@d.example>", NULL, NULL, NULL},
    {"two dots", "<a..b@d.example>", NULL, NULL, NULL},
    {"two ats", "<a@b@d.example>", NULL, NULL, NULL},
    {"space", "<a b@d.example>", NULL, NULL, NULL},
    {"space inside", "< joe@d.example>", NULL, NULL, NULL},
    {"space behind", "<joe@d.example >", NULL, NULL, NULL},
    {"tab in quotes", "<\"a\tb\"@d.example>", NULL, NULL, NULL},
    {"control in quotes", "<\"a\x01\"@d.example>", NULL, NULL, NULL},
    {"control behind backslash", "<\"a\\\r\"@d.example>", NULL, NULL, NULL},
    {"delete", "<a\x7f@d.example>", NULL, NULL, NULL},
    {"quote not closed", "<\"a@d.example>", NULL, NULL, NULL},
    {"quote in an atom", "<a\"b\"@d.example>", NULL, NULL, NULL},
    {"text behind quotes", "<\"a\"b@d.example>", NULL, NULL, NULL},
    {"brackets in an atom", "<a<b@d.example>", NULL, NULL, NULL},
    {"comment", "<joe(x)@d.example>", NULL, NULL, NULL},
    {"trailing dot", "<joe@d.example.>", NULL, NULL, NULL},
    {"leading dot in domain", "<joe@.example>", NULL, NULL, NULL},
    {"hyphen at the end", "<joe@d-.example>", NULL, NULL, NULL},
    {"slash in domain", "<joe@d/e.example>", NULL, NULL, NULL},
    {"label of 64", "<a@x" X63 ".example>", NULL, NULL, NULL},
    {"lone label of 64", "<a@x" X63 ">", NULL, NULL, NULL},
    {"local of 65", "<" X60 "xxxxx@d.example>", NULL, NULL, NULL},
    {"path of 257", "<" X60 "xxxx@" X63 "." X63 "." X60 "xx>", NULL, NULL, NULL},
    {"literal not closed", "<a@[192.0.2.1>", NULL, NULL, NULL},
    {"literal empty", "<a@[]>", NULL, NULL, NULL},
    {"literal of three", "<a@[192.0.2]>", NULL, NULL, NULL},
    {"literal with port", "<a@[192.0.2.1:25]>", NULL, NULL, NULL},
    {"literal with text behind", "<a@[192.0.2.1]x>", NULL, NULL, NULL},
    {"literal in literal", "<a@[[192.0.2.1]>", NULL, NULL, NULL},
    {"IPv6 without tag", "<a@[2001:db8::1]>", NULL, NULL, NULL},
    {"IPv4 with tag", "<a@[IPv6:192.0.2.1]>", NULL, NULL, NULL},
    {"IPv4 with tag and port", "<a@[IPv6:192.0.2.1:25]>", NULL, NULL, NULL},
    {"IPv6 with brackets", "<a@[IPv6:[2001:db8::1]]>", NULL, NULL, NULL},
    {"another tag", "<a@[X400:c=de;x]>", "a@[X400:c=de;x]", "[X400:c=de;x]", "a@[X400:c=de;x]"},
    {"tag without content", "<a@[X400:]>", NULL, NULL, NULL},
    {"tag ends in a hyphen", "<a@[X-:c]>", NULL, NULL, NULL},
    {"tag with a dot", "<a@[x.y:c]>", NULL, NULL, NULL},
    {"no tag", "<a@[:c]>", NULL, NULL, NULL},
    {"space in a literal", "<a@[x:c d]>", NULL, NULL, NULL},
    {"backslash in a literal", "<a@[x:c\\d]>", NULL, NULL, NULL},
    {"IPv6 without tag, of letters", "<a@[fe80::a]>", NULL, NULL, NULL},
    {"route without colon", "<@a.example joe@d.example>", NULL, NULL, NULL},
    {"route alone", "<@a.example:>", NULL, NULL, NULL},
    {"route with a bad name", "<@-:joe@d.example>", NULL, NULL, NULL},
    {"route before postmaster", "<@a.example:postmaster>", NULL, NULL, NULL},
    {"almost postmaster", "<postmasters>", NULL, NULL, NULL},
    {"overlong UTF-8", "<j\xc0\xaf@d.example>", NULL, NULL, NULL},
    {"surrogate", "<j\xed\xa0\x80@d.example>", NULL, NULL, NULL},
    {"lone continuation", "<j\x80@d.example>", NULL, NULL, NULL},
    {"cut UTF-8", "<j\xc3>", NULL, NULL, NULL},
    {"Latin-1", "<j\xf6@d.example>", NULL, NULL, NULL},
    {"line end", "<a@d.example\r\n>", NULL, NULL, NULL},
};

static bool
has_high(const char *s)
{
    for (; *s; s++)
        if (*s & 0x80)
            return true;
    return false;
}

Test(smtp_path, forward)
{
    for (size_t i = 0; i < ARRAY_SIZE(forwards); i++) {
        const char *name = forwards[i].name;
        struct smtp_path path;
        char key[SMTP_PATH_SIZE];
        size_t consumed = 99;
        int rc = smtp_path_parse_forward(slice_of(forwards[i].in), &path, &consumed);

        cr_expect_eq(rc, forwards[i].text ? ERR_OK : ERR_SYNTAX, "%s", name);
        if (rc < 0) {
            cr_expect_eq(consumed, 0, "%s", name);
            cr_expect_str_empty(path.text, "%s", name);
        }
        if (rc < 0 || forwards[i].text == NULL)
            continue;
        smtp_path_key(&path, key);
        cr_expect_str_eq(path.text, forwards[i].text, "%s", name);
        cr_expect_str_eq(path.domain, forwards[i].domain, "%s", name);
        cr_expect_str_eq(key, forwards[i].key, "%s", name);
        cr_expect_eq(path.is_postmaster, path.domain[0] == '\0', "%s", name);
        cr_expect_eq(path.needs_smtputf8, has_high(forwards[i].in), "%s", name);
        cr_expect_not(path.is_null, "%s", name);
        if (!path.is_postmaster)
            cr_expect_eq(path.text[path.local_length], '@', "%s", name);
    }
}

Test(smtp_path, NUL_is_in_no_path)
{
    static const char in[] = "<a\0b@d.example>", quoted[] = "<\"a\0b\"@d.example>",
                      domain[] = "<a@d\0.example>", literal[] = "<a@[192.0.2.1\0]>";
    static const struct slice cases[] = {
        {in, sizeof in - 1},
        {quoted, sizeof quoted - 1},
        {domain, sizeof domain - 1},
        {literal, sizeof literal - 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct smtp_path path;
        size_t consumed;

        cr_expect_eq(smtp_path_parse_forward(cases[i], &path, &consumed), ERR_SYNTAX, "%zu", i);
    }
}

Test(smtp_path, the_longest_path)
{
    static const char in[] = "<" X60 "xxxx@" X63 "." X63 "." X60 "x>";
    struct smtp_path path;
    size_t consumed;

    cr_expect_eq(smtp_path_parse_forward(slice_of(in), &path, &consumed), ERR_OK);
    cr_expect_eq(consumed, SMTP_PATH_MAX);
}

Test(smtp_path, reverse)
{
    static const struct {
        const char *name, *in;
        int rc;
        bool is_null;
    } cases[] = {
        {"null", "<>", ERR_OK, true},
        {"null with parameters", "<> SIZE=1", ERR_OK, true},
        {"null with a space", "< >", ERR_SYNTAX, false},
        {"plain", "<a@b.example>", ERR_OK, false},
        {"postmaster needs a domain", "<postmaster>", ERR_SYNTAX, false},
        {"route of nothing", "<@a.example:>", ERR_SYNTAX, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct smtp_path path;
        size_t consumed;

        cr_expect_eq(smtp_path_parse_reverse(slice_of(cases[i].in), &path, &consumed), cases[i].rc,
                     "%s", cases[i].name);
        cr_expect_eq(path.is_null, cases[i].is_null, "%s", cases[i].name);
        if (cases[i].rc == ERR_OK)
            cr_expect_eq(cases[i].in[consumed - 1], '>', "%s", cases[i].name);
    }
}

Test(smtp_path, mailbox)
{
    static const struct {
        const char *name, *in;
        int rc;
    } cases[] = {
        {"plain", "joe@d.example", ERR_OK},
        {"literal", "joe@[192.0.2.1]", ERR_OK},
        {"brackets", "<joe@d.example>", ERR_SYNTAX},
        {"behind", "joe@d.example ", ERR_SYNTAX},
        {"route", "@a:joe@d.example", ERR_SYNTAX},
        {"postmaster", "postmaster", ERR_SYNTAX},
        {"nothing", "", ERR_SYNTAX},
        {"no domain", "joe@", ERR_SYNTAX},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct smtp_path path;

        cr_expect_eq(smtp_path_parse_mailbox(slice_of(cases[i].in), &path), cases[i].rc, "%s",
                     cases[i].name);
    }
}
