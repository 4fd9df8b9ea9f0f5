/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Group commit on real files: what is answered is there, what fails is said, and nothing waits for
 * what it need not wait for.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "spool/spool_lane.h"
#include "spool_fixture.h"

#define MESSAGES 200

static struct spool_parent parent;
static const struct spool_io *const io = &spool_io_counting;

static void
begin(void)
{
    spool_parent_begin(&parent, io, spool_fixture_dir());
}

static void
end(void)
{
    spool_parent_end(&parent);
    spool_fixture_clean(parent.dir_fd);
}

static struct spool_commit *
commit_one(uint64_t number, const char *body, size_t n, struct spool_outcome *outcome)
{
    struct spool_envelope e = spool_fixture_envelope(number);
    struct iovec pieces[3] = {{(void *)(uintptr_t)body, n / 3},
                              {(void *)(uintptr_t)(body + n / 3), 0},
                              {(void *)(uintptr_t)(body + n / 3), n - n / 3}};

    *outcome = (struct spool_outcome){.done = false};
    return spool_commit_start(parent.writer, &e, pieces, 3, spool_fixture_on_done, outcome);
}

struct found {
    unsigned times[MESSAGES];
    size_t body_bytes;
};

static void
on_record(void *ctx, int fd, const struct spool_scan_record *record)
{
    struct found *found = ctx;
    struct spool_envelope e, want = spool_fixture_envelope(record->ref.number);
    struct arena arena;
    char *body;

    cr_assert_lt(record->ref.number, MESSAGES);
    found->times[record->ref.number]++;
    arena_init(&arena, SPOOL_ENVELOPE_MAX * 2);
    cr_assert_eq(spool_envelope_decode(record->envelope, &arena, &e), ERR_OK);
    cr_expect_str_eq(e.reverse_path, want.reverse_path);
    arena_clear(&arena);
    cr_expect_eq(
        spool_scan_verify_body(io, fd, record->body_offset, record->body_bytes, record->body_check),
        ERR_OK);
    cr_assert_eq(record->body_bytes, found->body_bytes);
    body = mem_alloc(record->body_bytes + 1);
    cr_assert_eq(pread(fd, body, record->body_bytes, (off_t)record->body_offset),
                 (ssize_t)record->body_bytes);
    free(body);
}

static unsigned
expect_all_once(unsigned count, size_t body_bytes, enum spool_scan_reach reach)
{
    struct found found = {.body_bytes = body_bytes};
    unsigned n = spool_fixture_read_all(io, parent.dir_fd, reach, on_record, &found);

    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(found.times[i], 1, "message %u: %u times", i, found.times[i]);
    return n;
}

Test(spool_writer, a_worker_that_spools_nothing_touches_no_disk)
{
    begin();
    spool_parent_turn_for(&parent, 20);
    cr_expect_eq(parent.asked, 0);
    end();
}

Test(spool_writer, P1_what_was_answered_is_there_and_one_sync_serves_many)
{
    struct spool_outcome outcomes[MESSAGES];
    char *body = spool_fixture_body(1, 10240);

    begin();
    for (unsigned i = 0; i < MESSAGES; i++)
        commit_one(i, body, 10240, &outcomes[i]);
    for (unsigned i = 0; i < MESSAGES; i++) {
        cr_assert(spool_parent_turn_until(&parent, &outcomes[i].done));
        cr_expect_eq(outcomes[i].rc, ERR_OK);
    }
    cr_expect_eq(expect_all_once(MESSAGES, 10240, SPOOL_SCAN_COMMITTED), MESSAGES);
    cr_expect_leq(spool_counts.fdatasyncs, 20, "%d syncs", spool_counts.fdatasyncs);
    spool_parent_turn_for(&parent, 20);
    cr_expect_eq(parent.asked, 2, "one, and one ahead");
    free(body);
    end();
}

Test(spool_writer, P1_a_full_segment_is_handed_in_and_the_next_one_used)
{
    struct spool_outcome outcomes[MESSAGES];
    char *body = spool_fixture_body(1, 10240);

    parent.segment_bytes = 256 * 1024;
    parent.seal = true;
    begin();
    for (unsigned i = 0; i < MESSAGES; i++)
        commit_one(i, body, 10240, &outcomes[i]);
    for (unsigned i = 0; i < MESSAGES; i++) {
        cr_assert(spool_parent_turn_until(&parent, &outcomes[i].done));
        cr_expect_eq(outcomes[i].rc, ERR_OK);
    }
    spool_parent_turn_for(&parent, 50);
    cr_expect_eq(parent.done, 8, "%u", parent.done);
    cr_expect_eq(parent.done_empty, 0);
    cr_expect_eq(expect_all_once(MESSAGES, 10240, SPOOL_SCAN_COMMITTED), MESSAGES);
    free(body);
    end();
}

static void
one_failure(atomic_int *what, int at, const char *step)
{
    struct spool_outcome a, b, c;

    begin();
    commit_one(0, "aaaa", 4, &a);
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    *what = at;
    commit_one(1, "bbbb", 4, &b);
    cr_assert(spool_parent_turn_until(&parent, &b.done));
    commit_one(2, "cccc", 4, &c);
    cr_assert(spool_parent_turn_until(&parent, &c.done));
    cr_expect_eq(a.rc, ERR_OK);
    cr_expect_eq(b.rc, ERR_IO);
    cr_expect_eq(c.rc, ERR_OK, "the next takes a new segment");
    cr_expect_eq(parent.done, 1);
    cr_expect_eq(parent.alarms, 1);
    cr_expect_not_null(strstr(parent.last_alarm, step), "%s", parent.last_alarm);
}

Test(spool_writer, P1_a_failed_sync_is_said_and_its_segment_never_trusted_again)
{
    struct spool_segment_id id = {1, 1, 0};
    struct found found = {.body_bytes = 4};

    one_failure(&spool_counts.fail_fdatasync_at, 2, "fdatasync");
    cr_expect_eq(spool_segment_seal(io, parent.dir_fd, id), ERR_OK);
    spool_fixture_read_all(io, parent.dir_fd, SPOOL_SCAN_ALL, on_record, &found);
    cr_expect_eq(found.times[0], 1);
    cr_expect_eq(found.times[1], 0, "it verifies, but it was refused");
    cr_expect_eq(found.times[2], 1);
    end();
}

Test(spool_writer, P1_a_failed_write_is_said)
{
    begin();
    end();
    parent = (struct spool_parent){.epoch = 1};
    spool_counts.writes = 0;
    /* header, record, committed offset, header of the spare; then the record */
    one_failure(&spool_counts.fail_write_at, 5, "write");
    end();
}

Test(spool_writer, no_segment_is_said_at_once)
{
    struct spool_outcome a, b;

    parent.refuse = true;
    begin();
    commit_one(0, "aaaa", 4, &a);
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    cr_expect_eq(a.rc, ERR_FULL);
    parent.refuse = false;
    usleep((SPOOL_SEGMENT_RETRY_MS + 50) * 1000);
    commit_one(1, "bbbb", 4, &b);
    cr_assert(spool_parent_turn_until(&parent, &b.done));
    cr_expect_eq(b.rc, ERR_OK, "asked anew");
    end();
}

Test(spool_writer, a_silent_parent_costs_five_seconds_at_most)
{
    int64_t start_ms = clock_monotonic_ms(), took_ms;
    struct spool_outcome a;

    parent.mute = true;
    begin();
    commit_one(0, "aaaa", 4, &a);
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    took_ms = clock_monotonic_ms() - start_ms;
    cr_expect_eq(a.rc, ERR_FULL);
    cr_expect(took_ms >= 4900 && took_ms < 7000, "%d ms", (int)took_ms);
    end();
}

Test(spool_writer, P8_a_request_that_was_not_answered_is_made_again)
{
    struct spool_segment_id id = {1, 1, 9};
    uint8_t key[SIPHASH_KEY_SIZE];
    struct spool_outcome a, b;
    uint32_t first_ticket;
    int fd;

    parent.mute = true;
    begin();
    commit_one(0, "aaaa", 4, &a);
    first_ticket = parent.last_ticket;
    spool_parent_turn_for(&parent, SPOOL_SEGMENT_WAIT_MS + 500);
    cr_expect(a.done && a.rc == ERR_FULL);
    cr_expect_eq(parent.asked, 2);
    cr_assert_eq(spool_segment_create(io, parent.dir_fd, id, SPOOL_SEGMENT_BYTES, 0, &fd, key),
                 ERR_OK);
    spool_writer_give(parent.writer, first_ticket, fd, id, key, SPOOL_SEGMENT_BYTES);
    spool_parent_turn_for(&parent, 20);
    cr_expect_eq(parent.done_empty, 1, "one that comes late is handed back");
    parent.mute = false;
    commit_one(1, "bbbb", 4, &b);
    cr_assert(spool_parent_turn_until(&parent, &b.done));
    cr_expect_eq(b.rc, ERR_OK, "when the second request was given up");
    cr_expect_eq(parent.asked, 4, "and one ahead");
    end();
}

/* --- Resolutions. */

static unsigned resolutions_found;

static void
on_resolution(void *ctx, int fd, const struct spool_scan_record *record)
{
    const struct spool_resolution *want = ctx;
    struct spool_resolution found;
    struct slice reply;

    (void)fd;
    if (record->type != SPOOL_RECORD_RESOLUTION)
        return;
    resolutions_found++;
    cr_expect(ref_equal(record->ref, want->ref));
    cr_assert_eq(spool_resolution_decode(record->envelope, &found, &reply), ERR_OK);
    cr_expect_eq(found.kind, want->kind);
    cr_expect(slice_equal(reply, slice_of(want->reply)));
    cr_expect(found.at_ms > clock_wall_ms() - 60000 && found.at_ms <= clock_wall_ms());
    cr_expect_eq(record->body_bytes, 0);
}

Test(spool_writer, P1_a_resolution_is_committed_like_any_record)
{
    struct spool_resolution r = {.ref = spool_fixture_envelope(0).ref,
                                 .kind = SPOOL_RESOLUTION_CANCEL,
                                 .reply = "550 5.7.1 no"};
    struct spool_outcome a, b = {.done = false};
    int syncs;

    begin();
    commit_one(0, "aaaa", 4, &a);
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    cr_expect_null(spool_resolve_start(parent.writer, &r, NULL, NULL), "nobody waits");
    syncs = spool_counts.fdatasyncs;
    cr_assert_not_null(spool_resolve_start(parent.writer, &r, spool_fixture_on_done, &b));
    cr_assert(spool_parent_turn_until(&parent, &b.done));
    cr_expect_eq(b.rc, ERR_OK);
    cr_expect_gt(spool_counts.fdatasyncs, syncs, "synced before it was said");
    cr_expect_eq(spool_fixture_read_all(io, parent.dir_fd, SPOOL_SCAN_COMMITTED, on_resolution, &r),
                 3);
    cr_expect_eq(resolutions_found, 2);
    spool_counts.fail_fdatasync_at = spool_counts.fdatasyncs + 1;
    b.done = false;
    spool_resolve_start(parent.writer, &r, spool_fixture_on_done, &b);
    cr_assert(spool_parent_turn_until(&parent, &b.done));
    cr_expect_eq(b.rc, ERR_IO);
    end();
}

static void
on_release(void *owner)
{
    *(bool *)owner = true;
}

Test(spool_writer, a_cancelled_commit_gives_its_pieces_back)
{
    struct spool_outcome a, b;
    struct spool_commit *commit;
    bool released = false, released_late = false;

    parent.mute = true;
    begin();
    commit = commit_one(0, "aaaa", 4, &a);
    spool_commit_cancel(&commit, on_release, &released);
    cr_expect_null(commit);
    cr_expect_not(released, "never from inside");
    cr_assert(spool_parent_turn_until(&parent, &released));
    cr_expect_not(a.done);
    commit = commit_one(1, "bbbb", 4, &b);
    spool_commit_cancel(&commit, on_release, &released_late);
    spool_commit_cancel(&commit, NULL, NULL);
    end();
    cr_expect(released_late, "at the latest when the writer goes");
    cr_expect_not(b.done);
}

Test(spool_writer, P2_every_cancel_releases_once_whatever_the_lane_does)
{
    enum { ROUNDS = 300 };
    bool released[ROUNDS] = {false};
    struct spool_outcome outcomes[ROUNDS];

    begin();
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct spool_commit *commit = commit_one(i % MESSAGES, "aaaa", 4, &outcomes[i]);

        if (i % 7 == 0)
            usleep(50);
        if (i % 2)
            spool_commit_cancel(&commit, on_release, &released[i]);
    }
    spool_parent_turn_for(&parent, 300);
    for (unsigned i = 0; i < ROUNDS; i++) {
        cr_expect_eq(released[i], i % 2 == 1, "%u", i);
        cr_expect_eq(outcomes[i].done, i % 2 == 0, "%u", i);
    }
    end();
}

Test(spool_writer, what_is_too_large_is_said)
{
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_outcome a = {.done = false};
    char *prepend = spool_fixture_body(0, SPOOL_ENVELOPE_MAX);

    begin();
    e.prepend = (struct slice){prepend, SPOOL_ENVELOPE_MAX};
    spool_commit_start(parent.writer, &e, NULL, 0, spool_fixture_on_done, &a);
    cr_expect_not(a.done, "never from inside");
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    cr_expect_eq(a.rc, ERR_LIMIT);
    cr_expect_eq(parent.asked, 0);
    free(prepend);
    end();
}

Test(spool_writer, more_pieces_than_one_call_takes)
{
    enum { PIECES = 5000 };
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_outcome a = {.done = false};
    struct iovec pieces[PIECES];
    char *body = spool_fixture_body(0, PIECES);

    begin();
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = (struct iovec){body + i, 1};
    spool_commit_start(parent.writer, &e, pieces, PIECES, spool_fixture_on_done, &a);
    cr_assert(spool_parent_turn_until(&parent, &a.done));
    cr_expect_eq(a.rc, ERR_OK);
    cr_expect_eq(expect_all_once(1, PIECES, SPOOL_SCAN_COMMITTED), 1);
    free(body);
    end();
}

/* --- Large messages. */

static void
on_read(void *ctx, int err, struct slice piece)
{
    struct spool_outcome *outcome = ctx;

    outcome->done = true;
    outcome->rc = err < 0 ? err : (int)piece.n;
}

static struct spool_large *
open_large(uint64_t max_body_bytes)
{
    struct spool_outcome ready = {.done = false};
    struct spool_large *large = spool_large_open(parent.writer, max_body_bytes, SPOOL_ENVELOPE_MAX,
                                                 spool_fixture_on_done, &ready);

    cr_assert(spool_parent_turn_until(&parent, &ready.done));
    cr_assert_eq(ready.rc, ERR_OK);
    return large;
}

static void
append_all(struct spool_large *large, const char *body, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < 65536 ? n - at : 65536;

        cr_assert_eq(spool_fixture_append(large, (struct slice){body + at, piece}), ERR_OK);
        at += piece;
    }
}

static void
large_there_and_back(size_t n, size_t prepend_bytes)
{
    char *body = spool_fixture_body(n, n), *prepend = spool_fixture_body(2, prepend_bytes);
    struct spool_outcome committed = {.done = false}, read = {.done = false};
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_large *large = open_large(n + 10);

    append_all(large, body, n);
    cr_expect_eq(spool_large_size(large), n);
    spool_large_read(large, n / 2, 100000, on_read, &read);
    cr_assert(spool_parent_turn_until(&parent, &read.done));
    cr_expect_eq(read.rc, (int)(n - n / 2 < 100000 ? n - n / 2 : 100000));
    e.prepend = (struct slice){prepend, prepend_bytes};
    spool_large_commit(large, &e, spool_fixture_on_done, &committed);
    cr_assert(spool_parent_turn_until(&parent, &committed.done));
    cr_expect_eq(committed.rc, ERR_OK);
    cr_expect_eq(expect_all_once(1, n, SPOOL_SCAN_COMMITTED), 1);
    spool_large_close(&large);
    spool_parent_turn_for(&parent, 50);
    cr_expect_eq(parent.done, 1);
    cr_expect_eq(parent.done_empty, 0);
    free(body);
    free(prepend);
}

Test(spool_writer, P1_a_large_message_is_one_record_of_its_own)
{
    begin();
    large_there_and_back(20 * 1024 * 1024, 100);
    cr_expect_eq(spool_segment_seal(io, parent.dir_fd, (struct spool_segment_id){1, 1, 0}), ERR_OK);
    cr_expect_eq(expect_all_once(1, 20 * 1024 * 1024, SPOOL_SCAN_COMMITTED), 1);
    end();
}

Test(spool_writer, a_long_envelope_follows_the_body)
{
    begin();
    large_there_and_back(3000001, 500000);
    end();
}

static off_t
blocks_of(const char *name)
{
    struct stat st;

    cr_assert_eq(fstatat(parent.dir_fd, name, &st, 0), 0);
    return st.st_blocks * 512;
}

static void
trim_and_commit(size_t n, size_t prepend_bytes)
{
    const char *name = "00001-0000000001-0000000000.seg";
    char *body = spool_fixture_body(0, n), *prepend = spool_fixture_body(2, prepend_bytes);
    struct spool_outcome committed = {.done = false};
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_large *large;

    begin();
    large = open_large(20 * 1024 * 1024);
    append_all(large, body, n);
    cr_expect_geq(blocks_of(name), 20 * 1024 * 1024);
    spool_large_trim(large);
    cr_expect_eq(parent.trimmed, 1);
    cr_expect_leq(blocks_of(name), (off_t)(n + SPOOL_ENVELOPE_MAX + 64 * 1024));
    cr_expect_geq(parent.last_trimmed_bytes, n + SPOOL_ENVELOPE_MAX);
    cr_expect_eq(spool_fixture_append(large, SLICE("x")), ERR_LIMIT);
    spool_large_trim(large);
    cr_expect_eq(parent.trimmed, 1, "once");
    e.prepend = (struct slice){prepend, prepend_bytes};
    spool_large_commit(large, &e, spool_fixture_on_done, &committed);
    cr_assert(spool_parent_turn_until(&parent, &committed.done));
    cr_expect_eq(committed.rc, ERR_OK);
    spool_large_close(&large);
    spool_parent_turn_for(&parent, 50);
    cr_expect_eq(spool_segment_seal(io, parent.dir_fd, (struct spool_segment_id){1, 1, 0}), ERR_OK);
    cr_expect_eq(expect_all_once(1, n, SPOOL_SCAN_COMMITTED), 1);
    end();
    free(body);
    free(prepend);
}

Test(spool_writer, P1_a_large_message_gives_back_what_it_does_not_need_and_is_whole)
{
    trim_and_commit(3000001, 100);
}

Test(spool_writer, P1_a_trimmed_one_has_room_for_the_longest_envelope)
{
    trim_and_commit(3000001, SPOOL_ENVELOPE_MAX - 4096);
}

Test(spool_writer, little_is_not_worth_a_trim)
{
    char *body = spool_fixture_body(1, 3000000);
    struct spool_large *large;

    begin();
    large = open_large(3500000);
    append_all(large, body, 3000000);
    spool_large_trim(large);
    cr_expect_eq(parent.trimmed, 0);
    spool_large_close(&large);
    end();
    free(body);
}

Test(spool_writer, an_empty_large_message)
{
    begin();
    large_there_and_back(0, 0);
    end();
}

Test(spool_writer, a_large_message_that_is_not_kept_leaves_nothing)
{
    char *body = spool_fixture_body(1, 3000000);
    struct spool_large *large;

    begin();
    large = open_large(3000000);
    append_all(large, body, 3000000);
    cr_expect_eq(spool_fixture_append(large, SLICE("x")), ERR_LIMIT);
    spool_large_close(&large);
    spool_parent_turn_for(&parent, 100);
    cr_expect_eq(parent.done, 1);
    cr_expect_eq(parent.done_empty, 1);
    cr_expect_eq(spool_fixture_read_all(io, parent.dir_fd, SPOOL_SCAN_ALL, NULL, NULL), 0);
    cr_expect_eq(spool_segment_seal(io, parent.dir_fd, (struct spool_segment_id){1, 1, 0}), ERR_OK);
    cr_expect_neq(faccessat(parent.dir_fd, "00001-0000000001-0000000000.seg", F_OK, 0), 0);
    free(body);
    end();
}

Test(spool_writer, P1_an_envelope_longer_than_was_said_is_not_taken)
{
    char *prepend = spool_fixture_body(2, 20000);
    struct spool_outcome ready = {.done = false}, done = {.done = false};
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_large *large;

    begin();
    large = spool_large_open(parent.writer, 1000, 16384, spool_fixture_on_done, &ready);
    cr_assert(spool_parent_turn_until(&parent, &ready.done));
    e.prepend = (struct slice){prepend, 20000};
    spool_large_commit(large, &e, spool_fixture_on_done, &done);
    cr_assert(spool_parent_turn_until(&parent, &done.done));
    cr_expect_eq(done.rc, ERR_LIMIT);
    spool_large_close(&large);
    free(prepend);
    end();
}

/* That size means a shared segment: it could not be read back, nor would it count as spill. */
Test(spool_writer, no_large_message_asks_for_the_size_of_a_shared_segment)
{
    struct spool_outcome ready = {.done = false};
    uint64_t others;
    struct spool_large *large;

    parent.mute = true;
    begin();
    large = spool_large_open(parent.writer, 0, 0, spool_fixture_on_done, &ready);
    others = parent.last_asked_bytes;
    spool_large_close(&large);
    for (uint64_t n = SPOOL_SEGMENT_BYTES - others - 16; n < SPOOL_SEGMENT_BYTES - others + 16;
         n++) {
        large = spool_large_open(parent.writer, n, 0, spool_fixture_on_done, &ready);
        cr_expect_neq(parent.last_asked_bytes, SPOOL_SEGMENT_BYTES);
        cr_expect_geq(parent.last_asked_bytes, n + others);
        spool_large_close(&large);
    }
    end();
}

struct lent {
    char octets[3][5000];
    unsigned released;
};

static void
on_lent_back(void *owner)
{
    ((struct lent *)owner)->released++;
}

static int
lend(struct spool_large *large, struct lent *lent)
{
    struct iovec iov[3];

    for (int i = 0; i < 3; i++) {
        memset(lent->octets[i], 'a' + i, sizeof lent->octets[i]);
        iov[i] = (struct iovec){lent->octets[i], sizeof lent->octets[i]};
    }
    return spool_large_append(large, iov, 3, on_lent_back, lent);
}

static const struct {
    const char *name;
    bool mute, fail, close;
} loans[] = {
    {"written", false, false, false},       {"a failed write", false, true, false},
    {"closed at once", false, false, true}, {"closed before the segment came", true, false, true},
    {"never served", true, false, false},
};

Test(spool_writer, what_is_lent_comes_back_once_whatever_happens)
{
    for (size_t i = 0; i < sizeof loans / sizeof loans[0]; i++) {
        struct spool_outcome ready = {.done = false}, read = {.done = false};
        struct lent *lent = mem_alloc(sizeof *lent);
        struct spool_large *large;

        parent = (struct spool_parent){.mute = loans[i].mute};
        begin();
        large = spool_large_open(parent.writer, 20000, 1000, spool_fixture_on_done, &ready);
        if (!loans[i].mute)
            cr_assert(spool_parent_turn_until(&parent, &ready.done));
        if (loans[i].fail)
            spool_counts.fail_write_at = spool_counts.writes + 1;
        cr_assert_eq(lend(large, lent), ERR_OK, "%s", loans[i].name);
        cr_expect_eq(lent->released, 0, "%s: never from inside", loans[i].name);
        cr_expect_eq(lend(large, lent), ERR_LIMIT, "%s", loans[i].name);
        if (loans[i].close)
            spool_large_close(&large);
        spool_parent_turn_for(&parent, 50);
        cr_expect_eq(lent->released, !loans[i].mute || loans[i].close, "%s", loans[i].name);
        if (large && !loans[i].mute && !loans[i].fail) {
            spool_large_read(large, 5000, 5000, on_read, &read);
            cr_assert(spool_parent_turn_until(&parent, &read.done));
            cr_expect_eq(read.rc, 5000, "it is written at once");
        }
        spool_large_close(&large);
        end();
        cr_expect_eq(lent->released, 1, "%s", loans[i].name);
        free(lent);
    }
}

Test(spool_writer, a_large_message_closed_before_its_segment_came)
{
    struct spool_outcome ready = {.done = false};
    uint8_t key[SIPHASH_KEY_SIZE];
    struct spool_segment_id id = {1, 1, 9};
    struct spool_large *large;
    int fd;

    parent.mute = true;
    begin();
    large =
        spool_large_open(parent.writer, 1000, SPOOL_ENVELOPE_MAX, spool_fixture_on_done, &ready);
    spool_large_close(&large);
    spool_parent_turn_for(&parent, 20);
    cr_assert_eq(spool_segment_create(io, parent.dir_fd, id, parent.last_asked_bytes, 0, &fd, key),
                 ERR_OK);
    spool_writer_give(parent.writer, parent.last_ticket, fd, id, key, parent.last_asked_bytes);
    spool_parent_turn_for(&parent, 20);
    cr_expect_not(ready.done);
    cr_expect_eq(parent.done_empty, 1);
    end();
}

Test(spool_writer, P8_a_large_message_waits_five_seconds_for_its_segment_at_most)
{
    int64_t start_ms = clock_monotonic_ms(), took_ms;
    struct spool_outcome ready = {.done = false}, done = {.done = false};
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_segment_id id = {1, 1, 9};
    uint8_t key[SIPHASH_KEY_SIZE];
    struct spool_large *large;
    int fd;

    parent.mute = true;
    begin();
    large =
        spool_large_open(parent.writer, 1000, SPOOL_ENVELOPE_MAX, spool_fixture_on_done, &ready);
    cr_assert_eq(spool_fixture_append(large, SLICE("body")), ERR_OK);
    spool_large_commit(large, &e, spool_fixture_on_done, &done);
    cr_assert(spool_parent_turn_until(&parent, &ready.done));
    took_ms = clock_monotonic_ms() - start_ms;
    cr_assert(spool_parent_turn_until(&parent, &done.done));
    cr_expect_eq(ready.rc, ERR_FULL);
    cr_expect_eq(done.rc, ERR_FULL);
    cr_expect(took_ms >= 4900 && took_ms < 7000, "%d ms", (int)took_ms);
    cr_assert_eq(spool_segment_create(io, parent.dir_fd, id, parent.last_asked_bytes, 0, &fd, key),
                 ERR_OK);
    spool_writer_give(parent.writer, parent.last_ticket, fd, id, key, parent.last_asked_bytes);
    spool_parent_turn_for(&parent, 20);
    cr_expect_eq(parent.done_empty, 1, "one that comes late is handed back");
    spool_large_close(&large);
    end();
}

Test(spool_writer, P1_a_failed_sync_of_a_large_message_is_said)
{
    struct spool_outcome committed = {.done = false};
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_large *large;

    begin();
    large = open_large(1000);
    cr_assert_eq(spool_fixture_append(large, SLICE("body")), ERR_OK);
    spool_counts.fail_fdatasync_at = spool_counts.fdatasyncs + 1;
    spool_large_commit(large, &e, spool_fixture_on_done, &committed);
    cr_assert(spool_parent_turn_until(&parent, &committed.done));
    cr_expect_eq(committed.rc, ERR_IO);
    spool_large_close(&large);
    spool_parent_turn_for(&parent, 20);
    cr_expect_eq(parent.alarms, 1);
    cr_expect_eq(spool_segment_seal(io, parent.dir_fd, (struct spool_segment_id){1, 1, 0}), ERR_OK);
    cr_expect_eq(spool_fixture_read_all(io, parent.dir_fd, SPOOL_SCAN_ALL, NULL, NULL), 0);
    end();
}

Test(spool_writer, P8_a_small_record_does_not_wait_for_a_large_ones_sync)
{
    struct spool_outcome large_done = {.done = false}, medium, small;
    const size_t n = 20 * 1024 * 1024;
    char *body = spool_fixture_body(1, n);
    struct spool_envelope e = spool_fixture_envelope(0);
    struct spool_large *large;
    int64_t start_ms, small_ms;

    begin();
    commit_one(1, "warm", 4, &small);
    cr_assert(spool_parent_turn_until(&parent, &small.done));
    large = open_large(n);
    append_all(large, body, n);
    spool_counts.slow_fdatasync_ms_above = 25; /* 20 MB: half a second */
    start_ms = clock_monotonic_ms();
    spool_large_commit(large, &e, spool_fixture_on_done, &large_done);
    commit_one(2, body, SPOOL_SMALL_MAX + 1, &medium);
    usleep(100000);
    commit_one(3, "small", 5, &small);
    cr_assert(spool_parent_turn_until(&parent, &small.done));
    small_ms = clock_monotonic_ms() - start_ms;
    cr_expect_not(large_done.done, "the small one is first, after %d ms", (int)small_ms);
    cr_assert(spool_parent_turn_until(&parent, &large_done.done));
    cr_assert(spool_parent_turn_until(&parent, &medium.done));
    cr_expect_eq(medium.rc, ERR_OK);
    spool_large_close(&large);
    free(body);
    end();
}
