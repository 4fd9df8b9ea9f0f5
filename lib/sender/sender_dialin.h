/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Is a PTR name that of a dial-in or dynamic range?  By patterns: those that come with the program
 * (dialin.patterns, compiled in) behind the operator's own.  README.md describes their language.
 * Pure, but for the reading of the operator's file.
 */
#ifndef SENDER_DIALIN_H
#define SENDER_DIALIN_H

#include "base/buf.h"
#include "base/inet.h"

struct sender_dialin;

/* path: the operator's file; "": none.  Every problem is one line "FILE:LINE: what is wrong; what
 * to write" in `problems`; then, or if the file cannot be read (ERR_IO, with a line as well), there
 * is none (*patterns NULL). */
MUST_USE int sender_dialin_load(const char *path, struct buf *problems,
                                struct sender_dialin **patterns);
void sender_dialin_free(struct sender_dialin **patterns);

/* The pattern by which it is one, as written, borrowed from `patterns`; NULL: it is none.  Time is
 * bounded by the length of the name times that of the patterns. */
const char *sender_dialin_match(const struct sender_dialin *patterns, const char *name,
                                const struct inet_endpoint *address);

#endif
