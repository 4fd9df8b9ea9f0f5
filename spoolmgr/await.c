/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Mail whose outcome its worker may still say: prepared records, and those of an unknown outcome
 * while the worker listens for a late answer.  They are left alone until a resolution comes (the
 * store applies it as it reads it), or none can come any more:
 *
 *   the worker lives           prepared: waits, an hour at most (it could not write the
 * resolution); listening: until its time is up gone, and all is read      prepared: counts for
 * `ours`; listening: may be tried gone, not all is sealed    waits: a durable cancellation may
 * stand in what is not read; what is listened for an hour at most gone, the rest is damaged  as if
 * all were read, an hour later
 *
 * A list of its own, since it is looked through every second: it is as long as what the relay has
 * in passage, not as the spool (P10).
 */
#include "spoolmgr/keeper.h"

#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/test_value.h"

/* A table that the relay has replaced is seen within a second; until then a new worker is unknown.
 */
#define GONE_MS 5000
#define PATIENCE_MS (3600 * 1000)

/* --- The list. */

struct awaited {
    struct awaited *prev, *next;
    struct mail *mail;
    int64_t since_ms;   /* of the monotonic clock */
    int64_t gone_at_ms; /* of the monotonic clock: since when its worker is known to be gone; 0 */
};

static void
list_add(struct keeper *k, struct mail *mail)
{
    struct awaited *a = mem_alloc(sizeof *a);

    *a = (struct awaited){.mail = mail, .since_ms = clock_monotonic_ms(), .next = k->awaited};
    mail->awaited = a;
    if (k->awaited != NULL)
        k->awaited->prev = a;
    k->awaited = a;
}

void
await_forget(struct keeper *k, struct mail *mail)
{
    struct awaited *a = mail->awaited;

    if (a == NULL)
        return;
    *(a->prev ? &a->prev->next : &k->awaited) = a->next;
    if (a->next != NULL)
        a->next->prev = a->prev;
    mail->awaited = NULL;
    free(a);
}

void
await_update(struct keeper *k, struct mail *mail)
{
    const struct spool_message *m = mail->message;
    bool is_awaited = m->open_count > 0 && (m->prepared || spool_message_listens_until_ms(m) != 0);

    if (is_awaited && mail->awaited == NULL)
        list_add(k, mail);
    else if (!is_awaited)
        await_forget(k, mail);
}

/* --- Writers. */

bool
await_is_writing(void *ctx, struct spool_segment_id segment, uint32_t process)
{
    const struct keeper *k = ctx;
    const struct shared_table *table = route_table(k->route);

    if (process == 0 || segment.node != k->config->node ||
        segment.epoch != shared_table_epoch(table))
        return false;
    for (unsigned slot = 0; slot < ROUTE_SLOT; slot++) {
        if (shared_worker_pid(table, slot) == (int)process)
            return true;
    }
    return false;
}

/* For how long now its worker has been gone, all that it wrote being read; -1: it is not. */
static int64_t
gone_for_ms(struct keeper *k, struct mail *mail, bool is_gone)
{
    int64_t now_ms = clock_monotonic_ms();

    if (!is_gone) {
        mail->awaited->gone_at_ms = 0;
        return -1;
    }
    if (mail->awaited->gone_at_ms == 0)
        mail->awaited->gone_at_ms = now_ms;
    return k->once ? GONE_MS : now_ms - mail->awaited->gone_at_ms;
}

/* --- What comes of it when nothing is said. */

static void
confirm(struct keeper *k, struct mail *mail, const char *why)
{
    struct spool_message *m = mail->message;

    spool_store_confirm(k->store, m, clock_wall_ms());
    report_add(k, m, "prepared-confirmed", "customer=%s open=%u why=\"%s\"", m->customer,
               m->open_count, why);
    if (m->open_count > 0)
        attempt_possible_duplicate(k, m, why);
}

static void
stop_listening(struct keeper *k, struct mail *mail, const char *why)
{
    spool_store_stop_listening(k->store, mail->message);
    attempt_possible_duplicate(k, mail->message, why);
}

/* No jump of the clock may end it, and no worker that waits for its backend. */
static int64_t
patience_ms(const struct keeper *k)
{
    int64_t twice_ms = 2 * k->config->final_reply_timeout_ms;

    return test_value("POSTERN_TEST_PREPARED_MS", twice_ms > PATIENCE_MS ? twice_ms : PATIENCE_MS);
}

/* Why a prepared record counts now; NULL: it does not. */
static const char *
why_confirmed(struct keeper *k, struct mail *mail)
{
    enum spool_writer_state state = spool_store_writer_state(k->store, mail->message);
    int64_t gone_ms =
        gone_for_ms(k, mail, state == SPOOL_WRITER_DONE || state == SPOOL_WRITER_DAMAGED);

    if (state == SPOOL_WRITER_DONE && gone_ms >= GONE_MS)
        return "its worker ended before it had said what became of it";
    if (state == SPOOL_WRITER_DAMAGED && gone_ms >= PATIENCE_MS)
        return "its worker has ended, and what it said of it cannot be read";
    if (state == SPOOL_WRITER_LIVES && spool_store_writer_is_read(k->store, mail->message) &&
        clock_monotonic_ms() - mail->awaited->since_ms >= patience_ms(k))
        return "its worker has not said for an hour what became of it";
    return NULL;
}

/* Why nothing more is to be heard of it; NULL: it may be. */
static const char *
why_silent(struct keeper *k, struct mail *mail)
{
    enum spool_writer_state state = spool_store_writer_state(k->store, mail->message);
    int64_t late_ms = clock_wall_ms() - spool_message_listens_until_ms(mail->message);

    if (gone_for_ms(k, mail, state == SPOOL_WRITER_DONE) >= GONE_MS)
        return "its worker ended while it listened for the backend's answer";
    if (late_ms > (state == SPOOL_WRITER_LIVES ? SPOOL_LISTEN_GRACE_MS : PATIENCE_MS))
        return "the backend did not answer the end of the message, and its worker says nothing";
    return NULL;
}

static bool
look_at(struct keeper *k, struct mail *mail)
{
    bool prepared = mail->message->prepared;
    const char *why = prepared ? why_confirmed(k, mail) : why_silent(k, mail);

    if (why == NULL)
        return false;
    if (prepared)
        confirm(k, mail, why);
    else
        stop_listening(k, mail, why);
    return true;
}

void
await_look(struct keeper *k)
{
    struct awaited *next;

    for (struct awaited *a = k->awaited; a != NULL; a = next) {
        struct mail *mail = a->mail;

        next = a->next;
        if (!look_at(k, mail))
            continue;
        plan_message(k, mail->message);
        keeper_touch(k, mail);
    }
}

/* --- A resolution has been applied. */

static const char *
event_of(enum spool_resolution_kind kind)
{
    switch (kind) {
    case SPOOL_RESOLUTION_DELIVERED:
        return "delivered";
    case SPOOL_RESOLUTION_REFUSED:
        return "refused";
    case SPOOL_RESOLUTION_CONFIRM:
    case SPOOL_RESOLUTION_CONFIRM_ALL:
    case SPOOL_RESOLUTION_CANCEL:
    case SPOOL_RESOLUTION_GIVEN_UP:
        break;
    }
    return "resolved";
}

/* Whom a late refusal has ended (P4). */
static void
tell(struct keeper *k, struct spool_message *m, const struct spool_resolution *r,
     char word[ENDING_WORD_SIZE])
{
    struct notice_end *ends = mem_alloc(m->recipient_count * sizeof *ends);
    unsigned count = 0;

    for (unsigned i = 0; r->kind == SPOOL_RESOLUTION_REFUSED && i < m->recipient_count; i++)
        if (spool_message_is_concerned(m, i) && spool_message_end(m, i) == SPOOL_END_REFUSED &&
            spool_message_ended_at_ms(m, i) == r->at_ms)
            ends[count++] = (struct notice_end){i, SPOOL_END_REFUSED, r->reply};
    ending_tell(k, m, ends, count, word);
    free(ends);
}

void
await_resolved(void *ctx, struct spool_message *m, const struct spool_resolution *r)
{
    struct keeper *k = ctx;
    char quoted[600], notice[ENDING_WORD_SIZE];

    tell(k, m, r, notice);
    report_add(k, m, event_of(r->kind), "customer=%s said=%s open=%u notice=%s reply=%s",
               m->customer, spool_resolution_word(r->kind), m->open_count, notice,
               log_quote(slice_of(r->reply), quoted, sizeof quoted));
    committer_sync(k->committer);
    if (m->user == NULL)
        return; /* it is being read, and shown to the keeper next */
    if (m->unknown && spool_message_listens_until_ms(m) == 0 && m->open_count > 0 &&
        (r->kind == SPOOL_RESOLUTION_CONFIRM_ALL || r->kind == SPOOL_RESOLUTION_GIVEN_UP))
        attempt_possible_duplicate(k, m, "the backend did not answer the end of the message");
    plan_message(k, m);
    keeper_touch(k, m->user);
    keeper_pump(k);
}
