/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A text is there once, and as long as somebody has it.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "spool/spool_texts.h"

Test(spool_texts, the_same_text_is_one)
{
    struct spool_texts t = {.table = NULL};
    const char *a = spool_text_take(&t, SLICE("451 later")),
               *b = spool_text_take(&t, SLICE("452 full")),
               *again = spool_text_take(&t, SLICE("451 later"));

    cr_expect_eq(a, again);
    cr_expect_neq(a, b);
    cr_expect_str_eq(a, "451 later");
    cr_expect_str_eq(b, "452 full");
    cr_expect_eq(t.count, 2);
    spool_text_give(&t, a);
    cr_expect_str_eq(again, "451 later", "one still has it");
    cr_expect_eq(t.count, 2);
    spool_text_give(&t, again);
    cr_expect_eq(t.count, 1);
    spool_texts_fini(&t);
}

Test(spool_texts, nothing_is_no_text)
{
    struct spool_texts t = {.table = NULL};
    const char *none = spool_text_take(&t, SLICE(""));

    cr_expect_str_eq(none, "");
    cr_expect_str_eq(spool_text_take(&t, (struct slice){"a\0b", 3}), "a", "up to a NUL");
    spool_text_give(&t, none);
    spool_text_give(&t, NULL);
    cr_expect_eq(t.count, 1);
    spool_texts_fini(&t);
}

#define MANY 5000

Test(spool_texts, many_come_and_go)
{
    static const char *texts[MANY];
    struct spool_texts t = {.table = NULL};
    char text[32];

    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "reply %d", i);
        texts[i] = spool_text_take(&t, slice_of(text));
    }
    for (int i = 0; i < MANY; i += 2)
        spool_text_give(&t, texts[i]);
    cr_expect_eq(t.count, MANY / 2);
    for (int i = 1; i < MANY; i += 2) {
        snprintf(text, sizeof text, "reply %d", i);
        cr_expect_str_eq(texts[i], text);
        cr_expect_eq(spool_text_take(&t, slice_of(text)), texts[i]);
        spool_text_give(&t, texts[i]);
        spool_text_give(&t, texts[i]);
    }
    cr_expect_eq(t.count, 0);
    spool_texts_fini(&t);
}
