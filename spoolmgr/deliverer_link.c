/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A link of a deliverer: one connection, kept when its job is done until the keeper has another job
 * for it or has it closed.  At most one stands for each number at any moment.
 *
 * A loss on a reused connection before MAIL is answered means nothing: the job goes to a fresh one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "route/destination_link.h"
#include "spoolmgr/deliverer_private.h"

#define IDLE_MS 5000                /* then a keeper that says nothing has forgotten it */
#define MESSAGES_PER_LINK 100       /* then a fresh one: some servers count */
#define LINK_AGE_MS (5 * 60 * 1000) /* then it is not used again */
#define CLEAR_MS (5 * 60 * 1000)    /* in the clear behind a handshake that failed */

/* --- TLS. */

static struct deliverer_clear *
find_clear(struct deliverer *d, const struct destination *to)
{
    struct deliverer_clear *clear = d->clears;

    while (clear != NULL && !destination_shares_links(&clear->to, to))
        clear = clear->next;
    return clear;
}

static void
note_clear(struct deliverer *d, const struct destination *to)
{
    struct deliverer_clear *clear = find_clear(d, to);
    char endpoint[INET_ENDPOINT_SIZE];

    if (clear == NULL) {
        clear = mem_alloc(sizeof *clear);
        clear->to = *to;
        clear->next = d->clears;
        d->clears = clear;
    }
    clear->until_ms = loop_now_ms(d->loop) + CLEAR_MS;
    log_line(LOG_LEVEL_WARN, NULL, "backend-tls-fallback",
             "endpoint=%s effect=\"in the clear for %d s\"",
             inet_endpoint_text(&to->endpoint, endpoint), CLEAR_MS / 1000);
}

static enum smtp_client_tls
tls_wanted(struct deliverer_link *link)
{
    struct deliverer_clear *clear = find_clear(link->deliverer, &link->to);

    switch (link->to.tls) {
    case REGISTRY_TLS_NONE:
        return SMTP_CLIENT_TLS_NONE;
    case REGISTRY_TLS_MAY:
        return clear != NULL && loop_now_ms(link->deliverer->loop) < clear->until_ms
                   ? SMTP_CLIENT_TLS_NONE
                   : SMTP_CLIENT_TLS_MAY;
    case REGISTRY_TLS_ENCRYPT:
    case REGISTRY_TLS_VERIFY:
        break;
    }
    return SMTP_CLIENT_TLS_MUST;
}

/* --- The engine's events. */

static void
on_ready(void *ctx, const struct smtp_capabilities *caps)
{
    struct deliverer_link *link = ctx;

    (void)caps;
    link->is_ready = true;
}

static void
on_starttls(void *ctx)
{
    struct deliverer_link *link = ctx;
    SSL *ssl = tls_client_ssl(link->deliverer->tls, destination_policy(&link->to),
                              destination_name(&link->to), &link->to.endpoint);
    size_t octets = smtp_client_injected_bytes(link->client) +
                    conn_start_tls(link->conn, ssl, smtp_client_timeout_ms(link->client));
    char endpoint[INET_ENDPOINT_SIZE];

    if (octets > 0)
        log_line(LOG_LEVEL_WARN, NULL, "backend-injects",
                 "endpoint=%s octets=%zu effect=\"thrown away: it stood in plain text behind the "
                 "220 to STARTTLS\"",
                 inet_endpoint_text(&link->to.endpoint, endpoint), octets);
}

/* The connection is dead; what was on it begins anew. */
static void
run_anew(struct deliverer_link *link)
{
    link->is_dead = true;
    link->then = link->job;
    link->job = NULL;
    link->then->link = NULL;
}

/* What is unanswered when a connection ends is `away`, or `unknown` behind the dot. */
static void
link_ended(struct deliverer_link *link, enum smtp_phase phase, bool unknown, const char *text)
{
    struct deliverer_job *job = link->job;
    bool is_reused = job != NULL && link->messages > job->is_running;

    link->is_dead = true;
    if (job == NULL)
        return;
    if (is_reused && !job->mail_done && deliverer_job_is_undecided(job)) {
        run_anew(link); /* the connection had been waiting too long */
        return;
    }
    link->job = NULL;
    job->link = NULL;
    job->done.fresh = !is_reused;
    job->done.lost = true;
    job->done.timed_out = link->is_timed_out;
    deliverer_job_decide_rest(job, unknown ? SMTP_CLASS_UNKNOWN : SMTP_CLASS_AWAY, phase, text);
    deliverer_job_finish(job, phase, text);
}

/* Policy `may`: the handshake failed, or there was nothing inside. The job begins anew, in the
 * clear. */
static bool
goes_on_in_clear(struct deliverer_link *link, enum smtp_phase phase, const struct smtp_reply *reply)
{
    struct deliverer_job *job = link->job;

    if (link->to.tls != REGISTRY_TLS_MAY || reply->code != 0 || job == NULL ||
        !(phase == SMTP_PHASE_STARTTLS || (phase == SMTP_PHASE_EHLO && link->is_secure)))
        return false;
    note_clear(link->deliverer, &link->to);
    run_anew(link);
    return true;
}

static void
on_end(void *ctx, enum smtp_phase phase, bool dot_sent, const struct smtp_reply *reply)
{
    struct deliverer_link *link = ctx;
    const char *why = conn_tls_error(link->conn);
    char text[SMTP_REPLY_TEXT_SIZE + 16], handshake[SMTP_REPLY_TEXT_SIZE + 16];

    if (goes_on_in_clear(link, phase, reply))
        return;
    smtp_reply_text(reply, text, sizeof text);
    if (phase == SMTP_PHASE_STARTTLS && reply->code == 0) {
        snprintf(handshake, sizeof handshake, "TLS: %.200s", why[0] ? why : reply->text);
        link_ended(link, phase, dot_sent, handshake);
    } else
        link_ended(link, phase, dot_sent, text);
}

static const struct smtp_client_ops engine_ops = {
    .on_ready = on_ready,
    .on_starttls = on_starttls,
    .on_reply = deliverer_job_on_reply,
    .on_want_content = deliverer_job_on_want_content,
    .on_end = on_end,
};

/* --- Life. */

static void
tell_closed(struct deliverer *d, uint32_t link)
{
    put_u32(deliverer_packet(d), link);
    deliverer_tell(d, COURIER_CLOSED);
}

static void
link_free(void *ctx)
{
    struct deliverer_link *link = ctx;

    smtp_client_free(&link->client);
    free(link);
}

static void
link_close(struct deliverer_link *link)
{
    struct deliverer_link **at = &link->deliverer->links;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    if (link->job != NULL) /* its content was given up */
        deliverer_job_finish_broken(link->job);
    conn_close(&link->conn);
    if (link->then != NULL)
        deliverer_link_run(link->then);
    else
        tell_closed(link->deliverer, link->number);
    loop_defer(link->deliverer->loop, link_free, link);
}

static void
link_deadline(struct deliverer_link *link, bool anew)
{
    bool is_waiting = link->is_ready && link->job == NULL && smtp_client_is_idle(link->client);
    unsigned progress = smtp_client_progress(link->client);

    if (anew || is_waiting || progress != link->progress)
        conn_deadline(link->conn, is_waiting ? IDLE_MS : smtp_client_timeout_ms(link->client));
    link->progress = progress;
}

static void
link_leave(struct deliverer_link *link)
{
    smtp_client_quit(link->client);
    link->is_dead = true;
    conn_flush_now(link->conn);
}

void
deliverer_link_settle(struct deliverer_link *link)
{
    bool anew = false;

    if (!link->is_dead && link->is_leaving && link->job == NULL &&
        smtp_client_is_idle(link->client))
        link_leave(link);
    if (!link->is_dead && link->job != NULL && !link->job->is_running &&
        smtp_client_is_idle(link->client) && link->is_ready) {
        link->job->is_running = true;
        deliverer_job_begin(link);
        anew = true;
    }
    if (link->is_dead) {
        link_close(link);
        return;
    }
    link_deadline(link, anew);
    conn_flush(link->conn);
}

/* --- The connection's events. */

static void
on_connected(struct deliverer_link *link)
{
    link->client =
        smtp_client_new(&link->deliverer->settings, &engine_ops, link, conn_output(link->conn));
    smtp_client_set_tls(link->client, tls_wanted(link));
    if (link->to.authenticates)
        smtp_client_set_credentials(link->client, link->deliverer->credentials);
    deliverer_link_settle(link);
    if (link->client != NULL && !link->is_dead)
        link_deadline(link, true);
}

static void
link_failed(struct deliverer_link *link, const char *why)
{
    if (link->client != NULL)
        smtp_client_lost(link->client);
    else
        link_ended(link, SMTP_PHASE_CONNECT, false, why);
    deliverer_link_settle(link);
}

static void
on_deadline(struct deliverer_link *link)
{
    link->is_timed_out = true;
    if (link->client == NULL) {
        link_failed(link, "connection timed out");
        return;
    }
    if (link->job == NULL && smtp_client_is_idle(link->client))
        link->is_leaving = true; /* enough waited */
    else
        smtp_client_timeout(link->client);
    deliverer_link_settle(link);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct deliverer_link *link = ctx;

    if (link->is_dead)
        return;
    switch (event) {
    case CONN_CONNECTED:
        on_connected(link);
        break;
    case CONN_INPUT:
        smtp_client_input(link->client, conn_input(link->conn));
        deliverer_link_settle(link);
        break;
    case CONN_DRAINED:
        if (link->job != NULL && link->job->has_asked && !link->job->has_dot)
            deliverer_job_pump(link->job);
        if (link->client != NULL && !link->is_dead)
            link_deadline(link, true);
        deliverer_link_settle(link);
        break;
    case CONN_EOF:
        link_failed(link, "connection lost");
        break;
    case CONN_FAILED:
        link_failed(link, strerror(conn_error(link->conn)));
        break;
    case CONN_TIMEOUT:
        on_deadline(link);
        break;
    case CONN_TLS_READY:
        link->is_secure = true;
        smtp_client_tls_started(link->client);
        deliverer_link_settle(link);
        break;
    }
}

/* --- Jobs. */

struct deliverer_link *
deliverer_link_find(struct deliverer *d, uint32_t number)
{
    struct deliverer_link *link = d->links;

    while (link != NULL && link->number != number)
        link = link->next;
    return link;
}

static bool
is_worn(const struct deliverer_link *link)
{
    return link->messages >= MESSAGES_PER_LINK ||
           loop_now_ms(link->deliverer->loop) - link->made_at_ms >= LINK_AGE_MS;
}

static void
cannot_connect(struct deliverer_job *job, const char *why)
{
    struct deliverer *d = job->deliverer;
    uint32_t link = job->wanted.link;

    job->done.fresh = job->done.lost = true;
    deliverer_job_decide_rest(job, SMTP_CLASS_AWAY, SMTP_PHASE_CONNECT, why);
    deliverer_job_finish(job, SMTP_PHASE_CONNECT, why);
    tell_closed(d, link);
}

/* From the source that was asked for, or, if that cannot be, from any. */
static int
begin_connect(struct deliverer_link *link)
{
    struct deliverer *d = link->deliverer;
    struct inet_endpoint source = destination_source(&link->to);
    char from[INET_ENDPOINT_SIZE];
    int rc = conn_connect(d->loop, &link->to.endpoint, &source, d->connect_timeout_ms, on_conn,
                          link, &link->conn);

    if (rc == 0 || source.family == 0 || (errno != EADDRNOTAVAIL && errno != EINVAL))
        return rc;
    if (!d->source_alarmed)
        log_line(LOG_LEVEL_ALARM, NULL, "source-address-unusable",
                 "source=%s why=\"%s\" effect=\"connections are made from the address that the "
                 "system chooses\"",
                 inet_address_text(&source, from), strerror(errno));
    d->source_alarmed = true;
    return conn_connect(d->loop, &link->to.endpoint, NULL, d->connect_timeout_ms, on_conn, link,
                        &link->conn);
}

static void
job_connect(struct deliverer_job *job)
{
    struct deliverer *d = job->deliverer;
    struct deliverer_link *link = mem_alloc(sizeof *link);

    *link = (struct deliverer_link){.deliverer = d,
                                    .number = job->wanted.link,
                                    .to = job->wanted.to,
                                    .job = job,
                                    .made_at_ms = loop_now_ms(d->loop)};
    if (begin_connect(link) != 0) {
        free(link);
        cannot_connect(job, strerror(errno));
        return;
    }
    job->link = link;
    link->next = d->links;
    d->links = link;
}

void
deliverer_link_run(struct deliverer_job *job)
{
    struct deliverer_link *link = deliverer_link_find(job->deliverer, job->wanted.link);

    job->is_running = false;
    if (link == NULL) {
        job_connect(job);
        return;
    }
    link->is_leaving = link->is_leaving || is_worn(link);
    if (link->is_leaving) {
        link->then = job;
    } else {
        link->job = job;
        job->link = link;
    }
    deliverer_link_settle(link);
}
