/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Outgoing connections: from connect() to CONN_CONNECTED.  The connect timeout is the connection's
 * first deadline.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/conn_private.h"

void
conn_finish_connect(struct conn *c)
{
    socklen_t size = sizeof c->error;
    int error = c->error;

    if (error == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    c->deadline_at_ms = 0;
    if (error) {
        conn_fail(c, error);
        return;
    }
    c->state = CONN_STATE_OPEN;
    conn_set_reading(c, true);
    conn_set_writing(c, false);
    conn_schedule(c, WORK_FLUSH);
    conn_deliver(c, CONN_CONNECTED);
}

static int
start_connect(int fd, const struct inet_endpoint *to, const struct inet_endpoint *source,
              int *error)
{
    struct sockaddr_storage ss;
    socklen_t size;
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (source && source->family) {
        if (source->port == 0)
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        size = inet_endpoint_to_sockaddr(source, &ss);
        if (bind(fd, (struct sockaddr *)&ss, size) < 0)
            return ERR_IO;
    }
    size = inet_endpoint_to_sockaddr(to, &ss);
    *error = connect(fd, (struct sockaddr *)&ss, size) < 0 ? errno : 0;
    return ERR_OK;
}

static struct conn *
connecting(struct loop *loop, int fd, int error, int64_t timeout_ms, conn_callback callback,
           void *ctx)
{
    struct conn *c = conn_make(loop, fd, callback, ctx, CONN_STATE_CONNECTING);

    conn_deadline(c, timeout_ms);
    if (error == EINPROGRESS)
        conn_set_writing(c, true);
    else {
        c->error = error;
        conn_schedule(c, WORK_CONNECT);
    }
    return c;
}

int
conn_connect(struct loop *loop, const struct inet_endpoint *to, const struct inet_endpoint *source,
             int64_t connect_timeout_ms, conn_callback callback, void *ctx, struct conn **conn)
{
    int fd, error = 0;

    *conn = NULL;
    fd =
        socket(to->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_IO;
    if (start_connect(fd, to, source, &error) < 0) {
        error = errno;
        close(fd);
        errno = error;
        return ERR_IO;
    }
    *conn = connecting(loop, fd, error, connect_timeout_ms, callback, ctx);
    (*conn)->peer = *to;
    return ERR_OK;
}

int
conn_connect_unix(struct loop *loop, const char *path, int64_t connect_timeout_ms,
                  conn_callback callback, void *ctx, struct conn **conn)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd, error;

    *conn = NULL;
    if (!slice_to_text(slice_of(path), to.sun_path, sizeof to.sun_path)) {
        errno = ENAMETOOLONG;
        return ERR_IO;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_IO;
    error = connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
    if (error == EAGAIN) { /* unix(7): its queue is full, and nothing tells when it is not */
        close(fd);
        return ERR_AGAIN;
    }
    *conn = connecting(loop, fd, error, connect_timeout_ms, callback, ctx);
    return ERR_OK;
}
