/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What has become of mail that was kept, as events in the node's event log beside those of its
 * reception: an event for the recipients of a message that end alike at once.  So trace finds it
 * when the spool has forgotten it, and reports count it where they count all else.
 *
 * A line is written when the end is durable (report.c), by a thread, and not before: an end that is
 * lost comes again.  What a keeper that was killed had not written, the next one does, going by
 * when that one kept the clock last (expiry.c).  So a line may be there twice, with the moment of
 * the end, by which PostgreSQL knows it (postern.events_add).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/event_files.h"
#include "base/event_log.h"
#include "base/log.h"
#include "spoolmgr/keeper.h"

#define HOUR_MS INT64_C(3600000)
#define FILE_MS 10000 /* so often is looked for a newer file */
#define BEFORE_MS 1000

struct ended {
    struct keeper *keeper;
    struct event_log *log;
    char file[EVENT_FILES_NAME]; /* that is written to; "" none */
    int64_t file_at_ms;          /* when it was looked for, monotonic */
    bool is_deferred;
    /* What has ended in this turn, alike; count 0: nothing. */
    const struct spool_message *message;
    enum spool_end end;
    int64_t at_ms;
    unsigned *recipients;
    unsigned count, room;
};

/* --- The event. */

static void
add_recipients(struct buf *json, const struct ended *e, const struct spool_envelope *envelope)
{
    buf_add_text(json, ",\"rcpt\":[");
    for (unsigned i = 0; i < e->count; i++) {
        unsigned recipient = e->recipients[i];

        buf_add_text(json, i > 0 ? ",\"" : "\"");
        if (recipient < envelope->recipient_count)
            event_escape(json, slice_of(envelope->recipients[recipient].address));
        buf_add_text(json, "\"");
    }
    buf_add_text(json, "]");
}

/* An envelope that cannot be read costs the addresses alone. */
static void
build(const struct ended *e, struct buf *json)
{
    const struct spool_message *m = e->message;
    struct spool_envelope envelope;
    struct arena arena;
    char ref[REF_SIZE];

    if (keeper_envelope(e->keeper, m, &arena, &envelope) != 0)
        envelope = (struct spool_envelope){.reverse_path = ""};
    event_begin(json, "ended", e->at_ms);
    event_text(json, "ref", slice_of(ref_text(m->ref, ref)));
    event_text(json, "from", slice_of(envelope.reverse_path));
    add_recipients(json, e, &envelope);
    event_text(json, "customer", slice_of(m->customer));
    event_number(json, "customer_id", m->customer_id);
    event_text(json, "domain", slice_of(spool_message_domain(m, e->recipients[0])));
    event_number(json, "size", (int64_t)m->body_bytes);
    event_text(json, "verdict", slice_of(spool_end_word(e->end)));
    event_text(json, "reply", slice_of(spool_message_reply(m, e->recipients[0])));
    event_end(json);
    arena_clear(&arena);
}

static void
finish(struct ended *e)
{
    struct buf json;

    if (e->count == 0)
        return;
    buf_init(&json, 0);
    build(e, &json);
    e->count = 0;
    report_add_event(e->keeper, buf_slice(&json));
    buf_fini(&json);
}

void
ended_finish(struct keeper *k)
{
    finish(k->ended);
}

static void
on_turn_over(void *ctx)
{
    struct keeper *k = ctx;

    if (k->ended == NULL)
        return;
    k->ended->is_deferred = false;
    finish(k->ended);
}

static void
add(struct ended *e, const struct spool_message *m, unsigned recipient)
{
    enum spool_end end = spool_message_end(m, recipient);
    int64_t at_ms = spool_message_ended_at_ms(m, recipient);

    if (e->count > 0 && (e->message != m || e->end != end || e->at_ms != at_ms))
        finish(e);
    if (e->count == e->room) {
        e->room = e->room > 0 ? 2 * e->room : 64;
        e->recipients = mem_realloc(e->recipients, e->room * sizeof *e->recipients);
    }
    e->message = m;
    e->end = end;
    e->at_ms = at_ms;
    e->recipients[e->count++] = recipient;
}

/* A prepared record ends for those that were not kept: the customer's server had them at once. */
void
ended_note(void *ctx, const struct spool_message *m, unsigned recipient)
{
    struct keeper *k = ctx;

    if (m->prepared || (m->flags & SPOOL_FLAG_OWN) || k->ended == NULL)
        return;
    add(k->ended, m, recipient);
    if (k->ended->is_deferred)
        return;
    k->ended->is_deferred = true;
    loop_defer(k->loop, on_turn_over, k);
}

/* As above, by what is left of it. */
static bool
was_kept(const struct spool_message *m, unsigned recipient)
{
    return spool_message_side(m, recipient) == SPOOL_OURS || m->unknown ||
           spool_message_attempts(m) > 0;
}

void
ended_before(struct keeper *k, const struct spool_message *m)
{
    struct ended *e = k->ended;

    if (k->kept_until_ms == 0 || (m->flags & SPOOL_FLAG_OWN) || m->open_count == m->recipient_count)
        return;
    for (unsigned end = SPOOL_END_DELIVERED; end < SPOOL_END_CANCELLED; end++)
        for (unsigned i = 0; i < m->recipient_count; i++)
            if (spool_message_end(m, i) == end && was_kept(m, i) &&
                spool_message_ended_at_ms(m, i) >= k->kept_until_ms - BEFORE_MS)
                add(e, m, i);
    finish(e);
}

/* --- The file: that of the relay, or the hour's first where no relay runs. */

static void
pick(struct ended *e, char name[EVENT_FILES_NAME])
{
    int64_t now_ms = clock_wall_ms();
    struct event_files files;

    event_files_name(now_ms, 0, name);
    if (event_files_list(e->keeper->config->log_dir, &files) == ERR_OK && files.count > 0 &&
        files.items[files.count - 1].hour_ms == now_ms / HOUR_MS * HOUR_MS)
        snprintf(name, EVENT_FILES_NAME, "%s", files.items[files.count - 1].name);
    event_files_fini(&files);
}

static void
use_newest(struct ended *e)
{
    char name[EVENT_FILES_NAME], path[4096];
    int64_t now_ms = clock_monotonic_ms();
    int fd;

    if (e->file_at_ms != 0 && now_ms < e->file_at_ms + FILE_MS)
        return;
    e->file_at_ms = now_ms;
    pick(e, name);
    if (strcmp(name, e->file) == 0)
        return;
    snprintf(path, sizeof path, "%s/%s", e->keeper->config->log_dir, name);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "event-log-unwritable", "path=%s error=\"%m\"", path);
        return;
    }
    snprintf(e->file, sizeof e->file, "%s", name);
    event_log_use(e->log, fd);
}

void
ended_write(struct keeper *k, struct slice json)
{
    use_newest(k->ended);
    event_log_add(k->ended->log, json);
}

void
ended_look(struct keeper *k)
{
    event_log_flush(k->ended->log);
}

/* --- Life. */

struct ended *
ended_new(struct keeper *k)
{
    struct ended *e = mem_alloc(sizeof *e);

    e->keeper = k;
    e->log = event_log_new();
    return e;
}

void
ended_free(struct ended **held)
{
    struct ended *e = *held;

    *held = NULL;
    event_log_free(&e->log);
    free(e->recipients);
    free(e);
}
