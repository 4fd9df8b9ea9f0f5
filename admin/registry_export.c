/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl export: the registry as it stands at one moment, a line a row, the same lines for the
 * same registry.  Rows come one by one, so that millions of recipients need no memory.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/commands.h"
#include "admin/registry_form.h"
#include "admin/registry_row.h"

static void
print_header(const struct call *call, const char *customer)
{
    json_t *header = json_pack("{s:s, s:i, s:s?, s:b}", "kind", REGISTRY_FORM_HEADER, "format",
                               REGISTRY_FORM_VERSION, "customer", customer, "recipients",
                               call_value(call, "recipients") != NULL);

    CHECK(header != NULL && json_dumpf(header, call->printing.out, 0) == 0);
    fputc('\n', call->printing.out);
    json_decref(header);
}

/* Every row, as it comes. */
static enum command_status
print_rows(struct call *call, const char *sql, const char *const *params)
{
    enum command_status status = COMMAND_DONE;
    PGresult *result;

    if (PQsendQueryParams(call->pg, sql, 1, NULL, params, NULL, NULL, 0) != 1)
        return database_explain(call, NULL);
    (void)PQsetSingleRowMode(call->pg);
    while ((result = PQgetResult(call->pg)) != NULL) {
        ExecStatusType type = PQresultStatus(result);

        if (type == PGRES_SINGLE_TUPLE)
            fprintf(call->printing.out, "%s\n", PQgetvalue(result, 0, 0));
        else if (type != PGRES_TUPLES_OK)
            status = database_explain(call, result);
        PQclear(result);
    }
    return status;
}

static enum command_status
print_kind(struct call *call, const struct registry_form *form, const char *customer_id)
{
    const char *params[] = {customer_id};
    enum command_status status;
    struct buf sql, columns;

    buf_init(&sql, 0);
    buf_init(&columns, 0);
    buf_printf(&columns, "json_build_object('kind', '%s', %s", form->kind, form->parts);
    registry_form_fields_sql(form, &columns);
    buf_add_text(&columns, ")");
    registry_form_rows_sql(form, call->printing.now_ms, buf_text(&columns), &sql);
    buf_printf(&sql, " AND ($1 = '' OR %s::text = $1) ORDER BY (%s) COLLATE \"C\"", form->owner,
               form->key);
    status = print_rows(call, buf_text(&sql), params);
    buf_fini(&columns);
    buf_fini(&sql);
    return status;
}

enum command_status
registry_export(struct call *call)
{
    const char *customer = call_value(call, "customer");
    unsigned count = REGISTRY_KIND_COUNT - (call_value(call, "recipients") == NULL);
    char name[FIELD_NAME_SIZE], id[16] = "";
    enum command_status status = customer ? field_customer_name(customer, name) : COMMAND_DONE;

    if (status == COMMAND_DONE)
        status = database_run(call, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", 0, NULL);
    if (status != COMMAND_DONE)
        return status;
    if (customer)
        status = registry_row_customer(call, name, id);
    if (status == COMMAND_DONE)
        print_header(call, customer);
    for (unsigned i = 0; status == COMMAND_DONE && i < count; i++)
        status = print_kind(call, &registry_forms[i], id);
    if (status == COMMAND_DONE)
        fputs("{\"kind\": \"" REGISTRY_FORM_END "\"}\n", call->printing.out);
    PQclear(PQexec(call->pg, "ROLLBACK"));
    return status;
}
