/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Delivery status notifications: what a sender is told of a message that was taken and could not be
 * delivered (RFC 3464 in a multipart/report, RFC 3462; RFC 6533 for addresses beyond ASCII).
 * Whether it may be told at all (P4) is the caller's to judge, and so is RFC 3461 NOTIFY.
 *
 * The text goes to a stranger: nothing of the destination's servers is in it but what they said.
 */
#ifndef SMTP_DSN_H
#define SMTP_DSN_H

#include "base/buf.h"
#include "base/ref.h"
#include "smtp/smtp_reply.h"

enum smtp_dsn_action { SMTP_DSN_FAILED, SMTP_DSN_DELAYED, SMTP_DSN_RELAYED };

struct smtp_dsn_recipient {
    const char *address;
    const char *orcpt;           /* "type;xtext" as it came (RFC 3461 4.2); "": none */
    struct smtp_enhanced status; /* class 0: by the action, x.0.0 */
    const char *said;           /* the server's last reply, code and text; "": it was not reached */
    const char *why;            /* one plain sentence, for people */
    int64_t last_attempt_at_ms; /* 0: none was made */
};

struct smtp_dsn { /* borrows everything */
    enum smtp_dsn_action action;
    const char *hostname;     /* ours */
    const char *from;         /* the setting notice-from */
    const char *reverse_path; /* the message's: who is told; not "" */
    const char *envid;        /* xtext as it came (RFC 3461 4.4); "": none */
    struct ref ref;           /* the message's: sender and operator can name it */
    uint64_t random[2];       /* unknown to whoever wrote the message: of boundary and Message-ID */
    int64_t now_ms, arrived_at_ms;
    int64_t until_ms; /* delayed: how long it is tried */
    const struct smtp_dsn_recipient *recipients;
    unsigned recipient_count;
    struct slice original; /* the header, or the whole message */
    bool is_whole;         /* it is the whole message (RET=FULL) */
    bool is_smtputf8;      /* the message was, so that its sender can read UTF-8 */
};

/* Appends the whole notice, header and content, with CR LF line ends. */
void smtp_dsn_write(const struct smtp_dsn *dsn, struct buf *out);

/* What is returned of a message with RET=HDRS or none: its lines up to the first empty one, at most
 * `most` octets, ending with a line end. */
struct slice smtp_dsn_header_of(struct slice message, size_t most);

#endif
