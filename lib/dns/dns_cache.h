/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Questions (name and type) with what is known of them, and their queries under way: within lib/dns
 * only, below the look-ups of dns.h.
 */
#ifndef DNS_CACHE_H
#define DNS_CACHE_H

#include "dns/dns.h"

struct dns_cache;
struct dns_query;

struct dns_question {
    struct dns_question *next_in_bucket;
    struct dns_question *older, *newer; /* by use, among those of its cause */
    struct dns_reply *reply;            /* the last that the resolver was sure of; NULL none */
    int64_t fresh_until_ms, failed_until_ms, hold_until_ms;
    struct dns_query *query;
    void *waiters;    /* the look-ups': not used here */
    unsigned holders; /* it is not evicted as long as there are any */
    enum dns_type type;
    enum dns_cause cause;
    char name[]; /* lower case */
};

/* on_news: an answer has come, or there will be none for a while.  Also from inside a hold. */
struct dns_cache *dns_cache_new(struct loop *loop, const struct inet_endpoint *resolver,
                                void (*on_news)(void *ctx, struct dns_question *q), void *ctx);
void dns_cache_free(struct dns_cache **cache); /* nothing is held */

/* The question; if there is a reason to, it is asked, also behind the back of a stale answer. */
struct dns_question *dns_cache_hold(struct dns_cache *cache, enum dns_cause cause, const char *name,
                                    enum dns_type type);
void dns_cache_let_go(struct dns_question *q);
/* The question if it has a fresh reply, else NULL; nothing is asked, and its place among the least
 * recently used stays. Not held. */
const struct dns_question *dns_cache_peek(struct dns_cache *cache, const char *name,
                                          enum dns_type type);

/* With DNS_KNOWN_FRESH and DNS_KNOWN_STALE there is a reply. */
enum dns_known { DNS_KNOWN_FRESH, DNS_KNOWN_STALE, DNS_KNOWN_FAILED, DNS_KNOWN_NOT };
enum dns_known dns_cache_look(const struct dns_cache *cache, const struct dns_question *q);
bool dns_cache_has_stale(const struct dns_cache *cache, const struct dns_question *q);
/* The resolver has taken too long: for a while nobody waits for it. */
void dns_cache_give_up(struct dns_cache *cache, struct dns_question *q);

int64_t dns_cache_now_ms(const struct dns_cache *cache);
void dns_cache_age(struct dns_cache *cache, int64_t by_ms);
struct dns_usage dns_cache_usage(const struct dns_cache *cache, enum dns_cause cause);

#endif
