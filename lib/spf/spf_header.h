/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a result says in the header of a message: Received-SPF (RFC 7208 9.1) and a part of
 * Authentication-Results (RFC 8601 2.2, 2.7.2).  Whatever a peer chose (HELO, sender, its domain's
 * record) can end neither line, comment, quotes nor value; an octet that is not printable ASCII is
 * written as '?'.  Lines end in CR LF, are folded, and shorter than 998 octets.
 */
#ifndef SPF_HEADER_H
#define SPF_HEADER_H

#include "base/buf.h"
#include "spf/spf.h"

struct spf_header {
    const char *hostname; /* ours, as configured */
    const struct spf_question *question;
    const struct spf_result *result;
};

/* A whole field. */
void spf_header_write_received(const struct spf_header *header, struct buf *out);
/* ";\r\n\tspf=pass reason=\"...\" smtp.mailfrom=acme.example": goes behind the authserv-id or
 * another method's part, without a line's end. */
void spf_header_write_auth_part(const struct spf_header *header, struct buf *out);

#endif
