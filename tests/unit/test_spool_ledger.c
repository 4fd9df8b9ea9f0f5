/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: what was synced to the ledger is read again, whatever the file has suffered; what was not is
 * cut and never trusted.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "spool/spool_ledger.h"
#include "tests/unit/scratch.h"

struct fixture {
    char dir[SCRATCH_PATH];
    int dir_fd;
    struct spool_ledger *ledger;
    uint64_t seen[64]; /* payload numbers, in order */
    size_t seen_count;
};

static void
on_entry(void *ctx, uint16_t type, struct slice payload)
{
    struct fixture *f = ctx;
    struct decoder d = decoder_of(payload);

    cr_assert_eq(type, 7);
    cr_assert_lt(f->seen_count, ARRAY_SIZE(f->seen));
    f->seen[f->seen_count++] = get_u64(&d);
}

static void
open_with(struct fixture *f, const struct spool_io *io, bool owner)
{
    f->seen_count = 0;
    cr_assert_eq(spool_ledger_open(io, f->dir_fd, owner, &f->ledger), 0);
    cr_assert_eq(spool_ledger_replay(f->ledger, on_entry, f), 0);
}

static void
open_ledger(struct fixture *f, bool owner)
{
    open_with(f, &spool_io_disk, owner);
}

static void
setup_fixture(struct fixture *f)
{
    *f = (struct fixture){.dir = ""};
    scratch_folder(f->dir, "test-ledger");
    f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY);
    open_ledger(f, true);
}

static void
on_remove(void *ctx, const char *name)
{
    unlinkat(*(int *)ctx, name, 0);
}

static void
end_fixture(struct fixture *f)
{
    spool_ledger_close(&f->ledger);
    cr_assert_eq(spool_io_each_name(&spool_io_disk, f->dir_fd, on_remove, &f->dir_fd), 0);
    close(f->dir_fd);
    rmdir(f->dir);
}

static void
add(struct fixture *f, uint64_t number)
{
    char payload[8];

    store_u64(payload, number);
    spool_ledger_add(f->ledger, 7, (struct slice){payload, sizeof payload});
}

static int
sync_ledger(struct fixture *f)
{
    struct spool_ledger_job *job = spool_ledger_begin_sync(f->ledger);

    if (job == NULL)
        return ERR_AGAIN;
    spool_ledger_job_run(job);
    return spool_ledger_job_end(f->ledger, &job);
}

static int
file_fd(struct fixture *f, unsigned number)
{
    char name[SPOOL_LEDGER_NAME_SIZE];
    int fd;

    snprintf(name, sizeof name, "ledger-%08u", number);
    fd = openat(f->dir_fd, name, O_RDWR);
    cr_assert_geq(fd, 0, "%s", name);
    return fd;
}

#define SMALL_ENTRY 32 /* head, eight octets of payload, tail */
#define FIRST_BATCH (SPOOL_LEDGER_HEADER_BYTES + SMALL_ENTRY) /* behind the checkpoint's end */

/* Three batches of two entries: (1 2) (3 4) (5 6), each with an entry of the ledger's own before.
 */
static void
write_batches(struct fixture *f)
{
    for (uint64_t n = 1; n <= 6; n += 2) {
        add(f, n);
        add(f, n + 1);
        cr_assert_eq(sync_ledger(f), 0);
    }
}

static uint64_t
batch_offset(unsigned batch)
{
    return FIRST_BATCH + batch * 3 * SMALL_ENTRY;
}

Test(spool_ledger, P2_reads_back_what_was_synced)
{
    struct fixture f;

    setup_fixture(&f);
    write_batches(&f);
    add(&f, 99); /* queued, not synced */
    spool_ledger_close(&f.ledger);
    open_ledger(&f, true);
    cr_assert_eq(f.seen_count, 6);
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(f.seen[i], i + 1);
    end_fixture(&f);
}

/* Lengths that a tear can leave of the last batch, in every part of it. */
Test(spool_ledger, P2_cuts_a_torn_tail_wherever_it_tore)
{
    struct fixture f;

    setup_fixture(&f);
    for (uint64_t left = 0; left < 3 * SMALL_ENTRY; left += 5) {
        struct spool_ledger_stats stats;
        int fd;
        uint64_t whole = left < 2 * SMALL_ENTRY ? 4 : 5;

        write_batches(&f);
        spool_ledger_get_stats(f.ledger, &stats);
        fd = file_fd(&f, stats.number);
        cr_assert_eq(ftruncate(fd, (off_t)(batch_offset(2) + left)), 0);
        close(fd);
        spool_ledger_close(&f.ledger);
        open_ledger(&f, true);
        cr_assert_eq(f.seen_count, whole, "left %llu: %zu", (unsigned long long)left, f.seen_count);
        add(&f, 42); /* and goes on behind the cut */
        cr_assert_eq(sync_ledger(&f), 0);
        spool_ledger_close(&f.ledger);
        open_ledger(&f, false);
        cr_assert_eq(f.seen_count, whole + 1);
        cr_assert_eq(f.seen[whole], 42);
        end_fixture(&f);
        setup_fixture(&f);
    }
    end_fixture(&f);
}

static const struct {
    const char *name;
    unsigned batch, octet, zeros;
    size_t seen, damaged, cut;
} damages[] = {
    {"an entry of the first batch", 0, SMALL_ENTRY + 17, 1, 5, 1, 0},
    {"the mark of the second batch", 1, 3, 1, 6, 1, 0},
    {"a hole over the second batch", 1, 0, 3 * SMALL_ENTRY, 4, 1, 0},
    {"an entry of the last batch", 2, SMALL_ENTRY + 17, 1, 4, 0, 2 * SMALL_ENTRY},
    {"the mark of the last batch", 2, 3, 1, 4, 0, 3 * SMALL_ENTRY},
};

Test(spool_ledger, P2_tells_damage_from_a_torn_tail)
{
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        struct fixture f;
        struct spool_ledger_stats stats;
        char junk[128];
        int fd;

        setup_fixture(&f);
        write_batches(&f);
        spool_ledger_close(&f.ledger);
        fd = file_fd(&f, 1);
        memset(junk, 0xa5, sizeof junk);
        cr_assert_eq(pwrite(fd, junk, damages[i].zeros,
                            (off_t)(batch_offset(damages[i].batch) + damages[i].octet)),
                     (ssize_t)damages[i].zeros);
        close(fd);
        open_ledger(&f, true);
        spool_ledger_get_stats(f.ledger, &stats);
        cr_expect_eq(f.seen_count, damages[i].seen, "%s: %zu", damages[i].name, f.seen_count);
        cr_expect_eq(stats.damaged, damages[i].damaged, "%s", damages[i].name);
        cr_expect_eq(stats.cut_bytes, damages[i].cut, "%s: cut %llu", damages[i].name,
                     (unsigned long long)stats.cut_bytes);
        end_fixture(&f);
    }
}

/* --- Checkpoints. */

static struct fixture *current;

static void
add_to_checkpoint(struct fixture *f, uint64_t number)
{
    char payload[8];

    store_u64(payload, number);
    spool_ledger_checkpoint_add(f->ledger, 7, (struct slice){payload, sizeof payload});
}

static int
step(struct fixture *f, bool is_last)
{
    struct spool_ledger_job *job = spool_ledger_begin_step(f->ledger, is_last);

    spool_ledger_job_run(job);
    return spool_ledger_job_end(f->ledger, &job);
}

static int
checkpoint(struct fixture *f)
{
    spool_ledger_begin_checkpoint(f->ledger);
    add_to_checkpoint(f, 100);
    add_to_checkpoint(f, 101);
    return step(f, true);
}

static void
expect_seen(const struct fixture *f, const char *name, size_t count, const uint64_t *numbers)
{
    cr_expect_eq(f->seen_count, count, "%s: %zu", name, f->seen_count);
    for (size_t i = 0; i < count && i < f->seen_count; i++)
        cr_expect_eq(f->seen[i], numbers[i], "%s: entry %zu is %llu", name, i,
                     (unsigned long long)f->seen[i]);
}

#define EXPECT_SEEN(f, name, ...)                                              \
    expect_seen(f, name, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), \
                (uint64_t[]){__VA_ARGS__})

Test(spool_ledger, P2_a_checkpoint_replaces_the_file_and_what_was_queued_before_it)
{
    struct spool_ledger_job *job;
    struct fixture f;

    setup_fixture(&f);
    write_batches(&f);
    add(&f, 7); /* the state holds it already; a torn repetition could lead back behind it */
    spool_ledger_begin_checkpoint(f.ledger);
    add_to_checkpoint(&f, 100);
    add_to_checkpoint(&f, 101);
    job = spool_ledger_begin_step(f.ledger, true);
    add(&f, 8);
    spool_ledger_job_run(job);
    cr_assert_eq(spool_ledger_job_end(f.ledger, &job), 0);
    cr_expect_not(spool_ledger_is_checkpointing(f.ledger));
    cr_assert_eq(sync_ledger(&f), 0);
    spool_ledger_close(&f.ledger);
    open_ledger(&f, false);
    EXPECT_SEEN(&f, "the new file", 100, 101, 8);
    cr_expect_neq(faccessat(f.dir_fd, "ledger-00000001", F_OK, 0), 0);
    end_fixture(&f);
}

/* What a start would find at this moment. */
static void
look_beside(struct fixture *f, struct fixture *reader)
{
    *reader = (struct fixture){.dir_fd = f->dir_fd};
    open_ledger(reader, false);
    spool_ledger_close(&reader->ledger);
}

Test(spool_ledger, P2_a_checkpoint_in_steps_holds_what_was_synced_between_them)
{
    struct fixture f, reader;

    setup_fixture(&f);
    write_batches(&f);
    spool_ledger_begin_checkpoint(f.ledger);
    add_to_checkpoint(&f, 100);
    cr_assert_eq(step(&f, false), 0);
    add(&f, 7);
    add_to_checkpoint(&f, 7); /* of what has been written already */
    cr_assert_eq(sync_ledger(&f), 0);
    look_beside(&f, &reader);
    EXPECT_SEEN(&reader, "until the last step the old file counts", 1, 2, 3, 4, 5, 6, 7);
    add_to_checkpoint(&f, 101);
    cr_assert_eq(step(&f, false), 0);
    cr_assert_eq(step(&f, true), 0);
    look_beside(&f, &reader);
    EXPECT_SEEN(&reader, "the new file", 100, 7, 101);
    end_fixture(&f);
}

Test(spool_ledger, P2_a_checkpoint_that_begins_anew_leaves_nothing_of_the_one_before)
{
    struct fixture f, reader;

    setup_fixture(&f);
    write_batches(&f);
    spool_ledger_begin_checkpoint(f.ledger);
    for (uint64_t n = 50; n < 60; n++)
        add_to_checkpoint(&f, n);
    cr_assert_eq(step(&f, false), 0);
    add_to_checkpoint(&f, 60);
    cr_assert_eq(checkpoint(&f), 0);
    look_beside(&f, &reader);
    EXPECT_SEEN(&reader, "the second alone", 100, 101);
    spool_ledger_begin_checkpoint(f.ledger);
    cr_assert_eq(step(&f, false), 0);
    cr_expect_eq(faccessat(f.dir_fd, "ledger-00000003.new", F_OK, 0), 0);
    spool_ledger_drop_checkpoint(f.ledger);
    cr_expect_neq(faccessat(f.dir_fd, "ledger-00000003.new", F_OK, 0), 0);
    add(&f, 9);
    cr_assert_eq(sync_ledger(&f), 0);
    look_beside(&f, &reader);
    EXPECT_SEEN(&reader, "a dropped one changes nothing", 100, 101, 9);
    end_fixture(&f);
}

Test(spool_ledger, a_foreign_file_does_not_hide_an_older_good_one)
{
    struct fixture f;
    int fd;
    struct spool_ledger_stats stats;

    setup_fixture(&f);
    write_batches(&f);
    spool_ledger_close(&f.ledger);
    fd = openat(f.dir_fd, "ledger-00000009", O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "nothing of ours", 15), 15);
    close(fd);
    open_ledger(&f, false);
    spool_ledger_get_stats(f.ledger, &stats);
    cr_expect_eq(f.seen_count, 6);
    cr_expect_eq(stats.damaged_headers, 1);
    spool_ledger_close(&f.ledger);
    open_ledger(&f, true);
    cr_assert_eq(checkpoint(&f), 0);
    spool_ledger_close(&f.ledger);
    open_ledger(&f, false);
    spool_ledger_get_stats(f.ledger, &stats);
    cr_expect_eq(f.seen_count, 2, "the checkpoint wins over the foreign file");
    cr_expect_eq(stats.damaged_headers, 0);
    end_fixture(&f);
}

/* --- A reader beside an owner that writes a checkpoint in between. */
static bool checkpoint_is_due;

static int
openat_behind_a_checkpoint(int dir_fd, const char *name, int flags, mode_t mode)
{
    if (checkpoint_is_due && strncmp(name, "ledger-", 7) == 0) {
        checkpoint_is_due = false;
        cr_assert_eq(checkpoint(current), 0);
    }
    return spool_io_disk.openat(dir_fd, name, flags, mode);
}

Test(spool_ledger, P2_a_reader_that_meets_a_checkpoint_is_told_to_ask_again)
{
    struct spool_io io = spool_io_disk;
    struct fixture f, reader = {0};

    setup_fixture(&f);
    write_batches(&f);
    current = &f;
    io.openat = openat_behind_a_checkpoint;
    checkpoint_is_due = true;
    cr_assert_eq(spool_ledger_open(&io, f.dir_fd, false, &reader.ledger), ERR_AGAIN);
    cr_assert_null(reader.ledger);
    reader.dir_fd = f.dir_fd;
    open_with(&reader, &io, false);
    cr_expect_eq(reader.seen_count, 2);
    spool_ledger_close(&reader.ledger);
    end_fixture(&f);
}

Test(spool_ledger, P2_a_reader_keeps_the_file_that_it_has_opened)
{
    struct fixture f, reader = {0};

    setup_fixture(&f);
    write_batches(&f);
    cr_assert_eq(spool_ledger_open(&spool_io_disk, f.dir_fd, false, &reader.ledger), 0);
    cr_assert_eq(checkpoint(&f), 0);
    cr_assert_eq(spool_ledger_replay(reader.ledger, on_entry, &reader), 0);
    EXPECT_SEEN(&reader, "what was synced before the checkpoint", 1, 2, 3, 4, 5, 6);
    spool_ledger_close(&reader.ledger);
    end_fixture(&f);
}

/* --- A file that is larger than the window through which it is read. */

#define MANY 9000
#define LONG_BYTES 60000 /* now and then, so that entries lie across a window's end */

struct counted {
    uint64_t next, wrong, long_ones;
};

static void
on_counted(void *ctx, uint16_t type, struct slice payload)
{
    struct counted *c = ctx;
    bool is_long = payload.n == LONG_BYTES;

    (void)type;
    c->wrong += load_u64(payload.p) < c->next;
    c->next = load_u64(payload.p) + 1;
    c->long_ones += is_long;
}

static void
write_many(struct fixture *f)
{
    char *payload = mem_alloc(LONG_BYTES);

    for (uint64_t n = 0; n < MANY; n++) {
        size_t bytes = n % 300 == 7 ? LONG_BYTES : 8 + n % 200;

        store_u64(payload, n);
        spool_ledger_add(f->ledger, 7, (struct slice){payload, bytes});
        if (n % 100 == 99)
            cr_assert_eq(sync_ledger(f), 0);
    }
    free(payload);
}

static struct counted
count_all(struct fixture *f, struct spool_ledger_stats *stats)
{
    struct counted counted = {0};
    struct spool_ledger *ledger;

    cr_assert_eq(spool_ledger_open(&spool_io_disk, f->dir_fd, false, &ledger), 0);
    cr_assert_eq(spool_ledger_replay(ledger, on_counted, &counted), 0);
    spool_ledger_get_stats(ledger, stats);
    spool_ledger_close(&ledger);
    return counted;
}

Test(spool_ledger, P2_a_long_file_comes_whole_and_is_mended_like_a_short_one)
{
    struct spool_ledger_stats stats;
    struct counted counted;
    struct fixture f;
    char junk[3000];
    int fd;

    setup_fixture(&f);
    write_many(&f);
    counted = count_all(&f, &stats);
    cr_expect_eq(stats.entries, MANY);
    cr_expect_eq(counted.next, MANY);
    cr_expect_eq(counted.wrong, 0);
    cr_expect_eq(counted.long_ones, MANY / 300);
    fd = file_fd(&f, 1);
    memset(junk, 0xa5, sizeof junk);
    cr_assert_eq(pwrite(fd, junk, sizeof junk, 1234560), (ssize_t)sizeof junk);
    cr_assert_eq(ftruncate(fd, (off_t)stats.bytes - 5), 0);
    close(fd);
    counted = count_all(&f, &stats);
    cr_expect_eq(stats.damaged, 1);
    cr_expect_eq(counted.wrong, 0);
    cr_expect_eq(counted.next, MANY - 1, "all behind the damage but the torn one");
    cr_expect_gt(stats.entries, MANY - 200);
    cr_expect_lt(stats.entries, MANY - 1);
    end_fixture(&f);
}

/* --- A disk that is full, or fails to sync, now and then. */
static bool disk_is_full, sync_fails;

static ssize_t
weak_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    if (disk_is_full) {
        errno = ENOSPC;
        return -1;
    }
    return spool_io_disk.pwritev(fd, iov, count, offset);
}

static int
weak_fdatasync(int fd)
{
    if (sync_fails) {
        errno = EIO;
        return -1;
    }
    return spool_io_disk.fdatasync(fd);
}

Test(spool_ledger, P2_keeps_what_a_full_disk_refused_until_there_is_room)
{
    struct spool_io io = spool_io_disk;
    struct fixture f;

    setup_fixture(&f);
    spool_ledger_close(&f.ledger);
    io.pwritev = weak_pwritev;
    open_with(&f, &io, true);
    add(&f, 1);
    disk_is_full = true;
    cr_assert_eq(sync_ledger(&f), ERR_FULL);
    add(&f, 2);
    disk_is_full = false;
    cr_assert_eq(sync_ledger(&f), 0);
    spool_ledger_close(&f.ledger);
    open_ledger(&f, false);
    cr_assert_eq(f.seen_count, 2);
    cr_expect_eq(f.seen[0], 1);
    cr_expect_eq(f.seen[1], 2);
    end_fixture(&f);
}

Test(spool_ledger, P2_never_appends_again_after_a_failed_sync)
{
    struct spool_io io = spool_io_disk;
    struct fixture f;

    setup_fixture(&f);
    spool_ledger_close(&f.ledger);
    io.fdatasync = weak_fdatasync;
    open_with(&f, &io, true);
    add(&f, 1);
    sync_fails = true;
    cr_assert_eq(sync_ledger(&f), ERR_IO);
    sync_fails = false;
    cr_assert(spool_ledger_is_broken(f.ledger));
    cr_assert_eq(sync_ledger(&f), ERR_AGAIN);
    cr_assert_eq(checkpoint(&f), 0);
    cr_assert_not(spool_ledger_is_broken(f.ledger));
    end_fixture(&f);
}
