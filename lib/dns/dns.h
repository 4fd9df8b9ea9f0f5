/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names looked up at one recursive resolver, with a bounded cache before it (P8: never blocking).
 * No search domains, no files: a name is asked for as it is.
 *
 * What is asked for twice at once is asked once.  Answers are kept for their TTL, at least 5 s and
 * at most 1 h; that there is no such name or no data, 60 s at most (RFC 2308); a failure, 5 s.
 * While the resolver fails, an answer that was good is good for another day (RFC 8767), so that a
 * customer's mail does not depend on the resolver's moment.
 */
#ifndef DNS_H
#define DNS_H

#include "dns/dns_packet.h"
#include "net/loop.h"

#define DNS_LOOKUP_MS 5000 /* a look-up's deadline, whole */

struct dns;
struct dns_lookup;

struct dns *dns_new(struct loop *loop, const struct inet_endpoint *resolver);
void dns_free(struct dns **dns); /* look-ups have been cancelled */

struct dns_answer {
    enum dns_result result;
    uint32_t ttl_s;    /* that is left; 0 if stale */
    bool is_authentic; /* validated (AD), and the resolver is on this host */
    bool is_stale;     /* the resolver does not answer; it was so before */
};

struct dns_addresses {
    struct dns_answer answer;
    unsigned count;
    struct inet_endpoint items[DNS_RECORDS_MAX]; /* without a port, in random order */
};

/* Hosts of a mail domain in the order in which they are to be tried: by preference, random within
 * one (RFC 5321 5.1).  A domain without MX is its own host.  DNS_NO_NAME: also a null MX (RFC
 * 7505). */
struct dns_hosts {
    struct dns_answer answer;
    unsigned count;
    struct dns_host {
        uint16_t preference;
        char name[INET_DOMAIN_SIZE];
    } items[DNS_RECORDS_MAX];
};

/* The answer, if it is there at once; else false, and it is being fetched. */
bool dns_find_addresses(struct dns *dns, const char *name, struct dns_addresses *found);
bool dns_find_hosts(struct dns *dns, const char *name, struct dns_hosts *found);

/* A and AAAA of `name`.  The callback runs once, never from inside; what it is given is borrowed.
 * AAAA is not waited for long if there is an A. */
struct dns_lookup *
dns_lookup_addresses(struct dns *dns, const char *name,
                     void (*on_found)(void *ctx, const struct dns_addresses *found), void *ctx);
struct dns_lookup *dns_lookup_hosts(struct dns *dns, const char *name,
                                    void (*on_found)(void *ctx, const struct dns_hosts *found),
                                    void *ctx);
void dns_lookup_cancel(struct dns_lookup **lookup); /* what it has asked for is kept all the same */

/* For tests: all that is known is so much older. */
void dns_age(struct dns *dns, int64_t by_ms);

/* Why there is no address, for a person: "its name does not exist", ... */
const char *dns_result_text(enum dns_result result);

#endif
