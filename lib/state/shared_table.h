/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table: memory that all processes of a node map (a file in run-dir, made by the relay's
 * parent, also mapped by spoolmgr), of fixed size, changed by compare-and-swap.  No process ever
 * takes a lock that another can hold (P8).  It survives the death of any process, and a reboot by
 * its snapshot (shared_snapshot.h).  Two parts: what belongs to the node (backend health, hourly
 * windows, suspects, the counter of references), and a column per worker that is cleared when the
 * worker dies (what must not outlive a process).
 */
#ifndef STATE_SHARED_TABLE_H
#define STATE_SHARED_TABLE_H

#include "base/inet.h"
#include "base/ref.h"

#define SHARED_WORKERS_MAX 64
#define SHARED_INFLIGHT_MAX 4096 /* messages a worker can have between commitment and reply */

struct shared_table;

/* Makes it, or takes over what is there if magic, version and boot id fit (a foreign or torn file
 * is replaced).  What is taken over keeps health, windows, suspects, counters and the columns of
 * the workers before: clear each with shared_worker_clear, which tells what was in flight.  ERR_IO
 * with errno. */
MUST_USE int shared_table_create(const char *path, uint32_t epoch, struct shared_table **table);
/* ERR_NOT_FOUND: there is none of this boot. ERR_VERSION, ERR_CORRUPT, ERR_IO. */
MUST_USE int shared_table_attach(const char *path, struct shared_table **table);
void shared_table_detach(struct shared_table **table);
uint64_t shared_table_next_number(
    struct shared_table *table); /* for ref_make; never the same twice in an epoch */
uint32_t shared_table_epoch(const struct shared_table *table);

/* --- Out of service: clients are sent away until an operator ends it or the relay's parent starts
 * anew (shared_table_create).  True: this call has changed it. */
bool shared_table_leave_service(struct shared_table *table, int64_t wall_ms);
bool shared_table_return_to_service(struct shared_table *table);
int64_t shared_table_left_service_at_ms(const struct shared_table *table); /* 0: in service */

/* --- Worker columns. A worker's column is its slot, 0 .. SHARED_WORKERS_MAX - 1. */
void shared_worker_begin(struct shared_table *table, unsigned slot, int pid);
void shared_worker_stamp(struct shared_table *table, unsigned slot,
                         int64_t monotonic_ms); /* the heartbeat */
int64_t shared_worker_stamped_at_ms(const struct shared_table *table, unsigned slot);
int shared_worker_pid(const struct shared_table *table, unsigned slot);
/* A message whose outcome the sender does not know yet: from just before the dot goes to the
 * backend, or the commit begins, until the reply has been written.  If the worker dies in between,
 * the message is a possible duplicate and is logged as such by whoever clears the column. */
MUST_USE int shared_inflight_enter(struct shared_table *table, unsigned slot, struct ref ref,
                                   unsigned *index); /* ERR_FULL */
void shared_inflight_leave(struct shared_table *table, unsigned slot, unsigned index);
/* Clears the column of a dead worker; `each` gets what was in flight. */
void shared_worker_clear(struct shared_table *table, unsigned slot,
                         void (*each)(void *ctx, struct ref ref), void *ctx);

/* Counters, one column a worker so that nobody contends; sums are taken by who reads. */
enum shared_counter {
#define COUNTER(id, word, help) SHARED_COUNTER_##id,
#include "state/shared_counter.def"
#undef COUNTER
    SHARED_COUNTER_COUNT
};
void shared_count(struct shared_table *table, unsigned slot, enum shared_counter counter);
uint64_t shared_counter_sum(const struct shared_table *table, enum shared_counter counter);
const char *shared_counter_word(enum shared_counter counter);

/* --- Health of a backend, by endpoint (DESIGN section 5). */
enum shared_health_state {
    SHARED_HEALTH_UNKNOWN,
    SHARED_HEALTH_UP,
    SHARED_HEALTH_DOWN,
    SHARED_HEALTH_RECOVERING, /* back from an outage; its first twenty verdicts are counted */
    SHARED_HEALTH_REFUSING,   /* back, and refuses recipients known valid: nobody asks it */
};
const char *shared_health_word(enum shared_health_state state);
/* Sessions are answered, and queues stopped, without asking it. */
static inline bool
shared_health_stops(enum shared_health_state state)
{
    return state == SHARED_HEALTH_DOWN || state == SHARED_HEALTH_REFUSING;
}

enum shared_health_reason {
    SHARED_REASON_NONE,
    SHARED_REASON_CONNECT,
    SHARED_REASON_TIMEOUT,
    SHARED_REASON_BANNER,
    SHARED_REASON_EHLO,
    SHARED_REASON_LOST,
    SHARED_REASON_CLOSING,
    SHARED_REASON_TLS,     /* needed, and not offered, refused or failed */
    SHARED_REASON_BROKEN,  /* three messages' transactions in a row broke behind MAIL */
    SHARED_REASON_REFUSES, /* recipients known valid */
};
const char *shared_reason_text(enum shared_health_reason reason); /* "no connection", ... */

#define SHARED_GOOD_PROBES 3
#define SHARED_GOOD_PROBES_APART_MS (5 * 60 * 1000)
struct shared_health { /* a copy */
    struct inet_endpoint endpoint;
    enum shared_health_state state;
    enum shared_health_reason reason;
    int64_t since_ms, next_probe_at_ms; /* wall clock; next: while down or refusing */
    bool is_probing;                    /* somebody has claimed a probe that may run until then */
    uint32_t failures;                  /* in a row */
    /* While recovering, and as it was when it became refusing: */
    unsigned verdicts, accepted, refused; /* refused: of recipients known valid; 255 is "or more" */
    uint64_t refused_hashes[3];
    unsigned good_probes; /* while refusing: in a row */
    int64_t good_at_ms;   /* the last of them */
    /* Of the registry's name that led to it last, or of "", it is registered by its address; 0: not
     * known (it is not in the snapshot).  shared_name_hash. */
    uint64_t name_hash;
};
/* The state's word for people: also "probing". */
const char *shared_health_shown(const struct shared_health *health, int64_t wall_ms);

/* Never 0. */
uint64_t shared_name_hash(const struct shared_table *table, const char *name);
/* It is one to ask, as an address of this name of the registry, or ("") as a registered address;
 * for those who show it, who are to know whether it still is. */
void shared_health_found_as(struct shared_table *table, const struct inet_endpoint *endpoint,
                            const char *name, int64_t wall_ms);

/* May this backend be asked now?  ASK: nothing speaks against it.  PROBE: it is down, its probe was
 * overdue and the caller has just claimed it (the moment moved on by compare-and-swap, so that one
 * asks and the others do not): its transaction is the probe.  LEAVE: down or refusing. */
enum shared_health_leave { SHARED_HEALTH_ASK, SHARED_HEALTH_PROBE, SHARED_HEALTH_LEAVE };
enum shared_health_leave shared_health_ask(struct shared_table *table,
                                           const struct inet_endpoint *endpoint, int64_t wall_ms);
/* ASK or PROBE. */
bool shared_health_may_ask(struct shared_table *table, const struct inet_endpoint *endpoint,
                           int64_t wall_ms);
/* Down or refusing, with an overdue probe that the caller has just claimed.  Its end is told by
 * _succeeded or _failed; at one that refuses by _failed or _probed. */
bool shared_health_may_probe(struct shared_table *table, const struct inet_endpoint *endpoint,
                             int64_t wall_ms);
/* EHLO was answered.  Returns true if this call brought it back from down (the caller logs it); it
 * is recovering then. One that refuses stays so. */
bool shared_health_succeeded(struct shared_table *table, const struct inet_endpoint *endpoint,
                             int64_t wall_ms);
/* A failure before MAIL on a fresh connection: down at once, next probe after a jittered pause that
 * grows from min to max.  Returns true if this call changed the state (the caller logs it).  While
 * it is down or refusing only the failure of a claimed probe counts, not those of sessions that
 * were under way. */
bool shared_health_failed(struct shared_table *table, const struct inet_endpoint *endpoint,
                          enum shared_health_reason reason, int64_t wall_ms, int64_t probe_min_ms,
                          int64_t probe_max_ms);
/* A message's transaction broke behind MAIL.  fingerprint: shared_fingerprint with a size of 0.
 * True: it was the third different one in a row, and this call made the backend down. */
bool shared_health_broke(struct shared_table *table, const struct inet_endpoint *endpoint,
                         uint64_t fingerprint, int64_t wall_ms, int64_t probe_min_ms,
                         int64_t probe_max_ms);
/* A transaction came to its end, whatever that was: the row of broken ones ends. */
void shared_health_completed(struct shared_table *table, const struct inet_endpoint *endpoint);
/* Somebody says that it is back: while it is down or refusing, the next who asks may probe it. */
void shared_health_probe_now(struct shared_table *table, const struct inet_endpoint *endpoint,
                             int64_t wall_ms);
/* Cheap. */
enum shared_health_state shared_health_state_of(const struct shared_table *table,
                                                const struct inet_endpoint *endpoint,
                                                int64_t wall_ms);

/* What a backend has said to a RCPT, or to MAIL for a recipient. */
enum shared_verdict {
    SHARED_VERDICT_ACCEPTED,
    SHARED_VERDICT_REFUSED,       /* a recipient of whom nothing was known */
    SHARED_VERDICT_REFUSED_KNOWN, /* a recipient known to be valid */
};
enum shared_health_news { SHARED_HEALTH_NO_NEWS, SHARED_HEALTH_NOW_UP, SHARED_HEALTH_NOW_REFUSING };
/* Counts while it recovers, nothing else; cheap otherwise.  News are the caller's to log. */
enum shared_health_news shared_health_verdict(struct shared_table *table,
                                              const struct inet_endpoint *endpoint,
                                              enum shared_verdict verdict, uint64_t recipient_hash,
                                              int64_t wall_ms, int64_t probe_min_ms);
/* key: smtp_path_key. Never 0. */
uint64_t shared_recipient_hash(const struct shared_table *table, uint32_t customer_id,
                               const char *key);
/* What the claimed probe of a backend that refuses has found: it has taken a recipient known valid,
 * or not.  True: it was the third good one, each five minutes behind the one before; this call has
 * made it recovering. */
bool shared_health_probed(struct shared_table *table, const struct inet_endpoint *endpoint,
                          bool good, int64_t wall_ms, int64_t probe_min_ms, int64_t probe_max_ms);
/* An operator's word: true if it was refusing and is recovering now. */
bool shared_health_release(struct shared_table *table, const struct inet_endpoint *endpoint,
                           int64_t wall_ms);
/* For tests: the good probes of this process need be no further apart. */
void shared_health_set_good_apart(struct shared_table *table, int64_t apart_ms);
/* ERR_NOT_FOUND: nothing known. */
MUST_USE int shared_health_get(const struct shared_table *table,
                               const struct inet_endpoint *endpoint, struct shared_health *health);
void shared_health_each(const struct shared_table *table,
                        void (*each)(void *ctx, const struct shared_health *health), void *ctx);
/* How many endpoints a full table has forgotten. */
uint64_t shared_health_evictions(const struct shared_table *table);

/* --- Connection slots of a backend over all workers (backend-connections), held in the worker's
 * column.  Never more than `limit` are out; a column without a pid (shared_worker_begin) does not
 * count. */
bool shared_slot_take(struct shared_table *table, unsigned slot,
                      const struct inet_endpoint *endpoint, uint32_t limit);
void shared_slot_give(struct shared_table *table, unsigned slot,
                      const struct inet_endpoint *endpoint);
uint32_t shared_slot_count(const struct shared_table *table, const struct inet_endpoint *endpoint);
/* Of a slot that is taken: its connection is made and greeted; before it is given back, no more. */
void shared_slot_stands(struct shared_table *table, unsigned slot,
                        const struct inet_endpoint *endpoint, bool stands);
uint32_t shared_slot_standing(const struct shared_table *table,
                              const struct inet_endpoint *endpoint);
/* So many of this worker's users wait for a connection; 0: nobody does (any more). */
void shared_slot_want(struct shared_table *table, unsigned slot,
                      const struct inet_endpoint *endpoint, uint32_t count);
struct shared_slot_share {
    uint32_t wanted; /* by other workers */
    bool is_full;    /* all are taken */
    uint32_t slots;  /* what this one may have meanwhile; the limit if nobody else wants any */
    bool is_too_few; /* the limit is below the number of those who have or want some: by turns */
};
struct shared_slot_share shared_slot_share(const struct shared_table *table, unsigned slot,
                                           const struct inet_endpoint *endpoint, uint32_t limit);
/* The backend has refused a further connection while others stand: for so long nobody opens more
 * than stand now.  0: what this worker has said of it is over. */
void shared_slot_crowded(struct shared_table *table, unsigned slot,
                         const struct inet_endpoint *endpoint, int64_t for_ms);

/* --- Hourly windows: how many connections a customer (or a customer's client) has had in the
 * minute that runs and the 60 whole minutes before it.  Exact over all processes: never more than
 * `limit` are taken in any 60 minutes (P9).  A clock that is a little behind what has been counted
 * already counts into the later minute; one that is far behind (it was wrong before) begins anew.
 */
#define SHARED_WINDOW_UNLIMITED 0xffffffffu
#define SHARED_WINDOW_LIMIT_MAX 10000000u /* a limit above it is held as this; none stays none */

/* client: NULL for the customer as a whole, else that client's address (IPv6: its /64). */
uint64_t shared_window_key(const struct shared_table *table, uint32_t customer_id,
                           const struct inet_endpoint *client);

struct shared_window_answer {
    bool taken;
    bool is_near;    /* 80 % is reached, and nobody has been told in the hour before */
    uint32_t count;  /* in the window, with this one if it was taken */
    int64_t wait_ms; /* not taken: until there is room for one, if no other comes */
};

/* Counts one if there is room for it. */
struct shared_window_answer shared_window_take(struct shared_table *table, uint64_t key,
                                               int64_t wall_ms, uint32_t limit);
/* The same without counting: would it be taken now? */
struct shared_window_answer shared_window_look(const struct shared_table *table, uint64_t key,
                                               int64_t wall_ms, uint32_t limit);
uint32_t shared_window_count(const struct shared_table *table, uint64_t key, int64_t wall_ms);
/* How many windows that still counted something a full table has forgotten. */
uint64_t shared_window_evictions(const struct shared_table *table);

/* --- Connections of clients, by address (IPv4) or /64 (IPv6), in the worker's column, which holds
 * 20,000 different ones and more. */
/* Once in a worker, before its first client: reserves the memory. ERR_FULL: run-dir is full. */
MUST_USE int shared_client_prepare(struct shared_table *table, unsigned slot);
/* Counts one if fewer than `limit` of this client are there, over all workers; never more are. */
bool shared_client_enter(struct shared_table *table, unsigned slot,
                         const struct inet_endpoint *client, uint32_t limit);
void shared_client_leave(struct shared_table *table, unsigned slot,
                         const struct inet_endpoint *client);
uint32_t shared_client_count(const struct shared_table *table, const struct inet_endpoint *client);
/* All that have entered and not left, on this node. */
uint32_t shared_connections(const struct shared_table *table);

/* --- Drains: a customer's server asks for its waiting mail (ETRN), the keeper of the spool takes
 * the request. */
enum shared_drain_answer { SHARED_DRAIN_STARTED, SHARED_DRAIN_TOO_SOON };

/* At most once a minute for each customer, exact over all processes. */
enum shared_drain_answer shared_drain_request(struct shared_table *table, uint32_t customer_id,
                                              int64_t wall_ms);
/* The keeper: each request that has not been taken; cheap when there is none.  One comes again if
 * the keeper dies while it takes it. */
void shared_drain_take(struct shared_table *table, void (*each)(void *ctx, uint32_t customer_id),
                       void *ctx);

/* --- Content scanners, as each worker has found them; by their place in the setting milters. */
#define SHARED_SCANNERS_MAX 8
#define SHARED_SCANNER_UNKNOWN 0 /* it has not been asked */
#define SHARED_SCANNER_UP 1
/* Else the moment (wall clock ms) since when it fails. */
void shared_scanner_set(struct shared_table *table, unsigned slot, unsigned scanner, int64_t state);
int64_t shared_scanner_get(const struct shared_table *table, unsigned slot, unsigned scanner);

/* --- DNS lists, as each worker has found them; by their place in the settings dnsbl and dnswl, one
 * behind the other.  Of those beyond the last place nothing is said, nor of one that has another
 * name at that place: a worker from before a reload. */
#define SHARED_LISTS_MAX 32
struct shared_list {
    unsigned state;   /* enum sender_dnsbl_state; 0: it has not been tested */
    int64_t since_ms; /* wall clock */
};
void shared_list_set(struct shared_table *table, unsigned slot, unsigned list, const char *name,
                     struct shared_list state);
struct shared_list shared_list_get(const struct shared_table *table, unsigned slot, unsigned list,
                                   const char *name);

/* --- Suspects: messages at which workers die. */
/* What the worker is working on at this moment; 0: nothing in particular. */
void shared_worker_set_message(struct shared_table *table, unsigned slot, uint64_t fingerprint);
uint64_t shared_worker_message(const struct shared_table *table, unsigned slot);
/* Never 0.  first_rcpt: NULL before it is known. */
uint64_t shared_fingerprint(const struct shared_table *table, const struct inet_endpoint *client,
                            const char *reverse_path, const char *first_rcpt, uint64_t size_bytes);
/* The relay's parent, at a death by fault, before it clears the column: `fingerprint` is the dead
 * worker's shared_worker_message (0: nothing happens). True: it is a suspect now, by two deaths
 * within an hour, for an hour. */
bool shared_suspect_note(struct shared_table *table, uint64_t fingerprint, int64_t wall_ms);
bool shared_suspect_is(const struct shared_table *table, uint64_t fingerprint, int64_t wall_ms);

#endif
