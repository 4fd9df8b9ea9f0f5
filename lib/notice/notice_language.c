/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The four have two forms, one and other, so that a gap with a bar is enough for plurals.
 */
#include "notice/notice_language.h"

#include <stdio.h>
#include <time.h>

#define COLUMNS 72

static const char *const words[NOTICE_LANGUAGES] = {"en", "de", "nl", "da"};

static const char *const weekdays[NOTICE_LANGUAGES][7] = {
    {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
    {"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"},
    {"zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"},
    {"søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"},
};

static const char *const months[NOTICE_LANGUAGES][12] = {
    {"January", "February", "March", "April", "May", "June", "July", "August", "September",
     "October", "November", "December"},
    {"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
     "November", "Dezember"},
    {"januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september",
     "oktober", "november", "december"},
    {"januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober",
     "november", "december"},
};

static const char *const moments[NOTICE_LANGUAGES] = {
    "{weekday}, {day} {month} {year}, {hour}:{minute} {zone}",
    "{weekday}, {day}. {month} {year}, {hour}:{minute} Uhr ({zone})",
    "{weekday} {day} {month} {year} om {hour}.{minute} uur ({zone})",
    "{weekday} den {day}. {month} {year} kl. {hour}.{minute} ({zone})",
};

static const struct units {
    const char *both, *days, *hours, *minutes, *bytes;
    char point, group;
} units[NOTICE_LANGUAGES] = {
    {" and ", "{n:day|days}", "{n:hour|hours}", "{n:minute|minutes}", "{n:byte|bytes}", '.', ','},
    {" und ", "{n:Tag|Tage}", "{n:Stunde|Stunden}", "{n:Minute|Minuten}", "{n:Byte|Byte}", ',',
     '.'},
    {" en ", "{n:dag|dagen}", "{n:uur|uur}", "{n:minuut|minuten}", "{n:byte|bytes}", ',', '.'},
    {" og ", "{n:dag|dage}", "{n:time|timer}", "{n:minut|minutter}", "{n:byte|byte}", ',', '.'},
};

enum notice_language
notice_language_of(const char *word)
{
    for (unsigned i = 0; i < NOTICE_LANGUAGES; i++)
        if (strcmp(words[i], word) == 0)
            return (enum notice_language)i;
    return NOTICE_EN;
}

const char *
notice_language_word(enum notice_language language)
{
    return words[language];
}

/* --- Values. */

static const char *
take(struct buf *b, char dst[NOTICE_WHEN_SIZE])
{
    snprintf(dst, NOTICE_WHEN_SIZE, "%s", buf_text(b));
    buf_fini(b);
    return dst;
}

/* The day's last moment is its own, and not the next day's first. */
static void
read_clock(int64_t wall_ms, struct tm *tm)
{
    time_t t = (time_t)(wall_ms / 1000);

    localtime_r(&t, tm);
    if (tm->tm_hour != 0 || tm->tm_min != 0 || tm->tm_sec != 0)
        return;
    t -= 1;
    localtime_r(&t, tm);
    tm->tm_hour = 24;
    tm->tm_min = 0;
}

const char *
notice_when(enum notice_language language, int64_t wall_ms, char dst[NOTICE_WHEN_SIZE])
{
    char day[16], year[16], hour[16], minute[16];
    struct buf out;
    struct tm tm;

    read_clock(wall_ms, &tm);
    snprintf(day, sizeof day, "%d", tm.tm_mday);
    snprintf(year, sizeof year, "%d", tm.tm_year + 1900);
    snprintf(hour, sizeof hour, "%02d", tm.tm_hour);
    snprintf(minute, sizeof minute, "%02d", tm.tm_min);
    buf_init(&out, 0);
    notice_fill(&out, language, moments[language],
                (const struct notice_value[]){{"weekday", weekdays[language][tm.tm_wday], 0},
                                              {"day", day, 0},
                                              {"month", months[language][tm.tm_mon], 0},
                                              {"year", year, 0},
                                              {"hour", hour, 0},
                                              {"minute", minute, 0},
                                              {"zone", tm.tm_zone, 0},
                                              {NULL, NULL, 0}});
    return take(&out, dst);
}

static void
add_unit(struct buf *out, enum notice_language language, const char *text, uint64_t n)
{
    const struct notice_value values[] = {{"n", NULL, n}, {NULL, NULL, 0}};

    notice_fill(out, language, text, values);
}

const char *
notice_span(enum notice_language language, int64_t span_ms, char dst[NOTICE_WHEN_SIZE])
{
    const struct units *u = &units[language];
    uint64_t minutes = span_ms > 0 ? (uint64_t)span_ms / 60000 : 0;
    const uint64_t counts[] = {minutes / 1440, minutes / 60 % 24, minutes % 60};
    const char *const texts[] = {u->days, u->hours, u->minutes};
    unsigned first = counts[0] ? 0 : counts[1] ? 1 : 2;
    struct buf out;

    buf_init(&out, 0);
    add_unit(&out, language, texts[first], counts[first]);
    if (first < 2 && counts[first + 1] > 0) {
        buf_add_text(&out, u->both);
        add_unit(&out, language, texts[first + 1], counts[first + 1]);
    }
    return take(&out, dst);
}

const char *
notice_size(enum notice_language language, uint64_t bytes, char dst[NOTICE_WHEN_SIZE])
{
    static const char *const names[] = {"kB", "MB", "GB", "TB"};
    const struct units *u = &units[language];
    unsigned unit = 0;
    uint64_t tenths;
    struct buf out;

    buf_init(&out, 0);
    if (bytes < 1000) {
        add_unit(&out, language, u->bytes, bytes);
        return take(&out, dst);
    }
    for (tenths = (bytes + 50) / 100; tenths >= 10000 && unit + 1 < ARRAY_SIZE(names); unit++)
        tenths = (tenths + 500) / 1000;
    buf_printf(&out, "%llu%c%llu %s", (unsigned long long)(tenths / 10), u->point,
               (unsigned long long)(tenths % 10), names[unit]);
    return take(&out, dst);
}

/* --- Gaps. */

static void
add_number(struct buf *out, enum notice_language language, uint64_t n)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);

    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            buf_add(out, &units[language].group, 1);
        buf_add(out, &digits[i], 1);
    }
}

static const struct notice_value *
find(const struct notice_value *values, struct slice name)
{
    while (values->name != NULL && !slice_equal(slice_of(values->name), name))
        values++;
    CHECK(values->name != NULL);
    return values;
}

/* `gap` is what stands between the braces. */
static void
add_gap(struct buf *out, enum notice_language language, struct slice gap,
        const struct notice_value *values)
{
    size_t end = 0;
    const struct notice_value *value;
    struct slice forms, one;
    const char *bar;

    while (end < gap.n && gap.p[end] != ':' && gap.p[end] != '?')
        end++;
    value = find(values, (struct slice){gap.p, end});
    if (value->text != NULL)
        buf_add_text(out, value->text);
    else if (end == gap.n || gap.p[end] == ':')
        add_number(out, language, value->number);
    if (end == gap.n)
        return;
    forms = (struct slice){gap.p + end + 1, gap.n - end - 1};
    bar = memchr(forms.p, '|', forms.n);
    CHECK(bar != NULL && value->text == NULL);
    one = (struct slice){forms.p, (size_t)(bar - forms.p)};
    if (gap.p[end] == ':')
        buf_add_text(out, " ");
    buf_add_slice(out, value->number == 1 ? one : (struct slice){bar + 1, forms.n - one.n - 1});
}

void
notice_fill(struct buf *out, enum notice_language language, const char *text,
            const struct notice_value *values)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "{");
        const char *end;

        buf_add(out, text, n);
        text += n;
        if (*text == '\0')
            return;
        end = strchr(text, '}');
        CHECK(end != NULL);
        add_gap(out, language, (struct slice){text + 1, (size_t)(end - text) - 1}, values);
        text = end + 1;
    }
}

/* --- Lines. */

static size_t
columns_of(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static size_t
indent_of(struct slice line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] == ' ')
        n++;
    return n + 1 < line.n && line.p[n] == '-' && line.p[n + 1] == ' ' ? n + 2 : n;
}

static void
wrap_line(struct buf *out, struct slice line)
{
    size_t indent = indent_of(line), column = 0, at = 0;

    while (at < line.n) {
        size_t end = at;
        struct slice word;

        while (end < line.n && (line.p[end] != ' ' || end < indent))
            end++;
        word = (struct slice){line.p + at, end - at};
        if (column > 0 && column + 1 + columns_of(word) > COLUMNS) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > 0) {
            buf_add_text(out, " ");
            column++;
        }
        buf_add_slice(out, word);
        column += columns_of(word);
        at = end + 1;
    }
    buf_add_text(out, "\n");
}

void
notice_wrap(struct buf *out, struct slice text)
{
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        struct slice line = {text.p, end ? (size_t)(end - text.p) : text.n};

        if (line.n >= 4 && memcmp(line.p, "    ", 4) == 0) {
            buf_add_slice(out, line);
            buf_add_text(out, "\n");
        } else
            wrap_line(out, line);
        text.p += line.n + (end != NULL);
        text.n -= line.n + (end != NULL);
    }
}
