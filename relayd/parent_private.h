/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of the parent, shared by its files: parent.c (children, signals), parent_reload.c
 * (SIGHUP, generations of workers), parent_child.c (what a child becomes), parent_supply.c (what
 * workers get: replica, event log, channels to state and spf), parent_segments.c (the spool's
 * files), parent_tls.c (certificates), parent_start.c (locks, sockets, folders, what an earlier
 * start left).
 */
#ifndef RELAYD_PARENT_PRIVATE_H
#define RELAYD_PARENT_PRIVATE_H

#include <sys/queue.h>
#include <sys/types.h>

#include "base/codec.h"
#include "net/channel.h"
#include "net/sandbox.h"
#include "net/tls_ticket.h"
#include "relayd/parent.h"
#include "relayd/relayd.h"
#include "spool/spool_segment.h"

/* Rows of the table of children: one of each kind, then workers. */
#define WORKERS_AT 4
#define CHILDREN_MAX (WORKERS_AT + SHARED_WORKERS_MAX)

/* The last column of the shared table is spoolmgr's. */
#define PARENT_COLUMNS (SHARED_WORKERS_MAX - 1)

enum child_kind { CHILD_STATE, CHILD_CONTROL, CHILD_SEGMENTS, CHILD_SPF, CHILD_WORKER };

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
    int64_t stop_by_ms; /* of one that was told to stop: killed then; 0: it was not */
    bool was_silent;    /* killed by us for that */
};

struct control;
struct parent_asked;
struct segment_job;
STAILQ_HEAD(segment_jobs, segment_job);

struct parent {
    struct config *config;
    struct loop *loop;
    struct shared_table *table;
    struct child children[CHILDREN_MAX];
    int *listen_fds; /* socket by socket, one for each address */
    unsigned socket_count;
    int children_lock_fd, spool_dir_fd;
    uint32_t epoch, next_segment;
    int event_fd;
    int64_t event_hour;
    unsigned event_part; /* of the hour */
    struct tls_ticket_keys ticket_keys;
    int64_t ticket_rotate_at_ms, warned_day; /* days of the wall clock since 1970 */
    struct tls_server *tls;                  /* towards clients; NULL: there is no certificate */
    struct config *next_config;  /* waits until the generation before the last has ended; NULL */
    struct tls_server *next_tls; /* of next_config */
    struct tls_client *tls_client, *next_tls_client; /* towards backends, and of next_config */
    struct sender_dialin *dialin, *next_dialin;      /* patterns of names, likewise */
    struct segment_jobs makes_shared, makes_large, seals;
    struct segment_job *segment_job; /* that the segments process is at */
    bool is_seals_turn;              /* the last was a new segment of a single message */
    uint64_t spilled_bytes; /* that large messages in passage have reserved, until it is freed */
    uint64_t sealing_bytes; /* of them, those that nobody uses any more */
    uint64_t spill_full_again_at_ms; /* when the alarm about spill-max may be said again */
    struct loop_timer tick;
    struct control *control;    /* NULL: there is none */
    struct parent_asked *asked; /* operators' lines that workers look at */
    uint32_t next_asked_id;
    bool stopping;
    int64_t stop_by_ms, ticked_at_ms;
};

/* --- parent.c */
const char *parent_child_name(const struct child *child);
struct child *parent_state_child(struct parent *p);
struct child *parent_segments_child(struct parent *p);
struct child *parent_spf_child(struct parent *p);
void parent_each_worker(struct parent *p, void (*fn)(struct child *worker));
void parent_start_child(struct child *child);
/* Tells it to end within that time; on_tick kills it a little later. */
void parent_stop_child(struct child *child, bool others_take_over, int64_t within_ms);
/* For shared_worker_clear: logs what was in flight in a dead worker as possible duplicate. */
void parent_on_in_flight(void *ctx, struct ref ref);

/* --- parent_reload.c */
void parent_on_reload_signal(void *ctx, int signo);
void parent_go_on_reloading(struct parent *p); /* a worker has ended */

/* --- parent_child.c: in the child; never returns. */
_Noreturn void parent_run_child(struct child *child, int channel_fd);
struct sandbox parent_sandbox_of(const struct config *config, enum child_kind kind);

/* --- parent_supply.c */
void parent_send_replica(struct child *worker);
void parent_send_event_log(struct child *worker);
void parent_join_to_state(struct child *worker);
void parent_join_to_spf(struct child *worker);
bool parent_wants_event_log(struct parent *p); /* another file: the hour, or this one is full */
void parent_open_event_log(struct parent *p);
/* No room for one more large message of so many octets; says so. */
bool parent_is_spill_full(struct parent *p, uint64_t size_bytes);

/* --- parent_tls.c */
/* What `config` names; NULL and ERR_OK when it names nothing. Problems are lines that say what to
 * do. */
MUST_USE int parent_tls_load(const struct config *config, struct buf *problems,
                             struct tls_server **tls);
/* Whom connections to backends trust. Never NULL with ERR_OK. */
MUST_USE int parent_tls_load_client(const struct config *config, struct buf *problems,
                                    struct tls_client **tls);
/* Lines about certificates and keys, as they are for the user that this process is now. */
void parent_tls_warnings(const struct config *config, const struct tls_server *tls, int64_t wall_ms,
                         struct buf *warnings);
void parent_tls_log_warnings(struct parent *p, int64_t wall_ms);
void parent_send_ticket_keys(struct child *worker);
/* Whatever is due: new ticket keys, the day's warnings. */
void parent_tls_tick(struct parent *p, int64_t monotonic_ms, int64_t wall_ms);
void parent_tls_forget(struct parent *p, enum child_kind kind); /* what a child is not to know */

/* --- parent_ask.c */
void parent_open_control(struct parent *p);
void parent_close_control(struct parent *p);
void parent_take_answer(struct child *worker, struct decoder *d);
void parent_ask_worker_ended(struct parent *p, pid_t pid);

/* --- parent_segments.c */
void parent_give_segment(struct child *worker, uint32_t ticket, uint64_t size_bytes);
void parent_done_segment(struct child *worker, struct spool_segment_id id);
/* No more than the first size_bytes of it will be used. */
void parent_trim_segment(struct child *worker, struct spool_segment_id id, uint64_t size_bytes);
void parent_seal_orphans(struct parent *p); /* of earlier starts of this node */
void parent_segments_worker_ended(struct child *worker);
void parent_segments_message(struct parent *p, uint16_t type, struct decoder *d, int fd);
void parent_segments_process_ended(struct parent *p);
void parent_segments_pump(struct parent *p);
bool parent_segments_idle(const struct parent *p);
void parent_segments_free(struct parent *p);

/* --- parent_start.c */
MUST_USE int parent_set_up(struct parent *p); /* says what is wrong on standard error */
/* The last word of this start on what of the shared table survives a reboot, when nobody is there
 * to change it. */
void parent_write_snapshot(struct parent *p);
/* Sockets for so many workers; those that are there stay. ERR_IO with errno. */
MUST_USE int parent_add_sockets(struct parent *p, unsigned count);

#endif
