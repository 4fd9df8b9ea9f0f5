/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool list.
 */
#include <stdlib.h>

#include "admin/commands.h"
#include "admin/selection.h"
#include "admin/spool_index.h"
#include "admin/spool_reader.h"
#include "admin/spool_serve.h"

static const struct printer_column list_columns[] = {
    SPOOL_LIST_COLUMNS,
};

static void
print_row(struct printer *p, const struct spool_message *m, const struct spool_envelope *e,
          const struct registry *registry, int64_t now_ms)
{
    char id[REF_SIZE];
    const char **recipients = spool_reader_recipients(e);

    printer_text(p, ref_text(m->ref, id));
    printer_word(p, selection_state_word(m, registry));
    printer_text(p, m->customer);
    printer_text(p, spool_reader_sender(e));
    printer_words(p, recipients, e->recipient_count);
    printer_number(p, m->open_count);
    printer_usual(p, m->open_count == m->recipient_count);
    printer_size(p, m->body_bytes);
    printer_since(p, m->received_at_ms);
    printer_number(p, spool_reader_tries(m));
    printer_usual(p, spool_reader_tries(m) == 0);
    spool_reader_print_next(p, m, registry, now_ms);
    printer_date(p, m->expires_at_ms);
    printer_text(p, spool_reader_last_reply(m) ? spool_reader_last_reply(m) : e->reason);
    free(recipients);
}

static void
print_all(struct printer *p, const struct selection *selection, struct spool_store *store,
          int64_t now_ms)
{
    for (struct spool_message *m = NULL; (m = selection_next(selection, store, m)) != NULL;) {
        struct spool_reader_envelope opened;

        if (spool_reader_open_envelope(store, m, &opened))
            print_row(p, m, &opened.envelope, selection->registry, now_ms);
        spool_reader_close_envelope(&opened);
    }
}

static enum command_status
list_store(const struct call *call, const struct selection *selection, struct spool_store *store)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
    unsigned count;

    print_all(p, selection, store, call->printing.now_ms);
    count = printer_row_count(p);
    printer_finish(&p);
    if (count == 0)
        selection_complain(call, selection);
    return count || selection->is_empty ? COMMAND_DONE : COMMAND_NOTHING;
}

enum command_status
spool_list(struct call *call)
{
    struct spool_store *store = NULL;
    struct selection selection;
    enum command_status status;

    if (spool_serve_ask(call, &status))
        return status;
    status = selection_read(call, &selection);
    if (status == COMMAND_DONE)
        status = spool_index_or_store(call, &selection, selection.customer, &store);
    if (status == COMMAND_DONE)
        status = store ? list_store(call, &selection, store) : spool_index_list(call, &selection);
    spool_store_close(&store);
    selection_fini(&selection);
    return status;
}
