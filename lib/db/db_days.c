/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A day begins where the one before it ends, and that libc knows (clock_retention_end_ms), also
 * where summer time begins at midnight.
 */
#include "db/db_days.h"

#include <stdio.h>

#include "base/clock.h"

#define LONGEST_DAY_MS (26 * 3600000LL)

int64_t
db_days_start_ms(int64_t at_ms)
{
    int64_t start_ms = clock_retention_end_ms(at_ms - LONGEST_DAY_MS, 0), next_ms;

    while ((next_ms = clock_retention_end_ms(start_ms, 0)) <= at_ms)
        start_ms = next_ms;
    return start_ms;
}

const char *
db_days_text(int32_t day, char dst[DB_DAYS_TEXT_SIZE])
{
    snprintf(dst, DB_DAYS_TEXT_SIZE, "%04d-%02d-%02d", day / 10000 % 10000, day / 100 % 100,
             day % 100);
    return dst;
}

void
db_days_init(struct db_days *d, int64_t from_ms, int64_t to_ms)
{
    char day[DB_DAYS_TEXT_SIZE], start[CLOCK_RFC3339_SIZE];
    int64_t at_ms = db_days_start_ms(from_ms);
    const char *gap = "{";

    buf_init(&d->days, 0);
    buf_init(&d->starts, 0);
    do {
        buf_printf(&d->days, "%s%s", gap, db_days_text(clock_local_day(at_ms), day));
        buf_printf(&d->starts, "%s%s", gap, clock_rfc3339(at_ms, start));
        gap = ",";
        at_ms = clock_retention_end_ms(at_ms, 0);
    } while (at_ms <= to_ms);
    buf_add_text(&d->days, "}");
    buf_printf(&d->starts, ",%s}", clock_rfc3339(at_ms, start));
}

void
db_days_fini(struct db_days *d)
{
    buf_fini(&d->days);
    buf_fini(&d->starts);
}
