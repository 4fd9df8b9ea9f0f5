/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Three layers: a question (name and type) with what is known of it, which is also the cache and
 * the place where equal queries meet; a look-up, which waits for one or two questions; and the two
 * merges that make the typed answer of a look-up out of its questions' records.
 *
 * Invariants: a question has at most one query in flight, and is not evicted then, nor while a
 * look-up waits for it; a look-up calls back out of deliver() alone, which the loop runs.
 */
#include "dns/dns.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/siphash.h"
#include "dns/dns_transport.h"

#define BUCKETS 1024
#define QUESTIONS_MAX 2048
#define QUERIES_MAX 512 /* in flight; more fail at once */

#define TTL_MIN_S 5
#define TTL_MAX_S 3600
#define NEGATIVE_MAX_S 60
#define FAILURE_MS 5000               /* then the resolver is asked again */
#define STALE_MS (24 * 3600 * 1000LL) /* behind the end of its TTL */
#define STALE_WAIT_MS 1800  /* for the resolver, with a stale answer at hand: RFC 8767 5 */
#define STALE_HOLD_MS 30000 /* then it is not waited for: the same */
#define AAAA_WAIT_MS 300    /* for the other family, with one at hand */

struct question {
    struct question *next_in_bucket;
    struct question *older, *newer; /* by use */
    char name[INET_DOMAIN_SIZE];
    enum dns_type type;
    struct dns_records *records; /* the last that the resolver was sure of; NULL none */
    int64_t fresh_until_ms, failed_until_ms, hold_until_ms;
    struct query *query;
    unsigned waiting; /* look-ups that wait for it */
};

struct query {
    struct query *next;
    struct dns *dns;
    struct question *question;
    uint16_t id;
};

enum lookup_kind { LOOKUP_ADDRESSES, LOOKUP_HOSTS };

#define LOOKUP_QUESTIONS_MAX 2

struct dns_lookup {
    struct dns *dns;
    struct dns_lookup *next, *previous;
    enum lookup_kind kind;
    struct question *questions[LOOKUP_QUESTIONS_MAX];
    unsigned question_count;
    int64_t by_ms; /* no longer than this */
    struct loop_timer timer;
    void (*on_addresses)(void *ctx, const struct dns_addresses *found);
    void (*on_hosts)(void *ctx, const struct dns_hosts *found);
    void *ctx;
};

struct dns {
    struct loop *loop;
    struct dns_transport *transport;
    bool is_trusted; /* the resolver's AD bit */
    bool is_closed, deliver_is_due;
    uint8_t key[SIPHASH_KEY_SIZE];
    struct question *buckets[BUCKETS];
    struct question *oldest, *newest;
    unsigned question_count, query_count;
    struct query *queries;
    struct dns_lookup *lookups;
    int64_t aged_ms; /* by a test */
};

static const struct lookup_row {
    enum dns_type types[LOOKUP_QUESTIONS_MAX];
    unsigned type_count;
} rows[] = {
    [LOOKUP_ADDRESSES] = {{DNS_TYPE_A, DNS_TYPE_AAAA}, 2},
    [LOOKUP_HOSTS] = {{DNS_TYPE_MX}, 1},
};

static void deliver(void *ctx);

static int64_t
now_of(const struct dns *dns)
{
    return loop_now_ms(dns->loop) + dns->aged_ms;
}

static void
deliver_soon(struct dns *dns)
{
    if (dns->deliver_is_due)
        return;
    dns->deliver_is_due = true;
    loop_defer(dns->loop, deliver, dns);
}

/* --- Questions. */

static struct question **
bucket_of(struct dns *dns, const char *name, enum dns_type type)
{
    return &dns->buckets[(siphash(name, strlen(name), dns->key) + type) % BUCKETS];
}

static void
list_remove(struct dns *dns, struct question *q)
{
    *(q->older ? &q->older->newer : &dns->oldest) = q->newer;
    *(q->newer ? &q->newer->older : &dns->newest) = q->older;
}

static void
list_add(struct dns *dns, struct question *q)
{
    q->older = dns->newest;
    q->newer = NULL;
    *(dns->newest ? &dns->newest->newer : &dns->oldest) = q;
    dns->newest = q;
}

static void
question_free(struct dns *dns, struct question *q)
{
    struct question **at = bucket_of(dns, q->name, q->type);

    while (*at != q)
        at = &(*at)->next_in_bucket;
    *at = q->next_in_bucket;
    list_remove(dns, q);
    dns->question_count--;
    free(q->records);
    free(q);
}

static void
evict(struct dns *dns)
{
    struct question *q = dns->oldest;

    while (q != NULL && (q->query != NULL || q->waiting > 0))
        q = q->newer;
    if (q != NULL)
        question_free(dns, q);
}

static struct question *
question_of(struct dns *dns, const char *name, enum dns_type type)
{
    struct question **bucket = bucket_of(dns, name, type), *q = *bucket;

    while (q != NULL && (q->type != type || strcmp(q->name, name) != 0))
        q = q->next_in_bucket;
    if (q != NULL) {
        list_remove(dns, q);
        list_add(dns, q);
        return q;
    }
    if (dns->question_count >= QUESTIONS_MAX)
        evict(dns);
    q = mem_alloc(sizeof *q);
    snprintf(q->name, sizeof q->name, "%s", name);
    q->type = type;
    q->next_in_bucket = *bucket;
    *bucket = q;
    list_add(dns, q);
    dns->question_count++;
    return q;
}

static int64_t
lifetime_ms(const struct dns_records *records)
{
    uint32_t most_s = records->result == DNS_OK ? TTL_MAX_S : NEGATIVE_MAX_S;
    uint32_t ttl_s = records->has_ttl ? records->ttl_s : most_s;

    ttl_s = ttl_s < TTL_MIN_S ? TTL_MIN_S : ttl_s;
    return (ttl_s < most_s ? ttl_s : most_s) * INT64_C(1000);
}

static void
question_answered(struct dns *dns, struct question *q, const struct dns_records *records)
{
    int64_t now_ms = now_of(dns);

    if (records->result == DNS_TEMPORARY) {
        q->failed_until_ms = now_ms + FAILURE_MS;
        q->hold_until_ms = now_ms + STALE_HOLD_MS;
    } else {
        if (q->records == NULL)
            q->records = mem_alloc(sizeof *q->records);
        *q->records = *records;
        q->fresh_until_ms = now_ms + lifetime_ms(records);
        q->failed_until_ms = q->hold_until_ms = 0;
    }
    deliver_soon(dns);
}

/* --- Queries. */

static void
query_free(struct query *query)
{
    struct query **at = &query->dns->queries;

    while (*at != query)
        at = &(*at)->next;
    *at = query->next;
    query->dns->query_count--;
    query->question->query = NULL;
    free(query);
}

static void
on_answer(void *ctx, const uint8_t *packet, size_t size)
{
    struct query *query = ctx;
    struct dns *dns = query->dns;
    struct question *q = query->question;
    struct dns_records records = {.result = DNS_TEMPORARY};

    query_free(query);
    if (dns->is_closed)
        return;
    if (packet != NULL)
        dns_packet_parse(packet, size, q->name, q->type, &records);
    records.is_authentic = records.is_authentic && dns->is_trusted;
    question_answered(dns, q, &records);
}

static uint16_t
new_id(const struct dns *dns)
{
    const struct query *query;
    uint16_t id;

    do {
        random_bytes(&id, sizeof id);
        for (query = dns->queries; query != NULL && query->id != id;)
            query = query->next;
    } while (query != NULL);
    return id;
}

static void
query_start(struct dns *dns, struct question *q)
{
    uint8_t packet[DNS_QUERY_SIZE];
    struct query *query;
    uint16_t id = new_id(dns);
    size_t size;

    if (dns->query_count >= QUERIES_MAX ||
        dns_packet_query(q->name, q->type, id, packet, &size) < 0) {
        question_answered(dns, q, &(struct dns_records){.result = DNS_TEMPORARY});
        return;
    }
    query = mem_alloc(sizeof *query);
    *query = (struct query){.next = dns->queries, .dns = dns, .question = q, .id = id};
    dns->queries = query;
    dns->query_count++;
    q->query = query;
    dns_transport_send(dns->transport, packet, size, on_answer, query);
}

/* --- What is known of a question now. */

enum known { KNOWN_FRESH, KNOWN_STALE, KNOWN_FAILED, KNOWN_NOT };

static bool
has_stale(const struct question *q, int64_t now_ms)
{
    return q->records != NULL && now_ms < q->fresh_until_ms + STALE_MS;
}

static enum known
look(const struct question *q, int64_t now_ms)
{
    if (q->records != NULL && now_ms < q->fresh_until_ms)
        return KNOWN_FRESH;
    if (has_stale(q, now_ms))
        return now_ms < q->hold_until_ms ? KNOWN_STALE : KNOWN_NOT;
    return now_ms < q->failed_until_ms ? KNOWN_FAILED : KNOWN_NOT;
}

/* Asks if there is a reason to, also behind the back of a stale answer. */
static void
question_ask(struct dns *dns, struct question *q)
{
    int64_t now_ms = now_of(dns);

    if (q->query == NULL && look(q, now_ms) != KNOWN_FRESH && now_ms >= q->failed_until_ms)
        query_start(dns, q);
}

/* --- Merging. */

static void
begin_answer(struct dns_answer *answer)
{
    *answer = (struct dns_answer){.result = DNS_NO_DATA, .is_authentic = true, .ttl_s = TTL_MAX_S};
}

/* One question's part of an answer; its records, if it has any. */
static const struct dns_records *
merge(const struct dns *dns, const struct question *q, struct dns_answer *answer)
{
    int64_t now_ms = now_of(dns), left_s;
    enum known known = look(q, now_ms);
    enum dns_result result =
        known == KNOWN_FAILED || known == KNOWN_NOT ? DNS_TEMPORARY : q->records->result;

    if (known == KNOWN_STALE && result != DNS_OK) /* what was not there may be there now */
        result = DNS_TEMPORARY;
    if (result == DNS_OK || (answer->result != DNS_OK && result == DNS_TEMPORARY) ||
        (answer->result == DNS_NO_DATA && result == DNS_NO_NAME))
        answer->result = result;
    if (result == DNS_TEMPORARY)
        return NULL;
    answer->is_authentic = answer->is_authentic && q->records->is_authentic;
    answer->is_stale = answer->is_stale || known == KNOWN_STALE;
    left_s = known == KNOWN_STALE ? 0 : (q->fresh_until_ms - now_ms + 999) / 1000;
    if (left_s < answer->ttl_s)
        answer->ttl_s = (uint32_t)left_s;
    return q->records;
}

static unsigned
random_below(unsigned n)
{
    uint32_t random;

    random_bytes(&random, sizeof random);
    return random % n;
}

static void
add_addresses(struct dns_addresses *found, const struct dns_records *records)
{
    for (unsigned i = 0; records != NULL && i < records->count; i++) {
        unsigned at;

        if (found->count == DNS_RECORDS_MAX)
            return;
        at = random_below(found->count + 1); /* a shuffle, card by card */
        found->items[found->count] = found->items[at];
        found->items[at] = records->records[i].address;
        found->count++;
    }
}

static void
merge_addresses(const struct dns *dns, struct question *const *questions,
                struct dns_addresses *found)
{
    memset(found, 0, sizeof *found);
    begin_answer(&found->answer);
    for (unsigned i = 0; i < rows[LOOKUP_ADDRESSES].type_count; i++)
        add_addresses(found, merge(dns, questions[i], &found->answer));
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

static void
merge_hosts(const struct dns *dns, struct question *const *questions, struct dns_hosts *found)
{
    const struct dns_records *records;

    memset(found, 0, sizeof *found);
    begin_answer(&found->answer);
    records = merge(dns, questions[0], &found->answer);
    if (found->answer.result == DNS_NO_DATA) { /* RFC 5321 5.1: the implicit MX */
        found->answer.result = DNS_OK;
        add_host(found, 0, questions[0]->name);
        return;
    }
    for (unsigned i = 0; records != NULL && i < records->count; i++)
        if (records->records[i].name[0] != '\0')
            add_host(found, records->records[i].preference, records->records[i].name);
    if (found->answer.result == DNS_OK && found->count == 0)
        found->answer.result = DNS_NO_NAME; /* a null MX, or none that could be a host */
}

/* --- Look-ups. */

static void
collect(struct dns *dns, enum lookup_kind kind, const char *name, struct question **questions)
{
    for (unsigned i = 0; i < rows[kind].type_count; i++) {
        questions[i] = question_of(dns, name, rows[kind].types[i]);
        questions[i]->waiting++; /* the second must not evict the first */
        question_ask(dns, questions[i]);
    }
}

static void
let_go(struct question *const *questions, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        questions[i]->waiting--;
}

static bool
is_known(const struct dns *dns, struct question *const *questions, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (look(questions[i], now_of(dns)) == KNOWN_NOT)
            return false;
    return true;
}

/* With something at hand the rest is not waited for long. */
static int64_t
patience_ms(const struct dns_lookup *lookup)
{
    int64_t now_ms = now_of(lookup->dns), patience = DNS_LOOKUP_MS;

    for (unsigned i = 0; i < lookup->question_count; i++) {
        const struct question *q = lookup->questions[i];
        int64_t enough = DNS_LOOKUP_MS;

        if (look(q, now_ms) == KNOWN_FRESH && q->records->count > 0)
            enough = AAAA_WAIT_MS;
        else if (has_stale(q, now_ms) && q->records->result == DNS_OK)
            enough = STALE_WAIT_MS;
        patience = enough < patience ? enough : patience;
    }
    return patience;
}

static void
set_patience(struct dns_lookup *lookup)
{
    int64_t now_ms = now_of(lookup->dns), by_ms = now_ms + patience_ms(lookup);

    if (lookup->by_ms != 0 && by_ms >= lookup->by_ms)
        return;
    lookup->by_ms = by_ms;
    loop_timer_start(&lookup->timer, by_ms - now_ms);
}

static void
lookup_end(struct dns_lookup *lookup)
{
    *(lookup->previous ? &lookup->previous->next : &lookup->dns->lookups) = lookup->next;
    if (lookup->next)
        lookup->next->previous = lookup->previous;
    let_go(lookup->questions, lookup->question_count);
    loop_timer_cancel(&lookup->timer);
    loop_defer(lookup->dns->loop, free, lookup);
}

static void
answer(struct dns_lookup *lookup)
{
    struct dns *dns = lookup->dns;
    struct dns_addresses addresses;
    struct dns_hosts hosts;

    if (lookup->kind == LOOKUP_ADDRESSES)
        merge_addresses(dns, lookup->questions, &addresses);
    else
        merge_hosts(dns, lookup->questions, &hosts);
    lookup_end(lookup);
    if (lookup->kind == LOOKUP_ADDRESSES)
        lookup->on_addresses(lookup->ctx, &addresses);
    else
        lookup->on_hosts(lookup->ctx, &hosts);
}

/* The resolver did not answer in time: nobody else waits for it either for a while. */
static void
on_patience(void *ctx)
{
    struct dns_lookup *lookup = ctx;
    int64_t now_ms = now_of(lookup->dns);

    for (unsigned i = 0; i < lookup->question_count; i++) {
        struct question *q = lookup->questions[i];

        if (look(q, now_ms) != KNOWN_NOT)
            continue;
        q->failed_until_ms = now_ms + FAILURE_MS;
        q->hold_until_ms = now_ms + STALE_HOLD_MS;
    }
    deliver(lookup->dns);
}

/* One at a time from the beginning, since a callback may cancel any other. */
static void
deliver(void *ctx)
{
    struct dns *dns = ctx;
    struct dns_lookup *lookup;

    dns->deliver_is_due = false;
    if (dns->is_closed)
        return;
    do {
        for (lookup = dns->lookups; lookup != NULL; lookup = lookup->next)
            if (is_known(dns, lookup->questions, lookup->question_count))
                break;
        if (lookup != NULL)
            answer(lookup);
    } while (lookup != NULL && !dns->is_closed);
    for (lookup = dns->is_closed ? NULL : dns->lookups; lookup != NULL; lookup = lookup->next)
        set_patience(lookup);
}

static struct dns_lookup *
lookup_start(struct dns *dns, enum lookup_kind kind, const char *name, void *ctx)
{
    struct dns_lookup *lookup = mem_alloc(sizeof *lookup);

    lookup->dns = dns;
    lookup->kind = kind;
    lookup->ctx = ctx;
    lookup->question_count = rows[kind].type_count;
    collect(dns, kind, name, lookup->questions);
    lookup->next = dns->lookups;
    if (dns->lookups)
        dns->lookups->previous = lookup;
    dns->lookups = lookup;
    loop_timer_init(&lookup->timer, dns->loop, on_patience, lookup);
    set_patience(lookup);
    deliver_soon(dns);
    return lookup;
}

struct dns_lookup *
dns_lookup_addresses(struct dns *dns, const char *name,
                     void (*on_found)(void *ctx, const struct dns_addresses *found), void *ctx)
{
    struct dns_lookup *lookup = lookup_start(dns, LOOKUP_ADDRESSES, name, ctx);

    lookup->on_addresses = on_found;
    return lookup;
}

struct dns_lookup *
dns_lookup_hosts(struct dns *dns, const char *name,
                 void (*on_found)(void *ctx, const struct dns_hosts *found), void *ctx)
{
    struct dns_lookup *lookup = lookup_start(dns, LOOKUP_HOSTS, name, ctx);

    lookup->on_hosts = on_found;
    return lookup;
}

void
dns_lookup_cancel(struct dns_lookup **lookup)
{
    if (*lookup != NULL)
        lookup_end(*lookup);
    *lookup = NULL;
}

bool
dns_find_addresses(struct dns *dns, const char *name, struct dns_addresses *found)
{
    struct question *questions[LOOKUP_QUESTIONS_MAX];
    unsigned count = rows[LOOKUP_ADDRESSES].type_count;
    bool known;

    collect(dns, LOOKUP_ADDRESSES, name, questions);
    known = is_known(dns, questions, count);
    if (known)
        merge_addresses(dns, questions, found);
    let_go(questions, count);
    return known;
}

bool
dns_find_hosts(struct dns *dns, const char *name, struct dns_hosts *found)
{
    struct question *questions[LOOKUP_QUESTIONS_MAX];
    unsigned count = rows[LOOKUP_HOSTS].type_count;
    bool known;

    collect(dns, LOOKUP_HOSTS, name, questions);
    known = is_known(dns, questions, count);
    if (known)
        merge_hosts(dns, questions, found);
    let_go(questions, count);
    return known;
}

void
dns_age(struct dns *dns, int64_t by_ms)
{
    dns->aged_ms += by_ms;
}

const char *
dns_result_text(enum dns_result result)
{
    static const char *const texts[] = {
        [DNS_OK] = "its name has addresses",
        [DNS_NO_NAME] = "its name does not exist",
        [DNS_NO_DATA] = "its name has no address",
        [DNS_TEMPORARY] = "its name cannot be looked up",
    };

    return texts[result];
}

/* --- Life. */

static bool
is_loopback(const struct inet_endpoint *e)
{
    static const uint8_t loopback6[16] = {[15] = 1};

    return e->family == 4 ? e->addr[0] == 127 : memcmp(e->addr, loopback6, 16) == 0;
}

struct dns *
dns_new(struct loop *loop, const struct inet_endpoint *resolver)
{
    struct dns *dns = mem_alloc(sizeof *dns);

    dns->loop = loop;
    dns->is_trusted = is_loopback(resolver);
    random_bytes(dns->key, sizeof dns->key);
    dns->transport = dns_transport_new(loop, resolver);
    return dns;
}

void
dns_free(struct dns **held)
{
    struct dns *dns = *held;

    *held = NULL;
    if (dns == NULL)
        return;
    dns->is_closed = true;
    dns_transport_free(&dns->transport); /* ends every query */
    while (dns->lookups != NULL)
        lookup_end(dns->lookups);
    while (dns->oldest != NULL)
        question_free(dns, dns->oldest);
    loop_defer(dns->loop, free, dns);
}
