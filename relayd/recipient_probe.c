/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A probe waits a moment, so that the transaction that led to it is over and its connection idle;
 * if none becomes idle, it waits for one like anybody else.  A refusal of the random recipient says
 * that the domain is picky, an acceptance that it accepts all; anything else says nothing, and the
 * state process asks again later.
 */
#include "relayd/recipient_probe.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/siphash.h"
#include "relayd/recipient_policy.h"

#define FIRST_LOOK_MS 500
#define LOOK_MS 250
#define LOOKS_MAX 10 /* for an idle link, which lives for BACKEND_LINK_IDLE_MS */
#define RANDOM_LENGTH 20
#define PROBES_MAX 50 /* a worker's at once; more are asked for again later */

struct recipient_probe {
    struct recipient_probe *next;
    struct worker *worker;
    uint32_t customer_id;
    char domain[INET_DOMAIN_SIZE];
    struct inet_endpoint endpoint;
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    struct loop_timer timer;
    unsigned looks;
    struct backend_wait *wait;
    struct backend_link *link;
    bool is_done;
};

static void
probe_end(struct recipient_probe *p)
{
    struct recipient_probe **at = &p->worker->recipient_probes;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->is_done = true;
    loop_timer_cancel(&p->timer);
    backend_wait_cancel(&p->wait);
    loop_defer(p->worker->loop, free, p);
}

static void
found(struct recipient_probe *p, enum smtp_phase phase, enum smtp_class class,
      const struct smtp_reply *reply)
{
    static const char *const words[] = {"unknown", "no", "yes"};
    char text[SMTP_REPLY_LINE_SIZE], quoted[SMTP_REPLY_LINE_SIZE + 8], endpoint[INET_ENDPOINT_SIZE],
        name[INET_DOMAIN_SIZE + 8];
    enum state_domain word = STATE_DOMAIN_UNKNOWN;

    if (phase == SMTP_PHASE_RCPT && class == SMTP_CLASS_OK)
        word = STATE_DOMAIN_ACCEPT_ALL;
    else if (phase == SMTP_PHASE_RCPT && class == SMTP_CLASS_REFUSED &&
             !recipient_policy_blames_us(p->worker, p->link, reply, NULL))
        word = STATE_DOMAIN_PICKY;
    state_domain_learn(p->worker->state, p->customer_id, p->domain, word);
    log_line(LOG_LEVEL_INFO, NULL, "domain-probed", "domain=%s endpoint=%s accepts-all=%s said=%s",
             log_quote(slice_of(p->domain), name, sizeof name),
             inet_endpoint_text(&p->endpoint, endpoint), words[word],
             log_quote(slice_of(smtp_reply_text(reply, text, sizeof text)), quoted, sizeof quoted));
}

/* --- The link's events. */

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct recipient_probe *p = ctx;

    (void)index;
    if (p->is_done || (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_OK))
        return;
    found(p, phase, class, reply);
    if (class == SMTP_CLASS_AWAY)
        backend_link_drop(&p->link);
    else
        backend_link_release(&p->link); /* RSET goes first */
    probe_end(p);
}

static void
on_lost(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct recipient_probe *p = ctx;

    (void)phase;
    (void)dot_sent;
    (void)reply;
    p->link = NULL;
    if (!p->is_done)
        probe_end(p);
}

static void
on_nothing(void *ctx)
{
    (void)ctx;
}

static const struct backend_user_ops link_ops = {
    .on_reply = on_reply,
    .on_want_content = on_nothing,
    .on_drained = on_nothing,
    .on_lost = on_lost,
};

static void
begin(struct recipient_probe *p)
{
    struct smtp_client *client = backend_link_client(p->link);

    smtp_client_mail(client, &p->mail);
    smtp_client_rcpt(client, &p->rcpt);
    backend_link_flush(p->link);
}

static void
on_link(void *ctx, struct backend_link *link, enum smtp_phase phase, const struct smtp_reply *reply)
{
    struct recipient_probe *p = ctx;

    (void)phase;
    (void)reply;
    p->wait = NULL;
    p->link = link;
    if (link)
        begin(p);
    else
        probe_end(p);
}

/* --- Finding a link. */

/* Its destinations as the registry has them now.  DESTINATION_FOUND: *to is the endpoint's; _WAIT:
 * a name is being looked up; _END: the endpoint is none of them any more. */
static enum destination_step
find_destination(const struct recipient_probe *p, struct destination_walk *walk,
                 struct destination *to)
{
    enum destination_step step;
    unsigned i = 0;

    while ((step = destination_walk_more(walk)) == DESTINATION_FOUND)
        for (; i < destination_walk_count(walk); i++) {
            *to = *destination_walk_item(walk, i);
            if (!to->held && inet_endpoint_equal(&to->endpoint, &p->endpoint))
                return DESTINATION_FOUND;
        }
    return step;
}

static enum destination_step
find_backend(const struct recipient_probe *p, struct destination *to)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct destination_walk *walk;
    struct registry_domain domain;
    enum destination_step step;
    unsigned count = 0;

    if (p->worker->registry == NULL ||
        registry_find_domain(p->worker->registry, p->domain, &domain) != ERR_OK ||
        domain.customer_id != p->customer_id ||
        registry_find_backends(p->worker->registry, &domain, backends, &count) != ERR_OK)
        return DESTINATION_END;
    walk = destination_walk_new(p->worker->destinations, backends, count, NULL, NULL);
    step = find_destination(p, walk, to);
    destination_walk_free(&walk);
    return step;
}

static void
look_again(struct recipient_probe *p)
{
    if (++p->looks < LOOKS_MAX)
        loop_timer_start(&p->timer, LOOK_MS);
    else
        probe_end(p);
}

/* Who asks a backend that is down is settled elsewhere (P10): a probe of ours is no reason to. */
static bool
is_stopped(const struct recipient_probe *p)
{
    return shared_health_stops(
        shared_health_state_of(p->worker->table, &p->endpoint, clock_wall_ms()));
}

static void
look(struct recipient_probe *p, const struct destination *to)
{
    if (is_stopped(p)) {
        probe_end(p);
        return;
    }
    p->link = backend_take_idle(p->worker->pool, to, &link_ops, p);
    if (p->link)
        begin(p);
    else if (p->looks + 1 < LOOKS_MAX)
        look_again(p);
    else
        p->wait = backend_wait_start(p->worker->pool, to, on_link, &link_ops, p);
}

static void
on_look(void *ctx)
{
    struct recipient_probe *p = ctx;
    struct destination to;

    switch (find_backend(p, &to)) {
    case DESTINATION_FOUND:
        look(p, &to);
        return;
    case DESTINATION_WAIT:
        look_again(p);
        return;
    case DESTINATION_END:
        probe_end(p);
        return;
    }
}

/* Letters only: nobody's name, and of any server's grammar. */
static bool
make_recipient(struct recipient_probe *p)
{
    char text[RANDOM_LENGTH + 1 + INET_DOMAIN_SIZE];
    uint8_t random[RANDOM_LENGTH];

    random_bytes(random, sizeof random);
    for (unsigned i = 0; i < RANDOM_LENGTH; i++)
        text[i] = (char)('a' + random[i] % 26);
    snprintf(text + RANDOM_LENGTH, sizeof text - RANDOM_LENGTH, "@%s", p->domain);
    return smtp_path_parse_mailbox(slice_of(text), &p->rcpt.path) == ERR_OK;
}

static unsigned
count_probes(const struct worker *w)
{
    unsigned count = 0;

    for (const struct recipient_probe *p = w->recipient_probes; p; p = p->next)
        count++;
    return count;
}

static void
on_probe(void *ctx, uint32_t customer_id, const char *domain, const struct inet_endpoint *backend)
{
    struct worker *w = ctx;
    struct recipient_probe *p;

    if (w->stopping || strlen(domain) >= sizeof p->domain || count_probes(w) >= PROBES_MAX)
        return;
    p = mem_alloc(sizeof *p);
    p->worker = w;
    p->customer_id = customer_id;
    snprintf(p->domain, sizeof p->domain, "%s", domain);
    p->endpoint = *backend;
    p->mail.path.is_null = true;
    loop_timer_init(&p->timer, w->loop, on_look, p);
    p->next = w->recipient_probes;
    w->recipient_probes = p;
    if (make_recipient(p))
        loop_timer_start(&p->timer, FIRST_LOOK_MS);
    else
        probe_end(p);
}

void
recipient_probe_prepare(struct worker *w)
{
    state_client_on_probe(w->state, on_probe, w);
}

void
recipient_probe_cancel_all(struct worker *w)
{
    while (w->recipient_probes) {
        struct recipient_probe *p = w->recipient_probes;

        p->is_done = true;
        backend_link_drop(&p->link);
        probe_end(p);
    }
}
