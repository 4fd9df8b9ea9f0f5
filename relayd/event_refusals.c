/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A small hash table that is told and emptied once a minute.  Its size is the bound: an attack from
 * more networks than it holds is one line more, not a line each.
 */
#include "relayd/event_refusals.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/siphash.h"
#include "base/event_log.h"

#define SLOTS (2 * EVENT_REFUSALS_NETWORKS)
#define WORDS_MAX 8 /* of one network in one minute; the last counts all others */
#define MINUTE_MS 60000

struct count {
    const char *word;
    uint64_t count;
};

struct counted {
    struct inet_network network; /* family 0: the slot is free */
    struct count counts[WORDS_MAX];
};

struct event_refusals {
    struct event_log *log;
    uint8_t key[SIPHASH_KEY_SIZE];
    unsigned lines_per_second, lines; /* of this second */
    int64_t second, minute;
    size_t network_count;
    struct counted others; /* for whom there was no slot */
    struct counted slots[SLOTS];
};

struct event_refusals *
event_refusals_new(struct event_log *log, unsigned lines_per_second)
{
    struct event_refusals *r = mem_alloc(sizeof *r);

    r->log = log;
    random_bytes(r->key, sizeof r->key);
    r->lines_per_second = lines_per_second;
    return r;
}

/* --- Telling. */

static void
tell(struct event_refusals *r, const struct counted *counted)
{
    char text[INET_ENDPOINT_SIZE], minute[CLOCK_RFC3339_SIZE];
    uint64_t all = 0;
    struct buf json;

    for (int i = 0; i < WORDS_MAX; i++)
        all += counted->counts[i].count;
    if (all == 0)
        return;
    buf_init(&json, 0);
    event_begin(&json, "refusals", clock_wall_ms());
    if (counted->network.family)
        event_text(&json, "client", slice_of(inet_network_text(&counted->network, text)));
    event_text(&json, "minute", slice_of(clock_rfc3339(r->minute * MINUTE_MS, minute)));
    event_number(&json, "count", (int64_t)all);
    buf_add_text(&json, ",\"verdicts\":{");
    for (int i = 0; i < WORDS_MAX && counted->counts[i].count; i++)
        buf_printf(&json, "%s\"%s\":%llu", i ? "," : "", counted->counts[i].word,
                   (unsigned long long)counted->counts[i].count);
    buf_add_text(&json, "}");
    event_end(&json);
    event_log_add(r->log, buf_slice(&json));
    buf_fini(&json);
}

static void
tell_all(struct event_refusals *r)
{
    for (size_t i = 0; r->network_count > 0 && i < SLOTS; i++)
        tell(r, &r->slots[i]);
    tell(r, &r->others);
    if (r->network_count > 0)
        memset(r->slots, 0, sizeof r->slots);
    r->others = (struct counted){0};
    r->network_count = 0;
}

void
event_refusals_tick(struct event_refusals *r, int64_t wall_ms)
{
    if (wall_ms / MINUTE_MS == r->minute)
        return;
    tell_all(r);
    r->minute = wall_ms / MINUTE_MS;
}

void
event_refusals_free(struct event_refusals **held)
{
    struct event_refusals *r = *held;

    *held = NULL;
    if (r != NULL)
        tell_all(r);
    free(r);
}

/* --- Counting. */

static bool
is_same(const struct inet_network *a, const struct inet_network *b)
{
    return a->family == b->family && memcmp(a->addr, b->addr, sizeof a->addr) == 0;
}

static struct counted *
find(struct event_refusals *r, const struct inet_endpoint *client)
{
    struct inet_network network = inet_network_around(client, client->family == 4 ? 24 : 64);
    size_t at = siphash(network.addr, sizeof network.addr, r->key) % SLOTS;

    while (r->slots[at].network.family && !is_same(&r->slots[at].network, &network))
        at = (at + 1) % SLOTS;
    if (r->slots[at].network.family)
        return &r->slots[at];
    if (r->network_count == EVENT_REFUSALS_NETWORKS || client->family == 0)
        return &r->others;
    r->network_count++;
    r->slots[at].network = network;
    return &r->slots[at];
}

static void
count(struct counted *counted, const char *word)
{
    int i = 0;

    while (i < WORDS_MAX - 1 && counted->counts[i].count &&
           strcmp(counted->counts[i].word, word) != 0)
        i++;
    counted->counts[i].word = i == WORDS_MAX - 1 ? "other" : word;
    counted->counts[i].count++;
}

bool
event_refusals_may_list(struct event_refusals *r, const struct inet_endpoint *client,
                        const char *word, int64_t wall_ms)
{
    event_refusals_tick(r, wall_ms);
    if (wall_ms / 1000 != r->second) {
        r->second = wall_ms / 1000;
        r->lines = 0;
    }
    if (r->lines < r->lines_per_second) {
        r->lines++;
        return true;
    }
    count(find(r, client), word);
    return false;
}
