/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one binary encoding of Postern: little-endian integers and length-prefixed bytes.  Spool
 * envelopes, ledger entries, replica values and messages between our processes use it.  A decoder
 * never reads past its end: after the first bad field it is `failed`, every further get returns
 * zero or an empty slice, and one test at the end suffices.
 */
#ifndef BASE_CODEC_H
#define BASE_CODEC_H

#include <endian.h>
#include <string.h>

#include "base/buf.h"

void put_u8(struct buf *b, uint8_t v);
void put_u16(struct buf *b, uint16_t v);
void put_u32(struct buf *b, uint32_t v);
void put_u64(struct buf *b, uint64_t v);
void put_bytes(struct buf *b, struct slice s); /* u32 length, bytes */
void put_text(struct buf *b, const char *s);   /* NULL as "" */

struct decoder {
    const char *p;
    const char *end;
    bool failed;
};

struct decoder decoder_of(struct slice s);

/* Inline, since a start reads a million of each. */
static inline void
decoder_take(struct decoder *d, void *dst, size_t n)
{
    if (d->failed || (size_t)(d->end - d->p) < n) {
        d->failed = true;
        memset(dst, 0, n);
        return;
    }
    memcpy(dst, d->p, n);
    d->p += n;
}

static inline uint8_t
get_u8(struct decoder *d)
{
    uint8_t v;

    decoder_take(d, &v, sizeof v);
    return v;
}

static inline uint16_t
get_u16(struct decoder *d)
{
    uint16_t v;

    decoder_take(d, &v, sizeof v);
    return le16toh(v);
}

static inline uint32_t
get_u32(struct decoder *d)
{
    uint32_t v;

    decoder_take(d, &v, sizeof v);
    return le32toh(v);
}

static inline uint64_t
get_u64(struct decoder *d)
{
    uint64_t v;

    decoder_take(d, &v, sizeof v);
    return le64toh(v);
}

struct slice get_bytes(struct decoder *d); /* borrowed from the input */
/* Into a char array; too long or with a NUL inside: failed. */
void get_text(struct decoder *d, char *dst, size_t dst_size);
/* True if nothing failed and nothing is left over. */
bool decoder_done(const struct decoder *d);

/* Fixed places, for headers laid out by offset. */
void store_u32(void *at, uint32_t v);
void store_u64(void *at, uint64_t v);

static inline uint32_t
load_u32(const void *at)
{
    uint32_t v;

    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

static inline uint64_t
load_u64(const void *at)
{
    uint64_t v;

    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

#endif
