/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Encodings that messages and records share.
 */
#include "state/state_protocol.h"

#include <stdio.h>

enum { FLAG_KNOWN = 1, FLAG_8BITMIME = 2, FLAG_SMTPUTF8 = 4, FLAG_SIZE = 8 };

void
state_endpoint_encode(const struct inet_endpoint *endpoint, char dst[STATE_ENDPOINT_SIZE])
{
    dst[0] = (char)endpoint->family;
    memcpy(dst + 1, endpoint->addr, sizeof endpoint->addr);
    dst[17] = (char)(endpoint->port >> 8);
    dst[18] = (char)(endpoint->port & 0xff);
}

struct inet_endpoint
state_endpoint_decode(struct slice bytes)
{
    struct inet_endpoint endpoint = {.family = 0};

    if (bytes.n != STATE_ENDPOINT_SIZE || (bytes.p[0] != 4 && bytes.p[0] != 6))
        return endpoint;
    endpoint.family = (uint8_t)bytes.p[0];
    memcpy(endpoint.addr, bytes.p + 1, sizeof endpoint.addr);
    endpoint.port = (uint16_t)((uint8_t)bytes.p[17] << 8 | (uint8_t)bytes.p[18]);
    return endpoint;
}

void
state_network_encode(const struct inet_endpoint *client, char dst[STATE_NETWORK_SIZE])
{
    memset(dst, 0, STATE_NETWORK_SIZE);
    dst[0] = (char)client->family;
    memcpy(dst + 1, client->addr, client->family == 4 ? 3 : 8);
}

void
state_source_encode(const struct inet_endpoint *client, char dst[STATE_SOURCE_SIZE])
{
    memset(dst, 0, STATE_SOURCE_SIZE);
    dst[0] = (char)client->family;
    memcpy(dst + 1, client->addr, client->family == 4 ? 4 : 8);
}

bool
state_contact_encode(const struct state_greylist_key *key, char dst[STATE_CONTACT_MAX],
                     struct slice *contact)
{
    const char *domain = key->authorised_domain ? key->authorised_domain : "";
    int n = snprintf(dst, STATE_CONTACT_MAX, "%s%c%s%c%s", key->sender, '\0', key->recipient, '\0',
                     domain);

    if (n < 0 || n >= STATE_CONTACT_MAX || strnlen(domain, INET_DOMAIN_SIZE) >= INET_DOMAIN_SIZE)
        return false;
    for (int i = 0; i < n; i++)
        if (dst[i] >= 'A' && dst[i] <= 'Z')
            dst[i] = (char)(dst[i] - 'A' + 'a');
    *contact = (struct slice){dst, (size_t)n};
    return true;
}

bool
state_contact_decode(struct slice contact, char dst[STATE_CONTACT_MAX],
                     struct state_greylist_key *key)
{
    const char *texts[3] = {dst}, *end = dst + contact.n;
    unsigned count = 1;

    if (contact.n >= STATE_CONTACT_MAX)
        return false;
    memcpy(dst, contact.p, contact.n);
    dst[contact.n] = '\0';
    for (const char *p = dst; p < end; p++)
        if (*p == '\0') {
            if (count == ARRAY_SIZE(texts))
                return false;
            texts[count++] = p + 1;
        }
    key->sender = texts[0];
    key->recipient = texts[1];
    key->authorised_domain = texts[2];
    return count == ARRAY_SIZE(texts);
}

/* --- Lists. */

static void
put_network(struct buf *b, const struct inet_network *network)
{
    put_u8(b, network->family);
    put_u8(b, network->bits);
    put_bytes(b, (struct slice){(const char *)network->addr, sizeof network->addr});
}

static struct inet_network
get_network(struct decoder *d)
{
    struct inet_network network = {.family = get_u8(d), .bits = get_u8(d)};
    struct slice bytes = get_bytes(d);

    if (bytes.n == sizeof network.addr)
        memcpy(network.addr, bytes.p, bytes.n);
    else
        d->failed = true;
    return network;
}

static void
get_place(struct decoder *d, struct state_place *place)
{
    struct slice bytes = get_bytes(d);

    if (bytes.n > sizeof place->key) {
        d->failed = true;
        return;
    }
    place->size = bytes.n;
    memcpy(place->key, bytes.p, bytes.n);
}

struct slice
state_list_encode(const struct state_filter *filter, const struct state_place *place,
                  char dst[STATE_LIST_MAX])
{
    struct slice all = {dst, 0};
    struct buf b;

    buf_init(&b, 0);
    put_network(&b, &filter->network);
    put_text(&b, filter->domain);
    put_bytes(&b, (struct slice){place->key, place->size});
    CHECK(buf_size(&b) <= STATE_LIST_MAX);
    memcpy(dst, buf_slice(&b).p, buf_size(&b));
    all.n = buf_size(&b);
    buf_fini(&b);
    return all;
}

bool
state_list_decode(struct slice bytes, struct state_filter *filter, struct state_place *place)
{
    struct decoder d = decoder_of(bytes);

    filter->network = get_network(&d);
    get_text(&d, filter->domain, sizeof filter->domain);
    get_place(&d, place);
    return decoder_done(&d);
}

void
state_page_encode(struct buf *b, const struct state_page *page)
{
    put_bytes(b, (struct slice){page->next.key, page->next.size});
    put_u32(b, page->count);
    for (unsigned i = 0; i < page->count; i++) {
        const struct state_row *row = &page->rows[i];

        put_u32(b, row->customer_id);
        put_network(b, &row->network);
        put_text(b, row->domain);
        put_u64(b, (uint64_t)row->since_ms);
        put_u64(b, (uint64_t)row->seen_ms);
        put_u64(b, (uint64_t)row->until_ms);
    }
}

bool
state_page_decode(struct decoder *d, struct state_page *page)
{
    get_place(d, &page->next);
    page->count = get_u32(d);
    if (page->count > STATE_PAGE_ROWS)
        return false;
    for (unsigned i = 0; i < page->count; i++) {
        struct state_row *row = &page->rows[i];

        row->customer_id = get_u32(d);
        row->network = get_network(d);
        get_text(d, row->domain, sizeof row->domain);
        row->since_ms = (int64_t)get_u64(d);
        row->seen_ms = (int64_t)get_u64(d);
        row->until_ms = (int64_t)get_u64(d);
    }
    return decoder_done(d);
}

/* --- Capabilities. */

uint8_t
state_capabilities_flags(const struct state_capabilities *c)
{
    return (uint8_t)(FLAG_KNOWN | (c->eightbitmime ? FLAG_8BITMIME : 0) |
                     (c->smtputf8 ? FLAG_SMTPUTF8 : 0) | (c->has_size ? FLAG_SIZE : 0));
}

struct state_capabilities
state_capabilities_of(uint8_t flags, uint64_t size_max_bytes)
{
    return (struct state_capabilities){
        .is_known = (flags & FLAG_KNOWN) != 0,
        .eightbitmime = (flags & FLAG_8BITMIME) != 0,
        .smtputf8 = (flags & FLAG_SMTPUTF8) != 0,
        .has_size = (flags & FLAG_SIZE) != 0,
        .size_max_bytes = size_max_bytes,
    };
}
