/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the parent, shared by its three files: parent.c (children, signals, reload),
 * parent_supply.c (what workers get: segments, replica, event log, a channel to state),
 * parent_start.c (locks, sockets, folders, what an earlier start left).
 */
#ifndef RELAYD_PARENT_PRIVATE_H
#define RELAYD_PARENT_PRIVATE_H

#include <sys/types.h>

#include "net/channel.h"
#include "relayd/parent.h"
#include "relayd/relayd.h"
#include "spool/spool_segment.h"

#define CHILDREN_MAX (2 * SHARED_WORKERS_MAX + 2)

/* The last column of the shared table is spoolmgr's. */
#define PARENT_COLUMNS (SHARED_WORKERS_MAX - 1)

enum child_kind { CHILD_STATE, CHILD_CONTROL, CHILD_WORKER };

struct given_segment {
    struct given_segment *next;
    struct spool_segment_id id;
    uint64_t size_bytes;
};

struct child {
    struct parent *parent;
    bool wanted; /* is (re)started when it is not running */
    enum child_kind kind;
    unsigned index;  /* of a worker: which sockets it serves */
    unsigned column; /* of a worker: in the shared table */
    pid_t pid;       /* 0: not running */
    struct channel *channel;
    struct given_segment *segments;
    int64_t started_at_ms, restart_at_ms, pause_ms;
    unsigned replaced_in; /* the reload that made it */
};

struct parent {
    struct config *config;
    struct loop *loop;
    struct shared_table *table;
    struct child children[CHILDREN_MAX];
    int *listen_fds; /* socket_count for each address, address by address */
    unsigned socket_count;
    int children_lock_fd, spool_dir_fd;
    uint32_t epoch, next_segment;
    int event_fd;
    int64_t event_hour;
    unsigned reloads;
    uint64_t spill_full_again_at_ms; /* when the alarm about spill-max may be said again */
    struct loop_timer tick;
    bool stopping;
    int64_t stop_by_ms, ticked_at_ms;
};

/* --- parent.c */
struct child *parent_state_child(struct parent *p);
void parent_each_worker(struct parent *p, void (*fn)(struct child *worker));
/* For shared_worker_clear: logs what was in flight in a dead worker as possible duplicate. */
void parent_on_in_flight(void *ctx, struct ref ref);

/* --- parent_supply.c */
void parent_send_replica(struct child *worker);
void parent_send_event_log(struct child *worker);
void parent_join_to_state(struct child *worker);
void parent_open_event_log(struct parent *p);
void parent_give_segment(struct child *worker, uint32_t ticket, uint64_t size_bytes);
void parent_done_segment(struct child *worker, struct spool_segment_id id);
void parent_seal_orphans(struct parent *p); /* of earlier starts of this node */

/* --- parent_start.c */
MUST_USE int parent_set_up(struct parent *p); /* says what is wrong on standard error */

#endif
