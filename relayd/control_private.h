/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the control process, shared by control.c (the database, loads, networks of filters,
 * life) and control_replica.c (what becomes of the replica, and how it is told).
 */
#ifndef RELAYD_CONTROL_PRIVATE_H
#define RELAYD_CONTROL_PRIVATE_H

#include <limits.h>

#include "base/log.h"
#include "db/db.h"
#include "net/channel.h"
#include "registry/registry_last.h"
#include "relayd/control_events.h"
#include "relayd/control_include.h"
#include "relayd/control_load.h"

#define CONTROL_TMP ".tmp"
#define CONTROL_RETRY_MS 5000 /* after a failed load: a schema that does not fit, a full disk */

struct control_process {
    const struct config *config;
    struct loop *loop;
    struct channel *parent;
    struct db *db; /* NULL: no database is configured */
    struct control_events *events;
    char path[PATH_MAX], path_tmp[PATH_MAX], path_offered[PATH_MAX], path_accept[PATH_MAX];
    char path_last[PATH_MAX], path_last_tmp[PATH_MAX];

    struct registry_set good;  /* what the replica holds; without a database_id there is none */
    bool is_good_lost;         /* there was one, but it cannot be read */
    struct registry_last last; /* then: what is remembered of it; without a database_id nothing */
    int64_t missing_due_at_ms; /* wall clock; 0: no domain is missing */
    bool is_refused;

    int64_t write_every_ms; /* at most so often is the replica written */

    struct control_load load;
    bool is_loading, load_again;
    size_t next_query;
    int64_t load_began_at_ms, last_load_ms; /* monotonic; duration */
    int64_t written_at_ms, poll_at_ms, retry_at_ms;
    struct loop_timer tick, reload;

    struct control_includes *includes;
    struct loop_timer rewrite; /* runs while networks are known that the replica has not */
    bool was_loaded;           /* since the connection came: its schema fits */

    char *said, *skipped; /* the last thing logged of each kind, so that it is said once */
    bool was_up;
};

/* --- control_replica.c */
/* To the log and to the parent, once per change. */
void control_say(struct control_process *c, enum log_level level, const char *event, bool is_up,
                 const char *why);
void control_say_not_written(struct control_process *c, const char *error);
/* The last good one, by which the next is judged. */
void control_read_replica(struct control_process *c);
/* What was loaded replaces it, or is refused. */
void control_finish_load(struct control_process *c);

#endif
