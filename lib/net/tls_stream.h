/* SPDX-License-Identifier: BSD-2-Clause
 *
 * TLS over one non-blocking descriptor, with the manners of read(2) and write(2).  What OpenSSL
 * takes from the socket in one call is bounded (P8): a peer that floods records without content
 * (key updates, refused renegotiations) gets no more than its share of a turn.  Knows nothing of
 * the loop; net/conn.h is its only user.
 */
#ifndef NET_TLS_STREAM_H
#define NET_TLS_STREAM_H

#include <openssl/types.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/slice.h"

struct tls_stream;

#define TLS_STREAM_READ_BUDGET (64 * 1024)   /* octets from the socket a call */
#define TLS_STREAM_WRITE_BUDGET (256 * 1024) /* octets of content a call */

/* Takes over `ssl`, whose role is set. The descriptor stays the caller's. */
struct tls_stream *tls_stream_new(SSL *ssl, int fd);
void tls_stream_free(struct tls_stream **stream);

/* ERR_OK: it stands. ERR_AGAIN: call again when the socket is readable, or writable if
 * tls_stream_wants_write. ERR_IO: errno. */
MUST_USE int tls_stream_handshake(struct tls_stream *stream);
/* As read(2). The end of the stream is 0 whether it was announced (close_notify) or not: SMTP's
 * ends are in-band, and many MTAs just close. */
ssize_t tls_stream_read(struct tls_stream *stream, char *dst, size_t n);
/* As send(2). After EAGAIN call again with the same octets in front. */
ssize_t tls_stream_write(struct tls_stream *stream, struct slice content);
void tls_stream_end(struct tls_stream *stream); /* close_notify, if the socket takes it at once */

/* The call before could go on only when the socket is writable. */
bool tls_stream_wants_write(const struct tls_stream *stream);
/* There is more to read than the descriptor tells of. */
bool tls_stream_has_more(const struct tls_stream *stream);
/* Octets from the socket were not given to anybody yet; those still in the socket do not count. */
bool tls_stream_has_content(const struct tls_stream *stream);
SSL *tls_stream_ssl(const struct tls_stream *stream);
/* What went wrong, in OpenSSL's words: "certificate verify failed (certificate has expired)". ""
 * when nothing did, or errno says it all. */
const char *tls_stream_error(const struct tls_stream *stream);

#endif
