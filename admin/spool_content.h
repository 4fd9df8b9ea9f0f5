/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The content of a message: our header lines, then what its sender sent.
 */
#ifndef ADMIN_SPOOL_CONTENT_H
#define ADMIN_SPOOL_CONTENT_H

#include <stdio.h>

#include "base/buf.h"
#include "spool/spool_store.h"

/* Headers longer than that are cut, for people. */
#define SPOOL_CONTENT_HEADERS_MAX (256 * 1024)

/* The header lines up to the empty one, which is left out. ERR_IO, ERR_CORRUPT, ERR_NOT_FOUND. */
MUST_USE int spool_content_headers(struct spool_store *store, const struct spool_message *message,
                                   struct buf *headers);
/* All octets as they are, having checked the body. ERR_CORRUPT: nothing was written. ERR_IO. */
MUST_USE int spool_content_write(struct spool_store *store, struct spool_message *message,
                                 FILE *out);
/* As spool_content_write; whole in memory. */
MUST_USE int spool_content_read(struct spool_store *store, struct spool_message *message,
                                struct buf *content);
/* Line ends stay; whatever else a terminal could obey is escaped. */
void spool_content_show(FILE *out, struct slice text);

#endif
