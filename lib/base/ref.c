/* SPDX-License-Identifier: BSD-2-Clause
 *
 * References as text: 'P', 3 digits of node, '-', 5 of minute, '-', 7 of number; a digit is 5 bits.
 */
#include "base/ref.h"

#define REF_EPOCH_MS 1577836800000LL /* 2020-01-01T00:00:00Z */
#define REF_TEXT_LENGTH (REF_SIZE - 1)

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

struct ref
ref_make(uint16_t node, int64_t wall_ms, uint32_t epoch, uint64_t counter)
{
    int64_t minute = (wall_ms - REF_EPOCH_MS) / 60000;

    return (struct ref){
        .node = node & 0x7fff,
        .minute = minute < 0 ? 0 : (uint32_t)minute & 0x1ffffff,
        .number = (uint64_t)(epoch & 0x7f) << 28 | (counter & 0xfffffff),
    };
}

static char *
write_digits(char *at, uint64_t v, int n)
{
    for (int i = n - 1; i >= 0; i--, v >>= 5)
        at[i] = digits[v & 31];
    return at + n;
}

const char *
ref_text(struct ref r, char dst[REF_SIZE])
{
    char *at = dst;

    *at++ = 'P';
    at = write_digits(at, r.node, 3);
    *at++ = '-';
    at = write_digits(at, r.minute, 5);
    *at++ = '-';
    at = write_digits(at, r.number, 7);
    *at = '\0';
    return dst;
}

bool
ref_equal(struct ref a, struct ref b)
{
    return a.node == b.node && a.minute == b.minute && a.number == b.number;
}

bool
ref_is_none(struct ref r)
{
    return r.node == 0;
}

int64_t
ref_minute_wall_ms(struct ref r)
{
    return REF_EPOCH_MS + (int64_t)r.minute * 60000;
}

static int
digit_value(char c)
{
    const char *at;

    if (c >= 'a' && c <= 'z')
        c = (char)(c - 32);
    if (c == 'I' || c == 'L')
        c = '1';
    if (c == 'O')
        c = '0';
    at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool
read_digits(const char *at, int n, uint64_t *v)
{
    *v = 0;
    for (int i = 0; i < n; i++) {
        int d = digit_value(at[i]);

        if (d < 0)
            return false;
        *v = *v << 5 | (uint64_t)d;
    }
    return true;
}

int
ref_parse(struct slice s, struct ref *r)
{
    uint64_t node, minute, number;

    *r = (struct ref){0};
    if (s.n != REF_TEXT_LENGTH || (s.p[0] != 'P' && s.p[0] != 'p') || s.p[4] != '-' ||
        s.p[10] != '-')
        return ERR_SYNTAX;
    if (!read_digits(s.p + 1, 3, &node) || !read_digits(s.p + 5, 5, &minute) ||
        !read_digits(s.p + 11, 7, &number))
        return ERR_SYNTAX;
    if (node == 0)
        return ERR_SYNTAX;
    *r = (struct ref){(uint16_t)node, (uint32_t)minute, number};
    return ERR_OK;
}

int
ref_find(struct slice text, struct ref *r)
{
    for (; text.n >= REF_TEXT_LENGTH; text.p++, text.n--)
        if (ref_parse((struct slice){text.p, REF_TEXT_LENGTH}, r) == ERR_OK)
            return ERR_OK;
    *r = (struct ref){0};
    return ERR_NOT_FOUND;
}
