/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The sandbox, tried from inside: a child enters it, tries one thing, and ends with what it was
 * told.  The sandbox here is the product's, without what a build with sanitizers leaves open.
 */
#define _GNU_SOURCE 1

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/process.h"
#include "net/sandbox.h"
#include "tests/unit/scratch.h"

#define KILLED(signo) (1000 + (signo))
#define NOT_ENTERED 250

static char folder[SCRATCH_PATH], inside[SCRATCH_PATH + 8], outside[SCRATCH_PATH + 8];
static int given_fd = -1; /* what a worker is given: opened before */

static const char *
nobody(void)
{
    return geteuid() == 0 ? "nobody" : "";
}

static void
set_up(void)
{
    const struct passwd *pw = getpwnam("nobody");

    scratch_folder(folder, "postern-sandbox");
    snprintf(inside, sizeof inside, "%s/in", folder);
    snprintf(outside, sizeof outside, "%s/out", folder);
    cr_assert_eq(mkdir(inside, 0700), 0);
    cr_assert_eq(mkdir(outside, 0700), 0);
    given_fd = open(outside, O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    cr_assert_geq(given_fd, 0);
    cr_assert_eq(write(given_fd, "given", 5), 5);
    if (geteuid() == 0 && pw) /* what stands between is the sandbox and not the mode */
        cr_assert(chown(folder, pw->pw_uid, pw->pw_gid) == 0 &&
                  chown(inside, pw->pw_uid, pw->pw_gid) == 0 &&
                  chown(outside, pw->pw_uid, pw->pw_gid) == 0);
}

static void
clean_up(void)
{
    close(given_fd);
    rmdir(inside);
    rmdir(outside);
    rmdir(folder);
}

static int
end_of(pid_t pid)
{
    int status = 0;

    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED(WTERMSIG(status));
}

static void
enter(enum sandbox_kind kind)
{
    struct sandbox sandbox = {
        .kind = kind,
        .user = nobody(),
        .folders = {kind == SANDBOX_PEERS || kind == SANDBOX_NOTHING ? NULL : inside},
    };
    struct sandbox_layers layers;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (sandbox_enter(&sandbox, &layers) < 0)
        _exit(NOT_ENTERED);
}

/* --- What is tried: 0, or errno. */

static int
told(long rc)
{
    return rc < 0 ? errno : 0;
}

static int
create_in(const char *place)
{
    char path[SCRATCH_PATH + 16];
    int fd;

    snprintf(path, sizeof path, "%s/file", place);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    close(fd);
    return told(unlink(path));
}

static int
create_inside(void)
{
    return create_in(inside);
}

static int
create_outside(void)
{
    return create_in(outside);
}

static int
move_out(void)
{
    char from[SCRATCH_PATH + 16], to[SCRATCH_PATH + 16];
    int fd, rc;

    snprintf(from, sizeof from, "%s/moved", inside);
    snprintf(to, sizeof to, "%s/moved", outside);
    fd = open(from, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NOT_ENTERED;
    close(fd);
    rc = told(rename(from, to));
    unlink(from);
    return rc;
}

static int
read_passwd(void)
{
    return told(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int
list_root(void)
{
    return told(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int
read_given(void)
{
    char text[5];

    return told(pread(given_fd, text, sizeof text, 0));
}

static int
lift_append(void)
{
    return told(fcntl(given_fd, F_SETFL, 0));
}

static int
truncate_given(void)
{
    return told(ftruncate(given_fd, 0));
}

static int
make_socket(int family, int type)
{
    return told(socket(family, type | SOCK_CLOEXEC, 0));
}

static int
socket_ipv4(void)
{
    return make_socket(AF_INET, SOCK_STREAM);
}

static int
socket_ipv6(void)
{
    return make_socket(AF_INET6, SOCK_STREAM) == EAFNOSUPPORT ? 0
                                                              : make_socket(AF_INET6, SOCK_STREAM);
}

static int
socket_unix(void)
{
    return make_socket(AF_UNIX, SOCK_STREAM);
}

static int
socket_netlink(void)
{
    return make_socket(AF_NETLINK, SOCK_RAW);
}

static int
socket_packet(void)
{
    return make_socket(AF_PACKET, SOCK_DGRAM);
}

static int
socket_raw(void)
{
    return make_socket(AF_INET, SOCK_RAW);
}

static int
listen_somewhere(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};

    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) < 0)
        return NOT_ENTERED;
    return told(listen(fd, 1));
}

static int
run_program(void)
{
    char *const nothing[] = {(char[]){"true"}, NULL};

    return told(execve("/bin/true", nothing, nothing + 1));
}

static int
run_descriptor(void)
{
    char *const nothing[] = {(char[]){"true"}, NULL};

    return told(syscall(SYS_execveat, given_fd, "", nothing, nothing + 1, AT_EMPTY_PATH));
}

static int
trace_parent(void)
{
    return told(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int
read_parents_memory(void)
{
    char octet;
    struct iovec local = {&octet, 1}, remote = {&octet, 1};

    return told(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
}

static int
map(int protection)
{
    return mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno
                                                                                          : 0;
}

static int
map_data(void)
{
    return map(PROT_READ | PROT_WRITE);
}

static int
map_code(void)
{
    return map(PROT_READ | PROT_EXEC);
}

static int
turn_data_into_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NOT_ENTERED;
    return told(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int
fork_child(void)
{
    pid_t pid = (pid_t)syscall(SYS_fork);

    if (pid == 0)
        _exit(0);
    if (pid < 0)
        return errno;
    return told(waitpid(pid, NULL, 0));
}

static int
signal_parent(void)
{
    return told(kill(getppid(), SIGCONT));
}

static int
become_root(void)
{
    return told(setresuid(0, 0, 0));
}

static int
leave_namespace(void)
{
    return told(unshare(CLONE_NEWUSER));
}

static int
set_up_ring(void)
{
    struct io_uring_params params = {0};

    return told(syscall(SYS_io_uring_setup, 1, &params));
}

static int
raise_limit(void)
{
    struct rlimit limit = {64, 64};

    return told(setrlimit(RLIMIT_NOFILE, &limit));
}

static int
be_dumpable(void)
{
    return told(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int
change_folder(void)
{
    return told(chdir("/"));
}

static void *
open_in_thread(void *rc)
{
    *(int *)rc = read_passwd();
    return NULL;
}

static int
open_from_a_later_thread(void)
{
    pthread_t thread;
    int rc = NOT_ENTERED;

    if (pthread_create(&thread, NULL, open_in_thread, &rc) != 0 || pthread_join(thread, NULL) != 0)
        return NOT_ENTERED;
    return rc;
}

static int
abort_itself(void)
{
    abort();
}

/* getpid under the number that it has for x32 programs: filters that look at the plain numbers
 * alone do not see it. */
static int
call_by_another_door(void)
{
#ifdef __x86_64__
    return told(syscall(0x40000000 | SYS_getpid));
#else
    raise(SIGSYS);
    return 0;
#endif
}

/* The zone's file cannot be read any more. */
static int
know_the_hour(void)
{
    time_t now = 1784116800; /* 2026-07-15 12:00 UTC */
    struct tm tm;

    localtime_r(&now, &tm);
    return tm.tm_hour == 14 ? 0 : EDOM;
}

/* --- The table.  -1: does not matter. */

static const struct attempt {
    const char *name;
    int (*run)(void);
    int expected[4]; /* PEERS, FILES, LINK, NOTHING */
} attempts[] = {
    {"read a file", read_passwd, {EPERM, EACCES, 0, EPERM}},
    {"list the root", list_root, {EPERM, EACCES, 0, EPERM}},
    {"make a file in its folder", create_inside, {EPERM, 0, 0, EPERM}},
    {"make a file elsewhere", create_outside, {EPERM, EACCES, EACCES, EPERM}},
    {"move a file out", move_out, {-1, EACCES, EACCES, -1}},
    {"read a descriptor it has", read_given, {0, 0, 0, EPERM}},
    {"lift O_APPEND", lift_append, {EPERM, 0, 0, EPERM}},
    {"truncate", truncate_given, {EPERM, 0, 0, EPERM}},
    {"socket of IPv4", socket_ipv4, {0, EPERM, 0, EPERM}},
    {"socket of IPv6", socket_ipv6, {0, EPERM, 0, EPERM}},
    {"socket of unix", socket_unix, {EPERM, EPERM, 0, EPERM}},
    {"socket of netlink", socket_netlink, {EPERM, EPERM, 0, EPERM}},
    {"socket of packets", socket_packet, {EPERM, EPERM, EPERM, EPERM}},
    {"raw socket", socket_raw, {-1, EPERM, -1, EPERM}},
    {"listen", listen_somewhere, {EPERM, -1, EPERM, -1}},
    {"execve", run_program, {KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS)}},
    {"execveat", run_descriptor, {KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS)}},
    {"ptrace", trace_parent, {KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS)}},
    {"another's memory",
     read_parents_memory,
     {KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS)}},
    {"another door",
     call_by_another_door,
     {KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS), KILLED(SIGSYS)}},
    {"memory for data", map_data, {0, 0, 0, 0}},
    {"memory for code", map_code, {EPERM, EPERM, 0, EPERM}},
    {"data into code", turn_data_into_code, {EPERM, EPERM, 0, EPERM}},
    {"fork", fork_child, {EPERM, 0, 0, EPERM}},
    {"signal its parent", signal_parent, {EPERM, EPERM, -1, EPERM}},
    {"become root", become_root, {EPERM, EPERM, EPERM, EPERM}},
    {"namespace of its own", leave_namespace, {EPERM, EPERM, EPERM, EPERM}},
    {"io_uring", set_up_ring, {EPERM, EPERM, EPERM, EPERM}},
    {"limits", raise_limit, {EPERM, EPERM, -1, EPERM}},
    {"be dumpable again", be_dumpable, {EPERM, EPERM, -1, EPERM}},
    {"another working folder", change_folder, {EPERM, EPERM, -1, EPERM}},
    {"read a file from a later thread", open_from_a_later_thread, {EPERM, -1, 0, -1}},
    {"abort", abort_itself, {KILLED(SIGABRT), KILLED(SIGABRT), KILLED(SIGABRT), KILLED(SIGABRT)}},
    {"know the hour", know_the_hour, {0, 0, 0, 0}},
};

static bool
is_whole(void)
{
    struct sandbox_layers layers = sandbox_available();

    return layers.no_new_privs && layers.seccomp && layers.landlock >= 6;
}

/* The filter takes long to make: what does not end the process is tried in one. */
static void
try_together(enum sandbox_kind kind, int *ends)
{
    pid_t pid = fork();

    if (pid == 0) {
        enter(kind);
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++)
            if (attempts[i].expected[kind] >= 0 && attempts[i].expected[kind] < KILLED(0))
                ends[i] = attempts[i].run();
        _exit(0);
    }
    cr_expect_eq(end_of(pid), 0, "what should not end the process does");
}

static int
try_alone(enum sandbox_kind kind, const struct attempt *attempt)
{
    pid_t pid = fork();

    if (pid == 0) {
        enter(kind);
        _exit(attempt->run());
    }
    return end_of(pid);
}

Test(sandbox, what_each_kind_may_and_may_not, .init = set_up, .fini = clean_up)
{
    static const char *const kinds[] = {"peers", "files", "link", "nothing"};
    int *ends;

    if (!is_whole() || geteuid() != 0)
        cr_skip_test("this needs root and a kernel with all layers");
    setenv("TZ", "Europe/Berlin", 1);
    ends = mmap(NULL, sizeof *ends * ARRAY_SIZE(attempts), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(ends, MAP_FAILED);
    for (int kind = SANDBOX_PEERS; kind <= SANDBOX_NOTHING; kind++) {
        memset(ends, 0xff, sizeof *ends * ARRAY_SIZE(attempts));
        try_together((enum sandbox_kind)kind, ends);
        for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
            const struct attempt *a = &attempts[i];

            if (a->expected[kind] > KILLED(0))
                ends[i] = try_alone((enum sandbox_kind)kind, a);
            cr_expect_eq(ends[i], a->expected[kind], "%s, %s: %d, expected %d", kinds[kind],
                         a->name, ends[i], a->expected[kind]);
        }
    }
    munmap(ends, sizeof *ends * ARRAY_SIZE(attempts));
}

/* --- What the kernel says of it. */

static void
expect_field(const char *status, const char *name, const char *value)
{
    char line[80];

    snprintf(line, sizeof line, "\n%s:\t%s\n", name, value);
    cr_expect_not_null(strstr(status, line), "not there: %s:\t%s", name, value);
}

static void
read_status(pid_t pid, char *dst, size_t size)
{
    char path[40];
    int fd;
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    n = read(fd, dst, size - 1);
    cr_assert_gt(n, 0);
    dst[n] = '\0';
    close(fd);
}

Test(sandbox, the_kernel_says_so, .init = set_up, .fini = clean_up)
{
    static const char *const none[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
    char status[8192], ids[80], octet;
    const struct passwd *pw = getpwnam("nobody");
    int ready[2], stay[2];
    pid_t pid;

    if (!is_whole())
        cr_skip_test("this needs a kernel with all layers");
    cr_assert(pipe(ready) == 0 && pipe(stay) == 0);
    pid = fork();
    if (pid == 0) {
        close(stay[1]);
        enter(SANDBOX_PEERS);
        _exit(write(ready[1], "r", 1) == 1 && read(stay[0], &octet, 1) == 0 ? 0 : 1);
    }
    cr_assert_eq(read(ready[0], &octet, 1), 1);
    read_status(pid, status, sizeof status);
    expect_field(status, "NoNewPrivs", "1");
    expect_field(status, "Seccomp", "2");
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        expect_field(status, none[i], "0000000000000000");
    if (geteuid() == 0 && pw) {
        snprintf(ids, sizeof ids, "%u\t%u\t%u\t%u", pw->pw_uid, pw->pw_uid, pw->pw_uid, pw->pw_uid);
        expect_field(status, "Uid", ids);
    }
    close(stay[1]);
    cr_expect_eq(end_of(pid), 0);
    close(stay[0]);
    close(ready[0]);
    close(ready[1]);
}

Test(sandbox, a_user_that_is_not_there_is_an_error)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct sandbox sandbox = {.kind = SANDBOX_PEERS, .user = "no-such-user-here"};
        struct sandbox_layers layers;

        _exit(sandbox_enter(&sandbox, &layers) == ERR_NOT_FOUND && !layers.seccomp ? 0 : 1);
    }
    if (geteuid() == 0)
        cr_expect_eq(end_of(pid), 0);
    else
        end_of(pid);
}

Test(sandbox, it_is_told_in_words)
{
    static const struct {
        struct sandbox_layers layers;
        const char *user, *text;
    } rows[] = {
        {{true, true, 7}, "", "no-new-privs, seccomp, landlock 7"},
        {{true, true, 7},
         "postern-worker",
         "no-new-privs, seccomp, landlock 7, user postern-worker"},
        {{true, true, 0}, "", "no-new-privs, seccomp"},
        {{false, false, 0}, "", "no layer of the kernel"},
    };
    char text[SANDBOX_TEXT_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        cr_expect_str_eq(sandbox_text(&rows[i].layers, rows[i].user, text), rows[i].text);
}
