/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names of addresses.  Pure.
 */
#ifndef DNS_REVERSE_H
#define DNS_REVERSE_H

#include "base/inet.h"

/* The name under which an address's PTR records are: "9.2.0.192.in-addr.arpa", "1.0...ip6.arpa"
 * (RFC 1035 3.5, RFC 3596 2.5); in a DNSBL's zone the same before another end (RFC 5782 2.1, 2.4).
 */
#define DNS_REVERSE_SIZE 80
const char *dns_reverse_name(const struct inet_endpoint *address, char dst[DNS_REVERSE_SIZE]);
const char *dns_zone_name(const struct inet_endpoint *address, const char *zone,
                          char dst[DNS_REVERSE_SIZE + INET_DOMAIN_SIZE]);

#endif
