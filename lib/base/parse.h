/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Values as people write them: numbers, durations ("5m", "4h", "0s"), sizes ("20MiB", "64KiB",
 * "100B"), yes/no.
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

/* Decimal digits only. ERR_SYNTAX, ERR_RANGE (overflow). */
MUST_USE int parse_u64(struct slice s, uint64_t *v);
/* Units ms, s, m, h, d; a number without a unit is ERR_SYNTAX. */
MUST_USE int parse_duration_ms(struct slice s, int64_t *ms);
/* Units B, KiB, MiB, GiB (and K, M, G for the same); a number without a unit is ERR_SYNTAX. */
MUST_USE int parse_size_bytes(struct slice s, uint64_t *bytes);
/* yes no true false on off. */
MUST_USE int parse_bool(struct slice s, bool *v);

/* The shortest exact form: "5m", "90s", "20MiB". */
#define PARSE_TEXT_SIZE 32
const char *format_duration(int64_t ms, char dst[PARSE_TEXT_SIZE]);
const char *format_size(uint64_t bytes, char dst[PARSE_TEXT_SIZE]);

#endif
