/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The end of mail that is not delivered (P4): a notice to a sender that was verified at reception,
 * or a record alone.  The order is law: the notice is durable, then the ends go to the ledger.
 * What dies in between is mended at the next start: the notice's record says whose end it tells,
 * and they end by it, without a second one.
 *
 *   ending_begin ─ no notice ──────────────────────────────▶ ended at once
 *               └─ notice ─ own_submit ─▶ durable ─────────▶ ended
 *                                      └▶ it cannot be kept: they stay open, tried as was said
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/log.h"
#include "spoolmgr/keeper.h"

#define REPLIES_MAX (2 * 1024 * 1024) /* a thousand, each of a line or two */

struct ending { /* whose notice is on its way to the disk */
    struct ending *next;
    struct keeper *keeper;
    struct spool_message *message;
    struct notice_end *ends;
    struct arena replies;
    struct ref notice;
    unsigned end_count;
    const char *event; /* a literal; NULL: nothing is to be said */
    char text[REPORT_BYTES];
    ending_on_settled on_settled;
    void *ctx;
};

/* --- The ends themselves. */

static void
end_all(struct keeper *k, struct spool_message *m, const struct notice_end *ends, unsigned count,
        enum notice_verdict verdict, struct ref notice)
{
    int64_t now_ms = clock_wall_ms();
    char reply[NOTICE_REPLY_SIZE];

    for (unsigned i = 0; i < count; i++)
        if (spool_message_is_open(m, ends[i].recipient))
            spool_store_ended(k->store, m, ends[i].recipient, ends[i].end, now_ms,
                              notice_reply(ends[i].reply, verdict, notice, reply));
}

static void
follow(struct keeper *k, struct spool_message *m)
{
    plan_message(k, m);
    if (m->user != NULL)
        keeper_touch(k, m->user);
    else
        committer_sync(k->committer);
}

/* --- Those that wait for their notice. */

static void
copy_ends(struct ending *e, const struct notice_end *ends, unsigned count)
{
    e->end_count = count;
    e->ends = mem_alloc(count * sizeof *e->ends);
    arena_init(&e->replies, REPLIES_MAX);
    for (unsigned i = 0; i < count; i++) {
        const char *reply = arena_copy(&e->replies, slice_of(ends[i].reply));

        e->ends[i] = ends[i];
        e->ends[i].reply = reply ? reply : "";
    }
}

static void
ending_free(struct ending *e)
{
    struct ending **at = &e->keeper->endings;

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    ((struct mail *)e->message->user)->is_ending = false;
    arena_clear(&e->replies);
    free(e->ends);
    free(e);
}

/* What was to end by itself is tried again, after a pause. */
static void
failed(const struct ending *e, int err)
{
    struct keeper *k = e->keeper;
    int64_t now_ms = clock_wall_ms();
    char ref[REF_SIZE];

    if (e->on_settled == NULL)
        spool_store_attempt(k->store, e->message, now_ms, now_ms + k->config->message_retry_min_ms,
                            false, e->ends[0].reply);

    log_line(LOG_LEVEL_ALARM, ref_text(e->message->ref, ref), "notice-failed",
             "why=\"%s\" effect=\"the message is kept, and ends when its notice can be\"",
             err_text(err));
}

static void
on_written(void *ctx, int err)
{
    struct ending *e = ctx;
    struct keeper *k = e->keeper;
    struct spool_message *m = e->message;
    struct mail *mail = m->user;

    CRASH_POINT("keeper-notice-written");
    mail->is_ending = false;
    if (err == 0) {
        end_all(k, m, e->ends, e->end_count, NOTICE_SEND, e->notice);
        shared_count(route_table(k->route), ROUTE_SLOT, SHARED_COUNTER_NOTICES);
        if (e->event != NULL)
            report_add(k, m, e->event, "%s", e->text);
    } else
        failed(e, err);
    follow(k, m);
    if (e->on_settled != NULL)
        e->on_settled(e->ctx, m->ref, err);
    ending_free(e);
    keeper_pump(k);
}

static struct ending *
ending_new(struct keeper *k, struct spool_message *m, const struct notice_end *ends, unsigned count)
{
    struct ending *e = mem_alloc(sizeof *e);
    struct ending **at = &k->endings;

    *e = (struct ending){.keeper = k, .message = m};
    copy_ends(e, ends, count);
    while (*at != NULL)
        at = &(*at)->next;
    *at = e;
    ((struct mail *)m->user)->is_ending = true;
    return e;
}

/* --- Beginning. */

static void
no_notice(struct keeper *k, enum notice_verdict verdict, char word[ENDING_WORD_SIZE])
{
    snprintf(word, ENDING_WORD_SIZE, "none why-not=\"%s\"", notice_why(verdict));
    if (verdict == NOTICE_TOO_MANY)
        shared_count(route_table(k->route), ROUTE_SLOT, SHARED_COUNTER_NOTICES_WITHHELD);
}

struct ending *
ending_begin(struct keeper *k, struct spool_message *m, const struct notice_end *ends,
             unsigned count, char word[ENDING_WORD_SIZE])
{
    struct notice notice;
    struct ending *e = NULL;
    char ref[REF_SIZE];
    enum notice_verdict verdict;

    snprintf(word, ENDING_WORD_SIZE, "-");
    if (count == 0)
        return NULL;
    verdict =
        notice_make(k->config, k->store, m, ends, count, &k->notice_rate, clock_wall_ms(), &notice);
    if (verdict == NOTICE_SEND) {
        e = ending_new(k, m, ends, count);
        e->notice = notice.envelope.ref;
        own_submit(k, &notice.envelope, buf_slice(&notice.content), on_written, e);
        snprintf(word, ENDING_WORD_SIZE, "%s", ref_text(notice.envelope.ref, ref));
        notice_fini(&notice);
        return e;
    }
    no_notice(k, verdict, word);
    end_all(k, m, ends, count, verdict, m->ref);
    return NULL;
}

static void
on_told(void *ctx, int err)
{
    struct keeper *k = ctx;

    if (err == 0)
        shared_count(route_table(k->route), ROUTE_SLOT, SHARED_COUNTER_NOTICES);
    else
        log_line(LOG_LEVEL_ALARM, NULL, "notice-failed", "why=\"%s\" effect=\"it is lost\"",
                 err_text(err));
}

void
ending_tell(struct keeper *k, struct spool_message *m, const struct notice_end *ends,
            unsigned count, char word[ENDING_WORD_SIZE])
{
    struct notice notice;
    enum notice_verdict verdict;

    snprintf(word, ENDING_WORD_SIZE, "-");
    if (count == 0)
        return;
    verdict =
        notice_make(k->config, k->store, m, ends, count, &k->notice_rate, clock_wall_ms(), &notice);
    if (verdict != NOTICE_SEND) {
        no_notice(k, verdict, word);
        return;
    }
    own_submit(k, &notice.envelope, buf_slice(&notice.content), on_told, k);
    ref_text(notice.envelope.ref, word);
    notice_fini(&notice);
}

void
ending_report(struct keeper *k, const struct spool_message *m, struct ending *e, const char *event,
              const char *text)
{
    if (e == NULL) {
        report_add(k, m, event, "%s", text);
        return;
    }
    e->event = event;
    snprintf(e->text, sizeof e->text, "%s", text);
}

void
ending_on(struct ending *e, ending_on_settled on_settled, void *ctx)
{
    e->on_settled = on_settled;
    e->ctx = ctx;
}

void
ending_forget(struct keeper *k, const void *ctx)
{
    for (struct ending *e = k->endings; e != NULL; e = e->next)
        if (e->ctx == ctx)
            e->on_settled = NULL;
}

unsigned
ending_count(const struct ending *e)
{
    return e ? e->end_count : 0;
}

/* --- At the start: what died between notice and ledger. */

static void
mend(struct keeper *k, const struct spool_envelope *envelope)
{
    struct spool_message *m = spool_store_find(k->store, envelope->about.ref);
    char notice[REF_SIZE], reply[NOTICE_REPLY_SIZE];
    unsigned mended = 0;

    if (m == NULL)
        return;
    ref_text(envelope->ref, notice);
    notice_reply("ended before a restart", NOTICE_SEND, envelope->ref, reply);
    for (unsigned i = 0; i < envelope->about.end_count; i++) {
        const struct spool_about_end *end = &envelope->about.ends[i];

        if (end->recipient >= m->recipient_count || !spool_message_is_open(m, end->recipient))
            continue;
        spool_store_ended(k->store, m, end->recipient, (enum spool_end)end->end, clock_wall_ms(),
                          reply);
        mended++;
    }
    if (mended > 0)
        report_add(k, m, "ended-by-notice", "customer=%s notice=%s ended=%u open=%u", m->customer,
                   notice, mended, m->open_count);
}

void
ending_mend(struct keeper *k)
{
    struct spool_message *m = NULL;

    while ((m = spool_store_next(k->store, m)) != NULL) {
        struct spool_envelope envelope;
        struct arena arena;

        if (!(m->flags & SPOOL_FLAG_OWN) || m->open_count == 0)
            continue;
        if (keeper_envelope(k, m, &arena, &envelope) == 0 && !ref_is_none(envelope.about.ref))
            mend(k, &envelope);
        arena_clear(&arena);
    }
}

void
ending_end(struct keeper *k)
{
    while (k->endings != NULL)
        ending_free(k->endings);
}
