/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A job of a deliverer: one attempt of one message.  The body goes from the segment's descriptor to
 * the socket in pieces, checked on the way; the dot goes only when the body was whole and the
 * keeper has said that `offered` is durable.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "spool/spool_io.h"
#include "spoolmgr/deliverer_private.h"

#define PIECE_BYTES (64 * 1024)

/* --- To the keeper. */

static void
tell_job(struct deliverer_job *job, enum courier_message type)
{
    put_u32(deliverer_packet(job->deliverer), job->wanted.id);
    deliverer_tell(job->deliverer, type);
}

static void
tell_results(struct deliverer_job *job)
{
    struct deliverer *d = job->deliverer;

    put_u32(deliverer_packet(d), job->wanted.id);
    for (size_t i = 0; i < job->rcpt_count; i++) {
        if (buf_size(&d->packet) > COURIER_PIECE_MAX) {
            deliverer_tell(d, COURIER_RESULTS);
            put_u32(deliverer_packet(d), job->wanted.id);
        }
        courier_put_result(&d->packet, &job->rcpts[i].result);
    }
    deliverer_tell(d, COURIER_RESULTS);
}

/* --- What is decided. */

static void
decide(struct deliverer_rcpt *rcpt, enum smtp_class class, enum smtp_phase phase, const char *text)
{
    if (rcpt->is_decided)
        return;
    rcpt->is_decided = true;
    rcpt->result.recipient = rcpt->index;
    rcpt->result.class = class;
    rcpt->result.phase = phase;
    snprintf(rcpt->result.text, sizeof rcpt->result.text, "%s", text);
}

void
deliverer_job_decide_rest(struct deliverer_job *job, enum smtp_class class, enum smtp_phase phase,
                          const char *text)
{
    for (size_t i = 0; i < job->rcpt_count; i++)
        decide(&job->rcpts[i], class, phase, text);
}

bool
deliverer_job_is_undecided(const struct deliverer_job *job)
{
    for (size_t i = 0; i < job->rcpt_count; i++) {
        if (job->rcpts[i].is_decided)
            return false;
    }
    return true;
}

static void
job_free(struct deliverer_job *job)
{
    struct deliverer_job **at = &job->deliverer->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    free(job->rcpts);
    buf_fini(&job->prepend);
    spool_check_free(&job->check);
    close(job->fd);
    free(job);
}

void
deliverer_job_finish(struct deliverer_job *job, enum smtp_phase phase, const char *text)
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
    courier_put_done(deliverer_packet(d), &job->done);
    deliverer_tell(d, COURIER_DONE);
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
give_up_content(struct deliverer_job *job, enum courier_body body)
{
    job->done.body = body;
    deliverer_job_decide_rest(job, SMTP_CLASS_LATER, SMTP_PHASE_DATA, body_texts[body]);
    job->link->is_dead = true;
}

void
deliverer_job_finish_broken(struct deliverer_job *job)
{
    deliverer_job_finish(job, SMTP_PHASE_DATA, body_texts[job->done.body]);
}

static enum courier_body
next_piece(struct deliverer_job *job)
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

void
deliverer_job_pump(struct deliverer_job *job)
{
    struct deliverer_link *link = job->link;

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

/* --- The transaction. */

/* What this backend cannot be given because it lacks SMTPUTF8 (RFC 6531 3.2) is refused here, with
 * the reply that the sender would have heard at reception. */
static void
refuse_utf8(struct deliverer_job *job)
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
sort_undecided(struct deliverer_job *job)
{
    size_t count = 0;

    for (size_t i = 0; i < job->rcpt_count; i++) {
        struct deliverer_rcpt rcpt = job->rcpts[i];

        if (rcpt.is_decided)
            continue;
        job->rcpts[i] = job->rcpts[count];
        job->rcpts[count++] = rcpt;
    }
    return count;
}

/* To a backend that trusts us; by which protocol it came is not in the envelope. */
static void
forward(struct deliverer_job *job)
{
    struct smtp_xforward forward = {.client_name = job->client_name,
                                    .client = job->wanted.client,
                                    .helo = job->helo,
                                    .ident = job->ref};

    if (job->wanted.to.trusts_us)
        smtp_client_xforward(job->link->client, &forward);
}

void
deliverer_job_begin(struct deliverer_link *link)
{
    struct deliverer_job *job = link->job;
    size_t count;

    job->done.fresh = link->messages++ == 0;
    put_u32(deliverer_packet(link->deliverer), job->wanted.id);
    put_u8(&link->deliverer->packet, job->done.fresh);
    deliverer_tell(link->deliverer, COURIER_READY);
    refuse_utf8(job);
    count = sort_undecided(job);
    if (count == 0) {
        deliverer_job_finish(job, SMTP_PHASE_RCPT, "the backend does not support SMTPUTF8");
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

void
deliverer_job_on_reply(void *ctx, enum smtp_phase phase, unsigned index, enum smtp_class class,
                       const struct smtp_reply *reply)
{
    struct deliverer_link *link = ctx;
    struct deliverer_job *job = link->job;
    char text[SMTP_REPLY_TEXT_SIZE + 16];

    if (job == NULL)
        return; /* RSET behind a job that is reported */
    smtp_reply_text(reply, text, sizeof text);
    if (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_OK)
        job->mail_done = true;
    else if (phase == SMTP_PHASE_MAIL && class == SMTP_CLASS_AWAY && !job->done.fresh)
        return; /* 421 to a reused connection: on_end follows */
    else if (phase == SMTP_PHASE_MAIL)
        deliverer_job_decide_rest(job, class, phase, text);
    else if (phase == SMTP_PHASE_RCPT && class != SMTP_CLASS_OK)
        decide(&job->rcpts[index], class, phase, text);
    else if (phase == SMTP_PHASE_DOT || (phase == SMTP_PHASE_DATA && class != SMTP_CLASS_OK)) {
        CRASH_POINT("deliverer-heard-backend");
        deliverer_job_decide_rest(job, class, phase, text);
        smtp_client_reset(link->client); /* does nothing behind a dot that was taken */
        deliverer_job_finish(job, phase, text);
    }
}

void
deliverer_job_on_want_content(void *ctx)
{
    struct deliverer_link *link = ctx;

    if (!link->job->has_asked)
        tell_job(link->job, COURIER_ASK_DOT);
    link->job->has_asked = true;
    deliverer_job_pump(link->job);
}
