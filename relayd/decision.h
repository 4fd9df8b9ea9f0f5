/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Backend, or spool: the two tables of DESIGN section 5, "at RCPT" and "at the dot", and how a
 * backend's reply is passed on.  Pure: values in, values out; the session asks and acts.
 */
#ifndef DECISION_H
#define DECISION_H

#include "base/inet.h"
#include "registry/registry.h"
#include "smtp/smtp_client.h"
#include "state/state.h"

/* --- At RCPT. */
enum decision_backend {
    DECISION_BACKEND_ASKED,      /* `class` is what it said, or that it could not be reached */
    DECISION_BACKEND_RECOVERING, /* the same, in its first verdicts after an outage */
    DECISION_BACKEND_DOWN,       /* down, held or refusing: nothing is asked, `class` is ignored */
};

enum decision_known {
    DECISION_KNOWN_VALID,
    DECISION_KNOWN_ACCEPT_ALL, /* the domain accepts every recipient */
    DECISION_KNOWN_NOT,
    DECISION_KNOWN_INVALID,
    DECISION_KNOWN_INVALID_STALE,
    DECISION_KNOWN_COUNT
};
enum decision_known decision_known_of(enum state_recipient state);

struct decision_rcpt_input {
    enum decision_backend backend;
    enum smtp_class class;          /* of the reply to RCPT; of MAIL if that was refused */
    const struct smtp_reply *reply; /* that reply; may be NULL when the class is AWAY */
    bool reply_is_to_mail;          /* then it teaches nothing about the recipient */
    bool blames_us;                 /* decision_blames_us of the reply */
    enum decision_known known;
    bool is_picky; /* the domain is known not to accept all: an unknown recipient is learned */
    enum registry_when_down when_down;
    bool live_4xx; /* the setting: later for a known recipient is kept here */
};

enum decision_rcpt_action {
    DECISION_RCPT_LIVE,   /* `verdict` (250); the backend has it */
    DECISION_RCPT_OURS,   /* `verdict` (250); it will be spooled */
    DECISION_RCPT_PASS,   /* decision_pass_reply of the reply; `verdict` means nothing */
    DECISION_RCPT_DEFER,  /* `verdict`, 4xx */
    DECISION_RCPT_REJECT, /* `verdict`, 5xx */
};

struct decision_rcpt {
    enum decision_rcpt_action action;
    enum smtp_verdict verdict;
    bool learn_valid, learn_invalid;
};

/* A transaction may have recipients of both sides: those that the backend has taken, and those that
 * are kept here since it was away, or deferred them, later. */
/* The reply is a refusal of this very recipient: it is unknown there. */
bool decision_speaks_of_mailbox(const struct decision_rcpt_input *input);

struct decision_rcpt decision_at_rcpt(const struct decision_rcpt_input *input);

/* --- At the dot. The class of DATA counts as that of the dot. */
enum decision_side {
    DECISION_ONLY_LIVE,
    DECISION_ONLY_OURS,
    DECISION_MIXED_UNPREPARED, /* before the 354: nothing is on disk yet */
    DECISION_MIXED,
    DECISION_SIDE_COUNT
};

enum decision_event {
    DECISION_EVENT_OK, /* as enum smtp_class */
    DECISION_EVENT_REFUSED,
    DECISION_EVENT_LATER,
    DECISION_EVENT_AWAY,
    DECISION_EVENT_UNKNOWN,
    DECISION_EVENT_COMMIT_FAILED,
    DECISION_EVENT_GONE_BEFORE, /* the client, before the dot was sent on or the commit begun */
    DECISION_EVENT_GONE_AFTER,  /* the client, after that: given when the outcome is there */
    DECISION_EVENT_COUNT
};
enum decision_event decision_event_of(enum smtp_class class);

enum decision_dot_action {
    DECISION_DOT_DELIVERED,      /* `verdict`, 250 */
    DECISION_DOT_CONFIRM,        /* the same, and those that are ours go from the spool */
    DECISION_DOT_PASS,           /* decision_pass_reply; nothing is spooled */
    DECISION_DOT_CANCEL,         /* the same, once the prepared record is durably cancelled */
    DECISION_DOT_COMMIT,         /* spool all; durable: 250 queued until; failed: COMMIT_FAILED */
    DECISION_DOT_COMMIT_UNKNOWN, /* the same, and the backend may have it: keep listening, log a
                                    possible duplicate */
    DECISION_DOT_CONFIRM_ALL,    /* as COMMIT, of a record that has been prepared */
    DECISION_DOT_CONFIRM_ALL_UNKNOWN, /* as COMMIT_UNKNOWN, the same */
    DECISION_DOT_FAIL,                /* `verdict`, 4xx; nothing is spooled */
    DECISION_DOT_DROP,   /* nobody to answer; the backend gets RSET; nothing is spooled */
    DECISION_DOT_RECORD, /* nobody to answer; what became of it stands; possible duplicate */
    DECISION_DOT_RECORD_CONFIRM, /* the same, and those that are ours go from the spool */
};

struct decision_dot {
    enum decision_dot_action action;
    enum smtp_verdict verdict;
};

/* `mixed`: its record has been prepared; before that it is DECISION_MIXED_UNPREPARED. blames_us (of
 * a refusing reply) says BLAMES_US in place of the reply that would be passed. */
struct decision_dot decision_at_dot(enum decision_side side, enum decision_event event,
                                    bool blames_us);

/* --- What the content says of itself, at its end. */
#define DECISION_OWN_RECEIVED_MAX                                   \
    3 /* Received lines of ours for the domain: it goes in a circle \
       */

struct decision_content {
    bool is_too_big;
    unsigned received_count, received_max; /* Received lines, and `max-received` */
    unsigned own_received;                 /* those of ours for the same domain */
};
/* SMTP_VERDICT_OK: it may be passed on. */
enum smtp_verdict decision_of_content(const struct decision_content *content);

/* --- Replies that are passed on. */
struct decision_passing {
    const struct smtp_reply *from; /* 4xx or 5xx */
    enum smtp_phase phase;
    const struct inet_endpoint *backend; /* may be NULL */
    const char *banner_name;             /* the first word of its banner; NULL or "" for none */
    struct ref ref;
};

/* Code and enhanced code kept (x.0.0 if there was none), names and addresses of the backend
 * replaced, our reference behind. A 452 at RCPT becomes 450; codes outside 45x and 55x become 451
 * and 550. */
void decision_pass_reply(const struct decision_passing *passing, struct smtp_reply *out);

/* A 5xx whose text names one of our own addresses or names: no verdict on the sender. */
bool decision_blames_us(const struct smtp_reply *reply, const char *const *ours, size_t count);

/* A local part that asks for relaying: @ % ! / | in it, quoted or not (DESIGN section 8), or one of
 * their compatibility forms, which a server that normalises by NFKC reads as them. */
bool decision_local_part_is_relay_form(const struct smtp_path *path);

#endif
