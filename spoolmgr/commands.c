/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Operators' orders that come through PostgreSQL (sql/0010-spool-commands.sql).  A notification
 * says that there are some, and a look every LOOK_MS is the safety net.  They are taken, carried
 * out as those of the control socket are (orders.c), and answered when all of it is durable; the
 * answer and its row in the audit are one transaction.
 *
 *   waiting in PostgreSQL --take--> HERE --carried out--> answered, again and again until it is
 * heard
 *
 * An answer outlives the connection; a command outlives the keeper: it stays taken, and the next
 * keeper takes it again.  The connection is the mirror's.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crash_point.h"
#include "base/log.h"
#include "base/parse.h"
#include "db/db.h"
#include "order/order_json.h"
#include "spoolmgr/keeper.h"

#define LOOK_MS 5000
#define COMMANDS_MAX 16 /* here at once; the others wait in PostgreSQL */

struct command {
    struct command *next;
    struct commands *commands;
    char id[24];
    char *answer; /* NULL: it is being carried out */
    bool is_sent;
};

struct commands {
    struct keeper *keeper;
    struct db *db; /* NULL: it is away, or its schema does not fit */
    struct command *first;
    size_t count;
    bool is_looking, look_again, has_complained;
    struct loop_timer timer;
    char node[16];
};

static void look(struct commands *c);

static void
complain(struct commands *c, const char *what, const PGresult *result)
{
    const char *why = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (!c->has_complained)
        log_line(LOG_LEVEL_WARN, NULL, "commands-failed",
                 "what=%s why=\"%s\" effect=\"operators' orders do not come through PostgreSQL; "
                 "the control socket takes them\"",
                 what, why ? why : "?");
    c->has_complained = true;
}

/* --- Answers. */

static void
drop(struct command *command)
{
    struct commands *c = command->commands;
    struct command **at = &c->first;

    while (*at != command)
        at = &(*at)->next;
    *at = command->next;
    c->count--;
    free(command->answer);
    free(command);
}

static void
on_answered(void *ctx, const PGresult *result)
{
    struct command *command = ctx;
    struct commands *c = command->commands;
    bool was_full = c->count == COMMANDS_MAX;

    command->is_sent = false;
    if (result == NULL)
        return; /* said again when the database is back */
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        complain(c, "answer", result);
    drop(command);
    if (was_full)
        look(c);
}

static void
send_answer(struct command *command)
{
    struct commands *c = command->commands;
    const char *params[] = {c->node, command->id, command->answer};

    if (c->db == NULL || command->answer == NULL || command->is_sent)
        return;
    command->is_sent = true;
    db_query(c->db, "SELECT postern.spool_command_answer($1::integer, $2::bigint, $3::jsonb)",
             ARRAY_SIZE(params), params, on_answered, command);
}

static void
on_answer(void *ctx, const json_t *answer)
{
    struct command *command = ctx;

    CRASH_POINT("keeper-command-carried-out");
    command->answer = json_dumps(answer, JSON_COMPACT);
    CHECK(command->answer != NULL);
    send_answer(command);
}

/* --- Taking them. */

static void
begin(struct commands *c, const char *id, bool again, const char *who, const char *text)
{
    struct command *command = mem_alloc(sizeof *command);
    struct orders_asker asker = {
        .on_answer = on_answer, .ctx = command, .again = again, .audits = true};
    json_t *json = json_loads(text, 0, NULL);

    *command = (struct command){.next = c->first, .commands = c};
    snprintf(command->id, sizeof command->id, "%s", id);
    snprintf(asker.who, sizeof asker.who, "%s", who);
    c->first = command;
    c->count++;
    orders_take(c->keeper, &asker, json);
    json_decref(json);
}

static void
on_taken(void *ctx, const PGresult *result)
{
    struct commands *c = ctx;

    c->is_looking = false;
    if (result == NULL || c->keeper->is_stopping)
        return; /* those that we have not heard of are taken again */
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        complain(c, "take", result);
        return;
    }
    c->has_complained = false;
    for (int i = 0; i < PQntuples(result); i++)
        begin(c, PQgetvalue(result, i, 0), PQgetvalue(result, i, 1)[0] == 't',
              PQgetvalue(result, i, 2), PQgetvalue(result, i, 3));
    if (c->look_again)
        look(c);
}

static void
look(struct commands *c)
{
    char most[16];
    struct buf known;
    const char *params[] = {c->node, NULL, most, NULL};

    c->look_again = c->is_looking;
    if (c->db == NULL || c->is_looking || c->keeper->is_stopping || c->count >= COMMANDS_MAX)
        return;
    c->is_looking = true;
    buf_init(&known, 0);
    buf_add_text(&known, "{");
    for (const struct command *command = c->first; command != NULL; command = command->next)
        buf_printf(&known, "%s%s", command == c->first ? "" : ",", command->id);
    buf_add_text(&known, "}");
    params[1] = buf_text(&known);
    params[3] = mirror_follows(c->keeper->mirror) ? "t" : "f";
    snprintf(most, sizeof most, "%zu", COMMANDS_MAX - c->count);
    db_query(
        c->db,
        "SELECT id, was_taken, who, command "
        "FROM postern.spool_commands_take($1::integer, $2::bigint[], $3::integer, $4::boolean)",
        ARRAY_SIZE(params), params, on_taken, c);
    buf_fini(&known);
}

void
commands_poke(struct commands *c)
{
    look(c);
}

static void
on_timer(void *ctx)
{
    struct commands *c = ctx;

    loop_timer_start(&c->timer, LOOK_MS);
    look(c);
}

/* --- The connection. */

static void
on_listening(void *ctx, const PGresult *result)
{
    struct commands *c = ctx;

    if (result != NULL && PQresultStatus(result) != PGRES_COMMAND_OK)
        complain(c, "listen", result);
}

void
commands_up(struct commands *c, struct db *db)
{
    char sql[64];

    if (c->db != NULL)
        return; /* the mirror has looked once more, on the same connection */
    c->db = db;
    snprintf(sql, sizeof sql, "LISTEN postern_commands_%s", c->node);
    db_query(db, sql, 0, NULL, on_listening, c);
    for (struct command *command = c->first; command != NULL; command = command->next)
        send_answer(command);
    look(c);
}

void
commands_down(struct commands *c)
{
    c->db = NULL;
}

bool
commands_is_idle(const struct commands *c)
{
    return c->db == NULL || c->first == NULL;
}

/* --- Life. */

struct commands *
commands_new(struct keeper *k)
{
    struct commands *c = mem_alloc(sizeof *c);

    c->keeper = k;
    snprintf(c->node, sizeof c->node, "%u", k->config->node);
    loop_timer_init(&c->timer, k->loop, on_timer, c);
    if (k->config->database[0] != '\0')
        loop_timer_start(&c->timer, LOOK_MS);
    return c;
}

void
commands_free(struct commands **commands)
{
    struct commands *c = *commands;

    loop_timer_cancel(&c->timer);
    while (c->first != NULL)
        drop(c->first);
    free(c);
    *commands = NULL;
}
