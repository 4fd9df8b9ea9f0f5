/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The way that mail of our own takes to the Internet: the settings outbound-route, outbound-tls and
 * outbound-credentials.
 */
#ifndef BASE_OUTBOUND_H
#define BASE_OUTBOUND_H

#include "base/inet.h"

enum outbound_kind {
    OUTBOUND_NONE, /* not set: nothing leaves */
    OUTBOUND_MX,   /* to the MX hosts of each domain */
    OUTBOUND_SMARTHOST,
};

struct outbound {
    enum outbound_kind kind;
    char host[INET_DOMAIN_SIZE]; /* of the smarthost; "" with an address */
    struct inet_endpoint
        endpoint; /* family 0: `host` is looked up; the port is here all the same */
};

/* "", "mx", "NAME:PORT" or "ADDRESS:PORT".  NULL, or what is wrong, for people. */
const char *outbound_parse(const char *text, struct outbound *outbound);

enum outbound_tls { /* in the order of enum registry_tls */
                    OUTBOUND_TLS_NONE,
                    OUTBOUND_TLS_MAY,
                    OUTBOUND_TLS_ENCRYPT,
                    OUTBOUND_TLS_VERIFY,
};
const char *outbound_tls_parse(const char *text, enum outbound_tls *tls);

/* Who we are to the smarthost. */
struct outbound_credentials {
    char user[256], password[256];
};
/* A file of one line USER:PASSWORD that nobody but its owner may read.  NULL, or what is wrong. */
const char *outbound_credentials_read(const char *path, struct outbound_credentials *credentials);

#endif
