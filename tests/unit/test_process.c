/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Children begin clean and end with their parent; locks have one holder, who can be named.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/process.h"
#include "tests/unit/scratch.h"

static int
exit_status(pid_t pid)
{
    int status = 0;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int
look_around(int channel, int kept, int not_kept)
{
    struct sigaction action;
    char name[17] = "";
    int death_signal = 0;

    prctl(PR_GET_PDEATHSIG, &death_signal);
    prctl(PR_GET_NAME, name);
    sigaction(SIGUSR1, NULL, &action);
    if (fcntl(channel, F_GETFD) < 0 || fcntl(kept, F_GETFD) < 0)
        return 1;
    if (fcntl(not_kept, F_GETFD) >= 0 || errno != EBADF)
        return 2;
    if (death_signal != SIGTERM || strcmp(name, "a-worker") != 0)
        return 3;
    return action.sa_handler == SIG_DFL ? 0 : 4;
}

Test(process, a_child_has_its_channel_and_what_it_may_keep_and_nothing_else)
{
    int kept = open("/dev/null", O_RDONLY), not_kept = open("/dev/null", O_RDONLY), channel;
    char text[8] = "";
    pid_t pid;

    signal(SIGUSR1, SIG_IGN);
    cr_assert_eq(process_fork("a-worker", &kept, 1, &pid, &channel), ERR_OK);
    if (pid == 0) {
        if (send(channel, "hello", 5, 0) != 5)
            _exit(9);
        _exit(look_around(channel, kept, not_kept));
    }
    cr_expect_eq(exit_status(pid), 0);
    cr_expect_eq(recv(channel, text, sizeof text, MSG_DONTWAIT), 5);
    cr_expect_eq(recv(channel, text, sizeof text, MSG_DONTWAIT), 0, "the child's end is open");
    close(channel);
    close(kept);
    close(not_kept);
}

Test(process, a_child_ends_with_its_parent)
{
    int alive[2], channel;
    struct pollfd end;
    pid_t parent, child;

    cr_assert_eq(pipe(alive), 0);
    parent = fork();
    if (parent == 0) {
        if (process_fork("child", &alive[1], 1, &child, &channel) < 0)
            _exit(1);
        if (child == 0)
            for (;;)
                pause();
        usleep(20000);
        _exit(0);
    }
    close(alive[1]);
    cr_expect_eq(exit_status(parent), 0);
    end = (struct pollfd){.fd = alive[0], .events = POLLIN};
    cr_expect_eq(poll(&end, 1, 5000), 1, "the child lives on");
    close(alive[0]);
}

static int
look_at_signals(void)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action;
    int death_signal = 0;

    process_ends_with_channel();
    prctl(PR_GET_PDEATHSIG, &death_signal);
    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++) {
        sigaction(ignored[i], NULL, &action);
        if (action.sa_handler != SIG_IGN)
            return 1;
    }
    return death_signal == SIGKILL ? 0 : 2;
}

Test(process, a_child_that_ends_with_its_channel_ignores_signals_to_the_group)
{
    int channel;
    pid_t pid;

    cr_assert_eq(process_fork("a-deliverer", NULL, 0, &pid, &channel), ERR_OK);
    if (pid == 0)
        _exit(look_at_signals());
    cr_expect_eq(exit_status(pid), 0);
    close(channel);
}

Test(process, a_lock_has_one_holder_and_goes_with_it)
{
    char folder[SCRATCH_PATH], path[128];
    int fd, go[2], ready[2], channel;
    pid_t owner, holder, bystander;
    char byte;

    scratch_folder(folder, "postern-process");
    snprintf(path, sizeof path, "%s/lock", folder);
    cr_assert(pipe(go) == 0 && pipe(ready) == 0);
    holder = fork();
    if (holder == 0) {
        if (process_lock(path, &fd, &owner) < 0 ||
            process_fork("bystander", NULL, 0, &bystander, &channel) < 0)
            _exit(1);
        if (bystander == 0) {
            prctl(PR_SET_PDEATHSIG, 0);
            if (send(channel, "!", 1, 0) != 1)
                _exit(1);
            usleep(300000); /* outlives the holder, and must not hold its lock */
            _exit(0);
        }
        fcntl(channel, F_SETFL, 0); /* wait: the bystander is clean when it speaks */
        if (recv(channel, &byte, 1, 0) != 1 || write(ready[1], "!", 1) != 1 ||
            read(go[0], &byte, 1) != 1)
            _exit(2);
        _exit(0);
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_expect_eq(process_lock(path, &fd, &owner), ERR_BUSY);
    cr_expect_eq(owner, holder);
    cr_assert_eq(write(go[1], "!", 1), 1);
    cr_expect_eq(exit_status(holder), 0);
    cr_expect_eq(process_lock(path, &fd, &owner), ERR_OK);
    close(fd);
    unlink(path);
    rmdir(folder);
}

Test(process, becoming_a_user_is_for_good_and_keeps_the_parents_hand)
{
    int death_signal = 0;
    pid_t pid;

    cr_expect_eq(process_become(""), ERR_OK);
    if (geteuid() != 0)
        cr_skip_test("needs root");
    cr_expect_eq(process_become("no-such-user-here"), ERR_NOT_FOUND);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (process_become("nobody") < 0)
            _exit(1);
        prctl(PR_GET_PDEATHSIG, &death_signal);
        if (getuid() == 0 || setuid(0) == 0 || death_signal != SIGTERM)
            _exit(2);
        _exit(0);
    }
    cr_expect_eq(exit_status(pid), 0);
}
