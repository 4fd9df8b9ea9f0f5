/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The segments of the spool: which are there, in order, and what is new in each (spool_scan.c).
 * Trouble with one does not hide the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/log.h"
#include "spool/spool_store_private.h"

/* --- The list. */

int
spool_segment_compare(struct spool_segment_id a, struct spool_segment_id b)
{
    if (a.node != b.node)
        return a.node < b.node ? -1 : 1;
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    if (a.number != b.number)
        return a.number < b.number ? -1 : 1;
    return 0;
}

/* Where `id` stands, or would stand, in the sorted list. */
static size_t
segment_position(const struct spool_store *s, struct spool_segment_id id)
{
    size_t low = 0, high = s->segment_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (spool_segment_compare(s->segments[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct spool_store_segment *
spool_store_segment_find(const struct spool_store *s, struct spool_segment_id id)
{
    size_t at = segment_position(s, id);

    if (at < s->segment_count && spool_segment_compare(s->segments[at]->id, id) == 0)
        return s->segments[at];
    return NULL;
}

bool
spool_store_has_segment(const struct spool_store *s, struct spool_segment_id id)
{
    return spool_store_segment_find(s, id) != NULL;
}

static struct spool_store_segment *
segment_add(struct spool_store *s, struct spool_segment_id id)
{
    size_t at = segment_position(s, id);
    struct spool_store_segment *segment = mem_alloc(sizeof *segment);

    *segment = (struct spool_store_segment){.id = id, .fd = -1};
    s->segments = mem_realloc(s->segments, (s->segment_count + 1) * sizeof(*s->segments));
    memmove(s->segments + at + 1, s->segments + at, (s->segment_count - at) * sizeof(*s->segments));
    s->segments[at] = segment;
    s->segment_count++;
    return segment;
}

static void
segment_stop_reading(struct spool_store *s, struct spool_store_segment *segment)
{
    spool_scan_close(&segment->scan);
    if (segment->fd >= 0)
        s->io->close(segment->fd);
    segment->fd = -1;
}

void
spool_store_segment_free(struct spool_store *s, struct spool_store_segment *segment)
{
    CHECK(segment->messages == 0);
    segment_stop_reading(s, segment);
    spool_fetch_forget(s, segment);
    spool_resolve_forget(s, segment);
    free(segment);
}

void
spool_store_segment_remove(struct spool_store *s, struct spool_store_segment *segment)
{
    size_t at = segment_position(s, segment->id);

    memmove(s->segments + at, s->segments + at + 1,
            (s->segment_count - at - 1) * sizeof(*s->segments));
    s->segment_count--;
    spool_store_segment_free(s, segment);
}

int
spool_store_segment_open(const struct spool_store *s, struct spool_segment_id id)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    return s->io->openat(s->dir_fd, spool_segment_name(id, name), O_RDONLY | O_CLOEXEC, 0);
}

void
spool_store_segment_log(const struct spool_store *s, struct spool_store_segment *segment,
                        const char *event, const char *why)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    if (s->mode == SPOOL_STORE_OWNER)
        log_line(LOG_LEVEL_ALARM, NULL, event, "segment=%s why=\"%s\"",
                 spool_segment_name(segment->id, name), why);
}

/* --- Reading. */

/* What cannot be read is everybody's. */
static bool
is_anothers(const struct spool_store *s, const struct spool_scan_record *record)
{
    struct slice customer;

    return s->customer != NULL && spool_envelope_peek_customer(record->envelope, &customer) == 0 &&
           !slice_equal(customer, slice_of(s->customer));
}

static void
read_message(struct spool_store *s, struct spool_store_segment *segment,
             const struct spool_scan_record *record)
{
    struct spool_store_entry *entry;

    if (is_anothers(s, record))
        return;
    entry = spool_entry_new(s, record, segment);
    if (entry == NULL) {
        segment->bad_envelopes++;
        spool_store_segment_log(s, segment, "spool-damage", "an envelope cannot be decoded");
        return;
    }
    s->records++;
    spool_entry_link(s, entry);
    spool_outcome_adopt(s, &entry->message);
    if (s->on_new != NULL)
        s->on_new(s->on_new_ctx, &entry->message);
}

static void
read_resolution(struct spool_store *s, struct spool_store_segment *segment,
                const struct spool_scan_record *record)
{
    struct spool_resolution resolution;
    struct slice reply;
    char text[SPOOL_RESOLUTION_REPLY_MAX + 1];

    if (spool_resolution_decode(record->envelope, &resolution, &reply) != 0) {
        segment->bad_envelopes++;
        spool_store_segment_log(s, segment, "spool-damage", "a resolution cannot be decoded");
        return;
    }
    slice_to_text(reply, text, sizeof text);
    resolution.reply = text;
    s->records++;
    spool_resolve_read(s, segment, &resolution);
}

static void
read_record(struct spool_store *s, struct spool_store_segment *segment,
            const struct spool_scan_record *record)
{
    switch (record->type) {
    case SPOOL_RECORD_MESSAGE:
        read_message(s, segment, record);
        break;
    case SPOOL_RECORD_RESOLUTION:
        read_resolution(s, segment, record);
        break;
    }
}

/* A segment that cannot be read is tried again at each refresh: it may be in the making, the disk
 * may recover.  It says so once. */
static void
segment_failed(struct spool_store *s, struct spool_store_segment *segment, int err)
{
    segment->tries++;
    segment->unreadable = true;
    if (segment->tries == (s->running ? 3 : 1))
        spool_store_segment_log(s, segment, "segment-unreadable", err_text(err));
}

static bool
segment_start(struct spool_store *s, struct spool_store_segment *segment)
{
    int err;

    segment->fd = spool_store_segment_open(s, segment->id);
    if (segment->fd < 0)
        return false;
    err = spool_scan_open(s->io, segment->fd, &segment->scan);
    if (err == 0 && spool_segment_compare(spool_scan_info(segment->scan)->id, segment->id) != 0)
        err = ERR_CORRUPT;
    if (err == 0) {
        segment->writer = spool_scan_info(segment->scan)->writer;
        memcpy(segment->key, spool_scan_info(segment->scan)->key, sizeof segment->key);
        segment->is_known = true;
        return true;
    }
    segment_stop_reading(s, segment);
    segment_failed(s, segment, err);
    return false;
}

static void
segment_note(struct spool_store *s, struct spool_store_segment *segment)
{
    const struct spool_scan_info *info = spool_scan_info(segment->scan);

    if (info->damaged > segment->damaged)
        spool_store_segment_log(s, segment, "spool-damage",
                                "records were stepped over; the segment is kept");
    segment->damaged = info->damaged;
    segment->sealed = info->sealed;
    segment->closed = info->closed;
}

/* Everything that is new in one segment; trouble with one does not hide the others. */
static void
segment_read(struct spool_store *s, struct spool_store_segment *segment)
{
    struct spool_scan_record record;
    int err = 0;

    if (segment->complete)
        return;
    if (segment->scan == NULL && !segment_start(s, segment))
        return;
    err = spool_scan_refresh(segment->scan);
    while (err == 0 && (err = spool_scan_next(segment->scan, SPOOL_SCAN_COMMITTED, &record)) == 0)
        read_record(s, segment, &record);
    segment_note(s, segment);
    if (err != ERR_AGAIN) {
        segment_failed(s, segment, err);
        return;
    }
    segment->unreadable = false;
    if (segment->sealed) {
        segment->complete = true;
        segment->read_at = s->pass;
        segment_stop_reading(s, segment);
    }
}

static void
on_name(void *ctx, const char *name)
{
    struct spool_store *s = ctx;
    struct spool_store_segment *segment;
    struct spool_segment_id id;

    if (spool_segment_parse_name(name, &id) != 0) {
        s->free_seen += strncmp(name, "free-", 5) == 0;
        return;
    }
    segment = spool_store_segment_find(s, id);
    if (segment == NULL)
        segment = segment_add(s, id);
    segment->seen = s->pass;
}

/* A segment that has gone without us: nothing if it was empty (the relay took it back), an alarm if
 * mail was in it. */
static void
drop_vanished(struct spool_store *s)
{
    for (size_t i = s->segment_count; i-- > 0;) {
        struct spool_store_segment *segment = s->segments[i];

        if (segment->seen == s->pass || segment->removing)
            continue;
        if (segment->messages == 0)
            spool_store_segment_remove(s, segment);
        else if (!segment->vanished) {
            segment->vanished = true;
            spool_store_segment_log(s, segment, "segment-vanished", "a segment with mail is gone");
        }
    }
}

int
spool_store_refresh(struct spool_store *s, void (*on_new)(void *ctx, struct spool_message *message),
                    void *ctx)
{
    int err;

    s->pass++;
    s->free_seen = 0;
    err = spool_io_each_name(s->io, s->dir_fd, on_name, s);
    if (err != 0)
        return err;
    drop_vanished(s);
    s->on_new = on_new;
    s->on_new_ctx = ctx;
    for (size_t i = 0; i < s->segment_count; i++)
        segment_read(s, s->segments[i]);
    s->on_new = NULL;
    return 0;
}
