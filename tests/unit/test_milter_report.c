/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P4: which words of a filter make a sender verified, and which make a message spam.
 */
#include <criterion/criterion.h>

#include "milter/milter_report.h"

Test(milter_report, P4_an_aligned_pass_in_our_name)
{
    static const struct {
        const char *value, *sender;
        bool passes;
    } cases[] = {
        {"mx.isp.example; dkim=pass header.d=a.example header.s=x", "a.example", true},
        {"mx.isp.example;\n\tdkim=pass (2048-bit key) header.d=a.example", "a.example", true},
        {"MX.isp.example 1; spf=fail; DKIM=PASS header.d=A.example", "a.example", true},
        {"mx.isp.example; dkim=fail header.d=a.example; dkim=pass header.d=a.example", "a.example",
         true},
        {"mx.isp.example; dkim=pass header.d=a.example", "news.a.example", true},
        {"mx.isp.example; dkim=pass header.d=news.a.example", "a.example", false},
        {"mx.isp.example; dkim=pass header.d=example", "a.example", false},
        {"mx.isp.example; dkim=pass header.d=b.example", "a.example", false},
        {"mx.isp.example; dkim=pass header.d=x-a.example", "a.example", false},
        {"mx.isp.example; dkim=pass header.d=a.example", "x-a.example", false},
        {"mx.isp.example; dkim=pass header.d=.example", "a.example", false},
        {"mx.isp.example; dkim=pass header.d=a.example", "", false},
        {"mx.isp.example; dkim=fail header.d=a.example", "a.example", false},
        {"mx.isp.example; dkim=pass; dmarc=pass header.d=a.example", "a.example", false},
        {"mx.isp.example; dkim=fail reason=\"x; dkim=pass header.d=a.example\"", "a.example",
         false},
        {"mx.isp.example; dkim=fail (x; dkim=pass header.d=a.example)", "a.example", false},
        {"mx.isp.example; x (dkim=pass header.d=a.example", "a.example", false},
        {"other.example; dkim=pass header.d=a.example", "a.example", false},
        {"mx.isp.example.org; dkim=pass header.d=a.example", "a.example", false},
        {"dkim=pass header.d=a.example", "a.example", false},
        {"", "a.example", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct milter_edits edits = {.count = 0};

        cr_assert(milter_edits_add(&edits, MILTER_EDIT_INSERT, 0, SLICE("authentication-results"),
                                   slice_of(cases[i].value)));
        cr_expect_eq(milter_report_dkim_passes(&edits, "mx.isp.example", cases[i].sender),
                     cases[i].passes, "%s", cases[i].value);
        milter_edits_clear(&edits);
    }
}

Test(milter_report, P4_spam)
{
    static const struct {
        const char *name, *value;
        bool is_spam;
    } cases[] = {
        {"X-Spam", "Yes", true},
        {"x-spam-flag", " YES", true},
        {"X-Spam-Status", "Yes, score=9", true},
        {"X-Spam", "No", false},
        {"X-Spam", "", false},
        {"X-Spam-Level", "yes", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct milter_edits edits = {.count = 0};

        cr_assert(milter_edits_add(&edits, MILTER_EDIT_CHANGE, 1, slice_of(cases[i].name),
                                   slice_of(cases[i].value)));
        cr_expect_eq(milter_report_is_spam(&edits), cases[i].is_spam, "%s: %s", cases[i].name,
                     cases[i].value);
        milter_edits_clear(&edits);
    }
}
