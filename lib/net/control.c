/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Control sockets: one line in, one line out, over and over.  A connection's next line waits until
 * the one before it is answered.  Whoever answers late may find the asker gone: the request
 * outlives the connection and control_answer then only frees it.
 */
#define _GNU_SOURCE 1

#include "net/control.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/conn.h"
#include "net/listener.h"

#define LINE_MAX_BYTES (CONN_READ_BUDGET - 1) /* what a connection buffers by itself */
#define ANSWER_MAX_BYTES (256 * 1024 * 1024)
#define IDLE_TIMEOUT_MS 60000
#define BACKLOG 64

struct client {
    struct client *next, **link;
    struct control *control;
    struct conn *conn;
    struct control_request *request; /* being answered */
    uid_t uid;
    bool is_ending; /* the peer has ended its side; close after the answer */
};

struct control_request {
    struct client *client; /* NULL: it has gone */
    uid_t uid;
};

struct control {
    struct loop *loop;
    struct listener *listener;
    struct client *clients;
    control_on_request on_request;
    void *ctx;
    char *path;
};

/* --- connections --- */

static void
drop_client(struct client *c)
{
    if (c->request)
        c->request->client = NULL;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    conn_close_after_output(&c->conn);
    loop_defer(c->control->loop, free, c);
}

static void
start_request(struct client *c, struct slice line)
{
    struct control_request *r = mem_alloc(sizeof *r);

    *r = (struct control_request){.client = c, .uid = c->uid};
    c->request = r;
    conn_read_pause(c->conn);
    conn_deadline(c->conn, 0);
    c->control->on_request(c->control->ctx, r, line);
}

static void
on_client_input(struct client *c)
{
    struct buf *input = conn_input(c->conn);
    struct slice all = buf_slice(input), line;
    const char *end = memchr(all.p, '\n', all.n);

    if (c->request)
        return;
    if (end == NULL) {
        if (all.n >= LINE_MAX_BYTES || c->is_ending)
            drop_client(c);
        return;
    }
    line = (struct slice){all.p, (size_t)(end - all.p)};
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    start_request(c, line);
    if (c->conn)
        buf_consume(conn_input(c->conn), (size_t)(end - all.p) + 1);
}

static void
on_client(void *ctx, enum conn_event event)
{
    struct client *c = ctx;

    switch (event) {
    case CONN_INPUT:
        on_client_input(c);
        break;
    case CONN_EOF:
        c->is_ending = true;
        if (c->request == NULL)
            drop_client(c);
        break;
    case CONN_FAILED:
    case CONN_TIMEOUT:
        drop_client(c);
        break;
    case CONN_TLS_READY:
    case CONN_CONNECTED:
    case CONN_DRAINED:
        break;
    }
}

static void
on_control_accept(void *ctx, int fd, const struct inet_endpoint *peer)
{
    struct control *control = ctx;
    struct client *c = mem_alloc(sizeof *c);
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t size = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        cred.uid = (uid_t)-1;
    *c = (struct client){.control = control, .uid = cred.uid, .next = control->clients};
    c->link = &control->clients;
    if (c->next)
        c->next->link = &c->next;
    control->clients = c;
    c->conn = conn_open_accepted(control->loop, fd, peer, on_client, c);
    conn_deadline(c->conn, IDLE_TIMEOUT_MS);
}

/* --- the daemon's side --- */

static int
make_address(const char *path, struct sockaddr_un *un)
{
    *un = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!slice_to_text(slice_of(path), un->sun_path, sizeof un->sun_path)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    return ERR_OK;
}

static int
bind_and_listen(int fd, const char *path)
{
    struct sockaddr_un un;

    if (make_address(path, &un) < 0)
        return ERR_IO;
    if (connect(fd, (struct sockaddr *)&un, sizeof un) == 0 || errno == EAGAIN)
        return ERR_BUSY;
    if (errno == ECONNREFUSED)
        unlink(path); /* of a daemon that was killed */
    if (bind(fd, (struct sockaddr *)&un, sizeof un) < 0)
        return errno == EADDRINUSE ? ERR_BUSY : ERR_IO;
    if (chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0)
        return ERR_IO;
    return ERR_OK;
}

int
control_bind(const char *path, int *fd)
{
    int rc, saved;

    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return ERR_IO;
    rc = bind_and_listen(*fd, path);
    if (rc < 0) {
        saved = errno;
        close(*fd);
        *fd = -1;
        errno = saved;
    }
    return rc;
}

/* What is made in a set-group-id folder has the folder's group. */
int
control_share(const char *folder, const char *group)
{
    const struct group *found;
    struct stat st;
    mode_t wanted;

    if (group[0] == '\0')
        return ERR_OK;
    errno = 0;
    found = getgrnam(group);
    if (found == NULL)
        return errno == 0 || errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (stat(folder, &st) < 0)
        return ERR_IO;
    wanted = (st.st_mode & 07777) | S_ISGID | S_IXGRP;
    if (st.st_gid == found->gr_gid && (st.st_mode & 07777) == wanted)
        return ERR_OK; /* an administrator has seen to it; we may have no right to */
    return chown(folder, (uid_t)-1, found->gr_gid) < 0 || chmod(folder, wanted) < 0 ? ERR_IO
                                                                                    : ERR_OK;
}

int
control_listen(struct loop *loop, const char *path, control_on_request on_request, void *ctx,
               struct control **control)
{
    struct control *c;
    int fd, rc = control_bind(path, &fd);

    *control = NULL;
    if (rc < 0)
        return rc;
    c = mem_alloc(sizeof *c);
    *c = (struct control){
        .loop = loop, .on_request = on_request, .ctx = ctx, .path = mem_strdup(path)};
    c->listener = listener_open(loop, fd, on_control_accept, c);
    *control = c;
    return ERR_OK;
}

void
control_close(struct control **control)
{
    struct control *c = *control;

    *control = NULL;
    if (c == NULL)
        return;
    unlink(c->path);
    listener_close(&c->listener);
    while (c->clients)
        drop_client(c->clients);
    free(c->path);
    loop_defer(c->loop, free, c);
}

uid_t
control_peer_uid(const struct control_request *request)
{
    return request->uid;
}

void
control_answer(struct control_request *request, struct slice json_line)
{
    struct client *c = request->client;

    free(request);
    if (c == NULL)
        return;
    c->request = NULL;
    buf_add_slice(conn_output(c->conn), json_line);
    buf_add_text(conn_output(c->conn), "\n");
    conn_flush(c->conn);
    conn_deadline(c->conn, IDLE_TIMEOUT_MS);
    conn_read_resume(c->conn);
}

/* --- the asker's side --- */

static int
wait_for(int fd, short events, int64_t end_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left_ms = end_ms - clock_monotonic_ms();
    int n;

    if (left_ms <= 0)
        return ERR_TIMEOUT;
    n = poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
    if (n < 0 && errno != EINTR)
        return ERR_IO;
    return ERR_OK;
}

static int
dial(int fd, const char *path, int64_t end_ms)
{
    struct sockaddr_un un;
    int rc = make_address(path, &un);

    while (rc == ERR_OK && connect(fd, (struct sockaddr *)&un, sizeof un) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return ERR_NOT_FOUND;
        if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
        if (clock_monotonic_ms() >= end_ms)
            return ERR_TIMEOUT;
        poll(NULL, 0, 5); /* the listener's queue is full */
    }
    return rc;
}

static int
send_line(int fd, struct slice line, int64_t end_ms)
{
    struct buf out;
    int rc = ERR_OK;

    buf_init(&out, 0);
    buf_add_slice(&out, line);
    buf_add_text(&out, "\n");
    while (rc == ERR_OK && buf_size(&out) > 0) {
        struct slice s = buf_slice(&out);
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

        if (n >= 0)
            buf_consume(&out, (size_t)n);
        else if (errno == EAGAIN)
            rc = wait_for(fd, POLLOUT, end_ms);
        else if (errno != EINTR)
            rc = errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : ERR_IO;
    }
    buf_fini(&out);
    return rc;
}

/* Reads until a line end; what stands behind it is not ours to expect and is dropped. */
static int
receive_line(int fd, struct buf *answer, int64_t end_ms)
{
    char piece[16384];
    int rc;

    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);

        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return ERR_CLOSED;
        if (n > 0) {
            const char *end = memchr(piece, '\n', (size_t)n);

            if (buf_size(answer) + (size_t)n > ANSWER_MAX_BYTES)
                return ERR_LIMIT;
            rc = buf_append(answer, piece, end ? (size_t)(end - piece) : (size_t)n);
            if (rc < 0 || end)
                return rc;
        } else if (errno != EAGAIN && errno != EINTR)
            return ERR_IO;
        else if ((rc = wait_for(fd, POLLIN, end_ms)) < 0)
            return rc;
    }
}

int
control_call(const char *path, struct slice json_line, int64_t timeout_ms, struct buf *answer)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc, saved;
    int64_t end_ms = clock_monotonic_ms() + timeout_ms;

    if (fd < 0)
        return ERR_IO;
    rc = dial(fd, path, end_ms);
    if (rc == ERR_OK)
        rc = send_line(fd, json_line, end_ms);
    if (rc == ERR_OK)
        rc = receive_line(fd, answer, end_ms);
    saved = errno;
    close(fd);
    errno = saved;
    return rc;
}
