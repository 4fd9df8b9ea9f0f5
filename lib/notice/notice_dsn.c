/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P4 as a list of reasons, the first of which that holds is the answer; and the notice from what
 * the spool knows of the message.  An answer of the backend's is passed on; what is no answer (a
 * name that has no address, a connection refused) speaks of the customer's servers and stays here.
 */
#include "notice/notice_dsn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/outbound.h"
#include "base/siphash.h"
#include "smtp/smtp_dsn.h"

/* --- Whether. */

const char *
notice_why(enum notice_verdict verdict)
{
    static const char *const texts[] = {
        [NOTICE_SEND] = "",
        [NOTICE_OWN] = "it is a notice itself",
        [NOTICE_NULL_SENDER] = "its reverse-path is null",
        [NOTICE_UNVERIFIED] = "the sender was not verified at reception",
        [NOTICE_SPAM] = "it was marked as spam",
        [NOTICE_NOT_WANTED] = "the sender wants none (NOTIFY)",
        [NOTICE_NO_ROUTE] = "no outbound-route",
        [NOTICE_TOO_MANY] = "too many notices this hour",
        [NOTICE_UNREADABLE] = "the message cannot be read any more",
    };

    return texts[verdict];
}

unsigned
notice_open_ends(const struct spool_message *m, enum spool_end end, const char *reply,
                 struct notice_end *ends)
{
    unsigned count = 0;

    for (unsigned i = 0; i < m->recipient_count; i++)
        if (spool_message_is_open(m, i))
            ends[count++] = (struct notice_end){i, end, reply};
    return count;
}

/* RFC 3461 4.1: without NOTIFY failures are told. */
bool
notice_is_wanted(const struct spool_recipient *recipient)
{
    return recipient->dsn_notify == 0 || (recipient->dsn_notify & SMTP_DSN_NOTIFY_FAILURE) != 0;
}

static bool
one_is_wanted(const struct spool_envelope *e, const struct notice_end *ends, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (notice_is_wanted(&e->recipients[ends[i].recipient]))
            return true;
    return false;
}

static bool
has_route(const struct config *config)
{
    struct outbound outbound;

    return outbound_parse(config->outbound_route, &outbound) == NULL &&
           outbound.kind != OUTBOUND_NONE;
}

enum notice_verdict
notice_judge(const struct config *config, const struct spool_envelope *e,
             const struct notice_end *ends, unsigned end_count, struct notice_rate *rate,
             int64_t now_ms)
{
    if (e->flags & SPOOL_FLAG_OWN)
        return NOTICE_OWN;
    if (e->reverse_path[0] == '\0')
        return NOTICE_NULL_SENDER;
    if (!(e->flags & SPOOL_FLAG_VERIFIED))
        return NOTICE_UNVERIFIED;
    if (e->flags & SPOOL_FLAG_SPAM)
        return NOTICE_SPAM;
    if (!one_is_wanted(e, ends, end_count))
        return NOTICE_NOT_WANTED;
    if (!has_route(config))
        return NOTICE_NO_ROUTE;
    return notice_rate_take(rate, config, e->reverse_path, now_ms) ? NOTICE_SEND : NOTICE_TOO_MANY;
}

const char *
notice_reply(const char *reply, enum notice_verdict verdict, struct ref notice,
             char dst[NOTICE_REPLY_SIZE])
{
    char ref[REF_SIZE];

    if (verdict == NOTICE_SEND)
        snprintf(dst, NOTICE_REPLY_SIZE, "%.500s [notice %s]", reply, ref_text(notice, ref));
    else
        snprintf(dst, NOTICE_REPLY_SIZE, "%.500s [no notice: %s]", reply, notice_why(verdict));
    return dst;
}

/* --- What is said of a recipient. */

static const struct phrase {
    const char *why;
    struct smtp_enhanced status; /* if the reply has none */
} phrases[] = {
    [SPOOL_END_REFUSED] = {"The recipient's mail server refused it.", {5, 0, 0}},
    [SPOOL_END_EXPIRED] = {"The recipient's mail server did not take it in time.", {5, 4, 7}},
    [SPOOL_END_RETURNED] = {"The operators of this service have given up its delivery.", {5, 4, 7}},
};

/* "550 5.1.1 no such user": an answer, and not a word of ours. */
static bool
is_answer(const char *reply)
{
    return reply[0] >= '4' && reply[0] <= '5' && reply[1] >= '0' && reply[1] <= '9' &&
           reply[2] >= '0' && reply[2] <= '9' && (reply[3] == ' ' || reply[3] == '\0');
}

static struct smtp_enhanced
status_of(const struct notice_end *end)
{
    unsigned class, subject, detail;

    if (end->end == SPOOL_END_REFUSED && is_answer(end->reply) &&
        sscanf(end->reply + 3, " %1u.%3u.%3u", &class, &subject, &detail) == 3 && class == 5)
        return (struct smtp_enhanced){5, (uint16_t)subject, (uint16_t)detail};
    return phrases[end->end].status;
}

static unsigned
fill_recipients(const struct spool_envelope *e, int64_t last_attempt_at_ms,
                const struct notice_end *ends, unsigned end_count, struct smtp_dsn_recipient *out)
{
    unsigned count = 0;

    for (unsigned i = 0; i < end_count; i++) {
        const struct spool_recipient *r = &e->recipients[ends[i].recipient];

        if (!notice_is_wanted(r))
            continue;
        out[count++] = (struct smtp_dsn_recipient){
            .address = r->address,
            .orcpt = r->dsn_orcpt ? r->dsn_orcpt : "",
            .status = status_of(&ends[i]),
            .said = is_answer(ends[i].reply) ? ends[i].reply : "",
            .why = phrases[ends[i].end].why,
            .last_attempt_at_ms = last_attempt_at_ms,
        };
    }
    return count;
}

/* --- What is returned of the message: our lines on top, then its own. */

static int
read_original(struct spool_store *store, const struct spool_message *m,
              const struct spool_envelope *e, bool is_whole, struct buf *out)
{
    size_t most = is_whole ? NOTICE_WHOLE_MAX : NOTICE_HEADER_MAX, at = 0;
    char piece[8192];

    buf_add_slice(out, e->prepend);
    while (at < most) {
        int64_t n = spool_store_read_body(store, m, at, piece, sizeof piece);

        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        buf_add(out, piece, (size_t)n);
        at += (size_t)n;
    }
    return 0;
}

static bool
is_returned_whole(const struct spool_message *m, const struct spool_envelope *e)
{
    return e->dsn_ret == SMTP_DSN_RET_FULL && m->body_bytes <= NOTICE_WHOLE_MAX;
}

/* --- All of it. */

const char *
notice_from(const struct config *config, char dst[NOTICE_FROM_SIZE])
{
    if (config->notice_from[0] != '\0')
        return config->notice_from;
    snprintf(dst, NOTICE_FROM_SIZE, "MAILER-DAEMON@%s", config->hostname);
    return dst;
}

static void
write_dsn(const struct config *config, const struct spool_message *m,
          const struct spool_envelope *e, const struct smtp_dsn_recipient *recipients,
          unsigned count, struct slice original, int64_t now_ms, struct buf *out)
{
    bool is_whole = is_returned_whole(m, e);
    char from[NOTICE_FROM_SIZE];
    struct smtp_dsn dsn = {
        .action = SMTP_DSN_FAILED,
        .hostname = config->hostname,
        .from = notice_from(config, from),
        .reverse_path = e->reverse_path,
        .envid = e->dsn_envid ? e->dsn_envid : "",
        .ref = e->ref,
        .now_ms = now_ms,
        .arrived_at_ms = e->received_at_ms,
        .recipients = recipients,
        .recipient_count = count,
        .original = is_whole ? original : smtp_dsn_header_of(original, NOTICE_HEADER_MAX),
        .is_whole = is_whole,
        .is_smtputf8 = (e->flags & SPOOL_FLAG_SMTPUTF8) != 0,
    };

    random_bytes(dsn.random, sizeof dsn.random);
    smtp_dsn_write(&dsn, out);
}

struct spool_envelope
notice_envelope(const struct config *config, struct spool_recipient *recipient, int64_t now_ms)
{
    uint32_t random;

    random_bytes(&random, sizeof random);
    return (struct spool_envelope){
        .ref = ref_make((uint16_t)config->node, now_ms, 0, random),
        .received_at_ms = now_ms,
        .expires_at_ms = now_ms + config->notice_retention_ms,
        .customer = "",
        .client_name = "",
        .helo = "",
        .reverse_path = "",
        .flags = SPOOL_FLAG_OWN,
        .reason = "",
        .dsn_envid = "",
        .recipients = recipient,
        .recipient_count = 1,
    };
}

bool
notice_begin(struct notice *n, const struct config *config, const char *address, int64_t now_ms)
{
    const char *at = strrchr(address, '@'), *why;

    *n = (struct notice){.ends = NULL};
    if (at == NULL || inet_domain_normalize(slice_of(at + 1), n->domain, &why) < 0 ||
        !slice_to_text(slice_of(address), n->address, sizeof n->address))
        return false;
    n->recipient = (struct spool_recipient){
        .address = n->address,
        .domain = n->domain,
        .dsn_notify = SMTP_DSN_NOTIFY_NEVER, /* nobody is told of a notice */
        .dsn_orcpt = "",
    };
    n->envelope = notice_envelope(config, &n->recipient, now_ms);
    n->envelope.reason = n->reason;
    if (!slice_is_ascii(
            slice_of(n->address))) { /* it stands in the header, too (RFC 6531 3.4, RFC 6532) */
        n->envelope.flags |= SPOOL_FLAG_SMTPUTF8;
        n->envelope.body = SMTP_BODY_8BITMIME;
    }
    buf_init(&n->content, 0);
    return true;
}

static void
note_about(struct notice *n, const struct spool_envelope *e, const struct notice_end *ends,
           unsigned end_count)
{
    char ref[REF_SIZE];

    n->ends = mem_alloc(end_count * sizeof *n->ends);
    for (unsigned i = 0; i < end_count; i++)
        n->ends[i] = (struct spool_about_end){(uint16_t)ends[i].recipient, (uint8_t)ends[i].end};
    n->envelope.about = (struct spool_about){e->ref, n->ends, end_count};
    snprintf(n->reason, sizeof n->reason, "failure notice for %s", ref_text(e->ref, ref));
    n->envelope.body = SMTP_BODY_8BITMIME;
    if (e->flags & SPOOL_FLAG_SMTPUTF8)
        n->envelope.flags |= SPOOL_FLAG_SMTPUTF8;
}

enum notice_verdict
notice_dsn_make(const struct config *config, struct spool_store *store,
                const struct spool_message *m, const struct spool_envelope *e,
                const struct notice_end *ends, unsigned end_count, int64_t now_ms, struct notice *n)
{
    struct smtp_dsn_recipient *recipients;
    struct buf original;
    unsigned count;
    int rc;

    if (!notice_begin(n, config, e->reverse_path, now_ms))
        return NOTICE_UNREADABLE;
    buf_init(&original, 0);
    rc = read_original(store, m, e, is_returned_whole(m, e), &original);
    if (rc == 0) {
        recipients = mem_alloc(end_count * sizeof *recipients);
        count =
            fill_recipients(e, spool_message_last_attempt_at_ms(m), ends, end_count, recipients);
        write_dsn(config, m, e, recipients, count, buf_slice(&original), now_ms, &n->content);
        note_about(n, e, ends, end_count);
        free(recipients);
    }
    buf_fini(&original);
    return rc == 0 ? NOTICE_SEND : NOTICE_UNREADABLE;
}

enum notice_verdict
notice_make(const struct config *config, struct spool_store *store, const struct spool_message *m,
            const struct notice_end *ends, unsigned end_count, struct notice_rate *rate,
            int64_t now_ms, struct notice *n)
{
    enum notice_verdict verdict = NOTICE_UNREADABLE;
    struct spool_envelope e;
    struct arena arena;

    if (m->flags & SPOOL_FLAG_OWN)
        return NOTICE_OWN;
    arena_init(&arena, SPOOL_ENVELOPE_ARENA_BYTES);
    if (spool_store_envelope(store, m, &arena, &e) == ERR_OK)
        verdict = notice_judge(config, &e, ends, end_count, rate, now_ms);
    if (verdict == NOTICE_SEND)
        verdict = notice_dsn_make(config, store, m, &e, ends, end_count, now_ms, n);
    arena_clear(&arena);
    return verdict;
}

void
notice_fini(struct notice *n)
{
    buf_fini(&n->content);
    free(n->ends);
    n->ends = NULL;
}
