/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P5: the replica never shrinks by surprise.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "registry/registry_guard.h"

#define NOW 1795000000000
#define HOUR 3600000LL

/* A set of `count` domains d0 .. of which the first `missing` are already missing, and which
 * leaves out `gone` and holds `removed` as tombstones from its end. */
static struct registry_set
set_of(const char *database_id, uint64_t version, unsigned count, unsigned gone, unsigned removed)
{
    struct registry_set set = {.version = version};

    snprintf(set.database_id, sizeof set.database_id, "%s", database_id);
    for (unsigned i = 0; i + gone < count; i++) {
        struct registry_domain domain = {.customer_id = 1, .removed = i + gone + removed >= count};

        snprintf(domain.name, sizeof domain.name, "d%05u.example", i);
        registry_set_add(&set, &domain);
    }
    registry_set_sort(&set);
    return set;
}

static const struct {
    const char *name;
    unsigned had, had_missing, had_removed; /* of the last good set */
    const char *id;
    uint64_t version; /* the last good one has 10 */
    unsigned gone, removed;
    bool is_accepted;
    enum registry_guard_verdict want;
    size_t want_carried;
} cases[] = {
    {"nothing changed", 100, 0, 0, "A", 10, 0, 0, false, REGISTRY_GUARD_ACCEPT, 0},
    {"a later version", 100, 0, 0, "A", 11, 0, 0, false, REGISTRY_GUARD_ACCEPT, 0},
    {"an older version", 100, 0, 0, "A", 9, 0, 0, false, REGISTRY_GUARD_LOWER_VERSION, 0},
    {"another database", 100, 0, 0, "B", 11, 0, 0, false, REGISTRY_GUARD_OTHER_DATABASE, 0},
    {"another database, empty", 3, 0, 0, "B", 0, 3, 0, false, REGISTRY_GUARD_OTHER_DATABASE, 0},
    {"one gone", 100, 0, 0, "A", 11, 1, 0, false, REGISTRY_GUARD_ACCEPT, 1},
    {"five gone of ten", 10, 0, 0, "A", 11, 5, 0, false, REGISTRY_GUARD_ACCEPT, 5},
    {"six gone of ten", 10, 0, 0, "A", 11, 6, 0, false, REGISTRY_GUARD_SHRUNK, 0},
    {"all five gone", 5, 0, 0, "A", 11, 5, 0, false, REGISTRY_GUARD_ACCEPT, 5},
    {"six of 600 is one per cent", 600, 0, 0, "A", 11, 6, 0, false, REGISTRY_GUARD_ACCEPT, 6},
    {"six of 599 is more", 599, 0, 0, "A", 11, 6, 0, false, REGISTRY_GUARD_SHRUNK, 0},
    {"all gone", 1000, 0, 0, "A", 11, 1000, 0, false, REGISTRY_GUARD_SHRUNK, 0},
    {"fifty removed properly", 100, 0, 0, "A", 11, 0, 50, false, REGISTRY_GUARD_ACCEPT, 0},
    {"removed and some gone", 100, 0, 0, "A", 11, 5, 50, false, REGISTRY_GUARD_ACCEPT, 5},
    {"tombstones may go", 100, 0, 50, "A", 11, 50, 0, false, REGISTRY_GUARD_ACCEPT, 0},
    {"three were missing, three more", 100, 3, 0, "A", 11, 6, 0, false, REGISTRY_GUARD_SHRUNK, 0},
    {"another database, accepted", 100, 0, 0, "B", 1, 90, 0, true, REGISTRY_GUARD_ACCEPT, 90},
    {"an older one, accepted", 100, 0, 0, "A", 9, 0, 0, true, REGISTRY_GUARD_ACCEPT, 0},
    {"shrunk, accepted", 100, 0, 0, "A", 11, 60, 0, true, REGISTRY_GUARD_ACCEPT, 60},
};

Test(registry_guard, P5_never_shrinks_by_surprise)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct registry_set last = set_of("A", 10, cases[i].had, 0, cases[i].had_removed);
        struct registry_set offer =
            set_of(cases[i].id, cases[i].version, cases[i].had, cases[i].gone, cases[i].removed);
        size_t offered = offer.count;
        struct registry_guard guard;
        char text[REGISTRY_GUARD_TEXT_SIZE];

        for (unsigned k = 0; k < cases[i].had_missing; k++)
            last.domains[last.count - 1 - k].missing_since_ms = NOW - HOUR;
        registry_guard_judge(&last, &offer, cases[i].is_accepted, NOW, &guard);
        cr_expect_eq(guard.verdict, cases[i].want, "%s: %s", cases[i].name,
                     registry_guard_text(&guard, &last, &offer, text));
        cr_expect_eq(guard.carried, cases[i].want_carried, "%s", cases[i].name);
        cr_expect_eq(offer.count, offered + guard.carried, "%s", cases[i].name);
        registry_set_fini(&last);
        registry_set_fini(&offer);
    }
}

Test(registry_guard, everything_is_accepted_when_there_is_nothing_yet)
{
    struct registry_set offer = set_of("A", 0, 0, 0, 0);
    struct registry_guard guard;

    registry_guard_judge(NULL, &offer, false, NOW, &guard);
    cr_expect_eq(guard.verdict, REGISTRY_GUARD_ACCEPT);
    registry_set_fini(&offer);
}

/* One domain through its missing day. */
Test(registry_guard, P5_a_missing_domain_is_kept_for_a_day)
{
    static const struct {
        const char *name;
        int64_t since_ms, want_since_ms, want_due_ms; /* want 0: dropped */
    } days[] = {
        {"just gone", 0, NOW, NOW + 24 * HOUR},
        {"for an hour", NOW - HOUR, NOW - HOUR, NOW + 23 * HOUR},
        {"for a moment less than a day", NOW - 24 * HOUR + 1, NOW - 24 * HOUR + 1, NOW + 1},
        {"for a day", NOW - 24 * HOUR, 0, 0},
        {"the clock was set back", NOW + HOUR, NOW, NOW + 24 * HOUR},
    };

    for (size_t i = 0; i < ARRAY_SIZE(days); i++) {
        struct registry_set last = set_of("A", 10, 3, 0, 0), offer = set_of("A", 11, 3, 1, 0);
        struct registry_guard guard;

        last.domains[2].missing_since_ms = days[i].since_ms;
        registry_guard_judge(&last, &offer, false, NOW, &guard);
        cr_expect_eq(guard.verdict, REGISTRY_GUARD_ACCEPT, "%s", days[i].name);
        cr_expect_eq(guard.next_due_ms, days[i].want_due_ms, "%s", days[i].name);
        cr_assert_eq(offer.count, days[i].want_since_ms ? 3 : 2, "%s", days[i].name);
        if (days[i].want_since_ms)
            cr_expect_eq(offer.domains[2].missing_since_ms, days[i].want_since_ms, "%s",
                         days[i].name);
        registry_set_fini(&last);
        registry_set_fini(&offer);
    }
}

Test(registry_guard, what_came_back_is_no_longer_missing)
{
    struct registry_set last = set_of("A", 10, 3, 0, 0), offer = set_of("A", 11, 3, 0, 0);
    struct registry_guard guard;

    last.domains[1].missing_since_ms = NOW - HOUR;
    registry_guard_judge(&last, &offer, false, NOW, &guard);
    cr_expect_eq(offer.count, 3);
    cr_expect_eq(offer.domains[1].missing_since_ms, 0);
    cr_expect_eq(guard.next_due_ms, 0);
    registry_set_fini(&last);
    registry_set_fini(&offer);
}

Test(registry_guard, an_acceptance_ends_the_count_and_only_once)
{
    struct registry_set last = set_of("A", 10, 20, 0, 0), offer = set_of("B", 1, 20, 9, 0);
    struct registry_set later = set_of("B", 2, 20, 9, 0), last_one = set_of("B", 3, 20, 16, 0);
    struct registry_guard guard;

    registry_guard_judge(&last, &offer, true, NOW, &guard);
    cr_expect_eq(guard.carried, 9);
    registry_guard_judge(&offer, &later, false, NOW + HOUR, &guard);
    cr_expect_eq(guard.verdict, REGISTRY_GUARD_ACCEPT, "the nine do not count again");
    cr_expect_eq(guard.carried, 9);
    registry_guard_judge(&later, &last_one, false, NOW + HOUR, &guard);
    cr_expect_eq(guard.verdict, REGISTRY_GUARD_SHRUNK, "seven more do");
    cr_expect_eq(guard.gone, 7);
    cr_expect_eq(guard.of, 11);
    registry_set_fini(&last);
    registry_set_fini(&offer);
    registry_set_fini(&later);
    registry_set_fini(&last_one);
}
