/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Texts that many messages share: a customer's name, a domain, what a backend has said to each of
 * 100,000 messages.  Each is there once and counted; the last who gives it back frees it.
 */
#ifndef SPOOL_TEXTS_H
#define SPOOL_TEXTS_H

#include <stddef.h>

#include "base/slice.h"

struct spool_text;

struct spool_texts {
    struct spool_text **table; /* hashed */
    size_t size, count;
    const char *last; /* the one that was taken last: the next is mostly the same; NULL: none */
};

void spool_texts_fini(struct spool_texts *texts); /* whoever still has one */

/* The text, without what follows a NUL in it; "" is never counted.  Borrowed until given back as
 * often as taken. */
const char *spool_text_take(struct spool_texts *texts, struct slice text);
void spool_text_give(struct spool_texts *texts, const char *text); /* NULL and "" are harmless */

#endif
