/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Fields that are not there, as in an old event whose names are gone, read as empty.
 */
#include "admin/story_event.h"

#include <string.h>
#include <time.h>

bool
story_event_is(const json_t *event, const char *kind)
{
    return strcmp(event_words_text(event, "event"), kind) == 0;
}

bool
story_event_has_verdict(const json_t *event, const char *word)
{
    return strcmp(event_words_text(event, "verdict"), word) == 0;
}

char
story_event_class(const json_t *event)
{
    return event_words_text(event, "reply")[0];
}

const json_t *
story_event_check(const json_t *event, const char *name)
{
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(event, "checks"), i, check)
    {
        if (strcmp(event_words_text(check, "check"), name) == 0)
            return check;
    }
    return NULL;
}

const char *
story_event_recipient(const json_t *event)
{
    const json_t *rcpt = json_object_get(event, "rcpt");

    return json_string_value(json_is_array(rcpt) ? json_array_get(rcpt, 0) : rcpt);
}

void
story_event_add_address(struct buf *b, const char *address)
{
    buf_add_text(b, "<");
    event_words_peer(b, address);
    buf_add_text(b, ">");
}

const char *
story_event_time(int64_t at_ms, char dst[STORY_EVENT_TIME_SIZE])
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm tm;

    localtime_r(&at, &tm);
    if (at_ms == 0 || strftime(dst, STORY_EVENT_TIME_SIZE, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        snprintf(dst, STORY_EVENT_TIME_SIZE, "%s", "?");
    return dst;
}

const char *
story_event_minute(int64_t at_ms, char dst[STORY_EVENT_TIME_SIZE])
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm tm;

    localtime_r(&at, &tm);
    if (strftime(dst, STORY_EVENT_TIME_SIZE, "%Y-%m-%d %H:%M %z", &tm) == 0)
        snprintf(dst, STORY_EVENT_TIME_SIZE, "%s", "?");
    return dst;
}
