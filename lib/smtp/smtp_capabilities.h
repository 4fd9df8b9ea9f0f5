/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a peer's EHLO offers, and what follows from it: which parameters of a mail are said to this
 * peer, and which mail it cannot be given at all.
 */
#ifndef SMTP_CAPABILITIES_H
#define SMTP_CAPABILITIES_H

#include "base/buf.h"
#include "smtp/smtp_path.h"
#include "smtp/smtp_xforward.h"

struct smtp_capabilities { /* of the last EHLO */
    bool esmtp, pipelining, eightbitmime, smtputf8, dsn, starttls, enhanced;
    bool has_size;
    uint64_t size_max_bytes;     /* 0 with has_size: no fixed maximum (RFC 1870 4) */
    bool auth_plain, auth_login; /* RFC 4954 */
    unsigned xforward;           /* bits of enum smtp_xforward_attribute; 0: not offered */
};

/* One line of the reply to EHLO behind its first, without the code; what is not known says nothing
 * (RFC 5321 4.1.1.1). */
void smtp_capabilities_take(struct smtp_capabilities *caps, struct slice line);

/* "MAIL FROM:<...>" and "RCPT TO:<...>" with those parameters that were given and are offered: SIZE
 * (above 0), BODY=8BITMIME, SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY, ORCPT (RFC 3461 5.2.1: as they
 * came). CHECKs that nothing in it ends the line or begins a word of its own. */
void smtp_capabilities_write_mail(const struct smtp_capabilities *caps,
                                  const struct smtp_mail *mail, struct buf *out);
void smtp_capabilities_write_rcpt(const struct smtp_capabilities *caps,
                                  const struct smtp_rcpt *rcpt, struct buf *out);

/* The mail needs SMTPUTF8 for one of these two addresses (`to` may be NULL), and the peer lacks it
 * (RFC 6531 3.2: such a mail must not be sent to it). */
bool smtp_capabilities_lack_utf8(const struct smtp_capabilities *caps, const struct smtp_mail *mail,
                                 const struct smtp_path *to);
/* The size that the sender has announced (SIZE=) is more than the peer takes. */
bool smtp_capabilities_lack_size(const struct smtp_capabilities *caps,
                                 const struct smtp_mail *mail);

#endif
