/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Builds statements from column names of our own tables; what an operator wrote travels as a
 * parameter only.
 */
#include "admin/registry_row.h"

#include <stdio.h>
#include <string.h>

#include "admin/missing.h"

enum command_status
registry_row_customer(struct call *call, const char *name, char id[16])
{
    const char *params[] = {name};
    PGresult *result;
    enum command_status status = database_query(
        call, "SELECT id FROM postern.customers WHERE name = $1", 1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) == 1)
        snprintf(id, 16, "%s", PQgetvalue(result, 0, 0));
    else
        status = missing_complain(call, MISSING_CUSTOMER, name);
    PQclear(result);
    return status;
}

/* Keys first, then the values, as one parameter list. */
static int
join_params(int key_count, const char *const *keys, const struct field_values *values,
            const char *params[DATABASE_PARAMS_MAX])
{
    CHECK(key_count + (int)values->count <= DATABASE_PARAMS_MAX);
    for (int i = 0; i < key_count; i++)
        params[i] = keys[i];
    for (unsigned i = 0; i < values->count; i++)
        params[key_count + (int)i] = values->params[i];
    return key_count + (int)values->count;
}

enum command_status
registry_row_update(struct call *call, const char *table, const char *where, int key_count,
                    const char *const *keys, const struct field_values *values, bool *changed)
{
    const char *params[DATABASE_PARAMS_MAX];
    int count = join_params(key_count, keys, values, params);
    enum command_status status;
    PGresult *result;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql, "UPDATE postern.%s SET ", table);
    for (unsigned i = 0; i < values->count; i++)
        buf_printf(&sql, "%s%s = $%u::%s", i ? ", " : "", values->fields[i]->column,
                   (unsigned)key_count + i + 1, values->fields[i]->type);
    buf_printf(&sql, " WHERE %s", where);
    status = database_query(call, buf_text(&sql), count, params, &result);
    buf_fini(&sql);
    *changed = status == COMMAND_DONE && strcmp(PQcmdTuples(result), "0") != 0;
    PQclear(result);
    return status;
}

PGresult *
registry_row_insert(struct call *call, const char *table, const char *key_columns,
                    const char *key_expressions, int key_count, const char *const *keys,
                    const struct field_values *values)
{
    const char *params[DATABASE_PARAMS_MAX];
    int count = join_params(key_count, keys, values, params);
    PGresult *result;
    struct buf sql;

    buf_init(&sql, 0);
    buf_printf(&sql, "INSERT INTO postern.%s (%s", table, key_columns);
    for (unsigned i = 0; i < values->count; i++)
        buf_printf(&sql, ", %s", values->fields[i]->column);
    buf_printf(&sql, ") SELECT %s", key_expressions);
    for (unsigned i = 0; i < values->count; i++)
        buf_printf(&sql, ", $%u::%s", (unsigned)key_count + i + 1, values->fields[i]->type);
    buf_add_text(&sql, " RETURNING *");
    result = database_try(call, buf_text(&sql), count, params);
    buf_fini(&sql);
    return result;
}
