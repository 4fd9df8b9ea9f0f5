/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Listening sockets: made once by a parent (listener_bind), served by a loop (listener_open).
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/inet.h"
#include "net/loop.h"

struct listener;

/* A listening TCP socket: non-blocking, close-on-exec, backlog 1024. With `reuseport` several
 * sockets share the address, and the kernel spreads connections over them; IPv6 sockets take IPv6
 * only. TCP_NODELAY and keepalive are set here, since accepted sockets inherit them. ERR_IO with
 * errno. */
MUST_USE int listener_bind(const struct inet_endpoint *endpoint, bool reuseport, int *fd);

/* Can this address be listened on, or does another program do so already? Sockets with `reuseport`
 * would share it in silence. ERR_IO with errno (EADDRINUSE). */
MUST_USE int listener_probe(const struct inet_endpoint *endpoint);

/* `fd` belongs to the callee, which mostly hands it to conn_open_accepted; it is non-blocking and
 * close-on-exec. `peer` has family 0 for a unix socket. The callback may close the listener. */
typedef void (*listener_on_accept)(void *ctx, int fd, const struct inet_endpoint *peer);

/* Serves `fd` (which it owns from now on): at most LISTENER_BUDGET connections a wake-up. Out of
 * descriptors or memory it pauses for 100 ms; what is queued waits in the kernel. */
#define LISTENER_BUDGET 16
struct listener *listener_open(struct loop *loop, int fd, listener_on_accept on_accept, void *ctx);

/* How often it has had to pause. */
uint64_t listener_shortages(const struct listener *listener);

/* Takes what the kernel has queued (closing a socket resets those), with on_accept for each, then
 * closes the descriptor. */
void listener_close(struct listener **listener);

/* Stops at once and takes nothing more: another process serves the same socket and what it has
 * queued. */
void listener_leave(struct listener **listener);

#endif
