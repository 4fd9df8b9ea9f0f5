/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Nothing here is needed for the story: what cannot be asked is left out.  The null sender has too
 * many messages to tell which is which.
 */
#include "admin/story_look.h"

#include <string.h>

#include "admin/database.h"
#include "admin/printer.h"
#include "admin/routing.h"
#include "admin/story_event.h"
#include "admin/story_why.h"

#define LOOKS_MAX 10 /* for later attempts: more recipients of a story are not looked for */
#define LATER_MAX 200

/* --- Later attempts. */

static json_t *
attempt_as_json(const json_t *event)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "at", event_words_text(event, "at"), "id",
                     event_words_text(event, "ref"), "verdict", event_words_text(event, "verdict"),
                     "reply", event_words_text(event, "reply"));
}

/* `events`: newest first.  The first that was accepted; else the last that was not; NULL. */
static const json_t *
pick_later(const json_t *events, const json_t *event)
{
    const char *ref = event_words_text(event, "ref");
    const json_t *found = NULL;
    json_t *later;
    size_t i;

    json_array_foreach(events, i, later)
    {
        bool is_taken = story_event_class(later) == '2';

        if (strcmp(event_words_text(later, "ref"), ref) == 0 || story_event_is(later, "ended"))
            continue;
        if (found == NULL || is_taken)
            found = later;
    }
    return found;
}

/* The newest first.  A young story is from the files, and not all of theirs need have been copied.
 */
static bool
find_later(struct event_source *source, struct event_search *search, const struct story *story,
           json_t *events)
{
    bool is_young = strcmp(story->source, "files") == 0;

    if (is_young && event_source_find_local(source, search, events) != COMMAND_DONE)
        return false;
    return !source->has_database || event_source_find(source, search, events) == COMMAND_DONE;
}

static void
look_later(struct event_source *source, const struct story *story, json_t *event)
{
    struct event_search search = {.no_connections = true, .limit = LATER_MAX};
    json_t *events = json_array();
    const json_t *later;

    event_search_names(&search, event_words_text(event, "from"), story_event_recipient(event));
    event_search_between(&search, event_words_at_ms(event), 0);
    if (find_later(source, &search, story, events)) {
        later = pick_later(events, event);
        json_object_set_new(event, "since_then", later ? attempt_as_json(later) : json_null());
    }
    event_search_fini(&search);
    json_decref(events);
}

static bool
may_come_again(const json_t *event)
{
    const char *recipient = story_event_recipient(event);

    return story_event_class(event) == '4' && event_words_text(event, "from")[0] && recipient &&
           recipient[0] && event_words_at_ms(event) > 0 &&
           !json_is_true(json_object_get(event, "shortened"));
}

/* --- The backend's name. */

static bool
is_backend(const struct registry_backend *backend, const struct inet_endpoint *endpoint,
           unsigned count)
{
    return inet_endpoint_equal(&backend->endpoint, endpoint) ||
           (backend->endpoint.family == 0 && count == 1);
}

static void
look_backend(const struct registry *registry, json_t *event)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct registry_domain domain;
    struct inet_endpoint endpoint;
    unsigned count = 0;
    char name[REGISTRY_NAME_SIZE + 16];

    if (inet_endpoint_parse(slice_of(event_words_text(event, "backend")), 25, &endpoint) < 0 ||
        registry_find_domain(registry, event_words_text(event, "domain"), &domain) < 0 ||
        registry_find_backends(registry, &domain, backends, &count) < 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (!is_backend(&backends[i], &endpoint, count))
            continue;
        snprintf(name, sizeof name, "%s/%u", event_words_text(event, "customer"),
                 backends[i].number);
        json_object_set_new(event, "backend_name", json_string(name));
        return;
    }
}

/* --- Who has entered what decided. */

static const char suspension_sql[] = "SELECT " DATABASE_MS(
    "at") ", who, coalesce(new_row->>'state_reason', reason) "
          "FROM postern.audit WHERE table_name = 'customers' AND new_row->>'name' = $1 "
          "AND new_row->>'state' <> 'active' AND coalesce(old_row->>'state', '') <> "
          "new_row->>'state' "
          "AND at <= $2::timestamptz ORDER BY id DESC LIMIT 1";

static const char rule_sql[] = "SELECT " DATABASE_MS(
    "r.created_at") ", r.created_by, r.reason "
                    "FROM postern.sender_rules r JOIN postern.customers c ON c.id = r.customer_id "
                    "WHERE c.name = $1 AND r.created_at <= $2::timestamptz AND action = 'block' "
                    "AND $3 IN (r.sender, r.domain, r.network::text, host(r.network)) LIMIT 1";

static void
set_entry(json_t *event, const PGresult *result)
{
    char at[CLOCK_RFC3339_SIZE];

    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        json_object_set_new(event, "entry",
                            json_pack("{s:s, s:o, s:o}", "at",
                                      clock_rfc3339(database_number(result, 0, 0), at), "who",
                                      printer_json_text(PQgetvalue(result, 0, 1)), "reason",
                                      printer_json_text(PQgetvalue(result, 0, 2))));
}

static void
look_entry(struct call *call, json_t *event)
{
    char rule[STORY_WHY_RULE_SIZE];
    const char *params[] = {event_words_text(event, "customer"), event_words_text(event, "at"),
                            story_why_rule(event, rule)};
    bool is_suspension = story_event_has_verdict(event, "suspended");
    PGresult *result;

    if (params[0][0] == '\0' || (!is_suspension && rule[0] == '\0'))
        return;
    result = database_try(call, is_suspension ? suspension_sql : rule_sql, is_suspension ? 2 : 3,
                          params);
    set_entry(event, result);
    PQclear(result);
}

void
story_look(struct event_source *source, struct story *story)
{
    struct registry *registry = routing_open(source->call);
    unsigned looks = 0;
    json_t *event;
    size_t i;

    json_array_foreach(story->events, i, event)
    {
        if (registry)
            look_backend(registry, event);
        if (source->has_database)
            look_entry(source->call, event);
        if (may_come_again(event) && looks++ < LOOKS_MAX)
            look_later(source, story, event);
    }
    registry_close(&registry);
}
