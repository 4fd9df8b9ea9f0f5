/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The footer's entries: what a scan would find of a record, with its envelope, so that a restart
 * reads the footers and nothing else.  An envelope above SPOOL_INDEX_INLINE_MAX stays where it is.
 */
#ifndef SPOOL_INDEX_H
#define SPOOL_INDEX_H

#include "base/codec.h"
#include "spool/spool_format.h"

#define SPOOL_INDEX_INLINE_MAX (64 * 1024)
#define SPOOL_INDEX_ENTRY_MAX (SPOOL_INDEX_INLINE_MAX + 128) /* octets of an entry at most */

struct spool_index_entry {
    struct spool_record_header header;
    uint64_t offset;
    struct ref ref;
    bool is_inline;
    struct slice envelope; /* if inline; borrowed */
};

void spool_index_put(struct buf *index, const struct spool_index_entry *entry);
/* ERR_AGAIN: the end. ERR_CORRUPT. */
MUST_USE int spool_index_get(struct decoder *d, struct spool_index_entry *entry);

#endif
