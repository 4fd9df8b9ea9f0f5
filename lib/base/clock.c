/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Clocks, the calendar rule of retention, and the two date formats of mail and logs.
 */
#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t
read_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

int64_t
clock_monotonic_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
clock_monotonic_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t
clock_boot_ms(void)
{
    return read_us(CLOCK_BOOTTIME) / 1000;
}

void
clock_boot_id(char dst[CLOCK_BOOT_ID_SIZE])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, dst, 36);

    memset(dst + (n > 0 ? n : 0), 0, CLOCK_BOOT_ID_SIZE - (size_t)(n > 0 ? n : 0));
    if (fd >= 0)
        close(fd);
}

bool
clock_has_timezone(const char *zone)
{
    char path[256];

    if (zone[0] == '\0' || zone[0] == '/' || strstr(zone, "..") || strlen(zone) > 200)
        return false;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", zone);
    return access(path, R_OK) == 0;
}

int
clock_set_timezone(const char *zone)
{
    if (zone[0] == '\0')
        return ERR_OK;
    if (!clock_has_timezone(zone))
        return ERR_NOT_FOUND;
    setenv("TZ", zone, 1);
    tzset();
    return ERR_OK;
}

int64_t
clock_retention_end_ms(int64_t arrived_ms, unsigned days)
{
    time_t arrived = (time_t)(arrived_ms / 1000);
    struct tm tm;

    localtime_r(&arrived, &tm);
    tm.tm_mday += (int)days + 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    tm.tm_isdst = -1;
    return (int64_t)mktime(&tm) * 1000;
}

int32_t
clock_local_day(int64_t wall_ms)
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    return (tm.tm_year + 1900) * 10000 + (tm.tm_mon + 1) * 100 + tm.tm_mday;
}

int64_t
clock_next_hour_ms(int64_t wall_ms, int hour)
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    int64_t at_ms;

    localtime_r(&t, &tm);
    for (int days = 0;; days++) {
        struct tm then = tm;

        then.tm_mday += days;
        then.tm_hour = hour;
        then.tm_min = then.tm_sec = 0;
        then.tm_isdst = -1;
        at_ms = (int64_t)mktime(&then) * 1000;
        if (at_ms > wall_ms)
            return at_ms;
    }
}

const char *
clock_rfc3339(int64_t wall_ms, char dst[CLOCK_RFC3339_SIZE])
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    char day[24];

    gmtime_r(&t, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(dst, CLOCK_RFC3339_SIZE, "%s.%03dZ", day, (int)(wall_ms % 1000));
    return dst;
}

const char *
clock_rfc5322(int64_t wall_ms, char dst[CLOCK_RFC5322_SIZE])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;
    long offset;

    localtime_r(&t, &tm);
    offset = tm.tm_gmtoff / 60;
    snprintf(dst, CLOCK_RFC5322_SIZE, "%s, %d %s %d %02d:%02d:%02d %c%02d%02d", days[tm.tm_wday],
             tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
             offset < 0 ? '-' : '+', (int)(labs(offset) / 60), (int)(labs(offset) % 60));
    return dst;
}

const char *
clock_local(int64_t wall_ms, char dst[CLOCK_LOCAL_SIZE])
{
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;

    localtime_r(&t, &tm);
    strftime(dst, CLOCK_LOCAL_SIZE, "%Y-%m-%d %H:%M", &tm);
    return dst;
}
