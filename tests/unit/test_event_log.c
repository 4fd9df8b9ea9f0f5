/* SPDX-License-Identifier: BSD-2-Clause
 *
 * No line goes unsaid: it is in the file when the log is freed, or counted as lost.  The disk and
 * the clock are the test's.
 */
#include "base/event_log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define LINES 3
#define MINUTE 60

/* --- In place of libc's, for the whole program. */

static atomic_int later_s;
static atomic_int refusal; /* errno of what writes events; 0: none */
static atomic_int writes;  /* of events */

int
clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += later_s;
    return rc;
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
    bool is_event = n > 0 && *(const char *)bytes == '{';
    int why = is_event ? refusal : 0;
    ssize_t rc = -1;

    if (why == 0)
        rc = syscall(SYS_write, fd, bytes, n);
    else
        errno = why;
    writes += is_event;
    return rc;
}

/* --- What is said. */

static int said_fd;
static char said[1024];

static void
listen_to_log(void)
{
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    cr_assert_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    log_init("test", fds[1], LOG_LEVEL_INFO);
    said_fd = fds[0];
}

static bool
is_said(const char *text)
{
    ssize_t n = read(said_fd, said, sizeof said - 1);

    said[n > 0 ? n : 0] = '\0';
    return text[0] ? strstr(said, text) != NULL : said[0] == '\0';
}

static const struct {
    const char *name, *path; /* NULL: no file */
    const char *said;        /* "" nothing */
} cases[] = {
    {"written", "/dev/null", ""},
    {"no file", NULL, "events-dropped count=3 error=\"there is no file to write to\""},
    {"a full disk", "/dev/full", "events-dropped count=3 error=\"No space left on device\""},
};

static void
write_lines(const char *path)
{
    struct event_log *log = event_log_new();

    if (path != NULL)
        event_log_use(log, open(path, O_WRONLY | O_APPEND | O_CLOEXEC));
    for (unsigned i = 0; i < LINES; i++)
        event_log_add(log, SLICE("{}"));
    event_log_free(&log);
    cr_assert_null(log);
}

Test(event_log, what_is_not_written_at_the_end_is_counted)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        listen_to_log();
        write_lines(cases[i].path);
        cr_expect(is_said(cases[i].said), "%s: %s", cases[i].name, said);
    }
}

static struct event_log *log_;

static void
wait_for_write(int count)
{
    for (int i = 0; writes < count; i++) {
        cr_assert_lt(i, 5000, "no write in 5 s");
        usleep(1000);
    }
}

/* So many lines, written or refused when it returns. */
static void
add_lines(unsigned count, int why)
{
    int before = writes;

    refusal = why;
    for (unsigned i = 0; i < count; i++)
        event_log_add(log_, SLICE("{}"));
    event_log_flush(log_);
    wait_for_write(before + 1);
}

/* What the thread has done with its last write may be seen a moment later. */
static void
expect_soon(const char *text)
{
    bool is = false;

    for (int i = 0; i < 5000 && !is; i++) {
        event_log_flush(log_);
        is = is_said(text);
        usleep(1000);
    }
    cr_expect(is, "%s: %s", text, said);
}

static void
expect_silence(void)
{
    for (int i = 0; i < 50; i++) {
        event_log_flush(log_);
        cr_expect(is_said(""), "%s", said);
        usleep(1000);
    }
}

Test(event_log, losses_are_said_at_once_and_then_as_a_sum_a_minute)
{
    listen_to_log();
    log_ = event_log_new();
    event_log_use(log_, open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC));
    add_lines(1, ENOSPC);
    expect_soon("events-dropped count=1 error=\"No space left on device\"");
    add_lines(2, EIO);
    add_lines(3, EROFS);
    expect_silence();
    add_lines(4, 0); /* it is over: what was lost is said all the same, with the first reason */
    expect_silence();
    later_s += MINUTE;
    expect_soon("events-dropped count=5 error=\"Input/output error\"");
    later_s += MINUTE;
    expect_silence();
    add_lines(1, EROFS);
    expect_soon("events-dropped count=1 error=\"Read-only file system\"");
    add_lines(7, ENOSPC);
    expect_silence();
    event_log_free(&log_);
    cr_expect(is_said("events-dropped count=7 error=\"No space left on device\""), "%s", said);
}
