/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The relay's control socket, run-dir/relayd.sock.  The parent parses nothing: a line goes to a
 * worker as it is, and the worker's line goes back.  An operator whose worker has died meanwhile
 * hears so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/control.h"
#include "relayd/parent_private.h"

#define ASKED_MAX 16 /* at once; more are told to come again */
#define REQUEST_MAX_BYTES 4096

struct parent_asked {
    struct parent_asked *next;
    struct control_request *request;
    uint32_t id;
    pid_t worker;
};

static void
answer_error(struct control_request *request, const char *json)
{
    control_answer(request, slice_of(json));
}

static struct child *
willing_worker(struct parent *p)
{
    for (size_t i = 0; i < CHILDREN_MAX; i++) {
        struct child *c = &p->children[i];

        if (c->kind == CHILD_WORKER && c->pid && c->channel && c->wanted && c->stop_by_ms == 0)
            return c;
    }
    return NULL;
}

static unsigned
count_asked(const struct parent *p)
{
    unsigned count = 0;

    for (const struct parent_asked *a = p->asked; a; a = a->next)
        count++;
    return count;
}

static int
send_line(struct child *worker, uint32_t id, uid_t uid, struct slice line)
{
    struct buf b;
    int rc;

    buf_init(&b, 0);
    put_u32(&b, id);
    put_u32(&b, uid);
    put_bytes(&b, line);
    rc = channel_send(worker->channel, RELAYD_ASK, buf_slice(&b), NULL, 0);
    buf_fini(&b);
    return rc;
}

static void
on_request(void *ctx, struct control_request *request, struct slice line)
{
    struct parent *p = ctx;
    struct child *worker = willing_worker(p);
    struct parent_asked *a;

    if (worker == NULL || count_asked(p) >= ASKED_MAX || line.n > REQUEST_MAX_BYTES ||
        send_line(worker, p->next_asked_id, control_peer_uid(request), line) < 0) {
        answer_error(request,
                     "{\"ok\":false,\"error\":\"no worker of relayd can look at it now\"}");
        return;
    }
    a = mem_alloc(sizeof *a);
    a->request = request;
    a->id = p->next_asked_id++;
    a->worker = worker->pid;
    a->next = p->asked;
    p->asked = a;
}

/* The first of a worker (pid), or of an id; out of the list. */
static struct parent_asked *
take_asked(struct parent *p, pid_t worker, const uint32_t *id)
{
    struct parent_asked **at = &p->asked, *a;

    while (*at && ((*at)->worker != worker || (id && (*at)->id != *id)))
        at = &(*at)->next;
    a = *at;
    if (a)
        *at = a->next;
    return a;
}

void
parent_take_answer(struct child *worker, struct decoder *d)
{
    uint32_t id = get_u32(d);
    struct slice line = get_bytes(d);
    struct parent_asked *a = decoder_done(d) ? take_asked(worker->parent, worker->pid, &id) : NULL;

    if (a == NULL)
        return;
    control_answer(a->request, line);
    free(a);
}

void
parent_ask_worker_ended(struct parent *p, pid_t pid)
{
    struct parent_asked *a;

    while ((a = take_asked(p, pid, NULL)) != NULL) {
        answer_error(a->request, "{\"ok\":false,\"error\":\"the worker that looked has ended\"}");
        free(a);
    }
}

void
parent_open_control(struct parent *p)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", p->config->run_dir, RELAYD_SOCKET_FILE);
    if (control_listen(p->loop, path, on_request, p, &p->control) < 0)
        log_line(LOG_LEVEL_WARN, NULL, "control-failed",
                 "socket=%s error=\"%s\" effect=\"relayctl cannot ask relayd\"", path,
                 strerror(errno));
}

void
parent_close_control(struct parent *p)
{
    struct parent_asked *next;

    control_close(&p->control);
    for (struct parent_asked *a = p->asked; a; a = next) {
        next = a->next;
        answer_error(a->request, "{}"); /* nobody is there any more: frees it */
        free(a);
    }
    p->asked = NULL;
}
