/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Each event of the reference is some labelled paragraphs; an explanation that was given once is
 * not repeated.
 */
#include "admin/story.h"

#include <string.h>

#include "admin/paragraph.h"
#include "admin/story_checks.h"
#include "admin/story_help.h"
#include "admin/story_kept.h"
#include "admin/story_outcome.h"
#include "admin/story_who.h"
#include "base/clock.h"

/* --- One event. */

static void
print_answered(FILE *out, const json_t *event)
{
    char when[STORY_EVENT_TIME_SIZE];
    struct buf b;

    if (event_words_text(event, "reply")[0] == '\0')
        return;
    buf_init(&b, 0);
    event_words_peer(&b, event_words_text(event, "reply"));
    buf_printf(&b, ", at %s: %s.", story_event_time(event_words_at_ms(event), when),
               event_words_text(event, "verdict"));
    paragraph_print(out, "Answered", buf_text(&b));
    buf_fini(&b);
}

static void
print_outcome(FILE *out, const json_t *event)
{
    struct buf b;

    buf_init(&b, 0);
    story_outcome_add(&b, event);
    if (buf_size(&b) > 0)
        paragraph_print(out, "Outcome", buf_text(&b));
    buf_fini(&b);
}

/* Of what was put off: whether it has come again (story_look.h). */
static void
print_since_then(FILE *out, const json_t *event)
{
    const json_t *later = json_object_get(event, "since_then");
    char when[STORY_EVENT_TIME_SIZE];
    char class = story_event_class(later);

    if (later == NULL)
        return;
    if (json_is_null(later))
        paragraph_print(out, "Since then", "not seen again so far.");
    else
        paragraph_printf(out, "Since then", "%s at %s, reference %s%s%s%s",
                         class == '2'   ? "accepted"
                         : class == '5' ? "refused"
                                        : "put off again",
                         story_event_time(event_words_at_ms(later), when),
                         event_words_text(later, "id"), class == '2' ? "" : " (",
                         class == '2' ? "" : event_words_text(later, "verdict"),
                         class == '2' ? "" : ")");
}

static bool
was_explained(const json_t *events, size_t index)
{
    const json_t *event = json_array_get(events, index);

    for (size_t i = 0; i < index; i++)
        if (story_help_is_same(event, json_array_get(events, i)))
            return true;
    return false;
}

static void
print_help(FILE *out, const json_t *event)
{
    struct story_help help;

    if (story_help_init(&help, event))
        story_help_print(out, &help);
    story_help_fini(&help);
}

static void
print_event(FILE *out, const json_t *events, size_t index)
{
    const json_t *event = json_array_get(events, index);

    story_who_print_asked(out, event);
    story_checks_print(out, event);
    print_answered(out, event);
    print_outcome(out, event);
    print_since_then(out, event);
    if (!was_explained(events, index))
        print_help(out, event);
}

/* --- The whole. */

/* As the event before it, but for the recipient: said in one line. */
static bool
is_same_as(const json_t *event, const json_t *before)
{
    static const char *const keys[] = {"event", "verdict", "from", "customer", "backend_reply"};

    if (before == NULL || !story_event_is(event, "recipient-refused"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(event_words_text(event, keys[i]), event_words_text(before, keys[i])) != 0)
            return false;
    return true;
}

static void
print_again(FILE *out, const json_t *event)
{
    struct buf b;

    buf_init(&b, 0);
    story_who_add_recipients(&b, event);
    buf_add_text(&b, ", likewise: ");
    event_words_peer(&b, event_words_text(event, "reply"));
    paragraph_print(out, "To", buf_text(&b));
    buf_fini(&b);
}

static void
print_events(FILE *out, const json_t *events)
{
    json_t *event, *before = NULL;
    size_t i;

    json_array_foreach(events, i, event)
    {
        bool is_same = is_same_as(event, before);

        if (i > 0 && !is_same)
            fputc('\n', out);
        if (is_same)
            print_again(out, event);
        else
            print_event(out, events, i);
        before = event;
    }
}

static void
print_head(const struct call *call, const struct story *s)
{
    char id[REF_SIZE], when[STORY_EVENT_TIME_SIZE], head[REF_SIZE + STORY_EVENT_TIME_SIZE + 48];

    snprintf(head, sizeof head, "%s, begun at %s on node %u", ref_text(s->ref, id),
             story_event_minute(ref_minute_wall_ms(s->ref), when), s->ref.node);
    paragraph_wrap(call->printing.out, 0, head);
    fputc('\n', call->printing.out);
}

const json_t *
story_message(const struct story *s)
{
    const json_t *found = NULL;
    json_t *event;
    size_t i;

    json_array_foreach(s->events, i, event)
    {
        if (story_event_is(event, "message"))
            found = event;
    }
    return found;
}

void
story_print(const struct call *call, const struct story *s)
{
    const json_t *first = json_array_get(s->events, 0);
    FILE *out = call->printing.out;

    print_head(call, s);
    if (first)
        story_who_print(out, first);
    print_events(out, s->events);
    if (s->connection)
        story_who_print_connection(out, s->connection);
    if (json_is_true(json_object_get(first, "shortened")))
        paragraph_print(out, "Note",
                        "This event is older than event-privacy: addresses and "
                        "names have been shortened, and texts left out.");
    if (s->kept)
        story_kept_print(call, s->kept);
}

/* --- JSON. */

static json_t *
explanations_as_json(const struct story *s)
{
    json_t *all = json_array(), *event;
    struct story_help help;
    size_t i;

    json_array_foreach(s->events, i, event)
    {
        if (was_explained(s->events, i))
            continue;
        if (story_help_init(&help, event))
            json_array_append_new(all, story_help_json(&help));
        story_help_fini(&help);
    }
    return all;
}

void
story_print_json(const struct call *call, const struct story *s)
{
    char id[REF_SIZE], at[CLOCK_RFC3339_SIZE];
    json_t *object = json_pack(
        "{s:s, s:i, s:s, s:s, s:O, s:o, s:o, s:o}", "id", ref_text(s->ref, id), "node",
        (int)s->ref.node, "begun_at", clock_rfc3339(ref_minute_wall_ms(s->ref), at), "source",
        s->source, "events", s->events, "connection",
        s->connection ? json_incref(s->connection) : json_null(), "kept",
        s->kept ? json_incref(s->kept) : json_null(), "explanations", explanations_as_json(s));

    event_words_print_json(call->printing.out, object);
    json_decref(object);
}
