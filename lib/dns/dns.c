/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A look-up waits for one or two questions of the cache; a merge (dns_merge) makes its typed answer
 * out of their replies.  News of a question makes its look-ups ready; deliver(), which the loop
 * runs, looks at each of those and at no other: what waits for a dead resolver costs nothing
 * meanwhile.
 *
 * Invariants: a look-up is in one of two lists, the waiting or the ready, and holds its questions;
 * it calls back out of deliver() alone.
 */
#include "dns/dns.h"

#include <stdlib.h>

#include "dns/dns_merge.h"

#define STALE_WAIT_MS 1800 /* for the resolver, with a stale answer at hand: RFC 8767 5 */
#define AAAA_WAIT_MS 300   /* for the other family, with one at hand */

enum lookup_kind { LOOKUP_ADDRESSES, LOOKUP_HOSTS, LOOKUP_RECORDS };

#define QUESTIONS_MAX 2

struct asked {
    struct dns_question *questions[QUESTIONS_MAX];
    unsigned count;
};

struct waiter { /* a look-up in a question's list */
    struct dns_lookup *lookup;
    struct waiter *next, *previous;
};

struct dns_lookup {
    struct dns *dns;
    struct dns_lookup *next, *previous;
    enum lookup_kind kind;
    bool is_ready;
    struct asked asked;
    struct waiter waiters[QUESTIONS_MAX];
    int64_t by_ms; /* no longer than this */
    struct loop_timer timer;
    union {
        void (*addresses)(void *ctx, const struct dns_addresses *found);
        void (*hosts)(void *ctx, const struct dns_hosts *found);
        void (*records)(void *ctx, const struct dns_records *found);
    } on_found;
    void *ctx;
    bool is_enough; /* with something at hand it waits no longer */
};

struct dns {
    struct loop *loop;
    struct dns_cache *cache;
    struct dns_lookup *waiting, *ready;
    bool is_closed, deliver_is_due;
};

static const struct lookup_row {
    enum dns_type types[QUESTIONS_MAX];
    unsigned type_count;
} rows[] = {
    [LOOKUP_ADDRESSES] = {{DNS_TYPE_A, DNS_TYPE_AAAA}, 2},
    [LOOKUP_HOSTS] = {{DNS_TYPE_MX}, 1},
    [LOOKUP_RECORDS] = {{DNS_TYPE_COUNT}, 1}, /* the caller's */
};

static void deliver(void *ctx);

static void
deliver_soon(struct dns *dns)
{
    if (dns->deliver_is_due)
        return;
    dns->deliver_is_due = true;
    loop_defer(dns->loop, deliver, dns);
}

/* --- Look-ups. */

/* A type for a row that leaves it to the caller. */
static void
collect(struct dns *dns, enum dns_cause cause, enum lookup_kind kind, const char *name,
        enum dns_type type, struct asked *asked)
{
    asked->count = rows[kind].type_count;
    for (unsigned i = 0; i < asked->count; i++)
        asked->questions[i] =
            dns_cache_hold(dns->cache, cause, name,
                           rows[kind].types[i] == DNS_TYPE_COUNT ? type : rows[kind].types[i]);
}

static void
let_go(struct asked *asked)
{
    for (unsigned i = 0; i < asked->count; i++)
        dns_cache_let_go(asked->questions[i]);
}

static bool
is_known(const struct dns *dns, const struct asked *asked)
{
    for (unsigned i = 0; i < asked->count; i++)
        if (dns_cache_look(dns->cache, asked->questions[i]) == DNS_KNOWN_NOT)
            return false;
    return true;
}

/* With something at hand the rest is not waited for long. */
static int64_t
patience_ms(const struct dns_lookup *lookup)
{
    const struct dns_cache *cache = lookup->dns->cache;
    int64_t patience = DNS_LOOKUP_MS;

    for (unsigned i = 0; i < lookup->asked.count; i++) {
        const struct dns_question *q = lookup->asked.questions[i];
        int64_t enough = DNS_LOOKUP_MS;

        if (dns_cache_look(cache, q) == DNS_KNOWN_FRESH && q->reply->count > 0)
            enough = AAAA_WAIT_MS;
        else if (dns_cache_has_stale(cache, q) && q->reply->result == DNS_OK)
            enough = STALE_WAIT_MS;
        patience = enough < patience ? enough : patience;
    }
    return patience;
}

static void
set_patience(struct dns_lookup *lookup)
{
    int64_t now_ms = dns_cache_now_ms(lookup->dns->cache), by_ms = now_ms + patience_ms(lookup);

    if (lookup->by_ms != 0 && by_ms >= lookup->by_ms)
        return;
    lookup->by_ms = by_ms;
    loop_timer_start(&lookup->timer, by_ms - now_ms);
}

static struct dns_lookup **
list_of(const struct dns_lookup *lookup)
{
    return lookup->is_ready ? &lookup->dns->ready : &lookup->dns->waiting;
}

static void
list_add(struct dns_lookup *lookup, bool is_ready)
{
    struct dns_lookup **list;

    lookup->is_ready = is_ready;
    list = list_of(lookup);
    lookup->previous = NULL;
    lookup->next = *list;
    if (*list != NULL)
        (*list)->previous = lookup;
    *list = lookup;
}

static void
list_remove(struct dns_lookup *lookup)
{
    *(lookup->previous ? &lookup->previous->next : list_of(lookup)) = lookup->next;
    if (lookup->next != NULL)
        lookup->next->previous = lookup->previous;
}

static void
make_ready(struct dns_lookup *lookup)
{
    if (!lookup->is_ready) {
        list_remove(lookup);
        list_add(lookup, true);
    }
    deliver_soon(lookup->dns);
}

static void
on_news(void *ctx, struct dns_question *q)
{
    (void)ctx;
    for (struct waiter *w = q->waiters; w != NULL; w = w->next)
        make_ready(w->lookup);
}

static void
waiters_add(struct dns_lookup *lookup)
{
    for (unsigned i = 0; i < lookup->asked.count; i++) {
        struct dns_question *q = lookup->asked.questions[i];
        struct waiter *first = q->waiters, *w = &lookup->waiters[i];

        *w = (struct waiter){.lookup = lookup, .next = first};
        if (first != NULL)
            first->previous = w;
        q->waiters = w;
    }
}

static void
waiters_remove(struct dns_lookup *lookup)
{
    for (unsigned i = 0; i < lookup->asked.count; i++) {
        struct waiter *w = &lookup->waiters[i];

        if (w->next != NULL)
            w->next->previous = w->previous;
        if (w->previous != NULL)
            w->previous->next = w->next;
        else
            lookup->asked.questions[i]->waiters = w->next;
    }
}

static void
lookup_end(struct dns_lookup *lookup)
{
    list_remove(lookup);
    waiters_remove(lookup);
    let_go(&lookup->asked);
    loop_timer_cancel(&lookup->timer);
    loop_defer(lookup->dns->loop, free, lookup);
}

static void
answer_addresses(struct dns_lookup *lookup)
{
    struct dns_addresses found;

    dns_merge_addresses(lookup->dns->cache, lookup->asked.questions, lookup->asked.count, &found);
    lookup_end(lookup);
    lookup->on_found.addresses(lookup->ctx, &found);
}

static void
answer_hosts(struct dns_lookup *lookup)
{
    struct dns_hosts found;

    dns_merge_hosts(lookup->dns->cache, lookup->asked.questions[0], &found);
    lookup_end(lookup);
    lookup->on_found.hosts(lookup->ctx, &found);
}

static void
answer_records(struct dns_lookup *lookup)
{
    struct dns_records found;

    dns_merge_records(lookup->dns->cache, lookup->asked.questions[0], &found);
    lookup_end(lookup);
    lookup->on_found.records(lookup->ctx, &found);
}

static void (*const answers[])(struct dns_lookup *lookup) = {
    [LOOKUP_ADDRESSES] = answer_addresses,
    [LOOKUP_HOSTS] = answer_hosts,
    [LOOKUP_RECORDS] = answer_records,
};
_Static_assert(ARRAY_SIZE(answers) == ARRAY_SIZE(rows), "each kind of look-up has its answer");

static bool
has_records(const struct dns_lookup *lookup)
{
    for (unsigned i = 0; i < lookup->asked.count; i++) {
        const struct dns_question *q = lookup->asked.questions[i];

        if (dns_cache_look(lookup->dns->cache, q) == DNS_KNOWN_FRESH && q->reply->count > 0)
            return true;
    }
    return false;
}

/* The resolver did not answer in time: nobody else waits for it either for a while.  But that one
 * look-up has enough says nothing of the resolver. */
static void
on_patience(void *ctx)
{
    struct dns_lookup *lookup = ctx;
    struct dns *dns = lookup->dns;

    lookup->is_enough = has_records(lookup);
    for (unsigned i = 0; i < lookup->asked.count && !lookup->is_enough; i++)
        if (dns_cache_look(dns->cache, lookup->asked.questions[i]) == DNS_KNOWN_NOT)
            dns_cache_give_up(dns->cache, lookup->asked.questions[i]);
    make_ready(lookup);
}

/* One at a time from the beginning, since a callback may cancel any other. */
static void
deliver(void *ctx)
{
    struct dns *dns = ctx;
    struct dns_lookup *lookup;

    dns->deliver_is_due = false;
    while (!dns->is_closed && (lookup = dns->ready) != NULL) {
        if (lookup->is_enough || is_known(dns, &lookup->asked)) {
            answers[lookup->kind](lookup);
            continue;
        }
        list_remove(lookup);
        list_add(lookup, false);
        set_patience(lookup);
    }
}

static struct dns_lookup *
lookup_start(struct dns *dns, enum dns_cause cause, enum lookup_kind kind, const char *name,
             enum dns_type type, void *ctx)
{
    struct dns_lookup *lookup = mem_alloc(sizeof *lookup);

    lookup->dns = dns;
    lookup->kind = kind;
    lookup->ctx = ctx;
    collect(dns, cause, kind, name, type, &lookup->asked);
    waiters_add(lookup);
    list_add(lookup, true);
    loop_timer_init(&lookup->timer, dns->loop, on_patience, lookup);
    deliver_soon(dns);
    return lookup;
}

struct dns_lookup *
dns_lookup_addresses(struct dns *dns, enum dns_cause cause, const char *name,
                     void (*on_found)(void *ctx, const struct dns_addresses *found), void *ctx)
{
    struct dns_lookup *lookup =
        lookup_start(dns, cause, LOOKUP_ADDRESSES, name, DNS_TYPE_COUNT, ctx);

    lookup->on_found.addresses = on_found;
    return lookup;
}

struct dns_lookup *
dns_lookup_hosts(struct dns *dns, enum dns_cause cause, const char *name,
                 void (*on_found)(void *ctx, const struct dns_hosts *found), void *ctx)
{
    struct dns_lookup *lookup = lookup_start(dns, cause, LOOKUP_HOSTS, name, DNS_TYPE_COUNT, ctx);

    lookup->on_found.hosts = on_found;
    return lookup;
}

struct dns_lookup *
dns_lookup_records(struct dns *dns, const char *name, enum dns_type type,
                   void (*on_found)(void *ctx, const struct dns_records *found), void *ctx)
{
    struct dns_lookup *lookup = lookup_start(dns, DNS_FOR_POLICY, LOOKUP_RECORDS, name, type, ctx);

    lookup->on_found.records = on_found;
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
dns_find_addresses(struct dns *dns, enum dns_cause cause, const char *name,
                   struct dns_addresses *found)
{
    struct asked asked;
    bool known;

    collect(dns, cause, LOOKUP_ADDRESSES, name, DNS_TYPE_COUNT, &asked);
    known = is_known(dns, &asked);
    if (known)
        dns_merge_addresses(dns->cache, asked.questions, asked.count, found);
    let_go(&asked);
    return known;
}

bool
dns_find_hosts(struct dns *dns, enum dns_cause cause, const char *name, struct dns_hosts *found)
{
    struct asked asked;
    bool known;

    collect(dns, cause, LOOKUP_HOSTS, name, DNS_TYPE_COUNT, &asked);
    known = is_known(dns, &asked);
    if (known)
        dns_merge_hosts(dns->cache, asked.questions[0], found);
    let_go(&asked);
    return known;
}

bool
dns_find_records(struct dns *dns, const char *name, enum dns_type type, struct dns_records *found)
{
    struct asked asked;
    bool known;

    collect(dns, DNS_FOR_POLICY, LOOKUP_RECORDS, name, type, &asked);
    known = is_known(dns, &asked);
    if (known)
        dns_merge_records(dns->cache, asked.questions[0], found);
    let_go(&asked);
    return known;
}

bool
dns_peek_records(struct dns *dns, const char *name, enum dns_type type, struct dns_records *found)
{
    const struct dns_question *q = dns_cache_peek(dns->cache, name, type);

    if (q != NULL)
        dns_merge_records(dns->cache, q, found);
    return q != NULL;
}

/* --- The rest. */

struct dns_usage
dns_usage(const struct dns *dns, enum dns_cause cause)
{
    return dns_cache_usage(dns->cache, cause);
}

void
dns_age(struct dns *dns, int64_t by_ms)
{
    dns_cache_age(dns->cache, by_ms);
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

struct dns *
dns_new(struct loop *loop, const struct inet_endpoint *resolver)
{
    struct dns *dns = mem_alloc(sizeof *dns);

    dns->loop = loop;
    dns->cache = dns_cache_new(loop, resolver, on_news, dns);
    return dns;
}

struct loop *
dns_loop(const struct dns *dns)
{
    return dns->loop;
}

void
dns_free(struct dns **held)
{
    struct dns *dns = *held;

    *held = NULL;
    if (dns == NULL)
        return;
    dns->is_closed = true;
    while (dns->ready != NULL)
        lookup_end(dns->ready);
    while (dns->waiting != NULL)
        lookup_end(dns->waiting);
    dns_cache_free(&dns->cache);
    loop_defer(dns->loop, free, dns);
}
