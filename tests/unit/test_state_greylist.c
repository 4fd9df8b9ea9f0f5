/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who has come before: first contacts, and the networks and domains that become known by them.
 */
#include "tests/unit/store_fixture.h"
#include "state/state_store_private.h"

TestSuite(state_greylist, .init = setup, .fini = teardown, .timeout = 120);

#define DELAY (5 * MINUTE)

static struct state_greylist
ask(const struct state_greylist_key *key, int64_t wall_ms)
{
    return state_store_greylist(store, key, DELAY, wall_ms);
}

static void
expect_wait(const struct state_greylist_key *key, int64_t wall_ms, int64_t wait_ms, const char *why)
{
    struct state_greylist word = ask(key, wall_ms);

    cr_expect_eq(word.wait_ms, wait_ms, "%s: %lld", why, (long long)word.wait_ms);
    cr_expect_not(word.is_known, "%s", why);
}

static void
expect_known(const struct state_greylist_key *key, int64_t wall_ms, const char *why)
{
    struct state_greylist word = ask(key, wall_ms);

    cr_expect(word.is_known && word.wait_ms == 0, "%s", why);
}

static void
write_and_reopen(void)
{
    cr_assert_eq(state_store_flush(store), ERR_OK);
    reopen();
}

/* --- What is one contact. */

#define CLIENT                  \
    {                           \
        4, {192, 0, 2, 1}, 1000 \
    }
#define POOL                       \
    {                              \
        4, {198, 51, 100, 1}, 1000 \
    }

static const struct contact {
    const char *name;
    struct state_greylist_key key, other;
    bool is_same;
} contacts[] = {
    {"port",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, {4, {192, 0, 2, 1}, 2000}, "a@b.example", "u@x.example", NULL},
     true},
    {"address",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, {4, {192, 0, 2, 200}, 1}, "a@b.example", "u@x.example", ""},
     true},
    {"case",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, CLIENT, "A@B.Example", "U@x.example", NULL},
     true},
    {"network",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, {4, {192, 0, 3, 1}, 1}, "a@b.example", "u@x.example", NULL},
     false},
    {"sender",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, CLIENT, "c@b.example", "u@x.example", NULL},
     false},
    {"null sender",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, CLIENT, "", "u@x.example", NULL},
     false},
    {"recipient",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, CLIENT, "a@b.example", "v@x.example", NULL},
     false},
    {"customer",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {2, CLIENT, "a@b.example", "u@x.example", NULL},
     false},
    {"IPv6 address",
     {1, {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1}, 1}, "", "u@x.example", NULL},
     {1, {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 2}, 1}, "", "u@x.example", NULL},
     true},
    {"IPv6 network",
     {1, {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1}, 1}, "", "u@x.example", NULL},
     {1, {6, {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 1}, 1}, "", "u@x.example", NULL},
     false},
    {"the domain's pool",
     {1, CLIENT, "a@b.example", "u@x.example", "b.example"},
     {1, POOL, "a@b.example", "u@x.example", "B.Example"},
     true},
    {"domain",
     {1, CLIENT, "a@b.example", "u@x.example", "b.example"},
     {1, CLIENT, "a@b.example", "u@x.example", "c.example"},
     false},
    {"authorised no more",
     {1, CLIENT, "a@b.example", "u@x.example", "b.example"},
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     false},
    {"boundary",
     {1, CLIENT, "a@b.example", "u@x.example", NULL},
     {1, CLIENT, "a@b.exampleu", "@x.example", NULL},
     false},
};

Test(state_greylist, what_is_the_same_contact)
{
    for (size_t i = 0; i < ARRAY_SIZE(contacts); i++) {
        const struct contact *c = &contacts[i];

        reopen();
        expect_wait(&c->key, NOW, DELAY, c->name);
        expect_wait(&c->other, NOW + MINUTE, c->is_same ? DELAY - MINUTE : DELAY, c->name);
        state_store_close(&store);
        each_file("", true);
    }
}

/* --- Who is known. */

static const struct state_greylist_key first = {1, CLIENT, "a@b.example", "u@x.example", NULL},
                                       of_pool = {1, CLIENT, "a@b.example", "u@x.example",
                                                  "b.example"};

static void
pass(const struct state_greylist_key *key, int64_t wall_ms)
{
    expect_wait(key, wall_ms - DELAY, DELAY, "first contact");
    expect_wait(key, wall_ms, 0, "has waited");
}

Test(state_greylist, a_network_that_has_passed_is_known_to_all)
{
    const struct state_greylist_key others = {2, {4, {192, 0, 2, 77}, 1}, "", "v@y.example", NULL},
                                    authorised = {2,
                                                  {4, {192, 0, 2, 77}, 1},
                                                  "c@c.example",
                                                  "v@y.example",
                                                  "c.example"},
                                    domain_alone = {2, POOL, "c@c.example", "v@y.example",
                                                    "c.example"};

    reopen();
    pass(&first, NOW);
    expect_known(&others, NOW + MINUTE, "from memory");
    write_and_reopen();
    expect_known(&others, NOW + MINUTE, "over a restart");
    expect_known(&authorised, NOW + MINUTE, "whatever it is authorised for");
    expect_wait(&domain_alone, NOW + MINUTE, DELAY, "that does not make the domain known");
}

Test(state_greylist, a_pool_of_one_domain_passes_at_its_second_attempt_from_any_address)
{
    struct state_greylist_key key = of_pool;

    reopen();
    expect_wait(&key, NOW, DELAY, "the first of the pool");
    for (unsigned i = 1; i < 16; i++) {
        key.client = (struct inet_endpoint){4, {203, 0, (uint8_t)i, 1}, 1};
        if (i < 4)
            expect_wait(&key, NOW + MINUTE, DELAY - MINUTE, "too early");
    }
    expect_wait(&key, NOW + DELAY, 0, "the second attempt");
    for (unsigned i = 0; i < 16; i++) {
        key = (struct state_greylist_key){
            2, {4, {203, 0, (uint8_t)i, 1}, 1}, "x@b.example", "other@y.example", "b.example"};
        expect_known(&key, NOW + DELAY, "any of the pool");
    }
    key.authorised_domain = NULL;
    expect_wait(&key, NOW + DELAY, DELAY, "the domain is known, and not the networks");
}

Test(state_greylist, who_is_known_is_forgotten_when_it_was_not_seen_for_36_days)
{
    reopen();
    pass(&first, NOW);
    expect_known(&first, NOW + 36 * DAY, "the last moment");
    write_and_reopen();
    expect_known(&first, NOW + 72 * DAY, "seen meanwhile");
    expect_wait(&first, NOW + 109 * DAY, DELAY, "not seen");
}

Test(state_greylist, who_is_seen_is_written_once_an_hour)
{
    reopen();
    pass(&first, NOW);
    write_and_reopen();
    for (int64_t ms = NOW; ms < NOW + HOUR; ms += MINUTE)
        expect_known(&first, ms, "known");
    cr_expect_eq(state_store_waiting(store), 0);
    expect_known(&first, NOW + HOUR, "known");
    cr_expect_eq(state_store_waiting(store), 1);
}

Test(state_greylist, a_first_contact_that_comes_too_late_is_one_again)
{
    reopen();
    expect_wait(&first, NOW, DELAY, "first");
    expect_wait(&first, NOW + DAY + 1, DELAY, "late");
    expect_wait(&first, NOW + DAY - MINUTE, DELAY,
                "a clock that was set back makes nobody wait longer than the delay");
    cr_expect_eq(state_store_greylist(store, &first, 0, NOW).wait_ms, 0, "no delay");
}

/* --- What is left behind. */

Test(state_greylist, what_is_outdated_is_purged_and_what_is_of_an_earlier_form_too)
{
    struct state_record old = {.kind = 1, .at_ms = NOW, .more_size = 3, .more = "a\0b"};

    reopen();
    expect_wait(&first, NOW, DELAY, "waits");
    pass(&of_pool, NOW);
    cr_assert(state_store_put(store, SLICE("g1234networkxhashhash"), &old));
    write_and_reopen();
    cr_assert_eq(state_store_purge(store, NOW + MINUTE, 100), ERR_OK);
    cr_expect_eq(state_store_waiting(store), 1, "of an earlier form");
    cr_assert_eq(state_store_purge(store, NOW + 2 * DAY, 100), ERR_OK);
    cr_expect_eq(state_store_waiting(store), 2, "the contact");
    cr_assert_eq(state_store_purge(store, NOW + 37 * DAY, 100), ERR_OK);
    cr_expect_eq(state_store_waiting(store), 3, "the domain");
}

/* P1 and P5: what cannot be remembered may not keep mail away. */
Test(state_greylist, P5_who_cannot_be_written_down_passes_and_leaves_room_for_others)
{
    char sender[32];
    struct state_greylist_key key = first;
    unsigned waited = 0;

    settings.map_size_bytes = 4 << 20;
    reopen();
    key.sender = sender;
    for (unsigned i = 0; i < 60000; i++) {
        snprintf(sender, sizeof sender, "s%u@b.example", i);
        waited += ask(&key, NOW).wait_ms > 0;
        if (i % STATE_BATCH_MAX == 0)
            cr_assert_eq(state_store_flush(store), ERR_OK, "the file is never full");
    }
    cr_expect(waited > 5000 && waited < 50000, "%u", waited);
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_PICKY, NOW);
    state_store_learn(store, 1, "u@x.example", true, NOW);
    write_and_reopen();
    cr_expect_eq(state_store_recipient(store, 1, "u@x.example", 0, NOW), STATE_RECIPIENT_VALID);
}

Test(state_greylist, P5_while_the_disk_takes_nothing_nobody_waits)
{
    char sender[32];
    struct state_greylist_key key = first;

    settings.map_size_bytes = 512 << 10;
    reopen();
    key.sender = sender;
    for (unsigned i = 0; i < 15000; i++) {
        snprintf(sender, sizeof sender, "s%u@b.example", i);
        cr_assert_eq(ask(&key, NOW).wait_ms, DELAY);
    }
    cr_assert_eq(state_store_flush(store), ERR_FULL);
    key.sender = "next@b.example";
    cr_expect_eq(ask(&key, NOW).wait_ms, 0, "it may be lost, too");
    cr_assert_eq(state_store_flush(store), ERR_OK);
    key.sender = "last@b.example";
    expect_wait(&key, NOW, DELAY, "the disk takes it again");
}

/* --- What operators do with it. */

static const struct state_filter all,
    by_domain = {.domain = "b.example"}, by_network = {.network = {4, 24, {192, 0, 2}}},
    by_larger = {.network = {4, 20, {192, 0, 0}}}, by_other = {.network = {4, 24, {192, 0, 3}}},
    by_other_family = {.network = {6, 64, {192, 0, 2}}};

static struct state_row last_row;

/* How many are listed, page by page. */
static unsigned
count(enum state_listing listing, const struct state_filter *filter, int64_t wall_ms)
{
    struct state_page *page = malloc(sizeof *page);
    struct state_place place = {.size = 0};
    unsigned rows = 0;

    do {
        cr_assert_eq(state_store_list(store, listing, filter, &place, wall_ms, page), ERR_OK);
        rows += page->count;
        if (page->count > 0)
            last_row = page->rows[page->count - 1];
        place = page->next;
    } while (place.size > 0);
    free(page);
    return rows;
}

static void
expect_listed(int64_t wall_ms, const struct state_filter *filter, unsigned known, unsigned waiting)
{
    unsigned k = count(STATE_LIST_KNOWN, filter, wall_ms),
             w = count(STATE_LIST_WAITING, filter, wall_ms);

    cr_expect(k == known && w == waiting, "\"%s\" %u %u: %u and %u", filter->domain,
              filter->network.family, filter->network.addr[2], k, w);
}

static const struct state_greylist_key
    neighbour = {1, {4, {192, 0, 3, 1}, 1}, "a@b.example", "u@x.example", NULL},
    of_pool_elsewhere = {1, {4, {203, 0, 113, 1}, 1}, "a@b.example", "u@x.example", "b.example"};

Test(state_greylist, what_waits_and_who_is_known_is_listed)
{
    reopen();
    expect_listed(NOW, &all, 0, 0);
    expect_wait(&first, NOW - DELAY, DELAY, "waits");
    expect_wait(&neighbour, NOW - MINUTE, DELAY, "waits");
    expect_wait(&of_pool_elsewhere, NOW - MINUTE, DELAY, "waits");
    cr_assert_eq(state_store_flush(store), ERR_OK);
    expect_listed(NOW, &all, 0, 3);
    expect_listed(NOW, &by_network, 0, 1);
    cr_expect(last_row.customer_id == 1 && last_row.since_ms == NOW - DELAY &&
              memcmp(&last_row.network, &by_network.network, sizeof last_row.network) == 0);
    expect_listed(NOW, &by_domain, 0, 1);
    cr_expect_str_eq(last_row.domain, "b.example");
    cr_expect_eq(last_row.network.family, 0);
    expect_listed(NOW, &by_larger, 0, 2);
    expect_listed(NOW, &by_other_family, 0, 0);
    expect_wait(&first, NOW, 0, "has waited");
    expect_known(&first, NOW + DAY / 2, "known");
    expect_listed(NOW, &all, 0, 2);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    expect_listed(NOW + DAY / 2, &by_network, 1, 0);
    cr_expect(last_row.customer_id == 0 && last_row.since_ms == NOW &&
              last_row.seen_ms == NOW + DAY / 2);
    expect_listed(NOW + DAY, &all, 1, 0);
    expect_listed(NOW + 37 * DAY, &all, 0, 0);
}

Test(state_greylist, a_list_goes_on_where_its_page_ended)
{
    char sender[32];
    struct state_greylist_key key = first;

    reopen();
    key.sender = sender;
    for (unsigned i = 0; i < 3 * STATE_PAGE_ROWS; i++) {
        snprintf(sender, sizeof sender, "s%u@b.example", i);
        expect_wait(&key, NOW, DELAY, "waits");
    }
    expect_wait(&neighbour, NOW, DELAY, "waits");
    cr_assert_eq(state_store_flush(store), ERR_OK);
    expect_listed(NOW, &by_network, 0, 3 * STATE_PAGE_ROWS);
    expect_listed(NOW, &by_other, 0, 1);
    expect_listed(NOW, &all, 0, 3 * STATE_PAGE_ROWS + 1);
}

Test(state_greylist, a_network_or_a_domain_is_forgotten_with_all_that_waits)
{
    struct state_greylist_key other = first;

    other.sender = "c@b.example";
    reopen();
    expect_wait(&other, NOW - MINUTE, DELAY, "first");
    pass(&first, NOW);
    pass(&neighbour, NOW);
    pass(&of_pool_elsewhere, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    state_store_forget_origin(store, &by_network, NOW);
    expect_listed(NOW + 1, &all, 2, 0);
    write_and_reopen();
    expect_listed(NOW + 1, &all, 2, 0);
    expect_wait(&other, NOW + DELAY, DELAY, "what had waited has not");
    expect_wait(&first, NOW + DELAY, DELAY, "it is known no more");
    expect_known(&neighbour, NOW + DELAY, "another network");
    expect_known(&of_pool_elsewhere, NOW + DELAY, "a domain");
    expect_wait(&first, NOW + 2 * DELAY, 0, "and is again behind the delay");
    state_store_forget_origin(store, &by_domain, NOW + 2 * DELAY);
    expect_wait(&of_pool_elsewhere, NOW + 3 * DELAY, DELAY, "the domain");
    expect_known(&first, NOW + 3 * DELAY, "a network");
}

Test(state_greylist, all_are_forgotten_at_once)
{
    reopen();
    pass(&first, NOW);
    expect_wait(&of_pool_elsewhere, NOW, DELAY, "waits");
    write_and_reopen();
    state_store_forget_origin(store, &all, NOW);
    expect_listed(NOW + DELAY, &all, 0, 0);
    expect_wait(&of_pool_elsewhere, NOW + DELAY, DELAY, "anew");
    pass(&first, NOW + 2 * DELAY);
    write_and_reopen();
    cr_assert_eq(state_store_purge(store, NOW + 2 * DAY, 100), ERR_OK);
    expect_known(&first, NOW + 2 * DAY, "again");
    expect_listed(NOW + 2 * DAY, &all, 1, 0);
}

/* A clock that was ahead when an operator forgot all must not keep everybody waiting. */
Test(state_greylist, forgetting_in_a_time_to_come_voids_nothing)
{
    reopen();
    state_store_forget_origin(store, &all, NOW + DAY / 2);
    pass(&first, NOW);
    expect_known(&first, NOW + MINUTE, "known");
}

static int64_t
look_wait_ms(int64_t wall_ms)
{
    return state_store_greylist_look(store, &first, DELAY, wall_ms).wait_ms;
}

Test(state_greylist, a_look_tells_what_would_be_said_and_is_not_seen)
{
    reopen();
    cr_expect_eq(look_wait_ms(NOW), DELAY, "a first contact");
    expect_wait(&first, NOW + DELAY, DELAY, "it was not seen");
    cr_expect_eq(look_wait_ms(NOW + DELAY + MINUTE), DELAY - MINUTE, "what is left");
    cr_expect_eq(look_wait_ms(NOW + 2 * DELAY), 0, "it would pass");
    expect_wait(&first, NOW + 2 * DELAY, 0, "it has not passed by that");
    cr_expect(state_store_greylist_look(store, &first, DELAY, NOW + 3 * DELAY).is_known);
    cr_expect_eq(look_wait_ms(NOW + 2 * DELAY + 36 * DAY), 0, "the last moment");
    cr_expect_eq(look_wait_ms(NOW + 2 * DELAY + 36 * DAY + MINUTE), DELAY,
                 "a look does not keep it known");
}
