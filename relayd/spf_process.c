/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spf process: libspf2 behind lib/spf, for all workers of the node.  It gets a channel per
 * worker from the parent and has nothing else: no file, no socket, no name server.  Its death, like
 * a loop that does not end, costs the checks in flight a temperror, and workers a new channel.
 */
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "relayd/helper.h"
#include "relayd/relayd.h"
#include "spf/spf_server.h"

#define WATCH_EVERY_MS 3000
#define WATCH_S 10 /* without a turn of the loop for so long: SIGALRM ends it */

struct spf_process {
    struct helper helper;
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
add_worker(void *ctx, int channel_fd)
{
    spf_server_add(((struct spf_process *)ctx)->server, channel_fd);
}

int
spf_process_run(int parent_fd)
{
    struct spf_process p;

    (void)prctl(PR_SET_NAME, "relayd-spf");
    log_set_program("relayd/spf");
    helper_open(&p.helper, parent_fd, add_worker, &p);
    p.server = spf_server_new(p.helper.loop);
    loop_timer_init(&p.watch, p.helper.loop, on_watch, &p);
    on_watch(&p);
    log_line(LOG_LEVEL_INFO, NULL, "spf-ready", "pid=%d", (int)getpid());
    loop_run(p.helper.loop);
    loop_timer_cancel(&p.watch);
    spf_server_free(&p.server);
    helper_close(&p.helper);
    loop_free(&p.helper.loop);
    return 0;
}
