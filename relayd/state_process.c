/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state process: the only one that opens state.mdb.  It gets a channel per worker from the
 * parent, answers and learns through lib/state, and removes what is outdated a little at a time. It
 * also writes the shared table's snapshot, in a thread of its own.  It waits for nothing outside;
 * its death costs the workers an "unknown" and a new channel.
 */
#include <limits.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "relayd/helper.h"
#include "relayd/relayd.h"
#include "state/shared_snapshot.h"
#include "state/state.h"

#define MAP_BYTES (UINT64_C(1) << 30)
#define PURGE_EVERY_MS 1000
#define PURGE_RECORDS 200 /* a million recipients are looked through in an hour and a half */
#define SNAPSHOT_EVERY_MS 1000
#define COMPLAIN_EVERY_MS 60000

struct state_process {
    struct helper helper;
    struct state_store *store;
    struct state_server *server;
    struct loop_timer purge_timer;
    int64_t complained_at_ms;
    struct shared_snapshot_writer *snapshot;
    struct loop_timer snapshot_timer;
    int64_t snapshot_complained_at_ms;
};

/* A disk that takes nothing fails every batch: one line a minute. */
static bool
may_complain(const struct state_process *p, int64_t *complained_at_ms)
{
    int64_t now_ms = loop_now_ms(p->helper.loop);

    if (*complained_at_ms != 0 && now_ms - *complained_at_ms < COMPLAIN_EVERY_MS)
        return false;
    *complained_at_ms = now_ms;
    return true;
}

static void
complain(struct state_process *p, int err)
{
    if (may_complain(p, &p->complained_at_ms))
        log_line(LOG_LEVEL_ALARM, NULL, "state-not-written", "error=\"%s\" effect=\"%s\"",
                 err_text(err), "what was learned about recipients is lost, mail is not");
}

static void
on_store_error(void *ctx, int err)
{
    complain(ctx, err);
}

static void
on_backscatter(void *ctx, uint32_t customer_id, const struct inet_endpoint *address,
               const struct state_backscatter *what)
{
    char text[INET_ENDPOINT_SIZE], until[CLOCK_RFC3339_SIZE];

    (void)ctx;
    (void)inet_address_text(address, text);
    if (what->word == STATE_BACKSCATTER_BANNED)
        log_line(LOG_LEVEL_WARN, NULL, "backscatter-source",
                 "address=%s customer_id=%u ban=\"until %s\"", text, customer_id,
                 clock_rfc3339(what->until_ms, until));
    else
        log_line(LOG_LEVEL_WARN, NULL, "backscatter-source",
                 "address=%s customer_id=%u ban=no why=good-for-%u-customers", text, customer_id,
                 what->good_customers);
}

static void
on_purge(void *ctx)
{
    struct state_process *p = ctx;
    int rc = state_store_purge(p->store, clock_wall_ms(), PURGE_RECORDS);

    if (rc == ERR_OK && state_store_waiting(p->store) > 0)
        rc = state_store_commit(p->store);
    if (rc != ERR_OK && rc != ERR_AGAIN)
        complain(p, rc);
    loop_timer_start(&p->purge_timer, PURGE_EVERY_MS);
}

static void
on_snapshot(void *ctx)
{
    struct state_process *p = ctx;
    int rc = shared_snapshot_writer_tick(p->snapshot, clock_wall_ms());

    if (rc != ERR_OK && may_complain(p, &p->snapshot_complained_at_ms))
        log_line(LOG_LEVEL_ALARM, NULL, "snapshot-not-written", "error=\"%s\" effect=\"%s\"",
                 err_text(rc), "after a reboot hourly limits count from where it was last written");
    loop_timer_start(&p->snapshot_timer, SNAPSHOT_EVERY_MS);
}

static void
add_worker(void *ctx, int channel_fd)
{
    state_server_add(((struct state_process *)ctx)->server, channel_fd);
}

static int
open_store(const struct config *config, struct state_store **store)
{
    struct state_store_settings settings = {
        .dir = config->state_dir,
        .positive_ttl_ms = config->recipient_positive_ttl_ms,
        .negative_ttl_ms = config->recipient_negative_ttl_ms,
        .map_size_bytes = MAP_BYTES,
        .bounce_threshold = config->backscatter_threshold,
        .bounce_window_ms = config->backscatter_window_ms,
        .ban_ms = config->backscatter_ban_ms,
    };
    bool set_aside;
    int rc = state_store_open(&settings, store, &set_aside);

    if (set_aside)
        log_line(
            LOG_LEVEL_ALARM, NULL, "state-set-aside", "file=\"%s/state.mdb\" effect=\"%s\"",
            config->state_dir,
            "it was damaged or foreign, is kept as state.mdb.bad-TIME, and learning begins anew");
    if (rc != ERR_OK)
        log_line(LOG_LEVEL_ALARM, NULL, "state-not-opened", "file=\"%s/state.mdb\" error=\"%s\"",
                 config->state_dir, err_text(rc));
    return rc;
}

static void
start_snapshots(struct state_process *p, const struct config *config, struct shared_table *table)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", config->state_dir, RELAYD_SNAPSHOT_FILE);
    p->snapshot = shared_snapshot_writer_new(table, path);
    loop_timer_init(&p->snapshot_timer, p->helper.loop, on_snapshot, p);
    if (p->snapshot != NULL)
        loop_timer_start(&p->snapshot_timer, 0);
    else
        log_line(LOG_LEVEL_ALARM, NULL, "snapshot-not-written", "error=\"no thread\" effect=\"%s\"",
                 "after a reboot hourly limits begin anew");
}

static void
run(struct state_process *p, const struct config *config, int parent_fd, struct shared_table *table)
{
    helper_open(&p->helper, parent_fd, add_worker, p);
    p->server = state_server_new(p->helper.loop, p->store, on_store_error, p);
    state_server_on_backscatter(p->server, on_backscatter, p);
    loop_timer_init(&p->purge_timer, p->helper.loop, on_purge, p);
    loop_timer_start(&p->purge_timer, PURGE_EVERY_MS);
    start_snapshots(p, config, table);
    log_line(LOG_LEVEL_INFO, NULL, "state-ready", "pid=%d", (int)getpid());
    loop_run(p->helper.loop);
    loop_timer_cancel(&p->purge_timer);
    loop_timer_cancel(&p->snapshot_timer);
    shared_snapshot_writer_free(&p->snapshot);
    state_server_free(&p->server);
    helper_close(&p->helper);
}

int
state_process_run(const struct config *config, int parent_fd, struct shared_table *table)
{
    struct state_process p = {0};
    int rc;

    (void)prctl(PR_SET_NAME, "relayd-state");
    log_set_program("relayd/state");
    /* Before the loop: the file is examined by a child and may take a moment; workers do without.
     */
    if (open_store(config, &p.store) != ERR_OK)
        return 1;
    run(&p, config, parent_fd, table);
    rc = state_store_flush(p.store);
    if (rc != ERR_OK)
        complain(&p, rc);
    state_store_close(&p.store);
    loop_free(&p.helper.loop);
    return 0;
}
