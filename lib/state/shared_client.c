/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Connections per client address, in the column of the worker that serves them.  Exact like the
 * slots of backends (shared_worker.c): a worker adds its own first and then sums all columns.
 *
 * A key may lie in either of two rows of 16 places, in the emptier one when it is new: no chains,
 * so nothing has to be moved when one goes, and millions of addresses a day leave nothing behind.
 * 20,000 different ones fill 61 % of a column's places; the fullest row then holds 13 or 14.
 */
#include <errno.h>
#include <sys/mman.h>

#include "state/shared_layout.h"

#define COUNT_BITS 16
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
/* Two that race for the last place can both step back; trying again a few times settles it. */
#define ENTER_TRIES 4

int
shared_client_prepare(struct shared_table *table, unsigned slot)
{
    struct shared_column *column = shared_column_of(table, slot);

    /* A hole in a full tmpfs would kill at its first touch; this tells instead. Kernels before 5.14
     * do not know it. */
    if (madvise(&table->memory->clients[slot], sizeof table->memory->clients[slot],
                MADV_POPULATE_WRITE) != 0 &&
        errno != EINVAL)
        return ERR_FULL;
    atomic_store(&column->has_clients, 1);
    return ERR_OK;
}

static uint64_t
key_of(const struct shared_table *table, const struct inet_endpoint *client)
{
    struct inet_endpoint network = {.family = client->family};
    uint64_t key;

    memcpy(network.addr, client->addr, client->family == 4 ? 4 : 8);
    key = shared_endpoint_key(table, &network);
    return key >> COUNT_BITS ? key : key | UINT64_C(1) << COUNT_BITS;
}

static _Atomic uint64_t *
row_of(struct shared_clients *clients, uint64_t key, unsigned which)
{
    uint64_t row = key % SHARED_CLIENT_ROWS;

    if (which) /* never the same again */
        row ^= 1 + (key >> 24) % (SHARED_CLIENT_ROWS - 1);
    return clients->rows[row];
}

static _Atomic uint64_t *
find_place(struct shared_clients *clients, uint64_t key)
{
    for (unsigned which = 0; which < 2; which++) {
        _Atomic uint64_t *row = row_of(clients, key, which);

        for (unsigned i = 0; i < SHARED_PLACES; i++)
            if (atomic_load_explicit(&row[i], memory_order_relaxed) >> COUNT_BITS ==
                key >> COUNT_BITS)
                return &row[i];
    }
    return NULL;
}

/* Of the emptier row; NULL: both are full. */
static _Atomic uint64_t *
vacant_place(struct shared_clients *clients, uint64_t key)
{
    _Atomic uint64_t *vacant = NULL;
    unsigned most = 0;

    for (unsigned which = 0; which < 2; which++) {
        _Atomic uint64_t *row = row_of(clients, key, which), *last = NULL;
        unsigned count = 0;

        for (unsigned i = 0; i < SHARED_PLACES; i++)
            if (atomic_load_explicit(&row[i], memory_order_relaxed) == 0) {
                last = &row[i];
                count++;
            }
        if (count > most) {
            most = count;
            vacant = last;
        }
    }
    return vacant;
}

/* Sequentially consistent, all of it: of two that race, each must see what the other has added. */
static uint64_t
sum_column(struct shared_clients *clients, uint64_t key)
{
    uint64_t sum = 0;

    for (unsigned which = 0; which < 2; which++) {
        _Atomic uint64_t *row = row_of(clients, key, which);

        for (unsigned i = 0; i < SHARED_PLACES; i++) {
            uint64_t word = atomic_load(&row[i]);

            if (word >> COUNT_BITS == key >> COUNT_BITS)
                sum += word & COUNT_MASK;
        }
    }
    return sum;
}

static uint64_t
sum_columns(const struct shared_table *table, uint64_t key)
{
    uint64_t sum = 0;

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX; slot++) {
        struct shared_column *column = shared_column_of(table, slot);

        if (atomic_load(&column->pid) != 0 && atomic_load(&column->has_clients) != 0)
            sum += sum_column(&table->memory->clients[slot], key);
    }
    return sum;
}

static void
take_one(_Atomic uint64_t *place)
{
    uint64_t word = atomic_load(place);

    CHECK((word & COUNT_MASK) > 0);
    atomic_store(place, (word & COUNT_MASK) == 1 ? 0 : word - 1);
}

bool
shared_client_enter(struct shared_table *table, unsigned slot, const struct inet_endpoint *client,
                    uint32_t limit)
{
    struct shared_column *column = shared_column_of(table, slot);
    uint64_t key = key_of(table, client);

    CHECK(atomic_load(&column->has_clients));
    for (unsigned i = 0; i < ENTER_TRIES && sum_columns(table, key) < limit; i++) {
        struct shared_clients *clients = &table->memory->clients[slot];
        _Atomic uint64_t *mine = find_place(clients, key);
        uint64_t word;

        if (mine == NULL)
            mine = vacant_place(clients, key);
        if (mine == NULL)
            return false;
        word = atomic_load(mine);
        if ((word & COUNT_MASK) == COUNT_MASK)
            return false;
        atomic_store(mine, (word ? word : key >> COUNT_BITS << COUNT_BITS) + 1);
        if (sum_columns(table, key) <= limit) {
            atomic_fetch_add(&column->connections, 1);
            return true;
        }
        take_one(mine);
    }
    return false;
}

void
shared_client_leave(struct shared_table *table, unsigned slot, const struct inet_endpoint *client)
{
    struct shared_column *column = shared_column_of(table, slot);
    _Atomic uint64_t *mine = find_place(&table->memory->clients[slot], key_of(table, client));

    CHECK(mine != NULL && atomic_load(&column->connections) > 0);
    take_one(mine);
    atomic_fetch_sub(&column->connections, 1);
}

uint32_t
shared_client_count(const struct shared_table *table, const struct inet_endpoint *client)
{
    return (uint32_t)sum_columns(table, key_of(table, client));
}

uint32_t
shared_connections(const struct shared_table *table)
{
    uint32_t sum = 0;

    for (unsigned slot = 0; slot < SHARED_WORKERS_MAX; slot++)
        if (atomic_load(&shared_column_of(table, slot)->pid) != 0)
            sum += atomic_load(&shared_column_of(table, slot)->connections);
    return sum;
}

void
shared_clients_clear(struct shared_table *table, unsigned slot)
{
    struct shared_column *column = shared_column_of(table, slot);

    atomic_store(&column->connections, 0);
    if (atomic_load(&column->has_clients) == 0)
        return;
    for (unsigned row = 0; row < SHARED_CLIENT_ROWS; row++)
        for (unsigned i = 0; i < SHARED_PLACES; i++)
            atomic_store_explicit(&table->memory->clients[slot].rows[row][i], 0,
                                  memory_order_relaxed);
}
