/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A question is both the place in the cache and the place where equal queries meet.  Who causes
 * questions has a room of its own (the table of causes): what strangers make us ask can neither
 * evict what is known of backends nor use up the queries for them.  A question that both cause is
 * the backend's from then on.
 *
 * When all of a cause's queries are in flight, the one that has waited longest makes room for the
 * next, if it has waited so long that its name is hardly of a zone that answers: a flood of dead
 * names delays itself, and not the names that would be answered.
 *
 * Invariants: a question has at most one query in flight, and is not evicted then, nor while it is
 * held; a reply lives until the end of the turn in which it was replaced or evicted.
 */
#include "dns/dns_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/siphash.h"
#include "dns/dns_transport.h"

#define BUCKETS 8192
#define TTL_MIN_S 5
#define TTL_MAX_S 3600
#define FAILURE_MS 5000                  /* then the resolver is asked again */
#define STALE_MS (24 * 3600 * 1000LL)    /* behind the end of its TTL */
#define STALE_HOLD_MS 30000              /* it is not waited for: RFC 8767 5 */
#define PATIENCE_MS 1000                 /* of a query whose place another one wants */
#define ABANDONED_MAX 8192               /* nobody waits for them; the transport ends them */
#define NAME_SIZE (INET_DOMAIN_SIZE + 1) /* one octet more than can be asked */

static const struct cause_row {
    struct dns_usage most;
    uint32_t negative_max_s;
} causes[] = {
    /* An operator who has put a name right does not wait long for it. */
    [DNS_FOR_BACKEND] = {{.questions = 2048, .queries = 512, .bytes = 4 << 20}, 60},
    /* Dead zones are common among strangers: 450 of their names a second, of 4.5 s each, and 2,048
     * when others want their places. */
    [DNS_FOR_POLICY] = {{.questions = 14336, .queries = 2048, .bytes = 12 << 20}, 300},
};
_Static_assert(ARRAY_SIZE(causes) == DNS_CAUSE_COUNT, "each cause has its row");

struct dns_query {
    struct dns_cache *cache;
    struct dns_question *question; /* NULL: abandoned */
    TAILQ_ENTRY(dns_query) in_flight;
    int64_t began_ms;
    uint16_t id;
};

struct room {
    struct dns_question *oldest, *newest;
    TAILQ_HEAD(dns_queries, dns_query) in_flight; /* the oldest first */
    struct dns_usage used;
};

struct dns_cache {
    struct loop *loop;
    struct dns_transport *transport;
    bool is_trusted; /* the resolver's AD bit */
    bool is_closed;
    uint8_t key[SIPHASH_KEY_SIZE];
    struct dns_question *buckets[BUCKETS];
    struct room rooms[DNS_CAUSE_COUNT];
    uint8_t ids[(UINT16_MAX + 1) / 8]; /* in flight: a bit each */
    unsigned abandoned;
    void (*on_news)(void *ctx, struct dns_question *q);
    void *ctx;
    int64_t aged_ms; /* by a test */
};

int64_t
dns_cache_now_ms(const struct dns_cache *cache)
{
    return loop_now_ms(cache->loop) + cache->aged_ms;
}

/* --- Rooms. */

static size_t
size_of(const struct dns_question *q)
{
    return sizeof *q + strlen(q->name) + 1 + (q->reply != NULL ? q->reply->size_bytes : 0);
}

static void
room_leave(struct dns_cache *cache, struct dns_question *q)
{
    struct room *room = &cache->rooms[q->cause];

    *(q->older ? &q->older->newer : &room->oldest) = q->newer;
    *(q->newer ? &q->newer->older : &room->newest) = q->older;
    room->used.questions--;
    room->used.bytes -= size_of(q);
    if (q->query != NULL) {
        room->used.queries--;
        TAILQ_REMOVE(&room->in_flight, q->query, in_flight);
    }
}

/* As the one that was used last. */
static void
room_enter(struct dns_cache *cache, struct dns_question *q)
{
    struct room *room = &cache->rooms[q->cause];

    q->older = room->newest;
    q->newer = NULL;
    *(room->newest ? &room->newest->newer : &room->oldest) = q;
    room->newest = q;
    room->used.questions++;
    room->used.bytes += size_of(q);
    if (q->query != NULL) {
        room->used.queries++;
        TAILQ_INSERT_TAIL(&room->in_flight, q->query, in_flight);
    }
}

/* --- Questions. */

static struct dns_question **
bucket_of(struct dns_cache *cache, const char *name, enum dns_type type)
{
    return &cache->buckets[(siphash(name, strlen(name), cache->key) + type) % BUCKETS];
}

static void
reply_drop(struct dns_cache *cache, struct dns_question *q)
{
    if (q->reply != NULL)
        loop_defer(cache->loop, free, q->reply); /* it may be borrowed */
    q->reply = NULL;
}

static void
question_free(struct dns_cache *cache, struct dns_question *q)
{
    struct dns_question **at = bucket_of(cache, q->name, q->type);

    while (*at != q)
        at = &(*at)->next_in_bucket;
    *at = q->next_in_bucket;
    room_leave(cache, q);
    reply_drop(cache, q);
    free(q);
}

/* Down to what may be; those in use stay. */
static void
evict(struct dns_cache *cache, enum dns_cause cause)
{
    const struct dns_usage *most = &causes[cause].most, *used = &cache->rooms[cause].used;
    struct dns_question *q = cache->rooms[cause].oldest, *next;

    for (; q != NULL && (used->questions > most->questions || used->bytes > most->bytes);
         q = next) {
        next = q->newer;
        if (q->query == NULL && q->holders == 0)
            question_free(cache, q);
    }
}

static int64_t
lifetime_ms(const struct dns_question *q, const struct dns_reply *reply)
{
    uint32_t most_s = reply->result == DNS_OK ? TTL_MAX_S : causes[q->cause].negative_max_s;
    uint32_t ttl_s = reply->has_ttl ? reply->ttl_s : most_s;

    ttl_s = ttl_s < TTL_MIN_S ? TTL_MIN_S : ttl_s;
    return (ttl_s < most_s ? ttl_s : most_s) * INT64_C(1000);
}

/* What strangers had asked for, a backend needs now: by a backend's rules. */
static void
promote(struct dns_cache *cache, struct dns_question *q)
{
    int64_t by_ms = dns_cache_now_ms(cache) + causes[DNS_FOR_BACKEND].negative_max_s * 1000;

    room_leave(cache, q);
    q->cause = DNS_FOR_BACKEND;
    room_enter(cache, q);
    q->failed_until_ms = 0; /* it may have been for want of room */
    if (q->reply != NULL && q->reply->result != DNS_OK && q->fresh_until_ms > by_ms)
        q->fresh_until_ms = by_ms;
}

static struct dns_question *
question_new(struct dns_cache *cache, enum dns_cause cause, const char *name, enum dns_type type)
{
    struct dns_question **bucket = bucket_of(cache, name, type), *q;
    size_t size = strlen(name) + 1;

    q = mem_alloc(sizeof *q + size);
    memcpy(q->name, name, size);
    q->type = type;
    q->cause = cause;
    q->next_in_bucket = *bucket;
    *bucket = q;
    room_enter(cache, q);
    return q;
}

/* In lower case, without the dot of the root; what is too long stays so. */
static void
name_key(const char *name, char key[NAME_SIZE])
{
    size_t n = strlen(name);

    if (n > 1 && name[n - 1] == '.')
        n--;
    if (n > NAME_SIZE - 1)
        n = NAME_SIZE - 1;
    for (size_t i = 0; i < n; i++)
        key[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    key[n] = '\0';
}

static struct dns_question *
question_find(struct dns_cache *cache, const char key[NAME_SIZE], enum dns_type type)
{
    struct dns_question *q = *bucket_of(cache, key, type);

    while (q != NULL && (q->type != type || strcmp(q->name, key) != 0))
        q = q->next_in_bucket;
    return q;
}

static struct dns_question *
question_of(struct dns_cache *cache, enum dns_cause cause, const char *name, enum dns_type type)
{
    char key[NAME_SIZE];
    struct dns_question *q;

    name_key(name, key);
    q = question_find(cache, key, type);
    if (q == NULL)
        return question_new(cache, cause, key, type);
    if (cause == DNS_FOR_BACKEND && q->cause != cause) {
        promote(cache, q);
        return q;
    }
    room_leave(cache, q);
    room_enter(cache, q);
    return q;
}

/* --- Answers. */

static void
question_failed(struct dns_cache *cache, struct dns_question *q)
{
    int64_t now_ms = dns_cache_now_ms(cache);

    q->failed_until_ms = now_ms + FAILURE_MS;
    q->hold_until_ms = now_ms + STALE_HOLD_MS;
    cache->on_news(cache->ctx, q);
}

static void
question_answered(struct dns_cache *cache, struct dns_question *q, struct dns_reply *reply)
{
    struct room *room = &cache->rooms[q->cause];

    room->used.bytes -= size_of(q);
    reply_drop(cache, q);
    q->reply = reply;
    room->used.bytes += size_of(q);
    q->fresh_until_ms = dns_cache_now_ms(cache) + lifetime_ms(q, reply);
    q->failed_until_ms = q->hold_until_ms = 0;
    cache->on_news(cache->ctx, q);
    evict(cache, q->cause);
}

/* --- Queries. */

/* It no longer counts, and nobody is told what comes of it. */
static void
query_detach(struct dns_query *query)
{
    struct room *room = &query->cache->rooms[query->question->cause];

    TAILQ_REMOVE(&room->in_flight, query, in_flight);
    room->used.queries--;
    query->question->query = NULL;
    query->question = NULL;
}

static void
query_free(struct dns_query *query)
{
    struct dns_cache *cache = query->cache;

    cache->ids[query->id / 8] &= (uint8_t) ~(1u << query->id % 8);
    if (query->question != NULL)
        query_detach(query);
    else
        cache->abandoned--;
    free(query);
}

static void
on_answer(void *ctx, const uint8_t *packet, size_t size)
{
    struct dns_query *query = ctx;
    struct dns_cache *cache = query->cache;
    struct dns_question *q = query->question;
    struct dns_reply *reply;

    query_free(query);
    if (cache->is_closed || q == NULL)
        return;
    reply = dns_packet_parse(packet, size, q->name, q->type);
    reply->is_authentic = reply->is_authentic && cache->is_trusted;
    if (reply->result == DNS_TEMPORARY) {
        free(reply);
        question_failed(cache, q);
    } else
        question_answered(cache, q, reply);
}

static uint16_t
new_id(struct dns_cache *cache)
{
    uint16_t id;

    do
        random_bytes(&id, sizeof id);
    while (cache->ids[id / 8] & 1u << id % 8);
    cache->ids[id / 8] |= (uint8_t)(1u << id % 8);
    return id;
}

static bool
make_room(struct dns_cache *cache, enum dns_cause cause)
{
    struct room *room = &cache->rooms[cause];
    struct dns_query *oldest = TAILQ_FIRST(&room->in_flight);
    struct dns_question *q;

    if (room->used.queries < causes[cause].most.queries)
        return true;
    if (loop_now_ms(cache->loop) - oldest->began_ms < PATIENCE_MS ||
        cache->abandoned >= ABANDONED_MAX)
        return false;
    q = oldest->question;
    query_detach(oldest);
    cache->abandoned++;
    question_failed(cache, q);
    return true;
}

static void
query_start(struct dns_cache *cache, struct dns_question *q)
{
    struct room *room = &cache->rooms[q->cause];
    uint8_t packet[DNS_QUERY_SIZE];
    struct dns_query *query;
    size_t size;

    if (!make_room(cache, q->cause) || dns_packet_query(q->name, q->type, 0, packet, &size) < 0) {
        question_failed(cache, q);
        return;
    }
    query = mem_alloc(sizeof *query);
    *query = (struct dns_query){
        .cache = cache, .question = q, .began_ms = loop_now_ms(cache->loop), .id = new_id(cache)};
    packet[0] = (uint8_t)(query->id >> 8);
    packet[1] = (uint8_t)query->id;
    q->query = query;
    room->used.queries++;
    TAILQ_INSERT_TAIL(&room->in_flight, query, in_flight);
    dns_transport_send(cache->transport, packet, size, on_answer, query);
}

/* --- What is known now. */

bool
dns_cache_has_stale(const struct dns_cache *cache, const struct dns_question *q)
{
    return q->reply != NULL && dns_cache_now_ms(cache) < q->fresh_until_ms + STALE_MS;
}

enum dns_known
dns_cache_look(const struct dns_cache *cache, const struct dns_question *q)
{
    int64_t now_ms = dns_cache_now_ms(cache);

    if (q->reply != NULL && now_ms < q->fresh_until_ms)
        return DNS_KNOWN_FRESH;
    if (dns_cache_has_stale(cache, q))
        return now_ms < q->hold_until_ms ? DNS_KNOWN_STALE : DNS_KNOWN_NOT;
    return now_ms < q->failed_until_ms ? DNS_KNOWN_FAILED : DNS_KNOWN_NOT;
}

const struct dns_question *
dns_cache_peek(struct dns_cache *cache, const char *name, enum dns_type type)
{
    char key[NAME_SIZE];
    const struct dns_question *q;

    name_key(name, key);
    q = question_find(cache, key, type);
    return q != NULL && dns_cache_look(cache, q) == DNS_KNOWN_FRESH ? q : NULL;
}

struct dns_question *
dns_cache_hold(struct dns_cache *cache, enum dns_cause cause, const char *name, enum dns_type type)
{
    struct dns_question *q = question_of(cache, cause, name, type);

    q->holders++;
    evict(cache, q->cause);
    if (q->query == NULL && dns_cache_look(cache, q) != DNS_KNOWN_FRESH &&
        dns_cache_now_ms(cache) >= q->failed_until_ms)
        query_start(cache, q);
    return q;
}

void
dns_cache_let_go(struct dns_question *q)
{
    q->holders--;
}

void
dns_cache_give_up(struct dns_cache *cache, struct dns_question *q)
{
    question_failed(cache, q);
}

void
dns_cache_age(struct dns_cache *cache, int64_t by_ms)
{
    cache->aged_ms += by_ms;
}

struct dns_usage
dns_cache_usage(const struct dns_cache *cache, enum dns_cause cause)
{
    return cache->rooms[cause].used;
}

/* --- Life. */

static bool
is_loopback(const struct inet_endpoint *e)
{
    static const uint8_t loopback6[16] = {[15] = 1};

    return e->family == 4 ? e->addr[0] == 127 : memcmp(e->addr, loopback6, 16) == 0;
}

struct dns_cache *
dns_cache_new(struct loop *loop, const struct inet_endpoint *resolver,
              void (*on_news)(void *ctx, struct dns_question *q), void *ctx)
{
    struct dns_cache *cache = mem_alloc(sizeof *cache);

    cache->loop = loop;
    cache->on_news = on_news;
    cache->ctx = ctx;
    cache->is_trusted = is_loopback(resolver);
    random_bytes(cache->key, sizeof cache->key);
    for (unsigned i = 0; i < DNS_CAUSE_COUNT; i++)
        TAILQ_INIT(&cache->rooms[i].in_flight);
    cache->transport = dns_transport_new(loop, resolver);
    return cache;
}

void
dns_cache_free(struct dns_cache **held)
{
    struct dns_cache *cache = *held;

    *held = NULL;
    cache->is_closed = true;
    dns_transport_free(&cache->transport); /* ends every query */
    for (unsigned i = 0; i < DNS_CAUSE_COUNT; i++)
        while (cache->rooms[i].oldest != NULL)
            question_free(cache, cache->rooms[i].oldest);
    loop_defer(cache->loop, free, cache);
}
