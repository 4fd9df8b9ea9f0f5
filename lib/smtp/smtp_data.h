/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The decoder of content: undoes dot-stuffing (RFC 5321 4.5.2), finds the one end of data, CR LF .
 * CR LF, counts octets as RFC 1870 says, and detects bare CR, bare LF and NUL (P7).
 *
 * Content begins behind the CR LF of the DATA command, so ".\r\n" at once is an empty message.
 *
 * With `normalise` a bare LF is a line end, handed on as CR LF.  It is never a part of the end of
 * data; so a line of one dot next to it is content.  A client that ends its lines so may or may not
 * have stuffed them: two dots behind a bare LF become one, one dot alone stays (it was not
 * stuffed).
 */
#ifndef SMTP_DATA_H
#define SMTP_DATA_H

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

enum smtp_data_fault { /* no content may hold */
                       SMTP_DATA_FAULT_NONE,
                       SMTP_DATA_FAULT_BARE_CR,
                       SMTP_DATA_FAULT_BARE_LF,
                       SMTP_DATA_FAULT_NUL,
};

enum smtp_data_state {
    SMTP_DATA_LINE_START, /* behind CR LF */
    SMTP_DATA_TEXT,       /* inside a line */
    SMTP_DATA_CR,         /* behind a CR in a line */
    SMTP_DATA_DOT,        /* behind the first dot of a line, which is never content */
    SMTP_DATA_DOT_CR,     /* behind such a dot and CR */
    SMTP_DATA_BARE_START, /* behind a bare LF that was made CR LF */
    SMTP_DATA_BARE_DOT,   /* behind a dot there, which was not handed on yet */
    SMTP_DATA_END,        /* behind CR LF . CR LF */
};

struct smtp_data {
    enum smtp_data_state state;
    bool normalise;             /* a bare LF is a line end, handed on as CR LF, and no fault */
    enum smtp_data_fault fault; /* the first that was met */
    uint64_t size_bytes; /* of the decoded content: with each CR LF, without stuffed dots and the
                            last dot (RFC 1870 3); counts no further behind a fault */
};

/* "bare CR", "bare LF", "NUL"; "" for none. */
const char *smtp_data_fault_text(enum smtp_data_fault fault);

void smtp_data_init(struct smtp_data *data, bool normalise);

/* Returns how many octets of `input` belong to the content and its end; fewer than given only when
 * the end was found.  Decoded content goes to `on_piece` in runs as large as the input permits, as
 * parts of `input`, never copied (a CR, a dot that normalising adds: of their own); how the input
 * is cut changes the runs but not their sum. Behind a fault there are no more pieces, while the end
 * is looked for as ever. */
size_t smtp_data_feed(struct smtp_data *data, struct slice input,
                      void (*on_piece)(void *ctx, struct slice piece), void *ctx);

static inline bool
smtp_data_ended(const struct smtp_data *data)
{
    return data->state == SMTP_DATA_END;
}

#endif
