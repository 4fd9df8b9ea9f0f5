/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What has become of mail that was kept, as events in the node's event log beside those of its
 * reception, one for each recipient.  So trace finds it when the spool has forgotten it, and
 * reports count it where they count all else.
 *
 * A line is written when the end is durable (report.c), by a thread, and not before: an end that is
 * lost comes again.  What a keeper that was killed had not written, the next one does, going by
 * when that one kept the clock last (expiry.c).  So a line may be there twice, with the moment of
 * the end and the recipient, by which PostgreSQL knows it (postern.events_add).
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
    /* Of the last message, since its recipients often end one behind the other. */
    struct ref ref;
    struct spool_envelope envelope;
    struct arena arena;
};

/* --- The event. */

/* An envelope that cannot be read costs the addresses alone. */
static const struct spool_envelope *
envelope_of(struct ended *e, const struct spool_message *m)
{
    if (ref_equal(e->ref, m->ref))
        return &e->envelope;
    arena_clear(&e->arena);
    e->ref = m->ref;
    if (keeper_envelope(e->keeper, m, &e->arena, &e->envelope) != 0)
        e->envelope = (struct spool_envelope){.reverse_path = ""};
    return &e->envelope;
}

static void
add_recipient(struct buf *json, const struct spool_envelope *envelope, unsigned recipient)
{
    buf_add_text(json, ",\"rcpt\":[\"");
    if (recipient < envelope->recipient_count)
        event_escape(json, slice_of(envelope->recipients[recipient].address));
    buf_add_text(json, "\"]");
    event_number(json, "place", recipient + 1);
}

static void
say(struct ended *e, const struct spool_message *m, unsigned recipient)
{
    const struct spool_envelope *envelope = envelope_of(e, m);
    char ref[REF_SIZE];
    struct buf json;

    buf_init(&json, 0);
    event_begin(&json, "ended", spool_message_ended_at_ms(m, recipient));
    event_text(&json, "ref", slice_of(ref_text(m->ref, ref)));
    event_text(&json, "from", slice_of(envelope->reverse_path));
    add_recipient(&json, envelope, recipient);
    event_text(&json, "customer", slice_of(m->customer));
    event_number(&json, "customer_id", m->customer_id);
    event_text(&json, "domain", slice_of(spool_message_domain(m, recipient)));
    event_number(&json, "size", (int64_t)m->body_bytes);
    event_text(&json, "verdict", slice_of(spool_end_word(spool_message_end(m, recipient))));
    event_text(&json, "reply", slice_of(spool_message_reply(m, recipient)));
    event_end(&json);
    report_add_event(e->keeper, buf_slice(&json));
    buf_fini(&json);
}

/* A prepared record ends for those that were not kept: the customer's server had them at once. */
void
ended_note(void *ctx, const struct spool_message *m, unsigned recipient)
{
    struct keeper *k = ctx;

    if (!m->prepared && !(m->flags & SPOOL_FLAG_OWN) && k->ended != NULL)
        say(k->ended, m, recipient);
}

static bool
is_to_be_said(const struct keeper *k, const struct spool_message *m, unsigned recipient)
{
    enum spool_end end = spool_message_end(m, recipient);

    return end != SPOOL_END_NONE && end != SPOOL_END_CANCELLED &&
           spool_message_ended_at_ms(m, recipient) >= k->kept_until_ms - BEFORE_MS &&
           !spool_message_ended_at_dot(m, recipient);
}

void
ended_before(struct keeper *k)
{
    struct spool_message *m = NULL;

    while (k->kept_until_ms != 0 && (m = spool_store_next(k->store, m)) != NULL) {
        if ((m->flags & SPOOL_FLAG_OWN) || m->open_count == m->recipient_count)
            continue;
        for (unsigned i = 0; i < m->recipient_count; i++)
            if (is_to_be_said(k, m, i))
                say(k->ended, m, i);
    }
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
ended_flush(struct keeper *k)
{
    if (k->ended != NULL)
        event_log_flush(k->ended->log);
}

/* --- Life. */

struct ended *
ended_new(struct keeper *k)
{
    struct ended *e = mem_alloc(sizeof *e);

    e->keeper = k;
    e->log = event_log_new();
    arena_init(&e->arena, SPOOL_ENVELOPE_ARENA_BYTES);
    return e;
}

void
ended_free(struct ended **held)
{
    struct ended *e = *held;

    *held = NULL;
    event_log_free(&e->log);
    arena_clear(&e->arena);
    free(e);
}
