/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whatever else comes with a descriptor is closed: nothing is kept that nobody asked for.
 */
#include "relayd/helper.h"

#include <signal.h>
#include <unistd.h>

#include "relayd/relayd.h"

static void
on_parent_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct helper *h = ctx;

    (void)payload;
    for (size_t i = 0; i < fd_count; i++) {
        if (type == RELAYD_ADD_WORKER)
            h->add_worker(h->ctx, fds[i]);
        else
            close(fds[i]);
    }
    if (type == RELAYD_STOP)
        loop_stop(h->loop);
}

static void
on_parent_close(void *ctx)
{
    struct helper *h = ctx;

    channel_close(&h->parent);
    loop_stop(h->loop);
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    loop_stop(((struct helper *)ctx)->loop);
}

void
helper_open(struct helper *h, int parent_fd, void (*add_worker)(void *ctx, int channel_fd),
            void *ctx)
{
    *h = (struct helper){.loop = loop_new(), .add_worker = add_worker, .ctx = ctx};
    loop_on_signal(h->loop, SIGTERM, on_term, h);
    loop_on_signal(h->loop, SIGINT, on_term, h);
    h->parent = channel_open(h->loop, parent_fd, on_parent_message, on_parent_close, h);
}

void
helper_close(struct helper *h)
{
    channel_close(&h->parent);
}
