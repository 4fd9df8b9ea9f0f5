/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool as a whole: which messages there are, and what the ledger says has become of them.
 * Segments are found and read by spool_store_segment.c, the ledger's files by spool_ledger.c; what
 * an entry of the ledger means stands in spool_outcome.c.
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
        spool_store_segment_free(s, s->segments[i]);
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
    *fd = spool_store_segment_open(s, m->segment->id);
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
    s->read_fd = spool_store_segment_open(s, m->segment->id);
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
    spool_store_segment_log(s, m->segment, "spool-damage", "a message does not match its checksum");
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
