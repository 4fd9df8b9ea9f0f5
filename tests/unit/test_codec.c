/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fields come back as they went in, are little-endian, and a cut anywhere is noticed.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/codec.h"

static void
put_all(struct buf *b)
{
    buf_init(b, 0);
    put_u8(b, 0xfe);
    put_u16(b, 0x1234);
    put_u32(b, 0x89abcdef);
    put_u64(b, UINT64_MAX - 1);
    put_bytes(b, (struct slice){"a\0b", 3});
    put_text(b, "text");
    put_text(b, NULL);
}

static bool
get_all(struct slice s)
{
    struct decoder d = decoder_of(s);
    char text[8], empty[1];
    bool same = get_u8(&d) == 0xfe && get_u16(&d) == 0x1234 && get_u32(&d) == 0x89abcdef &&
                get_u64(&d) == UINT64_MAX - 1 &&
                slice_equal(get_bytes(&d), (struct slice){"a\0b", 3});

    get_text(&d, text, sizeof text);
    get_text(&d, empty, sizeof empty);
    return same && strcmp(text, "text") == 0 && decoder_done(&d);
}

Test(codec, fields_come_back)
{
    struct buf b;

    put_all(&b);
    cr_expect(get_all(buf_slice(&b)));
    cr_expect_eq(memcmp(buf_slice(&b).p, "\xfe\x34\x12\xef\xcd\xab\x89", 7), 0);
    buf_fini(&b);
}

Test(codec, a_cut_at_any_byte_fails_and_reads_nothing_beyond)
{
    struct buf b;

    put_all(&b);
    for (size_t n = 0; n < buf_size(&b); n++) {
        char *copy = malloc(n ? n : 1); /* so that the sanitizer sees an over-read */

        memcpy(copy, buf_slice(&b).p, n);
        cr_expect_not(get_all((struct slice){copy, n}), "cut at %zu", n);
        free(copy);
    }
    buf_add_text(&b, "x");
    cr_expect_not(get_all(buf_slice(&b)), "a byte too many");
    buf_fini(&b);
}

Test(codec, a_text_that_does_not_fit_or_holds_a_nul_fails)
{
    struct buf b;
    struct decoder d;
    char dst[4];

    buf_init(&b, 0);
    put_text(&b, "four");
    d = decoder_of(buf_slice(&b));
    get_text(&d, dst, sizeof dst);
    cr_expect(d.failed);
    buf_clear(&b);
    put_bytes(&b, (struct slice){"a\0b", 3});
    d = decoder_of(buf_slice(&b));
    get_text(&d, dst, sizeof dst);
    cr_expect(d.failed);
    buf_clear(&b);
    put_u32(&b, UINT32_MAX);
    d = decoder_of(buf_slice(&b));
    cr_expect_eq(get_bytes(&d).n, 0);
    cr_expect(d.failed);
    buf_fini(&b);
}
