/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text of peers is shown as text; fields that are not there are left out.
 */
#include "admin/story_who.h"

#include <string.h>

#include "admin/paragraph.h"
#include "base/parse.h"

/* --- The sending server. */

/* "" if nobody has looked. */
static void
add_name(const json_t *event, struct buf *b)
{
    const json_t *check = story_event_check(event, "ptr-none");

    if (event_words_text(event, "ptr")[0]) {
        buf_add_text(b, " (");
        event_words_peer(b, event_words_text(event, "ptr"));
        buf_add_text(b, ")");
    } else if (strcmp(event_words_text(check, "result"), "fail") == 0)
        buf_add_text(b, " (without a name in DNS)");
}

void
story_who_print(FILE *out, const json_t *event)
{
    bool is_named = event_words_text(event, "helo")[0] || event_words_text(event, "tls")[0];
    struct buf b;

    if (event_words_text(event, "client")[0] == '\0')
        return;
    buf_init(&b, 0);
    buf_add_text(&b, event_words_text(event, "client"));
    add_name(event, &b);
    buf_add_text(&b, ".");
    if (event_words_text(event, "helo")[0]) {
        buf_add_text(&b, " It introduced itself as \"");
        event_words_peer(&b, event_words_text(event, "helo"));
        buf_add_text(&b, "\".");
    }
    if (event_words_text(event, "tls")[0])
        buf_printf(&b, " Encrypted with %s.", event_words_text(event, "tls"));
    else if (is_named)
        buf_add_text(&b, " Not encrypted.");
    paragraph_print(out, "Client", buf_text(&b));
    buf_fini(&b);
}

/* --- The connection. */

/* By the word of relayd/session_event.c. */
static const char *
end_of(const json_t *connection)
{
    static const struct {
        const char *word, *text;
    } ends[] = {
        {"quit", "ended with QUIT"},
        {"closed", "was closed by the sending server without QUIT"},
        {"lost", "was lost"},
        {"timeout", "was closed here, since the sending server was silent for too long"},
        {"slow", "was closed here, since the sending server was too slow"},
        {"idle", "was closed here, since the sending server did nothing"},
        {"stopped", "was closed here, since the relay was stopped"},
        {"limit", "was closed here by a limit"},
        {"tls-failed", "ended when TLS failed"},
        {"refused", "was closed here with a refusal"},
    };
    const char *word = event_words_text(connection, "end");

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (strcmp(word, ends[i].word) == 0)
            return ends[i].text;
    return word;
}

void
story_who_print_connection(FILE *out, const json_t *connection)
{
    char ms[PARSE_TEXT_SIZE];
    int64_t lasted_ms = event_words_number(connection, "ms");
    struct buf b;

    if (lasted_ms > 10000)
        lasted_ms = lasted_ms / 1000 * 1000;
    buf_init(&b, 0);
    buf_printf(&b, "lasted %s and %s.", format_duration(lasted_ms, ms), end_of(connection));
    if (event_words_text(connection, "via")[0])
        buf_printf(&b, " It came through the proxy %s.", event_words_text(connection, "via"));
    if (event_words_text(connection, "tls_error")[0]) {
        buf_add_text(&b, " TLS failed: ");
        event_words_peer(&b, event_words_text(connection, "tls_error"));
        buf_add_text(&b, ".");
    }
    paragraph_print(out, "Connection", buf_text(&b));
    buf_fini(&b);
}

/* --- What was asked. */

void
story_who_add_recipients(struct buf *b, const json_t *event)
{
    json_t *rcpt = json_object_get(event, "rcpt"), *one;
    size_t i;

    if (json_is_string(rcpt) && json_string_length(rcpt) == 0)
        buf_add_text(b, "<postmaster> without a domain");
    else if (json_is_string(rcpt))
        story_event_add_address(b, json_string_value(rcpt));
    json_array_foreach(rcpt, i, one)
    {
        buf_add_text(b, i ? ", " : "");
        story_event_add_address(b, json_string_value(one));
    }
}

static void
add_whose(struct buf *b, const json_t *event)
{
    if (event_words_text(event, "customer")[0])
        buf_printf(b, ", of the customer %s", event_words_text(event, "customer"));
    else if (story_event_has_verdict(event, "relay-denied"))
        buf_add_text(b, ", of no customer of ours");
}

static void
add_content(struct buf *b, const json_t *event)
{
    if (event_words_text(event, "message_id")[0]) {
        buf_add_text(b, " Message-ID ");
        event_words_peer(b, event_words_text(event, "message_id"));
        buf_add_text(b, ".");
    }
    if (event_words_number(event, "size") > 0)
        buf_printf(b, " %lld octets of content.", (long long)event_words_number(event, "size"));
}

void
story_who_print_asked(FILE *out, const json_t *event)
{
    struct buf b;

    buf_init(&b, 0);
    if (event_words_text(event, "from")[0])
        story_event_add_address(&b, event_words_text(event, "from"));
    else
        buf_add_text(&b, "<> (the null sender: a bounce or notice)");
    paragraph_print(out, "From", buf_text(&b));
    buf_clear(&b);
    story_who_add_recipients(&b, event);
    add_whose(&b, event);
    buf_add_text(&b, ".");
    add_content(&b, event);
    paragraph_print(out, "To", buf_text(&b));
    buf_fini(&b);
}
