/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numbers with units.  One table a kind; the same table prints.
 */
#include "base/parse.h"

#include <stdio.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                             {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct unit size_units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
                                         {"B", 1},         {"G", 1 << 30},   {"M", 1 << 20},
                                         {"K", 1 << 10},   {NULL, 0}};

int
parse_u64(struct slice s, uint64_t *v)
{
    uint64_t n = 0;

    *v = 0;
    if (s.n == 0)
        return ERR_SYNTAX;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return ERR_SYNTAX;
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s.p[i] - '0'), &n))
            return ERR_RANGE;
    }
    *v = n;
    return ERR_OK;
}

static int
parse_with_unit(struct slice s, const struct unit *units, uint64_t *v)
{
    struct slice number = s;
    int rc;

    *v = 0;
    while (number.n > 0 && (number.p[number.n - 1] < '0' || number.p[number.n - 1] > '9'))
        number.n--;
    rc = parse_u64(number, v);
    if (rc < 0)
        return rc;
    s.p += number.n;
    s.n -= number.n;
    for (; units->name; units++)
        if (slice_equal_nocase(slice_trim(s), slice_of(units->name)))
            return __builtin_mul_overflow(*v, units->factor, v) ? ERR_RANGE : ERR_OK;
    return ERR_SYNTAX;
}

int
parse_duration_ms(struct slice s, int64_t *ms)
{
    uint64_t v;
    int rc = parse_with_unit(s, duration_units, &v);

    *ms = 0;
    if (rc < 0)
        return rc;
    if (v > (uint64_t)3650 * 86400000)
        return ERR_RANGE;
    *ms = (int64_t)v;
    return ERR_OK;
}

int
parse_size_bytes(struct slice s, uint64_t *bytes)
{
    return parse_with_unit(s, size_units, bytes);
}

int
parse_bool(struct slice s, bool *v)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"yes", true},    {"no", false}, {"true", true},
                 {"false", false}, {"on", true},  {"off", false}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (slice_equal_nocase(s, slice_of(words[i].word))) {
            *v = words[i].value;
            return ERR_OK;
        }
    return ERR_SYNTAX;
}

static const char *
format_with_unit(uint64_t v, const struct unit *units, const char *zero, char dst[PARSE_TEXT_SIZE])
{
    if (v == 0) {
        snprintf(dst, PARSE_TEXT_SIZE, "%s", zero);
        return dst;
    }
    while (v % units->factor)
        units++;
    snprintf(dst, PARSE_TEXT_SIZE, "%llu%s", (unsigned long long)(v / units->factor), units->name);
    return dst;
}

const char *
format_duration(int64_t ms, char dst[PARSE_TEXT_SIZE])
{
    return format_with_unit((uint64_t)ms, duration_units, "0s", dst);
}

const char *
format_size(uint64_t bytes, char dst[PARSE_TEXT_SIZE])
{
    return format_with_unit(bytes, size_units, "0B", dst);
}
