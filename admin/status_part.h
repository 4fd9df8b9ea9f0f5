/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What `relayctl status` looks at, part by part.  Each part is found by what it leaves behind
 * (locks, files, the shared table, the log, the database), so that the look works best when things
 * are worst.
 */
#ifndef ADMIN_STATUS_PART_H
#define ADMIN_STATUS_PART_H

#include <jansson.h>

#include "admin/call.h"
#include "admin/spool_tally.h"
#include "state/shared_table.h"

struct status_part {
    const char *name, *state;
    bool needs_operator;
    struct buf detail; /* a sentence or two, for people */
    json_t *facts;
};

struct status_backend { /* one whose health is known */
    struct shared_health health;
    bool is_registered;
    /* Whose it is, the first three, ", " between; "": it is not known. */
    char customers[(REGISTRY_NAME_SIZE + 2) * 3];
    uint32_t owners[3];
    unsigned owner_count;
};

#define STATUS_PARTS_MAX 16
#define STATUS_NEAR_PERCENT 80 /* of a limit */
struct status {
    struct call *call;
    int64_t now_ms;
    struct status_part parts[STATUS_PARTS_MAX];
    unsigned part_count, problems;
    struct spool_tally customers; /* with mail in the spool */
    struct status_backend *backends;
    size_t backend_count;
    uint64_t registry_version;     /* PostgreSQL's; 0: not known */
    int64_t replica_written_at_ms; /* 0: not known */
    bool has_counters;
    uint64_t counters[SHARED_COUNTER_COUNT];
    unsigned connections; /* of clients, now */
};

/* State "ok" and nothing else, until something is found. */
struct status_part *status_add(struct status *status, const char *name);
/* Adds the sentence, and that an operator must see to it. */
void status_problem(struct status_part *part, const char *state, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* By errno: nothing is known of the part, so nothing is said about it. */
void status_unreadable(struct status_part *part, const char *path);
void status_fact(struct status_part *part, const char *name, json_t *value); /* taken over */

/* --- The looks, in the order in which they are shown. */
void status_look_daemons(struct status *status);
/* relayd has the registry to read yet. */
bool status_has_just_started(const struct call *call);
void status_look_database(struct status *status); /* the replica and the event log as well */
void status_look_spool(struct status *status);
void status_look_relay(struct status *status); /* connections, backends, scanners, lists, limits */
void status_look_host(struct status *status);  /* disks, resolver, certificates */

#endif
