/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The replica in the control process: what was loaded is judged by the guard before it replaces the
 * last good one; what is refused waits for an operator.
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/parse.h"
#include "relayd/control_private.h"
#include "relayd/relayd.h"

/* --- Saying. */

void
control_say(struct control_process *c, enum log_level level, const char *event, bool is_up,
            const char *why)
{
    struct buf text;
    char quoted[1024];

    if (c->said != NULL && c->was_up == is_up && strcmp(c->said, why) == 0)
        return;
    free(c->said);
    c->said = mem_strdup(why);
    c->was_up = is_up;
    log_line(level, NULL, event, "%s%s replica-version=%" PRIu64 " domains=%zu",
             why[0] ? "why=" : "",
             why[0] ? log_quote(slice_of(why), quoted, sizeof quoted) : "registry=current",
             c->good.version, c->good.count);
    buf_init(&text, 0);
    put_u8(&text, is_up);
    put_text(&text, why);
    (void)!channel_send(c->parent, RELAYD_DATABASE, buf_slice(&text), NULL, 0);
    buf_fini(&text);
}

/* A line for each bad row that was not bad in the load before. */
static void
say_skipped(struct control_process *c)
{
    char *before = c->skipped;
    struct slice lines;

    c->skipped = mem_strdup(buf_text(&c->load.skipped));
    lines = slice_of(c->skipped);
    while (lines.p != NULL) {
        struct slice line = slice_split(&lines, '\n');

        if (line.n > 0 &&
            (before == NULL || memmem(before, strlen(before), line.p, line.n + 1) == NULL))
            log_line(LOG_LEVEL_ALARM, NULL, "registry-row-skipped",
                     SLICE_FMT " skipped-in-all=%u remedy=\"%s\"", SLICE_ARG(line),
                     c->load.skipped_count, "correct it with relayctl; all other rows are in use");
    }
    free(before);
}

/* --- Offer and acceptance: two small files that relayctl reads and writes. */

static void
write_offer(struct control_process *c, const char *why)
{
    struct buf text;
    char path_tmp[PATH_MAX + sizeof CONTROL_TMP];
    int fd;

    snprintf(path_tmp, sizeof path_tmp, "%s%s", c->path_offered, CONTROL_TMP);
    buf_init(&text, 0);
    buf_printf(&text, "database_id %s\nversion %" PRIu64 "\nwhy %s\n", c->load.domains.database_id,
               c->load.domains.version, why);
    fd = open(path_tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, buf_slice(&text).p, buf_size(&text)) != (ssize_t)buf_size(&text) ||
        rename(path_tmp, c->path_offered) != 0)
        log_line(LOG_LEVEL_WARN, NULL, "registry-offer-not-written", "file=\"%s\" error=\"%s\"",
                 c->path_offered, strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_fini(&text);
}

static struct slice
line_value(struct slice text, struct slice word)
{
    while (text.p != NULL) {
        struct slice line = slice_split(&text, '\n');

        if (line.n > word.n && line.p[word.n] == ' ' && memcmp(line.p, word.p, word.n) == 0)
            return slice_trim((struct slice){line.p + word.n, line.n - word.n});
    }
    return SLICE("");
}

/* An acceptance is of one registry as it was offered; one that has changed since is offered anew.
 */
static bool
is_accepted(struct control_process *c)
{
    char text[512];
    int fd = open(c->path_accept, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
    struct slice all = {text, n > 0 ? (size_t)n : 0};
    uint64_t version;
    bool accepted;

    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd >= 0)
        close(fd);
    accepted =
        slice_equal(line_value(all, SLICE("database_id")), slice_of(c->load.domains.database_id)) &&
        parse_u64(line_value(all, SLICE("version")), &version) == ERR_OK &&
        version >= c->load.domains.version;
    if (!accepted) {
        log_line(LOG_LEVEL_ALARM, NULL, "acceptance-unfit",
                 "offered-database=%s offered-version=%" PRIu64 " remedy=\"%s\"",
                 c->load.domains.database_id, c->load.domains.version,
                 n < 0 ? "the file accept-registry cannot be read: make it readable for our user"
                       : "the registry has changed since: look again, then relayctl node "
                         "accept-registry");
        (void)unlink(c->path_accept);
    }
    return accepted;
}

/* --- The end of a load. */

static void
judge(struct control_process *c, bool is_accepted_, int64_t wall_ms, struct registry_guard *guard)
{
    const struct registry_set *good = c->good.database_id[0] ? &c->good : NULL;

    if (c->is_good_lost)
        registry_guard_judge_by_last(c->last.database_id[0] ? &c->last : NULL, &c->load.domains,
                                     is_accepted_, guard);
    else
        registry_guard_judge(good, &c->load.domains, is_accepted_, wall_ms, guard);
}

/* If it cannot be written, the replica is in use all the same, and the next one tries again. */
static void
remember(struct control_process *c)
{
    struct registry_last last = registry_last_of(&c->good);

    if (registry_last_write(c->path_last, c->path_last_tmp, &last) != ERR_OK)
        log_line(LOG_LEVEL_ALARM, NULL, "replica-last-not-written", "file=\"%s\" error=\"%s\"",
                 c->path_last, strerror(errno));
    c->last = last;
}

static void
refuse(struct control_process *c, const struct registry_guard *guard)
{
    char why[REGISTRY_GUARD_TEXT_SIZE], text[REGISTRY_GUARD_TEXT_SIZE + 160];
    struct registry_set last = {.version = c->last.version};

    memcpy(last.database_id, c->last.database_id, sizeof last.database_id);
    registry_guard_text(guard, c->is_good_lost ? &last : &c->good, &c->load.domains, why);
    snprintf(text, sizeof text,
             "the registry is refused: %s; %s; if it is right: relayctl node accept-registry", why,
             c->is_good_lost ? "the replica is damaged, recipients are answered 451"
                             : "the last good one stays in use");
    c->is_refused = true;
    write_offer(c, why);
    control_say(c, LOG_LEVEL_ALARM, "registry-refused", true, text);
}

static void
take_over(struct control_process *c, const struct registry_guard *guard)
{
    registry_set_fini(&c->good);
    c->good = c->load.domains;
    c->load.domains = (struct registry_set){0};
    c->missing_due_at_ms = guard->next_due_ms;
    c->written_at_ms = loop_now_ms(c->loop);
    c->is_refused = false;
    c->is_good_lost = false;
    c->was_loaded = true;
    loop_timer_cancel(&c->rewrite);
    control_load_want_includes(&c->load, c->includes);
    remember(c);
    (void)unlink(c->path_offered);
    (void)unlink(c->path_accept);
    (void)!channel_send(c->parent, RELAYD_REPLICA_WRITTEN, SLICE(""), NULL, 0);
    log_line(guard->carried ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, NULL, "replica-written",
             "version=%" PRIu64 " customers=%zu domains=%zu backends=%zu missing=%zu",
             c->good.version, c->load.customer_count, c->good.count, c->load.backend_count,
             guard->carried);
    control_say(c, LOG_LEVEL_INFO, "database-up", true, "");
}

void
control_say_not_written(struct control_process *c, const char *error)
{
    char why[PATH_MAX + 128];

    snprintf(why, sizeof why, "%s cannot be written: %s; the last one stays in use", c->path,
             error);
    control_say(c, LOG_LEVEL_ALARM, "replica-not-written", true, why);
}

void
control_finish_load(struct control_process *c)
{
    int64_t wall_ms = clock_wall_ms();
    struct registry_guard guard;
    int rc;

    judge(c, false, wall_ms, &guard);
    if (guard.verdict != REGISTRY_GUARD_ACCEPT && is_accepted(c)) {
        log_line(LOG_LEVEL_WARN, NULL, "registry-accepted", "database=%s version=%" PRIu64,
                 c->load.domains.database_id, c->load.domains.version);
        judge(c, true, wall_ms, &guard);
    }
    say_skipped(c);
    if (guard.verdict != REGISTRY_GUARD_ACCEPT) {
        refuse(c, &guard);
        return;
    }
    control_load_use_includes(&c->load, c->includes);
    rc = control_load_write(&c->load, c->path, c->path_tmp, wall_ms);
    if (rc == ERR_OK) {
        take_over(c, &guard);
        return;
    }
    control_say_not_written(c, rc == ERR_IO ? strerror(errno) : err_text(rc));
    c->retry_at_ms = loop_now_ms(c->loop) + CONTROL_RETRY_MS;
}

/* --- The start. */

/* The replica is not there or not readable: what is remembered of it? */
static void
read_last(struct control_process *c, int replica_rc)
{
    int rc = registry_last_read(c->path_last, &c->last);

    if (rc != ERR_OK)
        c->last = (struct registry_last){0};
    c->is_good_lost = replica_rc != ERR_NOT_FOUND || rc != ERR_NOT_FOUND;
    if (c->is_good_lost)
        log_line(LOG_LEVEL_WARN, NULL, "replica-remembered",
                 "file=\"%s\" error=\"%s\" database=%s version=%" PRIu64 " domains=%" PRIu64,
                 c->path_last, rc == ERR_OK ? "" : err_text(rc), c->last.database_id,
                 c->last.version, c->last.served);
}

static void
say_found(struct control_process *c, const struct registry *registry)
{
    char written_at[CLOCK_RFC3339_SIZE];

    log_line(LOG_LEVEL_INFO, NULL, "replica-found",
             "version=%" PRIu64 " domains=%zu written-at=%s database=%s", c->good.version,
             c->good.count,
             clock_rfc3339(registry_get_version(registry)->written_at_ms, written_at),
             c->good.database_id);
}

/* A good file, but not the one that was written here: as the parent sees it. */
static bool
is_foreign(const struct control_process *c, const struct registry *registry)
{
    struct registry_last last;

    return registry_last_read(c->path_last, &last) == ERR_OK &&
           !registry_last_vouches(&last, registry_get_version(registry));
}

void
control_read_replica(struct control_process *c)
{
    struct registry *registry;
    int rc = registry_open_path(c->path, &registry);

    if (rc == ERR_OK && is_foreign(c, registry))
        rc = ERR_CORRUPT;
    if (rc == ERR_OK)
        rc = registry_set_of(registry, &c->good);
    if (rc == ERR_OK) {
        say_found(c, registry);
        control_load_remember_includes(registry, c->includes);
        remember(c); /* it may be from before there was such a file, or a death came between */
    } else {
        log_line(rc == ERR_NOT_FOUND ? LOG_LEVEL_WARN : LOG_LEVEL_ALARM, NULL,
                 rc == ERR_NOT_FOUND ? "replica-missing" : "replica-damaged",
                 "file=\"%s\" error=\"%s\" effect=\"%s\"", c->path, err_text(rc),
                 "until the database has been read, recipients are answered 451");
        read_last(c, rc);
    }
    registry_close(&registry);
}
