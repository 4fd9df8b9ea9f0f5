/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The end of a temporary change, as an operator writes it.
 */
#ifndef ADMIN_UNTIL_H
#define ADMIN_UNTIL_H

#include <stdint.h>

#include "base/err.h"

/* "+2d", "+90m": from now. "2026-12-01", "2026-12-01 15:00", with a T too: in the process's zone, a
 * date alone as its first moment. With "Z" or "+01:00" behind the time: as RFC 3339 says, with
 * milliseconds or without.
 * ERR_SYNTAX; ERR_RANGE: it is not after `now_ms`, or UNTIL_LAST_MS or later. */
#define UNTIL_LAST_MS INT64_C(7258118400000) /* 2200-01-01, which the database has too */
MUST_USE int until_parse(const char *text, int64_t now_ms, int64_t *until_ms);
/* A moment as above, but for a span, and it may lie anywhere.  ERR_SYNTAX. */
MUST_USE int until_parse_moment(const char *text, int64_t *at_ms);

#endif
