/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Authentication-Results fields that claim to be ours (RFC 8601 5): a filter over content in
 * passage that leaves out those whose authserv-id is our host name, whatever their case, folding,
 * comments, quotes and version number, and not an octet else.  Only the header is looked at; a
 * content that does not begin with a field has none.
 *
 * Octets of such a field are held back until its id is known.  One whose id does not show within
 * SMTP_AUTH_RESULTS_HELD octets hides it, and is left out as well.
 */
#ifndef SMTP_AUTH_RESULTS_H
#define SMTP_AUTH_RESULTS_H

#include <stdint.h>

#include "base/slice.h"

#define SMTP_AUTH_RESULTS_HELD 512

struct smtp_auth_results {
    const char *hostname;
    unsigned removed; /* fields that were left out */
    uint8_t state;
    bool in_first_line, is_line_end, is_escaped, is_other;
    uint16_t held_count, matched, depth;
    char held[SMTP_AUTH_RESULTS_HELD];
};

/* `hostname` is borrowed for the filter's life; "": nothing is left out. */
void smtp_auth_results_init(struct smtp_auth_results *filter, const char *hostname);
/* What stays goes to `on_piece` in order, as parts of `piece` or of what was held. */
void smtp_auth_results_feed(struct smtp_auth_results *filter, struct slice piece,
                            void (*on_piece)(void *ctx, struct slice piece), void *ctx);
/* The content is whole. */
void smtp_auth_results_end(struct smtp_auth_results *filter,
                           void (*on_piece)(void *ctx, struct slice piece), void *ctx);

#endif
