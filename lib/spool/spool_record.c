/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The envelope's encoding: format version, reference (both at a fixed place, so that an index can
 * be built without the rest), then the fields in the order of the struct.  The decoder takes any
 * bytes: what it returns has been bounded and holds no NUL inside a text.  A version adds fields;
 * records of the versions before it are read without them.
 */
#include "config.h"

#include "spool/spool_record.h"

#include "base/codec.h"

/* 1: the first. 2: with the parameters of RFC 3461. 3: with the time of the commit. 4: what mail of
 * our own is about. Older versions are read for as long as a spool may hold them: retention can be
 * extended without bound. */
#define ENVELOPE_VERSION 4
#define ENVELOPE_VERSION_DSN 2
#define ENVELOPE_VERSION_COMMITTED 3
#define ENVELOPE_VERSION_ABOUT 4

static void
put_ref(struct buf *out, struct ref ref)
{
    put_u16(out, ref.node);
    put_u32(out, ref.minute);
    put_u64(out, ref.number);
}

static void
put_endpoint(struct buf *out, const struct inet_endpoint *e)
{
    put_u8(out, e->family);
    buf_add(out, e->addr, sizeof e->addr);
    put_u16(out, e->port);
}

static void
put_recipient(struct buf *out, const struct spool_recipient *recipient)
{
    put_text(out, recipient->address);
    put_text(out, recipient->domain);
    put_u8(out, (uint8_t)recipient->side);
    put_u8(out, recipient->dsn_notify);
    put_text(out, recipient->dsn_orcpt);
}

static void
put_about(struct buf *out, const struct spool_about *about)
{
    CHECK(about->end_count <= SPOOL_RECIPIENTS_MAX);
    put_ref(out, about->ref);
    put_u32(out, about->end_count);
    for (unsigned i = 0; i < about->end_count; i++) {
        put_u16(out, about->ends[i].recipient);
        put_u8(out, about->ends[i].end);
    }
}

void
spool_envelope_encode(const struct spool_envelope *envelope, struct buf *out)
{
    CHECK(envelope->recipient_count <= SPOOL_RECIPIENTS_MAX);
    put_u16(out, ENVELOPE_VERSION);
    put_ref(out, envelope->ref);
    put_u64(out, (uint64_t)envelope->received_at_ms);
    put_u64(out, (uint64_t)envelope->expires_at_ms);
    put_u64(out, (uint64_t)envelope->committed_at_ms);
    put_u32(out, envelope->customer_id);
    put_text(out, envelope->customer);
    put_endpoint(out, &envelope->client);
    put_text(out, envelope->client_name);
    put_text(out, envelope->helo);
    put_text(out, envelope->reverse_path);
    put_u8(out, envelope->body);
    put_u32(out, envelope->flags);
    put_text(out, envelope->reason);
    put_bytes(out, envelope->prepend);
    put_u8(out, envelope->dsn_ret);
    put_text(out, envelope->dsn_envid);
    put_u32(out, envelope->recipient_count);
    for (unsigned i = 0; i < envelope->recipient_count; i++)
        put_recipient(out, &envelope->recipients[i]);
    if (envelope->flags & SPOOL_FLAG_OWN)
        put_about(out, &envelope->about);
}

/* --- Decoding.  Without an arena nothing is copied: the facts alone are wanted.  `full`: the
 * arena's cap was reached, which is no fault of the bytes. */

struct reading {
    struct decoder d;
    struct arena *arena;       /* or */
    struct spool_facts *facts; /* is NULL */
    uint16_t version;
    bool full;
};

static struct ref
get_ref(struct decoder *d)
{
    struct ref ref = {.node = get_u16(d)};

    ref.minute = get_u32(d);
    ref.number = get_u64(d);
    return ref;
}

static char *
keep(struct reading *r, struct slice s)
{
    char *copy = r->arena == NULL || r->d.failed || r->full ? NULL : arena_copy(r->arena, s);

    if (copy == NULL && r->arena != NULL && !r->d.failed)
        r->full = true;
    return copy;
}

static struct slice
take_text(struct reading *r)
{
    struct slice s = get_bytes(&r->d);

    if (s.n && memchr(s.p, 0, s.n) != NULL)
        r->d.failed = true;
    return s;
}

static const char *
read_text(struct reading *r)
{
    return keep(r, take_text(r));
}

static void
read_endpoint(struct reading *r, struct inet_endpoint *e)
{
    e->family = get_u8(&r->d);
    for (size_t i = 0; i < sizeof e->addr; i++)
        e->addr[i] = get_u8(&r->d);
    e->port = get_u16(&r->d);
    if (e->family != 0 && e->family != 4 && e->family != 6)
        r->d.failed = true;
}

static uint8_t
read_bounded(struct reading *r, uint8_t max)
{
    uint8_t value = get_u8(&r->d);

    if (value > max)
        r->d.failed = true;
    return value;
}

static bool
has_dsn(const struct reading *r)
{
    return r->version >= ENVELOPE_VERSION_DSN;
}

/* Its domain, borrowed, whatever is kept. */
static struct slice
read_recipient(struct reading *r, struct spool_recipient *recipient)
{
    struct slice domain;

    recipient->address = read_text(r);
    domain = take_text(r);
    recipient->domain = keep(r, domain);
    recipient->side = read_bounded(r, SPOOL_LIVE) == SPOOL_LIVE ? SPOOL_LIVE : SPOOL_OURS;
    recipient->dsn_notify = has_dsn(r) ? read_bounded(r, SPOOL_DSN_NOTIFY_MAX) : 0;
    recipient->dsn_orcpt = has_dsn(r) ? read_text(r) : "";
    return domain;
}

static void
note_recipients(struct reading *r, uint32_t count)
{
    struct spool_facts *f = r->facts;

    f->recipient_count = count;
    f->recipients = (struct slice){r->d.p, (size_t)(r->d.end - r->d.p)};
    f->has_one_domain = true;
    for (uint32_t i = 0; i < count && !r->d.failed; i++) {
        struct spool_recipient recipient;
        struct slice domain = read_recipient(r, &recipient);

        if (i == 0)
            f->domain = domain;
        f->has_one_domain = f->has_one_domain && slice_equal(domain, f->domain);
        f->has_live = f->has_live || recipient.side == SPOOL_LIVE;
    }
}

static void
keep_recipients(struct reading *r, struct spool_envelope *envelope, uint32_t count)
{
    envelope->recipients = arena_alloc(r->arena, count * sizeof *envelope->recipients);
    if (envelope->recipients == NULL) {
        r->full = true;
        return;
    }
    envelope->recipient_count = count;
    for (uint32_t i = 0; i < count && !r->d.failed && !r->full; i++)
        (void)read_recipient(r, &envelope->recipients[i]);
}

static void
read_recipients(struct reading *r, struct spool_envelope *envelope)
{
    uint32_t count = get_u32(&r->d);

    if (count > SPOOL_RECIPIENTS_MAX)
        r->d.failed = true;
    if (r->d.failed || r->full)
        return;
    if (r->facts != NULL)
        note_recipients(r, count);
    else
        keep_recipients(r, envelope, count);
}

static void
read_ends(struct reading *r, struct spool_about *about, uint32_t count)
{
    about->ends = r->arena ? arena_alloc(r->arena, count * sizeof *about->ends) : NULL;
    if (r->arena != NULL && count > 0 && about->ends == NULL) {
        r->full = true;
        return;
    }
    for (uint32_t i = 0; i < count && !r->d.failed; i++) {
        struct spool_about_end end = {.recipient = get_u16(&r->d), .end = get_u8(&r->d)};

        if (about->ends != NULL)
            about->ends[i] = end;
    }
    about->end_count = count;
}

static void
read_about(struct reading *r, struct spool_envelope *envelope)
{
    uint32_t count;

    if (r->version < ENVELOPE_VERSION_ABOUT || !(envelope->flags & SPOOL_FLAG_OWN))
        return;
    envelope->about.ref = get_ref(&r->d);
    count = get_u32(&r->d);
    if (count > SPOOL_RECIPIENTS_MAX)
        r->d.failed = true;
    if (!r->d.failed && !r->full)
        read_ends(r, &envelope->about, count);
}

static void
read_fields(struct reading *r, struct spool_envelope *envelope)
{
    struct slice prepend, customer, reason;

    envelope->received_at_ms = (int64_t)get_u64(&r->d);
    envelope->expires_at_ms = (int64_t)get_u64(&r->d);
    envelope->committed_at_ms = r->version >= ENVELOPE_VERSION_COMMITTED ? (int64_t)get_u64(&r->d)
                                                                         : envelope->received_at_ms;
    envelope->customer_id = get_u32(&r->d);
    customer = take_text(r);
    envelope->customer = keep(r, customer);
    if (r->facts != NULL)
        r->facts->customer = customer;
    read_endpoint(r, &envelope->client);
    envelope->client_name = read_text(r);
    envelope->helo = read_text(r);
    envelope->reverse_path = read_text(r);
    envelope->body = get_u8(&r->d);
    envelope->flags = get_u32(&r->d);
    reason = take_text(r);
    envelope->reason = keep(r, reason);
    if (r->facts != NULL)
        r->facts->reason = reason;
    prepend = get_bytes(&r->d);
    envelope->prepend = (struct slice){keep(r, prepend), prepend.n};
    envelope->dsn_ret = has_dsn(r) ? read_bounded(r, SPOOL_DSN_RET_MAX) : 0;
    envelope->dsn_envid = has_dsn(r) ? read_text(r) : "";
    read_recipients(r, envelope);
    read_about(r, envelope);
}

static int
read_start(struct decoder *d, struct ref *ref, uint16_t *version)
{
    *version = get_u16(d);
    *ref = get_ref(d);
    if (d->failed)
        return ERR_CORRUPT;
    return *version >= 1 && *version <= ENVELOPE_VERSION ? ERR_OK : ERR_VERSION;
}

int
spool_envelope_peek_ref(struct slice encoded, struct ref *ref)
{
    struct decoder d = decoder_of(encoded);
    uint16_t version;

    return read_start(&d, ref, &version);
}

int
spool_envelope_peek_customer(struct slice encoded, struct slice *customer)
{
    struct decoder d = decoder_of(encoded);
    struct ref ref;
    uint16_t version;
    int rc = read_start(&d, &ref, &version);

    if (rc < 0)
        return rc;
    for (int moments = version >= ENVELOPE_VERSION_COMMITTED ? 3 : 2; moments > 0; moments--)
        (void)get_u64(&d);
    (void)get_u32(&d);
    *customer = get_bytes(&d);
    return d.failed ? ERR_CORRUPT : ERR_OK;
}

int
spool_envelope_decode(struct slice encoded, struct arena *arena, struct spool_envelope *envelope)
{
    struct reading r = {.d = decoder_of(encoded), .arena = arena};
    int rc;

    *envelope = (struct spool_envelope){.body = 0};
    rc = read_start(&r.d, &envelope->ref, &r.version);
    if (rc < 0)
        return rc;
    read_fields(&r, envelope);
    if (r.full)
        return ERR_LIMIT;
    return decoder_done(&r.d) ? ERR_OK : ERR_CORRUPT;
}

/* --- The facts alone. */

int
spool_envelope_facts(struct slice encoded, struct spool_facts *facts)
{
    struct reading r = {.d = decoder_of(encoded), .facts = facts};
    struct spool_envelope envelope = {.body = 0};
    int rc;

    *facts = (struct spool_facts){.version = 0};
    rc = read_start(&r.d, &facts->ref, &r.version);
    if (rc < 0)
        return rc;
    read_fields(&r, &envelope);
    facts->version = r.version;
    facts->received_at_ms = envelope.received_at_ms;
    facts->expires_at_ms = envelope.expires_at_ms;
    facts->committed_at_ms = envelope.committed_at_ms;
    facts->customer_id = envelope.customer_id;
    facts->flags = envelope.flags;
    return decoder_done(&r.d) ? ERR_OK : ERR_CORRUPT;
}

void
spool_facts_each_recipient(const struct spool_facts *facts,
                           void (*each)(void *ctx, unsigned i, struct slice domain,
                                        enum spool_side side),
                           void *ctx)
{
    struct spool_facts scratch;
    struct reading r = {
        .d = decoder_of(facts->recipients), .facts = &scratch, .version = facts->version};

    for (unsigned i = 0; i < facts->recipient_count; i++) {
        struct spool_recipient recipient;
        struct slice domain = read_recipient(&r, &recipient);

        each(ctx, i, domain, recipient.side);
    }
}
