/* SPDX-License-Identifier: BSD-2-Clause
 *
 * PostgreSQL, what this node has of its registry, and what PostgreSQL has of this node's events.
 */
#include "admin/status_part.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/database.h"
#include "admin/node_registry.h"
#include "base/clock.h"
#include "base/event_files.h"
#include "db/db_schema.h"

#define EVENTS_LATE_MS INT64_C(600000) /* events that wait so long need somebody */

#define LOST "the connection to the database was lost; try again later"

/* --- The database. */

static void
look_at_schema(struct status *s, struct status_part *part)
{
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    PGresult *result = database_try(s->call, DB_SCHEMA_QUERY, 0, NULL);
    enum db_schema schema = db_schema_check(result, sentence);

    if (schema == DB_SCHEMA_FITS) {
        s->registry_version = (uint64_t)database_number(result, 0, 1);
        buf_printf(&part->detail, "schema %s, registry version %s", PQgetvalue(result, 0, 2),
                   PQgetvalue(result, 0, 1));
        status_fact(part, "schema_version", json_integer(database_number(result, 0, 2)));
        status_fact(part, "registry_version", json_integer(database_number(result, 0, 1)));
        status_fact(part, "database_id", json_string(PQgetvalue(result, 0, 0)));
    } else if (schema == DB_SCHEMA_UNKNOWN && PQstatus(s->call->pg) == CONNECTION_BAD) {
        status_problem(part, "unreachable", "%s", LOST);
    } else {
        status_problem(part, "wrong schema", "%s", sentence);
    }
    PQclear(result);
}

/* True: it can be asked. */
static bool
look_at_database(struct status *s)
{
    struct status_part *part = status_add(s, "database");
    struct buf why;

    part->state = "reachable";
    buf_init(&why, 0);
    if (database_try_connect(s->call, &why) == COMMAND_DONE)
        look_at_schema(s, part);
    else
        status_problem(part, "unreachable", "%s", buf_text(&why));
    buf_fini(&why);
    return !part->needs_operator;
}

/* --- The replica. */

static void
explain_no_replica(const struct status *s, struct status_part *part, const char *path, int rc)
{
    if (rc == ERR_NOT_FOUND && status_has_just_started(s->call)) {
        part->state = "starting";
        buf_add_text(&part->detail,
                     "relayd has just started and reads the registry; until then it answers 451");
    } else if (rc == ERR_NOT_FOUND)
        status_problem(part, "missing", "relayd has not seen the registry yet; it answers 451");
    else if (rc == ERR_IO)
        status_unreadable(part, path);
    else
        status_problem(part, "damaged",
                       "%s: %s; relayd answers 451 until the database is reachable", path,
                       err_text(rc));
}

static void
describe_replica(const struct status *s, struct status_part *part, const struct registry_version *v)
{
    char relative[PRINTER_RELATIVE_SIZE];
    struct node_offer offer;

    buf_printf(&part->detail, "version %llu, %llu domain%s, written %s",
               (unsigned long long)v->version, (unsigned long long)v->domain_count,
               v->domain_count == 1 ? "" : "s",
               printer_relative(v->written_at_ms, s->now_ms, relative));
    status_fact(part, "registry_version", json_integer((json_int_t)v->version));
    status_fact(part, "domains", json_integer((json_int_t)v->domain_count));
    status_fact(part, "written_at", printer_json_time(v->written_at_ms));
    status_fact(part, "database_id", json_string(v->database_id));
    if (node_offer_read(s->call, &offer))
        status_problem(part, "refused",
                       "; version %s of database %s was refused: %s; see `relayctl node show`",
                       offer.version, offer.database_id, offer.why);
    else if (s->registry_version > v->version)
        buf_printf(&part->detail, "; the database is at version %llu",
                   (unsigned long long)s->registry_version);
}

static void
look_at_replica(struct status *s)
{
    struct status_part *part = status_add(s, "replica");
    struct registry *registry = NULL;
    char path[CALL_PATH_SIZE];
    int rc = registry_open_path(call_path(path, s->call->config->state_dir, NODE_REPLICA_FILE),
                                &registry);

    if (rc < 0)
        explain_no_replica(s, part, path, rc);
    else {
        s->replica_written_at_ms = registry_get_version(registry)->written_at_ms;
        describe_replica(s, part, registry_get_version(registry));
    }
    registry_close(&registry);
}

/* --- The event log. */

struct copied {
    uint64_t waiting_bytes;
    int64_t oldest_ms; /* the hour of the oldest file that is not copied whole; 0: none */
};

static uint64_t
copied_of(const PGresult *result, const char *file)
{
    for (int i = 0; i < PQntuples(result); i++)
        if (strcmp(PQgetvalue(result, i, 0), file) == 0)
            return (uint64_t)database_number(result, i, 1);
    return 0;
}

static struct copied
compare(const struct event_files *files, const PGresult *result)
{
    struct copied c = {0};

    for (size_t i = 0; i < files->count; i++) {
        const struct event_file *file = &files->items[i];
        uint64_t done = copied_of(result, file->name);

        if (done >= file->size_bytes)
            continue;
        c.waiting_bytes += file->size_bytes - done;
        if (c.oldest_ms == 0)
            c.oldest_ms = file->hour_ms;
    }
    return c;
}

static void
judge_events(const struct status *s, struct status_part *part, const struct event_files *files,
             const PGresult *result)
{
    char text[PRINTER_RELATIVE_SIZE], size[PRINTER_SIZE_SIZE];
    struct copied c = compare(files, result);
    bool is_late = c.oldest_ms && c.oldest_ms + 3600000 + EVENTS_LATE_MS < s->now_ms;

    status_fact(part, "waiting_bytes", json_integer((json_int_t)c.waiting_bytes));
    if (c.waiting_bytes == 0)
        buf_add_text(&part->detail, ", all copied to PostgreSQL");
    else
        buf_printf(&part->detail, ", %s to be copied to PostgreSQL yet",
                   printer_size_text(c.waiting_bytes, size));
    if (is_late)
        status_problem(part, "late", ", since %s; relayd's log says why it cannot (events-wait)",
                       printer_relative(c.oldest_ms, s->now_ms, text));
}

static void
look_at_events(struct status *s, bool has_database)
{
    struct status_part *part = status_add(s, "events");
    struct event_files files;
    char node[16], size[PRINTER_SIZE_SIZE];
    const char *params[] = {node};
    PGresult *result;

    if (event_files_list(s->call->config->log_dir, &files) < 0) {
        status_unreadable(part, s->call->config->log_dir);
        event_files_fini(&files);
        return;
    }
    buf_printf(&part->detail, "log of %s", printer_size_text(files.size_bytes, size));
    status_fact(part, "log_bytes", json_integer((json_int_t)files.size_bytes));
    if (has_database) {
        snprintf(node, sizeof node, "%u", (unsigned)s->call->config->node);
        result = database_try(
            s->call, "SELECT file, offset_bytes FROM postern.events_copied WHERE node = $1", 1,
            params);
        if (PQresultStatus(result) == PGRES_TUPLES_OK)
            judge_events(s, part, &files, result);
        else
            status_problem(part, "unknown", "; what PostgreSQL has of it cannot be read: %s",
                           PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) ?: LOST);
        PQclear(result);
    } else
        buf_add_text(&part->detail, "; copied when PostgreSQL is back");
    event_files_fini(&files);
}

void
status_look_database(struct status *s)
{
    bool has_database = look_at_database(s);

    look_at_replica(s);
    look_at_events(s, has_database);
}
