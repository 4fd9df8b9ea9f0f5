/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayd's processes and what they say to each other over channels (net/channel.h).  The parent
 * forks all of them; each gets the configuration by inheritance and one channel to the parent.  A
 * process's run function returns its exit status.
 *
 *   parent --- worker x N      segments, replica, event log out; wants and done segments in
 *     |  \---- state           a channel per worker is handed over
 *     |   \--- spf             likewise; evaluates SPF, has nothing else
 *     |\------ control         PostgreSQL <-> node
 *     \------- segments        makes and seals the spool's files
 */
#ifndef RELAYD_H
#define RELAYD_H

#include "base/config.h"
#include "state/shared_table.h"

enum relayd_message {
    /* parent -> worker */
    RELAYD_SEGMENT = 1, /* u32 ticket, u16 node, u32 epoch, u32 number, key[16] as bytes, u64 size;
                           fd (none: refused) */
    RELAYD_REPLICA,     /* fd of a new replica file, read-only */
    RELAYD_STATE,       /* fd of a channel to the state process */
    RELAYD_SPF,         /* fd of a channel to the spf process */
    RELAYD_EVENT_LOG,   /* fd of the event log, append-only */
    RELAYD_STOP,        /* u8 others_take_over: leave what is queued at the sockets to them; u32 ms:
                           within that time. Stop accepting; finish what runs; exit 0. Said again
                           with less time: hurry */
    RELAYD_ASK,         /* u32 id, bytes: a line of the control socket */
    RELAYD_TICKET_KEYS, /* the keys of TLS session tickets (net/tls_ticket.h), one behind the
                           other: name[16], cipher[32], mac[32] */
    /* worker -> parent */
    RELAYD_WANT_SEGMENT, /* u32 ticket, u64 size */
    RELAYD_DONE_SEGMENT, /* u16 node, u32 epoch, u32 number, u8 has_records */
    RELAYD_KEEP_SEGMENT, /* u16 node, u32 epoch, u32 number, u64 size: no more of it is used */
    RELAYD_ANSWER,       /* u32 id, bytes: the line that goes back */
    /* parent -> state, spf */
    RELAYD_ADD_WORKER, /* fd of a channel to a worker */
    /* control -> parent */
    RELAYD_REPLICA_WRITTEN, /* a new replica has been renamed into place */
    RELAYD_DATABASE,        /* u8 is_up, text: why not; for `status` */
    /* parent -> segments, one at a time; each is answered */
    RELAYD_MAKE_SEGMENT, /* u16 node, u32 epoch, u32 number, u64 size, u32 the worker's process */
    RELAYD_SEAL_SEGMENT, /* u16 node, u32 epoch, u32 number */
    RELAYD_TRIM_SEGMENT, /* u16 node, u32 epoch, u32 number, u64 size */
    /* segments -> parent */
    RELAYD_MADE_SEGMENT,    /* u32 -err, key[16] as bytes; fd */
    RELAYD_SEALED_SEGMENT,  /* u32 -err */
    RELAYD_TRIMMED_SEGMENT, /* u32 -err */
};

/* state-dir/replica.cdb */
#define RELAYD_REPLICA_FILE "replica.cdb"
/* state-dir: what is remembered of it, should it be damaged (registry_last.h) */
#define RELAYD_LAST_FILE "replica.last"
/* state-dir: a registry that the guard has refused, and an operator's acceptance of it (`relayctl
 * node accept-registry`), both as lines "database_id X", "version N"; the offer also says "why
 * ...".  An acceptance holds for the database and up to the version that it names. */
#define RELAYD_OFFERED_FILE "registry-offered"
#define RELAYD_ACCEPT_FILE "accept-registry"
/* run-dir: the control socket (net/control.h) */
#define RELAYD_SOCKET_FILE "relayd.sock"
/* run-dir/shared */
#define RELAYD_SHARED_FILE "shared"
/* state-dir: what of it survives a reboot (shared_snapshot.h) */
#define RELAYD_SNAPSHOT_FILE "shared.snapshot"

struct sender_dialin;
struct tls_client;
struct tls_server;

struct worker_args {
    unsigned slot;
    bool is_first;         /* of the configured workers: it speaks for all where one is enough */
    int parent_fd;         /* channel to the parent */
    const int *listen_fds; /* listening sockets of this worker's slot */
    size_t listen_count;
    struct shared_table *table;         /* mapped before the fork */
    struct tls_server *tls;             /* built before the fork; NULL: there is no certificate */
    struct tls_client *tls_client;      /* likewise; never NULL */
    const struct sender_dialin *dialin; /* likewise */
};

int worker_run(const struct config *config, const struct worker_args *args);
/* table: mapped before the fork. */
int state_process_run(const struct config *config, int parent_fd, struct shared_table *table);
int control_process_run(const struct config *config, int parent_fd);
int segment_process_run(const struct config *config, int parent_fd);
int spf_process_run(int parent_fd);

#endif
