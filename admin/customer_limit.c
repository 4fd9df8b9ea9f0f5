/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Reads and writes temporary changes.  Which has ended is judged by this machine's clock, as relayd
 * does.  What ended more than a day ago is cleared away with the customer's next change.
 */
#include "admin/customer_limit.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"

const struct customer_limit customer_limits[CUSTOMER_LIMIT_COUNT] = {
    [CUSTOMER_LIMIT_RECIPIENTS] = {"max_recipients_per_message", "Recipients per message",
                                   CUSTOMER_LIMIT_NUMBER},
    [CUSTOMER_LIMIT_MESSAGES] = {"max_messages_per_connection", "Messages per connection",
                                 CUSTOMER_LIMIT_NUMBER},
    [CUSTOMER_LIMIT_CONNECTIONS] = {"max_connections_per_hour", "Connections per hour",
                                    CUSTOMER_LIMIT_NUMBER},
    [CUSTOMER_LIMIT_SCOPE] = {"connections_scope", "Connections of each", CUSTOMER_LIMIT_WORD},
    [CUSTOMER_LIMIT_MESSAGE_SIZE] = {"max_message_size_bytes", "Message size", CUSTOMER_LIMIT_SIZE},
    [CUSTOMER_LIMIT_DAYS] = {"retention_days", "Days kept", CUSTOMER_LIMIT_NUMBER},
    [CUSTOMER_LIMIT_BARE_LF] = {"bare_lf", "Bare LF", CUSTOMER_LIMIT_WORD},
    [CUSTOMER_LIMIT_SPOOL_MESSAGES] = {"max_spool_messages", "Most messages waiting",
                                       CUSTOMER_LIMIT_NUMBER},
    [CUSTOMER_LIMIT_SPOOL_BYTES] = {"max_spool_bytes", "Most octets waiting", CUSTOMER_LIMIT_SIZE},
    [CUSTOMER_LIMIT_POLICY] = {"policy", "Sender policy", CUSTOMER_LIMIT_WORD},
};

/* --- Reading. */

enum change_column { CHANGE_CUSTOMER, CHANGE_FIELD, CHANGE_VALUE, CHANGE_UNTIL };

enum command_status
customer_limit_changes(struct call *call, const char *customer_id, PGresult **changes)
{
    char now[24];
    const char *params[] = {customer_id, now};

    snprintf(now, sizeof now, "%lld", (long long)call->printing.now_ms);
    return database_query(
        call,
        "SELECT customer_id, field, value, " DATABASE_MS(
            "until_at") " FROM postern.customer_changes "
                        "WHERE ($1::integer IS NULL OR customer_id = $1::integer) "
                        "AND until_at > to_timestamp($2::bigint / 1000.0) ORDER BY customer_id",
        2, params, changes);
}

/* The first change of the customer, or of one behind it: they are in the order of ids. */
static int
first_change(const PGresult *changes, int64_t customer_id)
{
    int from = 0, to = PQntuples(changes);

    while (from < to) {
        int middle = from + (to - from) / 2;

        if (database_number(changes, middle, CHANGE_CUSTOMER) < customer_id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

struct customer_limit_value
customer_limit_value(enum customer_limit_index index, const char *lasting, const PGresult *changes,
                     const char *customer_id)
{
    const struct customer_limit *limit = &customer_limits[index];
    int row = first_change(changes, strtoll(customer_id, NULL, 10));

    for (; row < PQntuples(changes) &&
           strcmp(PQgetvalue(changes, row, CHANGE_CUSTOMER), customer_id) == 0;
         row++)
        if (strcmp(PQgetvalue(changes, row, CHANGE_FIELD), limit->column) == 0)
            return (struct customer_limit_value){limit, database_text(changes, row, CHANGE_VALUE),
                                                 lasting,
                                                 database_number(changes, row, CHANGE_UNTIL)};
    return (struct customer_limit_value){limit, lasting, lasting, 0};
}

uint64_t
customer_limit_number(const struct customer_limit_value *value)
{
    return value->value ? strtoull(value->value, NULL, 10) : UINT64_MAX;
}

static void
add_value(const struct customer_limit *limit, const char *value, struct buf *text)
{
    char size[PARSE_TEXT_SIZE];

    if (value && limit->kind == CUSTOMER_LIMIT_SIZE)
        value = format_size(strtoull(value, NULL, 10), size);
    buf_add_text(text, value ? value : "none");
}

void
customer_limit_text(const struct customer_limit_value *value, struct buf *text)
{
    char until[CLOCK_LOCAL_SIZE];

    add_value(value->limit, value->value, text);
    if (value->until_ms == 0)
        return;
    buf_printf(text, " until %s (then ", clock_local(value->until_ms, until));
    add_value(value->limit, value->lasting, text);
    buf_add_text(text, ")");
}

json_t *
customer_limit_json(const struct customer_limit *limit, const char *value)
{
    if (value == NULL)
        return json_null();
    return limit->kind == CUSTOMER_LIMIT_WORD ? json_string(value)
                                              : json_integer(strtoll(value, NULL, 10));
}

/* --- Writing. */

static enum command_status
clear_ended(struct call *call, const char *customer_id)
{
    return database_run(
        call,
        "DELETE FROM postern.customer_changes WHERE customer_id = $1::integer AND until_at "
        "< now() - interval '1 day'",
        1, &customer_id);
}

enum command_status
customer_limit_set_until(struct call *call, const char *customer_id,
                         const struct field_values *values, int64_t until_ms)
{
    enum command_status status = clear_ended(call, customer_id);
    char until[24];

    snprintf(until, sizeof until, "%lld", (long long)until_ms);
    for (unsigned i = 0; status == COMMAND_DONE && i < values->count; i++) {
        const char *params[] = {customer_id, values->fields[i]->column, values->params[i], until};

        status = database_run(
            call,
            "INSERT INTO postern.customer_changes (customer_id, field, value, until_at) "
            "VALUES ($1::integer, $2, $3, to_timestamp($4::bigint / 1000.0)) "
            "ON CONFLICT (customer_id, field) DO UPDATE SET value = excluded.value, "
            "until_at = excluded.until_at, created_at = now()",
            4, params);
    }
    return status;
}

static void
say_ended(const struct call *call, const PGresult *gone, int row)
{
    char until[CLOCK_LOCAL_SIZE];
    int64_t until_ms = database_number(gone, row, CHANGE_UNTIL);
    const char *value = database_text(gone, row, CHANGE_VALUE);

    if (until_ms > call->printing.now_ms)
        call_complain("%s: the temporary value %s, which would have held until %s, %s with this",
                      PQgetvalue(gone, row, CHANGE_FIELD), value ? value : "none",
                      clock_local(until_ms, until), call->dry_run ? "would end" : "ends");
}

enum command_status
customer_limit_end(struct call *call, const char *customer_id, const struct field_values *values)
{
    enum command_status status = clear_ended(call, customer_id);

    for (unsigned i = 0; status == COMMAND_DONE && i < values->count; i++) {
        const char *params[] = {customer_id, values->fields[i]->column};
        PGresult *gone;

        status = database_query(
            call,
            "DELETE FROM postern.customer_changes WHERE customer_id = "
            "$1::integer AND field = $2 RETURNING customer_id, field, value, " DATABASE_MS(
                "until_at"),
            2, params, &gone);
        for (int row = 0; status == COMMAND_DONE && row < PQntuples(gone); row++)
            say_ended(call, gone, row);
        PQclear(gone);
    }
    return status;
}
