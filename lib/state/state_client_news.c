/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a worker has learned, told to the state process; nobody waits for it.  The news of nearly
 * every message (recipients, good and bad senders) collect for a while, which saves both processes
 * most of their system calls for them; any other leave with the turn, and all that have collected
 * with them.
 */
#include "base/codec.h"
#include "base/siphash.h"
#include "state/state_client_private.h"

#define HOUR_MS (60 * 60 * 1000)

/* News of addresses have no key; any other must be of a size.  False: nobody hears it. */
static bool
add(struct state_client *client, enum state_news news, const struct state_entry *entry)
{
    const struct slice key = entry->key;

    if (client->channel == NULL || (key.p != NULL && (key.n == 0 || key.n > STATE_KEY_MAX)))
        return false;
    put_u8(&client->news, news);
    state_entry_put(&client->news, entry);
    return true;
}

static void
tell(struct state_client *client, enum state_news news, const struct state_entry *entry)
{
    if (add(client, news, entry))
        state_client_flush(client);
}

static void
tell_in_time(struct state_client *client, enum state_news news, const struct state_entry *entry)
{
    if (add(client, news, entry))
        state_client_flush_in_time(client);
}

void
state_recipient_learn(struct state_client *client, uint32_t customer_id, const char *key,
                      bool valid, const struct inet_endpoint *backend)
{
    struct state_entry entry = {.customer_id = customer_id,
                                .endpoint = backend,
                                .key = {key, strnlen(key, STATE_KEY_MAX + 1)}};

    tell_in_time(client, valid ? STATE_NEWS_VALID : STATE_NEWS_INVALID, &entry);
}

void
state_domain_learn(struct state_client *client, uint32_t customer_id, const char *domain,
                   enum state_domain word)
{
    if (word != STATE_DOMAIN_UNKNOWN)
        tell(client, word == STATE_DOMAIN_PICKY ? STATE_NEWS_PICKY : STATE_NEWS_ACCEPT_ALL,
             &(struct state_entry){.customer_id = customer_id, .key = slice_of(domain)});
}

void
state_recipient_forget(struct state_client *client, uint32_t customer_id, const char *key)
{
    tell(client, STATE_NEWS_FORGET,
         &(struct state_entry){.customer_id = customer_id, .key = slice_of(key)});
}

void
state_domain_forget(struct state_client *client, uint32_t customer_id, const char *domain)
{
    tell(client, STATE_NEWS_FORGET_DOMAIN,
         &(struct state_entry){.customer_id = customer_id, .key = slice_of(domain)});
}

void
state_capabilities_learn(struct state_client *client, const struct inet_endpoint *endpoint,
                         const struct state_capabilities *capabilities)
{
    char flags = (char)state_capabilities_flags(capabilities);

    tell(client, STATE_NEWS_CAPABILITIES,
         &(struct state_entry){
             .number = capabilities->size_max_bytes, .endpoint = endpoint, .key = {&flags, 1}});
}

void
state_greylist_forget(struct state_client *client, const struct state_filter *which)
{
    const struct state_place nowhere = {.size = 0};
    char bytes[STATE_LIST_MAX];

    tell(client, STATE_NEWS_FORGET_ORIGIN,
         &(struct state_entry){.key = state_list_encode(which, &nowhere, bytes)});
}

void
state_bounce_learn(struct state_client *client, uint32_t customer_id,
                   const struct inet_endpoint *address)
{
    tell_in_time(client, STATE_NEWS_BOUNCE,
                 &(struct state_entry){.customer_id = customer_id, .endpoint = address});
}

/* Has it been said this hour?  If two share a place, some is said again. */
static bool
is_good_told(struct state_client *client, uint32_t customer_id, const struct inet_endpoint *address)
{
    static const uint8_t fixed[SIPHASH_KEY_SIZE] = "postern good";
    struct {
        int64_t hour;
        uint32_t customer_id;
        char source[STATE_SOURCE_SIZE];
    } what;
    uint64_t hash, *told;

    memset(&what, 0, sizeof what);
    what.hour = loop_now_ms(client->loop) / HOUR_MS;
    what.customer_id = customer_id;
    state_source_encode(address, what.source);
    hash = siphash(&what, sizeof what, fixed);
    told = &client->good_told[hash % STATE_CLIENT_GOOD_MAX];
    if (*told == hash)
        return true;
    *told = hash;
    return false;
}

void
state_good_learn(struct state_client *client, uint32_t customer_id,
                 const struct inet_endpoint *address)
{
    if (client->channel != NULL && !is_good_told(client, customer_id, address))
        tell_in_time(client, STATE_NEWS_GOOD,
                     &(struct state_entry){.customer_id = customer_id, .endpoint = address});
}

void
state_ban_forget(struct state_client *client, uint32_t customer_id,
                 const struct inet_endpoint *address)
{
    tell(client, STATE_NEWS_FORGET_BAN,
         &(struct state_entry){.customer_id = customer_id, .endpoint = address});
}
