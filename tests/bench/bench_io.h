/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the load generator and the sink share: a growable buffer, an address, a clock and the end of
 * a program.  Plain C and libc only, so that a measure never depends on the code it measures.
 */
#ifndef BENCH_IO_H
#define BENCH_IO_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct bytes {
    char *data;
    size_t len, size;
};

static inline void
bench_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

/* Room for `n` more octets behind len. */
static inline char *
bytes_room(struct bytes *b, size_t n)
{
    if (b->size - b->len < n) {
        size_t size = b->size ? b->size : 4096;
        while (size - b->len < n)
            size *= 2;
        b->data = realloc(b->data, size);
        if (!b->data)
            bench_die("out of memory");
        b->size = size;
    }
    return b->data + b->len;
}

static inline void
bytes_add(struct bytes *b, const void *src, size_t n)
{
    memcpy(bytes_room(b, n), src, n);
    b->len += n;
}

static inline void
bytes_text(struct bytes *b, const char *text)
{
    bytes_add(b, text, strlen(text));
}

static inline void
bytes_drop(struct bytes *b, size_t n)
{
    b->len -= n;
    if (b->len)
        memmove(b->data, b->data + n, b->len);
}

static inline int64_t
now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline double
cpu_seconds(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static inline int
by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static inline void
sort_times(int64_t *times_us, size_t count)
{
    qsort(times_us, count, sizeof *times_us, by_time);
}

/* Of sorted times; 0 if there are none. */
static inline double
percentile_ms(const int64_t *times_us, size_t count, unsigned percent)
{
    return count ? (double)times_us[(count - 1) * percent / 100] / 1000.0 : 0;
}

/* "127.0.0.1:2525" */
static inline struct sockaddr_in
parse_address(const char *text)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        bench_die("%s: an address is written 127.0.0.1:PORT", text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    unsigned long port = strtoul(colon + 1, NULL, 10);
    if (port > 65535 || inet_pton(AF_INET, host, &sa.sin_addr) != 1)
        bench_die("%s: an address is written 127.0.0.1:PORT", text);
    sa.sin_port = htons((uint16_t)port);
    return sa;
}

static inline unsigned long
parse_number(const char *option, const char *text)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (errno || end == text || *end)
        bench_die("--%s %s: a number is wanted", option, text);
    return n;
}

#endif
