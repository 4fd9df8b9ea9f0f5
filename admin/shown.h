/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text of peers before a terminal: which octets it only shows.  What it could obey (control
 * characters of ASCII and of Latin 1) and what is no UTF-8 (RFC 3629) is shown as \xNN.
 */
#ifndef ADMIN_SHOWN_H
#define ADMIN_SHOWN_H

#include <stddef.h>

#include "base/buf.h"

/* Octets, 1 to 4, of the character at `p`, of which there are `n` more; 0: to be escaped. */
size_t shown_length(const unsigned char *p, size_t n);

/* Adds `n` octets of text to `dst` as they may be shown; returns the width in characters. */
unsigned shown_add(struct buf *dst, const char *text, size_t n);

#endif
