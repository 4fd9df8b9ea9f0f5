/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool summary: what waits, counted by customer, domain or backend.  A message counts in
 * each row that it belongs to, so that with --by domain and --by backend the rows may add up to
 * more than there is.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/selection.h"
#include "admin/spool_index.h"
#include "admin/spool_serve.h"
#include "admin/spool_tally.h"

struct summary {
    const struct call *call;
    struct selection selection;
    struct spool_tally tally;            /* key "": no backend */
    const struct spool_message *message; /* being counted */
    const char *keys[SPOOL_RECIPIENTS_MAX];
    unsigned key_count;
    char names[REGISTRY_BACKENDS_MAX * 4][REGISTRY_NAME_SIZE + 16];
};

static void
count_in(struct summary *s, const char *key, unsigned recipients)
{
    spool_reader_count(spool_tally_of(&s->tally, key), s->message, recipients,
                       s->selection.registry, s->call->printing.now_ms);
}

/* --- By what. */

static void
count_customer(struct summary *s)
{
    count_in(s, s->message->customer, 0);
}

static bool
is_new_key(struct summary *s, const char *key)
{
    for (unsigned i = 0; i < s->key_count; i++)
        if (strcmp(s->keys[i], key) == 0)
            return false;
    s->keys[s->key_count++] = key;
    return true;
}

static unsigned
open_in_domain(const struct spool_message *m, const char *domain)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->recipient_count; i++)
        n += spool_message_is_open(m, i) && strcmp(spool_message_domain(m, i), domain) == 0;
    return n;
}

static void
count_domains(struct summary *s)
{
    const struct spool_message *m = s->message;

    s->key_count = 0;
    for (unsigned i = 0; i < m->recipient_count; i++) {
        const char *domain = spool_message_domain(m, i);

        if (spool_message_is_open(m, i) && is_new_key(s, domain))
            count_in(s, domain, open_in_domain(m, domain));
    }
}

static void
count_backend(void *ctx, const struct registry_backend *backend)
{
    struct summary *s = ctx;
    char customer[REGISTRY_NAME_SIZE], *name = s->names[s->key_count];

    if (s->key_count == ARRAY_SIZE(s->names))
        return;
    snprintf(name, sizeof s->names[0], "%s/%u",
             routing_customer_name(s->selection.registry, backend->customer_id, customer),
             backend->number);
    if (is_new_key(s, name))
        count_in(s, name, 0);
}

static void
count_backends(struct summary *s)
{
    s->key_count = 0;
    routing_each_backend(s->selection.registry, s->message, count_backend, s);
    if (s->key_count == 0)
        count_in(s, "", 0);
}

static const struct by {
    const char *word, *title;
    void (*count)(struct summary *s);
} bys[] = {
    {"customer", "CUSTOMER", count_customer},
    {"domain", "DOMAIN", count_domains},
    {"backend", "BACKEND", count_backends},
};

static enum command_status
read_by(const struct call *call, const struct by **by)
{
    const char *text = call_value(call, "by");

    *by = &bys[0];
    if (text == NULL)
        return COMMAND_DONE;
    for (size_t i = 0; i < ARRAY_SIZE(bys); i++) {
        *by = &bys[i];
        if (strcmp(text, bys[i].word) == 0)
            return COMMAND_DONE;
    }
    return call_usage("--by: \"%s\" is unknown; use customer, domain or backend", text);
}

/* --- Printing. */

static void
print_ages(struct printer *p, const struct spool_totals *t)
{
    json_t *object = json_object();
    char text[SPOOL_AGES * 32] = "";
    size_t n = 0;

    for (unsigned i = 0; i < SPOOL_AGES; i++) {
        json_object_set_new(object, spool_ages[i].name, json_integer((json_int_t)t->ages[i]));
        if (t->ages[i] > 0)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%llu %s%s", n ? ", " : "",
                                  (unsigned long long)t->ages[i], i + 1 < SPOOL_AGES ? "<" : "",
                                  i + 1 < SPOOL_AGES ? spool_ages[i].name : "older");
    }
    printer_value(p, object, text);
}

/* Most have none. */
static void
print_trouble(struct printer *p, uint64_t count)
{
    printer_number(p, (int64_t)count);
    printer_usual(p, count == 0);
}

static void
print_row(struct printer *p, const struct spool_tally_row *row)
{
    const struct spool_totals *t = &row->totals;

    if (row->key[0])
        printer_text(p, row->key);
    else
        printer_none(p, "none");
    printer_number(p, (int64_t)t->messages);
    printer_number(p, (int64_t)t->recipients);
    printer_usual(p, t->recipients == t->messages);
    printer_size(p, t->size_bytes);
    print_trouble(p, t->held);
    print_trouble(p, t->no_route);
    print_trouble(p, t->damaged);
    print_ages(p, t);
    printer_since(p, t->oldest_at_ms);
    spool_reader_print_wait(p, t->due ? SPOOL_WAIT_SERVER : SPOOL_WAIT_TIME, t->next_at_ms);
    printer_since(p, t->expires_at_ms);
}

static void
print_summary(struct summary *s, const struct by *by)
{
    const struct printer_column columns[] = {
        {by->word, by->title, PRINTER_LEFT},
        {"messages", "MESSAGES", PRINTER_RIGHT},
        {"open_recipients", "RECIPIENTS", PRINTER_RIGHT | PRINTER_BELOW},
        {"size_bytes", "SIZE", PRINTER_RIGHT},
        {"held", "HELD", PRINTER_RIGHT | PRINTER_BELOW},
        {"no_route", "NO ROUTE", PRINTER_RIGHT | PRINTER_BELOW},
        {"damaged", "DAMAGED", PRINTER_RIGHT | PRINTER_BELOW},
        {"ages", "AGES", PRINTER_BELOW},
        {"oldest_received_at", "OLDEST", PRINTER_LEFT},
        {"next_attempt_at", "NEXT TRY", PRINTER_LEFT},
        {"first_expires_at", "ENDS", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&s->call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    spool_tally_sort(&s->tally);
    for (size_t i = 0; i < s->tally.count; i++)
        print_row(p, s->tally.rows[i]);
    printer_finish(&p);
}

static void
count_all(struct summary *s, const struct by *by, struct spool_store *store)
{
    struct spool_message *m = NULL;

    while ((m = selection_next(&s->selection, store, m)) != NULL) {
        s->message = m;
        if (m->open_count > 0)
            by->count(s);
    }
}

static void
add_row(void *ctx, const char *key, const struct spool_totals *totals)
{
    struct summary *s = ctx;

    *spool_tally_of(&s->tally, key) = *totals;
}

static enum command_status
count_index(struct summary *s, const struct by *by, struct call *call)
{
    enum command_status status;

    if (by->count == count_backends)
        return call_usage("--by backend: PostgreSQL's index of the spool does not know it; use "
                          "customer or domain, or run relayctl on that node as root");
    status = spool_index_count(call, &s->selection, by->count == count_domains, add_row, s);
    if (status == COMMAND_DONE && !spool_index_say(call, &s->selection) && s->tally.count == 0)
        return COMMAND_NOTHING;
    return status;
}

enum command_status
spool_summary(struct call *call)
{
    struct summary *s;
    struct spool_store *store = NULL;
    const struct by *by;
    enum command_status status;

    if (spool_serve_ask(call, &status))
        return status;
    s = mem_alloc(sizeof *s);
    s->call = call;
    status = selection_read(call, &s->selection);
    if (status == COMMAND_DONE)
        status = read_by(call, &by);
    if (status == COMMAND_DONE)
        status = spool_index_or_store(call, &s->selection, s->selection.customer, &store);
    if (status == COMMAND_DONE && store)
        count_all(s, by, store);
    else if (status == COMMAND_DONE)
        status = count_index(s, by, call);
    if (status == COMMAND_DONE) {
        print_summary(s, by);
        if (s->tally.count == 0)
            selection_complain(call, &s->selection);
        status = s->tally.count || s->selection.is_empty ? COMMAND_DONE : COMMAND_NOTHING;
    }
    spool_tally_fini(&s->tally);
    spool_store_close(&store);
    selection_fini(&s->selection);
    free(s);
    return status;
}
