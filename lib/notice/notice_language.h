/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How numbers, dates and texts with gaps are said in each language.  Moments are in the process's
 * zone, which is that of the service.
 */
#ifndef NOTICE_LANGUAGE_H
#define NOTICE_LANGUAGE_H

#include "base/buf.h"

enum notice_language { NOTICE_EN, NOTICE_DE, NOTICE_NL, NOTICE_DA, NOTICE_LANGUAGES };

/* By its word ("de"); one that is unknown is English. */
enum notice_language notice_language_of(const char *word);
const char *notice_language_word(enum notice_language language);

/* "Saturday, 5 December 2026, 24:00 CET": what ends at midnight ends on the day before. */
#define NOTICE_WHEN_SIZE 96
const char *notice_when(enum notice_language language, int64_t wall_ms, char dst[NOTICE_WHEN_SIZE]);
/* "3 days and 4 hours": the two largest units. */
const char *notice_span(enum notice_language language, int64_t span_ms, char dst[NOTICE_WHEN_SIZE]);
/* "3.2 MB" */
const char *notice_size(enum notice_language language, uint64_t bytes, char dst[NOTICE_WHEN_SIZE]);

/* --- Texts with gaps. */

struct notice_value { /* what a gap's name stands for */
    const char *name;
    const char *text; /* NULL: it is a number */
    uint64_t number;
};

/* Appends `text` with its gaps filled:
 *   {name}            the value; a number with its digits grouped
 *   {name:one|other}  the number, and the word of its form
 *   {name?one|other}  the word alone
 * A name that is not there is our bug.  `values` ends with name NULL. */
void notice_fill(struct buf *out, enum notice_language language, const char *text,
                 const struct notice_value *values);
/* Appends with lines of at most 72 columns, broken between words; what goes on is indented as its
 * line, behind "- ".  A line that begins with four spaces stays whole. */
void notice_wrap(struct buf *out, struct slice text);

#endif
