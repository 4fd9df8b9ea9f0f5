/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail without a route: its domain is served by nobody, or its customer has no backend.  Nothing is
 * attempted for it, so it is said once a domain, when it begins, and its deadline counts all the
 * same: that there is nobody to ask is its failed attempt.
 *
 * A route is missing only if the replica says so; one that cannot be had or read says nothing.
 * Looked for by the sweep, which sees every message; a domain that a whole sweep has not seen is
 * over.
 */
#include "spoolmgr/keeper.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct noroute {
    struct noroute *next;
    char domain[INET_DOMAIN_SIZE];
    uint64_t seen; /* the sweep that has seen it */
};

static struct noroute **
slot_of(struct keeper *k, const char *domain)
{
    uint32_t hash = 0;
    struct noroute **slot;

    for (const char *p = domain; *p != '\0'; p++)
        hash = hash * 31 + (unsigned char)*p;
    slot = &k->no_routes[hash % NOROUTE_SLOTS];
    while (*slot != NULL && strcmp((*slot)->domain, domain) != 0)
        slot = &(*slot)->next;
    return slot;
}

static void
say(const struct spool_message *m, const char *domain, uint64_t route)
{
    char quoted[INET_DOMAIN_SIZE + 8];

    log_quote(slice_of(domain), quoted, sizeof quoted);
    log_line(LOG_LEVEL_ALARM, NULL, "no-route",
             "domain=%s customer=%s why=\"%s\" effect=\"its mail waits, and ends as expired behind "
             "its deadline\" remedy=\"%s\"",
             quoted, m->customer,
             route_is_own(route)    ? "outbound-route is not set"
             : route == ROUTE_NONE  ? "nobody serves the domain"
             : route_backend(route) ? "the backend that it was redirected to is gone"
                                    : "the customer has no backend",
             route_is_own(route)    ? "set outbound-route"
             : route == ROUTE_NONE  ? "relayctl domain add"
             : route_backend(route) ? "relayctl spool redirect"
                                    : "relayctl backend add");
}

static void
note(struct keeper *k, const struct spool_message *m, const char *domain, uint64_t route)
{
    struct noroute **slot = slot_of(k, domain);

    if (*slot == NULL) {
        *slot = mem_alloc(sizeof **slot);
        snprintf((*slot)->domain, sizeof(*slot)->domain, "%s", domain);
        k->no_route_count++;
        say(m, domain, route);
    }
    (*slot)->seen = k->sweep_number;
}

/* Is there no route for any of the task's recipients?  Says so. */
static bool
is_missing(struct keeper *k, const struct task *task)
{
    const struct spool_message *m = task->mail->message;
    const char *last = "";
    bool all = true;

    for (unsigned i = 0; i < m->recipient_count; i++) {
        const char *domain = spool_message_domain(m, i);

        if (!spool_message_is_open(m, i) || spool_message_awaits(m, i) ||
            strcmp(domain, last) == 0 || plan_route(k, m, i) != task->route)
            continue;
        last = domain;
        if (route_is_own(task->route) ? own_is_missing(k)
                                      : route_is_missing(k->route, domain, task->route))
            note(k, m, domain, task->route);
        else
            all = false;
    }
    return all;
}

bool
noroute_look(struct keeper *k, struct mail *mail)
{
    int64_t deadline_ms = mail->message->expires_at_ms;

    if (!plan_has_no_route(mail) || !route_has_replica(k->route) || mail->is_ending)
        return false;
    for (struct task *task = mail->tasks; task != NULL; task = task->next) {
        if (task->route != ROUTE_NONE && !task->item.queue->no_route)
            continue;
        if (!is_missing(k, task) || mail->is_running ||
            !expiry_is_due(k, deadline_ms, clock_wall_ms()))
            continue;
        attempt_expire(k, mail, task->route, "there was no route to a backend");
        return true;
    }
    return false;
}

static void
drop(struct keeper *k, struct noroute **at)
{
    struct noroute *gone = *at;

    *at = gone->next;
    k->no_route_count--;
    free(gone);
}

void
noroute_swept(struct keeper *k)
{
    for (size_t i = 0; i < NOROUTE_SLOTS; i++) {
        struct noroute **at = &k->no_routes[i];

        while (*at != NULL) {
            if ((*at)->seen == k->sweep_number) {
                at = &(*at)->next;
                continue;
            }
            log_line(LOG_LEVEL_INFO, NULL, "no-route-over", "domain=%s", (*at)->domain);
            drop(k, at);
        }
    }
}

void
noroute_end(struct keeper *k)
{
    for (size_t i = 0; i < NOROUTE_SLOTS; i++) {
        while (k->no_routes[i] != NULL)
            drop(k, &k->no_routes[i]);
    }
}
