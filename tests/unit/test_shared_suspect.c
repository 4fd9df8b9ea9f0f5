/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Suspects: messages at which workers die, by what their senders repeat.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/shared_fixture.h"

#define NOW 1795003200000 /* 2026-11-18 12:00 UTC */
#define HOUR 3600000

TestSuite(shared_suspect, .init = open_table, .fini = close_table);

static const struct {
    const char *name;
    int64_t second_ms; /* death, behind the first */
    bool is_suspect;
    int64_t until_ms;
} deaths[] = {
    {"at once", 0, true, HOUR},
    {"59 minutes later", 59 * 60000, true, 59 * 60000 + HOUR},
    {"an hour later", HOUR, true, 2 * HOUR},
    {"later than that", HOUR + 1, false, 0},
    {"the clock was set back a minute", -60000, true, HOUR - 60000},
    {"the clock was set back a day", -24 * HOUR, false, 0},
};

Test(shared_suspect, two_deaths_within_an_hour_make_one_for_an_hour)
{
    for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
        uint64_t message = 1000 + i;
        int64_t second_ms = NOW + deaths[i].second_ms, until_ms = NOW + deaths[i].until_ms;

        cr_expect_not(shared_suspect_is(table, message, NOW), "%s", deaths[i].name);
        cr_expect_not(shared_suspect_note(table, message, NOW), "%s", deaths[i].name);
        cr_expect_not(shared_suspect_is(table, message, NOW), "%s: one is none", deaths[i].name);
        cr_expect_eq(shared_suspect_note(table, message, second_ms), deaths[i].is_suspect, "%s",
                     deaths[i].name);
        cr_expect_eq(shared_suspect_is(table, message, second_ms), deaths[i].is_suspect, "%s",
                     deaths[i].name);
        if (!deaths[i].is_suspect)
            continue;
        cr_expect(shared_suspect_is(table, message, until_ms - 1), "%s", deaths[i].name);
        cr_expect_not(shared_suspect_is(table, message, until_ms), "%s", deaths[i].name);
    }
    cr_expect_not(shared_suspect_is(table, 999, NOW));
}

Test(shared_suspect, a_third_death_makes_the_hour_longer)
{
    shared_suspect_note(table, 1, NOW);
    shared_suspect_note(table, 1, NOW + 1000);
    cr_expect(shared_suspect_note(table, 1, NOW + HOUR / 2));
    cr_expect(shared_suspect_is(table, 1, NOW + HOUR + HOUR / 2 - 1));
}

Test(shared_suspect, a_clock_set_back_makes_no_year_of_the_hour)
{
    shared_suspect_note(table, 1, NOW);
    shared_suspect_note(table, 1, NOW);
    cr_expect_not(shared_suspect_is(table, 1, NOW - 24LL * HOUR));
}

Test(shared_suspect, nothing_in_particular_is_never_one)
{
    for (unsigned i = 0; i < 3; i++)
        cr_expect_not(shared_suspect_note(table, 0, NOW));
    cr_expect_not(shared_suspect_is(table, 0, NOW));
}

Test(shared_suspect, a_full_table_forgets_the_oldest)
{
    shared_suspect_note(table, 1, NOW);
    shared_suspect_note(table, 1, NOW);
    for (unsigned i = 1; i < SHARED_SUSPECTS_MAX; i++)
        shared_suspect_note(table, 1 + i, NOW + i);
    cr_expect(shared_suspect_is(table, 1, NOW + 1000), "there is room for so many");
    shared_suspect_note(table, 5000, NOW + 1000);
    cr_expect_not(shared_suspect_is(table, 1, NOW + 1000));
    cr_expect_not(shared_suspect_is(table, 5000, NOW + 1000), "it inherits nothing");
    cr_expect(shared_suspect_note(table, 2, NOW + 1000), "the others are still there");
}

/* --- By what a message is known. */

static const struct inet_endpoint sender = {.family = 4, .addr = {192, 0, 2, 1}, .port = 1};

static const struct {
    const char *name;
    struct inet_endpoint client;
    const char *reverse_path, *first_rcpt;
    uint64_t size_bytes;
    bool is_the_same;
} messages[] = {
    {"again", sender, "a@x.example", "r@acme.example", 1000, true},
    {"from its neighbour",
     {.family = 4, .addr = {192, 0, 2, 77}, .port = 2},
     "a@x.example",
     "r@acme.example",
     1000,
     true},
    {"from another network",
     {.family = 4, .addr = {192, 0, 3, 1}},
     "a@x.example",
     "r@acme.example",
     1000,
     false},
    {"from somebody else", sender, "b@x.example", "r@acme.example", 1000, false},
    {"to somebody else", sender, "a@x.example", "s@acme.example", 1000, false},
    {"its recipient not known yet", sender, "a@x.example", NULL, 1000, false},
    {"of another size", sender, "a@x.example", "r@acme.example", 1001, false},
    {"words moved over", sender, "a@x.exampler", "@acme.example", 1000, false},
};

Test(shared_suspect, known_by_what_its_sender_repeats)
{
    uint64_t message = shared_fingerprint(table, &sender, "a@x.example", "r@acme.example", 1000);

    cr_expect_neq(message, 0);
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        cr_expect_eq(shared_fingerprint(table, &messages[i].client, messages[i].reverse_path,
                                        messages[i].first_rcpt, messages[i].size_bytes) == message,
                     messages[i].is_the_same, "%s", messages[i].name);
}

Test(shared_suspect, a_dead_workers_message_is_read_before_its_column_is_cleared)
{
    shared_worker_begin(table, 3, 100);
    cr_expect_eq(shared_worker_message(table, 3), 0);
    shared_worker_set_message(table, 3, 77);
    cr_expect_eq(shared_worker_message(table, 3), 77);
    cr_expect_eq(shared_worker_message(table, 2), 0);
    shared_worker_clear(table, 3, NULL, NULL);
    cr_expect_eq(shared_worker_message(table, 3), 0, "its successor works on nothing");
}
