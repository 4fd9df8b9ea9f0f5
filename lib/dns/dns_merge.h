/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Typed answers out of what the cache knows of their questions: within lib/dns only.  What is not
 * known by now counts as DNS_TEMPORARY.
 */
#ifndef DNS_MERGE_H
#define DNS_MERGE_H

#include "dns/dns_cache.h"

void dns_merge_addresses(const struct dns_cache *cache, struct dns_question *const questions[],
                         unsigned count, struct dns_addresses *found);
/* The records of an MX question. */
void dns_merge_hosts(const struct dns_cache *cache, const struct dns_question *q,
                     struct dns_hosts *found);
/* Items are borrowed from the question. */
void dns_merge_records(const struct dns_cache *cache, const struct dns_question *q,
                       struct dns_records *found);

#endif
