/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl db: creates the schema, brings it up to date, shows it.  A migration is a file
 * NNNN-name.sql; all that are missing run in one transaction under an advisory lock, so a database
 * is never half migrated and two administrators do not meet.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "base/parse.h"
#include "db/db.h"
#include "db/db_schema.h"

#define MIGRATIONS_MAX 1000
#define MIGRATION_BYTES_MAX (4 * 1024 * 1024)

struct migration {
    unsigned number;
    char name[64];
    char path[CALL_PATH_SIZE];
};

struct migrations {
    struct migration *items;
    unsigned count;
};

static const char *
sql_folder(void)
{
    const char *folder = getenv("POSTERN_SQL_DIR");

    return folder && folder[0] ? folder : PKGDATADIR "/sql";
}

/* "0001-registry.sql" */
static bool
parse_name(const char *file, struct migration *m)
{
    size_t n = strlen(file);
    uint64_t number;

    if (n < 10 || n - 9 >= sizeof m->name || file[4] != '-' || strcmp(file + n - 4, ".sql") != 0 ||
        parse_u64((struct slice){file, 4}, &number) < 0 || number == 0)
        return false;
    m->number = (unsigned)number;
    snprintf(m->name, sizeof m->name, "%.*s", (int)(n - 9), file + 5);
    return call_path(m->path, sql_folder(), file)[0] != '\0';
}

static int
by_number(const void *a, const void *b)
{
    const struct migration *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static enum command_status
read_folder(struct migrations *all)
{
    DIR *dir = opendir(sql_folder());
    struct dirent *entry;

    *all = (struct migrations){.items = mem_alloc(MIGRATIONS_MAX * sizeof *all->items)};
    if (dir == NULL) {
        call_complain(
            "the migrations cannot be read: %s: %s; install Postern, or name the folder in "
            "POSTERN_SQL_DIR",
            sql_folder(), strerror(errno));
        return COMMAND_FAILED;
    }
    while ((entry = readdir(dir)) != NULL && all->count < MIGRATIONS_MAX)
        if (parse_name(entry->d_name, &all->items[all->count]))
            all->count++;
    closedir(dir);
    qsort(all->items, all->count, sizeof *all->items, by_number);
    for (unsigned i = 0; i < all->count; i++)
        if (all->items[i].number != i + 1) {
            call_complain("%s has no migration %04u, or two of one number; the folder is not whole",
                          sql_folder(), i + 1);
            return COMMAND_FAILED;
        }
    if (all->count == DB_SCHEMA_VERSION)
        return COMMAND_DONE;
    call_complain("%s holds %u migrations and this relayctl was made for %d; they are of different "
                  "releases",
                  sql_folder(), all->count, DB_SCHEMA_VERSION);
    return COMMAND_FAILED;
}

static char *
read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *text = NULL;
    ssize_t n = -1;

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size < MIGRATION_BYTES_MAX) {
        text = mem_alloc((size_t)st.st_size + 1);
        n = read(fd, text, (size_t)st.st_size);
    }
    if (n < 0 || n != st.st_size) {
        call_complain("%s cannot be read: %s", path, strerror(errno));
        free(text);
        text = NULL;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

/* Several statements at once: the simple protocol. */
static enum command_status
run_file(struct call *call, const struct migration *m)
{
    char number[16];
    const char *params[] = {number, m->name};
    char *text = read_file(m->path);
    enum command_status status = COMMAND_DONE;
    PGresult *result;

    if (text == NULL)
        return COMMAND_FAILED;
    result = PQexec(call->pg, text);
    free(text);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
        call_complain("migration %04u-%s failed; the database stays as it was", m->number, m->name);
        status = database_explain(call, result);
    }
    PQclear(result);
    if (status != COMMAND_DONE)
        return status;
    snprintf(number, sizeof number, "%u", m->number);
    status =
        database_query(call,
                       "WITH noted AS (INSERT INTO postern.migrations (number, name) VALUES "
                       "($1::integer, $2) RETURNING number) "
                       "UPDATE postern.registry_state SET schema_version = noted.number FROM noted",
                       2, params, &result);
    PQclear(result);
    return status;
}

/* The schema's version, 0 if there is none. */
static enum command_status
find_version(struct call *call, unsigned *version, char sentence[DB_SCHEMA_SENTENCE_SIZE])
{
    PGresult *result = database_try(call, DB_SCHEMA_QUERY, 0, NULL);
    enum db_schema schema = db_schema_check(result, sentence);
    enum command_status status = COMMAND_DONE;

    *version = 0;
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
        *version = (unsigned)database_number(result, 0, 2);
    else if (PQstatus(call->pg) == CONNECTION_BAD)
        status = database_explain(call, result);
    else if (schema == DB_SCHEMA_DENIED || schema == DB_SCHEMA_UNKNOWN) {
        call_complain("%s", sentence);
        status = COMMAND_FAILED;
    }
    PQclear(result);
    return status;
}

/* A schema named postern that is not ours must not be written into. */
static enum command_status
check_foreign(struct call *call)
{
    PGresult *result;
    enum command_status status = database_query(
        call, "SELECT 1 FROM pg_namespace WHERE nspname = 'postern'", 0, NULL, &result);

    if (status == COMMAND_DONE && PQntuples(result) > 0) {
        call_complain(
            "this database has a schema \"postern\" that is not Postern's, or is damaged; "
            "use an empty database, or rename that schema");
        status = COMMAND_FAILED;
    }
    PQclear(result);
    return status;
}

static enum command_status
run_missing(struct call *call, const struct migrations *all, unsigned version)
{
    enum command_status status = COMMAND_DONE;

    for (unsigned i = version; i < all->count && status == COMMAND_DONE; i++)
        status = run_file(call, &all->items[i]);
    if (status == COMMAND_DONE && version > 0) {
        PGresult *result;

        status = database_query(call, "SELECT postern.registry_bump()", 0, NULL, &result);
        PQclear(result);
    }
    return status;
}

/* In the transaction, under the lock. */
static enum command_status
apply_locked(struct call *call, const struct migrations *all, bool init, unsigned *before)
{
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    PGresult *result;
    enum command_status status = database_query(
        call, "SELECT pg_advisory_xact_lock(hashtext('postern.migrations'))", 0, NULL, &result);

    PQclear(result);
    if (status == COMMAND_DONE) /* in a savepoint, since asking an empty database fails */
        status = database_query(call, "SAVEPOINT look", 0, NULL, &result), PQclear(result);
    if (status != COMMAND_DONE)
        return status;
    status = find_version(call, before, sentence);
    PQclear(PQexec(call->pg, "ROLLBACK TO look"));
    if (status != COMMAND_DONE)
        return status;
    if (*before > DB_SCHEMA_VERSION || (*before == 0 && !init)) {
        call_complain("%s", sentence);
        return COMMAND_FAILED;
    }
    if (*before == 0)
        status = check_foreign(call);
    else if (init && *before < DB_SCHEMA_VERSION) {
        call_complain("%s", sentence);
        return COMMAND_FAILED;
    }
    return status == COMMAND_DONE ? run_missing(call, all, *before) : status;
}

/* What an upgrade means for what was there before; said to people behind the migrations. */
static const struct {
    unsigned migration;
    const char *text;
} notes[] = {
    {12, "Customers that are there already keep the sender policy off, so that nothing is refused "
         "that was not; new ones "
         "begin with standard. `relayctl customer set NAME --policy standard` gives it to one."},
};

static void
say_notes(const struct call *call, unsigned before)
{
    for (size_t i = 0; i < ARRAY_SIZE(notes); i++)
        if (before > 0 && before < notes[i].migration && !call->printing.json && !call->dry_run)
            fprintf(call->printing.out, "%s\n", notes[i].text);
}

/* Said only once it is true. */
static void
report(const struct call *call, const struct migrations *all, unsigned before)
{
    for (unsigned i = before; i < all->count; i++) {
        char name[80];

        snprintf(name, sizeof name, "%04u-%s", all->items[i].number, all->items[i].name);
        call_done(call, "applied", "migration", name);
    }
    if (call->printing.json && before == all->count)
        call_done(call, "unchanged", "schema", "postern");
    if (!call->printing.json && (!call->dry_run || before == all->count))
        fprintf(call->printing.out, "The database has schema %d.\n", DB_SCHEMA_VERSION);
    say_notes(call, before);
}

static enum command_status
apply(struct call *call, bool init)
{
    struct migrations all;
    PGresult *result;
    unsigned before = 0;
    enum command_status status = read_folder(&all);

    if (status == COMMAND_DONE) {
        status = database_query(call, "BEGIN", 0, NULL, &result);
        PQclear(result);
        if (status == COMMAND_DONE)
            status = database_end(call, apply_locked(call, &all, init, &before));
        if (status == COMMAND_DONE)
            report(call, &all, before);
    }
    free(all.items);
    return status;
}

enum command_status
schema_init(struct call *call)
{
    return apply(call, true);
}

enum command_status
schema_migrate(struct call *call)
{
    return apply(call, false);
}

static const char *
state_word(unsigned version)
{
    if (version == 0)
        return "missing";
    return version < DB_SCHEMA_VERSION ? "older" : version > DB_SCHEMA_VERSION ? "newer" : "fits";
}

enum command_status
schema_status(struct call *call)
{
    static const struct printer_column columns[] = {
        {"state", "Schema", PRINTER_LEFT},
        {"schema_version", "Schema version", PRINTER_LEFT},
        {"program_schema_version", "Needed version", PRINTER_LEFT},
        {"database_id", "Database id", PRINTER_LEFT},
        {"registry_version", "Registry version", PRINTER_LEFT},
        {"database", "Database", PRINTER_LEFT},
        {"user", "User", PRINTER_LEFT},
        {"server_version", "PostgreSQL", PRINTER_LEFT},
    };
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    unsigned version;
    PGresult *result;
    enum command_status status = find_version(call, &version, sentence);
    struct printer *p;

    if (status != COMMAND_DONE)
        return status;
    result = database_try(call, DB_SCHEMA_QUERY, 0, NULL);
    if (version > 0 && PQntuples(result) == 0) {
        status = database_explain(call, result);
        PQclear(result);
        return status;
    }
    p = printer_new(&call->printing, PRINTER_ONE, columns, ARRAY_SIZE(columns));
    printer_word(p, state_word(version));
    printer_number(p, version);
    printer_number(p, DB_SCHEMA_VERSION);
    printer_text(p, version ? database_text(result, 0, 0) : NULL);
    if (version)
        printer_number(p, database_number(result, 0, 1));
    else
        printer_none(p, "-");
    printer_text(p, PQdb(call->pg));
    printer_text(p, PQuser(call->pg));
    printer_text(p, PQparameterStatus(call->pg, "server_version"));
    printer_finish(&p);
    PQclear(result);
    if (version != DB_SCHEMA_VERSION)
        call_complain("%s", sentence);
    return version == DB_SCHEMA_VERSION ? COMMAND_DONE : COMMAND_FAILED;
}
