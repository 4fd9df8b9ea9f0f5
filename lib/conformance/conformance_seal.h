/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a server's certificate is worth, whatever the policy of the connection.
 */
#ifndef CONFORMANCE_SEAL_H
#define CONFORMANCE_SEAL_H

#include "conformance/conformance.h"

/* Of a connection whose handshake is done; `name` "": the address. */
void conformance_seal_read(SSL *ssl, const char *name, const struct inet_endpoint *endpoint,
                           struct conformance_certificate *certificate);

#endif
