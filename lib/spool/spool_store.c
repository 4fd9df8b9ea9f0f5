/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool as a whole: which segments are there, which messages they hold, and what the ledger
 * says has become of them.  Segments are read by spool_scan.c, the ledger's files by
 * spool_ledger.c; what an entry of the ledger means stands in spool_outcome.c.
 *
 * Its one idea: a message is known by its place (segment and offset).  An outcome whose place is
 * not in memory (its segment cannot be read, its record is damaged) is kept in the ledger until the
 * segment is gone from the folder, so that no message comes back by the back door.
 */
#include "spool/spool_store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define CHECKPOINT_BYTES (4 * 1024 * 1024)
#define LEDGER_TRIES 10 /* a checkpoint each time would be a wonder */

/* --- Segments. */

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

static void
segment_free(struct spool_store *s, struct spool_store_segment *segment)
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
    segment_free(s, segment);
}

static int
segment_open_fd(const struct spool_store *s, struct spool_segment_id id)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    return s->io->openat(s->dir_fd, spool_segment_name(id, name), O_RDONLY | O_CLOEXEC, 0);
}

static void
segment_log(const struct spool_store *s, struct spool_store_segment *segment, const char *event,
            const char *why)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];

    if (s->mode == SPOOL_STORE_OWNER)
        log_line(LOG_LEVEL_ALARM, NULL, event, "segment=%s why=\"%s\"",
                 spool_segment_name(segment->id, name), why);
}

/* --- Reading segments. */

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
        segment_log(s, segment, "spool-damage", "an envelope cannot be decoded");
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
        segment_log(s, segment, "spool-damage", "a resolution cannot be decoded");
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
        segment_log(s, segment, "segment-unreadable", err_text(err));
}

static bool
segment_start(struct spool_store *s, struct spool_store_segment *segment)
{
    int err;

    segment->fd = segment_open_fd(s, segment->id);
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
        segment_log(s, segment, "spool-damage", "records were stepped over; the segment is kept");
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
            segment_log(s, segment, "segment-vanished", "a segment with mail is gone");
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

/* --- Life. */

/* A reader beside a running keeper may list the folder just before a checkpoint changes it. */
static int
open_ledger(struct spool_store *s)
{
    int err = ERR_AGAIN;

    for (int tries = 0; tries < LEDGER_TRIES && err == ERR_AGAIN; tries++)
        err = spool_ledger_open(s->io, s->dir_fd, s->mode == SPOOL_STORE_OWNER, &s->ledger);
    return err;
}

/* The ledger's file is chosen before the segments are read, and read behind them: each entry finds
 * its message, and beside a running keeper none is missing that had an outcome then. */
static int
read_all(struct spool_store *s)
{
    int err = open_ledger(s);

    if (err == 0)
        err = spool_store_refresh(s, NULL, NULL);
    if (err == 0)
        err = spool_ledger_replay(s->ledger, spool_outcome_read, s);
    if (err != 0)
        return err;
    s->ledger_is_read = true;
    spool_resolve_adopt_all(s);
    spool_entries_sort(s);
    return 0;
}

static void
log_ledger(const struct spool_store *s)
{
    struct spool_ledger_stats stats;

    spool_ledger_get_stats(s->ledger, &stats);
    if (stats.cut_bytes > 0)
        log_line(LOG_LEVEL_INFO, NULL, "ledger-cut", "bytes=%llu",
                 (unsigned long long)stats.cut_bytes);
    if (stats.damaged + stats.damaged_headers > 0)
        log_line(LOG_LEVEL_ALARM, NULL, "ledger-damage", "places=%llu files=%llu",
                 (unsigned long long)stats.damaged, (unsigned long long)stats.damaged_headers);
}

static void
note_outcomes(struct spool_store *s)
{
    struct spool_ledger_stats stats;

    spool_ledger_get_stats(s->ledger, &stats);
    s->must_rewrite = stats.damaged + stats.damaged_headers > 0;
    if (s->must_rewrite)
        s->outcomes_missing = "the ledger is damaged";
    else if (stats.files == 0 && s->message_count > 0)
        s->outcomes_missing = "the ledger is missing";
}

static int
open_store(const struct spool_io *io, const char *dir, enum spool_store_mode mode,
           const char *customer, struct spool_store **store)
{
    struct spool_store *s = mem_alloc(sizeof *s);
    int err = ERR_IO;

    *s = (struct spool_store){.io = io, .mode = mode, .dir_fd = -1, .read_fd = -1};
    s->customer = customer;
    s->checkpoint_bytes = CHECKPOINT_BYTES;
    spool_store_set_checkpoint_slice(s, 0);
    buf_init(&s->scratch, 0);
    buf_init(&s->fetched.envelope, 0);
    pool_init(&s->entries, sizeof(struct spool_store_entry));
    *store = NULL;
    s->dir_fd = io->openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->dir_fd >= 0)
        err = read_all(s);
    if (err != 0) {
        spool_store_close(&s);
        return err;
    }
    s->customer = NULL;
    s->running = true;
    note_outcomes(s);
    if (mode == SPOOL_STORE_OWNER)
        log_ledger(s);
    *store = s;
    return 0;
}

int
spool_store_open(const struct spool_io *io, const char *dir, enum spool_store_mode mode,
                 struct spool_store **store)
{
    return open_store(io, dir, mode, NULL, store);
}

int
spool_store_open_customer(const struct spool_io *io, const char *dir, const char *customer,
                          struct spool_store **store)
{
    return open_store(io, dir, SPOOL_STORE_READ, customer, store);
}

void
spool_store_close(struct spool_store **store)
{
    struct spool_store *s = *store;

    if (s == NULL)
        return;
    CHECK(s->job == NULL);
    spool_entries_free(s);
    for (size_t i = 0; i < s->segment_count; i++)
        segment_free(s, s->segments[i]);
    free(s->segments);
    free(s->parked); /* the segments have taken theirs with them */
    spool_pending_clear(&s->pending);
    spool_ledger_close(&s->ledger);
    spool_fetch_fini(s);
    spool_texts_fini(&s->texts);
    buf_fini(&s->scratch);
    spool_store_close_read_fd(s);
    if (s->dir_fd >= 0)
        s->io->close(s->dir_fd);
    free(s);
    *store = NULL;
}

/* --- Looking. */

size_t
spool_store_open_count(const struct spool_store *s)
{
    return s->open_count;
}

int
spool_store_dup_segment(struct spool_store *s, const struct spool_message *m, int *fd)
{
    *fd = segment_open_fd(s, m->segment->id);
    if (*fd >= 0)
        return 0;
    return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

struct spool_segment_id
spool_message_segment(const struct spool_message *m)
{
    return m->segment->id;
}

void
spool_store_close_read_fd(struct spool_store *s)
{
    if (s->read_fd >= 0)
        s->io->close(s->read_fd);
    s->read_fd = -1;
}

int
spool_store_read_fd(struct spool_store *s, const struct spool_message *m)
{
    if (s->read_fd >= 0 && spool_segment_compare(s->read_segment, m->segment->id) == 0)
        return s->read_fd;
    spool_store_close_read_fd(s);
    s->read_segment = m->segment->id;
    s->read_fd = segment_open_fd(s, m->segment->id);
    return s->read_fd;
}

int64_t
spool_store_read_body(struct spool_store *s, const struct spool_message *m, uint64_t offset,
                      void *dst, size_t n)
{
    int fd = spool_store_read_fd(s, m), rc;
    struct spool_body body;
    ssize_t got;

    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    rc = spool_store_body(s, m, &body);
    if (rc < 0)
        return rc;
    if (offset >= body.bytes)
        return 0;
    if (n > body.bytes - offset)
        n = (size_t)(body.bytes - offset);
    got = s->io->pread(fd, dst, n, (off_t)(body.offset + offset));
    return got > 0 ? got : got == 0 ? ERR_CORRUPT : ERR_IO;
}

int
spool_store_verify_body(struct spool_store *s, struct spool_message *m)
{
    int fd = spool_store_read_fd(s, m);
    struct spool_body body;
    int err;

    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    err = spool_store_body(s, m, &body);
    if (err == 0)
        err = spool_scan_verify_body(s->io, fd, body.offset, body.bytes, body.check);
    if (err == ERR_CORRUPT)
        spool_store_mark_damaged(s, m);
    return err;
}

void
spool_store_mark_damaged(struct spool_store *s, struct spool_message *m)
{
    if (m->damaged)
        return;
    m->damaged = true;
    m->segment->bad_bodies++;
    segment_log(s, m->segment, "spool-damage", "a message does not match its checksum");
}

void
spool_store_get_stats(const struct spool_store *s, struct spool_store_stats *stats)
{
    struct spool_ledger_stats ledger;

    spool_ledger_get_stats(s->ledger, &ledger);
    *stats = (struct spool_store_stats){
        .segments = s->segment_count,
        .free_segments = s->free_seen,
        .records = s->records,
        .ledger_number = ledger.number,
        .ledger_is_broken = spool_ledger_is_broken(s->ledger),
        .ledger_bytes = ledger.bytes,
        .ledger_entries = ledger.entries,
        .ledger_damaged = ledger.damaged + ledger.damaged_headers,
        .ledger_cut_bytes = ledger.cut_bytes,
    };
    for (size_t i = 0; i < s->segment_count; i++) {
        stats->damaged_records += spool_segment_damage(s->segments[i]);
        stats->unreadable_segments += s->segments[i]->unreadable;
    }
}

uint64_t
spool_segment_damage(const struct spool_store_segment *segment)
{
    return segment->damaged + segment->bad_envelopes + segment->bad_bodies;
}

void
spool_store_each_segment(const struct spool_store *s,
                         void (*each)(void *ctx, const struct spool_segment_report *segment),
                         void *ctx)
{
    for (size_t i = 0; i < s->segment_count; i++) {
        const struct spool_store_segment *segment = s->segments[i];

        each(ctx, &(struct spool_segment_report){.id = segment->id,
                                                 .sealed = segment->sealed,
                                                 .unreadable = segment->unreadable,
                                                 .messages = segment->message_count,
                                                 .open_messages = segment->open_count,
                                                 .damaged = spool_segment_damage(segment)});
    }
}

const char *
spool_store_outcomes_missing(const struct spool_store *s)
{
    return s->outcomes_missing;
}
