/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A turn is one event_base_loop(EVLOOP_ONCE): libevent waits once and runs what became active. Then
 * the deferred functions run: frees, writes, second offers of input.  They may defer more; after
 * DEFER_ROUNDS rounds the rest waits for a turn that does not sleep, so that no peer starves.
 *
 * The moment of a turn is read at its first callback and kept.  The stall watch takes the time of
 * every framed callback (two reads of the clock through the vDSO) and remembers the slowest.
 */
#define _GNU_SOURCE 1

#include "net/loop.h"

#include <dlfcn.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#define DEFER_ROUNDS 8

struct deferred {
    void (*fn)(void *ctx);
    void *ctx;
};

struct loop_signal {
    struct loop_signal *next;
    struct loop_watch *watch;
    int fd, signo;
    void (*on_signal)(void *ctx, int signo);
    void *ctx;
};

struct loop_watch {
    struct loop *loop;
    struct event *event;
    void (*on_readable)(void *ctx);
    void *ctx;
};

struct loop {
    struct event_base *base;
    struct deferred *deferred; /* a queue: [deferred_head, deferred_count) waits */
    size_t deferred_head, deferred_count, deferred_cap;
    struct loop_signal *signals;
    bool is_stopping;
    int64_t turn_began_us; /* 0: no callback yet in this turn */
    struct {
        int64_t took_us;
        const char *what;
        void (*fn)(void);
    } slowest;
    int64_t stall_abort_us; /* 0: a stall is logged only */
    bool may_stall;
};

static int64_t
stall_abort_us(void)
{
    const char *text = getenv("POSTERN_STALL_ABORT_MS");
    uint64_t ms = 0;

    if (text == NULL || parse_u64(slice_of(text), &ms) < 0)
        return 0;
    return (int64_t)ms * 1000;
}

struct loop *
loop_new(void)
{
    struct loop *loop = mem_alloc(sizeof *loop);
    struct event_config *config = event_config_new();

    CHECK(config != NULL);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    CHECK(loop->base != NULL);
    event_config_free(config);
    loop->stall_abort_us = stall_abort_us();
    signal(SIGPIPE, SIG_IGN);
    return loop;
}

struct event_base *
loop_event_base(struct loop *loop)
{
    return loop->base;
}

/* --- the stall watch --- */

void
loop_allow_stalls(struct loop *loop)
{
    loop->may_stall = true;
}

int64_t
loop_callback_begin(struct loop *loop)
{
    int64_t now_us = clock_monotonic_us();

    if (loop->turn_began_us == 0)
        loop->turn_began_us = now_us;
    return now_us;
}

void
loop_callback_end(struct loop *loop, int64_t began_us, const char *what, void (*fn)(void))
{
    int64_t took_us = clock_monotonic_us() - began_us;

    /* A frame around a frame takes little longer than the inner one, which knows more. */
    if (took_us <= loop->slowest.took_us + 1000)
        return;
    loop->slowest.took_us = took_us;
    loop->slowest.what = what;
    loop->slowest.fn = fn;
}

static void
report_stall(struct loop *loop, int64_t took_us)
{
    const char *symbol = "?";
    uintptr_t offset = 0;
    Dl_info info;

    if (loop->slowest.fn && dladdr((void *)(uintptr_t)loop->slowest.fn, &info)) {
        offset = (uintptr_t)loop->slowest.fn - (uintptr_t)info.dli_fbase;
        symbol = info.dli_sname ? info.dli_sname : info.dli_fname;
    }
    log_line(LOG_LEVEL_WARN, NULL, "loop-stall",
             "turn_ms=%lld slowest_ms=%lld what=%s function=%s+0x%lx", (long long)took_us / 1000,
             (long long)loop->slowest.took_us / 1000,
             loop->slowest.what ? loop->slowest.what : "unknown", symbol, (unsigned long)offset);
    CHECK(loop->stall_abort_us == 0 || took_us < loop->stall_abort_us);
}

static void
end_turn(struct loop *loop)
{
    int64_t began_us = loop->turn_began_us, took_us;

    if (began_us == 0)
        return;
    loop->turn_began_us = 0;
    took_us = clock_monotonic_us() - began_us;
    if (!loop->may_stall && (took_us > LOOP_STALL_LIMIT_MS * 1000 ||
                             (loop->stall_abort_us && took_us >= loop->stall_abort_us)))
        report_stall(loop, took_us);
    loop->slowest.took_us = 0;
    loop->slowest.what = NULL;
    loop->slowest.fn = NULL;
}

int64_t
loop_now_ms(struct loop *loop)
{
    if (loop->turn_began_us == 0)
        loop->turn_began_us = clock_monotonic_us();
    return loop->turn_began_us / 1000;
}

/* --- turns --- */

void
loop_defer(struct loop *loop, void (*fn)(void *ctx), void *ctx)
{
    if (loop->deferred_count == loop->deferred_cap) {
        loop->deferred_cap = loop->deferred_cap ? loop->deferred_cap * 2 : 64;
        loop->deferred = mem_realloc(loop->deferred, loop->deferred_cap * sizeof *loop->deferred);
    }
    loop->deferred[loop->deferred_count++] = (struct deferred){fn, ctx};
}

static void
run_round(struct loop *loop)
{
    size_t end = loop->deferred_count;

    while (loop->deferred_head < end) {
        struct deferred d = loop->deferred[loop->deferred_head++];
        int64_t began_us = loop_callback_begin(loop);

        d.fn(d.ctx);
        loop_callback_end(loop, began_us, "deferred", (void (*)(void))d.fn);
    }
}

static bool
has_deferred(const struct loop *loop)
{
    return loop->deferred_head < loop->deferred_count;
}

static void
run_deferred(struct loop *loop)
{
    for (int round = 0; round < DEFER_ROUNDS && has_deferred(loop); round++)
        run_round(loop);
    loop->deferred_count -= loop->deferred_head;
    if (loop->deferred_count > 0)
        memmove(loop->deferred, loop->deferred + loop->deferred_head,
                loop->deferred_count * sizeof *loop->deferred);
    loop->deferred_head = 0;
}

void
loop_run(struct loop *loop)
{
    int rc;

    loop->is_stopping = false;
    loop->turn_began_us = 0; /* what was set up before is no turn */
    run_deferred(loop);
    end_turn(loop);
    while (!loop->is_stopping) {
        int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;

        if (has_deferred(loop))
            flags |= EVLOOP_NONBLOCK;
        rc = event_base_loop(loop->base, flags);
        CHECK(rc >= 0);
        run_deferred(loop);
        end_turn(loop);
    }
}

void
loop_stop(struct loop *loop)
{
    loop->is_stopping = true;
}

void
loop_free(struct loop **loop_p)
{
    struct loop *loop = *loop_p;

    if (loop == NULL)
        return;
    while (loop->signals) {
        struct loop_signal *s = loop->signals;

        loop->signals = s->next;
        loop_watch_cancel(&s->watch);
        close(s->fd);
        free(s);
    }
    for (int i = 0; i < DEFER_ROUNDS && has_deferred(loop); i++)
        run_deferred(loop);
    event_base_free(loop->base);
    free(loop->deferred);
    free(loop);
    *loop_p = NULL; /* last: deferred functions may have reached the loop through it */
}

/* --- timers --- */

void
loop_timer_init(struct loop_timer *t, struct loop *loop, void (*on_fire)(void *ctx), void *ctx)
{
    *t = (struct loop_timer){.loop = loop, .on_fire = on_fire, .ctx = ctx};
}

static void
on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_timer *t = ctx;
    struct loop *loop = t->loop;
    void (*on_fire)(void *) = t->on_fire;
    int64_t began_us = loop_callback_begin(loop);

    (void)fd;
    (void)what;
    on_fire(t->ctx); /* may cancel the timer and defer the end of its owner */
    loop_callback_end(loop, began_us, "timer", (void (*)(void))on_fire);
}

void
loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    struct timeval tv;
    int rc;

    CHECK(t->loop != NULL);
    if (delay_ms < 0)
        delay_ms = 0;
    if (t->event == NULL) {
        t->event = event_new(t->loop->base, -1, 0, on_timer, t);
        CHECK(t->event != NULL);
    }
    tv = (struct timeval){.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};
    rc = event_add(t->event, &tv);
    CHECK(rc == 0);
}

void
loop_timer_cancel(struct loop_timer *t)
{
    if (t->event)
        event_free(t->event);
    t->event = NULL;
}

bool
loop_timer_is_running(const struct loop_timer *t)
{
    return t->event && event_pending(t->event, EV_TIMEOUT, NULL);
}

/* --- descriptors --- */

static void
on_watch(evutil_socket_t fd, short what, void *ctx)
{
    struct loop_watch *w = ctx;
    struct loop *loop = w->loop;
    void (*on_readable)(void *) = w->on_readable;
    int64_t began_us = loop_callback_begin(loop);

    (void)fd;
    (void)what;
    on_readable(w->ctx); /* may cancel the watch, which goes after the turn */
    loop_callback_end(loop, began_us, "watch", (void (*)(void))on_readable);
}

struct loop_watch *
loop_watch_start(struct loop *loop, int fd, void (*on_readable)(void *ctx), void *ctx)
{
    struct loop_watch *w = mem_alloc(sizeof *w);
    int rc;

    *w = (struct loop_watch){.loop = loop, .on_readable = on_readable, .ctx = ctx};
    w->event = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_watch, w);
    CHECK(w->event != NULL);
    rc = event_add(w->event, NULL);
    CHECK(rc == 0);
    return w;
}

void
loop_watch_cancel(struct loop_watch **watch)
{
    struct loop_watch *w = *watch;

    *watch = NULL;
    if (w == NULL)
        return;
    event_free(w->event);
    loop_defer(w->loop, free, w);
}

/* --- signals --- */

static void
on_signal_ready(void *ctx)
{
    struct loop_signal *s = ctx;
    struct signalfd_siginfo info;

    while (read(s->fd, &info, sizeof info) == (ssize_t)sizeof info)
        s->on_signal(s->ctx, s->signo);
}

void
loop_expect_signal(int signo)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void
loop_on_signal(struct loop *loop, int signo, void (*on_signal)(void *ctx, int signo), void *ctx)
{
    struct loop_signal *s = mem_alloc(sizeof *s);
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signo);
    *s = (struct loop_signal){
        .next = loop->signals, .signo = signo, .on_signal = on_signal, .ctx = ctx};
    loop_expect_signal(signo);
    s->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(s->fd >= 0);
    s->watch = loop_watch_start(loop, s->fd, on_signal_ready, s);
    loop->signals = s;
}
