/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spf process: libspf2 behind lib/spf, for all workers of the node.  It gets a channel per
 * worker from the parent and has nothing else: no file, no socket, no name server.  Its death, like
 * a loop that does not end, costs the checks in flight a temperror, and workers a new channel.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "net/channel.h"
#include "relayd/relayd.h"
#include "spf/spf_server.h"

#define WATCH_EVERY_MS 3000
#define WATCH_S 10 /* without a turn of the loop for so long: SIGALRM ends it */

struct spf_process {
    struct loop *loop;
    struct channel *parent;
    struct spf_server *server;
    struct loop_timer watch;
};

static void
on_watch(void *ctx)
{
    struct spf_process *p = ctx;

    alarm(WATCH_S);
    loop_timer_start(&p->watch, WATCH_EVERY_MS);
}

static void
on_parent_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct spf_process *p = ctx;

    (void)payload;
    for (size_t i = 0; i < fd_count; i++) {
        if (type == RELAYD_ADD_WORKER)
            spf_server_add(p->server, fds[i]);
        else
            close(fds[i]);
    }
    if (type == RELAYD_STOP)
        loop_stop(p->loop);
}

static void
on_parent_close(void *ctx)
{
    struct spf_process *p = ctx;

    channel_close(&p->parent);
    loop_stop(p->loop);
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    loop_stop(((struct spf_process *)ctx)->loop);
}

int
spf_process_run(int parent_fd)
{
    struct spf_process p = {.loop = loop_new()};

    (void)prctl(PR_SET_NAME, "relayd-spf");
    log_set_program("relayd/spf");
    loop_on_signal(p.loop, SIGTERM, on_term, &p);
    loop_on_signal(p.loop, SIGINT, on_term, &p);
    p.parent = channel_open(p.loop, parent_fd, on_parent_message, on_parent_close, &p);
    p.server = spf_server_new(p.loop);
    loop_timer_init(&p.watch, p.loop, on_watch, &p);
    on_watch(&p);
    log_line(LOG_LEVEL_INFO, NULL, "spf-ready", "pid=%d", (int)getpid());
    loop_run(p.loop);
    loop_timer_cancel(&p.watch);
    spf_server_free(&p.server);
    channel_close(&p.parent);
    loop_free(&p.loop);
    return 0;
}
