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
 * This is the hot path.  From the start of a line on, blocks are skipped in which nothing is to be
 * decided: every CR and LF is one of a pair, no line begins with a dot, and there is no NUL.  What
 * such a block is not in, the machine decides, octet by octet and through TEXT with memchr.  The
 * cost stays linear for any input: a block that is not skipped costs a line at least two octets of
 * progress, and no search begins twice at the same place.
 */
#include "smtp/smtp_data.h"

#define NUL_WINDOW 4096 /* octets searched at once */

struct feed {
    struct smtp_data *data;
    const char *p;     /* the next octet */
    const char *run;   /* content from here to p was not handed on yet */
    const char *limit; /* there is no NUL before it */
    const char *end;   /* of the input */
    void (*on_piece)(void *ctx, struct slice piece);
    void *ctx;
};

void
smtp_data_init(struct smtp_data *data, bool normalise)
{
    *data = (struct smtp_data){.state = SMTP_DATA_LINE_START, .normalise = normalise};
}

const char *
smtp_data_fault_text(enum smtp_data_fault fault)
{
    static const char *const texts[] = {
        [SMTP_DATA_FAULT_NONE] = "",
        [SMTP_DATA_FAULT_BARE_CR] = "bare CR",
        [SMTP_DATA_FAULT_BARE_LF] = "bare LF",
        [SMTP_DATA_FAULT_NUL] = "NUL",
    };

    return texts[fault];
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
set_fault(struct feed *f, const char *end, enum smtp_data_fault fault)
{
    flush(f, end);
    if (!f->data->fault)
        f->data->fault = fault;
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
            set_fault(f, lf, SMTP_DATA_FAULT_BARE_LF);
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
            set_fault(f, f->p, SMTP_DATA_FAULT_BARE_CR);
            d->state = SMTP_DATA_TEXT;
        }
        break;
    case SMTP_DATA_CR:
        if (*f->p == '\n') {
            f->p++;
            d->state = SMTP_DATA_LINE_START;
        } else {
            set_fault(f, f->p, SMTP_DATA_FAULT_BARE_CR);
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
    set_fault(f, f->p, SMTP_DATA_FAULT_NUL);
    f->p++;
    f->data->state = SMTP_DATA_TEXT;
}

/* --- Blocks without anything to decide. */

#define LANE_OCTETS 16
#define BLOCK_OCTETS (4 * LANE_OCTETS)
#define ALL(c) ((lane){c, c, c, c, c, c, c, c, c, c, c, c, c, c, c, c})

typedef unsigned char lane __attribute__((vector_size(LANE_OCTETS)));

static lane
lane_at(const char *p)
{
    lane octets;

    memcpy(&octets, p, sizeof octets);
    return octets;
}

/* Not 0 where an octet and the one behind it are more than text. */
static lane
odd_pairs(const char *p)
{
    lane here = lane_at(p), next = lane_at(p + 1);

    return (lane)((here == ALL('\r')) ^ (next == ALL('\n'))) | (lane)(here == ALL('\0')) |
           (lane)((here == ALL('\n')) & (next == ALL('.')));
}

static bool
is_plain_block(const char *p)
{
    lane odd = odd_pairs(p) | odd_pairs(p + LANE_OCTETS) | odd_pairs(p + 2 * LANE_OCTETS) |
               odd_pairs(p + 3 * LANE_OCTETS);
    uint64_t halves[2];

    memcpy(halves, &odd, sizeof halves);
    return (halves[0] | halves[1]) == 0;
}

/* The octet behind a block was looked at with it, so that what it is cannot change the verdict. */
static void
skip_plain_blocks(struct feed *f)
{
    const char *from = f->p;

    if (f->data->state != SMTP_DATA_LINE_START || f->data->fault || *f->p == '.' || *f->p == '\n')
        return;
    while (f->end - f->p > BLOCK_OCTETS && is_plain_block(f->p))
        f->p += BLOCK_OCTETS;
    if (f->p == from || f->p[-1] == '\n')
        return;
    f->data->state = f->p[-1] == '\r' ? SMTP_DATA_CR : SMTP_DATA_TEXT;
}

static void
find_limit(struct feed *f)
{
    size_t left = (size_t)(f->end - f->p), n = left < NUL_WINDOW ? left : NUL_WINDOW;
    const char *nul = memchr(f->p, '\0', n);

    f->limit = nul ? nul : f->p + n;
}

size_t
smtp_data_feed(struct smtp_data *data, struct slice input,
               void (*on_piece)(void *ctx, struct slice piece), void *ctx)
{
    struct feed f = {.data = data,
                     .p = input.p,
                     .run = input.p,
                     .limit = input.p,
                     .end = input.p + input.n,
                     .on_piece = on_piece,
                     .ctx = ctx};

    while (f.p < f.end && !smtp_data_ended(data)) {
        skip_plain_blocks(&f);
        if (f.p >= f.limit)
            find_limit(&f);
        if (f.p == f.limit)
            feed_nul(&f);
        else
            feed_octet(&f);
    }
    flush(&f, f.p);
    return (size_t)(f.p - input.p);
}
