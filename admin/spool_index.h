/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The index of the spools in PostgreSQL, for who can not read a spool itself: another node's, or
 * one whose files are not his to read.  It is a copy, a moment old while that node's keeper
 * follows.
 */
#ifndef ADMIN_SPOOL_INDEX_H
#define ADMIN_SPOOL_INDEX_H

#include "admin/selection.h"

/* The messages that are meant, of this node (0: of all), in order of arrival: `columns` of
 * postern.spool_index.  Anything but COMMAND_DONE has been explained; PQclear the result.  What the
 * index does not know is no selector here, and said so. */
enum command_status spool_index_query(struct call *call, const struct selection *selection,
                                      unsigned node, const char *columns, PGresult **result);

#endif
