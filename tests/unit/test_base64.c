/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The vectors of RFC 4648 10, and octets that are no text.
 */
#include "config.h"

#include <criterion/criterion.h>

#include "base/base64.h"

static const struct {
    const char *octets;
    size_t n;
    const char *text;
} cases[] = {
    {"", 0, ""},
    {"f", 1, "Zg=="},
    {"fo", 2, "Zm8="},
    {"foo", 3, "Zm9v"},
    {"foob", 4, "Zm9vYg=="},
    {"fooba", 5, "Zm9vYmE="},
    {"foobar", 6, "Zm9vYmFy"},
    {"\0a\xff\xfb", 4, "AGH/+w=="},
};

Test(base64, octets_as_text)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf out;

        buf_init(&out, 0);
        base64_add(&out, (struct slice){cases[i].octets, cases[i].n});
        cr_expect_str_eq(buf_text(&out), cases[i].text, "case %zu: %s", i, buf_text(&out));
        buf_fini(&out);
    }
}
