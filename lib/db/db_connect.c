/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The beginning of a connection: the operator's words, and ours where these say nothing.
 */
#include "db/db_connect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* "a,b,c" rotated by n: "b,c,a" for 1. */
static char *
rotate(const char *list, unsigned n)
{
    size_t size = strlen(list) + 1, cut = 0;
    unsigned count = 1;
    char *out = mem_alloc(size);

    for (const char *c = list; *c; c++)
        count += *c == ',';
    for (n %= count; n > 0; n--)
        cut += strcspn(list + cut, ",") + 1;
    if (cut == 0)
        memcpy(out, list, size);
    else
        snprintf(out, size, "%s,%.*s", list + cut, (int)cut - 1, list);
    return out;
}

/* Defaults of ours, the operator's string over them, and over that the rotated hosts. */
PGconn *
db_connect_start(const char *conninfo, unsigned first_host, char **problem)
{
    static const char *const rotated[] = {"host", "hostaddr", "port"};
    const char *keywords[16] = {"keepalives_idle",  "keepalives_interval",       "keepalives_count",
                                "tcp_user_timeout", "fallback_application_name", "dbname"};
    const char *values[16] = {"10", "5", "3", "15000", "postern", conninfo};
    PQconninfoOption *options = PQconninfoParse(conninfo, problem);
    char *lists[ARRAY_SIZE(rotated)] = {NULL};
    unsigned n = 6;
    PGconn *pg;

    if (options == NULL)
        return NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(rotated); i++)
        for (PQconninfoOption *o = options; o->keyword; o++)
            if (o->val && strcmp(o->keyword, rotated[i]) == 0) {
                lists[i] = rotate(o->val, first_host);
                keywords[n] = rotated[i];
                values[n++] = lists[i];
            }
    pg = PQconnectStartParams(keywords, values, 1);
    PQconninfoFree(options);
    for (unsigned i = 0; i < ARRAY_SIZE(rotated); i++)
        free(lists[i]);
    return pg;
}
