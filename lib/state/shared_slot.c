/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections to backends, by endpoint, over all workers: how many there are, never more than the
 * limit; how many of them stand; who waits for one; and how many a backend has shown that it can
 * bear.  Each worker writes its own column, and reads all.
 *
 * Never more than the limit: a worker adds its own first, then sums all columns; two that race for
 * the last one both see too many and step back.
 */
#include "base/clock.h"
#include "state/shared_layout.h"

/* The place of `key`; with `claim` (the owner only) a place for it if it has none, one that says
 * nothing.  NULL: none. */
static struct shared_slots *
find(struct shared_column *column, uint64_t key, bool claim)
{
    struct shared_slots *vacant = NULL;

    for (unsigned i = 0; i < SHARED_SLOTS_MAX; i++) {
        struct shared_slots *at = &column->slots[(unsigned)(key + i) % SHARED_SLOTS_MAX];
        uint64_t there = atomic_load(&at->key);

        if (there == key)
            return at;
        if (vacant == NULL && atomic_load(&at->taken) == 0 && atomic_load(&at->wanted) == 0)
            vacant = at;
        if (there == 0)
            break;
    }
    if (!claim || vacant == NULL)
        return NULL;
    atomic_store(&vacant->crowd, 0);
    atomic_store(&vacant->standing, 0);
    atomic_store(&vacant->key, key);
    return vacant;
}

/* What all live columns say of an endpoint. */
struct sum {
    uint64_t taken, standing;
    unsigned claimants; /* columns that have some, or want some */
    uint32_t wanted;    /* by others than `mine` */
    uint32_t cap;       /* so many connections the backend bears for now */
};

/* A word of seconds (monotonic, of the whole host) 40, connections 24. */
static void
take_cap(struct sum *sum, uint64_t crowd)
{
    uint32_t cap = (uint32_t)(crowd & 0xffffff);

    if (crowd != 0 && (int64_t)(crowd >> 24) * 1000 > clock_monotonic_ms() && cap < sum->cap)
        sum->cap = cap;
}

static struct sum
sum_of(const struct shared_table *table, uint64_t key, unsigned mine)
{
    struct sum sum = {.cap = UINT32_MAX};

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX; slot++) {
        struct shared_column *column = shared_column_of(table, slot);
        struct shared_slots *slots;
        uint32_t taken, wanted;

        if (atomic_load(&column->pid) == 0 || (slots = find(column, key, false)) == NULL)
            continue;
        taken = atomic_load(&slots->taken);
        wanted = atomic_load(&slots->wanted);
        sum.taken += taken;
        sum.standing += atomic_load(&slots->standing);
        sum.claimants += taken > 0 || wanted > 0;
        sum.wanted += slot == mine ? 0 : wanted;
        take_cap(&sum, atomic_load(&slots->crowd));
    }
    return sum;
}

static uint64_t
lower(uint64_t limit, uint64_t cap)
{
    return cap < limit ? cap : limit;
}

/* Two that race for the last slot can both step back; trying again a few times settles it. */
#define SLOT_TRIES 4

bool
shared_slot_take(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint,
                 uint32_t limit)
{
    uint64_t key = shared_endpoint_key(table, endpoint);
    struct shared_slots *mine = find(shared_column_of(table, slot), key, true);

    for (unsigned i = 0; mine != NULL && i < SLOT_TRIES; i++) {
        struct sum sum = sum_of(table, key, slot);

        if (sum.taken >= lower(limit, sum.cap))
            return false;
        atomic_fetch_add(&mine->taken, 1);
        sum = sum_of(table, key, slot);
        if (sum.taken <= lower(limit, sum.cap))
            return true;
        atomic_fetch_sub(&mine->taken, 1);
    }
    return false;
}

static struct shared_slots *
mine_of(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint)
{
    return find(shared_column_of(table, slot), shared_endpoint_key(table, endpoint), false);
}

void
shared_slot_give(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint)
{
    struct shared_slots *mine = mine_of(table, slot, endpoint);

    CHECK(mine != NULL && atomic_load(&mine->taken) > 0);
    atomic_fetch_sub(&mine->taken, 1);
}

uint32_t
shared_slot_count(const struct shared_table *table, const struct inet_endpoint *endpoint)
{
    return (uint32_t)sum_of(table, shared_endpoint_key(table, endpoint), 0).taken;
}

void
shared_slot_stands(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint,
                   bool stands)
{
    struct shared_slots *mine = mine_of(table, slot, endpoint);

    CHECK(mine != NULL && (stands || atomic_load(&mine->standing) > 0));
    if (stands)
        atomic_fetch_add(&mine->standing, 1);
    else
        atomic_fetch_sub(&mine->standing, 1);
}

uint32_t
shared_slot_standing(const struct shared_table *table, const struct inet_endpoint *endpoint)
{
    return (uint32_t)sum_of(table, shared_endpoint_key(table, endpoint), 0).standing;
}

void
shared_slot_want(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint,
                 uint32_t count)
{
    struct shared_slots *mine =
        find(shared_column_of(table, slot), shared_endpoint_key(table, endpoint), count > 0);

    if (mine != NULL)
        atomic_store(&mine->wanted, count);
}

struct shared_slot_share
shared_slot_share(const struct shared_table *table, unsigned slot,
                  const struct inet_endpoint *endpoint, uint32_t limit)
{
    struct sum sum = sum_of(table, shared_endpoint_key(table, endpoint), slot);
    uint32_t most = (uint32_t)lower(limit, sum.cap);
    struct shared_slot_share share = {
        .wanted = sum.wanted, .is_full = sum.taken >= most, .slots = most};

    if (sum.wanted == 0)
        return share;
    share.is_too_few = most < sum.claimants;
    share.slots = share.is_too_few ? 1 : most / sum.claimants;
    return share;
}

void
shared_slot_crowded(struct shared_table *table, unsigned slot, const struct inet_endpoint *endpoint,
                    int64_t for_ms)
{
    uint64_t until_s = (uint64_t)(clock_monotonic_ms() + for_ms + 999) / 1000;
    uint32_t standing = shared_slot_standing(table, endpoint);
    struct shared_slots *mine = mine_of(table, slot, endpoint);

    if (mine != NULL && for_ms == 0)
        atomic_store(&mine->crowd, 0);
    else if (mine != NULL)
        atomic_store(&mine->crowd, until_s << 24 | (standing > 0 ? standing & 0xffffff : 1));
}
