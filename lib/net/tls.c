/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Contexts with the rules that servers and clients share.
 *
 * Suites, TLS 1.2: this is opportunistic TLS between mail servers, where the alternative is plain
 * text, so whatever an honest TLS 1.2 peer has is taken, the key exchanges with forward secrecy
 * first; finite-field DHE is left out, since it lets a peer burn our CPU (CVE-2002-20001).  TLS 1.3
 * keeps OpenSSL's list.
 */
#include "net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

#define SUITES                                                                            \
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:kRSA+AESGCM:kRSA+AES:!aNULL:!eNULL:!PSK:!SRP:" \
    "!AESCCM"

SSL_CTX *
tls_context_new(bool is_server)
{
    SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

    CHECK(ctx != NULL);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
    CHECK(SSL_CTX_set_cipher_list(ctx, SUITES) == 1);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ctx, 1);
    return ctx;
}

const char *
tls_error_text(char dst[TLS_ERROR_SIZE])
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);

    if (reason)
        snprintf(dst, TLS_ERROR_SIZE, "%s", reason);
    else if (code)
        snprintf(dst, TLS_ERROR_SIZE, "OpenSSL error %08lX", code);
    else
        snprintf(dst, TLS_ERROR_SIZE, "unknown error");
    return dst;
}
