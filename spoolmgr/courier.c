/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The fields of the packets, each written and read side by side.
 */
#include "spoolmgr/courier.h"

void
courier_put_endpoint(struct buf *b, const struct inet_endpoint *endpoint)
{
    put_u8(b, endpoint->family);
    buf_add(b, endpoint->addr, sizeof endpoint->addr);
    put_u16(b, endpoint->port);
}

struct inet_endpoint
courier_get_endpoint(struct decoder *d)
{
    struct inet_endpoint endpoint = {.family = get_u8(d)};

    for (size_t i = 0; i < sizeof endpoint.addr; i++)
        endpoint.addr[i] = get_u8(d);
    endpoint.port = get_u16(d);
    return endpoint;
}

/* What of it a connection takes; the rest is the keeper's. */
static void
put_destination(struct buf *b, const struct destination *to)
{
    courier_put_endpoint(b, &to->endpoint);
    courier_put_endpoint(b, &to->source);
    put_u8(b, (uint8_t)to->tls);
    put_text(b, to->tls_name);
    put_text(b, to->host);
    put_u8(b, to->trusts_us);
    put_u8(b, to->authenticates);
}

static struct destination
get_destination(struct decoder *d)
{
    struct destination to = {.endpoint = courier_get_endpoint(d)};

    to.source = courier_get_endpoint(d);
    to.tls = (enum registry_tls)get_u8(d);
    get_text(d, to.tls_name, sizeof to.tls_name);
    get_text(d, to.host, sizeof to.host);
    to.trusts_us = get_u8(d) != 0;
    to.authenticates = get_u8(d) != 0;
    return to;
}

void
courier_put_job(struct buf *b, const struct courier_job *job)
{
    put_u32(b, job->id);
    put_u32(b, job->link);
    put_destination(b, &job->to);
    put_bytes(b, job->reverse_path);
    put_u64(b, job->body_offset);
    put_u64(b, job->body_bytes);
    put_u64(b, job->body_check);
    put_u8(b, job->body);
    put_u32(b, job->flags);
    put_u8(b, job->dsn_ret);
    put_bytes(b, job->dsn_envid);
    courier_put_endpoint(b, &job->client);
    put_bytes(b, job->client_name);
    put_bytes(b, job->helo);
    put_bytes(b, job->ref);
}

bool
courier_get_job(struct slice payload, struct courier_job *job)
{
    struct decoder d = decoder_of(payload);

    job->id = get_u32(&d);
    job->link = get_u32(&d);
    job->to = get_destination(&d);
    job->reverse_path = get_bytes(&d);
    job->body_offset = get_u64(&d);
    job->body_bytes = get_u64(&d);
    job->body_check = get_u64(&d);
    job->body = get_u8(&d);
    job->flags = get_u32(&d);
    job->dsn_ret = get_u8(&d);
    job->dsn_envid = get_bytes(&d);
    job->client = courier_get_endpoint(&d);
    job->client_name = get_bytes(&d);
    job->helo = get_bytes(&d);
    job->ref = get_bytes(&d);
    return decoder_done(&d) && job->to.tls <= REGISTRY_TLS_VERIFY;
}

void
courier_put_rcpt(struct buf *b, const struct courier_rcpt *rcpt)
{
    put_u32(b, rcpt->index);
    put_bytes(b, rcpt->address);
    put_u8(b, rcpt->dsn_notify);
    put_bytes(b, rcpt->dsn_orcpt);
}

bool
courier_get_rcpt(struct decoder *d, struct courier_rcpt *rcpt)
{
    rcpt->index = get_u32(d);
    rcpt->address = get_bytes(d);
    rcpt->dsn_notify = get_u8(d);
    rcpt->dsn_orcpt = get_bytes(d);
    return !d->failed;
}

void
courier_put_result(struct buf *b, const struct courier_result *result)
{
    put_u32(b, result->recipient);
    put_u8(b, (uint8_t)result->class);
    put_u8(b, (uint8_t)result->phase);
    put_text(b, result->text);
}

bool
courier_get_result(struct decoder *d, struct courier_result *result)
{
    result->recipient = get_u32(d);
    result->class = get_u8(d);
    result->phase = get_u8(d);
    get_text(d, result->text, sizeof result->text);
    return !d->failed && result->class <= SMTP_CLASS_UNKNOWN && result->phase < SMTP_PHASE_COUNT;
}

void
courier_put_done(struct buf *b, const struct courier_done *done)
{
    put_u32(b, done->id);
    put_u8(b, (uint8_t)done->phase);
    put_u8(b, done->fresh);
    put_u8(b, done->lost);
    put_u8(b, done->mail_done);
    put_u8(b, done->timed_out);
    put_u8(b, (uint8_t)done->body);
    put_text(b, done->tls);
    put_text(b, done->text);
}

bool
courier_get_done(struct slice payload, struct courier_done *done)
{
    struct decoder d = decoder_of(payload);

    done->id = get_u32(&d);
    done->phase = get_u8(&d);
    done->fresh = get_u8(&d) != 0;
    done->lost = get_u8(&d) != 0;
    done->mail_done = get_u8(&d) != 0;
    done->timed_out = get_u8(&d) != 0;
    done->body = get_u8(&d);
    get_text(&d, done->tls, sizeof done->tls);
    get_text(&d, done->text, sizeof done->text);
    return decoder_done(&d) && done->phase < SMTP_PHASE_COUNT && done->body < COURIER_BODY_COUNT;
}
