/* SPDX-License-Identifier: BSD-2-Clause
 *
 * XFORWARD as Postfix defines it (XFORWARD_README): a server that trusts us is told, before MAIL,
 * who the client of this transaction is.  What it says holds until the transaction ends.
 */
#ifndef SMTP_XFORWARD_H
#define SMTP_XFORWARD_H

#include "base/buf.h"
#include "base/inet.h"

enum smtp_xforward_attribute { /* bits */
                               SMTP_XFORWARD_NAME = 1,
                               SMTP_XFORWARD_ADDR = 2,
                               SMTP_XFORWARD_PORT = 4,
                               SMTP_XFORWARD_PROTO = 8,
                               SMTP_XFORWARD_HELO = 16,
                               SMTP_XFORWARD_IDENT = 32,
                               SMTP_XFORWARD_SOURCE = 64,
};

#define SMTP_XFORWARD_VALUE_MAX                                       \
    255 /* octets of a value, before xtext; what is longer is unknown \
         */

struct smtp_xforward {           /* texts are borrowed; NULL or "": unknown */
    const char *client_name;     /* by its address */
    struct inet_endpoint client; /* family 0: unknown; port 0: that alone is */
    const char *protocol;        /* "SMTP", "ESMTP" */
    const char *helo;
    const char *ident; /* ours, for both logs */
};

/* The bits of the attributes that a line of EHLO names behind its keyword. */
unsigned smtp_xforward_offered(struct slice attributes);
/* Commands with those attributes that are offered, each at most 512 octets if its values permit,
 * in the order of Postfix; unknown ones are said to be [UNAVAILABLE], so that none of an earlier
 * transaction stands for them.  Returns how many commands that are: 0, 1 or 2. */
unsigned smtp_xforward_write(const struct smtp_xforward *xforward, unsigned offered,
                             struct buf *out);

#endif
