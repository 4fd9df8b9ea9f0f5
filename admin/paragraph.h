/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Prose for people at a terminal: a label, and behind it sentences that are wrapped.
 */
#ifndef ADMIN_PARAGRAPH_H
#define ADMIN_PARAGRAPH_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

#define PARAGRAPH_COLUMNS 80
#define PARAGRAPH_INDENT 13

/* From now on prose fits a terminal of this width, but has no lines that are too long to read; 0:
 * it is none, and there are PARAGRAPH_COLUMNS, as at first. */
void paragraph_set_width(unsigned width);

/* What a terminal could obey is escaped, so that text of peers may be in it; every run of white
 * space is one space.  A word that is longer than a line stays whole, to be pasted. */
void paragraph_print(FILE *out, const char *label, const char *text);
/* The text alone, from `column` on, where the line stands, and every further line from there. */
void paragraph_wrap(FILE *out, unsigned column, const char *text);
/* As paragraph_wrap, in lines of this width. */
void paragraph_wrap_at(FILE *out, unsigned column, unsigned width, const char *text);
/* As paragraph_wrap_at, but that the line stands at `column`, and further ones begin at `indent`.
 */
void paragraph_add(struct buf *out, unsigned column, unsigned indent, unsigned width,
                   const char *text);
/* As paragraph_print with a sentence that is made up; at most 4 KB of it. */
void paragraph_printf(FILE *out, const char *label, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
