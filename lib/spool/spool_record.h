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
    SPOOL_RECORD_MESSAGE = 1,    /* envelope and body */
    SPOOL_RECORD_RESOLUTION = 2, /* spool_resolution.h, in the envelope's place; no body */
};

/* A side decides in two cases: in a prepared record, as spool_resolution.h has it; and in one
 * flagged UNKNOWN, where it tells whom the backend may have, so whom a late answer concerns and who
 * waits while it is listened for: the LIVE ones, or all if none is.  In any other record each
 * recipient is to be delivered, whatever its side. */
enum spool_side {
    SPOOL_OURS, /* we answered for this recipient */
    SPOOL_LIVE, /* the backend was asked for it */
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
    SPOOL_FLAG_PREPARED = 8,     /* outcome still open; a resolution decides. Without UNKNOWN and
                                    LISTENING */
    SPOOL_FLAG_SMTPUTF8 = 16,    /* MAIL had SMTPUTF8 (RFC 6531) */
    SPOOL_FLAG_UTF8_HEADER = 32, /* and the header has octets above 0x7f: it goes to a backend that
                                    offers SMTPUTF8, or to none */
    SPOOL_FLAG_LISTENING = 64, /* with UNKNOWN: its writer goes on reading the backend's connection
                                  for SPOOL_LISTEN_MS at most, and says then what has come: the
                                  recipients that may be there already are not tried until it has,
                                  or is gone, or SPOOL_LISTEN_GRACE_MS after its time is up */
    SPOOL_FLAG_KNOWN = 128,    /* all its recipients were known valid when it was taken */
    SPOOL_FLAG_HELD = 512,     /* it begins as held, for `reason` */
    SPOOL_FLAG_OWN = 256, /* mail of our own (spool_own.h): nobody is told what becomes of it */
};

#define SPOOL_LISTEN_MS (10 * 60 * 1000)
#define SPOOL_LISTEN_GRACE_MS (30 * 1000)

/* What a notice is about.  Its record is the proof that these recipients have ended, should the
 * ledger not have come to say so. */
struct spool_about_end {
    uint16_t recipient;
    uint8_t end; /* enum spool_end */
};
struct spool_about {
    struct ref ref; /* of the message; node 0: it is about none */
    struct spool_about_end *ends;
    unsigned end_count;
};

struct spool_envelope {
    struct ref ref;
    int64_t received_at_ms; /* wall clock */
    int64_t expires_at_ms;
    int64_t committed_at_ms; /* wall clock; the writer sets it */
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
    struct spool_about about; /* of mail of our own */
};

#define SPOOL_ENVELOPE_MAX (1024 * 1024)
#define SPOOL_RECIPIENTS_MAX 1000

void spool_envelope_encode(const struct spool_envelope *envelope, struct buf *out);
/* Everything is copied into `arena`; what an older version's record lacks is as if it had not been
 * given. ERR_CORRUPT, ERR_VERSION, ERR_LIMIT. */
MUST_USE int spool_envelope_decode(struct slice encoded, struct arena *arena,
                                   struct spool_envelope *envelope);

/* What decides where a message goes and when, without its texts: nothing is copied. */
struct spool_facts {
    struct ref ref;
    int64_t received_at_ms, expires_at_ms, committed_at_ms;
    uint32_t customer_id, flags;
    struct slice customer, reason;
    unsigned recipient_count;
    struct slice domain;           /* of the first recipient */
    bool has_one_domain, has_live; /* each is of it; one is SPOOL_LIVE */
    struct slice recipients;       /* for spool_facts_each_recipient */
    uint16_t version;
};
/* Slices are borrowed from `encoded`.  Takes and refuses what spool_envelope_decode does, but for
 * ERR_LIMIT. */
MUST_USE int spool_envelope_facts(struct slice encoded, struct spool_facts *facts);
void spool_facts_each_recipient(const struct spool_facts *facts,
                                void (*each)(void *ctx, unsigned i, struct slice domain,
                                             enum spool_side side),
                                void *ctx);
/* The reference or the customer's name alone (borrowed), without decoding the rest. ERR_CORRUPT,
 * ERR_VERSION. */
MUST_USE int spool_envelope_peek_ref(struct slice encoded, struct ref *ref);
MUST_USE int spool_envelope_peek_customer(struct slice encoded, struct slice *customer);

#endif
