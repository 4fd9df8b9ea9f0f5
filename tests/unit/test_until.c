/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The end of a temporary change, as operators write it.
 */
#include <criterion/criterion.h>

#include "admin/until.h"
#include "base/clock.h"

#define NOW INT64_C(1795003200000) /* 2026-11-18 12:00 UTC, 13:00 in Berlin */
#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)

static const struct {
    const char *name, *text;
    int rc;
    int64_t want_ms;
} cases[] = {
    {"a span", "+2d", ERR_OK, NOW + 2 * DAY},
    {"minutes", "+90m", ERR_OK, NOW + 90 * 60000},
    {"a date is its first moment there", "2026-11-19", ERR_OK, NOW + 11 * HOUR},
    {"a date in summer time", "2027-07-01", ERR_OK, INT64_C(1814392800000)},
    {"a time", "2026-11-18 14:30", ERR_OK, NOW + 90 * 60000},
    {"a T between", "2026-11-18T14:30", ERR_OK, NOW + 90 * 60000},
    {"seconds", "2026-11-18 13:00:01", ERR_OK, NOW + 1000},
    {"UTC", "2026-11-18T14:30:00Z", ERR_OK, NOW + 150 * 60000},
    {"an offset", "2026-11-18T14:30:00+01:00", ERR_OK, NOW + 90 * 60000},
    {"milliseconds", "2026-11-18T14:30:00.250Z", ERR_OK, NOW + 150 * 60000 + 250},
    {"an offset behind", "2026-11-18T12:30-00:30", ERR_OK, NOW + HOUR},
    {"now", "2026-11-18 13:00", ERR_RANGE, 0},
    {"the past", "2026-11-17", ERR_RANGE, 0},
    {"today has begun", "2026-11-18", ERR_RANGE, 0},
    {"no span", "+0d", ERR_RANGE, 0},
    {"too far", "2200-01-01T00:00:00Z", ERR_RANGE, 0},
    {"a span too far", "+99999999d", ERR_RANGE, 0},
    {"a span that overflows", "+99999999999999999999d", ERR_RANGE, 0},
    {"no such day", "2027-02-29", ERR_SYNTAX, 0},
    {"no such month", "2027-13-01", ERR_SYNTAX, 0},
    {"no such hour", "2027-01-01 24:00", ERR_SYNTAX, 0},
    {"no such minute", "2027-01-01 12:60", ERR_SYNTAX, 0},
    {"a span without a unit", "+2", ERR_SYNTAX, 0},
    {"a span without a sign", "2d", ERR_SYNTAX, 0},
    {"a span back", "-2d", ERR_SYNTAX, 0},
    {"only a plus", "+", ERR_SYNTAX, 0},
    {"a word", "tomorrow", ERR_SYNTAX, 0},
    {"nothing", "", ERR_SYNTAX, 0},
    {"another order", "01.12.2026", ERR_SYNTAX, 0},
    {"one digit", "2026-12-1", ERR_SYNTAX, 0},
    {"something behind", "2026-12-01x", ERR_SYNTAX, 0},
    {"an hour alone", "2026-12-01 15", ERR_SYNTAX, 0},
    {"half a fraction", "2026-12-01 15:00:00.5", ERR_SYNTAX, 0},
    {"half an offset", "2026-12-01 15:00+01", ERR_SYNTAX, 0},
    {"an offset that is none", "2026-12-01 15:00+15:00", ERR_SYNTAX, 0},
};

Test(until, moments)
{
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t got_ms;
        int rc = until_parse(cases[i].text, NOW, &got_ms);

        cr_expect_eq(rc, cases[i].rc, "%s: %d", cases[i].name, rc);
        if (rc == ERR_OK)
            cr_expect_eq(got_ms, cases[i].want_ms, "%s: %lld", cases[i].name, (long long)got_ms);
    }
}
