/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state process: the only one that opens state.mdb.  It gets a channel per worker from the
 * parent, answers and learns through lib/state, and removes what is outdated a little at a time. It
 * waits for nothing outside; its death costs the workers an "unknown" and a new channel.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/channel.h"
#include "relayd/relayd.h"
#include "state/state.h"

#define MAP_BYTES (UINT64_C(1) << 30)
#define PURGE_EVERY_MS 1000
#define PURGE_RECORDS 200 /* a million recipients are looked through in an hour and a half */
#define COMPLAIN_EVERY_MS 60000

struct state_process {
    struct loop *loop;
    struct channel *parent;
    struct state_store *store;
    struct state_server *server;
    struct loop_timer purge_timer;
    int64_t complained_at_ms;
};

/* A disk that takes nothing fails every batch: one line a minute. */
static void
complain(struct state_process *p, int err)
{
    int64_t now_ms = loop_now_ms(p->loop);

    if (p->complained_at_ms != 0 && now_ms - p->complained_at_ms < COMPLAIN_EVERY_MS)
        return;
    p->complained_at_ms = now_ms;
    log_line(LOG_LEVEL_ALARM, NULL, "state-not-written", "error=\"%s\" effect=\"%s\"",
             err_text(err), "what was learned about recipients is lost, mail is not");
}

static void
on_store_error(void *ctx, int err)
{
    complain(ctx, err);
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
on_parent_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct state_process *p = ctx;

    (void)payload;
    for (size_t i = 0; i < fd_count; i++) {
        if (type == RELAYD_ADD_WORKER)
            state_server_add(p->server, fds[i]);
        else
            close(fds[i]);
    }
    if (type == RELAYD_STOP)
        loop_stop(p->loop);
}

static void
on_parent_close(void *ctx)
{
    struct state_process *p = ctx;

    channel_close(&p->parent);
    loop_stop(p->loop);
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    loop_stop(((struct state_process *)ctx)->loop);
}

static int
open_store(const struct config *config, struct state_store **store)
{
    struct state_store_settings settings = {
        .dir = config->state_dir,
        .positive_ttl_ms = config->recipient_positive_ttl_ms,
        .negative_ttl_ms = config->recipient_negative_ttl_ms,
        .map_size_bytes = MAP_BYTES,
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
run(struct state_process *p, int parent_fd)
{
    p->loop = loop_new();
    loop_on_signal(p->loop, SIGTERM, on_term, p);
    loop_on_signal(p->loop, SIGINT, on_term, p);
    p->parent = channel_open(p->loop, parent_fd, on_parent_message, on_parent_close, p);
    p->server = state_server_new(p->loop, p->store, on_store_error, p);
    loop_timer_init(&p->purge_timer, p->loop, on_purge, p);
    loop_timer_start(&p->purge_timer, PURGE_EVERY_MS);
    log_line(LOG_LEVEL_INFO, NULL, "state-ready", "pid=%d", (int)getpid());
    loop_run(p->loop);
    loop_timer_cancel(&p->purge_timer);
    state_server_free(&p->server);
    channel_close(&p->parent);
}

int
state_process_run(const struct config *config, int parent_fd)
{
    struct state_process p = {0};
    int rc;

    (void)prctl(PR_SET_NAME, "relayd-state");
    log_set_program("relayd/state");
    /* Before the loop: the file is examined by a child and may take a moment; workers do without.
     */
    if (open_store(config, &p.store) != ERR_OK)
        return 1;
    run(&p, parent_fd);
    rc = state_store_flush(p.store);
    if (rc != ERR_OK)
        complain(&p, rc);
    state_store_close(&p.store);
    loop_free(&p.loop);
    return 0;
}
