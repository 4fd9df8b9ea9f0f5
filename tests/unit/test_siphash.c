/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SipHash-2-4 against appendix A of the paper and the authors' vectors.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/err.h"
#include "base/siphash.h"

/* Key 00 01 ... 0f, input 00 01 ... of the length. */
static const struct {
    size_t length;
    uint64_t want;
} vectors[] = {
    {0, 0x726fdb47dd0e0e31}, {1, 0x74f839c593dc67fd},  {7, 0xab0200f58b01d137},
    {8, 0x93f5f5799a932462}, {15, 0xa129ca6149be45e5}, /* the paper's */
};

Test(siphash, gives_the_papers_values)
{
    uint8_t key[SIPHASH_KEY_SIZE], data[64];

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    memcpy(key, data, sizeof key);
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++)
        cr_expect_eq(siphash(data, vectors[i].length, key), vectors[i].want, "length %zu",
                     vectors[i].length);
}
