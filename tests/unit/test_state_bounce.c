/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sources of backscatter: who is banned and for how long, and who never is (P4: a ban is for those
 * that send nothing else).
 */
#include "tests/unit/store_fixture.h"

#define THRESHOLD 20
#define BAN (4 * DAY)

static void
setup_bounce(void)
{
    setup();
    settings.bounce_threshold = THRESHOLD;
    settings.bounce_window_ms = HOUR;
    settings.ban_ms = BAN;
    reopen();
}

TestSuite(state_bounce, .init = setup_bounce, .fini = teardown, .timeout = 120);

static const struct inet_endpoint source = {4, {192, 0, 2, 1}, 4711};

static struct state_backscatter
bounce(const struct inet_endpoint *address, unsigned count, int64_t wall_ms)
{
    struct state_backscatter what = {.word = STATE_BACKSCATTER_COUNTED};

    for (unsigned i = 0; i < count; i++)
        what = state_store_learn_bounce(store, 1, address, wall_ms);
    return what;
}

static int64_t
banned(uint32_t customer_id, const struct inet_endpoint *address, int64_t wall_ms)
{
    return state_store_ban(store, customer_id, address, wall_ms);
}

static void
write_and_reopen(void)
{
    cr_assert_eq(state_store_flush(store), ERR_OK);
    reopen();
}

Test(state_bounce, above_the_threshold_an_address_is_banned_for_four_days)
{
    const struct inet_endpoint neighbour = {4, {192, 0, 2, 2}, 4711};
    struct state_backscatter what;

    cr_expect_eq(bounce(&source, THRESHOLD, NOW).word, STATE_BACKSCATTER_COUNTED);
    cr_expect_eq(banned(1, &source, NOW), 0, "not above it");
    write_and_reopen();
    what = bounce(&source, 1, NOW + MINUTE);
    cr_expect(what.word == STATE_BACKSCATTER_BANNED && what.until_ms == NOW + MINUTE + BAN);
    cr_expect_eq(bounce(&source, 1, NOW + DAY).word, STATE_BACKSCATTER_COUNTED, "told once");
    write_and_reopen();
    cr_expect_eq(banned(1, &source, NOW + MINUTE), NOW + MINUTE + BAN);
    cr_expect_neq(banned(1, &source, NOW + BAN), 0);
    cr_expect_eq(banned(1, &source, NOW + MINUTE + BAN), 0, "it ends");
    cr_expect_eq(banned(2, &source, NOW + MINUTE), 0, "another customer was not hit");
    cr_expect_eq(banned(1, &neighbour, NOW + MINUTE), 0, "another address");
    cr_expect_eq(bounce(&source, THRESHOLD, NOW + MINUTE + BAN).word, STATE_BACKSCATTER_COUNTED,
                 "counted anew");
}

Test(state_bounce, what_is_rare_is_never_banned)
{
    for (unsigned i = 0; i < 10; i++)
        cr_expect_eq(bounce(&source, THRESHOLD, NOW + i * HOUR).word, STATE_BACKSCATTER_COUNTED);
    cr_expect_eq(banned(1, &source, NOW + 10 * HOUR), 0);
}

Test(state_bounce, of_IPv6_a_64_is_one_source)
{
    struct inet_endpoint a = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1}, 1},
                         b = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 2}, 1},
                         other = {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 1}, 1};

    bounce(&a, THRESHOLD, NOW);
    cr_expect_eq(bounce(&b, 1, NOW).word, STATE_BACKSCATTER_BANNED);
    cr_expect_neq(banned(1, &a, NOW), 0);
    cr_expect_eq(banned(1, &other, NOW), 0);
}

/* --- Who delivers good mail, too. */

static void
deliver(uint32_t customers, int64_t wall_ms)
{
    for (uint32_t id = 1; id <= customers; id++)
        state_store_learn_good(store, id, &source, wall_ms);
}

Test(state_bounce, P4_who_delivers_good_mail_to_three_customers_is_reported_and_never_banned)
{
    struct state_backscatter what;

    deliver(3, NOW - 6 * DAY);
    write_and_reopen();
    what = bounce(&source, THRESHOLD + 1, NOW);
    cr_expect(what.word == STATE_BACKSCATTER_SPARED && what.good_customers == 3);
    cr_expect_eq(bounce(&source, 100, NOW + MINUTE).word, STATE_BACKSCATTER_COUNTED, "once a day");
    cr_expect_eq(banned(1, &source, NOW + MINUTE), 0);
    deliver(5, NOW + DAY);
    what = bounce(&source, THRESHOLD + 1, NOW + DAY + MINUTE);
    cr_expect(what.word == STATE_BACKSCATTER_SPARED && what.good_customers == 5, "the next day");
}

Test(state_bounce, two_customers_or_three_over_longer_than_a_week_are_not_enough)
{
    deliver(3, NOW - 7 * DAY - 1);
    deliver(2, NOW);
    cr_expect_eq(bounce(&source, THRESHOLD + 1, NOW).word, STATE_BACKSCATTER_BANNED);
    cr_expect_neq(banned(1, &source, NOW + MINUTE), 0);
    state_store_learn_good(store, 9, &source, NOW + MINUTE);
    cr_expect_eq(banned(1, &source, NOW + 2 * MINUTE), 0, "three now: it is never banned");
}

Test(state_bounce, good_mail_is_written_once_a_day_and_for_a_few_customers)
{
    deliver(1000, NOW);
    write_and_reopen();
    deliver(1000, NOW + DAY - 1);
    cr_expect_eq(state_store_waiting(store), 0);
    deliver(1000, NOW + DAY);
    cr_expect_eq(state_store_waiting(store), 1);
}

/* --- What ends it. */

Test(state_bounce, an_operator_ends_a_ban)
{
    cr_expect_not(state_store_forget_bounces(store, 1, &source, NOW));
    bounce(&source, THRESHOLD + 1, NOW);
    cr_expect(state_store_forget_bounces(store, 1, &source, NOW + MINUTE));
    cr_expect_eq(banned(1, &source, NOW + MINUTE), 0);
    cr_expect_eq(bounce(&source, THRESHOLD, NOW + MINUTE).word, STATE_BACKSCATTER_COUNTED);
    cr_expect_eq(bounce(&source, 1, NOW + MINUTE).word, STATE_BACKSCATTER_BANNED);
}

Test(state_bounce, bans_are_listed)
{
    const struct inet_endpoint other = {4, {192, 0, 2, 2}, 1};
    const struct state_filter all = {.domain = ""};
    const struct state_place beginning = {.size = 0};
    static struct state_page page;

    bounce(&source, THRESHOLD + 1, NOW);
    bounce(&other, THRESHOLD, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_assert_eq(state_store_list(store, STATE_LIST_BANS, &all, &beginning, NOW + DAY, &page),
                 ERR_OK);
    cr_assert_eq(page.count, 1);
    cr_expect(page.rows[0].customer_id == 1 && page.rows[0].network.bits == 32 &&
              page.rows[0].network.addr[3] == 1);
    cr_expect(page.rows[0].since_ms == NOW && page.rows[0].until_ms == NOW + BAN);
    cr_expect_eq(page.next.size, 0);
    deliver(3, NOW + DAY);
    cr_assert_eq(state_store_list(store, STATE_LIST_BANS, &all, &beginning, NOW + DAY, &page),
                 ERR_OK);
    cr_expect_eq(page.count, 0, "it delivers good mail");
}

Test(state_bounce, a_threshold_of_0_bans_nobody)
{
    bounce(&source, THRESHOLD + 1, NOW);
    state_store_close(&store);
    settings.bounce_threshold = 0;
    reopen();
    cr_expect_eq(banned(1, &source, NOW), 0);
    cr_expect_eq(bounce(&source, 1000, NOW).word, STATE_BACKSCATTER_COUNTED);
}

Test(state_bounce, what_counts_no_more_is_purged)
{
    static const struct {
        const char *name;
        int64_t at_ms;
        unsigned removed;
    } steps[] = {
        {"at once", NOW + MINUTE, 0},
        {"the window is over", NOW + HOUR + 1, 1},
        {"the ban is over", NOW + BAN, 2},
        {"a week", NOW + 7 * DAY + 1, 3},
    };
    const struct inet_endpoint other = {4, {192, 0, 2, 2}, 1};

    deliver(2, NOW);
    bounce(&source, THRESHOLD + 1, NOW);
    bounce(&other, 1, NOW);
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        cr_assert_eq(state_store_flush(store), ERR_OK);
        cr_assert_eq(state_store_purge(store, steps[i].at_ms, 100), ERR_OK);
        cr_expect_eq(state_store_waiting(store), steps[i].removed - (i ? steps[i - 1].removed : 0),
                     "%s", steps[i].name);
    }
}
