/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of one worker share.  A worker is one event loop; everything here belongs to that
 * loop's thread.
 */
#ifndef RELAYD_WORKER_H
#define RELAYD_WORKER_H

#include "net/channel.h"
#include "registry/registry.h"
#include "relayd/body.h"
#include "relayd/relayd.h"
#include "relayd/session_clock.h"
#include "smtp/smtp_client.h"
#include "smtp/smtp_server.h"
#include "spool/spool_writer.h"
#include "state/state.h"

struct arrival;
struct backend_pool;
struct destination_finder;
struct dns;
struct event_log;
struct event_refusals;
struct late;
struct listener;
struct memory_asked;
struct probe;
struct recipient_probe;
struct scanners;
struct worker_asked;
struct sender_dialin;
struct sender_dnsbl;
struct session;
struct simulation;
struct spf_client;
struct tls_client;
struct tls_server;

struct worker {
    const struct config *config;
    unsigned slot;
    struct loop *loop;
    struct shared_table *table;
    struct tls_server *tls;        /* NULL: there is no certificate, and no STARTTLS */
    struct tls_client *tls_client; /* towards backends; its sessions are this worker's own */
    struct channel *parent;
    struct registry *registry; /* NULL: no usable replica yet */
    struct state_client *state;
    struct spf_client *spf;
    struct scanners *scanners;
    struct sender_dnsbl *dnsbl;         /* the lists; NULL: there are none */
    const struct sender_dialin *dialin; /* patterns of dial-in names; never NULL */
    struct simulation *simulations;     /* that run */
    struct spool_writer *writer;
    struct dns *dns;
    struct destination_finder *destinations;
    struct backend_pool *pool;
    struct probe *probes; /* that run */
    struct recipient_probe *recipient_probes;
    struct worker_asked *asked; /* what operators ask */
    struct memory_asked *memory_asked;
    struct event_log *events;
    struct event_refusals *refusals; /* of strangers */
    struct arrival *arrival;
    struct session_times session_times;
    struct body_pool bodies;
    struct smtp_server_settings server_settings;
    struct smtp_client_settings client_settings;
    struct session *sessions; /* doubly linked */
    unsigned session_count;
    struct late *lates;      /* that listen on for answers (late.h) */
    unsigned detached_count; /* transactions that go on without their client */
    bool stopping;           /* accepts no connections any more */
    bool closing;            /* and ends its sessions behind their message */
    bool is_late;            /* and has broken off those that did not come to their end in time */
    struct loop_watch *writer_watch;
    struct loop_timer beat, flush, grace;
    struct listener **listeners;
    size_t listener_count;
    int64_t stop_by_ms;
    /* A record could not be stored: until then (monotonic) recipients whose mail would have to be
     * spooled are answered 451; those with a live backend are served as ever. */
    int64_t spool_closed_until_ms;
    bool spool_has_failed; /* the last one could not be stored */
    /* In developer builds, for tests alone: content of this sender (POSTERN_TEST_CRASH_SENDER in
     * the environment) ends the worker by SIGABRT.  NULL otherwise. */
    const char *crash_sender;
};

struct ref worker_next_ref(struct worker *worker);
/* A session or a detached transaction has ended; the worker that is stopping may be done. */
void worker_check_idle(struct worker *worker);

#endif
