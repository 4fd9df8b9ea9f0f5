/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What an operator asks of the node's memory, a line of JSON each:
 *
 *   recipient-forget  customer, and recipient or domain
 *   memory-list       what: known, waiting or bans; network or domain or neither; after: where the
 *                     page before ended.  {"ok", "rows": [{"customer_id", "customer", "network" or
 *                     "domain", "since", "seen", "until"}], "after"}, moments in ms
 *   greylist-forget   network or domain; neither: all
 *   ban-forget        customer, address
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "relayd/worker_ask_private.h"

struct memory_asked {
    struct memory_asked *next;
    struct worker *worker;
    uint32_t id;
    struct state_query *query;
};

static const char *
text_of(const json_t *json, const char *name)
{
    return json_string_value(json_object_get(json, name));
}

static uint32_t
customer_of(const json_t *json)
{
    json_int_t id = json_integer_value(json_object_get(json, "customer"));

    return id > 0 && id <= UINT32_MAX ? (uint32_t)id : 0;
}

static void
answer_done(struct worker *w, uint32_t id)
{
    worker_ask_answer(w, id, json_pack("{s:b}", "ok", 1));
}

/* --- recipient-forget */

static void
forget_recipient(struct worker *w, uint32_t id, const json_t *json)
{
    const char *key = text_of(json, "recipient"), *domain = text_of(json, "domain");
    uint32_t customer_id = customer_of(json);

    if (customer_id == 0 || (key == NULL) == (domain == NULL)) {
        worker_ask_error(w, id, "it names no customer, or not one recipient or domain");
        return;
    }
    if (key)
        state_recipient_forget(w->state, customer_id, key);
    else
        state_domain_forget(w->state, customer_id, domain);
    answer_done(w, id);
}

/* --- memory-list */

static const char *const listings[] = {
    [STATE_LIST_KNOWN] = "known",
    [STATE_LIST_WAITING] = "waiting",
    [STATE_LIST_BANS] = "bans",
};

static bool
read_listing(const json_t *json, enum state_listing *listing)
{
    const char *what = text_of(json, "what");

    for (size_t i = 0; what && i < ARRAY_SIZE(listings); i++)
        if (strcmp(what, listings[i]) == 0) {
            *listing = (enum state_listing)i;
            return true;
        }
    return false;
}

static bool
read_filter(const json_t *json, struct state_filter *filter)
{
    const char *network = text_of(json, "network"), *domain = text_of(json, "domain");

    *filter = (struct state_filter){.domain = ""};
    if (network)
        return domain == NULL && inet_network_parse(slice_of(network), &filter->network) == ERR_OK;
    return domain == NULL || (domain[0] != '\0' && slice_to_text(slice_of(domain), filter->domain,
                                                                 sizeof filter->domain));
}

static const char hex_digits[] = "0123456789abcdef";

#define PLACE_TEXT_SIZE (2 * STATE_PLACE_MAX + 1)

static const char *
place_text(const struct state_place *place, char dst[PLACE_TEXT_SIZE])
{
    for (size_t i = 0; i < place->size; i++) {
        dst[2 * i] = hex_digits[(uint8_t)place->key[i] >> 4];
        dst[2 * i + 1] = hex_digits[(uint8_t)place->key[i] & 15];
    }
    dst[2 * place->size] = '\0';
    return dst;
}

static bool
read_place(const json_t *json, struct state_place *place)
{
    const char *text = text_of(json, "after");
    size_t n = text ? strlen(text) : 0;

    *place = (struct state_place){.size = n / 2};
    if (n % 2 != 0 || place->size > STATE_PLACE_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *digit = memchr(hex_digits, text[i], 16);

        if (digit == NULL)
            return false;
        place->key[i / 2] = (char)((uint8_t)place->key[i / 2] << 4 | (digit - hex_digits));
    }
    return true;
}

static json_t *
customer_name(const struct worker *w, uint32_t id)
{
    struct registry_customer customer;

    if (id == 0 || w->registry == NULL ||
        registry_find_customer(w->registry, id, clock_wall_ms(), &customer) != ERR_OK)
        return json_null();
    return json_string(customer.name);
}

static json_t *
json_of_row(const struct worker *w, const struct state_row *row)
{
    char network[INET_ENDPOINT_SIZE];
    json_t *domain = row->network.family ? json_null() : json_string(row->domain);

    return json_pack("{s:I, s:o, s:s?, s:o, s:I, s:I, s:I}", "customer_id",
                     (json_int_t)row->customer_id, "customer", customer_name(w, row->customer_id),
                     "network",
                     row->network.family ? inet_network_text(&row->network, network) : NULL,
                     "domain", domain ? domain : json_string("?"), /* it is no UTF-8 */
                     "since", (json_int_t)row->since_ms, "seen", (json_int_t)row->seen_ms, "until",
                     (json_int_t)row->until_ms);
}

static json_t *
json_of_page(const struct worker *w, const struct state_page *page)
{
    json_t *rows = json_array();
    char place[PLACE_TEXT_SIZE];

    for (unsigned i = 0; i < page->count; i++)
        json_array_append_new(rows, json_of_row(w, &page->rows[i]));
    return json_pack("{s:b, s:o, s:s?}", "ok", 1, "rows", rows, "after",
                     page->next.size > 0 ? place_text(&page->next, place) : NULL);
}

static void
asked_end(struct memory_asked *a)
{
    struct memory_asked **at = &a->worker->memory_asked;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    state_query_cancel(&a->query);
    free(a);
}

static void
on_page(void *ctx, const struct state_answer *answer)
{
    struct memory_asked *a = ctx;

    a->query = NULL;
    if (answer->page)
        worker_ask_answer(a->worker, a->id, json_of_page(a->worker, answer->page));
    else
        worker_ask_error(a->worker, a->id, "relayd's state process does not answer; try again");
    asked_end(a);
}

static void
list(struct worker *w, uint32_t id, const json_t *json)
{
    enum state_listing listing;
    struct state_filter filter;
    struct state_place place;
    struct memory_asked *a;

    if (!read_listing(json, &listing) || !read_filter(json, &filter) || !read_place(json, &place)) {
        worker_ask_error(w, id, "no such list: known, waiting and bans are known");
        return;
    }
    a = mem_alloc(sizeof *a);
    a->worker = w;
    a->id = id;
    a->next = w->memory_asked;
    w->memory_asked = a;
    a->query = state_list_ask(w->state, listing, &filter, &place, on_page, a);
}

/* --- greylist-forget, ban-forget */

static void
forget_origin(struct worker *w, uint32_t id, const json_t *json)
{
    char network[INET_ENDPOINT_SIZE];
    struct state_filter which;

    if (!read_filter(json, &which)) {
        worker_ask_error(w, id, "it names no network or domain");
        return;
    }
    state_greylist_forget(w->state, &which);
    log_line(LOG_LEVEL_INFO, NULL, "greylist-forgotten", "origin=%s",
             which.network.family      ? inet_network_text(&which.network, network)
             : which.domain[0] != '\0' ? which.domain
                                       : "all");
    answer_done(w, id);
}

static void
forget_ban(struct worker *w, uint32_t id, const json_t *json)
{
    const char *text = text_of(json, "address");
    uint32_t customer_id = customer_of(json);
    struct inet_endpoint address;

    if (customer_id == 0 || text == NULL ||
        inet_endpoint_parse(slice_of(text), 25, &address) != ERR_OK) {
        worker_ask_error(w, id, "it names no customer or no address");
        return;
    }
    state_ban_forget(w->state, customer_id, &address);
    log_line(LOG_LEVEL_INFO, NULL, "ban-ended", "customer_id=%u address=%s", customer_id, text);
    answer_done(w, id);
}

static const struct verb {
    const char *word;
    void (*run)(struct worker *w, uint32_t id, const json_t *json);
} verbs[] = {
    {"recipient-forget", forget_recipient},
    {"memory-list", list},
    {"greylist-forget", forget_origin},
    {"ban-forget", forget_ban},
};

bool
worker_ask_memory(struct worker *w, uint32_t id, const char *word, const json_t *json)
{
    for (size_t i = 0; word && i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].word, word) == 0) {
            verbs[i].run(w, id, json);
            return true;
        }
    return false;
}

void
worker_ask_memory_cancel_all(struct worker *w)
{
    while (w->memory_asked)
        asked_end(w->memory_asked);
}
