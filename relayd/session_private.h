/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a session, shared by its files: session.c (life, moving bytes), session_greet.c
 * (before the greeting), session_ops.c (the engine's operations), session_event.c (what is told at
 * its end).
 */
#ifndef RELAYD_SESSION_PRIVATE_H
#define RELAYD_SESSION_PRIVATE_H

#include "net/conn.h"
#include "relayd/allowance.h"
#include "relayd/session.h"
#include "relayd/session_clock.h"
#include "relayd/transaction.h"

enum session_stage {
    SESSION_STAGE_PROXY, /* the first octets are a header of the PROXY protocol */
    SESSION_STAGE_GREET, /* the greeting is held back (greet-wait) */
    SESSION_STAGE_OPEN,  /* the engine has them */
    SESSION_STAGE_TLS,   /* the handshake behind STARTTLS */
};

enum session_note {                                /* beside the engine's own (smtp_server_notes) */
                    SESSION_NOTE_EARLY_TALKER = 1, /* talked before the greeting */
                    SESSION_NOTE_PROXIED = 2,
                    SESSION_NOTE_XCLIENT = 4,
                    SESSION_NOTE_NOT_READING = 8, /* reading stopped: our replies were not read */
};

/* Why it ended; the words are session_event.c's. */
enum session_why {
    SESSION_END_NONE,
    SESSION_END_QUIT,
    SESSION_END_CLOSED, /* the client closed its side */
    SESSION_END_LOST,
    SESSION_END_TIMEOUT,
    SESSION_END_SLOW,
    SESSION_END_IDLE,    /* no progress */
    SESSION_END_STOPPED, /* the worker ends */
    SESSION_END_LIMIT,   /* a 421 of the engine or of an operation */
    SESSION_END_EARLY_TALKER,
    SESSION_END_NO_HEADER,
    SESSION_END_TLS,     /* the handshake failed, or took too long */
    SESSION_END_REFUSED, /* 421 in place of the greeting */
};

struct session {
    struct worker *worker;
    struct session *next, *previous;
    struct conn *conn;          /* NULL: it has ended */
    struct smtp_server *engine; /* NULL before the greeting */
    struct transaction *transaction;
    struct allowance allowance;
    struct sender_facts *facts; /* NULL: not asked for yet */
    struct session_clock clock;
    int64_t opened_at_ms;           /* wall clock */
    struct inet_endpoint peer;      /* the client, as proxies and XCLIENT say */
    struct inet_endpoint connected; /* who really connected */
    uint32_t commands_seen;         /* of the engine's count, by the clock */
    uint32_t messages, recipients;
    uint32_t fed_bytes; /* of the input, what the engine was given last */
    enum session_stage stage : 8;
    enum session_why why : 8;
    uint8_t notes;   /* enum session_note */
    bool is_entered; /* counted in at arrival */
    bool paused, processing;
    bool is_stuck; /* reading is stopped until the client has read our replies */
};

/* --- session.c */
/* Ends it; the memory goes after the turn. */
void session_end(struct session *s, enum session_why why, bool send_output);
/* Lets go of the transaction, if there is one. */
void session_drop_transaction(struct session *s);
void session_progress(struct session *s); /* a recipient was accepted, a message is whole */
/* For an operation of the engine: the client has sent more than the engine was given. */
bool session_has_more(const struct session *s);

/* The engine gets what has come, what it says goes out; the session may have ended by then. */
void session_process(struct session *s);
void session_keep_time(struct session *s); /* after whatever may have changed the phase */

/* --- session_greet.c */
void session_greet_start(struct session *s, bool by_proxy);
void session_greet_input(struct session *s);
void session_greet_timeout(struct session *s);
/* In place of the greeting. */
void session_greet_refuse(struct session *s, enum session_why why, enum smtp_verdict verdict);

/* --- session_ops.c */
extern const struct smtp_server_ops session_ops;
unsigned session_offers(const struct session *s);

/* --- session_event.c */
void session_record_end(struct session *s);

#endif
