/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A character is looked at as a whole, so that half of one never reaches a terminal.
 */
#include "admin/shown.h"

/* Neither a control character of Latin 1, nor a longer form of a shorter one, half of a pair of
 * UTF-16, or beyond Unicode (RFC 3629 4). */
static bool
is_second(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xc2:
    case 0xe0:
        return second >= 0xa0;
    case 0xf0:
        return second >= 0x90;
    case 0xed:
        return second < 0xa0;
    case 0xf4:
        return second < 0x90;
    default:
        return true;
    }
}

size_t
shown_length(const unsigned char *p, size_t n)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (length == 1)
        return p[0] >= 0x20 && p[0] != 0x7f;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n || !is_second(p[0], p[1]))
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

unsigned
shown_add(struct buf *dst, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n, *run = p;
    unsigned width = 0;

    while (p < end) {
        size_t length = shown_length(p, (size_t)(end - p));

        width += length ? 1 : 4;
        if (length > 0) {
            p += length;
            continue;
        }
        buf_add(dst, run, (size_t)(p - run));
        buf_printf(dst, "\\x%02x", *p++);
        run = p;
    }
    buf_add(dst, run, (size_t)(p - run));
    return width;
}
