/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a connection is begun, for db.c alone: libpq tries the hosts of its list in their order, and
 * waits for each; so an attempt behind one that did not answer begins with the next host.
 */
#ifndef DB_CONNECT_H
#define DB_CONNECT_H

#include <libpq-fe.h>

/* Begins to connect, with the host of that number (any) first.  NULL: `conninfo` is none, and
 * *problem says why (PQfreemem). */
PGconn *db_connect_start(const char *conninfo, unsigned first_host, char **problem);

#endif
