/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Days of the service's time zone as PostgreSQL is told of them: it need not know the zone, and
 * both agree when a day of 23 or 25 hours ends.
 */
#ifndef DB_DAYS_H
#define DB_DAYS_H

#include "base/buf.h"

struct db_days {
    struct buf days;   /* date[], "{2026-11-30,2026-12-01}" */
    struct buf starts; /* timestamptz[]: when each begins, and behind them when the last one ends */
};

/* From the day of `from_ms` to that of `to_ms`, in the process's zone; one at least.  db_days_fini.
 */
void db_days_init(struct db_days *days, int64_t from_ms, int64_t to_ms);
void db_days_fini(struct db_days *days);

/* "2026-11-30" of clock_local_day's number. */
#define DB_DAYS_TEXT_SIZE 16
const char *db_days_text(int32_t day, char dst[DB_DAYS_TEXT_SIZE]);
/* When the day of `at_ms` begins. */
int64_t db_days_start_ms(int64_t at_ms);

#endif
