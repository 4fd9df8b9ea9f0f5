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

/* For `relayd -t`: says what of the system does not fit the configuration, and which layers protect
 * the workers; the exit status. */
int parent_test(const struct config *config);

#endif
