/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An internet address with a port, and the names of mail domains.  IPv4-mapped IPv6 is unwrapped to
 * IPv4 at the border, so that one host has one spelling.
 */
#ifndef BASE_INET_H
#define BASE_INET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/slice.h"

/* A plain value: compares with inet_endpoint_equal, safe in shared memory and in files of this
 * machine. */
struct inet_endpoint {
    uint8_t family;   /* 4 or 6; 0: none */
    uint8_t addr[16]; /* network order; IPv4 in the first four */
    uint16_t port;    /* host order */
};

/* "192.0.2.10:25", "[2001:db8::1]:25"; without a port `default_port` (0: a port is required).
 * ERR_SYNTAX, ERR_RANGE. */
MUST_USE int inet_endpoint_parse(struct slice s, uint16_t default_port, struct inet_endpoint *e);
#define INET_ENDPOINT_SIZE 64
const char *inet_endpoint_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE]);
/* The address alone: "192.0.2.10", "2001:db8::1". */
const char *inet_address_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE]);
/* The address literal of RFC 5321 4.1.3: "[192.0.2.10]", "[IPv6:2001:db8::1]". */
const char *inet_literal_text(const struct inet_endpoint *e, char dst[INET_ENDPOINT_SIZE]);
bool inet_endpoint_equal(const struct inet_endpoint *a, const struct inet_endpoint *b);
/* For a table of endpoints of our own choice: whoever can choose them can have them collide. */
uint32_t inet_endpoint_hash(const struct inet_endpoint *e);

/* A block of addresses. */
struct inet_network {
    uint8_t family;   /* 4 or 6; 0: none */
    uint8_t bits;     /* length of the prefix */
    uint8_t addr[16]; /* as in an endpoint; 0 behind the prefix */
};

/* "192.0.2.0/24", "2001:db8::/32", or one address.  ERR_SYNTAX; ERR_RANGE: the prefix is too long,
 * or there are bits set behind it. */
MUST_USE int inet_network_parse(struct slice s, struct inet_network *n);
const char *inet_network_text(const struct inet_network *n, char dst[INET_ENDPOINT_SIZE]);
bool inet_network_has(const struct inet_network *n, const struct inet_endpoint *e);
/* The network of that length which holds the address; at most 32 or 128 bits. */
struct inet_network inet_network_around(const struct inet_endpoint *e, unsigned bits);
/* A network of the form that inet_network_parse makes: of a family, no longer than its addresses,
 * no bits set behind the prefix. */
bool inet_network_is_valid(const struct inet_network *n);

socklen_t inet_endpoint_to_sockaddr(const struct inet_endpoint *e, struct sockaddr_storage *ss);
MUST_USE int inet_endpoint_from_sockaddr(const struct sockaddr *sa, struct inet_endpoint *e);

/* A mail domain in its one stored form: lower-case A-labels, no trailing dot, at most 253 octets,
 * each label 1 to 63 octets of letters, digits and hyphens (underscore allowed), two labels at
 * least.  U-labels are converted by libidn2 (IDNA 2008, non-transitional).  ERR_SYNTAX with a
 * sentence for a person in *why (static). */
#define INET_DOMAIN_SIZE 254
MUST_USE int inet_domain_normalize(struct slice s, char dst[INET_DOMAIN_SIZE], const char **why);

#endif
