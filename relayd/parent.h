/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The supervisor of relayd: owns the sockets, the creation of segments, the shared table; starts,
 * restarts, reloads.  It never parses a byte from the network.
 */
#ifndef RELAYD_PARENT_H
#define RELAYD_PARENT_H

#include "base/config.h"

/* Runs until SIGTERM or SIGINT; the exit status. `config` is taken over (a reload replaces it). */
int parent_run(struct config *config);

#endif
