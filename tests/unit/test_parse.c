/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Numbers with units, both ways.
 */
#include <criterion/criterion.h>

#include "base/parse.h"

static const struct {
    const char *text;
    int rc;
    int64_t ms;
    const char *again;
} durations[] = {
    {"5m", ERR_OK, 300000, "5m"},   {"90s", ERR_OK, 90000, "90s"},
    {"120s", ERR_OK, 120000, "2m"}, {"0s", ERR_OK, 0, "0s"},
    {"1d", ERR_OK, 86400000, "1d"}, {"15 ms", ERR_OK, 15, "15ms"},
    {"4H", ERR_OK, 14400000, "4h"}, {"5", ERR_SYNTAX, 0, NULL},
    {"m", ERR_SYNTAX, 0, NULL},     {"-5m", ERR_SYNTAX, 0, NULL},
    {"5mm", ERR_SYNTAX, 0, NULL},   {"5m3s", ERR_SYNTAX, 0, NULL},
    {"3651d", ERR_RANGE, 0, NULL},  {"99999999999999999999s", ERR_RANGE, 0, NULL},
};

Test(parse, durations)
{
    for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
        char text[PARSE_TEXT_SIZE];
        int64_t ms;

        cr_expect_eq(parse_duration_ms(slice_of(durations[i].text), &ms), durations[i].rc, "%s",
                     durations[i].text);
        if (durations[i].rc < 0)
            continue;
        cr_expect_eq(ms, durations[i].ms, "%s", durations[i].text);
        cr_expect_str_eq(format_duration(ms, text), durations[i].again, "%s", durations[i].text);
    }
}

static const struct {
    const char *text;
    int rc;
    uint64_t bytes;
    const char *again;
} sizes[] = {
    {"20MiB", ERR_OK, 20971520, "20MiB"},
    {"64k", ERR_OK, 65536, "64KiB"},
    {"100B", ERR_OK, 100, "100B"},
    {"0B", ERR_OK, 0, "0B"},
    {"1024KiB", ERR_OK, 1048576, "1MiB"},
    {"4G", ERR_OK, 4294967296, "4GiB"},
    {"20", ERR_SYNTAX, 0, NULL},
    {"20MB", ERR_SYNTAX, 0, NULL},
    {"", ERR_SYNTAX, 0, NULL},
    {"99999999999GiB", ERR_RANGE, 0, NULL},
};

Test(parse, sizes)
{
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char text[PARSE_TEXT_SIZE];
        uint64_t bytes;

        cr_expect_eq(parse_size_bytes(slice_of(sizes[i].text), &bytes), sizes[i].rc, "%s",
                     sizes[i].text);
        if (sizes[i].rc < 0)
            continue;
        cr_expect_eq(bytes, sizes[i].bytes, "%s", sizes[i].text);
        cr_expect_str_eq(format_size(bytes, text), sizes[i].again, "%s", sizes[i].text);
    }
}

static const struct {
    const char *text;
    int rc;
    uint64_t v;
} numbers[] = {
    {"0", ERR_OK, 0},      {"18446744073709551615", ERR_OK, UINT64_MAX},
    {"007", ERR_OK, 7},    {"18446744073709551616", ERR_RANGE, 0},
    {"", ERR_SYNTAX, 0},   {"+1", ERR_SYNTAX, 0},
    {"1 ", ERR_SYNTAX, 0}, {"0x1", ERR_SYNTAX, 0},
};

Test(parse, numbers_and_booleans)
{
    bool v = false;

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        uint64_t n;

        cr_expect_eq(parse_u64(slice_of(numbers[i].text), &n), numbers[i].rc, "%s",
                     numbers[i].text);
        cr_expect_eq(n, numbers[i].v, "%s", numbers[i].text);
    }
    cr_expect(parse_bool(SLICE("Yes"), &v) == ERR_OK && v);
    cr_expect(parse_bool(SLICE("off"), &v) == ERR_OK && !v);
    cr_expect_eq(parse_bool(SLICE("1"), &v), ERR_SYNTAX);
}
