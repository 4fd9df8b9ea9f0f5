/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Segments: names, creation and recycling, sealing, and the scan over whole, torn and hostile ones.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "spool/spool_format.h"
#include "spool/spool_scan.h"
#include "spool_fixture.h"

#define SMALL (256 * 1024)

static const struct spool_segment_id first = {1, 1, 1};
static const struct spool_io *const io = &spool_io_disk;

/* --- A segment written by hand. */

struct hand {
    int dir_fd, fd;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint64_t end;
};

static void
hand_begin(struct hand *h, uint64_t size_bytes)
{
    h->dir_fd = spool_fixture_dir();
    cr_assert_eq(spool_segment_create(io, h->dir_fd, first, size_bytes, 0, &h->fd, h->key), ERR_OK);
    h->end = SPOOL_SEGMENT_HEADER_BYTES;
}

static void
hand_end(struct hand *h)
{
    close(h->fd);
    spool_fixture_clean(h->dir_fd);
}

/* Returns the record's offset. */
static uint64_t
hand_record(struct hand *h, uint64_t number, const char *body, size_t n)
{
    uint64_t offset = h->end;

    h->end = spool_fixture_write_record(io, h->fd, h->key, offset, number, (struct slice){body, n});
    return offset;
}

static void
hand_commit(struct hand *h, uint64_t offset, uint64_t closed_at)
{
    uint8_t block[16];

    store_u64(block, offset);
    store_u64(block + 8, closed_at);
    cr_assert_eq(spool_write_all(io, h->fd, block, 16, SPOOL_SEGMENT_COMMITTED_AT), ERR_OK);
}

static unsigned
numbers_read(struct hand *h, enum spool_scan_reach reach, uint64_t *numbers, uint64_t *damaged)
{
    struct spool_scan_record record;
    struct spool_scan *scan;
    unsigned n = 0;

    cr_assert_eq(spool_scan_open(io, h->fd, &scan), ERR_OK);
    while (spool_scan_next(scan, reach, &record) == ERR_OK) {
        numbers[n++] = record.ref.number;
        cr_expect_eq(spool_scan_verify_body(io, h->fd, record.body_offset, record.body_bytes,
                                            record.body_check),
                     ERR_OK);
    }
    cr_expect_eq(spool_scan_next(scan, reach, &record), ERR_AGAIN);
    *damaged = spool_scan_info(scan)->damaged;
    spool_scan_close(&scan);
    return n;
}

static void
expect_numbers(struct hand *h, enum spool_scan_reach reach, const char *want, unsigned damaged,
               const char *name)
{
    uint64_t numbers[64], damage;
    unsigned n = numbers_read(h, reach, numbers, &damage);
    char got[65] = "";

    for (unsigned i = 0; i < n; i++)
        got[i] = (char)('0' + numbers[i]);
    cr_expect_str_eq(got, want, "%s: %s, not %s", name, got, want);
    cr_expect_eq(damage, damaged, "%s: %u damaged places", name, (unsigned)damage);
}

/* Inverts an octet: whatever stood there (keys and checks are random), it is another one now. */
static void
damage(struct hand *h, uint64_t offset)
{
    uint8_t octet;

    cr_assert_eq(spool_read_exactly(io, h->fd, &octet, 1, offset), ERR_OK);
    octet ^= 0xff;
    cr_assert_eq(spool_write_all(io, h->fd, &octet, 1, offset), ERR_OK);
}

/* --- Names. */

static const struct {
    const char *name;
    int rc;
} names[] = {
    {"00001-0000000130-0000000004.seg", ERR_OK},
    {"65535-4294967295-4294967295.seg", ERR_OK},
    {"1-130-4.seg", ERR_SYNTAX},
    {"65536-0000000130-0000000004.seg", ERR_SYNTAX},
    {"00001-4294967296-0000000004.seg", ERR_SYNTAX},
    {"00001-0000000130.seg", ERR_SYNTAX},
    {"00001-0000000130-0000000004-1.seg", ERR_SYNTAX},
    {"00001-0000000130-0000000004", ERR_SYNTAX},
    {"00001-0000000130-0000000004.seg~", ERR_SYNTAX},
    {"free-0001.seg", ERR_SYNTAX},
    {".seg", ERR_SYNTAX},
    {"", ERR_SYNTAX},
};

Test(spool_segment, names_are_exact)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char again[SPOOL_SEGMENT_NAME_SIZE];
        struct spool_segment_id id;
        int rc = spool_segment_parse_name(names[i].name, &id);

        cr_expect_eq(rc, names[i].rc, "%s", names[i].name);
        if (rc == ERR_OK)
            cr_expect_str_eq(spool_segment_name(id, again), names[i].name);
    }
}

Test(spool_segment, an_epoch_never_comes_twice)
{
    int dir_fd = spool_fixture_dir(), fd;
    uint8_t key[SIPHASH_KEY_SIZE];
    uint32_t epoch;

    cr_assert_eq(spool_epoch_next(io, dir_fd, &epoch), ERR_OK);
    cr_expect_eq(epoch, 1);
    cr_assert_eq(spool_epoch_next(io, dir_fd, &epoch), ERR_OK);
    cr_expect_eq(epoch, 2);
    cr_assert_eq(
        spool_segment_create(io, dir_fd, (struct spool_segment_id){1, 77, 1}, SMALL, 0, &fd, key),
        ERR_OK);
    close(fd);
    unlinkat(dir_fd, "epoch", 0);
    cr_assert_eq(spool_epoch_next(io, dir_fd, &epoch), ERR_OK);
    cr_expect_eq(epoch, 78, "the file is lost, the names still tell");
    fd = openat(dir_fd, "epoch", O_WRONLY | O_TRUNC);
    cr_assert_eq(write(fd, "rubbish\n", 8), 8);
    close(fd);
    cr_expect_eq(spool_epoch_next(io, dir_fd, &epoch), ERR_CORRUPT);
    spool_fixture_clean(dir_fd);
}

/* --- Creation, freeing, recycling. */

static ino_t
inode_of(int fd)
{
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

Test(spool_segment, a_freed_segment_is_recycled_under_a_new_key)
{
    struct spool_segment_id second = {1, 1, 2}, third = {1, 1, 3};
    uint8_t new_key[SIPHASH_KEY_SIZE];
    struct hand h;
    ino_t inode;

    hand_begin(&h, SPOOL_SEGMENT_BYTES);
    inode = inode_of(h.fd);
    cr_expect_eq(spool_segment_create(io, h.dir_fd, first, SMALL, 0, &h.fd, new_key), ERR_EXISTS);
    h.fd = openat(h.dir_fd, "00001-0000000001-0000000001.seg", O_RDWR);
    hand_record(&h, 1, "one", 3);
    hand_commit(&h, h.end, 0);
    cr_assert_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK);
    cr_assert_eq(spool_segment_recycle(io, h.dir_fd, first), ERR_OK);
    cr_expect_eq(spool_segment_recycle(io, h.dir_fd, first), ERR_NOT_FOUND);
    close(h.fd);
    cr_assert_eq(spool_segment_create(io, h.dir_fd, second, SMALL, 0, &h.fd, new_key), ERR_OK);
    cr_expect_neq(inode_of(h.fd), inode, "of another size: not recycled");
    close(h.fd);
    cr_assert_eq(spool_segment_create(io, h.dir_fd, third, SPOOL_SEGMENT_BYTES, 0, &h.fd, new_key),
                 ERR_OK);
    cr_expect_eq(inode_of(h.fd), inode);
    cr_expect_neq(memcmp(new_key, h.key, sizeof new_key), 0);
    expect_numbers(&h, SPOOL_SCAN_ALL, "", 0, "nothing of the earlier life counts");
    hand_end(&h);
}

Test(spool_segment, an_empty_segment_is_freed_and_an_odd_one_goes)
{
    struct spool_segment_id second = {1, 1, 2};
    uint8_t key[SIPHASH_KEY_SIZE];
    struct hand h;
    int fd;

    hand_begin(&h, SPOOL_SEGMENT_BYTES);
    cr_assert_eq(spool_segment_create(io, h.dir_fd, second, SMALL, 0, &fd, key), ERR_OK);
    close(fd);
    cr_expect_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK);
    cr_expect_eq(spool_segment_seal(io, h.dir_fd, second), ERR_OK);
    cr_expect_eq(faccessat(h.dir_fd, "free-0000.seg", F_OK, 0), 0);
    cr_expect_neq(faccessat(h.dir_fd, "free-0001.seg", F_OK, 0), 0);
    cr_expect_eq(spool_fixture_read_all(io, h.dir_fd, SPOOL_SCAN_ALL, NULL, NULL), 0);
    cr_expect_eq(spool_segment_seal(io, h.dir_fd, first), ERR_NOT_FOUND);
    hand_end(&h);
}

/* --- The scan. */

Test(spool_segment, P1_a_reader_goes_to_the_committed_offset_while_the_writer_lives)
{
    struct hand h;
    uint64_t committed;

    hand_begin(&h, SMALL);
    hand_record(&h, 1, "one", 3);
    hand_record(&h, 2, "", 0);
    committed = h.end;
    hand_record(&h, 3, "three", 5);
    hand_commit(&h, committed, 0);
    expect_numbers(&h, SPOOL_SCAN_COMMITTED, "12", 0, "alive");
    expect_numbers(&h, SPOOL_SCAN_ALL, "123", 0, "dead");
    hand_commit(&h, committed, committed);
    expect_numbers(&h, SPOOL_SCAN_ALL, "12", 0, "closed after a failed sync");
    cr_expect_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK);
    expect_numbers(&h, SPOOL_SCAN_ALL, "12", 0, "sealed");
    hand_end(&h);
}

Test(spool_segment, a_reader_follows_the_writer_into_the_seal)
{
    struct spool_scan_record record;
    struct spool_scan *scan;
    struct hand h;

    hand_begin(&h, SMALL);
    cr_assert_eq(spool_scan_open(io, h.fd, &scan), ERR_OK);
    cr_expect_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_AGAIN);
    hand_record(&h, 1, "one", 3);
    hand_commit(&h, h.end, 0);
    cr_expect_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_AGAIN, "not refreshed");
    cr_assert_eq(spool_scan_refresh(scan), ERR_OK);
    cr_assert_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_OK);
    cr_expect_eq(record.ref.number, 1);
    hand_record(&h, 2, "two", 3);
    hand_commit(&h, h.end, 0);
    cr_assert_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK);
    cr_assert_eq(spool_scan_refresh(scan), ERR_OK);
    cr_expect(spool_scan_info(scan)->sealed);
    cr_assert_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_OK);
    cr_expect_eq(record.ref.number, 2);
    cr_expect_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_AGAIN);
    spool_scan_seek(scan, 0);
    cr_assert_eq(spool_scan_next(scan, SPOOL_SCAN_COMMITTED, &record), ERR_OK);
    cr_expect_eq(record.ref.number, 1);
    spool_scan_close(&scan);
    hand_end(&h);
}

/* Where damage is put, relative to the second of four records; what is left. */
static const struct {
    const char *name;
    long at;
    const char *left;
    unsigned damaged;
} damages[] = {
    {"magic", 0, "134", 1},     {"length", 16, "134", 1},           {"check", 60, "134", 1},
    {"envelope", 70, "134", 1}, {"end of envelope", 200, "134", 1},
};

static void
seal_and_expect(struct hand *h, const char *want, unsigned damaged, const char *name)
{
    struct stat before, after;

    cr_expect_eq(spool_segment_seal(io, h->dir_fd, first), ERR_OK, "%s", name);
    expect_numbers(h, SPOOL_SCAN_COMMITTED, want, damaged, name);
    cr_assert_eq(fstat(h->fd, &before), 0);
    cr_expect_eq(spool_segment_seal(io, h->dir_fd, first), ERR_OK, "%s", name);
    cr_assert_eq(fstat(h->fd, &after), 0);
    cr_expect_eq(before.st_size, after.st_size, "%s: sealed twice", name);
}

Test(spool_segment, P2_the_scan_goes_on_behind_a_damaged_record)
{
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        char *body = spool_fixture_body(i, 5000);
        struct hand h;
        uint64_t second;

        hand_begin(&h, SMALL);
        hand_record(&h, 1, body, 5000);
        second = hand_record(&h, 2, body, 5000);
        hand_record(&h, 3, body, 4999);
        hand_record(&h, 4, body, 1);
        hand_commit(&h, h.end, 0);
        damage(&h, second + (uint64_t)damages[i].at);
        expect_numbers(&h, SPOOL_SCAN_COMMITTED, damages[i].left, damages[i].damaged,
                       damages[i].name);
        expect_numbers(&h, SPOOL_SCAN_ALL, damages[i].left, damages[i].damaged, damages[i].name);
        seal_and_expect(&h, damages[i].left, damages[i].damaged, damages[i].name);
        hand_end(&h);
        free(body);
    }
}

Test(spool_segment, P2_a_segment_of_damaged_records_is_never_freed)
{
    struct hand h;

    hand_begin(&h, SPOOL_SEGMENT_BYTES);
    damage(&h, hand_record(&h, 1, "one", 3));
    hand_commit(&h, h.end, 0);
    seal_and_expect(&h, "", 1, "damaged");
    cr_expect_neq(faccessat(h.dir_fd, "free-0000.seg", F_OK, 0), 0);
    hand_end(&h);
}

Test(spool_segment, P2_unsynced_records_count_if_their_body_is_whole)
{
    char *body = spool_fixture_body(1, 9000);
    struct hand h;
    uint64_t second;

    hand_begin(&h, SMALL);
    hand_record(&h, 1, body, 9000);
    second = hand_record(&h, 2, body, 9000);
    hand_record(&h, 3, body, 9000);
    damage(&h, second + 4096);
    expect_numbers(&h, SPOOL_SCAN_COMMITTED, "", 0, "none is committed");
    expect_numbers(&h, SPOOL_SCAN_ALL, "13", 0, "torn in the middle");
    seal_and_expect(&h, "13", 0, "sealed");
    hand_end(&h);
    free(body);
}

Test(spool_segment, P7_no_record_inside_a_body_passes_for_one)
{
    struct hand other, h;
    char hostile[8192] = "", copy[2048];
    uint64_t one;
    ssize_t n;

    hand_begin(&other, SMALL);
    one = hand_record(&other, 7, "foreign", 7);
    n = pread(other.fd, copy, sizeof copy, (off_t)one);
    cr_assert_gt(n, 300);
    hand_end(&other);
    for (size_t at = 0; at + 400 <= sizeof hostile; at += 400)
        memcpy(hostile + at, copy, 304);
    hand_begin(&h, SMALL);
    one = hand_record(&h, 1, hostile, sizeof hostile);
    hand_record(&h, 2, "two", 3);
    hand_commit(&h, h.end, 0);
    expect_numbers(&h, SPOOL_SCAN_ALL, "12", 0, "whole");
    damage(&h, one);
    expect_numbers(&h, SPOOL_SCAN_ALL, "2", 1, "searched");
    /* Even a record of this very segment, in another place. */
    n = pread(h.fd, copy, 304, (off_t)(h.end - 304) & ~7);
    cr_assert_eq(n, 304);
    hand_record(&h, 3, copy, 304);
    hand_commit(&h, h.end, 0);
    expect_numbers(&h, SPOOL_SCAN_ALL, "23", 1, "a copy of its own");
    hand_end(&h);
}

Test(spool_segment, records_over_many_blocks_are_all_found)
{
    const size_t big = 5 * 1024 * 1024;
    char *body = spool_fixture_body(1, big), want[64] = "";
    struct hand h;

    hand_begin(&h, SPOOL_SEGMENT_BYTES);
    for (unsigned i = 0; i < 9; i++) {
        hand_record(&h, i, body, i % 2 ? big : 77777 * i);
        want[i] = (char)('0' + i);
    }
    hand_commit(&h, h.end, 0);
    expect_numbers(&h, SPOOL_SCAN_COMMITTED, want, 0, "blocks");
    seal_and_expect(&h, want, 0, "footer");
    hand_end(&h);
    free(body);
}

Test(spool_segment, P2_a_damaged_footer_is_replaced_by_a_scan)
{
    struct hand h;
    struct stat st;

    hand_begin(&h, SMALL);
    hand_record(&h, 1, "one", 3);
    hand_record(&h, 2, "two", 3);
    cr_assert_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK);
    cr_assert_eq(fstat(h.fd, &st), 0);
    damage(&h, (uint64_t)st.st_size - 100);
    expect_numbers(&h, SPOOL_SCAN_COMMITTED, "12", 1, "the index");
    cr_expect_eq(spool_segment_seal(io, h.dir_fd, first), ERR_OK, "sealed anew");
    damage(&h, (uint64_t)st.st_size - 10);
    expect_numbers(&h, SPOOL_SCAN_ALL, "12", 0, "the trailer");
    hand_end(&h);
}

Test(spool_segment, P7_a_damaged_footer_brings_no_torn_record_back)
{
    char *body = spool_fixture_body(1, 9000);
    struct hand h;
    struct stat st;

    hand_begin(&h, SMALL);
    hand_record(&h, 1, body, 9000);
    hand_commit(&h, h.end, 0);
    damage(&h, hand_record(&h, 2, body, 9000) + 4096); /* never synced, torn by a power loss */
    hand_record(&h, 3, body, 9000);
    seal_and_expect(&h, "13", 0, "sealed");
    cr_assert_eq(fstat(h.fd, &st), 0);
    damage(&h, (uint64_t)st.st_size - 100);
    expect_numbers(&h, SPOOL_SCAN_COMMITTED, "13", 2, "footer and torn record");
    seal_and_expect(&h, "13", 2, "sealed anew");
    hand_end(&h);
    free(body);
}

static const struct {
    const char *name;
    uint64_t at;
    int rc;
} headers[] = {
    {"magic", 0, ERR_CORRUPT}, {"version", 8, ERR_VERSION}, {"identity", 16, ERR_CORRUPT},
    {"key", 41, ERR_CORRUPT},  {"check", 60, ERR_CORRUPT},
};

Test(spool_segment, a_damaged_header_is_named)
{
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        struct spool_scan *scan;
        struct hand h;

        hand_begin(&h, SMALL);
        damage(&h, headers[i].at);
        cr_expect_eq(spool_scan_open(io, h.fd, &scan), headers[i].rc, "%s", headers[i].name);
        cr_expect_null(scan);
        cr_expect_eq(spool_segment_seal(io, h.dir_fd, first), headers[i].rc, "%s", headers[i].name);
        hand_end(&h);
    }
}
