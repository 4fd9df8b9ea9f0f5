/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Has the wall clock jumped?  It is held against the time since boot, which nobody sets.  Behind a
 * jump of more than an hour, either way, deadlines of days are not to be believed for a while, the
 * grace: somebody may have to set the clock right first (DESIGN section 5, retention).
 *
 * What was seen last can be kept as a line of text, so that a jump between two runs is seen too,
 * and a grace goes on.  In another boot all time that has passed counts as a jump: whether the
 * machine was off for so long or has a wrong clock cannot be told.
 */
#ifndef BASE_CLOCK_WATCH_H
#define BASE_CLOCK_WATCH_H

#include "base/clock.h"
#include "base/slice.h"

#define CLOCK_WATCH_JUMP_MS (3600 * 1000)

struct clock_watch {
    int64_t wall_ms, boot_ms;         /* seen last; boot_ms < 0: never */
    int64_t grace_until_boot_ms;      /* 0: none */
    char boot_id[CLOCK_BOOT_ID_SIZE]; /* of boot_ms and of the grace */
};

/* Takes what was kept, by clock_watch_text. ERR_SYNTAX: it is not that; `w` has seen nothing. */
MUST_USE int clock_watch_resume(struct clock_watch *w, struct slice text);

/* The moment as it is now.  Returns the jump since the look before, in ms, or 0 if there was none
 * of more than an hour; behind one, the grace is grace_ms from now. The first look sees none. */
int64_t clock_watch_look(struct clock_watch *w, int64_t wall_ms, int64_t boot_ms,
                         const char boot_id[CLOCK_BOOT_ID_SIZE], int64_t grace_ms);

/* What is left of the grace, by the last look, in ms; 0: none. */
int64_t clock_watch_grace_ms(const struct clock_watch *w);

#define CLOCK_WATCH_TEXT_SIZE 128
const char *clock_watch_text(const struct clock_watch *w, char dst[CLOCK_WATCH_TEXT_SIZE]);

#endif
