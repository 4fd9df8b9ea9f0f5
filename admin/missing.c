/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A mistyped name finds nothing, and so does a right one: only the registered names tell which it
 * was.
 */
#include "admin/missing.h"

#include <stdio.h>
#include <string.h>

#include "admin/database.h"
#include "admin/field.h"
#include "admin/routing.h"

static const struct kind {
    const char *word, *sql;
    const char *behind; /* of the name, in the command that makes it */
} kinds[] = {
    [MISSING_CUSTOMER] = {"customer", "SELECT name FROM postern.customers", ""},
    [MISSING_DOMAIN] = {"domain", "SELECT name FROM postern.domains", " --customer NAME"},
};

struct names {
    const char *wanted;
    bool is_there;
    struct command_guess guess;
    char near[FIELD_DOMAIN_SIZE], kin[FIELD_DOMAIN_SIZE]; /* "": none */
};

/* "mueller" of "stadtwerke-mueller", and "a.b.example" of ".b.example". */
static bool
is_kin(const char *wanted, const char *name)
{
    size_t n = strlen(wanted), m = strlen(name);

    return strstr(name, wanted) || (name[0] == '.' && n > m && strcmp(wanted + n - m, name) == 0);
}

static void
offer(struct names *names, const char *name)
{
    if (strcmp(name, names->wanted) == 0)
        names->is_there = true;
    command_guess_offer(&names->guess, names->wanted, name);
    if (names->guess.best == name) {
        snprintf(names->near, sizeof names->near, "%s", name);
        names->guess.best = names->near;
    }
    if (names->kin[0] == '\0' && is_kin(names->wanted, name))
        snprintf(names->kin, sizeof names->kin, "%s", name);
}

static void
offer_rows(struct names *names, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++)
        offer(names, PQgetvalue(result, i, 0));
}

static void
complain(const struct kind *kind, const struct names *names)
{
    const char *best = names->near[0] ? names->near : names->kin;

    if (best[0])
        call_complain("there is no %s \"%s\"; did you mean %s?", kind->word, names->wanted, best);
    else
        call_complain("there is no %s \"%s\"; `relayctl %s list` shows all, `relayctl %s add %s%s` "
                      "makes it",
                      kind->word, names->wanted, kind->word, kind->word, names->wanted,
                      kind->behind);
}

enum command_status
missing_complain(struct call *call, enum missing_kind kind, const char *name)
{
    struct names names = {.wanted = name};
    PGresult *result;
    enum command_status status = database_query(call, kinds[kind].sql, 0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    offer_rows(&names, result);
    PQclear(result);
    complain(&kinds[kind], &names);
    return COMMAND_NOTHING;
}

/* --- After a search. */

static void
on_customer(void *ctx, const struct registry_customer *customer)
{
    offer(ctx, customer->name);
}

static bool
offer_replica(const struct call *call, struct names *names)
{
    struct registry *registry = routing_open(call);
    bool ok = registry &&
              registry_each_customer(registry, REGISTRY_LASTING, on_customer, names) == ERR_OK;

    registry_close(&registry);
    return ok;
}

void
missing_say_customer(const struct call *call, const char *name)
{
    struct names names = {.wanted = name};
    PGresult *result;
    bool ok;

    if (name == NULL || name[0] == '\0')
        return;
    result = PQexec(call->pg, kinds[MISSING_CUSTOMER].sql);
    ok = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (ok)
        offer_rows(&names, result);
    PQclear(result);
    if ((ok || offer_replica(call, &names)) && !names.is_there)
        complain(&kinds[MISSING_CUSTOMER], &names);
}
