/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Footer entries over base/codec.  The index as a whole has a checksum in the trailer, so an entry
 * is only bounded here, not verified.
 */
#include "config.h"

#include "spool/spool_index.h"

void
spool_index_put(struct buf *index, const struct spool_index_entry *entry)
{
    const struct spool_record_header *h = &entry->header;

    put_u64(index, entry->offset);
    put_u8(index, h->type);
    put_u32(index, h->envelope_bytes);
    put_u64(index, h->envelope_at);
    put_u64(index, h->envelope_check);
    put_u64(index, h->body_bytes);
    put_u32(index, h->body_at);
    put_u64(index, h->body_check);
    put_u16(index, entry->ref.node);
    put_u32(index, entry->ref.minute);
    put_u64(index, entry->ref.number);
    put_u8(index, entry->is_inline);
    put_bytes(index, entry->is_inline ? entry->envelope : SLICE(""));
}

int
spool_index_get(struct decoder *d, struct spool_index_entry *entry)
{
    struct spool_record_header *h = &entry->header;

    if (decoder_done(d))
        return ERR_AGAIN;
    entry->offset = get_u64(d);
    h->type = get_u8(d);
    h->envelope_bytes = get_u32(d);
    h->envelope_at = get_u64(d);
    h->envelope_check = get_u64(d);
    h->body_bytes = get_u64(d);
    h->body_at = get_u32(d);
    h->body_check = get_u64(d);
    entry->ref.node = get_u16(d);
    entry->ref.minute = get_u32(d);
    entry->ref.number = get_u64(d);
    entry->is_inline = get_u8(d) != 0;
    entry->envelope = get_bytes(d);
    if (d->failed || entry->offset < SPOOL_SEGMENT_HEADER_BYTES || entry->offset >> 48 != 0 ||
        !spool_record_is_consistent(h))
        return ERR_CORRUPT;
    return entry->is_inline && entry->envelope.n != h->envelope_bytes ? ERR_CORRUPT : ERR_OK;
}
