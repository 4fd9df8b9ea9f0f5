/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A DNS list of addresses as the settings dnsbl and dnswl spell it: "ZONE", and behind it, in any
 * order, "codes=127.0.0.2-127.0.0.11,127.0.0.20", "name=SHOWN", "test=no".
 */
#ifndef BASE_DNSBL_ZONE_H
#define BASE_DNSBL_ZONE_H

#include "base/inet.h"

#define DNSBL_ZONE_MAX 189 /* so that the name of an IPv6 address fits before it */
#define DNSBL_CODES_MAX 16

struct dnsbl_zone {
    char zone[INET_DOMAIN_SIZE];
    char name[INET_DOMAIN_SIZE]; /* for people; the zone, unless it holds somebody's key */
    bool is_tested;              /* it keeps RFC 5782 section 5 */
    unsigned code_count;
    struct dnsbl_codes {
        uint32_t first, last; /* of what is a listing, host order */
    } codes[DNSBL_CODES_MAX];
};

/* NULL, or what is wrong (static). Without codes: 127.0.0.2 to 127.255.254.255. */
const char *dnsbl_zone_parse(const char *text, struct dnsbl_zone *zone);
bool dnsbl_zone_has_code(const struct dnsbl_zone *zone, const struct inet_endpoint *answer);
/* 127.255.255.0/24: never a listing, but the list's word on who asks. */
bool dnsbl_zone_is_refusal(const struct inet_endpoint *answer);

#endif
