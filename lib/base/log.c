/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Formats a line in a buffer of fixed size, escapes it and writes it at once.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_BYTES 2048

static char log_program[64] = "postern";
static int log_fd = STDERR_FILENO;
static enum log_level log_level = LOG_LEVEL_INFO;

void
log_init(const char *program, int fd, enum log_level level)
{
    log_set_program(program);
    log_fd = fd;
    log_level = level;
}

void
log_set_program(const char *program)
{
    snprintf(log_program, sizeof log_program, "%s", program);
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

void
log_line(enum log_level level, const char *session, const char *event, const char *fmt, ...)
{
    char when[CLOCK_RFC3339_SIZE], head[256], body[LOG_LINE_BYTES], line[LOG_LINE_BYTES + 512];
    size_t n;
    va_list args;
    ssize_t written;
    int size;

    if (level < log_level)
        return;
    size = snprintf(head, sizeof head, "%s %s %s[%ld] %s %s ", clock_rfc3339(clock_wall_ms(), when),
                    level_name(level), log_program, (long)getpid(),
                    session && session[0] ? session : "-", event);
    if (size >= (int)sizeof head)
        size = (int)sizeof head - 1;
    va_start(args, fmt);
    vsnprintf(body, sizeof body, fmt, args);
    va_end(args);
    n = escape(head, (size_t)size, line, sizeof line - 2);
    n += escape(body, strlen(body), line + n, sizeof line - n - 2);
    line[n++] = '\n';
    written = write(log_fd, line, n);
    (void)written; /* a log that cannot be written has nowhere to say so */
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
