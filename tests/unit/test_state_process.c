/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The state process as its parent runs it: what was learned survives its death, and a damaged file
 * does not keep it from starting.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/channel.h"
#include "net/process.h"
#include "relayd/relayd.h"
#include "state/shared_snapshot.h"
#include "state/state.h"
#include "tests/unit/scratch.h"

static char folder[SCRATCH_PATH];
static struct config config;
static struct shared_table *table;
static struct loop *loop;
static struct channel *parent;
static struct state_client *client;
static pid_t pid;
static bool is_answered;
static enum state_recipient answer;
static const struct inet_endpoint backend = {4, {127, 0, 0, 1}, 25};

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    (void)ctx;
    (void)type;
    (void)payload;
    (void)fds;
    (void)fd_count;
}

static void
on_close(void *ctx)
{
    (void)ctx;
    channel_close(&parent);
}

static void
on_answer(void *ctx, const struct state_answer *a)
{
    (void)ctx;
    answer = a->recipient;
    is_answered = true;
    loop_stop(loop);
}

static void
on_time(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void
run(int64_t limit_ms)
{
    struct loop_timer timer;

    loop_timer_init(&timer, loop, on_time, NULL);
    loop_timer_start(&timer, limit_ms);
    loop_run(loop);
    loop_timer_cancel(&timer);
}

static void
start_process(void)
{
    int fd, fds[2];

    cr_assert_eq(process_fork("state", NULL, 0, &pid, &fd), ERR_OK);
    if (pid == 0)
        _exit(state_process_run(&config, fd, table));
    parent = channel_open(loop, fd, on_message, on_close, NULL);
    cr_assert_eq(channel_pair(fds), ERR_OK);
    cr_assert_eq(channel_send(parent, RELAYD_ADD_WORKER, SLICE(""), fds, 1), ERR_OK);
    close(fds[0]);
    state_client_attach(client, fds[1]);
}

/* Asks until the answer is `want`; the process may still be starting. */
static bool
becomes(const char *key, enum state_recipient want)
{
    for (int i = 0; i < 100; i++) {
        is_answered = false;
        state_recipient_ask(client, 1, key, 0, on_answer, NULL);
        while (!is_answered)
            run(1000);
        if (answer == want)
            return true;
        run(30);
    }
    return false;
}

static void
setup(void)
{
    char table_path[128];

    scratch_folder(folder, "test_state_process");
    config.state_dir = folder;
    config.recipient_positive_ttl_ms = 86400000;
    config.recipient_negative_ttl_ms = 900000;
    config.backscatter_threshold = 2;
    config.backscatter_window_ms = 3600000;
    config.backscatter_ban_ms = 86400000;
    snprintf(table_path, sizeof table_path, "%s/shared", folder);
    cr_assert_eq(shared_table_create(table_path, 1, &table), ERR_OK);
    loop = loop_new();
    client = state_client_open(loop, -1);
    start_process();
}

static void
teardown(void)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    channel_close(&parent);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    state_client_close(&client);
    shared_table_detach(&table);
    loop_free(&loop);
    while ((entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    cr_expect_eq(rmdir(folder), 0);
}

TestSuite(state_process, .init = setup, .fini = teardown, .timeout = 60);

static void
end_process(int signo)
{
    int status;

    if (signo == 0)
        channel_close(&parent);
    else
        cr_assert_eq(kill(pid, signo), 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (signo != SIGKILL)
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    run(20); /* both channels see their end */
    pid = 0;
}

Test(state_process, what_was_learned_survives_every_end)
{
    static const int ends[] = {0, SIGTERM, SIGKILL};

    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        char key[32];

        snprintf(key, sizeof key, "r%zu@x.example", i);
        cr_assert(becomes("nobody", STATE_RECIPIENT_UNKNOWN));
        state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
        state_recipient_learn(client, 1, key, true, &backend);
        cr_assert(becomes(key, STATE_RECIPIENT_VALID));
        if (ends[i] == SIGKILL)
            run(1000); /* 50 ms and a sync */
        end_process(ends[i]);
        start_process();
        cr_expect(becomes(key, STATE_RECIPIENT_VALID), "end %d", ends[i]);
    }
}

Test(state_process, P5_a_damaged_file_is_set_aside_at_start)
{
    char path[128], garbage[8192];
    int fd;

    snprintf(path, sizeof path, "%s/state.mdb", folder);
    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    state_recipient_learn(client, 1, "first@x.example", true, &backend);
    cr_assert(becomes("first@x.example", STATE_RECIPIENT_VALID));
    end_process(SIGTERM);
    memset(garbage, 'x', sizeof garbage);
    fd = open(path, O_WRONLY | O_TRUNC);
    cr_assert_eq(write(fd, garbage, sizeof garbage), (ssize_t)sizeof garbage);
    close(fd);
    start_process();
    /* News of before it reads its channel are learned when it does. */
    state_domain_learn(client, 1, "x.example", STATE_DOMAIN_PICKY);
    state_recipient_learn(client, 1, "a@x.example", true, &backend);
    cr_expect(becomes("a@x.example", STATE_RECIPIENT_VALID));
}

/* --- Whoever decides, logs. */

static char log_path[128], log_text[8192];

/* What the process that is started next logs goes to a file. */
static void
log_to_file(void)
{
    int fd;

    snprintf(log_path, sizeof log_path, "%s/log", folder);
    fd = open(log_path, O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    close(fd);
}

static unsigned
count_logged(const char *word)
{
    int fd = open(log_path, O_RDONLY);
    ssize_t n = read(fd, log_text, sizeof log_text - 1);
    unsigned count = 0;

    close(fd);
    log_text[n > 0 ? n : 0] = '\0';
    for (const char *p = log_text; (p = strstr(p, word)) != NULL; p++)
        count++;
    return count;
}

Test(state_process, a_ban_is_logged_and_once_a_day_who_is_spared)
{
    const struct inet_endpoint bad = {4, {192, 0, 2, 1}, 25}, good = {4, {192, 0, 2, 2}, 25};

    end_process(SIGKILL); /* whether it was ready or not */
    log_to_file();
    start_process();
    for (uint32_t customer_id = 1; customer_id <= 3; customer_id++)
        state_good_learn(client, customer_id, &good);
    for (unsigned i = 0; i < 10; i++) {
        state_bounce_learn(client, 7, &bad);
        state_bounce_learn(client, 7, &good);
    }
    for (unsigned i = 0; i < 100 && count_logged("backscatter-source") < 2; i++)
        run(30);
    cr_expect_eq(count_logged("warn"), 2, "%s", log_text);
    cr_expect_eq(count_logged("address=192.0.2.1 customer_id=7 ban=\"until 20"), 1, "%s", log_text);
    cr_expect_eq(count_logged("address=192.0.2.2 customer_id=7 ban=no why=good-for-3-customers"), 1,
                 "%s", log_text);
}
