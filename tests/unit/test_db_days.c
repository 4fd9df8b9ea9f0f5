/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Days as PostgreSQL is told of them: those of 23 and 25 hours, and one that begins at one o'clock.
 */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "db/db_days.h"

#define HOUR INT64_C(3600000)

static const struct {
    const char *name, *zone;
    int64_t from_ms, to_ms;
    const char *days, *starts;
} cases[] = {
    {"one day", "UTC", INT64_C(1795003200000), INT64_C(1795003200000), "{2026-11-18}",
     "{2026-11-18T00:00:00.000Z,2026-11-19T00:00:00.000Z}"},
    {"its first moment", "UTC", INT64_C(1794960000000), INT64_C(1794960000000), "{2026-11-18}",
     "{2026-11-18T00:00:00.000Z,2026-11-19T00:00:00.000Z}"},
    {"the last of the day before", "UTC", INT64_C(1794959999999), INT64_C(1794960000000),
     "{2026-11-17,2026-11-18}",
     "{2026-11-17T00:00:00.000Z,2026-11-18T00:00:00.000Z,2026-11-19T00:00:00.000Z}"},
    {"from later than to", "UTC", INT64_C(1795003200000), 0, "{2026-11-18}",
     "{2026-11-18T00:00:00.000Z,2026-11-19T00:00:00.000Z}"},
    {"25 hours", "Europe/Berlin", INT64_C(1792879200000), INT64_C(1792969200000),
     "{2026-10-25,2026-10-26}",
     "{2026-10-24T22:00:00.000Z,2026-10-25T23:00:00.000Z,2026-10-26T23:00:00.000Z}"},
    {"23 hours", "Europe/Berlin", INT64_C(1774738800000), INT64_C(1774821600000),
     "{2026-03-29,2026-03-30}",
     "{2026-03-28T23:00:00.000Z,2026-03-29T22:00:00.000Z,2026-03-30T22:00:00.000Z}"},
    {"no midnight", "America/Santiago", INT64_C(1788667200000) - 1, INT64_C(1788667200000),
     "{2026-09-05,2026-09-06}",
     "{2026-09-05T04:00:00.000Z,2026-09-06T04:00:00.000Z,2026-09-07T03:00:00.000Z}"},
};

Test(db_days, every_case)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct db_days days;

        cr_assert(clock_set_timezone(cases[i].zone) == ERR_OK, "%s: no zone", cases[i].name);
        db_days_init(&days, cases[i].from_ms, cases[i].to_ms);
        cr_expect_str_eq(buf_text(&days.days), cases[i].days, "%s: %s", cases[i].name,
                         buf_text(&days.days));
        cr_expect_str_eq(buf_text(&days.starts), cases[i].starts, "%s: %s", cases[i].name,
                         buf_text(&days.starts));
        db_days_fini(&days);
    }
}

Test(db_days, every_hour_of_two_years_lies_in_its_day)
{
    static const char *const zones[] = {"Europe/Berlin", "America/Santiago", "Pacific/Apia",
                                        "Australia/Lord_Howe", "Asia/Kathmandu"};

    for (size_t z = 0; z < ARRAY_SIZE(zones); z++) {
        cr_assert(clock_set_timezone(zones[z]) == ERR_OK);
        for (int64_t at = INT64_C(1774000000000); at < INT64_C(1837000000000); at += HOUR) {
            int64_t start = db_days_start_ms(at);

            cr_assert(start <= at && clock_retention_end_ms(start, 0) > at, "%s %lld", zones[z],
                      (long long)at);
            cr_assert(clock_local_day(start) == clock_local_day(at));
            cr_assert(clock_local_day(start - 1) < clock_local_day(at));
        }
    }
}
