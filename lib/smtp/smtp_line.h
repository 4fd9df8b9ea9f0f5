/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Octets to command lines.  A line ends in CR LF and nothing else (P7); one that lies in the input
 * whole is used where it lies, only one that was cut is gathered; one that is too long is said to
 * be so once, at its octet SMTP_COMMAND_LINE_MAX or at its end, and thrown away.
 */
#ifndef SMTP_LINE_H
#define SMTP_LINE_H

#include "base/buf.h"

enum smtp_line_mode {
    SMTP_LINE_KEEP,    /* `kept` holds the beginning of one, maybe nothing */
    SMTP_LINE_SKIP,    /* it was too long and has been told: away with it */
    SMTP_LINE_SKIP_CR, /* the same, behind a CR */
};

struct smtp_line { /* zero is a fresh one */
    enum smtp_line_mode mode;
    struct buf kept;
};

enum smtp_line_found { SMTP_LINE_NONE, SMTP_LINE_WHOLE, SMTP_LINE_TOO_LONG };

/* Looks at `input`, which is not empty; *used says how much of it was taken: all, or up to and with
 * a line's end.  WHOLE: *line is without its CR LF, a part of `input` or of *whole, which is the
 * caller's then and to be given to buf_fini after use. */
enum smtp_line_found smtp_line_take(struct smtp_line *l, struct slice input, size_t *used,
                                    struct slice *line, struct buf *whole);
void smtp_line_fini(struct smtp_line *l); /* fresh again */
size_t smtp_line_kept(const struct smtp_line *l);
bool smtp_line_is_empty(const struct smtp_line *l); /* between two lines */

#endif
