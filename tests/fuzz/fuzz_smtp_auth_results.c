/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Content through the filter for Authentication-Results, whole and cut: the same octets come out,
 * in order, and if nothing was removed, all of them.
 */
#include <stdint.h>

#include "base/buf.h"
#include "smtp/smtp_auth_results.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_piece(void *ctx, struct slice piece)
{
    CHECK(piece.n > 0);
    buf_add_slice(ctx, piece);
}

static unsigned
filter(struct slice content, size_t cut, struct buf *out)
{
    struct smtp_auth_results f;

    buf_init(out, 0);
    smtp_auth_results_init(&f, "mx.acme.test");
    for (size_t at = 0; at < content.n; at += cut) {
        size_t n = cut < content.n - at ? cut : content.n - at;

        smtp_auth_results_feed(&f, (struct slice){content.p + at, n}, on_piece, out);
    }
    smtp_auth_results_end(&f, on_piece, out);
    return f.removed;
}

/* Each octet of `part`, in order, somewhere in `whole`. */
static bool
is_part(struct slice part, struct slice whole)
{
    size_t at = 0;

    for (size_t i = 0; i < whole.n && at < part.n; i++)
        at += part.p[at] == whole.p[i];
    return at == part.n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice content = {(const char *)data, size};
    struct buf whole, pieces;
    unsigned removed;

    if (size == 0)
        return 0;
    removed = filter(content, size, &whole);
    CHECK(filter(content, data[0] % 9 + 1u, &pieces) == removed);
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&pieces)));
    CHECK(is_part(buf_slice(&whole), content));
    CHECK((removed == 0) == (buf_size(&whole) == size));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
