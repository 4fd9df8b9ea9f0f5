/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 128 random bits: nobody guesses them before the customer has published them.
 */
#include "admin/ownership.h"

#include <stdio.h>
#include <sys/random.h>

bool
ownership_is_given(const struct call *call)
{
    return call_value(call, "verify-ownership") || call_value(call, "no-verify-ownership");
}

enum command_status
ownership_check_options(const struct call *call)
{
    if (call_value(call, "verify-ownership") && call_value(call, "no-verify-ownership"))
        return call_usage("--verify-ownership and --no-verify-ownership exclude each other");
    return COMMAND_DONE;
}

static void
make_token(char token[OWNERSHIP_TOKEN_SIZE])
{
    unsigned char random[16];

    CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(token + 2 * i, 3, "%02x", random[i]);
}

enum command_status
ownership_set(struct call *call, const char *domain, bool *found, char token[OWNERSHIP_TOKEN_SIZE])
{
    bool is_wanted = call_value(call, "verify-ownership") != NULL;
    const char *params[] = {domain, is_wanted ? token : NULL};
    PGresult *result;
    enum command_status status;

    token[0] = '\0';
    if (!ownership_is_given(call))
        return COMMAND_DONE;
    if (is_wanted)
        make_token(token);
    status = database_query(call,
                            "UPDATE postern.domains SET ownership_token = CASE WHEN $2::text IS "
                            "NOT NULL THEN coalesce(ownership_token, $2) END WHERE name = $1 "
                            "RETURNING ownership_token",
                            2, params, &result);
    if (status != COMMAND_DONE)
        return status;
    *found = PQntuples(result) > 0;
    snprintf(token, OWNERSHIP_TOKEN_SIZE, "%s", *found ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return COMMAND_DONE;
}
