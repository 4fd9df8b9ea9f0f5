/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the node has learned: its ages, its way to disk, and files that are torn, zeroed, foreign or
 * damaged inside, none of which may stop the process that opens them.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/state_changes.h"
#include "tests/unit/store_fixture.h"

TestSuite(state_store, .init = setup, .fini = teardown, .timeout = 120);

/* Learning is worth something in all domains of these tests. */
static void
begin_picky(void)
{
    static const char *const domains[] = {"", "0.example", "1.example", "x.example",
                                          "some.domain.example"};

    reopen();
    for (uint32_t customer = 0; customer < 10; customer++)
        for (size_t i = 0; i < ARRAY_SIZE(domains); i++)
            state_store_learn_domain(store, customer, domains[i], STATE_DOMAIN_PICKY, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
}

static const struct {
    const char *name;
    bool valid;
    int64_t age_ms;
    enum state_recipient want;
} ages[] = {
    {"valid, now", true, 0, STATE_RECIPIENT_VALID},
    {"valid, 30 days", true, 30 * DAY, STATE_RECIPIENT_VALID},
    {"valid, longer", true, 30 * DAY + 1, STATE_RECIPIENT_UNKNOWN},
    {"invalid, now", false, 0, STATE_RECIPIENT_INVALID},
    {"invalid, 15 minutes", false, 15 * MINUTE, STATE_RECIPIENT_INVALID},
    {"invalid, longer", false, 15 * MINUTE + 1, STATE_RECIPIENT_INVALID_STALE},
    {"invalid, 30 days", false, 30 * DAY, STATE_RECIPIENT_INVALID_STALE},
    {"invalid, forgotten", false, 30 * DAY + 1, STATE_RECIPIENT_UNKNOWN},
    {"the clock was set back a little", true, -MINUTE, STATE_RECIPIENT_VALID},
    {"learned with a clock years ahead", true, -365 * DAY, STATE_RECIPIENT_UNKNOWN},
};

Test(state_store, ages_in_memory_and_on_disk)
{
    for (int on_disk = 0; on_disk < 2; on_disk++)
        for (size_t i = 0; i < ARRAY_SIZE(ages); i++) {
            char key[32];

            begin_picky();
            snprintf(key, sizeof key, "r%zu@%d.example", i, on_disk);
            state_store_learn(store, 7, key, ages[i].valid, NOW);
            if (on_disk) {
                cr_assert_eq(state_store_flush(store), ERR_OK);
                cr_expect_not(reopen());
            }
            cr_expect_eq(state_store_recipient(store, 7, key, 0, NOW + ages[i].age_ms),
                         ages[i].want, "%s, on disk %d", ages[i].name, on_disk);
            cr_expect_eq(state_store_recipient(store, 8, key, 0, NOW), STATE_RECIPIENT_UNKNOWN,
                         "another customer's");
        }
}

Test(state_store, the_last_verdict_counts)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", false, NOW);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW), STATE_RECIPIENT_INVALID);
    state_store_learn(store, 1, "a@x.example", true, NOW + 1);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 1), STATE_RECIPIENT_VALID);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    state_store_learn(store, 1, "a@x.example", false, NOW + 2);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 2),
                 STATE_RECIPIENT_INVALID);
    reopen();
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 2),
                 STATE_RECIPIENT_INVALID, "closing commits");
}

Test(state_store, what_is_known_is_not_written_again_at_once)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", true, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    state_store_learn(store, 1, "a@x.example", true, NOW + 10 * MINUTE);
    cr_expect_eq(state_store_waiting(store), 0);
    cr_expect(state_store_learn(store, 1, "a@x.example", true, NOW + DAY), "a probe a day");
    cr_expect_eq(state_store_waiting(store), 2);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 31 * DAY),
                 STATE_RECIPIENT_VALID, "seen again: 30 days from then");
}

Test(state_store, odd_keys_are_unknown)
{
    char longest[STATE_KEY_MAX + 2];

    begin_picky();
    memset(longest, 'a', sizeof longest);
    longest[STATE_KEY_MAX] = '\0';
    state_store_learn(store, 1, longest, true, NOW);
    state_store_learn(store, 1, "", true, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_expect_eq(state_store_recipient(store, 1, longest, 0, NOW), STATE_RECIPIENT_VALID);
    cr_expect_eq(state_store_recipient(store, 1, "", 0, NOW), STATE_RECIPIENT_UNKNOWN);
    longest[STATE_KEY_MAX] = 'a';
    longest[STATE_KEY_MAX + 1] = '\0';
    state_store_learn(store, 1, longest, true, NOW);
    cr_expect_eq(state_store_recipient(store, 1, longest, 0, NOW), STATE_RECIPIENT_UNKNOWN);
}

static void
learn_many(unsigned count, int64_t wall_ms)
{
    char key[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "recipient-%u@some.domain.example", i);
        state_store_learn(store, i % 5, key, i % 3 != 0, wall_ms);
        if (state_store_waiting(store) >= STATE_BATCH_MAX)
            (void)!state_store_commit(store);
    }
    cr_assert_eq(state_store_flush(store), ERR_OK);
}

static unsigned
count_known(unsigned count, int64_t wall_ms)
{
    unsigned known = 0;
    char key[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "recipient-%u@some.domain.example", i);
        known += state_store_recipient(store, i % 5, key, 0, wall_ms) ==
                 (i % 3 != 0 ? STATE_RECIPIENT_VALID : STATE_RECIPIENT_INVALID);
    }
    return known;
}

Test(state_store, many_survive_a_restart)
{
    begin_picky();
    learn_many(20000, NOW);
    cr_expect_eq(count_known(20000, NOW), 20000);
    cr_expect_not(reopen());
    cr_expect_eq(count_known(20000, NOW), 20000);
}

Test(state_store, answers_do_not_wait_for_the_batch)
{
    begin_picky();
    for (unsigned i = 0; i < 50; i++) {
        char key[32];

        snprintf(key, sizeof key, "r%u@x.example", i);
        state_store_learn(store, 1, key, true, NOW);
        (void)!state_store_commit(store);
        cr_expect_eq(state_store_recipient(store, 1, key, 0, NOW), STATE_RECIPIENT_VALID);
    }
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_expect(state_store_is_idle(store));
}

Test(state_store, a_purge_removes_the_outdated_a_bounded_number_at_a_time)
{
    begin_picky();
    learn_many(1000, NOW);
    state_store_learn(store, 1, "young@x.example", true, NOW + 60 * DAY);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_assert_eq(state_store_purge(store, NOW + 61 * DAY, 100), ERR_OK);
    cr_expect_leq(state_store_waiting(store), 100);
    for (unsigned i = 0; i < 12; i++) {
        cr_assert_eq(state_store_purge(store, NOW + 61 * DAY, 100), ERR_OK);
        cr_assert_eq(state_store_flush(store), ERR_OK);
    }
    cr_expect_eq(count_known(1000, NOW), 0);
    cr_expect_eq(state_store_recipient(store, 1, "young@x.example", 0, NOW + 61 * DAY),
                 STATE_RECIPIENT_VALID);
    cr_expect_not(reopen());
    cr_expect_eq(count_known(1000, NOW), 0);
}

Test(state_store, a_full_map_loses_learning_and_says_so)
{
    char key[STATE_KEY_MAX];
    int rc = ERR_OK;

    settings.map_size_bytes = 256 << 10;
    begin_picky();
    for (unsigned i = 0; i < 5000 && rc == ERR_OK; i++) {
        snprintf(key, sizeof key, "%0300u@x.example", i);
        state_store_learn(store, 1, key, true, NOW);
        if (i % 100 == 99)
            rc = state_store_flush(store);
    }
    cr_expect_eq(rc, ERR_FULL);
    cr_expect_not(reopen());
    snprintf(key, sizeof key, "%0300u@x.example", 1u);
    cr_expect_eq(state_store_recipient(store, 1, key, 0, NOW), STATE_RECIPIENT_VALID);
}

Test(state_store, memory_does_not_grow_without_end)
{
    char key[32];

    reopen();
    for (unsigned i = 0; i < STATE_CHANGES_MAX + 100; i++) {
        snprintf(key, sizeof key, "%u", i);
        state_store_learn(store, 1, key, true, NOW);
    }
    cr_expect_eq(state_store_waiting(store), STATE_CHANGES_MAX);
}

Test(state_store, a_second_process_is_refused)
{
    struct state_store *second;
    bool set_aside;

    reopen();
    cr_expect_eq(state_store_open(&settings, &second, &set_aside), ERR_BUSY);
    cr_expect_null(second);
}

/* --- Domains. */

Test(state_store, nothing_is_known_before_a_random_recipient_was_refused)
{
    reopen();
    cr_expect(state_store_learn(store, 1, "a@x.example", true, NOW), "the probe is the caller's");
    cr_expect_not(state_store_learn(store, 1, "b@x.example", false, NOW), "and nobody else's");
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW), STATE_RECIPIENT_UNKNOWN);
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", 0, NOW), STATE_RECIPIENT_UNKNOWN);
    cr_expect_not(state_store_learn(store, 1, "a@x.example", true, NOW + 9 * MINUTE));
    cr_expect(state_store_learn(store, 1, "a@x.example", true, NOW + 10 * MINUTE), "again");
    cr_expect(state_store_learn(store, 2, "a@x.example", true, NOW), "another customer's");
    cr_expect(state_store_learn(store, 1, "a@y.example", true, NOW), "another domain");
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_PICKY, NOW + 10 * MINUTE);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 10 * MINUTE),
                 STATE_RECIPIENT_VALID, "what was learned meanwhile counts");
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", 0, NOW + 10 * MINUTE),
                 STATE_RECIPIENT_INVALID);
    cr_expect_not(state_store_learn(store, 1, "a@x.example", true, NOW + DAY));
    cr_expect(state_store_learn(store, 1, "a@x.example", true, NOW + DAY + 10 * MINUTE), "daily");
}

Test(state_store, in_an_accept_all_domain_nothing_is_known)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", true, NOW);
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_ACCEPT_ALL, NOW + DAY);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + DAY),
                 STATE_RECIPIENT_ACCEPT_ALL);
    state_store_learn(store, 1, "c@x.example", true, NOW + DAY);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    reopen();
    cr_expect_eq(state_store_recipient(store, 1, "c@x.example", 0, NOW + DAY),
                 STATE_RECIPIENT_ACCEPT_ALL);
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_PICKY, NOW + 2 * DAY);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 2 * DAY),
                 STATE_RECIPIENT_UNKNOWN, "learning begins anew");
    cr_expect_eq(state_store_recipient(store, 1, "c@x.example", 0, NOW + 2 * DAY),
                 STATE_RECIPIENT_UNKNOWN, "nothing was learned meanwhile");
    state_store_learn(store, 1, "a@x.example", true, NOW + 2 * DAY);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW + 2 * DAY),
                 STATE_RECIPIENT_VALID);
}

Test(state_store, a_purge_takes_what_counts_no_more)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", true, NOW);
    state_store_learn(store, 1, "a@0.example", true, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_ACCEPT_ALL, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_assert_eq(state_store_purge(store, NOW, 1000), ERR_OK);
    cr_expect_eq(state_store_waiting(store), 1);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_expect_eq(state_store_recipient(store, 1, "a@0.example", 0, NOW), STATE_RECIPIENT_VALID);
}

Test(state_store, ages_stand_still_while_all_is_down)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", true, NOW);
    state_store_learn(store, 1, "b@x.example", false, NOW);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", NOW + 29 * DAY, NOW + 40 * DAY),
                 STATE_RECIPIENT_VALID);
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", NOW + 31 * DAY, NOW + 40 * DAY),
                 STATE_RECIPIENT_UNKNOWN, "it was too old when the backend went");
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", NOW + MINUTE, NOW + 2 * DAY),
                 STATE_RECIPIENT_INVALID);
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", NOW + 16 * MINUTE, NOW + 2 * DAY),
                 STATE_RECIPIENT_INVALID_STALE);
    state_store_learn(store, 1, "c@x.example", true, NOW + DAY);
    cr_expect_eq(state_store_recipient(store, 1, "c@x.example", NOW - 40 * DAY, NOW + DAY),
                 STATE_RECIPIENT_VALID, "learned since");
    cr_assert_eq(state_store_flush(store), ERR_OK);
    cr_assert_eq(state_store_purge(store, NOW + 40 * DAY, 1000), ERR_OK);
    cr_expect_eq(state_store_waiting(store), 0, "kept for it");
}

Test(state_store, what_an_operator_wants_forgotten_is)
{
    begin_picky();
    state_store_learn(store, 1, "a@x.example", true, NOW);
    state_store_learn(store, 1, "b@x.example", true, NOW);
    cr_expect(state_store_forget(store, 1, "a@x.example"));
    cr_expect_not(state_store_forget(store, 1, "a@x.example"));
    cr_expect_eq(state_store_recipient(store, 1, "a@x.example", 0, NOW), STATE_RECIPIENT_UNKNOWN);
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", 0, NOW), STATE_RECIPIENT_VALID);
    cr_expect(state_store_forget_domain(store, 1, "x.example", NOW));
    cr_expect(state_store_learn(store, 1, "c@x.example", true, NOW + 1), "a probe comes first");
    state_store_learn_domain(store, 1, "x.example", STATE_DOMAIN_PICKY, NOW + 2);
    cr_expect_eq(state_store_recipient(store, 1, "b@x.example", 0, NOW + 2),
                 STATE_RECIPIENT_UNKNOWN);
    cr_expect_eq(state_store_recipient(store, 1, "c@x.example", 0, NOW + 2), STATE_RECIPIENT_VALID);
}

/* --- Backends. */

Test(state_store, capabilities_hold_for_thirty_days_and_while_it_is_down)
{
    struct inet_endpoint e = {4, {192, 0, 2, 1}, 25}, other = {4, {192, 0, 2, 1}, 26};
    struct state_capabilities c = {.smtputf8 = true, .has_size = true, .size_max_bytes = 1 << 20};

    reopen();
    cr_expect_not(state_store_capabilities(store, &e, 0, NOW).is_known);
    state_store_learn_capabilities(store, &e, &c, NOW);
    cr_assert_eq(state_store_flush(store), ERR_OK);
    state_store_learn_capabilities(store, &e, &c, NOW + MINUTE);
    cr_expect_eq(state_store_waiting(store), 0);
    reopen();
    c = state_store_capabilities(store, &e, 0, NOW + 30 * DAY);
    cr_expect(c.is_known && c.smtputf8 && c.has_size && !c.eightbitmime);
    cr_expect_eq(c.size_max_bytes, 1 << 20);
    cr_expect_not(state_store_capabilities(store, &other, 0, NOW).is_known);
    cr_expect_not(state_store_capabilities(store, &e, 0, NOW + 31 * DAY).is_known);
    cr_expect(state_store_capabilities(store, &e, NOW + DAY, NOW + 31 * DAY).is_known);
    c.smtputf8 = false;
    state_store_learn_capabilities(store, &e, &c, NOW + 2 * MINUTE);
    cr_expect_not(state_store_capabilities(store, &e, 0, NOW + DAY).smtputf8, "a change at once");
}

/* --- Damage. */

static char *content;
static size_t size;

static void
read_file(void)
{
    struct stat st;
    int fd = open(path, O_RDONLY);

    cr_assert_eq(fstat(fd, &st), 0);
    size = (size_t)st.st_size;
    content = malloc(size);
    cr_assert_eq(read(fd, content, size), (ssize_t)size);
    close(fd);
}

static void
write_file(const char *data, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);

    cr_assert_eq(write(fd, data, n), (ssize_t)n);
    close(fd);
}

/* Opens what is there, whatever it is, and uses it. */
static bool
opens_and_works(void)
{
    bool set_aside = reopen();

    state_store_learn(store, 9, "new@x.example", true, NOW);
    state_store_learn_domain(store, 9, "x.example", STATE_DOMAIN_PICKY, NOW);
    cr_expect_eq(state_store_flush(store), ERR_OK);
    cr_expect_eq(state_store_recipient(store, 9, "new@x.example", 0, NOW), STATE_RECIPIENT_VALID);
    cr_expect_eq(state_store_purge(store, NOW, 100000), ERR_OK);
    cr_expect_eq(state_store_flush(store), ERR_OK);
    state_store_close(&store);
    return set_aside;
}

Test(state_store, P5_torn_files_are_set_aside)
{
    unsigned aside = 0;

    reopen();
    learn_many(3000, NOW);
    state_store_close(&store);
    read_file();
    for (size_t n = 0; n < size; n += 997 * (n < 9000 ? 1 : 16)) {
        write_file(content, n);
        aside += opens_and_works();
    }
    cr_expect_gt(aside, 10);
    cr_expect_gt(each_file("state.mdb.bad-", false), 0);
    write_file(content, 0);
    cr_expect(opens_and_works(), "empty");
    write_file(content, 4096);
    cr_expect(opens_and_works(), "one page");
    write_file(content, size / 2);
    cr_expect(opens_and_works(), "half");
    write_file(content, size);
    cr_expect_not(opens_and_works(), "whole");
    free(content);
}

Test(state_store, P5_zeroed_and_foreign_files_are_set_aside)
{
    char *zeros = calloc(1, 1 << 20);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    write_file(zeros, 1 << 20);
    cr_expect(opens_and_works(), "zeroed");
    memset(zeros, 'x', 1 << 20);
    write_file(zeros, 1 << 20);
    cr_expect(opens_and_works(), "foreign");
    (void)unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    cr_expect(opens_and_works(), "a folder");
    each_file("state.mdb", true);
    mdb_env_create(&env);
    cr_assert_eq(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    cr_assert_eq(mdb_put(txn, dbi, &(MDB_val){3, zeros}, &(MDB_val){3, zeros}, 0), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    cr_expect(opens_and_works(), "LMDB, but not ours");
    free(zeros);
}

Test(state_store, P5_pages_damaged_inside_never_stop_the_process)
{
    unsigned seed = 7;

    reopen();
    learn_many(3000, NOW);
    learn_many(3000, NOW + DAY); /* so that there are free pages */
    state_store_close(&store);
    read_file();
    for (unsigned round = 0; round < 45; round++) {
        char *copy = malloc(size);
        size_t page = 4096 * ((unsigned)rand_r(&seed) % (size / 4096));

        memcpy(copy, content, size);
        if (round % 3 == 0)
            memset(copy + page, 0, 4096);
        else if (round % 3 == 1)
            memcpy(copy + page, copy + 4096 * ((unsigned)rand_r(&seed) % (size / 4096)), 4096);
        else
            for (unsigned i = 0; i < 40; i++)
                copy[page + (unsigned)rand_r(&seed) % 4096] = (char)rand_r(&seed);
        write_file(copy, size);
        (void)opens_and_works();
        each_file("state.mdb.bad-", true);
        free(copy);
    }
    free(content);
}
