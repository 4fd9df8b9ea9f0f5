/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Our Received line (RFC 5321 4.4) and the look at the header of a message in passage: how many
 * Received lines, is there a header at all.
 */
#ifndef SMTP_TRACE_H
#define SMTP_TRACE_H

#include "base/buf.h"
#include "base/inet.h"
#include "base/ref.h"

struct smtp_trace {
    const char *helo_name;   /* printable ASCII; from a peer, cleaned again here */
    const char *client_name; /* from the PTR, or "" */
    const struct inet_endpoint *client;
    const char *hostname; /* ours */
    const char *domain;   /* of the first recipient; "" or NULL: none, and no loop is seen by it */
    const char *tls_version; /* "TLSv1.3"; "" or NULL: plain */
    const char *tls_cipher;  /* its name */
    bool is_esmtp;           /* "with ESMTP", ESMTPS with TLS; else "with SMTP" */
    bool is_smtputf8;        /* MAIL said SMTPUTF8: UTF8SMTP, UTF8SMTPS (RFC 6531 4.3) */
    struct ref ref;
    const char *only_recipient; /* "for <...>", NULL when there are several */
    int64_t received_at_ms;     /* wall clock */
};

/* RFC 5321 4.4, three lines:
 *   "Received: from HELO (PTR [192.0.2.1])\r\n\tby HOST (Postern DOMAIN) with ESMTPS id REF"
 *   " (TLSv1.3 CIPHER)\r\n\tfor <a@b.example>; DATE\r\n", or without a recipient
 *   "...id REF;\r\n\tDATE\r\n".
 * Never a control octet other than those; octets that no host name has are written as '?', an empty
 * name as "unknown"; a recipient that is no mailbox, or not in ASCII without SMTPUTF8, is left out.
 */
void smtp_trace_write(const struct smtp_trace *trace, struct buf *out);

/* Fed with content in any cut; cheap after the header has ended; its memory is this. */
#define SMTP_HEADER_MESSAGE_ID 200
#define SMTP_HEADER_SCAN_TOKEN 272 /* "DOMAIN)" and the like */
struct smtp_header_scan {
    unsigned received_count;
    unsigned own_received; /* Received lines of ours for `domain`: "by HOST (Postern DOMAIN) with X
                              id REF", REF a reference; three are a loop */
    bool saw_8bit;         /* an octet above 0x7f in the header (RFC 6532: it needs SMTPUTF8) */
    bool header_ended;
    bool first_line_is_header; /* false: the content begins with something else, and ours is
                                  followed by an empty line then; true as well for a header of no
                                  line (the empty line comes first) and for no content at all */
    bool in_first_line, in_received;
    uint8_t state, matched;
    char name[16]; /* as much of it as is needed */
    uint8_t name_length;
    uint16_t token_length;
    char token[SMTP_HEADER_SCAN_TOKEN];
    const char *hostname, *domain;
    bool in_message_id;
    uint8_t message_id_length;
    char message_id[SMTP_HEADER_MESSAGE_ID]; /* of the first such field: what is printable ASCII,
                                                without white space, cut; "" */
};
/* Both are borrowed for the scan's life; NULL or "" for either: own lines are not counted. */
void smtp_header_scan_init(struct smtp_header_scan *scan, const char *hostname, const char *domain);
void smtp_header_scan_feed(struct smtp_header_scan *scan, struct slice piece);

#endif
