/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Lists as an operator writes them; which answers are a listing.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/dnsbl_zone.h"

static struct inet_endpoint
answer(const char *text)
{
    struct inet_endpoint e;

    cr_assert_eq(inet_endpoint_parse(slice_of(text), 1, &e), ERR_OK, "%s", text);
    return e;
}

Test(dnsbl_zone, what_is_a_listing)
{
    static const struct {
        const char *text, *answer;
        bool is_listing;
    } cases[] = {
        {"bl.example", "127.0.0.2", true},
        {"bl.example", "127.255.254.255", true},
        {"bl.example", "127.0.0.1", false},
        {"bl.example", "127.255.255.254", false},
        {"bl.example", "192.0.2.1", false},
        {"bl.example codes=127.0.0.1", "127.0.0.1", true},
        {"bl.example codes=127.0.0.2-127.0.0.11,127.0.0.20", "127.0.0.2", true},
        {"bl.example codes=127.0.0.2-127.0.0.11,127.0.0.20", "127.0.0.11", true},
        {"bl.example codes=127.0.0.2-127.0.0.11,127.0.0.20", "127.0.0.12", false},
        {"bl.example codes=127.0.0.2-127.0.0.11,127.0.0.20", "127.0.0.20", true},
        {" BL.example  test=no name=shown.example  codes=127.0.0.2", "127.0.0.3", false},
    };
    struct dnsbl_zone zone;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct inet_endpoint e = answer(cases[i].answer);
        const char *wrong = dnsbl_zone_parse(cases[i].text, &zone);

        cr_assert_null(wrong, "%s: %s", cases[i].text, wrong);
        cr_expect_eq(dnsbl_zone_has_code(&zone, &e), cases[i].is_listing, "%s: %s", cases[i].text,
                     cases[i].answer);
        cr_expect_str_eq(zone.zone, "bl.example");
    }
    cr_expect_str_eq(zone.name, "shown.example");
    cr_expect_not(zone.is_tested);
    cr_assert_null(dnsbl_zone_parse("bl.example", &zone));
    cr_expect_str_eq(zone.name, "bl.example");
    cr_expect(zone.is_tested);
}

Test(dnsbl_zone, the_word_of_a_list_on_who_asks)
{
    struct inet_endpoint e = answer("127.255.255.254");

    cr_expect(dnsbl_zone_is_refusal(&e));
    e = answer("127.255.255.0");
    cr_expect(dnsbl_zone_is_refusal(&e));
    e = answer("127.255.254.255");
    cr_expect_not(dnsbl_zone_is_refusal(&e));
    e = answer("128.0.0.0");
    cr_expect_not(dnsbl_zone_is_refusal(&e));
}

Test(dnsbl_zone, what_is_no_list)
{
    static const struct {
        const char *text, *wrong; /* a part of it */
    } cases[] = {
        {"", "list's zone"},
        {"bl", "list's zone"},
        {"codes=127.0.0.2", "list's zone"},
        {"bl.example codes=", "codes outside"},
        {"bl.example codes=127.0.0.2-", "codes outside"},
        {"bl.example codes=127.0.0.2,", "codes outside"},
        {"bl.example codes=127.0.0.2:25", "codes outside"},
        {"bl.example codes=127.0.0.0", "codes outside"},
        {"bl.example codes=127.0.0.2-127.255.255.1", "codes outside"},
        {"bl.example codes=[::1]", "codes outside"},
        {"bl.example codes=127.0.0.4-127.0.0.2", "ends before it begins"},
        {"bl.example codes=127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,"
         "127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,127.0.0.2,"
         "127.0.0.2,127.0.0.2",
         "more than 16"},
        {"bl.example name=", "no domain name"},
        {"bl.example test=maybe", "neither yes nor no"},
        {"bl.example 127.0.0.2", "unknown"},
        {"bl.example test", "unknown"},
        {"a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789."
         "a23456789."
         "a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789."
         "a23456789."
         "a23456789",
         NULL},
        {"a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789."
         "a23456789."
         "a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789.a23456789."
         "a23456789."
         "a234567890",
         "list's zone"},
    };
    struct dnsbl_zone zone;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *wrong = dnsbl_zone_parse(cases[i].text, &zone);

        if (cases[i].wrong == NULL)
            cr_expect_null(wrong, "%s: %s", cases[i].text, wrong);
        else
            cr_expect(wrong != NULL && strstr(wrong, cases[i].wrong) != NULL, "%s: %s",
                      cases[i].text, wrong ? wrong : "good");
    }
}
