/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parent's start: each step says on standard error what is wrong and what to do.  Before it
 * serves, it waits until the children of an earlier parent have ended (they hold
 * run-dir/children.lock), since their columns and segments are still theirs.
 */
#include "relayd/parent_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/listener.h"
#include "net/process.h"
#include "net/control.h"
#include "net/tls_client.h"
#include "net/tls_server.h"
#include "relayd/capacity.h"
#include "sender/sender_dialin.h"
#include "state/shared_snapshot.h"

#define OLD_CHILDREN_WAIT_MS 8000
#define PRIVILEGED_PORTS 1024
#define PORT_TRIES 60
#define PORT_PAUSE_US 50000

/* --- Start. */

static int
make_folder(const char *path, const struct passwd *owner)
{
    bool made = mkdir(path, 0750) == 0;

    if (made && owner && geteuid() == 0 && chown(path, owner->pw_uid, owner->pw_gid) < 0)
        made = false;
    if (!made && errno != EEXIST) {
        fprintf(stderr, "relayd: %s: %s; make the folder, or name another in the configuration\n",
                path, strerror(errno));
        return ERR_IO;
    }
    return ERR_OK;
}

static int
make_folders(const struct config *c)
{
    const struct passwd *owner = c->user[0] ? getpwnam(c->user) : NULL;

    if (make_folder(c->run_dir, owner) < 0 || make_folder(c->state_dir, owner) < 0 ||
        make_folder(c->spool_dir, owner) < 0 || make_folder(c->log_dir, owner) < 0)
        return ERR_IO;
    return ERR_OK;
}

static int
share_sockets(const struct config *c)
{
    int rc = control_share(c->run_dir, c->control_group);

    if (rc < 0)
        fprintf(stderr, "relayd: control-group \"%s\": %s\n", c->control_group,
                rc == ERR_NOT_FOUND ? "there is no such group" : strerror(errno));
    return rc;
}

static int
take_lock(const struct config *config)
{
    char path[4096];
    pid_t owner = 0;
    int fd, rc;

    snprintf(path, sizeof path, "%s/relayd.pid", config->run_dir);
    rc = process_lock(path, &fd, &owner);
    if (rc == ERR_BUSY)
        fprintf(stderr,
                "relayd: another relayd runs with run-dir %s (pid %ld); stop it first, or give "
                "this one a run-dir of its own\n",
                config->run_dir, (long)owner);
    else if (rc < 0)
        fprintf(stderr, "relayd: %s: %s\n", path, strerror(errno));
    return rc;
}

/* A new listening socket is no use while an earlier parent's children still own theirs; they end by
 * themselves within seconds. */
static int
wait_for_old_children(struct parent *p)
{
    char path[4096];
    int64_t started = clock_monotonic_ms();
    bool told = false;

    snprintf(path, sizeof path, "%s/children.lock", p->config->run_dir);
    p->children_lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (p->children_lock_fd < 0)
        return ERR_IO;
    while (flock(p->children_lock_fd, LOCK_EX | LOCK_NB) < 0) {
        int64_t waited = clock_monotonic_ms() - started;

        if (!told)
            log_line(LOG_LEVEL_INFO, NULL, "waiting",
                     "for=\"the children of an earlier relayd to end\"");
        told = true;
        for (unsigned i = 0; waited > OLD_CHILDREN_WAIT_MS && p->table && i < PARENT_COLUMNS; i++)
            if (shared_worker_pid(p->table, i) > 0)
                kill(shared_worker_pid(p->table, i), SIGKILL);
        if (waited > 2 * OLD_CHILDREN_WAIT_MS)
            return ERR_BUSY;
        usleep(20000);
    }
    return ERR_OK;
}

static int
cannot_listen(const struct inet_endpoint *endpoint)
{
    char text[INET_ENDPOINT_SIZE];

    fprintf(stderr, "relayd: cannot listen on %s: %s%s\n", inet_endpoint_text(endpoint, text),
            strerror(errno),
            errno == EADDRINUSE ? "; end the program that does, or change the setting listen" : "");
    return ERR_IO;
}

/* Children of an earlier parent stop listening as soon as it is gone. */
static int
wait_for_port(const struct inet_endpoint *endpoint)
{
    int rc = listener_probe(endpoint);

    for (int i = 0; rc < 0 && errno == EADDRINUSE && i < PORT_TRIES; i++) {
        usleep(PORT_PAUSE_US);
        rc = listener_probe(endpoint);
    }
    return rc;
}

int
parent_add_sockets(struct parent *p, unsigned count)
{
    const struct config_endpoints *listen = &p->config->listen;
    size_t have = p->socket_count * listen->count, wanted = count * listen->count, n = have;
    int saved;

    if (wanted <= have)
        return ERR_OK;
    p->listen_fds = mem_realloc(p->listen_fds, wanted * sizeof *p->listen_fds);
    while (n < wanted &&
           listener_bind(&listen->items[n % listen->count], true, &p->listen_fds[n]) == ERR_OK)
        n++;
    if (n == wanted) {
        p->socket_count = count;
        return ERR_OK;
    }
    saved = errno;
    while (n > have) /* nobody would serve them */
        close(p->listen_fds[--n]);
    errno = saved;
    return ERR_IO;
}

static int
bind_sockets(struct parent *p)
{
    const struct config_endpoints *listen = &p->config->listen;

    for (size_t a = 0; a < listen->count; a++)
        if (wait_for_port(&listen->items[a]) < 0)
            return cannot_listen(&listen->items[a]);
    if (parent_add_sockets(p, p->config->workers) < 0)
        return cannot_listen(&listen->items[0]);
    return ERR_OK;
}

static int
open_shared_table(struct parent *p)
{
    char path[4096];
    int rc;

    snprintf(path, sizeof path, "%s/%s", p->config->run_dir, RELAYD_SHARED_FILE);
    rc = shared_table_create(path, p->epoch, &p->table);
    if (rc < 0)
        fprintf(stderr, "relayd: %s: %s\n", path, err_text(rc));
    return rc;
}

static void
snapshot_path(const struct config *c, char path[static 4096])
{
    snprintf(path, 4096, "%s/%s", c->state_dir, RELAYD_SNAPSHOT_FILE);
}

/* A new table, behind a reboot mostly: limits go on where they were. */
static void
restore_snapshot(struct parent *p)
{
    struct shared_snapshot_summary s;
    int64_t now_ms = clock_wall_ms();
    char path[4096];
    int rc;

    if (!shared_snapshot_is_needed(p->table))
        return;
    snapshot_path(p->config, path);
    rc = shared_snapshot_restore(p->table, path, now_ms, &s);
    if (rc == ERR_OK)
        log_line(LOG_LEVEL_INFO, NULL, "snapshot-restored",
                 "age_s=%lld windows=%u customers=%u suspects=%u backends=%u",
                 (long long)(now_ms - s.written_at_ms) / 1000, s.windows, s.customers, s.suspects,
                 s.backends);
    else if (rc != ERR_NOT_FOUND)
        log_line(LOG_LEVEL_WARN, NULL, "snapshot-ignored",
                 "file=\"%s\" why=\"%s\" effect=\"hourly limits, today's use and the health of "
                 "backends begin anew\"",
                 path, shared_snapshot_error_text(rc));
}

void
parent_write_snapshot(struct parent *p)
{
    char path[4096];
    int rc;

    snapshot_path(p->config, path);
    rc = shared_snapshot_write(p->table, path, clock_wall_ms());
    if (rc != ERR_OK)
        log_line(LOG_LEVEL_WARN, NULL, "snapshot-not-written", "file=\"%s\" error=\"%s\"", path,
                 err_text(rc));
}

static int
open_spool(struct parent *p)
{
    int rc;

    p->spool_dir_fd = open(p->config->spool_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->spool_dir_fd < 0) {
        fprintf(stderr, "relayd: spool-dir %s: %s\n", p->config->spool_dir, strerror(errno));
        return ERR_IO;
    }
    rc = spool_epoch_next(&spool_io_disk, p->spool_dir_fd, &p->epoch);
    if (rc < 0)
        fprintf(stderr, "relayd: spool-dir %s: its epoch file cannot be read or written: %s\n",
                p->config->spool_dir, err_text(rc));
    return rc;
}

/* All that is left of root: to bind further sockets, which must be of the same user as the first,
 * and to start and end workers of another user. */
static uint64_t
needed_capabilities(const struct config *c)
{
    uint64_t needed = 0;

    for (size_t i = 0; i < c->listen.count; i++)
        if (c->listen.items[i].port < PRIVILEGED_PORTS)
            needed |= PROCESS_CAPABILITY(CAP_NET_BIND_SERVICE);
    if (c->worker_user[0] && strcmp(c->worker_user, c->user) != 0)
        needed |= PROCESS_CAPABILITY(CAP_SETUID) | PROCESS_CAPABILITY(CAP_SETGID) |
                  PROCESS_CAPABILITY(CAP_KILL);
    return needed;
}

static int
become_user(const struct config *config)
{
    int rc = process_become_keeping(config->user, needed_capabilities(config));

    if (rc < 0)
        fprintf(stderr, "relayd: cannot become user %s: %s\n", config->user,
                rc == ERR_NOT_FOUND ? "there is no such user" : strerror(errno));
    return rc;
}

/* --- Certificates. */

static void
print_lines(FILE *f, const char *prefix, const struct buf *lines)
{
    struct slice rest = buf_slice(lines);

    while (rest.n > 0) {
        struct slice line = slice_split(&rest, '\n');

        fprintf(f, "%s: %.*s\n", prefix, (int)line.n, line.p);
    }
}

/* All files that a configuration names, each problem told. */
static int
load_files(const struct config *config, struct tls_server **tls, struct tls_client **client,
           struct sender_dialin **dialin)
{
    struct buf problems;
    int rc, client_rc, dialin_rc;

    buf_init(&problems, 0);
    rc = parent_tls_load(config, &problems, tls);
    client_rc = parent_tls_load_client(config, &problems, client);
    dialin_rc = sender_dialin_load(config->dialin_patterns, &problems, dialin);
    print_lines(stderr, "relayd", &problems);
    buf_fini(&problems);
    rc = rc < 0 ? rc : client_rc;
    return rc < 0 ? rc : dialin_rc;
}

/* Becomes the user that a reload will be, to see what that may read. */
static void
print_tls_warnings(const struct config *c, const struct tls_server *tls)
{
    struct buf warnings;

    if (tls == NULL)
        printf("warning: the setting tls-certificate is empty: STARTTLS is not offered\n");
    if (process_become(c->user) < 0)
        printf("warning: cannot become user %s: %s\n", c->user, strerror(errno));
    buf_init(&warnings, 0);
    parent_tls_warnings(c, tls, clock_wall_ms(), &warnings);
    print_lines(stdout, "warning", &warnings);
    buf_fini(&warnings);
}

/* --- What protects the workers. */

static const char *
worker_user(const struct config *c)
{
    if (geteuid() != 0 && c->user[0] == '\0')
        return "";
    return c->worker_user[0] ? c->worker_user : c->user;
}

static void
log_sandbox(const struct config *c)
{
    struct sandbox_layers layers = sandbox_available();
    char text[SANDBOX_TEXT_SIZE];
    bool whole = layers.no_new_privs && layers.seccomp && layers.landlock > 0;

    log_line(whole ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, NULL, "sandbox", "of=workers layers=\"%s\"%s",
             sandbox_text(&layers, worker_user(c), text),
             whole ? "" : " effect=\"this kernel lacks the others; the work goes on without\"");
}

static void
log_capacity(const struct config *c)
{
    char problem[CAPACITY_TEXT_SIZE];

    if (capacity_problem(c, problem)[0] != '\0')
        log_line(LOG_LEVEL_WARN, NULL, "few-descriptors", "text=\"%s\"", problem);
}

static bool
has_user(const char *setting, const char *name)
{
    if (name[0] == '\0' || getpwnam(name) != NULL)
        return true;
    fprintf(stderr, "relayd: %s: there is no user %s on this host\n", setting, name);
    return false;
}

/* A folder of secrets that the workers' user could enter, were it not for the sandbox. */
static void
warn_if_open(const char *setting, const char *path, const struct passwd *worker)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return;
    if (st.st_uid == worker->pw_uid)
        printf("warning: %s %s belongs to worker-user %s\n", setting, path, worker->pw_name);
    else if ((st.st_mode & 0005) || (st.st_gid == worker->pw_gid && (st.st_mode & 0050)))
        printf("warning: %s %s can be read by worker-user %s; chmod 0750, and no common group\n",
               setting, path, worker->pw_name);
}

static void
warn_of_open_folders(const struct config *c)
{
    const struct passwd *worker = c->worker_user[0] ? getpwnam(c->worker_user) : NULL;

    if (worker == NULL)
        return;
    warn_if_open("spool-dir", c->spool_dir, worker);
    warn_if_open("state-dir", c->state_dir, worker);
}

int
parent_test(const struct config *c)
{
    struct sandbox_layers layers = sandbox_available();
    char text[SANDBOX_TEXT_SIZE], problem[CAPACITY_TEXT_SIZE];
    struct tls_server *tls;
    struct tls_client *client;
    struct sender_dialin *dialin;
    bool good = has_user("user", c->user);

    good &= has_user("worker-user", c->worker_user);
    good &= load_files(c, &tls, &client, &dialin) == ERR_OK;
    tls_client_free(&client);
    sender_dialin_free(&dialin);
    if (!good) {
        tls_server_free(&tls);
        return 1;
    }
    printf("%s: no problems\n", c->path);
    printf("layers around the workers: %s\n", sandbox_text(&layers, worker_user(c), text));
    if (c->user[0] == '\0' && geteuid() == 0)
        printf("warning: started as root without the setting user, relayd stays root\n");
    warn_of_open_folders(c);
    if (capacity_problem(c, problem)[0] != '\0')
        printf("warning: %s\n", problem);
    print_tls_warnings(c, tls); /* the last: it gives up root */
    tls_server_free(&tls);
    return 0;
}

int
parent_set_up(struct parent *p)
{
    const struct config *c = p->config;

    p->event_fd = -1;
    if (clock_set_timezone(c->timezone) < 0) {
        fprintf(
            stderr,
            "relayd: timezone %s is not in the system's zone database; write e.g. Europe/Berlin\n",
            c->timezone);
        return ERR_NOT_FOUND;
    }
    if (geteuid() == 0 && !(has_user("user", c->user) & has_user("worker-user", c->worker_user)))
        return ERR_NOT_FOUND;
    capacity_raise(c); /* while we may; so the keys */
    if (load_files(c, &p->tls, &p->tls_client, &p->dialin) < 0 || make_folders(c) < 0 ||
        share_sockets(c) < 0 || take_lock(c) < 0 || become_user(c) < 0 || bind_sockets(p) < 0)
        return ERR_IO;
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* the kernel has it, or is old */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (open_spool(p) < 0 || open_shared_table(p) < 0)
        return ERR_IO;
    if (wait_for_old_children(p) < 0) {
        fprintf(stderr,
                "relayd: the children of an earlier relayd do not end (they hold "
                "%s/children.lock); end them first\n",
                c->run_dir);
        return ERR_BUSY;
    }
    for (unsigned i = 0; i < PARENT_COLUMNS; i++)
        shared_worker_clear(p->table, i, parent_on_in_flight, p);
    restore_snapshot(p);
    log_sandbox(c);
    log_capacity(c);
    parent_tls_log_warnings(p, clock_wall_ms());
    parent_seal_orphans(p);
    parent_open_event_log(p);
    return ERR_OK;
}
