/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A pipe from each; its end of file is the end of the command.
 */
#define _GNU_SOURCE 1 /* pipe2 */
#include "admin/scan_job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"

#define JOB_MS 600000
#define OUTPUT_MAX (16 * 1024 * 1024)
#define PER_MINUTE 60
#define PER_MINUTE_MAX 100000

extern char **environ;

struct job {
    pid_t pid; /* 0: unused */
    int fd;
    const char *name;
    int64_t end_ms;
    struct buf output;
};

struct jobs {
    const struct call *call;
    const struct scan_job_settings *settings;
    scan_job_result on_result;
    void *ctx;
    struct job jobs[SCAN_PARALLEL];
    unsigned running;
    size_t next;
    int64_t next_at_ms;
};

enum command_status
scan_job_pause(const struct call *call, int64_t *pause_ms)
{
    const char *text = call_value(call, "per-minute");
    uint64_t rate = PER_MINUTE;

    if (text && (parse_u64(slice_of(text), &rate) < 0 || rate < 1 || rate > PER_MINUTE_MAX))
        return call_usage("--per-minute: \"%.100s\" is no number from 1 to %d", text,
                          PER_MINUTE_MAX);
    *pause_ms = (int64_t)(60000 / rate);
    return COMMAND_DONE;
}

static int
spawn(const struct jobs *j, const char *name, int fd, pid_t *pid)
{
    char *const argv[] = {(char *)"relayctl",
                          (char *)"-c",
                          (char *)j->call->config_path,
                          (char *)j->settings->noun,
                          (char *)j->settings->verb,
                          (char *)name,
                          (char *)"--json",
                          NULL};
    posix_spawn_file_actions_t actions;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    rc = posix_spawn(pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void
report(struct jobs *j, const char *name, struct slice output)
{
    if (!j->on_result(j->ctx, name, output))
        j->next = j->settings->count;
}

static void
start(struct jobs *j, struct job *job)
{
    const char *name = j->settings->names[j->next++];
    int ends[2], rc;

    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    rc = spawn(j, name, ends[1], &job->pid);
    close(ends[1]);
    if (rc != 0) {
        call_complain("%s: cannot be tested: %s", name, strerror(rc));
        close(ends[0]);
        job->pid = 0;
        report(j, name, slice_of(""));
        return;
    }
    job->fd = ends[0];
    job->name = name;
    job->end_ms = clock_monotonic_ms() + JOB_MS;
    buf_init(&job->output, 0);
    j->running++;
}

static void
finish(struct jobs *j, struct job *job, bool is_whole)
{
    int how = 0;

    if (!is_whole)
        kill(job->pid, SIGKILL);
    close(job->fd);
    while (waitpid(job->pid, &how, 0) < 0 && errno == EINTR)
        continue;
    report(j, job->name, is_whole && WIFEXITED(how) ? buf_slice(&job->output) : slice_of(""));
    buf_fini(&job->output);
    job->pid = 0;
    j->running--;
}

static void
look_at(struct jobs *j, struct job *job, short events)
{
    char octets[65536];
    ssize_t n;

    if (events == 0) {
        if (clock_monotonic_ms() > job->end_ms)
            finish(j, job, false);
        return;
    }
    n = read(job->fd, octets, sizeof octets);
    if (n > 0 && buf_size(&job->output) < OUTPUT_MAX)
        buf_add(&job->output, octets, (size_t)n);
    else if (n >= 0 || errno != EINTR)
        finish(j, job, n == 0);
}

/* Starts what may be started; how long until the next may be, -1: not before one ends. */
static int
start_some(struct jobs *j)
{
    int64_t now_ms = clock_monotonic_ms();

    for (unsigned i = 0; i < SCAN_PARALLEL && j->next < j->settings->count; i++) {
        if (j->jobs[i].pid != 0)
            continue;
        if (now_ms < j->next_at_ms)
            return (int)(j->next_at_ms - now_ms);
        start(j, &j->jobs[i]);
        j->next_at_ms = now_ms + j->settings->pause_ms;
    }
    return -1;
}

static void
turn(struct jobs *j)
{
    struct pollfd fds[SCAN_PARALLEL];
    int wait_ms = start_some(j);

    for (unsigned i = 0; i < SCAN_PARALLEL; i++)
        fds[i] = (struct pollfd){.fd = j->jobs[i].pid ? j->jobs[i].fd : -1, .events = POLLIN};
    if (wait_ms < 0 || wait_ms > 1000)
        wait_ms = 1000;
    if (poll(fds, SCAN_PARALLEL, wait_ms) < 0)
        return;
    for (unsigned i = 0; i < SCAN_PARALLEL; i++)
        if (fds[i].fd >= 0)
            look_at(j, &j->jobs[i], fds[i].revents);
}

void
scan_job_run(const struct call *call, const struct scan_job_settings *settings,
             scan_job_result on_result, void *ctx)
{
    struct jobs j = {.call = call, .settings = settings, .on_result = on_result, .ctx = ctx};

    while (j.next < settings->count || j.running > 0)
        turn(&j);
}
