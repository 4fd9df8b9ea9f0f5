/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A deliverer: runs the client engine for the keeper's jobs, many at once.  A job is one attempt; a
 * link is one connection, kept when its job is done until the keeper has another job for it or has
 * it closed.  Here is the channel to the keeper: what it orders, and how it is told.
 *
 * It decides nothing and remembers nothing: killed at any moment it loses nothing (P2).  Signals to
 * the group do not touch it: what is behind the dot would become a possible duplicate.
 */
#include "base/log.h"
#include "net/process.h"
#include "spoolmgr/deliverer_private.h"

/* --- To the keeper. */

struct buf *
deliverer_packet(struct deliverer *d)
{
    buf_clear(&d->packet);
    return &d->packet;
}

void
deliverer_tell(struct deliverer *d, enum courier_message type)
{
    if (channel_send(d->channel, (uint16_t)type, buf_slice(&d->packet), NULL, 0) != 0)
        loop_stop(d->loop); /* the keeper is gone, or no longer reads: it will start over */
}

/* --- From the keeper. */

static struct deliverer_job *
job_find(struct deliverer *d, uint32_t id)
{
    struct deliverer_job *job = d->jobs;

    while (job != NULL && job->wanted.id != id)
        job = job->next;
    return job;
}

/* What the relay's parser has let through; no more than its type holds. */
static void
take_path(struct smtp_path *path, struct slice text)
{
    CHECK(slice_to_text(text, path->text, sizeof path->text));
    path->needs_smtputf8 = !slice_is_ascii(text);
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
take_client(struct deliverer_job *job)
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
    struct deliverer_job *job = mem_alloc(sizeof *job);

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
take_rcpts(struct deliverer_job *job, struct decoder *fields)
{
    struct courier_rcpt wanted;

    while (fields->p < fields->end && courier_get_rcpt(fields, &wanted)) {
        struct deliverer_rcpt *rcpt;

        job->rcpts = mem_realloc(job->rcpts, (job->rcpt_count + 1) * sizeof(*job->rcpts));
        rcpt = &job->rcpts[job->rcpt_count++];
        *rcpt = (struct deliverer_rcpt){.index = wanted.index,
                                        .rcpt = {.dsn_notify = wanted.dsn_notify}};
        take_path(&rcpt->rcpt.path, wanted.address);
        (void)slice_to_text(wanted.dsn_orcpt, rcpt->rcpt.dsn_orcpt, sizeof rcpt->rcpt.dsn_orcpt);
    }
}

/* One that is gone has been told already. */
static void
take_close(struct deliverer *d, uint32_t number)
{
    struct deliverer_link *link = deliverer_link_find(d, number);

    if (link == NULL)
        return;
    link->is_leaving = true;
    deliverer_link_settle(link);
}

static void
take_dot(struct deliverer_job *job)
{
    struct deliverer_link *link = job->link;

    job->may_dot = true;
    if (link == NULL || link->is_dead)
        return;
    deliverer_job_pump(job);
    deliverer_link_settle(link);
}

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct deliverer *d = ctx;
    struct decoder fields = decoder_of(payload);
    uint32_t number = get_u32(&fields);
    struct deliverer_job *job;

    if (type == COURIER_PING) {
        put_u32(deliverer_packet(d), 0);
        deliverer_tell(d, COURIER_PING);
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
        deliverer_link_run(job);
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
