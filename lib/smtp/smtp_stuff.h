/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Dot-stuffing (RFC 5321 4.5.2), here and nowhere else: content goes in as content, in any cut, and
 * comes out as it goes on the wire (P7).  Content has CR LF line ends only; that was enforced where
 * it came in.
 */
#ifndef SMTP_STUFF_H
#define SMTP_STUFF_H

#include "base/buf.h"

enum smtp_stuff_place {
    SMTP_STUFF_LINE_START, /* nothing yet, or behind CR LF */
    SMTP_STUFF_AFTER_CR,
    SMTP_STUFF_IN_LINE,
    SMTP_STUFF_DOUBLED, /* behind the first of two dots, of which the content has the second */
};

struct smtp_stuff {
    enum smtp_stuff_place place;
};

void smtp_stuff_init(struct smtp_stuff *state);
/* Takes off `rest` what goes on the wire next as it stands there: for who sends the octets out of
 * their own memory. Ends with `rest` empty. */
struct slice smtp_stuff_next(struct smtp_stuff *state, struct slice *rest);
/* The same, copied. `out` has no bound. */
void smtp_stuff_write(struct smtp_stuff *state, struct slice piece, struct buf *out);
/* The end of data; before it CR LF, if the content's last line lacks one. Empty content is the dot
 * alone. */
void smtp_stuff_end(struct smtp_stuff *state, struct buf *out);

#endif
