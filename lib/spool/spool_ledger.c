/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The file side of the ledger.  Its one idea: a file is either appended to and synced, or replaced
 * by a new one that holds all (written, synced, renamed, folder synced); after a sync that failed
 * it is never appended to again.
 *
 * A file is read through a window: it may have a hundred megabytes, and who reads it applies each
 * entry at once.
 *
 * Invariants: `offset` is where the next batch goes, and everything before it has been synced; one
 * job at a time.
 */
#include "spool/spool_ledger_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/codec.h"
#include "base/parse.h"
#include "spool/spool_format.h"

#define WINDOW_BYTES ((size_t)(512 * 1024))
#define ENTRY_MAX ((size_t)(SPOOL_LEDGER_PAYLOAD_MAX + 64))
static_assert(WINDOW_BYTES >= 2 * ENTRY_MAX, "it holds whole entries");

static bool
parse_name(const char *name, uint32_t *number)
{
    struct slice s = slice_of(name);
    uint64_t v;

    if (s.n != 15 || memcmp(s.p, "ledger-", 7) != 0)
        return false;
    if (parse_u64((struct slice){s.p + 7, 8}, &v) != 0)
        return false;
    *number = (uint32_t)v;
    return true;
}

/* --- Reading: a window over the file as it was when the reading began. */

struct window {
    const struct spool_ledger *ledger;
    char *mem;
    uint64_t at, size; /* of the file: what stands at the front of mem; where it ends */
    size_t n;          /* octets in mem */
    int err;
};

static int
window_begin(const struct spool_ledger *l, struct window *w)
{
    struct stat st;

    *w = (struct window){.ledger = l};
    if (fstat(l->fd, &st) != 0)
        return ERR_IO;
    w->size = (uint64_t)st.st_size;
    w->mem = mem_alloc(WINDOW_BYTES);
    return 0;
}

static void
window_move(struct window *w, uint64_t at)
{
    uint64_t left = w->size - at;
    size_t n = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;

    w->at = at;
    w->n = n;
    if (spool_read_exactly(w->ledger->io, w->ledger->fd, w->mem, n, at) < 0) {
        w->err = ERR_IO; /* too short as well: the file shrank under us */
        w->n = 0;
        w->size = at;
    }
}

/* What stands from `at` on: to the end of the file, or at least an entry. */
static struct slice
view(struct window *w, uint64_t at)
{
    uint64_t left = w->size - at, have;

    if (at < w->at || at > w->at + w->n)
        window_move(w, at);
    have = w->at + w->n - at;
    if (have < left && have < ENTRY_MAX)
        window_move(w, at);
    return (struct slice){w->mem + (at - w->at), (size_t)(w->at + w->n - at)};
}

static size_t
check(struct window *w, uint64_t at, uint16_t *type, struct slice *payload)
{
    return spool_ledger_entry_check(view(w, at), at, w->ledger->key, type, payload);
}

/* Is there, behind a bad place, proof that the place had been synced? */
static bool
was_synced(struct window *w, uint64_t bad)
{
    uint16_t type;
    struct slice payload;

    for (uint64_t at = bad + 8; at + spool_ledger_entry_bytes(8) <= w->size; at += 8) {
        if (check(w, at, &type, &payload) == 0)
            continue;
        if (type >= SPOOL_LEDGER_TYPE_MAX && payload.n == 8 && load_u64(payload.p) > bad)
            return true;
    }
    return false;
}

/* Gives every entry that can be trusted; `offset` is where the next batch goes. */
static void
read_entries(struct spool_ledger *l, struct window *w, spool_ledger_on_entry on_entry, void *ctx)
{
    uint64_t at = SPOOL_LEDGER_HEADER_BYTES;
    bool skipping = false;
    uint16_t type;
    struct slice payload;

    while (at < w->size) {
        size_t size = check(w, at, &type, &payload);

        if (size == 0 && !skipping && !was_synced(w, at))
            break;
        if (size == 0) {
            l->stats.damaged += !skipping;
            skipping = true;
            at += 8;
            continue;
        }
        skipping = false;
        at += size;
        if (type == SPOOL_LEDGER_CHECKPOINT_END)
            l->stats.checkpoint_end = at;
        if (type >= SPOOL_LEDGER_TYPE_MAX)
            continue;
        l->stats.entries++;
        on_entry(ctx, type, payload);
    }
    l->offset = at < w->size ? at : w->size;
}

/* As owner: what was read becomes durable, and what was not trusted goes. */
static int
settle(struct spool_ledger *l)
{
    char name[SPOOL_LEDGER_NAME_SIZE];

    if (l->stats.cut_bytes > 0 && l->io->ftruncate(l->fd, (off_t)l->offset) != 0)
        return ERR_IO;
    if (l->io->fsync(l->fd) != 0 || l->io->fsync(l->dir_fd) != 0)
        return ERR_IO;
    for (size_t i = 0; i < l->number_count; i++) {
        if (l->numbers[i] < l->stats.number)
            l->io->unlinkat(l->dir_fd, spool_ledger_file_name(l->numbers[i], "", name));
    }
    return 0;
}

int
spool_ledger_replay(struct spool_ledger *l, spool_ledger_on_entry on_entry, void *ctx)
{
    struct window window;
    int err;

    if (l->fd < 0)
        return l->owner ? spool_ledger_make_first(l) : 0;
    err = window_begin(l, &window);
    if (err != 0)
        return err;
    read_entries(l, &window, on_entry, ctx);
    free(window.mem);
    if (window.err != 0)
        return window.err;
    l->stats.cut_bytes = window.size - l->offset;
    return l->owner ? settle(l) : 0;
}

/* --- Opening. */

static void
on_name(void *ctx, const char *name)
{
    struct spool_ledger *l = ctx;
    uint32_t number;

    if (!parse_name(name, &number)) {
        if (l->owner && strncmp(name, "ledger-", 7) == 0 && strstr(name, ".new") != NULL)
            l->io->unlinkat(l->dir_fd, name); /* a checkpoint that was not finished */
        return;
    }
    l->numbers = mem_realloc(l->numbers, (l->number_count + 1) * sizeof *l->numbers);
    l->numbers[l->number_count++] = number;
}

static int
newer_first(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x < y) - (x > y);
}

/* A reader may look while the only name changes, and see neither the old one nor the new. */
static int
list_files(struct spool_ledger *l)
{
    int err = spool_io_each_name(l->io, l->dir_fd, on_name, l);

    if (err == 0 && l->number_count == 0 && !l->owner)
        err = spool_io_each_name(l->io, l->dir_fd, on_name, l);
    if (l->number_count == 0)
        return err;
    qsort(l->numbers, l->number_count, sizeof *l->numbers, newer_first);
    l->highest = l->stats.number = l->numbers[0];
    l->stats.files = l->number_count;
    return err;
}

/* ERR_NOT_FOUND, ERR_CORRUPT: try an older one. */
static int
open_file(struct spool_ledger *l, uint32_t number)
{
    char name[SPOOL_LEDGER_NAME_SIZE], header[SPOOL_LEDGER_HEADER_BYTES];
    int err;

    l->fd = l->io->openat(l->dir_fd, spool_ledger_file_name(number, "", name),
                          (l->owner ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
    if (l->fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    err = spool_read_exactly(l->io, l->fd, header, sizeof header, 0);
    if (err == 0 &&
        !spool_ledger_header_check((struct slice){header, sizeof header}, number, l->key))
        err = ERR_CORRUPT;
    if (err == 0)
        return 0;
    l->io->close(l->fd);
    l->fd = -1;
    return err;
}

/* Tries the files from the newest on; none is good as well. */
static int
open_newest(struct spool_ledger *l)
{
    for (size_t i = 0; i < l->number_count && l->fd < 0; i++) {
        int err = open_file(l, l->numbers[i]);

        if (err == ERR_NOT_FOUND && !l->owner)
            return ERR_AGAIN; /* what replaced it is not in our list */
        if (err == ERR_IO)
            return err;
        l->stats.damaged_headers += err == ERR_CORRUPT;
        if (err == 0)
            l->stats.number = l->numbers[i];
    }
    return 0;
}

int
spool_ledger_open(const struct spool_io *io, int dir_fd, bool owner, struct spool_ledger **ledger)
{
    struct spool_ledger *l = mem_alloc(sizeof *l);
    int err;

    *l = (struct spool_ledger){.io = io, .dir_fd = dir_fd, .fd = -1, .owner = owner};
    l->checkpoint.fd = -1;
    buf_init(&l->queue, 0);
    err = list_files(l);
    if (err == 0)
        err = open_newest(l);
    if (err != 0)
        spool_ledger_close(&l);
    *ledger = l;
    return err;
}

void
spool_ledger_close(struct spool_ledger **ledger)
{
    struct spool_ledger *l = *ledger;

    if (l == NULL)
        return;
    spool_ledger_drop_checkpoint(l);
    if (l->fd >= 0)
        l->io->close(l->fd);
    buf_fini(&l->queue);
    free(l->numbers);
    free(l);
    *ledger = NULL;
}

/* --- The queue. */

void
spool_ledger_add(struct spool_ledger *l, uint16_t type, struct slice payload)
{
    CHECK(l->owner && type < SPOOL_LEDGER_TYPE_MAX);
    spool_ledger_entry_add(&l->queue, type, payload);
}

bool
spool_ledger_has_queued(const struct spool_ledger *l)
{
    return buf_size(&l->queue) > 0;
}

bool
spool_ledger_is_broken(const struct spool_ledger *l)
{
    return l->broken;
}

void
spool_ledger_get_stats(const struct spool_ledger *l, struct spool_ledger_stats *stats)
{
    *stats = l->stats;
    stats->bytes = l->offset;
}
