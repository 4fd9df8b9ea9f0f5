/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The log under a disk that loses power.  A round lives several lives on one disk: the writer
 * commits small and large messages, some with records of this and of other segments in their
 * bodies; at some operation the power goes, or a sync fails, or the disk is full; then everything
 * is read as a dead writer's, sealed (the power may go meanwhile as well), and read again.  The
 * oracle:
 *
 *   P1, P2  every commit whose callback said 0 is found, with its envelope and its body
 *           nothing is found twice; nothing is found that was never given to the writer
 *           what had ended and was recycled never comes back
 *           what was refused after a failed sync is not found while the power lasts
 *
 * A TAP program of its own, without Criterion, so that it also runs under ThreadSanitizer.
 * usage: test_crash_segment [--rounds N] [--seed S]
 */
#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/crash/crash_disk.h"
#include "tests/unit/spool_fixture.h"

#define MESSAGES_MAX 400
#define LIVES 4
#define SEGMENT_BYTES (96 * 1024)
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 25 /* ten times slower */
#else
#define ROUNDS 150
#endif

enum kind { KIND_DROP, KIND_ANY_NAMES, KIND_FAILED_SYNC, KIND_FULL, KIND_SHORT, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {
    "power loss, names in order",    "power loss, any names kept",
    "a sync fails, then power loss", "the disk is full for a while, then power loss",
    "short writes and power loss",
};

struct message {
    char *body;
    size_t n;
    struct spool_outcome outcome;
    bool started, is_ended;
    struct spool_segment_id segment; /* where it was found */
    unsigned found;
};

static struct round {
    uint64_t random;
    enum kind kind;
    const struct spool_io *io;
    struct spool_parent parent;
    struct message messages[MESSAGES_MAX];
    unsigned count, before; /* messages; of earlier lives */
    char *raw;              /* octets of a segment, to put into bodies */
    size_t raw_bytes;
    char wrong[256]; /* the first broken promise */
} r;

static uint64_t
draw(uint64_t below)
{
    uint64_t z = r.random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static void PRINTF_LIKE(1, 2) wrong(const char *fmt, ...)
{
    va_list args;

    if (r.wrong[0] != '\0')
        return;
    va_start(args, fmt);
    vsnprintf(r.wrong, sizeof r.wrong, fmt, args);
    va_end(args);
}

/* --- Messages. */

static struct message *
new_message(size_t max)
{
    struct message *m = &r.messages[r.count];

    m->n = (size_t)draw(max + 1);
    m->body = spool_fixture_body(r.count, m->n);
    if (r.raw != NULL && m->n > 600 && draw(3) == 0) { /* aligned or not */
        size_t n = r.raw_bytes < m->n ? r.raw_bytes : m->n;

        memcpy(m->body + m->n - n, r.raw, n);
    }
    m->started = true;
    r.count++;
    return m;
}

static void
start_small(void)
{
    unsigned number = r.count;
    struct message *m = new_message(12000);
    struct spool_envelope e = spool_fixture_envelope(number);
    size_t cut = m->n ? (size_t)draw(m->n) : 0;
    struct iovec pieces[2] = {{m->body, cut}, {m->body + cut, m->n - cut}};
    struct spool_commit *commit =
        spool_commit_start(r.parent.writer, &e, pieces, 2, spool_fixture_on_done, &m->outcome);

    if (draw(16) == 0) {
        spool_commit_cancel(&commit, NULL, NULL);
        m->outcome.done = true;
        m->outcome.rc = ERR_CLOSED;
    }
}

static void
turn_until(const bool *done)
{
    if (!spool_parent_turn_until(&r.parent, done))
        wrong("no answer within ten seconds");
}

static void
pass_large(void)
{
    unsigned number = r.count;
    struct message *m = new_message(40000);
    struct spool_envelope e = spool_fixture_envelope(number);
    struct spool_outcome ready = {.done = false};
    char *prepend = NULL;
    struct spool_large *large =
        spool_large_open(r.parent.writer, m->n, SPOOL_ENVELOPE_MAX, spool_fixture_on_done, &ready);
    int rc;

    turn_until(&ready.done);
    rc = spool_fixture_append(large, (struct slice){m->body, m->n});
    if (draw(4) == 0) { /* an envelope that has to follow the body */
        prepend = spool_fixture_body(number, 20000);
        e.prepend = (struct slice){prepend, 20000};
    }
    if (rc == ERR_OK && draw(4) != 0) {
        spool_large_commit(large, &e, spool_fixture_on_done, &m->outcome);
        turn_until(&m->outcome.done);
    } else {
        m->outcome.done = true;
        m->outcome.rc = ERR_CLOSED;
    }
    spool_large_close(&large);
    free(prepend);
}

static void
work(unsigned bursts)
{
    for (unsigned i = 0; i < bursts && r.count + 8 < MESSAGES_MAX && r.wrong[0] == '\0'; i++) {
        unsigned first = r.count;

        for (uint64_t n = 1 + draw(6); n > 0; n--)
            start_small();
        if (draw(6) == 0)
            pass_large();
        for (unsigned k = first; k < r.count; k++)
            turn_until(&r.messages[k].outcome.done);
        if (crash_disk_crashed())
            break;
    }
}

/* --- The oracle. */

static void
on_record(void *ctx, int fd, const struct spool_scan_record *record)
{
    uint64_t number = record->ref.number;
    struct message *m = &r.messages[number < r.count ? number : 0];
    char *body = mem_alloc(record->body_bytes + 1);
    struct spool_envelope e;
    struct arena arena;

    arena_init(&arena, 4 * SPOOL_ENVELOPE_MAX);
    if (number >= r.count || !m->started || record->type != SPOOL_RECORD_MESSAGE)
        wrong("a record that was never written: %" PRIu64, number);
    else if (spool_envelope_decode(record->envelope, &arena, &e) < 0 ||
             strcmp(e.reverse_path, "sam@sender.example") != 0)
        wrong("the envelope of %" PRIu64, number);
    else if (record->body_bytes != m->n ||
             r.io->pread(fd, body, m->n, (off_t)record->body_offset) != (ssize_t)m->n ||
             memcmp(body, m->body, m->n) != 0)
        wrong("the body of %" PRIu64, number);
    else if (m->is_ended)
        wrong("message %" PRIu64 " had ended", number);
    m->found++;
    m->segment = *(struct spool_segment_id *)ctx;
    arena_clear(&arena);
    free(body);
}

typedef void on_segment(struct spool_segment_id id, const char *name);

static void
for_each_segment(on_segment *run)
{
    struct spool_segment_id ids[256];
    struct dirent *entry;
    DIR *dir = opendir(crash_disk_path());
    unsigned n = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL && n < ARRAY_SIZE(ids))
        n += spool_segment_parse_name(entry->d_name, &ids[n]) == ERR_OK;
    closedir(dir);
    for (unsigned i = 0; i < n; i++) {
        char name[SPOOL_SEGMENT_NAME_SIZE];

        run(ids[i], spool_segment_name(ids[i], name));
    }
}

static void
read_one(struct spool_segment_id id, const char *name)
{
    int fd = r.io->openat(crash_disk_dir(), name, O_RDONLY, 0), rc;
    struct spool_scan_record record;
    struct spool_scan *scan;

    CHECK(fd >= 0);
    rc = spool_scan_open(r.io, fd, &scan);
    if (rc < 0) {
        wrong("%s: header: %s", name, err_text(rc));
        r.io->close(fd);
        return;
    }
    while ((rc = spool_scan_next(scan, SPOOL_SCAN_ALL, &record)) == ERR_OK)
        on_record(&id, fd, &record);
    if (rc != ERR_AGAIN)
        wrong("%s: scan: %s", name, err_text(rc));
    spool_scan_close(&scan);
    r.io->close(fd);
}

static void
look(const char *when, bool refused_may_be_found)
{
    for (unsigned i = 0; i < r.count; i++)
        r.messages[i].found = 0;
    for_each_segment(read_one);
    for (unsigned i = 0; i < r.count; i++) {
        const struct message *m = &r.messages[i];

        if (m->outcome.done && m->outcome.rc == ERR_OK && m->found == 0 && !m->is_ended)
            wrong("%s: message %u was answered and is lost", when, i);
        if (m->found > 1)
            wrong("%s: message %u is found %u times", when, i, m->found);
        if (!refused_may_be_found && i >= r.before && m->outcome.rc == ERR_IO && m->found > 0)
            wrong("%s: message %u was refused and is found in %u-%u; %s", when, i, m->segment.epoch,
                  m->segment.number, r.parent.last_alarm);
    }
}

/* --- What the parent does with a dead writer's segments. */

static void
seal_one(struct spool_segment_id id, const char *name)
{
    int rc = spool_segment_seal(r.io, crash_disk_dir(), id);

    if (rc < 0 && !crash_disk_crashed())
        wrong("%s: seal: %s", name, err_text(rc));
}

static void
seal_all(void)
{
    if (draw(3) == 0) {
        crash_disk_arm(&(struct crash_disk_options){
            .seed = draw(UINT32_MAX), .crash_at = 1 + draw(12), .names_any = draw(2) == 0});
        for_each_segment(seal_one);
        crash_disk_power_on();
        look("after a loss while sealing", true);
    }
    for_each_segment(seal_one);
}

/* The messages of a segment have ended, and it goes. */
static void
recycle_one(struct spool_segment_id id, const char *name)
{
    int rc;

    if (draw(3) != 0)
        return;
    rc = spool_segment_recycle(r.io, crash_disk_dir(), id);
    if (rc < 0)
        wrong("%s: recycle: %s", name, err_text(rc));
    for (unsigned i = 0; i < r.count; i++)
        if (r.messages[i].found && r.messages[i].segment.number == id.number &&
            r.messages[i].segment.epoch == id.epoch)
            r.messages[i].is_ended = true;
}

static void
keep_raw(struct spool_segment_id id, const char *name)
{
    int fd = openat(crash_disk_dir(), name, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    (void)id;
    CHECK(fd >= 0);
    if (r.raw == NULL)
        r.raw = mem_alloc(8192);
    n = pread(fd, r.raw, 8192, 4096);
    if (n > 0)
        r.raw_bytes = (size_t)n;
    close(fd);
}

static void
live_once(unsigned life)
{
    uint32_t epoch;
    int rc;

    r.before = r.count;
    crash_disk_arm(&(struct crash_disk_options){
        .seed = draw(UINT32_MAX),
        .crash_at = 1 + draw(life == 0 ? 60 : 120),
        .fail_sync_at = r.kind == KIND_FAILED_SYNC ? 1 + draw(20) : 0,
        .full_from = r.kind == KIND_FULL ? 10 + draw(20) : 0,
        .full_until = r.kind == KIND_FULL ? 40 : 0,
        .short_writes = r.kind == KIND_SHORT,
        .names_any = r.kind != KIND_DROP,
    });
    rc = spool_epoch_next(r.io, crash_disk_dir(), &epoch);
    if (rc < 0 && !crash_disk_crashed() && r.kind != KIND_FULL && r.kind != KIND_FAILED_SYNC)
        wrong("epoch: %s", err_text(rc));
    if (rc == ERR_OK && epoch <= r.parent.epoch)
        wrong("epoch %u comes twice", epoch);
    if (rc == ERR_OK) {
        r.parent = (struct spool_parent){.epoch = epoch,
                                         .seal = draw(2) == 0,
                                         .segment_bytes = draw(30) != 0 ? SEGMENT_BYTES : 0};
        spool_parent_begin(&r.parent, r.io, crash_disk_dir());
        work(12);
        spool_parent_end(&r.parent);
        if (!crash_disk_crashed() && r.parent.seal)
            look("with the power on", false);
        for_each_segment(keep_raw);
    }
    crash_disk_power_on();
    look("after the loss", true);
    seal_all();
    look("after sealing", true);
    for_each_segment(recycle_one);
    look("after recycling", true);
}

static bool
run_round(uint64_t seed, enum kind kind)
{
    r = (struct round){.random = seed, .kind = kind};
    r.io = crash_disk_begin(&(struct crash_disk_options){.seed = seed});
    for (unsigned life = 0; life < LIVES && r.wrong[0] == '\0'; life++)
        live_once(life);
    crash_disk_end();
    for (unsigned i = 0; i < r.count; i++)
        free(r.messages[i].body);
    free(r.raw);
    if (r.wrong[0] != '\0')
        printf("# seed %" PRIu64 ", %s: %s\n", seed, kind_names[kind], r.wrong);
    return r.wrong[0] == '\0';
}

int
main(int argc, char **argv)
{
    uint64_t rounds = crash_disk_option(argc, argv, "--rounds", ROUNDS),
             seed = crash_disk_option(argc, argv, "--seed", 1);
    int failed_kinds = 0;

    printf("1..%d\n", KIND_COUNT + 1);
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        int64_t start_ms = clock_monotonic_ms();
        uint64_t bad = 0;

        for (uint64_t i = 0; i < rounds && bad < 3; i++)
            bad += !run_round(seed + i * KIND_COUNT + (uint64_t)kind, (enum kind)kind);
        printf("%sok %d - P1 P2 %s: %" PRIu64 " lives in %d ms\n", bad ? "not " : "", kind + 1,
               kind_names[kind], rounds * LIVES, (int)(clock_monotonic_ms() - start_ms));
        fflush(stdout);
        failed_kinds += bad > 0;
    }
    failed_kinds += !crash_disk_tell(KIND_COUNT + 1);
    return failed_kinds > 0;
}
