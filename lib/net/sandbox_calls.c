/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The system calls of each kind of process, as tables.  They come from strace of relayd's workers,
 * of deliverers and of the state process under the integration tests, and from what libc, libevent
 * and OpenSSL do in rare cases (out of memory, abort).
 *
 * Outside the list a call is EPERM, so that a library that only tries something goes on without it;
 * to run a program, or to look into another process, ends this one with SIGSYS: the parent reports
 * that, and nobody does it by accident.
 */
#define _GNU_SOURCE 1

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sandbox_private.h"

#define CALL(name) SCMP_SYS(name)
/* Of a condition: that argument has that value. */
#define IS(number, value) \
    ((struct scmp_arg_cmp){.arg = (number), .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)(value)})

/* --- What every process does. */

static const int basic_calls[] = {
    /* its descriptors */
    CALL(read), CALL(readv), CALL(pread64), CALL(preadv), CALL(write), CALL(writev), CALL(pwrite64),
    CALL(pwritev), CALL(close), CALL(close_range), CALL(dup), CALL(fstat), CALL(fsync),
    CALL(fdatasync), CALL(sync_file_range), CALL(recvfrom), CALL(recvmsg), CALL(recvmmsg),
    CALL(sendto), CALL(sendmsg), CALL(sendmmsg),
    /* events and time */
    CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(epoll_pwait2),
    CALL(poll), CALL(ppoll), CALL(select), CALL(pselect6), CALL(eventfd2), CALL(signalfd4),
    CALL(pipe2), CALL(timerfd_create), CALL(timerfd_settime), CALL(timerfd_gettime),
    CALL(nanosleep), CALL(clock_nanosleep), CALL(clock_gettime), CALL(clock_getres),
    CALL(gettimeofday), CALL(time),
    /* memory and threads */
    CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL(futex), CALL(set_robust_list),
    CALL(rseq), CALL(sched_yield), CALL(sched_getaffinity), CALL(membarrier), CALL(getcpu),
    CALL(getrandom),
    /* signals and the end */
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigpending),
    CALL(sigaltstack), CALL(restart_syscall), CALL(exit), CALL(exit_group),
    /* who and where we are */
    CALL(getpid), CALL(gettid), CALL(getppid), CALL(getuid), CALL(geteuid), CALL(getgid),
    CALL(getegid), CALL(getrusage), CALL(sysinfo), CALL(uname)};

/* --- SANDBOX_NOTHING, in the place of that. */

static const int bare_calls[] = {
    CALL(read), CALL(readv), CALL(write), CALL(writev), CALL(close), CALL(fstat), CALL(recvfrom),
    CALL(recvmsg), CALL(recvmmsg), CALL(sendto), CALL(sendmsg), CALL(sendmmsg),
    /* events and time; alarm is a watch on itself */
    CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_wait), CALL(epoll_pwait), CALL(eventfd2),
    CALL(pipe2), CALL(signalfd4), CALL(timerfd_create), CALL(timerfd_settime), CALL(clock_gettime),
    CALL(clock_getres), CALL(gettimeofday), CALL(time), CALL(alarm), CALL(setitimer),
    /* memory */
    CALL(brk), CALL(munmap), CALL(mremap), CALL(madvise), CALL(futex), CALL(getrandom),
    /* signals and the end */
    CALL(rt_sigaction), CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sigaltstack),
    CALL(restart_syscall), CALL(exit), CALL(exit_group), CALL(getpid), CALL(gettid), CALL(uname)};

/* --- SANDBOX_PEERS */

static const int peer_calls[] = {
    CALL(accept),      CALL(accept4),     CALL(connect),    CALL(bind), /* source-address */
    CALL(getsockname), CALL(getpeername), CALL(getsockopt), CALL(setsockopt), CALL(shutdown)};

/* --- SANDBOX_FILES */

static const int file_calls[] = {
    CALL(open), CALL(openat), CALL(stat), CALL(lstat), CALL(newfstatat), CALL(statx), CALL(statfs),
    CALL(fstatfs), CALL(access), CALL(faccessat), CALL(faccessat2), CALL(getdents64), CALL(lseek),
    CALL(readlink), CALL(unlink), CALL(unlinkat), CALL(rename), CALL(renameat), CALL(renameat2),
    CALL(mkdir), CALL(ftruncate), CALL(fallocate), CALL(fadvise64), CALL(flock), CALL(fcntl),
    CALL(msync), CALL(mlock), CALL(mincore), CALL(fchmod), CALL(dup2), CALL(dup3), CALL(umask),
    /* state examines its file in a child */
    CALL(clone), CALL(fork), CALL(vfork), CALL(wait4), CALL(waitid), CALL(alarm), CALL(setitimer)};

/* --- With sanitizers: the leak check at exit, which lists and traces the threads of this process;
 * reports with their file. Landlock still holds it to /proc and the reports' folder. */

static const int sanitizer_calls[] = {
    CALL(getdents),    CALL(open),           CALL(openat),
    CALL(lseek),       CALL(getdents64),     CALL(readlink),
    CALL(readlinkat),  CALL(stat),           CALL(lstat),
    CALL(newfstatat),  CALL(statx),          CALL(clone),
    CALL(fork),        CALL(wait4),          CALL(waitid),
    CALL(ptrace),      CALL(prctl),          CALL(kill),
    CALL(tgkill),      CALL(tkill),          CALL(ioctl),
    CALL(fcntl),       CALL(mmap),           CALL(mprotect),
    CALL(getrlimit),   CALL(setrlimit),      CALL(prlimit64),
    CALL(dup2),        CALL(dup3),           CALL(pipe),
    CALL(arch_prctl),  CALL(sched_getparam), CALL(sched_getscheduler),
    CALL(personality), CALL(get_robust_list)};

/* --- Forbidden in all kinds. */

static const int deadly_calls[] = {CALL(execve), CALL(execveat), CALL(ptrace),
                                   CALL(process_vm_readv), CALL(process_vm_writev)};

/* For SANDBOX_LINK, where everything else is allowed. */
static const int denied_calls[] = {CALL(bpf),
                                   CALL(perf_event_open),
                                   CALL(userfaultfd),
                                   CALL(add_key),
                                   CALL(keyctl),
                                   CALL(request_key),
                                   CALL(io_uring_setup),
                                   CALL(io_uring_enter),
                                   CALL(io_uring_register),
                                   CALL(mount),
                                   CALL(umount2),
                                   CALL(move_mount),
                                   CALL(open_tree),
                                   CALL(fsopen),
                                   CALL(fsmount),
                                   CALL(pivot_root),
                                   CALL(chroot),
                                   CALL(setns),
                                   CALL(unshare),
                                   CALL(init_module),
                                   CALL(finit_module),
                                   CALL(delete_module),
                                   CALL(kexec_load),
                                   CALL(kexec_file_load),
                                   CALL(reboot),
                                   CALL(swapon),
                                   CALL(swapoff),
                                   CALL(acct),
                                   CALL(quotactl),
                                   CALL(open_by_handle_at),
                                   CALL(name_to_handle_at),
                                   CALL(pidfd_open),
                                   CALL(pidfd_getfd),
                                   CALL(kcmp),
                                   CALL(iopl),
                                   CALL(ioperm),
                                   CALL(modify_ldt),
                                   CALL(personality),
                                   CALL(settimeofday),
                                   CALL(clock_settime),
                                   CALL(adjtimex),
                                   CALL(clock_adjtime),
                                   CALL(sethostname),
                                   CALL(setdomainname),
                                   CALL(listen)};

/* --- Building a filter: `rc` of the first failure stays. */

struct filter {
    scmp_filter_ctx context;
    int rc;
};

static void
add(struct filter *f, uint32_t action, const int *calls, size_t count)
{
    for (size_t i = 0; i < count && f->rc == 0; i++)
        f->rc = seccomp_rule_add(f->context, action, calls[i], 0);
}

static void
add_if(struct filter *f, int call, struct scmp_arg_cmp condition)
{
    if (f->rc == 0)
        f->rc = seccomp_rule_add(f->context, SCMP_ACT_ALLOW, call, 1, condition);
}

/* Calls that are good or bad by what they are asked for.  Descriptors cannot be told apart here: so
 * no F_SETFL, which would lift O_APPEND from the event log; no truncation; no abort of another
 * process. */
static void
add_conditions(struct filter *f)
{
    static const int prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE, PR_GET_PDEATHSIG};
    static const int fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC};
    static const unsigned ioctls[] = {FIONREAD, SIOCOUTQ};

    for (size_t i = 0; i < ARRAY_SIZE(prctls); i++)
        add_if(f, CALL(prctl), IS(0, prctls[i]));
    for (size_t i = 0; i < ARRAY_SIZE(fcntls); i++)
        add_if(f, CALL(fcntl), IS(1, fcntls[i]));
    for (size_t i = 0; i < ARRAY_SIZE(ioctls); i++)
        add_if(f, CALL(ioctl), IS(1, ioctls[i]));
    add_if(f, CALL(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    add_if(f, CALL(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    add_if(f, CALL(newfstatat), SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
    add_if(f, CALL(prlimit64), IS(2, 0)); /* asks only */
    add_if(f, CALL(tgkill), IS(0, getpid()));
}

static void
add_sockets(struct filter *f, bool has_unix_peers)
{
    if (has_unix_peers)
        add_if(f, CALL(socket), IS(0, AF_UNIX));
    add_if(f, CALL(socket), IS(0, AF_INET));
    add_if(f, CALL(socket), IS(0, AF_INET6));
}

static void
add_threads(struct filter *f)
{
    add_if(f, CALL(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* libc then makes a thread by clone, whose flags can be seen. */
    if (f->rc == 0)
        f->rc = seccomp_rule_add(f->context, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
}

static void
add_of_kind(struct filter *f, const struct sandbox *sandbox)
{
    enum sandbox_kind kind = sandbox->kind;

    if (kind == SANDBOX_NOTHING) {
        add(f, SCMP_ACT_ALLOW, bare_calls, ARRAY_SIZE(bare_calls));
        return;
    }
    add(f, SCMP_ACT_ALLOW, basic_calls, ARRAY_SIZE(basic_calls));
    if (kind == SANDBOX_PEERS) {
        add(f, SCMP_ACT_ALLOW, peer_calls, ARRAY_SIZE(peer_calls));
        add_sockets(f, sandbox->has_unix_peers);
    } else
        add(f, SCMP_ACT_ALLOW, file_calls, ARRAY_SIZE(file_calls));
    add_threads(f);
}

static void
add_allowed(struct filter *f, const struct sandbox *sandbox)
{
    add_of_kind(f, sandbox);
    if (SANDBOX_SANITIZER)
        add(f, SCMP_ACT_ALLOW, sanitizer_calls, ARRAY_SIZE(sanitizer_calls));
    add_conditions(f);
}

static void
add_forbidden(struct filter *f, enum sandbox_kind kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(deadly_calls) && f->rc == 0; i++)
        if (!SANDBOX_SANITIZER || deadly_calls[i] != CALL(ptrace))
            f->rc = seccomp_rule_add(f->context, SCMP_ACT_KILL_PROCESS, deadly_calls[i], 0);
    if (kind == SANDBOX_LINK)
        add(f, SCMP_ACT_ERRNO(EPERM), denied_calls, ARRAY_SIZE(denied_calls));
}

bool
sandbox_calls_available(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 && seccomp_api_get() >= 2;
}

int
sandbox_limit_calls(const struct sandbox *sandbox)
{
    enum sandbox_kind kind = sandbox->kind;
    struct filter f = {
        .context = seccomp_init(kind == SANDBOX_LINK ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EPERM))};

    if (f.context == NULL)
        return ERR_IO;
    if (kind != SANDBOX_LINK)
        add_allowed(&f, sandbox);
    add_forbidden(&f, kind);
    if (f.rc == 0)
        f.rc = seccomp_attr_set(f.context, SCMP_FLTATR_CTL_TSYNC, 1);
    if (f.rc == 0)
        f.rc = seccomp_attr_set(f.context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (f.rc == 0)
        f.rc = seccomp_load(f.context);
    seccomp_release(f.context);
    errno = -f.rc;
    return f.rc == 0 ? ERR_OK : ERR_IO;
}
