/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A ban is of one address, of IPv6 of one /64; a larger network names none.
 */
#include "admin/ban.h"

#include <stdio.h>
#include <string.h>

#include "admin/relay_memory.h"

/* --- Looking. */

struct listing {
    uint32_t customer_id;
    ban_each each;
    void *ctx;
};

/* "192.0.2.1/32" is an address. */
static const char *
text_of(const char *network, char dst[INET_ENDPOINT_SIZE])
{
    snprintf(dst, INET_ENDPOINT_SIZE, "%s", network ? network : "?");
    if (strchr(dst, ':') == NULL)
        dst[strcspn(dst, "/")] = '\0';
    return dst;
}

static void
add_row(void *ctx, const struct relay_memory_row *row)
{
    const struct listing *l = ctx;
    char text[INET_ENDPOINT_SIZE];

    if (l->customer_id == 0 || l->customer_id == row->customer_id)
        l->each(l->ctx, &(struct ban){.customer_id = row->customer_id,
                                      .customer = row->customer,
                                      .what = text_of(row->network, text),
                                      .since_ms = row->since_ms,
                                      .until_ms = row->until_ms});
}

void
ban_list(const struct call *call, uint32_t customer_id, ban_each each, void *ctx)
{
    struct listing l = {customer_id, each, ctx};
    struct relay_memory_which all = {.domain = ""};

    if (relay_memory_list(call, "bans", &all, true, add_row, &l) != COMMAND_DONE)
        call_complain("the relay on this node does not say whom it has banned: it does not run, or "
                      "may not be asked by you");
}

/* --- Ending. */

struct ending {
    uint32_t customer_id;
    bool is_there;
};

static void
find_row(void *ctx, const struct relay_memory_row *row)
{
    struct ending *e = ctx;

    e->is_there = e->is_there || row->customer_id == e->customer_id;
}

/* What a ban of this address is of; false: none can be. */
static bool
read_source(const char *text, struct inet_network *network)
{
    struct inet_endpoint first;

    if (inet_network_parse(slice_of(text), network) != ERR_OK)
        return false;
    if (network->family == 4)
        return network->bits == 32;
    first = (struct inet_endpoint){.family = 6};
    memcpy(first.addr, network->addr, sizeof first.addr);
    if (network->bits < 64)
        return false;
    *network = inet_network_around(&first, 64);
    return true;
}

bool
ban_end(const struct call *call, uint32_t customer_id, const char *what)
{
    struct ending e = {.customer_id = customer_id};
    struct relay_memory_which which = {.domain = ""};
    struct inet_endpoint address;
    char text[INET_ENDPOINT_SIZE];

    if (!read_source(what, &which.network) ||
        relay_memory_list(call, "bans", &which, true, find_row, &e) != COMMAND_DONE || !e.is_there)
        return false;
    if (call->dry_run)
        return true;
    address = (struct inet_endpoint){.family = which.network.family, .port = 25};
    memcpy(address.addr, which.network.addr, sizeof address.addr);
    return relay_memory_forget_ban(call, customer_id, inet_endpoint_text(&address, text)) ==
           COMMAND_DONE;
}
