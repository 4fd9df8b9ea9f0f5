/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Control sockets: a daemon in a child process, asked by the blocking client.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/control.h"
#include "net/process.h"
#include "tests/unit/scratch.h"

struct daemon_ctx {
    struct loop *loop;
    struct control *control;
    struct control_request *late;
    struct loop_timer timer;
};

static char folder[SCRATCH_PATH], path[108];

static void
on_late(void *ctx)
{
    struct daemon_ctx *d = ctx;

    control_answer(d->late, SLICE("{\"late\":true}"));
}

static void
on_request(void *ctx, struct control_request *request, struct slice line)
{
    struct daemon_ctx *d = ctx;
    struct buf answer;

    if (slice_equal(line, SLICE("late"))) {
        d->late = request;
        loop_timer_start(&d->timer, 50);
        return;
    }
    if (slice_equal(line, SLICE("never"))) {
        d->late = request;
        loop_timer_start(&d->timer, 300);
        return;
    }
    buf_init(&answer, 0);
    if (slice_equal(line, SLICE("big")))
        for (int i = 0; i < 200000; i++)
            buf_add_text(&answer, "0123456789");
    else
        buf_printf(&answer, "{\"uid\":%ld,\"line\":\"" SLICE_FMT "\"}",
                   (long)control_peer_uid(request), SLICE_ARG(line));
    control_answer(request, buf_slice(&answer));
    buf_fini(&answer);
}

static pid_t
start_daemon(void)
{
    struct daemon_ctx d = {0};
    int ready[2];
    char byte;
    pid_t pid;

    scratch_folder(folder, "postern-test");
    snprintf(path, sizeof path, "%s/control", folder);
    cr_assert_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        d.loop = loop_new();
        loop_timer_init(&d.timer, d.loop, on_late, &d);
        if (control_listen(d.loop, path, on_request, &d, &d.control) < 0)
            _exit(1);
        if (write(ready[1], "!", 1) != 1)
            _exit(1);
        loop_run(d.loop);
        _exit(0);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void
end_daemon(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    unlink(path);
    rmdir(folder);
}

static const struct {
    const char *name, *line, *want;
} calls[] = {
    {"a question", "{\"q\":1}", "\"line\":\"{\"q\":1}\""},
    {"an empty line", "", "\"line\":\"\""},
    {"answered later", "late", "{\"late\":true}"},
};

Test(control, each_line_is_answered_by_a_line)
{
    pid_t pid = start_daemon();

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        struct buf answer;

        buf_init(&answer, 0);
        cr_expect_eq(control_call(path, slice_of(calls[i].line), 5000, &answer), ERR_OK, "%s",
                     calls[i].name);
        cr_expect_not_null(strstr(buf_text(&answer), calls[i].want), "%s: %s", calls[i].name,
                           buf_text(&answer));
        buf_fini(&answer);
    }
    end_daemon(pid);
}

Test(control, the_user_comes_from_the_kernel)
{
    pid_t pid = start_daemon();
    struct buf answer;
    char want[32];
    struct stat st;

    buf_init(&answer, 0);
    snprintf(want, sizeof want, "\"uid\":%ld,", (long)getuid());
    cr_expect_eq(control_call(path, SLICE("{\"uid\":12345}"), 5000, &answer), ERR_OK);
    cr_expect_not_null(strstr(buf_text(&answer), want));
    cr_expect_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0660);
    buf_fini(&answer);
    end_daemon(pid);
}

Test(control, a_large_answer_arrives_whole)
{
    pid_t pid = start_daemon();
    struct buf answer;

    buf_init(&answer, 0);
    cr_expect_eq(control_call(path, SLICE("big"), 20000, &answer), ERR_OK);
    cr_expect_eq(buf_size(&answer), 2000000);
    buf_fini(&answer);
    end_daemon(pid);
}

Test(control, a_daemon_that_does_not_answer_is_left_and_survives)
{
    pid_t pid = start_daemon();
    struct buf answer;

    buf_init(&answer, 0);
    cr_expect_eq(control_call(path, SLICE("never"), 50, &answer), ERR_TIMEOUT);
    usleep(400000); /* its answer comes to nobody */
    cr_expect_eq(control_call(path, SLICE("still there?"), 5000, &answer), ERR_OK);
    buf_fini(&answer);
    end_daemon(pid);
}

Test(control, nobody_listens)
{
    struct buf answer;
    pid_t pid = start_daemon();

    buf_init(&answer, 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect_eq(control_call(path, SLICE("x"), 1000, &answer), ERR_NOT_FOUND, "a dead socket");
    unlink(path);
    cr_expect_eq(control_call(path, SLICE("x"), 1000, &answer), ERR_NOT_FOUND, "no socket");
    rmdir(folder);
    buf_fini(&answer);
}

Test(control, a_dead_socket_is_replaced_and_a_live_one_is_not)
{
    struct loop *loop = loop_new();
    struct control *second = NULL;
    pid_t pid = start_daemon();

    cr_expect_eq(control_listen(loop, path, on_request, NULL, &second), ERR_BUSY);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_expect_eq(control_listen(loop, path, on_request, NULL, &second), ERR_OK);
    control_close(&second);
    cr_expect_neq(access(path, F_OK), 0, "control_close unlinks");
    loop_free(&loop);
    rmdir(folder);
}

Test(control, pipelined_lines_are_answered_one_after_the_other)
{
    pid_t pid = start_daemon();
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[512] = "";
    size_t n = 0;
    ssize_t got;

    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
    cr_assert_eq(write(fd, "late\r\none\ntwo\n", 14), 14);
    shutdown(fd, SHUT_WR);
    while ((got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    cr_expect(strstr(text, "{\"late\":true}\n") == text, "%s", text);
    cr_expect_not_null(strstr(text, "\"line\":\"one\"}\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\"line\":\"two\"}\n"), "%s", text);
    close(fd);
    end_daemon(pid);
}
