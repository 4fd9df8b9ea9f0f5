/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Names looked up at one recursive resolver, with a bounded cache before it (P8: never blocking).
 * No search domains, no files: a name is asked for as it is, in any case, with or without the dot
 * of the root.  One that cannot be asked for (empty or over-long labels) is DNS_TEMPORARY.
 *
 * What is asked for twice at once is asked once.  Answers are kept for their TTL, at least 5 s and
 * at most 1 h; that there is no such name or no data, as its SOA record says (RFC 2308), but 60 s
 * at most for backends and 5 min for the policy; a failure, 5 s.  While the resolver fails, an
 * answer that was good is good for another day (RFC 8767), so that a customer's mail does not
 * depend on the resolver's moment.  That holds for the policy's questions as well: an SPF record of
 * yesterday is better than none; who does not think so looks at is_stale.  What was *not* there is
 * never told when stale: that is DNS_TEMPORARY.
 */
#ifndef DNS_H
#define DNS_H

#include "dns/dns_packet.h"
#include "net/loop.h"

#define DNS_LOOKUP_MS 5000 /* a look-up's deadline, whole */

/* For whose sake a question is asked.  Each has queries and room in the cache of its own, so that
 * what strangers make us ask never gets in the way of customers' mail. */
enum dns_cause {
    DNS_FOR_BACKEND, /* names that an operator has registered */
    DNS_FOR_POLICY,  /* names that a sender has chosen */
    DNS_CAUSE_COUNT
};

struct dns;
struct dns_lookup;

struct dns *dns_new(struct loop *loop, const struct inet_endpoint *resolver);
void dns_free(struct dns **dns); /* look-ups have been cancelled */
struct loop *dns_loop(const struct dns *dns);

struct dns_answer {
    enum dns_result result;
    uint32_t ttl_s;    /* that is left; 0 if stale */
    bool is_authentic; /* validated (AD), and the resolver is on this host */
    bool is_stale;     /* the resolver does not answer; it was so before */
};

#define DNS_ADDRESSES_MAX 16
struct dns_addresses {
    struct dns_answer answer;
    unsigned count;
    struct inet_endpoint items[DNS_ADDRESSES_MAX]; /* without a port, in random order */
};

/* Hosts of a mail domain in the order in which they are to be tried: by preference, random within
 * one (RFC 5321 5.1).  A domain without MX is its own host.  DNS_NO_NAME: also a null MX (RFC
 * 7505). */
#define DNS_HOSTS_MAX 16
struct dns_hosts {
    struct dns_answer answer;
    unsigned count;
    struct dns_host {
        uint16_t preference;
        char name[INET_DOMAIN_SIZE];
    } items[DNS_HOSTS_MAX];
};

/* The records of one type as they came, in their order.  Of an MX record only its own data is
 * known: that it names an address is seen in its text, that it names an alias by the is_alias of
 * the look-up of that name. */
struct dns_records {
    struct dns_answer answer;
    bool is_alias;                  /* the name itself is an alias */
    unsigned count;                 /* at most DNS_RECORDS_MAX; 0 unless DNS_OK */
    const struct dns_record *items; /* borrowed until the end of the turn */
};

/* The answer, if it is there at once; else false, and it is being fetched. */
bool dns_find_addresses(struct dns *dns, enum dns_cause cause, const char *name,
                        struct dns_addresses *found);
bool dns_find_hosts(struct dns *dns, enum dns_cause cause, const char *name,
                    struct dns_hosts *found);
/* For the policy. */
bool dns_find_records(struct dns *dns, const char *name, enum dns_type type,
                      struct dns_records *found);
/* The same if a fresh answer is there; nothing is fetched. */
bool dns_peek_records(struct dns *dns, const char *name, enum dns_type type,
                      struct dns_records *found);

/* A and AAAA of `name`.  The callback runs once, never from inside; what it is given is borrowed.
 * AAAA is not waited for long if there is an A. */
struct dns_lookup *
dns_lookup_addresses(struct dns *dns, enum dns_cause cause, const char *name,
                     void (*on_found)(void *ctx, const struct dns_addresses *found), void *ctx);
struct dns_lookup *dns_lookup_hosts(struct dns *dns, enum dns_cause cause, const char *name,
                                    void (*on_found)(void *ctx, const struct dns_hosts *found),
                                    void *ctx);
struct dns_lookup *dns_lookup_records(struct dns *dns, const char *name, enum dns_type type,
                                      void (*on_found)(void *ctx, const struct dns_records *found),
                                      void *ctx);
void dns_lookup_cancel(struct dns_lookup **lookup); /* what it has asked for is kept all the same */

struct dns_usage {
    unsigned questions, queries; /* kept; in flight */
    size_t bytes;
};
struct dns_usage dns_usage(const struct dns *dns, enum dns_cause cause);

/* For tests: all that is known is so much older. */
void dns_age(struct dns *dns, int64_t by_ms);

/* Why there is no address, for a person: "its name does not exist", ... */
const char *dns_result_text(enum dns_result result);

#endif
