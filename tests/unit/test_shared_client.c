/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections by client address: exact over processes (P9), gone with their worker.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/shared_fixture.h"

#define PROCESSES 8
#define LIMIT 5

static struct common {
    _Atomic int there, most, entered, ready;
} * common;

static void
begin(unsigned slot, int pid)
{
    shared_worker_begin(table, slot, pid);
    cr_assert_eq(shared_client_prepare(table, slot), ERR_OK);
}

static void
setup(void)
{
    open_table();
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(common, MAP_FAILED);
}

static void
teardown(void)
{
    close_table();
    munmap(common, sizeof *common);
}

TestSuite(shared_client, .init = setup, .fini = teardown, .timeout = 60);

static struct inet_endpoint
client_of(uint32_t n)
{
    return (struct inet_endpoint){
        .family = 4,
        .addr = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n},
        .port = (uint16_t)(n * 7)};
}

static const struct {
    const char *name;
    struct inet_endpoint client;
    bool is_the_same;
} clients[] = {
    {"the same", {.family = 4, .addr = {192, 0, 2, 1}, .port = 1000}, true},
    {"from another port", {.family = 4, .addr = {192, 0, 2, 1}, .port = 1001}, true},
    {"its neighbour", {.family = 4, .addr = {192, 0, 2, 2}, .port = 1000}, false},
    {"IPv6 with the same octets", {.family = 6, .addr = {192, 0, 2, 1}, .port = 1000}, false},
};
static const struct {
    const char *name;
    struct inet_endpoint client;
    bool is_the_same;
} clients6[] = {
    {"the same", {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 9}}, true},
    {"of its /64", {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 8, 7, 6}}, true},
    {"of the /64 beside it", {.family = 6, .addr = {0x20, 1, 0xd, 0xb8, 0, 1, 0, 3, 9}}, false},
};

Test(shared_client, P9_by_address_and_by_64)
{
    begin(0, 100);
    cr_assert(shared_client_enter(table, 0, &clients[0].client, 1));
    cr_assert(shared_client_enter(table, 0, &clients6[0].client, 1));
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        cr_expect_eq(shared_client_count(table, &clients[i].client), clients[i].is_the_same, "%s",
                     clients[i].name);
    for (size_t i = 0; i < ARRAY_SIZE(clients6); i++)
        cr_expect_eq(shared_client_count(table, &clients6[i].client), clients6[i].is_the_same, "%s",
                     clients6[i].name);
    cr_expect_not(shared_client_enter(table, 0, &clients[1].client, 1));
    cr_expect(shared_client_enter(table, 0, &clients[2].client, 1));
    cr_expect_eq(shared_connections(table), 3);
    shared_client_leave(table, 0, &clients[1].client);
    cr_expect(shared_client_enter(table, 0, &clients[0].client, 1), "there is room again");
}

Test(shared_client, P9_over_all_workers)
{
    struct inet_endpoint client = client_of(1);

    for (unsigned slot = 0; slot < 4; slot++)
        begin(slot, (int)slot + 100);
    for (unsigned i = 0; i < 10; i++)
        cr_expect(shared_client_enter(table, i % 4, &client, 10), "%u", i);
    for (unsigned slot = 0; slot < 4; slot++)
        cr_expect_not(shared_client_enter(table, slot, &client, 10));
    cr_expect_eq(shared_client_count(table, &client), 10);
    cr_expect_not(shared_client_enter(table, 0, &client, 0));
}

Test(shared_client, what_a_dead_worker_had_goes_with_its_column)
{
    struct inet_endpoint client = client_of(1), other = client_of(2);
    pid_t pid = fork();

    if (pid == 0) {
        begin(0, (int)getpid());
        for (unsigned i = 0; i < 5; i++)
            CHECK(shared_client_enter(table, 0, &client, 10));
        common->ready = 1;
        for (;;)
            pause();
    }
    begin(1, 101);
    cr_assert(shared_client_enter(table, 1, &other, 1));
    while (!common->ready)
        usleep(1000);
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert(shared_client_enter(table, 1, &client, 6));
    cr_expect_eq(shared_client_count(table, &client), 6, "until it is cleared");
    shared_worker_clear(table, 0, NULL, NULL);
    cr_expect_eq(shared_client_count(table, &client), 1);
    cr_expect_eq(shared_client_count(table, &other), 1);
    cr_expect_eq(shared_connections(table), 2);
    begin(0, 102);
    for (unsigned i = 1; i < 6; i++)
        cr_expect(shared_client_enter(table, 0, &client, 6), "its successor begins with nothing");
    cr_expect_not(shared_client_enter(table, 0, &client, 6));
}

Test(shared_client, a_column_that_is_nobodys_does_not_count)
{
    struct inet_endpoint client = client_of(1);

    begin(0, 100);
    cr_assert(shared_client_enter(table, 0, &client, 10));
    shared_worker_begin(table, 0, 0);
    cr_expect_eq(shared_client_count(table, &client), 0);
    cr_expect_eq(shared_connections(table), 0);
}

/* --- Many processes. */

static void
come_and_go(unsigned number)
{
    struct inet_endpoint client = client_of(1);

    for (unsigned i = 0; i < 4000; i++) {
        int there, most;

        if (!shared_client_enter(table, number, &client, LIMIT))
            continue;
        there = ++common->there;
        common->entered++;
        most = common->most;
        while (there > most && !atomic_compare_exchange_weak(&common->most, &most, there))
            ;
        common->there--;
        shared_client_leave(table, number, &client);
    }
}

Test(shared_client, P9_never_more_than_the_limit_with_8_processes)
{
    struct inet_endpoint client = client_of(1);

    for (unsigned p = 0; p < PROCESSES; p++) {
        begin(p, 100 + (int)p);
        if (fork() == 0) {
            come_and_go(p);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    cr_expect_leq(common->most, LIMIT, "%d at once", common->most);
    cr_expect_gt(common->entered, PROCESSES);
    cr_expect_eq(shared_client_count(table, &client), 0);
    cr_expect_eq(shared_connections(table), 0);
    for (unsigned i = 0; i < LIMIT; i++)
        cr_expect(shared_client_enter(table, i % PROCESSES, &client, LIMIT));
    cr_expect_not(shared_client_enter(table, 0, &client, LIMIT), "none was lost, none is too many");
}

/* --- Many clients. */

Test(shared_client, P9_20000_different_clients_are_there_at_once_in_one_worker)
{
    begin(0, 100);
    for (uint32_t i = 0; i < 20000; i++) {
        struct inet_endpoint client = client_of(i * 2654435761u);

        cr_assert(shared_client_enter(table, 0, &client, 1), "%u", i);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct inet_endpoint client = client_of(i * 2654435761u);

        cr_assert_not(shared_client_enter(table, 0, &client, 1), "%u", i);
        shared_client_leave(table, 0, &client);
    }
    cr_expect_eq(shared_connections(table), 0);
}

Test(shared_client, P10_clients_that_have_gone_leave_nothing_behind)
{
    begin(0, 100);
    for (uint32_t i = 0; i < 200000; i++) {
        struct inet_endpoint client = client_of(i * 2654435761u);

        cr_assert(shared_client_enter(table, 0, &client, 1), "%u", i);
        shared_client_leave(table, 0, &client);
    }
    for (unsigned row = 0; row < SHARED_CLIENT_ROWS; row++)
        for (unsigned i = 0; i < SHARED_PLACES; i++)
            cr_assert_eq(table->memory->clients[0].rows[row][i], 0);
}

Test(shared_client, a_word_holds_65535_of_one_client_and_no_more)
{
    struct inet_endpoint client = client_of(1);
    unsigned entered = 0;

    begin(0, 100);
    for (unsigned i = 0; i < 70000; i++)
        entered += shared_client_enter(table, 0, &client, UINT32_MAX);
    cr_expect_eq(entered, 65535);
    cr_expect_eq(shared_client_count(table, &client), 65535);
    shared_client_leave(table, 0, &client);
    cr_expect(shared_client_enter(table, 0, &client, UINT32_MAX));
}
