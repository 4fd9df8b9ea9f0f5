/* SPDX-License-Identifier: BSD-2-Clause
 *
 * UTF-8 text as mail carries it where nothing is known of the way: in ASCII.
 */
#ifndef NOTICE_MIME_H
#define NOTICE_MIME_H

#include "base/buf.h"

/* A header field's text, one line without a line end, as RFC 2047 has it: itself if it is ASCII,
 * else encoded words, folded.  `text` is UTF-8. */
void notice_mime_subject(struct buf *out, struct slice text);
/* Quoted-printable (RFC 2045 6.7): lines end with LF in `text` and with CR LF in `out`. */
void notice_mime_quoted(struct buf *out, struct slice text);
/* The text of others: what is no UTF-8, and control characters, become '?'; at most `most` octets,
 * never cut inside a character. */
void notice_mime_clean(struct buf *out, struct slice text, size_t most);

#endif
