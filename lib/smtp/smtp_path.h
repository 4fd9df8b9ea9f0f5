/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mailboxes and paths of RFC 5321 4.1.2, and the parameters of MAIL and RCPT.  Text from a peer
 * becomes one of these types or is refused, so that a raw name cannot reach SQL, a path or a log by
 * accident.
 */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include "base/inet.h"

#define SMTP_LOCAL_MAX 64  /* RFC 5321 4.5.3.1.1 */
#define SMTP_PATH_MAX 256  /* RFC 5321 4.5.3.1.3, with the brackets */
#define SMTP_PATH_SIZE 330 /* any valid mailbox as text, NUL included */

struct smtp_path {
    /* As it goes on the wire, without the angle brackets: "local@domain" exactly as the sender
     * spelled it; "" is the null reverse-path; "postmaster" alone is permitted as forward-path. A
     * source route has been dropped (RFC 5321 appendix C). */
    char text[SMTP_PATH_SIZE];
    uint16_t local_length;         /* of the local part inside text, quotes included */
    char domain[INET_DOMAIN_SIZE]; /* normalised (lower-case A-labels), or the literal
                                      "[192.0.2.1]", "[IPv6:...]", "[tag:...]" as it came; ""
                                      for null and bare postmaster */
    bool is_null, is_postmaster;   /* is_postmaster: no domain was given */
    bool needs_smtputf8;           /* local part or domain had octets above 0x7f */
};

/* `s` begins at '<'; *consumed is set behind '>'.  ERR_SYNTAX. */
MUST_USE int smtp_path_parse_reverse(struct slice s, struct smtp_path *path, size_t *consumed);
MUST_USE int smtp_path_parse_forward(struct slice s, struct smtp_path *path, size_t *consumed);
/* A bare mailbox "local@domain" from an operator or a file. */
MUST_USE int smtp_path_parse_mailbox(struct slice s, struct smtp_path *path);
/* How many octets the well-formed UTF-8 character above 0x7f at the start of `s` has (RFC 3629 4);
 * 0: there is none. */
size_t smtp_utf8_length(struct slice s);
/* The local part in lower case with the domain, for look-ups of known recipients. */
void smtp_path_key(const struct smtp_path *path, char dst[SMTP_PATH_SIZE]);

enum smtp_body { SMTP_BODY_NONE, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };

enum smtp_dsn_ret { SMTP_DSN_RET_NONE, SMTP_DSN_RET_FULL, SMTP_DSN_RET_HDRS };

enum smtp_dsn_notify { /* bits; 0: none was given, which is not NEVER (RFC 3461 4.1) */
                       SMTP_DSN_NOTIFY_NEVER = 1,
                       SMTP_DSN_NOTIFY_SUCCESS = 2,
                       SMTP_DSN_NOTIFY_FAILURE = 4,
                       SMTP_DSN_NOTIFY_DELAY = 8,
};

#define SMTP_DSN_ENVID_MAX 100 /* RFC 3461 4.4 */
#define SMTP_DSN_ORCPT_MAX 500 /* RFC 3461 4.2 */

struct smtp_mail { /* MAIL FROM */
    struct smtp_path path;
    bool has_size;
    uint64_t size_bytes;                    /* RFC 1870 */
    enum smtp_body body;                    /* RFC 6152 */
    bool smtputf8;                          /* RFC 6531 3.4 */
    enum smtp_dsn_ret dsn_ret;              /* RFC 3461 4.3 */
    char dsn_envid[SMTP_DSN_ENVID_MAX + 1]; /* xtext as it came; "": none was given */
};

struct smtp_rcpt { /* RCPT TO */
    struct smtp_path path;
    unsigned dsn_notify; /* enum smtp_dsn_notify */
    char
        dsn_orcpt[SMTP_DSN_ORCPT_MAX + 1]; /* "type;xtext" as it came; "": none was given;
                                              UTF-8 only behind "utf-8;" with SMTPUTF8 (RFC 6533) */
};

#endif
