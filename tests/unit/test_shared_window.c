/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Hourly windows: exact over processes (P9), sliding, and sane when the clock is not.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/shared_fixture.h"

#define MINUTE 60000LL
#define HOUR (60 * MINUTE)
#define NOW 1795003200000 /* 2026-11-18 12:00:00 UTC, the start of a minute */
#define PROCESSES 8
#define MINUTES_RUN 300

/* What the processes tell: taken in each minute behind NOW, key by key. */
static struct common {
    _Atomic uint32_t taken[16][MINUTES_RUN], refused;
    pthread_barrier_t minute_begins;
} * common;

static void
setup(void)
{
    open_table();
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(common, MAP_FAILED);
}

static void
teardown(void)
{
    close_table();
    munmap(common, sizeof *common);
}

TestSuite(shared_window, .init = setup, .fini = teardown, .timeout = 60);

static uint64_t
key_of(uint32_t customer_id)
{
    return shared_window_key(table, customer_id, NULL);
}

static bool
take(uint64_t key, int64_t wall_ms, uint32_t limit)
{
    return shared_window_take(table, key, wall_ms, limit).taken;
}

static void
take_many(uint64_t key, int64_t wall_ms, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cr_assert(take(key, wall_ms, SHARED_WINDOW_UNLIMITED), "%u", i);
}

static void
in_processes(void (*work)(unsigned number))
{
    for (unsigned p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            work(p);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
}

/* --- One process. */

Test(shared_window, P9_the_200th_is_taken_and_the_201st_is_not)
{
    uint64_t key = key_of(1);

    for (uint32_t i = 1; i <= 200; i++) {
        struct shared_window_answer answer = shared_window_take(table, key, NOW + i, 200);

        cr_assert(answer.taken && answer.count == i, "%u", i);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct shared_window_answer answer = shared_window_take(table, key, NOW + 500, 200);

        cr_assert(!answer.taken && answer.count == 200 && !answer.is_near);
    }
    cr_expect(take(key_of(2), NOW + 500, 200), "another customer is another one");
}

/* 100 at 12:00, 50 at 12:20, 50 at 12:59. */
static const struct {
    const char *name;
    int64_t at_ms;
    uint32_t count;
    int64_t wait_ms; /* 0: taken */
} slides[] = {
    {"full", NOW + 59 * MINUTE + 30000, 200, 90000},
    {"the 60 minutes before still count", NOW + HOUR + 59999, 200, 1},
    {"the first have gone", NOW + HOUR + MINUTE, 100, 0},
    {"as many as before", NOW + 80 * MINUTE + 59999, 100, 0},
    {"the second have gone", NOW + 81 * MINUTE, 50, 0},
    {"the third remain for their hour", NOW + 119 * MINUTE + 59999, 50, 0},
    {"all have gone", NOW + 120 * MINUTE, 0, 0},
    {"a day later", NOW + 24 * HOUR, 0, 0},
    {"a year later", NOW + 365LL * 24 * HOUR, 0, 0},
};

Test(shared_window, P9_slides_by_minutes_and_tells_how_long_to_wait)
{
    uint64_t key = key_of(1);

    take_many(key, NOW, 100);
    take_many(key, NOW + 20 * MINUTE + 5, 50);
    take_many(key, NOW + 59 * MINUTE, 50);
    for (size_t i = 0; i < ARRAY_SIZE(slides); i++) {
        struct shared_window_answer a = shared_window_look(table, key, slides[i].at_ms, 200);

        cr_expect_eq(a.count, slides[i].count, "%s: %u", slides[i].name, a.count);
        cr_expect_eq(a.taken, slides[i].wait_ms == 0, "%s", slides[i].name);
        cr_expect_eq(a.wait_ms, slides[i].wait_ms, "%s: %ld", slides[i].name, (long)a.wait_ms);
        cr_expect_eq(shared_window_count(table, key, slides[i].at_ms), slides[i].count);
    }
}

/* Whoever waits as long as he is told is taken, and not a moment before. */
Test(shared_window, P9_the_wait_is_exact)
{
    uint64_t key = key_of(1);

    for (unsigned minute = 0; minute < 200; minute += 7) {
        int64_t wall_ms = NOW + minute * (int64_t)MINUTE + minute * 131;
        struct shared_window_answer a;

        while ((a = shared_window_take(table, key, wall_ms, 10)).taken)
            ;
        cr_expect_not(shared_window_look(table, key, wall_ms + a.wait_ms - 1, 10).taken, "%u",
                      minute);
        cr_expect(shared_window_look(table, key, wall_ms + a.wait_ms, 10).taken, "%u", minute);
        cr_expect_eq((wall_ms + a.wait_ms) % MINUTE, 0);
    }
}

static const struct {
    const char *name;
    uint32_t limit;
    unsigned want; /* of 20 */
} limits[] = {
    {"none at all", 0, 0},
    {"one", 1, 1},
    {"twenty", 20, 20},
    {"no limit", SHARED_WINDOW_UNLIMITED, 20},
    {"more than can be counted", SHARED_WINDOW_LIMIT_MAX + 1, 20},
};

Test(shared_window, every_limit)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(limits); i++) {
        unsigned taken = 0;

        for (unsigned n = 0; n < 20; n++)
            taken += take(key_of(i), NOW, limits[i].limit);
        cr_expect_eq(taken, limits[i].want, "%s: %u", limits[i].name, taken);
    }
}

Test(shared_window, a_changed_limit_counts_at_once)
{
    uint64_t key = key_of(1);

    take_many(key, NOW, 50);
    cr_expect_not(take(key, NOW, 50));
    cr_expect(take(key, NOW, 51), "raised");
    cr_expect_not(take(key, NOW, 10), "lowered");
    cr_expect_eq(shared_window_count(table, key, NOW), 51);
}

Test(shared_window, looking_counts_nothing)
{
    uint64_t key = key_of(1);

    cr_expect(shared_window_look(table, key, NOW, 1).taken);
    cr_expect(shared_window_look(table, key, NOW, 1).taken);
    cr_expect(take(key, NOW, 1));
    cr_expect_not(shared_window_look(table, key, NOW, 1).taken);
}

Test(shared_window, the_operator_is_told_once_an_hour_at_80_percent)
{
    uint64_t key = key_of(1);
    unsigned told = 0;

    for (unsigned i = 1; i <= 200; i++) {
        struct shared_window_answer a = shared_window_take(table, key, NOW, 200);

        told += a.is_near;
        if (a.is_near)
            cr_expect_eq(a.count, 160);
    }
    cr_expect_eq(told, 1);
    for (unsigned i = 0; i < 200; i++)
        told += shared_window_take(table, key, NOW + 61 * MINUTE, 200).is_near;
    cr_expect_eq(told, 2, "and in the next one again");
    cr_expect_not(shared_window_take(table, key_of(2), NOW, SHARED_WINDOW_UNLIMITED).is_near);
}

Test(shared_window, customers_and_their_clients_by_address_and_network_are_told_apart)
{
    struct inet_endpoint a = {.family = 4, .addr = {192, 0, 2, 1}, .port = 1};
    struct inet_endpoint b = {.family = 4, .addr = {192, 0, 2, 2}, .port = 1};
    struct inet_endpoint v6 = {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5}};
    struct inet_endpoint same64 = {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 6, 7}};
    struct inet_endpoint other64 = {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 5}};
    uint64_t key = shared_window_key(table, 1, &a);

    cr_expect_neq(key, key_of(1));
    cr_expect_neq(key, shared_window_key(table, 1, &b));
    cr_expect_neq(key, shared_window_key(table, 2, &a));
    a.port = 2;
    cr_expect_eq(key, shared_window_key(table, 1, &a), "a client is not its port");
    cr_expect_eq(shared_window_key(table, 1, &v6), shared_window_key(table, 1, &same64));
    cr_expect_neq(shared_window_key(table, 1, &v6), shared_window_key(table, 1, &other64));
}

/* --- The clock. 200 are taken at NOW, then it is set. */

static const struct {
    const char *name;
    int64_t step_ms;
    bool taken;
} steps[] = {
    {"not at all", 0, false},
    {"back a second over the minute", -1000, false},
    {"back ten minutes", -10 * MINUTE, false},
    {"far back: it was wrong before", -2 * HOUR, true},
    {"a year back", -365LL * 24 * HOUR, true},
    {"an hour ahead", HOUR, false},
    {"an hour and a minute ahead", HOUR + MINUTE, true},
};

Test(shared_window, P9_a_clock_that_is_set)
{
    for (uint32_t i = 0; i < ARRAY_SIZE(steps); i++) {
        uint64_t key = key_of(i);

        take_many(key, NOW, 200);
        cr_expect_eq(take(key, NOW + steps[i].step_ms, 200), steps[i].taken, "%s", steps[i].name);
    }
}

Test(shared_window, P9_a_clock_that_runs_ahead_and_is_right_again_forgets_nothing)
{
    uint64_t key = key_of(1);

    take_many(key, NOW, 190);
    take_many(key, NOW + 24 * HOUR, 50);
    cr_expect_eq(shared_window_count(table, key, NOW + 24 * HOUR), 50);
    for (unsigned i = 0; i < 10; i++)
        cr_expect(take(key, NOW + 1000, 200), "%u", i);
    cr_expect_not(take(key, NOW + 2000, 200), "those of before still count");
    cr_expect_eq(shared_window_count(table, key, NOW + 24 * HOUR), 0, "those to come are gone");
}

Test(shared_window, P9_processes_whose_clocks_differ_by_a_minute_count_as_one)
{
    uint64_t key = key_of(1);
    unsigned taken = 0;

    for (unsigned i = 0; i < 1000; i++)
        taken += take(key, NOW + (i % 2 ? MINUTE : 0) + i, 200);
    cr_expect_eq(taken, 200);
}

/* --- Many processes. */

static void
hammer(unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < 400; i++)
        for (uint32_t customer = 0; customer < 16; customer++) {
            if (take(key_of(customer), NOW + i, 200))
                common->taken[customer][0]++;
            else
                common->refused++;
        }
}

Test(shared_window, P9_exact_with_8_processes)
{
    in_processes(hammer);
    for (uint32_t customer = 0; customer < 16; customer++) {
        cr_expect_eq(common->taken[customer][0], 200, "%u", common->taken[customer][0]);
        cr_expect_eq(shared_window_count(table, key_of(customer), NOW), 200);
    }
    cr_expect_eq(common->refused, PROCESSES * 400 * 16 - 16 * 200);
    cr_expect_eq(shared_window_evictions(table), 0);
}

/* Time runs while they take: all meet before each minute, and race into it. */
static unsigned
tries_in(unsigned minute, uint32_t customer)
{
    return (minute * 7919 + customer * 31) % 5;
}

static void
hammer_through_hours(unsigned number)
{
    for (unsigned minute = 0; minute < MINUTES_RUN; minute++) {
        pthread_barrier_wait(&common->minute_begins);
        for (uint32_t customer = 0; customer < 4; customer++)
            for (unsigned i = 0; i < tries_in(minute, customer); i++)
                if (take(key_of(customer), NOW + minute * (int64_t)MINUTE + number, 20 + customer))
                    common->taken[customer][minute]++;
    }
}

Test(shared_window, P9_exact_in_every_hour_while_time_runs)
{
    pthread_barrierattr_t attr;

    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    cr_assert_eq(pthread_barrier_init(&common->minute_begins, &attr, PROCESSES), 0);
    in_processes(hammer_through_hours);
    for (uint32_t customer = 0; customer < 4; customer++)
        for (unsigned minute = 0; minute < MINUTES_RUN; minute++) {
            uint32_t before = 0, room, tries = PROCESSES * tries_in(minute, customer);

            for (unsigned m = minute > 60 ? minute - 60 : 0; m < minute; m++)
                before += common->taken[customer][m];
            room = 20 + customer - before;
            cr_assert_eq(common->taken[customer][minute], tries < room ? tries : room,
                         "customer %u, minute %u: %u of %u tries, %u before", customer, minute,
                         common->taken[customer][minute], tries, before);
        }
}

static void
hammer_for_ever(unsigned number)
{
    (void)number;
    for (unsigned i = 0;; i++)
        (void)take(key_of(i % 64), NOW + (int64_t)i * 20, 200);
}

/* Killed in the middle of anything, and stopped there: the others count on, exactly. */
Test(shared_window, P8_killed_and_stopped_processes_spoil_nothing)
{
    pid_t pids[PROCESSES];
    unsigned taken = 0;

    for (unsigned round = 0; round < 5; round++) {
        for (unsigned p = 0; p < PROCESSES; p++)
            if ((pids[p] = fork()) == 0)
                hammer_for_ever(p);
        usleep(20000);
        for (unsigned p = 0; p < PROCESSES; p++)
            kill(pids[p], p % 2 ? SIGKILL : SIGSTOP);
        taken = 0;
        for (unsigned i = 0; i < 500; i++)
            taken += take(key_of(1000 + round), NOW, 200);
        cr_expect_eq(taken, 200);
        for (uint32_t customer = 0; customer < 64; customer++)
            (void)take(key_of(customer), NOW + 100 * HOUR + round * 2 * HOUR, 200);
        for (unsigned p = 0; p < PROCESSES; p++)
            kill(pids[p], SIGKILL);
        while (wait(NULL) > 0)
            ;
    }
    for (uint32_t customer = 0; customer < 64; customer++) {
        uint64_t key = key_of(customer);

        for (unsigned i = 0; i < 500; i++)
            (void)take(key, NOW + 1000 * HOUR, 200);
        cr_expect_eq(shared_window_count(table, key, NOW + 1000 * HOUR), 200);
    }
}

/* --- A full table. */

Test(shared_window, a_full_table_forgets_single_clients_first_and_counts_it)
{
    struct inet_endpoint client = {.family = 4};
    unsigned kept = 0;

    for (uint32_t customer = 0; customer < 2000; customer++)
        take_many(key_of(customer), NOW, 1);
    cr_expect_eq(shared_window_evictions(table), 0);
    for (uint32_t i = 0; i < 3 * SHARED_WINDOWS_MAX; i++) {
        memcpy(client.addr, &i, sizeof i);
        cr_assert(take(shared_window_key(table, 1, &client), NOW + MINUTE, 200), "%u", i);
    }
    for (uint32_t customer = 0; customer < 2000; customer++)
        kept += shared_window_count(table, key_of(customer), NOW + MINUTE) == 1;
    cr_expect_eq(kept, 2000, "%u customers of 2000 are still counted", kept);
    cr_expect_geq(shared_window_evictions(table), 2 * SHARED_WINDOWS_MAX);
}

Test(shared_window, what_no_longer_counts_makes_room_and_is_not_missed)
{
    for (uint32_t round = 0; round < 4; round++)
        for (uint32_t i = 0; i < SHARED_WINDOWS_MAX / 4; i++)
            cr_assert(take(key_of(round * SHARED_WINDOWS_MAX + i), NOW + round * 2 * HOUR, 1));
    cr_expect_eq(shared_window_evictions(table), 0);
}

Test(shared_window, an_evicted_one_leaves_nothing_behind_for_its_successor)
{
    uint32_t i = 0;

    take_many(key_of(1), NOW, 150);
    while (shared_window_count(table, key_of(1), NOW) > 0 && i < 10 * SHARED_WINDOWS_MAX)
        take_many(key_of(1000000 + i++), NOW, 1);
    cr_assert_lt(i, 10 * SHARED_WINDOWS_MAX);
    for (uint32_t n = i > 100 ? i - 100 : 0; n < i; n++)
        cr_expect_leq(shared_window_count(table, key_of(1000000 + n), NOW), 1);
    take_many(key_of(1), NOW, 1);
    cr_expect_eq(shared_window_count(table, key_of(1), NOW), 1, "and begins anew itself");
}
