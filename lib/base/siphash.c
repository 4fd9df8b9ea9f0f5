/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SipHash-2-4, following section 2 of the paper; the test holds it against the paper's vectors.
 */
#include "base/siphash.h"

#include <sys/random.h>

#include "base/codec.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t
rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static void
sip_rounds(struct sip *s, int n)
{
    while (n-- > 0) {
        s->v0 += s->v1;
        s->v1 = rotl(s->v1, 13) ^ s->v0;
        s->v0 = rotl(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotl(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotl(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotl(s->v1, 17) ^ s->v2;
        s->v2 = rotl(s->v2, 32);
    }
}

static void
sip_word(struct sip *s, uint64_t m)
{
    s->v3 ^= m;
    sip_rounds(s, 2);
    s->v0 ^= m;
}

uint64_t
siphash(const void *data, size_t size_bytes, const uint8_t key[SIPHASH_KEY_SIZE])
{
    const uint8_t *p = data;
    uint64_t k0 = load_u64(key), k1 = load_u64(key + 8);
    uint64_t last = (uint64_t)size_bytes << 56;
    struct sip s = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL,
                    k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL};
    size_t left = size_bytes;

    for (; left >= 8; left -= 8, p += 8)
        sip_word(&s, load_u64(p));
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)p[i] << (8 * i);
    sip_word(&s, last);
    s.v2 ^= 0xff;
    sip_rounds(&s, 4);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void
random_bytes(void *dst, size_t size_bytes)
{
    char *p = dst;

    while (size_bytes > 0) {
        ssize_t n = getrandom(p, size_bytes, 0);

        CHECK(n > 0);
        p += n;
        size_bytes -= (size_t)n;
    }
}
