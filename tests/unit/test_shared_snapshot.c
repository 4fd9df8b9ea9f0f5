/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table's snapshot: limits go on exactly behind a reboot (P9), and a file that is not
 * whole and ours restores nothing and harms nothing (P5).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/codec.h"
#include "state/shared_snapshot.h"
#include "tests/unit/shared_fixture.h"

#define MINUTE 60000LL
#define HOUR (60 * MINUTE)
#define NOW 1795003200000 /* 2026-11-18 12:00 UTC */
#define PROCESSES 2
#define CUSTOMERS 50
#define BYTES_MAX 65536

static char snapshot[128], path_new[160];
static struct shared_snapshot_summary summary;
static _Atomic int64_t *clock_ms; /* of all processes */

static void
setup(void)
{
    open_table();
    snprintf(snapshot, sizeof snapshot, "%s/shared.snapshot", folder);
    snprintf(path_new, sizeof path_new, "%s.new", snapshot);
    cr_assert_eq(clock_set_timezone("Europe/Berlin"), ERR_OK);
}

static void
teardown(void)
{
    (void)unlink(snapshot);
    close_table();
}

TestSuite(shared_snapshot, .init = setup, .fini = teardown, .timeout = 120);

/* As a reboot does: another table, that knows nothing and has other keys. */
static void
reboot(void)
{
    shared_table_detach(&table);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(shared_table_create(path, 8, &table), ERR_OK);
}

static uint64_t
key_of(uint32_t customer_id)
{
    return shared_window_key(table, customer_id, NULL);
}

static void
take(uint32_t customer_id, int64_t wall_ms, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cr_assert(
            shared_window_take(table, key_of(customer_id), wall_ms, SHARED_WINDOW_UNLIMITED).taken);
}

static struct inet_endpoint
backend_of(unsigned n)
{
    return (struct inet_endpoint){
        .family = n % 2 ? 4 : 6, .port = (uint16_t)(25 + n), .addr = {10, 1, 2, (uint8_t)n}};
}

/* What is remembered of it is written at NOW. */
static void
fill(void)
{
    struct inet_endpoint down = backend_of(1), up = backend_of(2);

    take(1, NOW - 59 * MINUTE, 120);
    take(1, NOW - 30 * MINUTE, 70);
    take(1, NOW, 10);
    take(2, NOW - 90 * MINUTE, 50); /* over */
    take(3, NOW - 60 * MINUTE, 200);
    take(4, NOW + 5 * MINUTE, 3); /* by a clock that is a little ahead */
    shared_use_add(table, 1, SHARED_USE_MESSAGES, 12, NOW);
    shared_use_add(table, 1, SHARED_USE_BYTES, UINT64_C(1) << 40, NOW);
    shared_use_add(table, UINT32_MAX, SHARED_USE_REFUSALS, 3, NOW);
    shared_use_add(table, 5, SHARED_USE_MESSAGES, 9, NOW - 24 * HOUR); /* yesterday's */
    shared_suspect_note(table, 77, NOW - 10 * MINUTE);
    shared_suspect_note(table, 77, NOW - 5 * MINUTE);
    shared_suspect_note(table, 78, NOW - MINUTE); /* the first death */
    shared_suspect_note(table, 79, NOW - 3 * HOUR);
    shared_health_succeeded(table, &up, NOW - HOUR);
    shared_health_failed(table, &down, SHARED_REASON_TIMEOUT, NOW - MINUTE, 600000, 600000);
}

static void
write_snapshot(void)
{
    cr_assert_eq(shared_snapshot_write(table, snapshot, NOW), ERR_OK);
    cr_assert_neq(access(path_new, F_OK), 0);
}

static void
restore(int64_t wall_ms)
{
    cr_assert(shared_snapshot_is_needed(table));
    cr_assert_eq(shared_snapshot_restore(table, snapshot, wall_ms, &summary), ERR_OK);
    cr_assert_not(shared_snapshot_is_needed(table));
}

/* --- What comes back. */

Test(shared_snapshot, P9_windows_go_on_exactly)
{
    uint32_t before[5][140];

    fill();
    for (uint32_t customer = 1; customer < 5; customer++)
        for (unsigned m = 0; m < 140; m++)
            before[customer][m] =
                shared_window_count(table, key_of(customer), NOW + m * (int64_t)MINUTE);
    write_snapshot();
    reboot();
    restore(NOW + 30000);
    cr_expect_eq(summary.windows, 3, "%u", summary.windows);
    for (uint32_t customer = 1; customer < 5; customer++)
        for (unsigned m = 0; m < 140; m++)
            cr_expect_eq(shared_window_count(table, key_of(customer), NOW + m * (int64_t)MINUTE),
                         before[customer][m], "customer %u, minute %u", customer, m);
    cr_expect_not(shared_window_take(table, key_of(1), NOW + 30000, 200).taken);
    cr_expect_not(shared_window_take(table, key_of(1), NOW + MINUTE + 59999, 200).taken);
    cr_expect(shared_window_take(table, key_of(1), NOW + 2 * MINUTE, 200).taken);
}

Test(shared_snapshot, everything_else_as_it_was)
{
    struct inet_endpoint down = backend_of(1), up = backend_of(2);
    struct shared_health before, health;
    uint64_t used[SHARED_USE_COUNT];

    fill();
    cr_assert_eq(shared_health_get(table, &down, &before), ERR_OK);
    write_snapshot();
    reboot();
    restore(NOW + 30000);
    cr_expect_eq(summary.customers, 2);
    cr_expect_eq(summary.suspects, 2);
    cr_expect_eq(summary.backends, 2);
    cr_expect_eq(summary.written_at_ms, NOW);
    shared_use_get(table, 1, NOW + 30000, used);
    cr_expect(used[SHARED_USE_MESSAGES] == 12 && used[SHARED_USE_BYTES] == UINT64_C(1) << 40);
    shared_use_get(table, UINT32_MAX, NOW + 30000, used);
    cr_expect_eq(used[SHARED_USE_REFUSALS], 3);
    shared_use_get(table, 5, NOW + 30000, used);
    cr_expect_eq(used[SHARED_USE_MESSAGES], 0);
    cr_expect(shared_suspect_is(table, 77, NOW + 30000));
    cr_expect_not(shared_suspect_is(table, 77, NOW + 55 * MINUTE));
    cr_expect_not(shared_suspect_is(table, 78, NOW + 30000));
    cr_expect(shared_suspect_note(table, 78, NOW + 30000), "its first death is remembered");
    cr_assert_eq(shared_health_get(table, &down, &health), ERR_OK);
    cr_expect(inet_endpoint_equal(&health.endpoint, &before.endpoint) &&
              health.state == SHARED_HEALTH_DOWN && health.reason == SHARED_REASON_TIMEOUT &&
              health.failures == 1 && health.since_ms == NOW - MINUTE &&
              health.next_probe_at_ms == before.next_probe_at_ms);
    cr_expect_not(shared_health_may_ask(table, &down, NOW + 30000), "P10: its pause goes on");
    cr_assert_eq(shared_health_get(table, &up, &health), ERR_OK);
    cr_expect(health.state == SHARED_HEALTH_UP && health.since_ms == NOW - HOUR);
}

Test(shared_snapshot, a_fingerprint_is_the_same_behind_a_reboot)
{
    struct inet_endpoint client = {.family = 4, .addr = {192, 0, 2, 1}};
    uint64_t message = shared_fingerprint(table, &client, "a@x.example", "r@acme.example", 5);

    write_snapshot();
    reboot();
    cr_expect_neq(shared_fingerprint(table, &client, "a@x.example", "r@acme.example", 5), message);
    restore(NOW);
    cr_expect_eq(shared_fingerprint(table, &client, "a@x.example", "r@acme.example", 5), message);
}

Test(shared_snapshot, an_empty_table_is_a_snapshot_too)
{
    write_snapshot();
    reboot();
    restore(NOW);
    cr_expect_eq(summary.windows + summary.customers + summary.suspects + summary.backends, 0);
}

static const struct {
    const char *name;
    int64_t later_ms;
    unsigned windows, suspects;
    uint64_t used;
} laters[] = {
    {"at once", 0, 3, 2, 12},
    {"a minute later", MINUTE, 2, 2, 12}, /* those of 11:00 have gone */
    {"two minutes", 2 * MINUTE, 2, 2, 12},
    {"an hour and a minute", 61 * MINUTE, 1, 0, 12},
    {"two hours", 2 * HOUR, 0, 0, 12},
    {"behind midnight", 12 * HOUR, 0, 0, 0},
    {"a year", 365LL * 24 * HOUR, 0, 0, 0},
    {"by a clock that is a little behind", -5 * MINUTE, 3, 2, 12},
};

Test(shared_snapshot, what_is_over_does_not_come_back)
{
    fill();
    write_snapshot();
    for (size_t i = 0; i < ARRAY_SIZE(laters); i++) {
        uint64_t used[SHARED_USE_COUNT];

        reboot();
        restore(NOW + laters[i].later_ms);
        cr_expect_eq(summary.windows, laters[i].windows, "%s: %u", laters[i].name, summary.windows);
        cr_expect_eq(summary.suspects, laters[i].suspects, "%s: %u", laters[i].name,
                     summary.suspects);
        shared_use_get(table, 1, NOW + laters[i].later_ms, used);
        cr_expect_eq(used[SHARED_USE_MESSAGES], laters[i].used, "%s", laters[i].name);
    }
}

/* Two processes that met a key first at the same moment may have given it two places. */
Test(shared_snapshot, P9_two_places_of_one_window_are_summed)
{
    uint64_t key = key_of(1);
    unsigned first, second = 0;

    take(1, NOW - 10 * MINUTE, 40);
    take(1, NOW, 60);
    for (first = 0; table->memory->window_keys[first] != key; first++)
        ;
    second = first % SHARED_PLACES == 0 ? first + 1 : first - 1;
    cr_assert_eq(table->memory->window_keys[second], 0);
    table->memory->window_keys[second] = key;
    memcpy(&table->memory->windows[second], &table->memory->windows[first],
           sizeof table->memory->windows[first]);
    cr_assert_eq(shared_window_count(table, key, NOW), 200);
    write_snapshot();
    reboot();
    restore(NOW);
    cr_expect_eq(shared_window_count(table, key, NOW), 200);
    cr_expect_eq(shared_window_count(table, key, NOW + 51 * MINUTE), 120);
}

Test(shared_snapshot, what_is_known_already_is_not_overwritten)
{
    struct inet_endpoint down = backend_of(1);
    struct shared_health health;

    fill();
    write_snapshot();
    reboot();
    shared_health_succeeded(table, &down, NOW + 1000); /* spoolmgr was quicker */
    restore(NOW + 2000);
    cr_assert_eq(shared_health_get(table, &down, &health), ERR_OK);
    cr_expect_eq(health.state, SHARED_HEALTH_UP);
}

Test(shared_snapshot, a_table_of_this_boot_is_not_restored_again)
{
    struct shared_table *second;

    write_snapshot();
    restore(NOW);
    cr_assert_eq(shared_table_create(path, 9, &second), ERR_OK);
    cr_expect_not(shared_snapshot_is_needed(second));
    shared_table_detach(&second);
}

/* --- What is not taken. */

static size_t
read_snapshot(char *bytes)
{
    int fd = open(snapshot, O_RDONLY);
    ssize_t n = read(fd, bytes, BYTES_MAX);

    cr_assert(n > 0 && n < BYTES_MAX);
    close(fd);
    return (size_t)n;
}

static void
put_snapshot(const char *bytes, size_t n)
{
    int fd = open(snapshot, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    cr_assert_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

/* It still counts, whatever is in it. */
static void
use_table(void)
{
    struct inet_endpoint e = backend_of(1);
    uint64_t used[SHARED_USE_COUNT], key = key_of(1);

    for (int64_t wall_ms = NOW - HOUR; wall_ms < NOW + 3 * HOUR; wall_ms += 7 * MINUTE) {
        (void)shared_window_take(table, key, wall_ms, 200);
        (void)shared_suspect_is(table, 77, wall_ms);
        shared_use_get(table, 1, wall_ms, used);
        (void)shared_health_may_ask(table, &e, wall_ms);
    }
    (void)shared_suspect_note(table, 77, NOW);
    (void)shared_health_failed(table, &e, SHARED_REASON_LOST, NOW, 1000, 2000);
    cr_assert_eq(shared_snapshot_write(table, snapshot, NOW), ERR_OK);
}

static bool
knows_nothing(void)
{
    struct inet_endpoint down = backend_of(1);
    struct shared_health health;
    uint64_t used[SHARED_USE_COUNT];

    shared_use_get(table, 1, NOW, used);
    return shared_window_count(table, key_of(1), NOW) == 0 && used[SHARED_USE_MESSAGES] == 0 &&
           !shared_suspect_is(table, 77, NOW) &&
           shared_health_get(table, &down, &health) == ERR_NOT_FOUND;
}

/* A table that nobody has restored, without the cost of a new one. */
static int
try_restore(void)
{
    table->memory->header.is_restored = 0;
    return shared_snapshot_restore(table, snapshot, NOW, &summary);
}

Test(shared_snapshot, P5_any_octet_that_is_another_one_is_noticed)
{
    static const uint8_t flips[] = {0x01, 0x80};
    char bytes[BYTES_MAX];
    size_t n;

    fill();
    write_snapshot();
    n = read_snapshot(bytes);
    reboot();
    for (size_t i = 0; i < n * ARRAY_SIZE(flips); i++) {
        uint8_t flip = flips[i % ARRAY_SIZE(flips)];

        bytes[i / ARRAY_SIZE(flips)] ^= (char)flip;
        put_snapshot(bytes, n);
        cr_assert_neq(try_restore(), ERR_OK, "octet %zu", i / ARRAY_SIZE(flips));
        cr_assert_not(shared_snapshot_is_needed(table));
        bytes[i / ARRAY_SIZE(flips)] ^= (char)flip;
    }
    cr_expect(knows_nothing());
    put_snapshot(bytes, n);
    cr_expect_eq(try_restore(), ERR_OK, "as it was, it is good");
}

Test(shared_snapshot, P5_a_torn_file_and_a_longer_one_are_noticed)
{
    char bytes[BYTES_MAX] = {0};
    size_t n;

    fill();
    write_snapshot();
    n = read_snapshot(bytes);
    memset(bytes + n, 0, BYTES_MAX - n);
    reboot();
    for (size_t length = 0; length < n + 20; length++) {
        if (length == n)
            continue;
        put_snapshot(bytes, length);
        cr_assert_eq(try_restore(), ERR_CORRUPT, "%zu of %zu octets", length, n);
    }
    cr_expect(knows_nothing());
}

/* As a check cannot notice: written so by a fault of ours, or by somebody who can write there. */
Test(shared_snapshot, P5_whole_nonsense_kills_nobody)
{
    static const uint8_t flips[] = {0x01, 0x10, 0x80, 0xff};
    char bytes[BYTES_MAX];
    unsigned taken = 0, refused = 0;
    size_t n;

    fill();
    write_snapshot();
    n = read_snapshot(bytes);
    for (size_t i = 0; i < (n - 8) * ARRAY_SIZE(flips); i++) {
        uint8_t flip = flips[i % ARRAY_SIZE(flips)];
        char copy[BYTES_MAX];
        int rc;

        memcpy(copy, bytes, n);
        copy[i / ARRAY_SIZE(flips)] ^= (char)flip;
        store_u64(copy + n - 8, XXH3_64bits(copy, n - 8));
        put_snapshot(copy, n);
        rc = try_restore();
        taken += rc == ERR_OK;
        refused += rc != ERR_OK;
    }
    use_table();
    cr_expect_gt(refused, 0);
    cr_expect_gt(taken, 0, "a count may be any count");
}

static const struct {
    const char *name;
    size_t at;
    const char *octets;
    int want;
} others[] = {
    {"foreign", 0, "GARBAGE!", ERR_CORRUPT},
    {"of an older version", 8, "\1", ERR_VERSION},
    {"of a newer version", 8, "\3", ERR_VERSION},
    {"written in a time to come", 17, "\7", ERR_RANGE},
    {"written before all times", 19, "\x80", ERR_RANGE},
};

Test(shared_snapshot, P5_what_is_not_for_us_is_told_apart)
{
    char bytes[BYTES_MAX];
    size_t n;

    fill();
    write_snapshot();
    n = read_snapshot(bytes);
    reboot();
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        char copy[BYTES_MAX];

        memcpy(copy, bytes, n);
        memcpy(copy + others[i].at, others[i].octets,
               others[i].octets[0] ? strlen(others[i].octets) : 1);
        store_u64(copy + n - 8, XXH3_64bits(copy, n - 8));
        put_snapshot(copy, n);
        cr_expect_eq(try_restore(), others[i].want, "%s", others[i].name);
        cr_expect(knows_nothing(), "%s", others[i].name);
        cr_expect_neq(shared_snapshot_error_text(others[i].want), NULL);
    }
    (void)unlink(snapshot);
    cr_expect_eq(try_restore(), ERR_NOT_FOUND);
    cr_assert_eq(mkdir(snapshot, 0700), 0);
    cr_expect_eq(try_restore(), ERR_CORRUPT, "a folder");
    cr_assert_eq(rmdir(snapshot), 0);
    cr_assert_eq(mkfifo(snapshot, 0600), 0);
    cr_expect_eq(try_restore(), ERR_CORRUPT, "a pipe");
    cr_assert_eq(unlink(snapshot), 0);
    cr_assert_eq(symlink("/dev/zero", snapshot), 0);
    cr_expect_eq(try_restore(), ERR_IO, "a link");
    cr_assert_eq(unlink(snapshot), 0);
    put_snapshot("", 0);
    cr_assert_eq(truncate(snapshot, 100 << 20), 0);
    cr_expect_eq(try_restore(), ERR_CORRUPT, "endless zeroes");
    cr_expect(knows_nothing());
}

Test(shared_snapshot, a_moment_is_in_a_time_to_come_from_ten_minutes_on)
{
    write_snapshot();
    table->memory->header.is_restored = 0;
    cr_expect_eq(shared_snapshot_restore(table, snapshot, NOW - 10 * MINUTE - 1, &summary),
                 ERR_RANGE);
    table->memory->header.is_restored = 0;
    cr_expect_eq(shared_snapshot_restore(table, snapshot, NOW - 10 * MINUTE, &summary), ERR_OK);
}

/* --- The thread. */

static struct stat
stat_of(const char *file)
{
    struct stat st = {0};

    (void)!stat(file, &st);
    return st;
}

/* Ticks until the file is another one; false: it stays. */
static bool
becomes_another(struct shared_snapshot_writer *writer, int64_t *wall_ms, unsigned ticks)
{
    struct stat before = stat_of(snapshot);

    for (unsigned i = 0; i < ticks; i++) {
        struct stat now;

        cr_assert_eq(shared_snapshot_writer_tick(writer, *wall_ms), ERR_OK);
        usleep(2000);
        now = stat_of(snapshot);
        if (now.st_ino != before.st_ino || now.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
            return true;
    }
    return false;
}

Test(shared_snapshot, it_is_written_when_something_has_changed_and_only_then)
{
    struct shared_snapshot_writer *writer = shared_snapshot_writer_new(table, snapshot);
    struct inet_endpoint e = backend_of(1);
    int64_t now_ms = NOW;

    cr_assert_not_null(writer);
    fill();
    cr_expect(becomes_another(writer, &now_ms, 5000), "the first");
    now_ms += 1000;
    cr_expect_not(becomes_another(writer, &now_ms, 100), "nothing has changed");
    take(1, now_ms, 1);
    cr_expect(becomes_another(writer, &now_ms, 5000), "a connection");
    shared_use_add(table, 1, SHARED_USE_MESSAGES, 1, now_ms);
    cr_expect(becomes_another(writer, &now_ms, 5000), "a message");
    shared_health_succeeded(table, &e, now_ms);
    cr_expect(becomes_another(writer, &now_ms, 5000), "a backend");
    shared_suspect_note(table, 78, now_ms);
    cr_expect(becomes_another(writer, &now_ms, 5000), "a suspect");
    cr_expect_not(becomes_another(writer, &now_ms, 100));
    shared_snapshot_writer_free(&writer);
    cr_expect_null(writer);
    reboot();
    restore(now_ms);
    cr_expect_eq(shared_window_count(table, key_of(1), now_ms), 201);
}

Test(shared_snapshot, P8_a_disk_that_takes_nothing_is_told_and_tried_again)
{
    struct shared_snapshot_writer *writer;
    char file[160], gone[128];
    int64_t now_ms = NOW;
    unsigned failures = 0;

    snprintf(gone, sizeof gone, "%s/gone", folder);
    snprintf(file, sizeof file, "%s/shared.snapshot", gone);
    writer = shared_snapshot_writer_new(table, file);
    cr_assert_not_null(writer);
    for (unsigned i = 0; i < 5000 && failures < 3; i++) {
        int rc = shared_snapshot_writer_tick(writer, now_ms);

        cr_assert(rc == ERR_OK || rc == ERR_IO);
        failures += rc == ERR_IO;
        usleep(1000);
    }
    cr_expect_eq(failures, 3);
    cr_assert_eq(mkdir(gone, 0700), 0);
    for (unsigned i = 0; i < 5000 && access(file, F_OK) != 0; i++) {
        (void)!shared_snapshot_writer_tick(writer, now_ms);
        usleep(1000);
    }
    shared_snapshot_writer_free(&writer);
    cr_expect_eq(unlink(file), 0, "it is there once it can be");
    cr_assert_eq(rmdir(gone), 0);
}

/* Each takes as long as there is room; new ones come all the time, and single clients go. */
static void
hammer(unsigned number)
{
    struct inet_endpoint client = {.family = 4};

    for (uint32_t i = 0;; i++) {
        int64_t wall_ms = atomic_load(clock_ms);
        uint32_t n = (i * PROCESSES + number) % 40000;

        memcpy(client.addr, &n, sizeof n);
        (void)shared_window_take(table, key_of(i % CUSTOMERS), wall_ms, 200);
        (void)shared_window_take(table, shared_window_key(table, 1, &client), wall_ms, 1);
        shared_use_add(table, i % 100, SHARED_USE_MESSAGES, 1, wall_ms);
    }
}

/* Another table beside this one, restored from the snapshot: the highest count in it. */
static uint32_t
highest_restored(int64_t wall_ms)
{
    struct shared_table *mine = table;
    uint32_t highest = 0;
    char other[128];

    snprintf(other, sizeof other, "%s/other", folder);
    cr_assert_eq(shared_table_create(other, 1, &table), ERR_OK);
    cr_expect_eq(shared_snapshot_restore(table, snapshot, wall_ms, &summary), ERR_OK);
    for (uint32_t customer = 0; customer < CUSTOMERS; customer++) {
        uint32_t count = shared_window_count(table, key_of(customer), wall_ms);

        highest = count > highest ? count : highest;
    }
    shared_table_detach(&table);
    (void)unlink(other);
    table = mine;
    return highest;
}

/* 150 of each are older, and leave the hour meanwhile. */
Test(shared_snapshot, P9_a_snapshot_of_a_table_in_use_is_whole_and_never_too_high)
{
    pid_t pids[PROCESSES];
    uint32_t highest = 0;

    clock_ms =
        mmap(NULL, sizeof *clock_ms, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(clock_ms, MAP_FAILED);
    for (uint32_t customer = 0; customer < CUSTOMERS; customer++)
        take(customer, NOW - 57 * MINUTE, 150);
    atomic_store(clock_ms, NOW);
    for (unsigned p = 0; p < PROCESSES; p++)
        if ((pids[p] = fork()) == 0)
            hammer(p);
    for (int64_t wall_ms = NOW; wall_ms < NOW + 10 * MINUTE; wall_ms += MINUTE) {
        uint32_t now;

        atomic_store(clock_ms, wall_ms);
        cr_expect_eq(shared_snapshot_write(table, snapshot, wall_ms), ERR_OK);
        now = highest_restored(wall_ms);
        cr_expect_leq(now, 200, "%u", now);
        highest = now > highest ? now : highest;
    }
    for (unsigned p = 0; p < PROCESSES; p++)
        kill(pids[p], SIGKILL);
    while (wait(NULL) > 0)
        ;
    cr_expect_eq(highest, 200, "%u", highest);
    munmap(clock_ms, sizeof *clock_ms);
}

/* --- Size. */

Test(shared_snapshot, P10_a_busy_node_writes_a_few_100_KB)
{
    struct stat st;
    int64_t began_ms, took_ms;

    for (unsigned minute = 0; minute <= 60; minute++)
        for (uint32_t customer = 0; customer < 2000; customer++)
            take(customer, NOW - (60 - minute) * (int64_t)MINUTE, 1 + (customer + minute) % 3);
    for (uint32_t customer = 0; customer < 2000; customer++)
        for (unsigned use = 0; use < SHARED_USE_COUNT; use++)
            shared_use_add(table, customer, (enum shared_use)use, 100000 + customer, NOW);
    began_ms = clock_monotonic_ms();
    write_snapshot();
    took_ms = clock_monotonic_ms() - began_ms;
    st = stat_of(snapshot);
    cr_log_info("2,000 customers in each minute: %ld octets, %ld ms", (long)st.st_size,
                (long)took_ms);
    cr_expect_lt(st.st_size, 350 * 1024);
    reboot();
    restore(NOW);
    cr_expect_eq(summary.windows, 2000);
}
