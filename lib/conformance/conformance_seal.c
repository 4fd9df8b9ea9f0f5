/* SPDX-License-Identifier: BSD-2-Clause
 *
 * OpenSSL checks the chain even where nobody asked it to; the name is checked here.
 */
#include "conformance/conformance_seal.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

static bool
is_for(X509 *x509, const char *name)
{
    return X509_check_ip_asc(x509, name, 0) == 1 ||
           X509_check_host(x509, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static int64_t
end_of(X509 *x509)
{
    struct tm tm;

    return ASN1_TIME_to_tm(X509_get0_notAfter(x509), &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

void
conformance_seal_read(SSL *ssl, const char *name, const struct inet_endpoint *endpoint,
                      struct conformance_certificate *certificate)
{
    X509 *x509 = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);
    char address[INET_ENDPOINT_SIZE];

    *certificate = (struct conformance_certificate){.is_seen = x509 != NULL};
    if (x509 == NULL)
        return;
    if (name[0] == '\0')
        name = inet_address_text(endpoint, address);
    certificate->end_ms = end_of(x509);
    if (result != X509_V_OK)
        snprintf(certificate->trouble, sizeof certificate->trouble, "%s",
                 X509_verify_cert_error_string(result));
    else if (!is_for(x509, name))
        snprintf(certificate->trouble, sizeof certificate->trouble, "it is not for %s", name);
}
