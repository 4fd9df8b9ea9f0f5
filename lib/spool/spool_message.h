/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A message of the store as it is in memory: what decides where it goes and when, in few octets,
 * since there may be a million.  What most messages do not have hangs beside it; ask by the
 * functions below.  Its envelope is on the disk: spool_store_envelope.
 */
#ifndef SPOOL_MESSAGE_H
#define SPOOL_MESSAGE_H

#include "spool/spool_record.h"
#include "spool/spool_segment.h"

enum spool_end { /* the recorded end of a recipient (P2) */
                 SPOOL_END_NONE,
                 SPOOL_END_DELIVERED,
                 SPOOL_END_REFUSED, /* a late 5xx, not returned (P4) */
                 SPOOL_END_EXPIRED,
                 SPOOL_END_RETURNED,
                 SPOOL_END_REMOVED,   /* by a named operator with a reason */
                 SPOOL_END_CANCELLED, /* of a prepared record that came to nothing: the sender got
                                         the backend's answer, or none */
};
const char *spool_end_word(enum spool_end end);

struct spool_store_segment;
struct spool_store_note;

struct spool_recipient_detail { /* of one recipient, where they differ */
    const char *domain, *reply; /* reply: "" while it is open */
    int64_t ended_at_ms;
    uint8_t end, side;
    bool is_of_dot; /* delivered while the record was prepared: it was never kept */
};

struct spool_detail {                          /* what few messages have */
    struct spool_recipient_detail *recipients; /* NULL: one domain, all SPOOL_OURS, all open */
    struct spool_store_note *notes;            /* oldest first */
    const char *hold_reason;
    int64_t listens_until_ms;
    uint32_t redirect;
    bool is_extended; /* the deadline is not the envelope's */
    bool has_listens; /* the ledger has said whether it is unknown and listened for */
};

struct spool_tries { /* of one that has been tried */
    unsigned attempts;
    unsigned unknowns;                              /* attempts whose dot was never answered */
    int64_t last_attempt_at_ms, next_attempt_at_ms; /* next: 0 as soon as its route permits */
    const char *last_reply;                         /* whoever was asked */
};

struct spool_message { /* borrowed from the store; gone after the clean job that removed it */
    struct ref ref;
    int64_t received_at_ms;
    int64_t expires_at_ms; /* the envelope's, or as extended */
    uint64_t record_offset, body_bytes;
    const char *customer, *domain; /* domain: of all its recipients; NULL: they differ */
    struct spool_store_segment *segment;
    struct spool_tries *tries;   /* NULL: it has not been tried */
    struct spool_detail *detail; /* NULL: nothing is unusual */
    void *user;                  /* the keeper's own */
    uint32_t customer_id;
    uint32_t number; /* the store's */
    uint16_t flags;  /* enum spool_flag, of the envelope */
    uint16_t recipient_count;
    uint16_t open_count;        /* recipients without an end */
    bool held : 1, offered : 1; /* offered: a dot was sent in an attempt whose outcome is not
                                   recorded */
    bool prepared : 1; /* its worker has not said yet whether it counts: not to be attempted */
    bool unknown : 1;  /* the backend may have those concerned already */
    bool has_live : 1; /* a recipient is SPOOL_LIVE */
    bool damaged : 1;  /* the body or the envelope does not match its checksum */
};

/* --- Of the message. Texts are borrowed until its state changes. */

static inline unsigned
spool_message_attempts(const struct spool_message *m)
{
    return m->tries ? m->tries->attempts : 0;
}

/* Attempts whose dot was never answered. */
static inline unsigned
spool_message_unknowns(const struct spool_message *m)
{
    return m->tries ? m->tries->unknowns : 0;
}

static inline int64_t
spool_message_last_attempt_at_ms(const struct spool_message *m)
{
    return m->tries ? m->tries->last_attempt_at_ms : 0;
}

/* 0: as soon as its route permits. */
static inline int64_t
spool_message_next_attempt_at_ms(const struct spool_message *m)
{
    return m->tries ? m->tries->next_attempt_at_ms : 0;
}

/* Of the last attempt, whoever was asked; "" before. */
static inline const char *
spool_message_last_reply(const struct spool_message *m)
{
    return m->tries ? m->tries->last_reply : "";
}

/* Its worker still may hear of those concerned; 0: it does not listen. */
static inline int64_t
spool_message_listens_until_ms(const struct spool_message *m)
{
    return m->detail ? m->detail->listens_until_ms : 0;
}

/* "" unless held. */
static inline const char *
spool_message_hold_reason(const struct spool_message *m)
{
    return m->detail ? m->detail->hold_reason : "";
}

/* The number of the customer's backend that it goes to, whatever its route; 0: none. */
static inline uint32_t
spool_message_redirect(const struct spool_message *m)
{
    return m->detail ? m->detail->redirect : 0;
}

struct spool_segment_id spool_message_segment(const struct spool_message *m);

/* --- Of a recipient, by its index in the envelope. */

static inline const struct spool_recipient_detail *
spool_message_recipient(const struct spool_message *m, unsigned recipient)
{
    return m->detail && m->detail->recipients ? &m->detail->recipients[recipient] : NULL;
}

static inline enum spool_end
spool_message_end(const struct spool_message *m, unsigned recipient)
{
    const struct spool_recipient_detail *r = spool_message_recipient(m, recipient);

    return r ? (enum spool_end)r->end : SPOOL_END_NONE;
}

static inline bool
spool_message_is_open(const struct spool_message *m, unsigned recipient)
{
    return spool_message_end(m, recipient) == SPOOL_END_NONE;
}

/* 0 while it is open. */
static inline int64_t
spool_message_ended_at_ms(const struct spool_message *m, unsigned recipient)
{
    const struct spool_recipient_detail *r = spool_message_recipient(m, recipient);

    return r ? r->ended_at_ms : 0;
}

/* It is of a mixed message whose backend took it at the dot; its end is the sender's answer. */
static inline bool
spool_message_ended_at_dot(const struct spool_message *m, unsigned recipient)
{
    const struct spool_recipient_detail *r = spool_message_recipient(m, recipient);

    return r != NULL && r->is_of_dot;
}

/* The backend's last answer for it, or why it could not be asked; "". */
static inline const char *
spool_message_reply(const struct spool_message *m, unsigned recipient)
{
    return spool_message_is_open(m, recipient) ? spool_message_last_reply(m)
                                               : spool_message_recipient(m, recipient)->reply;
}

/* Normalised: the route is looked up by it. */
static inline const char *
spool_message_domain(const struct spool_message *m, unsigned recipient)
{
    return m->domain ? m->domain : m->detail->recipients[recipient].domain;
}

static inline enum spool_side
spool_message_side(const struct spool_message *m, unsigned recipient)
{
    return m->has_live ? (enum spool_side)m->detail->recipients[recipient].side : SPOOL_OURS;
}

/* Whether the late answer to an unknown outcome is this recipient's too. */
static inline bool
spool_message_is_concerned(const struct spool_message *m, unsigned recipient)
{
    return !m->has_live || spool_message_side(m, recipient) == SPOOL_LIVE;
}

/* It is open, and not to be attempted until its worker has said what became of it. */
static inline bool
spool_message_awaits(const struct spool_message *m, unsigned recipient)
{
    return spool_message_is_open(m, recipient) &&
           (m->prepared ||
            (spool_message_listens_until_ms(m) != 0 && spool_message_is_concerned(m, recipient)));
}

/* It is open, and all that is open awaits. */
bool spool_message_awaits_all(const struct spool_message *m);

#endif
