/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A walk takes one backend after the other and turns it into items.  A backend whose names are not
 * all known yet makes none of them: it is begun anew when the answer is there, which is then in the
 * cache.
 */
#include "route/destination.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/siphash.h"
#include "dns/dns.h"
#include "route/destination_own.h"

#define SAID_SLOTS 64
#define SAID_MS 60000
#define WHY_SIZE (INET_DOMAIN_SIZE + 40)

struct destination_finder {
    struct loop *loop;
    const struct config *config;
    struct dns *dns;
    struct destination_own own;
    uint8_t key[SIPHASH_KEY_SIZE];
    struct {
        uint64_t hash;
        int64_t until_ms;
    } said[SAID_SLOTS]; /* lines of a minute */
};

struct destination_walk {
    struct destination_finder *finder;
    struct registry_backend *backends; /* in the order of this walk */
    unsigned count, at;
    struct destination *items;
    unsigned item_count, item_cap;
    struct dns_lookup *lookup;
    void (*on_ready)(void *ctx);
    void *ctx;
    char why[WHY_SIZE];
    bool is_unsure;
};

/* --- What is said, once a minute. */

static bool
is_news(struct destination_finder *f, const char *what, const struct registry_backend *b)
{
    char text[INET_DOMAIN_SIZE + 64];
    int64_t now_ms = loop_now_ms(f->loop);
    uint64_t hash;
    size_t slot;

    snprintf(text, sizeof text, "%s %s %u/%u", what, b->host, b->customer_id, b->number);
    hash = siphash(text, strlen(text), f->key);
    slot = hash % SAID_SLOTS;
    if (f->said[slot].hash == hash && now_ms < f->said[slot].until_ms)
        return false;
    f->said[slot].hash = hash;
    f->said[slot].until_ms = now_ms + SAID_MS;
    return true;
}

static void
say_own(struct destination_walk *w, const struct registry_backend *b, const char *what)
{
    snprintf(w->why, sizeof w->why, "it is this host itself: %.*s", INET_DOMAIN_SIZE, what);
    if (!is_news(w->finder, "own", b))
        return;
    log_line(LOG_LEVEL_ALARM, NULL, "backend-is-us",
             "customer_id=%u number=%u is=%s effect=\"it is never asked: mail would come back to "
             "us\" remedy=\"relayctl backend set CUSTOMER/%u with the customer's own server\"",
             b->customer_id, b->number, what, b->number);
}

static void
say_unresolved(struct destination_walk *w, const struct registry_backend *b, const char *name,
               enum dns_result result)
{
    const char *text = dns_result_text(result);

    snprintf(w->why, sizeof w->why, "%s: %s", text, name);
    w->is_unsure = w->is_unsure || result == DNS_TEMPORARY;
    if (is_news(w->finder, text, b))
        log_line(LOG_LEVEL_WARN, NULL, "backend-unresolved",
                 "customer_id=%u number=%u name=%s why=\"%s\" effect=\"as if it could not be "
                 "reached\"",
                 b->customer_id, b->number, name, text);
}

/* --- Items. */

/* Its own, or the node's, if it is of the endpoint's kind.  A backend by address whose own is of
 * the other kind keeps it: who connects says so.  A name has addresses of both kinds. */
static struct inet_endpoint
source_for(const struct registry_backend *b, const struct inet_endpoint *node)
{
    struct inet_endpoint source = {.family = 0};

    if (b->source.family == b->endpoint.family)
        source = b->source;
    else if (node->family == b->endpoint.family)
        source = *node;
    else if (b->host[0] == '\0')
        source = b->source;
    source.port = 0;
    return source;
}

static struct destination *
add_item(struct destination_walk *w, const struct registry_backend *b)
{
    const struct config *config = w->finder->config;
    struct destination *d;

    if (w->item_count == w->item_cap) {
        w->item_cap = w->item_cap ? w->item_cap * 2 : 1;
        w->items = mem_realloc(w->items, w->item_cap * sizeof *w->items);
    }
    d = &w->items[w->item_count++];
    *d = (struct destination){
        .endpoint = b->endpoint,
        .source = source_for(b, &config->source_address),
        .tls = b->tls,
        .max_connections = b->max_connections ? b->max_connections : config->backend_connections,
        .customer_id = b->customer_id,
        .domain_id = b->domain_id,
        .number = b->number,
        .trusts_us = b->trusts_us,
        .held = b->held,
    };
    snprintf(d->tls_name, sizeof d->tls_name, "%s", b->tls_name[0] ? b->tls_name : b->host);
    snprintf(d->host, sizeof d->host, "%s", b->host);
    snprintf(d->registered, sizeof d->registered, "%s", b->host);
    return d;
}

static bool
is_own(const struct destination_walk *w, const struct inet_endpoint *e)
{
    struct destination_finder *f = w->finder;

    return destination_own_endpoint(&f->own, f->config, e, loop_now_ms(f->loop));
}

static void
add_address(struct destination_walk *w, const struct registry_backend *b, const char *host,
            const struct inet_endpoint *address)
{
    struct registry_backend at = *b;

    at.endpoint = *address;
    at.endpoint.port = b->endpoint.port;
    snprintf(add_item(w, &at)->host, INET_DOMAIN_SIZE, "%s", host);
}

/* --- One backend: false: a name has to be waited for. */

static void
on_addresses(void *ctx, const struct dns_addresses *found)
{
    struct destination_walk *w = ctx;

    (void)found; /* it is in the cache */
    w->lookup = NULL;
    w->on_ready(w->ctx);
}

static void
on_hosts(void *ctx, const struct dns_hosts *found)
{
    struct destination_walk *w = ctx;

    (void)found;
    w->lookup = NULL;
    w->on_ready(w->ctx);
}

static bool
find_addresses(struct destination_walk *w, const char *name, struct dns_addresses *found)
{
    struct dns *dns = w->finder->dns;

    if (dns_find_addresses(dns, DNS_FOR_BACKEND, name, found))
        return true;
    if (w->on_ready != NULL && w->lookup == NULL)
        w->lookup = dns_lookup_addresses(dns, DNS_FOR_BACKEND, name, on_addresses, w);
    return false;
}

/* Its addresses as items; *own_count of them are ours, and left out. */
static void
take_addresses(struct destination_walk *w, const struct registry_backend *b, const char *host,
               const struct dns_addresses *found, unsigned *own_count)
{
    for (unsigned i = 0; i < found->count; i++) {
        struct inet_endpoint e = found->items[i];

        e.port = b->endpoint.port;
        if (is_own(w, &e))
            (*own_count)++;
        else
            add_address(w, b, host, &e);
    }
}

static bool
expand_name(struct destination_walk *w, const struct registry_backend *b)
{
    struct dns_addresses found;
    unsigned own_count = 0;

    if (!find_addresses(w, b->host, &found))
        return false;
    if (found.answer.result != DNS_OK)
        say_unresolved(w, b, b->host, found.answer.result);
    take_addresses(w, b, b->host, &found, &own_count);
    if (own_count > 0)
        say_own(w, b, b->host);
    return true;
}

static bool
all_known(struct destination_walk *w, const struct dns_hosts *hosts)
{
    struct dns_addresses found;
    bool known = true;

    for (unsigned i = 0; i < hosts->count; i++) /* all are asked at once */
        known = find_addresses(w, hosts->items[i].name, &found) && known;
    return known;
}

/* Its host `i` as items; false: it is ourselves, and so is the end of the list. */
static bool
take_host(struct destination_walk *w, const struct registry_backend *b,
          const struct dns_hosts *hosts, unsigned i)
{
    struct registry_backend at = *b;
    const char *name = hosts->items[i].name;
    struct dns_addresses found = {.answer.result = DNS_TEMPORARY};
    unsigned own_count = 0;

    if (destination_own_name(w->finder->config, name))
        return false;
    if (!dns_find_addresses(w->finder->dns, DNS_FOR_BACKEND, name, &found) ||
        found.answer.result != DNS_OK) {
        say_unresolved(w, b, name, found.answer.result);
        return true;
    }
    /* The name in a certificate must not be chosen by whoever forges an answer. */
    if (at.tls_name[0] == '\0' && hosts->answer.is_authentic)
        snprintf(at.tls_name, sizeof at.tls_name, "%s", name);
    take_addresses(w, &at, name, &found, &own_count);
    return own_count == 0;
}

/* With us among the hosts, those of our preference and behind are not for us (RFC 5321 5.1). */
static void
take_hosts(struct destination_walk *w, const struct registry_backend *b,
           const struct dns_hosts *hosts)
{
    unsigned begin = w->item_count, before = begin;
    uint16_t preference = 0;

    for (unsigned i = 0; i < hosts->count; i++) {
        if (i == 0 || hosts->items[i].preference != preference)
            before = w->item_count;
        preference = hosts->items[i].preference;
        if (take_host(w, b, hosts, i))
            continue;
        w->item_count = before;
        if (before == begin)
            say_own(w, b, hosts->items[i].name);
        return;
    }
}

static bool
expand_mx(struct destination_walk *w, const struct registry_backend *b)
{
    struct dns_hosts hosts;

    if (!dns_find_hosts(w->finder->dns, DNS_FOR_BACKEND, b->host, &hosts)) {
        if (w->on_ready != NULL && w->lookup == NULL)
            w->lookup = dns_lookup_hosts(w->finder->dns, DNS_FOR_BACKEND, b->host, on_hosts, w);
        return false;
    }
    if (hosts.answer.result != DNS_OK)
        say_unresolved(w, b, b->host, hosts.answer.result);
    if (!all_known(w, &hosts))
        return false;
    take_hosts(w, b, &hosts);
    return true;
}

static bool
expand(struct destination_walk *w, const struct registry_backend *b)
{
    char text[INET_ENDPOINT_SIZE];

    if (b->held)
        add_item(w, b);
    else if (b->host[0] == '\0' && is_own(w, &b->endpoint))
        say_own(w, b, inet_endpoint_text(&b->endpoint, text));
    else if (b->host[0] == '\0')
        add_item(w, b);
    else if (b->lookup == REGISTRY_LOOKUP_MX)
        return expand_mx(w, b);
    else if (destination_own_name(w->finder->config, b->host))
        say_own(w, b, b->host);
    else
        return expand_name(w, b);
    return true;
}

enum destination_step
destination_walk_more(struct destination_walk *w)
{
    unsigned before = w->item_count;

    while (w->at < w->count) {
        if (!expand(w, &w->backends[w->at]))
            return DESTINATION_WAIT;
        w->at++;
        if (w->item_count > before)
            return DESTINATION_FOUND;
    }
    return DESTINATION_END;
}

/* --- The order of backends. */

static uint64_t
weight_of(const struct registry_backend *b)
{
    return b->weight ? b->weight : 1;
}

/* Which of [begin, end) comes first: each by its share of all weights. */
static unsigned
draw(const struct registry_backend *backends, unsigned begin, unsigned end)
{
    uint64_t sum = 0, random;

    for (unsigned i = begin; i < end; i++)
        sum += weight_of(&backends[i]);
    random_bytes(&random, sizeof random);
    random %= sum;
    while (random >= weight_of(&backends[begin]))
        random -= weight_of(&backends[begin++]);
    return begin;
}

static void
order_by_weight(struct registry_backend *backends, unsigned begin, unsigned end)
{
    for (; begin + 1 < end; begin++) {
        unsigned at = draw(backends, begin, end);
        struct registry_backend drawn = backends[at];

        memmove(backends + begin + 1, backends + begin, (at - begin) * sizeof *backends);
        backends[begin] = drawn;
    }
}

static void
order(struct registry_backend *backends, unsigned count)
{
    for (unsigned begin = 0, end; begin < count; begin = end) {
        end = begin + 1;
        while (end < count && backends[end].priority == backends[begin].priority)
            end++;
        order_by_weight(backends, begin, end);
    }
}

/* --- Life. */

struct destination_walk *
destination_walk_new(struct destination_finder *finder, const struct registry_backend *backends,
                     unsigned count, void (*on_ready)(void *ctx), void *ctx)
{
    struct destination_walk *w = mem_alloc(sizeof *w);

    w->finder = finder;
    w->on_ready = on_ready;
    w->ctx = ctx;
    w->count = count;
    w->backends = mem_alloc((count ? count : 1) * sizeof *w->backends);
    if (count > 0)
        memcpy(w->backends, backends, count * sizeof *w->backends);
    order(w->backends, count);
    return w;
}

void
destination_walk_free(struct destination_walk **held)
{
    struct destination_walk *w = *held;

    *held = NULL;
    if (w == NULL)
        return;
    dns_lookup_cancel(&w->lookup);
    free(w->backends);
    free(w->items);
    loop_defer(w->finder->loop, free, w); /* on_ready may be on the stack */
}

const struct destination *
destination_walk_item(const struct destination_walk *w, unsigned index)
{
    CHECK(index < w->item_count);
    return &w->items[index];
}

unsigned
destination_walk_count(const struct destination_walk *w)
{
    return w->item_count;
}

const char *
destination_walk_why(const struct destination_walk *w)
{
    return w->why;
}

bool
destination_walk_is_unsure(const struct destination_walk *w)
{
    return w->is_unsure;
}

struct destination_finder *
destination_finder_new(struct loop *loop, const struct config *config, struct dns *dns)
{
    struct destination_finder *f = mem_alloc(sizeof *f);

    f->loop = loop;
    f->config = config;
    f->dns = dns;
    random_bytes(f->key, sizeof f->key);
    return f;
}

void
destination_finder_free(struct destination_finder **held)
{
    struct destination_finder *f = *held;

    *held = NULL;
    free(f);
}
