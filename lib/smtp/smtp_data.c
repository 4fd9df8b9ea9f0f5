/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The decoder of content.  The one idea: nothing has to be held back.  The first dot of a line is
 * never content, whatever follows; a CR is content or the proof of a fault; so every octet is
 * judged when it is seen, and pieces are parts of the input.
 *
 *   LINE_START --.--> DOT --CR--> DOT_CR --LF--> END
 *       ^  \other      \other        \other: bare CR
 *    LF |   v           v             v
 *       CR <--CR-- TEXT <-------------+     (CR --other--> TEXT: bare CR)
 *
 * Normalising: a bare LF in TEXT hands on the run, a CR of ours, and goes on at the LF:
 *
 *   TEXT, LINE_START, BARE_START --bare LF--> BARE_START --.--> BARE_DOT --.--> TEXT (one dot)
 *                                                              \other: the dot, then as TEXT
 *   DOT --bare LF--> BARE_START (the dot stays, since this was no end of data)
 *
 * This is the hot path, so TEXT is crossed with memchr.  Its cost stays linear for any input:
 * before a fault each octet is looked at by three searches, after it by two, and none begins twice
 * at the same place.
 */
#include "smtp/smtp_data.h"

struct feed {
    struct smtp_data *data;
    const char *p;     /* the next octet */
    const char *run;   /* content from here to p was not handed on yet */
    const char *limit; /* behind the last octet, or at a NUL */
    void (*on_piece)(void *ctx, struct slice piece);
    void *ctx;
};

void
smtp_data_init(struct smtp_data *data, bool normalise)
{
    *data = (struct smtp_data){.state = SMTP_DATA_LINE_START, .normalise = normalise};
}

static void
flush(struct feed *f, const char *end)
{
    struct slice piece = {f->run, (size_t)(end - f->run)};

    f->run = end;
    if (piece.n == 0 || f->data->fault)
        return;
    f->data->size_bytes += piece.n;
    f->on_piece(f->ctx, piece);
}

/* What came before the offending octet is handed on, so that the sum of the pieces does not depend
 * on how the input was cut. */
static void
set_fault(struct feed *f, const char *end)
{
    flush(f, end);
    f->data->fault = true;
}

/* An octet that the input does not have. */
static void
add_octet(struct feed *f, const char *octet)
{
    flush(f, f->p);
    if (f->data->fault)
        return;
    f->data->size_bytes++;
    f->on_piece(f->ctx, (struct slice){octet, 1});
}

/* f->p is at a bare LF. */
static void
normalise(struct feed *f)
{
    add_octet(f, "\r");
    f->p++;
    f->data->state = SMTP_DATA_BARE_START;
}

static bool
normalises(const struct feed *f)
{
    return f->data->normalise && !f->data->fault;
}

/* As feed_text, but looks for the LF first, so that no octet is searched twice: the search for a CR
 * ends at the LF. */
static void
feed_lines(struct feed *f)
{
    const char *lf = memchr(f->p, '\n', (size_t)(f->limit - f->p));
    const char *stop = lf ? lf : f->limit;
    const char *cr = memchr(f->p, '\r', (size_t)(stop - f->p));

    f->p = cr ? cr + 1 : stop;
    f->data->state = cr ? SMTP_DATA_CR : SMTP_DATA_TEXT;
    if (cr == NULL && lf != NULL)
        normalise(f);
}

static void
feed_text(struct feed *f)
{
    const char *cr = memchr(f->p, '\r', (size_t)(f->limit - f->p));
    const char *stop = cr ? cr : f->limit;

    if (!f->data->fault) {
        const char *lf = memchr(f->p, '\n', (size_t)(stop - f->p));

        if (lf != NULL)
            set_fault(f, lf);
    }
    f->p = cr ? cr + 1 : f->limit;
    f->data->state = cr ? SMTP_DATA_CR : SMTP_DATA_TEXT;
}

static void
feed_octet(struct feed *f)
{
    struct smtp_data *d = f->data;

    switch (d->state) {
    case SMTP_DATA_LINE_START:
        if (*f->p == '.') {
            flush(f, f->p);
            f->run = ++f->p;
            d->state = SMTP_DATA_DOT;
        } else
            d->state = SMTP_DATA_TEXT;
        break;
    case SMTP_DATA_DOT:
        if (*f->p == '\r') {
            f->run = ++f->p;
            d->state = SMTP_DATA_DOT_CR;
        } else {
            if (*f->p == '\n' && normalises(f))
                add_octet(f, ".");
            d->state = SMTP_DATA_TEXT;
        }
        break;
    case SMTP_DATA_DOT_CR:
        if (*f->p == '\n') {
            f->run = ++f->p;
            d->state = SMTP_DATA_END;
        } else {
            set_fault(f, f->p);
            d->state = SMTP_DATA_TEXT;
        }
        break;
    case SMTP_DATA_CR:
        if (*f->p == '\n') {
            f->p++;
            d->state = SMTP_DATA_LINE_START;
        } else {
            set_fault(f, f->p);
            d->state = SMTP_DATA_TEXT;
        }
        break;
    case SMTP_DATA_TEXT:
        if (normalises(f))
            feed_lines(f);
        else
            feed_text(f);
        break;
    case SMTP_DATA_BARE_START:
        if (*f->p == '.') {
            flush(f, f->p);
            f->run = ++f->p;
            d->state = SMTP_DATA_BARE_DOT;
        } else
            d->state = SMTP_DATA_TEXT;
        break;
    case SMTP_DATA_BARE_DOT:
        if (*f->p != '.')
            add_octet(f, ".");
        d->state = SMTP_DATA_TEXT;
        break;
    case SMTP_DATA_END:
        break;
    }
}

/* A NUL is in no state's grammar: a fault, and in particular no part of any end of data. */
static void
feed_nul(struct feed *f)
{
    set_fault(f, f->p);
    f->p++;
    f->data->state = SMTP_DATA_TEXT;
}

size_t
smtp_data_feed(struct smtp_data *data, struct slice input,
               void (*on_piece)(void *ctx, struct slice piece), void *ctx)
{
    struct feed f = {.data = data, .p = input.p, .run = input.p, .on_piece = on_piece, .ctx = ctx};
    const char *end = input.p + input.n;

    while (f.p < end && !smtp_data_ended(data)) {
        const char *nul = memchr(f.p, '\0', (size_t)(end - f.p));

        f.limit = nul ? nul : end;
        while (f.p < f.limit && !smtp_data_ended(data))
            feed_octet(&f);
        if (nul != NULL && !smtp_data_ended(data))
            feed_nul(&f);
    }
    flush(&f, f.p);
    return (size_t)(f.p - input.p);
}
