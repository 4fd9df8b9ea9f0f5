/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shared table under processes that hammer, die and stop: numbers are exact, what a dead worker
 * had in flight is found, and a stopped one blocks nobody (P8).
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

#include "base/clock.h"
#include "state/shared_table.h"
#include "tests/unit/shared_fixture.h"

#define NOW 1795000000000
#define MIN_MS 30000
#define MAX_MS 300000
#define PROCESSES 6

TestSuite(shared_table, .init = open_table, .fini = close_table);

static struct inet_endpoint
endpoint_of(unsigned n)
{
    return (struct inet_endpoint){
        .family = 4, .port = 25, .addr = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

/* --- The file. */

Test(shared_table, a_second_start_keeps_what_a_node_knows)
{
    struct inet_endpoint e = endpoint_of(1);
    struct shared_table *second;
    struct shared_health health;

    cr_expect(shared_health_failed(table, &e, SHARED_REASON_TIMEOUT, NOW, MIN_MS, MAX_MS));
    cr_expect_eq(shared_table_next_number(table), 0);
    cr_expect_eq(shared_table_next_number(table), 1);
    cr_assert_eq(shared_table_create(path, 8, &second), ERR_OK);
    cr_expect_eq(shared_table_epoch(table), 8, "one memory");
    cr_expect_eq(shared_table_next_number(second), 0, "a new epoch counts anew");
    cr_assert_eq(shared_health_get(second, &e, &health), ERR_OK);
    cr_expect_eq(health.state, SHARED_HEALTH_DOWN);
    shared_table_detach(&second);
    cr_assert_eq(shared_table_create(path, 8, &second), ERR_OK);
    cr_expect_eq(shared_table_next_number(second), 1, "the same epoch counts on");
    shared_table_detach(&second);
}

Test(shared_table, a_node_is_out_of_service_until_its_parent_starts_anew)
{
    struct shared_table *second;

    cr_expect_eq(shared_table_left_service_at_ms(table), 0);
    cr_expect(shared_table_leave_service(table, NOW));
    cr_expect_not(shared_table_leave_service(table, NOW + 1), "it is already");
    cr_expect_eq(shared_table_left_service_at_ms(table), NOW);
    cr_expect(shared_table_return_to_service(table));
    cr_expect_not(shared_table_return_to_service(table));
    cr_expect(shared_table_leave_service(table, NOW));
    cr_assert_eq(shared_table_create(path, 8, &second), ERR_OK);
    shared_table_detach(&second);
    cr_expect_eq(shared_table_left_service_at_ms(table), 0);
}

static const struct {
    const char *name;
    off_t length; /* -1: as it is */
    off_t poke_at;
    const char *poke;
    int want;
} files[] = {
    {"whole", -1, 0, "", ERR_OK},
    {"empty", 0, 0, "", ERR_CORRUPT},
    {"torn in the header", 40, 0, "", ERR_CORRUPT},
    {"torn behind the header", 4096, 0, "", ERR_CORRUPT},
    {"torn at the end", sizeof(struct shared_memory) - 1, 0, "", ERR_CORRUPT},
    {"longer", sizeof(struct shared_memory) + 1, 0, "", ERR_CORRUPT},
    {"foreign", -1, 0, "GARBAGE!", ERR_CORRUPT},
    {"another layout", -1, 8, "\x7f", ERR_VERSION},
    {"another number of counters", -1, 12, "\x7f", ERR_VERSION},
    {"of an earlier boot", -1, 24, "another", ERR_NOT_FOUND},
};

Test(shared_table, P8_a_file_that_is_not_ours_is_replaced_and_not_mapped)
{
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct shared_table *other;
        int fd;

        (void)unlink(path);
        cr_assert_eq(shared_table_create(path, 1, &other), ERR_OK);
        shared_table_detach(&other);
        fd = open(path, O_RDWR);
        if (files[i].length >= 0)
            cr_assert_eq(ftruncate(fd, files[i].length), 0);
        cr_assert_geq(pwrite(fd, files[i].poke, strlen(files[i].poke), files[i].poke_at), 0);
        close(fd);
        cr_expect_eq(shared_table_attach(path, &other), files[i].want, "%s", files[i].name);
        shared_table_detach(&other);
        cr_assert_eq(shared_table_create(path, 9, &other), ERR_OK, "%s", files[i].name);
        cr_expect_eq(shared_table_epoch(other), 9, "%s", files[i].name);
        shared_count(other, 63, SHARED_COUNTER_COUNT - 1);
        shared_table_detach(&other);
        cr_expect_eq(shared_table_attach(path, &other), ERR_OK, "%s", files[i].name);
        shared_table_detach(&other);
    }
    shared_count(table, 1, SHARED_COUNTER_CONNECTIONS); /* the first mapping is still good */
}

Test(shared_table, a_missing_file_is_told)
{
    struct shared_table *other;

    (void)unlink(path);
    cr_expect_eq(shared_table_attach(path, &other), ERR_NOT_FOUND);
    cr_expect_eq(shared_table_create("/nonexistent/shared", 1, &other), ERR_IO);
    cr_expect_null(other);
}

/* --- Columns. */

static unsigned found_count;
static uint64_t found_sum;

static void
on_found(void *ctx, struct ref ref)
{
    (void)ctx;
    found_count++;
    found_sum += ref.number;
    cr_expect_eq(ref.node, 32767);
    cr_expect_eq(ref.minute, (1u << 25) - 1);
}

static struct ref
ref_of(uint64_t number)
{
    return (struct ref){.node = 32767, .minute = (1u << 25) - 1, .number = number};
}

Test(shared_table, P1_in_flight_is_found_whole_and_once)
{
    static unsigned index[SHARED_INFLIGHT_MAX];
    unsigned more;
    uint64_t big = (UINT64_C(1) << 35) - 1;

    shared_worker_begin(table, 3, 4711);
    for (unsigned i = 0; i < SHARED_INFLIGHT_MAX; i++)
        cr_assert_eq(shared_inflight_enter(table, 3, ref_of(i ? i : big), &index[i]), ERR_OK);
    cr_expect_eq(shared_inflight_enter(table, 3, ref_of(1), &more), ERR_FULL);
    for (unsigned i = 10; i < SHARED_INFLIGHT_MAX; i++)
        shared_inflight_leave(table, 3, index[i]);
    cr_expect_eq(shared_inflight_enter(table, 3, ref_of(1000), &more), ERR_OK);
    shared_worker_clear(table, 3, on_found, NULL);
    cr_expect_eq(found_count, 11);
    cr_expect_eq(found_sum, big + 45 + 1000);
    cr_expect_eq(shared_worker_pid(table, 3), 0);
    shared_worker_clear(table, 3, on_found, NULL);
    cr_expect_eq(found_count, 11);
}

static void
on_found_first(void *ctx, struct ref ref)
{
    unsigned *told = ctx, index;

    (void)ref;
    if (++*told == 1)
        cr_expect_eq(shared_inflight_enter(table, 4, ref_of(7), &index), ERR_FULL);
}

Test(shared_table, P2_in_flight_is_told_before_it_is_forgotten)
{
    unsigned index, told = 0;

    shared_worker_begin(table, 4, 4711);
    for (unsigned i = 0; i < SHARED_INFLIGHT_MAX; i++)
        cr_assert_eq(shared_inflight_enter(table, 4, ref_of(i), &index), ERR_OK);
    shared_worker_clear(table, 4, on_found_first, &told);
    cr_expect_eq(told, SHARED_INFLIGHT_MAX);
}

Test(shared_table, a_heartbeat_is_read_by_others)
{
    struct shared_table *other;

    cr_assert_eq(shared_table_attach(path, &other), ERR_OK);
    shared_worker_begin(table, 5, 42);
    cr_expect_eq(shared_worker_stamped_at_ms(other, 5), 0);
    shared_worker_stamp(table, 5, 123456789012);
    cr_expect_eq(shared_worker_stamped_at_ms(other, 5), 123456789012);
    cr_expect_eq(shared_worker_pid(other, 5), 42);
    shared_table_detach(&other);
}

Test(shared_table, counters_survive_their_worker)
{
    shared_worker_begin(table, 0, 1);
    shared_count(table, 0, SHARED_COUNTER_CONNECTIONS);
    shared_worker_clear(table, 0, NULL, NULL);
    shared_count(table, 1, SHARED_COUNTER_CONNECTIONS);
    cr_expect_eq(shared_counter_sum(table, SHARED_COUNTER_CONNECTIONS), 2);
    cr_expect_eq(shared_counter_sum(table, SHARED_COUNTER_MESSAGES_SPOOLED), 0);
    cr_expect_str_eq(shared_counter_word(SHARED_COUNTER_CONNECTIONS), "connections");
}

/* --- Health. */

Test(shared_table, P10_a_dead_backend_is_asked_by_one_at_a_time)
{
    struct inet_endpoint e = endpoint_of(1), other = endpoint_of(2);
    struct shared_health h;

    cr_expect(shared_health_may_ask(table, &e, NOW), "unknown is asked");
    cr_expect_eq(shared_health_get(table, &e, &h), ERR_NOT_FOUND);
    cr_expect_not(shared_health_succeeded(table, &e, NOW), "from unknown to up is no news");
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect(h.state == SHARED_HEALTH_UP && h.since_ms == NOW);
    cr_expect(shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW + 5, MIN_MS, MAX_MS));
    cr_expect_not(shared_health_failed(table, &e, SHARED_REASON_LOST, NOW + 6, MIN_MS, MAX_MS),
                  "those on their way are no news");
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect(h.state == SHARED_HEALTH_DOWN && h.reason == SHARED_REASON_CONNECT &&
              h.failures == 1 && h.since_ms == NOW + 5 && inet_endpoint_equal(&h.endpoint, &e));
    cr_expect(h.next_probe_at_ms > NOW + MIN_MS / 2 && h.next_probe_at_ms <= NOW + 5 + MIN_MS);
    cr_expect_not(shared_health_may_ask(table, &e, h.next_probe_at_ms - 1));
    cr_expect(shared_health_may_ask(table, &other, NOW), "nobody else suffers");
    cr_expect(shared_health_may_ask(table, &e, h.next_probe_at_ms), "overdue: one asks");
    cr_expect_not(shared_health_may_ask(table, &e, h.next_probe_at_ms), "and the others do not");
    cr_expect(shared_health_succeeded(table, &e, NOW + 90000), "it is back");
    cr_expect_not(shared_health_succeeded(table, &e, NOW + 90001));
    cr_expect(shared_health_may_ask(table, &e, NOW + 90001));
}

Test(shared_table, P10_pauses_grow_with_probes_and_not_with_sessions)
{
    struct inet_endpoint e = endpoint_of(1);
    struct shared_health h;
    int64_t now = NOW, want = MIN_MS;

    cr_expect(shared_health_failed(table, &e, SHARED_REASON_CONNECT, now, MIN_MS, MAX_MS));
    for (unsigned i = 1; i < 40; i++) {
        for (int k = 0; k < 50; k++)
            shared_health_failed(table, &e, SHARED_REASON_CONNECT, now, MIN_MS, MAX_MS);
        cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
        cr_expect_eq(h.failures, i);
        cr_expect(h.next_probe_at_ms - now >= want * 3 / 4 && h.next_probe_at_ms - now <= want,
                  "pause %u: %ld", i, (long)(h.next_probe_at_ms - now));
        now = h.next_probe_at_ms;
        cr_expect(shared_health_may_ask(table, &e, now));
        cr_expect_not(shared_health_failed(table, &e, SHARED_REASON_EHLO, now, MIN_MS, MAX_MS));
        want = want * 2 < MAX_MS ? want * 2 : MAX_MS;
    }
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect_eq(h.reason, SHARED_REASON_EHLO);
    cr_expect_eq(h.since_ms, NOW);
}

Test(shared_table, P10_who_is_said_to_be_back_is_probed_at_once_by_one)
{
    struct inet_endpoint e = endpoint_of(1);
    struct shared_health h;

    shared_health_probe_now(table, &e, NOW);
    cr_expect_eq(shared_health_get(table, &e, &h), ERR_NOT_FOUND, "nothing is made of it");
    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW, MIN_MS, MAX_MS);
    cr_expect_not(shared_health_may_ask(table, &e, NOW + 1));
    shared_health_probe_now(table, &e, NOW + 2);
    cr_expect(shared_health_may_ask(table, &e, NOW + 2));
    cr_expect_not(shared_health_may_ask(table, &e, NOW + 2));
    shared_health_probe_now(table, &e, NOW + 3); /* while that one runs */
    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW + 4, MIN_MS, MAX_MS);
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect_eq(h.failures, 1, "it was begun too early to count");
    cr_expect(shared_health_may_ask(table, &e, NOW + 5));
    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW + 6, MIN_MS, MAX_MS);
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect(h.failures == 2 && h.next_probe_at_ms > NOW + MIN_MS, "a failure as any other");
    cr_expect(shared_health_succeeded(table, &e, NOW + 7));
    shared_health_probe_now(table, &e, NOW + 8);
    cr_assert_eq(shared_health_get(table, &e, &h), ERR_OK);
    cr_expect_eq(h.state, SHARED_HEALTH_RECOVERING);
}

Test(shared_table, a_prober_that_died_is_replaced)
{
    struct inet_endpoint e = endpoint_of(1);
    int64_t now = NOW + MIN_MS;

    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW, MIN_MS, MAX_MS);
    cr_expect(shared_health_may_ask(table, &e, now));
    cr_expect_not(shared_health_may_ask(table, &e, now + 1000));
    cr_expect(shared_health_may_ask(table, &e, now + 60000));
}

Test(shared_table, a_clock_set_back_silences_nothing)
{
    struct inet_endpoint e = endpoint_of(1);

    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW, MIN_MS, MAX_MS);
    cr_expect(shared_health_may_ask(table, &e, NOW - 86400000));
}

/* As time synchronisation does it: by a second. */
Test(shared_table, P10_a_clock_set_back_lets_one_ask_and_not_all)
{
    struct inet_endpoint e = endpoint_of(1);

    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW, MIN_MS, MAX_MS);
    cr_assert(shared_health_may_ask(table, &e, NOW - 1000));
    cr_expect_not(shared_health_may_ask(table, &e, NOW - 999), "a probe is under way");
    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW - 900, MIN_MS, MAX_MS);
    cr_expect_not(shared_health_may_ask(table, &e, NOW - 899), "it has failed");
}

/* It went down before the clock ran ahead, and was probed meanwhile. */
Test(shared_table, a_probe_put_off_by_a_clock_that_was_ahead_silences_nothing)
{
    static const int64_t hour_ms = 3600000, ahead = NOW + 30 * 24 * hour_ms;
    struct inet_endpoint e = endpoint_of(1), slow = endpoint_of(2);

    shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW, MIN_MS, MAX_MS);
    cr_assert(shared_health_may_ask(table, &e, ahead));
    shared_health_failed(table, &e, SHARED_REASON_CONNECT, ahead, MIN_MS, MAX_MS);
    cr_expect_not(shared_health_may_ask(table, &e, ahead));
    cr_expect(shared_health_may_ask(table, &e, NOW + 120000));
    cr_expect_not(shared_health_may_ask(table, &e, NOW + 120001), "one asks");
    shared_health_failed(table, &slow, SHARED_REASON_CONNECT, NOW, 8 * hour_ms, 8 * hour_ms);
    cr_expect_not(shared_health_may_ask(table, &slow, NOW + 1), "a long pause that was asked for");
}

static void
on_health(void *ctx, const struct shared_health *health)
{
    unsigned *seen = ctx;

    (*seen)++;
    cr_expect_eq(health->state, SHARED_HEALTH_DOWN);
    cr_expect_eq(health->endpoint.addr[0], 10);
}

Test(shared_table, a_full_table_evicts_the_oldest_and_counts_it)
{
    struct shared_health health;
    struct inet_endpoint e;
    unsigned seen = 0;

    for (unsigned i = 0; i < SHARED_HEALTH_MAX + 100; i++) {
        e = endpoint_of(i);
        cr_assert(shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW + i, MIN_MS, MAX_MS));
    }
    for (unsigned i = 0; i < SHARED_HEALTH_MAX + 100; i++) {
        e = endpoint_of(i);
        cr_expect_eq(shared_health_get(table, &e, &health), i < 100 ? ERR_NOT_FOUND : ERR_OK, "%u",
                     i);
        if (i >= 100)
            cr_expect(inet_endpoint_equal(&health.endpoint, &e));
    }
    shared_health_each(table, on_health, &seen);
    cr_expect_eq(seen, SHARED_HEALTH_MAX);
    cr_expect_eq(shared_health_evictions(table), 100);
}

/* --- Processes. */

static pid_t
start(void (*run)(unsigned number), unsigned number)
{
    pid_t pid = fork();

    cr_assert_geq(pid, 0);
    if (pid == 0) {
        run(number);
        _exit(0);
    }
    return pid;
}

static void
wait_for(pid_t pid)
{
    int status;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

static void
hammer(unsigned number)
{
    struct inet_endpoint e;
    unsigned index;

    shared_worker_begin(table, number, getpid());
    for (unsigned i = 0; i < 20000; i++) {
        if (shared_inflight_enter(table, number, ref_of(i), &index) != ERR_OK)
            _exit(2);
        (void)shared_table_next_number(table);
        shared_count(table, number, SHARED_COUNTER_CONNECTIONS);
        e = endpoint_of(i % 300);
        shared_health_failed(table, &e, SHARED_REASON_CONNECT, NOW + i, 1, 2);
        (void)shared_health_may_ask(table, &e, NOW + i);
        shared_health_succeeded(table, &e, NOW + i);
        shared_inflight_leave(table, number, index);
    }
}

Test(shared_table, P9_counts_are_exact_over_processes, .timeout = 60)
{
    pid_t pids[PROCESSES];

    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start(hammer, i);
    for (unsigned i = 0; i < PROCESSES; i++)
        wait_for(pids[i]);
    cr_expect_eq(shared_table_next_number(table), PROCESSES * 20000);
    cr_expect_eq(shared_counter_sum(table, SHARED_COUNTER_CONNECTIONS), PROCESSES * 20000);
    for (unsigned i = 0; i < PROCESSES; i++)
        shared_worker_clear(table, i, on_found, NULL);
    cr_expect_eq(found_count, 0);
    cr_expect_eq(shared_health_evictions(table), 0, "no endpoint has two entries");
}

/* Page shared by the tests' processes: what the slot holders see. */
static struct {
    _Atomic unsigned out, most, refused, taken;
    _Atomic unsigned went_down;
} * common;

static void
hold_slots(unsigned number)
{
    struct inet_endpoint e = endpoint_of(1), mine = endpoint_of(100 + number);

    shared_worker_begin(table, number, getpid());
    for (unsigned i = 0; i < 20000; i++) {
        unsigned out, most;

        if (!shared_slot_take(table, number, &e, 3)) {
            common->refused++;
            continue;
        }
        out = atomic_fetch_add(&common->out, 1) + 1;
        most = common->most;
        while (out > most && !atomic_compare_exchange_weak(&common->most, &most, out))
            ;
        common->taken++;
        if (!shared_slot_take(table, number, &mine, 1))
            _exit(3);
        shared_slot_give(table, number, &mine);
        atomic_fetch_sub(&common->out, 1);
        shared_slot_give(table, number, &e);
    }
}

Test(shared_table, P9_slots_are_never_exceeded, .timeout = 60)
{
    pid_t pids[PROCESSES];
    struct inet_endpoint e = endpoint_of(1);

    common = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start(hold_slots, i);
    for (unsigned i = 0; i < PROCESSES; i++)
        wait_for(pids[i]);
    cr_expect_leq(common->most, 3);
    cr_expect_gt(common->taken, 0);
    cr_expect_eq(shared_slot_count(table, &e), 0);
    munmap(common, 4096);
}

Test(shared_table, slots_end_with_their_worker_and_have_room_for_many)
{
    struct inet_endpoint e = endpoint_of(1);

    shared_worker_begin(table, 0, 1);
    shared_worker_begin(table, 1, 2);
    cr_expect(shared_slot_take(table, 0, &e, 2));
    cr_expect(shared_slot_take(table, 1, &e, 2));
    cr_expect_not(shared_slot_take(table, 1, &e, 2));
    cr_expect_not(shared_slot_take(table, 1, &e, 0));
    shared_worker_clear(table, 0, NULL, NULL);
    cr_expect(shared_slot_take(table, 1, &e, 2));
    cr_expect_eq(shared_slot_count(table, &e), 2);
    shared_slot_give(table, 1, &e);
    shared_slot_give(table, 1, &e);
    for (unsigned i = 0; i < 5 * SHARED_SLOTS_MAX; i++) {
        e = endpoint_of(i);
        cr_assert(shared_slot_take(table, 1, &e, 1), "place %u", i);
        shared_slot_give(table, 1, &e);
    }
}

static void
go_down(unsigned number)
{
    (void)number;
    for (unsigned i = 0; i < 2000; i++) {
        struct inet_endpoint e = endpoint_of(i % 50);

        if (shared_health_failed(table, &e, SHARED_REASON_LOST, NOW, MIN_MS, MAX_MS))
            common->went_down++;
    }
}

Test(shared_table, one_process_sees_each_change_of_health, .timeout = 60)
{
    pid_t pids[PROCESSES];

    common = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < PROCESSES; i++)
        pids[i] = start(go_down, i);
    for (unsigned i = 0; i < PROCESSES; i++)
        wait_for(pids[i]);
    cr_expect_eq(common->went_down, 50);
    munmap(common, 4096);
}

static void
hammer_for_ever(unsigned number)
{
    for (;;)
        hammer(number);
}

static void
pause_a_little(void)
{
    (void)usleep(3000);
}

Test(shared_table, P8_killed_and_stopped_processes_block_nobody, .timeout = 60)
{
    for (unsigned round = 0; round < 25; round++) {
        pid_t stopped = start(hammer_for_ever, 1), killed = start(hammer_for_ever, 2);
        int64_t before_ms;

        pause_a_little();
        cr_assert_eq(kill(stopped, SIGSTOP), 0);
        cr_assert_eq(kill(killed, SIGKILL), 0);
        cr_assert_eq(waitpid(killed, NULL, 0), killed);
        found_count = 0;
        shared_worker_clear(table, 2, on_found, NULL);
        cr_expect_leq(found_count, 1, "a worker that holds one message at a time leaves one");
        before_ms = clock_monotonic_ms();
        wait_for(start(hammer, 3));
        cr_expect_lt(clock_monotonic_ms() - before_ms, 10000);
        cr_assert_eq(kill(stopped, SIGKILL), 0);
        cr_assert_eq(waitpid(stopped, NULL, 0), stopped);
        shared_worker_clear(table, 1, NULL, NULL);
    }
    cr_expect_eq(shared_health_evictions(table), 0);
}

static void
hold_one(unsigned number)
{
    unsigned index;

    shared_worker_begin(table, number, getpid());
    if (shared_inflight_enter(table, number, ref_of(4242), &index) != ERR_OK)
        _exit(2);
    shared_worker_stamp(table, number, 1);
    for (;;)
        pause();
}

Test(shared_table, P1_what_a_killed_worker_had_in_flight_is_found_by_the_next_parent)
{
    struct shared_table *next;
    pid_t pid = start(hold_one, 9);

    while (shared_worker_stamped_at_ms(table, 9) == 0)
        pause_a_little();
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(shared_table_create(path, 8, &next), ERR_OK);
    cr_expect_eq(shared_worker_pid(next, 9), pid);
    shared_worker_clear(next, 9, on_found, NULL);
    cr_expect_eq(found_count, 1);
    cr_expect_eq(found_sum, 4242);
    shared_table_detach(&next);
}
