/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A server's certificate with its chain and key, read from PEM files, and everything that can be
 * wrong with them in a sentence that says which file and what to do.  Reading is for the parent, at
 * start and reload.
 *
 * A problem means that it cannot be used; a warning that it can, but that an operator should know.
 */
#ifndef NET_TLS_CERTIFICATE_H
#define NET_TLS_CERTIFICATE_H

#include <openssl/types.h>

#include "base/buf.h"

struct tls_certificate;

#define TLS_CERTIFICATE_WARN_DAYS 14 /* before its end */

/* `path`: the certificate, then its issuers in order; `key_path`: its key, not encrypted. Problems
 * are lines "tls-certificate FILE: what is wrong; what to do"; then ERR_IO or ERR_SYNTAX. */
MUST_USE int tls_certificate_load(const char *path, const char *key_path, struct buf *problems,
                                  struct tls_certificate **certificate);
/* The certificate alone, for who may not read the key: of that only its mode is looked at, where it
 * can be seen. Cannot be used in a context. */
MUST_USE int tls_certificate_read(const char *path, const char *key_path, struct buf *problems,
                                  struct tls_certificate **certificate);
void tls_certificate_free(struct tls_certificate **certificate);

/* Whether it is for `name` (lower case): one of its names, or a wildcard of one label. */
bool tls_certificate_is_for(const struct tls_certificate *certificate, const char *name);
size_t tls_certificate_name_count(const struct tls_certificate *certificate);
const char *tls_certificate_name(const struct tls_certificate *certificate, size_t i);
/* "RSA", "EC", "ED25519": a context holds one of each. */
const char *tls_certificate_kind(const struct tls_certificate *certificate);
const char *tls_certificate_path(const struct tls_certificate *certificate);
int64_t tls_certificate_end_ms(const struct tls_certificate *certificate); /* wall clock */

/* Does a TLSA record, as it came (RFC 6698 2.1), name the certificate (usage 3, DANE-EE) or one of
 * its chain (usage 2, DANE-TA)?  Of other usages, and what is not known, none does. */
bool tls_certificate_fits_tlsa(const struct tls_certificate *certificate, struct slice tlsa);

/* Puts it into a context; on failure a line in `problems` and ERR_SYNTAX. */
MUST_USE int tls_certificate_use(const struct tls_certificate *certificate, SSL_CTX *ctx,
                                 struct buf *problems);
/* Lines as above: has ended, ends within TLS_CERTIFICATE_WARN_DAYS, has not begun, its key can be
 * read by everybody. */
void tls_certificate_warnings(const struct tls_certificate *certificate, int64_t wall_ms,
                              struct buf *warnings);
/* Of several that serve one host: each one's, and that none is for `hostname`. */
void tls_certificates_warnings(struct tls_certificate *const *certificates, size_t count,
                               const char *hostname, int64_t wall_ms, struct buf *warnings);

#endif
