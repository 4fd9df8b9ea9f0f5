/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Does the database's schema fit this program?  One query, one comparison, and one sentence that
 * says what to do; used by control, keeper and relayctl alike.
 */
#ifndef DB_SCHEMA_H
#define DB_SCHEMA_H

#include <libpq-fe.h>

#include "base/err.h"

enum db_schema {
    DB_SCHEMA_FITS,
    DB_SCHEMA_MISSING, /* an empty database, or not Postern's */
    DB_SCHEMA_OLDER,
    DB_SCHEMA_NEWER,
    DB_SCHEMA_DENIED,  /* the database user may not read it */
    DB_SCHEMA_UNKNOWN, /* the query failed for another reason */
};

/* One row: database_id, version, schema_version. */
#define DB_SCHEMA_QUERY "SELECT database_id, version, schema_version FROM postern.replica_state"

#define DB_SCHEMA_SENTENCE_SIZE 512

/* Judges the result of DB_SCHEMA_QUERY (NULL: the connection was lost).  `sentence` is empty if the
 * schema fits, else one sentence for a person with the remedy in it. */
enum db_schema db_schema_check(const PGresult *result, char sentence[DB_SCHEMA_SENTENCE_SIZE]);

/* The same for a version that is known already; 0: missing. */
enum db_schema db_schema_compare(int found, char sentence[DB_SCHEMA_SENTENCE_SIZE]);

#endif
