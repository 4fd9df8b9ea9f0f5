/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The outage is a hold, as operators order it: each node obeys it, the audit has it, and what else
 * comes for the customer meanwhile waits and goes out.  No signal of a terminal or of who ends
 * programs ends or stops relayctl between hold and release.  The end of the message is read where
 * everybody reads it, in its event.
 */
#include "admin/scan_outage.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/database.h"
#include "admin/missing.h"
#include "admin/routing.h"
#include "base/clock.h"

#define OBEYED_MS 20000 /* control writes a replica at most once a second */
#define SETTLE_MS 1500  /* and a worker takes it within one more */
#define FOLLOW_MS 120000
#define LOOK_US 200000

/* The domain itself, or the nearest ".parent" that takes it; its own servers, or its customer's. */
#define HOLD                                                                                       \
    "WITH d AS (SELECT name, customer_id FROM postern.domains WHERE name = lower($1) OR "          \
    "(name LIKE '.%' AND right(lower($1), length(name)) = name) ORDER BY length(name) DESC LIMIT " \
    "1), "                                                                                         \
    "h AS (UPDATE postern.backends b SET held = true, held_reason = $2 FROM d "                    \
    "WHERE b.customer_id = d.customer_id AND NOT b.held AND b.domain IS NOT DISTINCT FROM "        \
    "(SELECT min(o.domain) FROM postern.backends o WHERE o.domain = d.name) "                      \
    "RETURNING b.customer_id || '/' || b.number AS name) "                                         \
    "SELECT (SELECT count(*) FROM d), (SELECT count(*) FROM h), "                                  \
    "(SELECT array_agg(name) FROM h), (SELECT version FROM postern.replica_state)"

#define RELEASE                                                     \
    "UPDATE postern.backends SET held = false, held_reason = NULL " \
    "WHERE customer_id || '/' || number = ANY ($1::text[]) AND held AND held_reason = $2"

static void
block_signals(int how)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(&set, signals[i]);
    sigprocmask(how, &set, NULL);
}

static bool
is_obeyed(const struct call *call, uint64_t version)
{
    struct registry *registry = routing_open(call);
    bool is = registry && registry_get_version(registry)->version >= version;

    registry_close(&registry);
    return is;
}

static enum command_status
wait_until_obeyed(const struct call *call, uint64_t version)
{
    int64_t end_ms = clock_monotonic_ms() + OBEYED_MS;

    while (!is_obeyed(call, version)) {
        if (clock_monotonic_ms() > end_ms) {
            call_complain("this node's copy of the registry does not have the hold after %d "
                          "seconds: see `relayctl status`",
                          OBEYED_MS / 1000);
            return COMMAND_FAILED;
        }
        usleep(LOOK_US);
    }
    usleep(SETTLE_MS * 1000);
    return COMMAND_DONE;
}

static enum command_status
hold(struct call *call, struct scan_outage *o, uint64_t *version)
{
    const char *params[] = {o->domain, call_value(call, "reason")};
    enum command_status status = database_begin_change(call);
    PGresult *r = NULL;

    if (status != COMMAND_DONE)
        return status;
    status = database_query(call, HOLD, 2, params, &r);
    if (status == COMMAND_DONE && database_number(r, 0, 0) == 0)
        status = missing_complain(call, MISSING_DOMAIN, o->domain);
    else if (status == COMMAND_DONE && database_number(r, 0, 1) == 0) {
        call_complain("no server that %s goes to could be held: there is none, or all are held",
                      o->domain);
        status = COMMAND_FAILED;
    }
    if (status == COMMAND_DONE) {
        o->held = mem_strdup(database_text(r, 0, 2));
        *version = (uint64_t)database_number(r, 0, 3);
    }
    PQclear(r);
    return database_end(call, status);
}

enum command_status
scan_outage_begin(struct call *call, const char *rcpt, struct scan_outage *o)
{
    const char *reason = call_value(call, "reason");
    enum command_status status;
    uint64_t version = 0;

    *o = (struct scan_outage){0};
    snprintf(o->domain, sizeof o->domain, "%s", strrchr(rcpt, '@') + 1);
    if (reason == NULL || reason[0] == '\0')
        return call_usage("--outage holds the customer's servers for some seconds: say why, with "
                          "--reason TEXT, which is kept in the audit");
    status = database_connect(call);
    if (status == COMMAND_DONE)
        status = database_check_schema(call);
    if (status != COMMAND_DONE)
        return status;
    block_signals(SIG_BLOCK);
    status = hold(call, o, &version);
    if (status == COMMAND_DONE) {
        status = wait_until_obeyed(call, version);
        if (status == COMMAND_DONE)
            return status;
    }
    if (o->held) /* also where it is not known whether the hold was kept */
        scan_outage_end(call, o);
    else
        block_signals(SIG_UNBLOCK);
    return status;
}

static enum command_status
release(struct call *call, const struct scan_outage *o)
{
    const char *params[] = {o->held, call_value(call, "reason")};
    enum command_status status = database_begin_change(call);
    PGresult *r = NULL;

    if (status != COMMAND_DONE)
        return status;
    status = database_query(call, RELEASE, 2, params, &r);
    PQclear(r);
    return database_end(call, status);
}

enum command_status
scan_outage_end(struct call *call, struct scan_outage *o)
{
    enum command_status status = release(call, o);

    if (status == COMMAND_LATER) { /* once more, anew: to release twice does no harm */
        database_disconnect(call);
        status = database_connect(call);
        if (status == COMMAND_DONE)
            status = release(call, o);
    }
    if (status != COMMAND_DONE)
        call_complain("servers that %s goes to are held still: `relayctl backend list` names "
                      "them, `relayctl backend release` ends it",
                      o->domain);
    block_signals(SIG_UNBLOCK);
    return status;
}

/* --- What became of the message. */

static enum command_status
look(struct call *call, const char *reference, struct scan_outage *o)
{
    const char *params[] = {reference};
    PGresult *r = NULL;
    enum command_status status =
        database_query(call, "SELECT verdict FROM postern.events WHERE ref = $1 AND kind = 'ended'",
                       1, params, &r);

    if (status == COMMAND_DONE && PQntuples(r) > 0)
        snprintf(o->end, sizeof o->end, "%s", database_text(r, 0, 0));
    PQclear(r);
    return status;
}

void
scan_outage_follow(struct call *call, const char *reference, struct scan_outage *o)
{
    int64_t began_ms = clock_monotonic_ms();
    enum command_status status = COMMAND_DONE;

    while (status == COMMAND_DONE && o->end[0] == '\0' &&
           clock_monotonic_ms() - began_ms < FOLLOW_MS) {
        usleep(LOOK_US);
        status = look(call, reference, o);
    }
    o->end_ms = clock_monotonic_ms() - began_ms;
    if (o->end[0] == '\0')
        snprintf(o->end, sizeof o->end, "waiting");
}

void
scan_outage_fini(struct scan_outage *o)
{
    free(o->held);
    o->held = NULL;
}
