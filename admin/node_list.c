/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl node list: every node that has left something in PostgreSQL.  A node says nothing of
 * itself but what its work says: its keeper that it is there, its relay how far its events have
 * come, both what waits.
 */
#include "admin/commands.h"
#include "admin/database.h"

/* Of spoolmgr's word, which comes every five seconds. */
#define SILENT_AFTER "interval '1 minute'"

static const char list_sql[] =
    "SELECT node, CASE WHEN EXISTS (SELECT FROM postern.spool_logs l WHERE l.node = all_nodes.node "
    "AND l.refused_at IS NOT NULL AND l.accepted_at IS NULL) THEN 'refused' "
    "WHEN seen_at IS NULL THEN 'unknown' WHEN seen_at < now() - " SILENT_AFTER " THEN 'silent' "
    "ELSE 'running' END, " DATABASE_MS("seen_at") ", follows, " DATABASE_MS(
        "copied_at") ", "
                     "waiting, size_bytes, " DATABASE_MS(
                         "oldest_at") " "
                                      "FROM (postern.spool_nodes n "
                                      "FULL JOIN (SELECT node, max(copied_at) AS copied_at FROM "
                                      "postern.events_copied "
                                      "GROUP BY node) e USING (node) "
                                      "FULL JOIN (SELECT node, count(*) AS waiting, "
                                      "sum(size_bytes) AS size_bytes, "
                                      "min(received_at) AS oldest_at FROM postern.spool_index "
                                      "GROUP BY node) w USING (node)) AS all_nodes "
                                      "ORDER BY node";

static void
print_row(struct printer *p, const PGresult *result, int row)
{
    printer_number(p, database_number(result, row, 0));
    printer_word(p, database_text(result, row, 1));
    printer_since(p, database_number(result, row, 2));
    if (PQgetisnull(result, row, 3))
        printer_none(p, "-");
    else
        printer_bool(p, database_bool(result, row, 3));
    printer_since(p, database_number(result, row, 4));
    printer_number(p, database_number(result, row, 5));
    printer_size(p, (uint64_t)database_number(result, row, 6));
    printer_since(p, database_number(result, row, 7));
}

enum command_status
node_list(struct call *call)
{
    static const struct printer_column columns[] = {
        {"node", "NODE", PRINTER_RIGHT},
        {"state", "STATE", PRINTER_LEFT},
        {"keeper_seen_at", "KEEPER SEEN", PRINTER_LEFT},
        {"index_is_whole", "INDEXED", PRINTER_LEFT},
        {"events_copied_at", "EVENTS", PRINTER_LEFT},
        {"messages", "WAITING", PRINTER_RIGHT},
        {"size_bytes", "SIZE", PRINTER_RIGHT},
        {"oldest_received_at", "OLDEST", PRINTER_LEFT},
    };
    PGresult *result;
    struct printer *p;
    enum command_status status = database_query(call, list_sql, 0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (int i = 0; i < PQntuples(result); i++)
        print_row(p, result, i);
    if (PQntuples(result) == 0)
        call_complain("no node has been heard of yet: relayd and spoolmgr leave word in this "
                      "database while they run");
    printer_finish(&p);
    PQclear(result);
    return COMMAND_DONE;
}
