/* SPDX-License-Identifier: BSD-2-Clause
 *
 * spool list and spool show for who can not read the spool: the same columns, as far as the index
 * knows them, and whose row it is and how old.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/database.h"
#include "admin/spool_index.h"

enum cell {
    CELL_REF,
    CELL_STATE,
    CELL_CUSTOMER,
    CELL_FROM,
    CELL_RECIPIENTS,
    CELL_OPEN,
    CELL_SIZE,
    CELL_RECEIVED,
    CELL_ATTEMPTS,
    CELL_NEXT,
    CELL_EXPIRES,
    CELL_REPLY,
    CELL_NODE,
    CELL_UPDATED,
    CELL_SEGMENT,
};

static const char cells_sql[] =
    "ref, state, customer, reverse_path, to_json(recipients)::text, open_recipients, size_bytes, "
    "(extract(epoch FROM received_at) * 1000)::bigint, attempts, "
    "(extract(epoch FROM next_attempt_at) * 1000)::bigint, "
    "(extract(epoch FROM expires_at) * 1000)::bigint, last_reply, node, "
    "(extract(epoch FROM updated_at) * 1000)::bigint, segment";

struct view {
    struct call *call;
    struct printer *printer;
    size_t count;
};

static const char *
sender(const PGresult *r, int row)
{
    const char *text = database_text(r, row, CELL_FROM);

    return text && text[0] ? text : "<>";
}

/* As spool_reader_recipients_json: the index does not know what has become of each. */
static json_t *
recipients_as_json(const json_t *addresses)
{
    json_t *all = json_array(), *address;
    size_t i;

    json_array_foreach(addresses, i, address) json_array_append_new(
        all, json_pack("{s:O, s:n, s:n, s:n}", "address", address, "state", "ended_at", "reply"));
    return all;
}

/* Returns how many they are. */
static size_t
print_recipients(const struct view *v, const PGresult *r, int row, bool in_full)
{
    struct printer *p = v->printer;
    json_t *list = json_loads(PQgetvalue(r, row, CELL_RECIPIENTS), 0, NULL);
    size_t count = json_array_size(list);
    const char **words = mem_alloc((count + 1) * sizeof *words);

    for (size_t i = 0; i < count; i++)
        words[i] = json_string_value(json_array_get(list, i));
    if (in_full && v->call->printing.json)
        printer_value(p, recipients_as_json(list), "");
    else
        printer_words(p, words, count);
    free(words);
    json_decref(list);
    return count;
}

/* As spool_reader_print_next, but that the index does not know of a server that is held. */
static enum spool_wait
wait_of(const char *state, int64_t next_at_ms, int64_t now_ms)
{
    static const struct {
        const char *state;
        enum spool_wait wait;
    } waits[] = {
        {"held", SPOOL_WAIT_NOTHING},
        {"listening", SPOOL_WAIT_OUTCOME},
        {"no-route", SPOOL_WAIT_ROUTE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(waits); i++)
        if (strcmp(state, waits[i].state) == 0)
            return waits[i].wait;
    return next_at_ms <= now_ms ? SPOOL_WAIT_SERVER : SPOOL_WAIT_TIME;
}

static void
print_next(const struct view *v, const PGresult *r, int row)
{
    int64_t next_at_ms = database_number(r, row, CELL_NEXT), now_ms = v->call->printing.now_ms;

    spool_reader_print_wait(v->printer, wait_of(PQgetvalue(r, row, CELL_STATE), next_at_ms, now_ms),
                            next_at_ms);
}

static void
print_reply(struct printer *p, const PGresult *r, int row)
{
    const char *reply = database_text(r, row, CELL_REPLY);

    printer_text(p, reply && reply[0] ? reply : NULL);
}

/* --- spool list. */

static const struct printer_column list_columns[] = {
    SPOOL_LIST_COLUMNS,
    {"node", "NODE", PRINTER_RIGHT},
    {"updated_at", "AS OF", PRINTER_LEFT},
};

static void
list_row(void *ctx, const PGresult *r, int row)
{
    struct view *v = ctx;
    struct printer *p = v->printer;
    int64_t open = database_number(r, row, CELL_OPEN),
            tries = database_number(r, row, CELL_ATTEMPTS);
    size_t recipients;

    printer_text(p, database_text(r, row, CELL_REF));
    printer_word(p, database_text(r, row, CELL_STATE));
    printer_text(p, database_text(r, row, CELL_CUSTOMER));
    printer_text(p, sender(r, row));
    recipients = print_recipients(v, r, row, false);
    printer_number(p, open);
    printer_usual(p, (uint64_t)open == recipients);
    printer_size(p, (uint64_t)database_number(r, row, CELL_SIZE));
    printer_since(p, database_number(r, row, CELL_RECEIVED));
    printer_number(p, tries);
    printer_usual(p, tries == 0);
    print_next(v, r, row);
    printer_date(p, database_number(r, row, CELL_EXPIRES));
    print_reply(p, r, row);
    printer_number(p, database_number(r, row, CELL_NODE));
    printer_since(p, database_number(r, row, CELL_UPDATED));
    v->count++;
}

enum command_status
spool_index_list(struct call *call, const struct selection *selection)
{
    struct view v = {.call = call};
    enum command_status status;

    v.printer = printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    status = spool_index_each(call, selection, cells_sql, list_row, &v);
    printer_finish(&v.printer);
    if (status != COMMAND_DONE)
        return status;
    if (!spool_index_say(call, selection) && v.count == 0)
        return COMMAND_NOTHING;
    if (v.count == 0)
        selection_complain(call, selection);
    return v.count || selection->is_empty ? COMMAND_DONE : COMMAND_NOTHING;
}

/* --- spool show. */

static const struct printer_column show_columns[] = {
    {"id", "ID", PRINTER_LEFT},
    {"state", "State", PRINTER_LEFT},
    {"customer", "Customer", PRINTER_LEFT},
    {"from", "From", PRINTER_LEFT},
    {"recipients", "Recipients", PRINTER_LEFT},
    {"open_recipients", "Open recipients", PRINTER_LEFT},
    {"size_bytes", "Size", PRINTER_LEFT},
    {"received_at", "Received", PRINTER_LEFT},
    {"expires_at", "Kept until", PRINTER_LEFT},
    {"attempts", "Tries", PRINTER_LEFT},
    {"next_attempt_at", "Next try", PRINTER_LEFT},
    {"last_reply", "Last reply", PRINTER_LEFT},
    {"segment", "Segment", PRINTER_LEFT},
    {"node", "Node", PRINTER_LEFT},
    {"updated_at", "As of", PRINTER_LEFT},
};

static void
show_row(void *ctx, const PGresult *r, int row)
{
    struct view *v = ctx;
    struct printer *p =
        printer_new(&v->call->printing, PRINTER_ONE, show_columns, ARRAY_SIZE(show_columns));

    v->printer = p;
    printer_text(p, database_text(r, row, CELL_REF));
    printer_word(p, database_text(r, row, CELL_STATE));
    printer_text(p, database_text(r, row, CELL_CUSTOMER));
    printer_text(p, sender(r, row));
    (void)print_recipients(v, r, row, true);
    printer_number(p, database_number(r, row, CELL_OPEN));
    printer_size(p, (uint64_t)database_number(r, row, CELL_SIZE));
    printer_time(p, database_number(r, row, CELL_RECEIVED));
    printer_time(p, database_number(r, row, CELL_EXPIRES));
    printer_number(p, database_number(r, row, CELL_ATTEMPTS));
    print_next(v, r, row);
    print_reply(p, r, row);
    printer_text(p, database_text(r, row, CELL_SEGMENT));
    printer_number(p, database_number(r, row, CELL_NODE));
    printer_time(p, database_number(r, row, CELL_UPDATED));
    printer_finish(&v->printer);
    v->count++;
}

enum command_status
spool_index_show(struct call *call, const struct selection *selection)
{
    struct view v = {.call = call};
    enum command_status status;

    if (call_value(call, "body"))
        return call_usage("--body: content lies in the spool itself; run relayctl on the message's "
                          "node, as root or as the user of the daemons");
    status = spool_index_each(call, selection, cells_sql, show_row, &v);
    if (status != COMMAND_DONE)
        return status;
    (void)spool_index_say(call, selection);
    if (v.count > 0)
        call_complain("its history and header lines lie in the spool itself: run relayctl on that "
                      "node, as root or as the user of the daemons");
    if (v.count < selection->ref_count)
        call_complain("%zu of %zu are not in the index: never spooled, or ended",
                      selection->ref_count - v.count, selection->ref_count);
    if (v.count == 0)
        return COMMAND_NOTHING;
    return v.count < selection->ref_count ? COMMAND_PARTLY : COMMAND_DONE;
}
