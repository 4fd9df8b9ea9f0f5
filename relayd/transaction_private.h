/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a transaction, shared by its three files: transaction.c (life, answers, history),
 * transaction_rcpt.c (what a RCPT is answered), transaction_dot.c (what the dot is answered).
 *
 * All waiting is for one thing at a time: a link, a reply of the backend, an answer of the state
 * process, the disk. Whatever arrives calls one small function, and exactly one of them answers the
 * sender.
 *
 * Invariants: `pending` is set exactly while a RCPT waits; the recipients of a transaction are all
 * live or all ours; is_in_flight covers the time from just before the dot (or the commit) until the
 * reply has been written.
 */
#ifndef RELAYD_TRANSACTION_PRIVATE_H
#define RELAYD_TRANSACTION_PRIVATE_H

#include "relayd/backend.h"
#include "relayd/decision.h"
#include "relayd/recipient_policy.h"
#include "relayd/transaction.h"
#include "smtp/smtp_command.h"
#include "smtp/smtp_trace.h"
#include "state/shared_use.h"

#define TRANSACTION_ARENA_BYTES (512 * 1024)
#define TRANSACTION_RECIPIENTS_MAX 1000

enum stage {
    STAGE_OPEN,
    STAGE_CONTENT,
    STAGE_DELIVERING, /* DATA, content, dot are on their way to the backend */
    STAGE_COMMITTING, /* the record is on its way to the disk */
    STAGE_ANSWERING,  /* the outcome is known; the reply is being written */
    STAGE_ENDED,
};

struct transaction {
    struct worker *worker;
    struct session *session; /* NULL: the client is gone */
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
    unsigned next_backend; /* the next one that may be tried for the recipient at hand */
    struct spool_recipient *recipients;
    unsigned recipient_count, recipient_cap;
    enum spool_side side; /* of all recipients so far */

    /* the recipient at hand */
    bool pending;
    struct smtp_rcpt rcpt;
    char rcpt_key[SMTP_PATH_SIZE];
    uint32_t rcpt_customer_id; /* 0: nobody's */
    bool known_down;
    struct smtp_reply away_reply;
    struct state_query *query;
    int64_t rcpt_at_ms;        /* of the loop */
    struct smtp_reply refusal; /* of a backend that is watched, until it is known of whom */
    bool refusal_is_to_mail;

    struct backend_wait *wait;
    struct backend_link *link;
    unsigned link_rcpts;                 /* given to the link in this transaction */
    struct inet_endpoint backend;        /* of the link, also when that is gone */
    char backend_name[INET_DOMAIN_SIZE]; /* as its banner says */
    bool link_answered; /* the backend has answered something in this transaction */
    bool mail_refused;
    enum smtp_class mail_class;
    struct smtp_reply mail_reply;

    struct body body;
    struct smtp_header_scan header;
    bool too_big, content_ended;
    struct buf prepend;
    uint64_t streamed_bytes;
    bool stream_reading, dot_sent;
    unsigned in_flight;
    bool is_in_flight;

    /* an answer given while the engine's operation is still on the stack is handed back by that
     * operation */
    bool in_operation, answered;
    struct smtp_reply answer;
};

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
void transaction_record_refusal(struct transaction *t, const struct smtp_reply *reply);
void transaction_record_message(struct transaction *t, const char *verdict,
                                const struct smtp_reply *reply);
void transaction_log_duplicate(struct transaction *t, const char *why);

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

/* --- transaction_dot.c */
/* Answers DATA when the content has its place, or can have none. */
void transaction_settle_data(struct transaction *t);
/* Goes on when the content is whole and a large one has its place. */
void transaction_settle_content(struct transaction *t);
/* The class of the dot's reply, of DATA's, or of their absence, decides. */
void transaction_decide_dot(struct transaction *t, enum smtp_phase phase, enum smtp_class class,
                            const struct smtp_reply *backend_reply);
void transaction_on_want_content(void *ctx);
void transaction_on_drained(void *ctx);

#endif
