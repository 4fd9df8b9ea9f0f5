/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the shared table says of the servers of a route, as an attempt would find them: those on
 * hold are passed over, and a name without an address is as good as down.  What is not known yet
 * is neither up nor down: from that follows nothing.
 */
#include <stdio.h>

#include "base/clock.h"
#include "spoolmgr/keeper.h"

static enum customer_notice_why
why_of(enum shared_health_reason reason)
{
    static const enum customer_notice_why whys[] = {
        [SHARED_REASON_NONE] = CUSTOMER_NOTICE_WHY_UNKNOWN,
        [SHARED_REASON_CONNECT] = CUSTOMER_NOTICE_WHY_CONNECT,
        [SHARED_REASON_TIMEOUT] = CUSTOMER_NOTICE_WHY_TIMEOUT,
        [SHARED_REASON_BANNER] = CUSTOMER_NOTICE_WHY_GREETING,
        [SHARED_REASON_EHLO] = CUSTOMER_NOTICE_WHY_GREETING,
        [SHARED_REASON_LOST] = CUSTOMER_NOTICE_WHY_LOST,
        [SHARED_REASON_CLOSING] = CUSTOMER_NOTICE_WHY_LOST,
        [SHARED_REASON_TLS] = CUSTOMER_NOTICE_WHY_TLS,
        [SHARED_REASON_BROKEN] = CUSTOMER_NOTICE_WHY_BROKEN,
        [SHARED_REASON_REFUSES] = CUSTOMER_NOTICE_WHY_REFUSES,
    };

    return whys[reason];
}

struct view { /* of one route's servers */
    unsigned up, down, unsure;
    int64_t since_ms; /* the last of them went down */
    enum customer_notice_why why;
    uint32_t backend;
};

#define NAME_SIZE (INET_DOMAIN_SIZE + INET_ENDPOINT_SIZE)

static const char *
name_of(const struct registry_backend *backend, char text[NAME_SIZE])
{
    if (backend->host[0] != '\0')
        snprintf(text, NAME_SIZE, "%s:%u", backend->host, backend->endpoint.port);
    else
        inet_endpoint_text(&backend->endpoint, text);
    return text;
}

static void
add_name(struct tell_server *server, const struct registry_backend *backend)
{
    char text[NAME_SIZE];
    size_t used = strlen(server->servers);

    name_of(backend, text);
    if (strstr(server->servers, text) == NULL)
        snprintf(server->servers + used, sizeof server->servers - used, "%s%s",
                 used > 0 ? ", " : "", text);
}

static void
add_destination(struct keeper *k, const struct destination *d, struct view *view)
{
    struct shared_health health;
    int64_t now_ms = clock_wall_ms();
    enum shared_health_state state =
        shared_health_state_of(route_table(k->route), &d->endpoint, now_ms);

    if (shared_health_stops(state) &&
        shared_health_get(route_table(k->route), &d->endpoint, &health) == 0) {
        view->down++;
        if (health.since_ms >= view->since_ms) {
            view->since_ms = health.since_ms;
            view->why = why_of(health.reason);
            view->backend = d->number;
        }
    } else if (state == SHARED_HEALTH_UNKNOWN)
        view->unsure++;
    else
        view->up++;
}

static void
walk(struct keeper *k, const struct registry_backend *backends, unsigned count, struct view *view)
{
    struct destination_walk *walk =
        destination_walk_new(k->destinations, backends, count, NULL, NULL);
    enum destination_step step = DESTINATION_FOUND;

    while (step == DESTINATION_FOUND)
        step = destination_walk_more(walk);
    for (unsigned i = 0; i < destination_walk_count(walk); i++)
        if (!destination_walk_item(walk, i)->held)
            add_destination(k, destination_walk_item(walk, i), view);
    if (step == DESTINATION_WAIT || destination_walk_is_unsure(walk))
        view->unsure++;
    else if (view->up + view->down + view->unsure == 0 && destination_walk_why(walk)[0] != '\0') {
        view->down++;
        view->why = CUSTOMER_NOTICE_WHY_NAME;
        view->backend = backends[0].number;
    }
    destination_walk_free(&walk);
}

static void
add_down(const struct view *view, const struct registry_backend *backends, unsigned count,
         struct tell_server *server)
{
    int64_t since_ms = view->since_ms > 0 ? view->since_ms : clock_wall_ms();

    if (!server->is_down || since_ms < server->since_ms)
        server->since_ms = since_ms;
    server->is_down = true;
    server->why = view->why;
    server->backend = view->backend;
    for (unsigned i = 0; i < count; i++)
        if (!backends[i].held)
            add_name(server, &backends[i]);
}

/* A list that was cut may have had any. */
static bool
is_among(const char *names, const struct registry_backend *backends, unsigned count)
{
    char text[NAME_SIZE];

    if (strlen(names) + 1 >= CUSTOMER_TROUBLE_SERVERS_SIZE)
        return true;
    for (unsigned i = 0; i < count; i++)
        if (strstr(names, name_of(&backends[i], text)) != NULL)
            return true;
    return false;
}

void
tell_server_add(struct keeper *k, const struct schedule_queue *queue, const char *were_down,
                struct tell_server *server)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    unsigned count = route_backends(k->route, queue->route, backends);
    struct view view = {.why = CUSTOMER_NOTICE_WHY_UNKNOWN};
    bool has_mail = queue->ready.count + queue->waiting.count + queue->running > 0;

    if (queue->ready.count + queue->running > 0)
        server->is_moving = true;
    if (count == 0)
        return; /* the operators hear of that */
    walk(k, backends, count, &view);
    if (view.up > 0)
        server->is_up = true;
    else if (view.down > 0 && view.unsure == 0)
        add_down(&view, backends, count, server);
    else if (has_mail || is_among(were_down, backends, count))
        server->is_unsure = true;
}

enum customer_server
tell_server_state(const struct tell_server *server)
{
    if (server->is_down)
        return CUSTOMER_SERVER_DOWN;
    return server->is_up && !server->is_unsure ? CUSTOMER_SERVER_UP : CUSTOMER_SERVER_UNKNOWN;
}
