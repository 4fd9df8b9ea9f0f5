/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A deliverer: runs the client engine for the keeper's jobs, many at once.  A job is one attempt; a
 * link is one connection, kept when its job is done until the keeper has another job for it or has
 * it closed.  At most one connection stands for each link's number at any moment.  The body goes
 * from the segment's descriptor to the socket in pieces, checked on the way; the dot goes only when
 * the body was whole and the keeper has said that `offered` is durable.
 *
 * It decides nothing and remembers nothing: killed at any moment it loses nothing (P2).  A loss on
 * a reused connection before MAIL is answered means nothing: the job goes to a fresh one.  Signals
 * to the group do not touch it: what is behind the dot would become a possible duplicate.
 *
 *   job:   RECEIVING --GO--> RUNNING --all answered, or connection lost--> reported and freed
 *   link:  connecting, greeting --on_ready--> idle <--> with a job --> dead, freed after the turn;
 *          a job that is to begin anew waits until then
 */
#include "spoolmgr/courier.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "base/log.h"
#include "net/channel.h"
#include "net/conn.h"
#include "net/process.h"
#include "route/destination_link.h"
#include "smtp/smtp_command.h"
#include "spool/spool_check.h"
#include "spool/spool_io.h"
#include "spool/spool_record.h"

#define IDLE_MS 5000                /* then a keeper that says nothing has forgotten it */
#define MESSAGES_PER_LINK 100       /* then a fresh one: some servers count */
#define LINK_AGE_MS (5 * 60 * 1000) /* then it is not used again */
#define CLEAR_MS (5 * 60 * 1000)    /* in the clear behind a handshake that failed */
#define PIECE_BYTES (64 * 1024)

struct rcpt {
    uint32_t index;
    struct smtp_rcpt rcpt;
    bool is_decided;
    struct courier_result result;
};

struct job {
    struct job *next;
    struct deliverer *deliverer;
    struct courier_job wanted;
    struct smtp_mail mail;
    char client_name[INET_DOMAIN_SIZE], helo[SMTP_HELO_SIZE], ref[REF_SIZE];
    int fd; /* of the segment */
    struct buf prepend;
    struct rcpt *rcpts;
    size_t rcpt_count;
    struct link *link;
    uint64_t sent_bytes; /* of the body */
    struct spool_check *check;
    bool is_running, has_asked, may_dot, has_dot, mail_done;
    struct courier_done done;
};

struct link {
    struct link *next;
    struct deliverer *deliverer;
    uint32_t number; /* the keeper's; one link at a time has it */
    struct destination to;
    struct conn *conn;
    struct smtp_client *client;
    struct job *job;
    struct job *then;  /* on a connection that follows this one */
    unsigned messages; /* begun on it */
    unsigned progress;
    bool is_ready, is_secure, is_dead, is_timed_out;
    bool is_leaving; /* says QUIT when it may, and ends */
    int64_t made_at_ms;
};

/* A destination with policy `may` whose handshake failed: in the clear until then. */
struct clear {
    struct clear *next;
    struct destination to;
    int64_t until_ms;
};

struct deliverer {
    struct loop *loop;
    struct channel *channel;
    struct tls_client *tls;
    struct clear *clears;
    const struct smtp_credentials *credentials; /* NULL: none */
    bool source_alarmed;
    struct smtp_client_settings settings;
    int64_t connect_timeout_ms;
    struct job *jobs;
    struct link *links;
    struct buf packet;
};

static void link_settle(struct link *link);
static void job_run(struct job *job);

/* --- To the keeper. */

static struct buf *
packet(struct deliverer *d)
{
    buf_clear(&d->packet);
    return &d->packet;
}

static void
tell(struct deliverer *d, enum courier_message type)
{
    if (channel_send(d->channel, (uint16_t)type, buf_slice(&d->packet), NULL, 0) != 0)
        loop_stop(d->loop); /* the keeper is gone, or no longer reads: it will start over */
}

static void
tell_job(struct job *job, enum courier_message type)
{
    put_u32(packet(job->deliverer), job->wanted.id);
    tell(job->deliverer, type);
}

static void
tell_results(struct job *job)
{
    struct deliverer *d = job->deliverer;

    put_u32(packet(d), job->wanted.id);
    for (size_t i = 0; i < job->rcpt_count; i++) {
        if (buf_size(&d->packet) > COURIER_PIECE_MAX) {
            tell(d, COURIER_RESULTS);
            put_u32(packet(d), job->wanted.id);
        }
        courier_put_result(&d->packet, &job->rcpts[i].result);
    }
    tell(d, COURIER_RESULTS);
}

static void
tell_closed(struct deliverer *d, uint32_t link)
{
    put_u32(packet(d), link);
    tell(d, COURIER_CLOSED);
}

/* --- Jobs. */

static struct job *
job_find(struct deliverer *d, uint32_t id)
{
    struct job *job = d->jobs;

    while (job != NULL && job->wanted.id != id)
        job = job->next;
    return job;
}

static void
job_free(struct job *job)
{
    struct job **at = &job->deliverer->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    free(job->rcpts);
    buf_fini(&job->prepend);
    spool_check_free(&job->check);
    close(job->fd);
    free(job);
}

static void
decide(struct rcpt *rcpt, enum smtp_class class, enum smtp_phase phase, const char *text)
{
    if (rcpt->is_decided)
        return;
    rcpt->is_decided = true;
    rcpt->result.recipient = rcpt->index;
    rcpt->result.class = class;
    rcpt->result.phase = phase;
    snprintf(rcpt->result.text, sizeof rcpt->result.text, "%s", text);
}

static void
decide_rest(struct job *job, enum smtp_class class, enum smtp_phase phase, const char *text)
{
    for (size_t i = 0; i < job->rcpt_count; i++)
        decide(&job->rcpts[i], class, phase, text);
}

static bool
nothing_decided(const struct job *job)
{
    for (size_t i = 0; i < job->rcpt_count; i++) {
        if (job->rcpts[i].is_decided)
            return false;
    }
    return true;
}

/* The job's last moment: everything is decided; its link, if it lives, is free again. */
static void
job_finish(struct job *job, enum smtp_phase phase, const char *text)
{
    struct deliverer *d = job->deliverer;

    job->done.id = job->wanted.id;
    job->done.phase = phase;
    job->done.mail_done = job->mail_done;
    if (job->link != NULL && job->link->conn != NULL)
        snprintf(job->done.tls, sizeof job->done.tls, "%s", conn_tls_version(job->link->conn));
    snprintf(job->done.text, sizeof job->done.text, "%s", text);
    CRASH_POINT("deliverer-before-telling");
    tell_results(job);
    courier_put_done(packet(d), &job->done);
    tell(d, COURIER_DONE);
    if (job->link != NULL)
        job->link->job = NULL;
    job_free(job);
}

/* --- Content. */

static const char *const body_texts[] = {
    [COURIER_BODY_WHOLE] = "",
    [COURIER_BODY_DAMAGED] = "the stored body is damaged",
    [COURIER_BODY_UNREADABLE] = "the stored body cannot be read",
};
static_assert(sizeof body_texts / sizeof body_texts[0] == COURIER_BODY_COUNT, "one text a state");

/* Inside DATA the only way out is to close. */
static void
give_up_content(struct job *job, enum courier_body body)
{
    job->done.body = body;
    decide_rest(job, SMTP_CLASS_LATER, SMTP_PHASE_DATA, body_texts[body]);
    job->link->is_dead = true;
}

static enum courier_body
next_piece(struct job *job)
{
    static char piece[PIECE_BYTES];
    uint64_t left = job->wanted.body_bytes - job->sent_bytes;
    ssize_t n =
        spool_io_disk.pread(job->fd, piece, left < sizeof piece ? (size_t)left : sizeof piece,
                            (off_t)(job->wanted.body_offset + job->sent_bytes));

    if (n <= 0)
        return n < 0 ? COURIER_BODY_UNREADABLE : COURIER_BODY_DAMAGED;
    job->sent_bytes += (uint64_t)n;
    spool_check_add(job->check, (struct slice){piece, (size_t)n});
    smtp_client_content(job->link->client, (struct slice){piece, (size_t)n});
    return COURIER_BODY_WHOLE;
}

/* As much as the connection takes; the dot when all is there and may go. */
static void
pump_content(struct job *job)
{
    struct link *link = job->link;

    if (buf_size(&job->prepend) > 0) {
        smtp_client_content(link->client, buf_slice(&job->prepend));
        buf_clear(&job->prepend);
    }
    while (job->sent_bytes < job->wanted.body_bytes && !conn_output_is_full(link->conn)) {
        enum courier_body body = next_piece(job);

        if (body != COURIER_BODY_WHOLE) {
            give_up_content(job, body);
            return;
        }
    }
    if (job->sent_bytes < job->wanted.body_bytes || job->has_dot)
        return;
    if (spool_check_result(job->check) != job->wanted.body_check) {
        give_up_content(job, COURIER_BODY_DAMAGED);
    } else if (job->may_dot) {
        CRASH_POINT("deliverer-before-dot");
        job->has_dot = true;
        smtp_client_dot(link->client);
    }
}

/* --- TLS. */

static struct clear *
find_clear(struct deliverer *d, const struct destination *to)
{
    struct clear *clear = d->clears;

    while (clear != NULL && !destination_shares_links(&clear->to, to))
        clear = clear->next;
    return clear;
}

static void
note_clear(struct deliverer *d, const struct destination *to)
{
    struct clear *clear = find_clear(d, to);
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
tls_wanted(struct link *link)
{
    struct clear *clear = find_clear(link->deliverer, &link->to);

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
    struct link *link = ctx;

    (void)caps;
    link->is_ready = true;
}

/* What this backend cannot be given because it lacks SMTPUTF8 (RFC 6531 3.2) is refused here, with
 * the reply that the sender would have heard at reception. */
static void
refuse_utf8(struct job *job)
{
    const struct smtp_capabilities *caps = smtp_client_capabilities(job->link->client);
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_UTF8_NOT_SUPPORTED);
    bool header = (job->wanted.flags & SPOOL_FLAG_UTF8_HEADER) && !caps->smtputf8;
    char text[SMTP_REPLY_TEXT_SIZE];

    smtp_reply_text(&reply, text, sizeof text);
    for (size_t i = 0; i < job->rcpt_count; i++)
        if (header || smtp_capabilities_lack_utf8(caps, &job->mail, &job->rcpts[i].rcpt.path))
            decide(&job->rcpts[i], SMTP_CLASS_REFUSED, SMTP_PHASE_RCPT, text);
}

/* Those that are to be said to the backend stand first; how many. */
static size_t
sort_undecided(struct job *job)
{
    size_t count = 0;

    for (size_t i = 0; i < job->rcpt_count; i++) {
        struct rcpt rcpt = job->rcpts[i];

        if (rcpt.is_decided)
            continue;
        job->rcpts[i] = job->rcpts[count];
        job->rcpts[count++] = rcpt;
    }
    return count;
}

/* To a backend that trusts us; by which protocol it came is not in the envelope. */
static void
forward(struct job *job)
{
    struct smtp_xforward forward = {.client_name = job->client_name,
                                    .client = job->wanted.client,
                                    .helo = job->helo,
                                    .ident = job->ref};

    if (job->wanted.to.trusts_us)
        smtp_client_xforward(job->link->client, &forward);
}

static void
start_transaction(struct link *link)
{
    struct job *job = link->job;
    size_t count;

    job->done.fresh = link->messages++ == 0;
    put_u32(packet(link->deliverer), job->wanted.id);
    put_u8(&link->deliverer->packet, job->done.fresh);
    tell(link->deliverer, COURIER_READY);
    refuse_utf8(job);
    count = sort_undecided(job);
    if (count == 0) {
        job_finish(job, SMTP_PHASE_RCPT, "the backend does not support SMTPUTF8");
        return;
    }
    job->mail.has_size = true;
    job->mail.size_bytes = job->wanted.body_bytes + buf_size(&job->prepend);
    forward(job);
    smtp_client_mail(link->client, &job->mail);
    for (size_t i = 0; i < count; i++)
        smtp_client_rcpt(link->client, &job->rcpts[i].rcpt);
    smtp_client_data(link->client);
}

static void
on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
         const struct smtp_reply *reply)
{
    struct link *link = ctx;
    struct job *job = link->job;
    char text[SMTP_REPLY_TEXT_SIZE + 16];

    if (job == NULL)
        return; /* RSET behind a job that is reported */
    smtp_reply_text(reply, text, sizeof text);
    if (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_OK)
        job->mail_done = true;
    else if (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_AWAY && !job->done.fresh)
        return; /* 421 to a reused connection: on_end follows */
    else if (phase == SMTP_PHASE_MAIL)
        decide_rest(job, class, phase, text);
    else if (phase == SMTP_PHASE_RCPT && class != SMTP_CLASS_OK)
        decide(&job->rcpts[index], class, phase, text);
    else if (phase == SMTP_PHASE_DOT || (phase == SMTP_PHASE_DATA && class != SMTP_CLASS_OK)) {
        CRASH_POINT("deliverer-heard-backend");
        decide_rest(job, class, phase, text);
        smtp_client_reset(link->client); /* does nothing behind a dot that was taken */
        job_finish(job, phase, text);
    }
}

static void
on_want_content(void *ctx)
{
    struct link *link = ctx;

    if (!link->job->has_asked)
        tell_job(link->job, COURIER_ASK_DOT);
    link->job->has_asked = true;
    pump_content(link->job);
}

/* The connection is dead; what was on it begins anew. */
static void
run_anew(struct link *link)
{
    link->is_dead = true;
    link->then = link->job;
    link->job = NULL;
    link->then->link = NULL;
}

/* What is unanswered when a connection ends is `away`, or `unknown` behind the dot. */
static void
link_ended(struct link *link, enum smtp_phase phase, bool unknown, const char *text)
{
    struct job *job = link->job;
    bool is_reused = job != NULL && link->messages > job->is_running;

    link->is_dead = true;
    if (job == NULL)
        return;
    if (is_reused && !job->mail_done && nothing_decided(job)) {
        run_anew(link); /* the connection had been waiting too long */
        return;
    }
    link->job = NULL;
    job->link = NULL;
    job->done.fresh = !is_reused;
    job->done.lost = true;
    job->done.timed_out = link->is_timed_out;
    decide_rest(job, unknown ? SMTP_CLASS_UNKNOWN : SMTP_CLASS_AWAY, phase, text);
    job_finish(job, phase, text);
}

/* Policy `may`: the handshake failed, or there was nothing inside. The job begins anew, in the
 * clear. */
static bool
goes_on_in_clear(struct link *link, enum smtp_phase phase, const struct smtp_reply *reply)
{
    struct job *job = link->job;

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
    struct link *link = ctx;
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

static void
on_starttls(void *ctx)
{
    struct link *link = ctx;
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

static const struct smtp_client_ops engine_ops = {
    .on_ready = on_ready,
    .on_starttls = on_starttls,
    .on_reply = on_reply,
    .on_want_content = on_want_content,
    .on_end = on_end,
};

/* --- Links. */

static void
link_free(void *ctx)
{
    struct link *link = ctx;

    smtp_client_free(&link->client);
    free(link);
}

static void
link_close(struct link *link)
{
    struct link **at = &link->deliverer->links;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    if (link->job != NULL) /* its content was given up */
        job_finish(link->job, SMTP_PHASE_DATA, body_texts[link->job->done.body]);
    conn_close(&link->conn);
    if (link->then != NULL)
        job_run(link->then);
    else
        tell_closed(link->deliverer, link->number);
    loop_defer(link->deliverer->loop, link_free, link);
}

static void
link_deadline(struct link *link, bool anew)
{
    bool is_waiting = link->is_ready && link->job == NULL && smtp_client_is_idle(link->client);
    unsigned progress = smtp_client_progress(link->client);

    if (anew || is_waiting || progress != link->progress)
        conn_deadline(link->conn, is_waiting ? IDLE_MS : smtp_client_timeout_ms(link->client));
    link->progress = progress;
}

static void
link_leave(struct link *link)
{
    smtp_client_quit(link->client);
    link->is_dead = true;
    conn_flush_now(link->conn);
}

/* After every call of the engine: what it has led to. */
static void
link_settle(struct link *link)
{
    bool anew = false;

    if (!link->is_dead && link->is_leaving && link->job == NULL &&
        smtp_client_is_idle(link->client))
        link_leave(link);
    if (!link->is_dead && link->job != NULL && !link->job->is_running &&
        smtp_client_is_idle(link->client) && link->is_ready) {
        link->job->is_running = true;
        start_transaction(link);
        anew = true;
    }
    if (link->is_dead) {
        link_close(link);
        return;
    }
    link_deadline(link, anew);
    conn_flush(link->conn);
}

static void
on_connected(struct link *link)
{
    link->client =
        smtp_client_new(&link->deliverer->settings, &engine_ops, link, conn_output(link->conn));
    smtp_client_set_tls(link->client, tls_wanted(link));
    if (link->to.authenticates)
        smtp_client_set_credentials(link->client, link->deliverer->credentials);
    link_settle(link);
    if (link->client != NULL && !link->is_dead)
        link_deadline(link, true);
}

static void
link_failed(struct link *link, const char *why)
{
    if (link->client != NULL)
        smtp_client_lost(link->client);
    else
        link_ended(link, SMTP_PHASE_CONNECT, false, why);
    link_settle(link);
}

static void
on_deadline(struct link *link)
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
    link_settle(link);
}

static void
on_conn(void *ctx, enum conn_event event)
{
    struct link *link = ctx;

    if (link->is_dead)
        return;
    switch (event) {
    case CONN_CONNECTED:
        on_connected(link);
        break;
    case CONN_INPUT:
        smtp_client_input(link->client, conn_input(link->conn));
        link_settle(link);
        break;
    case CONN_DRAINED:
        if (link->job != NULL && link->job->has_asked && !link->job->has_dot)
            pump_content(link->job);
        if (link->client != NULL && !link->is_dead)
            link_deadline(link, true);
        link_settle(link);
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
        link_settle(link);
        break;
    }
}

static struct link *
link_find(struct deliverer *d, uint32_t number)
{
    struct link *link = d->links;

    while (link != NULL && link->number != number)
        link = link->next;
    return link;
}

static bool
is_worn(const struct link *link)
{
    return link->messages >= MESSAGES_PER_LINK ||
           loop_now_ms(link->deliverer->loop) - link->made_at_ms >= LINK_AGE_MS;
}

static void
cannot_connect(struct job *job, const char *why)
{
    struct deliverer *d = job->deliverer;
    uint32_t link = job->wanted.link;

    job->done.fresh = job->done.lost = true;
    decide_rest(job, SMTP_CLASS_AWAY, SMTP_PHASE_CONNECT, why);
    job_finish(job, SMTP_PHASE_CONNECT, why);
    tell_closed(d, link);
}

/* From the source that was asked for, or, if that cannot be, from any. */
static int
begin_connect(struct link *link)
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
job_connect(struct job *job)
{
    struct deliverer *d = job->deliverer;
    struct link *link = mem_alloc(sizeof *link);

    *link = (struct link){.deliverer = d,
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

/* On its connection, if that stands, or on a new one; on one that is to be replaced, behind it. */
static void
job_run(struct job *job)
{
    struct link *link = link_find(job->deliverer, job->wanted.link);

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
    link_settle(link);
}

/* --- From the keeper. */

/* What the relay's parser has let through; no more than its type holds. */
static void
take_path(struct smtp_path *path, struct slice text)
{
    CHECK(slice_to_text(text, path->text, sizeof path->text));
    for (size_t i = 0; i < text.n; i++)
        path->needs_smtputf8 |= (unsigned char)text.p[i] > 0x7f;
}

static void
take_mail(struct smtp_mail *mail, const struct courier_job *wanted)
{
    take_path(&mail->path, wanted->reverse_path);
    mail->body = wanted->body;
    mail->smtputf8 = wanted->flags & SPOOL_FLAG_SMTPUTF8;
    mail->dsn_ret = wanted->dsn_ret;
    (void)slice_to_text(wanted->dsn_envid, mail->dsn_envid, sizeof mail->dsn_envid);
}

/* One that does not fit whole is not told. */
static void
take_client(struct job *job)
{
    if (!slice_to_text(job->wanted.client_name, job->client_name, sizeof job->client_name))
        job->client_name[0] = '\0';
    if (!slice_to_text(job->wanted.helo, job->helo, sizeof job->helo))
        job->helo[0] = '\0';
    if (!slice_to_text(job->wanted.ref, job->ref, sizeof job->ref))
        job->ref[0] = '\0';
}

static void
take_job(struct deliverer *d, struct slice payload, int fd)
{
    struct job *job = mem_alloc(sizeof *job);

    CHECK(courier_get_job(payload, &job->wanted) && fd >= 0);
    job->deliverer = d;
    job->fd = fd;
    take_mail(&job->mail, &job->wanted);
    take_client(job);
    /* Texts of the packet. */
    job->wanted.reverse_path = job->wanted.dsn_envid = job->wanted.client_name = job->wanted.helo =
        job->wanted.ref = (struct slice){"", 0};
    buf_init(&job->prepend, 0);
    job->check = spool_check_new();
    job->next = d->jobs;
    d->jobs = job;
}

static void
take_rcpts(struct job *job, struct decoder *fields)
{
    struct courier_rcpt wanted;

    while (fields->p < fields->end && courier_get_rcpt(fields, &wanted)) {
        struct rcpt *rcpt;

        job->rcpts = mem_realloc(job->rcpts, (job->rcpt_count + 1) * sizeof(*job->rcpts));
        rcpt = &job->rcpts[job->rcpt_count++];
        *rcpt = (struct rcpt){.index = wanted.index, .rcpt = {.dsn_notify = wanted.dsn_notify}};
        take_path(&rcpt->rcpt.path, wanted.address);
        (void)slice_to_text(wanted.dsn_orcpt, rcpt->rcpt.dsn_orcpt, sizeof rcpt->rcpt.dsn_orcpt);
    }
}

/* One that is gone has been told already. */
static void
take_close(struct deliverer *d, uint32_t number)
{
    struct link *link = link_find(d, number);

    if (link == NULL)
        return;
    link->is_leaving = true;
    link_settle(link);
}

static void
take_dot(struct job *job)
{
    struct link *link = job->link;

    job->may_dot = true;
    if (link == NULL || link->is_dead)
        return;
    pump_content(job);
    link_settle(link);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct deliverer *d = ctx;
    struct decoder fields = decoder_of(payload);
    uint32_t number = get_u32(&fields);
    struct job *job;

    if (type == COURIER_PING) {
        put_u32(packet(d), 0);
        tell(d, COURIER_PING);
        return;
    }
    if (type == COURIER_JOB) {
        take_job(d, payload, fd_count > 0 ? fds[0] : -1);
        return;
    }
    if (type == COURIER_CLOSE) {
        take_close(d, number);
        return;
    }
    job = job_find(d, number);
    if (job == NULL)
        return; /* DOT for a job whose connection was lost meanwhile */
    if (type == COURIER_PREPEND)
        buf_add_slice(&job->prepend, get_bytes(&fields));
    else if (type == COURIER_RCPTS)
        take_rcpts(job, &fields);
    else if (type == COURIER_GO)
        job_run(job);
    else if (type == COURIER_DOT)
        take_dot(job);
}

static void
on_keeper_gone(void *ctx)
{
    struct deliverer *d = ctx;

    loop_stop(d->loop);
}

int
deliverer_run(const struct config *config, struct tls_client *tls,
              const struct smtp_credentials *credentials, int keeper_fd)
{
    struct deliverer d = {
        .tls = tls,
        .credentials = credentials,
        .settings =
            {
                .hostname = config->hostname,
                .command_timeout_ms = config->backend_command_timeout_ms,
                .data_timeout_ms = config->backend_command_timeout_ms,
                .content_timeout_ms = config->client_data_timeout_ms,
                .final_timeout_ms = config->final_reply_timeout_ms,
            },
        .connect_timeout_ms = config->backend_connect_timeout_ms,
    };

    process_ends_with_channel();
    log_set_program("spoolmgr/deliverer");
    buf_init(&d.packet, 0);
    d.loop = loop_new();
    d.channel = channel_open(d.loop, keeper_fd, on_message, on_keeper_gone, &d);
    loop_run(d.loop);
    return 0;
}
