/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The index of the spools in PostgreSQL, for who can not read a spool itself: another node's, or
 * one whose files are not his to read.  It is a copy, a moment old while that node's keeper
 * follows.
 */
#ifndef ADMIN_SPOOL_INDEX_H
#define ADMIN_SPOOL_INDEX_H

#include "admin/selection.h"
#include "admin/spool_reader.h"

/* Which spool is read: *store is opened (of this customer's messages alone, unless NULL), or it is
 * NULL, and the index has to do (never for who is read for).  Anything but COMMAND_DONE has been
 * explained. */
enum command_status spool_index_or_store(const struct call *call, const struct selection *selection,
                                         const char *customer, struct spool_store **store);

/* Whose messages are meant.  0: all nodes', since this machine has no spool at all, and none was
 * said. */
unsigned spool_index_node(const struct call *call, const struct selection *selection);

/* The messages that are meant, in order of arrival: `columns` of postern.spool_index, a row of
 * `result` a call.  Anything but COMMAND_DONE has been explained.  What the index does not know is
 * no selector here, and said so. */
enum command_status spool_index_each(struct call *call, const struct selection *selection,
                                     const char *columns,
                                     void (*each)(void *ctx, const PGresult *result, int row),
                                     void *ctx);
/* Counted by customer or domain, in no order. */
enum command_status
spool_index_count(struct call *call, const struct selection *selection, bool by_domain,
                  void (*each)(void *ctx, const char *key, const struct spool_totals *totals),
                  void *ctx);
/* On standard error: that it comes from the index, of which node, and how old that is.  False: no
 * keeper of it has ever been seen. */
bool spool_index_say(struct call *call, const struct selection *selection);

/* spool list and spool show, from the index. */
enum command_status spool_index_list(struct call *call, const struct selection *selection);
enum command_status spool_index_show(struct call *call, const struct selection *selection);

/* What a list of messages shows, from the spool as from the index. */
#define SPOOL_LIST_COLUMNS                                                                   \
    {"id", "ID", PRINTER_LEFT}, {"state", "STATE", PRINTER_LEFT},                            \
        {"customer", "CUSTOMER", PRINTER_LEFT}, {"from", "FROM", PRINTER_BELOW},             \
        {"recipients", "TO", PRINTER_BELOW}, {"open_recipients", "OPEN", PRINTER_RIGHT},     \
        {"size_bytes", "SIZE", PRINTER_RIGHT}, {"received_at", "RECEIVED", PRINTER_LEFT},    \
        {"attempts", "TRIES", PRINTER_RIGHT}, {"next_attempt_at", "NEXT TRY", PRINTER_LEFT}, \
        {"expires_at", "ENDS", PRINTER_BELOW},                                               \
    {                                                                                        \
        "last_reply", "LAST REPLY", PRINTER_PROSE | PRINTER_BELOW                            \
    }

#endif
