/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a conversation with a backend says to the shared table, before and after it.
 */
#ifndef PROBE_HEALTH_H
#define PROBE_HEALTH_H

#include "probe/probe_talk.h"
#include "state/shared_table.h"

/* Its outcome counts from now on, and no other probe begins. */
void probe_health_begin(struct shared_table *table, const struct inet_endpoint *endpoint,
                        int64_t wall_ms);
/* A recipient that was named is taken for one that is valid.  What has changed is logged by the
 * caller: `before` and `after` are the states. */
struct probe_change {
    enum shared_health_state before, after;
};
struct probe_change probe_health_end(struct shared_table *table,
                                     const struct inet_endpoint *endpoint,
                                     const struct probe_report *report, int64_t wall_ms,
                                     int64_t probe_min_ms, int64_t probe_max_ms);

#endif
