/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl status: one look at everything that can be wrong, a line a part, with what helps.  Each
 * part is found by what it leaves behind (locks, files, the shared table, the log, the database),
 * so that the look works best when things are worst.  Exit 1 if something needs an operator.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/node_registry.h"
#include "admin/spool_reader.h"
#include "base/parse.h"
#include "db/db_schema.h"
#include "net/tls_certificate.h"
#include "spool/spool_identity.h"
#include "state/shared_table.h"

#define EXPIRES_SOON_MS (12 * 3600 * 1000LL)
#define STARTING_MS 30000 /* so long may relayd take to read the registry for the first time */

struct part {
    const char *name;
    const char *state;
    bool needs_operator;
    struct buf detail;
    json_t *facts;
};

#define PARTS_MAX 8

struct status {
    struct part parts[PARTS_MAX];
    unsigned count;
    json_t *backends, *counters;
    struct printer *backend_printer;
    unsigned problems, refusing;
    int64_t now_ms;
};

static struct part *
add_part(struct status *s, const char *name)
{
    struct part *part = &s->parts[s->count++];

    CHECK(s->count <= PARTS_MAX);
    part->name = name;
    part->state = "ok";
    part->facts = json_object();
    buf_init(&part->detail, 0);
    return part;
}

static void __attribute__((format(printf, 3, 4)))
set_problem(struct part *part, const char *state, const char *fmt, ...)
{
    va_list args;

    part->state = state;
    part->needs_operator = true;
    va_start(args, fmt);
    buf_vprintf(&part->detail, fmt, args);
    va_end(args);
}

/* By errno: nothing is known of the part, so nothing is said about it. */
static void
set_unreadable(struct part *part, const char *path)
{
    bool denied = errno == EACCES || errno == EPERM;

    set_problem(part, "unknown", "%s: %s%s", path, strerror(errno),
                denied ? "; run relayctl as the user of the daemons or as root" : "");
}

static void
add_fact(struct part *part, const char *name, json_t *value)
{
    CHECK(json_object_set_new(part->facts, name, value) == 0);
}

static json_t *
json_time(int64_t wall_ms)
{
    char text[CLOCK_RFC3339_SIZE];

    return wall_ms ? json_string(clock_rfc3339(wall_ms, text)) : json_null();
}

/* --- Daemons, by their locks. */

static pid_t
read_pid(int fd)
{
    char text[32];
    uint64_t pid = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n > 0 && parse_u64((struct slice){text, strspn(text, "0123456789")}, &pid) < 0)
        pid = 0;
    return n > 0 ? (pid_t)pid : 0;
}

/* A shared lock for a moment: it is refused while the daemon holds its exclusive one. */
static void
look_at_daemon(struct status *s, const struct call *call, const char *name, const char *path,
               const char *consequence)
{
    struct part *part = add_part(s, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    pid_t pid;

    part->state = "running";
    if (fd < 0 && errno != ENOENT)
        set_unreadable(part, path);
    else if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
        set_problem(part, "stopped", "%s; start %s by its supervisor, or as root: %s -c %s",
                    consequence, name, name, call->config_path);
    else if ((pid = read_pid(fd)) > 0) {
        buf_printf(&part->detail, "pid %ld", (long)pid);
        add_fact(part, "pid", json_integer(pid));
    }
    if (fd >= 0)
        close(fd);
}

static void
look_at_daemons(struct status *s, const struct call *call)
{
    char path[CALL_PATH_SIZE];

    look_at_daemon(s, call, "relayd", call_path(path, call->config->run_dir, "relayd.pid"),
                   "no mail is received");
    look_at_daemon(s, call, "spoolmgr", call_path(path, call->config->spool_dir, "lock"),
                   "spooled mail is not delivered");
}

/* By its pid file, which it holds and has just written. */
static bool
has_just_started(const struct call *call)
{
    char path[CALL_PATH_SIZE];
    int fd = open(call_path(path, call->config->run_dir, "relayd.pid"), O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool started = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && fstat(fd, &st) == 0 &&
                   call->printing.now_ms - (int64_t)st.st_mtime * 1000 < STARTING_MS;

    if (fd >= 0)
        close(fd);
    return started;
}

/* --- The database. */

static void
look_at_registry(struct call *call, struct part *part, uint64_t *version)
{
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    PGresult *result = database_try(call, DB_SCHEMA_QUERY, 0, NULL);
    enum db_schema schema = db_schema_check(result, sentence);

    if (schema == DB_SCHEMA_FITS) {
        *version = (uint64_t)database_number(result, 0, 1);
        buf_printf(&part->detail, "schema %s, registry version %s", PQgetvalue(result, 0, 2),
                   PQgetvalue(result, 0, 1));
        add_fact(part, "schema_version", json_integer(database_number(result, 0, 2)));
        add_fact(part, "registry_version", json_integer(database_number(result, 0, 1)));
        add_fact(part, "database_id", json_string(PQgetvalue(result, 0, 0)));
    } else {
        set_problem(part, "wrong schema", "%s", sentence);
    }
    PQclear(result);
}

static void
look_at_database(struct status *s, struct call *call, uint64_t *version)
{
    struct part *part = add_part(s, "database");
    struct buf why;

    part->state = "reachable";
    buf_init(&why, 0);
    if (database_try_connect(call, &why) == COMMAND_DONE)
        look_at_registry(call, part, version);
    else
        set_problem(part, "unreachable", "%s", buf_text(&why));
    buf_fini(&why);
}

/* --- The replica. */

static void
look_at_replica(struct status *s, const struct call *call, uint64_t database_version)
{
    struct part *part = add_part(s, "replica");
    char path[CALL_PATH_SIZE], relative[PRINTER_RELATIVE_SIZE];
    struct registry *registry = NULL;
    const struct registry_version *v;
    struct node_offer offer;
    int rc =
        registry_open_path(call_path(path, call->config->state_dir, NODE_REPLICA_FILE), &registry);

    if (rc == ERR_NOT_FOUND && has_just_started(call)) {
        part->state = "starting";
        buf_add_text(&part->detail,
                     "relayd has just started and reads the registry; until then it answers 451");
    } else if (rc == ERR_NOT_FOUND)
        set_problem(part, "missing", "relayd has not seen the registry yet; it answers 451");
    else if (rc == ERR_IO)
        set_unreadable(part, path);
    else if (rc < 0)
        set_problem(part, "damaged", "%s: %s; relayd answers 451 until the database is reachable",
                    path, err_text(rc));
    if (rc < 0)
        return;
    v = registry_get_version(registry);
    buf_printf(&part->detail, "version %llu, %llu domain%s, written %s",
               (unsigned long long)v->version, (unsigned long long)v->domain_count,
               v->domain_count == 1 ? "" : "s",
               printer_relative(v->written_at_ms, call->printing.now_ms, relative));
    add_fact(part, "version", json_integer((json_int_t)v->version));
    add_fact(part, "domains", json_integer((json_int_t)v->domain_count));
    add_fact(part, "written_at", json_time(v->written_at_ms));
    add_fact(part, "database_id", json_string(v->database_id));
    if (node_offer_read(call, &offer))
        set_problem(part, "refused",
                    "; version %s of database %s was refused: %s; see `relayctl node "
                    "show`",
                    offer.version, offer.database_id, offer.why);
    else if (database_version > v->version)
        buf_printf(&part->detail, "; the database is at version %llu",
                   (unsigned long long)database_version);
    registry_close(&registry);
}

/* --- The spool. */

static void
describe_spool(struct part *part, const struct spool_totals *t, int64_t now_ms)
{
    char relative[PRINTER_RELATIVE_SIZE];

    if (t->messages == 0) {
        buf_add_text(&part->detail, "empty");
        return;
    }
    buf_printf(&part->detail, "%llu message%s, oldest %s", (unsigned long long)t->messages,
               t->messages == 1 ? "" : "s", printer_relative(t->oldest_at_ms, now_ms, relative));
    if (t->due)
        buf_printf(&part->detail, ", %llu to go when their server is up",
                   (unsigned long long)t->due);
    if (t->next_at_ms)
        buf_printf(&part->detail, ", next try %s",
                   printer_relative(t->next_at_ms, now_ms, relative));
    if (t->held)
        buf_printf(&part->detail, ", %llu held", (unsigned long long)t->held);
    if (t->no_route)
        buf_printf(&part->detail, ", %llu without a route", (unsigned long long)t->no_route);
}

static bool
spool_is_refused(const struct call *call)
{
    struct spool_identity identity;

    return spool_identity_read(call->config->spool_dir, &identity) == ERR_OK && identity.is_refused;
}

static void
judge_spool(struct part *part, const struct spool_totals *t, const struct spool_store_stats *stats,
            int64_t now_ms)
{
    uint64_t damaged = stats->damaged_records + stats->unreadable_segments + t->damaged;
    char relative[PRINTER_RELATIVE_SIZE];

    if (damaged)
        set_problem(part, "damaged", "; %llu damaged records or segments: run `spoolmgr --fsck`",
                    (unsigned long long)damaged);
    else if (t->no_route)
        set_problem(part, "no-route", ": see `relayctl spool list --state no-route`");
    else if (t->expires_at_ms && t->expires_at_ms < now_ms + EXPIRES_SOON_MS)
        set_problem(part, "expiring", "; the first message ends %s: see `relayctl spool list`",
                    printer_relative(t->expires_at_ms, now_ms, relative));
}

static void
look_at_spool(struct status *s, const struct call *call)
{
    struct part *part = add_part(s, "spool");
    struct spool_totals totals = {0};
    struct spool_store_stats stats;
    struct spool_store *store;
    struct registry *registry;
    int rc;

    errno = 0;
    rc = spool_store_open(&spool_io_disk, call->config->spool_dir, SPOOL_STORE_READ, &store);
    if (rc < 0 && (errno == EACCES || errno == EPERM))
        set_unreadable(part, call->config->spool_dir);
    else if (rc < 0)
        set_problem(part, "unreadable", "%s: %s", call->config->spool_dir,
                    errno ? strerror(errno) : err_text(rc));
    if (rc < 0)
        return;
    registry = routing_open(call);
    for (struct spool_message *m = spool_store_next(store, NULL); m; m = spool_store_next(store, m))
        spool_reader_count(&totals, m, 0, registry, call->printing.now_ms);
    registry_close(&registry);
    spool_store_get_stats(store, &stats);
    spool_store_close(&store);
    add_fact(part, "messages", json_integer((json_int_t)totals.messages));
    add_fact(part, "open_recipients", json_integer((json_int_t)totals.recipients));
    add_fact(part, "size_bytes", json_integer((json_int_t)totals.size_bytes));
    add_fact(part, "due", json_integer((json_int_t)totals.due));
    add_fact(part, "no_route", json_integer((json_int_t)totals.no_route));
    add_fact(part, "held", json_integer((json_int_t)totals.held));
    add_fact(part, "oldest_received_at", json_time(totals.oldest_at_ms));
    add_fact(part, "next_attempt_at", json_time(totals.next_at_ms));
    add_fact(part, "first_expires_at", json_time(totals.expires_at_ms));
    add_fact(part, "segments", json_integer((json_int_t)stats.segments));
    add_fact(part, "damaged_records", json_integer((json_int_t)stats.damaged_records));
    describe_spool(part, &totals, call->printing.now_ms);
    if (spool_is_refused(call))
        set_problem(part, "refused",
                    "; an older copy, so nothing is delivered: see `relayctl node show`");
    else
        judge_spool(part, &totals, &stats, call->printing.now_ms);
}

/* --- Certificates: the files, as the next reload will read them. Their keys may be relayd's alone.
 */

static void
describe_certificate(struct part *part, json_t *list, const struct tls_certificate *c,
                     int64_t now_ms)
{
    json_t *names = json_array();
    char relative[PRINTER_RELATIVE_SIZE];

    buf_printf(&part->detail, "%s%s (%s", buf_size(&part->detail) ? "; " : "",
               tls_certificate_path(c), tls_certificate_kind(c));
    for (size_t i = 0; i < tls_certificate_name_count(c); i++) {
        const char *name = tls_certificate_name(c, i);

        buf_printf(&part->detail, ", %s", name);
        json_array_append_new(names, printer_json_text(name));
    }
    buf_printf(&part->detail, ") ends %s",
               printer_relative(tls_certificate_end_ms(c), now_ms, relative));
    json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o}", "file",
                                          printer_json_text(tls_certificate_path(c)), "kind",
                                          tls_certificate_kind(c), "names", names, "ends_at",
                                          json_time(tls_certificate_end_ms(c))));
}

static void
add_certificate_warnings(struct part *part, const struct buf *warnings, const char *state)
{
    json_t *list = json_array();
    struct slice rest = buf_slice(warnings);

    while (rest.n > 0) {
        struct slice line = slice_split(&rest, '\n');

        set_problem(part, state, "%s%.*s", buf_size(&part->detail) ? "; " : "", (int)line.n,
                    line.p);
        json_array_append_new(list, json_stringn(line.p, line.n));
    }
    add_fact(part, "warnings", list);
}

static void
look_at_certificates(struct status *s, const struct call *call)
{
    const struct config *c = call->config;
    struct part *part = add_part(s, "tls");
    size_t wanted = c->tls_certificate.count, count = 0;
    struct tls_certificate **certificates = mem_alloc((wanted + 1) * sizeof *certificates);
    json_t *list = json_array();
    struct buf warnings;

    buf_init(&warnings, 0);
    for (size_t i = 0; i < wanted; i++)
        if (tls_certificate_read(c->tls_certificate.items[i], c->tls_key.items[i], &warnings,
                                 &certificates[count]) == ERR_OK)
            describe_certificate(part, list, certificates[count++], call->printing.now_ms);
    if (wanted == 0) {
        part->state = "off";
        buf_add_text(&part->detail, "no tls-certificate is set: STARTTLS is not offered");
    } else if (count == wanted)
        tls_certificates_warnings(certificates, count, c->hostname, call->printing.now_ms,
                                  &warnings);
    add_fact(part, "certificates", list);
    add_certificate_warnings(part, &warnings, count == wanted ? "warning" : "unusable");
    while (count > 0)
        tls_certificate_free(&certificates[--count]);
    free(certificates);
    buf_fini(&warnings);
}

/* --- The shared table: backends and counters. */

static const struct printer_column backend_columns[] = {
    {"backend", "BACKEND", PRINTER_LEFT},
    {"state", "STATE", PRINTER_LEFT},
    {"since", "SINCE", PRINTER_LEFT},
    {"failures", "FAILURES", PRINTER_RIGHT},
    {"next_probe_at", "NEXT PROBE", PRINTER_LEFT},
    {"reason", "REASON", PRINTER_LEFT},
};

static void
on_backend(void *ctx, const struct shared_health *h)
{
    struct status *s = ctx;
    bool stopped = shared_health_stops(h->state);
    const char *reason = stopped ? shared_reason_text(h->reason) : NULL;
    const char *word = shared_health_shown(h, s->now_ms);
    char endpoint[INET_ENDPOINT_SIZE];

    inet_endpoint_text(&h->endpoint, endpoint);
    s->refusing += h->state == SHARED_HEALTH_REFUSING;
    if (s->backend_printer == NULL) {
        json_array_append_new(
            s->backends,
            json_pack("{s:s, s:s, s:o, s:I, s:o, s:s?, s:I, s:I, s:I, s:I}", "backend", endpoint,
                      "state", word, "since", json_time(h->since_ms), "failures",
                      (json_int_t)h->failures, "next_probe_at",
                      json_time(stopped ? h->next_probe_at_ms : 0), "reason", reason, "verdicts",
                      (json_int_t)h->verdicts, "accepted", (json_int_t)h->accepted, "refused_known",
                      (json_int_t)h->refused, "good_probes", (json_int_t)h->good_probes));
        return;
    }
    printer_text(s->backend_printer, endpoint);
    printer_word(s->backend_printer, word);
    printer_time(s->backend_printer, h->since_ms);
    printer_number(s->backend_printer, h->failures);
    printer_since(s->backend_printer, stopped ? h->next_probe_at_ms : 0);
    printer_text(s->backend_printer, reason);
}

static void
look_at_shared_table(struct status *s, const struct call *call)
{
    struct shared_table *table;
    char path[CALL_PATH_SIZE];

    if (shared_table_attach(call_path(path, call->config->run_dir, "shared"), &table) < 0)
        return; /* relayd's own line says why */
    for (int i = 0; i < SHARED_COUNTER_COUNT; i++)
        json_object_set_new(
            s->counters, shared_counter_word((enum shared_counter)i),
            json_integer((json_int_t)shared_counter_sum(table, (enum shared_counter)i)));
    if (!call->printing.json)
        s->backend_printer = printer_new(&call->printing, PRINTER_LIST, backend_columns,
                                         ARRAY_SIZE(backend_columns));
    shared_health_each(table, on_backend, s);
    shared_table_detach(&table);
    if (s->refusing)
        set_problem(add_part(s, "health"), "refusing",
                    "%u back from an outage and refusing recipients that they took before; their "
                    "mail is kept; when the server is mended: relayctl backend release CUSTOMER/N",
                    s->refusing);
}

/* --- Printing. */

static void
print_json(struct status *s, const struct call *call)
{
    json_t *all = json_object();
    char *text;

    json_object_set_new(all, "ok", json_boolean(s->problems == 0));
    for (unsigned i = 0; i < s->count; i++) {
        struct part *part = &s->parts[i];

        json_object_set_new(part->facts, "state", json_string(part->state));
        json_object_set_new(part->facts, "needs_operator", json_boolean(part->needs_operator));
        json_object_set_new(part->facts, "detail", printer_json_text(buf_text(&part->detail)));
        json_object_set(all, part->name, part->facts);
    }
    json_object_set(all, "backends", s->backends);
    json_object_set(all, "counters", s->counters);
    text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(text != NULL);
    fprintf(call->printing.out, "%s\n", text);
    free(text);
    json_decref(all);
}

static void
print_counters(const struct status *s, const struct call *call)
{
    const char *word;
    json_t *value;

    if (json_object_size(s->counters) == 0)
        return;
    fprintf(call->printing.out, "\nSince the start of relayd:\n");
    json_object_foreach(s->counters, word, value)
        fprintf(call->printing.out, "  %-22s %10lld\n", word, (long long)json_integer_value(value));
}

static void
print_text(struct status *s, const struct call *call)
{
    static const struct printer_column columns[] = {
        {"part", "PART", PRINTER_LEFT},
        {"state", "STATE", PRINTER_LEFT},
        {"detail", "DETAIL", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    for (unsigned i = 0; i < s->count; i++) {
        printer_text(p, s->parts[i].name);
        printer_word(p, s->parts[i].state);
        printer_text(p, buf_text(&s->parts[i].detail));
    }
    printer_finish(&p);
    if (s->backend_printer && printer_row_count(s->backend_printer))
        fputc('\n', call->printing.out);
    printer_finish(&s->backend_printer);
    print_counters(s, call);
    if (s->problems)
        fprintf(call->printing.out, "\n%u of %u need%s an operator.\n", s->problems, s->count,
                s->problems == 1 ? "s" : "");
}

enum command_status
status_show(struct call *call)
{
    struct status s = {
        .backends = json_array(), .counters = json_object(), .now_ms = call->printing.now_ms};
    uint64_t version = 0;

    look_at_daemons(&s, call);
    look_at_database(&s, call, &version);
    look_at_replica(&s, call, version);
    look_at_spool(&s, call);
    look_at_certificates(&s, call);
    look_at_shared_table(&s, call);
    for (unsigned i = 0; i < s.count; i++)
        s.problems += s.parts[i].needs_operator;
    if (call->printing.json)
        print_json(&s, call);
    else
        print_text(&s, call);
    for (unsigned i = 0; i < s.count; i++) {
        json_decref(s.parts[i].facts);
        buf_fini(&s.parts[i].detail);
    }
    json_decref(s.backends);
    json_decref(s.counters);
    return s.problems ? COMMAND_FAILED : COMMAND_DONE;
}
