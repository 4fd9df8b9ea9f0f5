/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the spool keeps of a message: the envelope, a plain value with an encoding of its own, and
 * the content as content (no dot-stuffing, without our header lines; those stand in the envelope as
 * `prepend` and go on top at delivery).
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/inet.h"
#include "base/ref.h"

/* What a record of a segment is. */
enum spool_record_type {
    SPOOL_RECORD_MESSAGE = 1, /* envelope and body */
    SPOOL_RECORD_CONFIRM =
        2, /* reserved: a prepared record's recipients `ours` are to be delivered */
    SPOOL_RECORD_CANCEL = 3, /* reserved: a prepared record never was */
};

enum spool_side {
    SPOOL_OURS, /* we answered for this recipient: it is to be delivered */
    SPOOL_LIVE, /* the backend answers for it; only in prepared records */
};

struct spool_recipient {
    const char *address; /* as on the wire, without brackets */
    const char *domain;  /* normalised: the route is looked up by it at each attempt */
    enum spool_side side;
    uint8_t dsn_notify;    /* RFC 3461 4.1, the bits of struct smtp_rcpt; 0: none was given */
    const char *dsn_orcpt; /* "type;xtext" as it came (4.2); "" or NULL: none */
};

#define SPOOL_DSN_RET_MAX 2
#define SPOOL_DSN_NOTIFY_MAX 15

enum spool_flag {
    SPOOL_FLAG_VERIFIED = 1, /* the sender was verified at reception: a DSN may go to it (P4) */
    SPOOL_FLAG_SPAM = 2,     /* marked by a scanner: no DSN */
    SPOOL_FLAG_UNKNOWN =
        4, /* the backend may have taken it already: lost after the dot (possible duplicate) */
    SPOOL_FLAG_PREPARED = 8,     /* outcome still open; a resolution record or the ledger decides */
    SPOOL_FLAG_SMTPUTF8 = 16,    /* MAIL had SMTPUTF8 (RFC 6531) */
    SPOOL_FLAG_UTF8_HEADER = 32, /* and the header has octets above 0x7f: it goes to a backend that
                                    offers SMTPUTF8, or to none */
};

struct spool_envelope {
    struct ref ref;
    int64_t received_at_ms; /* wall clock */
    int64_t expires_at_ms;
    uint32_t customer_id;
    const char *customer; /* its name, for people */
    struct inet_endpoint client;
    const char *client_name; /* PTR, "" if none */
    const char *helo;
    const char *reverse_path; /* "" is null */
    uint8_t body;             /* enum smtp_body */
    uint32_t flags;           /* enum spool_flag */
    const char *reason;       /* why it was spooled, for people: "connection refused" */
    struct slice prepend;     /* our header lines, each with CR LF */
    uint8_t dsn_ret;          /* RFC 3461 4.3, as in struct smtp_mail; 0: none was given */
    const char *dsn_envid;    /* xtext as it came (4.4); "" or NULL: none */
    struct spool_recipient *recipients;
    unsigned recipient_count;
};

#define SPOOL_ENVELOPE_MAX (1024 * 1024)
#define SPOOL_RECIPIENTS_MAX 1000

void spool_envelope_encode(const struct spool_envelope *envelope, struct buf *out);
/* Everything is copied into `arena`; what an older version's record lacks is as if it had not been
 * given. ERR_CORRUPT, ERR_VERSION, ERR_LIMIT. */
MUST_USE int spool_envelope_decode(struct slice encoded, struct arena *arena,
                                   struct spool_envelope *envelope);
/* The reference alone, without decoding the rest. ERR_CORRUPT, ERR_VERSION. */
MUST_USE int spool_envelope_peek_ref(struct slice encoded, struct ref *ref);

#endif
