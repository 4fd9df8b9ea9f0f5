/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What keeper and deliverer say to each other over a channel (net/channel.h).  A job is one attempt
 * of one message at one endpoint:
 *
 *   keeper                                 deliverer
 *   COURIER_JOB (segment's fd) ----------->  names the connection: one that stands, or a new one
 *   COURIER_PREPEND, COURIER_RCPTS * ----->  (in pieces: a packet is small)
 *   COURIER_GO --------------------------->  connects or reuses, MAIL, RCPT, DATA, content
 *              <---------------------------  COURIER_READY   EHLO is done: the backend lives
 *              <---------------------------  COURIER_ASK_DOT
 *   COURIER_DOT (`offered` is durable) --->  dot
 *              <---------------------------  COURIER_RESULTS *, COURIER_DONE
 *   COURIER_JOB on the same connection, or
 *   COURIER_CLOSE ----------------------->
 *              <---------------------------  COURIER_CLOSED  also of one that ends by itself
 *
 * A connection's number is that of the slot that the keeper has for it.  It holds until a
 * COURIER_CLOSED behind which no job went there: a job that finds its connection gone has another
 * one made under the same number.
 *
 * A deliverer decides nothing: it says what was answered, and in which phase it ended.
 */
#ifndef SPOOLMGR_COURIER_H
#define SPOOLMGR_COURIER_H

#include "base/config.h"
#include "base/codec.h"
#include "route/destination.h"
#include "smtp/smtp_client.h"

enum courier_message {
    COURIER_JOB = 1, /* struct courier_job; fd */
    COURIER_PREPEND, /* u32 job, bytes */
    COURIER_RCPTS,   /* u32 job, then until the end: struct courier_rcpt */
    COURIER_GO,      /* u32 job */
    COURIER_DOT,     /* u32 job */
    COURIER_CLOSE,   /* u32 link; no job is on it */
    COURIER_READY,   /* u32 job, u8 fresh */
    COURIER_ASK_DOT, /* u32 job */
    COURIER_RESULTS, /* u32 job, then until the end: struct courier_result */
    COURIER_DONE,    /* struct courier_done */
    COURIER_CLOSED,  /* u32 link; behind the DONE of its last job */
    COURIER_PING,    /* u32 0; the deliverer sends it back: it turns */
};

#define COURIER_PIECE_MAX 32768 /* of what comes in pieces */

struct courier_job { /* texts are borrowed */
    uint32_t id, link;
    struct destination to;
    struct slice reverse_path;
    uint64_t body_offset, body_bytes, body_check;
    uint8_t body;    /* enum smtp_body */
    uint32_t flags;  /* enum spool_flag */
    uint8_t dsn_ret; /* enum smtp_dsn_ret */
    struct slice dsn_envid;
    /* For a destination that trusts us: who the client was. */
    struct inet_endpoint client;
    struct slice client_name, helo, ref;
};

struct courier_rcpt { /* texts are borrowed */
    uint32_t index;   /* in the envelope */
    struct slice address;
    uint8_t dsn_notify; /* enum smtp_dsn_notify */
    struct slice dsn_orcpt;
};

struct courier_result {
    uint32_t recipient; /* its index in the envelope */
    enum smtp_class class;
    enum smtp_phase phase;
    char text[SMTP_REPLY_TEXT_SIZE + 16];
};

/* What was found where the body should lie. */
enum courier_body {
    COURIER_BODY_WHOLE,
    COURIER_BODY_DAMAGED,    /* it does not match its checksum, or ends too early */
    COURIER_BODY_UNREADABLE, /* the disk says so: it may not be for good */
    COURIER_BODY_COUNT
};

struct courier_done {
    uint32_t id;
    enum smtp_phase phase; /* in which it ended; SMTP_PHASE_DOT: all was answered */
    bool fresh;            /* on a connection made for it */
    bool lost;             /* the connection is gone, or could not be made */
    bool mail_done;        /* MAIL was answered with 2xx */
    bool timed_out;
    enum courier_body body;
    char tls[16];                         /* "TLSv1.3"; "": in the clear, or no connection */
    char text[SMTP_REPLY_TEXT_SIZE + 16]; /* why, for people */
};

void courier_put_endpoint(struct buf *b, const struct inet_endpoint *endpoint);
struct inet_endpoint courier_get_endpoint(struct decoder *d);

void courier_put_job(struct buf *b, const struct courier_job *job);
bool courier_get_job(struct slice payload, struct courier_job *job);
void courier_put_rcpt(struct buf *b, const struct courier_rcpt *rcpt);
bool courier_get_rcpt(struct decoder *d, struct courier_rcpt *rcpt);
void courier_put_result(struct buf *b, const struct courier_result *result);
bool courier_get_result(struct decoder *d, struct courier_result *result);
void courier_put_done(struct buf *b, const struct courier_done *done);
bool courier_get_done(struct slice payload, struct courier_done *done);

struct tls_client;
/* The deliverer's process; returns its exit status.  credentials NULL: none. */
int deliverer_run(const struct config *config, struct tls_client *tls,
                  const struct smtp_credentials *credentials, int keeper_fd);

#endif
