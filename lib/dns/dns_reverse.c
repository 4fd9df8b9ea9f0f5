/* SPDX-License-Identifier: BSD-2-Clause
 *
 * An address written backwards: octets of IPv4, hexadecimal digits of IPv6, and the end.
 */
#include "dns/dns_reverse.h"

#include <stdio.h>

static const char *
reverse(const struct inet_endpoint *address, const char *end, char *dst, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;

    if (address->family == 4) {
        snprintf(dst, size, "%u.%u.%u.%u.%s", address->addr[3], address->addr[2], address->addr[1],
                 address->addr[0], end);
        return dst;
    }
    for (unsigned i = 16; i-- > 0;) {
        dst[n++] = digits[address->addr[i] & 15];
        dst[n++] = '.';
        dst[n++] = digits[address->addr[i] >> 4];
        dst[n++] = '.';
    }
    snprintf(dst + n, size - n, "%s", end);
    return dst;
}

const char *
dns_reverse_name(const struct inet_endpoint *address, char dst[DNS_REVERSE_SIZE])
{
    return reverse(address, address->family == 4 ? "in-addr.arpa" : "ip6.arpa", dst,
                   DNS_REVERSE_SIZE);
}

const char *
dns_zone_name(const struct inet_endpoint *address, const char *zone,
              char dst[DNS_REVERSE_SIZE + INET_DOMAIN_SIZE])
{
    return reverse(address, zone, dst, DNS_REVERSE_SIZE + INET_DOMAIN_SIZE);
}
