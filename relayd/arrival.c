/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who may come in.  A refusal costs one send, one shutdown and a place in a ring of descriptors:
 * the client reads its 421 because nothing is closed over what it may have sent meanwhile until a
 * second later, or until the ring is needed for those behind it.
 */
#include "relayd/arrival.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/listener.h"
#include "relayd/capacity.h"
#include "base/event_log.h"
#include "relayd/event_refusals.h"
#include "relayd/session.h"

#define LINGER_MAX CAPACITY_LINGERING /* descriptors of refused clients */
#define LINGER_MS 1000
#define LINGER_LOOK_MS 250
#define DRAIN_READS 4
#define LOG_EVERY_MS 10000
/* Of the most connections, in percent: pressure begins above the one and ends below the other. */
#define PRESSURE_ABOVE 80
#define PRESSURE_BELOW 70

static const struct refusal_row {
    const char *word;
    enum shared_counter counter;
    const char *setting; /* for the log: what bounds it */
} refusal_rows[ARRIVAL_REFUSAL_COUNT] = {
    [ARRIVAL_BLOCKED] = {"blocked", SHARED_COUNTER_REFUSED_BLOCKED, "-"},
    [ARRIVAL_TOO_MANY] = {"too-many-from-address", SHARED_COUNTER_REFUSED_ADDRESS,
                          "client-concurrency"},
    [ARRIVAL_FULL] = {"node-full", SHARED_COUNTER_REFUSED_FULL, "max-connections"},
    [ARRIVAL_EARLY] = {"early-talker", SHARED_COUNTER_REFUSED_EARLY, "greet-wait"},
    [ARRIVAL_NO_HEADER] = {"no-proxy-header", SHARED_COUNTER_REFUSED_NO_HEADER,
                           "proxy-protocol-from"},
    [ARRIVAL_NO_DESCRIPTOR] = {"no-descriptor", SHARED_COUNTER_REFUSED_FULL, "max-connections"},
};

struct refusals {
    uint64_t count; /* not logged yet */
    int64_t logged_at_ms;
    struct inet_endpoint last;
};

struct lingering {
    int fd;
    int64_t until_ms;
};

struct arrival {
    struct worker *worker;
    unsigned most; /* sessions of this worker */
    bool is_pressed;
    uint64_t shortages; /* of the listeners, as logged */
    struct refusals refusals[ARRIVAL_REFUSAL_COUNT];
    struct lingering ring[LINGER_MAX];
    unsigned first, count;
    struct loop_timer timer;
    struct buf line;
};

bool
arrival_is_in(const struct config_networks *networks, const struct inet_endpoint *e)
{
    for (size_t i = 0; i < networks->count; i++)
        if (inet_network_has(&networks->items[i], e))
            return true;
    return false;
}

/* --- Telling. */

static void
log_refusals(struct arrival *a, enum arrival_refusal why, int64_t now_ms)
{
    struct refusals *r = &a->refusals[why];
    char address[INET_ENDPOINT_SIZE];

    if (r->count == 0 || (r->logged_at_ms && now_ms - r->logged_at_ms < LOG_EVERY_MS))
        return;
    log_line(LOG_LEVEL_WARN, NULL, "connections-refused", "why=%s count=%llu last=%s setting=%s",
             refusal_rows[why].word, (unsigned long long)r->count,
             inet_address_text(&r->last, address), refusal_rows[why].setting);
    r->count = 0;
    r->logged_at_ms = now_ms;
}

void
arrival_count(struct worker *w, enum arrival_refusal why, const struct inet_endpoint *peer)
{
    struct refusals *r = &w->arrival->refusals[why];

    shared_count(w->table, w->slot, refusal_rows[why].counter);
    r->count++;
    r->last = *peer;
    log_refusals(w->arrival, why, loop_now_ms(w->loop));
}

/* --- Refused, and not yet closed. */

static void
let_go(struct arrival *a)
{
    static char waste[16 * 1024];
    struct lingering *l = &a->ring[a->first];

    for (int i = 0; i < DRAIN_READS && recv(l->fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        ;
    close(l->fd);
    a->first = (a->first + 1) % LINGER_MAX;
    a->count--;
}

static void
on_linger_timer(void *ctx)
{
    struct arrival *a = ctx;

    while (a->count > 0 && a->ring[a->first].until_ms <= loop_now_ms(a->worker->loop))
        let_go(a);
    if (a->count > 0)
        loop_timer_start(&a->timer, LINGER_LOOK_MS);
}

static void
linger(struct arrival *a, int fd)
{
    if (a->count == LINGER_MAX)
        let_go(a);
    if (a->count == 0)
        loop_timer_start(&a->timer, LINGER_LOOK_MS);
    a->ring[(a->first + a->count++) % LINGER_MAX] =
        (struct lingering){fd, loop_now_ms(a->worker->loop) + LINGER_MS};
}

static void
record(struct worker *w, const struct inet_endpoint *client, enum smtp_verdict verdict,
       const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE], address[INET_ENDPOINT_SIZE];
    int64_t wall_ms = clock_wall_ms();
    struct buf json;

    if (!event_refusals_may_list(w->refusals, client, smtp_verdict_word(verdict), wall_ms))
        return;
    buf_init(&json, 0);
    event_begin(&json, "connection-refused", wall_ms);
    event_text(&json, "client", slice_of(inet_address_text(client, address)));
    event_text(&json, "verdict", slice_of(smtp_verdict_word(verdict)));
    event_text(&json, "reply", slice_of(smtp_reply_text(reply, text, sizeof text)));
    event_end(&json);
    event_log_add(w->events, buf_slice(&json));
    buf_fini(&json);
}

static void
turn_away(struct arrival *a, int fd, const struct inet_endpoint *client, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    record(a->worker, client, verdict, &reply);
    buf_clear(&a->line);
    smtp_reply_write(&reply, &a->line);
    if (send(fd, buf_slice(&a->line).p, buf_size(&a->line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ||
        shutdown(fd, SHUT_WR) < 0)
        close(fd); /* gone already */
    else
        linger(a, fd);
}

/* --- Coming in. */

static bool
is_full(const struct worker *w)
{
    return w->session_count >= w->arrival->most;
}

/* By an operator, for every customer. */
static bool
is_blocked(const struct worker *w, const struct inet_endpoint *client)
{
    struct registry_rule rule;

    return w->registry != NULL &&
           registry_find_rule(w->registry, 0, client, NULL, clock_wall_ms(), &rule) == ERR_OK &&
           rule.action == REGISTRY_RULE_BLOCK;
}

enum smtp_verdict
arrival_enter(struct worker *w, const struct inet_endpoint *client)
{
    uint32_t limit = w->config->client_concurrency ? w->config->client_concurrency : UINT32_MAX;

    if (is_blocked(w, client)) {
        arrival_count(w, ARRIVAL_BLOCKED, client);
        return SMTP_VERDICT_CLIENT_BLOCKED;
    }
    if (!shared_client_enter(w->table, w->slot, client, limit)) {
        arrival_count(w, ARRIVAL_TOO_MANY, client);
        return SMTP_VERDICT_TOO_MANY_FROM_ADDRESS;
    }
    /* Entered before it is counted, so that the workers together never hold more. */
    if (shared_connections(w->table) <= w->config->max_connections)
        return SMTP_VERDICT_OK;
    shared_client_leave(w->table, w->slot, client);
    arrival_count(w, ARRIVAL_FULL, client);
    return SMTP_VERDICT_NODE_FULL;
}

void
arrival_leave(struct worker *w, const struct inet_endpoint *client)
{
    shared_client_leave(w->table, w->slot, client);
}

bool
arrival_is_closed(const struct worker *w)
{
    return shared_table_left_service_at_ms(w->table) != 0;
}

void
arrival_accept(void *ctx, int fd, const struct inet_endpoint *peer)
{
    struct worker *w = ctx;
    bool by_proxy = arrival_is_in(&w->config->proxy_protocol_from, peer);
    enum smtp_verdict verdict = SMTP_VERDICT_OK;

    if (w->stopping || arrival_is_closed(w))
        verdict = SMTP_VERDICT_SHUTTING_DOWN;
    else if (is_full(w)) {
        verdict = SMTP_VERDICT_NODE_FULL;
        arrival_count(w, ARRIVAL_FULL, peer);
    } else if (!by_proxy)
        verdict = arrival_enter(w, peer);
    if (verdict != SMTP_VERDICT_OK)
        turn_away(w->arrival, fd, peer, verdict);
    else
        session_start(w, fd, peer, by_proxy);
}

/* --- Pressure. */

bool
arrival_is_pressed(const struct worker *w)
{
    return w->arrival->is_pressed;
}

static void
look_for_pressure(struct worker *w)
{
    struct arrival *a = w->arrival;
    uint64_t percent = a->is_pressed ? PRESSURE_BELOW : PRESSURE_ABOVE;
    uint64_t here = shared_connections(w->table);
    bool pressed = here * 100 > w->config->max_connections * percent ||
                   (uint64_t)w->session_count * 100 > a->most * percent;

    if (pressed == a->is_pressed)
        return;
    a->is_pressed = pressed;
    log_line(LOG_LEVEL_WARN, NULL, pressed ? "pressure" : "pressure-over",
             "connections=%llu max-connections=%u effect=\"%s\"", (unsigned long long)here,
             w->config->max_connections,
             pressed ? "clients are given less time" : "clients have their full time again");
    sessions_pressure_changed(w);
}

static void
look_for_shortages(struct worker *w)
{
    static const struct inet_endpoint nobody;
    uint64_t shortages = 0;

    for (size_t i = 0; i < w->listener_count; i++)
        shortages += w->listeners[i] ? listener_shortages(w->listeners[i]) : 0;
    if (shortages > w->arrival->shortages)
        arrival_count(w, ARRIVAL_NO_DESCRIPTOR, &nobody);
    w->arrival->shortages = shortages;
}

void
arrival_beat(struct worker *w)
{
    look_for_pressure(w);
    look_for_shortages(w);
    for (int why = 0; why < ARRIVAL_REFUSAL_COUNT; why++)
        log_refusals(w->arrival, (enum arrival_refusal)why, loop_now_ms(w->loop));
}

/* --- Life. */

struct arrival *
arrival_new(struct worker *w)
{
    struct arrival *a = mem_alloc(sizeof *a);

    a->worker = w;
    a->most = capacity_of_worker(w->config);
    buf_init(&a->line, 0);
    loop_timer_init(&a->timer, w->loop, on_linger_timer, a);
    return a;
}

void
arrival_free(struct arrival **arrival)
{
    struct arrival *a = *arrival;

    *arrival = NULL;
    if (a == NULL)
        return;
    while (a->count > 0)
        let_go(a);
    loop_timer_cancel(&a->timer);
    buf_fini(&a->line);
    free(a);
}
