/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libpq on the event loop: one connection that is always being made again, queries in order,
 * notifications.  Never blocks: PQconnectStart, own connect deadline, PQsocket() read again after
 * every poll (FACTS 4).  Names of hosts are not looked up here; use addresses or socket folders.
 * Used by control and keeper; relayctl, which may block, uses libpq directly.
 */
#ifndef DB_H
#define DB_H

#include <libpq-fe.h>

#include "base/slice.h"
#include "net/loop.h"

struct db;

#define DB_CONNECT_TIMEOUT_MS 5000
#define DB_QUERY_TIMEOUT_MS 60000 /* no answer for so long: the connection counts as lost */
#define DB_RETRY_MIN_MS 200
#define DB_RETRY_MAX_MS 5000

/* The schema that this program was written for: the number of the newest migration in sql/. */
#define DB_SCHEMA_VERSION 21

struct db_ops {
    void (*on_up)(void *ctx); /* connected; LISTEN and load from here */
    /* Lost or refused; queries have been answered with NULL.  Attempts go on; a further failure is
     * reported only if its reason is another one.  `why` is one line, borrowed for the call. */
    void (*on_down)(void *ctx, const char *why);
    void (*on_notify)(void *ctx, const char *channel, const char *payload);
};

/* No callback runs from inside a call of these functions.  If a host does not answer in time, the
 * next attempt begins with the next host of the list. */
struct db *db_open(struct loop *loop, const char *conninfo, const struct db_ops *ops, void *ctx);
void db_close(struct db **db); /* no callback any more; also from inside one */
bool db_is_up(const struct db *db);

/* One query in flight at a time, others wait in order. `result` is borrowed for the call; NULL: the
 * connection was lost or is not up, and nothing is known about the effect.  A failed statement has
 * a result too: look at PQresultStatus.  One statement a query (no COPY); texts only; params are
 * copied. */
typedef void (*db_on_result)(void *ctx, const PGresult *result);
void db_query(struct db *db, const char *sql, int param_count, const char *const *params,
              db_on_result on_result, void *ctx);

#endif
