/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Time.  Wall-clock time comes from libc alone, so that faketime can move it; deadlines use the
 * monotonic clock, which all processes of a machine share.  Engines never call these: they are
 * handed the time.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

int64_t clock_wall_ms(void);      /* since 1970-01-01T00:00:00Z */
int64_t clock_monotonic_ms(void); /* since some moment at or before boot */
int64_t clock_monotonic_us(void);
int64_t clock_boot_ms(void); /* since boot, sleep of the machine included */

/* The run of the machine that clock_boot_ms counts, a UUID; "" if the kernel does not say. */
#define CLOCK_BOOT_ID_SIZE 40
void clock_boot_id(char dst[CLOCK_BOOT_ID_SIZE]); /* padded with zeros */

/* Makes `zone` (a name of the zone database, e.g. "Europe/Berlin"; "" keeps the system's) the zone
 * of this process. ERR_NOT_FOUND if the database has no such zone. */
MUST_USE int clock_set_timezone(const char *zone);

/* Whether the zone database has `zone`. */
bool clock_has_timezone(const char *zone);

/* The end of the last of `days` full calendar days after the day of `arrived_ms`, in the process's
 * zone: a message of Monday 14:00 with five days is kept until Saturday 24:00 (DESIGN: retention).
 * Right over changes of summer time. */
int64_t clock_retention_end_ms(int64_t arrived_ms, unsigned days);

/* The day of the process's zone as a number, 20261130; days grow. */
int32_t clock_local_day(int64_t wall_ms);
/* The first moment behind `wall_ms` at which the process's zone has this full hour, 0 to 23. */
int64_t clock_next_hour_ms(int64_t wall_ms, int hour);

/* RFC 3339 in UTC, "2026-11-22T08:30:00.123Z". */
#define CLOCK_RFC3339_SIZE 32
const char *clock_rfc3339(int64_t wall_ms, char dst[CLOCK_RFC3339_SIZE]);
/* RFC 5322 date with the local offset, "Sun, 22 Nov 2026 09:30:00 +0100". */
#define CLOCK_RFC5322_SIZE 40
const char *clock_rfc5322(int64_t wall_ms, char dst[CLOCK_RFC5322_SIZE]);
/* Local time to the minute for people, "2026-11-22 09:30". */
#define CLOCK_LOCAL_SIZE 20
const char *clock_local(int64_t wall_ms, char dst[CLOCK_LOCAL_SIZE]);

#endif
