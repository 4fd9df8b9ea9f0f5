/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The frame of a child that serves workers: a loop, a channel to the parent, who hands over a
 * channel a worker (RELAYD_ADD_WORKER) and says when it is over.
 */
#ifndef RELAYD_HELPER_H
#define RELAYD_HELPER_H

#include "net/channel.h"

struct helper {
    struct loop *loop;
    struct channel *parent;
    void (*add_worker)(void *ctx, int channel_fd); /* takes the descriptor over */
    void *ctx;
};

/* With a loop of its own, which loop_run then runs until the parent says so or is gone, or a signal
 * to end comes. */
void helper_open(struct helper *helper, int parent_fd,
                 void (*add_worker)(void *ctx, int channel_fd), void *ctx);
/* But for the loop, in which there may be more to end. */
void helper_close(struct helper *helper);

#endif
