/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a filter says of a message by the fields that it adds: spam, and an aligned DKIM pass.
 * Fields that came with the message say nothing.
 */
#ifndef MILTER_REPORT_H
#define MILTER_REPORT_H

#include "milter/milter_header.h"

/* "X-Spam: Yes" (rspamd), "X-Spam-Flag: YES", "X-Spam-Status: Yes, ...". */
bool milter_report_is_spam(const struct milter_edits *edits);
/* Authentication-Results (RFC 8601) of `hostname`, with dkim=pass and header.d= the domain of the
 * sender or one above it (of two labels at least): whoever signed speaks for that domain.  One
 * below it does not, since parts of a domain are often given away. */
bool milter_report_dkim_passes(const struct milter_edits *edits, const char *hostname,
                               const char *sender_domain);

#endif
