/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Client and server joined by a channel: answers, deadlines, cancels, and a state process that dies
 * or hangs (P8: nobody waits longer than STATE_DEADLINE_MS).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "state/state.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH];
static struct loop *loop;
static struct state_store *store;
static struct state_server *server;
static struct state_client *client;
static int far_end = -1;
static const struct inet_endpoint backend = {4, {127, 0, 0, 1}, 25};

static unsigned answered, wanted;
static enum state_recipient last_answer;
static bool last_is_told;
static struct state_answer last;
static unsigned backscatters;
static unsigned errors;

static void
on_error(void *ctx, int err)
{
    (void)ctx;
    (void)err;
    errors++;
}

static void
on_answer(void *ctx, const struct state_answer *answer)
{
    unsigned *count = ctx;

    last_answer = answer->recipient;
    last_is_told = answer->is_told;
    last = *answer;
    if (count != NULL)
        (*count)++;
    if (++answered == wanted)
        loop_stop(loop);
}

static void
on_too_long(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

/* Runs until `count` more answers have come, or for limit_ms. */
static void
run(unsigned count, int64_t limit_ms)
{
    struct loop_timer timer;

    answered = 0;
    wanted = count;
    loop_timer_init(&timer, loop, on_too_long, NULL);
    loop_timer_start(&timer, limit_ms);
    loop_run(loop);
    loop_timer_cancel(&timer);
}

static void
setup(void)
{
    struct state_store_settings settings = {.dir = folder,
                                            .positive_ttl_ms = 1000000,
                                            .negative_ttl_ms = 1000,
                                            .map_size_bytes = 16 << 20,
                                            .bounce_threshold = 2,
                                            .bounce_window_ms = 60000,
                                            .ban_ms = 60000};
    bool set_aside;
    int fds[2];

    scratch_folder(folder, "test_state_client");
    cr_assert_eq(state_store_open(&settings, &store, &set_aside), ERR_OK);
    loop = loop_new();
    server = state_server_new(loop, store, on_error, NULL);
    cr_assert_eq(channel_pair(fds), ERR_OK);
    state_server_add(server, fds[0]);
    client = state_client_open(loop, fds[1]);
}

static void
teardown(void)
{
    static const char *const names[] = {"state.mdb", "state.mdb-lock", "state.mdb.owner"};

    state_client_close(&client);
    state_server_free(&server);
    run(1, 1); /* what was deferred */
    loop_free(&loop);
    state_store_close(&store);
    if (far_end >= 0)
        close(far_end);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    cr_expect_eq(rmdir(folder), 0);
    cr_expect_eq(errors, 0);
}

TestSuite(state_client, .init = setup, .fini = teardown, .timeout = 30);

Test(state_client, learns_and_asks_in_order)
{
    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    state_recipient_learn(client, 1, "good@x.example", true, &backend);
    state_recipient_learn(client, 1, "bad@x.example", false, &backend);
    state_recipient_ask(client, 1, "good@x.example", 0, on_answer, NULL);
    run(1, 5000);
    cr_expect_eq(last_answer, STATE_RECIPIENT_VALID);
    state_recipient_ask(client, 1, "bad@x.example", 0, on_answer, NULL);
    run(1, 5000);
    cr_expect_eq(last_answer, STATE_RECIPIENT_INVALID);
    state_recipient_ask(client, 2, "good@x.example", 0, on_answer, NULL);
    run(1, 5000);
    cr_expect_eq(last_answer, STATE_RECIPIENT_UNKNOWN);
    cr_expect_eq(state_client_timeouts(client), 0);
}

static bool
knows(const char *key)
{
    return state_store_recipient(store, 1, key, 0, clock_wall_ms()) == STATE_RECIPIENT_VALID;
}

Test(state_client, commits_by_itself)
{
    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    state_recipient_learn(client, 1, "good@x.example", true, &backend);
    for (int i = 0; i < 100 && !(knows("good@x.example") && state_store_is_idle(store)); i++)
        run(1, 20);
    cr_expect(knows("good@x.example"));
    cr_expect(state_store_is_idle(store));
    cr_expect_eq(state_store_waiting(store), 0);
}

/* What is learned of recipients needs nobody behind it to leave, and a close takes it along. */
Test(state_client, news_of_recipients_leave_in_time)
{
    int64_t began_ms = clock_monotonic_ms();

    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    run(1, 5); /* that has left */
    state_recipient_learn(client, 1, "good@x.example", true, &backend);
    for (int i = 0; i < 1000 && !knows("good@x.example"); i++)
        run(1, 1);
    cr_expect(knows("good@x.example"));
    cr_expect_leq(clock_monotonic_ms() - began_ms, 2000);
    state_recipient_learn(client, 1, "last@x.example", true, &backend);
    state_client_close(&client);
    for (int i = 0; i < 1000 && !knows("last@x.example"); i++)
        run(1, 1);
    cr_expect(knows("last@x.example"));
}

/* --- Who comes. */

static const struct inet_endpoint peer = {4, {192, 0, 2, 1}, 4711},
                                  of_pool = {4, {192, 0, 3, 1}, 1};

static struct state_greylist
ask_greylist(const struct inet_endpoint *from, const char *domain, int64_t delay_ms)
{
    struct state_greylist_key key = {1, *from, "a@b.example", "u@x.example", domain};

    state_greylist_ask(client, &key, delay_ms, on_answer, NULL);
    run(1, 5000);
    cr_expect(last.is_told);
    return last.greylist;
}

Test(state_client, a_domain_waits_and_is_known)
{
    cr_expect_gt(ask_greylist(&peer, "b.example", 60000).wait_ms, 0);
    run(1, 3);
    cr_expect_gt(ask_greylist(&of_pool, "c.example", 60000).wait_ms, 0, "another domain");
    cr_expect_gt(ask_greylist(&of_pool, NULL, 60000).wait_ms, 0, "no domain");
    cr_expect_eq(ask_greylist(&of_pool, "b.example", 1).wait_ms, 0);
    cr_expect_not(last.greylist.is_known, "it has waited");
    cr_expect(ask_greylist(&peer, "b.example", 60000).is_known);
}

static unsigned rows;

static void
on_page(void *ctx, const struct state_answer *answer)
{
    cr_assert(answer->is_told && answer->page != NULL);
    rows = answer->page->count;
    cr_expect(rows == 0 || strcmp(answer->page->rows[0].domain, "b.example") == 0);
    on_answer(ctx, answer);
}

static unsigned
list_known(void)
{
    const struct state_filter all = {.domain = ""};
    const struct state_place beginning = {.size = 0};

    state_list_ask(client, STATE_LIST_KNOWN, &all, &beginning, on_page, NULL);
    run(1, 5000);
    return rows;
}

Test(state_client, lists_and_forgets)
{
    const struct state_filter which = {.domain = "b.example"};

    ask_greylist(&peer, "b.example", 1);
    run(1, 3);
    ask_greylist(&peer, "b.example", 1);
    for (int i = 0; i < 100 && list_known() == 0; i++)
        run(1, 20); /* until it is on disk */
    cr_expect_eq(rows, 1);
    state_greylist_forget(client, &which);
    cr_expect_eq(list_known(), 0);
    cr_expect_gt(ask_greylist(&peer, "b.example", 60000).wait_ms, 0);
}

Test(state_client, P8_a_state_process_that_hangs_lists_nothing)
{
    const struct state_filter all = {.domain = ""};
    const struct state_place beginning = {.size = 0};
    int fds[2];

    cr_assert_eq(channel_pair(fds), ERR_OK);
    far_end = fds[0];
    state_client_attach(client, fds[1]);
    state_list_ask(client, STATE_LIST_BANS, &all, &beginning, on_answer, NULL);
    run(1, 5000);
    cr_expect(!last.is_told && last.page == NULL);
}

static int64_t
ask_ban(uint32_t customer_id)
{
    state_ban_ask(client, customer_id, &peer, on_answer, NULL);
    run(1, 5000);
    cr_expect(last.is_told);
    return last.banned_until_ms;
}

static void
on_backscatter(void *ctx, uint32_t customer_id, const struct inet_endpoint *address,
               const struct state_backscatter *what)
{
    (void)ctx;
    cr_expect(customer_id == 1 && inet_endpoint_equal(address, &peer));
    cr_expect_neq(what->word, STATE_BACKSCATTER_COUNTED);
    backscatters++;
}

Test(state_client, a_source_of_backscatter_is_banned_and_told_of_once)
{
    state_server_on_backscatter(server, on_backscatter, NULL);
    for (unsigned i = 0; i < 10; i++)
        state_bounce_learn(client, 1, &peer);
    cr_expect_gt(ask_ban(1), clock_wall_ms());
    cr_expect_eq(ask_ban(2), 0);
    cr_expect_eq(backscatters, 1);
    state_ban_forget(client, 1, &peer);
    cr_expect_eq(ask_ban(1), 0);
}

Test(state_client, P4_who_delivers_good_mail_is_not_banned_and_told_of)
{
    state_server_on_backscatter(server, on_backscatter, NULL);
    for (unsigned i = 0; i < 10; i++)
        for (uint32_t customer_id = 1; customer_id <= 3; customer_id++)
            state_good_learn(client, customer_id, &peer);
    for (unsigned i = 0; i < 10; i++)
        state_bounce_learn(client, 1, &peer);
    cr_expect_eq(ask_ban(1), 0);
    cr_expect_eq(backscatters, 1);
}

Test(state_client, thousands_in_one_turn)
{
    char key[STATE_KEY_MAX];

    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%0200u@x.example", i);
        state_recipient_learn(client, 1, key, i % 2, &backend);
    }
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%0200u@x.example", i);
        state_recipient_ask(client, 1, key, 0, on_answer, NULL);
    }
    run(2000, 5000);
    cr_expect_eq(answered, 2000);
}

Test(state_client, a_cancelled_question_never_calls)
{
    struct state_query *first, *second;
    unsigned by_first = 0, by_second = 0;

    first = state_recipient_ask(client, 1, "a", 0, on_answer, &by_first);
    second = state_recipient_ask(client, 1, "b", 0, on_answer, &by_second);
    state_query_cancel(&first);
    cr_expect_null(first);
    run(1, 5000);
    cr_expect_eq(by_first, 0);
    cr_expect_eq(by_second, 1);
    (void)second;
    first = state_recipient_ask(client, 1, "a", 0, on_answer, &by_first);
    run(1, 0);
    if (by_first == 0)
        state_query_cancel(&first);
    run(1, 100);
}

Test(state_client, P8_no_state_process_is_unknown_and_not_from_inside)
{
    struct state_client *lonely = state_client_open(loop, -1);

    answered = 0;
    state_recipient_ask(lonely, 1, "a", 0, on_answer, NULL);
    state_recipient_learn(lonely, 1, "a", true, &backend);
    cr_expect_eq(answered, 0);
    run(1, 5000);
    cr_expect_eq(answered, 1);
    cr_expect_eq(last_answer, STATE_RECIPIENT_UNKNOWN);
    state_client_close(&lonely);
}

Test(state_client, P8_a_state_process_that_hangs_costs_50_ms)
{
    int fds[2];
    int64_t began_ms;

    cr_assert_eq(channel_pair(fds), ERR_OK);
    far_end = fds[0];
    state_client_attach(client, fds[1]);
    began_ms = clock_monotonic_ms();
    for (unsigned i = 0; i < 100; i++)
        state_recipient_ask(client, 1, "a", 0, on_answer, NULL);
    run(100, 5000);
    cr_expect_eq(answered, 100);
    cr_expect_eq(last_answer, STATE_RECIPIENT_UNKNOWN);
    cr_expect_geq(clock_monotonic_ms() - began_ms, STATE_DEADLINE_MS - 5);
    cr_expect_lt(clock_monotonic_ms() - began_ms, 20 * STATE_DEADLINE_MS);
    cr_expect_eq(state_client_timeouts(client), 100);
}

Test(state_client, P8_a_state_process_that_dies_is_replaced)
{
    int fds[2];

    cr_assert_eq(channel_pair(fds), ERR_OK);
    state_client_attach(client, fds[1]);
    state_recipient_ask(client, 1, "a", 0, on_answer, NULL);
    close(fds[0]);
    run(1, 5000);
    cr_expect_eq(answered, 1);
    cr_expect_eq(last_answer, STATE_RECIPIENT_UNKNOWN);
    cr_expect_not(last_is_told);
    cr_assert_eq(channel_pair(fds), ERR_OK);
    state_server_add(server, fds[0]);
    state_client_attach(client, fds[1]);
    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    state_recipient_learn(client, 1, "a@x.example", true, &backend);
    state_recipient_ask(client, 1, "a@x.example", 0, on_answer, NULL);
    run(1, 5000);
    cr_expect_eq(last_answer, STATE_RECIPIENT_VALID);
    cr_expect(last_is_told);
}

static void
on_answer_close(void *ctx, const struct state_answer *answer)
{
    on_answer(ctx, answer);
    state_client_close(&client);
}

Test(state_client, the_owner_may_close_in_its_answer)
{
    state_recipient_ask(client, 1, "a", 0, on_answer_close, NULL);
    state_recipient_ask(client, 1, "b", 0, on_answer, NULL);
    run(2, 200);
    cr_expect_eq(answered, 1);
}

static void
on_answer_ask(void *ctx, const struct state_answer *answer)
{
    on_answer(ctx, answer);
    state_recipient_ask(client, 1, "again", 0, on_answer, NULL);
}

Test(state_client, the_owner_may_ask_in_its_answer)
{
    state_recipient_ask(client, 1, "a", 0, on_answer_ask, NULL);
    run(2, 5000);
    cr_expect_eq(answered, 2);
}

Test(state_client, a_key_that_is_too_long_is_unknown)
{
    char key[STATE_KEY_MAX + 2];

    memset(key, 'a', sizeof key);
    key[STATE_KEY_MAX + 1] = '\0';
    state_recipient_ask(client, 1, key, 0, on_answer, NULL);
    run(1, 5000);
    cr_expect_eq(last_answer, STATE_RECIPIENT_UNKNOWN);
    cr_expect_eq(state_client_timeouts(client), 0);
}
