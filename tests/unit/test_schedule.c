/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P10 and the retry rules: oldest first, message-specific pauses, windows that grow and shrink.
 */
#include <criterion/criterion.h>

#include <stdlib.h>

#include "base/err.h"
#include "spoolmgr/schedule.h"

#define ITEMS 200

Test(schedule, P10_gives_the_oldest_ready_item_of_a_queue_first)
{
    struct schedule s;
    struct schedule_item items[ITEMS] = {0};
    struct schedule_queue *queue;
    int64_t last_ms = -1;

    schedule_init(&s);
    queue = schedule_queue_of(&s, 7);
    cr_assert_eq(schedule_queue_of(&s, 7), queue);
    for (int i = 0; i < ITEMS; i++)
        schedule_put(&s, &items[i], queue, (i * 7919) % 50, 0, 100);
    for (int i = 0; i < ITEMS; i += 3)
        schedule_remove(&items[i]);
    for (int i = 0; i < ITEMS; i++) {
        struct schedule_item *item;

        if (i % 3 == 0)
            continue;
        item = schedule_take(queue);
        cr_assert_not_null(item);
        cr_assert_geq(item->arrived_at_ms, last_ms);
        last_ms = item->arrived_at_ms;
        schedule_done(item);
    }
    cr_assert_null(schedule_take(queue));
    cr_assert_eq(queue->running, 0);
    schedule_fini(&s);
}

Test(schedule, an_item_waits_until_its_moment_and_the_others_pass_it)
{
    struct schedule s;
    struct schedule_item late = {0}, soon = {0};
    struct schedule_queue *queue;

    schedule_init(&s);
    queue = schedule_queue_of(&s, 1);
    schedule_put(&s, &late, queue, 1, 5000, 100);
    schedule_put(&s, &soon, queue, 2, 0, 100);
    cr_assert_eq(schedule_take(queue), &soon);
    cr_assert_null(schedule_take(queue));
    schedule_promote(&s, 4999);
    cr_assert_null(schedule_peek(queue));
    schedule_promote(&s, 5000);
    cr_assert_eq(schedule_peek(queue), &late);
    schedule_fini(&s);
}

Test(schedule, a_pass_makes_everything_ready_and_is_over_when_every_queue_has_left)
{
    struct schedule s;
    struct schedule_item items[3] = {0};

    schedule_init(&s);
    cr_assert(schedule_pass_is_over(&s));
    for (uint32_t i = 0; i < 3; i++)
        schedule_put(&s, &items[i], schedule_queue_of(&s, i + 1), 1, 1000000, 100);
    cr_assert_eq(schedule_pass_begin(&s), 3);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_not(schedule_pass_is_over(&s));
        cr_assert(schedule_pass_has(&s, schedule_queue_of(&s, i + 1)));
        cr_assert_eq(schedule_take(schedule_queue_of(&s, i + 1)), &items[i]);
        schedule_pass_leave(&s, schedule_queue_of(&s, i + 1));
    }
    cr_assert(schedule_pass_is_over(&s));
    schedule_fini(&s);
}

Test(schedule, a_window_begins_at_one_grows_by_one_and_is_halved)
{
    struct schedule_window w;

    schedule_window_init(&w);
    cr_assert(schedule_window_may_start(&w, 16, false));
    w.active = 1;
    cr_assert_not(schedule_window_may_start(&w, 16, false));
    for (int i = 0; i < 40; i++)
        schedule_window_good(&w, 16);
    cr_assert_eq(w.allowed, 16);
    w.active = 15;
    cr_assert(schedule_window_may_start(&w, 16, false));
    cr_assert_not(schedule_window_may_start(&w, 4, false), "the limit was lowered");
    cr_assert_not(schedule_window_may_start(&w, 16, true), "a probe goes alone");
    schedule_window_trouble(&w);
    cr_assert_eq(w.allowed, 8);
    for (int i = 0; i < 10; i++)
        schedule_window_trouble(&w);
    cr_assert_eq(w.allowed, 1);
}

static const struct {
    const char *name;
    int64_t previous_ms;
    uint32_t random;
    int64_t want_ms;
} pauses[] = {
    {"the first", 0, 0, 300000},
    {"the first, jittered", 0, 999, 300000 - 59940},
    {"doubled", 300000, 0, 600000},
    {"never under the least", 1000, 0, 300000},
    {"never over the most", 14000000, 0, 14400000},
};

Test(schedule, a_message_backs_off_alone_and_doubles)
{
    for (size_t i = 0; i < ARRAY_SIZE(pauses); i++)
        cr_expect_eq(schedule_backoff_ms(pauses[i].previous_ms, 300000, 14400000, pauses[i].random),
                     pauses[i].want_ms, "%s", pauses[i].name);
    cr_expect_eq(schedule_unknown_pause_ms(1), 3600000);
    cr_expect_eq(schedule_unknown_pause_ms(2), 4 * 3600000);
    cr_expect_eq(schedule_unknown_pause_ms(3), -1);
}

static bool
keeps_odd_moments(const struct schedule_item *item)
{
    return item->next_at_ms % 2 != 0;
}

Test(schedule, what_is_made_due_is_ready_by_age_and_the_rest_keeps_its_moment)
{
    struct schedule s;
    struct schedule_item items[ITEMS] = {0}, *item;
    struct schedule_queue *queue;
    int64_t last_ms = -1;

    schedule_init(&s);
    queue = schedule_queue_of(&s, 7);
    for (int i = 0; i < ITEMS; i++)
        schedule_put(&s, &items[i], queue, (i * 7919) % 50, 1000 + (i * 7919) % ITEMS, 100);
    schedule_put(&s, &items[0], queue, 1, 0, 100); /* one that is ready already */
    cr_expect_eq(schedule_make_due(queue, keeps_odd_moments), ITEMS / 2 - 1);
    cr_expect_eq(schedule_make_due(queue, keeps_odd_moments), 0);
    for (int i = 0; i < ITEMS / 2; i++) {
        item = schedule_take(queue);
        cr_assert(item != NULL && item->next_at_ms % 2 == 0 && item->arrived_at_ms >= last_ms);
        last_ms = item->arrived_at_ms;
        schedule_done(item);
    }
    cr_expect_null(schedule_peek(queue));
    for (int64_t moment = 1001; moment < 1000 + ITEMS; moment += 2) {
        schedule_promote(&s, moment - 1);
        cr_assert_null(schedule_peek(queue));
        schedule_promote(&s, moment);
        cr_assert_not_null(item = schedule_take(queue));
        cr_expect_eq(item->next_at_ms, moment);
        schedule_done(item);
    }
    schedule_fini(&s);
}

static const struct {
    const char *name;
    int64_t next_ms, max_ms, want_ms;
} recorded[] = {
    {"as soon as its route permits", 0, 1000, 0},
    {"past", 900, 1000, 900},
    {"as far as it can be", 1000 + 14400000, 1000, 1000 + 14400000},
    {"by a clock that was ahead", 9000000000, 1000, 1000 + 14400000},
    {"with longer pauses allowed", 9000000000, 86400000, 1000 + 86400000},
};

Test(schedule, a_recorded_moment_is_no_further_away_than_a_pause_can_be)
{
    for (size_t i = 0; i < ARRAY_SIZE(recorded); i++)
        cr_expect_eq(schedule_capped_ms(recorded[i].next_ms, 1000, recorded[i].max_ms),
                     recorded[i].want_ms, "%s", recorded[i].name);
}
