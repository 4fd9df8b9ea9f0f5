/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Lists of what the store knows, a page at a time: a walk over the records of one kind, in the
 * order of their keys, that ends when the page is full or enough was looked at.  The walk is over
 * the file; each record is then taken as it is by now, with the changes that wait.
 */
#include "state/state_protocol.h"
#include "state/state_store_private.h"

#define PAGE_RECORDS 300 /* are looked at, so that nobody else waits for a list */

static const struct listing {
    enum state_store_kind kind;
    state_store_row row;
    bool is_by_origin;
} listings[] = {
    [STATE_LIST_KNOWN] = {STATE_STORE_KNOWN, state_store_known_row, true},
    [STATE_LIST_WAITING] = {STATE_STORE_WAITING, state_store_waiting_row, true},
    [STATE_LIST_BANS] = {STATE_STORE_BOUNCE, state_store_ban_row, false},
};

struct list {
    struct state_store *store;
    const struct listing *listing;
    const struct state_filter *filter;
    char prefix[STATE_PLACE_MAX + 1];
    size_t prefix_size;
    int64_t wall_ms;
    struct state_page *page;
    bool is_at_end;
};

static bool
is_within(const struct inet_network *outer, const struct inet_network *inner)
{
    struct inet_endpoint first = {.family = inner->family};

    memcpy(first.addr, inner->addr, sizeof first.addr);
    return inner->bits >= outer->bits && inet_network_has(outer, &first);
}

static bool
passes(const struct state_filter *filter, const struct state_row *row)
{
    if (filter->domain[0] != '\0')
        return strcmp(filter->domain, row->domain) == 0;
    return filter->network.family == 0 || is_within(&filter->network, &row->network);
}

static bool
list_record(void *ctx, struct slice key, struct slice value)
{
    struct list *list = ctx;
    struct state_page *page = list->page;
    struct state_record record;
    struct state_row row = {.customer_id = 0};

    (void)value;
    if (key.n < list->prefix_size || memcmp(key.p, list->prefix, list->prefix_size) != 0) {
        list->is_at_end = true;
        return false;
    }
    if (page->count == STATE_PAGE_ROWS)
        return false;
    if (key.n <= STATE_PLACE_MAX && state_store_find(list->store, key, &record) &&
        list->listing->row(list->store, key, &record, list->wall_ms, &row) &&
        passes(list->filter, &row))
        page->rows[page->count++] = row;
    return true;
}

int
state_store_list(struct state_store *store, enum state_listing listing,
                 const struct state_filter *filter, const struct state_place *place,
                 int64_t wall_ms, struct state_page *page)
{
    struct list list = {.store = store,
                        .listing = &listings[listing],
                        .filter = filter,
                        .wall_ms = wall_ms,
                        .page = page};
    struct state_store_place at = {.size = place->size};
    int rc;

    list.prefix[0] = (char)list.listing->kind;
    list.prefix_size = 1;
    if (list.listing->is_by_origin)
        list.prefix_size += state_store_origin_prefix(filter, list.prefix + 1);
    if (at.size == 0)
        at.size = list.prefix_size;
    memcpy(at.key, place->size > 0 ? place->key : list.prefix, at.size);
    *page = (struct state_page){.count = 0};
    rc = state_store_walk(store, &at, PAGE_RECORDS, list_record, &list);
    if (rc == ERR_OK && !list.is_at_end && at.size > 0 && at.size <= STATE_PLACE_MAX) {
        page->next.size = at.size;
        memcpy(page->next.key, at.key, at.size);
    }
    return rc;
}
