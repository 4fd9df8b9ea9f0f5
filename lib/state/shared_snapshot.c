/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The snapshot's format, written and read.
 *
 *      "PSTNSNAP"  version 32  written at 64  limits key 16 octets
 *      records of windows, uses, suspects, health; each kind begins its records with a 1 and ends
 *      with a 0
 *      XXH3 of all that 64
 *
 * Only what says something is in it: a window costs 13 octets and 2 for each minute in which it
 * counted.  Whatever is read is judged before anything of it is used: a first walk through the
 * records changes nothing, and only when it has come to the very end a second one restores (P5).
 */
#include "state/shared_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/codec.h"
#include "state/shared_layout.h"

#define MAGIC "PSTNSNAP"
#define MAGIC_BYTES 8
#define VERSION 2
#define WRITTEN_AT (MAGIC_BYTES + 4)
#define CHECK_BYTES 8
#define HEADER_BYTES (WRITTEN_AT + 8 + SIPHASH_KEY_SIZE)
#define BYTES_MAX (16u << 20) /* several times the largest there can be */
#define MINUTE_MS 60000
#define AHEAD_MAX_MS                                                                          \
    (10 * MINUTE_MS)               /* a clock may be so far behind and is not taken for wrong \
                                    */
#define COUNT_MAX ((1u << 24) - 1) /* of a window's minute */

/* --- Numbers of few octets: seven bits each, the lowest first. */

static void
put_small(struct buf *b, uint64_t v)
{
    while (v >= 0x80) {
        put_u8(b, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    put_u8(b, (uint8_t)v);
}

static uint64_t
get_small(struct decoder *d)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t octet = get_u8(d);

        v |= (uint64_t)(octet & 0x7f) << shift;
        if (octet < 0x80)
            return v;
    }
    d->failed = true;
    return 0;
}

/* --- Writing. */

static void
put_windows(const struct shared_table *table, int64_t wall_ms, struct buf *b)
{
    struct shared_window_minute minutes[SHARED_WINDOW_MINUTES];
    uint64_t key;

    for (unsigned place = 0; place < SHARED_WINDOWS_MAX; place++) {
        unsigned count = shared_window_read(table, place, wall_ms, &key, minutes);
        int64_t last_ms = count ? minutes[0].wall_ms : 0;

        if (count == 0)
            continue;
        put_u8(b, 1);
        put_u64(b, key);
        put_u8(b, (uint8_t)count);
        put_u32(b, (uint32_t)(last_ms / MINUTE_MS));
        for (unsigned i = 0; i < count; i++) {
            put_u8(b, (uint8_t)((minutes[i].wall_ms - last_ms) / MINUTE_MS));
            put_small(b, minutes[i].count);
            last_ms = minutes[i].wall_ms;
        }
    }
    put_u8(b, 0);
}

static void
put_uses(struct shared_table *table, int64_t wall_ms, struct buf *b)
{
    uint64_t used[SHARED_USE_COUNT];
    uint32_t customer_id;

    for (unsigned place = 0; place < SHARED_USE_MAX; place++) {
        if (!shared_use_read(table, place, wall_ms, &customer_id, used))
            continue;
        put_u8(b, 1);
        put_u32(b, customer_id);
        for (unsigned i = 0; i < SHARED_USE_COUNT; i++)
            put_small(b, used[i]);
    }
    put_u8(b, 0);
}

static void
put_suspects(const struct shared_table *table, int64_t wall_ms, struct buf *b)
{
    struct shared_suspect_copy copy;

    for (unsigned place = 0; place < SHARED_SUSPECTS_MAX; place++) {
        if (!shared_suspect_read(table, place, wall_ms, &copy))
            continue;
        put_u8(b, 1);
        put_u64(b, copy.fingerprint);
        put_u64(b, (uint64_t)copy.died_at_ms);
        put_u64(b, (uint64_t)copy.until_ms);
    }
    put_u8(b, 0);
}

static void
put_health(void *ctx, const struct shared_health *health)
{
    struct buf *b = ctx;

    put_u8(b, 1);
    put_u8(b, health->endpoint.family);
    buf_add(b, health->endpoint.addr, sizeof health->endpoint.addr);
    put_u16(b, health->endpoint.port);
    put_u8(b, (uint8_t)health->state);
    put_u8(b, (uint8_t)health->reason);
    put_u16(b, (uint16_t)health->failures);
    put_u64(b, (uint64_t)health->since_ms);
    put_u64(b, (uint64_t)health->next_probe_at_ms);
    put_u8(b, (uint8_t)health->verdicts);
    put_u8(b, (uint8_t)health->accepted);
    put_u8(b, (uint8_t)health->refused);
    put_u8(b, (uint8_t)health->good_probes);
    put_u64(b, (uint64_t)health->good_at_ms);
    for (size_t i = 0; i < ARRAY_SIZE(health->refused_hashes); i++)
        put_u64(b, health->refused_hashes[i]);
}

void
shared_snapshot_encode(struct shared_table *table, int64_t wall_ms, struct buf *content)
{
    buf_add(content, MAGIC, MAGIC_BYTES);
    put_u32(content, VERSION);
    put_u64(content, 0);
    buf_add(content, table->memory->header.limits_key, SIPHASH_KEY_SIZE);
    put_windows(table, wall_ms, content);
    put_uses(table, wall_ms, content);
    put_suspects(table, wall_ms, content);
    shared_health_each(table, put_health, content);
    put_u8(content, 0);
}

static int
write_all(int fd, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);

        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0)
            s = (struct slice){s.p + n, s.n - (size_t)n};
    }
    return fdatasync(fd) == 0 ? ERR_OK : ERR_IO;
}

int
shared_snapshot_put(struct buf *content, const char *path, int64_t wall_ms)
{
    char path_new[PATH_MAX];
    int fd, rc, saved;

    if (snprintf(path_new, sizeof path_new, "%s.new", path) >= (int)sizeof path_new)
        return ERR_LIMIT;
    store_u64(content->mem + content->start + WRITTEN_AT, (uint64_t)wall_ms);
    put_u64(content, XXH3_64bits(buf_slice(content).p, buf_size(content)));
    fd = open(path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ERR_IO;
    rc = write_all(fd, buf_slice(content));
    if (rc == ERR_OK && rename(path_new, path) != 0)
        rc = ERR_IO;
    saved = errno;
    close(fd);
    errno = saved;
    return rc != ERR_OK && (saved == ENOSPC || saved == EDQUOT) ? ERR_FULL : rc;
}

int
shared_snapshot_write(struct shared_table *table, const char *path, int64_t wall_ms)
{
    struct buf content;
    int rc;

    buf_init(&content, 0);
    shared_snapshot_encode(table, wall_ms, &content);
    rc = shared_snapshot_put(&content, path, wall_ms);
    buf_fini(&content);
    return rc;
}

/* --- Reading. */

struct reading {
    struct decoder d;
    struct shared_table *table; /* NULL: the first walk, which only judges */
    int64_t wall_ms, latest_ms; /* latest: no moment in it can be behind this */
    struct shared_snapshot_summary *summary;
};

/* Another record of this kind? */
static bool
has_next(struct reading *r)
{
    uint8_t mark = get_u8(&r->d);

    if (mark > 1)
        r->d.failed = true;
    return mark == 1 && !r->d.failed;
}

static void
require(struct reading *r, bool cond)
{
    if (!cond)
        r->d.failed = true;
}

static bool
is_moment(const struct reading *r, int64_t wall_ms)
{
    return wall_ms >= 0 && wall_ms <= r->latest_ms;
}

/* Minutes that are over for good have gone from the front. */
static void
restore_window(struct reading *r, uint64_t key, const struct shared_window_minute *minutes,
               unsigned count)
{
    int64_t oldest_ms = (r->wall_ms / MINUTE_MS - SHARED_WINDOW_MINUTES + 1) * MINUTE_MS;

    while (count > 0 && minutes[0].wall_ms < oldest_ms) {
        minutes++;
        count--;
    }
    if (count == 0)
        return;
    shared_window_restore(r->table, key, minutes, count);
    r->summary->windows++;
}

static void
get_windows(struct reading *r)
{
    struct shared_window_minute minutes[SHARED_WINDOW_MINUTES];

    while (has_next(r)) {
        uint64_t key = get_u64(&r->d);
        unsigned count = get_u8(&r->d);
        int64_t minute = get_u32(&r->d), first = minute;

        require(r, key != 0 && count > 0 && count <= SHARED_WINDOW_MINUTES);
        for (unsigned i = 0; i < count && !r->d.failed; i++) {
            unsigned step = get_u8(&r->d);
            uint64_t counted = get_small(&r->d);

            minute += step;
            require(r, (i == 0) == (step == 0) && counted > 0 && counted <= COUNT_MAX &&
                           minute - first < SHARED_WINDOW_MINUTES);
            minutes[i] = (struct shared_window_minute){minute * MINUTE_MS, (uint32_t)counted};
        }
        require(r, is_moment(r, minute * MINUTE_MS));
        if (r->table != NULL && !r->d.failed)
            restore_window(r, key, minutes, count);
    }
}

static void
get_uses(struct reading *r)
{
    uint64_t used[SHARED_USE_COUNT];

    while (has_next(r)) {
        uint32_t customer_id = get_u32(&r->d);

        for (unsigned i = 0; i < SHARED_USE_COUNT; i++)
            used[i] = get_small(&r->d);
        if (r->table == NULL || r->d.failed)
            continue;
        /* On the day on which it was written: on another one it says nothing. */
        for (unsigned i = 0; i < SHARED_USE_COUNT; i++)
            shared_use_add(r->table, customer_id, (enum shared_use)i, used[i],
                           r->summary->written_at_ms);
        r->summary->customers++;
    }
}

static void
get_suspects(struct reading *r)
{
    while (has_next(r)) {
        struct shared_suspect_copy copy = {.fingerprint = get_u64(&r->d)};

        copy.died_at_ms = (int64_t)get_u64(&r->d);
        copy.until_ms = (int64_t)get_u64(&r->d);
        require(r, copy.fingerprint != 0 && copy.died_at_ms >= 0 && copy.until_ms >= 0);
        if (r->table == NULL || r->d.failed || !shared_suspect_is_remembered(&copy, r->wall_ms))
            continue;
        shared_suspect_restore(r->table, &copy);
        r->summary->suspects++;
    }
}

static void
get_health(struct reading *r)
{
    while (has_next(r)) {
        struct shared_health h = {.endpoint = {.family = get_u8(&r->d)}};

        for (unsigned i = 0; i < sizeof h.endpoint.addr; i++)
            h.endpoint.addr[i] = get_u8(&r->d);
        h.endpoint.port = get_u16(&r->d);
        h.state = (enum shared_health_state)get_u8(&r->d);
        h.reason = (enum shared_health_reason)get_u8(&r->d);
        h.failures = get_u16(&r->d);
        h.since_ms = (int64_t)get_u64(&r->d);
        h.next_probe_at_ms = (int64_t)get_u64(&r->d);
        h.verdicts = get_u8(&r->d);
        h.accepted = get_u8(&r->d);
        h.refused = get_u8(&r->d);
        h.good_probes = get_u8(&r->d);
        h.good_at_ms = (int64_t)get_u64(&r->d);
        for (size_t i = 0; i < ARRAY_SIZE(h.refused_hashes); i++)
            h.refused_hashes[i] = get_u64(&r->d);
        require(r, (h.endpoint.family == 4 || h.endpoint.family == 6) && shared_health_is_sane(&h));
        if (r->table == NULL || r->d.failed)
            continue;
        shared_health_restore(r->table, &h, r->wall_ms);
        r->summary->backends++;
    }
}

/* All of the records, with the table or, to judge them, without. */
static bool
walk(struct slice records, int64_t wall_ms, struct shared_table *table,
     struct shared_snapshot_summary *summary)
{
    struct reading r = {
        .d = decoder_of(records),
        .table = table,
        .wall_ms = wall_ms,
        .latest_ms = summary->written_at_ms + 2 * AHEAD_MAX_MS,
        .summary = summary,
    };

    get_windows(&r);
    get_uses(&r);
    get_suspects(&r);
    get_health(&r);
    return decoder_done(&r.d);
}

static int
judge(struct slice content, int64_t wall_ms, struct shared_snapshot_summary *summary)
{
    size_t n = content.n - CHECK_BYTES;

    if (content.n < HEADER_BYTES + CHECK_BYTES || memcmp(content.p, MAGIC, MAGIC_BYTES) != 0)
        return ERR_CORRUPT;
    if (load_u32(content.p + MAGIC_BYTES) != VERSION)
        return ERR_VERSION;
    if (load_u64(content.p + n) != XXH3_64bits(content.p, n))
        return ERR_CORRUPT;
    summary->written_at_ms = (int64_t)load_u64(content.p + WRITTEN_AT);
    if (summary->written_at_ms < 0 || summary->written_at_ms > wall_ms + AHEAD_MAX_MS)
        return ERR_RANGE;
    return walk((struct slice){content.p + HEADER_BYTES, n - HEADER_BYTES}, wall_ms, NULL, summary)
               ? ERR_OK
               : ERR_CORRUPT;
}

static int
read_file(const char *path, struct buf *content)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc = ERR_OK;
    struct stat st;
    ssize_t n = 1;
    char *room;

    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = ERR_CORRUPT;
    while (rc == ERR_OK && n > 0) {
        if (buf_room(content, 64 * 1024, &room) != ERR_OK) {
            rc = ERR_CORRUPT; /* no snapshot is so long */
            break;
        }
        n = read(fd, room, 64 * 1024);
        if (n < 0)
            rc = ERR_IO;
        else
            buf_added(content, (size_t)n);
    }
    close(fd);
    return rc;
}

bool
shared_snapshot_is_needed(const struct shared_table *table)
{
    return atomic_load(&table->memory->header.is_restored) == 0;
}

int
shared_snapshot_restore(struct shared_table *table, const char *path, int64_t wall_ms,
                        struct shared_snapshot_summary *summary)
{
    struct shared_memory *m = table->memory;
    struct buf content;
    struct slice s;
    int rc;

    *summary = (struct shared_snapshot_summary){0};
    buf_init(&content, BYTES_MAX);
    rc = read_file(path, &content);
    s = buf_slice(&content);
    if (rc == ERR_OK)
        rc = judge(s, wall_ms, summary);
    if (rc == ERR_OK) {
        memcpy(m->header.limits_key, s.p + WRITTEN_AT + 8, SIPHASH_KEY_SIZE);
        CHECK(walk((struct slice){s.p + HEADER_BYTES, s.n - HEADER_BYTES - CHECK_BYTES}, wall_ms,
                   table, summary));
    }
    atomic_store(&m->header.is_restored, 1);
    buf_fini(&content);
    return rc;
}

const char *
shared_snapshot_error_text(int err)
{
    switch (err) {
    case ERR_CORRUPT:
        return "it is torn, damaged or foreign";
    case ERR_VERSION:
        return "it is of another version";
    case ERR_RANGE:
        return "it was written in a time to come: the clock is wrong, or was then";
    default:
        return err_text(err);
    }
}
