/* SPDX-License-Identifier: BSD-2-Clause
 *
 * TLS towards clients: all certificates of the node.  The parent builds it, before the fork and
 * anew at a reload; workers inherit it and open no file.
 *
 * Which certificates a client is shown: for each name in a certificate (and the host name) there is
 * a context with the first certificate of each kind (RSA, EC, ...) that is for this name, filled up
 * with the first of the kinds that are missing, since between mail servers a certificate of another
 * name is better than no encryption.  SNI picks the context; without it, or with an unknown name,
 * the host name's is taken.  Within a context OpenSSL takes the kind that the client can use.
 */
#ifndef NET_TLS_SERVER_H
#define NET_TLS_SERVER_H

#include <openssl/types.h>

#include "base/buf.h"
#include "net/tls_ticket.h"

struct tls_server;

/* `certificates` and `keys`: files, paired by their order. `hostname`: a certificate that is for it
 * is what a client without SNI gets. Problems as in net/tls_certificate.h, all of them. */
MUST_USE int tls_server_new(const char *hostname, char *const *certificates, char *const *keys,
                            size_t count, int64_t ticket_lifetime_ms, struct buf *problems,
                            struct tls_server **server);
void tls_server_free(struct tls_server **server); /* its connections must be gone */

/* A process's copy of the ticket keys; until they are set no tickets are given. */
void tls_server_set_ticket_keys(struct tls_server *server, const struct tls_ticket_keys *keys);

/* For conn_start_tls, which takes it over. NULL without memory. */
SSL *tls_server_ssl(struct tls_server *server);

/* tls_certificates_warnings, for log and `relayd -t`. */
void tls_server_warnings(const struct tls_server *server, int64_t wall_ms, struct buf *warnings);

#endif
