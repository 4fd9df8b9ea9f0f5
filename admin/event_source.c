/* SPDX-License-Identifier: BSD-2-Clause
 *
 * PostgreSQL answers with an index; the files are read line by line, the newest first, and only
 * those of the hours that are asked about.  A reference's minute says which is the first; there is
 * no last, since what was kept ends days later.
 */
#include "admin/event_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/database.h"
#include "base/clock.h"
#include "base/event_files.h"

#define HOUR_MS INT64_C(3600000)
#define MINUTE_MS INT64_C(60000)

void
event_source_open(struct call *call, struct event_source *source)
{
    *source = (struct event_source){.call = call};
    buf_init(&source->why_not, 0);
    if (call_value(call, "local") != NULL)
        buf_add_text(&source->why_not, "--local was given");
    else if (database_try_connect(call, &source->why_not) == COMMAND_DONE)
        source->has_database = database_check_schema(call) == COMMAND_DONE;
    if (!source->has_database && call_value(call, "local") == NULL && buf_size(&source->why_not))
        call_complain("%s", buf_text(&source->why_not));
}

void
event_source_close(struct event_source *source)
{
    buf_fini(&source->why_not);
}

bool
event_source_is_of_node(const struct event_source *source, struct ref ref)
{
    return ref.node == source->call->config->node;
}

/* --- PostgreSQL. */

static void
add_row(const PGresult *result, int row, json_t *events)
{
    json_t *event = json_loads(PQgetvalue(result, row, 0), 0, NULL);

    if (!json_is_object(event)) {
        json_decref(event);
        return;
    }
    json_object_set_new(event, "node", json_integer(database_number(result, row, 1)));
    json_array_append_new(events, event);
}

/* All that is found is sorted.  Else, for want of knowing how rare a domain is, PostgreSQL reads
 * whole days in the order of time. */
static const char fence[] = " OFFSET 0";

static enum command_status
ask_database(struct event_source *source, const struct event_search *search, json_t *events)
{
    enum command_status status;
    struct event_where where;
    PGresult *result;
    struct buf sql;

    event_where_init(&where, search);
    buf_init(&sql, 0);
    buf_printf(&sql,
               "SELECT detail, node FROM (SELECT detail, node, at FROM postern.events%s%s) found "
               "ORDER BY at DESC LIMIT %zu",
               buf_text(&where.where.sql), where.is_ordered ? "" : fence,
               search->limit - json_array_size(events));
    status = database_query(source->call, buf_text(&sql), where.where.count, where.where.params,
                            &result);
    for (int i = 0; status == COMMAND_DONE && i < PQntuples(result); i++)
        add_row(result, i, events);
    PQclear(result);
    buf_fini(&sql);
    event_where_fini(&where);
    return status;
}

/* The search's own bounds hold as well.  0: none. */
static enum command_status
ask_between(struct event_source *source, const struct event_search *search, int64_t since_ms,
            int64_t until_ms, json_t *events)
{
    struct event_search day = *search;

    if (search->since_ms > since_ms)
        since_ms = search->since_ms;
    if (search->until_ms && (until_ms == 0 || search->until_ms < until_ms))
        until_ms = search->until_ms;
    if (until_ms != 0 && since_ms >= until_ms)
        return COMMAND_DONE;
    event_search_between(&day, since_ms, until_ms);
    return ask_database(source, &day, events);
}

static const char bounds_sql[] =
    "SELECT " DATABASE_MS("at") " FROM (SELECT to_date(substr(c.relname, 8), "
                                "'YYYYMMDD')::timestamp AT TIME ZONE 'UTC' AS at "
                                "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                                "WHERE i.inhparent = 'postern.events'::regclass AND "
                                "c.relname ~ '^events_[0-9]{8}$' "
                                "UNION SELECT coalesce($1::timestamptz, now()) - "
                                "hours * interval '1 hour' "
                                "FROM unnest(ARRAY[1, 3, 7, 15]) hours) bounds ORDER BY 1 DESC";

/* Some hours, then a day at a time, the newest first: what is found often is found soon, in little.
 * Behind the newest day and before the oldest is what lies in none (events_default). */
static enum command_status
find_in_database(struct event_source *source, const struct event_search *search, json_t *events)
{
    const char *params[] = {search->until[0] ? search->until : NULL};
    enum command_status status;
    int64_t until_ms = 0;
    PGresult *bounds;

    status = database_query(source->call, bounds_sql, 1, params, &bounds);
    for (int i = 0, n = PQntuples(bounds); status == COMMAND_DONE && i <= n; i++) {
        int64_t since_ms = i < n ? database_number(bounds, i, 0) : 0;

        if (json_array_size(events) < search->limit)
            status = ask_between(source, search, since_ms, until_ms, events);
        until_ms = since_ms;
    }
    PQclear(bounds);
    return status;
}

/* --- The files. */

struct scan {
    const struct call *call;
    const struct event_search *search;
    int64_t since_ms, until_ms; /* of files; 0: any */
    json_t *events;             /* newest first */
    size_t limit;               /* of all of them, with those that were there before */
};

/* Where references are asked for, nothing is older than their minutes. */
static void
bound_by_refs(struct scan *scan)
{
    const struct event_search *s = scan->search;

    for (size_t i = 0; i < s->ref_count; i++) {
        int64_t at_ms = ref_minute_wall_ms(s->refs[i]);

        if (i == 0 || at_ms - MINUTE_MS < scan->since_ms)
            scan->since_ms = at_ms - MINUTE_MS;
    }
}

static bool
is_asked_about(const struct scan *scan, const struct event_file *file)
{
    return (scan->until_ms == 0 || file->hour_ms < scan->until_ms) &&
           (scan->since_ms == 0 || file->hour_ms + 2 * HOUR_MS > scan->since_ms);
}

static void
take_line(const struct scan *scan, const char *line, json_t *found)
{
    json_t *event;

    if (!event_search_may_match(scan->search, line))
        return;
    event = json_loads(line, 0, NULL);
    if (json_is_object(event) && event_search_matches(scan->search, event)) {
        json_object_set_new(event, "node", json_integer(scan->call->config->node));
        json_array_append(found, event);
    }
    json_decref(event);
}

/* Forgets the oldest, a few at a time. */
static void
keep_newest(json_t **found, size_t most)
{
    json_t *kept;

    if (json_array_size(*found) < 2 * most + 100)
        return;
    kept = json_array();
    for (size_t i = json_array_size(*found) - most; i < json_array_size(*found); i++)
        json_array_append(kept, json_array_get(*found, i));
    json_decref(*found);
    *found = kept;
}

static void
read_lines(const struct scan *scan, FILE *in)
{
    size_t room = 0, most = scan->limit - json_array_size(scan->events);
    json_t *found = json_array();
    char *line = NULL;

    while (getline(&line, &room, in) >= 0) {
        take_line(scan, line, found);
        keep_newest(&found, most);
    }
    for (size_t i = json_array_size(found); i-- > 0 && most > 0; most--)
        json_array_append(scan->events, json_array_get(found, i));
    free(line);
    json_decref(found);
}

static enum command_status
read_file(const struct scan *scan, const struct event_file *file)
{
    char path[CALL_PATH_SIZE];
    FILE *in = fopen(call_path(path, scan->call->config->log_dir, file->name), "re");

    if (in == NULL && errno == ENOENT) /* it has just gone, being old */
        return COMMAND_DONE;
    if (in == NULL) {
        call_complain("%s can not be read: %s%s", path, strerror(errno),
                      errno == EACCES ? "; run relayctl as root or as the user of the daemons"
                                      : "");
        return COMMAND_FAILED;
    }
    read_lines(scan, in);
    fclose(in);
    return COMMAND_DONE;
}

static enum command_status
list_files(const struct call *call, struct event_files *files)
{
    if (event_files_list(call->config->log_dir, files) == ERR_OK)
        return COMMAND_DONE;
    call_complain("the event log in %s can not be read: %s", call->config->log_dir,
                  strerror(errno));
    return COMMAND_FAILED;
}

enum command_status
event_source_find_local(struct event_source *source, const struct event_search *search,
                        json_t *events)
{
    struct scan scan = {.call = source->call,
                        .search = search,
                        .since_ms = search->since_ms,
                        .until_ms = search->until_ms,
                        .events = events,
                        .limit = json_array_size(events) + search->limit};
    struct event_files files;
    enum command_status status = list_files(source->call, &files);

    bound_by_refs(&scan);
    for (size_t i = files.count; i-- > 0 && status == COMMAND_DONE;)
        if (json_array_size(events) < scan.limit && is_asked_about(&scan, &files.items[i]))
            status = read_file(&scan, &files.items[i]);
    event_files_fini(&files);
    return status;
}

enum command_status
event_source_find(struct event_source *source, const struct event_search *search, json_t *events)
{
    enum command_status status;

    if (!source->has_database)
        return event_source_find_local(source, search, events);
    status = find_in_database(source, search, events);
    if (status != COMMAND_LATER)
        return status;
    source->has_database = false; /* it has just gone */
    json_array_clear(events);
    return event_source_find_local(source, search, events);
}

/* --- What was looked at. */

static const char covered_sql[] = "SELECT node, " DATABASE_MS("max(copied_at)") ", " DATABASE_MS(
    "(SELECT min(at) FROM postern.events)") " FROM postern.events_copied GROUP BY node "
                                            "ORDER BY node";

static void
cover_database(struct event_source *source, struct buf *text)
{
    PGresult *result = database_try(source->call, covered_sql, 0, NULL);
    int count = PQresultStatus(result) == PGRES_TUPLES_OK ? PQntuples(result) : 0;
    char when[CLOCK_LOCAL_SIZE], relative[PRINTER_RELATIVE_SIZE];

    buf_add_text(text, "PostgreSQL, which has ");
    if (count == 0)
        buf_add_text(text, "no event of any node");
    else if (PQgetisnull(result, 0, 2))
        buf_add_text(text, "no event any more");
    else
        buf_printf(text, "events since %s", clock_local(database_number(result, 0, 2), when));
    for (int i = 0; i < count; i++)
        buf_printf(text, "%s node %lld (the last %s)", i ? "," : " of",
                   (long long)database_number(result, i, 0),
                   printer_relative(database_number(result, i, 1), source->call->printing.now_ms,
                                    relative));
    PQclear(result);
}

static void
cover_files(const struct call *call, struct buf *text)
{
    char from[CLOCK_LOCAL_SIZE];
    struct event_files files;

    if (event_files_list(call->config->log_dir, &files) != ERR_OK || files.count == 0)
        buf_printf(text, "the event log of this node (%u), which is empty", call->config->node);
    else
        buf_printf(text, "the event log of this node (%u) alone, which goes back to %s",
                   call->config->node, clock_local(files.items[0].hour_ms, from));
    event_files_fini(&files);
}

void
event_source_covered(struct event_source *source, struct buf *text)
{
    if (source->has_database)
        cover_database(source, text);
    else
        cover_files(source->call, text);
}
