/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one place that knows what an older, newer, missing or unreadable schema means and what helps.
 * Nothing is tried with a schema that does not fit: the caller stays with what it has.
 */
#include "db/db_schema.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "db/db.h"

enum db_schema
db_schema_compare(int found, char sentence[DB_SCHEMA_SENTENCE_SIZE])
{
    sentence[0] = '\0';
    if (found <= 0) {
        snprintf(
            sentence, DB_SCHEMA_SENTENCE_SIZE,
            "the database has no Postern schema: check that the setting \"database\" names the "
            "right one, or create the schema with `relayctl db init`");
        return DB_SCHEMA_MISSING;
    }
    if (found < DB_SCHEMA_VERSION) {
        snprintf(sentence, DB_SCHEMA_SENTENCE_SIZE,
                 "the database has schema %d and this program needs schema %d: run `relayctl db "
                 "migrate`",
                 found, DB_SCHEMA_VERSION);
        return DB_SCHEMA_OLDER;
    }
    if (found > DB_SCHEMA_VERSION) {
        snprintf(
            sentence, DB_SCHEMA_SENTENCE_SIZE,
            "the database has schema %d, which is newer than this program's schema %d: install "
            "the Postern release that the database was migrated with",
            found, DB_SCHEMA_VERSION);
        return DB_SCHEMA_NEWER;
    }
    return DB_SCHEMA_FITS;
}

static enum db_schema
check_failure(const PGresult *result, char sentence[DB_SCHEMA_SENTENCE_SIZE])
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state && (strcmp(state, "42P01") == 0 || strcmp(state, "3F000") == 0 ||
                  strcmp(state, "42703") == 0)) /* undefined table, schema, column */
        return db_schema_compare(0, sentence);
    snprintf(sentence, DB_SCHEMA_SENTENCE_SIZE, "the schema's version cannot be read: %s",
             message ? message : "no answer");
    if (state == NULL || strcmp(state, "42501") != 0) /* insufficient privilege */
        return DB_SCHEMA_UNKNOWN;
    snprintf(sentence, DB_SCHEMA_SENTENCE_SIZE,
             "the database user may not read the schema (%s): let its owner grant the user "
             "postern_relay, postern_spool, postern_operator, postern_support or postern_auditor",
             message);
    return DB_SCHEMA_DENIED;
}

enum db_schema
db_schema_check(const PGresult *result, char sentence[DB_SCHEMA_SENTENCE_SIZE])
{
    uint64_t found;

    if (result == NULL) {
        snprintf(sentence, DB_SCHEMA_SENTENCE_SIZE,
                 "the connection to the database was lost while the schema's version was read");
        return DB_SCHEMA_UNKNOWN;
    }
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        return check_failure(result, sentence);
    if (PQntuples(result) != 1 || PQnfields(result) != 3 ||
        parse_u64(slice_of(PQgetvalue(result, 0, 2)), &found) < 0 || found > 1000000)
        return db_schema_compare(0, sentence);
    return db_schema_compare((int)found, sentence);
}
