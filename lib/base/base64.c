/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Three octets make four characters; what lacks of the last three is "=".
 */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_add(struct buf *out, struct slice octets)
{
    for (size_t i = 0; i < octets.n; i += 3) {
        size_t left = octets.n - i;
        uint32_t word = (uint32_t)(unsigned char)octets.p[i] << 16;
        char four[4];

        if (left > 1)
            word |= (uint32_t)(unsigned char)octets.p[i + 1] << 8;
        if (left > 2)
            word |= (uint32_t)(unsigned char)octets.p[i + 2];
        for (unsigned n = 0; n < sizeof four; n++)
            four[n] = n > left ? '=' : digits[word >> (18 - 6 * n) & 63];
        buf_add(out, four, sizeof four);
    }
}
