/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The questions of a look-up and what the cache knows of them, as one typed answer: that a part is
 * not known never hides what another part says, and the whole is as fresh and as authentic as its
 * worst part.  Keeps nothing and asks nothing.
 */
#include "dns/dns_merge.h"

#include <stdio.h>

#include "base/siphash.h"

#define TTL_MAX_S 3600

static void
begin_answer(struct dns_answer *answer)
{
    *answer = (struct dns_answer){.result = DNS_NO_DATA, .is_authentic = true, .ttl_s = TTL_MAX_S};
}

/* One question's part of an answer; its reply, if that is a fact. */
static const struct dns_reply *
merge(const struct dns_cache *cache, const struct dns_question *q, struct dns_answer *answer)
{
    enum dns_known known = dns_cache_look(cache, q);
    enum dns_result result =
        known == DNS_KNOWN_FAILED || known == DNS_KNOWN_NOT ? DNS_TEMPORARY : q->reply->result;
    int64_t left_s;

    if (known == DNS_KNOWN_STALE && result != DNS_OK) /* what was not there may be there now */
        result = DNS_TEMPORARY;
    if (result == DNS_OK || (answer->result != DNS_OK && result == DNS_TEMPORARY) ||
        (answer->result == DNS_NO_DATA && result == DNS_NO_NAME))
        answer->result = result;
    if (result == DNS_TEMPORARY)
        return NULL;
    answer->is_authentic = answer->is_authentic && q->reply->is_authentic;
    answer->is_stale = answer->is_stale || known == DNS_KNOWN_STALE;
    left_s = (q->fresh_until_ms - dns_cache_now_ms(cache) + 999) / 1000;
    if (known == DNS_KNOWN_STALE)
        left_s = 0;
    if (left_s < answer->ttl_s)
        answer->ttl_s = (uint32_t)left_s;
    return q->reply;
}

static unsigned
random_below(unsigned n)
{
    uint32_t random;

    random_bytes(&random, sizeof random);
    return random % n;
}

static void
add_addresses(struct dns_addresses *found, const struct dns_reply *reply)
{
    for (unsigned i = 0; reply != NULL && i < reply->count; i++) {
        unsigned at;

        if (found->count == DNS_ADDRESSES_MAX)
            return;
        at = random_below(found->count + 1); /* a shuffle, card by card */
        found->items[found->count] = found->items[at];
        found->items[at] = reply->records[i].address;
        found->count++;
    }
}

void
dns_merge_addresses(const struct dns_cache *cache, struct dns_question *const questions[],
                    unsigned count, struct dns_addresses *found)
{
    memset(found, 0, sizeof *found);
    begin_answer(&found->answer);
    for (unsigned i = 0; i < count; i++)
        add_addresses(found, merge(cache, questions[i], &found->answer));
}

/* Into its place by preference, and a random one among those of the same. */
static void
add_host(struct dns_hosts *found, uint16_t preference, const char *name)
{
    unsigned begin = 0, end, at;

    while (begin < found->count && found->items[begin].preference < preference)
        begin++;
    for (end = begin; end < found->count && found->items[end].preference == preference;)
        end++;
    at = begin + random_below(end - begin + 1);
    memmove(found->items + at + 1, found->items + at, (found->count - at) * sizeof found->items[0]);
    found->count++;
    found->items[at].preference = preference;
    snprintf(found->items[at].name, sizeof found->items[at].name, "%s", name);
}

void
dns_merge_hosts(const struct dns_cache *cache, const struct dns_question *q,
                struct dns_hosts *found)
{
    const struct dns_reply *reply;

    memset(found, 0, sizeof *found);
    begin_answer(&found->answer);
    reply = merge(cache, q, &found->answer);
    if (found->answer.result == DNS_NO_DATA) { /* RFC 5321 5.1: the implicit MX */
        found->answer.result = DNS_OK;
        add_host(found, 0, q->name);
        return;
    }
    for (unsigned i = 0; reply != NULL && i < reply->count && found->count < DNS_HOSTS_MAX; i++)
        if (reply->records[i].name[0] != '\0')
            add_host(found, reply->records[i].preference, reply->records[i].name);
    if (found->answer.result == DNS_OK && found->count == 0)
        found->answer.result = DNS_NO_NAME; /* a null MX, or none that could be a host */
}

void
dns_merge_records(const struct dns_cache *cache, const struct dns_question *q,
                  struct dns_records *found)
{
    const struct dns_reply *reply;

    memset(found, 0, sizeof *found);
    begin_answer(&found->answer);
    reply = merge(cache, q, &found->answer);
    if (reply == NULL)
        return;
    found->is_alias = reply->is_alias;
    found->count = reply->count;
    found->items = reply->records;
}
