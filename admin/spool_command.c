/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A command is committed before anybody is waited for, under a number that is known before the
 * commit; so whatever happens to the connection, it can be asked again what has become of it, and
 * withdrawn.  Who withdraws one that waits is the only one who decides about it from then on: the
 * keeper does not take it any more.  The answer is notified, and looked for every second.
 */
#include "admin/spool_command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/database.h"
#include "base/clock.h"
#include "db/db_schema.h"
#include "order/order_json.h"

#define SEEN_MS 20000   /* a keeper looks every five seconds */
#define TAKE_MS 4000    /* from its notification to its taking it */
#define ANSWER_MS 60000 /* from giving the command to its answer */
#define AWAY_MS 10000   /* the database, while a command is on its way */
#define LOOK_MS 1000
#define SHOW_MS 2000 /* who waits at a terminal is told why */

struct spool_commander {
    struct call call; /* with a connection of its own */
    unsigned node;
    bool has_shown;
};

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int signo)
{
    (void)signo;
    interrupted = 1;
}

/* --- The connection. */

static void
buf_of_result(const PGresult *result, struct buf *why)
{
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    buf_add_text(why, message ? message : "the connection to it was lost");
}

/* What PostgreSQL says of a right that is missing is no reason to go another way. */
static enum command_status
judge_failure(const struct call *call, const PGresult *result, struct buf *why)
{
    buf_of_result(result, why);
    if (!database_failed_with(result, "42501"))
        return COMMAND_LATER;
    buf_printf(why,
               ": your database role may not order this of a spool; let the schema's owner "
               "grant it %s",
               database_role_wanted(call));
    return COMMAND_FAILED;
}

static enum command_status
check_schema(struct spool_commander *c, struct buf *why)
{
    char sentence[DB_SCHEMA_SENTENCE_SIZE];
    PGresult *result = database_try(&c->call, DB_SCHEMA_QUERY, 0, NULL);
    enum db_schema schema = db_schema_check(result, sentence);

    PQclear(result);
    buf_add_text(why, sentence);
    return schema == DB_SCHEMA_FITS     ? COMMAND_DONE
           : schema == DB_SCHEMA_DENIED ? COMMAND_FAILED
                                        : COMMAND_LATER;
}

static enum command_status
judge_node(const struct spool_commander *c, const PGresult *result, struct buf *why)
{
    const char *others = database_text(result, 0, 1);

    if (PQgetisnull(result, 0, 0)) {
        buf_printf(why, "no keeper of a node %u has ever been seen in this database", c->node);
        if (others)
            buf_printf(why, "; there are those of %s", others);
        return COMMAND_NOTHING;
    }
    if (database_number(result, 0, 0) < SEEN_MS)
        return COMMAND_DONE;
    buf_printf(why, "the keeper of node %u was last seen in this database %lld minutes ago",
               c->node, (long long)database_number(result, 0, 0) / 60000);
    return COMMAND_LATER;
}

static enum command_status
find_node(struct spool_commander *c, struct buf *why)
{
    char node[16];
    const char *params[] = {node};
    enum command_status status;
    PGresult *result;

    snprintf(node, sizeof node, "%u", c->node);
    result = database_try(
        &c->call,
        "SELECT " DATABASE_MS("now() - (SELECT seen_at FROM postern.spool_nodes WHERE node = "
                              "$1)") ", (SELECT string_agg(node::text, ', ' ORDER BY node) "
                                     "FROM postern.spool_nodes)",
        1, params);
    status = PQresultStatus(result) == PGRES_TUPLES_OK ? judge_node(c, result, why)
                                                       : judge_failure(&c->call, result, why);
    PQclear(result);
    return status;
}

static bool
run(struct spool_commander *c, const char *sql)
{
    PGresult *result = database_try(&c->call, sql, 0, NULL);
    ExecStatusType status = PQresultStatus(result);

    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static enum command_status
connect_it(struct spool_commander *c, struct buf *why)
{
    database_disconnect(&c->call);
    if (database_try_connect(&c->call, why) != COMMAND_DONE)
        return COMMAND_LATER; /* who is not let in by the database may still be by the socket */
    if (run(c, "SELECT set_config('lock_timeout', '10s', false), "
               "set_config('statement_timeout', '20s', false), "
               "set_config('search_path', 'pg_catalog', false)") &&
        run(c, "LISTEN postern_answers"))
        return COMMAND_DONE;
    buf_add_text(why, "the connection to the database was lost");
    return COMMAND_LATER;
}

enum command_status
spool_commander_open(const struct call *call, unsigned node, struct spool_commander **commander,
                     struct buf *why)
{
    struct spool_commander *c = mem_alloc(sizeof *c);
    enum command_status status;

    c->call = *call;
    c->call.pg = NULL;
    c->node = node;
    status = connect_it(c, why);
    if (status == COMMAND_DONE)
        status = check_schema(c, why);
    if (status == COMMAND_DONE)
        status = find_node(c, why);
    *commander = c;
    if (status != COMMAND_DONE)
        spool_commander_close(commander);
    return status;
}

void
spool_commander_close(struct spool_commander **commander)
{
    if (*commander == NULL)
        return;
    database_disconnect(&(*commander)->call);
    free(*commander);
    *commander = NULL;
}

/* --- Giving a command. */

static const char insert_sql[] =
    "INSERT INTO postern.spool_commands (node, act, reason, detail, until, customer_id, backend, "
    "refs) VALUES ($1::integer, $2, $3, $4, to_timestamp(nullif($5::numeric, 0) / 1000), "
    "$6::bigint, $7::integer, $8::text[]) RETURNING id";

static PGresult *
insert(struct spool_commander *c, const struct order *o, const struct ref *refs, size_t count)
{
    char node[16], until[32], customer[16], backend[16], ref[REF_SIZE];
    struct buf list;
    const char *params[] = {
        node, order_kind(o->act)->word, o->reason, o->detail, until, customer, backend, NULL};
    PGresult *result;

    snprintf(node, sizeof node, "%u", c->node);
    snprintf(until, sizeof until, "%lld", (long long)o->until_ms);
    snprintf(customer, sizeof customer, "%u", o->customer_id);
    snprintf(backend, sizeof backend, "%u", o->backend);
    buf_init(&list, 0);
    for (size_t i = 0; i < count; i++)
        buf_printf(&list, "%c%s", i ? ',' : '{', ref_text(refs[i], ref));
    buf_add_text(&list, "}");
    params[7] = buf_text(&list);
    result = database_try(&c->call, insert_sql, ARRAY_SIZE(params), params);
    buf_fini(&list);
    return result;
}

/* ANSWERED: it is given, unless the connection was lost in the commit; the number is good either
 * way. */
static enum spool_command_end
give(struct spool_commander *c, const struct order *o, const struct ref *refs, size_t count,
     char id[32], struct buf *why)
{
    enum spool_command_end end = SPOOL_COMMAND_ANSWERED;
    PGresult *result;

    if (!run(c, "BEGIN")) {
        buf_add_text(why, "the connection to the database was lost");
        return SPOOL_COMMAND_NOT_TAKEN;
    }
    result = insert(c, o, refs, count);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        snprintf(id, 32, "%s", PQgetvalue(result, 0, 0));
    else
        end = judge_failure(&c->call, result, why) == COMMAND_FAILED ? SPOOL_COMMAND_REFUSED
                                                                     : SPOOL_COMMAND_NOT_TAKEN;
    PQclear(result);
    (void)run(c, end == SPOOL_COMMAND_ANSWERED ? "COMMIT" : "ROLLBACK");
    return end;
}

/* --- Waiting. */

enum seen {
    SEEN_WAITING,
    SEEN_TAKEN,
    SEEN_DONE,
    SEEN_WITHDRAWN,  /* by somebody else, before it was taken */
    SEEN_BROKEN_OFF, /* the same, behind that */
    SEEN_NOTHING,
    SEEN_LOST,
};

static enum seen
seen_of_word(const char *word)
{
    static const struct {
        const char *word;
        enum seen seen;
    } words[] = {
        {"waiting", SEEN_WAITING},     {"taken", SEEN_TAKEN},           {"done", SEEN_DONE},
        {"withdrawn", SEEN_WITHDRAWN}, {"broken off", SEEN_BROKEN_OFF},
    };

    for (size_t i = 0; word != NULL && i < ARRAY_SIZE(words); i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].seen;
    return SEEN_NOTHING;
}

/* One row: its state, and the answer.  SEEN_NOTHING: it was never committed, or is long gone. */
static enum seen
ask_state(struct spool_commander *c, const char *sql, const char *id, json_t **answer)
{
    PGresult *result = database_try(&c->call, sql, 1, &id);
    enum seen seen = SEEN_LOST;

    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        seen = PQntuples(result) > 0 ? seen_of_word(database_text(result, 0, 0)) : SEEN_NOTHING;
    if (seen == SEEN_DONE && PQnfields(result) > 1)
        *answer = json_loads(database_text(result, 0, 1) ?: "", 0, NULL);
    PQclear(result);
    return seen;
}

static enum seen
look(struct spool_commander *c, const char *id, json_t **answer)
{
    return ask_state(c,
                     "SELECT CASE WHEN state = 'withdrawn' AND taken_at IS NOT NULL "
                     "THEN 'broken off' ELSE state END, result::text "
                     "FROM postern.spool_commands WHERE id = $1::bigint",
                     id, answer);
}

static enum seen
withdraw(struct spool_commander *c, const char *id)
{
    return ask_state(c, "SELECT postern.spool_command_withdraw($1::bigint)", id, NULL);
}

/* Until something is notified, or for LOOK_MS. */
static void
wait_a_while(struct spool_commander *c)
{
    struct pollfd p = {.fd = PQsocket(c->call.pg), .events = POLLIN};
    PGnotify *notify;

    if (p.fd < 0 || poll(&p, 1, LOOK_MS) <= 0)
        return;
    (void)PQconsumeInput(c->call.pg);
    while ((notify = PQnotifies(c->call.pg)) != NULL)
        PQfreemem(notify);
}

static bool
comes_back(struct spool_commander *c)
{
    int64_t end_ms = clock_monotonic_ms() + AWAY_MS;
    struct buf why;
    bool is_back = false;

    buf_init(&why, 0);
    while (!(is_back = connect_it(c, &why) == COMMAND_DONE) && !interrupted &&
           clock_monotonic_ms() < end_ms)
        poll(NULL, 0, LOOK_MS);
    buf_fini(&why);
    return is_back;
}

static void
show_waiting(struct spool_commander *c, enum seen seen, int64_t waited_ms)
{
    if (waited_ms < SHOW_MS || c->call.printing.json || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rnode %u: its keeper %s (%lld s) ", c->node,
            seen == SEEN_TAKEN ? "is carrying it out" : "has not taken the order yet",
            (long long)waited_ms / 1000);
    c->has_shown = true;
}

/* Nobody will do it any more; was it begun? */
static enum spool_command_end
give_up(const struct spool_commander *c, enum seen was, struct buf *why)
{
    switch (was) {
    case SEEN_WAITING:
    case SEEN_WITHDRAWN:
        if (interrupted) {
            buf_add_text(why, "interrupted: the order is withdrawn, and nothing of it is done");
            return SPOOL_COMMAND_STOPPED;
        }
        buf_printf(
            why,
            "the keeper of node %u has not taken the order from PostgreSQL within %d s; it is "
            "withdrawn, and nothing of it is done",
            c->node, TAKE_MS / 1000);
        return SPOOL_COMMAND_NOT_TAKEN;
    case SEEN_NOTHING:
        buf_add_text(why, "the order did not get into PostgreSQL");
        return SPOOL_COMMAND_NOT_TAKEN;
    case SEEN_TAKEN:
    case SEEN_BROKEN_OFF:
    case SEEN_DONE:
    case SEEN_LOST:
        break;
    }
    buf_printf(why,
               was == SEEN_LOST
                   ? "the database has gone away while the order was on its way to node "
                     "%u, whose keeper may carry it out when it is back"
                   : "the keeper of node %u has taken the order and does not answer",
               c->node);
    return SPOOL_COMMAND_UNKNOWN;
}

static bool
is_late(enum seen seen, int64_t waited_ms)
{
    return waited_ms >= (seen == SEEN_TAKEN ? ANSWER_MS : TAKE_MS) ||
           (interrupted && seen != SEEN_TAKEN);
}

static enum spool_command_end
await(struct spool_commander *c, const char *id, json_t **answer, struct buf *why)
{
    int64_t began_ms = clock_monotonic_ms();

    for (;;) {
        int64_t waited_ms = clock_monotonic_ms() - began_ms;
        enum seen seen = look(c, id, answer);

        if (seen == SEEN_DONE && *answer != NULL)
            return SPOOL_COMMAND_ANSWERED;
        if (waited_ms >= ANSWER_MS + AWAY_MS)
            return give_up(c, SEEN_LOST, why);
        if (seen == SEEN_LOST && comes_back(c))
            continue;
        if (seen != SEEN_WAITING && seen != SEEN_TAKEN)
            return give_up(c, seen, why);
        if (is_late(seen, waited_ms)) {
            seen = withdraw(c, id);
            if (seen != SEEN_DONE && seen != SEEN_LOST)
                return give_up(c, seen, why);
            continue; /* its answer has just come, or the connection has gone */
        }
        show_waiting(c, seen, waited_ms);
        wait_a_while(c);
    }
}

enum spool_command_end
spool_commander_ask(struct spool_commander *c, const struct order *order, const struct ref *refs,
                    size_t count, json_t **answer, struct buf *why)
{
    struct sigaction mine = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND}, before;
    char id[32];
    enum spool_command_end end;

    CHECK(count <= ORDER_IDS_MAX);
    *answer = NULL;
    interrupted = 0;
    sigaction(SIGINT, &mine, &before);
    end = give(c, order, refs, count, id, why);
    if (end == SPOOL_COMMAND_ANSWERED)
        end = await(c, id, answer, why);
    sigaction(SIGINT, &before, NULL);
    if (c->has_shown)
        fputc('\n', stderr);
    c->has_shown = false;
    return end;
}
