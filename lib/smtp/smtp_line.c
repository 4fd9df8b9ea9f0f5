/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Octets to command lines: see the header.  The invariant: while a line is skipped nothing is kept,
 * and what is kept holds no CR LF.
 */
#include "smtp/smtp_line.h"

#include "smtp/smtp_command.h"

/* Behind the first CR LF in `input`; `after_cr`: the octet before it was a CR.  0: there is none.
 */
static size_t
find_line_end(struct slice input, bool after_cr)
{
    const char *p = input.p, *end = input.p + input.n;

    while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        if (p > input.p ? p[-1] == '\r' : after_cr)
            return (size_t)(p + 1 - input.p);
        p++;
    }
    return 0;
}

static size_t
skip(struct smtp_line *l, struct slice input)
{
    size_t n = find_line_end(input, l->mode == SMTP_LINE_SKIP_CR);

    if (n > 0)
        l->mode = SMTP_LINE_KEEP;
    else
        l->mode = input.p[input.n - 1] == '\r' ? SMTP_LINE_SKIP_CR : SMTP_LINE_SKIP;
    return n > 0 ? n : input.n;
}

/* The line's end is not here yet. */
static enum smtp_line_found
keep(struct smtp_line *l, struct slice input)
{
    if (buf_size(&l->kept) + input.n < SMTP_COMMAND_LINE_MAX) {
        buf_add_slice(&l->kept, input);
        return SMTP_LINE_NONE;
    }
    buf_release(&l->kept);
    skip(l, input);
    return SMTP_LINE_TOO_LONG;
}

static bool
ends_in_cr(const struct buf *b)
{
    struct slice s = buf_slice(b);

    return s.n > 0 && s.p[s.n - 1] == '\r';
}

/* `end` is what of the input belongs to the line. */
static enum smtp_line_found
end_line(struct smtp_line *l, struct slice end, struct slice *line, struct buf *whole)
{
    buf_init(whole, 0);
    if (buf_size(&l->kept) + end.n > SMTP_COMMAND_LINE_MAX) {
        buf_release(&l->kept);
        return SMTP_LINE_TOO_LONG;
    }
    *line = end;
    if (buf_size(&l->kept) > 0) {
        *whole = l->kept;
        buf_init(&l->kept, 0);
        buf_add_slice(whole, end);
        *line = buf_slice(whole);
    }
    line->n -= 2;
    return SMTP_LINE_WHOLE;
}

enum smtp_line_found
smtp_line_take(struct smtp_line *l, struct slice input, size_t *used, struct slice *line,
               struct buf *whole)
{
    size_t n;

    if (l->mode != SMTP_LINE_KEEP) {
        *used = skip(l, input);
        return SMTP_LINE_NONE;
    }
    n = find_line_end(input, ends_in_cr(&l->kept));
    *used = n > 0 ? n : input.n;
    return n > 0 ? end_line(l, (struct slice){input.p, n}, line, whole) : keep(l, input);
}

void
smtp_line_fini(struct smtp_line *l)
{
    buf_fini(&l->kept);
    *l = (struct smtp_line){0};
}

size_t
smtp_line_kept(const struct smtp_line *l)
{
    return buf_size(&l->kept);
}

bool
smtp_line_is_empty(const struct smtp_line *l)
{
    return l->mode == SMTP_LINE_KEEP && buf_size(&l->kept) == 0;
}
