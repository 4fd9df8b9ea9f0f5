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

#define DOMAIN_EDIT 8 /* characters for one more mistake */

static const struct kind {
    const char *word, *sql;
    const char *behind; /* of the name, in the command that makes it */
} kinds[] = {
    [MISSING_CUSTOMER] = {"customer", "SELECT name FROM postern.customers", ""},
    [MISSING_DOMAIN] = {"domain", "SELECT name FROM postern.domains", " --customer NAME"},
};

struct names {
    enum missing_kind kind;
    const char *wanted;
    bool is_there;
    struct command_guess guess;
    char near[FIELD_DOMAIN_SIZE], kin[FIELD_DOMAIN_SIZE]; /* "": none */
};

static bool
ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

/* "mueller" of "stadtwerke-mueller", and "a.b.example" of ".b.example". */
static bool
is_kin(const char *wanted, const char *name)
{
    return strstr(name, wanted) || (name[0] == '.' && ends_in(wanted, name));
}

/* A domain may be meant by the subdomains that are taken (".b.example"), or itself be one. */
static bool
is_meant(const struct names *names, const char *name)
{
    const char *wanted = names->wanted;

    if (strcmp(name, wanted) == 0)
        return true;
    return names->kind == MISSING_DOMAIN &&
           ((name[0] == '.' && ends_in(wanted, name)) ||
            (wanted[0] == '.' && (strcmp(wanted + 1, name) == 0 || ends_in(name, wanted))));
}

/* Most of a domain is what many end in: only few edits make it another one by mistake. */
static bool
is_too_far(const struct names *names)
{
    return names->kind == MISSING_DOMAIN &&
           names->guess.distance > 1 + strlen(names->wanted) / DOMAIN_EDIT;
}

static void
offer(struct names *names, const char *name)
{
    struct command_guess before = names->guess;

    if (is_meant(names, name))
        names->is_there = true;
    command_guess_offer(&names->guess, names->wanted, name);
    if (names->guess.best == name && is_too_far(names))
        names->guess = before;
    else if (names->guess.best == name) {
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
complain(const struct names *names)
{
    const struct kind *kind = &kinds[names->kind];
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
    struct names names = {.kind = kind, .wanted = name};
    PGresult *result;
    enum command_status status = database_query(call, kinds[kind].sql, 0, NULL, &result);

    if (status != COMMAND_DONE)
        return status;
    offer_rows(&names, result);
    PQclear(result);
    complain(&names);
    return COMMAND_NOTHING;
}

/* --- After a search. */

static void
on_customer(void *ctx, const struct registry_customer *customer)
{
    offer(ctx, customer->name);
}

static void
on_domain(void *ctx, const struct registry_domain *domain)
{
    if (!domain->removed && domain->missing_since_ms == 0)
        offer(ctx, domain->name);
}

static bool
offer_replica(const struct call *call, struct names *names)
{
    struct registry *registry = routing_open(call);
    int rc = ERR_NOT_FOUND;

    if (registry)
        rc = names->kind == MISSING_DOMAIN
                 ? registry_each_domain(registry, on_domain, names)
                 : registry_each_customer(registry, REGISTRY_LASTING, on_customer, names);
    registry_close(&registry);
    return rc == ERR_OK;
}

void
missing_say(const struct call *call, enum missing_kind kind, const char *name)
{
    struct names names = {.kind = kind, .wanted = name};
    PGresult *result;
    bool ok;

    if (name == NULL || name[0] == '\0')
        return;
    result = PQexec(call->pg, kinds[kind].sql);
    ok = PQresultStatus(result) == PGRES_TUPLES_OK;
    if (ok)
        offer_rows(&names, result);
    PQclear(result);
    if ((ok || offer_replica(call, &names)) && !names.is_there)
        complain(&names);
}
