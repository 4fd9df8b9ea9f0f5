/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The link to PostgreSQL against a real server: a private cluster in a temporary folder, on a unix
 * socket, as an unprivileged user (initdb refuses root). Skipped, and said so, if no server is
 * installed.
 */
#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <glob.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "db/db.h"
#include "tests/unit/scratch.h"

/* --- The cluster. */

static char folder[SCRATCH_PATH], bindir[256], conninfo[256];
static pid_t server;

static bool
find_bindir(void)
{
    glob_t found;
    bool ok = glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0;

    if (ok) {
        snprintf(bindir, sizeof bindir, "%s", found.gl_pathv[found.gl_pathc - 1]);
        *strrchr(bindir, '/') = '\0';
    }
    globfree(&found);
    return ok;
}

static pid_t
spawn(const char *const *argv)
{
    pid_t pid = fork();
    const struct passwd *user = getpwnam("postgres") ? getpwnam("postgres") : getpwnam("nobody");

    if (pid != 0)
        return pid;
    if (getuid() == 0 && (setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0))
        _exit(97);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (chdir(folder) < 0 || freopen("server.log", "a", stdout) == NULL || dup2(1, 2) < 0)
        _exit(98);
    unsetenv("ASAN_OPTIONS");
    execv(argv[0], (char *const *)argv);
    _exit(99);
}

static void
server_start(void)
{
    char path[300], options[SCRATCH_PATH + 32];
    const char *argv[] = {path,
                          "-D",
                          "data",
                          "--listen_addresses=",
                          options,
                          "--fsync=off",
                          "--max_connections=20",
                          "--dynamic_shared_memory_type=mmap",
                          NULL};

    snprintf(path, sizeof path, "%s/postgres", bindir);
    snprintf(options, sizeof options, "--unix_socket_directories=%s", folder);
    server = spawn(argv);
    for (int i = 0; i < 400 && PQping(conninfo) != PQPING_OK; i++)
        usleep(25000);
    cr_assert_eq(PQping(conninfo), PQPING_OK, "the server does not start; see %s/server.log",
                 folder);
}

static void
server_stop(int signo)
{
    if (server <= 0)
        return;
    kill(server, signo);
    waitpid(server, NULL, 0);
    server = 0;
}

static void
cluster_start(void)
{
    char path[300];
    const char *argv[] = {path, "-D",    "data", "-U",          "postern",
                          "-A", "trust", "-N",   "--no-locale", NULL};
    const struct passwd *user = getpwnam("postgres") ? getpwnam("postgres") : getpwnam("nobody");
    int status = -1;

    if (!find_bindir()) {
        cr_log_warn("PostgreSQL's server is not installed: the link to it is NOT tested");
        cr_skip_test("PostgreSQL is not installed");
    }
    scratch_folder(folder, "postern-test-db");
    cr_assert(getuid() != 0 || chown(folder, user->pw_uid, user->pw_gid) == 0);
    snprintf(path, sizeof path, "%s/initdb", bindir);
    waitpid(spawn(argv), &status, 0);
    cr_assert_eq(status, 0, "initdb failed");
    snprintf(conninfo, sizeof conninfo, "host=%s user=postern dbname=postgres", folder);
    server_start();
}

static void
cluster_stop(void)
{
    char command[SCRATCH_PATH + 16];

    server_stop(SIGQUIT);
    if (folder[0] == '\0')
        return;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_expect_eq(system(command), 0);
}

TestSuite(db, .init = cluster_start, .fini = cluster_stop, .timeout = 60);

/* --- What happened, as one line of words. */

static struct loop *loop;
static struct db *db;
static char story[4096];
static const char *stop_at; /* the loop stops when the story ends with this */

static void
note(const char *word)
{
    size_t n = strlen(story);

    snprintf(story + n, sizeof story - n, "%s ", word);
    n = strlen(story);
    if (stop_at && n > strlen(stop_at) &&
        strncmp(story + n - strlen(stop_at) - 1, stop_at, strlen(stop_at)) == 0)
        loop_stop(loop);
}

static void
on_deadline(void *ctx)
{
    (void)ctx;
    note("DEADLINE");
    loop_stop(loop);
}

static void
run_until(const char *word, int64_t timeout_ms)
{
    struct loop_timer deadline;

    stop_at = word;
    loop_timer_init(&deadline, loop, on_deadline, NULL);
    loop_timer_start(&deadline, timeout_ms);
    loop_run(loop);
    loop_timer_cancel(&deadline);
}

static void
on_result(void *ctx, const PGresult *result)
{
    (void)ctx;
    if (result == NULL)
        note("lost");
    else if (PQresultStatus(result) == PGRES_TUPLES_OK)
        note(PQgetisnull(result, 0, 0) ? "null" : PQgetvalue(result, 0, 0));
    else
        note(PQresultStatus(result) == PGRES_COMMAND_OK ? "ok" : "error");
}

static void
ask(const char *sql)
{
    db_query(db, sql, 0, NULL, on_result, NULL);
}

static void
on_up(void *ctx)
{
    (void)ctx;
    note("up");
}

static char last_why[512];

static void
on_down(void *ctx, const char *why)
{
    (void)ctx;
    snprintf(last_why, sizeof last_why, "%s", why);
    note("down");
}

static void
on_notify(void *ctx, const char *channel, const char *payload)
{
    (void)ctx;
    note(channel);
    note(payload);
}

static const struct db_ops ops = {on_up, on_down, on_notify};

static void
begin(const char *info)
{
    loop = loop_new();
    db = db_open(loop, info, &ops, NULL);
    cr_expect_str_empty(story, "nothing is called from inside db_open");
}

static void
end(void)
{
    db_close(&db);
    cr_expect_null(db);
    loop_free(&loop);
}

#define EXPECT_STORY(want) cr_expect_str_eq(story, want " ")

/* --- The tests. */

Test(db, answers_in_order_and_takes_parameters)
{
    const char *params[] = {"o'neill; --", NULL};

    begin(conninfo);
    run_until("up", 5000);
    ask("SELECT 1");
    db_query(db, "SELECT $1::text", 2 - 1, params, on_result, NULL);
    db_query(db, "SELECT $2::text || $1", 2, params, on_result, NULL);
    ask("SELECT nonsense");
    ask("CREATE TABLE t ()");
    ask("SELECT repeat('x', 3)");
    cr_expect_str_eq(story, "up ", "nothing is called from inside db_query");
    run_until("xxx", 5000);
    EXPECT_STORY("up 1 o'neill; -- null error ok xxx");
    end();
}

Test(db, carries_large_results_and_parameters)
{
    size_t size = 3000000;
    char *text = mem_alloc(size + 1);
    const char *params[] = {text};

    memset(text, 'y', size);
    begin(conninfo);
    run_until("up", 5000);
    db_query(db, "SELECT length($1::text)", 1, params, on_result, NULL);
    ask("SELECT substr(string_agg(repeat('z', 100), ''), 1, 2) FROM generate_series(1, 50000)");
    run_until("zz", 20000);
    EXPECT_STORY("up 3000000 zz");
    free(text);
    end();
}

Test(db, hears_notifications_between_and_beside_queries)
{
    begin(conninfo);
    run_until("up", 5000);
    ask("LISTEN postern_registry");
    run_until("ok", 5000);
    PGconn *other = PQconnectdb(conninfo);
    PQclear(PQexec(other, "NOTIFY postern_registry, '42'"));
    run_until("42", 5000);
    ask("SELECT pg_notify('postern_registry', '43')::text || 'sent'");
    run_until("43", 5000);
    PQfinish(other);
    cr_expect(strstr(story, "postern_registry 42 ") != NULL, "%s", story);
    cr_expect(strstr(story, "postern_registry 43 ") != NULL, "%s", story);
    end();
}

Test(db, P5_comes_back_after_the_server_was_restarted)
{
    begin(conninfo);
    run_until("up", 5000);
    ask("SELECT pg_sleep(30)");
    ask("SELECT 2");
    ask("SELECT 3");
    struct loop_timer soon;
    loop_timer_init(&soon, loop, (void (*)(void *))loop_stop, loop);
    loop_timer_start(&soon, 200);
    loop_run(loop);
    loop_timer_cancel(&soon);
    server_stop(SIGQUIT); /* as a crash */
    run_until("down", 5000);
    cr_expect(strstr(story, "up lost lost lost down ") == story ||
                  strstr(story, "up error lost lost down ") == story,
              "%s", story);
    cr_expect_not(db_is_up(db));
    story[0] = '\0';
    ask("SELECT 4");
    run_until("lost", 5000);
    server_start();
    run_until("up", 10000);
    ask("SELECT 5");
    run_until("5", 5000);
    cr_expect(strstr(story, "lost ") == story && strstr(story, "up 5 ") != NULL, "%s", story);
    end();
}

Test(db, says_once_why_a_connection_is_refused)
{
    begin("host=/nowhere-at-all user=postern dbname=postgres");
    run_until("down", 5000);
    cr_expect(strstr(last_why, "No such file") != NULL, "%s", last_why);
    cr_expect_null(strchr(last_why, '\n'));
    run_until("never", 1500); /* several attempts more */
    EXPECT_STORY("down DEADLINE");
    end();
}

Test(db, says_what_is_wrong_with_a_connection_string)
{
    begin("host=/tmp nonsense=1");
    run_until("down", 5000);
    cr_expect(strstr(last_why, "nonsense") != NULL, "%s", last_why);
    end();
    story[0] = '\0';
    begin("host=/tmp user='open");
    run_until("down", 5000);
    cr_expect(strstr(last_why, "unterminated") != NULL, "%s", last_why);
    end();
}

Test(db, goes_on_to_the_next_host)
{
    char two[300];

    snprintf(two, sizeof two, "host=/nowhere-at-all,%s user=postern dbname=postgres", folder);
    begin(two);
    run_until("up", 5000);
    ask("SELECT 1");
    run_until("1", 5000);
    EXPECT_STORY("up 1");
    end();
}

/* A server that takes the connection and says nothing, as behind a dead virtual machine. */
Test(db, P8_a_silent_host_is_left_after_the_deadline)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char two[300];

    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0 &&
              listen(fd, 8) == 0 && getsockname(fd, (struct sockaddr *)&addr, &size) == 0);
    snprintf(two, sizeof two,
             "host=127.0.0.1,%s port=%d,5432 sslmode=disable user=postern dbname=postgres", folder,
             ntohs(addr.sin_port));
    begin(two);
    run_until("up", 10000);
    EXPECT_STORY("down up");
    cr_expect(strstr(last_why, "in time") != NULL, "%s", last_why);
    close(fd);
    end();
}

static void
on_result_close(void *ctx, const PGresult *result)
{
    (void)ctx;
    note(result ? "closing" : "closing-lost");
    db_close(&db);
    loop_stop(loop);
}

Test(db, can_be_closed_from_inside_a_callback)
{
    begin(conninfo);
    run_until("up", 5000);
    db_query(db, "SELECT 1", 0, NULL, on_result_close, NULL);
    ask("SELECT 2");
    run_until("never", 5000);
    EXPECT_STORY("up closing");
    end();
    story[0] = '\0';
    begin("host=/nowhere-at-all");
    run_until("down", 5000);
    db_query(db, "SELECT 1", 0, NULL, on_result_close, NULL);
    ask("SELECT 2");
    run_until("never", 5000);
    EXPECT_STORY("down closing-lost");
    end();
}
