/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fields by fixed places, then mktime or timegm; a date that the calendar does not have (February
 * 30) is noticed by looking at what they made of it.
 */
#include "admin/until.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/parse.h"
#include "base/slice.h"

/* Exactly `count` digits. */
static bool
take_number(const char **p, int count, int *n)
{
    *n = 0;
    for (int i = 0; i < count; i++, ++*p) {
        if (**p < '0' || **p > '9')
            return false;
        *n = *n * 10 + (**p - '0');
    }
    return true;
}

static bool
take_char(const char **p, const char *any_of)
{
    if (**p == '\0' || strchr(any_of, **p) == NULL)
        return false;
    ++*p;
    return true;
}

static bool
take_date(const char **p, struct tm *tm)
{
    if (!take_number(p, 4, &tm->tm_year) || !take_char(p, "-") || !take_number(p, 2, &tm->tm_mon) ||
        !take_char(p, "-") || !take_number(p, 2, &tm->tm_mday))
        return false;
    tm->tm_year -= 1900;
    tm->tm_mon -= 1;
    return true;
}

static bool
take_time(const char **p, struct tm *tm, int *ms)
{
    if (!take_number(p, 2, &tm->tm_hour) || !take_char(p, ":") || !take_number(p, 2, &tm->tm_min))
        return false;
    if (take_char(p, ":") && !take_number(p, 2, &tm->tm_sec))
        return false;
    if (take_char(p, ".") && !take_number(p, 3, ms))
        return false;
    return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec < 60;
}

/* "Z", "+01:00"; *is_local if there is none. */
static bool
take_offset(const char **p, bool *is_local, int *offset_s)
{
    bool is_behind = **p == '-';
    int hours, minutes;

    *is_local = **p == '\0';
    *offset_s = 0;
    if (*is_local || take_char(p, "Zz"))
        return true;
    if (!take_char(p, "+-") || !take_number(p, 2, &hours) || !take_char(p, ":") ||
        !take_number(p, 2, &minutes) || hours > 14 || minutes > 59)
        return false;
    *offset_s = (is_behind ? -60 : 60) * (hours * 60 + minutes);
    return true;
}

int
until_parse_moment(const char *text, int64_t *until_ms)
{
    struct tm want = {.tm_isdst = -1}, tm;
    bool is_local = true;
    int offset_s = 0, ms = 0;
    time_t t;

    if (!take_date(&text, &want))
        return ERR_SYNTAX;
    if (take_char(&text, " Tt") &&
        (!take_time(&text, &want, &ms) || !take_offset(&text, &is_local, &offset_s)))
        return ERR_SYNTAX;
    if (*text != '\0')
        return ERR_SYNTAX;
    tm = want;
    t = is_local ? mktime(&tm) : timegm(&tm);
    if (tm.tm_year != want.tm_year || tm.tm_mon != want.tm_mon || tm.tm_mday != want.tm_mday)
        return ERR_SYNTAX;
    *until_ms = ((int64_t)t - offset_s) * 1000 + ms;
    return ERR_OK;
}

int
until_parse(const char *text, int64_t now_ms, int64_t *until_ms)
{
    int64_t span_ms = 0;
    int rc;

    *until_ms = UNTIL_LAST_MS;
    rc = text[0] == '+' ? parse_duration_ms(slice_of(text + 1), &span_ms)
                        : until_parse_moment(text, until_ms);

    if (rc != ERR_OK)
        return rc;
    if (text[0] == '+' && span_ms >= UNTIL_LAST_MS - now_ms)
        return ERR_RANGE;
    if (text[0] == '+')
        *until_ms = now_ms + span_ms;
    return *until_ms > now_ms && *until_ms < UNTIL_LAST_MS ? ERR_OK : ERR_RANGE;
}
