/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies the node's event log to PostgreSQL, and keeps it within its bounds; a part of the control
 * process with a connection of its own, so that the registry never waits for history.
 */
#ifndef RELAYD_CONTROL_EVENTS_H
#define RELAYD_CONTROL_EVENTS_H

#include "base/config.h"
#include "net/loop.h"

struct control_events;

/* `config` is borrowed.  Without a database the files are only bounded. */
struct control_events *control_events_open(struct loop *loop, const struct config *config);
void control_events_close(struct control_events **events);

#endif
