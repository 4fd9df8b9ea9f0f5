/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Formats a line in a buffer of fixed size, escapes it and writes it at once.
 *
 * A pipe or socket whose reader stands still must not stop our loops (P8): what it does not take at
 * once is dropped and counted, and the count goes in front of the next line that is taken.  The
 * descriptor is shared with other processes, so O_NONBLOCK is not ours to set.
 */
#define _GNU_SOURCE 1

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES 2048
#define LOG_HEAD_BYTES 256
#define LOG_WRITE_BYTES (LOG_LINE_BYTES + 2 * LOG_HEAD_BYTES)

/* A pipe takes so much at once or nothing; POLLOUT promises no more (pipe(7)). */
static_assert(LOG_WRITE_BYTES + LOG_HEAD_BYTES <= PIPE_BUF, "a line goes out whole");

static char log_program[64] = "postern";
static int log_fd = STDERR_FILENO;
static enum { LOG_TO_FILE, LOG_TO_PIPE, LOG_TO_SOCKET } log_kind = LOG_TO_FILE;
static enum log_level log_level = LOG_LEVEL_INFO;
static atomic_ulong log_dropped; /* lines; the I/O threads may log too */

void
log_init(const char *program, int fd, enum log_level level)
{
    struct stat st;

    log_set_program(program);
    log_fd = fd;
    log_kind = LOG_TO_FILE;
    if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        log_kind = LOG_TO_PIPE;
    else if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
        log_kind = LOG_TO_SOCKET;
    log_level = level;
}

void
log_set_program(const char *program)
{
    snprintf(log_program, sizeof log_program, "%s", program);
}

const char *
log_program_name(void)
{
    return log_program;
}

static const char *
level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "alarm"};

    return names[level];
}

/* Copies with escapes; returns the number of bytes written, at most dst_size - 4. */
static size_t
escape(const char *src, size_t n, char *dst, size_t dst_size)
{
    static const char hex[] = "0123456789abcdef";
    size_t out = 0;

    for (size_t i = 0; i < n && out + 5 < dst_size; i++) {
        unsigned char c = (unsigned char)src[i];

        if (c >= 0x20 && c < 0x7f) {
            dst[out++] = (char)c;
            continue;
        }
        dst[out++] = '\\';
        dst[out++] = 'x';
        dst[out++] = hex[c >> 4];
        dst[out++] = hex[c & 15];
    }
    return out;
}

/* Kernels that cannot say "now or never" for a pipe are asked first; between question and write
 * another process may take the room, and then this one waits. */
static ssize_t
write_pipe(const char *line, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)line, n};
    struct pollfd pfd = {.fd = log_fd, .events = POLLOUT};
    ssize_t written = pwritev2(log_fd, &iov, 1, -1, RWF_NOWAIT);

    if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
        return written;
    if (poll(&pfd, 1, 0) != 1)
        return -1;
    return write(log_fd, line, n);
}

static bool
write_line(const char *line, size_t n)
{
    switch (log_kind) {
    case LOG_TO_FILE:
        return write(log_fd, line, n) >= 0;
    case LOG_TO_PIPE:
        return write_pipe(line, n) >= 0;
    case LOG_TO_SOCKET:
        return send(log_fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    }
    return false;
}

static size_t
format_head(char *dst, size_t dst_size, enum log_level level, const char *session,
            const char *event)
{
    char when[CLOCK_RFC3339_SIZE], head[LOG_HEAD_BYTES];
    int size = snprintf(head, sizeof head, "%s %s %s[%ld] %s %s ",
                        clock_rfc3339(clock_wall_ms(), when), level_name(level), log_program,
                        (long)getpid(), session && session[0] ? session : "-", event);

    if (size >= (int)sizeof head)
        size = (int)sizeof head - 1;
    return escape(head, (size_t)size, dst, dst_size);
}

/* In front of the line, in the same write: both go or neither. */
static size_t
format_dropped(char *dst, size_t dst_size, unsigned long dropped)
{
    size_t n;

    if (dropped == 0)
        return 0;
    n = format_head(dst, dst_size - 32, LOG_LEVEL_WARN, NULL, "log-lines-dropped");
    n += (size_t)snprintf(dst + n, dst_size - n, "count=%lu\n", dropped);
    return n;
}

void
log_line(enum log_level level, const char *session, const char *event, const char *fmt, ...)
{
    char body[LOG_LINE_BYTES], line[LOG_WRITE_BYTES + LOG_HEAD_BYTES];
    unsigned long dropped;
    size_t n;
    va_list args;

    if (level < log_level)
        return;
    dropped = atomic_exchange(&log_dropped, 0);
    va_start(args, fmt);
    vsnprintf(body, sizeof body, fmt, args);
    va_end(args);
    n = format_dropped(line, LOG_HEAD_BYTES, dropped);
    n += format_head(line + n, LOG_HEAD_BYTES, level, session, event);
    n += escape(body, strlen(body), line + n, sizeof line - n - 2);
    line[n++] = '\n';
    if (!write_line(line, n))
        atomic_fetch_add(&log_dropped, dropped + 1);
}

const char *
log_quote(struct slice value, char *dst, size_t dst_size)
{
    bool bare = value.n > 0;
    size_t n = 0;

    CHECK(dst_size >= 8);
    for (size_t i = 0; i < value.n && bare; i++)
        bare = value.p[i] > ' ' && value.p[i] < 0x7f && value.p[i] != '"' && value.p[i] != '=';
    if (!bare)
        dst[n++] = '"';
    for (size_t i = 0; i < value.n && n + 8 < dst_size; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            dst[n++] = '\\';
        n += escape(value.p + i, 1, dst + n, dst_size - n);
    }
    if (!bare)
        dst[n++] = '"';
    dst[n] = '\0';
    return dst;
}
