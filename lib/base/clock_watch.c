/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The wall clock, held against the time since boot. No clock is read here: moments are handed in.
 */
#include "base/clock_watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int
clock_watch_resume(struct clock_watch *w, struct slice text)
{
    char line[CLOCK_WATCH_TEXT_SIZE], end;
    struct clock_watch was = {0};

    *w = (struct clock_watch){.boot_ms = -1};
    if (text.n >= sizeof line)
        return ERR_SYNTAX;
    memcpy(line, text.p, text.n);
    line[text.n] = '\0';
    if (sscanf(line, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %39s%c", &was.wall_ms, &was.boot_ms,
               &was.grace_until_boot_ms, was.boot_id, &end) != 5 ||
        end != '\n' || was.boot_ms < 0)
        return ERR_SYNTAX;
    *w = was;
    return ERR_OK;
}

const char *
clock_watch_text(const struct clock_watch *w, char dst[CLOCK_WATCH_TEXT_SIZE])
{
    snprintf(dst, CLOCK_WATCH_TEXT_SIZE, "%" PRId64 " %" PRId64 " %" PRId64 " %s\n", w->wall_ms,
             w->boot_ms, w->grace_until_boot_ms, w->boot_id[0] != '\0' ? w->boot_id : "-");
    return dst;
}

int64_t
clock_watch_look(struct clock_watch *w, int64_t wall_ms, int64_t boot_ms,
                 const char boot_id[CLOCK_BOOT_ID_SIZE], int64_t grace_ms)
{
    bool is_first = w->boot_ms < 0;
    bool is_same_boot = strcmp(w->boot_id, boot_id) == 0;
    int64_t passed_ms = is_same_boot ? boot_ms - w->boot_ms : 0;
    int64_t jump_ms = is_first ? 0 : wall_ms - w->wall_ms - passed_ms;

    if (!is_same_boot && w->grace_until_boot_ms > 0)
        w->grace_until_boot_ms += boot_ms - w->boot_ms; /* what was left, from now */
    if (jump_ms <= CLOCK_WATCH_JUMP_MS && jump_ms >= -CLOCK_WATCH_JUMP_MS)
        jump_ms = 0;
    else
        w->grace_until_boot_ms = boot_ms + grace_ms;
    if (w->grace_until_boot_ms <= boot_ms)
        w->grace_until_boot_ms = 0;
    w->wall_ms = wall_ms;
    w->boot_ms = boot_ms;
    snprintf(w->boot_id, sizeof w->boot_id, "%s", boot_id);
    return jump_ms;
}

int64_t
clock_watch_grace_ms(const struct clock_watch *w)
{
    if (w->grace_until_boot_ms == 0)
        return 0;
    return w->grace_until_boot_ms > w->boot_ms ? w->grace_until_boot_ms - w->boot_ms : 0;
}
