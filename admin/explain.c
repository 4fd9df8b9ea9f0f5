/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl explain: the story of each reference that stands in what was given, be it pasted text
 * (DESIGN section 9).  Where it is read is event_source.c's; how it is told, story.c's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/event_source.h"
#include "admin/event_words.h"
#include "admin/story.h"
#include "admin/story_event.h"
#include "admin/story_kept.h"
#include "admin/story_look.h"
#include "base/clock.h"

#define EVENTS_MAX 10000
#define CONNECTIONS_MAX 200
#define CONNECTION_AFTER_MS INT64_C(10800000)
#define NEW_MS INT64_C(300000) /* not all of it need be copied yet */
#define JUST_NOW_MS INT64_C(120000)
#define LOOKS 6
#define LOOK_AGAIN_US 200000

struct explaining {
    struct call *call;
    struct event_source source;
    struct story_spool spool;
    size_t told, unknown;
};

/* --- What is asked about. */

static void
read_input(struct event_search *asked)
{
    size_t room = 0;
    char *line = NULL;

    while (getline(&line, &room, stdin) >= 0)
        event_search_add_refs(asked, line);
    free(line);
}

/* All operands are one text: what was pasted without quotes is taken as it is. */
static enum command_status
read_operands(const struct call *call, struct event_search *asked)
{
    bool reads_input = false;

    for (unsigned i = 0; i < call->line.operand_count; i++) {
        const char *text = call->line.operands[i];

        if (strcmp(text, "-") == 0 && !reads_input)
            read_input(asked);
        reads_input = reads_input || strcmp(text, "-") == 0;
        event_search_add_refs(asked, text);
    }
    if (asked->ref_count > 0)
        return COMMAND_DONE;
    if (reads_input) {
        call_complain("there is no reference in the input");
        return COMMAND_NOTHING;
    }
    return call_usage("there is no reference in that; it stands at the end of our replies and in "
                      "Received lines, and looks like P001-4KX3T-0B7Q2CF; without one: "
                      "`relayctl trace --rcpt ADDRESS --from ADDRESS` finds it, and `relayctl help "
                      "CODE` says what a reply means");
}

/* --- Finding. */

static json_t *
oldest_first(json_t *events)
{
    json_t *turned = json_array();

    for (size_t i = json_array_size(events); i-- > 0;)
        json_array_append(turned, json_array_get(events, i));
    json_decref(events);
    return turned;
}

/* The ends of mail that was kept are told behind all else. */
static void
take_ends(struct story *story)
{
    story->ends = json_array();
    for (size_t i = 0; i < json_array_size(story->events);) {
        json_t *event = json_array_get(story->events, i);

        if (story_event_is(event, "ended")) {
            json_array_append(story->ends, event);
            json_array_remove(story->events, i);
        } else
            i++;
    }
}

/* Young ones of this node from its files first, where they are whole. */
static enum command_status
find_events(struct explaining *e, struct ref ref, struct story *story)
{
    struct event_search search = {.refs = &ref, .ref_count = 1, .limit = EVENTS_MAX};
    bool is_ours = event_source_is_of_node(&e->source, ref);
    bool is_new = is_ours && ref_minute_wall_ms(ref) + NEW_MS > e->call->printing.now_ms;
    enum command_status status = COMMAND_DONE;

    story->events = json_array();
    story->source = "files";
    if (is_new || !e->source.has_database)
        status = event_source_find_local(&e->source, &search, story->events);
    if (json_array_size(story->events) == 0 && e->source.has_database) {
        status = event_source_find(&e->source, &search, story->events);
        story->source = e->source.has_database ? "database" : "files";
    }
    if (json_array_size(story->events) == 0 && is_ours && !is_new && e->source.has_database) {
        status = event_source_find_local(&e->source, &search, story->events);
        story->source = "files";
    }
    story->events = oldest_first(story->events);
    return json_array_size(story->events) > 0 ? COMMAND_DONE : status;
}

/* The event of a reply that has just been given may still be on its way to the disk. */
static enum command_status
find_events_soon(struct explaining *e, struct ref ref, struct story *story)
{
    int64_t age_ms = e->call->printing.now_ms - ref_minute_wall_ms(ref);
    unsigned looks = age_ms >= 0 && age_ms < JUST_NOW_MS ? LOOKS : 1;
    enum command_status status = find_events(e, ref, story);

    while (status == COMMAND_DONE && json_array_size(story->events) == 0 && --looks > 0) {
        usleep(LOOK_AGAIN_US);
        json_decref(story->events);
        status = find_events(e, ref, story);
    }
    take_ends(story);
    return status;
}

/* A connection that may have carried the event: of its client and HELO, open at that time. */
static bool
may_have_carried(const json_t *connection, const json_t *event)
{
    static const char *const keys[] = {"client", "helo"};
    int64_t ends_ms = event_words_at_ms(connection) + 1000;
    int64_t begins_ms = ends_ms - event_words_number(connection, "ms") - 2000;
    int64_t at_ms = event_words_at_ms(event);

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(event_words_text(connection, keys[i]), event_words_text(event, keys[i])) != 0)
            return false;
    return event_words_number(connection, "node") == event_words_number(event, "node") &&
           begins_ms <= at_ms && at_ms <= ends_ms;
}

/* The only one of those; NULL: there is none, or it can not be told which. */
static json_t *
pick_connection(const json_t *connections, const json_t *event)
{
    json_t *connection, *found = NULL;
    size_t i;

    json_array_foreach(connections, i, connection)
    {
        if (!may_have_carried(connection, event))
            continue;
        if (found != NULL)
            return NULL;
        found = connection;
    }
    return json_incref(found);
}

static void
find_connection(struct explaining *e, struct story *story)
{
    const json_t *event = json_array_get(story->events, 0);
    struct event_search search = {.kind = "connection", .limit = CONNECTIONS_MAX};
    json_t *connections = json_array();
    int64_t at_ms = event_words_at_ms(event);

    event_search_between(&search, at_ms, at_ms + CONNECTION_AFTER_MS);
    if (at_ms > 0 &&
        inet_network_parse(slice_of(event_words_text(event, "client")), &search.client) == ERR_OK) {
        if (strcmp(story->source, "files") == 0)
            (void)event_source_find_local(&e->source, &search, connections);
        else
            (void)event_source_find(&e->source, &search, connections);
        story->connection = pick_connection(connections, event);
    }
    json_decref(connections);
}

/* For some of its recipients or for all. */
static bool
was_kept(const struct story *story)
{
    const json_t *message = story_message(story);

    return event_words_number(message, "kept") > 0 || story_event_has_verdict(message, "spooled") ||
           json_array_size(story->ends) > 0;
}

/* Of a message that was kept; or, where no event is known, of any: the spool may know more. */
static void
find_kept(struct explaining *e, struct story *story)
{
    bool has_events = json_array_size(story->events) > 0;

    if (has_events && !was_kept(story))
        return;
    story->kept = story_kept_find(e->call, &e->spool, story->ref, story->ends,
                                  event_words_number(story_message(story), "kept"));
    if (has_events || json_array_size(story->ends) > 0 || story_kept_is_known(story->kept))
        return;
    json_decref(story->kept);
    story->kept = NULL;
}

/* --- Telling. */

/* What else can be tried. */
static const char *
advice(const struct explaining *e, struct ref ref)
{
    if (ref_minute_wall_ms(ref) > e->call->printing.now_ms)
        return "That time has not come yet: look for a mistyped character.";
    if (!event_source_is_of_node(&e->source, ref) && !e->source.has_database)
        return "Ask on that node.";
    return "In a flood, refusals of recipients that are not ours are only counted (relayctl trace "
           "--ip); relayctl help explains the reply itself.";
}

static void
say_unknown(struct explaining *e, struct ref ref)
{
    char id[REF_SIZE], when[CLOCK_LOCAL_SIZE];
    struct buf covered;

    buf_init(&covered, 0);
    event_source_covered(&e->source, &covered);
    call_complain("%s: nothing is known of it. It would be of %s on node %u; looked at: %s. %s",
                  ref_text(ref, id), clock_local(ref_minute_wall_ms(ref), when), ref.node,
                  buf_text(&covered), advice(e, ref));
    buf_fini(&covered);
}

static enum command_status
explain_one(struct explaining *e, struct ref ref)
{
    struct story story = {.ref = ref};
    enum command_status status = find_events_soon(e, ref, &story);

    if (status == COMMAND_DONE && json_array_size(story.events) > 0) {
        find_connection(e, &story);
        story_look(&e->source, &story);
    }
    if (status == COMMAND_DONE)
        find_kept(e, &story);
    if (status == COMMAND_DONE && json_array_size(story.events) == 0 && story.kept == NULL) {
        say_unknown(e, ref);
        e->unknown++;
    } else if (status == COMMAND_DONE) {
        if (e->told++ > 0 && !e->call->printing.json)
            fputs("\n\n", e->call->printing.out);
        if (json_array_size(story.events) == 0 && json_array_size(story.ends) == 0)
            story.source = "spool";
        if (e->call->printing.json)
            story_print_json(e->call, &story);
        else
            story_print(e->call, &story);
    }
    json_decref(story.events);
    json_decref(story.ends);
    json_decref(story.connection);
    json_decref(story.kept);
    return status;
}

static enum command_status
explain_all(struct call *call, const struct event_search *asked)
{
    struct explaining e = {.call = call};
    enum command_status status = COMMAND_DONE;

    event_source_open(call, &e.source);
    story_spool_init(&e.spool);
    for (size_t i = 0; i < asked->ref_count && status == COMMAND_DONE; i++)
        status = explain_one(&e, asked->refs[i]);
    if (asked->ref_count == EVENT_SEARCH_REFS_MAX)
        call_complain("these are the first %d references", EVENT_SEARCH_REFS_MAX);
    story_spool_fini(&e.spool);
    event_source_close(&e.source);
    if (status != COMMAND_DONE || e.unknown == 0)
        return status;
    return e.told > 0 ? COMMAND_PARTLY : COMMAND_NOTHING;
}

enum command_status
explain(struct call *call)
{
    struct event_search asked = {0};
    enum command_status status = read_operands(call, &asked);

    if (status == COMMAND_DONE)
        status = explain_all(call, &asked);
    event_search_fini(&asked);
    return status;
}
