/* SPDX-License-Identifier: BSD-2-Clause
 *
 * TLS towards backends: one object a process, made at its start (it reads the file of trusted
 * certificates; nothing later opens a file).  Sessions are resumed per endpoint and name, which
 * saves the backend's signature and ours to check (0.8 ms).
 *
 * Policies, as operators set them for a backend:
 *   none     never STARTTLS
 *   may      STARTTLS where it is offered, whatever the certificate; the caller goes on in the
 * clear where it is not, or (over a new connection) where the handshake fails encrypt  only over
 * TLS, whatever the certificate verify   only over TLS, with a certificate of a trusted authority
 * for the expected name
 */
#ifndef NET_TLS_CLIENT_H
#define NET_TLS_CLIENT_H

#include <openssl/types.h>

#include "base/buf.h"
#include "base/inet.h"

struct tls_client;

enum tls_policy { TLS_POLICY_NONE, TLS_POLICY_MAY, TLS_POLICY_ENCRYPT, TLS_POLICY_VERIFY };

/* "none", "may", "encrypt", "verify". */
const char *tls_policy_text(enum tls_policy policy);
MUST_USE int tls_policy_parse(struct slice text, enum tls_policy *policy); /* ERR_SYNTAX */

/* `ca_file`: PEM certificates of the trusted authorities; "" takes the system's store (a store that
 * is missing trusts nobody, and is no error: it matters to `verify` alone). A file that cannot be
 * used is ERR_IO or ERR_SYNTAX with a line in `problems`. */
MUST_USE int tls_client_new(const char *ca_file, struct buf *problems, struct tls_client **client);
/* Connections made from it must be gone. */
void tls_client_free(struct tls_client **client);

/* For conn_start_tls, which takes it over; never NULL. `name`: what the certificate must be for
 * under TLS_POLICY_VERIFY, and what SNI says unless it is an address; NULL: the endpoint's address
 * is expected and no SNI sent. */
SSL *tls_client_ssl(struct tls_client *client, enum tls_policy policy, const char *name,
                    const struct inet_endpoint *endpoint);

#endif
