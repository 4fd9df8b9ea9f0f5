/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A few rows a connection, made when a first recipient is accepted, or one is unknown: an idle
 * connection has none.
 */
#include "relayd/allowance.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define MINUTE_MS 60000

struct allowance_row {
    uint32_t customer_id;
    uint32_t messages, unknown;
    bool is_counted; /* in the hour */
};

void
allowance_fini(struct allowance *a)
{
    free(a->rows);
    *a = (struct allowance){0};
}

static struct allowance_row *
find(const struct allowance *a, uint32_t customer_id)
{
    for (unsigned i = 0; i < a->count; i++)
        if (a->rows[i].customer_id == customer_id)
            return &a->rows[i];
    return NULL;
}

static struct allowance_row *
find_or_make(struct allowance *a, uint32_t customer_id)
{
    struct allowance_row *row = find(a, customer_id);

    if (row != NULL)
        return row;
    if ((a->count & (a->count - 1)) == 0) /* full at each power of two */
        a->rows = mem_realloc(a->rows, (a->count ? a->count * 2 : 1) * sizeof *a->rows);
    row = &a->rows[a->count++];
    *row = (struct allowance_row){.customer_id = customer_id};
    return row;
}

static bool
is_counted(const struct allowance *a, uint32_t customer_id)
{
    const struct allowance_row *row = find(a, customer_id);

    return row != NULL && row->is_counted;
}

static uint64_t
key_of(const struct shared_table *table, const struct registry_customer *customer,
       const struct inet_endpoint *client)
{
    return shared_window_key(table, customer->id,
                             customer->connections_scope == REGISTRY_CONNECTIONS_CLIENT ? client
                                                                                        : NULL);
}

static uint32_t
limit_of(const struct registry_customer *customer)
{
    return customer->max_connections_per_hour == REGISTRY_UNLIMITED
               ? SHARED_WINDOW_UNLIMITED
               : customer->max_connections_per_hour;
}

static void
refuse(const struct shared_window_answer *answer, struct smtp_reply *reply)
{
    struct smtp_reply verdict = smtp_verdict_reply(SMTP_VERDICT_CONNECTIONS_PER_HOUR);
    int64_t minutes = (answer->wait_ms + MINUTE_MS - 1) / MINUTE_MS;
    char text[120];

    snprintf(text, sizeof text, "Too many connections in this hour, try again in %lld minute%s",
             (long long)(minutes > 0 ? minutes : 1), minutes > 1 ? "s" : "");
    *reply = smtp_reply_make(verdict.code, "4.7.1", text);
}

bool
allowance_look(const struct allowance *a, const struct shared_table *table,
               const struct registry_customer *customer, const struct inet_endpoint *client,
               struct smtp_reply *reply)
{
    struct shared_window_answer answer;

    if (is_counted(a, customer->id))
        return true;
    answer = shared_window_look(table, key_of(table, customer, client), clock_wall_ms(),
                                limit_of(customer));
    if (!answer.taken)
        refuse(&answer, reply);
    return answer.taken;
}

bool
allowance_take(struct allowance *a, struct shared_table *table,
               const struct registry_customer *customer, const struct inet_endpoint *client,
               struct smtp_reply *reply)
{
    struct shared_window_answer answer;
    char address[INET_ENDPOINT_SIZE];
    bool by_client = customer->connections_scope == REGISTRY_CONNECTIONS_CLIENT;

    if (is_counted(a, customer->id))
        return true;
    answer = shared_window_take(table, key_of(table, customer, client), clock_wall_ms(),
                                limit_of(customer));
    if (!answer.taken) {
        refuse(&answer, reply);
        return false;
    }
    if (answer.is_near)
        log_line(LOG_LEVEL_WARN, NULL, "limit-near",
                 "customer=%s client=%s connections=%u limit=%u setting=max-connections-per-hour",
                 customer->name, by_client ? inet_address_text(client, address) : "all",
                 answer.count, customer->max_connections_per_hour);
    find_or_make(a, customer->id)->is_counted = true;
    return true;
}

void
allowance_count_unknown(struct allowance *a, uint32_t customer_id)
{
    if (a->count <= ALLOWANCE_CUSTOMERS_MAX || find(a, customer_id) != NULL)
        find_or_make(a, customer_id)->unknown++;
}

bool
allowance_unknown_is_used_up(const struct allowance *a, uint32_t customer_id)
{
    const struct allowance_row *row = find(a, customer_id);

    return row != NULL ? row->unknown >= ALLOWANCE_UNKNOWN_MAX : a->count > ALLOWANCE_CUSTOMERS_MAX;
}

bool
allowance_count_message(struct allowance *a, const struct registry_customer *customer)
{
    struct allowance_row *row = find_or_make(a, customer->id);

    row->messages++;
    return a->count > ALLOWANCE_CUSTOMERS_MAX ||
           (customer->max_messages_per_connection != REGISTRY_UNLIMITED &&
            row->messages >= customer->max_messages_per_connection);
}
