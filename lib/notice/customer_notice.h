/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a customer's staff is told of trouble with its mail (DESIGN section 5): the messages
 * themselves, in its language.  Pure; whether one is due is customer_trouble.h.
 */
#ifndef CUSTOMER_NOTICE_H
#define CUSTOMER_NOTICE_H

#include "notice/notice_language.h"
#include "spool/spool_message.h"

enum customer_notice_kind {
    CUSTOMER_NOTICE_NONE,
    CUSTOMER_NOTICE_DOWN,    /* its server takes no mail */
    CUSTOMER_NOTICE_BACK,    /* it does again, and what waited is gone */
    CUSTOMER_NOTICE_WARN_48, /* the first message expires in so many hours */
    CUSTOMER_NOTICE_WARN_12,
    CUSTOMER_NOTICE_DIGEST, /* what has ended without delivery */
};
const char *customer_notice_word(enum customer_notice_kind kind); /* "down", for logs */

enum customer_notice_why { /* its server takes no mail.  In files: numbers keep their meaning */
                           CUSTOMER_NOTICE_WHY_UNKNOWN,
                           CUSTOMER_NOTICE_WHY_CONNECT,
                           CUSTOMER_NOTICE_WHY_TIMEOUT,
                           CUSTOMER_NOTICE_WHY_GREETING,
                           CUSTOMER_NOTICE_WHY_LOST,
                           CUSTOMER_NOTICE_WHY_TLS,
                           CUSTOMER_NOTICE_WHY_BROKEN,
                           CUSTOMER_NOTICE_WHY_REFUSES,
                           CUSTOMER_NOTICE_WHY_NAME,
                           CUSTOMER_NOTICE_WHY_COUNT
};

/* One message that has ended without delivery.  Texts are of others, as they came. */
struct customer_failure {
    int64_t at_ms;
    enum spool_end end; /* the worst of its recipients': not delivered, not cancelled */
    bool is_sender_told;
    const char *ref, *sender, *recipients, *reason; /* sender "": the null reverse-path */
};

struct customer_notice { /* borrows everything */
    enum customer_notice_kind kind;
    enum notice_language language;
    const char *customer;                     /* its name */
    const char *hostname, *from, *postmaster; /* ours; whom to ask */
    const char *to;
    uint64_t random[2]; /* of the Message-ID */
    int64_t now_ms;
    /* Of the outage; since_ms 0: there is none. */
    int64_t since_ms, back_at_ms;
    enum customer_notice_why why;
    const char *servers; /* "192.0.2.10:25" */
    const char *backend; /* one of them, as relayctl names it; "": none */
    uint64_t delivered, failed;
    bool is_up; /* it takes mail now; false without an outage: nobody can say */
    /* What waits. */
    uint64_t messages, bytes, unheard; /* unheard: whose senders may not be told (P4) */
    uint64_t first_messages;           /* of them with the first deadline */
    int64_t first_expires_at_ms;       /* to come; 0: there is none */
    /* Digest. */
    const struct customer_failure *failures;
    size_t failure_count;
    uint64_t more; /* that are not listed */
};

/* Appends the whole message, header and content, in ASCII but for `to` (the text is UTF-8,
 * quoted-printable), with CR LF line ends. */
void customer_notice_write(const struct customer_notice *notice, struct buf *out);

#endif
