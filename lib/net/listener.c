/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Accepting costs one accept4 a connection: how many are tried in a wake-up follows what the last
 * wake-ups found, so that a quiet listener does not pay for an EAGAIN each time and a busy one
 * takes LISTENER_BUDGET at once.
 */
#define _GNU_SOURCE 1

#include "net/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024
#define PAUSE_MS 100
#define DRAIN_MAX 65536 /* more than any backlog; a bound against a flood during close */

struct listener {
    struct loop *loop;
    int fd;
    listener_on_accept on_accept;
    void *ctx;
    struct loop_watch *watch;
    struct loop_timer pause;
    int batch; /* accepts to try in the next wake-up */
    uint64_t shortages;
    bool is_closed;
};

static int
set_option(int fd, int level, int name)
{
    int on = 1;

    return setsockopt(fd, level, name, &on, sizeof on);
}

static int
bind_to(int fd, const struct inet_endpoint *endpoint)
{
    struct sockaddr_storage ss;
    socklen_t size = inet_endpoint_to_sockaddr(endpoint, &ss);

    return bind(fd, (struct sockaddr *)&ss, size) < 0 ? ERR_IO : ERR_OK;
}

/* A peer that has vanished is noticed within two minutes, also while nothing is sent.  All of it is
 * inherited by accepted sockets, which saves the calls there; a system without them does without.
 */
static void
set_keepalive(int fd)
{
    int idle_s = 60, interval_s = 15, count = 4;

    (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static int
prepare_socket(int fd, const struct inet_endpoint *endpoint, bool reuseport)
{
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) < 0 ||
        (reuseport && set_option(fd, SOL_SOCKET, SO_REUSEPORT) < 0) ||
        (endpoint->family == 6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0) ||
        set_option(fd, IPPROTO_TCP, TCP_NODELAY) < 0)
        return ERR_IO;
    set_keepalive(fd);
    if (bind_to(fd, endpoint) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return ERR_IO;
    return ERR_OK;
}

int
listener_probe(const struct inet_endpoint *endpoint)
{
    int fd = socket(endpoint->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc, saved;

    if (fd < 0)
        return ERR_IO;
    rc = set_option(fd, SOL_SOCKET, SO_REUSEADDR);
    if (rc == ERR_OK && endpoint->family == 6)
        rc = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (rc == ERR_OK)
        rc = bind_to(fd, endpoint);
    saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

int
listener_bind(const struct inet_endpoint *endpoint, bool reuseport, int *fd)
{
    int family = endpoint->family == 6 ? AF_INET6 : AF_INET;
    int s = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *fd = -1;
    if (s < 0)
        return ERR_IO;
    if (prepare_socket(s, endpoint, reuseport) < 0) {
        int saved = errno;

        close(s);
        errno = saved;
        return ERR_IO;
    }
    *fd = s;
    return ERR_OK;
}

/* ERR_AGAIN: the queue is empty. ERR_LIMIT: no descriptor or memory now. */
static int
accept_one(struct listener *l)
{
    struct sockaddr_storage ss = {0};
    socklen_t size = sizeof ss;
    struct inet_endpoint peer;
    int fd = accept4(l->fd, (struct sockaddr *)&ss, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EAGAIN || errno == EBADF || errno == EINVAL)
            return ERR_AGAIN;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return ERR_LIMIT;
        return ERR_OK; /* ECONNABORTED, EINTR, network errors of that one connection */
    }
    if (inet_endpoint_from_sockaddr((struct sockaddr *)&ss, &peer) < 0)
        peer = (struct inet_endpoint){0};
    l->on_accept(l->ctx, fd, &peer);
    return ERR_OK;
}

static void
on_listener_readable(void *ctx)
{
    struct listener *l = ctx;
    int taken = 0, rc = ERR_OK;

    while (taken < l->batch && rc == ERR_OK && !l->is_closed) {
        rc = accept_one(l);
        taken += rc == ERR_OK;
    }
    if (l->is_closed)
        return;
    if (rc == ERR_LIMIT) {
        l->shortages++;
        loop_watch_cancel(&l->watch);
        loop_timer_start(&l->pause, PAUSE_MS);
        return;
    }
    l->batch = rc == ERR_AGAIN ? taken : l->batch * 2;
    if (l->batch < 1)
        l->batch = 1;
    if (l->batch > LISTENER_BUDGET)
        l->batch = LISTENER_BUDGET;
}

static void
on_pause_over(void *ctx)
{
    struct listener *l = ctx;

    if (l->watch == NULL)
        l->watch = loop_watch_start(l->loop, l->fd, on_listener_readable, l);
}

struct listener *
listener_open(struct loop *loop, int fd, listener_on_accept on_accept, void *ctx)
{
    struct listener *l = mem_alloc(sizeof *l);

    *l = (struct listener){.loop = loop, .fd = fd, .on_accept = on_accept, .ctx = ctx, .batch = 1};
    loop_timer_init(&l->pause, loop, on_pause_over, l);
    l->watch = loop_watch_start(loop, fd, on_listener_readable, l);
    return l;
}

uint64_t
listener_shortages(const struct listener *l)
{
    return l->shortages;
}

static void
end_listening(struct listener *l)
{
    close(l->fd);
    loop_defer(l->loop, free, l);
}

static struct listener *
take_and_silence(struct listener **listener)
{
    struct listener *l = *listener;

    *listener = NULL;
    if (l == NULL)
        return NULL;
    l->is_closed = true;
    loop_watch_cancel(&l->watch);
    loop_timer_cancel(&l->pause);
    return l;
}

void
listener_close(struct listener **listener)
{
    struct listener *l = take_and_silence(listener);

    if (l == NULL)
        return;
    for (int i = 0; i < DRAIN_MAX && accept_one(l) == ERR_OK; i++)
        ;
    end_listening(l);
}

void
listener_leave(struct listener **listener)
{
    struct listener *l = take_and_silence(listener);

    if (l != NULL)
        end_listening(l);
}
