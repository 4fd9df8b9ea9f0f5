/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool show: all that is known of a message.  Its header lines are shown to whoever may
 * read the spool; its whole content only with --body and a reason, which are written down first.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/commands.h"
#include "admin/event_words.h"
#include "admin/selection.h"
#include "admin/spool_content.h"
#include "admin/spool_index.h"
#include "admin/spool_orders.h"
#include "admin/spool_reader.h"
#include "admin/spool_remedy.h"
#include "admin/spool_serve.h"

struct shown {
    struct spool_message *message;
    const struct spool_envelope *envelope;
    json_t *history;
    struct buf content; /* the header lines, or all */
    bool is_whole;
};

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
    {"held_reason", "Held because", PRINTER_LEFT},
    {"remedy", "What helps", PRINTER_LEFT},
    {"redirected_to", "Redirected to", PRINTER_LEFT},
    {"sender_verified", "Sender verified", PRINTER_LEFT},
    {"marked_spam", "Marked as spam", PRINTER_LEFT},
    {"recipients_known", "Recipients known valid", PRINTER_LEFT},
    {"smtputf8", "SMTPUTF8", PRINTER_LEFT},
    {"envelope_id", "Envelope id", PRINTER_LEFT},
    {"possible_duplicate", "May be delivered already", PRINTER_LEFT},
    {"segment", "Segment", PRINTER_LEFT},
    {"open_recipients", "Open recipients", PRINTER_LEFT},
    /* JSON only: people get tables and text below. */
    {"recipients", "", PRINTER_LEFT},
    {"history", "", PRINTER_LEFT},
    {"headers", "", PRINTER_LEFT},
    {"content", "", PRINTER_LEFT}, /* with --body */
};
#define JSON_COLUMNS 4

static void
print_recipients(const struct call *call, const struct shown *s)
{
    const struct spool_message *m = s->message;
    static const struct printer_column columns[] = {
        {"address", "RECIPIENT", PRINTER_LEFT},
        {"state", "STATE", PRINTER_LEFT},
        {"ended_at", "ENDED", PRINTER_LEFT},
        {"reply", "REPLY", PRINTER_WRAP},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    fputc('\n', call->printing.out);
    for (unsigned i = 0; i < m->recipient_count; i++) {
        printer_text(p, s->envelope->recipients[i].address);
        printer_word(p, spool_reader_recipient_word(m, i));
        printer_time(p, spool_message_ended_at_ms(m, i));
        printer_text(p, spool_message_reply(m, i));
    }
    printer_finish(&p);
}

static void
print_envelope(struct printer *p, const struct spool_envelope *e)
{
    char client[INET_ENDPOINT_SIZE];

    printer_time(p, e->received_at_ms);
    printer_text(p, e->client.family ? inet_address_text(&e->client, client) : NULL);
    printer_text(p, e->client_name[0] ? e->client_name : NULL);
    printer_text(p, e->helo);
    printer_text(p, e->reason);
}

static void
print_remedy(struct printer *p, const struct call *call, const struct spool_message *m,
             const struct registry *registry)
{
    struct buf remedy;

    buf_init(&remedy, 0);
    spool_remedy(call, registry, m, &remedy);
    printer_text(p, buf_size(&remedy) ? buf_text(&remedy) : NULL);
    buf_fini(&remedy);
}

static bool
may_be_there(const struct spool_message *m)
{
    return m->unknown || m->offered || spool_message_unknowns(m);
}

static void
print_facts(struct printer *p, const struct spool_message *m, const struct spool_envelope *e)
{
    char backend[REGISTRY_NAME_SIZE + 16];

    snprintf(backend, sizeof backend, "%s/%u", e->customer, spool_message_redirect(m));
    printer_text(p, spool_message_redirect(m) ? backend : NULL);
    printer_bool(p, e->flags & SPOOL_FLAG_VERIFIED);
    printer_bool(p, e->flags & SPOOL_FLAG_SPAM);
    printer_usual(p, !(e->flags & SPOOL_FLAG_SPAM));
    printer_bool(p, e->flags & SPOOL_FLAG_KNOWN);
    printer_bool(p, e->flags & SPOOL_FLAG_SMTPUTF8);
    printer_usual(p, !(e->flags & SPOOL_FLAG_SMTPUTF8));
    printer_text(p, e->dsn_envid && e->dsn_envid[0] ? e->dsn_envid : NULL);
    printer_bool(p, may_be_there(m));
    printer_usual(p, !may_be_there(m));
}

/* --- History. */

static void
add_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, printer_json_text_or_null(text));
}

static const char *
event_word(const struct spool_event *e)
{
    switch (e->kind) {
    case SPOOL_EVENT_OFFERED:
        return "offered";
    case SPOOL_EVENT_ATTEMPT:
        return "attempt";
    case SPOOL_EVENT_END:
        return spool_end_word(e->end);
    case SPOOL_EVENT_HELD:
        return "held";
    case SPOOL_EVENT_NOTE:
        return order_kind(e->note.act) ? order_kind(e->note.act)->done : "?";
    }
    return "?";
}

/* `e`: NULL of what the ledger does not have. */
static void
add_entry(struct shown *s, int64_t at_ms, const char *word, const struct spool_event *e)
{
    bool is_note = e && e->kind == SPOOL_EVENT_NOTE, is_end = e && e->kind == SPOOL_EVENT_END;
    json_t *object = json_object();

    json_object_set_new(object, "at", printer_json_time(at_ms));
    json_object_set_new(object, "event", json_string(word));
    json_object_set_new(object, "attempt",
                        e && e->kind == SPOOL_EVENT_ATTEMPT ? json_integer(e->attempt)
                                                            : json_null());
    add_text(object, "recipient", is_end ? s->envelope->recipients[e->recipient].address : NULL);
    add_text(object, "who", is_note ? e->note.who : NULL);
    add_text(object, "text", e ? e->text : NULL);
    add_text(object, "detail", is_note ? e->note.detail : NULL);
    json_array_append_new(s->history, object);
}

static void
add_event(void *ctx, const struct spool_event *e)
{
    add_entry(ctx, e->at_ms, event_word(e), e);
}

/* What the envelope says, and then what the ledger does. */
static void
read_history(struct shown *s, const struct spool_store *store)
{
    int rc;

    s->history = json_array();
    add_entry(s, s->message->received_at_ms, "received", NULL);
    add_text(json_array_get(s->history, 0), "text", s->envelope->reason);
    rc = spool_store_history(store, s->message, add_event, s);
    if (rc != ERR_OK)
        call_complain("the ledger can not be read: %s", err_text(rc));
}

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static void
print_event(struct printer *p, const json_t *event)
{
    const json_t *attempt = json_object_get(event, "attempt");
    char what[32], when[EVENT_WORDS_TIME_SIZE];
    struct buf text;
    buf_init(&text, 0);
    snprintf(what, sizeof what, json_is_integer(attempt) ? "%s %lld" : "%s",
             text_of(event, "event"), (long long)json_integer_value(attempt));
    buf_printf(&text, "%s%s%s%s%s", text_of(event, "recipient"),
               text_of(event, "recipient")[0] ? ": " : "", text_of(event, "detail"),
               text_of(event, "detail")[0] ? ": " : "", text_of(event, "text"));
    printer_text(p, event_words_at_ms(event) ? event_words_time(event, when) : NULL);
    printer_text(p, what);
    printer_text(p, text_of(event, "who"));
    printer_text(p, buf_text(&text));
    buf_fini(&text);
}

static void
print_history(const struct call *call, const struct shown *s)
{
    static const struct printer_column columns[] = {
        {"at", "WHEN", PRINTER_LEFT},
        {"event", "WHAT", PRINTER_LEFT},
        {"who", "BY", PRINTER_LEFT},
        {"text", "", PRINTER_WRAP},
    };
    struct printer *p = printer_new(&call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));

    fputc('\n', call->printing.out);
    for (size_t i = 0; i < json_array_size(s->history); i++) {
        const json_t *event = json_array_get(s->history, i);

        if (i + 1 == json_array_size(s->history) || strcmp(text_of(event, "event"), "offered") != 0)
            print_event(p, event); /* what became of an offer is the next one */
    }
    printer_finish(&p);
}

/* --- Content. */

static void
read_content(struct shown *s, struct spool_store *store, bool whole)
{
    int rc = whole ? spool_content_read(store, s->message, &s->content)
                   : spool_content_headers(store, s->message, &s->content);

    if (rc != ERR_OK)
        call_complain("its content can not be read: %s", err_text(rc));
    s->is_whole = whole && rc == ERR_OK;
}

static void
print_content(const struct call *call, const struct shown *s)
{
    fputc('\n', call->printing.out);
    spool_content_show(call->printing.out, buf_slice(&s->content));
}

static json_t *
content_as_json(const struct slice content)
{
    char *text = mem_alloc(content.n + 1);
    json_t *json;

    if (content.n > 0)
        memcpy(text, content.p, content.n);
    json = printer_json_text(text); /* up to a NUL, which a message can not have */
    free(text);
    return json;
}

static void
print_json_columns(struct printer *p, const struct shown *s)
{
    json_t *content = content_as_json(buf_slice(&s->content));

    printer_value(p, spool_reader_recipients_json(s->message, s->envelope), "");
    printer_value(p, json_incref(s->history), "");
    printer_value(p, s->is_whole ? json_null() : json_incref(content), "");
    printer_value(p, s->is_whole ? json_incref(content) : json_null(), "");
    json_decref(content);
}

static void
print_message(const struct call *call, const struct shown *s, const struct registry *registry)
{
    const struct spool_message *m = s->message;
    unsigned count = ARRAY_SIZE(show_columns) - (call->printing.json ? 0 : JSON_COLUMNS);
    struct printer *p = printer_new(&call->printing, PRINTER_ONE, show_columns, count);
    char id[REF_SIZE], segment[SPOOL_SEGMENT_NAME_SIZE];

    printer_text(p, ref_text(m->ref, id));
    printer_word(p, selection_state_word(m, registry));
    printer_text(p, m->customer);
    printer_text(p, spool_reader_sender(s->envelope));
    printer_size(p, m->body_bytes);
    print_envelope(p, s->envelope);
    printer_time(p, m->expires_at_ms);
    printer_number(p, spool_reader_tries(m));
    printer_time(p, spool_reader_last_try(m));
    spool_reader_print_next(p, m, registry, call->printing.now_ms);
    printer_text(p, spool_reader_last_reply(m));
    printer_usual(p, strcmp(spool_reader_last_reply(m) ? spool_reader_last_reply(m) : "",
                            s->envelope->reason) == 0);
    printer_text(p, m->held ? spool_message_hold_reason(m) : NULL);
    print_remedy(p, call, m, registry);
    print_facts(p, m, s->envelope);
    printer_text(p, spool_segment_name(spool_message_segment(m), segment));
    printer_number(p, m->open_count);
    if (call->printing.json)
        print_json_columns(p, s);
    printer_finish(&p);
    if (call->printing.json)
        return;
    print_recipients(call, s);
    print_history(call, s);
    print_content(call, s);
}

static void
show_opened(const struct call *call, struct spool_store *store, struct spool_message *m,
            const struct spool_envelope *envelope, const struct registry *registry)
{
    struct shown s = {.message = m, .envelope = envelope};

    buf_init(&s.content, 0);
    read_history(&s, store);
    read_content(&s, store, call_value(call, "body") != NULL);
    print_message(call, &s, registry);
    json_decref(s.history);
    buf_fini(&s.content);
}

/* False: it has ended since, and gone. */
static bool
show_one(const struct call *call, struct spool_store *store, struct spool_message *m,
         const struct registry *registry)
{
    struct spool_reader_envelope opened;
    bool is_there = spool_reader_open_envelope(store, m, &opened);

    if (is_there)
        show_opened(call, store, m, &opened.envelope, registry);
    spool_reader_close_envelope(&opened);
    return is_there;
}

/* --- The verb. */

/* That the body is read is written down before it is. */
static enum command_status
account_for(struct call *call, const struct selection *selection, struct spool_store *store)
{
    struct spool_orders o;
    enum command_status status = COMMAND_DONE;

    if (call_value(call, "body") == NULL)
        return COMMAND_DONE;
    spool_orders_init(&o, call, SPOOL_ACT_VIEW);
    if (o.order.reason[0] == '\0')
        status = call_usage("--body needs --reason TEXT: that you read the message is kept in the "
                            "audit, with the reason");
    if (status == COMMAND_DONE)
        status = spool_orders_check_reason(&o);
    if (status == COMMAND_DONE)
        spool_orders_pick(&o, selection, store);
    if (status == COMMAND_DONE && o.picked_count > 0)
        status = spool_orders_give(&o, store);
    if (status == COMMAND_DONE && o.is_broken)
        status = COMMAND_LATER;
    spool_orders_fini(&o);
    return status;
}

static enum command_status
show_all(struct call *call, const struct selection *selection, struct spool_store *store)
{
    size_t missing = 0;

    if (selection->ref_count == 0) {
        call_complain("there is no id on standard input");
        return COMMAND_NOTHING;
    }
    for (size_t i = 0; i < selection->ref_count; i++) {
        struct spool_message *m = spool_store_find(store, selection->refs[i]);
        char id[REF_SIZE];

        if (m && show_one(call, store, m, selection->registry))
            continue;
        call_complain("%s is not in the spool of this node: it was never spooled, or has ended",
                      ref_text(selection->refs[i], id));
        missing++;
    }
    if (missing == 0)
        return COMMAND_DONE;
    return missing == selection->ref_count ? COMMAND_NOTHING : COMMAND_PARTLY;
}

enum command_status
spool_show(struct call *call)
{
    struct spool_store *store = NULL;
    struct selection selection;
    enum command_status status;

    if (spool_serve_ask(call, &status))
        return status;
    status = selection_read(call, &selection);
    if (status == COMMAND_DONE)
        status = spool_index_or_store(call, &selection, NULL, &store);
    if (status == COMMAND_DONE && store == NULL)
        status = spool_index_show(call, &selection);
    else if (status == COMMAND_DONE) {
        status = account_for(call, &selection, store);
        if (status == COMMAND_DONE)
            status = show_all(call, &selection, store);
    }
    spool_store_close(&store);
    selection_fini(&selection);
    return status;
}
