/* SPDX-License-Identifier: BSD-2-Clause
 *
 * PostgreSQL as relayctl uses it: one blocking connection, parameters always apart from the SQL,
 * and every failure turned into one sentence and the exit status that fits it (75: away or busy,
 * try later).
 */
#ifndef ADMIN_DATABASE_H
#define ADMIN_DATABASE_H

#include "admin/call.h"

#define DATABASE_CONNECT_TIMEOUT_S "5"
#define DATABASE_FIRST_ANSWER_MS 5000
#define DATABASE_PARAMS_MAX 24

/* Connects call->pg. Anything but COMMAND_DONE has been explained. */
enum command_status database_connect(struct call *call);
/* As database_connect, but the sentence goes into `why` instead of standard error. */
enum command_status database_try_connect(struct call *call, struct buf *why);
/* COMMAND_DONE if the schema fits. */
enum command_status database_check_schema(struct call *call);
void database_disconnect(struct call *call);

/* One statement with text parameters. On failure *result is NULL, the reason has been printed and
 * the status says what to exit with. PQclear the result. */
enum command_status database_query(struct call *call, const char *sql, int param_count,
                                   const char *const *params, PGresult **result);
/* The same of a statement whose rows nobody wants. */
enum command_status database_run(struct call *call, const char *sql, int param_count,
                                 const char *const *params);
/* As database_query, but the caller explains failures: *result is never NULL. */
PGresult *database_try(struct call *call, const char *sql, int param_count,
                       const char *const *params);
/* What a failed result says, in one line that is never empty.  NULL: there is none. */
void database_say_why(const struct call *call, const PGresult *result, struct buf *why);
/* Explains a failed result; the status to exit with. */
enum command_status database_explain(struct call *call, const PGresult *result);
/* Which role may run the command: for a sentence. */
const char *database_role_wanted(const struct call *call);
bool database_failed_with(const PGresult *result, const char *sqlstate);

/* A registry change: BEGIN, lock and bump, the reason for the audit. Ends with database_end: COMMIT
 * if `status` is COMMAND_DONE and this is no dry run, else ROLLBACK; returns the final status. */
enum command_status database_begin_change(struct call *call);
/* The same for what a function of the database does, which locks and bumps by itself: who may call
 * it need not be an operator. */
enum command_status database_begin_function(struct call *call);
enum command_status database_end(struct call *call, enum command_status status);

/* Cells of results. */
int64_t database_number(const PGresult *result, int row, int column);   /* NULL: 0 */
const char *database_text(const PGresult *result, int row, int column); /* NULL for NULL */
bool database_bool(const PGresult *result, int row, int column);
/* Of a column selected with DATABASE_MS(expression). */
#define DATABASE_MS(expression) "(extract(epoch FROM " expression ") * 1000)::bigint"

#endif
