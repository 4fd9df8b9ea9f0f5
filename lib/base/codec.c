/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Little-endian fields, whatever the machine's order.
 */
#include "base/codec.h"

#include <endian.h>

void
put_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, sizeof v);
}

void
put_u16(struct buf *b, uint16_t v)
{
    v = htole16(v);
    buf_add(b, &v, sizeof v);
}

void
put_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, &v, sizeof v);
}

void
put_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, &v, sizeof v);
}

void
put_bytes(struct buf *b, struct slice s)
{
    CHECK(s.n <= UINT32_MAX);
    put_u32(b, (uint32_t)s.n);
    buf_add_slice(b, s);
}

void
put_text(struct buf *b, const char *s)
{
    put_bytes(b, slice_of(s ? s : ""));
}

struct decoder
decoder_of(struct slice s)
{
    return (struct decoder){.p = s.p, .end = s.p + s.n};
}

struct slice
get_bytes(struct decoder *d)
{
    size_t n = get_u32(d);
    struct slice s = {d->p, n};

    if (d->failed || (size_t)(d->end - d->p) < n) {
        d->failed = true;
        return (struct slice){"", 0};
    }
    d->p += n;
    return s;
}

void
get_text(struct decoder *d, char *dst, size_t dst_size)
{
    if (!slice_to_text(get_bytes(d), dst, dst_size))
        d->failed = true;
}

bool
decoder_done(const struct decoder *d)
{
    return !d->failed && d->p == d->end;
}

void
store_u32(void *at, uint32_t v)
{
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}

void
store_u64(void *at, uint64_t v)
{
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}
