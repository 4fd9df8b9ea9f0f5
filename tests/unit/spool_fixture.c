/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The spool's test fixture over the real disk.
 */
#include "config.h"

#include "spool_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/clock.h"
#include "spool/spool_format.h"

char spool_fixture_path[SCRATCH_PATH];
struct spool_counts spool_counts;

int
spool_fixture_dir(void)
{
    scratch_folder(spool_fixture_path, "postern-spool");
    return open(spool_fixture_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void
spool_fixture_clean(int dir_fd)
{
    DIR *dir = fdopendir(dir_fd);
    struct dirent *entry;

    CHECK(dir != NULL);
    rewinddir(dir);
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dir_fd, entry->d_name, 0);
    closedir(dir);
    CHECK(rmdir(spool_fixture_path) == 0);
}

struct spool_envelope
spool_fixture_envelope(uint64_t number)
{
    static struct spool_recipient recipient = {
        .address = "rita@acme.example", .domain = "acme.example", .side = SPOOL_OURS};

    return (struct spool_envelope){
        .ref = {.node = 1, .minute = 100, .number = number},
        .customer = "acme",
        .client_name = "",
        .helo = "sender.example",
        .reverse_path = "sam@sender.example",
        .reason = "connection refused",
        .prepend = SLICE("Received: from sender.example\r\n"),
        .recipients = &recipient,
        .recipient_count = 1,
    };
}

char *
spool_fixture_body(uint64_t number, size_t n)
{
    uint64_t x = number * 0x9e3779b97f4a7c15u + 1;
    char *body = mem_alloc(n + 1);

    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        body[i] = (char)('a' + (x >> 60));
    }
    return body;
}

uint64_t
spool_fixture_write_record(const struct spool_io *io, int fd, const uint8_t key[SIPHASH_KEY_SIZE],
                           uint64_t offset, uint64_t number, struct slice body)
{
    struct spool_envelope e = spool_fixture_envelope(number);
    struct spool_record_header header = {.type = SPOOL_RECORD_MESSAGE, .envelope_at = 64};
    struct buf out;

    buf_init(&out, 0);
    buf_add(&out, (char[SPOOL_RECORD_HEADER_BYTES]){0}, SPOOL_RECORD_HEADER_BYTES);
    spool_envelope_encode(&e, &out);
    header.envelope_bytes = (uint32_t)buf_size(&out) - 64;
    header.envelope_check = XXH3_64bits(out.mem + out.start + 64, header.envelope_bytes);
    header.body_at = (uint32_t)buf_size(&out);
    header.body_bytes = body.n;
    header.body_check = XXH3_64bits(body.p, body.n);
    spool_record_encode(&header, offset, key, (uint8_t *)out.mem + out.start);
    buf_add(&out, body.p, body.n);
    CHECK(spool_write_all(io, fd, buf_slice(&out).p, buf_size(&out), offset) == ERR_OK);
    buf_fini(&out);
    return offset + spool_record_extent(&header);
}

/* --- Counting. */

static atomic_llong unsynced_bytes[1024]; /* by descriptor */

static ssize_t
counting_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    ssize_t n;

    if (atomic_fetch_add(&spool_counts.writes, 1) + 1 == spool_counts.fail_write_at) {
        errno = EIO;
        return -1;
    }
    n = spool_io_disk.pwritev(fd, iov, count, offset);
    if (n > 0)
        atomic_fetch_add(&unsynced_bytes[fd], n);
    return n;
}

static void
take_time(long long bytes)
{
    if (spool_counts.slow_fdatasync_ms_above)
        usleep((useconds_t)(bytes * spool_counts.slow_fdatasync_ms_above / 1024 * 1000 / 1024));
}

static int
counting_fdatasync(int fd)
{
    take_time(atomic_exchange(&unsynced_bytes[fd], 0));
    if (atomic_fetch_add(&spool_counts.fdatasyncs, 1) + 1 == spool_counts.fail_fdatasync_at) {
        errno = EIO;
        return -1;
    }
    return spool_io_disk.fdatasync(fd);
}

static int
counting_fsync(int fd)
{
    atomic_fetch_add(&spool_counts.fsyncs, 1);
    return spool_io_disk.fsync(fd);
}

static int
through_openat(int dir_fd, const char *name, int flags, mode_t mode)
{
    return spool_io_disk.openat(dir_fd, name, flags, mode);
}

static int
through_close(int fd)
{
    return spool_io_disk.close(fd);
}

static ssize_t
through_pread(int fd, void *buf, size_t n, off_t offset)
{
    return spool_io_disk.pread(fd, buf, n, offset);
}

static int
through_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return spool_io_disk.fallocate(fd, mode, offset, length);
}

static int
through_ftruncate(int fd, off_t length)
{
    return spool_io_disk.ftruncate(fd, length);
}

static int
through_renameat(int dir_fd, const char *from, const char *to)
{
    return spool_io_disk.renameat(dir_fd, from, to);
}

static int
through_unlinkat(int dir_fd, const char *name)
{
    return spool_io_disk.unlinkat(dir_fd, name);
}

static int
counting_write_out(int fd, off_t offset, off_t n)
{
    atomic_fetch_sub(&unsynced_bytes[fd], n);
    take_time(n);
    return spool_io_disk.write_out(fd, offset, n);
}

const struct spool_io spool_io_counting = {
    .openat = through_openat,
    .close = through_close,
    .pwritev = counting_pwritev,
    .pread = through_pread,
    .fdatasync = counting_fdatasync,
    .fsync = counting_fsync,
    .write_out = counting_write_out,
    .fallocate = through_fallocate,
    .ftruncate = through_ftruncate,
    .renameat = through_renameat,
    .unlinkat = through_unlinkat,
};

/* --- The parent. */

static void
on_want_segment(void *ctx, uint64_t size_bytes, uint32_t ticket)
{
    struct spool_parent *parent = ctx;
    struct spool_segment_id id = {1, parent->epoch, parent->next_number};
    uint8_t key[SIPHASH_KEY_SIZE] = {0};
    int fd = -1, rc = ERR_FULL;

    parent->asked++;
    parent->last_asked_bytes = size_bytes;
    parent->last_ticket = ticket;
    if (parent->mute)
        return;
    if (parent->segment_bytes != 0 && size_bytes == SPOOL_SEGMENT_BYTES)
        size_bytes = parent->segment_bytes;
    if (!parent->refuse)
        rc = spool_segment_create(parent->io, parent->dir_fd, id, size_bytes, parent->process, &fd,
                                  key);
    parent->next_number += rc == ERR_OK;
    spool_writer_give(parent->writer, ticket, fd, id, key, size_bytes);
}

static void
on_done_segment(void *ctx, struct spool_segment_id id, bool has_records)
{
    struct spool_parent *parent = ctx;

    parent->done++;
    parent->done_empty += !has_records;
    if (parent->seal)
        (void)!spool_segment_seal(parent->io, parent->dir_fd, id);
}

static void
on_trim_segment(void *ctx, struct spool_segment_id id, uint64_t size_bytes)
{
    struct spool_parent *parent = ctx;

    parent->trimmed++;
    parent->last_trimmed_bytes = size_bytes;
    CHECK(spool_segment_trim(parent->io, parent->dir_fd, id, size_bytes) == ERR_OK);
}

static void
on_alarm(void *ctx, const char *event, const char *text)
{
    struct spool_parent *parent = ctx;

    parent->alarms++;
    snprintf(parent->last_alarm, sizeof parent->last_alarm, "%s %s", event, text);
}

static const struct spool_writer_ops parent_ops = {
    .want_segment = on_want_segment,
    .done_segment = on_done_segment,
    .trim_segment = on_trim_segment,
    .alarm = on_alarm,
};

void
spool_parent_begin(struct spool_parent *parent, const struct spool_io *io, int dir_fd)
{
    int rc;

    parent->io = io;
    parent->dir_fd = dir_fd;
    if (parent->epoch == 0)
        parent->epoch = 1;
    rc = spool_writer_new(io, &parent_ops, parent, &parent->writer, &parent->wake_fd);
    CHECK(rc == ERR_OK);
}

void
spool_parent_end(struct spool_parent *parent)
{
    spool_writer_free(&parent->writer);
}

bool
spool_parent_turn_until(struct spool_parent *parent, const bool *done)
{
    int64_t end_ms = clock_monotonic_ms() + 10000;

    while (!*done && clock_monotonic_ms() < end_ms) {
        struct pollfd p = {.fd = parent->wake_fd, .events = POLLIN};

        if (poll(&p, 1, 1000) > 0)
            spool_writer_turn(parent->writer);
    }
    return *done;
}

void
spool_parent_turn_for(struct spool_parent *parent, int ms)
{
    int64_t end_ms = clock_monotonic_ms() + ms, left;

    while ((left = end_ms - clock_monotonic_ms()) > 0) {
        struct pollfd p = {.fd = parent->wake_fd, .events = POLLIN};

        if (poll(&p, 1, (int)left) > 0)
            spool_writer_turn(parent->writer);
    }
}

void
spool_fixture_on_done(void *ctx, int rc)
{
    struct spool_outcome *outcome = ctx;

    CHECK(!outcome->done);
    outcome->done = true;
    outcome->rc = rc;
}

static void
on_lent_back(void *octets)
{
    (void)octets;
}

int
spool_fixture_append(struct spool_large *large, struct slice octets)
{
    struct iovec iov = {(void *)(uintptr_t)octets.p, octets.n};

    return spool_large_append(large, &iov, 1, on_lent_back, iov.iov_base);
}

/* --- Reading. */

static unsigned
read_segment(const struct spool_io *io, int fd, enum spool_scan_reach reach,
             void (*on_record)(void *ctx, int fd, const struct spool_scan_record *record),
             void *ctx)
{
    struct spool_scan_record record;
    struct spool_scan *scan;
    unsigned n = 0;
    int rc = spool_scan_open(io, fd, &scan);

    if (rc < 0)
        return 0;
    while ((rc = spool_scan_next(scan, reach, &record)) == ERR_OK) {
        n++;
        if (on_record)
            on_record(ctx, fd, &record);
    }
    CHECK(rc == ERR_AGAIN);
    spool_scan_close(&scan);
    return n;
}

unsigned
spool_fixture_read_all(const struct spool_io *io, int dir_fd, enum spool_scan_reach reach,
                       void (*on_record)(void *ctx, int fd, const struct spool_scan_record *record),
                       void *ctx)
{
    DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct spool_segment_id id;
    struct dirent *entry;
    unsigned n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd;

        if (spool_segment_parse_name(entry->d_name, &id) < 0)
            continue;
        fd = io->openat(dir_fd, entry->d_name, O_RDONLY, 0);
        CHECK(fd >= 0);
        n += read_segment(io, fd, reach, on_record, ctx);
        io->close(fd);
    }
    closedir(dir);
    return n;
}
