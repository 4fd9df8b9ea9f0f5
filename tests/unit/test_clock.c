/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P9: retention ends at midnight of the service's zone, five full days on, over changes of summer
 * time; and the two date formats.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

/* Times as seconds since 1970, from `date -d ... +%s` with TZ=Europe/Berlin. */
static const struct {
    const char *name;
    int64_t arrived_s;
    unsigned days;
    const char *until; /* UTC */
} retentions[] = {
    {"Monday 14:00 to Saturday 24:00", 1795438800, 5, "2026-11-28T23:00:00.000Z"},
    {"the last second of a day", 1795474799, 5, "2026-11-28T23:00:00.000Z"},
    {"the first second of a day", 1795474800, 5, "2026-11-29T23:00:00.000Z"},
    {"no full day: to the day's end", 1795438800, 0, "2026-11-23T23:00:00.000Z"},
    {"into summer time (2026-03-29)", 1774530000, 5, "2026-03-31T22:00:00.000Z"},
    {"out of summer time (2026-10-25)", 1792674000, 5, "2026-10-27T23:00:00.000Z"},
    {"over the end of a year", 1798549200, 5, "2027-01-03T23:00:00.000Z"},
};

Test(clock, P9_retention_is_full_calendar_days)
{
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(retentions); i++) {
        int64_t end =
            clock_retention_end_ms(retentions[i].arrived_s * 1000 + 999, retentions[i].days);
        char text[CLOCK_RFC3339_SIZE];

        cr_expect_str_eq(clock_rfc3339(end, text), retentions[i].until, "%s", retentions[i].name);
    }
}

Test(clock, dates_are_written_as_the_rfcs_say)
{
    char text[CLOCK_RFC5322_SIZE], day[CLOCK_LOCAL_SIZE];

    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
    cr_expect_str_eq(clock_rfc5322(1795438800000, text), "Mon, 23 Nov 2026 14:00:00 +0100");
    cr_expect_str_eq(clock_local(1795438800000, day), "2026-11-23 14:00");
    cr_assert_eq(clock_set_timezone("America/St_Johns"), ERR_OK);
    cr_expect_str_eq(clock_rfc5322(1795438800000, text), "Mon, 23 Nov 2026 09:30:00 -0330");
    cr_expect_str_eq(clock_rfc3339(1795438800123, text), "2026-11-23T13:00:00.123Z");
}

static const struct {
    const char *name;
    int64_t at_s;
    int hour;
    const char *next; /* UTC */
    int32_t day;
} hours[] = {
    {"the same day", 1795438800, 15, "2026-11-23T14:00:00.000Z", 20261123},
    {"not that moment itself", 1795438800, 14, "2026-11-24T13:00:00.000Z", 20261123},
    {"the next day", 1795438800, 7, "2026-11-24T06:00:00.000Z", 20261123},
    {"the last second of a day", 1795474799, 0, "2026-11-23T23:00:00.000Z", 20261123},
    {"the first second of a day", 1795474800, 7, "2026-11-24T06:00:00.000Z", 20261124},
    {"into summer time (2026-03-29)", 1774730000, 7, "2026-03-29T05:00:00.000Z", 20260328},
    {"out of summer time (2026-10-25)", 1792850000, 7, "2026-10-25T06:00:00.000Z", 20261024},
};

Test(clock, hours_and_days_are_those_of_the_zone)
{
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
    for (size_t i = 0; i < ARRAY_SIZE(hours); i++) {
        char text[CLOCK_RFC3339_SIZE];

        clock_rfc3339(clock_next_hour_ms(hours[i].at_s * 1000, hours[i].hour), text);
        cr_expect_str_eq(text, hours[i].next, "%s", hours[i].name);
        cr_expect_eq(clock_local_day(hours[i].at_s * 1000), hours[i].day, "%s", hours[i].name);
    }
}

Test(clock, a_zone_that_is_none_is_told)
{
    cr_expect_eq(clock_set_timezone("Mars/Olympus"), ERR_NOT_FOUND);
    cr_expect_eq(clock_set_timezone("../../etc/passwd"), ERR_NOT_FOUND);
    cr_expect_eq(clock_set_timezone("/etc/localtime"), ERR_NOT_FOUND);
    cr_expect_eq(clock_set_timezone(""), ERR_OK);
}
