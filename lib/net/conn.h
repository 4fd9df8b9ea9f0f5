/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One stream connection on the loop: non-blocking socket, input buffer, output buffer, deadline.
 * Buffers take memory at the first byte and give it back when they are empty.  TCP_NODELAY is
 * always set (FACTS section 3).  Output is written when the callback that produced it returns
 * (conn_flush, once a turn), so that many small adds make one write.  Back-pressure is explicit:
 * conn_read_pause stops reading, and on_drained tells that the output has fallen below the low
 * mark.  All of it holds over TLS as well, to which a connection is upgraded in place.
 *
 * Life: conn_close ends it at once: no callback runs after it, and the memory goes after the turn.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <openssl/types.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/inet.h"
#include "net/loop.h"

struct conn;

enum conn_event {
    CONN_CONNECTED, /* an outgoing connection stands */
    CONN_INPUT,     /* bytes are in conn_input(); consume what you can, the rest stays */
    CONN_TLS_READY, /* the handshake that conn_start_tls began is done */
    CONN_DRAINED,   /* output fell to CONN_LOW_MARK or below after having been above CONN_HIGH_MARK,
                       or is empty after conn_notify_empty */
    CONN_EOF,       /* the peer has closed its side; all input has been offered */
    CONN_FAILED,    /* connect, handshake or I/O error; conn_error() has errno (EPROTO: see
                       conn_tls_error); the last event. After a failed write it comes when all that
                       the peer had sent has been offered */
    CONN_TIMEOUT,   /* the deadline passed */
};

#define CONN_READ_BUDGET (64 * 1024) /* bytes a wake-up, then others get their turn */
#define CONN_HIGH_MARK (256 * 1024)
#define CONN_LOW_MARK (64 * 1024)

typedef void (*conn_callback)(void *ctx, enum conn_event event);

/* Takes over a connected stream socket; makes it non-blocking. */
struct conn *conn_open_fd(struct loop *loop, int fd, conn_callback callback, void *ctx);
/* The same for what a listener hands over (net/listener.h): the socket has its options already and
 * the peer is known, which saves three system calls a connection. */
struct conn *conn_open_accepted(struct loop *loop, int fd, const struct inet_endpoint *peer,
                                conn_callback callback, void *ctx);
/* Starts to connect; CONN_CONNECTED, CONN_FAILED or CONN_TIMEOUT (connect_timeout_ms) follows,
 * never from inside this call. `source` may be NULL. A failure to create the socket or to bind it
 * to `source` is ERR_IO with errno. */
MUST_USE int conn_connect(struct loop *loop, const struct inet_endpoint *to,
                          const struct inet_endpoint *source, int64_t connect_timeout_ms,
                          conn_callback callback, void *ctx, struct conn **conn);
/* The same to a unix socket; its conn_peer is of no family. */
MUST_USE int conn_connect_unix(struct loop *loop, const char *path, int64_t connect_timeout_ms,
                               conn_callback callback, void *ctx, struct conn **conn);
void conn_close(struct conn **conn); /* at once; unsent output is lost */
/* Sends what is there (at most CONN_LINGER_MS), then closes; no more callbacks. Where the peer is
 * known to have sent what nobody has read, it ends its own side first and reads on within that
 * time, since closing over unread input would reset the connection and could lose the output. */
#define CONN_LINGER_MS 10000
void conn_close_after_output(struct conn **conn);
/* For a process that ends: are there such connections still, and closing them at once. */
bool conn_any_ending(void);
void conn_close_ending(void);

/* Unread bytes; consume from the front, never append. Slices of it hold until the callback returns
 * or something is consumed. Reading stops by itself at CONN_READ_BUDGET unread bytes and goes on
 * when some are consumed. */
struct buf *conn_input(struct conn *conn);
/* The peer has sent more than conn_input shows. */
bool conn_has_more(const struct conn *conn);
struct buf *conn_output(struct conn *conn); /* append here, then conn_flush; never consume */
void conn_flush(struct conn *conn);         /* marks for writing at the end of the turn */
void conn_flush_now(struct conn *conn);     /* writes at once what the socket takes */
/* Appends to the output and writes at once what the socket takes, of which no copy is made: for
 * octets that lie in the owner's memory. At most CONN_PIECES_MAX pieces. */
#define CONN_PIECES_MAX 64
void conn_write(struct conn *conn, const struct iovec *pieces, int count);
bool conn_output_is_full(const struct conn *conn); /* above CONN_HIGH_MARK */
void conn_notify_empty(
    struct conn *conn); /* one CONN_DRAINED when all output has been handed to the kernel */

/* At most so many octets a read, and reading stops at so many unread ones; CONN_READ_BUDGET if
 * nothing else is said. */
void conn_read_limit(struct conn *conn, size_t octets);
void conn_read_pause(struct conn *conn);
void conn_read_resume(
    struct conn *conn); /* offers again what is in the input buffer, at the end of the turn */

/* One deadline; a new one replaces it; 0 takes it away. Cheap enough to set at every command. The
 * connect timeout is the first; CONN_CONNECTED takes it away. */
void conn_deadline(struct conn *conn, int64_t timeout_ms);

/* Upgrades the connection to TLS on the same descriptor.  Takes over `ssl`, whose role is set
 * (tls_server_ssl, tls_client_ssl).  What is in the output leaves in the clear first; what is
 * appended from now on leaves over TLS.  All unread input is thrown away (RFC 3207 4.2, 5); returns
 * how many octets that was.  CONN_TLS_READY, CONN_FAILED or CONN_TIMEOUT follows, never from inside
 * this call; `timeout_ms` is the deadline of the handshake, which CONN_TLS_READY takes away. */
size_t conn_start_tls(struct conn *conn, SSL *ssl, int64_t timeout_ms);
/* "TLSv1.3", "TLS_AES_256_GCM_SHA384"; "" while it is plain. */
const char *conn_tls_version(const struct conn *conn);
const char *conn_tls_cipher(const struct conn *conn);
bool conn_tls_is_resumed(const struct conn *conn);
/* Why TLS has failed, in words for a log; "" when it has not. Borrowed for the connection's life.
 */
const char *conn_tls_error(const struct conn *conn);

const struct inet_endpoint *conn_peer(const struct conn *conn);
const struct inet_endpoint *conn_local(const struct conn *conn);
int conn_error(const struct conn *conn);
int conn_fd(const struct conn *conn);

#endif
