/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A probe lives in its worker's list from start to outcome.  It says what it has found exactly
 * once; if the backend could not be reached, the pool has said so already, and if no link became
 * free nothing has been found: then the claim runs out.
 */
#include "relayd/probe.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct probe {
    struct probe *next;
    struct worker *worker;
    struct inet_endpoint endpoint;
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    struct backend_wait *wait;
    struct backend_link *link;
    bool is_done;
};

static void
probe_end(struct probe *p)
{
    struct probe **at = &p->worker->probes;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    backend_wait_cancel(&p->wait);
    loop_defer(p->worker->loop, free, p);
}

static void
found(struct probe *p, bool good, const char *said)
{
    const struct config *c = p->worker->config;
    char text[INET_ENDPOINT_SIZE], quoted[SMTP_REPLY_LINE_SIZE + 8];
    bool ended = shared_health_probed(p->worker->table, &p->endpoint, good, clock_wall_ms(),
                                      c->probe_interval_min_ms, c->probe_interval_max_ms);

    p->is_done = true;
    inet_endpoint_text(&p->endpoint, text);
    log_line(LOG_LEVEL_INFO, NULL, "backend-probed", "endpoint=%s good=%s said=%s", text,
             good ? "yes" : "no", log_quote(slice_of(said), quoted, sizeof quoted));
    if (ended)
        log_line(LOG_LEVEL_INFO, NULL, "backend-takes-again", "endpoint=%s state=recovering", text);
}

/* --- The link's events. */

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct probe *p = ctx;
    char text[SMTP_REPLY_LINE_SIZE];

    (void)index;
    if (p->is_done || (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_OK))
        return;
    found(p, phase == SMTP_PHASE_RCPT && class == SMTP_CLASS_OK,
          smtp_reply_text(reply, text, sizeof text));
    if (class == SMTP_CLASS_AWAY)
        backend_link_drop(&p->link);
    else
        backend_link_release(&p->link); /* RSET goes first */
    probe_end(p);
}

static void
on_lost(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct probe *p = ctx;

    (void)phase;
    (void)dot_sent;
    (void)reply;
    p->link = NULL;
    if (p->is_done)
        return;
    found(p, false, "connection lost");
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
begin(struct probe *p)
{
    struct smtp_client *client = backend_link_client(p->link);

    smtp_client_mail(client, &p->mail);
    smtp_client_rcpt(client, &p->rcpt);
    backend_link_flush(p->link);
}

static void
on_link(void *ctx, struct backend_link *link, enum smtp_phase phase, const struct smtp_reply *reply)
{
    struct probe *p = ctx;

    (void)phase;
    (void)reply;
    p->wait = NULL;
    p->link = link;
    if (link)
        begin(p);
    else
        probe_end(p);
}

void
probe_start(struct worker *w, const struct destination *destination, const struct smtp_rcpt *rcpt)
{
    struct probe *p = mem_alloc(sizeof *p);

    p->worker = w;
    p->endpoint = destination->endpoint;
    p->rcpt.path = rcpt->path;
    p->next = w->probes;
    w->probes = p;
    p->wait = backend_wait_start(w->pool, destination, on_link, &link_ops, p);
}

void
probe_cancel_all(struct worker *w)
{
    while (w->probes) {
        struct probe *p = w->probes;

        p->is_done = true;
        backend_link_drop(&p->link);
        probe_end(p);
    }
}
