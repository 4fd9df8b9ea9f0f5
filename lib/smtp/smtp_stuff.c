/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The last step of output.  Hot: every octet of every message passes here, so it looks for dots by
 * memchr (rare in base 64) and copies runs.  A run ends with a dot that begins a line, and the next
 * run begins with the same dot: so it is doubled without a copy of one octet.
 */
#include "smtp/smtp_stuff.h"

void
smtp_stuff_init(struct smtp_stuff *state)
{
    state->place = SMTP_STUFF_LINE_START;
}

static enum smtp_stuff_place
place_behind(enum smtp_stuff_place before, char c)
{
    if (c == '\r')
        return SMTP_STUFF_AFTER_CR;
    return before == SMTP_STUFF_AFTER_CR && c == '\n' ? SMTP_STUFF_LINE_START : SMTP_STUFF_IN_LINE;
}

/* The place before piece.p[at]; two octets decide. */
static enum smtp_stuff_place
place_at(enum smtp_stuff_place place, struct slice piece, size_t at)
{
    if (at > 2)
        place = SMTP_STUFF_IN_LINE;
    for (size_t i = at > 2 ? at - 2 : 0; i < at; i++)
        place = place_behind(place, piece.p[i]);
    return place;
}

void
smtp_stuff_write(struct smtp_stuff *state, struct slice piece, struct buf *out)
{
    size_t run = 0, from = 0;
    const char *dot;

    while (from < piece.n && (dot = memchr(piece.p + from, '.', piece.n - from)) != NULL) {
        size_t at = (size_t)(dot - piece.p);

        if (place_at(state->place, piece, at) == SMTP_STUFF_LINE_START) {
            buf_add(out, piece.p + run, at + 1 - run);
            run = at;
        }
        from = at + 1;
    }
    buf_add(out, piece.p + run, piece.n - run);
    state->place = place_at(state->place, piece, piece.n);
}

void
smtp_stuff_end(struct smtp_stuff *state, struct buf *out)
{
    if (state->place != SMTP_STUFF_LINE_START)
        buf_add(out, "\r\n", 2);
    buf_add(out, ".\r\n", 3);
    state->place = SMTP_STUFF_LINE_START;
}
