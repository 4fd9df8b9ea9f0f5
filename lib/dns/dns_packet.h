/* SPDX-License-Identifier: BSD-2-Clause
 *
 * DNS messages (RFC 1035, RFC 6891) as values: a question to octets, an answer's octets to records.
 * Pure.  A further type of record is a row in the table of dns_packet.c.
 */
#ifndef DNS_PACKET_H
#define DNS_PACKET_H

#include <stdint.h>

#include "base/inet.h"

enum dns_type { DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_COUNT };

enum dns_result {
    DNS_OK,
    DNS_NO_NAME,   /* there is no such name (NXDOMAIN) */
    DNS_NO_DATA,   /* the name has no record of the type */
    DNS_TEMPORARY, /* nothing can be said now: no answer, SERVFAIL, or one that makes no sense */
};

#define DNS_RECORDS_MAX 16 /* of one answer; further ones are left out */
#define DNS_QUERY_SIZE 300
#define DNS_UDP_SIZE 1232 /* announced by EDNS; fits any path without fragments */

struct dns_record {
    struct inet_endpoint address; /* A, AAAA; without a port */
    uint16_t preference;          /* MX */
    char name[INET_DOMAIN_SIZE];  /* MX: lower case; "" is the root (RFC 7505), or no host's name */
    bool is_root;
};

struct dns_records {
    enum dns_result result;
    uint32_t ttl_s; /* the least on the way to the records; that of their absence (RFC 2308) */
    bool has_ttl;
    bool is_authentic; /* the AD bit, whoever set it */
    unsigned count;
    struct dns_record records[DNS_RECORDS_MAX];
};

/* The query with `id`, recursion desired, AD asked for; its size in *size.  ERR_SYNTAX: `name` is
 * none. */
MUST_USE int dns_packet_query(const char *name, enum dns_type type, uint16_t id,
                              uint8_t dst[DNS_QUERY_SIZE], size_t *size);

/* An answer to that question; what it says of other names is ignored, aliases (CNAME) are followed
 * within it.  A malformed one, or an endless chain of aliases, is DNS_TEMPORARY. */
void dns_packet_parse(const uint8_t *packet, size_t size, const char *name, enum dns_type type,
                      struct dns_records *found);

#endif
