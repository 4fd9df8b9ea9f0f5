/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The last step of output.  Hot: every octet of every message passes here, so it looks for dots by
 * memchr (rare in base 64) and hands on runs.  A run ends with a dot that begins a line, and the
 * next run begins with the same dot: so it is doubled without a copy of one octet.
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

struct slice
smtp_stuff_next(struct smtp_stuff *state, struct slice *rest)
{
    struct slice run = *rest;
    size_t from = state->place == SMTP_STUFF_DOUBLED ? 1 : 0;
    const char *dot;

    while (from < run.n && (dot = memchr(run.p + from, '.', run.n - from)) != NULL) {
        size_t at = (size_t)(dot - run.p);

        if (place_at(state->place, run, at) == SMTP_STUFF_LINE_START) {
            *rest = (struct slice){run.p + at, run.n - at};
            state->place = SMTP_STUFF_DOUBLED;
            return (struct slice){run.p, at + 1};
        }
        from = at + 1;
    }
    *rest = (struct slice){run.p + run.n, 0};
    state->place = place_at(state->place, run, run.n);
    return run;
}

void
smtp_stuff_write(struct smtp_stuff *state, struct slice piece, struct buf *out)
{
    while (piece.n > 0)
        buf_add_slice(out, smtp_stuff_next(state, &piece));
}

void
smtp_stuff_end(struct smtp_stuff *state, struct buf *out)
{
    if (state->place != SMTP_STUFF_LINE_START)
        buf_add(out, "\r\n", 2);
    buf_add(out, ".\r\n", 3);
    state->place = SMTP_STUFF_LINE_START;
}
