/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P8: the loop's order (callbacks, then what they deferred), its timers, and the watch that tells
 * when something blocked it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/loop.h"

struct stage {
    struct loop *loop;
    struct loop_watch *watch;
    struct loop_timer timer;
    struct buf seen;
    int count, fd, limit;
};

static void
stop(void *ctx)
{
    struct stage *s = ctx;

    loop_stop(s->loop);
}

static void
say_second(void *ctx)
{
    struct stage *s = ctx;

    buf_add_text(&s->seen, "second ");
}

static void
say_first(void *ctx)
{
    struct stage *s = ctx;

    buf_add_text(&s->seen, "first ");
    loop_defer(s->loop, stop, s);
}

static void
on_fire_defer(void *ctx)
{
    struct stage *s = ctx;

    loop_defer(s->loop, say_first, s);
    loop_defer(s->loop, say_second, s);
    buf_add_text(&s->seen, "callback ");
}

Test(loop, deferred_functions_run_after_the_callback_in_their_order)
{
    struct stage s = {.loop = loop_new()};

    loop_timer_init(&s.timer, s.loop, on_fire_defer, &s);
    loop_timer_start(&s.timer, 0);
    loop_run(s.loop);
    cr_expect_str_eq(buf_text(&s.seen), "callback first second ");
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
    cr_expect_null(s.loop);
    buf_fini(&s.seen);
}

static void
defer_again(void *ctx)
{
    struct stage *s = ctx;

    s->count++;
    loop_defer(s->loop, defer_again, s);
}

Test(loop, P8_a_function_that_defers_itself_for_ever_does_not_starve_timers)
{
    struct stage s = {.loop = loop_new()};

    loop_timer_init(&s.timer, s.loop, stop, &s);
    loop_timer_start(&s.timer, 20);
    loop_defer(s.loop, defer_again, &s);
    loop_run(s.loop);
    cr_expect_gt(s.count, 8);
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
}

static void
on_fire_count(void *ctx)
{
    struct stage *s = ctx;

    if (++s->count < s->limit)
        loop_timer_start(&s->timer, 1);
    else
        loop_stop(s->loop);
}

Test(loop, a_timer_can_be_started_again_in_its_callback_and_replaced_before)
{
    struct stage s = {.loop = loop_new(), .limit = 3};
    int64_t began_at;

    loop_timer_init(&s.timer, s.loop, on_fire_count, &s);
    cr_expect_not(loop_timer_is_running(&s.timer));
    loop_timer_start(&s.timer, 3600000);
    loop_timer_start(&s.timer, 30);
    cr_expect(loop_timer_is_running(&s.timer));
    began_at = clock_monotonic_ms();
    loop_run(s.loop);
    cr_expect_eq(s.count, 3);
    cr_expect_geq(clock_monotonic_ms() - began_at, 25);
    cr_expect_not(loop_timer_is_running(&s.timer));
    loop_timer_cancel(&s.timer);
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
}

static void
never(void *ctx)
{
    cr_assert_fail("a cancelled callback ran (%p)", ctx);
}

Test(loop, a_cancelled_timer_does_not_fire)
{
    struct stage s = {.loop = loop_new()};
    struct loop_timer cancelled;

    loop_timer_init(&cancelled, s.loop, never, &s);
    loop_timer_start(&cancelled, 5);
    loop_timer_cancel(&cancelled);
    loop_timer_init(&s.timer, s.loop, stop, &s);
    loop_timer_start(&s.timer, 20);
    loop_run(s.loop);
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
}

static void
on_readable(void *ctx)
{
    struct stage *s = ctx;
    uint64_t value;

    cr_assert_eq(read(s->fd, &value, sizeof value), sizeof value);
    s->count += (int)value;
    loop_watch_cancel(&s->watch);
    cr_expect_null(s->watch);
    loop_stop(s->loop);
}

Test(loop, a_watch_may_be_cancelled_in_its_own_callback)
{
    struct stage s = {.loop = loop_new(), .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    uint64_t value = 7;

    s.watch = loop_watch_start(s.loop, s.fd, on_readable, &s);
    cr_assert_eq(write(s.fd, &value, sizeof value), sizeof value);
    loop_run(s.loop);
    cr_expect_eq(s.count, 7);
    loop_free(&s.loop);
    close(s.fd);
}

static void
on_usr1(void *ctx, int signo)
{
    struct stage *s = ctx;

    s->count = signo;
    loop_stop(s->loop);
}

Test(loop, a_signal_arrives_as_a_callback)
{
    struct stage s = {.loop = loop_new()};

    loop_on_signal(s.loop, SIGUSR1, on_usr1, &s);
    kill(getpid(), SIGUSR1);
    loop_run(s.loop);
    cr_expect_eq(s.count, SIGUSR1);
    loop_free(&s.loop);
}

Test(loop, a_signal_that_is_expected_waits_for_its_callback)
{
    struct stage s = {.loop = loop_new()};

    loop_expect_signal(SIGUSR1);
    kill(getpid(), SIGUSR1);
    loop_on_signal(s.loop, SIGUSR1, on_usr1, &s);
    loop_run(s.loop);
    cr_expect_eq(s.count, SIGUSR1);
    loop_free(&s.loop);
}

static void
on_fire_clock(void *ctx)
{
    struct stage *s = ctx;
    int64_t before = loop_now_ms(s->loop);

    usleep(20000);
    cr_expect_eq(loop_now_ms(s->loop), before);
    loop_stop(s->loop);
}

Test(loop, the_time_stands_still_within_a_turn)
{
    struct stage s = {.loop = loop_new()};

    loop_timer_init(&s.timer, s.loop, on_fire_clock, &s);
    loop_timer_start(&s.timer, 0);
    loop_run(s.loop);
    cr_expect_lt(llabs(loop_now_ms(s.loop) - clock_monotonic_ms()), 15);
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
}

static void
block_the_loop(void *ctx)
{
    struct stage *s = ctx;

    usleep((LOOP_STALL_LIMIT_MS + 50) * 1000);
    loop_stop(s->loop);
}

Test(loop, P8_a_turn_that_is_too_long_is_logged_with_what_ran)
{
    struct stage s = {.loop = loop_new()};
    char line[1024] = "";
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    log_init("test", fds[1], LOG_LEVEL_DEBUG);
    loop_timer_init(&s.timer, s.loop, block_the_loop, &s);
    loop_timer_start(&s.timer, 0);
    loop_run(s.loop);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    cr_assert_gt(read(fds[0], line, sizeof line - 1), 0);
    cr_expect(strstr(line, "loop-stall") && strstr(line, "what=timer"), "%s", line);
    loop_timer_cancel(&s.timer);
    loop_free(&s.loop);
}

Test(loop, P8_in_tests_a_stall_ends_the_run, .signal = SIGABRT)
{
    struct stage s;

    setenv("POSTERN_STALL_ABORT_MS", "30", 1);
    s = (struct stage){.loop = loop_new()};
    loop_timer_init(&s.timer, s.loop, block_the_loop, &s);
    loop_timer_start(&s.timer, 0);
    loop_run(s.loop);
}
