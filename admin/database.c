/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocking libpq with good manners: deadlines for connecting and for locks, and sentences instead
 * of SQL errors.  The reason of a change travels as the setting postern.reason, which the audit's
 * triggers read; the operator's name is the session's own and can not be given.
 */
#include "admin/database.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/db_schema.h"

/* What a class or state of SQLSTATE means for the operator. */
static const struct {
    const char *prefix; /* of the SQLSTATE */
    enum command_status status;
    const char *text; /* behind the server's message */
} failures[] = {
    {"08", COMMAND_LATER,
     "the connection was lost; nothing of this change was kept unless a later look shows it"},
    {"57P", COMMAND_LATER, "the database is stopping or starting; try again in a moment"},
    {"53", COMMAND_LATER, "the database is out of a resource; try again later"},
    {"55P03", COMMAND_LATER,
     "another change of the registry is still running; try again in a moment"},
    {"40", COMMAND_LATER, "another change came in between; try again"},
    {"25006", COMMAND_LATER, "this database is read-only (a standby?); connect to the primary"},
};

bool
database_failed_with(const PGresult *result, const char *sqlstate)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && strncmp(state, sqlstate, strlen(sqlstate)) == 0;
}

static size_t
without_end(const char *text, size_t n)
{
    while (n > 0 && strchr(" .?;", text[n - 1]))
        n--;
    return n;
}

/* libpq's messages end with a line end and may have several lines: they become one, with a
 * semicolon between.  A line behind a tab is its advice ("Is the server running ...?"): we have our
 * own. */
static void
one_line(const char *message, char *dst, size_t dst_size)
{
    size_t n = 0;

    for (; n + 2 < dst_size; message++) {
        char c;

        while (message[0] == '\n' && message[1] == '\t')
            message += 2 + strcspn(message + 2, "\n");
        if (*message == '\0')
            break;
        if (*message == '\n' && (n = without_end(dst, n)) > 0)
            dst[n++] = ';';
        c = (unsigned char)*message < ' ' ? ' ' : *message;
        if (c != ' ' || (n > 0 && dst[n - 1] != ' '))
            dst[n++] = c;
    }
    dst[without_end(dst, n)] = '\0';
}

const char *
database_role_wanted(const struct call *call)
{
    unsigned groups = call->line.command->groups;

    if (groups & COMMAND_BY_SUPPORT)
        return "postern_operator, or postern_support for single things";
    if (groups & (COMMAND_CHANGES | COMMAND_BY_OPERATOR))
        return "postern_operator";
    return "postern_support, or postern_auditor for registry, audit and reports";
}

enum command_status
database_explain(struct call *call, const PGresult *result)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
    char text[512];

    if (PQstatus(call->pg) == CONNECTION_BAD) {
        one_line(PQerrorMessage(call->pg), text, sizeof text);
        call_complain("the connection to the database was lost (%s); try again later", text);
        return COMMAND_LATER;
    }
    one_line(message ? message : PQerrorMessage(call->pg), text, sizeof text);
    for (size_t i = 0; i < ARRAY_SIZE(failures); i++)
        if (database_failed_with(result, failures[i].prefix)) {
            call_complain("%s: %s", text, hint ? hint : failures[i].text);
            return failures[i].status;
        }
    if (database_failed_with(result, "42501")) {
        call_complain("%s: your database role may not do this; let the schema's owner grant it %s",
                      text, database_role_wanted(call));
        return COMMAND_FAILED;
    }
    call_complain("the database refused this: %s%s%s", text, hint ? "; " : "", hint ? hint : "");
    return COMMAND_FAILED;
}

void
database_say_why(const struct call *call, const PGresult *result, struct buf *why)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char text[512];

    one_line(message && message[0] ? message : PQerrorMessage(call->pg), text, sizeof text);
    buf_add_text(why, text[0] ? text : "the database has not said why");
}

PGresult *
database_try(struct call *call, const char *sql, int param_count, const char *const *params)
{
    CHECK(param_count <= DATABASE_PARAMS_MAX);
    return PQexecParams(call->pg, sql, param_count, NULL, params, NULL, NULL, 0);
}

enum command_status
database_query(struct call *call, const char *sql, int param_count, const char *const *params,
               PGresult **result)
{
    PGresult *got = database_try(call, sql, param_count, params);
    ExecStatusType type = PQresultStatus(got);

    *result = got;
    if (type == PGRES_TUPLES_OK || type == PGRES_COMMAND_OK)
        return COMMAND_DONE;
    *result = NULL;
    enum command_status status = database_explain(call, got);

    PQclear(got);
    return status;
}

enum command_status
database_run(struct call *call, const char *sql, int param_count, const char *const *params)
{
    PGresult *result;
    enum command_status status = database_query(call, sql, param_count, params, &result);

    PQclear(result);
    return status;
}

static void
ignore_notice(void *ctx, const PGresult *result)
{
    (void)ctx;
    (void)result;
}

static enum command_status
check_conninfo(const struct call *call, struct buf *why)
{
    PQconninfoOption *options;
    char *problem = NULL;
    char text[512];

    if (call->config->database[0] == '\0') {
        buf_printf(why,
                   "%s: the setting \"database\" is not set; write for example database = "
                   "\"host=/run/postgresql dbname=postern\"",
                   call->config_path);
        return COMMAND_FAILED;
    }
    options = PQconninfoParse(call->config->database, &problem);
    PQconninfoFree(options);
    if (options)
        return COMMAND_DONE;
    one_line(problem ? problem : "not a connection string", text, sizeof text);
    PQfreemem(problem);
    buf_printf(why,
               "%s: the setting \"database\" is wrong: %s; write for example "
               "\"host=/run/postgresql dbname=postern\"",
               call->config_path, text);
    return COMMAND_FAILED;
}

/* --- Connecting. */

/* A server that answers and will not have us is not away: waiting does not help.  By SQLSTATE,
 * since its sentences come in its own language. */
static const struct {
    const char *prefix; /* of the SQLSTATE */
    const char *remedy; /* NULL: it is as good as away */
} refusals[] = {
    {"28P01", "check user and password in the setting \"database\""},
    {"28",
     "check the user in the setting \"database\": PostgreSQL needs a role of that name "
     "(createuser) and a line in pg_hba.conf that lets it in; where that line says peer, run "
     "relayctl as the user of that name (runuser -u USER -- relayctl ...), or map your own in "
     "pg_ident.conf"},
    {"3D", "make it with createdb, or check dbname in the setting \"database\""},
    {"42501", "let the owner of the database GRANT CONNECT on it to this role"},
    {"08", NULL}, /* the connection was lost */
    {"53", NULL}, /* too many connections, out of memory */
    {"55", NULL}, /* the database takes no connections now */
    {"57", NULL}, /* starting, stopping */
    {"58", NULL}, /* the server's own trouble */
    {"XX", NULL},
    {"", "check the setting \"database\", and PostgreSQL's log for this attempt"},
};

/* libpq's verbose messages have it behind the severity: "FATAL:  28P01: ...".  The last one is of
 * the host that was tried last. "": the server has not answered. */
static void
find_sqlstate(const char *message, char sqlstate[6])
{
    sqlstate[0] = '\0';
    for (const char *p = strstr(message, ":  "); p; p = strstr(p + 1, ":  ")) {
        const char *code = p + 3;

        if (strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && code[5] == ':')
            snprintf(sqlstate, 6, "%.5s", code);
    }
}

static enum command_status
explain_refusal(const char *text, const char *sqlstate, struct buf *why)
{
    size_t i = 0;

    while (strncmp(sqlstate, refusals[i].prefix, strlen(refusals[i].prefix)) != 0)
        i++;
    if (refusals[i].remedy == NULL)
        return COMMAND_LATER;
    buf_printf(why, "the database does not let us in: %s; %s", text, refusals[i].remedy);
    return COMMAND_FAILED;
}

/* libpq puts what a server says behind its severity and two spaces. */
static bool
has_server_spoken(const PGconn *pg)
{
    return strstr(PQerrorMessage(pg), ":  ") != NULL;
}

/* libpq keeps no SQLSTATE of a connection that failed; a second attempt has it in its message.  Who
 * has not answered is not waited for once more. */
static enum command_status
explain_no_connection(struct call *call, struct buf *why)
{
    char text[512], sqlstate[6];

    one_line(PQerrorMessage(call->pg), text, sizeof text);
    if (PQconnectionNeedsPassword(call->pg))
        return explain_refusal(text, "28P01", why);
    if (has_server_spoken(call->pg)) {
        (void)PQsetErrorVerbosity(call->pg, PQERRORS_VERBOSE);
        PQreset(call->pg);
        if (PQstatus(call->pg) == CONNECTION_OK) {
            (void)PQsetErrorVerbosity(call->pg, PQERRORS_DEFAULT);
            return COMMAND_DONE;
        }
        find_sqlstate(PQerrorMessage(call->pg), sqlstate);
        if (sqlstate[0] && explain_refusal(text, sqlstate, why) == COMMAND_FAILED)
            return COMMAND_FAILED;
    }
    buf_printf(why,
               "the database is away: %s. Mail goes on without it; try again later, or check the "
               "setting \"database\" in %s",
               text, call->config_path);
    return COMMAND_LATER;
}

/* False: not all of it came in time.  *is_done: it is an answer. */
static bool
read_first_answer(PGconn *pg, bool *is_done)
{
    int64_t until_ms = clock_monotonic_ms() + DATABASE_FIRST_ANSWER_MS;
    PGresult *result;

    *is_done = false;
    do {
        while (PQisBusy(pg)) {
            struct pollfd socket = {.fd = PQsocket(pg), .events = POLLIN};
            int64_t left_ms = until_ms - clock_monotonic_ms();

            if (left_ms <= 0)
                return false;
            if (poll(&socket, 1, (int)left_ms) > 0 && PQconsumeInput(pg) != 1)
                break; /* the result says why */
        }
        result = PQgetResult(pg);
        *is_done = *is_done || PQresultStatus(result) == PGRES_TUPLES_OK;
        PQclear(result);
    } while (result != NULL);
    return true;
}

/* The first question.  A pooler lets everybody in, and has them wait when the server behind it is
 * away. */
static enum command_status
settle(struct call *call, struct buf *why)
{
    int rc = PQsendQuery(call->pg, "SELECT set_config('lock_timeout', '10s', false), "
                                   "set_config('search_path', 'pg_catalog', false)");
    bool is_done = false;
    char text[512];

    if (rc == 1 && !read_first_answer(call->pg, &is_done)) {
        buf_printf(why,
                   "the database is away: it lets us in and does not answer within %d seconds. "
                   "Mail goes on without it; try again later, or look at the server or pooler that "
                   "the setting \"database\" in %s names",
                   DATABASE_FIRST_ANSWER_MS / 1000, call->config_path);
        database_disconnect(call);
        return COMMAND_LATER;
    }
    if (is_done)
        return COMMAND_DONE;
    one_line(PQerrorMessage(call->pg), text, sizeof text);
    buf_printf(why, "the connection to the database was lost (%s); try again later", text);
    return COMMAND_LATER;
}

enum command_status
database_try_connect(struct call *call, struct buf *why)
{
    /* Later ones win, so an operator's own in the string do.  Keepalives and tcp_user_timeout (ms)
     * end the wait for a host that is gone from the network; a server that works on an answer is
     * waited for. */
    const char *const keywords[] = {"connect_timeout",
                                    "keepalives_idle",
                                    "keepalives_interval",
                                    "keepalives_count",
                                    "tcp_user_timeout",
                                    "application_name",
                                    "dbname",
                                    NULL};
    const char *const values[] = {DATABASE_CONNECT_TIMEOUT_S, "10", "5", "3", "15000", "relayctl",
                                  call->config->database,     NULL};
    enum command_status status = COMMAND_DONE;

    if (check_conninfo(call, why) != COMMAND_DONE)
        return COMMAND_FAILED;
    call->pg = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(call->pg) != CONNECTION_OK)
        status = explain_no_connection(call, why);
    PQsetNoticeReceiver(call->pg, ignore_notice, NULL);
    return status == COMMAND_DONE ? settle(call, why) : status;
}

enum command_status
database_connect(struct call *call)
{
    enum command_status status;
    struct buf why;

    buf_init(&why, 0);
    status = database_try_connect(call, &why);
    if (status != COMMAND_DONE)
        call_complain("%s", buf_text(&why));
    buf_fini(&why);
    return status;
}

void
database_disconnect(struct call *call)
{
    PQfinish(call->pg);
    call->pg = NULL;
}

enum command_status
database_check_schema(struct call *call)
{
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    PGresult *result = database_try(call, DB_SCHEMA_QUERY, 0, NULL);
    enum db_schema schema = db_schema_check(result, sentence);

    if (schema == DB_SCHEMA_UNKNOWN && PQstatus(call->pg) == CONNECTION_BAD) {
        enum command_status status = database_explain(call, result);

        PQclear(result);
        return status;
    }
    PQclear(result);
    if (schema == DB_SCHEMA_FITS)
        return COMMAND_DONE;
    call_complain("%s", sentence);
    return COMMAND_FAILED;
}

static enum command_status
begin(struct call *call, const char *sql)
{
    const char *reason = call_value(call, "reason");
    const char *params[] = {reason ? reason : ""};
    PGresult *result;
    enum command_status status = database_run(call, "BEGIN", 0, NULL);

    if (status != COMMAND_DONE)
        return status;
    status = database_query(call, sql, 1, params, &result);
    PQclear(result);
    if (status != COMMAND_DONE)
        PQclear(PQexec(call->pg, "ROLLBACK"));
    return status;
}

enum command_status
database_begin_change(struct call *call)
{
    return begin(call, "SELECT set_config('postern.reason', $1, true), postern.registry_bump()");
}

enum command_status
database_begin_function(struct call *call)
{
    return begin(call, "SELECT set_config('postern.reason', $1, true)");
}

/* A lost answer to COMMIT leaves open whether it was done. */
static enum command_status
commit(struct call *call)
{
    enum command_status status = database_run(call, "COMMIT", 0, NULL);

    if (status == COMMAND_LATER && PQstatus(call->pg) == CONNECTION_BAD)
        call_complain("whether the change was kept is not known: look before you repeat it");
    return status;
}

enum command_status
database_end(struct call *call, enum command_status status)
{
    if (status == COMMAND_DONE && !call->dry_run)
        return commit(call);
    PQclear(PQexec(call->pg, "ROLLBACK"));
    return status;
}

const char *
database_text(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

int64_t
database_number(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

bool
database_bool(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}
