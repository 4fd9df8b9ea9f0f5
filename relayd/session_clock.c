/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of what a client may take, and the arithmetic of deadlines.
 *
 * RFC 5321 4.5.3.2 speaks of senders' patience; 4.5.3.2.7 asks a receiver for five minutes between
 * commands.  Under pressure (RFC 5321 7.8: a host may defend itself) a node that gives everybody
 * that much serves nobody; an honest peer with work to do answers within seconds.
 */
#include "relayd/session_clock.h"

#define SECOND 1000
#define MINUTE (60 * SECOND)

enum source { FIXED, GREET_WAIT, COMMAND_TIMEOUT, DATA_TIMEOUT };

static const struct row {
    const char *word;
    enum source source;
    int64_t normal_ms;  /* FIXED */
    int64_t pressed_ms; /* at most so much under pressure; 0: as otherwise */
} rows[SESSION_PHASE_COUNT] = {
    /* "must be received within 3 seconds at least", and is the proxy's first packet: section 2 of
     * its specification */
    [SESSION_PHASE_PROXY] = {"proxy", FIXED, 10 * SECOND, 3 * SECOND},
    [SESSION_PHASE_GREET] = {"greet", GREET_WAIT, 0, 0},
    [SESSION_PHASE_COMMAND] = {"command", COMMAND_TIMEOUT, 0, 30 * SECOND}, /* RFC 5321 4.5.3.2.7 */
    [SESSION_PHASE_TLS] = {"tls", FIXED, MINUTE, 10 * SECOND}, /* two round trips and a signature */
    [SESSION_PHASE_CONTENT] = {"content", DATA_TIMEOUT, 0, 30 * SECOND}, /* RFC 5321 4.5.3.2.5 */
    [SESSION_PHASE_BEHIND] = {"behind", FIXED, 0, 0}, /* ends by what we wait for */
    [SESSION_PHASE_OURS] = {"ours", FIXED, 0, 0},     /* the same: its deadlines are elsewhere */
    [SESSION_PHASE_OUTPUT] = {"output", COMMAND_TIMEOUT, 0, 30 * SECOND}, /* as for a command */
};

/* Nothing asks for a connection without mail on it; connection caches keep one some minutes. */
#define PROGRESS_MS (30 * MINUTE)
#define PROGRESS_PRESSED_MS (2 * MINUTE)

const char *
session_phase_word(enum session_phase phase)
{
    return rows[phase].word;
}

static int64_t
normal_ms(const struct row *row, const struct config *config)
{
    switch (row->source) {
    case FIXED:
        return row->normal_ms;
    case GREET_WAIT:
        return config->greet_wait_ms;
    case COMMAND_TIMEOUT:
        return config->client_command_timeout_ms;
    case DATA_TIMEOUT:
        return config->client_data_timeout_ms;
    }
    return 0;
}

void
session_times_init(struct session_times *times, const struct config *config)
{
    for (size_t i = 0; i < SESSION_PHASE_COUNT; i++) {
        int64_t normal = normal_ms(&rows[i], config), pressed = rows[i].pressed_ms;

        times->phase_ms[i][0] = normal;
        times->phase_ms[i][1] = pressed == 0 || pressed > normal ? normal : pressed;
    }
    times->progress_ms[0] = PROGRESS_MS;
    times->progress_ms[1] = PROGRESS_PRESSED_MS;
    times->octets_per_s = config->client_min_rate;
}

/* --- Moments. */

void
session_clock_start(struct session_clock *clock, enum session_phase phase, int64_t now_ms)
{
    *clock = (struct session_clock){.progress_at_ms = now_ms, .began_at_ms = now_ms};
    clock->phase = phase;
    session_clock_enter(clock, phase, now_ms);
}

void
session_clock_enter(struct session_clock *clock, enum session_phase phase, int64_t now_ms)
{
    clock->spent_ms[clock->phase] += (uint32_t)(now_ms - clock->began_at_ms);
    clock->phase = phase;
    clock->began_at_ms = now_ms;
    clock->moved_at_ms = now_ms;
    clock->window_at_ms = now_ms;
    clock->window_octets = clock->octets;
}

void
session_clock_progress(struct session_clock *clock, int64_t now_ms)
{
    clock->progress_at_ms = now_ms;
}

void
session_clock_content(struct session_clock *clock, uint64_t octets, int64_t now_ms)
{
    if (octets == clock->octets)
        return;
    if (octets < clock->octets) /* another message */
        clock->window_octets = 0;
    clock->octets = octets;
    clock->moved_at_ms = now_ms;
}

static int64_t
sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t
session_clock_deadline_ms(const struct session_clock *clock, const struct session_times *times,
                          bool pressed)
{
    int64_t limit = times->phase_ms[clock->phase][pressed];

    if (limit == 0)
        return 0;
    if (clock->phase == SESSION_PHASE_COMMAND)
        return sooner(clock->began_at_ms + limit,
                      clock->progress_at_ms + times->progress_ms[pressed]);
    if (clock->phase == SESSION_PHASE_CONTENT)
        return sooner(clock->moved_at_ms, clock->window_at_ms) + limit;
    return clock->began_at_ms + limit;
}

static enum session_lateness
judge_content(struct session_clock *clock, const struct session_times *times, int64_t limit_ms,
              int64_t now_ms)
{
    uint64_t came = clock->octets - clock->window_octets;

    if (now_ms - clock->moved_at_ms >= limit_ms)
        return SESSION_SILENT;
    if (now_ms - clock->window_at_ms < limit_ms)
        return SESSION_IN_TIME;
    if (came * 1000 < times->octets_per_s * (uint64_t)(now_ms - clock->window_at_ms))
        return SESSION_SLOW;
    clock->window_at_ms = now_ms;
    clock->window_octets = clock->octets;
    return SESSION_IN_TIME;
}

enum session_lateness
session_clock_judge(struct session_clock *clock, const struct session_times *times, bool pressed,
                    int64_t now_ms)
{
    int64_t limit = times->phase_ms[clock->phase][pressed];

    if (limit == 0)
        return SESSION_IN_TIME;
    if (clock->phase == SESSION_PHASE_CONTENT)
        return judge_content(clock, times, limit, now_ms);
    if (now_ms - clock->began_at_ms >= limit)
        return SESSION_SILENT;
    if (clock->phase == SESSION_PHASE_COMMAND &&
        now_ms - clock->progress_at_ms >= times->progress_ms[pressed])
        return SESSION_NO_PROGRESS;
    return SESSION_IN_TIME;
}

int64_t
session_clock_spent_ms(const struct session_clock *clock, enum session_phase phase, int64_t now_ms)
{
    return clock->spent_ms[phase] + (phase == clock->phase ? now_ms - clock->began_at_ms : 0);
}
