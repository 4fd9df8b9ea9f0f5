/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The envelope's encoding: what goes in comes out, and no bytes do harm.
 */
#include "config.h"

#include <criterion/criterion.h>

#include "base/codec.h"
#include "spool/spool_format.h"
#include "spool/spool_record.h"
#include "spool/spool_resolution.h"

static struct spool_recipient two[] = {
    {.address = "Rita@Acme.Example",
     .domain = "acme.example",
     .side = SPOOL_OURS,
     .dsn_notify = 6,
     .dsn_orcpt = "rfc822;Rita+2Bold@Acme.Example"},
    {.address = "\"odd one\"@acme.example",
     .domain = "acme.example",
     .side = SPOOL_LIVE,
     .dsn_orcpt = ""},
};

static struct spool_envelope
sample(void)
{
    return (struct spool_envelope){
        .ref = {.node = 7, .minute = 3600000, .number = 34359738367},
        .received_at_ms = 1795000000123,
        .expires_at_ms = 1795432000000,
        .committed_at_ms = 1795000000456,
        .customer_id = 42,
        .customer = "acme",
        .client = {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, [15] = 1}, .port = 40123},
        .client_name = "mail.sender.example",
        .helo = "mail.sender.example",
        .reverse_path = "",
        .body = 2,
        .flags = SPOOL_FLAG_VERIFIED | SPOOL_FLAG_PREPARED,
        .reason = "connection refused",
        .prepend = SLICE("Received: from x\r\n\tby y\r\n"),
        .dsn_ret = 2,
        .dsn_envid = "QQ+2B314159",
        .recipients = two,
        .recipient_count = 2,
    };
}

static void
expect_same(const struct spool_envelope *a, const struct spool_envelope *b, const char *name)
{
    cr_expect(ref_equal(a->ref, b->ref), "%s", name);
    cr_expect_eq(a->received_at_ms, b->received_at_ms, "%s", name);
    cr_expect_eq(a->expires_at_ms, b->expires_at_ms, "%s", name);
    cr_expect_eq(a->committed_at_ms, b->committed_at_ms, "%s", name);
    cr_expect_eq(a->customer_id, b->customer_id, "%s", name);
    cr_expect_str_eq(a->customer, b->customer, "%s", name);
    cr_expect(inet_endpoint_equal(&a->client, &b->client), "%s", name);
    cr_expect_str_eq(a->client_name, b->client_name, "%s", name);
    cr_expect_str_eq(a->helo, b->helo, "%s", name);
    cr_expect_str_eq(a->reverse_path, b->reverse_path, "%s", name);
    cr_expect_eq(a->body, b->body, "%s", name);
    cr_expect_eq(a->flags, b->flags, "%s", name);
    cr_expect_str_eq(a->reason, b->reason, "%s", name);
    cr_expect(slice_equal(a->prepend, b->prepend), "%s", name);
    cr_expect_eq(a->dsn_ret, b->dsn_ret, "%s", name);
    cr_expect_str_eq(a->dsn_envid, b->dsn_envid, "%s", name);
    cr_assert_eq(a->recipient_count, b->recipient_count, "%s", name);
    for (unsigned i = 0; i < a->recipient_count; i++) {
        cr_expect_str_eq(a->recipients[i].address, b->recipients[i].address, "%s", name);
        cr_expect_str_eq(a->recipients[i].domain, b->recipients[i].domain, "%s", name);
        cr_expect_eq(a->recipients[i].side, b->recipients[i].side, "%s", name);
        cr_expect_eq(a->recipients[i].dsn_notify, b->recipients[i].dsn_notify, "%s", name);
        cr_expect_str_eq(a->recipients[i].dsn_orcpt, b->recipients[i].dsn_orcpt, "%s", name);
    }
}

static void
see_recipient(void *ctx, unsigned i, struct slice domain, enum spool_side side)
{
    const struct spool_envelope *e = ctx;

    cr_expect(slice_equal(domain, slice_of(e->recipients[i].domain)), "recipient %u", i);
    cr_expect_eq(side, e->recipients[i].side, "recipient %u", i);
}

static void
expect_facts(const struct spool_facts *f, struct spool_envelope *e)
{
    bool has_live = false;

    for (unsigned i = 0; i < e->recipient_count; i++)
        has_live = has_live || e->recipients[i].side == SPOOL_LIVE;
    cr_expect(ref_equal(f->ref, e->ref));
    cr_expect_eq(f->received_at_ms, e->received_at_ms);
    cr_expect_eq(f->expires_at_ms, e->expires_at_ms);
    cr_expect_eq(f->committed_at_ms, e->committed_at_ms);
    cr_expect_eq(f->customer_id, e->customer_id);
    cr_expect_eq(f->flags, e->flags);
    cr_expect(slice_equal(f->customer, slice_of(e->customer)));
    cr_expect_eq(f->recipient_count, e->recipient_count);
    cr_expect_eq(f->has_live, has_live);
    spool_facts_each_recipient(f, see_recipient, e);
}

/* The facts say the same, and refuse the same. */
static int
decode(struct slice encoded, struct arena *arena, struct spool_envelope *e)
{
    struct spool_facts facts;
    struct slice customer;
    int rc = spool_envelope_decode(encoded, arena, e);

    cr_expect_eq(spool_envelope_facts(encoded, &facts), rc);
    if (rc == ERR_OK) {
        expect_facts(&facts, e);
        cr_expect_eq(spool_envelope_peek_customer(encoded, &customer), ERR_OK);
        cr_expect(slice_equal(customer, facts.customer));
    }
    return rc;
}

static void
there_and_back(const struct spool_envelope *envelope, const char *name)
{
    struct spool_envelope back;
    struct arena arena;
    struct buf out;
    struct ref ref;

    arena_init(&arena, 1024 * 1024);
    buf_init(&out, 0);
    spool_envelope_encode(envelope, &out);
    cr_expect_eq(spool_envelope_peek_ref(buf_slice(&out), &ref), ERR_OK, "%s", name);
    cr_expect(ref_equal(ref, envelope->ref), "%s", name);
    cr_assert_eq(decode(buf_slice(&out), &arena, &back), ERR_OK, "%s", name);
    expect_same(envelope, &back, name);
    buf_fini(&out);
    arena_clear(&arena);
}

Test(spool_record, an_envelope_comes_back_as_it_was)
{
    struct spool_recipient many[SPOOL_RECIPIENTS_MAX];
    struct spool_envelope e = sample(), empty = {.customer = "",
                                                 .client_name = "",
                                                 .helo = "",
                                                 .reverse_path = "",
                                                 .reason = "",
                                                 .prepend = {"", 0},
                                                 .dsn_envid = ""};

    there_and_back(&e, "sample");
    there_and_back(&empty, "empty");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = two[i % 2];
    e.recipients = many;
    e.recipient_count = SPOOL_RECIPIENTS_MAX;
    there_and_back(&e, "most recipients");
}

Test(spool_record, the_facts_know_whether_there_is_one_domain)
{
    struct spool_recipient mixed[] = {two[0], two[1]};
    struct spool_envelope e = sample();
    struct spool_facts facts;
    struct buf out;

    buf_init(&out, 0);
    spool_envelope_encode(&e, &out);
    cr_assert_eq(spool_envelope_facts(buf_slice(&out), &facts), ERR_OK);
    cr_expect(facts.has_one_domain);
    cr_expect(slice_equal(facts.domain, SLICE("acme.example")));
    mixed[1].domain = "acme.example.org";
    e.recipients = mixed;
    buf_clear(&out);
    spool_envelope_encode(&e, &out);
    cr_assert_eq(spool_envelope_facts(buf_slice(&out), &facts), ERR_OK);
    cr_expect_not(facts.has_one_domain);
    buf_fini(&out);
}

/* What version 1 wrote for `sample`, which had no parameters of RFC 3461 then. */
static const unsigned char version_1[] = {
    0x01, 0x00, 0x07, 0x00, 0x80, 0xee, 0x36, 0x00, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x00, 0x00,
    0x7b, 0x5e, 0x56, 0xee, 0xa1, 0x01, 0x00, 0x00, 0x00, 0x2a, 0x16, 0x08, 0xa2, 0x01, 0x00, 0x00,
    0x2a, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65, 0x06, 0x20, 0x01, 0x0d,
    0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xbb, 0x9c, 0x13,
    0x00, 0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e, 0x73, 0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65,
    0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x13, 0x00, 0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e, 0x73,
    0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x00, 0x00, 0x00,
    0x00, 0x02, 0x09, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x63, 0x6f, 0x6e, 0x6e, 0x65, 0x63,
    0x74, 0x69, 0x6f, 0x6e, 0x20, 0x72, 0x65, 0x66, 0x75, 0x73, 0x65, 0x64, 0x19, 0x00, 0x00, 0x00,
    0x52, 0x65, 0x63, 0x65, 0x69, 0x76, 0x65, 0x64, 0x3a, 0x20, 0x66, 0x72, 0x6f, 0x6d, 0x20, 0x78,
    0x0d, 0x0a, 0x09, 0x62, 0x79, 0x20, 0x79, 0x0d, 0x0a, 0x02, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00,
    0x00, 0x52, 0x69, 0x74, 0x61, 0x40, 0x41, 0x63, 0x6d, 0x65, 0x2e, 0x45, 0x78, 0x61, 0x6d, 0x70,
    0x6c, 0x65, 0x0c, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70,
    0x6c, 0x65, 0x00, 0x16, 0x00, 0x00, 0x00, 0x22, 0x6f, 0x64, 0x64, 0x20, 0x6f, 0x6e, 0x65, 0x22,
    0x40, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x0c, 0x00, 0x00,
    0x00, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x01,
};

/* Version 2 had no time of the commit. */
static const unsigned char version_2[] = {
    0x02, 0x00, 0x07, 0x00, 0x80, 0xee, 0x36, 0x00, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x00, 0x00,
    0x7b, 0x5e, 0x56, 0xee, 0xa1, 0x01, 0x00, 0x00, 0x00, 0x2a, 0x16, 0x08, 0xa2, 0x01, 0x00, 0x00,
    0x2a, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65, 0x06, 0x20, 0x01, 0x0d,
    0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xbb, 0x9c, 0x13,
    0x00, 0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e, 0x73, 0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65,
    0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x13, 0x00, 0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e, 0x73,
    0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x00, 0x00, 0x00,
    0x00, 0x02, 0x09, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00, 0x63, 0x6f, 0x6e, 0x6e, 0x65, 0x63,
    0x74, 0x69, 0x6f, 0x6e, 0x20, 0x72, 0x65, 0x66, 0x75, 0x73, 0x65, 0x64, 0x19, 0x00, 0x00, 0x00,
    0x52, 0x65, 0x63, 0x65, 0x69, 0x76, 0x65, 0x64, 0x3a, 0x20, 0x66, 0x72, 0x6f, 0x6d, 0x20, 0x78,
    0x0d, 0x0a, 0x09, 0x62, 0x79, 0x20, 0x79, 0x0d, 0x0a, 0x02, 0x0b, 0x00, 0x00, 0x00, 0x51, 0x51,
    0x2b, 0x32, 0x42, 0x33, 0x31, 0x34, 0x31, 0x35, 0x39, 0x02, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00,
    0x00, 0x52, 0x69, 0x74, 0x61, 0x40, 0x41, 0x63, 0x6d, 0x65, 0x2e, 0x45, 0x78, 0x61, 0x6d, 0x70,
    0x6c, 0x65, 0x0c, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70,
    0x6c, 0x65, 0x00, 0x06, 0x1e, 0x00, 0x00, 0x00, 0x72, 0x66, 0x63, 0x38, 0x32, 0x32, 0x3b, 0x52,
    0x69, 0x74, 0x61, 0x2b, 0x32, 0x42, 0x6f, 0x6c, 0x64, 0x40, 0x41, 0x63, 0x6d, 0x65, 0x2e, 0x45,
    0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x16, 0x00, 0x00, 0x00, 0x22, 0x6f, 0x64, 0x64, 0x20, 0x6f,
    0x6e, 0x65, 0x22, 0x40, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65,
    0x0c, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
};

/* Version 3 knew no mail of our own. */
static const unsigned char version_3[] = {
    0x03, 0x00, 0x07, 0x00, 0x80, 0xee, 0x36, 0x00, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x00, 0x00,
    0x7b, 0x5e, 0x56, 0xee, 0xa1, 0x01, 0x00, 0x00, 0x00, 0x2a, 0x16, 0x08, 0xa2, 0x01, 0x00, 0x00,
    0xc8, 0x5f, 0x56, 0xee, 0xa1, 0x01, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00,
    0x61, 0x63, 0x6d, 0x65, 0x06, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0xbb, 0x9c, 0x13, 0x00, 0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e,
    0x73, 0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x13, 0x00,
    0x00, 0x00, 0x6d, 0x61, 0x69, 0x6c, 0x2e, 0x73, 0x65, 0x6e, 0x64, 0x65, 0x72, 0x2e, 0x65, 0x78,
    0x61, 0x6d, 0x70, 0x6c, 0x65, 0x00, 0x00, 0x00, 0x00, 0x02, 0x09, 0x00, 0x00, 0x00, 0x12, 0x00,
    0x00, 0x00, 0x63, 0x6f, 0x6e, 0x6e, 0x65, 0x63, 0x74, 0x69, 0x6f, 0x6e, 0x20, 0x72, 0x65, 0x66,
    0x75, 0x73, 0x65, 0x64, 0x19, 0x00, 0x00, 0x00, 0x52, 0x65, 0x63, 0x65, 0x69, 0x76, 0x65, 0x64,
    0x3a, 0x20, 0x66, 0x72, 0x6f, 0x6d, 0x20, 0x78, 0x0d, 0x0a, 0x09, 0x62, 0x79, 0x20, 0x79, 0x0d,
    0x0a, 0x02, 0x0b, 0x00, 0x00, 0x00, 0x51, 0x51, 0x2b, 0x32, 0x42, 0x33, 0x31, 0x34, 0x31, 0x35,
    0x39, 0x02, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x52, 0x69, 0x74, 0x61, 0x40, 0x41, 0x63,
    0x6d, 0x65, 0x2e, 0x45, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x0c, 0x00, 0x00, 0x00, 0x61, 0x63,
    0x6d, 0x65, 0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x00, 0x06, 0x1e, 0x00, 0x00, 0x00,
    0x72, 0x66, 0x63, 0x38, 0x32, 0x32, 0x3b, 0x52, 0x69, 0x74, 0x61, 0x2b, 0x32, 0x42, 0x6f, 0x6c,
    0x64, 0x40, 0x41, 0x63, 0x6d, 0x65, 0x2e, 0x45, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x16, 0x00,
    0x00, 0x00, 0x22, 0x6f, 0x64, 0x64, 0x20, 0x6f, 0x6e, 0x65, 0x22, 0x40, 0x61, 0x63, 0x6d, 0x65,
    0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x0c, 0x00, 0x00, 0x00, 0x61, 0x63, 0x6d, 0x65,
    0x2e, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,
};

/* `sample`, as far as the version could say it. */
static struct spool_envelope
sample_of(unsigned version, struct spool_recipient plain[2])
{
    struct spool_envelope e = sample();

    plain[0] = two[0];
    plain[1] = two[1];
    e.recipients = plain;
    if (version < 3)
        e.committed_at_ms = e.received_at_ms;
    if (version < 2) {
        plain[0].dsn_notify = 0;
        plain[0].dsn_orcpt = "";
        e.dsn_ret = 0;
        e.dsn_envid = "";
    }
    return e;
}

static const struct {
    const char *name;
    unsigned version;
    struct slice octets;
} older[] = {
    {"version 1", 1, {(const char *)version_1, sizeof version_1}},
    {"version 2", 2, {(const char *)version_2, sizeof version_2}},
    {"version 3", 3, {(const char *)version_3, sizeof version_3}},
};

Test(spool_record, P2_records_of_all_versions_before_are_read)
{
    for (size_t i = 0; i < ARRAY_SIZE(older); i++) {
        struct spool_recipient plain[2];
        struct spool_envelope e = sample_of(older[i].version, plain), back;
        struct arena arena;
        struct ref ref;

        arena_init(&arena, 1024 * 1024);
        cr_expect_eq(spool_envelope_peek_ref(older[i].octets, &ref), ERR_OK);
        cr_expect(ref_equal(ref, e.ref));
        cr_assert_eq(decode(older[i].octets, &arena, &back), ERR_OK, "%s", older[i].name);
        expect_same(&e, &back, older[i].name);
        for (size_t n = 0; n < older[i].octets.n; n++)
            cr_expect_eq(decode((struct slice){older[i].octets.p, n}, &arena, &back), ERR_CORRUPT,
                         "%s, cut at %zu", older[i].name, n);
        arena_clear(&arena);
    }
}

/* Who makes a new version writes down here what the one before it wrote. */
Test(spool_record, the_present_version_is_the_one_behind_those)
{
    struct spool_envelope e = sample();
    struct buf out;

    buf_init(&out, 0);
    spool_envelope_encode(&e, &out);
    cr_expect_eq((unsigned char)out.mem[out.start], ARRAY_SIZE(older) + 1);
    buf_fini(&out);
}

Test(spool_record, what_was_not_given_may_be_left_out)
{
    struct spool_recipient one = {.address = "a@b.example", .domain = "b.example"};
    struct spool_envelope e = {.recipients = &one, .recipient_count = 1}, back;
    struct arena arena;
    struct buf out;

    buf_init(&out, 0);
    arena_init(&arena, 1024 * 1024);
    spool_envelope_encode(&e, &out);
    cr_assert_eq(decode(buf_slice(&out), &arena, &back), ERR_OK);
    cr_expect_str_eq(back.dsn_envid, "");
    cr_expect_str_eq(back.recipients[0].dsn_orcpt, "");
    cr_expect_eq(back.recipients[0].dsn_notify, 0);
    arena_clear(&arena);
    buf_fini(&out);
}

Test(spool_record, a_cut_envelope_is_damaged_wherever_it_is_cut)
{
    struct spool_envelope e = sample(), back;
    struct arena arena;
    struct buf out;

    arena_init(&arena, 1024 * 1024);
    buf_init(&out, 0);
    spool_envelope_encode(&e, &out);
    for (size_t n = 0; n < buf_size(&out); n++) {
        struct slice cut = {buf_slice(&out).p, n};

        cr_expect_eq(decode(cut, &arena, &back), ERR_CORRUPT, "cut at %zu", n);
        arena_clear(&arena);
    }
    buf_add(&out, "", 1);
    cr_expect_eq(decode(buf_slice(&out), &arena, &back), ERR_CORRUPT, "one more");
    arena_clear(&arena);
    buf_fini(&out);
}

Test(spool_record, what_cannot_be_taken_is_named)
{
    struct spool_envelope e = sample(), back;
    struct arena arena;
    struct buf out;

    buf_init(&out, 0);
    spool_envelope_encode(&e, &out);
    arena_init(&arena, 64);
    cr_expect_eq(spool_envelope_decode(buf_slice(&out), &arena, &back), ERR_LIMIT, "small arena");
    arena_clear(&arena);
    arena_init(&arena, 1024 * 1024);
    out.mem[out.start] = 99;
    cr_expect_eq(decode(buf_slice(&out), &arena, &back), ERR_VERSION, "version");
    out.mem[out.start] = 0;
    cr_expect_eq(decode(buf_slice(&out), &arena, &back), ERR_VERSION, "version 0");
    out.mem[out.start] = 3;
    out.mem[out.start + 2 + 14 + 8 + 8 + 8 + 4 + 4] = '\0'; /* inside the customer's name */
    cr_expect_eq(decode(buf_slice(&out), &arena, &back), ERR_CORRUPT, "NUL");
    arena_clear(&arena);
    buf_fini(&out);
}

static const struct {
    const char *name;
    size_t at;
    bool want;
} touches[] = {
    {"untouched", SPOOL_RECORD_HEADER_BYTES, true},
    {"magic", 0, false},
    {"version", 4, false},
    {"type", 5, false},
    {"envelope length", 8, false},
    {"place of the body", 12, false},
    {"body length", 16, false},
    {"envelope check", 24, false},
    {"body check", 32, false},
    {"place of the envelope", 40, false},
    {"reserved", 50, false},
    {"check", 56, false},
};

Test(spool_record, P2_a_record_header_counts_in_its_place_and_segment_only)
{
    const uint8_t key[SIPHASH_KEY_SIZE] = {1, 2, 3}, other_key[SIPHASH_KEY_SIZE] = {1, 2, 4};
    struct spool_record_header h = {.type = SPOOL_RECORD_MESSAGE,
                                    .envelope_bytes = 100,
                                    .body_bytes = 1000,
                                    .envelope_at = 64,
                                    .body_at = 164},
                               back;
    uint8_t block[SPOOL_RECORD_HEADER_BYTES + 1] = {0};

    for (size_t i = 0; i < ARRAY_SIZE(touches); i++) {
        spool_record_encode(&h, 4096, key, block);
        block[touches[i].at] ^= 1;
        cr_expect_eq(spool_record_decode(block, 4096, key, &back), touches[i].want, "%s",
                     touches[i].name);
    }
    spool_record_encode(&h, 4096, key, block);
    cr_expect(spool_record_decode(block, 4096, key, &back));
    cr_expect_eq(spool_record_extent(&back), 1168);
    cr_expect_not(spool_record_decode(block, 4104, key, &back), "another place");
    cr_expect_not(spool_record_decode(block, 4096, other_key, &back), "another segment");
    h.body_at = 128;
    spool_record_encode(&h, 4096, key, block);
    cr_expect_not(spool_record_decode(block, 4096, key, &back), "parts overlap");
}

/* --- Resolutions. */

static void
resolution_there_and_back(struct spool_resolution r)
{
    const char *name = spool_resolution_word(r.kind);
    struct spool_resolution back;
    struct slice reply;
    struct ref ref;
    struct buf out;

    buf_init(&out, 0);
    spool_resolution_encode(&r, &out);
    cr_expect_neq(spool_envelope_peek_ref(buf_slice(&out), &ref), ERR_CORRUPT, "%s", name);
    cr_expect(ref_equal(ref, r.ref), "%s: a scan finds the reference", name);
    cr_assert_eq(spool_resolution_decode(buf_slice(&out), &back, &reply), ERR_OK, "%s", name);
    cr_expect(ref_equal(back.ref, r.ref), "%s", name);
    cr_expect_eq(back.kind, r.kind, "%s", name);
    cr_expect_eq(back.flags, r.flags, "%s", name);
    cr_expect_eq(back.at_ms, r.at_ms, "%s", name);
    cr_expect(slice_equal(reply, slice_of(r.reply ? r.reply : "")), "%s", name);
    for (size_t n = 0; n < buf_size(&out); n++)
        cr_expect_eq(spool_resolution_decode((struct slice){buf_slice(&out).p, n}, &back, &reply),
                     ERR_CORRUPT, "%s cut at %zu", name, n);
    buf_fini(&out);
}

Test(spool_record, P2_a_resolution_comes_back_as_it_was)
{
    struct spool_resolution r = {.ref = {.node = 7, .minute = 3600000, .number = 34359738367},
                                 .reply = "250 2.0.0 taken",
                                 .at_ms = 1795000000123};

    for (int kind = SPOOL_RESOLUTION_CONFIRM; kind <= SPOOL_RESOLUTION_GIVEN_UP; kind++) {
        r.kind = kind;
        r.flags =
            kind == SPOOL_RESOLUTION_CONFIRM_ALL ? SPOOL_FLAG_UNKNOWN | SPOOL_FLAG_LISTENING : 0;
        resolution_there_and_back(r);
    }
    r.reply = NULL;
    resolution_there_and_back(r);
}

static const struct {
    const char *name;
    size_t at;
    char octet;
    int want;
} bad_resolutions[] = {
    {"version", 0, 9, ERR_VERSION},
    {"no kind", 16, 0, ERR_CORRUPT},
    {"a kind of later", 16, 7, ERR_CORRUPT},
    {"flags that a cancellation has not", 17, SPOOL_FLAG_UNKNOWN, ERR_CORRUPT},
    {"a reply with a NUL", 26, 0, ERR_CORRUPT},
};

Test(spool_record, a_resolution_that_makes_no_sense_is_damage)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad_resolutions); i++) {
        struct spool_resolution r = {.kind = SPOOL_RESOLUTION_CANCEL, .reply = "550 no"}, back;
        struct slice reply;
        struct buf out;

        buf_init(&out, 0);
        spool_resolution_encode(&r, &out);
        out.mem[out.start + bad_resolutions[i].at] = bad_resolutions[i].octet;
        cr_expect_eq(spool_resolution_decode(buf_slice(&out), &back, &reply),
                     bad_resolutions[i].want, "%s", bad_resolutions[i].name);
        buf_fini(&out);
    }
}
