/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reading fields; times, and octets of peers.
 */
#include "admin/event_words.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/until.h"

const char *
event_words_text(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text ? text : "";
}

int64_t
event_words_number(const json_t *event, const char *key)
{
    return json_integer_value(json_object_get(event, key));
}

/* "2026-11-30T10:23:05.123Z": the fraction goes. */
int64_t
event_words_at_ms(const json_t *event)
{
    char text[24];
    int64_t at_ms = 0;

    snprintf(text, sizeof text, "%.19sZ", event_words_text(event, "at"));
    return until_parse_moment(text, &at_ms) == ERR_OK ? at_ms : 0;
}

const char *
event_words_time(const json_t *event, char dst[EVENT_WORDS_TIME_SIZE])
{
    int64_t at_ms = event_words_at_ms(event);
    time_t at = (time_t)(at_ms / 1000);
    struct tm tm;

    localtime_r(&at, &tm);
    if (at_ms == 0 || strftime(dst, EVENT_WORDS_TIME_SIZE, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(dst, EVENT_WORDS_TIME_SIZE, "%s", "?");
    return dst;
}

/* The octets that stand for themselves in `text`; false: one character is none of them. */
static bool
to_octets(const char *text, struct buf *octets)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        unsigned char octet = *c;

        if (*c >= 0x80) {
            if ((*c & 0xfc) != 0xc0 || (c[1] & 0xc0) != 0x80)
                return false;
            octet = (unsigned char)((*c & 3) << 6 | (c[1] & 0x3f));
            c++;
        }
        buf_add(octets, &octet, 1);
    }
    return true;
}

void
event_words_peer(struct buf *out, const char *text)
{
    struct buf octets;
    json_t *sent = NULL;

    buf_init(&octets, 0);
    if (to_octets(text, &octets))
        sent = json_string(buf_text(&octets)); /* NULL if that is no UTF-8 */
    buf_add_text(out, sent ? json_string_value(sent) : text);
    json_decref(sent);
    buf_fini(&octets);
}

void
event_words_print_json(FILE *out, const json_t *event)
{
    char *line = json_dumps(event, JSON_COMPACT | JSON_PRESERVE_ORDER);

    fprintf(out, "%s\n", line);
    free(line);
}
