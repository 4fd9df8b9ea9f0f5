/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a child becomes, in the child: it forgets what it is not to know, goes into its sandbox, and
 * runs.  The parent has opened and loaded all that it needs; from here on a worker opens nothing.
 */
#include "relayd/parent_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/milter_entry.h"
#include "net/process.h"

#define SOCKETS_MAX (SHARED_WORKERS_MAX * 16)

extern char **environ;

static bool
has_unix_milter(const struct config *c)
{
    struct milter_entry entry;

    for (size_t i = 0; i < c->milters.count; i++)
        if (milter_entry_parse(c->milters.items[i], &entry) == NULL && entry.path[0])
            return true;
    return false;
}

struct sandbox
parent_sandbox_of(const struct config *c, enum child_kind kind)
{
    switch (kind) {
    case CHILD_STATE:
        return (struct sandbox){SANDBOX_FILES, "", {c->state_dir}, false};
    case CHILD_SEGMENTS:
        return (struct sandbox){SANDBOX_FILES, "", {c->spool_dir}, false};
    case CHILD_CONTROL:
        return (struct sandbox){SANDBOX_LINK, "", {c->state_dir, c->log_dir}, false};
    case CHILD_SPF:
        return (struct sandbox){SANDBOX_NOTHING, c->worker_user, {NULL}, false};
    case CHILD_WORKER:
        return (struct sandbox){SANDBOX_PEERS, c->worker_user, {NULL}, has_unix_milter(c)};
    }
    abort();
}

/* The database is for the control process alone: its name and password, also those that libpq would
 * take from the environment (PGPASSWORD, ...). */
static void
forget_database(struct config *config)
{
    explicit_bzero(config->database, strlen(config->database));
    for (char **variable = environ; *variable; variable++) {
        char *value = strncmp(*variable, "PG", 2) == 0 ? strchr(*variable, '=') : NULL;

        if (value != NULL)
            explicit_bzero(value, strlen(value));
    }
}

static void
enter_sandbox(const struct child *child)
{
    struct sandbox sandbox = parent_sandbox_of(child->parent->config, child->kind);
    struct sandbox_layers active;
    int rc = sandbox_enter(&sandbox, &active);

    if (rc == ERR_OK)
        return;
    log_line(LOG_LEVEL_ALARM, NULL, "sandbox-failed",
             "child=%s user=\"%s\" error=\"%s\" effect=\"it does not run\"",
             parent_child_name(child), sandbox.user,
             rc == ERR_NOT_FOUND ? "there is no such user" : strerror(errno));
    _exit(1);
}

/* With fewer workers than sockets each serves several: every socket is served. */
static size_t
sockets_of(const struct child *child, int fds[SOCKETS_MAX])
{
    const struct parent *p = child->parent;
    size_t addresses = p->config->listen.count, count = 0;

    for (unsigned s = child->index; s < p->socket_count; s += p->config->workers)
        for (size_t a = 0; a < addresses; a++) {
            CHECK(count < SOCKETS_MAX);
            fds[count++] = p->listen_fds[s * addresses + a];
        }
    return count;
}

void
parent_run_child(struct child *child, int channel_fd)
{
    struct parent *p = child->parent;
    struct worker_args args = {.slot = child->column,
                               .is_first = child->index == 0,
                               .parent_fd = channel_fd,
                               .table = p->table,
                               .tls = p->tls,
                               .tls_client = p->tls_client,
                               .dialin = p->dialin};
    int fds[SOCKETS_MAX];

    args.listen_fds = fds;
    if (child->kind != CHILD_CONTROL)
        forget_database(p->config);
    parent_tls_forget(p, child->kind);
    if (child->kind == CHILD_WORKER) {
        args.listen_count = sockets_of(child, fds);
        for (unsigned i = 0; i < p->socket_count * p->config->listen.count; i++)
            if (i / p->config->listen.count % p->config->workers != child->index)
                close(p->listen_fds[i]);
    }
    if (child->kind == CHILD_SPF)
        shared_table_detach(&p->table); /* what is mapped needs no call to be written to */
    if (child->kind == CHILD_SEGMENTS)
        process_ends_with_channel(); /* the parent ends it last */
    enter_sandbox(child);
    switch (child->kind) {
    case CHILD_STATE:
        _exit(state_process_run(p->config, channel_fd, p->table));
    case CHILD_CONTROL:
        _exit(control_process_run(p->config, channel_fd));
    case CHILD_SEGMENTS:
        _exit(segment_process_run(p->config, channel_fd));
    case CHILD_SPF:
        _exit(spf_process_run(channel_fd));
    case CHILD_WORKER:
        exit(worker_run(p->config, &args));
    }
    abort();
}
