/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: a clock that jumps is noticed, in one run and between two, and deadlines are not believed for
 * the grace behind it.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock_watch.h"

#define MINUTE 60000LL
#define HOUR (60 * MINUTE)
#define GRACE (24 * HOUR)
#define WALL (1795438800LL * 1000)

static const char here[CLOCK_BOOT_ID_SIZE] = "d0a6a4b2-0000-4000-8000-000000000001";
static const char there[CLOCK_BOOT_ID_SIZE] = "d0a6a4b2-0000-4000-8000-000000000002";

/* Each looks once at WALL and ten hours since boot, and then again. */
static const struct {
    const char *name;
    int64_t wall_ms, boot_ms; /* later by */
    const char *boot_id;
    int64_t jump_ms, grace_ms;
} cases[] = {
    {"time passes", MINUTE, MINUTE, here, 0, 0},
    {"five days pass", 120 * HOUR, 120 * HOUR, here, 0, 0},
    {"set by an hour, no more", HOUR, 0, here, 0, 0},
    {"set back by an hour, no more", -HOUR, 0, here, 0, 0},
    {"into another year", 40000 * HOUR, 0, here, 40000 * HOUR, GRACE},
    {"back by a day", -24 * HOUR + MINUTE, MINUTE, here, -24 * HOUR, GRACE},
    {"another boot, at once", 5 * MINUTE, -9 * HOUR, there, 0, 0},
    {"another boot, two days later", 48 * HOUR, -9 * HOUR, there, 48 * HOUR, GRACE},
    {"another boot, a clock without battery", -WALL, -9 * HOUR, there, -WALL, GRACE},
};

static struct clock_watch
seen_once(void)
{
    struct clock_watch w = {.boot_ms = -1};

    cr_assert_eq(clock_watch_grace_ms(&w), 0);
    cr_assert_eq(clock_watch_look(&w, WALL, 10 * HOUR, here, GRACE), 0);
    cr_assert_eq(clock_watch_grace_ms(&w), 0);
    return w;
}

Test(clock_watch, P2_jumps)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct clock_watch w = seen_once();
        int64_t jump = clock_watch_look(&w, WALL + cases[i].wall_ms, 10 * HOUR + cases[i].boot_ms,
                                        cases[i].boot_id, GRACE);

        cr_expect_eq(jump, cases[i].jump_ms, "%s", cases[i].name);
        cr_expect_eq(clock_watch_grace_ms(&w), cases[i].grace_ms, "%s", cases[i].name);
    }
}

Test(clock_watch, P2_the_grace_ends_by_the_time_since_boot_whatever_the_clock_says)
{
    struct clock_watch w = seen_once();

    (void)clock_watch_look(&w, WALL + 100 * HOUR, 10 * HOUR, here, GRACE);
    cr_assert_eq(clock_watch_look(&w, WALL + 101 * HOUR, 11 * HOUR, here, GRACE), 0);
    cr_assert_eq(clock_watch_grace_ms(&w), GRACE - HOUR);
    (void)clock_watch_look(&w, WALL + 12 * HOUR, 12 * HOUR, here, GRACE); /* set right again */
    cr_assert_eq(clock_watch_grace_ms(&w), GRACE);
    (void)clock_watch_look(&w, WALL + 36 * HOUR, 36 * HOUR, here, GRACE);
    cr_assert_eq(clock_watch_grace_ms(&w), 0);
}

Test(clock_watch, P2_a_grace_goes_on_in_the_next_run_and_the_next_boot)
{
    struct clock_watch w = seen_once(), next;
    char text[CLOCK_WATCH_TEXT_SIZE];

    (void)clock_watch_look(&w, WALL + 100 * HOUR, 10 * HOUR, here, GRACE);
    cr_assert_eq(clock_watch_resume(&next, slice_of(clock_watch_text(&w, text))), 0);
    cr_assert_eq(clock_watch_look(&next, WALL + 100 * HOUR, 10 * HOUR, here, GRACE), 0);
    cr_assert_eq(clock_watch_grace_ms(&next), GRACE);
    cr_assert_eq(clock_watch_resume(&next, slice_of(text)), 0);
    cr_assert_eq(clock_watch_look(&next, WALL + 100 * HOUR, MINUTE, there, GRACE), 0);
    cr_assert_eq(clock_watch_grace_ms(&next), GRACE);
}

Test(clock_watch, what_is_no_text_of_ours_is_a_first_look)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "1 2 3",
                                        "1 2 3 4",
                                        "a b c d\n",
                                        "1 -2 3 4\n",
                                        "1 2 3 " /* an id too long */
                                        "ddddddddddddddddddddddddddddddddddddddddddddddddddd\n"};
    char text[CLOCK_WATCH_TEXT_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct clock_watch w = seen_once();

        cr_expect_eq(clock_watch_resume(&w, slice_of(texts[i])), ERR_SYNTAX, "%s", texts[i]);
        cr_expect_eq(clock_watch_look(&w, 0, 1, here, GRACE), 0, "%s", texts[i]);
    }
    for (size_t cut = 0, n = strlen(clock_watch_text(&(struct clock_watch){1, 2, 3, "x"}, text));
         cut < n; cut++) {
        struct clock_watch w;

        cr_expect_eq(clock_watch_resume(&w, (struct slice){text, cut}), ERR_SYNTAX, "cut %zu", cut);
    }
}
