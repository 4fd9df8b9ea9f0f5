/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What all our TLS has in common: OpenSSL contexts with the node's rules (TLS 1.2 at least, no
 * compression, no renegotiation, an end without close_notify is an end), and the texts of its
 * errors.  Servers' contexts are net/tls_server.h, clients' net/tls_client.h; a connection is
 * upgraded with conn_start_tls (net/conn.h).
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <openssl/types.h>

#include <stdbool.h>

#include "base/err.h"

/* A context for servers or clients, with the rules of the head comment; never NULL. */
SSL_CTX *tls_context_new(bool is_server);

/* The last error in OpenSSL's queue in its words, or "unknown error". Returns dst. */
#define TLS_ERROR_SIZE 256
const char *tls_error_text(char dst[TLS_ERROR_SIZE]);

#endif
