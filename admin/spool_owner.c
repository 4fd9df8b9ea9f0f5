/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The keeper has the lock of the spool while it runs.  Who gets the lock is the owner, and may
 * write the ledger; so where no keeper runs we take it, in a child that becomes the spool's user
 * (files made by root would lock the keeper out), and let go of it when all is done.
 *
 *   relayctl --line--> keeper            run-dir/spoolmgr.sock
 *   relayctl --line--> child             a socket pair; the child reads, carries out, syncs,
 * answers
 */
#define _GNU_SOURCE 1

#include "admin/spool_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/spool_return.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/control.h"
#include "net/process.h"
#include "order/order_json.h"

#define ANSWER_MS 60000
#define KEEPER_MS 3000 /* it may be starting, or stopping */
#define LOOK_MS 100
#define SEEN_MS 2000 /* a keeper says within that whether it has the database */

struct spool_owner {
    const struct call *call;
    char socket_path[CALL_PATH_SIZE];
    pid_t child;       /* 0: the keeper does it */
    FILE *to, *answer; /* the child's */
};

/* --- The child. */

static json_t *
child_carry_out(const struct config *config, struct spool_store *store, const char *who,
                const json_t *asked)
{
    struct spool_returns *returns;
    struct order order;
    struct ref *refs;
    const char *why;
    size_t count;
    json_t *answer;

    if (order_json_parse(asked, &order, &refs, &count, &why) != ERR_OK)
        return order_json_error(why);
    answer = order_json_answer(who);
    returns = spool_returns_new(config, store, &order, who);
    for (size_t i = 0; i < count; i++) {
        struct spool_message *m = spool_store_find(store, refs[i]);
        enum order_result result = ORDER_MISSING;

        why = "it is not in the spool of this node";
        if (m && order.act == SPOOL_ACT_RETURN) {
            result = order_judge(m, &order, &why);
            if (result == ORDER_DONE) {
                spool_returns_add(returns, m);
                continue;
            }
        } else if (m)
            result = order_carry_out(store, m, &order, who, clock_wall_ms(), &why);
        order_json_count(answer, refs[i], result, why);
    }
    spool_returns_finish(&returns, answer);
    free(refs);
    if (spool_store_sync(store) == ERR_OK)
        return answer;
    json_decref(answer);
    return order_json_error("the ledger can not be written: is the disk full?");
}

static void
child_serve(const struct config *config, struct spool_store *store, const char *who, FILE *in,
            FILE *out)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    while ((n = getline(&line, &room, in)) > 0) {
        json_t *asked = json_loadb(line, (size_t)n, 0, NULL);
        json_t *answer = child_carry_out(config, store, who, asked);

        json_dumpf(answer, out, JSON_COMPACT);
        fputc('\n', out);
        fflush(out);
        json_decref(answer);
        json_decref(asked);
    }
    free(line);
}

static void
child_refuse(FILE *out, const char *word, const char *why)
{
    json_t *json = json_pack("{s:b, s:s, s:s}", "ok", 0, "word", word, "error", why);

    json_dumpf(json, out, JSON_COMPACT);
    fputc('\n', out);
    json_decref(json);
}

static int
child_open(const struct call *call, FILE *out, struct spool_store **store)
{
    char path[CALL_PATH_SIZE];
    pid_t owner;
    int lock, rc = process_lock(call_path(path, call->config->spool_dir, "lock"), &lock, &owner);

    if (rc != ERR_OK) {
        child_refuse(out, rc == ERR_BUSY ? "busy" : "failed",
                     rc == ERR_IO ? strerror(errno) : err_text(rc));
        return rc;
    }
    rc = spool_store_open(&spool_io_disk, call->config->spool_dir, SPOOL_STORE_OWNER, store);
    if (rc != ERR_OK)
        child_refuse(out, "failed", rc == ERR_IO ? strerror(errno) : err_text(rc));
    else
        fputs("{\"ok\":true}\n", out);
    fflush(out);
    return rc;
}

/* Says in one line whether it could become the owner, then serves.  The name in the notes is that
 * of relayctl's user; files are made as the spool's. */
static _Noreturn void
child_run(const struct call *call, int fd)
{
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    struct spool_store *store = NULL;
    char who[ORDER_WHO_SIZE];

    CHECK(in && out);
    signal(SIGINT, SIG_IGN); /* an order that has begun is carried out */
    signal(SIGPIPE, SIG_IGN);
    order_who(getuid(), who);
    if (process_become(call->config->user) != ERR_OK)
        child_refuse(out, "failed", "it can not become the user of the spool");
    else if (child_open(call, out, &store) == ERR_OK)
        child_serve(call->config, store, who, in, out);
    spool_store_close(&store);
    fclose(out);
    fclose(in);
    _exit(0);
}

/* --- Asking. */

static json_t *
read_answer(FILE *from)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = getline(&line, &room, from);
    json_t *json = n > 0 ? json_loadb(line, (size_t)n, 0, NULL) : NULL;

    free(line);
    return json;
}

static void
end_child(struct spool_owner *o)
{
    if (o->to)
        fclose(o->to);
    if (o->answer)
        fclose(o->answer);
    o->to = o->answer = NULL;
    while (o->child > 0 && waitpid(o->child, NULL, 0) < 0 && errno == EINTR)
        ;
    o->child = 0;
}

static int
start_child(struct spool_owner *o)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return ERR_IO;
    fflush(NULL);
    o->child = fork();
    if (o->child == 0) {
        close(fds[0]);
        child_run(o->call, fds[1]);
    }
    close(fds[1]);
    if (o->child < 0) {
        close(fds[0]);
        o->child = 0;
        return ERR_IO;
    }
    o->to = fdopen(dup(fds[0]), "w");
    o->answer = fdopen(fds[0], "r");
    CHECK(o->to && o->answer);
    return ERR_OK;
}

static int
ask_socket(const char *path, const json_t *json, int64_t timeout_ms, json_t **answer)
{
    char *line = json_dumps(json, JSON_COMPACT);
    struct buf text;
    int rc;

    *answer = NULL;
    buf_init(&text, 0);
    rc = control_call(path, slice_of(line), timeout_ms, &text);
    if (rc == ERR_OK)
        *answer = json_loadb(buf_slice(&text).p, buf_slice(&text).n, 0, NULL);
    buf_fini(&text);
    free(line);
    return rc == ERR_OK && *answer == NULL ? ERR_SYNTAX : rc;
}

static int
ask_keeper(const struct spool_owner *o, const json_t *json, json_t **answer)
{
    return ask_socket(o->socket_path, json, ANSWER_MS, answer);
}

enum spool_owner_keeper
spool_owner_look(const struct call *call)
{
    enum spool_owner_keeper seen = SPOOL_OWNER_NOT_SEEN;
    json_t *answer, *json = json_pack("{s:s}", "verb", "status");
    char path[CALL_PATH_SIZE];
    const char *word;
    int rc =
        ask_socket(call_path(path, call->config->run_dir, "spoolmgr.sock"), json, SEEN_MS, &answer);

    word = json_string_value(json_object_get(answer, "database"));
    if (rc == ERR_NOT_FOUND)
        seen = SPOOL_OWNER_NO_KEEPER;
    else if (rc == ERR_OK && word != NULL)
        seen = strcmp(word, "up") == 0 ? SPOOL_OWNER_KEEPER : SPOOL_OWNER_UNLINKED;
    json_decref(answer);
    json_decref(json);
    return seen;
}

static json_t *
ask_child(const struct spool_owner *o, const json_t *json)
{
    json_dumpf(json, o->to, JSON_COMPACT);
    fputc('\n', o->to);
    return fflush(o->to) == 0 ? read_answer(o->answer) : NULL;
}

/* --- Finding one. */

/* Outcomes that are missing are the keeper's to judge: a ledger that we began would hide that. */
static enum command_status
check_outcomes(const struct call *call, const struct spool_store *store)
{
    const char *why = spool_store_outcomes_missing(store);
    char path[CALL_PATH_SIZE];

    if (why == NULL || access(call_path(path, call->config->spool_dir, "lock"), F_OK) != 0)
        return COMMAND_DONE;
    call_complain("%s, and no keeper is running: start spoolmgr first, which says what that means",
                  why);
    return COMMAND_FAILED;
}

/* COMMAND_LATER: nobody listens, and somebody has the spool. */
static enum command_status
try_child(struct spool_owner *o)
{
    enum command_status status = COMMAND_FAILED;
    json_t *first = start_child(o) == ERR_OK ? read_answer(o->answer) : NULL;
    const char *word = json_string_value(json_object_get(first, "word"));
    const char *why = json_string_value(json_object_get(first, "error"));

    if (json_is_true(json_object_get(first, "ok")))
        status = COMMAND_DONE;
    else if (word && strcmp(word, "busy") == 0)
        status = COMMAND_LATER;
    else
        call_complain("no keeper is running, and the spool %s can not be changed: %s; run relayctl "
                      "as root or as the user of the daemons, or start spoolmgr",
                      o->call->config->spool_dir, why ? why : "its owner ended");
    if (status != COMMAND_DONE)
        end_child(o);
    json_decref(first);
    return status;
}

static enum command_status
try_keeper(struct spool_owner *o)
{
    json_t *answer, *json = json_pack("{s:s}", "verb", "status");
    int rc = ask_keeper(o, json, &answer);
    int why = errno;

    json_decref(answer);
    json_decref(json);
    if (rc == ERR_OK)
        return COMMAND_DONE;
    if (rc == ERR_NOT_FOUND || rc == ERR_CLOSED)
        return COMMAND_LATER;
    if (rc == ERR_TIMEOUT)
        call_complain("the keeper does not answer on %s", o->socket_path);
    else
        call_complain("the keeper can not be asked on %s: %s; run relayctl as root or as the user "
                      "of the daemons",
                      o->socket_path, rc == ERR_IO ? strerror(why) : err_text(rc));
    return rc == ERR_TIMEOUT ? COMMAND_LATER : COMMAND_FAILED;
}

static enum command_status
explain_no_keeper(const struct spool_owner *o)
{
    call_complain("no keeper is running here, and the spool %s may not be read by this user: start "
                  "spoolmgr, or run relayctl as root or as the user of the daemons",
                  o->call->config->spool_dir);
    return COMMAND_LATER;
}

static enum command_status
find(struct spool_owner *o, const struct spool_store *store)
{
    int64_t end_ms = clock_monotonic_ms() + KEEPER_MS;
    enum command_status status = COMMAND_LATER;

    while (clock_monotonic_ms() < end_ms) {
        status = try_keeper(o);
        if (status != COMMAND_LATER)
            return status;
        if (store == NULL)
            return explain_no_keeper(o);
        status = check_outcomes(o->call, store);
        if (status == COMMAND_DONE)
            status = try_child(o);
        if (status != COMMAND_LATER)
            return status;
        usleep(LOOK_MS * 1000);
    }
    call_complain("somebody has the spool %s and does not answer on %s: is spoolmgr starting or "
                  "stopping? Try again",
                  o->call->config->spool_dir, o->socket_path);
    return COMMAND_LATER;
}

enum command_status
spool_owner_open(const struct call *call, const struct spool_store *store,
                 struct spool_owner **owner)
{
    struct spool_owner *o = mem_alloc(sizeof *o);
    enum command_status status;

    o->call = call;
    call_path(o->socket_path, call->config->run_dir, "spoolmgr.sock");
    signal(SIGPIPE, SIG_IGN);
    status = find(o, store);
    *owner = o;
    if (status != COMMAND_DONE)
        spool_owner_close(owner);
    return status;
}

void
spool_owner_close(struct spool_owner **owner)
{
    if (*owner == NULL)
        return;
    end_child(*owner);
    free(*owner);
    *owner = NULL;
}

bool
spool_owner_is_keeper(const struct spool_owner *o)
{
    return o->child == 0;
}

json_t *
spool_owner_ask(struct spool_owner *o, const struct order *order, const struct ref *refs,
                size_t count, bool *has_effect)
{
    json_t *json = order_json_of(order, refs, count), *answer = NULL;
    int rc = ERR_CLOSED;

    CHECK(json != NULL && count <= ORDER_IDS_MAX);
    if (o->call->reads_for) /* the keeper believes it of its own user alone */
        json_object_set_new(json, "for", json_string(o->call->reads_for));
    if (o->child != 0)
        answer = ask_child(o, json);
    else
        rc = ask_keeper(o, json, &answer);
    json_decref(json);
    *has_effect = answer == NULL && rc != ERR_NOT_FOUND;
    if (json_is_true(json_object_get(answer, "ok")))
        return answer;
    if (answer)
        call_complain("%s", json_string_value(json_object_get(answer, "error")));
    else
        call_complain("the owner of the spool gives no answer: %s", err_text(rc));
    json_decref(answer);
    return NULL;
}
