/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl node check: this node as the world sees it (lib/survey), and what it stands on: the
 * clock against the database's, room on the disks, open files.  It needs no daemon and no database;
 * what cannot be asked is unknown.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/survey_screen.h"
#include "base/clock.h"
#include "base/parse.h"
#include "route/destination_own.h"
#include "survey/survey_node.h"

#define LOW_PERCENT 5
#define LOW_BYTES (UINT64_C(1) << 30)
#define CLOCK_OFF_MS 2000
#define CLOCK_WRONG_MS 60000

struct local { /* what does not change from run to run of the judge */
    struct survey_node node;
    struct call *call;
    struct destination_own own;
    bool has_clock;
    int64_t clock_off_ms;
    char why_no_clock[SURVEY_TEXT_SIZE];
};

static bool
is_ours(void *ctx, const struct inet_endpoint *address)
{
    struct local *local = ctx;
    const struct config *config = local->call->config;
    struct inet_endpoint e = *address;

    for (size_t i = 0; i < config->listen.count; i++) {
        e.port = config->listen.items[i].port;
        if (destination_own_endpoint(&local->own, config, &e, local->node.wall_ms))
            return true;
    }
    e.port = config->source_address.port;
    return inet_endpoint_equal(&e, &config->source_address);
}

/* --- The clock: half of the way there and back is the database's. */

static void
ask_clock(struct local *local)
{
    struct call *call = local->call;
    int64_t began_ms, ended_ms;
    struct buf why;
    PGresult *result;

    buf_init(&why, 0);
    if (database_try_connect(call, &why) == COMMAND_DONE) {
        began_ms = clock_wall_ms();
        result = database_try(call, "SELECT " DATABASE_MS("clock_timestamp()"), 0, NULL);
        ended_ms = clock_wall_ms();
        local->has_clock = PQresultStatus(result) == PGRES_TUPLES_OK;
        if (local->has_clock)
            local->clock_off_ms =
                database_number(result, 0, 0) - (began_ms + (ended_ms - began_ms) / 2);
        else
            database_say_why(call, result, &why);
        PQclear(result);
    }
    snprintf(local->why_no_clock, sizeof local->why_no_clock, "%s", buf_text(&why));
    buf_fini(&why);
}

static void
judge_clock(struct survey *survey, const struct local *local)
{
    int64_t off_ms = local->clock_off_ms < 0 ? -local->clock_off_ms : local->clock_off_ms;

    if (!local->has_clock)
        survey_find(survey, SURVEY_CLOCK_UNKNOWN, "", "%s", local->why_no_clock);
    else
        survey_find(survey,
                    off_ms >= CLOCK_WRONG_MS ? SURVEY_CLOCK_WRONG
                    : off_ms >= CLOCK_OFF_MS ? SURVEY_CLOCK_OFF
                                             : SURVEY_CLOCK_OK,
                    "", "%.1f s", (double)off_ms / 1000);
}

/* --- Disks. */

static void
judge_folder(struct survey *survey, const char *folder)
{
    struct statvfs fs;
    uint64_t free_bytes, all_bytes;
    unsigned percent, files;

    if (statvfs(folder, &fs) < 0) {
        survey_find(survey, SURVEY_DISK_UNKNOWN, folder, "%s", strerror(errno));
        return;
    }
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    all_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    percent = all_bytes ? (unsigned)(free_bytes * 100 / all_bytes) : 0;
    files = fs.f_files ? (unsigned)((uint64_t)fs.f_favail * 100 / fs.f_files) : 100;
    survey_find(survey,
                percent < LOW_PERCENT || free_bytes < LOW_BYTES ? SURVEY_DISK_LOW : SURVEY_DISK_OK,
                folder, "%.1f GiB (%u %%)", (double)free_bytes / (double)LOW_BYTES, percent);
    if (files < LOW_PERCENT)
        survey_find(survey, SURVEY_DISK_INODES, folder, "%u %%", files);
}

/* Each file system once. */
static void
judge_disks(struct survey *survey, const struct config *config)
{
    const char *const folders[] = {config->spool_dir, config->state_dir, config->log_dir};
    dev_t seen[ARRAY_SIZE(folders)];
    unsigned count = 0;
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        bool is_new = true;

        if (stat(folders[i], &st) == 0) {
            for (unsigned j = 0; j < count; j++)
                is_new = is_new && seen[j] != st.st_dev;
            if (is_new)
                seen[count++] = st.st_dev;
        }
        if (is_new)
            judge_folder(survey, folders[i]);
    }
}

/* --- Open files: those that the running relayd may have. */

static bool
read_start(const char *path, char dst[4096])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, dst, 4095);

    if (fd >= 0)
        close(fd);
    dst[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* 0: not known; "unlimited" is a large number. */
static uint64_t
file_limit_of(const char *pid)
{
    static const char line[] = "Max open files";
    char path[64], text[4096], *at;
    uint64_t limit = 0;

    snprintf(path, sizeof path, "/proc/%.*s/limits", (int)strspn(pid, "0123456789"), pid);
    at = read_start(path, text) ? strstr(text, line) : NULL;
    if (at == NULL)
        return 0;
    at += sizeof line - 1;
    at += strspn(at, " ");
    if (strncmp(at, "unlimited", 9) == 0)
        return UINT32_MAX;
    return parse_u64((struct slice){at, strspn(at, "0123456789")}, &limit) == ERR_OK ? limit : 0;
}

/* Each client may have a connection to a backend; relayd -t says it to the last one. */
static void
judge_files(struct survey *survey, const struct config *config)
{
    char path[CALL_PATH_SIZE], pid[4096];
    uint64_t limit = 0, need = (uint64_t)config->max_connections * 3 / 2;

    if (!read_start(call_path(path, config->run_dir, "relayd.pid"), pid)) {
        survey_find(survey, SURVEY_FILES_UNKNOWN, "", "relayd does not run");
        return;
    }
    limit = file_limit_of(pid);
    if (limit == 0)
        survey_find(survey, SURVEY_FILES_UNKNOWN, "", "relayd does not run, or is another's");
    else
        survey_find(survey, limit < need ? SURVEY_FILES_LOW : SURVEY_FILES_OK, "", "%" PRIu64,
                    limit);
}

static void
judge(struct survey *survey, const void *question)
{
    const struct local *local = question;

    survey_node_judge(survey, &local->node);
    judge_clock(survey, local);
    judge_disks(survey, local->call->config);
    judge_files(survey, local->call->config);
}

enum command_status
node_check(struct call *call)
{
    const struct config *config = call->config;
    struct local local = {.call = call};
    struct survey_screen screen;
    enum command_status status = survey_screen_init(&screen, call);
    char subject[32];

    if (status != COMMAND_DONE)
        return status;
    local.node = (struct survey_node){is_ours, &local, call->printing.now_ms};
    ask_clock(&local);
    snprintf(subject, sizeof subject, "node %u", config->node);
    survey_screen_run(
        &screen, subject, judge, &local, config->hostname,
        json_pack("{s:i, s:s}", "node", (int)config->node, "hostname", config->hostname));
    status = survey_screen_status(&screen);
    survey_screen_fini(&screen);
    return status;
}
