/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What domains publish as text: DMARC (RFC 7489), MTA-STS (RFC 8461), and an answer of HTTP.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "survey/survey_fetch.h"
#include "survey/survey_text.h"

/* A copy of exact size, so that a read beyond the end is seen. */
static struct slice
exact(struct slice text)
{
    char *copy = malloc(text.n);

    memcpy(copy, text.p, text.n);
    return (struct slice){copy, text.n};
}

Test(survey_text, dmarc_records)
{
    static const struct {
        const char *name;
        struct slice text;
        int rc;
        enum survey_dmarc_policy policy, subdomains;
        unsigned percent;
    } cases[] = {
        {"the least", SLICE("v=DMARC1; p=none"), ERR_OK, SURVEY_POLICY_NONE, SURVEY_POLICY_NONE,
         100},
        {"no blanks, an end", SLICE("v=DMARC1;p=reject;"), ERR_OK, SURVEY_POLICY_REJECT,
         SURVEY_POLICY_REJECT, 100},
        {"blanks everywhere", SLICE(" v = DMARC1 ; p = Quarantine ; pct = 5 "), ERR_OK,
         SURVEY_POLICY_QUARANTINE, SURVEY_POLICY_QUARANTINE, 5},
        {"subdomains of their own",
         SLICE("v=DMARC1; p=reject; sp=none; adkim=s; aspf=r; fo=1:d:s; ri=86400"), ERR_OK,
         SURVEY_POLICY_REJECT, SURVEY_POLICY_NONE, 100},
        {"reports", SLICE("v=DMARC1; p=none; rua=mailto:a@acme.example, mailto:b@isp.example!10m"),
         ERR_OK, SURVEY_POLICY_NONE, SURVEY_POLICY_NONE, 100},
        {"an unknown tag", SLICE("v=DMARC1; p=none; np=reject; x=1"), ERR_OK, SURVEY_POLICY_NONE,
         SURVEY_POLICY_NONE, 100},
        {"no policy", SLICE("v=DMARC1; rua=mailto:a@acme.example"), ERR_SYNTAX, 0, 0, 0},
        {"another version", SLICE("v=DMARC2; p=none"), ERR_SYNTAX, 0, 0, 0},
        {"the version later", SLICE("p=none; v=DMARC1"), ERR_SYNTAX, 0, 0, 0},
        {"a wrong word", SLICE("v=DMARC1; p=discard"), ERR_SYNTAX, 0, 0, 0},
        {"too much", SLICE("v=DMARC1; p=none; pct=101"), ERR_SYNTAX, 0, 0, 0},
        {"no number", SLICE("v=DMARC1; p=none; pct=all"), ERR_SYNTAX, 0, 0, 0},
        {"no tag", SLICE("v=DMARC1; p=none; reject"), ERR_SYNTAX, 0, 0, 0},
        {"an address that is none", SLICE("v=DMARC1; p=none; rua=dmarc@acme.example"), ERR_SYNTAX,
         0, 0, 0},
        {"nothing", SLICE(""), ERR_SYNTAX, 0, 0, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice text = exact(cases[i].text);
        struct survey_dmarc dmarc;
        char why[SURVEY_WHY_SIZE] = "";

        cr_expect_eq(survey_dmarc_parse(text, &dmarc, why), cases[i].rc, "%s", cases[i].name);
        if (cases[i].rc == ERR_OK) {
            cr_expect_eq(dmarc.policy, cases[i].policy, "%s", cases[i].name);
            cr_expect_eq(dmarc.subdomains, cases[i].subdomains, "%s", cases[i].name);
            cr_expect_eq(dmarc.percent, cases[i].percent, "%s", cases[i].name);
        } else
            cr_expect(why[0] != '\0', "%s", cases[i].name);
        free((char *)text.p);
    }
}

Test(survey_text, mta_sts_records)
{
    static const struct {
        const char *name;
        struct slice text;
        int rc;
        const char *id;
    } cases[] = {
        {"plain", SLICE("v=STSv1; id=20261130"), ERR_OK, "20261130"},
        {"an end", SLICE("v=STSv1;id=a1Z;"), ERR_OK, "a1Z"},
        {"an unknown tag", SLICE("v=STSv1; x=y; id=1"), ERR_OK, "1"},
        {"32 characters", SLICE("v=STSv1; id=12345678901234567890123456789012"), ERR_OK,
         "12345678901234567890123456789012"},
        {"33 characters", SLICE("v=STSv1; id=123456789012345678901234567890123"), ERR_SYNTAX, ""},
        {"a hyphen", SLICE("v=STSv1; id=2026-11"), ERR_SYNTAX, ""},
        {"empty", SLICE("v=STSv1; id="), ERR_SYNTAX, ""},
        {"none", SLICE("v=STSv1;"), ERR_SYNTAX, ""},
        {"another version", SLICE("v=STSv2; id=1"), ERR_SYNTAX, ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice text = exact(cases[i].text);
        char why[SURVEY_WHY_SIZE], id[SURVEY_STS_ID_SIZE];

        cr_expect_eq(survey_sts_parse(text, id, why), cases[i].rc, "%s", cases[i].name);
        if (cases[i].rc == ERR_OK)
            cr_expect_str_eq(id, cases[i].id, "%s", cases[i].name);
        free((char *)text.p);
    }
}

#define GOOD                                                                                \
    "version: STSv1\r\nmode: enforce\r\nmx: mx1.isp.example\r\nmx: *.isp.test\r\nmax_age: " \
    "604800\r\n"

Test(survey_text, mta_sts_policies)
{
    static const struct {
        const char *name;
        struct slice text;
        int rc;
    } cases[] = {
        {"whole", SLICE(GOOD), ERR_OK},
        {"bare line ends, another key, no end",
         SLICE("version:STSv1\nmode:testing\nx: y\nmax_age:0\nmx:a.example"), ERR_OK},
        {"off needs no hosts", SLICE("version: STSv1\nmode: none\nmax_age: 1\n"), ERR_OK},
        {"no version", SLICE("mode: none\nmax_age: 1\n"), ERR_SYNTAX},
        {"no mode", SLICE("version: STSv1\nmax_age: 1\nmx: a.example\n"), ERR_SYNTAX},
        {"no age", SLICE("version: STSv1\nmode: none\n"), ERR_SYNTAX},
        {"no hosts", SLICE("version: STSv1\nmode: enforce\nmax_age: 1\n"), ERR_SYNTAX},
        {"too old", SLICE("version: STSv1\nmode: none\nmax_age: 31557601\n"), ERR_SYNTAX},
        {"a wrong mode", SLICE("version: STSv1\nmode: enforced\nmax_age: 1\nmx: a.b\n"),
         ERR_SYNTAX},
        {"a wrong host", SLICE("version: STSv1\nmode: enforce\nmax_age: 1\nmx: a b.c\n"),
         ERR_SYNTAX},
        {"a page", SLICE("<html>"), ERR_SYNTAX},
        {"nothing", SLICE(""), ERR_SYNTAX},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice text = exact(cases[i].text);
        struct survey_sts_policy policy;
        char why[SURVEY_WHY_SIZE];

        cr_expect_eq(survey_sts_policy_parse(text, &policy, why), cases[i].rc, "%s", cases[i].name);
        free((char *)text.p);
    }
}

Test(survey_text, a_policy_has_names_and_asterisks)
{
    struct survey_sts_policy policy;
    char why[SURVEY_WHY_SIZE];

    cr_assert_eq(survey_sts_policy_parse(SLICE(GOOD), &policy, why), ERR_OK);
    cr_expect_eq(policy.mode, SURVEY_STS_MODE_ENFORCE);
    cr_expect_eq(policy.max_age_s, 604800);
    cr_expect(survey_sts_policy_has(&policy, "MX1.isp.example"));
    cr_expect(survey_sts_policy_has(&policy, "mx9.isp.test"));
    cr_expect_not(survey_sts_policy_has(&policy, "a.mx9.isp.test"));
    cr_expect_not(survey_sts_policy_has(&policy, "isp.test"));
    cr_expect_not(survey_sts_policy_has(&policy, "mx2.isp.example"));
}

Test(survey_text, answers_of_http)
{
    static const struct {
        const char *name;
        struct slice answer;
        enum survey_page_state state;
        const char *content;
        bool is_whole;
    } cases[] = {
        {"until the end", SLICE("HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello"), SURVEY_PAGE_OK,
         "hello", false},
        {"by its length", SLICE("HTTP/1.0 200 OK\r\ncontent-LENGTH: 3\r\n\r\nhello"),
         SURVEY_PAGE_OK, "hel", true},
        {"cut off", SLICE("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello"), SURVEY_PAGE_REFUSED,
         "", false},
        {"a wrong length", SLICE("HTTP/1.0 200 OK\r\nContent-Length: x\r\n\r\nhello"),
         SURVEY_PAGE_OK, "hello", false},
        {"not found", SLICE("HTTP/1.1 404 No\r\n\r\n"), SURVEY_PAGE_REFUSED, "", false},
        {"moved", SLICE("HTTP/1.1 301 No\r\nLocation: /\r\n\r\n"), SURVEY_PAGE_REFUSED, "", false},
        {"chunks", SLICE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0"),
         SURVEY_PAGE_REFUSED, "", false},
        {"no head", SLICE("HTTP/1.1 200 OK\r\n"), SURVEY_PAGE_REFUSED, "", false},
        {"no status", SLICE("HTTP/1.1\r\n\r\n"), SURVEY_PAGE_REFUSED, "", false},
        {"something else", SLICE("220 mail ESMTP\r\n\r\n"), SURVEY_PAGE_REFUSED, "", false},
        {"nothing", SLICE(""), SURVEY_PAGE_REFUSED, "", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct slice answer = exact(cases[i].answer);
        struct survey_page page;

        survey_fetch_read(answer, &page);
        cr_expect_eq(page.state, cases[i].state, "%s", cases[i].name);
        cr_expect_eq(page.state == SURVEY_PAGE_OK, page.why[0] == '\0', "%s", cases[i].name);
        if (page.state == SURVEY_PAGE_OK)
            cr_expect(slice_equal(page.content, slice_of(cases[i].content)), "%s", cases[i].name);
        cr_expect_eq(survey_fetch_is_whole(answer), cases[i].is_whole, "%s", cases[i].name);
        free((char *)answer.p);
    }
}
