/* SPDX-License-Identifier: BSD-2-Clause
 *
 * DNS messages (RFC 1035, RFC 6891) as values: a question to octets, an answer's octets to records.
 * Pure.  A further type of record is a row in the table of dns_packet.c.
 */
#ifndef DNS_PACKET_H
#define DNS_PACKET_H

#include <stdint.h>

#include "base/inet.h"

enum dns_type {
    DNS_TYPE_A,
    DNS_TYPE_AAAA,
    DNS_TYPE_MX,
    DNS_TYPE_TXT,
    DNS_TYPE_PTR,
    DNS_TYPE_TLSA,
    DNS_TYPE_COUNT
};

enum dns_result {
    DNS_OK,
    DNS_NO_NAME,   /* there is no such name (NXDOMAIN) */
    DNS_NO_DATA,   /* the name has no record of the type */
    DNS_TEMPORARY, /* nothing can be said now: no answer, SERVFAIL, or one that makes no sense */
};

#define DNS_RECORDS_MAX 64 /* of one answer */
#define DNS_DATA_MAX 16384 /* octets of one answer's names, texts and raw data */
#define DNS_QUERY_SIZE 300
#define DNS_UDP_SIZE 1232 /* announced by EDNS; fits any path without fragments */

struct dns_record {
    struct inet_endpoint address; /* A, AAAA; without a port */
    uint16_t preference;          /* MX */
    bool is_root;                 /* MX, PTR: the name is the root (a null MX, RFC 7505) */
    const char *name;             /* MX, PTR: lower case; "" if it is no host's; "" for others */
    struct slice data; /* TXT: its strings joined, with any octet in it; TLSA: as it came; MX, PTR:
                          a name that is no host's, odd octets as \ddd, to be asked for at most */
};

/* Of A, AAAA, MX and PTR what is beyond the limits is left out.  Of TXT and TLSA what is missing
 * may be what decides, so that an answer beyond them is DNS_TEMPORARY. */
struct dns_reply {
    enum dns_result result;
    uint32_t ttl_s; /* the least on the way to the records; that of their absence (RFC 2308) */
    bool has_ttl;
    bool is_authentic; /* the AD bit, whoever set it */
    bool is_alias;     /* the name is another's alias (CNAME) */
    unsigned count;
    size_t size_bytes; /* of it all: one allocation, of what there is */
    const struct dns_record *records;
};

/* The query with `id`, recursion desired, AD asked for; its size in *size.  ERR_SYNTAX: `name` is
 * none. */
MUST_USE int dns_packet_query(const char *name, enum dns_type type, uint16_t id,
                              uint8_t dst[DNS_QUERY_SIZE], size_t *size);

/* An answer to that question; what it says of other names is ignored, aliases (CNAME) are followed
 * within it.  A malformed one, or an endless chain of aliases, is DNS_TEMPORARY.  Never NULL; to be
 * freed with free(). */
struct dns_reply *dns_packet_parse(const uint8_t *packet, size_t size, const char *name,
                                   enum dns_type type);

#endif
