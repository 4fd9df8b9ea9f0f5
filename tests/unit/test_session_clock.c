/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a client may take: an honest slow one lives, one that drips does not (P8).
 */
#include <criterion/criterion.h>

#include "relayd/session_clock.h"

#define S 1000

static struct session_times
times_of(int64_t greet_ms, uint32_t rate)
{
    struct config config = {.greet_wait_ms = greet_ms,
                            .client_command_timeout_ms = 300 * S,
                            .client_data_timeout_ms = 180 * S,
                            .client_min_rate = rate};
    struct session_times times;

    session_times_init(&times, &config);
    return times;
}

Test(session_clock, pressure_never_gives_more_time)
{
    struct config config = {.client_command_timeout_ms = 2 * S, .client_data_timeout_ms = 600 * S};
    struct session_times times;

    session_times_init(&times, &config);
    for (int i = 0; i < SESSION_PHASE_COUNT; i++)
        cr_expect_leq(times.phase_ms[i][1], times.phase_ms[i][0], "%s",
                      session_phase_word((enum session_phase)i));
    cr_expect_eq(times.phase_ms[SESSION_PHASE_COMMAND][1], 2 * S);
    cr_expect_eq(times.phase_ms[SESSION_PHASE_CONTENT][1], 30 * S);
}

Test(session_clock, a_commands_deadline_is_its_beginning_and_nothing_else)
{
    struct session_times times = times_of(0, 100);
    struct session_clock clock;

    session_clock_start(&clock, SESSION_PHASE_COMMAND, 1 * S);
    for (int64_t now = 1 * S; now < 301 * S; now += S) {
        cr_assert_eq(session_clock_deadline_ms(&clock, &times, false), 301 * S);
        cr_assert_eq(session_clock_judge(&clock, &times, false, now), SESSION_IN_TIME);
    }
    cr_expect_eq(session_clock_judge(&clock, &times, false, 301 * S), SESSION_SILENT);
    cr_expect_eq(session_clock_judge(&clock, &times, true, 31 * S), SESSION_SILENT);
}

Test(session_clock, commands_without_progress_have_an_end)
{
    struct session_times times = times_of(0, 100);
    struct session_clock clock;
    int64_t now;

    session_clock_start(&clock, SESSION_PHASE_COMMAND, 0);
    for (now = 0; session_clock_judge(&clock, &times, false, now) == SESSION_IN_TIME; now += 60 * S)
        session_clock_enter(&clock, SESSION_PHASE_COMMAND, now);
    cr_expect_eq(session_clock_judge(&clock, &times, false, now), SESSION_NO_PROGRESS);
    cr_expect_eq(now, 30 * 60 * S);
    cr_expect_leq(session_clock_deadline_ms(&clock, &times, false), now);
    session_clock_progress(&clock, now);
    cr_expect_eq(session_clock_judge(&clock, &times, false, now), SESSION_IN_TIME);
}

Test(session_clock, waiting_of_ours_has_no_deadline)
{
    struct session_times times = times_of(0, 100);
    struct session_clock clock;

    session_clock_start(&clock, SESSION_PHASE_OURS, 0);
    cr_expect_eq(session_clock_deadline_ms(&clock, &times, true), 0);
    cr_expect_eq(session_clock_judge(&clock, &times, true, 86400 * S), SESSION_IN_TIME);
    session_clock_enter(&clock, SESSION_PHASE_BEHIND, 86400 * S);
    cr_expect_eq(session_clock_deadline_ms(&clock, &times, true), 0);
}

/* Sends `piece` octets every `every_ms` for `last_ms`; when it was judged late, 0: never. */
static int64_t
send_content(uint32_t rate, uint64_t burst, uint64_t piece, int64_t every_ms, int64_t last_ms,
             enum session_lateness *late)
{
    struct session_times times = times_of(0, rate);
    struct session_clock clock;
    uint64_t octets = burst;

    session_clock_start(&clock, SESSION_PHASE_CONTENT, 0);
    session_clock_content(&clock, octets, 0);
    for (int64_t now = S; now <= last_ms; now += S) {
        if (now >= session_clock_deadline_ms(&clock, &times, false)) {
            *late = session_clock_judge(&clock, &times, false, now);
            if (*late != SESSION_IN_TIME)
                return now;
        }
        if (now % every_ms == 0)
            session_clock_content(&clock, octets += piece, now);
    }
    *late = SESSION_IN_TIME;
    return 0;
}

static const struct {
    const char *name;
    uint32_t rate;
    uint64_t burst, piece;
    int64_t every_ms, last_ms, late_at_ms;
    enum session_lateness late;
} senders[] = {
    {"a slow link", 100, 0, 120, 1 * S, 3600 * S, 0, SESSION_IN_TIME},
    {"a link with long stalls", 100, 0, 20000, 170 * S, 3600 * S, 0, SESSION_IN_TIME},
    {"a drip", 100, 0, 1, 1 * S, 3600 * S, 180 * S, SESSION_SLOW},
    {"just too slow", 100, 0, 98, 1 * S, 3600 * S, 180 * S, SESSION_SLOW},
    {"silence", 100, 1000000, 0, 1 * S, 3600 * S, 180 * S, SESSION_SILENT},
    {"a burst, then a drip", 100, 1000000, 1, 1 * S, 3600 * S, 360 * S, SESSION_SLOW},
    {"a drip where any rate will do", 0, 0, 1, 100 * S, 3600 * S, 0, SESSION_IN_TIME},
};

Test(session_clock, content_comes_at_a_rate)
{
    for (size_t i = 0; i < ARRAY_SIZE(senders); i++) {
        enum session_lateness late;
        int64_t at = send_content(senders[i].rate, senders[i].burst, senders[i].piece,
                                  senders[i].every_ms, senders[i].last_ms, &late);

        cr_expect_eq(late, senders[i].late, "%s: %d", senders[i].name, late);
        cr_expect_eq(at, senders[i].late_at_ms, "%s: at %lld", senders[i].name, (long long)at);
    }
}

Test(session_clock, a_pause_of_ours_does_not_count_against_the_rate)
{
    struct session_times times = times_of(0, 100);
    struct session_clock clock;

    session_clock_start(&clock, SESSION_PHASE_CONTENT, 0);
    session_clock_content(&clock, 10, 1 * S);
    session_clock_enter(&clock, SESSION_PHASE_BEHIND, 100 * S);
    session_clock_enter(&clock, SESSION_PHASE_CONTENT, 1000 * S);
    cr_expect_eq(session_clock_judge(&clock, &times, false, 1100 * S), SESSION_IN_TIME);
    cr_expect_eq(session_clock_deadline_ms(&clock, &times, false), 1180 * S);
}

Test(session_clock, the_time_of_each_phase_is_kept)
{
    struct session_clock clock;

    session_clock_start(&clock, SESSION_PHASE_GREET, 10);
    session_clock_enter(&clock, SESSION_PHASE_COMMAND, 20);
    session_clock_enter(&clock, SESSION_PHASE_COMMAND, 50);
    session_clock_enter(&clock, SESSION_PHASE_OURS, 60);
    session_clock_enter(&clock, SESSION_PHASE_COMMAND, 100);
    cr_expect_eq(session_clock_spent_ms(&clock, SESSION_PHASE_GREET, 105), 10);
    cr_expect_eq(session_clock_spent_ms(&clock, SESSION_PHASE_COMMAND, 105), 45);
    cr_expect_eq(session_clock_spent_ms(&clock, SESSION_PHASE_OURS, 105), 40);
}
