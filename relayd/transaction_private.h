/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a transaction, shared by its files: transaction.c (life, answers, history),
 * transaction_rcpt.c (what a RCPT is answered), transaction_dot.c (what the dot is answered),
 * transaction_stream.c (the content on its way to the backend), transaction_link.c (the backend's
 * connection, and not holding it in vain), transaction_replay.c (the dialogue said again at the
 * end), transaction_keep.c (what goes to the spool), transaction_forward.c (what a backend is told
 * besides), transaction_memory.c (what is known of a recipient without its backend),
 * transaction_policy.c (what its customer thinks of the sender), transaction_origin.c (the same of
 * the client before an upstream filter), transaction_scan.c (what content scanners think of the
 * message).
 *
 * All waiting is for one thing at a time: a link, a reply of the backend, an answer of the state
 * process, the disk. Whatever arrives calls one small function, and exactly one of them answers the
 * sender.
 *
 * Invariants: `pending` is set exactly while a RCPT waits; is_in_flight covers the time from just
 * before the dot (or the commit) until the reply has been written; with recipients of both sides no
 * dot goes out before their prepared record is durable.
 */
#ifndef RELAYD_TRANSACTION_PRIVATE_H
#define RELAYD_TRANSACTION_PRIVATE_H

#include "relayd/backend.h"
#include "relayd/decision.h"
#include "relayd/recipient_policy.h"
#include "relayd/screen.h"
#include "relayd/sender_verdict.h"
#include "relayd/transaction.h"
#include "route/destination.h"
#include "smtp/smtp_auth_results.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_origin.h"
#include "smtp/smtp_trace.h"
#include "state/shared_kept.h"
#include "state/shared_use.h"

#define TRANSACTION_ARENA_BYTES (512 * 1024)
#define TRANSACTION_RECIPIENTS_MAX 1000

enum stage {
    STAGE_OPEN,
    STAGE_CONTENT,
    STAGE_REACHING,   /* the content is whole, and waits for a link to be replayed on */
    STAGE_DELIVERING, /* DATA, content, dot are on their way to the backend */
    STAGE_PREPARING,  /* 354 was said; the prepared record is on its way to the disk */
    STAGE_COMMITTING, /* the record, or its resolution, is */
    STAGE_ANSWERING,  /* the outcome is known; the reply is being written */
    STAGE_ENDED,
};

struct transaction {
    struct worker *worker;
    struct session *session; /* NULL: the client is gone */
    struct inet_endpoint client;
    enum stage stage;
    struct ref ref;
    char ref_text[REF_SIZE];
    int64_t started_at_ms;
    struct arena arena;
    struct smtp_mail mail;
    uint64_t fingerprint; /* with the first recipient, when that has come */
    bool is_suspect;      /* for all its recipients then */

    /* the destination: fixed by the first accepted recipient */
    struct recipient_route route;
    struct destination_walk *walk;
    unsigned next_destination; /* the next one that may be tried for the recipient at hand */
    struct spool_recipient *recipients;
    unsigned recipient_count, recipient_cap;
    unsigned live_count; /* of them, on the backend's side; the others are ours */
    bool is_away;        /* the backend, for what is left of this transaction */
    bool has_unknown;    /* one was accepted of whom neither backend nor state has said that it is
                            valid */

    /* the recipient at hand */
    bool pending;
    struct smtp_rcpt rcpt;
    char rcpt_key[SMTP_PATH_SIZE];
    uint32_t rcpt_customer_id; /* 0: nobody's */
    bool is_listed;            /* registered by the customer, so known valid */
    int64_t must_wait_ms;      /* a first contact in fallback mode, unless the primary is down */
    enum decision_known known;
    bool is_memory_silent;              /* the state process has not said what it knows */
    struct state_capabilities kept_for; /* what its backends offered, all together */
    unsigned kept_for_asked;
    bool known_down;
    struct smtp_reply away_reply;
    int64_t rcpt_at_ms;        /* of the loop */
    struct state_query *query; /* while it runs, what the backend has said stands */
    struct smtp_reply said;    /* of the backend, until it is known of whom */
    enum smtp_phase said_phase;

    struct transaction_policy {
        struct state_query *query; /* ban or greylist */
        bool is_waiting;           /* the recipient at hand, for a fact */
        int64_t wait_ms;           /* a first contact */
        bool is_bounce_counted;
        /* What is thought of the sender for the recipient at hand, and for the last one that was
         * accepted: those of one message are of one customer. */
        struct transaction_screen {
            bool is_there;
            enum policy_fact ban, greylist;
            struct screen screen;
        } at_hand, accepted;
        unsigned marks, unsure;  /* bits of checks, over the accepted recipients */
        bool is_verified;        /* the sender, for a failure notice (P4) */
        bool is_spam;            /* as a content scanner says */
        const char *client_name; /* that leads back to its address; NULL: not known */
    } policy;

    struct transaction_origin {
        enum transaction_origin_state {
            TRANSACTION_ORIGIN_NOT_WANTED,
            TRANSACTION_ORIGIN_WANTED,
            TRANSACTION_ORIGIN_WAITS, /* for facts */
            TRANSACTION_ORIGIN_DONE,
            TRANSACTION_ORIGIN_REFUSED,
        } state;
        struct smtp_origin *text;
        struct sender_facts *facts; /* NULL: it cannot be recovered */
    } origin;

    struct backend_wait *wait;
    struct backend_link *link;
    unsigned link_rcpts;                 /* given to the link in this transaction */
    unsigned chosen;                     /* of the walk's destinations, the link's */
    int64_t asked_at_ms;                 /* since then the link waits for the client (loop clock) */
    bool data_sent;                      /* the link cannot be had back by RSET any more */
    bool was_retried;                    /* lost while a RCPT was asked, and made anew */
    struct inet_endpoint backend;        /* of the link, also when that is gone */
    char backend_reply[200];             /* what it said last that was decided by, cut; "" */
    char backend_name[INET_DOMAIN_SIZE]; /* as its banner says */
    char backend_tls[16];                /* "TLSv1.3"; "": in the clear */
    bool link_answered; /* the backend has answered something in this transaction */
    /* The link has been given away, or lost, with recipients in it: all is said again in one burst
     * when the content is whole (DESIGN 4.5). */
    bool must_replay;
    struct transaction_replay {
        unsigned next;         /* the recipient that is answered next */
        unsigned taken;        /* by the backend this time */
        enum smtp_class worst; /* of those that were not; a `later` goes before a refusal */
        struct smtp_reply worst_reply;
        bool had_ours; /* before it */
    } replay;

    bool mail_refused;
    enum smtp_class mail_class;
    struct smtp_reply mail_reply;

    struct body own_body, *body;   /* the one that counts: filters may have changed the content */
    struct transaction_scan *scan; /* NULL: nobody was asked */
    int64_t dot_at_ms;             /* of the loop */
    struct smtp_header_scan header;
    struct smtp_auth_results auth_results;
    uint64_t content_bytes; /* that have come; the body has what of them is kept */
    bool too_big, content_ended;
    struct buf prepend;
    uint64_t streamed_bytes;
    const struct body_chunk *stream_chunk; /* of a body in memory, */
    struct slice stream_rest;              /* and what of it was not sent */
    bool is_streaming, stream_reading, dot_sent;
    unsigned in_flight;
    bool is_in_flight;
    bool is_prepared;        /* its prepared record is durable */
    struct loop_timer timer; /* the time at the dot */
    struct late *late;       /* listens on for the answer to the dot */
    /* What is said when the resolution of the prepared record is durable. */
    struct smtp_reply resolved_reply;

    /* an answer given while the engine's operation is still on the stack is handed back by that
     * operation */
    bool in_operation, answered;
    struct smtp_reply answer;
};
_Static_assert(sizeof(struct transaction) <= 8 * 1024, "thousands that stall each hold one (P8)");

/* --- transaction.c */
bool transaction_enter_flight(struct transaction *t); /* false: the worker's column is full */
void transaction_leave_flight(struct transaction *t);
/* Lets go of everything that could call back, and frees after the turn. */
void transaction_close(struct transaction *t);
/* Answers the operation that waits, or is just running. */
void transaction_answer(struct transaction *t, const struct smtp_reply *reply);
/* What an operation returns at its end: DONE with the answer that was given meanwhile, else WAIT.
 */
enum smtp_step transaction_operation_end(struct transaction *t, struct smtp_reply *reply);
/* The customer's use of the day. */
void transaction_use(struct transaction *t, uint32_t customer_id, enum shared_use use,
                     uint64_t amount);
/* `verdict`: the word of smtp_verdict.def; "refused" when the backend did it. */
void transaction_record_refusal(struct transaction *t, const char *verdict,
                                const struct smtp_reply *reply);
void transaction_record_message(struct transaction *t, const char *verdict,
                                const struct smtp_reply *reply);
/* The backend's word by which is decided now; NULL: there was none. */
void transaction_note_reply(struct transaction *t, const struct smtp_reply *reply);
void transaction_log_duplicate(struct transaction *t, const char *why);
enum decision_side transaction_side(const struct transaction *t);

/* --- transaction_link.c */
extern const struct backend_user_ops transaction_link_ops;
/* Gets a link to the chosen backend: transaction_begin_rcpt or transaction_replay_begin follows, at
 * once or later; or, if there is none, transaction_ask or the verdict. */
void transaction_link_take(struct transaction *t);
/* Gives it back; with recipients in it they must be said again. */
void transaction_link_let_go(struct transaction *t);
/* In an order from which no RSET leads back, or of no more use. */
void transaction_link_drop(struct transaction *t);
/* A connection that stood already and has not answered anything in this transaction. */
bool transaction_link_is_stale(const struct transaction *t);

/* --- transaction_policy.c */
/* A recipient has come: nothing is known of it yet. */
void transaction_policy_begin(struct transaction *t);
void transaction_policy_cancel(struct transaction *t);
enum transaction_policy_step {
    TRANSACTION_POLICY_ACCEPTS,
    TRANSACTION_POLICY_WAITS,   /* transaction_judge_rcpt follows */
    TRANSACTION_POLICY_REFUSES, /* with *reply, of transaction_policy_word */
};
const char *transaction_policy_word(const struct transaction *t); /* the verdict's */
enum transaction_policy_step transaction_policy_judge(struct transaction *t,
                                                      const struct recipient_route *route,
                                                      struct smtp_reply *reply);
/* The recipient at hand has been accepted. */
void transaction_policy_accepted(struct transaction *t);
/* The recipient at hand does not exist: who bounces to many such is banned. */
void transaction_policy_unknown(struct transaction *t);
/* The message is with the customer, or kept for it: who brings good mail is not. */
void transaction_policy_taken(struct transaction *t);
/* What was thought of the sender, for an event: of the message, or of the recipient at hand. */
void transaction_policy_event(struct transaction *t, bool is_message, struct buf *json);
/* The header fields that say so. */
void transaction_policy_header(struct transaction *t, struct buf *header);
/* The client's name, if it was looked up and leads back to its address; "". */
const char *transaction_policy_client_name(const struct transaction *t);

/* --- transaction_origin.c */
/* A recipient has been accepted. */
void transaction_origin_begin(struct transaction *t);
void transaction_origin_feed(struct transaction *t, struct slice piece);
void transaction_origin_cancel(struct transaction *t);
/* The content is whole.  False: transaction_settle_content follows, or the refusal. */
bool transaction_origin_is_settled(struct transaction *t);

/* --- transaction_scan.c */
/* The content is whole.  False: transaction_settle_content follows, or the refusal. */
bool transaction_scan_is_settled(struct transaction *t);
bool transaction_scan_is_running(const struct transaction *t);
bool transaction_scan_has_refused(const struct transaction *t);
/* Why the message is to be held; "" it is not. */
const char *transaction_scan_hold(const struct transaction *t);
/* The fields that filters have added. */
void transaction_scan_header(const struct transaction *t, struct buf *header);
/* Lets go of all, also of a changed content. */
void transaction_scan_end(struct transaction *t);
/* What each filter said, as items of "checks"; *gap: what stands before the next one. */
void transaction_scan_event(const struct transaction *t, struct buf *json, const char **gap);

/* --- transaction_route.c */
/* A recipient is about to be asked for, and none has been accepted: from the first destination.
 * `backends`: those of the route, copied. */
void transaction_route_begin(struct transaction *t, const struct registry_backend *backends);
/* Chooses the next destination that may be asked now.  DESTINATION_WAIT: transaction_ask follows.
 */
enum destination_step transaction_route_next(struct transaction *t);
const struct destination *transaction_destination(const struct transaction *t); /* chosen */
/* Why a backend was passed over that has no address; "" if none was. */
const char *transaction_route_why(const struct transaction *t);
/* --- transaction_memory.c */
/* The recipient at hand is of a known route: transaction_ask follows, or its refusal. */
void transaction_memory_begin(struct transaction *t);
/* Its backend cannot answer: transaction_resolve follows, or its refusal. */
void transaction_memory_away(struct transaction *t, bool known_down);
/* As t->query: what is known of it? */
void transaction_memory_ask(struct transaction *t, state_on_answer on_answer);
enum decision_known transaction_memory_known(const struct transaction *t,
                                             const struct state_answer *answer);
/* It must wait, and the primary is up. */
void transaction_memory_refuse_first_contact(struct transaction *t);

/* --- transaction_rcpt.c */
/* The recipient at hand: is it known whose it is, and what its customer thinks of the sender, so
 * that it can be asked for?  Answers, begins to ask, or waits. */
void transaction_judge_rcpt(struct transaction *t);
/* `reply` is one of ours, with the text of its verdict in front. */
void transaction_refuse(struct transaction *t, const struct smtp_reply *reply);
/* What may wait of the customer's mail. */
struct shared_kept transaction_quota(const struct transaction *t);
void transaction_refuse_verdict(struct transaction *t, enum smtp_verdict verdict);
/* Asks about the recipient at hand whoever is next. */
void transaction_ask(struct transaction *t);
/* The link is there: MAIL, and the recipient at hand. */
void transaction_begin_rcpt(struct transaction *t);
void transaction_take_rcpt_reply(struct transaction *t, enum smtp_phase phase,
                                 enum smtp_class class, const struct smtp_reply *reply);
void transaction_lost_at_rcpt(struct transaction *t, bool is_stale);

/* --- transaction_replay.c */
void transaction_replay_start(struct transaction *t);
void transaction_replay_begin(struct transaction *t); /* the link is there */
/* Nobody is left that the backend has taken. */
void transaction_replay_without_live(struct transaction *t);
void transaction_take_replay_reply(struct transaction *t, enum smtp_phase phase,
                                   enum smtp_class class, const struct smtp_reply *reply);

/* --- transaction_keep.c */
/* To the spool with all recipients that are left, and then the answer. `flags`: enum spool_flag. */
void transaction_commit(struct transaction *t, uint32_t flags, const struct smtp_reply *why);
/* The record of a transaction of both sides; transaction_stream follows, or the verdict. */
void transaction_prepare(struct transaction *t);
/* The prepared record never was; when that is durable, `reply` is said. */
void transaction_cancel(struct transaction *t, const struct smtp_reply *reply);
/* All its recipients are to be delivered; then the 250. */
void transaction_confirm_all(struct transaction *t, bool is_unknown);
/* Nobody waits for it. */
void transaction_resolve_silently(struct transaction *t, enum spool_resolution_kind kind);

/* --- transaction_rcpt.c */
/* What the backend said, or that it cannot say anything, decides over the recipient at hand. */
void transaction_resolve(struct transaction *t, struct decision_rcpt_input input);

/* --- transaction_health.c */
/* The backend has answered for the recipient at hand.  True: it is watched and has refused; the
 * recipient is resolved later. */
bool transaction_health_hears(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                              const struct smtp_reply *reply);
/* Away or lost, behind MAIL, on a link that had not been reused for it. */
void transaction_health_broke(struct transaction *t);
void transaction_health_completed(struct transaction *t); /* the dot was answered */
/* The recipient at hand is known valid, and its backends are not asked: those that refuse, and
 * whose probe is overdue, are probed with it. */
void transaction_health_probe(struct transaction *t);
/* The sender has waited so long for the recipient at hand that no further backend is tried. */
bool transaction_health_is_late(const struct transaction *t);

/* --- transaction_forward.c */
/* Just before MAIL is said on t->link. */
void transaction_forward(struct transaction *t);

/* --- transaction_dot.c */
/* What the customer takes, and what the envelope of its record may need. */
uint64_t transaction_max_content_bytes(const struct transaction *t);
uint32_t transaction_max_envelope_bytes(const struct transaction *t);
/* Answers DATA when the content has its place, or can have none. */
void transaction_settle_data(struct transaction *t);
/* Goes on when the content is whole and a large one has its place. */
void transaction_settle_content(struct transaction *t);
/* The last word: `kept` says that the message is at the backend or in the spool, whatever the
 * client hears. */
void transaction_finish(struct transaction *t, enum shared_counter counter, const char *word,
                        bool kept, const struct smtp_reply *reply);
void transaction_finish_verdict(struct transaction *t, enum smtp_verdict verdict);
/* The class of the dot's reply, of DATA's, or of their absence, decides. */
void transaction_decide_dot(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                            const struct smtp_reply *backend_reply);
void transaction_on_want_content(void *ctx);

/* --- transaction_stream.c */
/* The content goes to the backend, which wants it, and behind it the dot. */
void transaction_stream(struct transaction *t);
void transaction_on_drained(void *ctx);

#endif
