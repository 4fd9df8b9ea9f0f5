/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of the keeper share.  One process, one loop, no locks:
 *
 *   keeper.c     life: opens, ticks, passes, control socket, end
 *   plan.c       messages of the store <-> tasks of the schedule
 *   await.c      mail whose outcome its worker may still say
 *   attempt.c    one attempt; attempt_choose.c: where to; attempt_outcome.c: what comes of it
 *   keeper_health.c  what attempts tell about backends, and the refusals that end nothing
 *   drain.c      customers' servers that ask for their mail
 *   kept.c       what waits for each customer, for the relay
 *   noroute.c    mail that nobody takes: said, and expired
 *   ended.c      what has become of mail that was kept, as events
 *   ending.c     what ends without delivery, and whether its sender is told
 *   own.c        mail of our own: into the spool, and its way out
 *   tell.c       customers are told of trouble with their mail
 *   report.c     what has become of a message, said once it is durable
 *   orders.c     what operators order
 *   commands.c   what of it comes through PostgreSQL
 *   reading.c    those who read the spool through us
 *   audit.c      what comes over the control socket, on its way into PostgreSQL's audit
 *   fleet.c      the deliverers: children, channels, packets
 *   mirror.c     the index in PostgreSQL
 *   usage.c      peaks and outages, for relayctl report
 *   lineage.c    whether the log is an older copy of what PostgreSQL has seen
 */
#ifndef SPOOLMGR_KEEPER_H
#define SPOOLMGR_KEEPER_H

#include "db/db.h"
#include "base/clock_watch.h"
#include "base/pool.h"
#include "net/control.h"
#include "net/loop.h"
#include "notice/notice_dsn.h"
#include "order/order.h"
#include "route/destination.h"
#include "spool/spool_store.h"
#include "spoolmgr/committer.h"
#include "spoolmgr/courier.h"
#include "spoolmgr/own.h"
#include "spoolmgr/route.h"
#include "spoolmgr/schedule.h"
#include "spoolmgr/tell.h"

struct audit;
struct commands;
struct ended;
struct ending;
struct fleet;
struct lineage;
struct json_t;
struct mirror;
struct usage;
struct orders;
struct reading;

struct task {                  /* the recipients of one message that have one route */
    struct schedule_item item; /* first */
    struct mail *mail;
    uint64_t route; /* ROUTE_NONE: nobody serves them */
    struct task *next;
};

/* The keeper's side of a message with an open recipient; message->user.  Of a pool, since there may
 * be a million: what few have is a task of its own, or hangs beside it. */
struct mail {
    struct spool_message *message;
    struct task *tasks;
    struct task first;                    /* the only one of nearly all; in the list or unused */
    struct mail *dirty_prev, *dirty_next; /* the mirror's list */
    struct awaited *awaited;              /* NULL: its worker has nothing to say any more */
    uint32_t number;                      /* of the pool */
    uint8_t crashes;                      /* deliverers that died while they had it */
    bool is_running : 1;                  /* an attempt is being made; one a message */
    bool is_ending : 1;                   /* its notice is on its way to the disk */
    bool is_counted : 1;                  /* in what waits for its customer */
    bool shown_no_route : 1;              /* as the mirror has been told */
    bool is_dirty : 1, is_gone : 1;       /* is_gone: its deletion from the index is queued */
    bool needs_plan : 1;                  /* the replica changed while its attempt ran */
};

#define ENDPOINT_SLOTS 1024
struct endpoint { /* of a backend; shared by all customers that have it */
    struct endpoint *next;
    struct inet_endpoint address;
    bool is_own;                     /* for mail of our own: its health is nobody else's */
    int64_t rests_until_ms, rest_ms; /* own: it could not be reached; of the loop's clock; 0: it
                                        could */
    struct schedule_window window;
    uint64_t asked_in_pass; /* the pass that has had its probe here */
    unsigned slot_count;
    int64_t slot_wanted_at_ms, slot_given_at_ms; /* of the loop's clock; wanted, 0: no */
};

/* The right to one connection of a deliverer; taken in the shared table, unless for mail of our
 * own. It outlives the attempt: until its deliverer says that no connection stands any more. */
struct slot {
    struct slot *next;
    uint32_t number; /* the connection's, with its deliverer */
    struct endpoint *endpoint;
    struct destination destination;
    unsigned deliverer; /* if it is handed over */
    bool is_handed, is_busy, is_leaving;
    bool is_taken; /* of its endpoint's, in the shared table that is there now */
    bool stands;   /* its connection does, in that table */
};

struct attempt {
    struct attempt *next;
    uint32_t id;
    unsigned number; /* the message's n-th */
    struct task *task;
    struct mail *mail;
    struct endpoint *endpoint;
    struct destination destination; /* the endpoint's, for this customer */
    struct slot *slot;
    unsigned deliverer;
    int64_t started_at_ms;
    bool was_down; /* a probe */
    bool reached;  /* EHLO was answered */
    bool offered, dot_sent;
    uint64_t offered_seq; /* durable once the store has synced so far */
    uint32_t *recipients; /* indexes in the envelope */
    struct courier_result *results;
    unsigned recipient_count, result_count;
};

#define NOROUTE_SLOTS 256

struct report_list { /* lines that wait until what they say is durable */
    struct report *first, *last;
    size_t count;
};

struct keeper {
    const struct config *config;
    struct loop *loop;
    struct spool_store *store;
    struct committer *committer;
    struct route *route;
    struct dns *dns;
    struct destination_finder *destinations;
    struct schedule schedule;
    struct fleet *fleet;
    struct lineage *lineage;
    struct mirror *mirror; /* NULL: no database is configured */
    struct control *control;
    struct orders *orders;
    struct commands *commands;
    struct reading *reading;
    struct audit *audit;
    struct own *own;
    struct tell *tell;
    struct usage *usage;
    struct ended *ended;
    struct notice_rate notice_rate;
    struct ending *endings; /* in the order in which they settle */
    struct loop_timer tick, slot_retry;
    struct endpoint *endpoints[ENDPOINT_SLOTS]; /* hashed by address */
    struct pool mails;
    struct awaited *awaited;
    struct attempt *attempts;
    struct report_list reports;
    uint32_t next_attempt_id;
    struct slot *slots;
    uint32_t last_slot;
    struct spool_message *sweep; /* where the sweep goes on; NULL: at the beginning */
    bool sweep_replans, replan_again;
    uint64_t sweep_number;                    /* counted up by each */
    struct noroute *no_routes[NOROUTE_SLOTS]; /* domains, hashed */
    size_t no_route_count;
    unsigned ticks;
    struct clock_watch clock;
    int64_t clock_kept_at_ms; /* since boot */
    int64_t kept_until_ms;    /* what the clock of a keeper before us said last; 0: no such one */
    bool once, is_stopping, store_failed, pump_is_due;
    uint64_t pass;      /* that runs; 0: none */
    int64_t stop_at_ms; /* of the loop's clock: end then, whatever runs */
    /* Why what became of messages before our start may be unknown; NULL: it is known. */
    const char *outcomes_missing;
    int64_t started_at_ms;
    int exit_status;
};

/* keeper.c */
/* is_first: nobody has ever owned this spool, so that no ledger is no loss. */
int keeper_run(const struct config *config, bool once, bool is_first);
void keeper_pump(struct keeper *k);    /* starts what may start now; at the end of the turn */
void keeper_refresh(struct keeper *k); /* what others have written by now is known */
void keeper_touch(struct keeper *k, struct mail *mail); /* its outcome is queued: sync, mirror */
/* Reads the envelope of a message that is being dealt with: the arena is made here, and the
 * caller's to clear, whatever comes of it. */
MUST_USE int keeper_envelope(struct keeper *k, const struct spool_message *m, struct arena *arena,
                             struct spool_envelope *envelope);

/* plan.c */
void plan_message(struct keeper *k,
                  struct spool_message *m); /* makes, changes or drops its tasks */
void plan_forget(struct keeper *k, struct spool_message *m);
/* Where this recipient's mail goes: its domain's route, or where an operator has sent the message.
 */
uint64_t plan_route(struct keeper *k, const struct spool_message *m, unsigned recipient);
void plan_put(struct keeper *k, struct task *task, int64_t next_at_ms);
void plan_routes_changed(struct keeper *k); /* the replica is another one */
void plan_sweep(struct keeper *k);          /* a slice of all messages: new routes, expiry */
bool plan_has_no_route(const struct mail *mail);
const char *plan_state(const struct mail *mail); /* a word for lists */

/* await.c */
void await_update(struct keeper *k, struct mail *mail); /* its message has changed */
void await_forget(struct keeper *k, struct mail *mail);
void await_look(struct keeper *k); /* every second: what is no longer to be waited for */
/* spool_is_writing and spool_on_resolved of the store; ctx is the keeper. */
bool await_is_writing(void *ctx, struct spool_segment_id segment, uint32_t process);
void await_resolved(void *ctx, struct spool_message *m, const struct spool_resolution *resolution);

/* slot.c */
/* One that stands idle, or another one.  NULL: live mail has it, or is owed it; attempt_pump comes
 * again soon. */
struct slot *slot_take(struct keeper *k, struct endpoint *e, const struct destination *to);
void slot_reached(struct keeper *k, struct slot *slot); /* its connection is made and greeted */
void slot_leave(struct keeper *k, struct slot *slot);   /* its attempt is over */
void slot_close_idle(struct keeper *k);                 /* nobody has taken them */
void slot_closed(struct keeper *k, uint32_t number);    /* its deliverer says so */
void slot_lost(struct keeper *k, unsigned deliverer);   /* that one is dead; behind its attempts */
void slot_give_all(struct keeper *k);
/* The shared table is a new one: takes in it what is taken. */
void slot_retake_all(struct keeper *k);
void slot_tidy(struct keeper *k, struct endpoint *e); /* every second */
void slot_on_retry(void *ctx);

/* attempt.c, attempt_choose.c, attempt_outcome.c */
void attempt_pump(struct keeper *k);
struct attempt *attempt_find(struct keeper *k, uint32_t id);
void attempt_reached(struct keeper *k, struct attempt *a);
void attempt_wants_dot(struct keeper *k, struct attempt *a);
void attempt_synced(struct keeper *k); /* gives the dots that are due */
void attempt_result(struct attempt *a, const struct courier_result *result);
void attempt_done(struct keeper *k, struct attempt *a, const struct courier_done *done);
void attempt_tidy(struct keeper *k);        /* now and then */
void attempt_abandon_all(struct keeper *k); /* at the end: no outcome is known */
void attempt_crashed(struct keeper *k, unsigned deliverer);
/* The route could not be reached in an attempt that began behind the deadline. */
void attempt_expire(struct keeper *k, struct mail *mail, uint64_t route, const char *why);
/* A message whose dot went out in a life before this one. */
void attempt_possible_duplicate(struct keeper *k, struct spool_message *m, const char *why);

/* keeper_health.c */
/* What its backend has said of its recipients is counted; a refusal by one that is watched is
 * `later` from now on.  Before the outcome is looked at. */
void keeper_health_hear(struct keeper *k, struct attempt *a);
/* Its transaction broke behind MAIL.  True: that has made the backend down. */
bool keeper_health_broke(struct keeper *k, const struct attempt *a);
/* What is left of a message's pause: at a backend that refuses, its probes need messages. */
int64_t keeper_health_pause_ms(struct keeper *k, const struct attempt *a, int64_t pause_ms);

/* drain.c */
/* Those that are down may be asked now; returns how many are not held. */
unsigned drain_probe_backends(struct keeper *k, uint64_t route);
void drain_look(struct keeper *k); /* takes the requests of customers' servers for their mail */

/* kept.c */
void kept_begin(struct keeper *k); /* the table is new, or we are: counts all that is there */
/* Its tasks are made. is_new: a worker has just kept it, and kept_begin has not seen it. */
void kept_found(struct keeper *k, const struct spool_message *m, bool is_new);
void kept_changed(struct keeper *k, struct mail *mail);
void kept_look(struct keeper *k); /* every second: is the disk short? */

/* ending.c */
/* Ends these recipients of a message that is not being attempted, or whose attempt is over, by P4.
 * NULL: they have ended, in memory and on the way to the ledger.  Else a notice is being written
 * first: the message is left alone (is_ending), and they end when it is durable; good until it
 * settles.  `word` is for the line on it: the notice's reference, "none why-not=..."; "-" with
 * count 0.  The caller plans and touches the message. */
#define ENDING_WORD_SIZE 96
struct ending *ending_begin(struct keeper *k, struct spool_message *m,
                            const struct notice_end *ends, unsigned count,
                            char word[ENDING_WORD_SIZE]);
/* Tells the sender of what has ended already, since its worker has said so: `word` as above.  A
 * death before the notice is durable loses it. */
void ending_tell(struct keeper *k, struct spool_message *m, const struct notice_end *ends,
                 unsigned count, char word[ENDING_WORD_SIZE]);
/* The line on what has ended, once that is durable; `event` is a literal, e may be NULL. */
#define REPORT_BYTES 2048
void ending_report(struct keeper *k, const struct spool_message *m, struct ending *e,
                   const char *event, const char *text);
/* err 0: they have ended; else nothing has changed, since the notice could not be kept. */
typedef void (*ending_on_settled)(void *ctx, struct ref ref, int err);
void ending_on(struct ending *e, ending_on_settled on_settled, void *ctx);
void ending_forget(struct keeper *k, const void *ctx); /* its on_settled does not run any more */
unsigned ending_count(const struct ending *e);         /* recipients; of NULL 0 */
void ending_mend(struct keeper *k); /* at the start: those that a notice in the spool speaks of */
void ending_end(struct keeper *k);

/* report.c */
/* One line on a message, once all that is queued for the ledger by now is durable. */
void report_add(struct keeper *k, const struct spool_message *m, const char *event, const char *fmt,
                ...) PRINTF_LIKE(4, 5);
/* The same for a line of the event log. */
void report_add_event(struct keeper *k, struct slice json);
void report_synced(struct keeper *k); /* says what is due */
void report_end(struct keeper *k);    /* behind the last sync; what is not durable is not said */

/* ended.c */
struct ended *ended_new(struct keeper *k);
void ended_free(struct ended **ended); /* behind report_end; writes what waits */
/* spool_on_ended of the store; ctx is the keeper. */
void ended_note(void *ctx, const struct spool_message *m, unsigned recipient);
/* At the start, before anything ends: what a keeper before us may not have written. */
void ended_before(struct keeper *k);
void ended_write(struct keeper *k, struct slice json); /* it is durable */
void ended_flush(struct keeper *k);                    /* to the file; also each tick */

/* noroute.c */
/* In the sweep, each message: says what has no route; true: it has ended something. */
bool noroute_look(struct keeper *k, struct mail *mail);
void noroute_swept(struct keeper *k); /* a whole sweep is done */
void noroute_end(struct keeper *k);

/* orders.c */
struct orders *orders_new(struct keeper *k);
void orders_free(struct orders **orders); /* who still waits for an answer is told */
/* Who asks.  on_answer comes once, as lib/order/order_json.h has it, when all is durable or nothing
 * more comes of it; borrowed. */
struct orders_asker {
    void (*on_answer)(void *ctx, const struct json_t *answer);
    void *ctx;
    char who[ORDER_WHO_SIZE];
    bool again;  /* a keeper before us may have carried it out: what is so already is done */
    bool audits; /* whoever hears the answer sees to the audit */
};
void orders_take(struct keeper *k, const struct orders_asker *asker, struct json_t *json);
/* Takes the request over, and answers it. */
void orders_take_request(struct keeper *k, struct control_request *request, struct json_t *json);
void orders_synced(struct keeper *k); /* answers what is durable */
bool orders_is_idle(const struct keeper *k);

/* commands.c */
struct commands *commands_new(struct keeper *k);
void commands_free(struct commands **commands); /* before orders_free has told askers: after it */
void commands_up(struct commands *commands, struct db *db); /* connected, and the schema fits */
void commands_down(struct commands *commands);              /* the connection is no more */
void commands_poke(struct commands *commands);              /* there may be new ones */
bool commands_is_idle(const struct commands *commands);     /* no answer is on its way */

/* reading.c */
struct reading *reading_new(struct keeper *k);
void reading_free(struct reading **reading); /* ends those who read */
void
reading_look(struct reading *reading); /* every second: who has ended, or whose asker has gone */

/* audit.c */
struct audit *audit_new(void);
void audit_free(struct audit **audit);
/* It is durable; `ids` are texts. Without a database nothing. */
void audit_add(struct keeper *k, const struct order *order, const char *who,
               const struct json_t *ids);
bool audit_is_empty(const struct keeper *k);
/* The oldest, of those that are there; audit_sent with its answer, unless that is not known. */
void audit_send(struct keeper *k, struct db *db, db_on_result on_result, void *ctx);
void audit_sent(struct keeper *k, const char *why_not); /* NULL: it is in the database */

/* fleet.c */
struct fleet *fleet_new(struct keeper *k, unsigned count);
void fleet_free(struct fleet **fleet);
bool fleet_has_room(const struct fleet *fleet);
bool fleet_has_room_at(const struct fleet *fleet, unsigned deliverer);
/* Hands the attempt over. ERR_CLOSED, ERR_LIMIT, ERR_IO: it could not. */
struct fleet_content { /* what an attempt is about; borrowed for the call */
    const struct spool_envelope *envelope;
    struct spool_body body;
    int segment_fd;
};
MUST_USE int fleet_send(struct fleet *fleet, struct attempt *a,
                        const struct fleet_content *content);
void fleet_send_dot(struct fleet *fleet, struct attempt *a);
void fleet_send_close(struct fleet *fleet, const struct slot *slot); /* slot_closed follows */
void fleet_ended(struct fleet *fleet, const struct attempt *a);

/* lineage.c */
void lineage_begin(struct keeper *k); /* the store is open, and the mirror made */
void lineage_end(struct keeper *k);
bool lineage_permits(const struct keeper *k); /* may messages be delivered, and end? */
bool lineage_is_old(const struct keeper *k);
void lineage_database_down(struct keeper *k);
/* Before the mirror's copy; lineage_hear with the rows: false: it is older, ask again later. */
void lineage_ask(struct keeper *k, struct db *db, db_on_result on_result, void *ctx);
bool lineage_hear(struct keeper *k, const PGresult *result);
/* How far the log goes, from time to time. */
bool lineage_is_told(const struct keeper *k);
void lineage_tell(struct keeper *k, struct db *db, db_on_result on_result, void *ctx);

/* usage.c */
struct usage *usage_new(void);
void usage_free(struct usage **usage);
void usage_found(struct keeper *k, const struct spool_message *m); /* waits from now on */
void usage_ended(struct keeper *k, const struct spool_message *m); /* and no longer */
/* 0: it has not ended; the one that began then is said anew each time. */
void usage_outage(struct keeper *k, uint32_t customer_id, const char *customer, int64_t began_at_ms,
                  int64_t ended_at_ms);
void usage_look(struct keeper *k); /* every second: is it another day? */
bool usage_is_told(const struct keeper *k);
void usage_database_up(struct keeper *k); /* the connection is a new one */
void usage_send(struct keeper *k, struct db *db, db_on_result on_result, void *ctx);
void usage_sent(struct keeper *k, const char *why_not); /* NULL: it is there; else it is lost */

/* mirror.c */
struct mirror *mirror_new(struct keeper *k);
void mirror_free(struct mirror **mirror);
void mirror_changed(struct mirror *mirror,
                    struct mail *mail); /* to be written, or deleted if ended */
void mirror_forget(struct mirror *mirror, struct mail *mail);
bool mirror_is_settled(const struct mirror *mirror); /* agrees with the log, or cannot */
bool mirror_is_up(const struct mirror *mirror);
bool mirror_follows(const struct mirror *mirror); /* all that was in the log has been copied */

/* expiry.c */
void expiry_begin(struct keeper *k); /* has the clock jumped since the keeper before? */
void expiry_look(struct keeper *k);  /* each tick */
void expiry_end(struct keeper *k);
/* Does the deadline count, if it was asked for at that moment for the last time? */
bool expiry_is_due(struct keeper *k, int64_t expires_at_ms, int64_t asked_at_ms);

/* fsck.c */
int fsck_run(const struct config *config);

#endif
