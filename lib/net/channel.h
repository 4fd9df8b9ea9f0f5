/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Messages between our own processes: SOCK_SEQPACKET pairs, one message a packet, up to
 * CHANNEL_MAX_FDS descriptors with it. The first two octets are the message's type; the rest is
 * codec fields.  Sends never block: what the socket does not take is queued in order (bounded by
 * CHANNEL_QUEUE_MAX, beyond it ERR_LIMIT).  What a message held is wiped when it has left or been
 * taken: it may be a key.
 */
#ifndef NET_CHANNEL_H
#define NET_CHANNEL_H

#include "base/buf.h"
#include "net/loop.h"

#define CHANNEL_MAX_FDS 4
#define CHANNEL_MAX_BYTES 65536
#define CHANNEL_QUEUE_MAX 4096

struct channel;

/* `payload` is borrowed for the call. Descriptors belong to the callee, which closes them. */
typedef void (*channel_on_message)(void *ctx, uint16_t type, struct slice payload, const int *fds,
                                   size_t fd_count);
/* The other side is gone, or sends what is no message; the callback closes the channel. */
typedef void (*channel_on_close)(void *ctx);

MUST_USE int channel_pair(int fds[2]); /* close-on-exec, non-blocking */
/* Owns `fd` from now on; makes it non-blocking. */
struct channel *channel_open(struct loop *loop, int fd, channel_on_message on_message,
                             channel_on_close on_close, void *ctx);
void channel_close(struct channel **channel); /* closes the descriptor; no callback after it */

/* The message leaves at the end of the turn, together with others; one with descriptors at once if
 * nothing waits before it. The descriptors stay the caller's (they are duplicated into the
 * message). ERR_LIMIT: the queue is full, the descriptors cannot be duplicated, or the payload is
 * larger than CHANNEL_MAX_BYTES. ERR_CLOSED: the other side is gone; on_close follows. */
MUST_USE int channel_send(struct channel *channel, uint16_t type, struct slice payload,
                          const int *fds, size_t fd_count);

/* Sends now what the socket takes: before a process exits outside the loop. channel_close does it
 * too. */
void channel_flush(struct channel *channel);

#endif
