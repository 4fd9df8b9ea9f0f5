/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The power goes while a dead writer's segment is sealed: at each operation of the sealing, with
 * many choices of what the disk kept.  The writer was killed between its write and its sync, or
 * lost the power there, so that some of its records are whole, some torn and some in the page cache
 * only.  No threads: a seed is a run.  The oracle, before and after the second sealing:
 *
 *   P1  what the writer had committed is found
 *   P7  what is found is whole, and found once
 *       a loss of power alone is not taken for damage (a damaged segment is kept for ever)
 *
 * usage: test_crash_seal [--rounds N] [--seed S]
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "spool/spool_format.h"
#include "tests/crash/crash_disk.h"
#include "tests/unit/spool_fixture.h"

#define RECORDS 12
#define COMMITTED 3
#define SEGMENT_BYTES (96 * 1024)
#define OPERATIONS_MAX 12 /* more than a sealing has */
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 40
#else
#define ROUNDS 400
#endif

enum death { DEATH_KILLED, DEATH_POWER, DEATH_COUNT };
static const char *const death_names[DEATH_COUNT] = {"a killed writer", "a writer without power"};
static const struct spool_segment_id id = {1, 1, 1};

static const struct spool_io *io;
static uint64_t seed;
static bool is_wrong;

static void PRINTF_LIKE(1, 2) wrong(const char *fmt, ...)
{
    va_list args;

    is_wrong = true;
    va_start(args, fmt);
    printf("# seed %" PRIu64 ": ", seed);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

static size_t
body_bytes(unsigned number)
{
    return (size_t)(seed * 31 + number * 977) % 6000;
}

/* --- The dead writer. */

static void
write_records(int fd, const uint8_t key[SIPHASH_KEY_SIZE])
{
    uint64_t end = SPOOL_SEGMENT_HEADER_BYTES;
    uint8_t committed[8];

    for (unsigned i = 0; i < RECORDS; i++) {
        char *body = spool_fixture_body(i, body_bytes(i));

        end = spool_fixture_write_record(io, fd, key, end, i, (struct slice){body, body_bytes(i)});
        free(body);
        if (i + 1 == COMMITTED) {
            CHECK(io->fdatasync(fd) == 0);
            store_u64(committed, end);
            CHECK(spool_write_all(io, fd, committed, 8, SPOOL_SEGMENT_COMMITTED_AT) == ERR_OK);
        }
    }
}

static void
write_and_die(enum death death)
{
    uint8_t key[SIPHASH_KEY_SIZE];
    int fd;

    CHECK(spool_segment_create(io, crash_disk_dir(), id, SEGMENT_BYTES, 0, &fd, key) == ERR_OK);
    write_records(fd, key);
    io->close(fd);
    if (death == DEATH_POWER)
        crash_disk_power_on();
}

/* --- The oracle. */

static void
look_at_record(int fd, const struct spool_scan_record *record, unsigned found[RECORDS],
               const char *when)
{
    unsigned number = record->ref.number < RECORDS ? (unsigned)record->ref.number : 0;
    size_t n = body_bytes(number);
    char *want = spool_fixture_body(number, n), *got = mem_alloc(n + 1);

    if (record->body_bytes != n ||
        spool_read_exactly(io, fd, got, n, record->body_offset) != ERR_OK ||
        memcmp(got, want, n) != 0)
        wrong("%s: the body of %u", when, number);
    found[number]++;
    free(got);
    free(want);
}

static void
look_at_scan(int fd, struct spool_scan *scan, const char *when)
{
    unsigned found[RECORDS] = {0};
    struct spool_scan_record record;
    int rc;

    while ((rc = spool_scan_next(scan, SPOOL_SCAN_ALL, &record)) == ERR_OK)
        look_at_record(fd, &record, found, when);
    if (rc != ERR_AGAIN)
        wrong("%s: scan: %s", when, err_text(rc));
    for (unsigned i = 0; i < RECORDS; i++)
        if (found[i] > 1 || (found[i] == 0 && i < COMMITTED))
            wrong("%s: record %u is found %u times", when, i, found[i]);
    if (spool_scan_info(scan)->damaged > 0)
        wrong("%s: taken for damaged", when);
}

static void
look(const char *when)
{
    char name[SPOOL_SEGMENT_NAME_SIZE];
    int fd = io->openat(crash_disk_dir(), spool_segment_name(id, name), O_RDONLY, 0);
    struct spool_scan *scan;

    CHECK(fd >= 0);
    if (spool_scan_open(io, fd, &scan) < 0)
        wrong("%s: no header", when);
    else
        look_at_scan(fd, scan, when);
    spool_scan_close(&scan);
    io->close(fd);
}

static bool
run_round(enum death death, uint64_t crash_at)
{
    is_wrong = false;
    io = crash_disk_begin(&(struct crash_disk_options){.seed = seed});
    write_and_die(death);
    crash_disk_arm(&(struct crash_disk_options){.seed = seed, .crash_at = crash_at});
    (void)!spool_segment_seal(io, crash_disk_dir(), id);
    crash_disk_power_on();
    look("after a loss while sealing");
    if (spool_segment_seal(io, crash_disk_dir(), id) < 0)
        wrong("it cannot be sealed");
    look("after sealing");
    crash_disk_end();
    return !is_wrong;
}

int
main(int argc, char **argv)
{
    uint64_t rounds = crash_disk_option(argc, argv, "--rounds", ROUNDS),
             first = crash_disk_option(argc, argv, "--seed", 1);
    int failed = 0;

    printf("1..%d\n", DEATH_COUNT + 1);
    for (int death = 0; death < DEATH_COUNT; death++) {
        unsigned bad = 0;

        for (seed = first; seed < first + rounds && bad < 3; seed++)
            for (uint64_t at = 1; at <= OPERATIONS_MAX && bad < 3; at++)
                bad += !run_round((enum death)death, at);
        printf("%sok %d - P1 P7 power loss while the segment of %s is sealed\n", bad ? "not " : "",
               death + 1, death_names[death]);
        failed += bad > 0;
    }
    failed += !crash_disk_tell(DEATH_COUNT + 1);
    return failed > 0;
}
