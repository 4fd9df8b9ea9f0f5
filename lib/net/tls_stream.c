/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The BIO is our own: it counts what a call takes from the socket, keeps errno, and never raises
 * SIGPIPE.  The error queue of OpenSSL is cleared before each call, else another connection's error
 * would be blamed (FACTS section 3).
 *
 * What a call found behind the octets that it returns (an end, an error) is kept for the next one.
 */
#include "net/tls_stream.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tls.h"

enum stream_end { STREAM_GOES_ON, STREAM_ENDED, STREAM_FAILED };

struct tls_stream {
    SSL *ssl;
    char *error; /* text, once there is one */
    size_t read_left;
    int fd;
    int io_errno;        /* of the socket, in this call */
    int failed_errno;    /* of STREAM_FAILED */
    enum stream_end end; /* of the reading side */
    bool at_eof;         /* of the socket */
    bool wants_write, has_more;
};

/* --- the BIO: the only place that touches the socket --- */

static int
bio_read(BIO *bio, char *dst, int n)
{
    struct tls_stream *s = BIO_get_data(bio);
    size_t most = n > 0 && (size_t)n < s->read_left ? (size_t)n : s->read_left;
    ssize_t got;

    BIO_clear_retry_flags(bio);
    if (most == 0) { /* the level of the descriptor tells of the rest */
        BIO_set_retry_read(bio);
        return -1;
    }
    do
        got = read(s->fd, dst, most);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        s->read_left -= (size_t)got;
    else if (got == 0)
        s->at_eof = true;
    else if (errno == EAGAIN)
        BIO_set_retry_read(bio);
    else
        s->io_errno = errno;
    return (int)got;
}

static int
bio_write(BIO *bio, const char *src, int n)
{
    struct tls_stream *s = BIO_get_data(bio);
    ssize_t put;

    BIO_clear_retry_flags(bio);
    do
        put = send(s->fd, src, (size_t)n, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
        BIO_set_retry_write(bio);
    else if (put < 0)
        s->io_errno = errno;
    return (int)put;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *p)
{
    const struct tls_stream *s = BIO_get_data(bio);

    (void)number;
    (void)p;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    return command == BIO_CTRL_EOF ? s->at_eof : 0;
}

static BIO *
make_bio(struct tls_stream *s)
{
    static BIO_METHOD *method;
    BIO *bio;

    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "postern");
        CHECK(method != NULL && BIO_meth_set_read(method, bio_read) &&
              BIO_meth_set_write(method, bio_write) && BIO_meth_set_ctrl(method, bio_ctrl));
    }
    bio = BIO_new(method);
    CHECK(bio != NULL);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- outcomes --- */

static void
begin_call(struct tls_stream *s)
{
    ERR_clear_error();
    s->io_errno = 0;
    s->wants_write = false;
    s->read_left = TLS_STREAM_READ_BUDGET;
}

static void
keep_error(struct tls_stream *s)
{
    char text[TLS_ERROR_SIZE];
    long verify = SSL_get_verify_result(s->ssl);

    if (s->error || ERR_peek_error() == 0)
        return;
    tls_error_text(text);
    if (verify != X509_V_OK && SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE) {
        size_t used = strlen(text);

        snprintf(text + used, sizeof text - used, " (%s)", X509_verify_cert_error_string(verify));
    }
    s->error = mem_strdup(text);
}

/* What a call that did not succeed has met: 0 is the end, -1 has errno, EAGAIN among it. */
static int
outcome(struct tls_stream *s, int rc)
{
    int error = SSL_get_error(s->ssl, rc);

    s->wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    keep_error(s);
    if (s->io_errno)
        errno = s->io_errno;
    else
        errno = s->at_eof && ERR_peek_error() == 0 ? ECONNRESET : EPROTO;
    return -1;
}

int
tls_stream_handshake(struct tls_stream *s)
{
    int rc, found;

    begin_call(s);
    rc = SSL_do_handshake(s->ssl);
    s->has_more = rc == 1; /* perhaps: what the peer sent right behind it was read with it */
    if (rc == 1)
        return ERR_OK;
    found = outcome(s, rc);
    if (found == 0) /* gone in the middle of it */
        errno = ECONNRESET;
    return found < 0 && errno == EAGAIN ? ERR_AGAIN : ERR_IO;
}

ssize_t
tls_stream_read(struct tls_stream *s, char *dst, size_t n)
{
    size_t total = 0, got;
    int rc, found;

    begin_call(s);
    while (s->end == STREAM_GOES_ON && total < n) {
        rc = SSL_read_ex(s->ssl, dst + total, n - total, &got);
        if (rc == 1) {
            total += got;
            continue;
        }
        found = outcome(s, rc);
        if (found < 0 && errno == EAGAIN)
            break;
        s->end = found == 0 ? STREAM_ENDED : STREAM_FAILED;
        s->failed_errno = errno;
    }
    s->has_more = total == n || (total > 0 && s->end != STREAM_GOES_ON);
    if (total > 0)
        return (ssize_t)total;
    if (s->end == STREAM_ENDED)
        return 0;
    errno = s->end == STREAM_FAILED ? s->failed_errno : EAGAIN;
    return -1;
}

ssize_t
tls_stream_write(struct tls_stream *s, struct slice content)
{
    size_t total = 0, put;
    int rc;

    begin_call(s);
    while (total < content.n && total < TLS_STREAM_WRITE_BUDGET) {
        rc = SSL_write_ex(s->ssl, content.p + total, content.n - total, &put);
        if (rc == 1) {
            total += put;
            continue;
        }
        if (total > 0)
            break; /* an error shows itself again */
        if (outcome(s, rc) == 0)
            errno = EPIPE;
        else if (errno == EAGAIN && !s->wants_write)
            errno = EPROTO; /* a write that waits for the peer: renegotiation, which we have not */
        return -1;
    }
    return (ssize_t)total;
}

void
tls_stream_end(struct tls_stream *s)
{
    if (SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN)
        return;
    begin_call(s);
    SSL_shutdown(s->ssl);
}

/* --- life --- */

struct tls_stream *
tls_stream_new(SSL *ssl, int fd)
{
    struct tls_stream *s = mem_alloc(sizeof *s);
    BIO *bio;

    s->ssl = ssl;
    s->fd = fd;
    bio = make_bio(s);
    SSL_set_bio(ssl, bio, bio);
    return s;
}

void
tls_stream_free(struct tls_stream **stream)
{
    struct tls_stream *s = *stream;

    *stream = NULL;
    if (s == NULL)
        return;
    /* Without this a session that did not end by the book could not be resumed. */
    if (SSL_is_init_finished(s->ssl))
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    free(s->error);
    free(s);
}

bool
tls_stream_wants_write(const struct tls_stream *s)
{
    return s->wants_write;
}

bool
tls_stream_has_content(const struct tls_stream *s)
{
    return SSL_has_pending(s->ssl) == 1;
}

bool
tls_stream_has_more(const struct tls_stream *s)
{
    return s->has_more;
}

SSL *
tls_stream_ssl(const struct tls_stream *s)
{
    return s->ssl;
}

const char *
tls_stream_error(const struct tls_stream *s)
{
    return s->error ? s->error : "";
}
