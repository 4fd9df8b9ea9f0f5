/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool: looks at the log itself, so it works with the database and every daemon down.  It
 * opens the store read-only and changes nothing.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/selection.h"
#include "admin/spool_reader.h"

enum command_status
spool_reader_open(const struct call *call, struct spool_store **store)
{
    const char *dir = call->config->spool_dir;
    int rc;

    errno = 0;
    rc = spool_store_open(&spool_io_disk, dir, SPOOL_STORE_READ, store);
    if (rc == ERR_OK)
        return COMMAND_DONE;
    if (errno == ENOENT || rc == ERR_NOT_FOUND)
        call_complain("the spool folder %s does not exist: relayd has never run here, or the "
                      "setting \"spool-dir\" in %s is wrong",
                      dir, call->config_path);
    else if (errno == EACCES || errno == EPERM)
        call_complain("the spool %s may not be read by this user: run relayctl as the spool's user "
                      "or as root",
                      dir);
    else
        call_complain("the spool %s can not be read: %s", dir,
                      rc == ERR_IO && errno ? strerror(errno) : err_text(rc));
    return COMMAND_FAILED;
}

static const char **
recipients_of(const struct spool_message *m)
{
    const char **words = mem_alloc((m->envelope.recipient_count + 1) * sizeof *words);

    for (unsigned i = 0; i < m->envelope.recipient_count; i++)
        words[i] = m->envelope.recipients[i].address;
    return words;
}

static void
print_next_attempt(struct printer *p, const struct spool_message *m,
                   const struct registry *registry, int64_t now_ms)
{
    enum routing_state routing = routing_of(registry, m);

    if (m->open_count == 0 || m->held)
        printer_none(p, "-");
    else if (spool_message_awaits_all(m))
        printer_none(p, "when its outcome is known");
    else if (routing_is_missing(routing))
        printer_none(p, "when it has a route");
    else if (routing == ROUTING_HELD)
        printer_none(p, "when its server is released");
    else if (m->next_attempt_at_ms <= now_ms)
        printer_none(p, "when its server is up");
    else
        printer_since(p, m->next_attempt_at_ms);
}

static const char *
sender_of(const struct spool_message *m)
{
    return m->envelope.reverse_path[0] ? m->envelope.reverse_path : "<>";
}

/* --- Tries. The log records those that left something open; the last one is seen by the end it
 * brought. */

/* The newest answer that ended a recipient, if it came behind the last try in the log. */
static const struct spool_recipient_state *
final_answer(const struct spool_message *m)
{
    const struct spool_recipient_state *newest = NULL;
    int64_t newest_ms = m->last_attempt_at_ms;

    for (unsigned i = 0; i < m->envelope.recipient_count; i++) {
        const struct spool_recipient_state *state = &m->states[i];

        if ((state->end == SPOOL_END_DELIVERED || state->end == SPOOL_END_REFUSED) &&
            state->ended_at_ms > newest_ms) {
            newest = state;
            newest_ms = state->ended_at_ms;
        }
    }
    return newest;
}

static unsigned
tries_of(const struct spool_message *m)
{
    return m->attempts + (final_answer(m) != NULL);
}

static int64_t
last_try_of(const struct spool_message *m)
{
    const struct spool_recipient_state *answer = final_answer(m);

    return answer ? answer->ended_at_ms : m->last_attempt_at_ms;
}

/* NULL: there was none. */
static const char *
last_reply_of(const struct spool_message *m)
{
    const struct spool_recipient_state *answer = final_answer(m);
    const char *reply = answer ? answer->reply : m->last_reply;

    return reply && reply[0] ? reply : NULL;
}

/* --- list */

static const struct printer_column list_columns[] = {
    {"id", "ID", PRINTER_LEFT},
    {"state", "STATE", PRINTER_LEFT},
    {"customer", "CUSTOMER", PRINTER_LEFT},
    {"from", "FROM", PRINTER_LEFT},
    {"recipients", "TO", PRINTER_LEFT},
    {"open_recipients", "OPEN", PRINTER_RIGHT},
    {"size_bytes", "SIZE", PRINTER_RIGHT},
    {"received_at", "RECEIVED", PRINTER_LEFT},
    {"attempts", "TRIES", PRINTER_RIGHT},
    {"next_attempt_at", "NEXT TRY", PRINTER_LEFT},
    {"expires_at", "KEPT UNTIL", PRINTER_LEFT},
    {"last_reply", "LAST REPLY", PRINTER_LEFT},
};

static void
print_row(struct printer *p, const struct spool_message *m, const struct registry *registry,
          int64_t now_ms)
{
    char id[REF_SIZE];
    const char **recipients = recipients_of(m);

    printer_text(p, ref_text(m->envelope.ref, id));
    printer_word(p, selection_state_word(m, registry));
    printer_text(p, m->envelope.customer);
    printer_text(p, sender_of(m));
    printer_words(p, recipients, m->envelope.recipient_count);
    printer_number(p, m->open_count);
    printer_size(p, m->body_bytes);
    printer_since(p, m->envelope.received_at_ms);
    printer_number(p, tries_of(m));
    print_next_attempt(p, m, registry, now_ms);
    printer_date(p, m->expires_at_ms);
    printer_text(p, last_reply_of(m) ? last_reply_of(m) : m->envelope.reason);
    free(recipients);
}

enum command_status
spool_list(struct call *call)
{
    struct spool_store *store = NULL;
    struct selection selection;
    struct printer *p;
    unsigned count;
    enum command_status status = selection_read(call, &selection);

    if (status == COMMAND_DONE)
        status = spool_reader_open(call, &store);
    if (status == COMMAND_DONE) {
        p = printer_new(&call->printing, PRINTER_LIST, list_columns, ARRAY_SIZE(list_columns));
        for (struct spool_message *m = spool_store_next(store, NULL); m;
             m = spool_store_next(store, m))
            if (selection_matches(&selection, m))
                print_row(p, m, selection.registry, call->printing.now_ms);
        count = printer_row_count(p);
        printer_finish(&p);
        if (count == 0)
            call_complain(selection.is_empty ? "the spool is empty" : "no message matches");
        status = count || selection.is_empty ? COMMAND_DONE : COMMAND_NOTHING;
    }
    spool_store_close(&store);
    selection_fini(&selection);
    return status;
}

/* --- show */

static const struct printer_column show_columns[] = {
    {"id", "ID", PRINTER_LEFT},
    {"state", "State", PRINTER_LEFT},
    {"customer", "Customer", PRINTER_LEFT},
    {"from", "From", PRINTER_LEFT},
    {"size_bytes", "Size", PRINTER_LEFT},
    {"received_at", "Received", PRINTER_LEFT},
    {"client", "Client", PRINTER_LEFT},
    {"client_name", "Client's name", PRINTER_LEFT},
    {"helo", "HELO", PRINTER_LEFT},
    {"reason", "Kept because", PRINTER_LEFT},
    {"expires_at", "Kept until", PRINTER_LEFT},
    {"attempts", "Tries", PRINTER_LEFT},
    {"last_attempt_at", "Last try", PRINTER_LEFT},
    {"next_attempt_at", "Next try", PRINTER_LEFT},
    {"last_reply", "Last reply", PRINTER_LEFT},
    {"hold_reason", "Held because", PRINTER_LEFT},
    {"remedy", "What helps", PRINTER_LEFT},
    {"sender_verified", "Sender verified", PRINTER_LEFT},
    {"possible_duplicate", "May be delivered already", PRINTER_LEFT},
    {"segment", "Segment", PRINTER_LEFT},
    {"open_recipients", "Open recipients", PRINTER_LEFT},
    {"recipients", "", PRINTER_LEFT}, /* JSON only: people get a table below */
};

static const char *
recipient_word(const struct spool_message *m, unsigned i)
{
    if (m->states[i].end != SPOOL_END_NONE)
        return spool_end_word(m->states[i].end);
    if (m->prepared)
        return m->envelope.recipients[i].side == SPOOL_LIVE ? "live" : "open";
    return spool_message_awaits(m, i) ? "listening" : "open";
}

static json_t *
recipients_as_json(const struct spool_message *m)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < m->envelope.recipient_count; i++) {
        const struct spool_recipient_state *state = &m->states[i];
        char at[CLOCK_RFC3339_SIZE];

        json_array_append_new(
            all, json_pack("{s:o, s:s, s:o, s:o}", "address",
                           printer_json_text(m->envelope.recipients[i].address), "state",
                           recipient_word(m, i), "ended_at",
                           state->ended_at_ms ? json_string(clock_rfc3339(state->ended_at_ms, at))
                                              : json_null(),
                           "reply",
                           state->reply && state->reply[0] ? printer_json_text(state->reply)
                                                           : json_null()));
    }
    return all;
}

static void
print_recipients(const struct call *call, const struct spool_message *m)
{
    static const struct printer_column columns[] = {
        {"address", "RECIPIENT", PRINTER_LEFT},
        {"state", "STATE", PRINTER_LEFT},
        {"ended_at", "ENDED", PRINTER_LEFT},
        {"reply", "REPLY", PRINTER_LEFT},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    fputc('\n', call->printing.out);
    for (unsigned i = 0; i < m->envelope.recipient_count; i++) {
        printer_text(p, m->envelope.recipients[i].address);
        printer_word(p, recipient_word(m, i));
        printer_time(p, m->states[i].ended_at_ms);
        printer_text(p, m->states[i].reply);
    }
    printer_finish(&p);
}

static void
print_envelope(struct printer *p, const struct spool_envelope *e)
{
    char client[INET_ENDPOINT_SIZE];

    printer_time(p, e->received_at_ms);
    printer_text(p, inet_address_text(&e->client, client));
    printer_text(p, e->client_name[0] ? e->client_name : NULL);
    printer_text(p, e->helo);
    printer_text(p, e->reason);
}

static void
print_remedy(struct printer *p, const struct spool_message *m, const struct registry *registry)
{
    struct buf remedy;

    buf_init(&remedy, 0);
    routing_remedy(registry, m, &remedy);
    printer_text(p, buf_size(&remedy) ? buf_text(&remedy) : NULL);
    buf_fini(&remedy);
}

static void
print_message(const struct call *call, const struct spool_message *m,
              const struct registry *registry)
{
    unsigned count = ARRAY_SIZE(show_columns) - (call->printing.json ? 0 : 1);
    struct printer *p = printer_new(&call->printing, PRINTER_ONE, show_columns, count);
    char id[REF_SIZE], segment[SPOOL_SEGMENT_NAME_SIZE];

    printer_text(p, ref_text(m->envelope.ref, id));
    printer_word(p, selection_state_word(m, registry));
    printer_text(p, m->envelope.customer);
    printer_text(p, sender_of(m));
    printer_size(p, m->body_bytes);
    print_envelope(p, &m->envelope);
    printer_time(p, m->expires_at_ms);
    printer_number(p, tries_of(m));
    printer_time(p, last_try_of(m));
    print_next_attempt(p, m, registry, call->printing.now_ms);
    printer_text(p, last_reply_of(m));
    printer_text(p, m->held ? m->hold_reason : NULL);
    print_remedy(p, m, registry);
    printer_bool(p, m->envelope.flags & SPOOL_FLAG_VERIFIED);
    printer_bool(p, m->unknown || m->offered || m->unknowns);
    printer_text(p, spool_segment_name(m->segment, segment));
    printer_number(p, m->open_count);
    if (call->printing.json)
        printer_value(p, recipients_as_json(m), "");
    printer_finish(&p);
    if (!call->printing.json)
        print_recipients(call, m);
}

enum command_status
spool_show(struct call *call)
{
    struct spool_store *store = NULL;
    struct selection selection;
    unsigned missing = 0;
    enum command_status status = selection_read(call, &selection);

    if (status == COMMAND_DONE)
        status = spool_reader_open(call, &store);
    for (unsigned i = 0; i < selection.ref_count && status == COMMAND_DONE; i++) {
        struct spool_message *m = spool_store_find(store, selection.refs[i]);
        char id[REF_SIZE];

        if (m) {
            print_message(call, m, selection.registry);
            continue;
        }
        call_complain("%s is not in the spool of this node: it was never spooled, or has ended",
                      ref_text(selection.refs[i], id));
        missing++;
    }
    if (status == COMMAND_DONE && missing)
        status = missing == selection.ref_count ? COMMAND_NOTHING : COMMAND_PARTLY;
    spool_store_close(&store);
    selection_fini(&selection);
    return status;
}

/* --- summary */

void
spool_reader_count(struct spool_totals *t, const struct spool_message *m,
                   const struct registry *registry, int64_t now_ms)
{
    bool due = m->next_attempt_at_ms <= now_ms;

    if (m->open_count == 0)
        return;
    t->messages++;
    t->recipients += m->open_count;
    t->size_bytes += m->body_bytes;
    t->held += m->held;
    t->damaged += m->damaged;
    if (t->oldest_at_ms == 0 || m->envelope.received_at_ms < t->oldest_at_ms)
        t->oldest_at_ms = m->envelope.received_at_ms;
    if (t->expires_at_ms == 0 || m->expires_at_ms < t->expires_at_ms)
        t->expires_at_ms = m->expires_at_ms;
    if (m->held || spool_message_awaits_all(m))
        return;
    if (routing_is_missing(routing_of(registry, m))) {
        t->no_route++;
        return;
    }
    t->due += due;
    if (!due && (t->next_at_ms == 0 || m->next_attempt_at_ms < t->next_at_ms))
        t->next_at_ms = m->next_attempt_at_ms;
}

struct customer_totals {
    const char *customer;
    struct spool_totals totals;
};

struct summary {
    struct customer_totals *rows;
    size_t count;
};

/* Rows stay sorted by name; a spool has many messages and few customers. */
static struct spool_totals *
totals_of(struct summary *s, const char *customer)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(customer, s->rows[middle].customer);

        if (order == 0)
            return &s->rows[middle].totals;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    s->rows = mem_realloc(s->rows, (s->count + 1) * sizeof *s->rows);
    memmove(s->rows + low + 1, s->rows + low, (s->count++ - low) * sizeof *s->rows);
    s->rows[low] = (struct customer_totals){.customer = customer};
    return &s->rows[low].totals;
}

static const struct printer_column summary_columns[] = {
    {"customer", "CUSTOMER", PRINTER_LEFT},
    {"messages", "MESSAGES", PRINTER_RIGHT},
    {"open_recipients", "RECIPIENTS", PRINTER_RIGHT},
    {"size_bytes", "SIZE", PRINTER_RIGHT},
    {"held", "HELD", PRINTER_RIGHT},
    {"no_route", "NO ROUTE", PRINTER_RIGHT},
    {"damaged", "DAMAGED", PRINTER_RIGHT},
    {"oldest_received_at", "OLDEST", PRINTER_LEFT},
    {"next_attempt_at", "NEXT TRY", PRINTER_LEFT},
    {"first_expires_at", "FIRST KEPT UNTIL", PRINTER_LEFT},
};

static void
print_summary(const struct call *call, struct summary *s)
{
    struct printer *p =
        printer_new(&call->printing, PRINTER_LIST, summary_columns, ARRAY_SIZE(summary_columns));

    for (size_t i = 0; i < s->count; i++) {
        const struct spool_totals *t = &s->rows[i].totals;

        printer_text(p, s->rows[i].customer);
        printer_number(p, (int64_t)t->messages);
        printer_number(p, (int64_t)t->recipients);
        printer_size(p, t->size_bytes);
        printer_number(p, (int64_t)t->held);
        printer_number(p, (int64_t)t->no_route);
        printer_number(p, (int64_t)t->damaged);
        printer_since(p, t->oldest_at_ms);
        if (t->due)
            printer_none(p, "when its server is up");
        else
            printer_since(p, t->next_at_ms);
        printer_date(p, t->expires_at_ms);
    }
    printer_finish(&p);
}

enum command_status
spool_summary(struct call *call)
{
    struct spool_store *store = NULL;
    struct selection selection;
    struct summary summary = {0};
    enum command_status status = selection_read(call, &selection);

    if (status == COMMAND_DONE)
        status = spool_reader_open(call, &store);
    if (status == COMMAND_DONE) {
        for (struct spool_message *m = spool_store_next(store, NULL); m;
             m = spool_store_next(store, m))
            if (m->open_count && selection_matches(&selection, m))
                spool_reader_count(totals_of(&summary, m->envelope.customer), m, selection.registry,
                                   call->printing.now_ms);
        print_summary(call, &summary);
        if (summary.count == 0)
            call_complain(selection.is_empty ? "the spool is empty" : "no message matches");
        status = summary.count || selection.is_empty ? COMMAND_DONE : COMMAND_NOTHING;
    }
    free(summary.rows);
    spool_store_close(&store);
    selection_fini(&selection);
    return status;
}
