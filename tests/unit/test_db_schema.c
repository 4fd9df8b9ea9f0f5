/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every schema that does not fit gets one sentence, and the sentence holds the remedy.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "db/db.h"
#include "db/db_schema.h"

static const struct {
    const char *name;
    int found;
    enum db_schema want;
    const char *remedy; /* in the sentence; NULL: no sentence */
} cases[] = {
    {"fits", DB_SCHEMA_VERSION, DB_SCHEMA_FITS, NULL},
    {"none", 0, DB_SCHEMA_MISSING, "relayctl db init"},
    {"nonsense", -3, DB_SCHEMA_MISSING, "relayctl db init"},
    {"older", DB_SCHEMA_VERSION - 1, DB_SCHEMA_OLDER, "relayctl db migrate"},
    {"newer", DB_SCHEMA_VERSION + 1, DB_SCHEMA_NEWER, "install"},
};

Test(db_schema, every_misfit_says_what_helps)
{
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char sentence[DB_SCHEMA_SENTENCE_SIZE];

        cr_expect_eq(db_schema_compare(cases[i].found, sentence), cases[i].want, "%s",
                     cases[i].name);
        if (cases[i].remedy)
            cr_expect(strstr(sentence, cases[i].remedy) != NULL, "%s: %s", cases[i].name, sentence);
        else
            cr_expect_str_empty(sentence, "%s", cases[i].name);
    }
}

Test(db_schema, reads_a_result)
{
    static PGresAttDesc columns[] = {{.name = (char *)"database_id"},
                                     {.name = (char *)"version"},
                                     {.name = (char *)"schema_version"}};
    char sentence[DB_SCHEMA_SENTENCE_SIZE], version[16];
    PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);

    cr_assert(PQsetResultAttrs(result, 3, columns));
    cr_expect_eq(db_schema_check(result, sentence), DB_SCHEMA_MISSING, "no row");
    snprintf(version, sizeof version, "%d", DB_SCHEMA_VERSION);
    cr_assert(PQsetvalue(result, 0, 0, (char *)"abc", 3));
    cr_assert(PQsetvalue(result, 0, 1, (char *)"17", 2));
    cr_assert(PQsetvalue(result, 0, 2, version, (int)strlen(version)));
    cr_expect_eq(db_schema_check(result, sentence), DB_SCHEMA_FITS);
    cr_assert(PQsetvalue(result, 0, 2, (char *)"x", 1));
    cr_expect_eq(db_schema_check(result, sentence), DB_SCHEMA_MISSING, "no number");
    PQclear(result);
    cr_expect_eq(db_schema_check(NULL, sentence), DB_SCHEMA_UNKNOWN, "lost");
    cr_expect(strstr(sentence, "lost") != NULL);
}
