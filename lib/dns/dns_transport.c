/* SPDX-License-Identifier: BSD-2-Clause
 *
 * c-ares says which descriptors to watch, and when it wants to be woken.  Its sockets are made
 * here: born nonblocking, since a worker's sandbox lets nobody change that later.  All that it
 * would look up in the system's files is given to it, so that it looks nowhere (RFC 5625 has no
 * part in this: whoever answers is a full resolver).
 *
 * Between bursts of queries c-ares closes its UDP socket: the next one has another random port.
 */
#define _GNU_SOURCE 1

#include "dns/dns_transport.h"

#include <ares.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dns/dns_packet.h"

#define TRY_MS 1500 /* the first try; the second waits twice as long: 4.5 s */
#define TRIES 2

struct watched {
    struct dns_transport *transport;
    struct watched *next;
    struct event *event;
    int fd;
    short what;
};

struct dns_transport {
    struct loop *loop;
    ares_channel channel;
    struct loop_timer timer;
    struct watched *sockets;
};

struct pending {
    dns_transport_on_answer on_answer;
    void *ctx;
};

/* --- Sockets. */

static ares_socket_t
make_socket(int family, int type, int protocol, void *ctx)
{
    (void)ctx;
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int
close_socket(ares_socket_t fd, void *ctx)
{
    (void)ctx;
    return close(fd);
}

static int
connect_socket(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t size, void *ctx)
{
    (void)ctx;
    return connect(fd, to, size);
}

static ares_ssize_t
receive(ares_socket_t fd, void *dst, size_t size, int flags, struct sockaddr *from,
        ares_socklen_t *from_size, void *ctx)
{
    (void)ctx;
    return recvfrom(fd, dst, size, flags, from, from_size);
}

static ares_ssize_t
send_pieces(ares_socket_t fd, const struct iovec *pieces, int count, void *ctx)
{
    (void)ctx;
    return writev(fd, pieces, count);
}

static const struct ares_socket_functions socket_functions = {
    .asocket = make_socket,
    .aclose = close_socket,
    .aconnect = connect_socket,
    .arecvfrom = receive,
    .asendv = send_pieces,
};

/* --- The loop. */

static void
arm(struct dns_transport *t)
{
    struct timeval room, *next = ares_timeout(t->channel, NULL, &room);

    if (next == NULL)
        loop_timer_cancel(&t->timer);
    else
        loop_timer_start(&t->timer, (int64_t)next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
}

static void
on_timer(void *ctx)
{
    struct dns_transport *t = ctx;

    ares_process_fd(t->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(t);
}

static void
on_socket(evutil_socket_t fd, short what, void *ctx)
{
    struct dns_transport *t = ((struct watched *)ctx)->transport;
    int64_t began_us = loop_callback_begin(t->loop);

    ares_process_fd(t->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm(t);
    loop_callback_end(t->loop, began_us, "dns", NULL);
}

static void
unwatch(struct watched **at)
{
    struct watched *w = *at;

    *at = w->next;
    event_free(w->event);
    loop_defer(w->transport->loop, free, w);
}

static void
watch(struct dns_transport *t, int fd, short what)
{
    struct watched *w = mem_alloc(sizeof *w);
    int rc;

    *w = (struct watched){.transport = t, .next = t->sockets, .fd = fd, .what = what};
    w->event = event_new(loop_event_base(t->loop), fd, (short)(what | EV_PERSIST), on_socket, w);
    CHECK(w->event != NULL);
    rc = event_add(w->event, NULL);
    CHECK(rc == 0);
    t->sockets = w;
}

static void
on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct dns_transport *t = ctx;
    struct watched **at = &t->sockets;
    short what = (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));

    while (*at != NULL && (*at)->fd != fd)
        at = &(*at)->next;
    if (*at != NULL && (*at)->what == what)
        return;
    if (*at != NULL)
        unwatch(at);
    if (what != 0)
        watch(t, fd, what);
}

/* --- Queries. */

static void
on_done(void *ctx, int status, int timeouts, unsigned char *packet, int size)
{
    struct pending p = *(struct pending *)ctx;

    (void)timeouts;
    free(ctx);
    if (status != ARES_SUCCESS)
        packet = NULL;
    p.on_answer(p.ctx, packet, packet ? (size_t)size : 0);
}

void
dns_transport_send(struct dns_transport *t, const uint8_t *query, size_t size,
                   dns_transport_on_answer on_answer, void *ctx)
{
    struct pending *p = mem_alloc(sizeof *p);

    *p = (struct pending){on_answer, ctx};
    ares_send(t->channel, query, (int)size, on_done, p);
    arm(t);
}

/* --- Life. */

static void
set_resolver(struct dns_transport *t, const struct inet_endpoint *resolver)
{
    struct ares_addr_port_node node = {
        .family = resolver->family == 6 ? AF_INET6 : AF_INET,
        .udp_port = resolver->port,
        .tcp_port = resolver->port,
    };
    int rc;

    if (resolver->family == 6)
        memcpy(&node.addr.addr6, resolver->addr, 16);
    else
        memcpy(&node.addr.addr4, resolver->addr, 4);
    rc = ares_set_servers_ports(t->channel, &node);
    CHECK(rc == ARES_SUCCESS);
}

struct dns_transport *
dns_transport_new(struct loop *loop, const struct inet_endpoint *resolver)
{
    struct dns_transport *t = mem_alloc(sizeof *t);
    struct in_addr any = {0}; /* it wants one here; set_resolver says which */
    char lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_NOCHECKRESP | ARES_FLAG_EDNS,
        .timeout = TRY_MS,
        .tries = TRIES,
        .ndots = 1,
        .servers = &any,
        .nservers = 1,
        .lookups = lookups,
        .ednspsz = DNS_UDP_SIZE,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = t,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
               ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB;
    int rc;

    t->loop = loop;
    loop_timer_init(&t->timer, loop, on_timer, t);
    rc = ares_init_options(&t->channel, &options, mask);
    CHECK(rc == ARES_SUCCESS);
    ares_set_socket_functions(t->channel, &socket_functions, t);
    set_resolver(t, resolver);
    return t;
}

void
dns_transport_free(struct dns_transport **held)
{
    struct dns_transport *t = *held;

    *held = NULL;
    if (t == NULL)
        return;
    ares_destroy(t->channel);
    while (t->sockets != NULL)
        unwatch(&t->sockets);
    loop_timer_cancel(&t->timer);
    loop_defer(t->loop, free, t);
}
