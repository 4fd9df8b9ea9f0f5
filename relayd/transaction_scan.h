/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a message's way past the filters of the setting milters, shared by its two files:
 * transaction_scan.c (asking them, and what is made of their answers), transaction_scan_edit.c (the
 * content as it reads behind their changes).
 */
#ifndef RELAYD_TRANSACTION_SCAN_H
#define RELAYD_TRANSACTION_SCAN_H

#include "milter/milter_body.h"
#include "milter/milter_client.h"
#include "milter/milter_verdict.h"
#include "relayd/body_reader.h"
#include "relayd/scanners.h"
#include "relayd/transaction_private.h"

enum scan_state {
    SCAN_HEADER,    /* is being read */
    SCAN_WAITING,   /* for the filter's turn, others are asking it */
    SCAN_ASKING,    /* `client` */
    SCAN_SETTLING,  /* its new body, or a read of it that nobody wants any more, is on the way */
    SCAN_REWRITING, /* the changed content is being written */
    SCAN_DONE,      /* the message goes on */
    SCAN_REFUSED,   /* by a filter */
    SCAN_BROKEN,    /* by us: the disk */
};

struct transaction_scan {
    struct transaction *t;
    enum scan_state state;
    int64_t until_ms; /* of the loop: then all of them have had their time */
    struct milter_header header;
    struct body_reader reader;
    struct body *now;    /* a filter's new body, without header; NULL: the content's */
    struct body *coming; /* the one that is just being received, or the changed content */
    struct buf pending;  /* what goes to `coming` as soon as that has room */
    struct milter_body ends;
    bool is_keeping;  /* `coming` becomes `now` */
    uint64_t body_at; /* where in the content the body begins */
    struct milter_question question;
    char helo[SMTP_HELO_SIZE];
    struct milter_client *client;
    struct scanners_wait wait;
    struct loop_timer timer; /* to until_ms, while it waits */
    unsigned at;             /* the filter that is asked, or is next */
    int64_t asked_at_ms;
    bool is_unreadable;
    bool is_spam, is_signed; /* as filters say */
    bool is_marked, is_unsure;
    char held_by[MILTER_NAME_SIZE + MILTER_QUARANTINE_SIZE + 2]; /* "clamav: virus"; "" nobody */
    struct scan_result {
        enum { SCAN_NOT_ASKED, SCAN_ASKED, SCAN_TOO_LARGE, SCAN_AWAY } how;
        enum milter_outcome outcome;
        bool is_held;
        int64_t ms;
        char why[SMTP_REPLY_TEXT_SIZE];
    } results[SCANNERS_MAX];
};

/* --- transaction_scan.c: what was waited for may be there. */
void transaction_scan_go_on(struct transaction_scan *s);

/* --- transaction_scan_edit.c */
/* The body as it is now, from its beginning. */
void transaction_scan_rewind(struct transaction_scan *s);
void transaction_scan_free_body(struct body **body);
/* For the talk: takes a piece of the new body. False: there is no room. */
bool transaction_scan_replace(void *ctx, struct slice piece);
bool transaction_scan_wants_more(void *ctx);
void transaction_scan_forget_body(struct transaction_scan *s); /* that is being received */
/* The new body counts from now on. False: it is not whole yet. */
bool transaction_scan_keep_body(struct transaction_scan *s);
bool transaction_scan_is_changed(const struct transaction_scan *s);
/* Writes the changed content. True: it is whole, in t->body, or failed there. */
bool transaction_scan_rewrite(struct transaction_scan *s);

#endif
