/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What clients call themselves.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "sender/sender_helo.h"

static struct inet_endpoint
endpoint(const char *text)
{
    struct inet_endpoint e;

    cr_assert_eq(inet_endpoint_parse(slice_of(text), 25, &e), ERR_OK, "%s", text);
    return e;
}

#define CLIENT "192.0.2.9"
#define CLIENT6 "[2001:db8::9]"

Test(sender_helo, forms)
{
    static const struct {
        const char *argument, *client;
        enum sender_helo helo;
        const char *name;
    } cases[] = {
        {"mail.acme.example", CLIENT, SENDER_HELO_HOST, "mail.acme.example"},
        {"MAIL.Acme.Example.", CLIENT, SENDER_HELO_HOST, "mail.acme.example"},
        {"win_srv.acme.example", CLIENT, SENDER_HELO_HOST, "win_srv.acme.example"},
        {"m\303\274ller.example", CLIENT, SENDER_HELO_HOST, "xn--mller-kva.example"},
        {"1.acme.example", CLIENT, SENDER_HELO_HOST, "1.acme.example"},
        {"[192.0.2.9]", CLIENT, SENDER_HELO_LITERAL, ""},
        {"[IPv6:2001:db8::9]", CLIENT6, SENDER_HELO_LITERAL, ""},
        {"[ipv6:2001:DB8:0::9]", CLIENT6, SENDER_HELO_LITERAL, ""},
        {"[2001:db8::9]", CLIENT6, SENDER_HELO_LITERAL, ""},
        {"[IPv6:::ffff:192.0.2.9]", CLIENT, SENDER_HELO_LITERAL, ""},
        {"[198.51.100.1]", "198.51.100.1", SENDER_HELO_LITERAL, ""}, /* from this host */
        {"[192.0.2.10]", CLIENT, SENDER_HELO_FOREIGN, ""},
        {"[IPv6:2001:db8::9]", CLIENT, SENDER_HELO_FOREIGN, ""},
        {"[127.0.0.1]", CLIENT, SENDER_HELO_FOREIGN, ""},
        {"[198.51.100.1]", CLIENT, SENDER_HELO_OURS, ""},
        {"[198.51.100.2]", CLIENT, SENDER_HELO_OURS, ""},
        {"[198.51.100.3]", CLIENT, SENDER_HELO_OURS, ""},
        {"198.51.100.1", CLIENT, SENDER_HELO_OURS, ""},
        {"[IPv6:2001:db8::1]", CLIENT6, SENDER_HELO_OURS, ""},
        {"mx1.isp.example", CLIENT, SENDER_HELO_OURS, "mx1.isp.example"},
        {"MX1.ISP.example.", CLIENT, SENDER_HELO_OURS, "mx1.isp.example"},
        {"192.0.2.9", CLIENT, SENDER_HELO_ADDRESS, ""},
        {"192.0.2.10", CLIENT, SENDER_HELO_ADDRESS, ""},
        {"2001:db8::9", CLIENT6, SENDER_HELO_ADDRESS, ""},
        {"localhost", CLIENT, SENDER_HELO_LOCALHOST, ""},
        {"LocalHost.localdomain", CLIENT, SENDER_HELO_LOCALHOST, ""},
        {"localhost6.localdomain6", CLIENT, SENDER_HELO_LOCALHOST, ""},
        {"localhost.acme.example", CLIENT, SENDER_HELO_LOCALHOST, ""},
        {"pc.localdomain", CLIENT, SENDER_HELO_LOCALHOST, ""},
        {"notlocalhost.example", CLIENT, SENDER_HELO_HOST, "notlocalhost.example"},
        {"ylmf-pc", CLIENT, SENDER_HELO_WORD, "ylmf-pc"},
        {"User", CLIENT, SENDER_HELO_WORD, "user"},
        {"example.", CLIENT, SENDER_HELO_WORD, "example"},
        {"", CLIENT, SENDER_HELO_NONE, ""},
        {".", CLIENT, SENDER_HELO_NONE, ""},
        {"..", CLIENT, SENDER_HELO_NONE, ""},
        {"a..example", CLIENT, SENDER_HELO_NONE, ""},
        {"mail acme.example", CLIENT, SENDER_HELO_NONE, ""},
        {"mail@acme.example", CLIENT, SENDER_HELO_NONE, ""},
        {"mail\r\n.example", CLIENT, SENDER_HELO_NONE, ""},
        {"[192.0.2.9", CLIENT, SENDER_HELO_NONE, ""},
        {"192.0.2.9]", CLIENT, SENDER_HELO_NONE, ""},
        {"[192.0.2.9:25]", CLIENT, SENDER_HELO_NONE, ""},
        {"[]", CLIENT, SENDER_HELO_NONE, ""},
        {"[IPv6:]", CLIENT, SENDER_HELO_NONE, ""},
        {"[[192.0.2.9]]", CLIENT, SENDER_HELO_NONE, ""},
        {"[mail.acme.example]", CLIENT, SENDER_HELO_NONE, ""},
        {"192.0.2.256", CLIENT, SENDER_HELO_NONE, ""},
        {"192.0.2.9:25", CLIENT, SENDER_HELO_NONE, ""},
        {"3221225993", CLIENT, SENDER_HELO_NONE, ""},
    };
    struct inet_endpoint listen[] = {endpoint("198.51.100.2"), endpoint("[2001:db8::1]")};
    struct inet_endpoint local = endpoint("198.51.100.1");
    char hostname[] = "MX1.isp.example";
    struct config config = {.hostname = hostname,
                            .listen = {listen, ARRAY_SIZE(listen)},
                            .source_address = endpoint("198.51.100.3")};
    char name[INET_DOMAIN_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct inet_endpoint client = endpoint(cases[i].client);
        enum sender_helo helo =
            sender_helo_of(slice_of(cases[i].argument), &config, &client, &local, name);

        cr_expect_eq(helo, cases[i].helo, "%s: %s", cases[i].argument, sender_helo_text(helo));
        cr_expect_str_eq(name, cases[i].name, "%s: %s", cases[i].argument, name);
    }
}

Test(sender_helo, lengths_and_octets_that_no_name_has)
{
    static const struct inet_endpoint none = {.family = 0};
    struct inet_endpoint client = endpoint(CLIENT);
    char hostname[] = "word"; /* a system without a domain */
    struct config config = {.hostname = hostname};
    char name[INET_DOMAIN_SIZE], text[2000];

    memset(text, 'a', sizeof text);
    for (size_t n = 1; n <= sizeof text; n++) {
        enum sender_helo wanted = n <= 63 ? SENDER_HELO_WORD : SENDER_HELO_NONE;

        cr_assert_eq(sender_helo_of((struct slice){text, n}, &config, &client, &none, name), wanted,
                     "%zu", n);
    }
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? '.' : 'a';
    cr_expect_eq(sender_helo_of((struct slice){text, 253}, &config, &client, &none, name),
                 SENDER_HELO_HOST);
    cr_expect_eq(sender_helo_of((struct slice){text, 255}, &config, &client, &none, name),
                 SENDER_HELO_NONE);
    cr_expect_eq(sender_helo_of((struct slice){"a\0b.example", 11}, &config, &client, &none, name),
                 SENDER_HELO_NONE);
    cr_expect_eq(sender_helo_of(slice_of("WORD"), &config, &client, &none, name), SENDER_HELO_OURS);
    cr_expect_eq(sender_helo_of(slice_of("[0.0.0.0]"), &config, &client, &none, name),
                 SENDER_HELO_FOREIGN);
}
