/* SPDX-License-Identifier: BSD-2-Clause
 *
 * When a deadline counts (DESIGN section 5, retention): it has passed, and the clock that says so
 * has not jumped a short while ago.  What the clock said is kept beside the spool once a minute, so
 * that a jump while no keeper ran is seen at the next start.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "spoolmgr/keeper.h"

#define KEEP_EVERY_MS 60000

static bool
read_kept(const char *path, struct clock_watch *watch)
{
    char text[CLOCK_WATCH_TEXT_SIZE];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

    if (fd >= 0)
        close(fd);
    return n >= 0 && clock_watch_resume(watch, (struct slice){text, (size_t)n}) == ERR_OK;
}

/* A half-written file is none, so there is no need to sync: the next start sees no jump then. */
static void
keep(struct keeper *k)
{
    char path[4096], path_new[4096 + 8], text[CLOCK_WATCH_TEXT_SIZE];
    bool is_whole;
    FILE *file;

    k->clock_kept_at_ms = k->clock.boot_ms;
    snprintf(path, sizeof path, "%s/clock", k->config->spool_dir);
    snprintf(path_new, sizeof path_new, "%s.new", path);
    file = fopen(path_new, "we");
    if (file == NULL)
        return;
    is_whole = fputs(clock_watch_text(&k->clock, text), file) >= 0;
    if (fclose(file) == 0 && is_whole)
        (void)!rename(path_new, path);
}

static void
say_jump(const struct keeper *k, int64_t jump_ms)
{
    char now[CLOCK_RFC3339_SIZE], until[CLOCK_RFC3339_SIZE];

    log_line(LOG_LEVEL_ALARM, NULL, "clock-jumped",
             "by_s=%" PRId64 " now=%s effect=\"no message expires until %s\" remedy=\"check the "
             "clock of this host (after a long time off it is as it should be)\"",
             jump_ms / 1000, clock_rfc3339(k->clock.wall_ms, now),
             clock_rfc3339(k->clock.wall_ms + clock_watch_grace_ms(&k->clock), until));
}

static void
look(struct keeper *k, const char boot_id[CLOCK_BOOT_ID_SIZE])
{
    bool was_in_grace = clock_watch_grace_ms(&k->clock) > 0;
    int64_t jump_ms = clock_watch_look(&k->clock, clock_wall_ms(), clock_boot_ms(), boot_id,
                                       k->config->expiry_grace_ms);

    if (jump_ms != 0) {
        say_jump(k, jump_ms);
        schedule_clock_jumped(&k->schedule, jump_ms);
    } else if (was_in_grace && clock_watch_grace_ms(&k->clock) == 0) {
        log_line(LOG_LEVEL_INFO, NULL, "expiry-goes-on", "effect=\"deadlines count again\"");
    }
    if (jump_ms != 0 || k->clock.boot_ms - k->clock_kept_at_ms >= KEEP_EVERY_MS)
        keep(k);
}

void
expiry_begin(struct keeper *k)
{
    char path[4096], boot_id[CLOCK_BOOT_ID_SIZE];

    snprintf(path, sizeof path, "%s/clock", k->config->spool_dir);
    if (!read_kept(path, &k->clock))
        k->clock = (struct clock_watch){.boot_ms = -1};
    k->kept_until_ms = k->clock.wall_ms;
    clock_boot_id(boot_id);
    look(k, boot_id);
    keep(k);
}

void
expiry_look(struct keeper *k)
{
    look(k, k->clock.boot_id);
}

void
expiry_end(struct keeper *k)
{
    keep(k);
}

bool
expiry_is_due(struct keeper *k, int64_t expires_at_ms, int64_t asked_at_ms)
{
    if (asked_at_ms < expires_at_ms)
        return false;
    expiry_look(k); /* it may have jumped since the tick */
    return clock_watch_grace_ms(&k->clock) == 0 && k->clock.wall_ms >= expires_at_ms;
}
