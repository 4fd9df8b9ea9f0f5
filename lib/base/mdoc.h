/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text of our tables as mdoc(7) takes it, for manual pages that are made from them.
 */
#ifndef BASE_MDOC_H
#define BASE_MDOC_H

#include "base/buf.h"

/* Inside a line: a hyphen stays the one that can be typed, a backslash is no escape. */
void mdoc_add(struct buf *out, const char *text);

/* Lines of their own: each sentence begins one, and none is taken for a request. */
void mdoc_add_lines(struct buf *out, const char *text);

#endif
